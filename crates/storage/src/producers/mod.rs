//! What a partition remembers of its producers: a pure machine.
//!
//! [`decide`] says what a batch is (next, a repetition, a refusal), [`Producers::apply`] takes in a batch that got
//! into the log. Both see only headers, so that replay needs no record data.
//!
//! ```text
//! batch of producer P, epoch e, sequences f..l
//!   P unknown or expired      → accepted, at any sequence (or only at 0, if the caller demands it)
//!   e < current epoch         → InvalidProducerEpoch: a newer incarnation has written here (fencing)
//!   e = current, f and l are those of one of the last 5 batches → duplicate: the original's offsets
//!   e > current               → accepted if f = 0
//!   e = current               → accepted if f = last + 1 (2147483647 is followed by 0)
//!   otherwise                 → OutOfOrderSequence
//! ```
//!
//! Producers are forgotten by the time of their last append (our clock), never because the log's start moved
//! and never by record timestamps: back-dated producers would expire at once.
//!
//! Transactions: a transactional batch opens one at its base offset, a marker closes it; an abort is remembered
//! for readers until the log's start has passed it, or compaction has left none of its records.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use model::batch::sequence_plus;
use model::{Batch, BatchHeader, Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::append::AppendError;
use crate::codec::{Decoder, Encoder, Malformed};

/// Batches remembered per producer: as many as clients may have in flight.
const BATCHES_MAX: usize = 5;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    pub epoch: ProducerEpoch,
    /// Of this epoch, oldest first.
    batches: VecDeque<Remembered>,
    pub last_append: Timestamp,
    pub coordinator_epoch: i32,
    pub transaction_start: Option<Offset>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Remembered {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: Offset,
    last_offset: Offset,
}

/// An aborted transaction, as consumers that read committed records must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer: ProducerId,
    pub first_offset: Offset,
    /// Of the abort marker.
    pub last_offset: Offset,
}

/// A transaction marker's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub committed: bool,
    pub coordinator_epoch: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Duplicate { base_offset: Offset, last_offset: Offset },
    Refuse(AppendError),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Producers {
    known: BTreeMap<ProducerId, Producer>,
    /// Open transactions by their first offset.
    open: BTreeSet<(Offset, ProducerId)>,
    /// By the marker's offset.
    aborted: Vec<AbortedTransaction>,
}

/// What a batch is to the producer state `known` of its producer id.
pub(crate) fn decide(
    known: Option<&Producer>,
    header: &BatchHeader,
    first_sequence_zero: bool,
    now: Timestamp,
    expiration: Duration,
) -> Verdict {
    if header.producer_id.is_none() {
        return Verdict::Accept;
    }
    let known = known.filter(|producer| !producer.is_expired(now, expiration));
    let Some(producer) = known else {
        return if first_sequence_zero && header.is_sequenced() && header.base_sequence != 0 {
            out_of_order(0, header)
        } else {
            Verdict::Accept
        };
    };
    if header.producer_epoch < producer.epoch {
        return Verdict::Refuse(AppendError::InvalidProducerEpoch {
            current: producer.epoch,
            found: header.producer_epoch,
        });
    }
    if header.attributes.is_control() || !header.is_sequenced() {
        return Verdict::Accept;
    }
    if header.producer_epoch > producer.epoch {
        return if header.base_sequence == 0 { Verdict::Accept } else { out_of_order(0, header) };
    }
    if let Some(original) = producer.original(header) {
        return Verdict::Duplicate { base_offset: original.base_offset, last_offset: original.last_offset };
    }
    let expected = producer.batches.back().map_or(0, |batch| sequence_plus(batch.last_sequence, 1));
    if header.base_sequence == expected { Verdict::Accept } else { out_of_order(expected, header) }
}

fn out_of_order(expected: i32, header: &BatchHeader) -> Verdict {
    Verdict::Refuse(AppendError::OutOfOrderSequence { expected, found: header.base_sequence })
}

impl Producer {
    fn new(epoch: ProducerEpoch, at: Timestamp) -> Producer {
        Producer {
            epoch,
            batches: VecDeque::new(),
            last_append: at,
            coordinator_epoch: -1,
            transaction_start: None,
        }
    }

    /// Of the last batch that is remembered; none: only a marker is.
    pub fn last_data_offset(&self) -> Option<Offset> {
        self.batches.back().map(|batch| batch.last_offset)
    }

    pub fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(-1, |batch| batch.last_sequence)
    }

    fn original(&self, header: &BatchHeader) -> Option<&Remembered> {
        let last = header.last_sequence();
        self.batches
            .iter()
            .find(|batch| batch.first_sequence == header.base_sequence && batch.last_sequence == last)
    }

    /// A producer with an open transaction never expires.
    fn is_expired(&self, now: Timestamp, expiration: Duration) -> bool {
        let age = now.0.saturating_sub(self.last_append.0);
        self.transaction_start.is_none() && age >= 0 && age as u128 >= expiration.as_millis()
    }
}

impl Producers {
    pub fn get(&self, id: ProducerId) -> Option<&Producer> {
        self.known.get(&id)
    }

    /// Takes over what another one knows of a producer.
    pub fn insert(&mut self, id: ProducerId, producer: Producer) {
        if let Some(start) = producer.transaction_start {
            self.open.insert((start, id));
        }
        self.known.insert(id, producer);
    }

    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &Producer)> {
        self.known.iter().map(|(id, producer)| (*id, producer))
    }

    /// Takes in a batch that is in the log; `marker` if it is a control batch that ends a transaction.
    pub fn apply(
        &mut self,
        header: &BatchHeader,
        marker: Option<Marker>,
        at: Timestamp,
        expiration: Duration,
    ) {
        let id = header.producer_id;
        if id.is_none() {
            return;
        }
        let producer = self.known.entry(id).or_insert_with(|| Producer::new(header.producer_epoch, at));
        if producer.is_expired(at, expiration) {
            *producer = Producer::new(header.producer_epoch, at);
        }
        if header.producer_epoch > producer.epoch {
            producer.epoch = header.producer_epoch;
            producer.batches.clear();
        }
        producer.last_append = at;
        if header.attributes.is_control() {
            let Some(marker) = marker else { return };
            producer.coordinator_epoch = marker.coordinator_epoch;
            let Some(first_offset) = producer.transaction_start.take() else { return };
            self.open.remove(&(first_offset, id));
            if !marker.committed {
                let last_offset = header.last_offset();
                self.aborted.push(AbortedTransaction { producer: id, first_offset, last_offset });
            }
            return;
        }
        if header.is_sequenced() {
            if producer.batches.len() == BATCHES_MAX {
                producer.batches.pop_front();
            }
            producer.batches.push_back(Remembered {
                first_sequence: header.base_sequence,
                last_sequence: header.last_sequence(),
                base_offset: header.base_offset,
                last_offset: header.last_offset(),
            });
        }
        if header.attributes.is_transactional() && producer.transaction_start.is_none() {
            producer.transaction_start = Some(header.base_offset);
            self.open.insert((header.base_offset, id));
        }
    }

    /// The first offset of the oldest open transaction.
    pub fn open_from(&self) -> Option<Offset> {
        self.open.first().map(|(offset, _)| *offset)
    }

    /// Aborted transactions with records in `from..up_to`, by first offset.
    pub fn aborted(&self, from: Offset, up_to: Offset) -> Vec<AbortedTransaction> {
        let after = self.aborted.partition_point(|aborted| aborted.last_offset < from);
        let mut found: Vec<AbortedTransaction> =
            self.aborted[after..].iter().filter(|aborted| aborted.first_offset < up_to).copied().collect();
        found.sort_by_key(|aborted| aborted.first_offset);
        found
    }

    /// Drops aborted transactions that end below the log's start. Producers stay.
    pub fn truncate_start(&mut self, start: Offset) {
        let gone = self.aborted.partition_point(|aborted| aborted.last_offset < start);
        self.aborted.drain(..gone);
    }

    /// Forgets aborted transactions of which nothing is left that a reader would have to pass over.
    pub fn forget_aborted(&mut self, gone: &[AbortedTransaction]) {
        let gone: BTreeSet<(Offset, ProducerId)> =
            gone.iter().map(|aborted| (aborted.last_offset, aborted.producer)).collect();
        self.aborted.retain(|aborted| !gone.contains(&(aborted.last_offset, aborted.producer)));
    }

    /// Forgets those whose last append is too long ago.
    pub fn expire(&mut self, now: Timestamp, expiration: Duration) {
        self.known.retain(|_, producer| !producer.is_expired(now, expiration));
    }

    pub fn encode(&self, out: &mut Encoder) {
        out.list(self.known.iter(), |out, (id, producer)| {
            out.i64(id.0);
            out.i16(producer.epoch.0);
            out.timestamp(producer.last_append);
            out.i32(producer.coordinator_epoch);
            out.option(producer.transaction_start, Encoder::offset);
            out.list(producer.batches.iter(), |out, batch| {
                out.i32(batch.first_sequence);
                out.i32(batch.last_sequence);
                out.offset(batch.base_offset);
                out.offset(batch.last_offset);
            });
        });
        out.list(self.aborted.iter(), |out, aborted| {
            out.i64(aborted.producer.0);
            out.offset(aborted.first_offset);
            out.offset(aborted.last_offset);
        });
    }

    pub fn decode(from: &mut Decoder<'_>) -> Result<Producers, Malformed> {
        let known: BTreeMap<ProducerId, Producer> = from
            .list(|from| {
                let id = ProducerId(from.i64()?);
                let producer = Producer {
                    epoch: ProducerEpoch(from.i16()?),
                    last_append: from.timestamp()?,
                    coordinator_epoch: from.i32()?,
                    transaction_start: from.option(Decoder::offset)?,
                    batches: from
                        .list(|from| {
                            Ok(Remembered {
                                first_sequence: from.i32()?,
                                last_sequence: from.i32()?,
                                base_offset: from.offset()?,
                                last_offset: from.offset()?,
                            })
                        })?
                        .into(),
                };
                Ok((id, producer))
            })?
            .into_iter()
            .collect();
        let aborted = from.list(|from| {
            Ok(AbortedTransaction {
                producer: ProducerId(from.i64()?),
                first_offset: from.offset()?,
                last_offset: from.offset()?,
            })
        })?;
        let open =
            known.iter().filter_map(|(id, producer)| Some((producer.transaction_start?, *id))).collect();
        Ok(Producers { known, open, aborted })
    }
}

impl Marker {
    /// Reads a control batch's record: key = version i16, type i16 (0 abort, 1 commit); value = version i16,
    /// coordinator epoch i32. None for control records of another kind.
    pub fn read(batch: &Batch) -> Option<Marker> {
        const BYTES_MAX: usize = 1024;
        if !batch.header().attributes.is_control() {
            return None;
        }
        let records = batch.records(BYTES_MAX).ok()?;
        let record = records.iter().next()?.ok()?;
        let committed = match i16::from_be_bytes(record.key?.get(2..4)?.try_into().ok()?) {
            0 => false,
            1 => true,
            _ => return None,
        };
        let coordinator_epoch = i32::from_be_bytes(record.value?.get(2..6)?.try_into().ok()?);
        Some(Marker { committed, coordinator_epoch })
    }
}
