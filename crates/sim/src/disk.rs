//! The planted fault: a disk that says it has synced although it has not.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use env::{Disk, DiskEntry, DiskLock, File, Space};

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

impl Disk for LyingDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.lies(path, self.0.open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.lies(path, self.0.create(path)?))
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
