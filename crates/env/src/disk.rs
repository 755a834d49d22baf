use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

/// A file system, as far as a log needs it.
///
/// What a power cut leaves is the reason for half of these methods: data is safe after [`File::sync_data`], a
/// file's name (created, renamed, removed) only after [`Disk::sync_dir`] of its directory.
pub trait Disk: Send + Sync {
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens a file for reading and writing; creates it, or empties it if it exists.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Replaces `to` if it exists.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The directory's entries, sorted by name.
    fn list(&self, directory: &Path) -> io::Result<Vec<DiskEntry>>;

    /// Creates a directory and those above it, and makes the names of new ones durable. It may exist already.
    fn create_dir(&self, directory: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, directory: &Path) -> io::Result<()>;

    /// Makes the directory's entries as durable as the medium is.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;

    /// Takes a lock file, creating it if need be. `WouldBlock` when somebody else holds it.
    fn lock(&self, path: &Path) -> io::Result<DiskLock>;

    /// How large the file system holding this path is.
    fn space(&self, path: &Path) -> io::Result<Space>;
}

/// An open file. Reads and writes name their position, so that one handle serves many threads.
pub trait File: Send + Sync {
    /// Reads into `buffer`; fewer bytes only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes all parts, one after the other, beginning at `position`. After an error any of it may be written.
    fn write_vectored_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<()>;

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.write_vectored_at(&[IoSlice::new(bytes)], position)
    }

    /// Waits until everything written so far (by anyone, through any handle) would survive a power cut. After
    /// an error, what is on the medium is unknown and stays so: a later success proves nothing. Whatever the
    /// cause, the error's kind is `Other`.
    fn sync_data(&self) -> io::Result<()>;

    /// Asks the system to begin writing back, without waiting: a hint that makes the next sync short.
    fn start_sync(&self) {}

    /// Reserves room, so that later writes need none. Extends the file when `position + length` is beyond its end.
    fn allocate(&self, position: u64, length: u64) -> io::Result<()>;

    fn set_len(&self, length: u64) -> io::Result<()>;

    fn len(&self) -> io::Result<u64>;

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Room in a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub total: u64,
    /// What may still be written.
    pub free: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskEntry {
    pub name: String,
    pub is_dir: bool,
}

/// Held until dropped.
pub struct DiskLock {
    _held: Box<dyn Send + Sync>,
}

impl DiskLock {
    pub fn new(held: impl Send + Sync + 'static) -> DiskLock {
        DiskLock { _held: Box::new(held) }
    }
}

/// Fills `buffer`; `UnexpectedEof` when the file ends before.
pub fn read_exact_at(file: &dyn File, buffer: &mut [u8], position: u64) -> io::Result<()> {
    let count = file.read_at(buffer, position)?;
    if count < buffer.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// A whole file, of at most `bytes_max` bytes.
pub fn read_file(disk: &dyn Disk, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let length = file.len()?;
    if length > bytes_max as u64 {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{length} bytes")));
    }
    let mut bytes = vec![0; length as usize];
    read_exact_at(&*file, &mut bytes, 0)?;
    Ok(bytes)
}

/// Puts `bytes` in the place of a file so that, whenever the power goes, either the old or the new one is there.
pub fn replace_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let file = disk.create(&fresh)?;
    file.write_at(bytes, 0)?;
    file.sync_data()?;
    disk.rename(&fresh, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}
