use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Partition;

/// Who wants to know when a partition moves on.
#[derive(Default)]
pub(super) struct Wakers {
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    next: u64,
    /// In the order of registration.
    waiting: Vec<(u64, Arc<Notify>)>,
}

/// Takes the waker back when dropped.
pub struct WakeGuard {
    partition: Weak<Partition>,
    number: u64,
}

impl Wakers {
    pub fn add(&self, partition: &Arc<Partition>, waker: &Arc<Notify>) -> WakeGuard {
        let mut list = self.list.lock();
        let number = list.next;
        list.next += 1;
        list.waiting.push((number, waker.clone()));
        WakeGuard { partition: Arc::downgrade(partition), number }
    }

    pub fn wake(&self) {
        for (_, waker) in &self.list.lock().waiting {
            waker.notify_one();
        }
    }
}

impl Drop for WakeGuard {
    fn drop(&mut self) {
        let Some(partition) = self.partition.upgrade() else { return };
        let mut list = partition.wakers.list.lock();
        if let Ok(index) = list.waiting.binary_search_by_key(&self.number, |(number, _)| *number) {
            list.waiting.remove(index);
        }
    }
}
