//! One budget for the memory of requests under way, over all connections.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Counts in units of this many bytes, so that the count fits the semaphore's 32 bits.
const UNIT_BYTES: usize = 1024;

#[derive(Clone)]
pub struct MemoryBudget {
    units: Arc<Semaphore>,
    units_total: usize,
}

/// Given back when dropped.
pub struct Reservation(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl MemoryBudget {
    pub fn new(bytes: usize) -> Self {
        let units_total = bytes.div_ceil(UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        MemoryBudget { units: Arc::new(Semaphore::new(units_total)), units_total }
    }

    /// Waits until `bytes` are free, first come, first served. More than the whole budget waits for all of it.
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        let units = bytes.div_ceil(UNIT_BYTES).min(self.units_total) as u32;
        let permit = self.units.clone().acquire_many_owned(units).await;
        Reservation(permit.expect("the budget's semaphore is never closed"))
    }

    /// The same, if it can be had at once.
    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        let units = bytes.div_ceil(UNIT_BYTES).min(self.units_total) as u32;
        self.units.clone().try_acquire_many_owned(units).ok().map(Reservation)
    }

    /// Bytes that are reserved now.
    pub fn reserved_bytes(&self) -> usize {
        (self.units_total - self.units.available_permits()) * UNIT_BYTES
    }
}
