//! What was read.

use super::{At, Findings, Kind, Seen};
use crate::history::{History, Outcome, Read, What};

/// Whoever was told of an event, or read it, knows that it is in the log by then.
pub fn note_times(history: &History, seen: &mut Seen<'_>) {
    for append in &history.appends {
        if !matches!(append.outcome, Outcome::Appended { .. }) {
            continue;
        }
        for id in append.ids() {
            if let Some(at) = seen.ids.get(&id).and_then(|at| at.first()).copied() {
                seen.note(at, append.end);
            }
        }
    }
    for read in &history.reads {
        for (_, id) in &read.events {
            if let Some(at) = seen.ids.get(id).and_then(|at| at.first()).copied() {
                seen.note(at, read.end);
            }
        }
    }
}

pub fn check(history: &History, seen: &Seen<'_>, found: &mut Findings) {
    for read in &history.reads {
        check_content(read, seen, found);
        check_freshness(read, seen, found);
    }
}

fn name(read: &Read) -> String {
    let Read { category, stream, from, begin, .. } = read;
    format!("read of {stream} (category {category}) from version {from} at {begin} µs")
}

/// It is a piece of the stream as the log has it.
fn check_content(read: &Read, seen: &Seen<'_>, found: &mut Findings) {
    let mut wrong = |what: String| found.add(Kind::ReadWrong, format!("{}: {what}", name(read)));
    for ((version, id), due) in read.events.iter().zip(read.from..) {
        if *version != due {
            return wrong(format!("version {version} where {due} was due"));
        }
        let at = seen.version(read.category, read.stream, *version);
        let in_log = at.map(|at| seen.partition(at).what(at.index));
        match in_log {
            Some(What::Event { id: logged, .. }) if logged == id => {}
            other => return wrong(format!("version {version} is {id}, and {other:?} in the log")),
        }
    }
    let last = read.events.last().map_or(read.from.saturating_sub(1), |(version, _)| *version);
    if read.version > 0 && last < read.version && read.events.len() < read.limit && read.from <= read.version
    {
        wrong(format!("it ends at version {last} of {}", read.version));
    }
    if !read.events.is_empty() && last > read.version {
        wrong(format!("it has version {last}, and says that the stream is at {}", read.version));
    }
}

/// It shows neither less than it must nor more than there can be.
fn check_freshness(read: &Read, seen: &Seen<'_>, found: &mut Findings) {
    let Read { category, stream, .. } = *read;
    if read.version > 0 {
        match seen.version(category, stream, read.version) {
            None => {
                let what = format!("{}: version {} never was", name(read), read.version);
                return found.add(Kind::ReadWrong, what);
            }
            Some(at) if seen.not_before(at) > read.end => {
                let what = format!("{}: version {} could not be there yet", name(read), read.version);
                found.add(Kind::ReadAhead, what);
            }
            Some(_) => {}
        }
    }
    let Some(next) = seen.version(category, stream, read.version + 1) else { return };
    if let Some(why) = is_stale(read, next, seen) {
        let what = format!("{}: it is at version {}, and {why}", name(read), read.version);
        found.add(Kind::ReadStale, what);
    }
}

/// Why the next version had to be seen, if it had to.
fn is_stale(read: &Read, next: At, seen: &Seen<'_>) -> Option<String> {
    let offset = seen.offset(next);
    if read.is_strong && seen.by(next) < read.begin {
        return Some(format!("the next was there at {} µs", seen.by(next)));
    }
    let before = |position: Option<(i32, i64)>| {
        position.is_some_and(|(partition, at)| partition == next.place.partition && offset < at)
    };
    if before(read.at_least) {
        return Some(format!("the next, at {offset}, is before the position that was asked for"));
    }
    if before(read.position) {
        return Some(format!("the next, at {offset}, is before the position of the answer"));
    }
    None
}
