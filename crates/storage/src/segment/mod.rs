//! Segments: the long-term form of a partition, laid out as Kafka does it.
//!
//! ```text
//! partitions/<topic id>-<partition index>/
//!     00000000000000000042.log         batches, byte for byte as consumers get them, from offset 42 on
//!     00000000000000000042.index       8 bytes each: last offset of a batch - 42 (i32), its position (i32)
//!     00000000000000000042.timeindex   12 bytes each: largest timestamp so far (i64), offset of its batch - 42 (i32)
//! ```
//!
//! Both indexes are sparse (one entry per `index.interval.bytes`) and derived: missing or damaged ones are built
//! anew from the log. Numbers are big-endian, as Kafka writes them. All segments but the last are complete and synced.

mod index;
mod read;
mod walk;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use env::{Disk, File};
use model::{BatchHeader, Offset, Timestamp};
use parking_lot::Mutex;

use index::Index;
pub(crate) use index::IndexFiles;
pub(crate) use read::{Known, SegmentRead, Spot};
pub(crate) use walk::{Step, Walk};

/// What a segment's files are called: its base offset in 20 digits, and behind a hyphen how often it was compacted, if it
/// was. A compacted segment has another name than those it was made from, so that both can be there at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub base: Offset,
    pub generation: u32,
}

pub(crate) struct Segment {
    pub base: Offset,
    /// Path without extension.
    stem: PathBuf,
    disk: Arc<dyn Disk>,
    facts: Mutex<Facts>,
    index: Mutex<Index>,
    log: Mutex<OpenLog>,
}

/// What is known of a segment without looking into it; kept in checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Bytes of complete batches.
    pub size: u64,
    /// The offset after the last batch.
    pub end: Offset,
    pub first_timestamp: Timestamp,
    pub max_timestamp: Timestamp,
    /// The last time something was appended, by our clock: stands in for timestamps that are missing.
    pub appended_at: Timestamp,
    pub created_at: Timestamp,
    /// See [`Name`].
    pub generation: u32,
}

#[derive(Default)]
struct OpenLog {
    file: Option<Arc<dyn File>>,
    used: bool,
}

impl Facts {
    pub fn new(base: Offset, now: Timestamp) -> Facts {
        Facts {
            size: 0,
            end: base,
            first_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            appended_at: now,
            created_at: now,
            generation: 0,
        }
    }

    pub fn name(&self, base: Offset) -> Name {
        Name { base, generation: self.generation }
    }

    pub fn add(&mut self, header: &BatchHeader, now: Timestamp) {
        if self.size == 0 {
            self.first_timestamp = header.max_timestamp;
        }
        self.size += header.size_bytes() as u64;
        self.end = header.next_offset();
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        self.appended_at = now;
    }
}

impl Segment {
    /// A segment that exists already, or whose log file is given because it was created just now.
    pub fn new(
        disk: Arc<dyn Disk>,
        directory: &Path,
        base: Offset,
        facts: Facts,
        log: Option<Arc<dyn File>>,
    ) -> Segment {
        let stem = directory.join(facts.name(base).stem());
        Segment {
            base,
            index: Mutex::new(Index::new(disk.clone(), &stem, base, facts)),
            stem,
            disk,
            facts: Mutex::new(facts),
            log: Mutex::new(OpenLog { file: log, used: true }),
        }
    }

    /// Creates the log file; its name is durable when this returns.
    pub fn create(
        disk: Arc<dyn Disk>,
        directory: &Path,
        base: Offset,
        now: Timestamp,
    ) -> io::Result<Segment> {
        Segment::create_with(disk, directory, base, Facts::new(base, now))
    }

    /// The same for one that begins with these facts, and no batch yet.
    pub fn create_with(
        disk: Arc<dyn Disk>,
        directory: &Path,
        base: Offset,
        facts: Facts,
    ) -> io::Result<Segment> {
        let stem = directory.join(facts.name(base).stem());
        // Indexes of an earlier file of this name (cut by a recovery, say) must not speak for this one.
        for extension in ["index", "timeindex"] {
            match disk.remove(&stem.with_extension(extension)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let log = disk.create(&stem.with_extension("log"))?;
        disk.sync_dir(directory)?;
        Ok(Segment::new(disk, directory, base, facts, Some(log)))
    }

    pub fn facts(&self) -> Facts {
        *self.facts.lock()
    }

    pub fn log_path(&self) -> PathBuf {
        self.stem.with_extension("log")
    }

    /// The log file, opened if need be.
    pub fn log(&self) -> io::Result<Arc<dyn File>> {
        let mut log = self.log.lock();
        log.used = true;
        if let Some(file) = &log.file {
            return Ok(file.clone());
        }
        let file = self.disk.open(&self.log_path())?;
        log.file = Some(file.clone());
        Ok(file)
    }

    /// Takes in a batch that now lies at the end of the log file.
    pub fn add(&self, header: &BatchHeader, now: Timestamp, index_interval_bytes: u32) {
        let mut facts = self.facts.lock();
        self.index.lock().add(facts.size, header, index_interval_bytes);
        facts.add(header, now);
    }

    /// When it was appended to last, and begun: a compacted segment takes it over from those it was made of.
    pub fn set_times(&self, appended_at: Timestamp, created_at: Timestamp) {
        let mut facts = self.facts.lock();
        (facts.appended_at, facts.created_at) = (appended_at, created_at);
    }

    /// Steps over a damaged place at the end of what is known.
    pub fn skip(&self, next: u64, end: Offset) {
        let mut facts = self.facts.lock();
        facts.size = next;
        facts.end = end;
    }

    /// Completes and syncs the indexes of a segment that will not grow any more.
    pub fn seal_index(&self) -> io::Result<()> {
        self.index.lock().seal()
    }

    pub fn index_bytes(&self) -> u64 {
        self.index.lock().size_bytes()
    }

    /// Builds both indexes anew from the log.
    pub fn rebuild_index(&self, index_interval_bytes: u32) -> io::Result<()> {
        let facts = self.facts();
        let mut fresh = Index::empty(self.disk.clone(), &self.stem, self.base);
        let log = self.log()?;
        for step in Walk::new(&*log, self.base, facts.size, facts.end, false) {
            if let Step::Batch { position, header } = step? {
                fresh.add(position, &header, index_interval_bytes);
            }
        }
        *self.index.lock() = fresh;
        Ok(())
    }

    pub fn is_open(&self) -> bool {
        self.log.lock().file.is_some()
    }

    /// Closes the files if nobody has used them since the last call. Says whether they are open still.
    pub fn close_if_idle(&self) -> bool {
        let mut log = self.log.lock();
        if log.file.is_none() {
            return false;
        }
        if std::mem::take(&mut log.used) {
            return true;
        }
        log.file = None;
        self.index.lock().close();
        false
    }

    /// Removes the files; readers that have them open may finish.
    pub fn remove(&self) -> io::Result<()> {
        for extension in ["timeindex", "index", "log"] {
            match self.disk.remove(&self.stem.with_extension(extension)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Name {
    /// Of a segment as it was written.
    pub fn first(base: Offset) -> Name {
        Name { base, generation: 0 }
    }

    /// Without extension.
    pub fn stem(self) -> String {
        match self.generation {
            0 => format!("{:020}", self.base.0),
            generation => format!("{:020}-{generation}", self.base.0),
        }
    }

    /// Of a log file.
    pub fn parse(file: &str) -> Option<Name> {
        let stem = file.strip_suffix(".log")?;
        let (base, generation) = match stem.split_once('-') {
            None => (stem, 0),
            Some((base, generation)) => (base, generation.parse().ok().filter(|generation| *generation > 0)?),
        };
        if base.len() != 20 { None } else { Some(Name { base: Offset(base.parse().ok()?), generation }) }
    }
}
