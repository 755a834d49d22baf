//! The index of one partition: what its log says, in a shape that answers questions about streams, ids and tags.
//!
//! One SQLite file. It is a cache: where it is damaged, it is deleted and comes back from the log. The offset up to which
//! it has the log is written in the same transaction as the events, so that it has each exactly once.
//!
//! ```text
//! about       format, partition, next offset, the last claim and the one before by another producer, base  (one row)
//! streams     no → id, boundary, first version that is read         unique id
//! events      offset → stream, version, id, time, facts, data       unique (stream, version), id
//! names       no → "t" + tag | "y" + type | "c" + correlation id | "s" + subject
//! marks       (name, offset)                                        which events have a tag, type, correlation id
//! forgetting  stream → versions of which the events are to go      what a truncation has left to do
//! ```
//!
//! Of an event that was truncated its id stays, so that it is not used again, its version and that it is gone. A
//! truncation counts at once (a stream's first version that is read), and its events go in steps. An index that begins at
//! an offset above 0 (its base), because what was before was trimmed, does not know even that.

mod connections;
mod read;
mod search;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::{Offset, PartitionId};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::event::Facts;
use connections::{Connections, Stop, StopWhenDropped};

pub use read::{Name, OfStream, Part, Reader, Room, Window};
pub use search::{CONDITION_LOOKS_MAX, Searched};
pub use write::{Applied, Halt, adopted_version};

/// Another number when the tables change: then the index is made anew.
const FORMAT: i64 = 4;

/// Who reads one index at a time; whoever comes when all places are taken waits. Its owner has one beside them.
const READERS_MAX: usize = 4;

/// Of those, who searches: reads of a stream, which are short, do not wait behind searches alone.
const SEARCHERS_MAX: usize = READERS_MAX - 1;

/// Who reads any index of the process at a time, each on a thread: fewer than the runtime has for what blocks.
static READING: Semaphore = Semaphore::const_new(32);

/// Of those, who searches.
static SEARCHING: Semaphore = Semaphore::const_new(24);

/// How long somebody waits for a place to read.
const PLACE_WAIT_MAX: Duration = Duration::from_secs(5);

/// SQLite's page cache of each connection.
const CACHE_KIB: i64 = 2048;

const TABLES: &str = "
    CREATE TABLE about (
        one INTEGER PRIMARY KEY CHECK (one = 0), format INTEGER NOT NULL, partition TEXT NOT NULL,
        next INTEGER NOT NULL, writer TEXT NOT NULL, claimed INTEGER NOT NULL, former TEXT NOT NULL,
        base INTEGER NOT NULL
    );
    CREATE TABLE streams (
        no INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, boundary TEXT, first INTEGER NOT NULL DEFAULT 1
    );
    CREATE TABLE events (
        off INTEGER PRIMARY KEY, stream INTEGER NOT NULL, ver INTEGER NOT NULL, id TEXT NOT NULL,
        at INTEGER NOT NULL, facts TEXT NOT NULL, data BLOB NOT NULL, gone INTEGER NOT NULL
    );
    CREATE UNIQUE INDEX events_by_version ON events (stream, ver);
    CREATE UNIQUE INDEX events_by_id ON events (id);
    CREATE TABLE names (no INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE marks (name INTEGER NOT NULL, off INTEGER NOT NULL, PRIMARY KEY (name, off)) WITHOUT ROWID;
    CREATE TABLE forgetting (stream INTEGER PRIMARY KEY, since INTEGER NOT NULL, before INTEGER NOT NULL);
";

/// Whether truncations have left something to do.
const HAS_TO_FORGET: &str = "SELECT EXISTS (SELECT 1 FROM forgetting)";

const ALL_TABLES: [&str; 6] = ["about", "streams", "events", "names", "marks", "forgetting"];

/// One writes, many read.
pub struct Index {
    connections: Arc<Connections>,
    places: Arc<Semaphore>,
    search_places: Arc<Semaphore>,
    /// What was found damaged in it.
    damage: watch::Sender<Option<String>>,
}

/// How far an index is, and who claimed the partition last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Offset of the first record that it does not have.
    pub next: Offset,
    pub claim: Option<Claim>,
    /// Where the log began when the index was begun.
    pub base: Offset,
}

/// The last claim in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// As in the header `lv-ep`.
    pub writer: String,
    pub offset: Offset,
    /// The last writer with another producer id, or empty: what it had under way may still come, because a claim fences
    /// only older epochs of its own producer id.
    pub former: String,
}

impl Claim {
    /// The claim that follows another one.
    fn after(before: Option<&Claim>, writer: &str, offset: Offset) -> Claim {
        let former = match before {
            Some(before) if producer(&before.writer) != producer(writer) => before.writer.clone(),
            Some(before) => before.former.clone(),
            None => String::new(),
        };
        Claim { writer: writer.to_owned(), offset, former }
    }

    /// Whether a writer's events may follow it.
    fn admits(&self, writer: &str) -> bool {
        writer == self.writer || (!self.former.is_empty() && writer == self.former)
    }
}

#[cfg(test)]
impl State {
    /// As if the writer `1:0` had claimed the partition.
    pub fn claimed(self) -> State {
        let claim = Claim { writer: "1:0".to_owned(), offset: Offset::ZERO, former: String::new() };
        State { claim: Some(claim), ..self }
    }
}

/// The producer id of a writer.
fn producer(writer: &str) -> &str {
    writer.split(':').next().unwrap_or_default()
}

const NEVER_CLOSED: &str = "places are never closed";

/// Waits for places to read, but not for long.
async fn in_time<T>(places: impl Future<Output = T>) -> rusqlite::Result<T> {
    timeout(PLACE_WAIT_MAX, places).await.map_err(|_| {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        rusqlite::Error::SqliteFailure(code, Some("too many read it just now: ask again".to_owned()))
    })
}

impl Index {
    /// Opens the index of a partition, or makes a new one where there is none, or it is of another format or another topic,
    /// or damaged. Whatever else is wrong (too many open files, a full disk) leaves it as it is. Blocks.
    pub fn open(dir: &Path, partition: PartitionId) -> rusqlite::Result<(Index, State)> {
        let dir = dir.join(partition.topic.to_string());
        std::fs::create_dir_all(&dir).map_err(|error| {
            rusqlite::Error::ToSqlConversionFailure(format!("{}: {error}", dir.display()).into())
        })?;
        let path = dir.join(format!("{}.sqlite", partition.index));
        let index = Index::of(Connections::new(path, partition));
        let state = match index.connections.is_missing() {
            true => index.connections.make_anew()?,
            false => match index.connections.state() {
                Err(error) if is_damage(&error) => {
                    let path = index.connections.path().display();
                    let why = match error {
                        rusqlite::Error::QueryReturnedNoRows => {
                            "it is of another format, or of another topic".to_owned()
                        }
                        error => error.to_string(),
                    };
                    tracing::warn!(%path, why, "an index cannot be used: it is made anew from the log");
                    index.connections.make_anew()?
                }
                state => state?,
            },
        };
        Ok((index, state))
    }

    /// The index of a partition as it is, for looking at it, and how far it is. None: there is none. Blocks.
    pub fn open_existing(dir: &Path, partition: PartitionId) -> Option<(Index, Offset)> {
        let path = dir.join(partition.topic.to_string()).join(format!("{}.sqlite", partition.index));
        let index = Index::of(Connections::new(path, partition));
        if index.connections.is_missing() {
            return None;
        }
        let state = index.connections.state().ok()?;
        Some((index, state.next))
    }

    fn of(connections: Arc<Connections>) -> Index {
        let places = Arc::new(Semaphore::new(READERS_MAX));
        let search_places = Arc::new(Semaphore::new(SEARCHERS_MAX));
        Index { connections, places, search_places, damage: watch::Sender::new(None) }
    }

    /// Told what is damaged in it, when that is found.
    pub fn damage(&self) -> watch::Receiver<Option<String>> {
        self.damage.subscribe()
    }

    /// Deletes it and begins a new one, to be read from the beginning. Waits for those who read it. Blocks.
    pub fn rebuild(&self) -> rusqlite::Result<State> {
        let state = self.connections.make_anew()?;
        self.damage.send_replace(None);
        Ok(state)
    }

    /// Forgets everything, to be read from this offset on. Blocks.
    pub fn begin_anew(&self, base: Offset) -> rusqlite::Result<State> {
        let partition = self.connections.partition();
        self.noticed(self.connections.writing(|writer| {
            writer.streams.clear();
            let transaction = writer.connection.transaction()?;
            for table in ALL_TABLES {
                transaction.execute(&format!("DELETE FROM {table}"), [])?;
            }
            let state = begin(&transaction, partition, base)?;
            transaction.commit()?;
            Ok(state)
        }))
    }

    /// Asks it on a thread for what blocks, once there is a place; it is to have everything before an offset. Whoever does
    /// not wait for the answer any more stops the search for it.
    pub async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        next: Offset,
        question: impl FnOnce(&Reader<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> rusqlite::Result<T> {
        self.ask_with((), next, question).await
    }

    /// The same for what may take long: it leaves places to others.
    pub async fn search<T: Send + 'static>(
        self: &Arc<Self>,
        next: Offset,
        question: impl FnOnce(&Reader<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> rusqlite::Result<T> {
        let places = in_time(async {
            let own = self.search_places.clone().acquire_owned().await.expect(NEVER_CLOSED);
            (own, SEARCHING.acquire().await.expect(NEVER_CLOSED))
        });
        self.ask_with(places.await?, next, question).await
    }

    async fn ask_with<P: Send + 'static, T: Send + 'static>(
        self: &Arc<Self>,
        search: P,
        next: Offset,
        question: impl FnOnce(&Reader<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> rusqlite::Result<T> {
        let places = in_time(async {
            let own = self.places.clone().acquire_owned().await.expect(NEVER_CLOSED);
            (own, READING.acquire().await.expect(NEVER_CLOSED))
        });
        let (own, of_all) = places.await?;
        let stop = StopWhenDropped(Stop::default());
        let (index, told) = (self.clone(), stop.0.clone());
        let answer = env::run_blocking(move || {
            // Until it is really over, whoever waits for it.
            let _places = (search, own, of_all);
            index.reading_until(&told, |reader| {
                reader.has(next)?;
                question(reader)
            })
        })
        .await;
        self.close_when_idle();
        answer
    }

    /// The same for the partition's owner, before whom no reader comes.
    pub async fn ask_first<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(rusqlite::Result<&Reader<'_>>) -> T + Send + 'static,
    ) -> T {
        let index = self.clone();
        let answer = env::run_blocking(move || index.reading_first(question)).await;
        self.close_when_idle();
        answer
    }

    /// Runs something all of which sees the same state of the index. Blocks.
    pub fn reading<T>(&self, body: impl FnOnce(&Reader<'_>) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        self.reading_until(&Stop::default(), body)
    }

    fn reading_until<T>(
        &self,
        stop: &Stop,
        body: impl FnOnce(&Reader<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let mut connection = self.noticed(self.connections.reader())?;
        self.noticed(connection.until(stop, |connection| {
            let transaction = connection.unchecked_transaction()?;
            body(&Reader { connection: &transaction, stop })
        }))
    }

    fn reading_first<T>(&self, body: impl FnOnce(rusqlite::Result<&Reader<'_>>) -> T) -> T {
        let connection = match self.noticed(self.connections.reader()) {
            Ok(connection) => connection,
            Err(error) => return body(Err(error)),
        };
        match self.noticed(connection.connection().unchecked_transaction()) {
            Ok(transaction) => body(Ok(&Reader { connection: &transaction, stop: &Stop::default() })),
            Err(error) => body(Err(error)),
        }
    }

    /// Whether truncations have left something to do.
    pub fn has_to_forget(&self) -> bool {
        self.connections.has_to_forget.load(Ordering::Acquire)
    }

    /// Where an answer is that it is damaged, somebody is told to rebuild it.
    pub fn noticed<T>(&self, answer: rusqlite::Result<T>) -> rusqlite::Result<T> {
        if let Err(error) = &answer
            && is_damage(error)
        {
            self.damage.send_if_modified(|damage| {
                let is_new = damage.is_none();
                damage.get_or_insert_with(|| error.to_string());
                is_new
            });
        }
        answer
    }

    /// Has its files closed once nobody has used it for a while.
    pub fn close_when_idle(&self) {
        self.connections.close_when_idle();
    }
}

/// Whether an error proves that the file itself is damaged, or is none of this index: then it is made anew. Anything else
/// may pass.
pub fn is_damage(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => {
            matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
                || failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ
        }
        // What it has is not what was written.
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::Utf8Error(..) => true,
        // As this file says it of the row `about`.
        rusqlite::Error::QueryReturnedNoRows => true,
        _ => false,
    }
}

/// Removes a database.
pub fn remove_files(path: &Path) {
    files(path).iter().for_each(|file| remove(file));
}

/// Opens a database that there is, and nobody but who may read the log may read it.
pub fn open_database(path: &Path) -> rusqlite::Result<Connection> {
    for file in files(path) {
        env::narrow(&file).map_err(|error| not_narrowed(&file, &error))?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

/// Makes a database. Its log and shared memory have the mode of its file, as SQLite makes them.
pub fn create_database(path: &Path) -> rusqlite::Result<Connection> {
    env::create_narrow(path).map_err(|error| not_narrowed(path, &error))?;
    Connection::open(path)
}

fn not_narrowed(path: &Path, error: &std::io::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(format!("{}: {error}", path.display()).into())
}

/// A database and what SQLite puts beside it.
fn files(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|suffix| {
        let mut name = path.to_owned().into_os_string();
        name.push(suffix);
        PathBuf::from(name)
    })
}

#[expect(clippy::disallowed_methods, reason = "SQLite writes these files, and no other disk knows them")]
fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "an index cannot be removed");
    }
}

fn tune(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // After a crash the newest transactions may be missing: they come back from the log.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn create(path: &Path, partition: PartitionId) -> rusqlite::Result<(Connection, State)> {
    let connection = create_database(path)?;
    tune(&connection)?;
    connection.execute_batch(&format!("BEGIN; {TABLES}"))?;
    let state = begin(&connection, partition, Offset::ZERO)?;
    connection.execute_batch("COMMIT")?;
    Ok((connection, state))
}

fn begin(connection: &Connection, partition: PartitionId, base: Offset) -> rusqlite::Result<State> {
    connection.execute(
        "INSERT INTO about VALUES (0, ?1, ?2, ?3, '', -1, '', ?3)",
        rusqlite::params![FORMAT, partition.to_string(), base.0],
    )?;
    Ok(State { next: base, claim: None, base })
}

fn open(path: &Path, partition: PartitionId) -> rusqlite::Result<(Connection, State)> {
    let connection = open_database(path)?;
    tune(&connection)?;
    // An empty file, where it was being made when the process ended.
    connection.query_row("SELECT 1 FROM sqlite_schema WHERE name = 'about'", [], |_| Ok(()))?;
    let state = connection.query_row(
        "SELECT next, writer, claimed, former, base FROM about WHERE format = ?1 AND partition = ?2",
        rusqlite::params![FORMAT, partition.to_string()],
        |row| {
            let writer: String = row.get(1)?;
            let claim = Claim { writer, offset: Offset(row.get(2)?), former: row.get(3)? };
            let claim = Some(claim).filter(|claim| !claim.offset.is_none());
            Ok(State { next: Offset(row.get(0)?), claim, base: Offset(row.get(4)?) })
        },
    )?;
    Ok((connection, state))
}

/// The facts of an event that is gone.
const GONE: &str = "";

/// The names under which an event is found.
fn names(facts: &Facts) -> impl Iterator<Item = String> + '_ {
    let tags = facts.tags.iter().map(|name| tag(name));
    let others = facts.correlation.iter().map(|name| correlation(name));
    let subjects = facts.sealed.iter().map(|sealed| subject(&sealed.subject));
    tags.chain(others).chain(subjects).chain([kind(&facts.kind)])
}

/// The name under which an event is found by a tag.
fn tag(tag: &str) -> String {
    format!("t{tag}")
}

fn kind(kind: &str) -> String {
    format!("y{kind}")
}

fn subject(subject: &str) -> String {
    format!("s{subject}")
}

fn correlation(correlation: &str) -> String {
    format!("c{correlation}")
}

#[cfg(test)]
mod tests;
