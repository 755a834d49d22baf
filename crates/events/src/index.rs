//! The index of one partition: what its log says, in a shape that answers questions about streams, ids and tags.
//!
//! One SQLite file. It is a cache: whatever is wrong with it, it is deleted and comes back from the log. The offset up
//! to which it has the log is written in the same transaction as the events, so that it has each exactly once.
//!
//! ```text
//! about    format, partition, next offset, the last claim, base  (one row)
//! streams  no → id, boundary, first version that is read         unique id
//! events   offset → stream, version, id, time, facts, data       unique (stream, version), id
//! names    no → "t" + tag | "y" + type | "c" + correlation id | "s" + subject
//! marks    (name, offset)                                        which events have a tag, type, correlation id
//! ```
//!
//! Of an event that was truncated its id stays, so that it is not used again, its version and that it is gone. An index
//! that begins at an offset above 0 (its base), because what was before was trimmed, does not know even that.

mod read;
mod write;

use std::path::{Path, PathBuf};

use model::{Offset, PartitionId};
use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, OpenFlags};

use crate::event::Facts;

pub use read::{Name, OfStream, Window};
pub use write::{Applied, Halt};

/// Another number when the tables change: then the index is made anew.
const FORMAT: i64 = 2;

/// Connections for readers of one index; whoever comes when all are taken waits. More would not only need files: SQLite
/// closes none of a database's as long as anybody in the process has it open.
const READERS_MAX: usize = 4;

/// SQLite's page cache of each connection.
const CACHE_KIB: i64 = 4096;

const TABLES: &str = "
    CREATE TABLE about (
        one INTEGER PRIMARY KEY CHECK (one = 0), format INTEGER NOT NULL, partition TEXT NOT NULL,
        next INTEGER NOT NULL, writer TEXT NOT NULL, claimed INTEGER NOT NULL, base INTEGER NOT NULL
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
";

/// One writes, many read.
pub struct Index {
    path: PathBuf,
    writer: Mutex<Writer>,
    readers: Mutex<Readers>,
    given_back: Condvar,
}

struct Writer {
    connection: Connection,
    /// Streams that were written lately.
    streams: write::Streams,
}

impl Writer {
    fn new(connection: Connection) -> Mutex<Writer> {
        Mutex::new(Writer { connection, streams: write::Streams::new() })
    }
}

#[derive(Default)]
struct Readers {
    free: Vec<Connection>,
    open: usize,
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
}

impl Index {
    /// Opens the index of a partition, or makes a new one where there is none, it is of another format or another
    /// topic, or cannot be read. Blocks.
    pub fn open(dir: &Path, partition: PartitionId) -> rusqlite::Result<(Index, State)> {
        let dir = dir.join(partition.topic.to_string());
        std::fs::create_dir_all(&dir).map_err(|error| {
            rusqlite::Error::ToSqlConversionFailure(format!("{}: {error}", dir.display()).into())
        })?;
        let path = dir.join(format!("{}.sqlite", partition.index));
        let opened = open(&path, partition).or_else(|error| {
            if path.exists() {
                tracing::warn!(path = %path.display(), %error, "an index is made anew from the log");
            }
            remove_files(&path);
            create(&path, partition)
        });
        let (connection, state) = opened?;
        let index = Index {
            path,
            writer: Writer::new(connection),
            readers: Mutex::default(),
            given_back: Condvar::new(),
        };
        Ok((index, state))
    }

    /// The index of a partition as it is, for looking at it, and how far it is. None: there is none. Blocks.
    pub fn open_existing(dir: &Path, partition: PartitionId) -> Option<(Index, Offset)> {
        let path = dir.join(partition.topic.to_string()).join(format!("{}.sqlite", partition.index));
        let (connection, state) = open(&path, partition).ok()?;
        let index = Index {
            path,
            writer: Writer::new(connection),
            readers: Mutex::default(),
            given_back: Condvar::new(),
        };
        Some((index, state.next))
    }

    /// Forgets everything, to be read from this offset on. Blocks.
    pub fn begin_anew(&self, partition: PartitionId, base: Offset) -> rusqlite::Result<State> {
        let mut writer = self.writer.lock();
        writer.streams.clear();
        let transaction = writer.connection.transaction()?;
        for table in ["about", "streams", "events", "names", "marks"] {
            transaction.execute(&format!("DELETE FROM {table}"), [])?;
        }
        let state = begin(&transaction, partition, base)?;
        transaction.commit()?;
        Ok(state)
    }

    /// Runs something on a connection of its own, all of which sees the same state of the index. Blocks.
    fn reading<T>(&self, body: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let connection = self.reader()?;
        let result = connection.unchecked_transaction().and_then(|transaction| body(&transaction));
        self.readers.lock().free.push(connection);
        self.given_back.notify_one();
        result
    }

    /// A connection for reading, waiting for one if need be.
    fn reader(&self) -> rusqlite::Result<Connection> {
        let mut readers = self.readers.lock();
        while readers.free.is_empty() && readers.open == READERS_MAX {
            self.given_back.wait(&mut readers);
        }
        if let Some(free) = readers.free.pop() {
            return Ok(free);
        }
        readers.open += 1;
        drop(readers);
        let opened = (|| {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&self.path, flags)?;
            connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
            connection.set_prepared_statement_cache_capacity(32);
            Ok(connection)
        })();
        if opened.is_err() {
            self.readers.lock().open -= 1;
            self.given_back.notify_one();
        }
        opened
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
        "INSERT INTO about VALUES (0, ?1, ?2, ?3, '', -1, ?3)",
        rusqlite::params![FORMAT, partition.to_string(), base.0],
    )?;
    Ok(State { next: base, claim: None, base })
}

fn open(path: &Path, partition: PartitionId) -> rusqlite::Result<(Connection, State)> {
    let connection = open_database(path)?;
    tune(&connection)?;
    let state = connection.query_row(
        "SELECT next, writer, claimed, base FROM about WHERE format = ?1 AND partition = ?2",
        rusqlite::params![FORMAT, partition.to_string()],
        |row| {
            let writer: String = row.get(1)?;
            let claim = Claim { writer, offset: Offset(row.get(2)?) };
            let claim = Some(claim).filter(|claim| !claim.offset.is_none());
            Ok(State { next: Offset(row.get(0)?), claim, base: Offset(row.get(3)?) })
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
