//! What waits for a shard: bounded in requests and bytes, first come first served.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use model::{Offset, PartitionId};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::append::{Append, AppendError, Appended};
use crate::bell::Bell;
use crate::options::LogConfig;
use crate::partition::Partition;
use crate::storage::ChangeError;

/// Room for one request in a shard's queue; see `Storage::reserve`. Given back when dropped.
pub struct Reservation {
    _request: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

pub(crate) struct Request {
    pub kind: RequestKind,
    /// Kept until the request is answered.
    pub reservation: Option<Reservation>,
}

pub(crate) enum RequestKind {
    Append {
        append: Append,
        reply: oneshot::Sender<Result<Appended, AppendError>>,
    },
    Change {
        id: PartitionId,
        change: Change,
        reply: Reply,
    },
    /// Everything before is done; finish up.
    Close {
        reply: oneshot::Sender<()>,
    },
}

pub(crate) enum Change {
    Create(LogConfig),
    Configure(LogConfig),
    Delete,
    /// Moves the log's start; beyond the high watermark only refused if asked for by a client.
    LogStart(Offset),
}

/// Gets the partition and its log start after the change.
pub(crate) type Reply = oneshot::Sender<Result<(Arc<Partition>, Offset), ChangeError>>;

pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    bell: Bell,
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
}

struct Waiting {
    requests: VecDeque<Request>,
    open: bool,
}

impl Queue {
    pub fn new(requests_max: usize, bytes_max: usize) -> Queue {
        Queue {
            waiting: Mutex::new(Waiting { requests: VecDeque::new(), open: true }),
            bell: Bell::default(),
            requests: Arc::new(Semaphore::new(requests_max)),
            bytes: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
        }
    }

    /// Waits for room. One batch larger than the whole queue takes all of it.
    pub async fn reserve(&self, bytes: usize) -> Option<Reservation> {
        let bytes = bytes.min(self.bytes_max) as u32;
        let request = self.requests.clone().acquire_owned().await.ok()?;
        let bytes = self.bytes.clone().acquire_many_owned(bytes).await.ok()?;
        Some(Reservation { _request: request, _bytes: bytes })
    }

    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        let bytes = bytes.min(self.bytes_max) as u32;
        let request = self.requests.clone().try_acquire_owned().ok()?;
        let bytes = self.bytes.clone().try_acquire_many_owned(bytes).ok()?;
        Some(Reservation { _request: request, _bytes: bytes })
    }

    /// Says whether the request was taken. One that was not is dropped, which tells the asker.
    pub fn push(&self, request: Request) -> bool {
        let mut waiting = self.waiting.lock();
        if !waiting.open {
            return false;
        }
        if matches!(request.kind, RequestKind::Close { .. }) {
            waiting.open = false;
        }
        waiting.requests.push_back(request);
        drop(waiting);
        self.bell.ring();
        true
    }

    pub fn is_open(&self) -> bool {
        self.waiting.lock().open
    }

    /// Moves all that waits behind `to`.
    pub fn drain(&self, to: &mut VecDeque<Request>) {
        to.append(&mut self.waiting.lock().requests);
    }

    /// Takes no more requests and drops those that wait, which tells the askers.
    pub fn abandon(&self) {
        let mut waiting = self.waiting.lock();
        waiting.open = false;
        waiting.requests.clear();
        self.requests.close();
        self.bytes.close();
    }

    pub fn ring(&self) {
        self.bell.ring();
    }

    pub fn wait(&self, timeout: Option<Duration>) {
        self.bell.wait(timeout);
    }

    pub async fn wait_task(&self, timeout: Option<Duration>) {
        self.bell.wait_task(timeout).await;
    }
}
