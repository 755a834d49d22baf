//! All clients together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use model::TopicId;

use crate::caller::Caller;
use crate::history::{Append, History, Micros, Outcome};
use crate::http::Answer;

/// What all clients share.
pub struct Shared {
    pub seed: u64,
    pub doors: Vec<SocketAddr>,
    /// Of each category.
    pub topics: Vec<TopicId>,
    pub partitions: usize,
    /// How long a client asks for the same append.
    pub give_up: Duration,
    began: Instant,
    numbers: AtomicU64,
    acknowledged: AtomicU64,
    reads_refused: AtomicU64,
    is_over: AtomicBool,
}

impl Shared {
    pub fn new(
        seed: u64,
        doors: Vec<SocketAddr>,
        topics: Vec<TopicId>,
        partitions: usize,
        give_up: Duration,
    ) -> Shared {
        Shared {
            seed,
            doors,
            topics,
            partitions,
            give_up,
            began: Instant::now(),
            numbers: AtomicU64::new(1),
            acknowledged: AtomicU64::new(0),
            reads_refused: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    pub fn now(&self) -> Micros {
        self.began.elapsed().as_micros() as Micros
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub fn acknowledged(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    pub fn acknowledged_so_far(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    pub fn read_refused(&self, _: &Answer) {
        self.reads_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub fn reads_refused_so_far(&self) -> u64 {
        self.reads_refused.load(Ordering::Relaxed)
    }
}

/// Clients at work.
pub struct Load {
    threads: Vec<std::thread::JoinHandle<History>>,
}

impl Load {
    pub fn start(shared: &Arc<Shared>, clients: u64) -> Load {
        let start = |number| {
            let caller = Caller::new(shared.clone(), number);
            std::thread::spawn(move || caller.run())
        };
        Load { threads: (0..clients).map(start).collect() }
    }

    pub fn finish(self) -> anyhow::Result<History> {
        let mut all = History::default();
        for thread in self.threads {
            let history = thread.join().ok().context("a client ended early")?;
            all.appends.extend(history.appends);
            all.reads.extend(history.reads);
        }
        Ok(all)
    }
}

/// When everything is healed: asks for every append that nobody could tell about. Many at once.
pub fn settle(shared: &Arc<Shared>, history: &mut History, clients: usize) -> usize {
    let open = history.appends.iter_mut().filter(|append| append.outcome == Outcome::Unresolved);
    let mut open: Vec<&mut Append> = open.collect();
    let count = open.len();
    std::thread::scope(|scope| {
        for (number, part) in open.chunks_mut(count.div_ceil(clients).max(1)).enumerate() {
            scope.spawn(move || {
                for append in part {
                    Caller::new(shared.clone(), 1_000_000 + number as u64).settle(append);
                }
            });
        }
    });
    count
}
