//! Cluster metadata: topics, their partitions and configs, broker-wide dynamic configs, groups' configs, producer id
//! blocks.
//!
//! Lives in `__cluster_metadata`, in the record formats of KRaft (KIP-631).

use std::collections::BTreeMap;

use machine::{Decision, Machine};
use model::{ProducerId, Timestamp, TopicId};

#[cfg(test)]
mod tests;

/// Longest topic name that Kafka takes, in characters.
pub const TOPIC_NAME_LENGTH_MAX: usize = 249;

/// Most groups that have configs of their own.
pub const CONFIGURED_GROUPS_MAX: usize = 100_000;

/// How many producer ids one durable allocation reserves (KIP-730).
pub const PRODUCER_ID_BLOCK: i64 = 1000;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    topics: BTreeMap<String, Topic>,
    names: BTreeMap<TopicId, String>,
    /// Names in the form that metrics give them (`.` as `_`), because two topics must not share one.
    metric_names: BTreeMap<String, String>,
    /// By the broker's id, or "" for all brokers.
    broker_configs: BTreeMap<String, BTreeMap<String, String>>,
    /// Only what was set on a group itself; no group without any.
    group_configs: BTreeMap<String, BTreeMap<String, String>>,
    next_producer_id: i64,
    lost_records: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    pub name: String,
    pub id: TopicId,
    /// Number of partitions, from 1.
    pub partitions: i32,
    /// Only what was set on the topic itself.
    pub configs: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
pub enum Command {
    /// `id` is drawn by the caller. Configs are validated by the caller, who knows what they mean.
    CreateTopic {
        name: String,
        id: TopicId,
        partitions: i32,
        configs: BTreeMap<String, String>,
    },
    DeleteTopic {
        id: TopicId,
    },
    /// Grows a topic to `partitions` in all.
    CreatePartitions {
        id: TopicId,
        partitions: i32,
    },
    /// `None` removes a config, so that its default holds again.
    SetConfigs {
        resource: Resource,
        changes: Vec<(String, Option<String>)>,
    },
    AllocateProducerIds,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    Topic(String),
    /// By id, or "" for all brokers.
    Broker(String),
    /// Whether there is such a group or not.
    Group(String),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    TopicCreated {
        name: String,
        id: TopicId,
    },
    PartitionCreated {
        topic: TopicId,
        index: i32,
    },
    TopicRemoved {
        id: TopicId,
    },
    ConfigSet {
        resource: Resource,
        name: String,
        value: Option<String>,
    },
    /// The first producer id that nobody was given yet.
    ProducerIdsAllocated {
        next: i64,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Done,
    /// Ids `first .. first + PRODUCER_ID_BLOCK` are the caller's.
    ProducerIds {
        first: ProducerId,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Reject {
    InvalidName(String),
    TopicExists,
    /// The name differs from an existing topic's only in `.` and `_`.
    NameCollides {
        with: String,
    },
    UnknownTopic,
    InvalidPartitions(String),
    /// [`CONFIGURED_GROUPS_MAX`] groups have configs.
    TooManyConfiguredGroups,
}

impl Machine for Metadata {
    type Command = Command;
    type Record = Record;
    type Reply = Reply;
    type Reject = Reject;

    fn decide(&self, command: Command, _now: Timestamp) -> Result<Decision<Self>, Reject> {
        match command {
            Command::CreateTopic { name, id, partitions, configs } => {
                self.create(name, id, partitions, configs)
            }
            Command::DeleteTopic { id } => {
                self.topic_by_id(id).ok_or(Reject::UnknownTopic)?;
                Ok(Decision::new(vec![Record::TopicRemoved { id }], Reply::Done))
            }
            Command::CreatePartitions { id, partitions } => {
                let topic = self.topic_by_id(id).ok_or(Reject::UnknownTopic)?;
                if partitions <= topic.partitions {
                    return Err(Reject::InvalidPartitions(if partitions == topic.partitions {
                        format!("Topic already has {} partition(s).", topic.partitions)
                    } else {
                        format!(
                            "The topic {} currently has {} partition(s); {partitions} would not be an increase.",
                            topic.name, topic.partitions
                        )
                    }));
                }
                let new = topic.partitions..partitions;
                Ok(Decision::new(
                    new.map(|index| Record::PartitionCreated { topic: id, index }).collect(),
                    Reply::Done,
                ))
            }
            Command::SetConfigs { resource, changes } => {
                match &resource {
                    Resource::Topic(name) => drop(self.topic(name).ok_or(Reject::UnknownTopic)?),
                    Resource::Group(name) if !self.group_configs.contains_key(name) => {
                        if self.group_configs.len() >= CONFIGURED_GROUPS_MAX {
                            return Err(Reject::TooManyConfiguredGroups);
                        }
                    }
                    Resource::Group(_) | Resource::Broker(_) => {}
                }
                let set = |(name, value)| Record::ConfigSet { resource: resource.clone(), name, value };
                Ok(Decision::new(changes.into_iter().map(set).collect(), Reply::Done))
            }
            Command::AllocateProducerIds => {
                let first = self.next_producer_id;
                Ok(Decision::new(
                    vec![Record::ProducerIdsAllocated { next: first + PRODUCER_ID_BLOCK }],
                    Reply::ProducerIds { first: ProducerId(first) },
                ))
            }
        }
    }

    fn apply(&mut self, record: &Record) {
        match record {
            Record::TopicCreated { name, id } => {
                // Only where the removal of the older one was lost.
                if let Some(older) = self.topics.get(name) {
                    self.names.remove(&older.id);
                }
                let topic = Topic { name: name.clone(), id: *id, partitions: 0, configs: BTreeMap::new() };
                self.topics.insert(name.clone(), topic);
                self.names.insert(*id, name.clone());
                self.metric_names.insert(metric_name(name), name.clone());
            }
            Record::PartitionCreated { topic, index } => {
                if let Some(topic) = self.names.get(topic).and_then(|name| self.topics.get_mut(name)) {
                    topic.partitions = topic.partitions.max(index + 1);
                }
            }
            Record::TopicRemoved { id } => {
                if let Some(name) = self.names.remove(id) {
                    self.topics.remove(&name);
                    self.metric_names.remove(&metric_name(&name));
                }
            }
            Record::ConfigSet { resource, name, value } => {
                let configs = match resource {
                    Resource::Topic(topic) => self.topics.get_mut(topic).map(|topic| &mut topic.configs),
                    Resource::Broker(broker) => Some(self.broker_configs.entry(broker.clone()).or_default()),
                    Resource::Group(group) => Some(self.group_configs.entry(group.clone()).or_default()),
                };
                match (configs, value) {
                    (Some(configs), Some(value)) => drop(configs.insert(name.clone(), value.clone())),
                    (Some(configs), None) => drop(configs.remove(name)),
                    (None, _) => {}
                }
                if let Resource::Group(group) = resource
                    && self.group_configs.get(group).is_some_and(BTreeMap::is_empty)
                {
                    self.group_configs.remove(group);
                }
            }
            Record::ProducerIdsAllocated { next } => self.next_producer_id = *next,
        }
    }
}

impl Metadata {
    /// So many records are missing in the log here. Each may have been a block of producer ids: whoever has ids of it
    /// still uses them, and nobody else may get them.
    pub fn lose(&mut self, records: i64) {
        self.lost_records += records;
        self.next_producer_id =
            self.next_producer_id.saturating_add(records.saturating_mul(PRODUCER_ID_BLOCK));
    }

    /// Whether what it says may be older than what was decided.
    pub fn has_lost_records(&self) -> bool {
        self.lost_records > 0
    }

    /// In the order of names.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.values()
    }

    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name)
    }

    pub fn topic_by_id(&self, id: TopicId) -> Option<&Topic> {
        self.names.get(&id).and_then(|name| self.topics.get(name))
    }

    /// Dynamic configs of one broker by its id, or of all by "".
    pub fn broker_configs(&self, broker: &str) -> impl Iterator<Item = (&str, &str)> {
        let configs = self.broker_configs.get(broker).into_iter().flatten();
        configs.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// What was set on groups themselves, by the group's name.
    pub fn group_configs(&self) -> &BTreeMap<String, BTreeMap<String, String>> {
        &self.group_configs
    }

    fn create(
        &self,
        name: String,
        id: TopicId,
        partitions: i32,
        configs: BTreeMap<String, String>,
    ) -> Result<Decision<Self>, Reject> {
        check_topic_name(&name).map_err(Reject::InvalidName)?;
        if self.topics.contains_key(&name) {
            return Err(Reject::TopicExists);
        }
        if let Some(with) = self.metric_names.get(&metric_name(&name)) {
            return Err(Reject::NameCollides { with: with.clone() });
        }
        if partitions <= 0 {
            return Err(Reject::InvalidPartitions(format!(
                "Number of partitions was set to an invalid non-positive value: {partitions}."
            )));
        }
        let mut records = vec![Record::TopicCreated { name: name.clone(), id }];
        records.extend((0..partitions).map(|index| Record::PartitionCreated { topic: id, index }));
        let resource = Resource::Topic(name);
        records.extend(configs.into_iter().map(|(name, value)| Record::ConfigSet {
            resource: resource.clone(),
            name,
            value: Some(value),
        }));
        Ok(Decision::new(records, Reply::Done))
    }
}

/// Kafka's rule for topic names; the error says what is wrong with this one.
pub fn check_topic_name(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        Err("the empty string is not a topic name".into())
    } else if name == "." || name == ".." {
        Err(format!("'{name}' is not a topic name"))
    } else if name.chars().count() > TOPIC_NAME_LENGTH_MAX {
        Err(format!("the topic name is longer than {TOPIC_NAME_LENGTH_MAX} characters: '{name}'"))
    } else if !name.chars().all(legal) {
        Err(format!("'{name}' holds characters other than ASCII letters, digits, '.', '_' and '-'"))
    } else {
        Ok(())
    }
}

fn metric_name(name: &str) -> String {
    name.replace('.', "_")
}
