use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters of one storage directory since it was opened.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Groups written to the write-ahead log.
    pub groups: Counter,
    /// Batches appended.
    pub batches: Counter,
    /// Bytes of batches appended.
    pub produced_bytes: Counter,
    /// Bytes written to the write-ahead log.
    pub wal_bytes: Counter,
    /// Bytes of large batches written straight to segments.
    pub direct_bytes: Counter,
    /// Bytes written to segments by rolling up.
    pub roll_up_bytes: Counter,
    /// Bytes written to indexes and checkpoints.
    pub other_bytes: Counter,
    /// Bytes waiting in the write-ahead log to be rolled up.
    pub pending_bytes: Gauge,
    /// Batches waiting in the write-ahead log to be rolled up.
    pub pending_batches: Gauge,
    /// Times producing had to wait for rolling up.
    pub stalls: Counter,
    /// Reads answered from memory, and those that went to the disk.
    pub tail_hits: Counter,
    pub tail_misses: Counter,
    /// Produce requests refused because the disk is full.
    pub disk_full: Counter,
    /// Syncs of groups, by duration.
    pub syncs: Histogram,
    /// Partitions compacted, and bytes that this has freed.
    pub compactions: Counter,
    pub compacted_bytes: Counter,
    /// Batches found damaged.
    pub damaged_batches: Counter,
}

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Durations counted in buckets whose bounds double.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; Histogram::BUCKETS],
    sum_micros: AtomicU64,
}

impl Histogram {
    /// The last bucket takes everything above the bounds.
    pub const BUCKETS: usize = 20;

    /// The upper bound of a bucket: 16 µs, 32 µs, … 4 s; none for the last.
    pub fn bound(bucket: usize) -> Option<Duration> {
        (bucket + 1 < Histogram::BUCKETS).then(|| Duration::from_micros(16 << bucket))
    }

    pub fn record(&self, duration: Duration) {
        let micros = duration.as_micros() as u64;
        let bucket = (micros.div_ceil(16).max(1).next_power_of_two().ilog2() as usize).min(Self::BUCKETS - 1);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// How many durations fell into each bucket.
    pub fn counts(&self) -> [u64; Histogram::BUCKETS] {
        std::array::from_fn(|i| self.buckets[i].load(Ordering::Relaxed))
    }

    pub fn count(&self) -> u64 {
        self.counts().iter().sum()
    }

    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_micros.load(Ordering::Relaxed))
    }
}
