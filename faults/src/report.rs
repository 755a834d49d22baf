//! What a run was, in numbers, and the page that holds them.

use std::time::Duration;

use anyhow::Context;

use crate::history::{History, Log, Micros, Outcome};
use crate::inject::{Incident, SESSION};
use crate::measure::{self, Outages};

const PAGE: &str = "docs/events-faults.md";

/// What is not in the history.
pub struct Run {
    pub broker: String,
    pub seed: u64,
    pub clients: u64,
    pub took: Micros,
    /// In doubt until the end.
    pub settled: usize,
    pub checked: Duration,
    pub reads_refused: u64,
    pub violations: usize,
}

pub struct Summary {
    run: Run,
    numbers: Vec<(&'static str, String)>,
    faults: Vec<(String, usize, usize, f64, f64)>,
}

impl Summary {
    pub fn of(history: &History, log: &Log, incidents: &[Incident], run: Run) -> Summary {
        let first = || history.appends.iter().filter(|append| !append.repeats);
        let count = |is: fn(&Outcome) -> bool| first().filter(|append| is(&append.outcome)).count();
        let acknowledged = count(|outcome| matches!(outcome, Outcome::Appended { .. }));
        let doubts = first().filter(|append| append.was_in_doubt);
        let written = |append: &&crate::history::Append| matches!(append.outcome, Outcome::Appended { .. });
        let doubts: Vec<_> = doubts.collect();
        let resolved = doubts.iter().filter(|append| append.outcome != Outcome::Unresolved).count();
        let seconds = run.took as f64 / 1e6;
        let records: usize = log.values().map(Vec::len).sum();
        let repeats = history.appends.iter().filter(|append| append.repeats).count();
        let numbers = vec![
            ("appends", first().count().to_string()),
            ("acknowledged", acknowledged.to_string()),
            ("refused: another version", count(|it| matches!(it, Outcome::WrongVersion { .. })).to_string()),
            ("refused: a condition", count(|it| matches!(it, Outcome::ConditionFailed { .. })).to_string()),
            ("in doubt for a while", doubts.len().to_string()),
            ("… resolved", resolved.to_string()),
            ("… of which written", doubts.iter().filter(|it| written(it)).count().to_string()),
            ("… resolved only after the load", run.settled.to_string()),
            ("asked again with the same ids", repeats.to_string()),
            ("reads checked", history.reads.len().to_string()),
            ("reads refused", run.reads_refused.to_string()),
            ("records in the log", records.to_string()),
            ("seconds under load", format!("{seconds:.0}")),
            ("acknowledged a second", format!("{:.0}", acknowledged as f64 / seconds)),
            ("violations", run.violations.to_string()),
        ];
        let outages: Outages = measure::outages(incidents, history, log);
        let faults = measure::counts(incidents)
            .into_iter()
            .map(|(fault, count)| {
                let times = outages.get(&fault).map_or(&[][..], Vec::as_slice);
                let (partitions, median, longest) = measure::summary(times);
                (fault.name(), count, partitions, median, longest)
            })
            .collect();
        Summary { run, numbers, faults }
    }

    pub fn lines(&self) -> Vec<String> {
        let Run { broker, clients, checked, .. } = &self.run;
        let mut lines =
            vec![format!("{broker}, {clients} clients, checked in {:.1} s", checked.as_secs_f64())];
        lines.extend(self.numbers.iter().map(|(name, value)| format!("{value:>10}  {name}")));
        lines.push("times  partitions  median s  longest s  fault".to_owned());
        lines.extend(self.faults.iter().map(|(name, count, partitions, median, longest)| {
            format!("{count:>5}  {partitions:>10}  {median:>8.2}  {longest:>9.2}  {name}")
        }));
        lines
    }

    /// Puts the numbers into the page, into the section of this name.
    pub fn write(&self, section: &str) -> anyhow::Result<()> {
        let (begin, end) =
            (format!("<!-- {section}: written by faults/run -->"), format!("<!-- end of {section} -->"));
        let page = std::fs::read_to_string(PAGE).with_context(|| PAGE.to_owned())?;
        let (before, rest) = page.split_once(&begin).with_context(|| format!("{PAGE} has no {begin}"))?;
        let (_, after) = rest.split_once(&end).with_context(|| format!("{PAGE} has no {end}"))?;
        std::fs::write(PAGE, format!("{before}{begin}\n{}{end}{after}", self.markdown()))?;
        Ok(())
    }

    fn markdown(&self) -> String {
        let Run { seed, clients, .. } = &self.run;
        let mut text =
            format!("\nSeed {seed}, {clients} clients, session timeout {} s.\n\n", SESSION.as_secs());
        text.push_str("| | |\n|---|--:|\n");
        for (name, value) in &self.numbers {
            text.push_str(&format!("| {name} | {value} |\n"));
        }
        text.push_str("\n| fault | times | partitions | median s | longest s |\n|---|--:|--:|--:|--:|\n");
        for (name, count, partitions, median, longest) in &self.faults {
            text.push_str(&format!("| {name} | {count} | {partitions} | {median:.2} | {longest:.2} |\n"));
        }
        text.push('\n');
        text
    }
}
