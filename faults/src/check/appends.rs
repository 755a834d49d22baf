//! What became of each append.

use super::{At, Findings, Kind, Seen};
use crate::history::{Append, Condition, Expected, History, Outcome, Place, Stream, What};

pub fn check(history: &History, seen: &Seen<'_>, found: &mut Findings) {
    for append in &history.appends {
        match append.repeats {
            true => check_repeat(append, seen, found),
            false => check_one(append, seen, found),
        }
    }
}

fn name(append: &Append) -> String {
    format!("append {} ({})", append.number(), append.ids().next().map_or(String::new(), |id| id.to_string()))
}

fn check_one(append: &Append, seen: &Seen<'_>, found: &mut Findings) {
    let name = name(append);
    let at: Vec<At> = append.ids().filter_map(|id| seen.ids.get(&id)?.first().copied()).collect();
    let count = append.ids().count();
    let is_there = !at.is_empty();
    if is_there && at.len() < count {
        found.add(Kind::Torn, format!("{name}: {} of {count} events are in the log", at.len()));
        return;
    }
    if is_there {
        check_written(append, &at, seen, found);
    }
    match &append.outcome {
        Outcome::Appended { versions, partition, next, .. } if is_there => {
            check_answer(append, (versions, *partition, *next), &at, seen, found);
        }
        Outcome::Appended { .. } => found.add(Kind::Lost, format!("{name} was acknowledged")),
        Outcome::Unresolved => found.add(Kind::Unresolved, format!("{name}, in the log: {is_there}")),
        Outcome::Odd(what) => found.add(Kind::OddAnswer, format!("{name}: {what}")),
        Outcome::WrongVersion { .. } | Outcome::ConditionFailed { .. } if is_there => {
            let what = format!("{name}: {:?}, at {:?}", append.outcome, seen.offset(at[0]));
            found.add(Kind::RefusedButWritten, what);
        }
        Outcome::WrongVersion { stream, current } => {
            if let Some(why) = no_conflict(append, *stream, *current, seen) {
                found.add(Kind::FalseConflict, format!("{name}: version {current} of {stream}: {why}"));
            }
        }
        Outcome::ConditionFailed { at } => {
            if let Some(why) = no_match(append, *at, seen) {
                found.add(Kind::FalseConflict, format!("{name}: event at {at}: {why}"));
            }
        }
    }
}

/// Its events stand together, each stream was as expected, and no condition was broken.
fn check_written(append: &Append, at: &[At], seen: &Seen<'_>, found: &mut Findings) {
    let name = name(append);
    let first = at[0];
    let together =
        at.iter().zip(first.index..).all(|(at, index)| at.place == first.place && at.index == index);
    if !together {
        let offsets: Vec<i64> = at.iter().map(|at| seen.offset(*at)).collect();
        found.add(Kind::Scattered, format!("{name}: {} at {offsets:?}", first.place));
    }
    let mut rest = at;
    for part in &append.parts {
        let (of_part, others) = rest.split_at(part.events.len());
        rest = others;
        let Some(What::Event { version, .. }) = of_part.first().map(|at| seen.partition(*at).what(at.index))
        else {
            continue;
        };
        if !part.expected.holds(version.saturating_sub(1)) {
            let what =
                format!("{name}: {:?}, and it became version {version} of {}", part.expected, part.stream);
            found.add(Kind::ExpectedIgnored, what);
        }
    }
    if let Some(condition) = &append.condition
        && let Some(offset) =
            matching(condition, first.place, seen).find(|offset| *offset < seen.offset(first))
    {
        let what = format!("{name} at {}: the event at {offset} matches {condition:?}", seen.offset(first));
        found.add(Kind::ConditionIgnored, what);
    }
}

/// Events of the condition's type and tag that it had to look at.
fn matching(condition: &Condition, place: Place, seen: &Seen<'_>) -> impl Iterator<Item = i64> {
    let key = (condition.kind, condition.tag);
    let offsets = seen.places.get(&place).and_then(|it| it.matching.get(&key)).map_or(&[][..], Vec::as_slice);
    let from = offsets.partition_point(|offset| *offset < condition.after);
    offsets[from..].iter().copied()
}

/// It was acknowledged as it is.
fn check_answer(
    append: &Append,
    (versions, partition, next): (&[(Stream, u64)], i32, i64),
    at: &[At],
    seen: &Seen<'_>,
    found: &mut Findings,
) {
    let name = name(append);
    let mut last: Vec<(Stream, u64)> = Vec::new();
    for at in at {
        if let What::Event { stream, version, .. } = seen.partition(*at).what(at.index) {
            match last.iter_mut().find(|(known, _)| known == stream) {
                Some(known) => known.1 = *version,
                None => last.push((*stream, *version)),
            }
        }
    }
    if last != versions {
        found.add(Kind::WrongAnswer, format!("{name}: versions {last:?}, answered were {versions:?}"));
    }
    let end = seen.offset(at[at.len() - 1]);
    if partition != at[0].place.partition || next <= end {
        let what = format!("{name}: its end is {end} of {}, answered was {next} of {partition}", at[0].place);
        found.add(Kind::WrongAnswer, what);
    }
}

/// The same append again has the same answer.
fn check_repeat(append: &Append, seen: &Seen<'_>, found: &mut Findings) {
    let name = name(append);
    let Some(original) = seen.appends.get(&append.number()) else { return };
    match (&original.outcome, &append.outcome) {
        (_, Outcome::Unresolved) => found.add(Kind::Unresolved, format!("{name}, repeated")),
        (_, Outcome::Odd(what)) => found.add(Kind::OddAnswer, format!("{name}, repeated: {what}")),
        (
            Outcome::Appended { versions: first, partition: one, .. },
            Outcome::Appended { versions, partition, is_repeated: true, .. },
        ) if first == versions && one == partition => {}
        (first, again) => found.add(Kind::UnlikeRepeat, format!("{name}: {first:?}, then {again:?}")),
    }
}

/// Why the stream's version was no reason to refuse it, if it was none.
fn no_conflict(append: &Append, stream: Stream, current: u64, seen: &Seen<'_>) -> Option<String> {
    let Some(part) = append.parts.iter().find(|part| part.stream == stream) else {
        return Some("it does not append to that stream".to_owned());
    };
    if part.expected.holds(current) {
        return Some(format!("{:?} holds", part.expected));
    }
    let (begin, end) = (append.last_begin, append.end);
    let why = seen.not_at(append.category, stream, current, begin, end)?;
    // It would have been refused anyway if what it expects cannot have been either.
    let anyway = match part.expected {
        Expected::Exactly(wanted) => seen.not_at(append.category, stream, wanted, begin, end).is_some(),
        _ => false,
    };
    Some(if anyway { format!("{why} (but what was expected was not so either)") } else { why })
}

fn no_match(append: &Append, offset: i64, seen: &Seen<'_>) -> Option<String> {
    let Some(condition) = &append.condition else { return Some("it has no condition".to_owned()) };
    let place = Place { category: append.category, partition: condition.partition };
    if !matching(condition, place, seen).any(|matching| matching == offset) {
        return Some(format!("it does not match {condition:?}"));
    }
    let partition = seen.places.get(&place)?;
    let index = partition.records.partition_point(|record| record.offset < offset);
    (partition.not_before[index] > append.end).then(|| "it could not be there yet".to_owned())
}
