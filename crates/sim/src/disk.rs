//! The planted faults: a disk that says it has synced although it has not, and one that forgets what compaction writes.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use env::{Disk, DiskEntry, DiskLock, File, Space};
use model::batch::BatchHeader;
use model::compression::Compression;

use crate::keyed;

/// Honest until the switch is on.
pub struct LyingDisk(pub Arc<dyn Disk>, pub Arc<AtomicBool>);

struct LyingFile(Arc<dyn File>, Arc<AtomicBool>);

impl LyingDisk {
    /// It lies about the write-ahead log only: an unreadable checkpoint would be noticed before anything is served.
    fn lies(&self, path: &Path, file: Arc<dyn File>) -> Arc<dyn File> {
        let is_log = path.to_string_lossy().contains("wal");
        if is_log { Arc::new(LyingFile(file, self.1.clone())) } else { file }
    }
}

/// Empties batches of keyed records when they are written into a compacted segment; each stays a right batch.
pub struct ForgetfulDisk(pub Arc<dyn Disk>);

struct ForgetfulFile(Arc<dyn File>);

impl ForgetfulDisk {
    fn forgets(&self, path: &Path, file: Arc<dyn File>) -> Arc<dyn File> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // The name of a segment that compaction wrote says so.
        if name.ends_with(".log") && name.contains('-') { Arc::new(ForgetfulFile(file)) } else { file }
    }
}

/// The same batch, as long as before, with no record in it; `None` for a batch that is left alone.
fn emptied(batch: &[u8]) -> Option<Vec<u8>> {
    const ATTRIBUTES: Range<usize> = 21..23;
    const RECORD_COUNT: Range<usize> = 57..61;
    const GZIP_WITH_COMMENT: [u8; 10] = [0x1f, 0x8b, 8, 16, 0, 0, 0, 0, 0, 255];
    // The comment's end, an empty block, the checksum and the length of nothing.
    const GZIP_END: [u8; 11] = [0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let header = BatchHeader::parse(batch).ok()?;
    let is_plain = header.attributes.compression().ok()? == Compression::None;
    let is_keyed = batch.windows(keyed::KEY_BEGINS.len()).any(|bytes| bytes == keyed::KEY_BEGINS);
    let section = batch.len().checked_sub(RECORD_COUNT.end)?;
    let comment = section.checked_sub(GZIP_WITH_COMMENT.len() + GZIP_END.len())?;
    if !is_plain || !is_keyed || header.record_count == 0 || header.size_bytes() != batch.len() {
        return None;
    }
    let mut bytes = batch[..RECORD_COUNT.end].to_vec();
    let attributes = header.attributes.with_compression(Compression::Gzip);
    bytes[ATTRIBUTES].copy_from_slice(&attributes.0.to_be_bytes());
    bytes[RECORD_COUNT].copy_from_slice(&0i32.to_be_bytes());
    bytes.extend(GZIP_WITH_COMMENT);
    bytes.extend(std::iter::repeat_n(b'x', comment));
    bytes.extend(GZIP_END);
    model::batch::seal(&mut bytes).ok()?;
    Some(bytes)
}

macro_rules! passes_on {
    ($disk:ty, $wraps:ident) => {
        impl Disk for $disk {
            fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
                Ok(self.$wraps(path, self.0.open(path)?))
            }

            fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
                Ok(self.$wraps(path, self.0.create(path)?))
            }

            fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
                self.0.rename(from, to)
            }

            fn remove(&self, path: &Path) -> io::Result<()> {
                self.0.remove(path)
            }

            fn list(&self, directory: &Path) -> io::Result<Vec<DiskEntry>> {
                self.0.list(directory)
            }

            fn create_dir(&self, directory: &Path) -> io::Result<()> {
                self.0.create_dir(directory)
            }

            fn remove_dir(&self, directory: &Path) -> io::Result<()> {
                self.0.remove_dir(directory)
            }

            fn sync_dir(&self, directory: &Path) -> io::Result<()> {
                self.0.sync_dir(directory)
            }

            fn lock(&self, path: &Path) -> io::Result<DiskLock> {
                self.0.lock(path)
            }

            fn space(&self, path: &Path) -> io::Result<Space> {
                self.0.space(path)
            }
        }
    };
}

passes_on!(LyingDisk, lies);
passes_on!(ForgetfulDisk, forgets);

impl File for LyingFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at(buffer, position)
    }

    fn write_vectored_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        self.0.write_vectored_at(parts, position)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.1.load(Ordering::Relaxed) { Ok(()) } else { self.0.sync_data() }
    }

    fn allocate(&self, position: u64, length: u64) -> io::Result<()> {
        self.0.allocate(position, length)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

impl File for ForgetfulFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at(buffer, position)
    }

    fn write_vectored_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let bytes = emptied(&bytes).unwrap_or(bytes);
        self.0.write_vectored_at(&[IoSlice::new(&bytes)], position)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, position: u64, length: u64) -> io::Result<()> {
        self.0.allocate(position, length)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}
