//! A compacted topic as a table: of each key the newest value, in every process that has it open.
//!
//! ```text
//! put ─▶ topic (one partition, its order is the table's) ─▶ copy in an SQLite file ─▶ get, scan
//! ```
//!
//! The copy is a cache like the other indexes. One that was not written for longer than tombstones live is made anew:
//! what was removed meanwhile may have left no trace in the topic. Where the topic is missing, the table is empty; the
//! first put creates it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::{AskError, Cluster, Position, Tail, Tailed, Topic};
use env::Clock;
use model::batch::{BatchBuilder, NewRecord, batches};
use model::{Compression, Offset, PartitionId, Timestamp, TopicId};
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::index::is_damage;

/// Another number when the file's tables change.
const FORMAT: i64 = 1;

/// Half of `delete.retention.ms`, a day unless somebody changes it: a copy that was not written for longer may hold what
/// was removed long ago.
const COPY_AGE_MAX: Duration = Duration::from_secs(12 * 3600);

/// How often the topic is looked for while there is none.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

const BATCH_BYTES_MAX: usize = 256 << 20;

/// The only partition.
const PARTITION: i32 = 0;

const TABLES: &str = "
    CREATE TABLE about (
        one INTEGER PRIMARY KEY CHECK (one = 0), format INTEGER NOT NULL, topic TEXT NOT NULL,
        next INTEGER NOT NULL, at INTEGER NOT NULL
    );
    CREATE TABLE entries (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
";

/// What a table is made of.
#[derive(Debug, Clone)]
pub struct Options {
    pub topic: String,
    /// Where the copy is kept.
    pub dir: PathBuf,
    pub replication_factor: i16,
    /// Settings of the topic, beside `cleanup.policy=compact`.
    pub configs: Vec<(&'static str, String)>,
}

/// How far the copy is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct At {
    /// Offset of the first record that it does not have.
    pub next: Offset,
    /// Counts the times that it was emptied, because the topic is another one.
    pub round: u64,
    /// Whose offset that is. None: no topic was seen so far.
    pub topic: Option<TopicId>,
}

fn of_topic(topic: TopicId) -> PartitionId {
    PartitionId { topic, index: PARTITION }
}

#[derive(Clone)]
pub struct Table(Arc<Inner>);

struct Inner {
    cluster: Cluster,
    clock: Arc<dyn Clock>,
    options: Options,
    copy: Mutex<Connection>,
    at: watch::Receiver<At>,
    /// The topic may be there now.
    created: Notify,
    /// The copy turned out to be damaged.
    damaged: Arc<Notify>,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum TableError {
    #[error(transparent)]
    Kafka(#[from] AskError),
    #[error("{topic}: its copy cannot be used: {why}")]
    Copy { topic: String, why: String },
    #[error("{0} could not be read in time")]
    Late(String),
    /// Only of the catalog.
    #[error("category {0} is being deleted: ask again when it is gone")]
    Going(String),
}

impl Table {
    /// Opens the copy and reads what the topic has by now, where there is a topic.
    pub async fn open(
        cluster: &Cluster,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Table, TableError> {
        let path = options.dir.join(format!("{}.table.sqlite", options.topic));
        let (oldest, dir) = (clock.now().0 - COPY_AGE_MAX.as_millis() as i64, options.dir.clone());
        let opened = env::run_blocking(move || open(&dir, &path, oldest)).await;
        let (connection, topic, at) = opened.map_err(|error| broken(&options.topic, &error))?;
        let (told, seen) = watch::channel(at);
        let inner = Inner {
            cluster: cluster.clone(),
            clock,
            options,
            copy: Mutex::new(connection),
            at: seen,
            created: Notify::new(),
            damaged: Arc::default(),
        };
        let table = Table(Arc::new(inner));
        env::spawn(follow(Arc::downgrade(&table.0), told, topic));
        table.catch_up().await?;
        Ok(table)
    }

    /// The name of its topic.
    pub fn topic(&self) -> &str {
        &self.0.options.topic
    }

    /// As fresh as this process's copy is.
    pub fn position(&self) -> Position {
        let at = self.0.at.borrow();
        at.topic.map(|topic| Position::of(of_topic(topic), at.next)).unwrap_or_default()
    }

    /// Told of each change.
    pub fn at(&self) -> watch::Receiver<At> {
        self.0.at.clone()
    }

    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, TableError> {
        let key = key.as_bytes().to_vec();
        self.reading(move |connection| {
            connection
                .prepare_cached("SELECT value FROM entries WHERE key = ?1")?
                .query_row([key], |row| Ok(Bytes::from(row.get::<_, Vec<u8>>(0)?)))
                .optional()
        })
        .await
    }

    /// All keys that begin so, with their values, in the order of the keys.
    pub async fn scan(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, TableError> {
        let prefix = prefix.as_bytes().to_vec();
        self.reading(move |connection| {
            let mut statement =
                connection.prepare_cached("SELECT key, value FROM entries WHERE key >= ?1 ORDER BY key")?;
            let mut rows = statement.query([&prefix])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let key: Vec<u8> = row.get(0)?;
                if !key.starts_with(&prefix) {
                    break;
                }
                let Ok(key) = String::from_utf8(key) else { continue };
                found.push((key, Bytes::from(row.get::<_, Vec<u8>>(1)?)));
            }
            Ok(found)
        })
        .await
    }

    /// Writes a value, or removes the key (None). Returns when this process's copy has it: whoever reads at least as
    /// fresh as the position sees it, wherever that is.
    pub async fn put(&self, key: &str, value: Option<&[u8]>) -> Result<Position, TableError> {
        self.put_all(&[(key, value)]).await
    }

    /// The same for several keys: all or none.
    pub async fn put_all(&self, entries: &[(&str, Option<&[u8]>)]) -> Result<Position, TableError> {
        let inner = &self.0;
        let name = &inner.options.topic;
        let own = inner.options.configs.iter().map(|(name, value)| (*name, value.as_str()));
        let configs: Vec<(&str, &str)> = [("cleanup.policy", "compact")].into_iter().chain(own).collect();
        let topic = inner.cluster.create_topic(name, 1, inner.options.replication_factor, &configs).await?;
        inner.created.notify_one();
        let timestamp = inner.clock.now();
        let mut batch = BatchBuilder::new(Compression::None);
        for (key, value) in entries {
            batch.push(NewRecord { timestamp, key: Some(key.as_bytes()), value: *value, headers: &[] });
        }
        let count = batch.record_count();
        let first = inner.cluster.write_at_least_once(name, PARTITION, batch.build().into_bytes()).await?;
        let next = first.plus(i64::from(count));
        self.reached(topic.id, next, inner.cluster.patience()).await?;
        Ok(Position::of(of_topic(topic.id), next))
    }

    /// Reads what the topic has by now.
    pub async fn catch_up(&self) -> Result<(), TableError> {
        let inner = &self.0;
        let name = &inner.options.topic;
        // All topics: asking for one that is missing counts as an error at the broker.
        let topics = inner.cluster.topics().await?;
        let Some(topic) = topics.into_iter().find(|topic| topic.name == *name) else { return Ok(()) };
        inner.created.notify_one();
        let ends = inner.cluster.ends(&topic, &[PARTITION]).await?;
        let next = ends.get(&PARTITION).copied().unwrap_or(Offset::ZERO);
        self.reached(topic.id, next, inner.cluster.patience()).await
    }

    /// Waits until the copy has everything of a topic before an offset.
    pub async fn reached(&self, topic: TopicId, next: Offset, patience: Duration) -> Result<(), TableError> {
        let mut at = self.0.at.clone();
        let waited = timeout(patience, at.wait_for(|at| at.topic == Some(topic) && at.next >= next)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            _ => Err(TableError::Late(self.0.options.topic.clone())),
        }
    }

    async fn reading<T: Send + 'static>(
        &self,
        body: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, TableError> {
        let inner = self.0.clone();
        let result = env::run_blocking(move || inner.noticed(body(&inner.copy.lock()))).await;
        result.map_err(|error| broken(&self.0.options.topic, &error))
    }
}

impl Inner {
    /// Where an answer is that the copy is damaged, it is made anew.
    fn noticed<T>(&self, answer: rusqlite::Result<T>) -> rusqlite::Result<T> {
        if answer.as_ref().is_err_and(is_damage) {
            self.damaged.notify_one();
        }
        answer
    }

    /// Deletes the copy's files, and begins new ones. Blocks.
    fn make_anew(&self) -> rusqlite::Result<()> {
        let path = self.options.dir.join(format!("{}.table.sqlite", self.options.topic));
        let mut copy = self.copy.lock();
        // The last connection to a file deletes the write-ahead log that has the file's name.
        *copy = Connection::open_in_memory()?;
        crate::index::remove_files(&path);
        *copy = open(&self.options.dir, &path, 0)?.0;
        Ok(())
    }
}

fn broken(topic: &str, error: &rusqlite::Error) -> TableError {
    TableError::Copy { topic: topic.to_owned(), why: error.to_string() }
}

/// The topic's id, as the copy has it, comes along: empty for none.
fn open(dir: &Path, path: &Path, oldest: i64) -> rusqlite::Result<(Connection, String, At)> {
    std::fs::create_dir_all(dir).map_err(|error| {
        rusqlite::Error::ToSqlConversionFailure(format!("{}: {error}", dir.display()).into())
    })?;
    let existing = (|| {
        let connection = crate::index::open_database(path)?;
        tune(&connection)?;
        // An empty file, where it was being made when the process ended.
        connection.query_row("SELECT 1 FROM sqlite_schema WHERE name = 'about'", [], |_| Ok(()))?;
        let (topic, next) = connection.query_row(
            "SELECT topic, next FROM about WHERE format = ?1 AND at >= ?2",
            params![FORMAT, oldest],
            |row| Ok((row.get(0)?, Offset(row.get(1)?))),
        )?;
        let topic: String = topic;
        let at = At { next, round: 0, topic: topic.parse().ok() };
        Ok((connection, topic, at))
    })();
    let is_missing = matches!(path.try_exists(), Ok(false));
    existing.or_else(|error: rusqlite::Error| {
        // It is of another format, or too old, or proven damaged; whatever else it is may pass.
        if !is_missing && !is_damage(&error) {
            return Err(error);
        }
        if !is_missing && !matches!(error, rusqlite::Error::QueryReturnedNoRows) {
            warn!(path = %path.display(), %error, "a table's copy is damaged: it is made anew from its topic");
        }
        crate::index::remove_files(path);
        let connection = crate::index::create_database(path)?;
        tune(&connection)?;
        connection.execute_batch(&format!("BEGIN; {TABLES}"))?;
        connection.execute("INSERT INTO about VALUES (0, ?1, '', 0, 0)", [FORMAT])?;
        connection.execute_batch("COMMIT")?;
        Ok((connection, String::new(), At::default()))
    })
}

fn tune(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // What is removed is overwritten: there are keys among it.
    connection.pragma_update(None, "secure_delete", "ON")?;
    // After a crash the newest transactions may be missing: they come back from the topic.
    connection.pragma_update(None, "synchronous", "NORMAL")
}

/// Until nobody has the table any more.
async fn follow(inner: std::sync::Weak<Inner>, told: watch::Sender<At>, mut known: String) {
    loop {
        let Some(topic) = wait_for_topic(&inner, &told).await else { return };
        let Some(table) = inner.upgrade() else { return };
        if topic.id.to_string() != known {
            known = topic.id.to_string();
            begin_anew(&table, &told, topic.id).await;
        }
        let name = table.options.topic.clone();
        let from = [(PARTITION, told.borrow().next)];
        let mut tails = Tail::start(table.cluster.clone(), &name, topic.id, from);
        drop(table);
        let mut tail = tails.remove(&PARTITION).expect("it was asked for");
        let Some(damaged) = inner.upgrade().map(|table| table.damaged.clone()) else { return };
        loop {
            let tailed = tokio::select! {
                biased;
                () = told.closed() => return,
                () = damaged.notified() => {
                    warn!(topic = name, "a table's copy is damaged: it is made anew from its topic");
                    known.clear();
                    break;
                }
                tailed = tail.recv() => tailed,
            };
            let Some(table) = inner.upgrade() else { return };
            match tailed {
                Some(Tailed::Records { bytes, .. }) => apply(&table, &told, topic.id, bytes).await,
                Some(Tailed::OutOfRange { .. }) => {
                    warn!(
                        topic = name,
                        "the topic does not have what its copy goes on from: it is read anew"
                    );
                    known.clear();
                    break;
                }
                Some(Tailed::Gone) | None => break,
            }
        }
        sleep(PAUSE).await;
    }
}

/// None: nobody wants to know any more.
async fn wait_for_topic(inner: &std::sync::Weak<Inner>, told: &watch::Sender<At>) -> Option<Topic> {
    loop {
        let table = inner.upgrade()?;
        let name = &table.options.topic;
        match table.cluster.topics().await {
            Ok(topics) => {
                if let Some(topic) = topics.into_iter().find(|topic| topic.name == *name) {
                    return Some(topic);
                }
            }
            Err(error) => debug!(topic = name, %error, "it cannot be looked for"),
        }
        tokio::select! {
            biased;
            () = told.closed() => return None,
            () = table.created.notified() => {}
            () = sleep(LOOK_INTERVAL) => {}
        }
    }
}

async fn begin_anew(table: &Arc<Inner>, told: &watch::Sender<At>, id: TopicId) {
    let (inner, topic) = (table.clone(), id.to_string());
    persist(table, move || {
        let emptied = (|| {
            let mut connection = inner.copy.lock();
            let transaction = connection.transaction()?;
            transaction.execute("DELETE FROM entries", [])?;
            transaction.execute(
                "UPDATE about SET topic = ?1, next = 0, at = ?2",
                params![topic, inner.clock.now().0],
            )?;
            // It may be damaged where nobody wrote.
            transaction.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)).and_then(
                |found| match found.as_str() {
                    "ok" => Ok(()),
                    _ => Err(rusqlite::Error::QueryReturnedNoRows),
                },
            )?;
            transaction.commit()
        })();
        match emptied {
            // Written to at the next try.
            Err(error) if is_damage(&error) => inner.make_anew().and(Err(error)),
            emptied => emptied,
        }
    })
    .await;
    told.send_modify(|at| *at = At { next: Offset::ZERO, round: at.round + 1, topic: Some(id) });
}

async fn apply(table: &Arc<Inner>, told: &watch::Sender<At>, id: TopicId, bytes: Bytes) {
    let inner = table.clone();
    let start = told.borrow().next;
    let next = Arc::new(Mutex::new(start));
    let reached = next.clone();
    persist(table, move || {
        let now = inner.clock.now();
        let written = write(&mut inner.copy.lock(), bytes.clone(), start, id, now);
        match inner.noticed(written) {
            Ok(at) => *reached.lock() = at,
            // It comes again when the copy is made anew.
            Err(error) if is_damage(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    })
    .await;
    let next = *next.lock();
    told.send_modify(|at| at.next = next);
}

/// Gives the offset after what was read.
fn write(
    connection: &mut Connection,
    bytes: Bytes,
    start: Offset,
    id: TopicId,
    now: Timestamp,
) -> rusqlite::Result<Offset> {
    let transaction = connection.transaction()?;
    let mut next = start;
    {
        let mut put = transaction.prepare_cached("INSERT OR REPLACE INTO entries VALUES (?1, ?2)")?;
        let mut remove = transaction.prepare_cached("DELETE FROM entries WHERE key = ?1")?;
        for batch in batches(bytes) {
            let Ok(batch) = batch else { break };
            match batch.records(BATCH_BYTES_MAX) {
                Ok(records) => {
                    for record in records.iter().filter_map(Result::ok) {
                        match (record.key, record.value) {
                            _ if records.offset(&record) < start => {}
                            (Some(key), Some(value)) => drop(put.execute(params![key, value])?),
                            (Some(key), None) => drop(remove.execute([key])?),
                            (None, _) => {}
                        }
                    }
                }
                Err(error) => {
                    warn!(topic = %id, %error, "a batch of a table cannot be read: it is passed over")
                }
            }
            next = next.max(batch.header().next_offset());
        }
    }
    transaction.execute("UPDATE about SET next = ?1, at = ?2", params![next.0, now.0])?;
    transaction.commit()?;
    Ok(next)
}

/// Tries until it succeeds: what is not in the copy is not seen.
async fn persist(table: &Inner, body: impl Fn() -> rusqlite::Result<()> + Send + Sync + 'static) {
    let body = Arc::new(body);
    loop {
        let trying = body.clone();
        match env::run_blocking(move || trying()).await {
            Ok(()) => return,
            Err(error) => {
                warn!(topic = table.options.topic, %error, "a table's copy cannot be written");
                sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
