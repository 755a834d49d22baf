use std::sync::Mutex;
use std::time::Duration;

use model::Timestamp;

use crate::Clock;

/// A clock that moves only when told to.
pub struct SimClock {
    times: Mutex<(Timestamp, Duration)>,
}

impl SimClock {
    pub fn new(now: Timestamp) -> SimClock {
        SimClock { times: Mutex::new((now, Duration::ZERO)) }
    }

    pub fn advance(&self, by: Duration) {
        let mut times = self.times.lock().expect("no one panics while holding this lock");
        times.0 = Timestamp(times.0.0 + by.as_millis() as i64);
        times.1 += by;
    }

    /// Sets the wall clock alone, as an operator or NTP does.
    pub fn set_wall(&self, now: Timestamp) {
        self.times.lock().expect("no one panics while holding this lock").0 = now;
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.times.lock().expect("no one panics while holding this lock").0
    }

    fn monotonic(&self) -> Duration {
        self.times.lock().expect("no one panics while holding this lock").1
    }
}
