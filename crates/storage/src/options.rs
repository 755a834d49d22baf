//! What the log can be told. `Options` are one process's choice; a partition's [`LogConfig`] is shared by all.

use std::path::PathBuf;
use std::time::Duration;

const KIB: usize = 1024;
const MIB: u64 = 1024 * 1024;

/// Settings of one storage directory.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Number of write-ahead logs, each with a thread of its own. A partition keeps its shard when this changes.
    pub shards: usize,
    /// Upper bound of one shard's write-ahead log. The oldest file is rolled up into segments before the log
    /// would outgrow this; when that cannot keep up, producing slows down.
    pub wal_bytes_max: u64,
    /// Size of one file of the write-ahead log: the unit of rolling up and recycling.
    pub wal_file_bytes: u64,
    /// Batches of at least this size go straight to their partition's segment; the write-ahead log only names them.
    pub direct_batch_bytes_min: usize,
    /// Roll up and checkpoint after this many bytes of large batches, so that recovery stays short.
    pub direct_bytes_per_checkpoint: u64,
    /// Recent batches kept in memory for consumers at the tail, per shard.
    pub tail_bytes_max: usize,
    /// Batches that may wait in the write-ahead log for being rolled up, per shard; each takes about 64 bytes of
    /// memory. At half of it rolling up begins early; at all of it producing waits.
    pub pending_batches_max: usize,
    /// Requests that may wait for a shard.
    pub queue_requests_max: usize,
    /// Bytes of batches that may wait for a shard or be in its hands.
    pub queue_bytes_max: usize,
    /// Bytes written with one sync at most.
    pub group_bytes_max: usize,
    /// How often retention is looked at (Kafka's `log.retention.check.interval.ms`).
    pub retention_check_interval: Duration,
    /// A checkpoint is written at least this often while something changes.
    pub checkpoint_interval: Duration,
    /// Topics with relaxed flushing are synced at least this often, whatever they ask for.
    pub relaxed_sync_interval: Duration,
    /// A producer's sequences are forgotten this long after its last append (Kafka's `producer.id.expiration.ms`).
    pub producer_id_expiration: Duration,
    /// Producing stops while the disk has less room than this, so that deleting and checkpoints still work.
    pub disk_free_bytes_min: u64,
    /// Room set aside for writing a checkpoint on a full disk, per shard.
    pub checkpoint_reserve_bytes: u64,
    /// Segment files kept open for reading, per shard.
    pub open_segments_max: usize,
    /// Whether compacted topics are compacted at all (Kafka's `log.cleaner.enable`).
    pub compacts: bool,
    pub compaction: CompactionOptions,
    /// A batch that decompresses to more is left as it is.
    pub compaction_batch_bytes_max: usize,
}

/// How the process compacts; can be changed while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionOptions {
    /// How often it is looked for something to compact (Kafka's `log.cleaner.backoff.ms`).
    pub interval: Duration,
    /// Memory for the map from keys to their newest offsets (Kafka's `log.cleaner.dedupe.buffer.size`).
    pub map_bytes_max: usize,
    /// Bytes a second that are read and written for it, all shards together, on the average; `None` is as many as it
    /// can (Kafka's `log.cleaner.io.max.bytes.per.second`).
    pub io_bytes_per_second_max: Option<u64>,
}

impl Default for CompactionOptions {
    fn default() -> CompactionOptions {
        CompactionOptions {
            interval: Duration::from_secs(15),
            map_bytes_max: 128 * MIB as usize,
            io_bytes_per_second_max: None,
        }
    }
}

impl Options {
    pub fn new(data_dir: impl Into<PathBuf>) -> Options {
        Options {
            data_dir: data_dir.into(),
            shards: 1,
            wal_bytes_max: 512 * MIB,
            wal_file_bytes: 64 * MIB,
            direct_batch_bytes_min: 32 * KIB,
            direct_bytes_per_checkpoint: 512 * MIB,
            tail_bytes_max: 64 * MIB as usize,
            pending_batches_max: 512 * 1024,
            queue_requests_max: 16 * 1024,
            queue_bytes_max: 64 * MIB as usize,
            group_bytes_max: 8 * MIB as usize,
            retention_check_interval: Duration::from_secs(300),
            checkpoint_interval: Duration::from_secs(60),
            relaxed_sync_interval: Duration::from_secs(1),
            producer_id_expiration: Duration::from_secs(24 * 3600),
            disk_free_bytes_min: 64 * MIB,
            checkpoint_reserve_bytes: 4 * MIB,
            open_segments_max: 512,
            compacts: true,
            compaction: CompactionOptions::default(),
            compaction_batch_bytes_max: 256 * MIB as usize,
        }
    }
}

impl Options {
    /// At least three: one being written, one being rolled up, one in between.
    pub(crate) fn wal_files_max(&self) -> u32 {
        (self.wal_bytes_max / self.wal_file_bytes.max(1)).clamp(3, 1000) as u32
    }
}

/// How one partition is kept; the topic configs that concern the log, as plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `cleanup.policy` contains `delete`.
    pub delete: bool,
    /// `cleanup.policy` contains `compact`.
    pub compact: bool,
    /// `retention.ms`; none: for ever.
    pub retention: Option<Duration>,
    /// `retention.bytes`; none: unlimited. The log never shrinks below it.
    pub retention_bytes: Option<u64>,
    /// `segment.bytes`
    pub segment_bytes: u64,
    /// `segment.ms`
    pub segment_roll: Duration,
    /// `segment.jitter.ms`: up to this much is taken off `segment_roll`, by chance.
    pub segment_jitter: Duration,
    /// `index.interval.bytes`
    pub index_interval_bytes: u32,
    /// `segment.index.bytes`
    pub segment_index_bytes: u32,
    /// `flush.messages`: sync after this many unsynced records. 1 (our default): before every acknowledgement.
    pub flush_messages: u64,
    /// `flush.ms`: sync unsynced records after this time. Only with `flush_messages` above 1.
    pub flush_interval: Option<Duration>,
    pub compaction: CompactionConfig,
}

/// How a compacted partition is compacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionConfig {
    /// `min.cleanable.dirty.ratio`, in thousandths: it is time when so much of the log was not compacted yet.
    pub dirty_permille: u32,
    /// `delete.retention.ms`: how long a tombstone stays after it was first seen.
    pub delete_retention: Duration,
    /// `min.compaction.lag.ms`: a record is left alone for so long.
    pub lag_min: Duration,
    /// `max.compaction.lag.ms`: after so long it is time, whatever the ratio says.
    pub lag_max: Duration,
}

impl Default for CompactionConfig {
    fn default() -> CompactionConfig {
        CompactionConfig {
            dirty_permille: 500,
            delete_retention: Duration::from_secs(24 * 3600),
            lag_min: Duration::ZERO,
            // Kafka's "never".
            lag_max: Duration::from_millis(i64::MAX as u64),
        }
    }
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig {
            delete: true,
            compact: false,
            retention: Some(Duration::from_secs(7 * 24 * 3600)),
            retention_bytes: None,
            segment_bytes: 1024 * MIB,
            segment_roll: Duration::from_secs(7 * 24 * 3600),
            segment_jitter: Duration::ZERO,
            index_interval_bytes: 4096,
            segment_index_bytes: 10 * MIB as u32,
            flush_messages: 1,
            flush_interval: None,
            compaction: CompactionConfig::default(),
        }
    }
}

impl LogConfig {
    /// For a partition whose settings are lost: nothing of it goes until it is configured.
    pub(crate) fn unknown() -> LogConfig {
        LogConfig { delete: false, ..LogConfig::default() }
    }

    /// The age at which a segment is complete (`segment.ms`; a compacted one in time for `max.compaction.lag.ms`).
    pub(crate) fn roll_after(&self) -> Duration {
        if self.compact { self.segment_roll.min(self.compaction.lag_max) } else { self.segment_roll }
    }

    /// Whether an append is acknowledged only after it was synced.
    pub fn is_durable(&self) -> bool {
        self.flush_messages <= 1
    }
}
