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
}

impl VirtualClock {
    /// `before` is how long earlier incarnations took. Call inside the runtime.
    pub fn new(before: Duration) -> VirtualClock {
        VirtualClock { before, since: Instant::now() }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp(BEGIN.0 + self.monotonic().as_millis() as i64)
    }

    fn monotonic(&self) -> Duration {
        self.before + self.since.elapsed()
    }
}
