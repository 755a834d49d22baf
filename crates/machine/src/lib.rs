//! Pure state machines: every state of Levada is the fold of a log.
//!
//! No IO, no clock, no randomness, no async: what a machine needs from outside arrives in the command or as
//! `now`. A host (in `broker`, later in `client`) appends the records of a decision to a log, applies them, and
//! answers when they are committed; after a restart it applies the log again and holds the same state.

use model::Timestamp;

/// State that is nothing but the fold of its records.
pub trait Machine: Sized {
    type Command;
    type Record: Clone;
    type Reply;
    /// The caller's doing: an ordinary answer, not a fault.
    type Reject;

    /// Reads state, changes nothing. `now` comes in from outside.
    fn decide(&self, command: Self::Command, now: Timestamp) -> Result<Decision<Self>, Self::Reject>;

    /// The only way state changes. A record in the log is a fact, so this cannot fail.
    fn apply(&mut self, record: &Self::Record);
}

/// What a command leads to: facts for the log, and the answer to give once they are committed.
pub struct Decision<M: Machine> {
    pub records: Vec<M::Record>,
    pub reply: M::Reply,
}

impl<M: Machine> Decision<M> {
    pub fn new(records: Vec<M::Record>, reply: M::Reply) -> Self {
        Decision { records, reply }
    }

    /// An answer that changes nothing.
    pub fn answer(reply: M::Reply) -> Self {
        Decision { records: Vec::new(), reply }
    }
}
