//! Questions to the index.

use std::collections::BTreeSet;

use bytes::Bytes;
use model::{Offset, PartitionId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::connections::Stop;
use super::search::{
    AnyOf, CATCH_UP_LOOKS_MAX, CONDITION_LOOKS_MAX, End, READ_LOOKS_MAX, Search, Searched, Wanted,
};
use super::{GONE, correlation, subject};
use crate::append::{Append, Condition, Selector};
use crate::event::{Facts, Recorded, Seen};
use crate::machine::{Head, Known, Looked};
use crate::query::Direction;

/// Which part of a partition's events is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub from: Offset,
    /// Not included.
    pub to: Offset,
    pub room: Room,
}

/// How much an answer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub events: usize,
    /// One event may have more.
    pub bytes: usize,
}

/// What is known of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OfStream {
    pub events: Vec<Recorded>,
    pub version: u64,
    pub boundary: Option<String>,
    /// The first version that is read.
    pub first: u64,
}

/// What an append asks the index for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Name<'a> {
    Stream(&'a str),
    Id(&'a str),
}

const COLUMNS: &str = "e.off, s.id, e.ver, e.id, e.at, e.facts, e.data";

/// Part of a partition's events, and the offset up to which it was looked for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    pub events: Vec<Recorded>,
    pub next: Offset,
}

/// Rows of truncated events that one read passes over, before it says how far it got.
const PASSED_MAX: usize = 10_000;

/// An index as it is at one moment.
pub struct Reader<'a> {
    pub(super) connection: &'a Connection,
    pub(super) stop: &'a Stop,
}

impl Reader<'_> {
    /// What an append needs to be decided, in front of its owner, and what is known of its conditions. `before`: what was
    /// known already.
    pub fn look(
        &self,
        append: &Append,
        partition: PartitionId,
        before: Option<&Searched>,
    ) -> rusqlite::Result<(Looked, Searched)> {
        let connection = self.connection;
        let mut looked = Looked::default();
        for part in &append.streams {
            if !looked.heads.contains_key(&part.stream)
                && let Some((head, _)) = head(connection, &part.stream)?
            {
                looked.heads.insert(part.stream.clone(), head);
            }
            for event in &part.events {
                if let Some(known) = known(connection, &event.id)? {
                    looked.ids.insert(event.id.clone(), known);
                }
            }
        }
        let mut search = Search::new(connection, self.stop, CATCH_UP_LOOKS_MAX);
        let searched = search.conditions(&append.conditions, partition, before)?;
        looked.matches.clone_from(&searched.matches);
        let after = |condition: &Condition| condition.after.next(partition).unwrap_or(Offset::ZERO);
        looked.after = append.conditions.iter().map(after).collect();
        Ok((looked, searched))
    }

    /// Whether events match an append's conditions.
    pub fn search(
        &self,
        conditions: &[Condition],
        partition: PartitionId,
        before: Option<&Searched>,
    ) -> rusqlite::Result<Searched> {
        Search::new(self.connection, self.stop, CONDITION_LOOKS_MAX).conditions(conditions, partition, before)
    }

    /// Whether it has everything before an offset: it may have been begun anew a moment ago.
    pub fn has(&self, next: Offset) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached("SELECT next FROM about")?;
        let at = statement.query_row([], |row| Ok(Offset(row.get(0)?)))?;
        match at >= next {
            true => Ok(()),
            false => {
                let why = format!("it is made anew from the log, and is at offset {at} of {next}");
                Err(rusqlite::Error::ToSqlConversionFailure(why.into()))
            }
        }
    }

    /// All streams and event ids. `begin` is told about how many there are.
    pub fn names<T>(
        &self,
        begin: impl FnOnce(usize) -> T,
        mut add: impl FnMut(&mut T, Name<'_>),
    ) -> rusqlite::Result<T> {
        let connection = self.connection;
        let sql = "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM streams)";
        let mut all = begin(connection.query_row(sql, [], |row| row.get(0))?);
        let mut statement = connection.prepare("SELECT id FROM streams")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            add(&mut all, Name::Stream(row.get_ref(0)?.as_str()?));
        }
        // The table has the data, too.
        let mut statement = connection.prepare("SELECT id FROM events INDEXED BY events_by_id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            add(&mut all, Name::Id(row.get_ref(0)?.as_str()?));
        }
        Ok(all)
    }

    /// Events of a stream from a version on, its version, and the first one that is read. None: there is no such stream.
    pub fn stream(
        &self,
        partition: i32,
        stream: &str,
        from: u64,
        direction: Direction,
        room: Room,
    ) -> rusqlite::Result<Option<OfStream>> {
        let Some((head, first)) = head(self.connection, stream)? else { return Ok(None) };
        let (comparison, order) = match direction {
            Direction::Forward => (">=", "ASC"),
            Direction::Backward => ("<=", "DESC"),
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM streams s JOIN events e ON e.stream = s.no
             WHERE s.id = ?1 AND e.ver {comparison} ?2 AND e.ver >= s.first ORDER BY e.ver {order} LIMIT ?3"
        );
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![stream, from, room.events as i64])?;
        let mut answer = Answer::of(room);
        while let Some(row) = rows.next()? {
            if !answer.add(event(row, partition)?) {
                break;
            }
        }
        Ok(Some(OfStream { events: answer.events, version: head.version, boundary: head.boundary, first }))
    }

    /// Events of the partition in the order of the log; none given: all, otherwise those that one selector matches, or
    /// that belong to a correlation id, or have a subject's data.
    pub fn events(
        &self,
        partition: i32,
        window: Window,
        any_of: &[Selector],
        belongs_to: Option<&str>,
        of: Option<&str>,
    ) -> rusqlite::Result<Part> {
        let mut search = Search::new(self.connection, self.stop, READ_LOOKS_MAX);
        let belongs_to = [belongs_to.map(correlation), of.map(subject)].into_iter().flatten();
        match search.wanted(any_of, belongs_to)? {
            Wanted::All => self.all(partition, window),
            Wanted::Any(mut any) => self.found(partition, window, &mut search, &mut any),
        }
    }

    fn all(&self, partition: i32, window: Window) -> rusqlite::Result<Part> {
        let Window { from, to, room } = window;
        let sql = format!(
            "SELECT {COLUMNS}, e.gone OR e.ver < s.first FROM events e JOIN streams s ON s.no = e.stream
             WHERE e.off >= ?1 AND e.off < ?2 ORDER BY e.off"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![from.0, to.0])?;
        let (mut answer, mut passed) = (Answer::of(room), 0);
        while let Some(row) = rows.next()? {
            if answer.events.len() == room.events || passed == PASSED_MAX {
                return Ok(answer.until(Offset(row.get(0)?)));
            }
            if row.get(7)? {
                passed += 1;
            } else {
                let event = event(row, partition)?;
                let offset = event.offset;
                if !answer.add(event) {
                    return Ok(answer.until(offset));
                }
            }
        }
        Ok(answer.until(to.max(from)))
    }

    fn found(
        &self,
        partition: i32,
        window: Window,
        search: &mut Search<'_>,
        wanted: &mut AnyOf,
    ) -> rusqlite::Result<Part> {
        let Window { from, to, room } = window;
        let sql = format!(
            "SELECT {COLUMNS} FROM events e JOIN streams s ON s.no = e.stream
             WHERE e.off = ?1 AND e.gone = 0 AND e.ver >= s.first"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let (mut answer, mut passed, mut at) = (Answer::of(room), 0, from.0);
        loop {
            let found = match search.first(wanted, at, to.0)? {
                Ok(found) => found,
                Err(End::None) => return Ok(answer.until(to.max(from))),
                Err(End::TooMuch { at }) => return Ok(answer.until(Offset(at))),
            };
            if answer.events.len() == room.events || passed == PASSED_MAX {
                return Ok(answer.until(Offset(found)));
            }
            match statement.query_row([found], |row| event(row, partition)).optional()? {
                None => passed += 1,
                Some(event) => {
                    if !answer.add(event) {
                        return Ok(answer.until(Offset(found)));
                    }
                }
            }
            at = found + 1;
        }
    }

    /// All of a partition's events, also those that are gone (without facts and data, then), for comparing.
    pub fn rows(&self, partition: i32, window: Window) -> rusqlite::Result<Vec<(Recorded, bool)>> {
        let Window { from, to, room } = window;
        let sql = format!(
            "SELECT {COLUMNS}, e.gone OR e.ver < s.first FROM events e JOIN streams s ON s.no = e.stream
             WHERE e.off >= ?1 AND e.off < ?2 ORDER BY e.off LIMIT ?3"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![from.0, to.0, room.events as i64])?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()?
            && bytes <= room.bytes
        {
            let (mut event, is_gone) = (event(row, partition)?, row.get(7)?);
            if is_gone {
                (event.facts, event.data) = Default::default();
            }
            bytes += event.data.len();
            found.push((event, is_gone));
        }
        Ok(found)
    }

    /// Where the events of a stream are that are below a version, and not gone.
    pub fn offsets_below(&self, stream: &str, before: u64) -> rusqlite::Result<Vec<Offset>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT e.off FROM streams s JOIN events e ON e.stream = s.no
             WHERE s.id = ?1 AND e.ver < ?2 AND e.ver >= s.first AND e.gone = 0 ORDER BY e.off",
        )?;
        let before = i64::try_from(before).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![stream, before], |row| Ok(Offset(row.get(0)?)))?;
        rows.collect()
    }

    /// How many events have a subject's data that were encrypted with one of these keys.
    pub fn count_of(&self, of: &str, keys: &BTreeSet<String>) -> rusqlite::Result<u64> {
        let mut statement = self.connection.prepare_cached(
            "SELECT e.facts FROM names n JOIN marks m ON m.name = n.no JOIN events e ON e.off = m.off
             JOIN streams s ON s.no = e.stream WHERE n.name = ?1 AND e.ver >= s.first",
        )?;
        let mut rows = statement.query([subject(of)])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let facts: Facts = serde_json::from_str(row.get_ref(0)?.as_str()?).unwrap_or_default();
            let key = facts.sealed.and_then(|sealed| sealed.key);
            count += u64::from(key.is_some_and(|key| keys.contains(&key)));
        }
        Ok(count)
    }

    /// The offset of the first record that an index that is made anew needs: the first event that is not gone, or the
    /// newest claim.
    pub fn needed_from(&self) -> rusqlite::Result<Offset> {
        let first: Option<i64> = self
            .connection
            .prepare_cached(
                "SELECT e.off FROM events e JOIN streams s ON s.no = e.stream
                 WHERE e.gone = 0 AND e.ver >= s.first ORDER BY e.off LIMIT 1",
            )?
            .query_row([], |row| row.get(0))
            .optional()?;
        let (next, claimed): (i64, i64) = self
            .connection
            .prepare_cached("SELECT next, claimed FROM about")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let claimed = if claimed < 0 { next } else { claimed };
        Ok(Offset(first.unwrap_or(next).min(claimed)))
    }
}

/// A stream's head, and the first version that is read.
fn head(connection: &Connection, stream: &str) -> rusqlite::Result<Option<(Head, u64)>> {
    let found = connection
        .prepare_cached("SELECT no, boundary, first FROM streams WHERE id = ?1")?
        .query_row([stream], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get::<_, u64>(2)?)))
        .optional()?;
    let Some((no, boundary, first)) = found else { return Ok(None) };
    let version: Option<u64> = connection
        .prepare_cached("SELECT max(ver) FROM events WHERE stream = ?1")?
        .query_row([no], |row| row.get(0))?;
    // Where all its events are gone from the log, the mark tells how many there were.
    let version = version.unwrap_or(0).max(first - 1);
    Ok((version > 0).then_some((Head { version, boundary }, first)))
}

fn known(connection: &Connection, id: &str) -> rusqlite::Result<Option<Known>> {
    connection
        .prepare_cached(
            "SELECT s.id, e.ver, e.off FROM events e JOIN streams s ON s.no = e.stream WHERE e.id = ?1",
        )?
        .query_row([id], |row| {
            Ok(Known { stream: row.get(0)?, version: row.get(1)?, offset: Some(Offset(row.get(2)?)) })
        })
        .optional()
}

/// Events of an answer.
struct Answer {
    events: Vec<Recorded>,
    bytes: usize,
    room: Room,
}

impl Answer {
    fn of(room: Room) -> Answer {
        Answer { events: Vec::new(), bytes: 0, room }
    }

    /// Not where the answer becomes too large with it, but always the first event. Whether it was added.
    fn add(&mut self, event: Recorded) -> bool {
        self.bytes += event.size();
        let fits = self.bytes <= self.room.bytes || self.events.is_empty();
        if fits {
            self.events.push(event);
        }
        fits
    }

    fn until(self, next: Offset) -> Part {
        Part { events: self.events, next }
    }
}

/// The facts of an event are not what was written.
pub(super) fn no_facts(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(5, rusqlite::types::Type::Text, error.into())
}

fn event(row: &Row<'_>, partition: i32) -> rusqlite::Result<Recorded> {
    let facts = row.get_ref(5)?.as_str()?;
    let facts: Facts = match facts {
        GONE => Facts::default(),
        facts => serde_json::from_str(facts).map_err(no_facts)?,
    };
    Ok(Recorded {
        offset: Offset(row.get(0)?),
        stream: row.get(1)?,
        version: row.get(2)?,
        id: row.get(3)?,
        time: Timestamp(row.get(4)?),
        facts,
        data: Bytes::copy_from_slice(row.get_ref(6)?.as_blob()?),
        partition,
        seen: Seen::default(),
    })
}
