//! How fast a peer must be in the middle of something, so that nobody holds memory by dripping bytes.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout};

/// Every `stall` must bring this much a second on the average, or all that was left: a quarter of a megabit.
const RATE_BYTES_MIN: u64 = 32 * 1024;

/// The time that a peer has until it must have moved a certain number of bytes. Only time spent waiting for the peer
/// counts.
#[derive(Debug)]
pub struct Pace {
    stall: Duration,
    left: Duration,
    moved: u64,
}

/// The peer is too slow.
#[derive(Debug, PartialEq, Eq)]
pub struct TooSlow;

impl Pace {
    pub fn new(stall: Duration) -> Self {
        Pace { stall, left: stall, moved: 0 }
    }

    /// Waits for the peer. May be dropped between polls: the time is counted all the same.
    pub async fn wait<T>(&mut self, step: impl Future<Output = T>) -> Result<T, TooSlow> {
        let left = self.left;
        let _counted = Counted { since: Instant::now(), left: &mut self.left };
        timeout(left, step).await.map_err(|_| TooSlow)
    }

    /// Bytes have moved. Enough of them begin the time anew.
    pub fn moved(&mut self, bytes: usize) {
        self.moved += bytes as u64;
        if self.moved >= (self.stall.as_millis() as u64).saturating_mul(RATE_BYTES_MIN) / 1000 {
            *self = Pace::new(self.stall);
        }
    }
}

struct Counted<'a> {
    since: Instant,
    left: &'a mut Duration,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        *self.left = self.left.saturating_sub(self.since.elapsed());
    }
}
