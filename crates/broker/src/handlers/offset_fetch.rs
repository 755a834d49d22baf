//! OffsetFetch (KIP-447, KIP-709, KIP-848): what groups have committed.

use std::collections::BTreeMap;
use std::sync::Arc;

use coordinators::groups::{Committed, Groups, Reject, TopicPartition};
use model::TopicId;
use wire::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponseGroup,
    OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use wire::{ErrorCode, OffsetFetchRequest, OffsetFetchResponse, Str};

use super::groups::{self, Coordinator};
use crate::error::of_host;
use crate::request::Caller;
use crate::topics::{Topic, Topics};

/// From here on one request asks for many groups.
const BATCHED: i16 = 8;

/// From here on requests name topics by id.
const BY_ID: i16 = 10;

pub async fn handle(
    request: OffsetFetchRequest,
    caller: &Caller,
    topics: &Topics,
    groups: &Coordinator,
) -> OffsetFetchResponse {
    if caller.version >= BATCHED {
        let mut response = OffsetFetchResponse::default();
        for group in request.groups {
            response.groups.push(fetch(group, caller, topics, groups).await);
        }
        return response;
    }
    // The older form is the newer one with a single group.
    let topic = |topic: wire::offset_fetch::OffsetFetchRequestTopic| OffsetFetchRequestTopics {
        name: topic.name,
        partition_indexes: topic.partition_indexes,
        ..Default::default()
    };
    let group = OffsetFetchRequestGroup {
        group_id: request.group_id,
        topics: request.topics.map(|topics| topics.into_iter().map(topic).collect()),
        ..Default::default()
    };
    let answered = fetch(group, caller, topics, groups).await;
    let partition = |partition: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
        ..Default::default()
    };
    let topic = |topic: OffsetFetchResponseTopics| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(partition).collect(),
        ..Default::default()
    };
    OffsetFetchResponse {
        topics: answered.topics.into_iter().map(topic).collect(),
        error_code: answered.error_code,
        ..Default::default()
    }
}

async fn fetch(
    wanted: OffsetFetchRequestGroup,
    caller: &Caller,
    topics: &Topics,
    groups: &Coordinator,
) -> OffsetFetchResponseGroup {
    let group = wanted.group_id.to_string();
    let by_id = caller.version >= BY_ID;
    let named: Option<Vec<Named>> = wanted
        .topics
        .map(|wanted| wanted.into_iter().map(|topic| Named::new(topic, by_id, topics)).collect());
    let keys: Option<Vec<TopicPartition>> =
        named.as_ref().map(|named| named.iter().flat_map(Named::keys).collect());
    let committed = match groups.of(&group).await {
        Ok(host) => {
            let (member, epoch) = (wanted.member_id.map(|member| member.to_string()), wanted.member_epoch);
            let looked = host.query(move |groups| look(groups, &group, member.as_deref(), epoch, keys)).await;
            looked.map_err(|error| of_host(error, |reject| groups::code(reject).into()).code())
        }
        Err(error) => Err(of_host(error, |reject| groups::code(reject).into()).code()),
    };
    let mut answered = OffsetFetchResponseGroup { group_id: wanted.group_id, ..Default::default() };
    let committed = match committed {
        Ok(Ok(committed)) => committed,
        Ok(Err(reject)) => {
            answered.error_code = groups::code(reject).into();
            return answered;
        }
        Err(code) => {
            answered.error_code = code;
            return answered;
        }
    };
    answered.topics = match named {
        None => everything(&committed, by_id, topics),
        Some(named) => named.into_iter().map(|topic| topic.answer(&committed)).collect(),
    };
    answered
}

/// What a group has committed for `keys`, or altogether. The machine waits for this: only what is asked for is copied.
fn look(
    groups: &Groups,
    group: &str,
    member: Option<&str>,
    epoch: i32,
    keys: Option<Vec<TopicPartition>>,
) -> Result<BTreeMap<TopicPartition, Committed>, Reject> {
    let Some(group) = groups.group(group) else { return Ok(BTreeMap::new()) };
    if let Some(consumer) = &group.consumer {
        consumer.check_fetch(member, epoch)?;
    }
    let Some(keys) = keys else { return Ok(group.offsets.clone()) };
    let found = |key| {
        let committed = group.offsets.get(&key)?.clone();
        Some((key, committed))
    };
    Ok(keys.into_iter().filter_map(found).collect())
}

/// A topic that was asked for by name or id.
struct Named {
    wanted: OffsetFetchRequestTopics,
    known: Option<Arc<Topic>>,
    /// `None` where it was asked for by an id that no topic has.
    name: Option<Str>,
}

impl Named {
    fn new(wanted: OffsetFetchRequestTopics, by_id: bool, topics: &Topics) -> Named {
        let known = if by_id { topics.by_id(wanted.topic_id) } else { topics.by_name(&wanted.name) };
        let name =
            if by_id { known.as_ref().map(|topic| topic.name.clone()) } else { Some(wanted.name.clone()) };
        Named { wanted, known, name }
    }

    fn keys(&self) -> impl Iterator<Item = TopicPartition> {
        let key = |name: &Str, index: &i32| TopicPartition { topic: name.to_string(), partition: *index };
        self.name
            .iter()
            .flat_map(move |name| self.wanted.partition_indexes.iter().map(move |index| key(name, index)))
    }

    fn answer(self, committed: &BTreeMap<TopicPartition, Committed>) -> OffsetFetchResponseTopics {
        let answer = |index: i32| match &self.name {
            None => entry(index, None, Some(ErrorCode::UnknownTopicId)),
            Some(name) => {
                let key = TopicPartition { topic: name.to_string(), partition: index };
                // A commit for an earlier topic of the same name says nothing about this one.
                let current = |committed: &&Committed| {
                    committed.topic_id.is_zero()
                        || self.known.as_ref().is_none_or(|topic| topic.id == committed.topic_id)
                };
                entry(index, committed.get(&key).filter(current), None)
            }
        };
        OffsetFetchResponseTopics {
            partitions: self.wanted.partition_indexes.into_iter().map(answer).collect(),
            name: self.wanted.name,
            topic_id: self.wanted.topic_id,
            ..Default::default()
        }
    }
}

fn everything(
    committed: &BTreeMap<TopicPartition, Committed>,
    by_id: bool,
    topics: &Topics,
) -> Vec<OffsetFetchResponseTopics> {
    let mut answered: Vec<OffsetFetchResponseTopics> = Vec::new();
    for (key, committed) in committed {
        let topic_id = match by_id {
            false => TopicId::ZERO,
            // A topic that is gone cannot be named by its id.
            true => match topics.by_name(&key.topic) {
                Some(topic) => topic.id,
                None => continue,
            },
        };
        let name = Str::from(key.topic.as_str());
        if answered.last().is_none_or(|last| last.name != name) {
            answered.push(OffsetFetchResponseTopics { name, topic_id, ..Default::default() });
        }
        let topic = answered.last_mut().expect("a topic was pushed before its first partition");
        topic.partitions.push(entry(key.partition, Some(committed), None));
    }
    answered
}

/// Without a commit: offset -1, epoch -1, no metadata, no error.
fn entry(
    index: i32,
    committed: Option<&Committed>,
    error: Option<ErrorCode>,
) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: index,
        committed_offset: committed.map_or(-1, |committed| committed.offset.0),
        committed_leader_epoch: committed.map_or(-1, |committed| committed.leader_epoch.0),
        metadata: Some(committed.map_or(Str::new(), |committed| committed.metadata.as_str().into())),
        error_code: crate::request::code(error),
        ..Default::default()
    }
}
