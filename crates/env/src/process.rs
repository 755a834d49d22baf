//! What the process takes of the machine.

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// As of now. `None`: this system does not tell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProcessUsage {
    /// Of all threads since it began.
    pub cpu_seconds: f64,
    pub resident_bytes: Option<u64>,
    pub virtual_bytes: Option<u64>,
    pub open_files: Option<u64>,
    /// `None`: there is no limit.
    pub open_files_max: Option<u64>,
    pub threads: Option<u64>,
}

/// Looks at the process. Reads files of the kernel: may take a moment where thousands of files are open.
pub fn process_usage() -> ProcessUsage {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = pages.split_ascii_whitespace().map(|number| number.parse::<u64>().ok());
    let bytes = |pages: Option<u64>| Some(pages? * rustix::param::page_size() as u64);
    let (virtual_pages, resident_pages) = (pages.next().flatten(), pages.next().flatten());
    let count = |folder: &str| std::fs::read_dir(folder).ok().map(|entries| entries.count() as u64);
    ProcessUsage {
        cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
        resident_bytes: bytes(resident_pages),
        virtual_bytes: bytes(virtual_pages),
        // The folder itself is open meanwhile.
        open_files: count("/proc/self/fd").map(|count| count.saturating_sub(1)),
        open_files_max: getrlimit(Resource::Nofile).current,
        threads: count("/proc/self/task"),
    }
}
