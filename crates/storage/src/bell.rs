use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

/// Wakes one thread or task that waits for work; a ring before the wait is not lost.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    thread: Condvar,
    task: Notify,
}

impl Bell {
    pub fn ring(&self) {
        *self.rung.lock() = true;
        self.thread.notify_one();
        self.task.notify_one();
    }

    /// Blocks until somebody rings, or for that long.
    pub fn wait(&self, timeout: Option<Duration>) {
        let mut rung = self.rung.lock();
        if !*rung {
            match timeout {
                Some(timeout) => {
                    self.thread.wait_for(&mut rung, timeout);
                }
                None => self.thread.wait(&mut rung),
            }
        }
        *rung = false;
    }

    /// The same for a task.
    pub async fn wait_task(&self, timeout: Option<Duration>) {
        if !std::mem::take(&mut *self.rung.lock()) {
            match timeout {
                Some(timeout) => {
                    let _ = tokio::time::timeout(timeout, self.task.notified()).await;
                }
                None => self.task.notified().await,
            }
        }
        *self.rung.lock() = false;
    }
}
