//! The outside: clock, chance, disk, net and tasks, each real or simulated.
//!
//! Only this crate touches the originals (the root `clippy.toml` bans them elsewhere). Everything else gets a
//! [`Clock`], a [`Disk`] or a [`Random`] handed in and cannot tell whether the world behind it is real.
//! [`sim`] holds the simulated ones: they are driven by a seed and give the same run twice.

mod clock;
mod disk;
mod files;
mod heap;
pub mod memory;
mod net;
mod process;
mod random;
mod real_disk;
pub mod sim;
mod task;
#[cfg(test)]
mod tests;

pub use clock::{Clock, SystemClock};
pub use disk::{Disk, DiskEntry, DiskLock, File, Space, read_exact_at, read_file, replace_file};
pub use files::{Secret, create_narrow, is_out_of_files, narrow, raise_open_files_max, read_secret};
pub use heap::{HEAP, Heap};
pub use net::listen;
pub use process::{ProcessUsage, process_usage};
pub use random::{Random, SeededRandom, SystemRandom};
pub use real_disk::RealDisk;
pub use task::{run_blocking, spawn, spawn_thread};
