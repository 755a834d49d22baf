//! A compacted topic as a table: of each key the newest value, in every process that has it open.
//!
//! ```text
//! put ─▶ topic (one partition, its order is the table's) ─▶ copy in an SQLite file ─▶ get, scan
//! ```
//!
//! The copy is a cache like the other indexes. One that was not written for longer than tombstones live is made anew:
//! what was removed meanwhile may have left no trace in the topic. Where there never was a topic, the table is empty; the
//! first put creates it.
//!
//! A topic that somebody deletes, or that is another one than that of the copy, is lost: the copy is read as it is, nothing
//! is put, and somebody decides ([`Table::replace`]) whether the topic is restored from a copy or taken as it is. What was
//! decided is the record [`REPLACES`] in the new topic, by which every other copy goes on with it.

use std::collections::{BTreeMap, BTreeSet};
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
use tracing::{debug, error, info, warn};

use crate::index::is_damage;

/// Another number when the file's tables change.
const FORMAT: i64 = 2;

/// Half of `delete.retention.ms`, a day unless somebody changes it: a copy that was not written for longer may hold what
/// was removed long ago.
const COPY_AGE_MAX: Duration = Duration::from_secs(12 * 3600);

/// How often the topic is looked for while there is none.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

const BATCH_BYTES_MAX: usize = 32 << 20;

/// No entry is larger: what is was not written by the store, and is passed over.
const KEY_BYTES_MAX: usize = 4 << 10;
const VALUE_BYTES_MAX: usize = 16 << 20;

/// The only partition.
const PARTITION: i32 = 0;

const TABLES: &str = "
    CREATE TABLE about (
        one INTEGER PRIMARY KEY CHECK (one = 0), format INTEGER NOT NULL, topic TEXT NOT NULL,
        next INTEGER NOT NULL, at INTEGER NOT NULL, cluster TEXT NOT NULL
    );
    CREATE TABLE entries (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
";

/// Key of the record that says instead of which topic this one is: its value is that one's id. It is no entry of the table.
const REPLACES: &[u8] = b"\0replaces";

/// Bytes of entries that are written at once when a topic is restored, about.
const RESTORED_AT_ONCE: usize = 256 << 10;

/// What a table is made of.
#[derive(Debug, Clone)]
pub struct Options {
    pub topic: String,
    /// Where the copy is kept.
    pub dir: PathBuf,
    pub replication_factor: i16,
    /// Settings of the topic, beside `cleanup.policy=compact`.
    pub configs: Vec<(&'static str, String)>,
    /// Whether nothing is lost with its topic: where that is another one, the copy follows it.
    pub is_expendable: bool,
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

impl Options {
    pub fn new(topic: &str, dir: PathBuf, replication_factor: i16) -> Options {
        Options {
            topic: topic.to_owned(),
            dir,
            replication_factor,
            configs: Vec::new(),
            is_expendable: false,
        }
    }
}

fn of_topic(topic: TopicId) -> PartitionId {
    PartitionId { topic, index: PARTITION }
}

#[derive(Clone)]
pub struct Table(Arc<Inner>);

struct Inner {
    cluster: Cluster,
    cluster_id: String,
    clock: Arc<dyn Clock>,
    options: Options,
    copy: Mutex<Connection>,
    at: watch::Receiver<At>,
    /// The topic may be there now.
    created: Notify,
    /// The copy turned out to be damaged.
    damaged: Arc<Notify>,
    /// Why the topic is not that of the copy.
    lost: watch::Sender<Option<String>>,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum TableError {
    #[error(transparent)]
    Kafka(#[from] AskError),
    #[error("{topic}: its copy cannot be used: {why}")]
    Copy { topic: String, why: String },
    #[error("{0} could not be read in time")]
    Late(String),
    /// Somebody has to decide.
    #[error("{0}")]
    Lost(String),
    #[error("topic {0} is there, and is that of this instance's copy: there is nothing to repair")]
    NotLost(String),
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
        // A copy of another cluster's topic is none of this one's.
        let overview = cluster.overview().await?;
        let cluster_id = overview.cluster_id.unwrap_or_default();
        let of = cluster_id.clone();
        let opened = env::run_blocking(move || open(&dir, &path, oldest, &of)).await;
        let (connection, topic, at) = opened.map_err(|error| broken(&options.topic, &error))?;
        let (told, seen) = watch::channel(at);
        let inner = Inner {
            cluster: cluster.clone(),
            cluster_id,
            clock,
            options,
            copy: Mutex::new(connection),
            at: seen,
            created: Notify::new(),
            damaged: Arc::default(),
            lost: watch::Sender::new(None),
        };
        let table = Table(Arc::new(inner));
        env::spawn(follow(Arc::downgrade(&table.0), told, topic));
        match table.catch_up_with(overview.topics).await {
            // What the copy has is better than nothing, and somebody is told.
            Ok(()) | Err(TableError::Lost(_)) => Ok(table),
            Err(error) => Err(error),
        }
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
        self.check_lost()?;
        // Only where there never was a topic: one that is missing is not made anew by whoever writes next.
        let known = self.0.at.borrow().topic;
        let topic = match known {
            None => self.create().await?.id,
            Some(known) => match self.0.cluster.topic(&self.0.options.topic, false).await {
                Ok(topic) if topic.id == known => known,
                Ok(_) | Err(_) if self.0.options.is_expendable => self.create().await?.id,
                Ok(_) => return Err(TableError::Lost(self.0.why_lost(REPLACED))),
                Err(error) if error.is_missing_topic() => {
                    return Err(TableError::Lost(self.0.why_lost(DELETED)));
                }
                Err(error) => return Err(error.into()),
            },
        };
        let entries = entries.iter().map(|(key, value)| (key.as_bytes(), *value));
        let next = self.write(entries).await?;
        self.reached(topic, next, self.0.cluster.patience()).await?;
        Ok(Position::of(of_topic(topic), next))
    }

    async fn create(&self) -> Result<Topic, TableError> {
        let inner = &self.0;
        let own = inner.options.configs.iter().map(|(name, value)| (*name, value.as_str()));
        let configs: Vec<(&str, &str)> = [("cleanup.policy", "compact")].into_iter().chain(own).collect();
        let (name, factor) = (&inner.options.topic, inner.options.replication_factor);
        let topic = inner.cluster.create_topic(name, 1, factor, &configs).await?;
        inner.cluster.hold_configs(name, &configs).await?;
        inner.created.notify_one();
        Ok(topic)
    }

    /// The offset after what was written.
    async fn write<'a>(
        &self,
        entries: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<Offset, TableError> {
        let inner = &self.0;
        let timestamp = inner.clock.now();
        let mut batch = BatchBuilder::new(Compression::None);
        for (key, value) in entries {
            batch.push(NewRecord { timestamp, key: Some(key), value, headers: &[] });
        }
        let (name, count) = (&inner.options.topic, batch.record_count());
        let first = inner.cluster.write_at_least_once(name, PARTITION, batch.build().into_bytes()).await?;
        Ok(first.plus(i64::from(count)))
    }

    /// Why nothing is put, and what there is may be old. None: all is well.
    pub fn lost(&self) -> Option<String> {
        self.0.lost.borrow().clone()
    }

    fn check_lost(&self) -> Result<(), TableError> {
        self.lost().map_or(Ok(()), |why| Err(TableError::Lost(why)))
    }

    /// Has a topic take the place of the one that this copy is of and that is lost: with the entries of this copy, where the
    /// new topic has none of that key, or as it is.
    pub async fn replace(&self, with_copy: bool) -> Result<Position, TableError> {
        let inner = &self.0;
        let known = inner.at.borrow().topic;
        let there = inner.cluster.topics().await?.into_iter().find(|it| it.name == inner.options.topic);
        let is_lost =
            |known: &TopicId| self.lost().is_some() || there.as_ref().is_none_or(|there| there.id != *known);
        let Some(known) = known.filter(is_lost) else {
            return Err(TableError::NotLost(inner.options.topic.clone()));
        };
        let topic = self.create().await?;
        let mut entries = Vec::new();
        if with_copy {
            let (_, new) = read_topic(&inner.cluster, &topic).await?;
            entries = self.reading(all_entries).await?;
            entries.retain(|(key, _)| !new.contains_key(key));
        }
        let mut waiting: Vec<(&[u8], Option<&[u8]>)> = Vec::new();
        let mut bytes = 0;
        for (key, value) in &entries {
            waiting.push((key, Some(value)));
            bytes += key.len() + value.len();
            if bytes > RESTORED_AT_ONCE {
                self.write(waiting.drain(..)).await?;
                bytes = 0;
            }
        }
        // Last: whoever reads it finds the rest.
        let known = known.to_string();
        waiting.push((REPLACES, Some(known.as_bytes())));
        let next = self.write(waiting.into_iter()).await?;
        // Until the follower has seen that, the table is lost for everybody else.
        inner.created.notify_one();
        let mut at = inner.at.clone();
        let reached = at.wait_for(|at| at.topic == Some(topic.id) && at.next >= next);
        match timeout(inner.cluster.patience(), reached).await {
            Ok(Ok(_)) => Ok(Position::of(of_topic(topic.id), next)),
            _ => Err(TableError::Late(inner.options.topic.clone())),
        }
    }

    /// Reads what the topic has by now.
    pub async fn catch_up(&self) -> Result<(), TableError> {
        // All topics: asking for one that is missing counts as an error at the broker.
        self.catch_up_with(self.0.cluster.topics().await?).await
    }

    async fn catch_up_with(&self, topics: Vec<Topic>) -> Result<(), TableError> {
        let inner = &self.0;
        let name = &inner.options.topic;
        let known = inner.at.borrow().topic.filter(|_| !inner.options.is_expendable);
        let Some(topic) = topics.into_iter().find(|topic| topic.name == *name) else {
            return match known {
                Some(_) => Err(TableError::Lost(self.0.why_lost(DELETED))),
                None => Ok(()),
            };
        };
        inner.created.notify_one();
        let ends = inner.cluster.ends(&topic, &[PARTITION]).await?;
        let next = ends.get(&PARTITION).copied().unwrap_or(Offset::ZERO);
        self.reached(topic.id, next, inner.cluster.patience()).await
    }

    /// Waits until the copy has everything of a topic before an offset.
    pub async fn reached(&self, topic: TopicId, next: Offset, patience: Duration) -> Result<(), TableError> {
        let (mut at, mut lost) = (self.0.at.clone(), self.0.lost.subscribe());
        let waiting = async {
            tokio::select! {
                biased;
                reached = at.wait_for(|at| at.topic == Some(topic) && at.next >= next) => reached.is_ok(),
                _ = lost.wait_for(Option::is_some) => false,
            }
        };
        match timeout(patience, waiting).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.check_lost()?;
                Err(TableError::Late(self.0.options.topic.clone()))
            }
            Err(_) => Err(TableError::Late(self.0.options.topic.clone())),
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

/// What became of a topic.
const DELETED: &str = "was deleted";
const CUT: &str = "had records deleted that this instance has not read";
const REPLACED: &str = "is another one than that of this instance's copy";

impl Inner {
    fn why_lost(&self, what: &str) -> String {
        let topic = &self.options.topic;
        format!(
            "topic {topic} {what}: what this instance knows of it is read, and nothing is written. Write that into a new \
             topic (levada events repair --table {topic} --restore), or go on with the topic as it is now (--accept)"
        )
    }

    /// Tells that the topic is lost, once, or that it is not any more.
    fn tell(&self, what: Option<&str>) {
        let why = what.map(|what| self.why_lost(what));
        match (&*self.lost.borrow(), &why) {
            (None, Some(why)) => error!(topic = self.options.topic, why, "a table takes nothing"),
            (Some(_), None) => info!(topic = self.options.topic, "a table goes on"),
            _ => {}
        }
        self.lost.send_replace(why);
    }

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
        *copy = open(&self.options.dir, &path, 0, &self.cluster_id)?.0;
        Ok(())
    }
}

fn broken(topic: &str, error: &rusqlite::Error) -> TableError {
    TableError::Copy { topic: topic.to_owned(), why: error.to_string() }
}

/// The topic's id, as the copy has it, comes along: empty for none.
fn open(
    dir: &Path,
    path: &Path,
    oldest: i64,
    cluster_id: &str,
) -> rusqlite::Result<(Connection, String, At)> {
    std::fs::create_dir_all(dir).map_err(|error| {
        rusqlite::Error::ToSqlConversionFailure(format!("{}: {error}", dir.display()).into())
    })?;
    let existing = (|| {
        let connection = crate::index::open_database(path)?;
        tune(&connection)?;
        // An empty file, where it was being made when the process ended.
        connection.query_row("SELECT 1 FROM sqlite_schema WHERE name = 'about'", [], |_| Ok(()))?;
        let (topic, next) = connection.query_row(
            "SELECT topic, next FROM about WHERE format = ?1 AND at >= ?2 AND cluster = ?3",
            params![FORMAT, oldest, cluster_id],
            |row| Ok((row.get(0)?, Offset(row.get(1)?))),
        )?;
        let topic: String = topic;
        let at = At { next, round: 0, topic: topic.parse().ok() };
        Ok((connection, topic, at))
    })();
    let is_missing = matches!(path.try_exists(), Ok(false));
    existing.or_else(|error: rusqlite::Error| {
        // It is of another format or cluster, or too old, or proven damaged; whatever else it is may pass.
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
        connection.execute("INSERT INTO about VALUES (0, ?1, '', 0, 0, ?2)", params![FORMAT, cluster_id])?;
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
    // Where a copy that is made anew begins.
    let mut start = Offset::ZERO;
    loop {
        let Some(topic) = wait_for_topic(&inner, &told).await else { return };
        let Some(table) = inner.upgrade() else { return };
        if topic.id.to_string() != known {
            known = topic.id.to_string();
            begin_anew(&table, &told, topic.id, start).await;
        }
        start = Offset::ZERO;
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
                // What was deleted at its beginning may be what the copy still has.
                Some(Tailed::OutOfRange { from, start: begin }) if is_cut(&table, &told, from, begin) => {
                    drop(table);
                    if !wait_for_decision(&inner, &told, &topic).await {
                        return;
                    }
                    (start, known) = (begin, String::new());
                    break;
                }
                Some(Tailed::OutOfRange { from, start: begin }) => {
                    warn!(topic = name, %from, start = %begin, "the topic does not have what its copy goes on from: it is read anew");
                    // Shorter than the copy knew it: from its beginning, wherever that is.
                    (start, known) = (begin, String::new());
                    break;
                }
                Some(Tailed::Gone) | None => break,
            }
        }
        sleep(PAUSE).await;
    }
}

/// Whether records that the copy has not seen were deleted, so that somebody has to decide.
fn is_cut(table: &Inner, told: &watch::Sender<At>, from: Offset, start: Offset) -> bool {
    !table.options.is_expendable && from < start && told.borrow().next > Offset::ZERO
}

/// Until somebody has decided what becomes of a topic whose beginning was deleted. False: nobody wants to know any more.
async fn wait_for_decision(inner: &std::sync::Weak<Inner>, told: &watch::Sender<At>, topic: &Topic) -> bool {
    loop {
        let Some(table) = inner.upgrade() else { return false };
        if is_instead(&table, topic, topic.id).await {
            table.tell(None);
            return true;
        }
        table.tell(Some(CUT));
        tokio::select! {
            biased;
            () = told.closed() => return false,
            () = table.created.notified() => {}
            () = sleep(LOOK_INTERVAL) => {}
        }
    }
}

/// The topic that the copy is to follow. None: nobody wants to know any more.
async fn wait_for_topic(inner: &std::sync::Weak<Inner>, told: &watch::Sender<At>) -> Option<Topic> {
    // Of those who look now and then one asks for all; who was told that it is there looks anew.
    let mut age = Duration::ZERO;
    loop {
        let table = inner.upgrade()?;
        let name = &table.options.topic;
        let known = told.borrow().topic.filter(|_| !table.options.is_expendable);
        match table.cluster.topics_within(age).await {
            Ok(topics) => match (topics.iter().find(|topic| topic.name == *name).cloned(), known) {
                (Some(topic), None) => return Some(topic),
                (Some(topic), Some(known))
                    if topic.id == known || is_instead(&table, &topic, known).await =>
                {
                    table.tell(None);
                    return Some(topic);
                }
                (Some(_), Some(_)) => table.tell(Some(REPLACED)),
                (None, Some(_)) => table.tell(Some(DELETED)),
                (None, None) => {}
            },
            Err(error) => debug!(topic = name, %error, "it cannot be looked for"),
        }
        age = tokio::select! {
            biased;
            () = told.closed() => return None,
            () = table.created.notified() => Duration::ZERO,
            () = sleep(LOOK_INTERVAL) => LOOK_INTERVAL / 2,
        };
    }
}

/// Whether somebody has decided that a topic takes the place of another one.
async fn is_instead(table: &Inner, topic: &Topic, known: TopicId) -> bool {
    match read_topic(&table.cluster, topic).await {
        Ok((instead_of, _)) => instead_of.contains(&known.to_string()),
        Err(error) => {
            debug!(topic = topic.name, %error, "it cannot be read");
            false
        }
    }
}

/// Topics in whose place one is, and its entries.
pub(crate) type Read = (BTreeSet<String>, BTreeMap<Vec<u8>, Bytes>);

/// All that a table's topic has now, without a copy.
pub(crate) async fn read_topic(cluster: &Cluster, topic: &Topic) -> Result<Read, AskError> {
    let offset =
        |of: BTreeMap<i32, Option<i64>>| of.get(&PARTITION).copied().flatten().map_or(Offset::ZERO, Offset);
    let mut next = offset(cluster.offsets(topic, &[PARTITION], -2, 0).await?);
    let end = offset(cluster.offsets(topic, &[PARTITION], -1, 0).await?);
    let mut tails = Tail::start(cluster.clone(), &topic.name, topic.id, [(PARTITION, next)]);
    let mut tail = tails.remove(&PARTITION).expect("it was asked for");
    let (mut instead_of, mut entries) = Read::default();
    while next < end {
        let late = || AskError::Lost(format!("{} cannot be read beyond offset {next}", topic.name));
        let tailed = timeout(cluster.patience(), tail.recv()).await.map_err(|_| late())?;
        let Some(Tailed::Records { bytes, .. }) = tailed else { return Err(late()) };
        next = each_entry(bytes, next, topic.id, |key, value| {
            match (key, value) {
                (REPLACES, value) => {
                    instead_of.extend(value.map(|id| String::from_utf8_lossy(id).into_owned()))
                }
                (key, Some(value)) => drop(entries.insert(key.to_vec(), Bytes::copy_from_slice(value))),
                (key, None) => drop(entries.remove(key)),
            }
            Ok::<_, std::convert::Infallible>(())
        })
        .unwrap_or_else(|never| match never {});
    }
    Ok((instead_of, entries))
}

/// All entries of a copy.
fn all_entries(connection: &Connection) -> rusqlite::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut statement = connection.prepare("SELECT key, value FROM entries ORDER BY key")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

async fn begin_anew(table: &Arc<Inner>, told: &watch::Sender<At>, id: TopicId, start: Offset) {
    let (inner, topic) = (table.clone(), id.to_string());
    persist(table, move || {
        let emptied = (|| {
            let mut connection = inner.copy.lock();
            let transaction = connection.transaction()?;
            transaction.execute("DELETE FROM entries", [])?;
            transaction.execute(
                "UPDATE about SET topic = ?1, next = ?2, at = ?3",
                params![topic, start.0, inner.clock.now().0],
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
    told.send_modify(|at| *at = At { next: start, round: at.round + 1, topic: Some(id) });
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

fn is_too_large(key: &[u8], value: Option<&[u8]>) -> bool {
    key.len() > KEY_BYTES_MAX || value.is_some_and(|value| value.len() > VALUE_BYTES_MAX)
}

/// Gives the entries of whole batches from an offset on, and the offset after them. What the store cannot have written is
/// passed over.
fn each_entry<E>(
    bytes: Bytes,
    from: Offset,
    topic: TopicId,
    mut each: impl FnMut(&[u8], Option<&[u8]>) -> Result<(), E>,
) -> Result<Offset, E> {
    let mut next = from;
    for batch in batches(bytes) {
        let Ok(batch) = batch else { break };
        match batch.records(BATCH_BYTES_MAX) {
            Ok(records) => {
                for record in records.iter().filter_map(Result::ok) {
                    match record.key {
                        _ if records.offset(&record) < from => {}
                        None => {}
                        Some(key) if is_too_large(key, record.value) => {
                            let bytes = record.value.map_or(0, <[u8]>::len);
                            warn!(%topic, bytes, "an entry of a table is too large, and passed over");
                        }
                        Some(key) => each(key, record.value)?,
                    }
                }
            }
            Err(error) => warn!(%topic, %error, "a batch of a table cannot be read: it is passed over"),
        }
        next = next.max(batch.header().next_offset());
    }
    Ok(next)
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
    let next = {
        let mut put = transaction.prepare_cached("INSERT OR REPLACE INTO entries VALUES (?1, ?2)")?;
        let mut remove = transaction.prepare_cached("DELETE FROM entries WHERE key = ?1")?;
        each_entry(bytes, start, id, |key, value| {
            match (key, value) {
                (REPLACES, _) => {}
                (key, Some(value)) => drop(put.execute(params![key, value])?),
                (key, None) => drop(remove.execute([key])?),
            }
            Ok::<_, rusqlite::Error>(())
        })?
    };
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
