//! What is asked of an owner, and what it answers.

use std::collections::BTreeSet;
use std::fmt;

use client::Position;
use model::Offset;

use crate::NewEvent;
use crate::category::Category;
use crate::event::{check_depth, is_json};
use crate::machine::{LIVES_ELSEWHERE, marked_boundary};
use crate::service::is_certificate;
use crate::truncation::{MARKS, Mark, TRUNCATED};

/// Events of one category that are appended all or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Append {
    /// What is decided together: all streams of one boundary are in one partition. None: the id of the first stream.
    /// A stream keeps the boundary of its first event for ever.
    pub boundary: Option<String>,
    pub streams: Vec<StreamAppend>,
    /// All must hold.
    pub conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamAppend {
    pub stream: String,
    pub expected: Expected,
    pub events: Vec<NewEvent>,
}

/// The version that a stream must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Any,
    /// There must be no event yet.
    None,
    /// There must be an event.
    Exists,
    Exactly(u64),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Any => f.write_str("any"),
            Expected::None => f.write_str("none"),
            Expected::Exists => f.write_str("exists"),
            Expected::Exactly(version) => write!(f, "{version}"),
        }
    }
}

impl Expected {
    pub fn holds(self, version: u64) -> bool {
        match self {
            Expected::Any => true,
            Expected::None => version == 0,
            Expected::Exists => version > 0,
            Expected::Exactly(expected) => version == expected,
        }
    }
}

/// Fails if an event matches that came after a position (Dynamic Consistency Boundary, "fail if events match").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Matches if one of them does.
    pub any_of: Vec<Selector>,
    /// What whoever decides has seen: only events after it count. Where it does not name the partition, all do.
    pub after: Position,
}

/// Matches an event that is of one of these types (none given: of any) and has all of these tags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    pub types: BTreeSet<String>,
    pub tags: BTreeSet<String>,
}

impl Selector {
    pub fn matches(&self, kind: &str, tags: &[String]) -> bool {
        (self.types.is_empty() || self.types.contains(kind)) && self.tags.iter().all(|tag| tags.contains(tag))
    }
}

/// What became of an append. The same append again has the same answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Each stream's version after its events, in the order of the append.
    pub versions: Vec<(String, u64)>,
    /// At least this fresh, whoever reads sees the events.
    pub position: Position,
    /// They were appended earlier, by this append or one with the same event ids.
    pub is_repeated: bool,
}

/// Why nothing was appended, or nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("stream {stream} is at version {current}, expected was {expected}")]
    Version { stream: String, expected: Expected, current: u64 },
    /// `at`: the offset of an event that matches.
    #[error("a condition does not hold: the event at offset {at} matches")]
    Condition { at: Offset },
    #[error(
        "stream {stream} belongs to the boundary {boundary}, and cannot be appended to within another one"
    )]
    Boundary { stream: String, boundary: String },
    #[error(
        "event id {id} is in stream {stream} already, and not all of this append is: event ids are used once"
    )]
    IdTaken { id: String, stream: String },
    #[error("{0}")]
    Invalid(String),
    #[error(
        "{bytes} bytes are too large for the category's topic, which takes {max} (its max.message.bytes)"
    )]
    TooLarge { bytes: usize, max: usize },
    #[error("there is no category {0}")]
    NoCategory(String),
    /// Nothing was appended; asking again later may help.
    #[error("{0}")]
    Unavailable(String),
    /// Nothing was appended, and asking again does not help: somebody has to look at the partition.
    #[error("{0}")]
    Halted(String),
    /// It may have been appended or not. The same append again (with the same event ids) tells, and does nothing twice.
    #[error("it is not known whether the events were appended ({0}): ask again with the same event ids")]
    InDoubt(String),
    /// The partition has another owner, there.
    #[error("partition {partition} is owned by {url}")]
    Elsewhere { partition: i32, url: String },
}

/// Types and ids of events that the store writes itself begin so, and the ids of streams of its own.
pub(crate) const OWN: &str = "levada.";

/// Whether an event is the mark that a stream has in its own partition when it lives in another one.
fn is_home_mark(part: &StreamAppend, event: &NewEvent) -> bool {
    let boundary = marked_boundary(event);
    !part.stream.starts_with(OWN)
        && event.id == home_mark_id(&part.stream)
        && part.expected == Expected::None
        && boundary
            .is_some_and(|it| !it.is_empty() && it.len() <= STREAM_MAX && !it.chars().any(char::is_control))
}

/// The id of a stream's mark in its own partition.
pub(crate) fn home_mark_id(stream: &str) -> String {
    format!("{OWN}boundary:{stream}")
}

/// Limits of an append, in bytes of UTF-8 or in number.
const STREAM_MAX: usize = 512;
const ID_MAX: usize = 256;
pub(crate) const TYPE_MAX: usize = 256;
const TAG_MAX: usize = 256;
const TAGS_MAX: usize = 64;
const EVENTS_MAX: usize = 1000;
const PERSONAL_MAX: usize = 64;
pub(crate) const SELECTORS_MAX: usize = 100;
/// Types and tags of all selectors of an append's conditions, or of a read.
const NAMES_MAX: usize = 1000;

impl Append {
    /// Whether something of it is to be encrypted.
    pub(crate) fn is_personal(&self) -> bool {
        self.streams.iter().flat_map(|part| &part.events).any(NewEvent::is_personal)
    }

    /// Whether streams beside the first one are within its boundary, and have to be found where they are.
    fn has_others(&self) -> bool {
        let mut streams = self.streams.iter().map(|part| &part.stream);
        streams.next().is_some_and(|first| streams.any(|stream| stream != first))
    }

    /// With its boundary written out, unless that is the only stream's id.
    pub(crate) fn bounded(mut self) -> Append {
        if self.boundary.is_none() && self.has_others() {
            self.boundary = self.streams.first().map(|part| part.stream.clone());
        }
        self
    }

    /// Refuses what only the store itself may append.
    pub(crate) fn check_names(&self) -> Result<(), AppendError> {
        if let Some(part) = self.streams.iter().find(|part| part.stream.starts_with(OWN)) {
            return Err(AppendError::Invalid(format!(
                "the stream {} is the store's own: choose an id that does not begin with {OWN}",
                part.stream
            )));
        }
        if let Some(boundary) = self.boundary.as_deref().filter(|boundary| boundary.starts_with(OWN)) {
            return Err(AppendError::Invalid(format!(
                "the boundary {boundary} is the store's own: choose one that does not begin with {OWN}"
            )));
        }
        let mut events = self.streams.iter().flat_map(|part| &part.events);
        if let Some(event) = events.clone().find(|event| event.id.starts_with(OWN)) {
            return Err(AppendError::Invalid(format!(
                "the event id {} is the store's own: choose one that does not begin with {OWN}",
                event.id
            )));
        }
        match events.find(|event| event.facts.kind.starts_with(OWN)) {
            None => Ok(()),
            Some(event) => Err(AppendError::Invalid(format!(
                "the type {} is the store's own: choose one that does not begin with {OWN}",
                event.facts.kind
            ))),
        }
    }

    /// Refuses what another instance passes on although no instance would append it. Beside what anybody may append these
    /// are the store's own events, each as it is written.
    pub(crate) fn check_passed_on(&self, category: &Category) -> Result<(), AppendError> {
        let refuse = |part: &StreamAppend| {
            let stream = &part.stream;
            Err(AppendError::Invalid(format!("this is no event that the store itself writes to {stream}")))
        };
        if self.boundary.is_none() && self.has_others() {
            return Err(AppendError::Invalid(
                "several streams are passed on without their boundary".to_owned(),
            ));
        }
        let is_of_store = category.check_foreign().is_err();
        let is_single = self.streams.len() == 1 && self.streams[0].events.len() == 1;
        for part in &self.streams {
            for event in &part.events {
                let kind = event.facts.kind.as_str();
                let is_own = [kind, &event.id, &part.stream].iter().any(|name| name.starts_with(OWN));
                let is_fit = match kind {
                    LIVES_ELSEWHERE => is_single && is_home_mark(part, event),
                    TRUNCATED => {
                        is_single
                            && !event.id.starts_with(OWN)
                            && Mark::read(&part.stream, &event.data).is_some()
                    }
                    _ => !is_own,
                };
                if !is_fit {
                    return refuse(part);
                }
            }
            if is_of_store && !part.events.iter().all(|event| is_certificate(&part.stream, event)) {
                return refuse(part);
            }
        }
        Ok(())
    }

    /// The marks of truncations in it.
    pub(crate) fn marks(&self) -> impl Iterator<Item = Mark> {
        let events = self.streams.iter().flat_map(|part| part.events.iter().map(move |event| (part, event)));
        events
            .filter(|(_, event)| event.facts.kind == TRUNCATED)
            .filter_map(|(part, event)| Mark::read(&part.stream, &event.data))
    }

    /// Refuses what no owner would take.
    pub fn check(&self) -> Result<(), AppendError> {
        let invalid = |what: String| Err(AppendError::Invalid(what));
        let text = |what: &str, text: &str, max: usize| match text {
            "" => Err(AppendError::Invalid(format!("{what} is empty"))),
            _ if text.len() > max => Err(AppendError::Invalid(format!("{what} is longer than {max} bytes"))),
            _ if text.chars().any(char::is_control) => {
                Err(AppendError::Invalid(format!("{what} has control characters")))
            }
            _ => Ok(()),
        };
        if let Some(boundary) = &self.boundary {
            text("the boundary", boundary, STREAM_MAX)?;
        }
        let count: usize = self.streams.iter().map(|part| part.events.len()).sum();
        if count == 0 {
            return invalid("there are no events to append".to_owned());
        }
        if count > EVENTS_MAX {
            return invalid(format!("{count} events are more than {EVENTS_MAX}, which one append may have"));
        }
        let mut ids = BTreeSet::new();
        let mut all = self.streams.iter().flat_map(|part| &part.events);
        if let Some(twice) = all.find(|event| !ids.insert(event.id.as_str())) {
            return invalid(format!("two events have the id {}: ids are used once", twice.id));
        }
        for part in &self.streams {
            // The stream of a stream's marks is as long as that one.
            let id = part.stream.strip_prefix(MARKS).unwrap_or(&part.stream);
            text("the stream's id", id, STREAM_MAX)?;
            for event in &part.events {
                text("an event's id", &event.id, ID_MAX)?;
                text("an event's type", &event.facts.kind, TYPE_MAX)?;
                let content_type = &event.facts.content_type;
                let is_plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
                if content_type.len() > TYPE_MAX || !content_type.bytes().all(is_plain) {
                    return invalid(format!(
                        "an event's content type is at most {TYPE_MAX} visible ASCII characters, such as application/json"
                    ));
                }
                if event.facts.schema_version == Some(0) {
                    return invalid("an event's schema version counts from 1".to_owned());
                }
                if is_json(&event.facts.content_type) {
                    check_depth("an event's data", &event.data).map_err(AppendError::Invalid)?;
                }
                if let Some(metadata) = &event.facts.metadata {
                    check_depth("an event's metadata", metadata.as_bytes()).map_err(AppendError::Invalid)?;
                }
                if let Some(sealed) = &event.facts.sealed {
                    text("the subject", &sealed.subject, ID_MAX)?;
                    if sealed.personal.is_empty() || sealed.personal.len() > PERSONAL_MAX {
                        return invalid(format!(
                            "an event has 1 to {PERSONAL_MAX} pointers to personal data"
                        ));
                    }
                    for pointer in &sealed.personal {
                        if pointer.len() > ID_MAX {
                            return invalid(format!("`personal` has a pointer longer than {ID_MAX} bytes"));
                        }
                    }
                    crate::sealing::check(&sealed.personal).map_err(AppendError::Invalid)?;
                }
                if event.facts.tags.len() > TAGS_MAX {
                    return invalid(format!("an event has more than {TAGS_MAX} tags"));
                }
                event.facts.tags.iter().try_for_each(|tag| text("a tag", tag, TAG_MAX))?;
                for (what, value) in [
                    ("the correlation id", &event.facts.correlation),
                    ("the causation id", &event.facts.causation),
                ] {
                    value.iter().try_for_each(|value| text(what, value, ID_MAX))?;
                }
            }
        }
        if self.conditions.len() > SELECTORS_MAX {
            return invalid(format!("more than {SELECTORS_MAX} conditions in one append"));
        }
        let selectors = self.conditions.iter().flat_map(|condition| &condition.any_of);
        check_selectors(selectors)
            .map_err(|why| AppendError::Invalid(format!("the append's conditions have {why}")))
    }
}

/// Why nobody searches for what these selectors match.
pub(crate) fn check_selectors<'a>(
    selectors: impl Iterator<Item = &'a Selector> + Clone,
) -> Result<(), String> {
    let count = selectors.clone().count();
    if count > SELECTORS_MAX {
        return Err(format!("{count} selectors, and {SELECTORS_MAX} is the most"));
    }
    let names: usize = selectors.map(|selector| selector.types.len() + selector.tags.len()).sum();
    match names {
        0..=NAMES_MAX => Ok(()),
        names => Err(format!("{names} types and tags, and {NAMES_MAX} is the most")),
    }
}

#[cfg(test)]
mod tests;
