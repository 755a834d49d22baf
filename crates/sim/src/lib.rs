//! A whole broker in one thread from one seed: the real storage and broker code over a simulated disk, network and
//! clock, with clients that remember what they were told and checkers that hold the broker to it.
//!
//! [`run`] is the way in. A run is a chain of incarnations of one broker on one disk; most end in a power cut, which
//! keeps whatever the disk likes of what was never synced. The same seed gives the same run, byte for byte.
//!
//! Nothing here touches a real clock, disk or socket.

pub mod check;
mod clients;
mod clock;
mod disk;
mod groups;
pub mod kept;
mod keyed;
mod network;
mod world;

use check::Violation;

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    /// How often the broker is started.
    pub incarnations: u32,
    /// Makes the disk say that it has synced although it has not: the checkers must notice.
    pub lying_disk: bool,
    /// Makes the disk empty batches that compaction writes: the checkers must notice.
    pub forgetful_disk: bool,
    /// Makes the broker's days go by too fast: the checkers must notice.
    pub hasty_clock: bool,
    /// Makes members of groups believe that they are members when their session is over: the checkers must notice.
    pub stubborn_members: bool,
}

impl Options {
    pub fn new(seed: u64) -> Options {
        Options {
            seed,
            incarnations: 4,
            lying_disk: false,
            forgetful_disk: false,
            hasty_clock: false,
            stubborn_members: false,
        }
    }
}

impl Options {
    /// Whether it may be that a broker cannot start or answer.
    fn is_disk_bad(&self) -> bool {
        self.lying_disk || self.forgetful_disk
    }
}

/// What came of it.
pub struct Report {
    /// Everything that clients did and saw, with the virtual time, and the disk's files at the end.
    pub log: String,
    pub violations: Vec<Violation>,
    /// Records that were acknowledged.
    pub acknowledged: usize,
    /// Records of compacted partitions that clients know of.
    pub keyed: usize,
    /// Compactions that came to an end.
    pub compactions: u64,
}

/// Simulates one seed from the beginning to the end.
pub fn run(options: &Options) -> Report {
    world::run(options)
}
