//! How long partitions took no appends after a fault.

use std::collections::{BTreeMap, HashMap};

use crate::history::{EventId, History, Log, Micros, Outcome, What};
use crate::inject::{Fault, Incident};

/// Times of one kind of fault, in microseconds, ascending.
pub type Outages = BTreeMap<Fault, Vec<Micros>>;

/// From each fault until the first append that was acknowledged by the next owner of each partition; where the broker
/// was away, until the first that was asked for since.
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
                let asked_since = |times: &(Micros, Micros)| times.0 >= incident.begin;
                records.iter().filter_map(|it| times(&it.what)).filter(asked_since).map(|(_, end)| end).min()
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
