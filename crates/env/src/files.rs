//! Files beside the disk's: how many there may be open, and who may read them.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// No secret is longer.
const SECRET_BYTES_MAX: u64 = 4096;

/// Raises the limit of open files as far as the system allows it; returns what it is then (`None`: no limit).
pub fn raise_open_files_max() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // Where it is refused, the old limit stands, which is told below.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    getrlimit(Resource::Nofile).current
}

/// What a file holds that only this user may read.
pub struct Secret {
    pub bytes: Vec<u8>,
    pub is_new: bool,
}

/// Reads such a file; where it is missing and `fresh` is given, that is written into a new one (mode 0600), on disk before
/// this returns.
pub fn read_secret(path: &Path, fresh: Option<&[u8]>) -> io::Result<Secret> {
    let mut bytes = Vec::new();
    match (OpenOptions::new().read(true).open(path), fresh) {
        (Ok(file), _) => {
            file.take(SECRET_BYTES_MAX).read_to_end(&mut bytes)?;
            Ok(Secret { bytes, is_new: false })
        }
        (Err(error), Some(fresh)) if error.kind() == io::ErrorKind::NotFound => {
            let dir = path.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(dir)?;
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(fresh)?;
            file.sync_all()?;
            OpenOptions::new().read(true).open(dir)?.sync_all()?;
            Ok(Secret { bytes: fresh.to_vec(), is_new: true })
        }
        (Err(error), _) => Err(error),
    }
}

/// What others may not do with data: as with every file of the log, only the user writes, and only the group reads.
const DATA_MODE: u32 = 0o640;

/// Makes an empty file for somebody who opens it by its path (SQLite), as little readable as other data.
pub fn create_narrow(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(DATA_MODE).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => narrow(path),
        created => created.map(drop),
    }
}

/// Takes from a file what its mode allows too much, if it is there. It is not opened: closing it would release every lock
/// that this process has on it.
pub fn narrow(path: &Path) -> io::Result<()> {
    let mode = match fs::metadata(path) {
        Ok(found) => found.permissions().mode() & 0o777,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    match mode & !DATA_MODE {
        0 => Ok(()),
        _ => fs::set_permissions(path, Permissions::from_mode(mode & DATA_MODE)),
    }
}

/// Whether a file could not be opened because this process, or the system, has too many open: nothing is wrong with
/// the file, and later it may work.
pub fn is_out_of_files(error: &io::Error) -> bool {
    let errno = |errno: Errno| Some(errno.raw_os_error());
    error.raw_os_error() == errno(Errno::MFILE) || error.raw_os_error() == errno(Errno::NFILE)
}
