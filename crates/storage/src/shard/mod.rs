//! A shard: one write-ahead log, the writer that appends to it and the keeper that tidies up behind it.

mod group;
mod stage;
mod writer;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{Offset, PartitionId, Timestamp};

use crate::keeper::Keeper;
use crate::recovery::Recovered;
use crate::storage::{Held, Partitions};
use writer::Writer;

/// One write-ahead log and everything that is done to it, as a step function.
pub struct Shard {
    writer: Writer,
    keeper: Keeper,
    /// The directory's lock goes with the last shard.
    _held: Arc<Held>,
}

impl Shard {
    pub(crate) fn new(recovered: Recovered, partitions: Arc<Partitions>, held: Arc<Held>) -> Shard {
        let Recovered { site, next_group, voids, .. } = recovered;
        Shard {
            writer: Writer::new(site.clone(), partitions.clone(), next_group),
            keeper: Keeper::new(site, partitions, voids),
            _held: held,
        }
    }

    /// Does what is waiting: one group of requests, one piece of upkeep. Says whether it did anything.
    pub fn step(&mut self, now: Timestamp) -> bool {
        let wrote = self.writer.step(now);
        let kept = self.keeper.step(now);
        wrote || kept
    }

    /// Runs until the storage is closed; for a thread of its own. Upkeep gets another one.
    pub fn run(self) {
        let Shard { mut writer, keeper, _held } = self;
        let site = writer.site.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let keeping = {
            let stop = stop.clone();
            env::spawn_thread(format!("keeper-{}", site.shard), move || keep(keeper, &stop))
        };
        let keeping = match keeping {
            Ok(keeping) => keeping,
            Err(error) => {
                site.close("starting the keeper's thread", &error);
                site.queue.abandon();
                return;
            }
        };
        loop {
            let did = writer.step(site.clock.now());
            if writer.closing.is_some() && writer.waiting.is_empty() {
                break;
            }
            if !did {
                site.queue.wait(writer.wake_after());
            }
        }
        stop.store(true, Ordering::Release);
        site.bell.ring();
        let keeper = keeping.join().expect("the keeper does not panic");
        finish(writer, keeper);
    }

    /// The same for a task of a simulation.
    pub async fn run_simulated(mut self) {
        let site = self.writer.site.clone();
        loop {
            let did = self.step(site.clock.now());
            if self.writer.closing.is_some() && self.writer.waiting.is_empty() {
                break;
            }
            if did {
                tokio::task::yield_now().await;
                continue;
            }
            let keeper = self.keeper.wake_after();
            let after = self.writer.wake_after().map_or(keeper, |writer| writer.min(keeper));
            tokio::select! {
                biased;
                () = site.queue.wait_task(Some(after)) => {}
                () = site.bell.wait_task(None) => {}
            }
        }
        finish(self.writer, self.keeper);
    }

    /// Brings everything into segments and accepts what is lost if told to; returns the losses. Leaves the shard
    /// closed in order.
    pub(crate) fn repair(
        mut self,
        accept_loss: bool,
    ) -> io::Result<Vec<(PartitionId, Vec<(Offset, Offset)>)>> {
        self.writer.sync()?;
        self.keeper.finish()?;
        let mut accepted = Vec::new();
        if accept_loss {
            for partition in self.keeper.own_partitions() {
                let mut state = partition.state.lock();
                if !state.damage.is_none() {
                    accepted.push((partition.id(), state.damage.ranges()));
                    state.damage.accept();
                    state.begin_epoch();
                }
            }
            self.keeper.finish()?;
        }
        Ok(accepted)
    }

    /// How long upkeep rests when nobody rings.
    #[cfg(test)]
    pub(crate) fn rests_for(&self) -> std::time::Duration {
        self.keeper.wake_after()
    }

    /// Whether everything that was asked for before closing is done.
    #[cfg(test)]
    pub(crate) fn finish_if_closing(self) -> Option<Shard> {
        if self.writer.closing.is_some() && self.writer.waiting.is_empty() {
            finish(self.writer, self.keeper);
            return None;
        }
        Some(self)
    }
}

fn keep(mut keeper: Keeper, stop: &AtomicBool) -> Keeper {
    let site = keeper.site.clone();
    while !stop.load(Ordering::Acquire) {
        if !keeper.step(site.clock.now()) {
            site.bell.wait(Some(keeper.wake_after()));
        }
    }
    keeper
}

/// Leaves everything in order.
fn finish(mut writer: Writer, mut keeper: Keeper) {
    let site = writer.site.clone();
    if !site.is_closed() {
        let done = writer.sync().and_then(|()| keeper.finish());
        if let Err(error) = done {
            tracing::warn!(shard = site.shard, %error, "could not close in order: the next start will recover");
        }
    }
    site.queue.abandon();
    if let Some(reply) = writer.closing.take() {
        let _ = reply.send(());
    }
}
