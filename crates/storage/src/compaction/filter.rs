//! What becomes of a batch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{Batch, BatchHeader, Offset, ProducerEpoch, ProducerId, Timestamp};

use super::KeyMap;
use crate::producers::{AbortedTransaction, Marker};

/// The transactions that a pass over a log runs into, in offset order.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    /// Not reached yet, by first offset.
    ahead: BTreeMap<(Offset, ProducerId), AbortedTransaction>,
    /// Begun, and to be aborted by a marker further on; whether records of it stay.
    aborted: BTreeMap<ProducerId, (AbortedTransaction, bool)>,
    /// Those that were aborted and of which nothing but the marker is left.
    emptied: Vec<AbortedTransaction>,
    /// Batches of transactions that were committed, or are not aborted yet, were seen of these.
    committed: BTreeSet<ProducerId>,
}

impl Transactions {
    pub fn new(aborted: impl IntoIterator<Item = AbortedTransaction>) -> Transactions {
        let ahead = aborted.into_iter().map(|one| ((one.first_offset, one.producer), one)).collect();
        Transactions { ahead, ..Transactions::default() }
    }

    fn reach(&mut self, offset: Offset) {
        let later = self.ahead.split_off(&(offset.plus(1), ProducerId(i64::MIN)));
        for ((_, producer), transaction) in std::mem::replace(&mut self.ahead, later) {
            self.aborted.insert(producer, (transaction, false));
        }
    }

    /// A batch stays as it is, whatever it means.
    fn stays(&mut self, header: &BatchHeader) -> Fate {
        if let Some((_, stays)) = self.aborted.get_mut(&header.producer_id) {
            *stays = true;
        }
        Fate::Stays
    }

    /// The transactions of which a pass has left nothing but the marker: readers need not know of them any more. As
    /// long as they do they need the marker too.
    pub fn take_emptied(&mut self) -> Vec<AbortedTransaction> {
        std::mem::take(&mut self.emptied)
    }

    /// Takes in a batch. Says whether it means nothing to anybody any more: it is of an aborted transaction, or the
    /// marker of one that nobody is told of.
    pub fn pass(&mut self, header: &BatchHeader, marker: Option<Marker>) -> bool {
        self.reach(header.last_offset());
        let producer = header.producer_id;
        match marker {
            Some(Marker { committed: false, .. }) => match self.aborted.remove(&producer) {
                Some((transaction, stays)) => {
                    self.emptied.extend((!stays).then_some(transaction));
                    false
                }
                None => true,
            },
            Some(Marker { committed: true, .. }) => !self.committed.remove(&producer),
            // A control record of another kind stays.
            None if header.attributes.is_control() => false,
            None if !header.attributes.is_transactional() => false,
            None if self.aborted.contains_key(&producer) => true,
            None => {
                self.committed.insert(producer);
                false
            }
        }
    }
}

/// What decides, for one pass.
pub(crate) struct Filter<'a> {
    pub map: &'a KeyMap,
    pub now: Timestamp,
    /// How long a tombstone stays after it was first seen by a pass.
    pub delete_retention: Duration,
    /// The last batch of each producer that is known: its offset and epoch; its sequence must be found after a loss of
    /// everything else.
    pub last_of_producers: &'a BTreeMap<ProducerId, (Option<Offset>, ProducerEpoch)>,
    /// Nothing at or beyond is touched; the batch that ends here keeps its place.
    pub up_to: Offset,
}

#[derive(Debug)]
pub(crate) enum Fate {
    /// Byte for byte.
    Stays,
    /// Without some of its records, perhaps all.
    Becomes(Batch),
    /// Nothing of it is left.
    Goes,
}

impl Filter<'_> {
    /// `bytes_max` bounds what its records decompress to; a batch that cannot be read stays as it is.
    pub fn judge(&self, batch: &Batch, transactions: &mut Transactions, bytes_max: usize) -> Fate {
        let header = batch.header();
        let marker = Marker::read(batch);
        let means_nothing = transactions.pass(header, marker);
        let horizon = header.attributes.has_delete_horizon().then_some(header.base_timestamp);
        let is_past = horizon.is_some_and(|horizon| horizon <= self.now);
        let later = Timestamp(
            self.now.0.saturating_add(i64::try_from(self.delete_retention.as_millis()).unwrap_or(i64::MAX)),
        );
        if header.record_count == 0 {
            return if self.must_stay(header) { Fate::Stays } else { Fate::Goes };
        }
        let Ok(records) = batch.records(bytes_max) else { return transactions.stays(header) };
        if records.iter().any(|record| record.is_err()) {
            return transactions.stays(header);
        }
        if header.attributes.is_control() {
            return match (means_nothing, horizon) {
                (true, Some(_)) if is_past => self.emptied(batch, &records),
                // From the first pass on that finds nothing left of its transaction, its days are counted.
                (true, None) => Fate::Becomes(batch.retaining(&records, |_| true, Some(later))),
                _ => Fate::Stays,
            };
        }
        if means_nothing {
            return self.emptied(batch, &records);
        }
        let keeps = |record: &model::batch::Record<'_>| {
            let offset = records.offset(record);
            if offset >= self.map.end() {
                return true;
            }
            let Some(key) = record.key else { return false };
            let is_retained = record.value.is_some() || !is_past;
            !self.map.is_outdated(key, offset) && is_retained
        };
        let mut all = true;
        let (mut count, mut has_tombstone) = (0, false);
        for record in records.iter().flatten() {
            match keeps(&record) {
                true => {
                    count += 1;
                    has_tombstone |= record.value.is_none();
                }
                false => all = false,
            }
        }
        let new_horizon = (has_tombstone && horizon.is_none()).then_some(later);
        match count {
            0 => self.emptied(batch, &records),
            _ if all && new_horizon.is_none() => Fate::Stays,
            _ => Fate::Becomes(batch.retaining(&records, keeps, new_horizon)),
        }
    }

    fn emptied(&self, batch: &Batch, records: &model::batch::Records) -> Fate {
        match self.must_stay(batch.header()) {
            true => Fate::Becomes(batch.retaining(records, |_| false, None)),
            false => Fate::Goes,
        }
    }

    /// Whether a batch keeps its place though it is empty: its producer is known by it, or the log's end is.
    fn must_stay(&self, header: &BatchHeader) -> bool {
        let is_last = match self.last_of_producers.get(&header.producer_id) {
            Some((Some(offset), _)) => *offset == header.last_offset(),
            Some((None, epoch)) => header.attributes.is_control() && *epoch == header.producer_epoch,
            None => false,
        };
        !header.producer_id.is_none() && is_last || header.next_offset() == self.up_to
    }
}
