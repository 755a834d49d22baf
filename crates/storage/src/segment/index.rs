use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use env::{Disk, File, read_exact_at};
use model::{BatchHeader, Offset, Timestamp};

use super::Facts;

const OFFSET_ENTRY_BYTES: usize = 8;
const TIME_ENTRY_BYTES: usize = 12;
/// Entries kept in memory before they are written.
const RECENT_MAX: usize = 128;

/// The sparse indexes of one segment.
///
/// Their files are synced only when the segment is complete, so after a crash they may lack entries, hold
/// zeroes, or speak of batches that were cut. They are trimmed to what the log holds when first looked at, and
/// every entry is compared with the batch it names before it is believed.
pub(crate) struct Index {
    base: Offset,
    /// What the log holds when the files are first looked at; later entries are our own.
    trim: Option<Facts>,
    offsets: Table<OFFSET_ENTRY_BYTES>,
    times: Table<TIME_ENTRY_BYTES>,
    /// Bytes of batches since the last entry.
    unindexed_bytes: u64,
    max_timestamp: Timestamp,
    /// Last offset of the first batch with that timestamp.
    max_timestamp_at: Offset,
    /// The timestamp of the last time entry.
    last_timestamp: Timestamp,
}

/// Entries of equal size, the newest in memory, the others in a file.
struct Table<const N: usize> {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Number of entries in the file.
    stored: u64,
    recent: Vec<[u8; N]>,
    file: Option<Arc<dyn File>>,
}

impl Index {
    /// The index of a segment that may have index files.
    pub fn new(disk: Arc<dyn Disk>, stem: &Path, base: Offset, facts: Facts) -> Index {
        Index {
            max_timestamp: facts.max_timestamp,
            last_timestamp: facts.max_timestamp,
            trim: Some(facts),
            ..Index::empty(disk, stem, base)
        }
    }

    /// An index without entries, whatever the files say; they will be written anew.
    pub fn empty(disk: Arc<dyn Disk>, stem: &Path, base: Offset) -> Index {
        Index {
            base,
            trim: None,
            offsets: Table::new(disk.clone(), stem.with_extension("index")),
            times: Table::new(disk, stem.with_extension("timeindex")),
            unindexed_bytes: 0,
            max_timestamp: Timestamp::NONE,
            max_timestamp_at: base,
            last_timestamp: Timestamp::NONE,
        }
    }

    pub fn size_bytes(&self) -> u64 {
        self.offsets.count() * OFFSET_ENTRY_BYTES as u64
    }

    /// Takes in a batch at a position. Writes to the files now and then; entries that cannot be written are left
    /// out, which only makes the index sparser.
    pub fn add(&mut self, position: u64, header: &BatchHeader, interval_bytes: u32) {
        if header.max_timestamp > self.max_timestamp {
            self.max_timestamp = header.max_timestamp;
            self.max_timestamp_at = header.last_offset();
        }
        if self.unindexed_bytes > u64::from(interval_bytes) && self.load().is_ok() {
            let mut entry = [0; OFFSET_ENTRY_BYTES];
            entry[0..4].copy_from_slice(&self.relative(header.last_offset()).to_be_bytes());
            entry[4..8].copy_from_slice(&(position as u32).to_be_bytes());
            self.offsets.push(entry);
            self.add_time();
            self.unindexed_bytes = 0;
        }
        self.unindexed_bytes += header.size_bytes() as u64;
    }

    /// The indexed batch nearest before an offset: its last offset and its position.
    pub fn locate(&mut self, offset: Offset) -> io::Result<Option<(Offset, u64)>> {
        self.load()?;
        let relative = offset.0 - self.base.0;
        let found = self.offsets.last_where(|entry| i64::from(offset_entry(entry).0) <= relative)?;
        Ok(found.map(|entry| {
            let (last, position) = offset_entry(&entry);
            (self.base.plus(i64::from(last)), u64::from(position))
        }))
    }

    /// The last entry below a time: its time, which none before is above, and the last offset of its batch.
    pub fn locate_time(&mut self, at: Timestamp) -> io::Result<Option<(Timestamp, Offset)>> {
        self.load()?;
        let found = self.times.last_where(|entry| time_entry(entry).0 < at.0)?;
        Ok(found.map(|entry| {
            let (timestamp, last) = time_entry(&entry);
            (Timestamp(timestamp), self.base.plus(i64::from(last)))
        }))
    }

    pub fn seal(&mut self) -> io::Result<()> {
        self.load()?;
        self.add_time();
        self.offsets.seal()?;
        self.times.seal()
    }

    /// Looks at the files for the first time.
    fn load(&mut self) -> io::Result<()> {
        let Some(facts) = self.trim else { return Ok(()) };
        let last = facts.end.0 - self.base.0;
        self.offsets.load(|entry| u64::from(offset_entry(entry).1) < facts.size)?;
        self.times.load(|entry| i64::from(time_entry(entry).1) < last)?;
        self.trim = None;
        Ok(())
    }

    pub fn close(&mut self) {
        self.offsets.file = None;
        self.times.file = None;
    }

    fn add_time(&mut self) {
        if self.max_timestamp <= self.last_timestamp {
            return;
        }
        self.last_timestamp = self.max_timestamp;
        let mut entry = [0; TIME_ENTRY_BYTES];
        entry[0..8].copy_from_slice(&self.max_timestamp.0.to_be_bytes());
        entry[8..12].copy_from_slice(&self.relative(self.max_timestamp_at).to_be_bytes());
        self.times.push(entry);
    }

    fn relative(&self, offset: Offset) -> u32 {
        (offset.0 - self.base.0) as u32
    }
}

fn offset_entry(entry: &[u8; OFFSET_ENTRY_BYTES]) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = *entry;
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

fn time_entry(entry: &[u8; TIME_ENTRY_BYTES]) -> (i64, u32) {
    let timestamp = i64::from_be_bytes(entry[..8].try_into().expect("8 bytes"));
    (timestamp, u32::from_be_bytes(entry[8..].try_into().expect("4 bytes")))
}

impl<const N: usize> Table<N> {
    fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Table<N> {
        Table { disk, path, stored: 0, recent: Vec::new(), file: None }
    }

    fn count(&self) -> u64 {
        self.stored + self.recent.len() as u64
    }

    /// Counts the file's entries as far as `valid` says, and cuts it there.
    fn load(&mut self, valid: impl Fn(&[u8; N]) -> bool) -> io::Result<()> {
        let file = match self.disk.open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let length = file.len()?;
        self.file = Some(file.clone());
        self.stored = length / N as u64;
        self.stored = self.partition_point(valid)?;
        if self.stored * (N as u64) < length {
            file.set_len(self.stored * N as u64)?;
        }
        Ok(())
    }

    fn push(&mut self, entry: [u8; N]) {
        self.recent.push(entry);
        if self.recent.len() >= RECENT_MAX && self.flush().is_err() {
            self.recent.clear();
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.recent.is_empty() {
            return Ok(());
        }
        let bytes: Vec<u8> = self.recent.iter().flatten().copied().collect();
        let file = match &self.file {
            Some(file) => file.clone(),
            None if self.stored == 0 => self.disk.create(&self.path)?,
            None => self.disk.open(&self.path)?,
        };
        file.write_at(&bytes, self.stored * N as u64)?;
        self.file = Some(file);
        self.stored += self.recent.len() as u64;
        self.recent.clear();
        Ok(())
    }

    fn seal(&mut self) -> io::Result<()> {
        self.flush()?;
        match &self.file {
            Some(file) => file.sync_data(),
            None => Ok(()),
        }
    }

    fn entry(&mut self, index: u64) -> io::Result<[u8; N]> {
        if index >= self.stored {
            return Ok(self.recent[(index - self.stored) as usize]);
        }
        if self.file.is_none() {
            self.file = Some(self.disk.open(&self.path)?);
        }
        let mut entry = [0; N];
        read_exact_at(&**self.file.as_ref().expect("just opened"), &mut entry, index * N as u64)?;
        Ok(entry)
    }

    fn last_where(&mut self, below: impl Fn(&[u8; N]) -> bool) -> io::Result<Option<[u8; N]>> {
        match self.partition_point(below)? {
            0 => Ok(None),
            after => self.entry(after - 1).map(Some),
        }
    }

    /// The number of entries for which `below` holds; they come before all others.
    fn partition_point(&mut self, below: impl Fn(&[u8; N]) -> bool) -> io::Result<u64> {
        let mut low = 0;
        let mut high = self.count();
        while low < high {
            let middle = low + (high - low) / 2;
            if below(&self.entry(middle)?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

/// The entries of a segment's index files, to be compared with its log.
pub(crate) struct IndexFiles {
    base: Offset,
    /// Last offset and position.
    offsets: std::iter::Peekable<std::vec::IntoIter<(u32, u32)>>,
    times: std::iter::Peekable<std::vec::IntoIter<(i64, u32)>>,
    max_timestamp: Timestamp,
    differs: bool,
}

impl IndexFiles {
    /// Takes the entries that lie within the log; missing files have none.
    pub fn open(
        disk: &dyn Disk,
        stem: &Path,
        base: Offset,
        size: u64,
        end: Offset,
    ) -> io::Result<IndexFiles> {
        let offsets = entries(disk, &stem.with_extension("index"))?;
        let times = entries(disk, &stem.with_extension("timeindex"))?;
        let offsets: Vec<_> = offsets
            .iter()
            .map(offset_entry)
            .take_while(|(_, position)| u64::from(*position) < size)
            .collect();
        let last = end.0 - base.0;
        let times: Vec<_> =
            times.iter().map(time_entry).take_while(|(_, at)| i64::from(*at) < last).collect();
        Ok(IndexFiles {
            base,
            offsets: offsets.into_iter().peekable(),
            times: times.into_iter().peekable(),
            max_timestamp: Timestamp::NONE,
            differs: false,
        })
    }

    pub fn compare_offset(&mut self, position: u64, last_offset: Offset) {
        let last = last_offset.0 - self.base.0;
        while let Some((entry, at)) = self.offsets.next_if(|(_, at)| u64::from(*at) <= position) {
            self.differs |= u64::from(at) != position || i64::from(entry) != last;
        }
    }

    pub fn compare_time(&mut self, max_timestamp: Timestamp, last_offset: Offset) {
        let last = last_offset.0 - self.base.0;
        self.max_timestamp = self.max_timestamp.max(max_timestamp);
        let max = self.max_timestamp;
        while let Some((timestamp, entry)) = self.times.next_if(|(_, entry)| i64::from(*entry) <= last) {
            self.differs |= i64::from(entry) != last || timestamp != max.0;
        }
    }

    /// Every entry names a batch that is there.
    pub fn fits(mut self) -> bool {
        !self.differs && self.offsets.next().is_none() && self.times.next().is_none()
    }
}

fn entries<const N: usize>(disk: &dyn Disk, path: &Path) -> io::Result<Vec<[u8; N]>> {
    // An index is bounded by `segment.index.bytes`, at most 2 GiB.
    match env::read_file(disk, path, i32::MAX as usize) {
        Ok(bytes) => Ok(bytes.as_chunks::<N>().0.to_vec()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
