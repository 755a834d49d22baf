//! What an owner decides: whether an append may be made, and which version each event gets.
//!
//! The machine holds what the index does not have yet (events that are under way, or in the log but not indexed), and
//! the heads of some streams that were appended to lately; what the index knows of the other streams and ids that an
//! append names is handed in with the command as [`Looked`]. So it stays small however many streams there are.
//!
//! ```text
//! append ──look into the index──▶ decide ──▶ Taken (applied at once: the next append sees it) ──▶ log ──▶ index
//!                                                                               forget ◀───────────────────┘
//! ```
//!
//! An answer that rests on events under way holds only if they get into the log: whoever runs the machine keeps it
//! until then.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use machine::{Decision, Machine};
use model::{Offset, Timestamp};

use crate::append::{Append, Expected, OWN, Selector};
use crate::event::NewEvent;

/// A stream, as far as appending needs to know it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// 0: no events.
    pub version: u64,
    /// None: the stream's id is its boundary.
    pub boundary: Option<String>,
}

/// Where an event is that was appended earlier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub stream: String,
    pub version: u64,
    /// None: under way.
    pub offset: Option<Offset>,
}

/// What the index has about the streams, ids and conditions of an append. What is not there is not in the index.
#[derive(Debug, Clone, Default)]
pub struct Looked {
    pub heads: BTreeMap<String, Head>,
    pub ids: BTreeMap<String, Known>,
    /// For each condition: an event that matches.
    pub matches: Vec<Option<Offset>>,
    /// For each condition: only events from this offset on count.
    pub after: Vec<Offset>,
    /// Why the conditions cannot be decided, whoever asks again.
    pub refused: Option<String>,
}

#[derive(Debug)]
pub struct Command {
    pub append: Append,
    pub looked: Looked,
}

/// An append that was taken, as it goes into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub events: Vec<Versioned>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    pub stream: String,
    pub version: u64,
    /// Only where this is the stream's first event, and the stream's id is not the boundary.
    pub boundary: Option<String>,
    pub event: NewEvent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Each stream's version after its events.
    Appended(Vec<(String, u64)>),
    /// All events are there already. The last one's offset, unless it is under way.
    Repeated { versions: Vec<(String, u64)>, last: Option<Offset> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reject {
    Version {
        stream: String,
        expected: Expected,
        current: u64,
    },
    Condition {
        at: Found,
    },
    Boundary {
        stream: String,
        boundary: String,
    },
    IdTaken {
        id: String,
        stream: String,
    },
    /// Its conditions cannot be decided.
    Undecidable(String),
}

/// Where an event is that matches a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    At(Offset),
    /// Under way: it is so many records before the end of all that was taken.
    Back(i64),
}

/// Streams whose heads are held although the index has them.
const HEADS_MAX: usize = 8192;

/// Events that the index does not have yet, and heads of streams.
#[derive(Debug, Default)]
pub struct Streams {
    heads: BTreeMap<String, Pending>,
    ids: BTreeMap<String, Known>,
    /// In the order of the log.
    taken: VecDeque<Queued>,
    /// The events in there.
    pending: usize,
    /// Counts what was taken.
    count: u64,
    /// Up to this number the index has it.
    forgotten: u64,
}

#[derive(Debug)]
struct Pending {
    head: Head,
    /// The last that changed it; 0: nothing that was taken here.
    number: u64,
}

#[derive(Debug)]
struct Queued {
    number: u64,
    /// The last event's, once it is in the log.
    last: Option<Offset>,
    events: Vec<Brief>,
}

/// What conditions and later appends ask of an event.
#[derive(Debug)]
struct Brief {
    stream: String,
    id: String,
    kind: String,
    tags: Vec<String>,
}

impl Machine for Streams {
    type Command = Command;
    type Record = Taken;
    type Reply = Reply;
    type Reject = Reject;

    fn decide(&self, command: Command, _: Timestamp) -> Result<Decision<Self>, Reject> {
        let Command { append, looked } = command;
        if let Some(reply) = self.repeated(&append, &looked)? {
            return Ok(Decision::answer(reply));
        }
        self.check_conditions(&append, &looked)?;
        let boundary = boundary(&append).to_owned();
        let mut versions: BTreeMap<String, u64> = BTreeMap::new();
        let mut events = Vec::new();
        let mut order = Vec::new();
        for part in append.streams {
            let head = self.head(&part.stream, &looked);
            let of = head.boundary.as_deref().unwrap_or(&part.stream);
            if head.version > 0 && of != boundary {
                let boundary = of.to_owned();
                return Err(Reject::Boundary { stream: part.stream, boundary });
            }
            let version = *versions.get(&part.stream).unwrap_or(&head.version);
            if !part.expected.holds(version) {
                let (stream, expected) = (part.stream, part.expected);
                return Err(Reject::Version { stream, expected, current: version });
            }
            for (version, event) in (version + 1..).zip(part.events) {
                let of = marked_boundary(&event).unwrap_or(&boundary);
                let boundary = (version == 1 && of != part.stream).then(|| of.to_owned());
                versions.insert(part.stream.clone(), version);
                events.push(Versioned { stream: part.stream.clone(), version, boundary, event });
            }
            order.push(part.stream);
        }
        let after = |stream: String| {
            let version = versions.get(&stream).copied();
            let version = version.unwrap_or_else(|| self.head(&stream, &looked).version);
            (stream, version)
        };
        let mut seen = BTreeSet::new();
        let order = order.into_iter().filter(|stream| seen.insert(stream.clone())).collect::<Vec<_>>();
        let reply = Reply::Appended(order.into_iter().map(after).collect());
        let records = if events.is_empty() { Vec::new() } else { vec![Taken { events }] };
        Ok(Decision::new(records, reply))
    }

    fn apply(&mut self, taken: &Taken) {
        self.count += 1;
        let number = self.count;
        for event in &taken.events {
            match self.heads.get_mut(&event.stream) {
                Some(pending) => {
                    pending.head.version = event.version;
                    if event.boundary.is_some() {
                        pending.head.boundary.clone_from(&event.boundary);
                    }
                    pending.number = number;
                }
                None => {
                    let head = Head { version: event.version, boundary: event.boundary.clone() };
                    self.heads.insert(event.stream.clone(), Pending { head, number });
                }
            }
            let known = Known { stream: event.stream.clone(), version: event.version, offset: None };
            self.ids.insert(event.event.id.clone(), known);
        }
        let brief = |event: &Versioned| Brief {
            stream: event.stream.clone(),
            id: event.event.id.clone(),
            kind: event.event.facts.kind.clone(),
            tags: event.event.facts.tags.clone(),
        };
        let events: Vec<Brief> = taken.events.iter().map(brief).collect();
        self.pending += events.len();
        self.taken.push_back(Queued { number, last: None, events });
    }
}

impl Streams {
    /// The number of what was taken last, for [`Streams::written`].
    pub fn last_number(&self) -> u64 {
        self.count
    }

    /// Events that are held because the index does not have them.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// The streams and ids of these events.
    pub fn under_way(&self) -> impl Iterator<Item = (&str, &str)> {
        let events = self.taken.iter().flat_map(|queued| &queued.events);
        events.map(|event| (event.stream.as_str(), event.id.as_str()))
    }

    /// Whether the index need not be asked for a stream.
    pub fn has_stream(&self, stream: &str) -> bool {
        self.heads.contains_key(stream)
    }

    /// Whether the index need not be asked for an event id.
    pub fn has_id(&self, id: &str) -> bool {
        self.ids.contains_key(id)
    }

    /// Holds what the index has told, as long as there is room: nobody else changes it.
    pub fn learn(&mut self, heads: &BTreeMap<String, Head>) {
        for (stream, head) in heads {
            if !self.heads.contains_key(stream) {
                self.heads.insert(stream.clone(), Pending { head: head.clone(), number: 0 });
            }
        }
    }

    /// What was taken as this number is in the log; its last event is there.
    pub fn written(&mut self, number: u64, last: Offset) {
        let Some(first) = self.taken.front().map(|queued| queued.number) else { return };
        let at = number.checked_sub(first).and_then(|at| usize::try_from(at).ok());
        let Some(queued) = at.and_then(|at| self.taken.get_mut(at)) else { return };
        queued.last = Some(last);
        let count = queued.events.len() as i64;
        for (back, brief) in (0..count).rev().zip(&queued.events) {
            if let Some(known) = self.ids.get_mut(&brief.id) {
                known.offset = Some(Offset(last.0 - back));
            }
        }
    }

    /// The index has everything before this offset: it tells from now on.
    pub fn forget(&mut self, indexed: Offset) {
        while self.taken.front().and_then(|queued| queued.last).is_some_and(|last| last < indexed) {
            let Some(queued) = self.taken.pop_front() else { return };
            self.pending -= queued.events.len();
            self.forgotten = queued.number;
            for brief in queued.events {
                self.ids.remove(&brief.id);
            }
        }
        if self.heads.len() > HEADS_MAX + self.pending {
            let forgotten = self.forgotten;
            self.heads.retain(|_, pending| pending.number > forgotten);
        }
    }

    fn head(&self, stream: &str, looked: &Looked) -> Head {
        let indexed = looked.heads.get(stream);
        match self.heads.get(stream) {
            None => indexed.cloned().unwrap_or_default(),
            Some(pending) => {
                let mut head = pending.head.clone();
                // Only a stream's first event carries its boundary.
                head.boundary =
                    head.boundary.or_else(|| indexed.and_then(|indexed| indexed.boundary.clone()));
                head
            }
        }
    }

    fn known<'a>(&'a self, id: &str, looked: &'a Looked) -> Option<&'a Known> {
        self.ids.get(id).or_else(|| looked.ids.get(id))
    }

    /// The answer of an append all of whose events are there already.
    fn repeated(&self, append: &Append, looked: &Looked) -> Result<Option<Reply>, Reject> {
        let (mut versions, mut last) = (Vec::<(String, u64)>::new(), Some(Offset::ZERO));
        let (mut is_all, mut taken, mut seen) = (true, None, BTreeSet::new());
        for part in &append.streams {
            for event in &part.events {
                let known = self.known(&event.id, looked);
                match known {
                    // Twice in one append.
                    _ if !seen.insert(&event.id) => {
                        return Err(Reject::IdTaken { id: event.id.clone(), stream: part.stream.clone() });
                    }
                    Some(known) if known.stream == part.stream => {
                        match versions.iter_mut().find(|(stream, _)| *stream == part.stream) {
                            Some((_, version)) => *version = known.version,
                            None => versions.push((part.stream.clone(), known.version)),
                        }
                        last = last.zip(known.offset).map(|(last, offset)| last.max(offset));
                        taken.get_or_insert((event, known));
                    }
                    Some(known) => {
                        return Err(Reject::IdTaken { id: event.id.clone(), stream: known.stream.clone() });
                    }
                    None => is_all = false,
                }
            }
        }
        match taken {
            None => Ok(None),
            Some((event, known)) if !is_all => {
                Err(Reject::IdTaken { id: event.id.clone(), stream: known.stream.clone() })
            }
            Some(_) => Ok(Some(Reply::Repeated { versions, last })),
        }
    }

    fn check_conditions(&self, append: &Append, looked: &Looked) -> Result<(), Reject> {
        if let Some(why) = &looked.refused {
            return Err(Reject::Undecidable(why.clone()));
        }
        for (number, condition) in append.conditions.iter().enumerate() {
            if let Some(at) = looked.matches.get(number).copied().flatten() {
                return Err(Reject::Condition { at: Found::At(at) });
            }
            let after = looked.after.get(number).copied().unwrap_or(Offset::ZERO);
            let mut back = self.pending() as i64;
            for queued in &self.taken {
                let mut left = queued.events.len() as i64;
                for brief in &queued.events {
                    let offset = queued.last.map(|last| last.plus(1 - left));
                    let is_seen = offset.is_some_and(|offset| offset < after);
                    let matches = |selector: &Selector| selector.matches(&brief.kind, &brief.tags);
                    let is_own = brief.kind.starts_with(OWN);
                    if !is_seen && !is_own && condition.any_of.iter().any(matches) {
                        let at = offset.map_or(Found::Back(back), Found::At);
                        return Err(Reject::Condition { at });
                    }
                    left -= 1;
                    back -= 1;
                }
            }
        }
        Ok(())
    }
}

/// The only event of a stream's home partition when the stream lives in another one; its data name the boundary.
pub const LIVES_ELSEWHERE: &str = "levada.stream.boundary.v1";

/// The boundary that a mark of [`LIVES_ELSEWHERE`] names.
pub fn marked_boundary(event: &NewEvent) -> Option<&str> {
    if event.facts.kind != LIVES_ELSEWHERE {
        return None;
    }
    std::str::from_utf8(&event.data).ok()
}

/// What an append is decided within.
pub fn boundary(append: &Append) -> &str {
    let first = append.streams.first().map(|part| part.stream.as_str());
    append.boundary.as_deref().or(first).unwrap_or_default()
}

#[cfg(test)]
mod tests;
