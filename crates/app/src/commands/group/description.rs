//! What a group's coordinator tells of it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use bytes::Bytes;
use wire::consumer_protocol::ConsumerProtocolAssignment;
use wire::offset_fetch::OffsetFetchRequestGroup;
use wire::{
    ApiKey, ConsumerGroupDescribeRequest, DescribeGroupsRequest, ErrorCode, Message, OffsetFetchRequest,
    Reader,
};

use crate::client::{self, Cluster, check};

/// From here on OffsetFetch names topics by their ids.
const FETCH_BY_NAME_MAX: i16 = 9;
/// From here on OffsetFetch asks for several groups.
const FETCH_BATCHED: i16 = 8;

pub struct Description {
    pub name: String,
    /// `classic` or `consumer`.
    pub kind: &'static str,
    pub state: String,
    pub protocol: String,
    pub assignor: String,
    pub members: Vec<Member>,
}

pub struct Member {
    pub id: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub host: String,
    pub assigned: Assigned,
}

/// Partitions by topic.
pub type Assigned = BTreeMap<String, BTreeSet<i32>>;

impl Member {
    /// Who it is, for people.
    pub fn told(&self) -> String {
        format!("{} (client {} at {})", self.id, self.client_id, self.host.trim_start_matches('/'))
    }
}

/// None: there is no such group.
pub async fn describe(cluster: &Cluster, name: &str) -> anyhow::Result<Option<Description>> {
    let describing = async |cluster: &Cluster| match consumers(cluster, name).await? {
        Some(found) => Ok(Some(found)),
        None => classic(cluster, name).await,
    };
    client::persist(cluster, describing).await.with_context(|| format!("cannot describe {name}"))
}

/// A group under KIP-848, if this is one and the broker knows of such.
async fn consumers(cluster: &Cluster, name: &str) -> anyhow::Result<Option<Description>> {
    let connection = cluster.coordinator(name).await?;
    if connection.version(ApiKey::ConsumerGroupDescribe).is_err() {
        return Ok(None);
    }
    let request = ConsumerGroupDescribeRequest {
        group_ids: vec![name.into()],
        ..ConsumerGroupDescribeRequest::default()
    };
    let answer = connection.ask(&request).await?;
    let group = answer.groups.into_iter().next().context("the broker left the group out of its answer")?;
    match check(group.error_code, group.error_message.as_deref()) {
        Err(refused)
            if refused.is(ErrorCode::GroupIdNotFound) || refused.is(ErrorCode::UnsupportedVersion) =>
        {
            return Ok(None);
        }
        checked => checked?,
    }
    let member = |member: wire::consumer_group_describe::Member| {
        let topics = member.assignment.topic_partitions.into_iter();
        Member {
            id: member.member_id.to_string(),
            instance: member.instance_id.map(|id| id.to_string()),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            assigned: topics
                .map(|topic| (topic.topic_name.to_string(), topic.partitions.into_iter().collect()))
                .collect(),
        }
    };
    Ok(Some(Description {
        name: name.to_owned(),
        kind: "consumer",
        state: group.group_state.to_string(),
        protocol: "consumer".to_owned(),
        assignor: group.assignor_name.to_string(),
        members: group.members.into_iter().map(member).collect(),
    }))
}

async fn classic(cluster: &Cluster, name: &str) -> anyhow::Result<Option<Description>> {
    let request = DescribeGroupsRequest { groups: vec![name.into()], ..DescribeGroupsRequest::default() };
    let answer = cluster.coordinator(name).await?.ask(&request).await?;
    let group = answer.groups.into_iter().next().context("the broker left the group out of its answer")?;
    match check(group.error_code, group.error_message.as_deref()) {
        Err(refused) if refused.is(ErrorCode::GroupIdNotFound) => return Ok(None),
        checked => checked?,
    }
    // How a group that is not there looks in older versions.
    if group.group_state == "Dead" {
        return Ok(None);
    }
    let is_consumers = group.protocol_type == "consumer";
    let member = |member: wire::describe_groups::DescribedGroupMember| Member {
        id: member.member_id.to_string(),
        instance: member.group_instance_id.map(|id| id.to_string()),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        assigned: if is_consumers { assigned(member.member_assignment) } else { Assigned::new() },
    };
    Ok(Some(Description {
        name: name.to_owned(),
        kind: "classic",
        state: group.group_state.to_string(),
        protocol: group.protocol_type.to_string(),
        assignor: group.protocol_data.to_string(),
        members: group.members.into_iter().map(member).collect(),
    }))
}

/// What a classic consumer was given by its leader; nothing where it cannot be read.
fn assigned(assignment: Bytes) -> Assigned {
    let mut reader = Reader::new(assignment);
    let Ok(version) = reader.i16() else { return Assigned::new() };
    // Newer versions only add fields behind those that are known.
    let version = version.clamp(0, ConsumerProtocolAssignment::VERSIONS.max);
    let Ok(assignment) = ConsumerProtocolAssignment::decode(&mut reader, version) else {
        return Assigned::new();
    };
    let mut assigned = Assigned::new();
    for topic in assignment.assigned_partitions {
        assigned.entry(topic.topic.to_string()).or_default().extend(topic.partitions);
    }
    assigned
}

/// All offsets that a group has committed.
pub async fn committed(cluster: &Cluster, name: &str) -> anyhow::Result<BTreeMap<(String, i32), i64>> {
    let fetching = async |cluster: &Cluster| {
        let connection = cluster.coordinator(name).await?;
        let is_batched = connection.version(ApiKey::OffsetFetch)? >= FETCH_BATCHED;
        let group = OffsetFetchRequestGroup {
            group_id: name.into(),
            topics: None,
            ..OffsetFetchRequestGroup::default()
        };
        let request = match is_batched {
            true => OffsetFetchRequest {
                topics: Some(Vec::new()),
                groups: vec![group],
                ..OffsetFetchRequest::default()
            },
            false => {
                OffsetFetchRequest { group_id: name.into(), topics: None, ..OffsetFetchRequest::default() }
            }
        };
        let answer = connection.ask_up_to(FETCH_BY_NAME_MAX, &request).await?;
        check(answer.error_code, None)?;
        let mut rows = Vec::new();
        for topic in answer.topics {
            let of_topic = |row: wire::offset_fetch::OffsetFetchResponsePartition| {
                ((topic.name.to_string(), row.partition_index), row.committed_offset, row.error_code)
            };
            rows.extend(topic.partitions.into_iter().map(of_topic));
        }
        for group in answer.groups {
            check(group.error_code, None)?;
            for topic in group.topics {
                let of_topic = |row: wire::offset_fetch::OffsetFetchResponsePartitions| {
                    ((topic.name.to_string(), row.partition_index), row.committed_offset, row.error_code)
                };
                rows.extend(topic.partitions.into_iter().map(of_topic));
            }
        }
        let mut offsets = BTreeMap::new();
        for (partition, offset, error_code) in rows {
            check(error_code, None).with_context(|| format!("{} partition {}", partition.0, partition.1))?;
            // -1: nothing is committed.
            if offset >= 0 {
                offsets.insert(partition, offset);
            }
        }
        Ok(offsets)
    };
    client::persist(cluster, fetching)
        .await
        .with_context(|| format!("cannot fetch what {name} has committed"))
}

#[cfg(test)]
mod tests;
