//! The topics that are served, ready for use: what handlers look up.
//!
//! Follows the cluster metadata: its host puts a topic here before it answers that the topic exists.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use coordinators::groups::consumer::{Image, ImageTopic};
use model::TopicId;
use model::compression::Compression;
use parking_lot::RwLock;
use settings::{BrokerSettings, TimestampType, TopicConfig, TopicOverrides};
use storage::{CompactionConfig, LogConfig, Partition};
use wire::Str;

use crate::partition::validate::Rules;

/// Internal topics, with the names that Kafka gives them.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
pub const TRANSACTIONS_TOPIC: &str = "__transaction_state";
/// Not a topic that clients see.
pub const METADATA_TOPIC: &str = "__cluster_metadata";

/// `flush.ms` from here on means never.
const FLUSH_NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A topic as it is now; a change makes a new one.
pub struct Topic {
    pub name: Str,
    pub id: TopicId,
    /// What was set on the topic itself.
    pub overrides: TopicOverrides,
    pub config: TopicConfig,
    pub rules: Rules,
    /// By index.
    pub partitions: Vec<Arc<Partition>>,
}

impl Topic {
    pub fn new(
        name: Str,
        id: TopicId,
        overrides: TopicOverrides,
        settings: &BrokerSettings,
        partitions: Vec<Arc<Partition>>,
    ) -> Topic {
        let config = TopicConfig::new(&overrides, settings);
        let rules = rules(&config, settings);
        partitions.iter().for_each(|partition| partition.set_label(&name));
        Topic { name, id, overrides, config, rules, partitions }
    }

    pub fn is_internal(&self) -> bool {
        is_internal(&self.name)
    }

    pub fn partition(&self, index: i32) -> Option<&Arc<Partition>> {
        usize::try_from(index).ok().and_then(|index| self.partitions.get(index))
    }
}

pub fn is_internal(name: &str) -> bool {
    name == OFFSETS_TOPIC || name == TRANSACTIONS_TOPIC
}

/// What the log of a partition needs to know of its topic's config.
pub fn log_config(config: &TopicConfig) -> LogConfig {
    LogConfig {
        delete: config.cleanup.delete,
        compact: config.cleanup.compact,
        retention: config.retention,
        retention_bytes: config.retention_bytes,
        segment_bytes: config.segment_bytes_max.into(),
        segment_roll: config.segment_age_max,
        segment_jitter: config.segment_jitter_max,
        index_interval_bytes: config.index_interval_bytes,
        segment_index_bytes: config.segment_index_bytes_max,
        flush_messages: config.flush_messages as u64,
        // Kafka's default is never.
        flush_interval: Some(config.flush_interval).filter(|interval| *interval < FLUSH_NEVER),
        compaction: CompactionConfig {
            dirty_permille: (config.compaction_dirty_ratio_min * 1000.0).round() as u32,
            delete_retention: config.tombstone_retention,
            lag_min: config.compaction_lag_min,
            lag_max: config.compaction_lag_max,
        },
    }
}

fn rules(config: &TopicConfig, settings: &BrokerSettings) -> Rules {
    let millis = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Rules {
        batch_bytes_max: config.message_bytes_max as usize,
        segment_bytes_max: config.segment_bytes_max as usize,
        record_bytes_max: config.decompressed_message_bytes_max as usize,
        decompressed_bytes_max: settings.options().batch_decompressed_bytes_max as usize,
        keys_required: config.cleanup.compact,
        log_append_time: config.timestamp_type == TimestampType::LogAppendTime,
        age_max_ms: millis(config.timestamp_before_max),
        ahead_max_ms: millis(config.timestamp_after_max),
        codec: match config.compression {
            settings::Compression::Producer => None,
            settings::Compression::Uncompressed => Some(Compression::None),
            settings::Compression::Gzip => Some(Compression::Gzip),
            settings::Compression::Snappy => Some(Compression::Snappy),
            settings::Compression::Lz4 => Some(Compression::Lz4),
            settings::Compression::Zstd => Some(Compression::Zstd),
        },
    }
}

#[derive(Default)]
struct Directory {
    by_name: BTreeMap<Str, Arc<Topic>>,
    by_id: HashMap<TopicId, Arc<Topic>>,
    by_metric_name: HashMap<String, Str>,
    /// What group coordinators are told; made when it is asked for.
    image: Option<Arc<Image>>,
    changes: u64,
}

impl Directory {
    fn changed(&mut self) {
        self.image = None;
        self.changes += 1;
    }
}

#[derive(Clone, Default)]
pub struct Topics(Arc<RwLock<Directory>>);

impl Topics {
    pub fn by_name(&self, name: &str) -> Option<Arc<Topic>> {
        self.0.read().by_name.get(name).cloned()
    }

    pub fn by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.0.read().by_id.get(&id).cloned()
    }

    /// The topic whose name is this one in metrics, where '.' and '_' are one.
    pub fn by_metric_name(&self, name: &str) -> Option<Str> {
        self.0.read().by_metric_name.get(&metric_name(name)).cloned()
    }

    /// The topics and how many partitions each has, for group coordinators.
    pub fn image(&self) -> Arc<Image> {
        if let Some(image) = &self.0.read().image {
            return image.clone();
        }
        let mut directory = self.0.write();
        let entry = |topic: &Arc<Topic>| {
            let partitions = topic.partitions.len() as i32;
            (topic.name.to_string(), ImageTopic { id: topic.id, partitions })
        };
        let topics = directory.by_name.values().map(entry).collect();
        let image = Arc::new(Image { version: directory.changes, topics });
        directory.image = Some(image.clone());
        image
    }

    /// All topics in the order of their names.
    pub fn all(&self) -> Vec<Arc<Topic>> {
        self.0.read().by_name.values().cloned().collect()
    }

    pub fn put(&self, topic: Topic) {
        let topic = Arc::new(topic);
        let mut directory = self.0.write();
        directory.changed();
        directory.by_id.insert(topic.id, topic.clone());
        directory.by_metric_name.insert(metric_name(&topic.name), topic.name.clone());
        directory.by_name.insert(topic.name.clone(), topic);
    }

    pub fn remove(&self, id: TopicId) {
        let mut directory = self.0.write();
        directory.changed();
        if let Some(topic) = directory.by_id.remove(&id) {
            directory.by_name.remove(&topic.name);
            directory.by_metric_name.remove(&metric_name(&topic.name));
        }
    }
}

fn metric_name(name: &str) -> String {
    name.replace('.', "_")
}
