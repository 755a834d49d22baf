//! What goes in and out, by topic.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

/// So many topics are counted each by itself, those that are used first; all others together.
const TOPICS_MAX: usize = 1000;

/// The label of the others; no topic can have this name.
const OTHERS: &str = "(others)";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Topic {
    topic: String,
}

/// The counters of one topic, or of the others.
#[derive(Clone)]
pub struct Traffic {
    produced_bytes: Counter,
    produced_records: Counter,
    fetched_bytes: Counter,
    fetched_records: Counter,
}

impl Traffic {
    /// A batch was appended.
    pub fn produced(&self, bytes: usize, records: u64) {
        self.produced_bytes.inc_by(bytes as u64);
        self.produced_records.inc_by(records);
    }

    /// Records were put into an answer.
    pub fn fetched(&self, bytes: usize, records: u64) {
        self.fetched_bytes.inc_by(bytes as u64);
        self.fetched_records.inc_by(records);
    }
}

#[derive(Default)]
pub struct TopicTraffic {
    produced_bytes: Family<Topic, Counter>,
    produced_records: Family<Topic, Counter>,
    fetched_bytes: Family<Topic, Counter>,
    fetched_records: Family<Topic, Counter>,
    /// Those with a label of their own.
    named: RwLock<HashMap<String, Arc<Traffic>>>,
}

impl TopicTraffic {
    pub fn register(&self, registry: &mut Registry) {
        let families = [
            (
                "topic_produced",
                "topic_produced_records",
                "appended",
                &self.produced_bytes,
                &self.produced_records,
            ),
            (
                "topic_fetched",
                "topic_fetched_records",
                "sent to readers",
                &self.fetched_bytes,
                &self.fetched_records,
            ),
        ];
        for (bytes_name, records_name, what, bytes, records) in families {
            let help = format!("Bytes of batches {what}, as they are stored, by topic");
            registry.register_with_unit(bytes_name, help, Unit::Bytes, bytes.clone());
            registry.register(records_name, format!("Records {what}, by topic"), records.clone());
        }
    }

    pub fn of(&self, name: &str) -> Arc<Traffic> {
        if let Some(traffic) = self.named.read().get(name) {
            return traffic.clone();
        }
        let mut named = self.named.write();
        if named.len() >= TOPICS_MAX {
            return Arc::new(self.labelled(OTHERS));
        }
        named.entry(name.to_owned()).or_insert_with(|| Arc::new(self.labelled(name))).clone()
    }

    /// Gives the places of topics that are gone to others.
    pub fn forget_unless(&self, exists: impl Fn(&str) -> bool) {
        let mut named = self.named.write();
        let gone: Vec<String> = named.keys().filter(|name| !exists(name)).cloned().collect();
        for topic in gone {
            named.remove(&topic);
            let label = Topic { topic };
            for family in
                [&self.produced_bytes, &self.produced_records, &self.fetched_bytes, &self.fetched_records]
            {
                family.remove(&label);
            }
        }
    }

    fn labelled(&self, name: &str) -> Traffic {
        let label = Topic { topic: name.to_owned() };
        let counter = |family: &Family<Topic, Counter>| family.get_or_create(&label).clone();
        Traffic {
            produced_bytes: counter(&self.produced_bytes),
            produced_records: counter(&self.produced_records),
            fetched_bytes: counter(&self.fetched_bytes),
            fetched_records: counter(&self.fetched_records),
        }
    }
}

#[cfg(test)]
mod tests;
