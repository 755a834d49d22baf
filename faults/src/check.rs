//! Holds the history against the log: everything that must be true of an event store, whoever died meanwhile.
//!
//! Time is told by the log's own order. A record was in the log *by* the earliest time at which it, or one behind it, was
//! seen (acknowledged or read), and *not before* the latest time at which it, or one before it, was first asked for. An
//! answer that speaks of a version must fit between the two.
//!
//! Pure: no IO, no clock. [`run`] is the only way in.

mod appends;
mod log;
mod reads;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::history::{Append, EventId, History, Log, Micros, Place, Stream, What};

/// What must never be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A partition's offsets are not gapless.
    OffsetGap,
    /// A stream's versions are not 1, 2, 3 … in the order of the log.
    VersionOrder,
    /// A stream has events in two partitions.
    StreamInTwoPlaces,
    /// An event is in the log twice.
    Duplicate,
    /// A record in the log that nobody asked for, or that was changed.
    Foreign,
    /// A record of a writer that has not claimed the partition, or has lost it.
    Unclaimed,
    /// A claim with an epoch that is no newer.
    ClaimOrder,
    /// An acknowledged append is not in the log.
    Lost,
    /// Some of an append's events are in the log.
    Torn,
    /// An append's events do not stand together.
    Scattered,
    /// It is in the log, but not as it was answered.
    WrongAnswer,
    /// Appended although the stream was not at the expected version.
    ExpectedIgnored,
    /// Appended although a condition did not hold.
    ConditionIgnored,
    /// Refused, and in the log.
    RefusedButWritten,
    /// Refused for a reason that was none.
    FalseConflict,
    /// The same append again was answered differently.
    UnlikeRepeat,
    /// Nobody can tell what became of it.
    Unresolved,
    /// An answer that there was no reason for.
    OddAnswer,
    /// The log's order contradicts the order in which things were answered and asked.
    TimeOrder,
    /// A read returned what the log does not have.
    ReadWrong,
    /// A read returned what could not be in the log yet.
    ReadAhead,
    /// A read did not return what it had to.
    ReadStale,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub kind: Kind,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.what)
    }
}

/// Everything that is wrong.
pub fn run(history: &History, log: &Log) -> Vec<Violation> {
    let mut found = Findings::default();
    let mut seen = log::index(history, log, &mut found);
    reads::note_times(history, &mut seen);
    seen.settle_times();
    log::check_times(&seen, &mut found);
    appends::check(history, &seen, &mut found);
    reads::check(history, &seen, &mut found);
    found.0
}

#[derive(Debug, Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn add(&mut self, kind: Kind, what: impl Into<String>) {
        self.0.push(Violation { kind, what: what.into() });
    }
}

/// The log, in a shape that answers questions.
struct Seen<'a> {
    places: BTreeMap<Place, Partition<'a>>,
    /// Where each event is; more than one only where something is wrong.
    ids: HashMap<EventId, Vec<At>>,
    /// Where each stream lives, and its events in the order of their versions.
    streams: HashMap<(u8, Stream), Vec<At>>,
    /// The append that each number belongs to, not its repeats.
    appends: HashMap<u64, &'a Append>,
}

/// A record, by its place in [`Partition::records`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct At {
    place: Place,
    index: usize,
}

struct Partition<'a> {
    records: &'a [crate::history::Record],
    /// In the log by then: seen there.
    by: Vec<Micros>,
    /// Not in the log before then: nobody had asked for it.
    not_before: Vec<Micros>,
    /// Offsets of the events of a type and tag.
    matching: HashMap<(u8, u16), Vec<i64>>,
}

impl Partition<'_> {
    fn what(&self, index: usize) -> &What {
        &self.records[index].what
    }
}

impl Seen<'_> {
    fn partition(&self, at: At) -> &Partition<'_> {
        &self.places[&at.place]
    }

    fn offset(&self, at: At) -> i64 {
        self.partition(at).records[at.index].offset
    }

    fn by(&self, at: At) -> Micros {
        self.partition(at).by[at.index]
    }

    fn not_before(&self, at: At) -> Micros {
        self.partition(at).not_before[at.index]
    }

    /// The event that made a stream's version.
    fn version(&self, category: u8, stream: Stream, version: u64) -> Option<At> {
        let number = usize::try_from(version.checked_sub(1)?).ok()?;
        self.streams.get(&(category, stream))?.get(number).copied()
    }

    /// Somebody saw this event by then.
    fn note(&mut self, at: At, time: Micros) {
        if let Some(partition) = self.places.get_mut(&at.place) {
            let by = &mut partition.by[at.index];
            *by = (*by).min(time);
        }
    }

    /// What is true of a record is true of those before it, and behind it.
    fn settle_times(&mut self) {
        for partition in self.places.values_mut() {
            let mut by = Micros::MAX;
            for time in partition.by.iter_mut().rev() {
                by = by.min(*time);
                *time = by;
            }
            let mut not_before = 0;
            for time in &mut partition.not_before {
                not_before = not_before.max(*time);
                *time = not_before;
            }
        }
    }

    /// Why a stream cannot have been at this version at any time between two, if it cannot.
    fn not_at(
        &self,
        category: u8,
        stream: Stream,
        version: u64,
        begin: Micros,
        end: Micros,
    ) -> Option<String> {
        if version > 0 {
            match self.version(category, stream, version) {
                None => return Some(format!("{stream} never was at version {version}")),
                Some(at) if self.not_before(at) > end => {
                    return Some(format!("{stream} was not at version {version} yet"));
                }
                Some(_) => {}
            }
        }
        match self.version(category, stream, version + 1) {
            Some(at) if self.by(at) < begin => {
                Some(format!("{stream} was at version {} already", version + 1))
            }
            _ => None,
        }
    }
}
