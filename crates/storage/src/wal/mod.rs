//! The write-ahead log of one shard: a few files of equal size, used again and again.
//!
//! A file keeps its name (`00.wal`, `01.wal`, …) for ever; which use of it is the current one is told by the file
//! sequence number in every group and frame. So recycling changes no directory, and the blocks stay allocated
//! and written, which halves the cost of `fdatasync`.

pub(crate) mod format;
pub(crate) mod scan;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use env::{Disk, File};
use parking_lot::Mutex;

use crate::checkpoint::give_from_reserve;

/// One use of one file.
pub(crate) struct WalFile {
    /// Grows with every use of any file.
    pub number: u64,
    pub slot: u32,
    /// The number of the first group in it.
    pub first_group: u64,
    pub file: Arc<dyn File>,
    /// How much may be written into it.
    pub bytes: u64,
    /// Made on a full disk: for changes, not for batches.
    pub is_short: bool,
}

/// Room for some thousand deletions.
const SHORT_FILE_BYTES: u64 = 256 * 1024;
/// Short files beyond the ordinary number.
const SHORT_FILES_MAX: u32 = 4;

/// The files of a shard's log, shared by the writer, the keeper and readers.
pub(crate) struct Wal {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    pub file_bytes: u64,
    pub files_max: u32,
    files: Mutex<Files>,
}

struct Files {
    /// In use, by number.
    live: BTreeMap<u64, Arc<WalFile>>,
    free: Vec<(u32, Arc<dyn File>)>,
    /// Released, but some reader still looks into them.
    retired: Vec<Arc<WalFile>>,
    next_slot: u32,
    next_number: u64,
}

impl Wal {
    /// `slots` are the files there are already, all free; [`Wal::adopt`] takes those in use out of them.
    pub fn new(
        disk: Arc<dyn Disk>,
        directory: PathBuf,
        file_bytes: u64,
        files_max: u32,
        slots: Vec<(u32, Arc<dyn File>)>,
        next_number: u64,
    ) -> Wal {
        let next_slot = slots.iter().map(|(slot, _)| slot + 1).max().unwrap_or(0);
        Wal {
            disk,
            directory,
            file_bytes,
            files_max,
            files: Mutex::new(Files {
                live: BTreeMap::new(),
                free: slots,
                retired: Vec::new(),
                next_slot,
                next_number,
            }),
        }
    }

    pub fn slot_name(slot: u32) -> String {
        format!("{slot:02}.wal")
    }

    pub fn parse_slot_name(name: &str) -> Option<u32> {
        name.strip_suffix(".wal")?.parse().ok()
    }

    /// Marks a file found by recovery as in use.
    pub fn adopt(&self, number: u64, slot: u32, first_group: u64) {
        let mut files = self.files.lock();
        let index = files.free.iter().position(|(free, _)| *free == slot).expect("recovery saw this file");
        let (slot, file) = files.free.swap_remove(index);
        let (bytes, is_short) = (self.file_bytes, false);
        files.live.insert(number, Arc::new(WalFile { number, slot, first_group, file, bytes, is_short }));
    }

    pub fn file(&self, number: u64) -> Option<Arc<WalFile>> {
        self.files.lock().live.get(&number).cloned()
    }

    pub fn live_count(&self) -> usize {
        self.files.lock().live.len()
    }

    pub fn next_number(&self) -> u64 {
        self.files.lock().next_number
    }

    /// The oldest file in use behind the given one: its number and its first group.
    pub fn oldest_after(&self, number: u64) -> Option<(u64, u64)> {
        let files = self.files.lock();
        files.live.range(number + 1..).next().map(|(number, file)| (*number, file.first_group))
    }

    /// The oldest and the newest file in use, and how many there are.
    pub fn range(&self) -> Option<(u64, u64, usize)> {
        let files = self.files.lock();
        Some((*files.live.first_key_value()?.0, *files.live.last_key_value()?.0, files.live.len()))
    }

    /// Whether no further file can be had until one is released.
    pub fn is_exhausted(&self) -> bool {
        let files = self.files.lock();
        files.free.is_empty() && files.live.len() + files.retired.len() >= self.files_max as usize
    }

    /// Begins another file. None when all are in use: rolling up must free one first. On a full disk, where nothing
    /// can be rolled up, a short one for changes.
    pub fn open_next(
        &self,
        first_group: u64,
        is_batch: bool,
        is_disk_full: bool,
    ) -> io::Result<Option<Arc<WalFile>>> {
        let mut files = self.files.lock();
        self.reuse_retired(&mut files);
        let count = (files.live.len() + files.retired.len()) as u32;
        let (slot, file) = match files.free.pop() {
            Some(free) => free,
            None => {
                let slot = files.next_slot;
                let file = match count < self.files_max {
                    false if !is_disk_full => return Ok(None),
                    false => Err(io::ErrorKind::StorageFull.into()),
                    true => self.create(slot, self.file_bytes),
                };
                let file = match file {
                    Err(error) if error.kind() == io::ErrorKind::StorageFull && !is_batch => {
                        if count >= self.files_max + SHORT_FILES_MAX {
                            return Err(error);
                        }
                        self.create_short(slot)?
                    }
                    file => file?,
                };
                files.next_slot += 1;
                (slot, file)
            }
        };
        // One that was made short, or half, grows when there is room.
        let mut bytes = self.file_bytes;
        if file.len()? < bytes && file.allocate(0, bytes).is_err() {
            bytes = bytes.min(file.len()?.max(SHORT_FILE_BYTES));
        }
        let is_short = bytes < self.file_bytes;
        let number = files.next_number;
        files.next_number += 1;
        let file = Arc::new(WalFile { number, slot, first_group, file, bytes, is_short });
        files.live.insert(number, file.clone());
        Ok(Some(file))
    }

    /// Gives a file back whose frames nobody needs any more; readers that hold it may finish.
    pub fn release(&self, number: u64) {
        let mut files = self.files.lock();
        if let Some(file) = files.live.remove(&number) {
            files.retired.push(file);
        }
        self.reuse_retired(&mut files);
    }

    /// Gives all files back: the log is empty.
    pub fn release_all(&self) {
        let mut files = self.files.lock();
        let live = std::mem::take(&mut files.live);
        files.retired.extend(live.into_values());
        self.reuse_retired(&mut files);
    }

    /// Creates a further file ahead of need, written full of zeroes: blocks that were never written make every
    /// sync of them cost a journal commit.
    pub fn prepare_spare(&self) -> io::Result<bool> {
        let slot = {
            let mut files = self.files.lock();
            self.reuse_retired(&mut files);
            let count = files.live.len() + files.retired.len();
            if !files.free.is_empty() || count >= self.files_max as usize {
                return Ok(false);
            }
            files.next_slot += 1;
            files.next_slot - 1
        };
        let file = self.create(slot, self.file_bytes)?;
        const STEP: usize = 1 << 20;
        let zeroes = vec![0; STEP.min(self.file_bytes as usize)];
        let mut position = 0;
        while position < self.file_bytes {
            let count = zeroes.len().min((self.file_bytes - position) as usize);
            file.write_at(&zeroes[..count], position)?;
            position += count as u64;
        }
        file.sync_data()?;
        self.files.lock().free.push((slot, file));
        Ok(true)
    }

    fn create_short(&self, slot: u32) -> io::Result<Arc<dyn File>> {
        let bytes = SHORT_FILE_BYTES.min(self.file_bytes);
        match self.create(slot, bytes) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                match give_from_reserve(&*self.disk, &self.directory, bytes)? {
                    true => self.create(slot, bytes),
                    false => Err(error),
                }
            }
            created => created,
        }
    }

    fn create(&self, slot: u32, bytes: u64) -> io::Result<Arc<dyn File>> {
        let path = self.directory.join(Self::slot_name(slot));
        let file = self.disk.create(&path)?;
        let allocated = file.allocate(0, bytes).and_then(|()| file.sync_data());
        if let Err(error) = allocated.and_then(|()| self.disk.sync_dir(&self.directory)) {
            // Half a file would be in the way of the next attempt.
            let _ = self.disk.remove(&path);
            return Err(error);
        }
        Ok(file)
    }

    fn reuse_retired(&self, files: &mut Files) {
        // Nobody can get at a retired file any more, so a count of one stays one.
        let (unused, used) =
            std::mem::take(&mut files.retired).into_iter().partition(|file| Arc::strong_count(file) == 1);
        files.retired = used;
        let unused: Vec<Arc<WalFile>> = unused;
        files.free.extend(unused.into_iter().map(|file| (file.slot, file.file.clone())));
    }
}
