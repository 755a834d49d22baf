//! What is read.

use client::{Position, PositionError};

use crate::Recorded;
use crate::index::Room;

/// Events of one answer, at most.
pub const EVENTS_MAX: usize = 1000;

/// Bytes of one answer after which it ends, whatever was asked for.
pub const ANSWER_BYTES: usize = 2 << 20;

/// Of one answer, unless it is to be smaller.
pub const ROOM: Room = Room { events: EVENTS_MAX, bytes: ANSWER_BYTES };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Forward,
    Backward,
}

/// Some events, and how far the reader was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    pub events: Vec<Recorded>,
    /// The version of the stream that was read; 0 for reads across streams.
    pub version: u64,
    /// The first version of the stream that is read: what was below was truncated. 0 for reads across streams.
    pub first: u64,
    /// What was read is at least this fresh. Reads across streams go on from here.
    pub position: Position,
    /// There was nothing more when it was read.
    pub is_end: bool,
    /// Partitions of which nothing is read beyond some offset until somebody looks at them, and why.
    pub incomplete: Vec<String>,
}

impl Found {
    /// What the events take in an answer, about.
    pub fn size(&self) -> usize {
        self.events.iter().map(Recorded::size).sum()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("there is no category {0}")]
    NoCategory(String),
    #[error("there is no stream {0}")]
    NoStream(String),
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Position(#[from] PositionError),
    /// It is not as fresh as was asked for, and did not become so in time.
    #[error("not as fresh as {wanted} yet: it is at {at}")]
    Stale { wanted: Position, at: Position },
    /// Asking again later may help.
    #[error("{0}")]
    Unavailable(String),
}
