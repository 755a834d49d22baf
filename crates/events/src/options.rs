use std::path::PathBuf;
use std::time::Duration;

/// What one process may choose. Kafka's names where Kafka has them.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where indexes are kept. They can be deleted while nothing runs: they come back from the topics.
    pub index_dir: PathBuf,
    /// Where other instances reach this one's HTTP door.
    pub url: String,
    /// The consumer group by which instances share partitions out: instances of one system have the same.
    pub group: String,
    /// `session.timeout.ms`: an instance that was not heard of for so long has lost its partitions.
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms`
    pub heartbeat_interval: Duration,
    /// Partitions of a new category. They can never be changed.
    pub partitions: i32,
    /// Replicas of a new category's topic; -1: the broker's default.
    pub replication_factor: i16,
    /// The key that encrypts the keys of subjects: 32 bytes in base64, made when it is first needed.
    pub master_key_file: PathBuf,
    /// How long an append may wait for its owner, and for the log.
    pub append_patience: Duration,
}

impl Options {
    pub fn new(index_dir: impl Into<PathBuf>, url: impl Into<String>) -> Options {
        let index_dir = index_dir.into();
        Options {
            // Beside the indexes, which may be deleted.
            master_key_file: index_dir.with_file_name("master.key"),
            index_dir,
            url: url.into(),
            group: "lv.own.events".to_owned(),
            session_timeout: Duration::from_secs(6),
            heartbeat_interval: Duration::from_secs(1),
            partitions: 16,
            replication_factor: -1,
            append_patience: Duration::from_secs(20),
        }
    }
}
