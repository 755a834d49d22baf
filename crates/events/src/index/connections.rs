//! The connections to one index: opened when they are used, closed when nobody has used them for a while.
//!
//! An instance has an index of each partition of each category, and uses few of them at a time. Each open one takes
//! three files and more, and memory.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use model::PartitionId;
use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, OpenFlags};
use tokio::time::sleep;

use super::{CACHE_KIB, HAS_TO_FORGET, READERS_MAX, State, create, open, remove_files, write};

/// Indexes of one process that are open at a time: for one more, the one that was not used for longest is closed, unless
/// all are in use. A thirty-second of the files that the process may have open, within these.
const OPEN_MIN: u64 = 16;
const OPEN_MAX: u64 = 128;

/// How long nobody may have used an index that stays open.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Beside those who have a place, the partition's owner reads.
const CONNECTIONS_MAX: usize = READERS_MAX + 1;

/// How many of SQLite's steps are made between two looks whether somebody still waits.
const STEPS_BETWEEN: i32 = 10_000;

/// Those that are open.
static OPEN: Mutex<Vec<Weak<Connections>>> = Mutex::new(Vec::new());

/// Counts all uses of all indexes.
static USES: AtomicU64 = AtomicU64::new(0);

pub struct Connections {
    path: PathBuf,
    partition: PartitionId,
    this: Weak<Connections>,
    writer: Mutex<Option<Writer>>,
    readers: Mutex<Readers>,
    given_back: Condvar,
    /// The last use.
    used: AtomicU64,
    /// Somebody will close it when it is idle.
    is_watched: AtomicBool,
    /// Truncations have left something to do.
    pub has_to_forget: AtomicBool,
}

pub struct Writer {
    pub connection: Connection,
    /// Streams that were written lately.
    pub streams: write::Streams,
}

impl Writer {
    fn new(connection: Connection) -> Writer {
        Writer { connection, streams: write::Streams::new() }
    }
}

#[derive(Default)]
struct Readers {
    free: Vec<Connection>,
    open: usize,
    /// Counts the files that the index had: a connection to an older one is closed.
    round: u64,
}

impl Connections {
    pub fn new(path: PathBuf, partition: PartitionId) -> Arc<Connections> {
        Arc::new_cyclic(|this| Connections {
            path,
            partition,
            this: this.clone(),
            writer: Mutex::default(),
            readers: Mutex::default(),
            given_back: Condvar::new(),
            used: AtomicU64::new(0),
            is_watched: AtomicBool::new(false),
            has_to_forget: AtomicBool::new(false),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// Whether there is certainly no file.
    pub fn is_missing(&self) -> bool {
        matches!(self.path.try_exists(), Ok(false))
    }

    /// How far the index is. It is closed again.
    pub fn state(&self) -> rusqlite::Result<State> {
        let (connection, state) = open(&self.path, self.partition)?;
        let has_to_forget = connection.query_row(HAS_TO_FORGET, [], |row| row.get(0))?;
        self.has_to_forget.store(has_to_forget, Ordering::Release);
        Ok(state)
    }

    /// Deletes the files and begins new ones, when nobody reads them any more.
    pub fn make_anew(&self) -> rusqlite::Result<State> {
        let mut writer = self.writer.lock();
        let mut readers = self.readers.lock();
        readers.round += 1;
        readers.open -= readers.free.len();
        readers.free.clear();
        // The last connection to a file deletes the write-ahead log that has the file's name.
        while readers.open > 0 {
            self.given_back.wait(&mut readers);
        }
        *writer = None;
        remove_files(&self.path);
        if let Some(dir) = self.path.parent() {
            // Somebody may have removed that, too.
            std::fs::create_dir_all(dir).map_err(|error| {
                rusqlite::Error::ToSqlConversionFailure(format!("{}: {error}", dir.display()).into())
            })?;
        }
        create(&self.path, self.partition).map(|(_, state)| state)
    }

    /// Runs something on the only connection that writes.
    pub fn writing<T>(&self, body: impl FnOnce(&mut Writer) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        self.is_used();
        let mut writer = self.writer.lock();
        body(self.opened(&mut writer)?)
    }

    /// A connection for reading, waiting for one if need be.
    pub fn reader(&self) -> rusqlite::Result<Lent<'_>> {
        self.is_used();
        loop {
            let mut readers = self.readers.lock();
            if let Some(connection) = readers.free.pop() {
                return Ok(self.lent(connection, readers.round));
            }
            if readers.open == CONNECTIONS_MAX {
                self.given_back.wait(&mut readers);
                continue;
            }
            drop(readers);
            // While it holds this, nobody deletes the files.
            let mut writer = self.writer.lock();
            self.opened(&mut writer)?;
            let mut readers = self.readers.lock();
            if !readers.free.is_empty() || readers.open == CONNECTIONS_MAX {
                continue;
            }
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&self.path, flags)?;
            connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
            connection.set_prepared_statement_cache_capacity(32);
            readers.open += 1;
            return Ok(self.lent(connection, readers.round));
        }
    }

    fn lent(&self, connection: Connection, round: u64) -> Lent<'_> {
        Lent { connection: Some(connection), round, of: self }
    }

    fn opened<'a>(&self, writer: &'a mut Option<Writer>) -> rusqlite::Result<&'a mut Writer> {
        if writer.is_none() {
            self.make_room();
            let opened = open(&self.path, self.partition);
            let (connection, _) = opened.map_err(|error| if self.is_missing() { gone() } else { error })?;
            *writer = Some(Writer::new(connection));
        }
        Ok(writer.as_mut().expect("it was opened"))
    }

    /// Closes others where too many are open.
    fn make_room(&self) {
        let mut idle = Vec::new();
        {
            let mut open = OPEN.lock();
            open.retain(|one| one.strong_count() > 0 && !one.ptr_eq(&self.this));
            let beyond = (open.len() + 1).saturating_sub(open_max());
            if beyond > 0 {
                open.sort_by_cached_key(|one| one.upgrade().map(|it| it.used.load(Ordering::Relaxed)));
                idle.extend(open.drain(..beyond));
            }
            open.push(self.this.clone());
        }
        for one in idle.iter().filter_map(Weak::upgrade) {
            if !one.close() {
                OPEN.lock().push(Arc::downgrade(&one));
            }
        }
    }

    /// Closes what is open, unless somebody uses it. Whether it is closed.
    pub fn close(&self) -> bool {
        let Some(mut writer) = self.writer.try_lock() else { return false };
        let mut readers = self.readers.lock();
        if readers.free.len() < readers.open {
            return false;
        }
        readers.open = 0;
        readers.free.clear();
        *writer = None;
        true
    }

    fn is_used(&self) {
        self.used.store(USES.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Has it closed once nobody has used it for a while.
    pub fn close_when_idle(self: &Arc<Self>) {
        if !self.is_watched.swap(true, Ordering::AcqRel) {
            env::spawn(close_when_idle(Arc::downgrade(self)));
        }
    }

    #[cfg(test)]
    pub fn is_open(&self) -> bool {
        self.writer.lock().is_some()
    }
}

/// Somebody has removed it.
fn gone() -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB);
    rusqlite::Error::SqliteFailure(code, Some("its file is gone".to_owned()))
}

/// How many may be open.
fn open_max() -> usize {
    static OF_LIMIT: OnceLock<u64> = OnceLock::new();
    let most = *OF_LIMIT.get_or_init(|| {
        let files = env::raise_open_files_max().unwrap_or(u64::MAX);
        (files / 32).clamp(OPEN_MIN, OPEN_MAX)
    });
    most as usize
}

async fn close_when_idle(connections: Weak<Connections>) {
    let mut before = None;
    loop {
        sleep(IDLE_MAX).await;
        let Some(connections) = connections.upgrade() else { return };
        let used = connections.used.load(Ordering::Relaxed);
        if before.replace(used) != Some(used) {
            continue;
        }
        // Before it is closed: who opens it again meanwhile has it watched again.
        connections.is_watched.store(false, Ordering::Release);
        let closing = connections.clone();
        let is_closed = env::run_blocking(move || closing.close()).await;
        if is_closed {
            OPEN.lock().retain(|one| !one.ptr_eq(&connections.this));
            return;
        }
        if connections.is_watched.swap(true, Ordering::AcqRel) {
            return;
        }
    }
}

/// A connection for reading, until it is dropped.
pub struct Lent<'a> {
    /// There until it is dropped.
    connection: Option<Connection>,
    round: u64,
    of: &'a Connections,
}

const UNTIL_DROPPED: &str = "it is given back when this is dropped";

impl Lent<'_> {
    pub fn connection(&self) -> &Connection {
        self.connection.as_ref().expect(UNTIL_DROPPED)
    }

    /// Runs something on it that ends where it is told to.
    pub fn until<T>(
        &mut self,
        stop: &Stop,
        body: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let told = stop.clone();
        let connection = self.connection.as_mut().expect(UNTIL_DROPPED);
        connection.progress_handler(STEPS_BETWEEN, Some(move || told.is_told()))?;
        let answer = body(connection);
        connection.progress_handler(0, None::<fn() -> bool>)?;
        answer
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut readers = self.of.readers.lock();
        match self.connection.take() {
            Some(connection) if self.round == readers.round => readers.free.push(connection),
            _ => readers.open -= 1,
        }
        drop(readers);
        self.of.given_back.notify_all();
    }
}

/// Ends a search for an answer that nobody waits for any more.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

/// Tells it when it is dropped.
pub struct StopWhenDropped(pub Stop);

impl Stop {
    pub fn is_told(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}
