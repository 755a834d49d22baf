//! What the broker counts, as OpenMetrics text.

mod groups;
mod logs;
mod topics;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use model::Timestamp;
use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use wire::{ApiKey, ErrorCode};

use self::groups::GroupGauges;
use self::logs::LogGauges;
use self::topics::TopicTraffic;
pub(crate) use self::topics::Traffic;
use crate::Parts;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Api {
    api: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ApiError {
    api: &'static str,
    code: &'static str,
}

type Latency = Family<Api, Histogram, fn() -> Histogram>;

/// Counters of the network side, and the registry over everything.
pub struct Metrics {
    requests: Family<Api, Counter>,
    errors: Family<ApiError, Counter>,
    latency: Latency,
    waits: Latency,
    topic_traffic: TopicTraffic,
    groups: Mutex<GroupGauges>,
    logs: Mutex<LogGauges>,
    received: Counter,
    sent: Counter,
    transactions_asked: Counter,
    connections: Gauge,
    topics: Gauge,
    partitions: Gauge,
    request_memory: Gauge,
    fetch_sessions: Gauge,
    storage: StorageCounters,
    registry: Mutex<Registry>,
}

/// 100 µs to about 3 s.
fn latency_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 16))
}

/// Storage counts by itself; these take over its values whenever someone looks.
#[derive(Default)]
struct StorageCounters {
    groups: Counter<u64, AtomicU64>,
    syncs: SyncTimes,
    batches: Counter<u64, AtomicU64>,
    produced_bytes: Counter<u64, AtomicU64>,
    wal_bytes: Counter<u64, AtomicU64>,
    direct_bytes: Counter<u64, AtomicU64>,
    roll_up_bytes: Counter<u64, AtomicU64>,
    tail_hits: Counter<u64, AtomicU64>,
    tail_misses: Counter<u64, AtomicU64>,
    stalls: Counter<u64, AtomicU64>,
    disk_full: Counter<u64, AtomicU64>,
    damaged_batches: Counter<u64, AtomicU64>,
    damaged_partitions: Gauge,
    pending_bytes: Gauge,
}

/// The storage's own histogram, as it was when someone looked.
#[derive(Clone, Debug, Default)]
struct SyncTimes(Arc<Mutex<Times>>);

#[derive(Debug, Default)]
struct Times {
    sum: Duration,
    /// Upper bound in seconds, and how many are in each.
    buckets: Vec<(f64, u64)>,
}

impl SyncTimes {
    fn set(&self, times: &storage::Histogram) {
        let bound =
            |bucket| storage::Histogram::bound(bucket).map_or(f64::INFINITY, |bound| bound.as_secs_f64());
        let buckets = times.counts().into_iter().enumerate().map(|(bucket, count)| (bound(bucket), count));
        *self.0.lock() = Times { sum: times.sum(), buckets: buckets.collect() };
    }
}

impl EncodeMetric for SyncTimes {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        let times = self.0.lock();
        let count = times.buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(times.sum.as_secs_f64(), count, &times.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl Metrics {
    pub fn new(started_at: Timestamp) -> Self {
        let metrics = Metrics {
            requests: Family::default(),
            errors: Family::default(),
            waits: Family::new_with_constructor(latency_buckets as fn() -> Histogram),
            topic_traffic: TopicTraffic::default(),
            groups: Mutex::default(),
            logs: Mutex::default(),
            latency: Family::new_with_constructor(latency_buckets as fn() -> Histogram),
            received: Counter::default(),
            sent: Counter::default(),
            transactions_asked: Counter::default(),
            connections: Gauge::default(),
            topics: Gauge::default(),
            partitions: Gauge::default(),
            request_memory: Gauge::default(),
            fetch_sessions: Gauge::default(),
            storage: StorageCounters::default(),
            registry: Mutex::new(Registry::default()),
        };
        metrics.register(started_at);
        metrics
    }

    fn register(&self, started_at: Timestamp) {
        let mut registry = self.registry.lock();
        // The name that every Prometheus library gives it.
        let start_time = Gauge::<f64, AtomicU64>::default();
        start_time.set(started_at.0 as f64 / 1000.0);
        let help = "When the process began to serve, in seconds since 1970";
        registry.register_with_unit("process_start_time", help, Unit::Seconds, start_time);
        let registry = registry.sub_registry_with_prefix("levada");
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version that runs", build);
        registry.register("requests", "Requests answered, by API", self.requests.clone());
        let help = "Error codes in answers, by API; an answer may hold several";
        registry.register("errors", help, self.errors.clone());
        let help = "From the arrival of a request to its answer, without the wait that its client asked for";
        registry.register_with_unit("request_latency", help, Unit::Seconds, self.latency.clone());
        let help = "How long requests waited as their clients asked: Fetch, until there were enough records";
        registry.register_with_unit("request_wait", help, Unit::Seconds, self.waits.clone());
        self.topic_traffic.register(registry);
        self.groups.lock().register(registry);
        self.logs.lock().register(registry);
        registry.register_with_unit("received", "Bytes of requests", Unit::Bytes, self.received.clone());
        registry.register_with_unit("sent", "Bytes of responses", Unit::Bytes, self.sent.clone());
        let help = "Requests that belong to transactions, which are not served yet: they are refused, or lead nowhere";
        registry.register("transactional_requests", help, self.transactions_asked.clone());
        registry.register("connections", "Open Kafka connections", self.connections.clone());
        registry.register("topics", "Topics", self.topics.clone());
        registry.register("partitions", "Partitions", self.partitions.clone());
        let help = "Memory reserved for requests under way";
        registry.register_with_unit("request_memory", help, Unit::Bytes, self.request_memory.clone());
        registry.register("fetch_sessions", "Open fetch sessions", self.fetch_sessions.clone());
        let storage = &self.storage;
        let registry = registry.sub_registry_with_prefix("storage");
        registry.register("groups", "Group commits", storage.groups.clone());
        registry.register_with_unit("sync", "Syncs of the log", Unit::Seconds, storage.syncs.clone());
        registry.register("batches", "Batches appended", storage.batches.clone());
        registry.register("produced_bytes", "Bytes of batches appended", storage.produced_bytes.clone());
        registry.register("wal_bytes", "Bytes written to the write-ahead log", storage.wal_bytes.clone());
        registry.register("direct_bytes", "Bytes written straight to segments", storage.direct_bytes.clone());
        registry.register("roll_up_bytes", "Bytes rolled up into segments", storage.roll_up_bytes.clone());
        registry.register("tail_hits", "Reads answered from memory", storage.tail_hits.clone());
        registry.register("tail_misses", "Reads that went to the disk", storage.tail_misses.clone());
        registry.register("stalls", "Times producing waited for rolling up", storage.stalls.clone());
        registry.register("disk_full", "Appends refused because the disk is full", storage.disk_full.clone());
        registry.register("damaged_batches", "Batches found damaged", storage.damaged_batches.clone());
        let help = "Partitions that are read-only, because records of them are known to be damaged";
        registry.register("damaged_partitions", help, storage.damaged_partitions.clone());
        registry.register("pending_bytes", "Bytes waiting to be rolled up", storage.pending_bytes.clone());
    }

    pub(crate) fn transactions_asked(&self) {
        self.transactions_asked.inc();
    }

    pub(crate) fn connection_opened(&self) {
        self.connections.inc();
    }

    pub(crate) fn connection_closed(&self) {
        self.connections.dec();
    }

    /// `waited` is a part of `took`.
    pub(crate) fn request(
        &self,
        api: ApiKey,
        took: Duration,
        waited: Duration,
        request_bytes: usize,
        response_bytes: usize,
    ) {
        let label = Api { api: api.name() };
        self.requests.get_or_create(&label).inc();
        self.latency.get_or_create(&label).observe(took.saturating_sub(waited).as_secs_f64());
        if !waited.is_zero() {
            self.waits.get_or_create(&label).observe(waited.as_secs_f64());
        }
        self.received.inc_by(request_bytes as u64 + 4);
        self.sent.inc_by(response_bytes as u64);
    }

    /// Counts the error codes of an answer.
    pub(crate) fn errors<R: wire::Response>(&self, response: &R) {
        response.error_codes(&mut |code| {
            if code != 0 {
                let code = ErrorCode::try_from(code).map_or("unknown", ErrorCode::name);
                self.errors.get_or_create(&ApiError { api: R::KEY.name(), code }).inc();
            }
        });
    }

    /// The counters of a topic.
    pub(crate) fn topic(&self, name: &str) -> Arc<Traffic> {
        self.topic_traffic.of(name)
    }

    pub(crate) async fn text(&self, parts: &Parts) -> String {
        let seen = groups::look(parts).await;
        let topics = parts.topics.all();
        self.topic_traffic.forget_unless(|name| parts.topics.by_name(name).is_some());
        self.topics.set(topics.len() as i64);
        self.partitions.set(topics.iter().map(|topic| topic.partitions.len() as i64).sum());
        self.request_memory
            .set((parts.request_budget.reserved_bytes() + parts.decoded_budget.reserved_bytes()) as i64);
        self.fetch_sessions.set(parts.sessions.count() as i64);
        self.storage.take(parts.storage.metrics());
        self.storage.damaged_partitions.set(parts.storage.damaged_count() as i64);
        // Until the text is written: another one may be under way, and clears the gauges.
        let mut groups = self.groups.lock();
        groups.set(seen);
        let logs = self.logs.lock();
        logs.set(&topics);
        let mut out = String::new();
        text::encode(&mut out, &self.registry.lock()).expect("a string takes everything");
        out
    }
}

impl StorageCounters {
    fn take(&self, metrics: &storage::Metrics) {
        let set = |counter: &Counter<u64, AtomicU64>, value: u64| {
            counter.inc_by(value.saturating_sub(counter.get()));
        };
        set(&self.groups, metrics.groups.value());
        self.syncs.set(&metrics.syncs);
        set(&self.batches, metrics.batches.value());
        set(&self.produced_bytes, metrics.produced_bytes.value());
        set(&self.wal_bytes, metrics.wal_bytes.value());
        set(&self.direct_bytes, metrics.direct_bytes.value());
        set(&self.roll_up_bytes, metrics.roll_up_bytes.value());
        set(&self.tail_hits, metrics.tail_hits.value());
        set(&self.tail_misses, metrics.tail_misses.value());
        set(&self.stalls, metrics.stalls.value());
        set(&self.disk_full, metrics.disk_full.value());
        set(&self.damaged_batches, metrics.damaged_batches.value());
        self.pending_bytes.set(metrics.pending_bytes.value() as i64);
    }
}
