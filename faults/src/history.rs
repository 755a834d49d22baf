//! What was asked of the event store and what it answered, and what its log says afterwards.
//!
//! Names are small numbers here, because there are millions of them: their texts are what the store sees.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Microseconds since the run began.
pub type Micros = u64;

/// An event's id: the append that brought it, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u64);

/// Different types and tags of events.
pub const KINDS: u64 = 4;
pub const TAGS: u64 = 997;

impl EventId {
    pub fn new(append: u64, number: usize) -> EventId {
        EventId(append << 8 | number as u64)
    }

    pub fn append(self) -> u64 {
        self.0 >> 8
    }

    /// Which type the event has, so that the log can be held against it.
    pub fn kind(self) -> u8 {
        (scatter(self.0) % KINDS) as u8
    }

    /// Which tag it has.
    pub fn tag(self) -> u16 {
        (scatter(self.0 ^ 0x5eed) % TAGS) as u16
    }

    /// What it carries, as JSON.
    pub fn data(self) -> String {
        let length = scatter(self.0 ^ 0xda7a) % 200;
        format!(r#"{{"id":"{self}","fill":"{:x<1$}"}}"#, "", length as usize)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{:x}", self.0)
    }
}

impl FromStr for EventId {
    type Err = ();

    fn from_str(text: &str) -> Result<EventId, ()> {
        let number = text.strip_prefix('e').ok_or(())?;
        u64::from_str_radix(number, 16).map(EventId).map_err(|_| ())
    }
}

/// The finisher of SplitMix64.
pub fn scatter(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A stream's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Its id is its boundary: `s7`
    Alone(u32),
    /// One of several within the boundary `b3`: `m3-1`
    Within(u32, u8),
}

impl Stream {
    /// The boundary that it is to be appended within.
    pub fn boundary(self) -> String {
        match self {
            Stream::Alone(_) => self.to_string(),
            Stream::Within(boundary, _) => format!("b{boundary}"),
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stream::Alone(number) => write!(f, "s{number}"),
            Stream::Within(boundary, number) => write!(f, "m{boundary}-{number}"),
        }
    }
}

impl FromStr for Stream {
    type Err = ();

    fn from_str(text: &str) -> Result<Stream, ()> {
        if let Some(number) = text.strip_prefix('s') {
            return number.parse().map(Stream::Alone).map_err(|_| ());
        }
        let (boundary, number) = text.strip_prefix('m').and_then(|rest| rest.split_once('-')).ok_or(())?;
        match (boundary.parse(), number.parse()) {
            (Ok(boundary), Ok(number)) => Ok(Stream::Within(boundary, number)),
            _ => Err(()),
        }
    }
}

/// A partition of a category's topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub category: u8,
    pub partition: i32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", category_name(self.category), self.partition)
    }
}

pub fn category_name(category: u8) -> String {
    format!("cat{category}")
}

/// The version that a stream must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Any,
    None,
    Exists,
    Exactly(u64),
}

impl Expected {
    pub fn holds(self, version: u64) -> bool {
        match self {
            Expected::Any => true,
            Expected::None => version == 0,
            Expected::Exists => version > 0,
            Expected::Exactly(wanted) => wanted == version,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Part {
    pub stream: Stream,
    pub expected: Expected,
    pub events: Vec<EventId>,
}

/// No event of this type with this tag from an offset of the append's partition on.
#[derive(Debug, Clone, Copy)]
pub struct Condition {
    pub kind: u8,
    pub tag: u16,
    pub partition: i32,
    pub after: i64,
}

/// An append as a client saw it, all tries together.
#[derive(Debug, Clone)]
pub struct Append {
    pub category: u8,
    pub parts: Vec<Part>,
    pub condition: Option<Condition>,
    /// It was acknowledged before, and is asked again with the same ids.
    pub repeats: bool,
    /// When it was first asked, and when the try that was answered.
    pub begin: Micros,
    pub last_begin: Micros,
    pub end: Micros,
    pub tries: u32,
    /// A try ended without an answer, or with the answer that nobody knows.
    pub was_in_doubt: bool,
    pub outcome: Outcome,
}

impl Append {
    pub fn ids(&self) -> impl Iterator<Item = EventId> + '_ {
        self.parts.iter().flat_map(|part| part.events.iter().copied())
    }

    /// Its number, which its events' ids have.
    pub fn number(&self) -> u64 {
        self.ids().next().map_or(0, EventId::append)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Each stream's version after it, and the position that was handed out.
    Appended {
        versions: Vec<(Stream, u64)>,
        partition: i32,
        next: i64,
        is_repeated: bool,
    },
    WrongVersion {
        stream: Stream,
        current: u64,
    },
    ConditionFailed {
        at: i64,
    },
    /// Nobody could tell what became of it.
    Unresolved,
    /// An answer that the load gives no reason for.
    Odd(String),
}

/// A stream as a client read it.
#[derive(Debug, Clone)]
pub struct Read {
    pub category: u8,
    pub stream: Stream,
    pub from: u64,
    pub limit: usize,
    /// As fresh as the log was when it was asked.
    pub is_strong: bool,
    /// At least this fresh: partition and next offset.
    pub at_least: Option<(i32, i64)>,
    pub begin: Micros,
    pub end: Micros,
    /// 0: there is no such stream.
    pub version: u64,
    pub events: Vec<(u64, EventId)>,
    /// The position of the answer.
    pub position: Option<(i32, i64)>,
}

#[derive(Debug, Default)]
pub struct History {
    pub appends: Vec<Append>,
    pub reads: Vec<Read>,
}

/// A producer id and its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Writer {
    pub id: i64,
    pub epoch: i16,
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.id, self.epoch)
    }
}

#[derive(Debug, Clone)]
pub struct Record {
    pub offset: i64,
    /// Of the batch that it came in.
    pub batch: Writer,
    /// As the record itself says (`lv-ep`).
    pub writer: Writer,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Claim,
    Event {
        stream: Stream,
        version: u64,
        id: EventId,
    },
    /// A stream's home says in which boundary it lives.
    Mark {
        stream: Stream,
        version: u64,
        boundary: String,
    },
    /// What nobody should have written.
    Odd(String),
}

/// All events topics, from their beginning.
pub type Log = BTreeMap<Place, Vec<Record>>;
