//! CreateTopics: one result per topic of the request, in its order; what is named twice is refused once.

use std::collections::HashSet;

use settings::TopicOverrides;
use tracing::warn;
use wire::create_topics::{CreatableTopic, CreatableTopicConfigs, CreatableTopicResult};
use wire::{CreateTopicsRequest, CreateTopicsResponse, ErrorCode};

use crate::error::Refusal;
use crate::handlers::configs;
use crate::hosting::{Cluster, PARTITIONS_MAX};
use crate::request::Caller;
use crate::topics::METADATA_TOPIC;

/// From here on -1 stands for the default, and the answer tells what was created.
const TELLS_CONFIGS: i16 = 5;

pub async fn handle(
    request: CreateTopicsRequest,
    caller: &Caller,
    cluster: &Cluster,
) -> CreateTopicsResponse {
    let twice = super::duplicates(request.topics.iter().map(|topic| topic.name.as_ref()));
    let mut response = CreateTopicsResponse::default();
    let mut refused = HashSet::new();
    let too_many = too_many(&request, cluster.settings().options().num_partitions);
    for topic in &request.topics {
        let named_twice = twice.contains(topic.name.as_ref() as &str);
        if named_twice && !refused.insert(&topic.name) {
            continue;
        }
        let created = match named_twice {
            true => Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name.")),
            false if too_many => Err(Refusal::new(
                ErrorCode::PolicyViolation,
                "Excessively large number of partitions per request: create it with fewer, then add some.",
            )),
            false => create(topic, request.validate_only, caller, cluster).await,
        };
        response.topics.push(created.unwrap_or_else(|refusal| CreatableTopicResult {
            name: topic.name.clone(),
            error_code: refusal.code(),
            error_message: refusal.text(),
            ..Default::default()
        }));
    }
    response
}

/// Kafka writes no more than so many records of metadata for one request: one for each topic and each partition.
const RECORDS_MAX: i64 = 10_000;

fn too_many(request: &CreateTopicsRequest, default: i32) -> bool {
    let partitions = |topic: &CreatableTopic| match (topic.assignments.len(), topic.num_partitions) {
        (0, -1) => i64::from(default),
        (0, given) => i64::from(given.max(0)),
        (assigned, _) => assigned as i64,
    };
    request.topics.iter().map(|topic| 1 + partitions(topic)).sum::<i64>() > RECORDS_MAX
}

async fn create(
    topic: &CreatableTopic,
    validate_only: bool,
    caller: &Caller,
    cluster: &Cluster,
) -> Result<CreatableTopicResult, Refusal> {
    let settings = cluster.settings();
    let options = settings.options();
    if topic.name == METADATA_TOPIC {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "the topic of the cluster metadata is not for clients",
        ));
    }
    cluster.check_topic_name(&topic.name)?;
    let overrides = TopicOverrides::create(
        topic.configs.iter().map(|config| (config.name.as_ref() as &str, config.value.as_deref())),
        &settings,
    )
    .map_err(configs::refusal)?;
    let partitions = match (topic.assignments.is_empty(), topic.num_partitions) {
        (false, _) => assigned_partitions(topic, options.node_id)?,
        (true, -1) => options.num_partitions,
        (true, given) => given,
    };
    if topic.assignments.is_empty() {
        check_replication(topic)?;
    }
    let mut result = CreatableTopicResult {
        name: topic.name.clone(),
        num_partitions: partitions,
        replication_factor: 1,
        error_message: None,
        ..Default::default()
    };
    if validate_only {
        check_partitions(partitions)?;
    } else {
        result.topic_id = cluster.create_topic(&topic.name, partitions, &overrides).await?.id;
    }
    if caller.version >= TELLS_CONFIGS {
        let tell = |described: settings::Described| CreatableTopicConfigs {
            name: described.name.into(),
            value: described.value.map(Into::into),
            read_only: described.read_only,
            config_source: described.source.code(),
            is_sensitive: described.sensitive,
            ..Default::default()
        };
        result.configs = Some(overrides.describe(&settings).into_iter().map(tell).collect());
    }
    Ok(result)
}

/// There is one broker: more replicas are granted as one, so that programs written for clusters start.
fn check_replication(topic: &CreatableTopic) -> Result<(), Refusal> {
    match topic.replication_factor {
        -1 | 1 => Ok(()),
        0 | i16::MIN..-1 => Err(Refusal::new(
            ErrorCode::InvalidReplicationFactor,
            "Replication factor must be larger than 0.",
        )),
        asked => {
            warn!(topic = %topic.name, asked, "replication factor granted as 1: there is one broker");
            Ok(())
        }
    }
}

fn check_partitions(partitions: i32) -> Result<(), Refusal> {
    if (1..=PARTITIONS_MAX).contains(&partitions) {
        return Ok(());
    }
    let why = format!("{partitions} is not a number of partitions: 1 to {PARTITIONS_MAX} are");
    Err(Refusal::new(ErrorCode::InvalidPartitions, why))
}

fn assigned_partitions(topic: &CreatableTopic, node_id: i32) -> Result<i32, Refusal> {
    if topic.num_partitions != -1 {
        let why = "A manual partition assignment was specified, but numPartitions was not set to -1.";
        return Err(Refusal::new(ErrorCode::InvalidRequest, why));
    }
    if topic.replication_factor != -1 {
        let why = "A manual partition assignment was specified, but replication factor was not set to -1.";
        return Err(Refusal::new(ErrorCode::InvalidRequest, why));
    }
    let mut indexes: Vec<i32> = topic.assignments.iter().map(|assigned| assigned.partition_index).collect();
    indexes.sort_unstable();
    if indexes.iter().zip(0..).any(|(index, expected)| *index != expected) {
        let why = "partitions must be assigned by consecutive indexes from 0, each once";
        return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, why));
    }
    for assigned in &topic.assignments {
        if assigned.broker_ids != [node_id] {
            let why = format!("partition {}: the only broker is {node_id}", assigned.partition_index);
            return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, why));
        }
    }
    Ok(indexes.len() as i32)
}
