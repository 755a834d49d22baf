//! Position tokens: how far somebody has got, handed out with every write and accepted by every read as "at least
//! this fresh".

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use model::{Offset, PartitionId, TopicId};

/// The format of the text; a token of another one is refused, not guessed.
const FORMAT: &str = "1";

/// Partitions that one token may name.
const PARTITIONS_MAX: usize = 1024;

/// The next offset of some partitions. Opaque to whoever holds it; as text `1` and, for each topic, a `~`, its id and
/// `.<partition>.<next offset>` for each partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position(BTreeMap<PartitionId, Offset>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PositionError {
    #[error("a position token begins with `{FORMAT}~`: hand on what was handed out, unchanged")]
    Foreign,
    #[error("`{0}` is not the part of a position token: hand on what was handed out, unchanged")]
    Malformed(String),
    #[error("a position token names at most {PARTITIONS_MAX} partitions")]
    TooMany,
}

impl Position {
    pub fn of(partition: PartitionId, next: Offset) -> Position {
        Position(BTreeMap::from([(partition, next)]))
    }

    /// As fresh as both.
    pub fn merge(&mut self, other: &Position) {
        for (partition, next) in &other.0 {
            let known = self.0.entry(*partition).or_insert(*next);
            *known = (*known).max(*next);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The offset that the next record of this partition had.
    pub fn next(&self, partition: PartitionId) -> Option<Offset> {
        self.0.get(&partition).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (PartitionId, Offset)> {
        self.0.iter().map(|(partition, next)| (*partition, *next))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FORMAT)?;
        let mut topic = None;
        for (partition, next) in &self.0 {
            if topic != Some(partition.topic) {
                write!(f, "~{}", partition.topic)?;
                topic = Some(partition.topic);
            }
            write!(f, ".{}.{next}", partition.index)?;
        }
        Ok(())
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Position, PositionError> {
        let mut topics = text.split('~');
        if topics.next() != Some(FORMAT) {
            return Err(PositionError::Foreign);
        }
        let mut position = Position::default();
        for part in topics {
            let malformed = || PositionError::Malformed(part.to_owned());
            let mut fields = part.split('.');
            let topic: Option<TopicId> = fields.next().and_then(|id| id.parse().ok());
            let topic = topic.ok_or_else(malformed)?;
            while let Some(index) = fields.next() {
                let index = index.parse().ok().filter(|index| *index >= 0).ok_or_else(malformed)?;
                let next = fields.next().and_then(|next| next.parse().ok()).filter(|next| *next >= 0);
                let next = Offset(next.ok_or_else(malformed)?);
                if position.0.len() == PARTITIONS_MAX {
                    return Err(PositionError::TooMany);
                }
                position.merge(&Position::of(PartitionId { topic, index }, next));
            }
        }
        Ok(position)
    }
}

#[cfg(test)]
mod tests;
