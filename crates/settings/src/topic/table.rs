//! The table of topic settings: all of Kafka 4.4's.

use std::sync::LazyLock;
use std::time::Duration;

use super::{Cleanup, Compression, TimestampType, TopicOverrides};
use crate::broker::BrokerSettings;
use crate::kind::{Kind, int, int_between, long};
use crate::overrides::OwnSetting;
use crate::typed::Typed;
use crate::{Effect, Setting, Update};

/// The whole table, sorted by name.
pub(super) fn all() -> &'static [OwnSetting] {
    static ALL: LazyLock<Vec<OwnSetting>> = LazyLock::new(|| {
        let mut all: Vec<OwnSetting> = typed().into_iter().chain(accepted()).collect();
        all.sort_by_key(|line| line.setting.name);
        all
    });
    &ALL
}

const fn line(
    name: &'static str,
    kind: Kind,
    synonym: Option<&'static str>,
    default: Option<&'static str>,
    effect: Effect,
    doc: &'static str,
) -> OwnSetting {
    OwnSetting { setting: Setting { name, kind, default, update: Update::Dynamic, effect, doc }, synonym }
}

macro_rules! topic_config {
    ($($(#[doc = $doc:literal])+ $field:ident: $type:ty = $name:literal, $kind:expr, $synonym:literal $(, $not_yet:ident)?;)+) => {
        /// One topic's settings as code uses them, made of what the topic and the broker set. Sizes are bytes; `None`
        /// is "no limit".
        #[derive(Debug, Clone, PartialEq)]
        pub struct TopicConfig {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        impl TopicConfig {
            pub fn new(topic: &TopicOverrides, broker: &BrokerSettings) -> TopicConfig {
                let value = |name| super::find(name).expect("the table has its own names").effective(topic, broker);
                TopicConfig { $($field: <$type>::read($name, &value($name)),)+ }
            }
        }

        fn typed() -> Vec<OwnSetting> {
            vec![$(line($name, $kind, Some($synonym), None, effect!($($not_yet)?), concat!($($doc, "\n"),+)),)+]
        }

        /// Fields and whether anything acts on them.
        #[cfg(test)]
        pub(crate) const FIELDS: &[(&str, Effect)] = &[$((stringify!($field), effect!($($not_yet)?)),)+];
    };
}

const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

topic_config! {
    /// What happens to old records: `delete` drops whole segments by age and size, `compact` keeps the newest record
    /// of each key, both do both, and an empty list keeps everything.
    cleanup: Cleanup = "cleanup.policy", Kind::ListOf(&["compact", "delete"]), "log.cleanup.policy";

    /// Under `delete`: a segment whose newest record is older goes. -1: never.
    retention: Option<Duration> = "retention.ms", long(-1), "log.retention.ms";

    /// Under `delete`: the oldest segments go while the partition without them would still hold so many bytes. -1: no
    /// limit.
    retention_bytes: Option<u64> = "retention.bytes", long(i64::MIN), "log.retention.bytes";

    /// A new segment begins before the present one grows beyond so many bytes.
    segment_bytes_max: u32 = "segment.bytes", int(1024 * 1024), "log.segment.bytes";

    /// A new segment begins when the present one's first record is so old.
    segment_age_max: Duration = "segment.ms", long(1), "log.roll.ms";

    /// Largest batch that is taken from a producer, as it was sent (compressed or not).
    message_bytes_max: u32 = "max.message.bytes", int(0), "message.max.bytes";

    /// Largest single record that is taken from a producer, once decompressed.
    decompressed_message_bytes_max: u32 =
        "max.decompressed.message.bytes", int_between(1, 2147483639), "max.decompressed.message.bytes";

    /// `CreateTime`: a record keeps the time its producer gave it. `LogAppendTime`: it gets the broker's.
    timestamp_type: TimestampType =
        "message.timestamp.type", Kind::OneOf(&["CreateTime", "LogAppendTime"]), "log.message.timestamp.type";

    /// Under `CreateTime`: a record that is older than this is refused.
    timestamp_before_max: Duration =
        "message.timestamp.before.max.ms", long(0), "log.message.timestamp.before.max.ms";

    /// Under `CreateTime`: a record that is further ahead of the broker's clock is refused.
    timestamp_after_max: Duration = "message.timestamp.after.max.ms", long(0), "log.message.timestamp.after.max.ms";

    /// How batches are stored: `producer` as they were sent, anything else compressed anew where it differs.
    compression: Compression = "compression.type", Kind::OneOf(CODECS), "compression.type";

    /// Level, where `compression.type` is `gzip` and a batch is compressed anew. -1: the codec's own default.
    compression_gzip_level: i32 =
        "compression.gzip.level", Kind::IntOr { min: 1, max: 9, or: -1 }, "compression.gzip.level", not_yet;

    /// Level, where `compression.type` is `zstd` and a batch is compressed anew.
    compression_zstd_level: i32 = "compression.zstd.level", int_between(-131072, 22), "compression.zstd.level", not_yet;

    /// Records are acknowledged once they are on the disk (fsync) when this is 1, which is Levada's default. Above 1
    /// they are acknowledged once they are written, and synced after at most so many records.
    flush_messages: i64 = "flush.messages", long(1), "log.flush.interval.messages";

    /// Where `flush.messages` is above 1: records are synced after at most so long.
    flush_interval: Duration = "flush.ms", long(0), "log.flush.interval.ms";

    /// Under `compact`: the share of a partition that must be uncleaned before it is cleaned.
    compaction_dirty_ratio_min: f64 =
        "min.cleanable.dirty.ratio", Kind::Double { min: 0.0, max: 1.0 }, "log.cleaner.min.cleanable.ratio";

    /// Under `compact`: how long a deletion mark stays for readers to see.
    tombstone_retention: Duration = "delete.retention.ms", long(0), "log.cleaner.delete.retention.ms";

    /// Under `compact`: a record stays at least so long.
    compaction_lag_min: Duration = "min.compaction.lag.ms", long(0), "log.cleaner.min.compaction.lag.ms";

    /// Under `compact`: a record is cleaned after at most so long, whatever the ratio says.
    compaction_lag_max: Duration = "max.compaction.lag.ms", long(1), "log.cleaner.max.compaction.lag.ms";

    /// Up to so much is taken off `segment.ms`, by chance, so that segments do not begin all at once.
    segment_jitter_max: Duration = "segment.jitter.ms", long(0), "log.roll.jitter.ms";

    /// Most bytes of a segment's offset index; a full one begins a new segment.
    segment_index_bytes_max: u32 = "segment.index.bytes", int(4), "log.index.size.max.bytes";

    /// About how many bytes lie between two entries of the offset index.
    index_interval_bytes: u32 = "index.interval.bytes", int(0), "log.index.interval.bytes";
}

fn accepted() -> Vec<OwnSetting> {
    let behind = |name, kind, synonym, doc| line(name, kind, Some(synonym), None, Effect::Accepted, doc);
    let alone = |name, kind, default, doc| line(name, kind, None, Some(default), Effect::Accepted, doc);
    const TIERED: &str = "Tiered storage is not available.";
    const ONE_COPY: &str = "Replication: there is one copy of a topic, on one broker.";
    vec![
        behind(
            "compression.lz4.level",
            int_between(1, 17),
            "compression.lz4.level",
            "Level, where `compression.type` is `lz4`. Levada has one LZ4 level.",
        ),
        behind(
            "min.insync.replicas",
            int(1),
            "min.insync.replicas",
            "There is one copy, and it is in sync: values above 1 are taken as 1.",
        ),
        behind("unclean.leader.election.enable", Kind::Boolean, "unclean.leader.election.enable", ONE_COPY),
        behind(
            "file.delete.delay.ms",
            long(0),
            "log.segment.delete.delay.ms",
            "Levada deletes a segment's files when nobody reads them any more.",
        ),
        behind(
            "preallocate",
            Kind::Boolean,
            "log.preallocate",
            "Whether segment files are allocated in full at once.",
        ),
        behind("local.retention.ms", long(-2), "log.local.retention.ms", TIERED),
        behind("local.retention.bytes", long(-2), "log.local.retention.bytes", TIERED),
        behind("remote.copy.lag.ms", long(-1), "log.remote.copy.lag.ms", TIERED),
        behind("remote.copy.lag.bytes", long(-1), "log.remote.copy.lag.bytes", TIERED),
        alone(
            "remote.storage.enable",
            Kind::Boolean,
            "false",
            "Tiered storage is not available: `true` is refused.",
        ),
        alone("remote.log.copy.disable", Kind::Boolean, "false", TIERED),
        alone("remote.log.delete.on.disable", Kind::Boolean, "false", TIERED),
        alone("leader.replication.throttled.replicas", Kind::ThrottledReplicas, "", ONE_COPY),
        alone("follower.replication.throttled.replicas", Kind::ThrottledReplicas, "", ONE_COPY),
        alone(
            "errors.deadletterqueue.group.enable",
            Kind::Boolean,
            "false",
            "Whether share groups may write undeliverable records into this topic.",
        ),
    ]
}
