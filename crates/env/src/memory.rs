//! Budgets of memory, over all connections of a door.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Counts in units of this many bytes, so that the count fits the semaphore's 32 bits.
const UNIT_BYTES: usize = 1024;

#[derive(Clone)]
pub struct MemoryBudget {
    units: Arc<Semaphore>,
    units_total: usize,
    /// One reservation at a time may grow beyond the budget: whatever the others hold, somebody gets on.
    beyond: Arc<Semaphore>,
}

/// Given back when dropped.
pub struct Reservation {
    units: OwnedSemaphorePermit,
    beyond: Option<OwnedSemaphorePermit>,
}

impl MemoryBudget {
    pub fn new(bytes: usize) -> Self {
        let units_total = bytes.div_ceil(UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        MemoryBudget {
            units: Arc::new(Semaphore::new(units_total)),
            units_total,
            beyond: Arc::new(Semaphore::new(1)),
        }
    }

    /// Waits until `bytes` are free, first come, first served. More than the whole budget waits for all of it.
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        Reservation { units: self.take(bytes).await, beyond: None }
    }

    /// The same, if it can be had at once.
    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        let units = self.units.clone().try_acquire_many_owned(self.units_for(bytes)).ok()?;
        Some(Reservation { units, beyond: None })
    }

    /// Waits until `bytes` more are free for somebody who may hold a part already. Those who wait for one another
    /// cannot block each other for ever: one at a time goes on beyond the budget. May be dropped between polls.
    pub async fn grow(&self, held: &mut Option<Reservation>, bytes: usize) {
        if held.as_ref().is_some_and(|held| held.beyond.is_some()) {
            return;
        }
        let grown = tokio::select! {
            biased;
            units = self.take(bytes) => Reservation { units, beyond: None },
            beyond = self.beyond.clone().acquire_owned() => Reservation {
                units: self.units.clone().try_acquire_many_owned(0).expect(OPEN),
                beyond: Some(beyond.expect(OPEN)),
            },
        };
        match held {
            None => *held = Some(grown),
            Some(held) => held.join(grown),
        }
    }

    /// Bytes that are reserved now.
    pub fn reserved_bytes(&self) -> usize {
        (self.units_total - self.units.available_permits()) * UNIT_BYTES
    }

    async fn take(&self, bytes: usize) -> OwnedSemaphorePermit {
        self.units.clone().acquire_many_owned(self.units_for(bytes)).await.expect(OPEN)
    }

    fn units_for(&self, bytes: usize) -> u32 {
        bytes.div_ceil(UNIT_BYTES).min(self.units_total) as u32
    }
}

const OPEN: &str = "a budget's semaphores are never closed";

impl Reservation {
    /// Makes one of two of the same budget.
    pub fn join(&mut self, other: Reservation) {
        self.units.merge(other.units);
        self.beyond = self.beyond.take().or(other.beyond);
    }

    /// Gives back what is more than `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let units = bytes.div_ceil(UNIT_BYTES);
        drop(self.units.split(self.units.num_permits().saturating_sub(units)));
    }

    pub fn bytes(&self) -> usize {
        self.units.num_permits() * UNIT_BYTES
    }
}
