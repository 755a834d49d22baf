//! The table of the process's settings, in four parts: those with a typed field, the defaults of topic settings (typed
//! in [`crate::topic`]), what is behind group settings (beside this file), and those that are accepted without effect.
//!
//! A setting that gains an effect loses its `not_yet`, or moves from the last part to the first and gets a field there. A
//! test looks whether anything reads the field.

use std::sync::LazyLock;
use std::time::Duration;

use super::{BrokerSettings, GroupMigration};
use crate::kind::{Kind, int, int_between, long};
use crate::typed::Typed;
use crate::{Effect, Listener, Setting, Update};

/// The whole table, sorted by name.
pub(super) fn all() -> &'static [Setting] {
    static ALL: LazyLock<Vec<Setting>> = LazyLock::new(|| {
        let mut all = typed();
        all.extend(topic_defaults());
        all.extend(super::groups::lines());
        all.extend(accepted());
        all.sort_by_key(|setting| setting.name);
        all
    });
    &ALL
}

macro_rules! broker_options {
    ($($(#[doc = $doc:literal])+ $field:ident: $type:ty = $name:literal, $kind:expr, $default:literal, $update:ident $(, $not_yet:ident)?;)+) => {
        /// The process's settings as code uses them. Sizes are bytes; `None` is "no limit".
        #[derive(Debug, Clone, PartialEq)]
        pub struct BrokerOptions {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        impl BrokerOptions {
            pub(super) fn read(settings: &BrokerSettings) -> BrokerOptions {
                BrokerOptions {
                    $($field: <$type>::read($name, settings.value($name).unwrap_or($default)),)+
                }
            }
        }

        fn typed() -> Vec<Setting> {
            vec![$(Setting {
                name: $name,
                kind: $kind,
                default: Some($default),
                update: Update::$update,
                effect: effect!($($not_yet)?),
                doc: concat!($($doc, "\n"),+),
            },)+]
        }

        /// Fields and whether anything acts on them.
        #[cfg(test)]
        pub(crate) const FIELDS: &[(&str, Effect)] = &[$((stringify!($field), effect!($($not_yet)?)),)+];
    };
}

const MIB: i64 = 1024 * 1024;

const MIGRATIONS: Kind = Kind::OneOf(&["disabled", "upgrade", "downgrade", "bidirectional"]);

broker_options! {
    // ---- The process -----------------------------------------------------------------------------------------------

    /// Number of this broker, as clients see it.
    node_id: i32 = "node.id", int(0), "0", ReadOnly;

    /// The folder that holds everything Levada stores. One folder: Kafka's list of several is not available.
    data_dir: String = "log.dirs", Kind::List, "data", ReadOnly;

    /// Whether Levada refuses to start where the data directory does not exist or holds no data of an earlier start, as
    /// where its disk is not mounted: for production, after the first start. Without it, a directory whose parent exists
    /// is created, which is said in the log.
    data_dir_must_exist: bool = "levada.data.dir.must.exist", Kind::Boolean, "false", ReadOnly;

    /// Where the Kafka protocol is served, as `PLAINTEXT://host:port`. Port 0 takes a free one. An address that other
    /// machines can reach needs `levada.listen.insecure.allow`, as long as there is no authentication.
    listener: Listener = "listeners", Kind::List, "PLAINTEXT://127.0.0.1:9092", ReadOnly;

    /// The address that clients are told to connect to, as `PLAINTEXT://host:port`. Empty: the address on which the
    /// client reached the broker, which is right on plain hosts and wrong behind a port map or NAT.
    advertised_listener: Option<Listener> = "advertised.listeners", Kind::List, "", ReadOnly;

    /// Where HTTP is served: `/metrics`, `/healthz`, `/readyz`, the API of the event store (`/v1`, described in
    /// `/openapi.json`, to be tried in `/docs`). Empty switches it off, and the event store with it.
    http_listen: String = "levada.http.listen", Kind::Text, "127.0.0.1:8080", ReadOnly;

    /// Bytes that the requests and answers of the HTTP doors (HTTP, streams of events, gRPC) may take together: what comes
    /// as it comes, and what is answered until it is sent. Whoever has no room is answered 503 with `retry-after`
    /// (`RESOURCE_EXHAUSTED` over gRPC), or waits for the next page of a stream. A quarter is kept for small ones.
    http_memory_bytes: u64 = "levada.http.memory.bytes", long(16 * MIB), "268435456", ReadOnly;

    /// The URL at which other instances of Levada reach this one's HTTP door, such as `http://10.0.0.7:8080`. Empty: the
    /// address that it listens on. No two instances may have the same.
    http_advertised: String = "levada.http.advertised.url", Kind::Text, "", ReadOnly;

    /// Names by which the HTTP door may be asked for (the header `Host`), with commas between them, beside IP addresses,
    /// `localhost` and the name in `levada.http.advertised.url`. Requests for other names are refused with 421: a web page
    /// can have its own name mean this machine. `*`: all names are served.
    http_hosts: String = "levada.http.hosts", Kind::List, "", ReadOnly;

    /// Origins of web pages that may use the HTTP door, such as `https://shop.example`, with commas between them, beside the
    /// pages of the door itself. Requests from pages of other origins are refused with 403. `*`: all may.
    http_origins: String = "levada.http.origins", Kind::List, "", ReadOnly;

    /// A Kafka cluster to run on, as `host:port`, several with commas between them. Then no broker is started: what is
    /// built on Kafka (the event store) works on that cluster. Empty: the broker in this process.
    kafka_bootstrap: String = "levada.kafka.bootstrap.servers", Kind::Text, "", ReadOnly;

    /// A client properties file in Kafka's format (`security.protocol`, `ssl.…`, `sasl.…`, `bootstrap.servers`,
    /// `request.timeout.ms`, and `replication.factor` for topics that are made) that says how that cluster is reached:
    /// see docs/events.md. With or instead of `levada.kafka.bootstrap.servers`, which wins over the file's
    /// `bootstrap.servers`.
    kafka_properties: String = "levada.kafka.client.properties.file", Kind::Text, "", ReadOnly;

    /// Instances with the same group share the event store's partitions.
    events_group: String = "levada.events.group.id", Kind::Text, "lv.own.events", ReadOnly;

    /// An instance that was not heard of for so long has lost its partitions of the event store to the others.
    events_session_timeout: Duration = "levada.events.session.timeout.ms", int(1), "6000", ReadOnly;

    /// How often an instance says that it is there.
    events_heartbeat_interval: Duration = "levada.events.heartbeat.interval.ms", int(1), "1000", ReadOnly;

    /// Partitions of a category of events that is created without a number of them. They can never be changed.
    events_partitions: i32 = "levada.events.partitions", int(1), "16", ReadOnly;

    /// The file with the key that encrypts the keys of subjects, whose personal data in events can be erased: 32 bytes in
    /// base64. Every instance needs the same. Empty: `patterns/master.key` in the data folder, made when it is first needed.
    events_master_key_file: String = "levada.events.master.key.file", Kind::Text, "", ReadOnly;

    /// Lets Levada listen on an address that other machines can reach although nothing asks them who they are.
    listen_insecure_allow: bool = "levada.listen.insecure.allow", Kind::Boolean, "false", ReadOnly;

    /// The form of the process's own log lines on standard error.
    log_format: String = "levada.log.format", Kind::OneOf(&["text", "json"]), "text", ReadOnly;

    /// Which log lines are written: a level (`off`, `error`, `warn`, `info`, `debug`, `trace`), or a filter by module such
    /// as `info,storage=debug`. Modules are `levada` (the process itself), `broker`, `storage`, `coordinators` and the
    /// other crates.
    log_level: String = "levada.log.level", Kind::Text, "info", ReadOnly;

    // ---- Topics ----------------------------------------------------------------------------------------------------

    /// Whether asking for a topic that does not exist creates it, if the client allows that too.
    auto_create_topics: bool = "auto.create.topics.enable", Kind::Boolean, "true", ReadOnly;

    /// Partitions of a topic that is created without a number of them. (Kafka: 1.)
    num_partitions: i32 = "num.partitions", int(1), "4", ReadOnly;

    /// Replication factor of a topic that is created without one. There is one copy on one broker, so more than 1 is
    /// taken as 1, with a warning.
    default_replication_factor: i32 = "default.replication.factor", int(1), "1", ReadOnly;

    /// Whether topics can be deleted.
    delete_topics: bool = "delete.topic.enable", Kind::Boolean, "true", ReadOnly;

    /// How often expired and oversized segments are looked for.
    log_retention_check_interval: Duration = "log.retention.check.interval.ms", long(1), "300000", ReadOnly;

    // ---- Compaction ------------------------------------------------------------------------------------------------

    /// Whether compacted topics are cleaned at all.
    log_cleaner: bool = "log.cleaner.enable", Kind::Boolean, "true", ReadOnly;

    /// How long the cleaner rests when there is nothing to clean; 10 ms at the least.
    log_cleaner_backoff: Duration = "log.cleaner.backoff.ms", long(0), "15000", Dynamic;

    /// Memory for the cleaner's map from keys to offsets.
    log_cleaner_dedupe_bytes_max: u64 = "log.cleaner.dedupe.buffer.size", long(MIB), "134217728", Dynamic;

    /// Most bytes a second that the cleaner reads and writes together, on the average. It moves up to 1 MiB at once and
    /// then rests as long as that may take, a day at the most.
    log_cleaner_io_bytes_per_second_max: f64 = "log.cleaner.io.max.bytes.per.second",
        Kind::Double { min: 0.0, max: f64::MAX }, "1.7976931348623157E308", Dynamic;

    // ---- Requests and connections ----------------------------------------------------------------------------------

    /// Largest request that is read; a larger one closes its connection.
    request_bytes_max: u32 = "socket.request.max.bytes", int(1), "104857600", ReadOnly;

    /// Most connections at once; the next one is closed.
    connections_max: u32 = "max.connections", int(0), "2147483647", Dynamic;

    /// Most connections at once from one address.
    connections_per_ip_max: u32 = "max.connections.per.ip", int(0), "2147483647", Dynamic;

    /// A connection that sends nothing for so long is closed. Below 0: never.
    connection_idle_max: Option<Duration> = "connections.max.idle.ms", long(i64::MIN), "600000", ReadOnly;

    /// Most bytes in one Fetch answer, whatever the client asks for; a larger first batch is sent all the same.
    fetch_bytes_max: u32 = "fetch.max.bytes", int(1024), "57671680", ReadOnly;

    /// Most incremental fetch sessions that are remembered (KIP-227).
    fetch_sessions_max: u32 = "max.incremental.fetch.session.cache.slots", int(0), "1000", ReadOnly;

    // ---- Groups and their offsets ----------------------------------------------------------------------------------

    /// Shortest session timeout that a member of a classic group may ask for.
    group_session_timeout_min: Duration = "group.min.session.timeout.ms", int(0), "6000", ReadOnly;

    /// Longest session timeout that a member of a classic group may ask for.
    group_session_timeout_max: Duration = "group.max.session.timeout.ms", int(0), "1800000", ReadOnly;

    /// Most members of a classic group.
    group_members_max: u32 = "group.max.size", int(1), "2147483647", ReadOnly;

    /// How long an empty classic group waits for more members before its first rebalance. (Kafka: 3000.)
    group_initial_rebalance_delay: Duration = "group.initial.rebalance.delay.ms", int(0), "0", ReadOnly;

    /// Most members of a group under the newer protocol.
    group_consumer_members_max: u32 = "group.consumer.max.size", int(1), "2147483647", ReadOnly;

    /// Which way a group with members may go from one protocol to the other: `upgrade` to the newer one when a member
    /// joins under it, `downgrade` to the classic one when the last such member is gone, both, or neither. A group without
    /// members always goes both ways.
    group_consumer_migration: GroupMigration = "group.consumer.migration.policy", MIGRATIONS, "bidirectional", ReadOnly;

    /// Partitions of `__consumer_offsets`; counts when the topic is created.
    offsets_topic_partitions: i32 = "offsets.topic.num.partitions", int(1), "50", ReadOnly;

    /// Committed offsets of a group that nobody uses are forgotten after so many minutes.
    offsets_retention: Duration = "offsets.retention.minutes", int(1), "10080", ReadOnly;

    /// How often outdated committed offsets are looked for.
    offsets_retention_check_interval: Duration = "offsets.retention.check.interval.ms", long(1), "600000", ReadOnly;

    /// Longest text that a consumer may store with an offset.
    offset_metadata_bytes_max: u32 = "offset.metadata.max.bytes", int(0), "4096", ReadOnly;

    // ---- Producers and transactions --------------------------------------------------------------------------------

    /// An idempotent producer that sends nothing for so long is forgotten; its next batch may start at any sequence.
    producer_id_expiration: Duration = "producer.id.expiration.ms", int(1), "86400000", Dynamic;

    /// Partitions of `__transaction_state`; counts when the topic is created.
    transaction_topic_partitions: i32 = "transaction.state.log.num.partitions", int(1), "50", ReadOnly;

    /// Longest transaction timeout that a producer may ask for.
    transaction_timeout_max: Duration = "transaction.max.timeout.ms", int(1), "900000", ReadOnly;

    /// A transactional id that is not used for so long is forgotten.
    transactional_id_expiration: Duration = "transactional.id.expiration.ms", int(1), "604800000", ReadOnly, not_yet;

    /// How often transactions past their timeout are looked for.
    transaction_abort_interval: Duration =
        "transaction.abort.timed.out.transaction.cleanup.interval.ms", int(1), "10000", ReadOnly, not_yet;

    // ---- Storage and memory, Levada's own --------------------------------------------------------------------------

    /// Most bytes in the write-ahead log before its oldest file is rolled up into the partitions' segments. When the
    /// roll-up lags, producers are slowed down.
    wal_bytes_max: u64 = "levada.wal.bytes.max", long(16 * MIB), "536870912", ReadOnly;

    /// A batch of at least so many bytes goes straight to its partition's segment, and the write-ahead log only names
    /// it, so that it is written once; smaller ones go through the log.
    wal_batch_direct_bytes_min: u64 = "levada.wal.batch.direct.bytes.min", long(0), "32768", ReadOnly;

    /// Storage threads, each with its own write-ahead log. Partitions keep the one they were created on.
    storage_shards: u16 = "levada.storage.shards", int_between(1, 64), "1", ReadOnly;

    /// Most memory that one request may take once it is decoded, beside its bytes as they came (which produced records
    /// stay in); a larger one closes its connection. About 600,000 partitions in one request.
    request_decoded_bytes_max: u32 = "levada.request.decoded.bytes.max", int(64 * 1024), "67108864", ReadOnly;

    /// Partitions that all fetch sessions together may hold (some 250 bytes each); consumers for whom there is no room
    /// are served without a session.
    fetch_session_partitions_max: u32 = "levada.fetch.session.partitions.max", int(0), "200000", ReadOnly;

    /// Memory for requests that are being read, answered or waited on; beyond it, connections wait to be read. Half of it
    /// is for their bytes as they come, half for what they take beside that once they are decoded.
    memory_request_bytes_max: u64 = "levada.memory.request.bytes.max", long(MIB), "268435456", ReadOnly;

    /// Most memory that is kept of what one member of a group says of itself (subscriptions, what it owns, names, an
    /// expression), or of what its group's leader assigned to it; one that says more is refused (INVALID_REQUEST).
    /// Kafka's own bound is 1 MB for a whole group, as it is written; decoded, topics take up to eight times as much.
    group_member_bytes_max: u32 = "levada.group.member.bytes.max", int(64 * 1024), "8388608", ReadOnly;

    /// Memory that is kept of what the members of all groups say of themselves and are assigned; whoever would add to
    /// it beyond that is refused (GROUP_MAX_SIZE_REACHED).
    memory_groups_bytes_max: u64 = "levada.memory.groups.bytes.max", long(MIB), "268435456", ReadOnly;

    /// Memory for the newest batches, from which consumers at the end of a partition are served.
    memory_tail_bytes_max: u64 = "levada.memory.tail.bytes.max", long(0), "67108864", ReadOnly;

    /// Memory for records in answers that consumers have not taken yet; beyond it, others wait or get none for now.
    memory_fetch_bytes_max: u64 = "levada.memory.fetch.bytes.max", long(MIB), "134217728", ReadOnly;

    /// Largest sum of a batch's records once they are decompressed; a larger batch is refused.
    batch_decompressed_bytes_max: u32 =
        "levada.batch.decompressed.bytes.max", int(1024), "134217728", ReadOnly;

    /// How long a client may pause in the middle of a request, or leave a response unread, before it is cut off; each
    /// such time must bring 32 KiB a second on the average. As long, a large request waits for memory.
    socket_stall_max: Duration = "levada.socket.stall.ms", long(1), "30000", ReadOnly;

    /// How long an ordered stop (SIGTERM, Ctrl-C) waits for requests that are under way.
    shutdown_wait_max: Duration = "levada.shutdown.wait.max.ms", long(0), "30000", ReadOnly;
}

const fn line(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    update: Update,
    effect: Effect,
    doc: &'static str,
) -> Setting {
    Setting { name, kind, default, update, effect, doc }
}

/// What a topic setting is when the topic does not set it.
fn topic_defaults() -> Vec<Setting> {
    use Update::{Dynamic, ReadOnly};
    let honoured =
        |name, kind, default, update, doc| line(name, kind, default, update, Effect::Honoured, doc);
    let accepted =
        |name, kind, default, update, doc| line(name, kind, default, update, Effect::Accepted, doc);
    const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
    const TIMESTAMPS: &[&str] = &["CreateTime", "LogAppendTime"];
    const FOREVER: Option<&str> = Some("9223372036854775807");
    vec![
        honoured(
            "log.cleanup.policy",
            Kind::ListOf(&["compact", "delete"]),
            Some("delete"),
            Dynamic,
            "Default of the topic setting `cleanup.policy`.",
        ),
        honoured(
            "log.retention.ms",
            long(-1),
            None,
            Dynamic,
            "Default of the topic setting `retention.ms`. Wins over `log.retention.minutes`, which wins over \
             `log.retention.hours`.",
        ),
        honoured("log.retention.minutes", int(-1), None, ReadOnly, "`log.retention.ms`, in minutes."),
        honoured("log.retention.hours", int(-1), Some("168"), ReadOnly, "`log.retention.ms`, in hours."),
        honoured(
            "log.retention.bytes",
            long(i64::MIN),
            Some("-1"),
            Dynamic,
            "Default of the topic setting `retention.bytes`.",
        ),
        honoured(
            "log.segment.bytes",
            int(MIB),
            Some("1073741824"),
            Dynamic,
            "Default of the topic setting `segment.bytes`.",
        ),
        honoured(
            "log.roll.ms",
            long(1),
            None,
            Dynamic,
            "Default of the topic setting `segment.ms`. Wins over `log.roll.hours`.",
        ),
        honoured("log.roll.hours", int(1), Some("168"), ReadOnly, "`log.roll.ms`, in hours."),
        honoured(
            "log.roll.jitter.ms",
            long(0),
            None,
            Dynamic,
            "Default of the topic setting `segment.jitter.ms`. Wins over `log.roll.jitter.hours`.",
        ),
        honoured("log.roll.jitter.hours", int(0), Some("0"), ReadOnly, "`log.roll.jitter.ms`, in hours."),
        honoured(
            "message.max.bytes",
            int(0),
            Some("1048588"),
            Dynamic,
            "Default of the topic setting `max.message.bytes`.",
        ),
        honoured(
            "max.decompressed.message.bytes",
            int_between(1, 2147483639),
            Some("2147483639"),
            Dynamic,
            "Default of the topic setting of the same name.",
        ),
        honoured(
            "log.message.timestamp.type",
            Kind::OneOf(TIMESTAMPS),
            Some("CreateTime"),
            Dynamic,
            "Default of the topic setting `message.timestamp.type`.",
        ),
        honoured(
            "log.message.timestamp.before.max.ms",
            long(0),
            FOREVER,
            Dynamic,
            "Default of the topic setting `message.timestamp.before.max.ms`.",
        ),
        honoured(
            "log.message.timestamp.after.max.ms",
            long(0),
            Some("3600000"),
            Dynamic,
            "Default of the topic setting `message.timestamp.after.max.ms`.",
        ),
        honoured(
            "compression.type",
            Kind::OneOf(CODECS),
            Some("producer"),
            Dynamic,
            "Default of the topic setting of the same name.",
        ),
        accepted(
            "compression.gzip.level",
            Kind::IntOr { min: 1, max: 9, or: -1 },
            Some("-1"),
            Dynamic,
            "Default of the topic setting of the same name.",
        ),
        accepted(
            "compression.lz4.level",
            int_between(1, 17),
            Some("9"),
            Dynamic,
            "Default of the topic setting of the same name.",
        ),
        accepted(
            "compression.zstd.level",
            int_between(-131072, 22),
            Some("3"),
            Dynamic,
            "Default of the topic setting of the same name.",
        ),
        honoured(
            "log.flush.interval.messages",
            long(1),
            Some("1"),
            Dynamic,
            "Default of the topic setting `flush.messages`. **Levada's default is 1: a record is on the disk (fsync) \
             before it is acknowledged**, where Kafka leaves that to the operating system and to replicas \
             (9223372036854775807).",
        ),
        honoured(
            "log.flush.interval.ms",
            long(0),
            None,
            Dynamic,
            "Default of the topic setting `flush.ms`. Wins over `log.flush.scheduler.interval.ms`.",
        ),
        honoured(
            "log.flush.scheduler.interval.ms",
            long(0),
            FOREVER,
            ReadOnly,
            "What `log.flush.interval.ms` is when it is not set.",
        ),
        honoured(
            "log.cleaner.min.cleanable.ratio",
            Kind::Double { min: 0.0, max: 1.0 },
            Some("0.5"),
            Dynamic,
            "Default of the topic setting `min.cleanable.dirty.ratio`.",
        ),
        honoured(
            "log.cleaner.delete.retention.ms",
            long(0),
            Some("86400000"),
            Dynamic,
            "Default of the topic setting `delete.retention.ms`.",
        ),
        honoured(
            "log.cleaner.min.compaction.lag.ms",
            long(0),
            Some("0"),
            Dynamic,
            "Default of the topic setting `min.compaction.lag.ms`.",
        ),
        honoured(
            "log.cleaner.max.compaction.lag.ms",
            long(1),
            FOREVER,
            Dynamic,
            "Default of the topic setting `max.compaction.lag.ms`.",
        ),
        honoured(
            "log.index.interval.bytes",
            int(0),
            Some("4096"),
            Dynamic,
            "Default of the topic setting `index.interval.bytes`.",
        ),
        accepted(
            "min.insync.replicas",
            int(1),
            Some("1"),
            Dynamic,
            "Default of the topic setting of the same name.",
        ),
        accepted(
            "unclean.leader.election.enable",
            Kind::Boolean,
            Some("false"),
            Dynamic,
            "Default of the topic setting of the same name.",
        ),
        honoured(
            "log.index.size.max.bytes",
            int(4),
            Some("10485760"),
            Dynamic,
            "Default of the topic setting `segment.index.bytes`.",
        ),
        accepted(
            "log.segment.delete.delay.ms",
            long(0),
            Some("60000"),
            Dynamic,
            "Default of the topic setting `file.delete.delay.ms`.",
        ),
        accepted(
            "log.preallocate",
            Kind::Boolean,
            Some("false"),
            Dynamic,
            "Default of the topic setting `preallocate`.",
        ),
        accepted(
            "log.local.retention.ms",
            long(-2),
            Some("-2"),
            Dynamic,
            "Default of the topic setting `local.retention.ms`.",
        ),
        accepted(
            "log.local.retention.bytes",
            long(-2),
            Some("-2"),
            Dynamic,
            "Default of the topic setting `local.retention.bytes`.",
        ),
        accepted(
            "log.remote.copy.lag.ms",
            long(-1),
            Some("0"),
            Dynamic,
            "Default of the topic setting `remote.copy.lag.ms`.",
        ),
        accepted(
            "log.remote.copy.lag.bytes",
            long(-1),
            Some("-1"),
            Dynamic,
            "Default of the topic setting `remote.copy.lag.bytes`.",
        ),
    ]
}

/// Names that files and tools written for Kafka carry.
fn accepted() -> Vec<Setting> {
    use Update::{Dynamic, ReadOnly};
    let accepted =
        |name, kind, default, update, doc| line(name, kind, Some(default), update, Effect::Accepted, doc);
    const ONE_COPY: &str = "Replication: there is one copy of a topic, on one broker.";
    const THREADS: &str = "Sizes a thread pool of Kafka's that Levada does not have.";
    vec![
        accepted("process.roles", Kind::List, "broker,controller", ReadOnly, "One process is both."),
        accepted("broker.rack", Kind::Text, "", ReadOnly, "Where this broker stands."),
        accepted("num.network.threads", int(1), "3", Dynamic, THREADS),
        accepted("num.io.threads", int(1), "8", Dynamic, THREADS),
        accepted("background.threads", int(1), "10", Dynamic, THREADS),
        accepted("log.cleaner.threads", int(0), "1", Dynamic, THREADS),
        accepted("num.replica.fetchers", int(1), "1", Dynamic, THREADS),
        accepted("num.recovery.threads.per.data.dir", int(1), "2", Dynamic, THREADS),
        accepted(
            "queued.max.requests",
            int(1),
            "500",
            ReadOnly,
            "Requests are bounded by memory instead: `levada.memory.request.bytes.max`.",
        ),
        accepted(
            "socket.send.buffer.bytes",
            int(-1),
            "102400",
            ReadOnly,
            "The operating system's default is used.",
        ),
        accepted(
            "socket.receive.buffer.bytes",
            int(-1),
            "102400",
            ReadOnly,
            "The operating system's default is used.",
        ),
        accepted(
            "log.cleaner.io.buffer.size",
            int(0),
            "524288",
            Dynamic,
            "Size of the cleaner's buffers in Kafka. Levada reads up to 1 MiB at once and writes batch by batch.",
        ),
        accepted(
            "log.cleaner.io.buffer.load.factor",
            Kind::Double { min: 0.0, max: 1.0 },
            "0.9",
            Dynamic,
            "Fill level of the cleaner's map in Kafka. Levada counts 64 bytes a key, the map's free places among them.",
        ),
        accepted(
            "log.flush.offset.checkpoint.interval.ms",
            int(0),
            "60000",
            ReadOnly,
            "Recovery reads the write-ahead log's own checkpoint.",
        ),
        accepted(
            "log.flush.start.offset.checkpoint.interval.ms",
            int(0),
            "60000",
            ReadOnly,
            "Recovery reads the write-ahead log's own checkpoint.",
        ),
        accepted("offsets.topic.replication.factor", Kind::Short { min: 1 }, "1", ReadOnly, ONE_COPY),
        accepted(
            "offsets.topic.segment.bytes",
            int(1),
            "104857600",
            ReadOnly,
            "Segment size of `__consumer_offsets`.",
        ),
        accepted("transaction.state.log.replication.factor", Kind::Short { min: 1 }, "1", ReadOnly, ONE_COPY),
        accepted("transaction.state.log.min.isr", int(1), "1", ReadOnly, ONE_COPY),
        accepted(
            "transaction.state.log.segment.bytes",
            int(1),
            "104857600",
            ReadOnly,
            "Segment size of `__transaction_state`.",
        ),
        accepted(
            "share.coordinator.state.topic.replication.factor",
            Kind::Short { min: 1 },
            "1",
            ReadOnly,
            ONE_COPY,
        ),
        accepted("share.coordinator.state.topic.min.isr", Kind::Short { min: 1 }, "1", ReadOnly, ONE_COPY),
        accepted("auto.leader.rebalance.enable", Kind::Boolean, "true", ReadOnly, ONE_COPY),
        accepted("replica.lag.time.max.ms", long(0), "30000", ReadOnly, ONE_COPY),
        accepted(
            "leader.replication.throttled.rate",
            long(0),
            "9223372036854775807",
            Dynamic,
            "Replication: there is one copy of a topic, on one broker, so nothing is throttled.",
        ),
        accepted(
            "follower.replication.throttled.rate",
            long(0),
            "9223372036854775807",
            Dynamic,
            "Replication: there is one copy of a topic, on one broker, so nothing is throttled.",
        ),
        accepted(
            "replica.alter.log.dirs.io.max.bytes.per.second",
            long(0),
            "9223372036854775807",
            Dynamic,
            "One folder: nothing is moved between folders, so nothing is throttled.",
        ),
        accepted(
            "follower.fetch.last.tiered.offset.enable",
            Kind::Boolean,
            "false",
            Dynamic,
            "Tiered storage: there is none, records are on this broker's disk.",
        ),
        accepted(
            "remote.fetch.max.wait.ms",
            int(1),
            "500",
            Dynamic,
            "Tiered storage: there is none, records are on this broker's disk.",
        ),
        accepted(
            "remote.list.offsets.request.timeout.ms",
            long(1),
            "30000",
            Dynamic,
            "Tiered storage: there is none, records are on this broker's disk.",
        ),
        accepted(
            "remote.log.index.file.cache.total.size.bytes",
            long(1),
            "1073741824",
            Dynamic,
            "Tiered storage: there is none, records are on this broker's disk.",
        ),
        accepted(
            "remote.log.manager.copier.thread.pool.size",
            int(1),
            "10",
            Dynamic,
            "Tiered storage: there is none, records are on this broker's disk.",
        ),
        accepted(
            "remote.log.manager.copy.max.bytes.per.second",
            long(1),
            "9223372036854775807",
            Dynamic,
            "Tiered storage: there is none, records are on this broker's disk.",
        ),
        accepted(
            "remote.log.manager.expiration.thread.pool.size",
            int(1),
            "10",
            Dynamic,
            "Tiered storage: there is none, records are on this broker's disk.",
        ),
        accepted(
            "remote.log.manager.fetch.max.bytes.per.second",
            long(1),
            "9223372036854775807",
            Dynamic,
            "Tiered storage: there is none, records are on this broker's disk.",
        ),
        accepted(
            "remote.log.manager.follower.thread.pool.size",
            int(1),
            "2",
            Dynamic,
            "Tiered storage: there is none, records are on this broker's disk.",
        ),
        accepted(
            "remote.log.reader.threads",
            int(1),
            "10",
            Dynamic,
            "Tiered storage: there is none, records are on this broker's disk.",
        ),
        accepted(
            "group.coordinator.cached.buffer.max.bytes",
            int(524288),
            "1048588",
            Dynamic,
            "Size of buffers that Kafka's group coordinator keeps.",
        ),
        accepted(
            "share.coordinator.cached.buffer.max.bytes",
            int(524288),
            "1048588",
            Dynamic,
            "Share groups: they are not served.",
        ),
        accepted(
            "group.share.assignment.interval.ms",
            int(0),
            "1000",
            Dynamic,
            "Share groups: they are not served.",
        ),
        accepted(
            "group.streams.assignment.interval.ms",
            int(0),
            "1000",
            Dynamic,
            "Streams groups: they are not served.",
        ),
        accepted(
            "max.connection.creation.rate",
            int(0),
            "2147483647",
            Dynamic,
            "Not acted on: connections are bounded by `max.connections` and `max.connections.per.ip`.",
        ),
        accepted(
            "max.connections.per.ip.overrides",
            Kind::Text,
            "",
            Dynamic,
            "Not acted on: connections are bounded by `max.connections` and `max.connections.per.ip`.",
        ),
        accepted(
            "cordoned.log.dirs",
            Kind::List,
            "",
            Dynamic,
            "One folder: there is no other to put new partitions into.",
        ),
        accepted(
            "config.providers",
            Kind::List,
            "",
            Dynamic,
            "Values are taken as they stand, without providers.",
        ),
        accepted(
            "metric.reporters",
            Kind::List,
            "org.apache.kafka.common.metrics.JmxReporter",
            Dynamic,
            "Metrics are told at `/metrics`.",
        ),
        accepted(
            "transaction.partition.verification.enable",
            Kind::Boolean,
            "true",
            Dynamic,
            "Transactions are not served yet.",
        ),
        accepted(
            "broker.id",
            int(0),
            "0",
            ReadOnly,
            "The older name of `node.id`: either may be set, and both are told.",
        ),
        accepted("controlled.shutdown.enable", Kind::Boolean, "true", ReadOnly, "Every ordered stop drains."),
        accepted(
            "group.consumer.assignment.interval.ms",
            int(0),
            "1000",
            Dynamic,
            "Default of the group setting `consumer.assignment.interval.ms`.",
        ),
        accepted(
            "group.coordinator.rebalance.protocols",
            Kind::ListOf(&["consumer", "classic", "share", "streams"]),
            "classic,consumer",
            ReadOnly,
            "Which group protocols are on.",
        ),
    ]
}
