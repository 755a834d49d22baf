//! What the log alone must be.

use std::collections::{BTreeMap, HashMap};

use super::{At, Findings, Kind, Partition, Seen};
use crate::history::{History, Log, Micros, Place, Record, Stream, What, Writer};

/// Reads the log, and finds what is wrong with it by itself.
pub fn index<'a>(history: &'a History, log: &'a Log, found: &mut Findings) -> Seen<'a> {
    let asked = history.appends.iter().filter(|append| !append.repeats);
    let mut seen = Seen {
        places: BTreeMap::new(),
        ids: HashMap::new(),
        streams: HashMap::new(),
        appends: asked.map(|append| (append.number(), append)).collect(),
    };
    for (place, records) in log {
        check_order(*place, records, found);
        check_claims(*place, records, found);
        let partition = partition(*place, records, &mut seen, found);
        seen.places.insert(*place, partition);
    }
    for (id, at) in &seen.ids {
        if let [first, second, ..] = at[..] {
            let (one, two) = (seen.offset(first), seen.offset(second));
            let (first, second) = (first.place, second.place);
            found.add(Kind::Duplicate, format!("{id} is in {first} at {one} and in {second} at {two}"));
        }
    }
    for ((category, stream), at) in &seen.streams {
        if let Some(other) = at.iter().find(|other| other.place != at[0].place) {
            let what = format!("{stream} of category {category}: {} and {}", at[0].place, other.place);
            found.add(Kind::StreamInTwoPlaces, what);
        }
    }
    seen
}

fn partition<'a>(
    place: Place,
    records: &'a [Record],
    seen: &mut Seen<'a>,
    found: &mut Findings,
) -> Partition<'a> {
    let mut partition = Partition {
        records,
        by: vec![Micros::MAX; records.len()],
        not_before: vec![0; records.len()],
        matching: HashMap::new(),
    };
    for (index, record) in records.iter().enumerate() {
        let at = At { place, index };
        match &record.what {
            What::Event { stream, id, .. } => {
                seen.ids.entry(*id).or_default().push(at);
                seen.streams.entry((place.category, *stream)).or_default().push(at);
                partition.matching.entry((id.kind(), id.tag())).or_default().push(record.offset);
                let append = seen.appends.get(&id.append());
                let is_asked = append.is_some_and(|append| {
                    let mut parts = append.parts.iter();
                    append.category == place.category
                        && parts.any(|part| part.stream == *stream && part.events.contains(id))
                });
                match append {
                    Some(append) if is_asked => partition.not_before[index] = append.begin,
                    _ => found
                        .add(Kind::Foreign, format!("{place} at {}: nobody asked for {id}", record.offset)),
                }
            }
            What::Odd(why) => found.add(Kind::Foreign, format!("{place} at {}: {why}", record.offset)),
            What::Claim | What::Mark { .. } => {}
        }
    }
    partition
}

/// Offsets are gapless, and so are the versions of each stream.
fn check_order(place: Place, records: &[Record], found: &mut Findings) {
    let mut versions: HashMap<Stream, u64> = HashMap::new();
    for (expected, record) in (0..).zip(records) {
        if record.offset != expected {
            found.add(Kind::OffsetGap, format!("{place}: offset {} where {expected} was due", record.offset));
            break;
        }
    }
    for record in records {
        let (What::Event { stream, version, .. } | What::Mark { stream, version, .. }) = &record.what else {
            continue;
        };
        let last = versions.entry(*stream).or_default();
        if *version != *last + 1 {
            let offset = record.offset;
            let what = format!("{place} at {offset}: version {version} of {stream} follows version {last}");
            found.add(Kind::VersionOrder, what);
        }
        *last = *version;
    }
}

/// Between two claims everything is of the writer that claimed last, and epochs only grow.
fn check_claims(place: Place, records: &[Record], found: &mut Findings) {
    let mut owner: Option<Writer> = None;
    for Record { offset, batch, writer, what } in records {
        if batch != writer {
            let what = format!("{place} at {offset}: the batch is of {batch}, the record says {writer}");
            found.add(Kind::Unclaimed, what);
        }
        match (what, owner) {
            (What::Claim, Some(last)) if last.id == writer.id && last.epoch >= writer.epoch => {
                found.add(Kind::ClaimOrder, format!("{place} at {offset}: {writer} claims after {last}"));
            }
            (What::Claim, _) => {}
            (_, Some(owner)) if owner == *writer => {}
            (_, Some(owner)) => {
                let what = format!("{place} at {offset}: written by {writer}, claimed by {owner}");
                found.add(Kind::Unclaimed, what);
            }
            (_, None) => {
                found.add(
                    Kind::Unclaimed,
                    format!("{place} at {offset}: written by {writer}, claimed by nobody"),
                );
            }
        }
        if *what == What::Claim {
            owner = Some(*writer);
        }
    }
}

/// What was answered before something else was asked stands before it.
pub fn check_times(seen: &Seen<'_>, found: &mut Findings) {
    for (place, partition) in &seen.places {
        for (index, record) in partition.records.iter().enumerate() {
            let (by, not_before) = (partition.by[index], partition.not_before[index]);
            if by < not_before {
                let what = format!(
                    "{place} at {}: there at {by} µs, and behind what was only asked for at {not_before} µs",
                    record.offset
                );
                found.add(Kind::TimeOrder, what);
                break;
            }
        }
    }
}
