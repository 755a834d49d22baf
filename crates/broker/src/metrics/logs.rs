//! How large logs are and where they begin and end, by topic and by partition.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::topics::Topic;

/// So many topics are told each by itself, in the order of their names; all others together.
const TOPICS_MAX: usize = 1000;

/// So many partitions are told; the offsets of several mean nothing together.
const PARTITIONS_MAX: usize = 2000;

/// The label of the others; no topic can have this name.
const OTHERS: &str = "(others)";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfTopic {
    topic: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfPartition {
    topic: String,
    partition: String,
}

/// Set anew whenever somebody looks.
#[derive(Default)]
pub struct LogGauges {
    topics: Family<OfTopic, Gauge>,
    sizes: Family<OfPartition, Gauge>,
    starts: Family<OfPartition, Gauge>,
    ends: Family<OfPartition, Gauge>,
    untold: Gauge,
}

impl LogGauges {
    pub fn register(&self, registry: &mut Registry) {
        let help = format!("Bytes of a topic's logs, of {TOPICS_MAX} topics each, the others together");
        registry.register_with_unit("topic_log", help, Unit::Bytes, self.topics.clone());
        let help = format!("Bytes of a partition's log, of {PARTITIONS_MAX} partitions");
        registry.register_with_unit("partition_log", help, Unit::Bytes, self.sizes.clone());
        let help = "The first offset of a partition's log";
        registry.register("partition_log_start_offset", help, self.starts.clone());
        let help = "The offset after the last record of a partition's log";
        registry.register("partition_log_end_offset", help, self.ends.clone());
        let help = "Partitions whose offsets are not told, because there are too many";
        registry.register("partitions_untold", help, self.untold.clone());
    }

    pub fn set(&self, topics: &[Arc<Topic>]) {
        let by_name: BTreeMap<&str, &Arc<Topic>> = topics.iter().map(|topic| (&*topic.name, topic)).collect();
        self.topics.clear();
        for family in [&self.sizes, &self.starts, &self.ends] {
            family.clear();
        }
        let (mut told, mut untold) = (0, 0);
        for (number, (name, topic)) in by_name.into_iter().enumerate() {
            let name = if number < TOPICS_MAX { name } else { OTHERS };
            let mut sum = 0;
            for (index, partition) in topic.partitions.iter().enumerate() {
                let size = partition.size_bytes() as i64;
                sum += size;
                if name == OTHERS || told >= PARTITIONS_MAX {
                    untold += 1;
                    continue;
                }
                told += 1;
                let label = OfPartition { topic: name.to_owned(), partition: index.to_string() };
                let offsets = partition.offsets();
                self.sizes.get_or_create(&label).set(size);
                self.starts.get_or_create(&label).set(offsets.log_start.0);
                self.ends.get_or_create(&label).set(offsets.log_end.0);
            }
            self.topics.get_or_create(&OfTopic { topic: name.to_owned() }).inc_by(sum);
        }
        self.untold.set(untold);
    }
}
