//! Cluster metadata in `__cluster_metadata`, in the record formats of KRaft (KIP-631).

use std::collections::BTreeSet;

use bytes::Bytes;
use coordinators::metadata::{Metadata, Record, Resource};
use machine::Machine;
use model::{Batch, TopicId};
use wire::metadata_records::{
    ConfigRecord, PartitionRecord, ProducerIdsRecord, RemoveTopicRecord, TopicRecord,
};
use wire::{DecodeError, Message, Stored, stored};

use super::host::{BATCH_BYTES_MAX, Entry, Hosted};
use super::orphans::recovered_name;
use crate::NODE_ID;
use crate::topics::METADATA_TOPIC;

/// Kafka's numbers of config resources.
const RESOURCE_TOPIC: i8 = 2;
const RESOURCE_BROKER: i8 = 4;
const RESOURCE_GROUP: i8 = 32;

impl Hosted for Metadata {
    fn encode(record: &Record) -> Option<Entry> {
        let value = match record {
            Record::TopicCreated { name, id } => {
                encode(&TopicRecord { name: name.as_str().into(), topic_id: *id, ..Default::default() })
            }
            Record::PartitionCreated { topic, index } => encode(&PartitionRecord {
                partition_id: *index,
                topic_id: *topic,
                replicas: vec![NODE_ID],
                isr: vec![NODE_ID],
                leader: NODE_ID,
                leader_epoch: 0,
                partition_epoch: 0,
                ..Default::default()
            }),
            Record::TopicRemoved { id } => encode(&RemoveTopicRecord { topic_id: *id, ..Default::default() }),
            Record::ConfigSet { resource, name, value } => {
                let (resource_type, resource_name) = match resource {
                    Resource::Topic(name) => (RESOURCE_TOPIC, name.as_str()),
                    Resource::Broker(name) => (RESOURCE_BROKER, name.as_str()),
                    Resource::Group(name) => (RESOURCE_GROUP, name.as_str()),
                };
                encode(&ConfigRecord {
                    resource_type,
                    resource_name: resource_name.into(),
                    name: name.as_str().into(),
                    value: value.as_deref().map(Into::into),
                    ..Default::default()
                })
            }
            Record::ProducerIdsAllocated { next } => encode(&ProducerIdsRecord {
                broker_id: NODE_ID,
                next_producer_id: *next,
                ..Default::default()
            }),
        };
        Some((None, Some(value)))
    }

    fn missing(&mut self, offsets: i64) {
        self.lose(offsets);
    }

    fn decode(_: Option<&[u8]>, value: Option<&[u8]>) -> Result<Option<Record>, DecodeError> {
        let Some(value) = value else { return Ok(None) };
        let (kind, version, mut reader) = stored::decode_metadata_header(Bytes::copy_from_slice(value))?;
        let reader = &mut reader;
        Ok(match kind {
            TopicRecord::ID => {
                let record = TopicRecord::decode(reader, version)?;
                Some(Record::TopicCreated { name: record.name.to_string(), id: record.topic_id })
            }
            PartitionRecord::ID => {
                let record = PartitionRecord::decode(reader, version)?;
                Some(Record::PartitionCreated { topic: record.topic_id, index: record.partition_id })
            }
            RemoveTopicRecord::ID => {
                Some(Record::TopicRemoved { id: RemoveTopicRecord::decode(reader, version)?.topic_id })
            }
            ConfigRecord::ID => {
                let record = ConfigRecord::decode(reader, version)?;
                let resource = match record.resource_type {
                    RESOURCE_TOPIC => Resource::Topic(record.resource_name.to_string()),
                    RESOURCE_BROKER => Resource::Broker(record.resource_name.to_string()),
                    RESOURCE_GROUP => Resource::Group(record.resource_name.to_string()),
                    _ => return Ok(None),
                };
                Some(Record::ConfigSet {
                    resource,
                    name: record.name.to_string(),
                    value: record.value.map(|value| value.to_string()),
                })
            }
            ProducerIdsRecord::ID => {
                let next = ProducerIdsRecord::decode(reader, version)?.next_producer_id;
                Some(Record::ProducerIdsAllocated { next })
            }
            _ => None,
        })
    }

    fn frees_room(record: &Record) -> bool {
        matches!(record, Record::TopicRemoved { .. })
    }
}

/// The topics of a broker that does not run, for those who look after its data: as far as its metadata is readable.
#[derive(Default)]
pub struct TopicNames {
    state: Metadata,
    removed: BTreeSet<TopicId>,
}

impl TopicNames {
    /// Takes in the next batch of `__cluster_metadata`; what cannot be read is passed over.
    pub fn add(&mut self, batch: &Batch) {
        let Ok(records) = batch.records(BATCH_BYTES_MAX) else { return };
        for record in records.iter().map_while(Result::ok) {
            let Ok(Some(fact)) = Metadata::decode(record.key, record.value) else { continue };
            if let Record::TopicRemoved { id } = &fact {
                self.removed.insert(*id);
            }
            self.state.apply(&fact);
        }
    }

    pub fn name(&self, id: TopicId) -> Option<&str> {
        if id == TopicId::CLUSTER_METADATA {
            return Some(METADATA_TOPIC);
        }
        self.state.topic_by_id(id).map(|topic| topic.name.as_str())
    }

    /// What becomes of the partitions of a topic without a name at the next start.
    pub fn fate(&self, id: TopicId) -> Fate {
        if self.removed.contains(&id) { Fate::Deleted } else { Fate::Recovered(recovered_name(id)) }
    }
}

/// See [`TopicNames::fate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The topic was deleted: what is left of it goes.
    Deleted,
    /// Nobody has deleted it: it is served under this name.
    Recovered(String),
}

fn encode<M: Stored>(message: &M) -> Bytes {
    stored::encode_metadata_record(message, 0).expect(super::ENCODES)
}
