//! How many files the process may have open.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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

/// Whether a file could not be opened because this process, or the system, has too many open: nothing is wrong with
/// the file, and later it may work.
pub fn is_out_of_files(error: &io::Error) -> bool {
    let errno = |errno: Errno| Some(errno.raw_os_error());
    error.raw_os_error() == errno(Errno::MFILE) || error.raw_os_error() == errno(Errno::NFILE)
}
