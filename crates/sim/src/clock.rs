//! A clock that follows the virtual time of the runtime, and goes on from incarnation to incarnation.

use std::time::Duration;

use env::Clock;
use model::Timestamp;
use tokio::time::Instant;

/// When every simulation begins.
const BEGIN: Timestamp = Timestamp(1_700_000_000_000);

pub struct VirtualClock {
    before: Duration,
    since: Instant,
    /// How much faster than time the days go by; 1 where they should.
    pace: u32,
}

impl VirtualClock {
    /// `before` is how long earlier incarnations took. Call inside the runtime.
    pub fn new(before: Duration, pace: u32) -> VirtualClock {
        VirtualClock { before, since: Instant::now(), pace }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp(BEGIN.0 + (self.monotonic() * self.pace).as_millis() as i64)
    }

    fn monotonic(&self) -> Duration {
        self.before + self.since.elapsed()
    }
}
