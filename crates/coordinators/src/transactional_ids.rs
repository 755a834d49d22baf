//! Producer ids by transactional id: the same id for the same name, one epoch more at each initialisation, so
//! that the older incarnation is fenced (KIP-98, KIP-360).
//!
//! One machine per partition of `__transaction_state`. Transactions themselves come with their own machine; the
//! states here are Kafka's `Empty` only.

use std::collections::BTreeMap;

use machine::{Decision, Machine};
use model::{ProducerEpoch, ProducerId, Timestamp};

#[cfg(test)]
mod tests;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct TransactionalIds {
    ids: BTreeMap<String, Producer>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Producer {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    /// The epoch before the last bump by the producer itself: its retry of that bump is answered alike.
    pub last_epoch: ProducerEpoch,
    pub transaction_timeout_ms: i32,
    pub updated_at: Timestamp,
}

#[derive(Clone, Debug)]
pub struct Initialise {
    pub transactional_id: String,
    pub transaction_timeout_ms: i32,
    /// What the producer believes to be, when it recovers (KIP-360).
    pub current: Option<(ProducerId, ProducerEpoch)>,
    /// An id nobody was given yet; used for a new name, or when the epochs of the old id are used up.
    pub fresh: ProducerId,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub transactional_id: String,
    /// `None`: the transactional id expired.
    pub producer: Option<Producer>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Initialised {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Reject {
    /// A newer incarnation took over.
    Fenced,
}

impl TransactionalIds {
    pub fn all(&self) -> impl Iterator<Item = (&str, &Producer)> {
        self.ids.iter().map(|(id, producer)| (id.as_str(), producer))
    }
}

/// The highest epoch a client gets; one more is kept for the coordinator's own fencing.
const EPOCH_MAX: i16 = i16::MAX - 1;

impl Machine for TransactionalIds {
    type Command = Initialise;
    type Record = Record;
    type Reply = Initialised;
    type Reject = Reject;

    fn decide(&self, command: Initialise, now: Timestamp) -> Result<Decision<Self>, Reject> {
        let known = self.ids.get(&command.transactional_id);
        let (id, epoch, last_epoch) = match (known, command.current) {
            (None, None) => (command.fresh, ProducerEpoch(0), ProducerEpoch::NONE),
            // After an expiry the name is free: the producer goes on under its old id with a new epoch.
            (None, Some((id, epoch))) if epoch.0 < EPOCH_MAX => {
                (id, ProducerEpoch(epoch.0 + 1), ProducerEpoch::NONE)
            }
            (None, Some(_)) => (command.fresh, ProducerEpoch(0), ProducerEpoch::NONE),
            (Some(producer), Some((id, _))) if id != producer.id => return Err(Reject::Fenced),
            (Some(producer), Some((id, epoch))) if epoch == producer.last_epoch => {
                return Ok(Decision::answer(Initialised { id, epoch: producer.epoch }));
            }
            (Some(producer), Some((_, epoch))) if epoch != producer.epoch => return Err(Reject::Fenced),
            (Some(producer), _) if producer.epoch.0 >= EPOCH_MAX => {
                (command.fresh, ProducerEpoch(0), ProducerEpoch::NONE)
            }
            (Some(producer), current) => {
                let last_epoch = current.map_or(ProducerEpoch::NONE, |(_, epoch)| epoch);
                (producer.id, ProducerEpoch(producer.epoch.0 + 1), last_epoch)
            }
        };
        let producer = Producer {
            id,
            epoch,
            last_epoch,
            transaction_timeout_ms: command.transaction_timeout_ms,
            updated_at: now,
        };
        let record = Record { transactional_id: command.transactional_id, producer: Some(producer) };
        Ok(Decision::new(vec![record], Initialised { id, epoch }))
    }

    fn apply(&mut self, record: &Record) {
        match &record.producer {
            Some(producer) => drop(self.ids.insert(record.transactional_id.clone(), producer.clone())),
            None => drop(self.ids.remove(&record.transactional_id)),
        }
    }
}

impl TransactionalIds {
    pub fn producer(&self, transactional_id: &str) -> Option<&Producer> {
        self.ids.get(transactional_id)
    }
}
