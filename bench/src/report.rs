//! Medians, ratios, and the page that holds them.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Context;

use crate::server::{Mode, System};

/// Every value of every run, in the order in which measures were first taken.
#[derive(Default)]
pub struct Results {
    order: Vec<(String, Mode)>,
    values: BTreeMap<(String, Mode, System), Vec<f64>>,
}

const PAGE: &str = "docs/performance.md";

impl Results {
    pub fn add(&mut self, measure: &str, mode: Mode, system: System, value: f64) {
        let row = (measure.to_string(), mode);
        if !self.order.contains(&row) {
            self.order.push(row);
        }
        self.values.entry((measure.to_string(), mode, system)).or_default().push(value);
    }

    pub fn markdown(&self, runs: usize) -> String {
        let mut text =
            format!("Medians of {runs} alternating runs; the ratio is the median of the runs' ratios.\n");
        for mode in [Mode::Fsync, Mode::PageCache] {
            let _ = writeln!(text, "\n### {}\n", mode.name());
            let _ = writeln!(text, "| measure | Levada | Kafka | Levada / Kafka | Levada min–max |");
            let _ = writeln!(text, "|---|--:|--:|--:|--:|");
            for (measure, _) in self.order.iter().filter(|(_, row)| *row == mode) {
                let of =
                    |system| self.values.get(&(measure.clone(), mode, system)).cloned().unwrap_or_default();
                let (ours, theirs) = (of(System::Levada), of(System::Kafka));
                let ratios = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
                let least = ours.iter().copied().fold(f64::INFINITY, f64::min);
                let most = ours.iter().copied().fold(0.0, f64::max);
                let _ = writeln!(
                    text,
                    "| {measure} | {} | {} | {:.2} | {}–{} |",
                    short(median(ours.clone())),
                    short(median(theirs)),
                    median(ratios),
                    short(least),
                    short(most),
                );
            }
        }
        text
    }
}

/// Puts figures into the page, between the marks of their name.
pub fn write(figures: &str, name: &str) -> anyhow::Result<()> {
    let (begin, end) = (format!("<!-- {name}: written by bench/run -->"), format!("<!-- end of {name} -->"));
    let page = std::fs::read_to_string(PAGE).with_context(|| format!("{PAGE} is missing"))?;
    let (before, rest) = page.split_once(&begin).with_context(|| format!("{PAGE} has no mark {begin}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("{PAGE} has no mark {end}"))?;
    let page = format!("{before}{begin}\n\n{figures}\n{end}{after}");
    std::fs::write(PAGE, page)?;
    Ok(())
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

/// Three digits that matter.
pub fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}
