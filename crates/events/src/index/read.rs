//! Questions to the index.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use model::{Offset, PartitionId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{GONE, Index, correlation, kind, subject, tag};
use crate::append::{Append, Condition, OWN, Selector};
use crate::event::{Facts, Recorded, Seen};
use crate::machine::{Head, Known, Looked};
use crate::query::{ANSWER_BYTES, Direction};

/// Which part of a partition's events is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub from: Offset,
    /// Not included.
    pub to: Offset,
    pub limit: usize,
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

impl Index {
    /// What an append needs to be decided. Blocks.
    pub fn look(&self, append: &Append, partition: PartitionId) -> rusqlite::Result<Looked> {
        self.reading(|connection| {
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
            for condition in &append.conditions {
                let after = condition.after.next(partition).unwrap_or(Offset::ZERO);
                looked.matches.push(matching(connection, condition, after)?);
                looked.after.push(after);
            }
            Ok(looked)
        })
    }

    /// All streams and event ids. `begin` is told about how many there are. Blocks.
    pub fn names<T>(
        &self,
        begin: impl FnOnce(usize) -> T,
        mut add: impl FnMut(&mut T, Name<'_>),
    ) -> rusqlite::Result<T> {
        self.reading(|connection| {
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
        })
    }

    /// Events of a stream from a version on, its version, and the first one that is read. None: there is no such stream.
    /// Blocks.
    pub fn stream(
        &self,
        partition: i32,
        stream: &str,
        from: u64,
        direction: Direction,
        limit: usize,
    ) -> rusqlite::Result<Option<OfStream>> {
        self.reading(|connection| {
            let Some((head, first)) = head(connection, stream)? else { return Ok(None) };
            let (comparison, order) = match direction {
                Direction::Forward => (">=", "ASC"),
                Direction::Backward => ("<=", "DESC"),
            };
            let sql = format!(
                "SELECT {COLUMNS} FROM streams s JOIN events e ON e.stream = s.no
                 WHERE s.id = ?1 AND e.ver {comparison} ?2 AND e.ver >= s.first ORDER BY e.ver {order} LIMIT ?3"
            );
            let from = i64::try_from(from).unwrap_or(i64::MAX);
            let mut statement = connection.prepare_cached(&sql)?;
            let events = collect(statement.query(params![stream, from, limit as i64])?, partition)?;
            Ok(Some(OfStream { events, version: head.version, boundary: head.boundary, first }))
        })
    }

    /// Events of the partition in the order of the log; none given: all, otherwise those that one selector matches, or
    /// that belong to a correlation id, or have a subject's data. Blocks.
    pub fn events(
        &self,
        partition: i32,
        window: Window,
        any_of: &[Selector],
        belongs_to: Option<&str>,
        of: Option<&str>,
    ) -> rusqlite::Result<Vec<Recorded>> {
        let Window { from, to, limit } = window;
        self.reading(|connection| {
            let mut names = Vec::new();
            let Some(filter) =
                filter(connection, any_of, [belongs_to.map(correlation), of.map(subject)], &mut names)?
            else {
                return Ok(Vec::new());
            };
            let sql = format!(
                "SELECT {COLUMNS} FROM events e JOIN streams s ON s.no = e.stream
                 WHERE e.off >= ?1 AND e.off < ?2 AND e.gone = 0 {filter} ORDER BY e.off LIMIT ?3"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let mut values = vec![from.0, to.0, limit as i64];
            values.extend(names);
            collect(statement.query(rusqlite::params_from_iter(values))?, partition)
        })
    }

    /// All of a partition's events, also those that are gone (without facts and data, then), for comparing. Blocks.
    pub fn rows(&self, partition: i32, window: Window) -> rusqlite::Result<Vec<(Recorded, bool)>> {
        let Window { from, to, limit } = window;
        self.reading(|connection| {
            let sql = format!(
                "SELECT {COLUMNS}, e.gone FROM events e JOIN streams s ON s.no = e.stream
                 WHERE e.off >= ?1 AND e.off < ?2 ORDER BY e.off LIMIT ?3"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query(params![from.0, to.0, limit as i64])?;
            let (mut found, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next()?
                && bytes <= ANSWER_BYTES
            {
                let event = event(row, partition)?;
                bytes += event.data.len();
                found.push((event, row.get(7)?));
            }
            Ok(found)
        })
    }

    /// Where the events of a stream are that are below a version, and not gone. Blocks.
    pub fn offsets_below(&self, stream: &str, before: u64) -> rusqlite::Result<Vec<Offset>> {
        self.reading(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT e.off FROM streams s JOIN events e ON e.stream = s.no
                 WHERE s.id = ?1 AND e.ver < ?2 AND e.gone = 0 ORDER BY e.off",
            )?;
            let before = i64::try_from(before).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![stream, before], |row| Ok(Offset(row.get(0)?)))?;
            rows.collect()
        })
    }

    /// How many events have a subject's data. Blocks.
    pub fn count_of(&self, of: &str, keys: &BTreeSet<String>) -> rusqlite::Result<u64> {
        self.reading(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT e.facts FROM names n JOIN marks m ON m.name = n.no JOIN events e ON e.off = m.off
                 WHERE n.name = ?1",
            )?;
            let mut rows = statement.query([subject(of)])?;
            let mut count = 0;
            while let Some(row) = rows.next()? {
                let facts: Facts = serde_json::from_str(row.get_ref(0)?.as_str()?).unwrap_or_default();
                let key = facts.sealed.and_then(|sealed| sealed.key);
                count += u64::from(key.is_some_and(|key| keys.contains(&key)));
            }
            Ok(count)
        })
    }

    /// The offset of the first record that an index that is made anew needs: the first event that is not gone, or the
    /// newest claim. Blocks.
    pub fn needed_from(&self) -> rusqlite::Result<Offset> {
        self.reading(|connection| {
            let first: Option<i64> = connection
                .prepare_cached("SELECT off FROM events WHERE gone = 0 ORDER BY off LIMIT 1")?
                .query_row([], |row| row.get(0))
                .optional()?;
            let (next, claimed): (i64, i64) = connection
                .prepare_cached("SELECT next, claimed FROM about")?
                .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let claimed = if claimed < 0 { next } else { claimed };
            Ok(Offset(first.unwrap_or(next).min(claimed)))
        })
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

/// The first event that a condition's selectors match.
fn matching(
    connection: &Connection,
    condition: &Condition,
    after: Offset,
) -> rusqlite::Result<Option<Offset>> {
    let mut names = Vec::new();
    if condition.any_of.is_empty() {
        return Ok(None);
    }
    let Some(filter) = filter(connection, &condition.any_of, [None, None], &mut names)? else {
        return Ok(None);
    };
    // What the store has written itself nobody has read.
    let own = format!(
        "SELECT 1 FROM names n JOIN marks m ON m.name = n.no AND m.off = e.off WHERE n.name GLOB '{}*'",
        kind(OWN)
    );
    let sql = format!(
        "SELECT min(e.off) FROM events e
         WHERE e.off >= ?1 AND e.off < ?2 AND e.gone = ?3 AND NOT EXISTS ({own}) {filter}"
    );
    let mut values = vec![after.0, i64::MAX, 0];
    values.extend(names);
    let found: Option<i64> =
        connection.prepare_cached(&sql)?.query_row(rusqlite::params_from_iter(values), |row| row.get(0))?;
    Ok(found.map(Offset))
}

/// The part of a WHERE clause that keeps what is asked for, and the numbers of the names that it speaks of, from the
/// fourth parameter on. None: nothing can match.
fn filter(
    connection: &Connection,
    any_of: &[Selector],
    belongs_to: [Option<String>; 2],
    values: &mut Vec<i64>,
) -> rusqlite::Result<Option<String>> {
    let mut numbers = BTreeMap::new();
    let mut number = |name: String| -> rusqlite::Result<Option<i64>> {
        if let Some(known) = numbers.get(&name) {
            return Ok(Some(*known));
        }
        let found: Option<i64> = connection
            .prepare_cached("SELECT no FROM names WHERE name = ?1")?
            .query_row([&name], |row| row.get(0))
            .optional()?;
        if let Some(found) = found {
            numbers.insert(name, found);
        }
        Ok(found)
    };
    let mut has = |no: i64| {
        values.push(no);
        format!(
            "e.off IN (SELECT off FROM marks WHERE name = ?{} AND off >= ?1 AND off < ?2)",
            values.len() + 3
        )
    };
    let mut clauses = Vec::new();
    for belongs_to in belongs_to.into_iter().flatten() {
        match number(belongs_to)? {
            None => return Ok(None),
            Some(no) => clauses.push(has(no)),
        }
    }
    let mut alternatives = Vec::new();
    for selector in any_of {
        let tags = selector.tags.iter().map(|name| number(tag(name)));
        let tags: Option<Vec<i64>> = tags.collect::<rusqlite::Result<_>>()?;
        let types = selector.types.iter().map(|name| number(kind(name)));
        let types: Vec<Option<i64>> = types.collect::<rusqlite::Result<_>>()?;
        let types: Vec<i64> = types.into_iter().flatten().collect();
        // A tag that no event has, or only such types.
        let Some(tags) = tags else { continue };
        if types.is_empty() && !selector.types.is_empty() {
            continue;
        }
        let mut all: Vec<String> = tags.into_iter().map(&mut has).collect();
        if !types.is_empty() {
            all.push(format!("({})", types.into_iter().map(&mut has).collect::<Vec<_>>().join(" OR ")));
        }
        // A selector without anything matches all.
        alternatives.push(if all.is_empty() { "TRUE".to_owned() } else { all.join(" AND ") });
    }
    if !any_of.is_empty() {
        if alternatives.is_empty() {
            return Ok(None);
        }
        clauses.push(format!("({})", alternatives.join(" OR ")));
    }
    Ok(Some(clauses.iter().map(|clause| format!(" AND {clause}")).collect()))
}

/// Ends early where the data become too large, but never before the first event.
fn collect(mut rows: rusqlite::Rows<'_>, partition: i32) -> rusqlite::Result<Vec<Recorded>> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let event = event(row, partition)?;
        bytes += event.data.len();
        if bytes > ANSWER_BYTES && !events.is_empty() {
            break;
        }
        events.push(event);
    }
    Ok(events)
}

fn event(row: &Row<'_>, partition: i32) -> rusqlite::Result<Recorded> {
    let facts = row.get_ref(5)?.as_str()?;
    let facts: Facts = match facts {
        GONE => Facts::default(),
        facts => serde_json::from_str(facts).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(5, rusqlite::types::Type::Text, error.into())
        })?,
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
