//! Whether events match an append's conditions is searched for beside the owner: the appends of others go on.
//!
//! ```text
//! append with conditions ─▶ search in the index as it is, up to offset X ─▶ back to the owner, who looks only at
//!                                          ▲                                what came after X: in the index, and
//!                                          └──── that is too much as well ── what the index does not have yet
//! ```

use std::sync::Arc;

use model::{Offset, PartitionId};
use tokio::sync::{Semaphore, mpsc};

use super::{Job, Seen};
use crate::append::{Append, AppendError};
use crate::index::{CONDITION_LOOKS_MAX, Index, Searched};
use crate::machine::Looked;

/// Appends of one partition whose conditions are searched for or wait for that; whoever comes next is told to come again.
const SEARCHING_MAX: usize = 1024;

/// Searches of one process at a time: they take processors, and none is to take all that read.
static SEARCHES: Semaphore = Semaphore::const_new(4);

pub struct Searching {
    index: Arc<Index>,
    partition: PartitionId,
    places: Arc<Semaphore>,
    back: mpsc::Sender<Job>,
    found: mpsc::Receiver<Job>,
}

impl Searching {
    pub fn new(index: Arc<Index>, partition: PartitionId) -> Searching {
        let (back, found) = mpsc::channel(SEARCHING_MAX);
        Searching { index, partition, places: Arc::new(Semaphore::new(SEARCHING_MAX)), back, found }
    }

    /// The next append that was searched for.
    pub async fn found(&mut self) -> Job {
        match self.found.recv().await {
            Some(job) => job,
            // It has the other end itself.
            None => std::future::pending().await,
        }
    }

    pub fn add_found(&mut self, group: &mut Vec<Job>, group_max: usize) {
        while group.len() < group_max
            && let Ok(job) = self.found.try_recv()
        {
            group.push(job);
        }
    }

    /// Gives back an append that the owner can decide; begins to search for any other.
    pub fn take(&self, job: Job) -> Option<Job> {
        if job.append.conditions.is_empty() || job.searched.is_some() {
            return Some(job);
        }
        self.begin(job, None);
        None
    }

    pub fn take_all(&self, group: Vec<Job>) -> Vec<Job> {
        group.into_iter().filter_map(|job| self.take(job)).collect()
    }

    /// What is known of an append as of now; None: it is searched for again. `end`: offset after all that was written.
    pub fn complete(&self, mut job: Job, (mut looked, searched): Seen, end: i64) -> Option<(Looked, Job)> {
        if job.append.conditions.is_empty() {
            return Some((looked, job));
        }
        match job.searched.take() {
            Some(Ok(before)) if !before.is_too_much && searched.is_too_much => {
                self.begin(job, Some(before));
                return None;
            }
            Some(Ok(before)) if before.is_too_much => {
                looked.refused = Some(format!(
                    "the conditions take more than {CONDITION_LOOKS_MAX} looks into the index: give them a rarer tag, \
                     or a later `after`"
                ));
            }
            Some(Ok(_)) => {}
            Some(Err(why)) => {
                refuse(job, AppendError::Unavailable(why));
                return None;
            }
            None => {}
        }
        if let Some(why) = misplaced(&job.append, self.partition, Offset(end)) {
            looked.refused = Some(why);
        }
        Some((looked, job))
    }

    fn begin(&self, mut job: Job, before: Option<Searched>) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let why = "too many appends with conditions wait for this partition".to_owned();
            return refuse(job, AppendError::Unavailable(why));
        };
        let (index, partition, back) = (self.index.clone(), self.partition, self.back.clone());
        env::spawn(async move {
            let _place = place;
            let conditions = job.append.conditions.clone();
            let searching = async {
                let _turn = SEARCHES.acquire().await;
                index.search(Offset::ZERO, move |it| it.search(&conditions, partition, before.as_ref())).await
            };
            let searched = tokio::select! {
                biased;
                // Who asked has gone, and the search with it.
                () = job.answer.closed() => return,
                searched = searching => searched,
            };
            job.searched = Some(searched.map_err(|error| super::unread(&error)));
            // Who asked is told that it was not tried where the owner has ended.
            let _ = back.send(job).await;
        });
    }
}

fn refuse(job: Job, why: AppendError) {
    if job.turn.take() {
        let _ = job.answer.send(Err(why));
    }
}

/// Why a condition's position cannot be one of this partition.
fn misplaced(append: &Append, partition: PartitionId, end: Offset) -> Option<String> {
    for condition in append.conditions.iter().filter(|condition| !condition.after.is_empty()) {
        match condition.after.next(partition) {
            None => {
                return Some(format!(
                    "`after` of a condition is the position {}, which is not about the boundary's partition ({}): it \
                     says nothing about what was seen there",
                    condition.after, partition.index
                ));
            }
            Some(next) if next > end => {
                return Some(format!(
                    "`after` of a condition is the position {}, and the boundary's partition ends at offset {end}: \
                     nobody can have seen that",
                    condition.after
                ));
            }
            Some(_) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
