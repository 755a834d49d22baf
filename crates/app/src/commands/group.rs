//! `levada group`: list, describe, reset, delete.

mod description;
mod reset;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use description::{Description, Member, describe};
use env::{Clock, SystemClock};
use reset::{Partitions, Place};
use serde_json::json;
use wire::list_groups::ListedGroup;
use wire::{DeleteGroupsRequest, ErrorCode, ListGroupsRequest};

use super::confirm::confirm;
use super::consume::Start;
use super::failures::Failures;
use crate::cli::{Format, GroupCommand, GroupType};
use crate::client::{self, AskError, Cluster, Refused, check};
use crate::output::{counted, line, note};

/// Stands for what is not there.
const NOTHING: &str = "-";

pub fn run(command: &GroupCommand) -> anyhow::Result<()> {
    match command {
        GroupCommand::List { state, types, format, broker } => {
            client::run(broker, async |cluster| list(&cluster, state, types, *format).await)
        }
        GroupCommand::Describe { groups, format, broker } => client::run(broker, async |cluster| {
            let mut failures = Failures::default();
            for name in groups {
                failures.note(show(&cluster, name, *format).await)?;
            }
            failures.end()
        }),
        GroupCommand::Reset {
            group,
            topic,
            all_topics: _,
            partition,
            to,
            shift,
            create,
            dry_run,
            broker,
        } => {
            ensure!(
                partition.is_empty() || topic.len() == 1,
                "--partition goes with one --topic: partitions of which of them are meant?"
            );
            let place = match (to, shift) {
                (_, Some(shift)) => Place::Shift(*shift),
                (Some(to), None) => Place::At(Start::parse("--to", to, SystemClock::new().now())?),
                (None, None) => unreachable!("clap demands one of --to and --shift"),
            };
            let partitions = match topic.is_empty() {
                true => Partitions::Committed,
                false => Partitions::Of { topics: topic.clone(), indexes: partition.clone() },
            };
            client::run(broker, async |cluster| {
                let how = reset::How { create: *create, dry_run: *dry_run };
                reset::reset(&cluster, group, &partitions, place, how).await
            })
        }
        GroupCommand::Delete { groups, yes, broker } => client::run(broker, async |cluster| {
            let all = listed(&cluster).await?;
            // Only about those that are there: a typo is told at once.
            let there: Vec<&str> =
                groups.iter().map(String::as_str).filter(|it| all.contains_key(*it)).collect();
            if !there.is_empty() {
                let whose = if there.len() == 1 { "it has" } else { "they have" };
                let groups = if there.len() == 1 { "group" } else { "groups" };
                confirm(
                    &format!("delete the {groups} {} and what {whose} committed", there.join(", ")),
                    *yes,
                )?;
            }
            delete(&cluster, groups).await
        }),
    }
}

async fn list(
    cluster: &Cluster,
    states: &[String],
    types: &[GroupType],
    format: Format,
) -> anyhow::Result<()> {
    let type_name = |wanted: &GroupType| match wanted {
        GroupType::Classic => "classic",
        GroupType::Consumer => "consumer",
    };
    let named = |wanted: &str, name: &str| wanted.eq_ignore_ascii_case(name);
    let mut groups = listed(cluster).await?;
    let all = groups.len();
    // Here and not at the broker: old ones do not know these filters.
    groups.retain(|_, group| {
        (states.is_empty() || states.iter().any(|state| named(state, &group.group_state)))
            && (types.is_empty() || types.iter().any(|wanted| named(type_name(wanted), &group.group_type)))
    });
    let lags = lags(cluster, groups.keys()).await?;
    let width = groups.keys().map(String::len).max().unwrap_or(0).max("group".len());
    if format == Format::Text && groups.is_empty() {
        note(&match all {
            0 => "there are no groups yet: a consumer's first join or commit makes one".to_owned(),
            all => format!("{} not shown: none is of that state and type", counted(all as u64, "group")),
        });
    } else if format == Format::Text {
        line(&format!("{:width$}  {:8}  {:19}  {:8}  {:>11}", "group", "type", "state", "protocol", "lag"))?;
    }
    for (name, group) in groups {
        let or_nothing = |text: &str| if text.is_empty() { NOTHING.to_owned() } else { text.to_owned() };
        let lag = lags.get(&name);
        line(&match format {
            Format::Text => format!(
                "{name:width$}  {:8}  {:19}  {:8}  {:>11}",
                or_nothing(&group.group_type).to_lowercase(),
                or_nothing(&group.group_state),
                or_nothing(&group.protocol_type),
                lag.map_or(NOTHING.to_owned(), i64::to_string)
            ),
            Format::Json => json!({
                "group": name, "type": group.group_type.to_lowercase(), "state": &*group.group_state,
                "protocol": &*group.protocol_type, "lag": lag,
            })
            .to_string(),
        })?;
    }
    Ok(())
}

/// How far groups are behind in all that they have committed. Without those that have committed nothing that is there.
async fn lags(
    cluster: &Cluster,
    groups: impl Iterator<Item = &String>,
) -> anyhow::Result<BTreeMap<String, i64>> {
    let mut committed = BTreeMap::new();
    for group in groups {
        match description::committed(cluster, group).await {
            Ok(offsets) => drop(committed.insert(group.clone(), offsets)),
            // Deleted meanwhile, or not for this user: the others are told all the same.
            Err(error) if client::refused(&error).is_some() => {}
            Err(error) => return Err(error),
        }
    }
    let mut wanted: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
    for (topic, index) in committed.values().flat_map(|offsets| offsets.keys()) {
        wanted.entry(topic.clone()).or_default().insert(*index);
    }
    let mut ends = BTreeMap::new();
    for (name, indexes) in wanted {
        let topic = match cluster.topic(&name, false).await {
            Err(error) if error.refused().is_some() => continue,
            topic => topic?,
        };
        let is_there = |index: &i32| topic.partitions.iter().any(|partition| partition.index == *index);
        let indexes: Vec<i32> = indexes.into_iter().filter(is_there).collect();
        let of_topic = cluster.offsets(&topic, &indexes, -1, 0).await?;
        ends.extend(of_topic.into_iter().filter_map(|(index, end)| Some(((name.clone(), index), end?))));
    }
    let lag = |offsets: BTreeMap<(String, i32), i64>| {
        let each =
            offsets.iter().filter_map(|(partition, offset)| Some((ends.get(partition)? - offset).max(0)));
        each.reduce(|sum, lag| sum.saturating_add(lag))
    };
    Ok(committed.into_iter().filter_map(|(group, offsets)| Some((group, lag(offsets)?))).collect())
}

/// The groups of every broker: each knows those that it coordinates.
async fn listed(cluster: &Cluster) -> anyhow::Result<BTreeMap<String, ListedGroup>> {
    let mut groups = BTreeMap::new();
    for id in cluster.brokers().await? {
        let of_broker = client::persist(cluster, async |cluster| {
            let answer = cluster.node(id).await?.ask(&ListGroupsRequest::default()).await?;
            check(answer.error_code, None)
                .with_context(|| format!("cannot list the groups of broker {id}"))?;
            Ok(answer.groups)
        });
        let of_broker = of_broker.await?;
        groups.extend(of_broker.into_iter().map(|group| (group.group_id.to_string(), group)));
    }
    Ok(groups)
}

async fn show(cluster: &Cluster, name: &str, format: Format) -> anyhow::Result<()> {
    let group = describe(cluster, name).await?.ok_or_else(|| no_such_group(name))?;
    let rows = rows(cluster, &group).await?;
    match format {
        Format::Text => show_text(&group, &rows),
        Format::Json => line(&as_json(&group, &rows).to_string()),
    }
}

fn no_such_group(name: &str) -> anyhow::Error {
    let refused = Refused { code: ErrorCode::GroupIdNotFound.code(), message: None };
    anyhow::Error::new(refused).context(format!("cannot describe {name}"))
}

/// How far a group has got in one partition.
#[derive(Default)]
struct Row {
    committed: Option<i64>,
    /// None where the partition is gone.
    end: Option<i64>,
    /// The id of the member that reads it.
    owner: Option<String>,
}

impl Row {
    fn lag(&self) -> Option<i64> {
        Some((self.end? - self.committed?).max(0))
    }
}

type Rows = BTreeMap<(String, i32), Row>;

/// Of all partitions that the group has committed or that a member reads.
async fn rows(cluster: &Cluster, group: &Description) -> anyhow::Result<Rows> {
    let mut rows = Rows::new();
    for (partition, offset) in description::committed(cluster, &group.name).await? {
        rows.entry(partition).or_default().committed = Some(offset);
    }
    for member in &group.members {
        for (topic, partitions) in &member.assigned {
            for index in partitions {
                rows.entry((topic.clone(), *index)).or_default().owner = Some(member.id.clone());
            }
        }
    }
    let topics: BTreeSet<String> = rows.keys().map(|(topic, _)| topic.clone()).collect();
    for name in topics {
        let topic = match cluster.topic(&name, false).await {
            Err(error) if is_missing_topic(&error) => continue,
            topic => topic?,
        };
        let is_there = |index: &i32| topic.partitions.iter().any(|partition| partition.index == *index);
        let indexes: Vec<i32> = rows
            .keys()
            .filter(|(of, index)| *of == name && is_there(index))
            .map(|(_, index)| *index)
            .collect();
        for (index, end) in cluster.offsets(&topic, &indexes, -1, 0).await? {
            rows.entry((name.clone(), index)).or_default().end = end;
        }
    }
    Ok(rows)
}

fn is_missing_topic(error: &AskError) -> bool {
    error.refused().is_some_and(|refused| refused.is(ErrorCode::UnknownTopicOrPartition))
}

fn show_text(group: &Description, rows: &Rows) -> anyhow::Result<()> {
    let assignor = if group.assignor.is_empty() { NOTHING } else { &group.assignor };
    let members = counted(group.members.len() as u64, "member");
    line(&format!("{}  {}  {}  assignor {assignor}  {members}", group.name, group.kind, group.state))?;
    for member in &group.members {
        let instance = member.instance.as_ref().map(|id| format!("  instance {id}")).unwrap_or_default();
        let assigned = match member.assigned.is_empty() {
            true => "nothing".to_owned(),
            false => member.assigned.iter().map(ranges).collect::<Vec<_>>().join(" "),
        };
        line(&format!("  member {}{instance}  reads {assigned}", member.told()))?;
    }
    if rows.is_empty() {
        return Ok(());
    }
    let width = rows.keys().map(|(topic, _)| topic.len()).max().unwrap_or(0).max("topic".len());
    line(&format!(
        "  {:width$}  {:>9}  {:>11}  {:>11}  {:>11}  owner",
        "topic", "partition", "committed", "end", "lag"
    ))?;
    for ((topic, index), row) in rows {
        let number = |number: Option<i64>| number.map_or(NOTHING.to_owned(), |number| number.to_string());
        line(&format!(
            "  {topic:width$}  {index:9}  {:>11}  {:>11}  {:>11}  {}",
            number(row.committed),
            number(row.end),
            number(row.lag()),
            row.owner.as_deref().unwrap_or(NOTHING)
        ))?;
    }
    Ok(())
}

/// `orders:0-2,5`
fn ranges((topic, partitions): (&String, &BTreeSet<i32>)) -> String {
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for index in partitions {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => runs.push((*index, *index)),
        }
    }
    let run = |(first, last): &(i32, i32)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    format!("{topic}:{}", runs.iter().map(run).collect::<Vec<_>>().join(","))
}

fn as_json(group: &Description, rows: &Rows) -> serde_json::Value {
    let member = |member: &Member| {
        json!({
            "id": member.id, "instance": member.instance, "client": member.client_id, "host": member.host,
            "assigned": member.assigned,
        })
    };
    let row = |((topic, index), row): (&(String, i32), &Row)| {
        json!({
            "topic": topic, "partition": index, "committed": row.committed, "end": row.end, "lag": row.lag(),
            "owner": row.owner,
        })
    };
    json!({
        "group": group.name, "type": group.kind, "state": group.state, "protocol": group.protocol,
        "assignor": group.assignor, "members": group.members.iter().map(member).collect::<Vec<_>>(),
        "partitions": rows.iter().map(row).collect::<Vec<_>>(),
    })
}

async fn delete(cluster: &Cluster, groups: &[String]) -> anyhow::Result<()> {
    let mut failures = Failures::default();
    for name in groups {
        let deleting = async |cluster: &Cluster| {
            let request = DeleteGroupsRequest {
                groups_names: vec![name.as_str().into()],
                ..DeleteGroupsRequest::default()
            };
            let answer = cluster.coordinator(name).await?.ask(&request).await?;
            let result =
                answer.results.into_iter().next().context("the broker left the group out of its answer")?;
            Ok(check(result.error_code, result.error_message.as_deref())?)
        };
        match client::persist(cluster, deleting).await {
            Ok(()) => line(&format!("deleted {name}"))?,
            Err(error) => failures.note(Err(error.context(format!("cannot delete {name}"))))?,
        }
    }
    failures.end()
}
