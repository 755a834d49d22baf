//! Which leader epoch began at which offset: a pure machine.
//!
//! Kafka's word for what changes when a partition's tail may have been lost. Here an epoch begins whenever the
//! storage was opened after an unclean stop. Clients that held a now missing tail find out by asking where
//! "their" epoch ends (KIP-101, KIP-320).

#[cfg(test)]
mod tests;

use model::{LeaderEpoch, Offset};

use crate::codec::{Decoder, Encoder, Malformed};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Epochs {
    /// Both grow from entry to entry; never empty.
    starts: Vec<(LeaderEpoch, Offset)>,
}

impl Epochs {
    pub fn new() -> Epochs {
        Epochs { starts: vec![(LeaderEpoch(0), Offset::ZERO)] }
    }

    pub fn current(&self) -> LeaderEpoch {
        self.starts.last().expect("never empty").0
    }

    /// The epoch that an offset belongs to.
    pub fn at(&self, offset: Offset) -> LeaderEpoch {
        let after = self.starts.partition_point(|(_, start)| *start <= offset);
        self.starts[after.saturating_sub(1)].0
    }

    /// A new epoch begins at `end`. Epochs without records leave no entry.
    pub fn begin(&mut self, epoch: LeaderEpoch, end: Offset) {
        if epoch <= self.current() {
            return;
        }
        while self.starts.last().is_some_and(|(_, start)| *start >= end) {
            self.starts.pop();
        }
        self.starts.push((epoch, end));
    }

    /// Where an epoch ends: `end` (the log's) for the current one, the start of the next for an older one, along
    /// with the largest known epoch not above it. None for epochs to come, or older than all known.
    pub fn end_of(&self, epoch: LeaderEpoch, end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let after = self.starts.partition_point(|(known, _)| *known <= epoch);
        if epoch > self.current() {
            return None;
        }
        match self.starts.get(after) {
            None => Some((self.current(), end)),
            // Older than all that is known: Kafka answers with the epoch asked for and the first start.
            Some((_, next_start)) if after == 0 => Some((epoch, *next_start)),
            Some((_, next_start)) => Some((self.starts[after - 1].0, *next_start)),
        }
    }

    /// Forgets epochs that end at or below the log's start; the one holding it then begins there.
    pub fn truncate_start(&mut self, start: Offset) {
        let gone = self.starts.partition_point(|(_, begin)| *begin <= start).saturating_sub(1);
        self.starts.drain(..gone);
        if self.starts[0].1 < start {
            self.starts[0].1 = start;
        }
    }

    pub fn encode(&self, out: &mut Encoder) {
        out.list(self.starts.iter(), |out, (epoch, start)| {
            out.i32(epoch.0);
            out.offset(*start);
        });
    }

    pub fn decode(from: &mut Decoder<'_>) -> Result<Epochs, Malformed> {
        let starts = from.list(|from| Ok((from.epoch()?, from.offset()?)))?;
        if starts.is_empty() {
            return Err(Malformed("no leader epoch"));
        }
        Ok(Epochs { starts })
    }
}
