//! The log goes into the index.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use model::{Offset, Timestamp};
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::connections::Writer;
use super::{Claim, GONE, HAS_TO_FORGET, Index, State, names};
use crate::event::Facts;
use crate::planted::{self, Planted};
use crate::record::Entry;
use crate::truncation::{Mark, TRUNCATED};

/// A record of the log that the index is to have.
#[derive(Debug)]
pub struct Applied {
    pub offset: Offset,
    pub at: Timestamp,
    pub entry: Entry,
}

/// A record that cannot be: nothing behind it is taken, so that nobody decides on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt {
    pub offset: Offset,
    pub why: String,
}

impl Index {
    /// Takes records in their order, up to `next`, or up to one that cannot be: then nothing from there on. Blocks.
    pub fn apply(
        &self,
        state: &State,
        records: &[Applied],
        next: Offset,
    ) -> rusqlite::Result<(State, Option<Halt>)> {
        let applied = self.connections.writing(|writer| {
            let (state, halt, is_forgetting) = apply(writer, state, records, next)?;
            self.connections.has_to_forget.fetch_or(is_forgetting, Ordering::AcqRel);
            Ok((state, halt))
        });
        self.noticed(applied)
    }

    /// Does a part of what truncations have left to do. Whether there is more. Blocks.
    pub fn forget_some(&self) -> rusqlite::Result<bool> {
        self.noticed(self.connections.writing(|writer| {
            let is_more = forget_some(&mut writer.connection)?;
            self.connections.has_to_forget.store(is_more, Ordering::Release);
            Ok(is_more)
        }))
    }
}

/// Events of a truncated stream that are forgotten at once: readers and records that come wait for no more.
const FORGOTTEN_MAX: u64 = 2_000;

fn apply(
    writer: &mut Writer,
    state: &State,
    records: &[Applied],
    next: Offset,
) -> rusqlite::Result<(State, Option<Halt>, bool)> {
    // If this fails nothing is known of them.
    let streams = std::mem::take(&mut writer.streams);
    let Writer { connection, streams: known } = writer;
    let transaction = connection.transaction()?;
    let before = state.next;
    let mut state = state.clone();
    let mut halt = None;
    let (streams, is_forgetting) = {
        let mut insert = Insert::new(&transaction, state.base > Offset::ZERO, streams)?;
        for record in records {
            let why = match &record.entry {
                Entry::Foreign { why } => Some(format!("it was not written by an owner ({why})")),
                Entry::Claim { writer } => {
                    state.claim = Some(Claim::after(state.claim.as_ref(), writer, record.offset));
                    None
                }
                Entry::Adopted { stream, version, id, facts, data } => {
                    insert.adopted(record, stream, *version, id, facts, data)?
                }
                Entry::Event { stream, version, id, facts, data, boundary, writer } => {
                    let stream = (stream.as_str(), boundary.as_deref());
                    match stray(&state, writer) {
                        None => insert.event(record, stream, *version, id, facts, data)?,
                        why => why,
                    }
                }
            };
            if let Some(why) = why {
                halt = Some(Halt { offset: record.offset, why });
                break;
            }
        }
        (insert.streams, insert.is_forgetting)
    };
    state.next = halt.as_ref().map_or(next, |halt| halt.offset);
    let (claimant, claimed, former) = state
        .claim
        .as_ref()
        .map_or(("", -1, ""), |claim| (claim.writer.as_str(), claim.offset.0, claim.former.as_str()));
    let is_its_next = transaction
        .prepare_cached("UPDATE about SET next = ?1, writer = ?2, claimed = ?3, former = ?4 WHERE next = ?5")?
        .execute(params![state.next.0, claimant, claimed, former, before.0])?;
    if is_its_next == 0 {
        // It is not where it was left: another file, or an older copy of it.
        return Err(rusqlite::Error::QueryReturnedNoRows);
    }
    transaction.commit()?;
    if streams.len() <= STREAMS_MAX {
        *known = streams;
    }
    Ok((state, halt, is_forgetting))
}

/// Why an event is not of the partition's owner, if it is not.
fn stray(state: &State, writer: &str) -> Option<String> {
    match &state.claim {
        _ if planted::is(Planted::NoClaim) => None,
        // Where the log begins later, the claim may have been trimmed.
        None if state.base > Offset::ZERO => None,
        None => Some(format!("it says that {writer} wrote it, and nobody had claimed the partition")),
        Some(claim) if claim.admits(writer) => None,
        Some(claim) => {
            Some(format!("it says that {writer} wrote it, while the partition was {}'s", claim.writer))
        }
    }
}

/// Forgets some events of the first stream that has any to be forgotten.
fn forget_some(connection: &mut Connection) -> rusqlite::Result<bool> {
    let left: Option<(i64, u64, u64)> = connection
        .prepare_cached("SELECT stream, since, before FROM forgetting LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((stream, since, before)) = left else { return Ok(false) };
    let transaction = connection.transaction()?;
    {
        let mut names_of = BTreeMap::new();
        let mut rows = transaction.prepare_cached(
            "SELECT off, ver, facts FROM events WHERE stream = ?1 AND ver >= ?2 AND ver < ?3 AND gone = 0
             ORDER BY ver DESC LIMIT ?4",
        )?;
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let rows = rows.query_map(params![stream, since, before, FORGOTTEN_MAX], row)?;
        let rows: Vec<(i64, u64, String)> = rows.collect::<rusqlite::Result<_>>()?;
        let mut unmark = transaction.prepare_cached("DELETE FROM marks WHERE name = ?1 AND off = ?2")?;
        let mut forget = transaction
            .prepare_cached("UPDATE events SET facts = ?2, data = x'', gone = 1 WHERE off = ?1")?;
        for (offset, _, facts) in &rows {
            let facts: Facts = serde_json::from_str(facts).unwrap_or_default();
            for name in names(&facts) {
                if let Some(name) = number(&transaction, &mut names_of, &name)? {
                    unmark.execute([name, *offset])?;
                }
            }
            forget.execute(params![offset, GONE])?;
        }
        // From the newest down: what is below the last one is left.
        match rows.last().filter(|_| rows.len() as u64 == FORGOTTEN_MAX) {
            Some((_, version, _)) => transaction
                .prepare_cached("UPDATE forgetting SET before = ?2 WHERE stream = ?1")?
                .execute(params![stream, version])?,
            None => {
                transaction.prepare_cached("DELETE FROM forgetting WHERE stream = ?1")?.execute([stream])?
            }
        };
    }
    transaction.commit()?;
    connection.prepare_cached(HAS_TO_FORGET)?.query_row([], |row| row.get(0))
}

fn number(
    connection: &Connection,
    known: &mut BTreeMap<String, Option<i64>>,
    name: &str,
) -> rusqlite::Result<Option<i64>> {
    if let Some(known) = known.get(name) {
        return Ok(*known);
    }
    let mut statement = connection.prepare_cached("SELECT no FROM names WHERE name = ?1")?;
    let found = statement.query_row([name], |row| row.get(0)).optional()?;
    known.insert(name.to_owned(), found);
    Ok(found)
}

/// Versions that may be missing before an event that is adopted with its own.
const ADOPTED_GAP_MAX: u64 = 1_000_000;

/// The version of an event that is adopted, in a stream that is at `head`: its own where that is new and near, else the next.
pub fn adopted_version(head: u64, own: Option<u64>) -> u64 {
    own.filter(|own| (head + 1..=head + ADOPTED_GAP_MAX).contains(own)).unwrap_or(head + 1)
}

/// Streams whose number and version the writer remembers: of more than so many it begins anew.
const STREAMS_MAX: usize = 4096;

/// Number and version of streams.
pub(super) type Streams = BTreeMap<String, (i64, u64)>;

struct Insert<'a> {
    connection: &'a Connection,
    /// What was before the first record was trimmed.
    is_trimmed: bool,
    event: CachedStatement<'a>,
    mark: CachedStatement<'a>,
    /// Names that were looked up in this transaction.
    names: BTreeMap<String, i64>,
    streams: Streams,
    /// Truncations have left something to do.
    is_forgetting: bool,
}

impl<'a> Insert<'a> {
    fn new(connection: &'a Connection, is_trimmed: bool, streams: Streams) -> rusqlite::Result<Insert<'a>> {
        Ok(Insert {
            connection,
            is_trimmed,
            event: connection.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0)")?,
            mark: connection.prepare_cached("INSERT OR IGNORE INTO marks VALUES (?1, ?2)")?,
            names: BTreeMap::new(),
            streams,
            is_forgetting: false,
        })
    }

    /// Why it cannot be, if it cannot.
    fn event(
        &mut self,
        record: &Applied,
        (stream, boundary): (&str, Option<&str>),
        version: u64,
        id: &str,
        facts: &Facts,
        data: &Bytes,
    ) -> rusqlite::Result<Option<String>> {
        let (no, head) = self.stream(stream, boundary)?;
        // A stream whose first events are not in the log any more.
        let is_rest = self.is_trimmed && head == 0;
        if version != head + 1 && !is_rest {
            return Ok(Some(format!("it is version {version} of {stream}, which was at {head}")));
        }
        let mark = match facts.kind.as_str() {
            TRUNCATED => match Mark::read(stream, data) {
                Some(mark) => Some(mark),
                None => return Ok(Some("it is no mark of a truncation, and says that it is one".to_owned())),
            },
            _ => None,
        };
        if let Some(Mark { stream, before, boundary, .. }) = &mark {
            let (_, head) = self.stream(stream, boundary.as_deref())?;
            if *before > head + 1 && !self.is_trimmed {
                return Ok(Some(format!("it truncates {stream} before {before}, which was at {head}")));
            }
        }
        if is_rest && version > 1 {
            self.read_from(no, version)?;
        }
        let offset = record.offset.0;
        let text = serde_json::to_string(facts).expect("texts are JSON");
        let row = params![offset, no, version, id, record.at.0, text, &data[..]];
        if let Err(error) = self.event.execute(row) {
            // Looking for it before costs more than all the rest.
            let known: Option<i64> = self
                .connection
                .prepare_cached("SELECT off FROM events WHERE id = ?1")?
                .query_row([id], |row| row.get(0))
                .optional()?;
            let why = |known| format!("its id {id} is that of the event at offset {known}");
            return known.map(why).map(Some).ok_or(error);
        }
        self.streams.insert(stream.to_owned(), (no, version));
        for name in names(facts) {
            let name = self.name(name)?;
            self.mark.execute([name, offset])?;
        }
        if let Some(mark) = mark {
            self.truncate(&mark, no, version)?;
        }
        Ok(None)
    }

    /// Takes what somebody has decided to take, with a version that is new and an id that is.
    fn adopted(
        &mut self,
        record: &Applied,
        stream: &str,
        version: Option<u64>,
        id: &str,
        facts: &Facts,
        data: &Bytes,
    ) -> rusqlite::Result<Option<String>> {
        let (no, head) = self.stream(stream, None)?;
        let version = adopted_version(head, version);
        // What is missing between is missing: nobody decides anew what was decided.
        self.streams.insert(stream.to_owned(), (no, version - 1));
        let is_taken: Option<i64> = self
            .connection
            .prepare_cached("SELECT off FROM events WHERE id = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()?;
        let own = format!("{}adopted:{}", crate::append::OWN, record.offset);
        let id = if is_taken.is_some() { &own } else { id };
        self.event(record, (stream, None), version, id, facts, data)
    }

    /// Takes a mark, which is this version of the stream of marks with this number.
    fn truncate(&mut self, mark: &Mark, marks: i64, version: u64) -> rusqlite::Result<()> {
        // Of older marks nothing is needed any more.
        self.forget(marks, version)?;
        let (no, head) = self.stream(&mark.stream, mark.boundary.as_deref())?;
        // Only a stream's first event says its boundary, and that may be gone: of the marks' stream, too.
        let mut place = self
            .connection
            .prepare_cached("UPDATE streams SET boundary = ?2 WHERE no = ?1 AND boundary IS NULL")?;
        place.execute(params![no, mark.boundary])?;
        place.execute(params![marks, mark.boundary.as_ref().unwrap_or(&mark.stream)])?;
        self.forget(no, mark.before)?;
        self.streams.insert(mark.stream.clone(), (no, head.max(mark.before - 1)));
        Ok(())
    }

    /// Of a stream's events below a version only the ids stay. They are not read from now on, and go in steps.
    fn forget(&mut self, stream: i64, before: u64) -> rusqlite::Result<()> {
        let first: u64 = self
            .connection
            .prepare_cached("SELECT first FROM streams WHERE no = ?1")?
            .query_row([stream], |row| row.get(0))?;
        if before <= first {
            return Ok(());
        }
        self.read_from(stream, before)?;
        self.connection
            .prepare_cached(
                "INSERT INTO forgetting VALUES (?1, ?2, ?3)
                 ON CONFLICT (stream) DO UPDATE
                 SET since = min(since, excluded.since), before = max(before, excluded.before)",
            )?
            .execute(params![stream, first, before])?;
        self.is_forgetting = true;
        Ok(())
    }

    fn read_from(&self, stream: i64, first: u64) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("UPDATE streams SET first = max(first, ?2) WHERE no = ?1")?
            .execute(params![stream, first])?;
        Ok(())
    }

    /// The number of a stream, and its version.
    fn stream(&mut self, id: &str, boundary: Option<&str>) -> rusqlite::Result<(i64, u64)> {
        if let Some(known) = self.streams.get(id) {
            return Ok(*known);
        }
        let known: Option<(i64, u64)> = self
            .connection
            .prepare_cached("SELECT no, first FROM streams WHERE id = ?1")?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((no, first)) = known else {
            self.connection
                .prepare_cached("INSERT INTO streams (id, boundary) VALUES (?1, ?2)")?
                .execute(params![id, boundary])?;
            return Ok((self.connection.last_insert_rowid(), 0));
        };
        let version: Option<u64> = self
            .connection
            .prepare_cached("SELECT max(ver) FROM events WHERE stream = ?1")?
            .query_row([no], |row| row.get(0))?;
        Ok((no, version.unwrap_or(0).max(first - 1)))
    }

    fn name(&mut self, name: String) -> rusqlite::Result<i64> {
        if let Some(known) = self.names.get(&name) {
            return Ok(*known);
        }
        let no: Option<i64> = self
            .connection
            .prepare_cached("SELECT no FROM names WHERE name = ?1")?
            .query_row([&name], |row| row.get(0))
            .optional()?;
        let no = match no {
            Some(no) => no,
            None => {
                self.connection.prepare_cached("INSERT INTO names (name) VALUES (?1)")?.execute([&name])?;
                self.connection.last_insert_rowid()
            }
        };
        self.names.insert(name, no);
        Ok(no)
    }
}
