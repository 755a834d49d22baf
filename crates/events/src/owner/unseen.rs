//! Which ids and streams the index cannot have: then nobody needs to look there.
//!
//! Nearly every append brings ids that were never seen. A Bloom filter of all that the index has says so without a
//! question to it; it is made from the index in the background, and until then, and where it is not sure, the index is
//! asked. It belongs to an owner: nobody else adds to the partition.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use fastbloom::BloomFilter;
use model::Offset;
use parking_lot::Mutex;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tracing::warn;

use crate::index::{Index, Name};

/// Ids and streams that a filter is made for, at least; then for twice what there is.
const ITEMS_MIN: usize = 1 << 12;

/// And at most: 20 MB. With more it is asked in vain more often, and no larger one is made.
const ITEMS_MAX: usize = 1 << 24;

/// How often it may say "perhaps" of what was never seen, when it holds what it was made for.
const PERHAPS: f64 = 0.01;

/// What an index cannot have.
pub struct Unseen {
    index: Arc<Index>,
    filter: Option<Filter>,
    /// A larger one, and what was added since it was begun.
    next: Option<(oneshot::Receiver<rusqlite::Result<Filter>>, Vec<u64>)>,
    /// The index could not be read through.
    is_given_up: bool,
}

struct Filter {
    bloom: BloomFilter,
    items: usize,
    items_max: usize,
}

impl Filter {
    fn new(items: usize) -> Filter {
        let items_max = items.saturating_mul(2).clamp(ITEMS_MIN, ITEMS_MAX);
        let bloom = BloomFilter::with_false_pos(PERHAPS).expected_items(items_max);
        Filter { bloom, items: 0, items_max }
    }

    /// Of all that an index has, which is everything before an offset. Blocks.
    fn of(index: &Index, next: Offset) -> rusqlite::Result<Filter> {
        /// An instance that takes many partitions over is to serve meanwhile.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock();
        index.reading(|it| {
            it.has(next)?;
            it.names(Filter::new, |filter, name| filter.add(hash(name)))
        })
    }

    fn add(&mut self, hash: u64) {
        self.bloom.insert_hash(hash);
        self.items += 1;
    }

    fn lacks(&self, name: Name<'_>) -> bool {
        !self.bloom.contains_hash(hash(name))
    }
}

fn hash(name: Name<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

impl Unseen {
    /// It is made when it is first renewed: many partitions are owned and not appended to.
    pub fn of(index: Arc<Index>) -> Unseen {
        Unseen { index, filter: None, next: None, is_given_up: false }
    }

    /// `since`: what is in the log, or will be, from the offset on.
    fn make(&mut self, next: Offset, since: Vec<u64>) {
        let (made, filter) = oneshot::channel();
        let index = self.index.clone();
        env::spawn(async move {
            let making = index.clone();
            // Nobody may want it any more.
            let _ = made.send(env::run_blocking(move || Filter::of(&making, next)).await);
            index.close_when_idle();
        });
        self.next = Some((filter, since));
    }

    /// Whether the index certainly does not have it.
    pub fn is(&self, name: Name<'_>) -> bool {
        self.filter.as_ref().is_some_and(|filter| filter.lacks(name))
    }

    /// It is under way, and the index will have it.
    pub fn add(&mut self, name: Name<'_>) {
        let hash = hash(name);
        if let Some(filter) = &mut self.filter {
            filter.add(hash);
        }
        if let Some((_, since)) = &mut self.next {
            since.push(hash);
        }
    }

    /// Takes a new filter where one was made, or has one made where it is time. The index has everything before `next`;
    /// `under_way`: what it may not have yet.
    pub fn renew<'a>(&mut self, next: Offset, under_way: impl Iterator<Item = Name<'a>>) {
        let Some((made, since)) = &mut self.next else {
            let is_full = |filter: &Filter| filter.items > filter.items_max && filter.items_max < ITEMS_MAX;
            if self.filter.as_ref().map_or(!self.is_given_up, is_full) {
                self.make(next, under_way.map(hash).collect());
            }
            return;
        };
        match made.try_recv() {
            Ok(Ok(mut filter)) => {
                since.drain(..).for_each(|hash| filter.add(hash));
                self.filter = Some(filter);
                self.next = None;
            }
            Ok(Err(error)) => {
                warn!(%error, "an index cannot be read through: it is asked for every append");
                self.next = None;
                self.is_given_up = true;
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Closed) => self.next = None,
        }
    }
}

#[cfg(test)]
mod tests;
