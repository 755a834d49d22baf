//! The words of consumers in the classic protocol, which the broker must understand where their group is a mixed one.

use std::collections::BTreeSet;

use bytes::Bytes;
use wire::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolAssignmentTopicPartition, ConsumerProtocolSubscription,
};
use wire::{Message, Reader, stored};

use super::TOPICS;
use crate::check::Partition;

/// All topics, and nothing owned: an eager member.
pub fn subscription() -> Bytes {
    let topics = TOPICS.iter().map(|topic| (*topic).into()).collect();
    written(&ConsumerProtocolSubscription { topics, ..Default::default() })
}

pub fn assignment(partitions: BTreeSet<Partition>) -> Bytes {
    let of_topic = |topic: &&str| ConsumerProtocolAssignmentTopicPartition {
        topic: (*topic).into(),
        partitions: partitions.iter().filter(|(of, _)| of == topic).map(|(_, index)| *index).collect(),
        ..Default::default()
    };
    let assigned_partitions = TOPICS.iter().map(of_topic).collect();
    written(&ConsumerProtocolAssignment { assigned_partitions, ..Default::default() })
}

pub fn partitions(assignment: &Bytes) -> BTreeSet<Partition> {
    let mut reader = Reader::new(assignment.clone());
    let Ok(version) = reader.i16() else { return BTreeSet::new() };
    let told =
        ConsumerProtocolAssignment::decode(&mut reader, version).expect("a member wrote it, or the broker");
    let of_topic = |topic: ConsumerProtocolAssignmentTopicPartition| {
        let name = topic.topic.to_string();
        topic.partitions.into_iter().map(move |index| (name.clone(), index))
    };
    told.assigned_partitions.into_iter().flat_map(of_topic).collect()
}

fn written<M: Message>(said: &M) -> Bytes {
    stored::encode_with_version_prefix(said, M::VERSIONS.max).expect("topics have short names")
}
