//! `levada topic`: create, list, describe, delete, delete records, alter.

pub mod list;
pub mod own;

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use serde_json::json;
use settings::Operation;
use wire::create_partitions::CreatePartitionsTopic;
use wire::create_topics::{CreatableTopic, CreatableTopicConfig};
use wire::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use wire::delete_topics::DeleteTopicState;
use wire::incremental_alter_configs::AlterableConfig;
use wire::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, ErrorCode,
};

use super::config::{ask_to_alter, change, check_known, configs, hinted};
use super::confirm::confirm;
use super::failures::Failures;
use crate::cli::{Format, TopicCommand};
use crate::client::{self, Cluster, Refused, Topic, check};
use crate::output::{self, counted};

/// The protocol's number for "this resource is a topic".
const TOPIC_RESOURCE: i8 = 2;
/// Stands for the end of a partition in DeleteRecords.
const TO_THE_END: i64 = -1;
/// The protocol's number for "the topic itself sets this".
const SET_BY_TOPIC: i8 = 1;

pub fn run(command: &TopicCommand) -> anyhow::Result<()> {
    match command {
        TopicCommand::Create { topics, partitions, replication_factor, set, if_not_exists, broker } => {
            client::run(broker, async |cluster| {
                let wanted: Vec<CreatableTopic> = topics
                    .iter()
                    .map(|name| CreatableTopic {
                        name: name.as_str().into(),
                        num_partitions: partitions.unwrap_or(-1),
                        replication_factor: replication_factor.unwrap_or(-1),
                        configs: set.iter().map(creatable_config).collect(),
                        ..CreatableTopic::default()
                    })
                    .collect();
                create(&cluster, wanted, replication_factor.unwrap_or(-1), *if_not_exists).await
            })
        }
        TopicCommand::List { internal, format, broker } => {
            client::run(broker, async |cluster| list::list(&cluster, *internal, *format).await)
        }
        TopicCommand::Describe { topics, all, format, broker } => client::run(broker, async |cluster| {
            let mut failures = Failures::default();
            for name in topics {
                failures.note(describe(&cluster, name, *all, *format).await)?;
            }
            failures.end()
        }),
        TopicCommand::Delete { topics, if_exists, yes, force, broker } => {
            client::run(broker, async |cluster| {
                // Only about what is there: a typo is told at once.
                let all = cluster.topics().await?;
                let there: Vec<&Topic> = all.iter().filter(|topic| topics.contains(&topic.name)).collect();
                let all: Vec<&str> = all.iter().map(|topic| topic.name.as_str()).collect();
                for topic in &there {
                    own::check(&topic.name, &all, own::Deed::Delete, *force)?;
                }
                if !there.is_empty() {
                    confirm(&question(&there, &all), *yes)?;
                }
                delete(&cluster, topics, *if_exists).await
            })
        }
        TopicCommand::DeleteRecords { topic, before, all: _, yes, force, broker } => {
            client::run(broker, async |cluster| {
                let found = cluster.topic(topic, false).await?;
                own::check_in(&cluster, topic, own::Deed::DeleteRecords, *force).await?;
                confirm(&question_of_records(topic, before), *yes)?;
                delete_records(&cluster, &found, before).await
            })
        }
        TopicCommand::Alter { topic, partitions, set, unset, append, subtract, force, broker } => {
            let changed =
                |operation| move |(name, value): &(String, String)| change(name, operation, Some(value));
            let changes: Vec<AlterableConfig> = (set.iter().map(changed(Operation::Set)))
                .chain(unset.iter().map(|name| change(name, Operation::Delete, None)))
                .chain(append.iter().map(changed(Operation::Append)))
                .chain(subtract.iter().map(changed(Operation::Subtract)))
                .collect();
            if changes.is_empty() && partitions.is_none() {
                bail!("nothing to change: give --partitions, --set, --unset, --append or --subtract");
            }
            client::run(broker, async |cluster| {
                own::check_in(&cluster, topic, own::Deed::Alter, *force).await?;
                alter(&cluster, topic, *partitions, changes).await
            })
        }
    }
}

async fn create(
    cluster: &Cluster,
    topics: Vec<CreatableTopic>,
    copies: i16,
    if_not_exists: bool,
) -> anyhow::Result<()> {
    let request =
        CreateTopicsRequest { topics, timeout_ms: timeout_ms(cluster), ..CreateTopicsRequest::default() };
    let answer = cluster.ask(&request).await?;
    let mut failures = Failures::default();
    for topic in answer.topics {
        match check(topic.error_code, topic.error_message.as_deref()) {
            Ok(()) if topic.num_partitions > 0 => {
                let kept = topic.replication_factor;
                let fewer = match kept >= 1 && copies > kept {
                    true => format!("; {copies} copies were asked for, and the broker keeps {kept}"),
                    false => String::new(),
                };
                let partitions = counted(topic.num_partitions, "partition");
                output::line(&format!("created {} with {partitions}{fewer}", topic.name))?;
                if let Some(own) = own::of(&topic.name, &[]) {
                    output::note(&format!("{} has the name of {}", topic.name, own.what));
                }
            }
            Ok(()) => output::line(&format!("created {}", topic.name))?,
            Err(refused) if refused.is(ErrorCode::TopicAlreadyExists) && if_not_exists => {
                output::line(&format!("{} is there already", topic.name))?;
            }
            Err(refused) => failures.add(refused, format!("cannot create {}", topic.name)),
        }
    }
    failures.end()
}

async fn describe(cluster: &Cluster, name: &str, all: bool, format: Format) -> anyhow::Result<()> {
    let topic = cluster.topic(name, false).await?;
    let indexes: Vec<i32> = topic.partitions.iter().map(|partition| partition.index).collect();
    let first = cluster.offsets(&topic, &indexes, -2, 0).await?;
    let next = cluster.offsets(&topic, &indexes, -1, 0).await?;
    let settings = configs(cluster, TOPIC_RESOURCE, name).await?;
    let shown = settings.iter().filter(|config| all || config.config_source == SET_BY_TOPIC);
    match format {
        Format::Text => {
            output::line(&format!(
                "{name}  id {}  {}",
                topic.id,
                counted(topic.partitions.len() as u64, "partition")
            ))?;
            output::line("  partition  leader  replicas        first         next      records")?;
            for line in partition_lines(&topic, &first, &next) {
                output::line(&line)?;
            }
            for config in shown {
                let value =
                    if config.is_sensitive { "(hidden)" } else { config.value.as_deref().unwrap_or("null") };
                output::line(&format!("  {}={value}", config.name))?;
            }
        }
        Format::Json => {
            let partition = |partition: &client::Partition| {
                json!({
                    "partition": partition.index, "leader": partition.leader, "leader_epoch": partition.leader_epoch,
                    "replicas": partition.replicas, "in_sync": partition.in_sync,
                    "first_offset": first.get(&partition.index), "next_offset": next.get(&partition.index),
                })
            };
            let settings: serde_json::Map<_, _> =
                shown.map(|config| (config.name.to_string(), json!(config.value.as_deref()))).collect();
            let described = json!({
                "name": topic.name, "id": topic.id.to_string(), "internal": topic.internal,
                "partitions": topic.partitions.iter().map(partition).collect::<Vec<_>>(), "settings": settings,
            });
            output::line(&described.to_string())?;
        }
    }
    Ok(())
}

fn partition_lines(
    topic: &Topic,
    first: &BTreeMap<i32, Option<i64>>,
    next: &BTreeMap<i32, Option<i64>>,
) -> Vec<String> {
    let offset =
        |offsets: &BTreeMap<i32, Option<i64>>, index| offsets.get(&index).copied().flatten().unwrap_or(0);
    topic
        .partitions
        .iter()
        .map(|partition| {
            let (first, next) = (offset(first, partition.index), offset(next, partition.index));
            format!(
                "  {:9}  {:6}  {:8}  {:11}  {:11}  {:11}",
                partition.index,
                partition.leader,
                partition.replicas.iter().map(i32::to_string).collect::<Vec<_>>().join(","),
                first,
                next,
                next - first
            )
        })
        .collect()
}

/// What is asked before these topics are deleted; those that are not a user's are called what they are.
fn question(topics: &[&Topic], all: &[&str]) -> String {
    let told = |topic: &&Topic| match own::of(&topic.name, all) {
        None => topic.name.clone(),
        Some(own) => format!("{} ({})", topic.name, own.what),
    };
    let names: Vec<String> = topics.iter().map(told).collect();
    let whose = if names.len() == 1 { "its" } else { "their" };
    format!("delete {} and all of {whose} records", named(&names))
}

fn question_of_records(name: &str, before: &[(i32, i64)]) -> String {
    if before.is_empty() {
        return format!("delete every record of {name}");
    }
    let of = |(partition, offset): &(i32, i64)| format!("partition {partition} before offset {offset}");
    let places: Vec<String> = before.iter().map(of).collect();
    format!("delete the records of {name} {}", named(&places))
}

async fn delete(cluster: &Cluster, topics: &[String], if_exists: bool) -> anyhow::Result<()> {
    // Names stand in one of two places, by version.
    let by_state = cluster.seed().await?.version(wire::ApiKey::DeleteTopics)? >= 6;
    let state =
        |name: &String| DeleteTopicState { name: Some(name.as_str().into()), ..DeleteTopicState::default() };
    let request = DeleteTopicsRequest {
        topics: if by_state { topics.iter().map(state).collect() } else { Vec::new() },
        topic_names: if by_state {
            Vec::new()
        } else {
            topics.iter().map(|name| name.as_str().into()).collect()
        },
        timeout_ms: timeout_ms(cluster),
        ..DeleteTopicsRequest::default()
    };
    let answer = cluster.ask(&request).await?;
    let mut failures = Failures::default();
    for topic in answer.responses {
        let name = topic.name.unwrap_or_default();
        match check(topic.error_code, topic.error_message.as_deref()) {
            Ok(()) => output::line(&format!("deleted {name}"))?,
            Err(refused) if refused.is(ErrorCode::UnknownTopicOrPartition) && if_exists => {
                output::line(&format!("{name} is not there"))?;
            }
            Err(refused) => failures.add(not_said(refused), format!("cannot delete {name}")),
        }
    }
    failures.end()
}

/// Moves the start of partitions' logs: all to their ends where `before` names none.
async fn delete_records(cluster: &Cluster, topic: &Topic, before: &[(i32, i64)]) -> anyhow::Result<()> {
    let name = topic.name.as_str();
    let wanted: BTreeMap<i32, i64> = match before.is_empty() {
        true => topic.partitions.iter().map(|partition| (partition.index, TO_THE_END)).collect(),
        false => before.iter().copied().collect(),
    };
    let indexes: Vec<i32> = wanted.keys().copied().collect();
    let mut failures = Failures::default();
    for (leader, indexes) in client::by_leader(topic, &indexes)? {
        let partition = |index: &i32| DeleteRecordsPartition {
            partition_index: *index,
            offset: wanted[index],
            ..DeleteRecordsPartition::default()
        };
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: name.into(),
                partitions: indexes.iter().map(partition).collect(),
                ..DeleteRecordsTopic::default()
            }],
            timeout_ms: timeout_ms(cluster),
            ..DeleteRecordsRequest::default()
        };
        let answer = cluster.node(leader).await?.ask(&request).await?;
        for partition in answer.topics.into_iter().flat_map(|topic| topic.partitions) {
            let place = format!("{name} partition {}", partition.partition_index);
            match check(partition.error_code, None) {
                Ok(()) => output::line(&format!("{place} begins at offset {} now", partition.low_watermark))?,
                Err(refused) => failures.add(refused, format!("cannot delete records of {place}")),
            }
        }
    }
    failures.end()
}

async fn alter(
    cluster: &Cluster,
    name: &str,
    partitions: Option<i32>,
    configs: Vec<AlterableConfig>,
) -> anyhow::Result<()> {
    if !configs.is_empty() {
        check_unset(cluster, name, &configs).await?;
        let settings: Vec<String> = configs.iter().map(|config| config.name.to_string()).collect();
        let answer = ask_to_alter(cluster, TOPIC_RESOURCE, name, configs).await?;
        for result in answer.responses {
            check(result.error_code, result.error_message.as_deref())
                .map_err(not_said)
                .with_context(|| format!("cannot change the settings of {name}"))
                .map_err(|error| hinted(error, TOPIC_RESOURCE, &settings))?;
        }
        output::line(&format!("changed the settings of {name}"))?;
    }
    if let Some(count) = partitions {
        let topic = CreatePartitionsTopic {
            name: name.into(),
            count,
            assignments: None,
            ..CreatePartitionsTopic::default()
        };
        let request = CreatePartitionsRequest {
            topics: vec![topic],
            timeout_ms: timeout_ms(cluster),
            ..CreatePartitionsRequest::default()
        };
        let answer = cluster.ask(&request).await?;
        for result in answer.results {
            check(result.error_code, result.error_message.as_deref())
                .with_context(|| format!("cannot give {name} {count} partitions"))?;
        }
        output::line(&format!("{name} has {} now", counted(count, "partition")))?;
    }
    Ok(())
}

/// A name that the broker does not know can be put back to its default as often as one likes: brokers do not say so.
async fn check_unset(cluster: &Cluster, name: &str, changes: &[AlterableConfig]) -> anyhow::Result<()> {
    let is_unset = |change: &&AlterableConfig| change.config_operation == Operation::Delete.code();
    if !changes.iter().any(|change| is_unset(&change)) {
        return Ok(());
    }
    let known = configs(cluster, TOPIC_RESOURCE, name)
        .await
        .with_context(|| format!("cannot change the settings of {name}"))?;
    check_known(changes.iter().filter(is_unset).map(|change| &*change.name), &known)
}

/// Kafka's own text for a missing topic only says that the server does not host it.
fn not_said(refused: Refused) -> Refused {
    let message = refused.message.filter(|_| refused.code != ErrorCode::UnknownTopicOrPartition.code());
    Refused { code: refused.code, message }
}

fn creatable_config((name, value): &(String, String)) -> CreatableTopicConfig {
    CreatableTopicConfig {
        name: name.as_str().into(),
        value: Some(value.as_str().into()),
        ..CreatableTopicConfig::default()
    }
}

fn timeout_ms(cluster: &Cluster) -> i32 {
    i32::try_from(cluster.patience().as_millis()).unwrap_or(i32::MAX)
}

/// `a, b and c`
fn named(names: &[String]) -> String {
    match names {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        names => names.concat(),
    }
}
