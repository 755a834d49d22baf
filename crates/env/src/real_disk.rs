use std::fs;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::disk::{Disk, DiskEntry, DiskLock, File, Space};

/// The machine's file system, through plain system calls.
#[derive(Default)]
pub struct RealDisk;

struct RealFile {
    fd: OwnedFd,
}

/// The most parts one `pwritev` takes on Linux.
const PARTS_MAX: usize = 1024;

impl RealDisk {
    pub fn new() -> RealDisk {
        RealDisk
    }

    fn open_with(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        retry(|| rustix::fs::open(path, flags, Mode::from_raw_mode(0o640)))
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(RealFile { fd: self.open_with(path, OFlags::RDWR)? }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(RealFile { fd: self.open_with(path, OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC)? }))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the wrapper around the original")]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the wrapper around the original")]
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<DiskEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            // We write only names in ASCII; a name that is none is not ours.
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(DiskEntry { name, is_dir: entry.file_type()?.is_dir() });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create_dir(&self, directory: &Path) -> io::Result<()> {
        if directory.as_os_str().is_empty() || directory.is_dir() {
            return Ok(());
        }
        let parent = directory.parent().unwrap_or(Path::new(""));
        self.create_dir(parent)?;
        match fs::create_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
            Err(error) => Err(error),
            Ok(()) if parent.as_os_str().is_empty() => self.sync_dir(Path::new(".")),
            Ok(()) => self.sync_dir(parent),
        }
    }

    fn remove_dir(&self, directory: &Path) -> io::Result<()> {
        fs::remove_dir(directory)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let fd = self.open_with(directory, OFlags::RDONLY | OFlags::DIRECTORY)?;
        retry(|| rustix::fs::fsync(&fd))
    }

    fn lock(&self, path: &Path) -> io::Result<DiskLock> {
        let fd = self.open_with(path, OFlags::RDWR | OFlags::CREATE)?;
        retry(|| rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive))?;
        Ok(DiskLock::new(fd))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let stat = retry(|| rustix::fs::statvfs(path))?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail) })
    }
}

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            match retry(|| rustix::io::pread(&self.fd, &mut *rest, position + filled as u64))? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }

    fn write_vectored_at(&self, parts: &[IoSlice<'_>], mut position: u64) -> io::Result<()> {
        let mut rest: Vec<IoSlice<'_>> = parts.iter().filter(|part| !part.is_empty()).copied().collect();
        let mut rest = &mut rest[..];
        while !rest.is_empty() {
            let now = &rest[..rest.len().min(PARTS_MAX)];
            match retry(|| rustix::io::pwritev(&self.fd, now, position))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => {
                    position += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        // Never repeated, not even after an interruption: an error may have marked dirty pages as clean.
        // Never "disk full" either: that would look like something to wait for.
        rustix::fs::fdatasync(&self.fd).map_err(|error| io::Error::other(io::Error::from(error)))
    }

    fn start_sync(&self) {
        #[cfg(target_os = "linux")]
        #[expect(
            unsafe_code,
            reason = "rustix has no sync_file_range; it takes a descriptor and numbers only"
        )]
        // SAFETY: the descriptor is open for as long as `self` lives, and no memory is passed.
        unsafe {
            // Only a hint, so it does not matter whether it is taken.
            libc::sync_file_range(self.fd.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE);
        }
    }

    fn allocate(&self, position: u64, length: u64) -> io::Result<()> {
        match retry(|| rustix::fs::fallocate(&self.fd, FallocateFlags::empty(), position, length)) {
            Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {
                if self.len()? < position + length { self.set_len(position + length) } else { Ok(()) }
            }
            done => done,
        }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        retry(|| rustix::fs::ftruncate(&self.fd, length))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(retry(|| rustix::fs::fstat(&self.fd))?.st_size as u64)
    }
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return done.map_err(io::Error::from),
        }
    }
}
