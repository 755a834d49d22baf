//! What consumers say and are told inside the classic group protocol: Kafka's embedded "consumer protocol", whose bytes
//! the coordinators' machines do not know.

use std::collections::BTreeSet;

use bytes::Bytes;
use coordinators::groups::classic::{CONSUMER, Named, Said, Share, Subscription};
use wire::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolAssignmentTopicPartition, ConsumerProtocolSubscription,
};
use wire::{Message, Reader};

use super::groups::value_of;

/// What a consumer subscribes to and has, if this is a consumer's metadata and can be read.
pub fn subscription(protocol_type: &str, metadata: &Bytes) -> Option<Subscription> {
    if protocol_type != CONSUMER {
        return None;
    }
    let (version, told) = read::<ConsumerProtocolSubscription>(metadata)?;
    let owned = told.owned_partitions.into_iter().map(|one| (one.topic.to_string(), one.partitions));
    Some(Subscription {
        version,
        topics: told.topics.iter().map(ToString::to_string).collect(),
        owned: named(owned),
        rack: told.rack_id.map(|rack| rack.to_string()).filter(|rack| !rack.is_empty()),
    })
}

/// A leader's words for a member, and what they say if they are a consumer's.
pub fn share(bytes: Bytes) -> Share {
    let says = read::<ConsumerProtocolAssignment>(&bytes).map(|(_, told)| Said {
        has_user_data: told.user_data.is_some_and(|data| !data.is_empty()),
        partitions: named(
            told.assigned_partitions.into_iter().map(|one| (one.topic.to_string(), one.partitions)),
        ),
    });
    Share::Written { bytes, says }
}

/// A member's assignment as its client reads it.
pub fn share_bytes(share: &Share) -> Bytes {
    match share {
        Share::Written { bytes, .. } => bytes.clone(),
        Share::Given { version, partitions } => {
            let one =
                |(topic, partitions): (&String, &BTreeSet<i32>)| ConsumerProtocolAssignmentTopicPartition {
                    topic: topic.as_str().into(),
                    partitions: partitions.iter().copied().collect(),
                    ..Default::default()
                };
            let told = ConsumerProtocolAssignment {
                assigned_partitions: partitions.iter().map(one).collect(),
                ..Default::default()
            };
            value_of(&told, (*version).clamp(0, ConsumerProtocolAssignment::VERSIONS.max))
        }
    }
}

/// A message behind its version, and that version. Newer versions only add fields behind those that are known.
fn read<M: Message>(bytes: &Bytes) -> Option<(i16, M)> {
    let mut reader = Reader::new(bytes.clone());
    let version = reader.i16().ok().filter(|version| *version >= 0)?;
    let message = M::decode(&mut reader, version.min(M::VERSIONS.max)).ok()?;
    Some((version, message))
}

fn named(partitions: impl Iterator<Item = (String, Vec<i32>)>) -> Named {
    let mut named = Named::new();
    for (topic, partitions) in partitions.filter(|(_, partitions)| !partitions.is_empty()) {
        named.entry(topic).or_default().extend(partitions);
    }
    named
}
