//! Which events have these names: lists of offsets that are ordered, gone through together.
//!
//! ```text
//! tag a     3   9  12  ..      99 ─┐
//! tag b     4   9      ..  98  99 ─┴▶ each asks the next for its first offset from where the last one is:
//!                                     3 → 4 → 9 → 9, found. So the rarest decides how many looks it takes.
//! ```
//!
//! A look is one search in the B-tree of the marks, a few microseconds. They are counted, so that whoever asks for what
//! takes too many is told so.

use std::collections::BTreeMap;

use model::{Offset, PartitionId};
use rusqlite::{Connection, OptionalExtension};
use serde::Deserialize;

use super::connections::Stop;
use super::{kind, tag};
use crate::append::{Condition, OWN, Selector};

/// Looks for the conditions of one append, in all: with more it is refused.
pub const CONDITION_LOOKS_MAX: u64 = 100_000;

/// Looks for what came while the conditions were searched for, in front of the partition's owner.
pub const CATCH_UP_LOOKS_MAX: u64 = 2_000;

/// Looks for one answer of a read across streams: it ends early then, and says how far it got.
pub const READ_LOOKS_MAX: u64 = 100_000;

/// What the index knows of an append's conditions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Searched {
    /// For each condition: an event that matches.
    pub matches: Vec<Option<Offset>>,
    /// Up to here.
    pub upto: Offset,
    /// There are more looks to make than there may be.
    pub is_too_much: bool,
}

/// Why there is no next event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    None,
    /// The looks are used up; up to here there is none.
    TooMuch {
        at: i64,
    },
}

/// A look is refused.
struct UsedUp;

/// An offset that no event has.
const NEVER: i64 = i64::MAX;

/// Offsets that have any of these names: each with the first offset that is known to be next.
#[derive(Debug)]
struct List(Vec<(i64, i64)>);

impl List {
    fn of(names: impl IntoIterator<Item = i64>) -> List {
        List(names.into_iter().map(|name| (name, -1)).collect())
    }
}

/// Offsets that are in all of these lists.
#[derive(Debug)]
struct Alternative {
    lists: Vec<List>,
    /// The first match that is known to be next.
    next: i64,
    /// There is none before.
    upto: i64,
}

impl Alternative {
    fn of(lists: Vec<List>) -> Alternative {
        Alternative { lists, next: -1, upto: 0 }
    }

    fn names(&self) -> u64 {
        self.lists.iter().map(|list| list.0.len() as u64).sum()
    }
}

/// What a read asks for.
pub enum Wanted {
    All,
    Any(AnyOf),
}

/// Events that one of these alternatives matches.
pub struct AnyOf(Vec<Alternative>);

/// The marks, and how much may still be looked for.
pub struct Search<'a> {
    connection: &'a Connection,
    stop: &'a Stop,
    left: u64,
    numbers: BTreeMap<String, Option<i64>>,
}

impl<'a> Search<'a> {
    pub fn new(connection: &'a Connection, stop: &'a Stop, looks_max: u64) -> Search<'a> {
        Search { connection, stop, left: looks_max, numbers: BTreeMap::new() }
    }

    /// Goes on with an append's conditions from where it got before.
    pub fn conditions(
        &mut self,
        conditions: &[Condition],
        partition: PartitionId,
        before: Option<&Searched>,
    ) -> rusqlite::Result<Searched> {
        if let Some(before) = before.filter(|before| before.is_too_much) {
            return Ok(before.clone());
        }
        let mut statement = self.connection.prepare_cached("SELECT next FROM about")?;
        let upto: i64 = statement.query_row([], |row| row.get(0))?;
        let from = before.map_or(Offset::ZERO, |before| before.upto);
        let mut searched = Searched { upto: Offset(upto), ..Searched::default() };
        for (number, condition) in conditions.iter().enumerate() {
            let known = before.and_then(|before| before.matches.get(number).copied().flatten());
            let after = condition.after.next(partition).unwrap_or(Offset::ZERO).max(from);
            let found = match known {
                Some(known) => Ok(Some(known)),
                None if searched.is_too_much => Ok(None),
                None => self.condition(condition, after.0)?,
            };
            searched.matches.push(found.unwrap_or(None));
            searched.is_too_much |= found.is_err();
        }
        Ok(searched)
    }

    /// An event that a condition's selectors match.
    fn condition(
        &mut self,
        condition: &Condition,
        after: i64,
    ) -> rusqlite::Result<Result<Option<Offset>, End>> {
        for selector in &condition.any_of {
            let Some(mut alternative) = self.of_condition(selector)? else { continue };
            let mut at = after;
            loop {
                match self.next(&mut alternative, at, i64::MAX)? {
                    Ok(found) if self.counts(found)? => return Ok(Ok(Some(Offset(found)))),
                    Ok(found) => at = found + 1,
                    Err(End::None) => break,
                    Err(end) => return Ok(Err(end)),
                }
            }
        }
        Ok(Ok(None))
    }

    /// What a condition's selector asks for. None: nothing can match.
    fn of_condition(&mut self, selector: &Selector) -> rusqlite::Result<Option<Alternative>> {
        if !selector.types.is_empty() || !selector.tags.is_empty() {
            return Ok(self.lists(selector)?.map(Alternative::of));
        }
        // It matches all: those of every type.
        let mut statement =
            self.connection.prepare_cached("SELECT no, name FROM names WHERE name >= 'y' AND name < 'z'")?;
        let mut rows = statement.query([])?;
        let mut types = Vec::new();
        while let Some(row) = rows.next()? {
            if !row.get_ref(1)?.as_str()?.starts_with(&kind(OWN)) {
                types.push(row.get(0)?);
            }
        }
        Ok(Some(Alternative::of(vec![List::of(types)])))
    }

    /// Whether a condition looks at an event: it does not at what the store has written itself, which nobody has read, nor
    /// at what was truncated and is yet to go.
    fn counts(&mut self, offset: i64) -> rusqlite::Result<bool> {
        #[derive(Deserialize)]
        struct Of {
            #[serde(rename = "type")]
            kind: String,
        }
        self.left = self.left.saturating_sub(1);
        let mut statement = self.connection.prepare_cached(
            "SELECT e.facts FROM events e JOIN streams s ON s.no = e.stream
             WHERE e.off = ?1 AND e.gone = 0 AND e.ver >= s.first",
        )?;
        let facts = statement.query_row([offset], |row| row.get::<_, String>(0)).optional()?;
        let Some(facts) = facts else { return Ok(false) };
        let of: Of = serde_json::from_str(&facts).map_err(super::read::no_facts)?;
        Ok(!of.kind.starts_with(OWN))
    }

    /// What a read asks for: what one of the selectors matches (none given: all), of what has all of these names.
    pub fn wanted(
        &mut self,
        any_of: &[Selector],
        belongs_to: impl IntoIterator<Item = String>,
    ) -> rusqlite::Result<Wanted> {
        let nothing = Wanted::Any(AnyOf(Vec::new()));
        let mut all = Vec::new();
        for name in belongs_to {
            match self.number(name)? {
                None => return Ok(nothing),
                Some(number) => all.push(number),
            }
        }
        let of_all = || all.iter().map(|number| List::of([*number]));
        let everything = [Selector::default()];
        let any_of = if any_of.is_empty() { &everything } else { any_of };
        let mut alternatives = Vec::new();
        for selector in any_of {
            let Some(mut lists) = self.lists(selector)? else { continue };
            lists.extend(of_all());
            if lists.is_empty() {
                return Ok(Wanted::All);
            }
            alternatives.push(Alternative::of(lists));
        }
        Ok(Wanted::Any(AnyOf(alternatives)))
    }

    /// The first event from an offset on that one of them matches.
    pub fn first(&mut self, wanted: &mut AnyOf, from: i64, to: i64) -> rusqlite::Result<Result<i64, End>> {
        if self.left == 0 && !wanted.0.is_empty() {
            return Ok(Err(End::TooMuch { at: from }));
        }
        let count = wanted.0.len() as u64;
        let (mut first, mut stuck) = (NEVER, NEVER);
        for alternative in &mut wanted.0 {
            if alternative.next < from {
                // Each has its share, so that none keeps the others from getting on, and each gets on.
                let share = (self.left / count).max(2 * alternative.names());
                let mut searching = Search { left: share, numbers: BTreeMap::new(), ..*self };
                let found = searching.next(alternative, from.max(alternative.upto), to)?;
                self.left = self.left.saturating_sub(share - searching.left);
                match found {
                    Ok(found) => alternative.next = found,
                    Err(End::None) => alternative.next = NEVER,
                    Err(End::TooMuch { at }) => {
                        alternative.upto = at;
                        stuck = stuck.min(at);
                        continue;
                    }
                }
            }
            first = first.min(alternative.next);
        }
        Ok(match first {
            // What is there may be behind where another got to.
            _ if stuck <= first && stuck < NEVER => Err(End::TooMuch { at: stuck }),
            NEVER => Err(End::None),
            found => Ok(found),
        })
    }

    /// The first match of an alternative within offsets.
    fn next(
        &mut self,
        alternative: &mut Alternative,
        from: i64,
        to: i64,
    ) -> rusqlite::Result<Result<i64, End>> {
        let (mut at, mut agreed) = (from, 0);
        let count = alternative.lists.len();
        for number in (0..count).cycle() {
            let first = match self.seek(&mut alternative.lists[number], at)? {
                Ok(first) => first,
                Err(UsedUp) => return Ok(Err(End::TooMuch { at })),
            };
            if first >= to || first == NEVER {
                return Ok(Err(End::None));
            }
            agreed = if first == at { agreed + 1 } else { 1 };
            at = first;
            if agreed == count {
                return Ok(Ok(at));
            }
        }
        Ok(Err(End::None))
    }

    /// The first offset of a list from one on.
    fn seek(&mut self, list: &mut List, from: i64) -> rusqlite::Result<Result<i64, UsedUp>> {
        let mut first = NEVER;
        for (name, next) in &mut list.0 {
            if *next < from {
                if self.left == 0 {
                    return Ok(Err(UsedUp));
                }
                if self.stop.is_told() {
                    return Err(interrupted());
                }
                self.left -= 1;
                let found: Option<i64> = self
                    .connection
                    .prepare_cached(
                        "SELECT off FROM marks WHERE name = ?1 AND off >= ?2 ORDER BY off LIMIT 1",
                    )?
                    .query_row([*name, from], |row| row.get(0))
                    .optional()?;
                *next = found.unwrap_or(NEVER);
            }
            first = first.min(*next);
        }
        Ok(Ok(first))
    }

    /// One list for each tag, and one for all of the types. None: there is a tag that no event has, or only such types.
    fn lists(&mut self, selector: &Selector) -> rusqlite::Result<Option<Vec<List>>> {
        let mut lists = Vec::new();
        for name in &selector.tags {
            match self.number(tag(name))? {
                None => return Ok(None),
                Some(number) => lists.push(List::of([number])),
            }
        }
        let mut types = Vec::new();
        for name in &selector.types {
            types.extend(self.number(kind(name))?);
        }
        match (selector.types.is_empty(), types.is_empty()) {
            (true, _) => {}
            (false, true) => return Ok(None),
            (false, false) => lists.push(List::of(types)),
        }
        Ok(Some(lists))
    }

    fn number(&mut self, name: String) -> rusqlite::Result<Option<i64>> {
        if let Some(known) = self.numbers.get(&name) {
            return Ok(*known);
        }
        let mut statement = self.connection.prepare_cached("SELECT no FROM names WHERE name = ?1")?;
        let found = statement.query_row([&name], |row| row.get(0)).optional()?;
        self.numbers.insert(name, found);
        Ok(found)
    }
}

/// As SQLite says it where it was interrupted itself.
fn interrupted() -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_INTERRUPT);
    rusqlite::Error::SqliteFailure(code, Some("nobody waits for the answer any more".to_owned()))
}
