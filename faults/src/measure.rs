//! How long partitions took no appends after a fault.

use std::collections::{BTreeMap, HashMap};

use crate::history::{EventId, History, Log, Micros, Outcome, What};
use crate::inject::{Fault, Incident};

/// Times of one kind of fault, in microseconds, ascending.
pub type Outages = BTreeMap<Fault, Vec<Micros>>;

/// From each fault until the first append that was acknowledged by the next owner of each partition; where the broker
/// was away, the longest time without one from then on until the first that was asked for when it was back.
pub fn outages(incidents: &[Incident], history: &History, log: &Log) -> Outages {
    let mut acknowledged: HashMap<EventId, (Micros, Micros)> = HashMap::new();
    for append in history.appends.iter().filter(|append| !append.repeats) {
        if matches!(append.outcome, Outcome::Appended { .. })
            && let Some(id) = append.ids().next()
        {
            acknowledged.insert(id, (append.begin, append.end));
        }
    }
    let mut outages = Outages::new();
    for incident in incidents {
        for place in &incident.owned {
            let Some(records) = log.get(place) else { continue };
            let times = |what: &What| match what {
                What::Event { id, .. } => acknowledged.get(id).copied(),
                _ => None,
            };
            let first = if incident.fault.is_of_broker() {
                let mut all: Vec<(Micros, Micros)> =
                    records.iter().filter_map(|it| times(&it.what)).collect();
                all.sort_unstable_by_key(|(_, end)| *end);
                longest_gap(incident, &all).map(|gap| incident.begin + gap)
            } else {
                let is_before = |what: &What| times(what).is_some_and(|(_, end)| end <= incident.begin);
                let from = records.iter().rposition(|it| is_before(&it.what)).unwrap_or(0);
                let claim = records[from..].iter().position(|it| it.what == What::Claim);
                let since = claim.map_or(&[][..], |claim| &records[from + claim..]);
                since.iter().filter_map(|it| times(&it.what)).map(|(_, end)| end).min()
            };
            if let Some(first) = first {
                let outage = first.saturating_sub(incident.begin);
                outages.entry(incident.fault).or_default().push(outage);
            }
        }
    }
    for times in outages.values_mut() {
        times.sort_unstable();
    }
    outages
}

/// `acknowledged`: when appends were asked for and acknowledged, in the order of the latter.
fn longest_gap(incident: &Incident, acknowledged: &[(Micros, Micros)]) -> Option<Micros> {
    let (mut last, mut longest) = (incident.begin, 0);
    for (asked, end) in acknowledged.iter().filter(|(_, end)| *end > incident.begin) {
        longest = longest.max(end - last);
        last = *end;
        if *asked >= incident.healed {
            return Some(longest);
        }
    }
    None
}

/// How many times, the middle one and the longest one, in seconds.
pub fn summary(times: &[Micros]) -> (usize, f64, f64) {
    let seconds = |at: usize| times.get(at).map_or(0.0, |time| *time as f64 / 1e6);
    (times.len(), seconds(times.len() / 2), seconds(times.len().saturating_sub(1)))
}

/// How often a kind of fault was made.
pub fn counts(incidents: &[Incident]) -> BTreeMap<Fault, usize> {
    let mut counts = BTreeMap::new();
    for incident in incidents {
        *counts.entry(incident.fault).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Append, Expected, Part, Place, Record, Stream, Writer};

    const HERE: Place = Place { category: 0, partition: 0 };

    /// Appends 1, 2, 3, … to one partition with a claim before each of some, acknowledged at these times.
    fn run(ends: &[Micros], claimed: &[usize]) -> (History, Log) {
        let (mut history, mut records) = (History::default(), Vec::new());
        let writer = Writer { id: 1, epoch: 0 };
        for (number, end) in (1..).zip(ends) {
            let (stream, id) = (Stream::Alone(1), EventId::new(number, 0));
            let claim = claimed.contains(&(number as usize)).then_some(What::Claim);
            for what in claim.into_iter().chain([What::Event { stream, version: number, id }]) {
                records.push(Record { offset: records.len() as i64, batch: writer, writer, what });
            }
            history.appends.push(Append {
                category: 0,
                parts: vec![Part { stream, expected: Expected::Any, events: vec![id] }],
                condition: None,
                repeats: false,
                begin: end - 5,
                last_begin: end - 5,
                end: *end,
                tries: 1,
                was_in_doubt: false,
                outcome: Outcome::Appended {
                    versions: Vec::new(),
                    partition: 0,
                    next: 0,
                    is_repeated: false,
                },
            });
        }
        (history, Log::from([(HERE, records)]))
    }

    fn outage(
        fault: Fault,
        (begin, healed): (Micros, Micros),
        ends: &[Micros],
        claimed: &[usize],
    ) -> Vec<Micros> {
        let (history, log) = run(ends, claimed);
        let incident = Incident { fault, begin, healed, owned: vec![HERE] };
        outages(&[incident], &history, &log).remove(&fault).unwrap_or_default()
    }

    #[test]
    fn an_owner_is_away_until_the_next_one_acknowledges() {
        // The old owner's last append was answered after the fault began.
        assert_eq!(outage(Fault::Kill, (100, 110), &[50, 90, 105, 180, 190], &[1, 4]), [80]);
        assert!(outage(Fault::Kill, (100, 110), &[50, 90, 105], &[1]).is_empty(), "nobody came");
    }

    #[test]
    fn a_broker_is_away_for_the_longest_time_without_an_answer() {
        // It goes on answering for a while when it is told to stop.
        let ends = [50, 104, 108, 150, 160, 300];
        assert_eq!(outage(Fault::TerminateBroker, (100, 140), &ends, &[1]), [42]);
    }
}
