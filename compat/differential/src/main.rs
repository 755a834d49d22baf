//! Sends the same random requests, valid and invalid, to Levada and to Apache Kafka and compares the answers.
//!
//! ```text
//! differential --levada HOST:PORT --kafka HOST:PORT [--seed N] [--requests N] [--rounds N] [--report FILE] [--plant NAME]
//! ```
//!
//! `--report` writes the figures as Markdown. `--plant` falsifies one kind of Levada's answers on their way in, so that
//! it can be shown that the comparison would notice: `base-offset`, `error-code`, `high-watermark` or `config-value`.
//!
//! Both brokers must be fresh. A round uses topics of its own, so that rounds do not disturb each other; a round is
//! replayed by its seed. What may differ (ids, times, hosts, words) is made equal in [`normal`]; what differs and is
//! accepted stands in [`accepted`], each with its reason. Everything else is printed and fails the run. At the end both
//! live through three tales: [`migration`], of groups with members of both protocols, [`damage`], of compressed batches
//! that are damaged, and [`edges`], of the limits of every setting and field.

mod accepted;
mod batches;
mod damage;
mod edges;
mod migration;
mod normal;
mod ops;
mod side;

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, bail};
use env::{Random, SeededRandom};

use crate::side::Side;

struct Arguments {
    levada: String,
    kafka: String,
    seed: u64,
    requests: usize,
    rounds: u64,
    report: Option<String>,
    plant: Option<String>,
}

fn arguments() -> anyhow::Result<Arguments> {
    let mut values = BTreeMap::new();
    let mut words = std::env::args().skip(1);
    while let Some(name) = words.next() {
        let value = words.next().with_context(|| format!("{name} needs a value"))?;
        values.insert(name, value);
    }
    let mut take = |name: &str| values.remove(name);
    let number = |text: Option<String>, default: u64| text.map_or(Ok(default), |text| text.parse());
    let arguments = Arguments {
        levada: take("--levada").context("--levada HOST:PORT is missing")?,
        kafka: take("--kafka").context("--kafka HOST:PORT is missing")?,
        seed: number(take("--seed"), 1)?,
        requests: number(take("--requests"), 200)? as usize,
        rounds: number(take("--rounds"), 1)?,
        report: take("--report"),
        plant: take("--plant"),
    };
    if let Some(name) = values.keys().next() {
        bail!("unknown option {name}");
    }
    Ok(arguments)
}

#[expect(clippy::print_stdout, reason = "a command line tool")]
fn main() -> anyhow::Result<ExitCode> {
    let arguments = arguments()?;
    let mut compared = 0;
    let mut differences = 0;
    let mut accepted = BTreeMap::new();
    let mut by_api: BTreeMap<&'static str, usize> = BTreeMap::new();
    for seed in arguments.seed..arguments.seed + arguments.rounds {
        let random = SeededRandom::new(seed);
        let mut levada = Side::connect(&arguments.levada)?;
        let mut kafka = Side::connect(&arguments.kafka)?;
        let mut script = ops::Script::new(seed);
        levada.prepare(&script)?;
        kafka.prepare(&script)?;
        levada.plant = arguments.plant.as_deref().map(normal::Plant::named).transpose()?;
        for step in 0..arguments.requests {
            let op = script.next(&random, &levada.versions, &kafka.versions);
            let (ours, theirs) = (levada.ask(&op)?, kafka.ask(&op)?);
            let (ours, theirs) = (levada.normal(&op, ours), kafka.normal(&op, theirs));
            if op.changes_topics()
                && let Some(difference) = side::settle(&mut levada, &mut kafka, &script)?
            {
                differences += 1;
                println!("difference after step {step} of seed {seed}: {}", op.key.name());
                println!("  request {}\n  {difference}", op.words);
            }
            compared += 1;
            *by_api.entry(op.key.name()).or_default() += 1;
            if ours == theirs {
                continue;
            }
            if let Some(reason) = accepted::reason(&op, &ours, &theirs) {
                *accepted.entry(reason).or_insert(0) += 1;
                continue;
            }
            differences += 1;
            println!("difference at step {step} of seed {seed}: {} version {}", op.key.name(), op.version);
            println!("  request {}", normal::brief(&op.words));
            let (ours, theirs) = normal::apart(&ours, &theirs);
            println!("  levada  {ours}\n  kafka   {theirs}");
        }
    }
    let tales: [(&'static str, Tale); 3] = [
        ("(both group protocols in one group)", migration::tell),
        ("(damaged compressed batches)", damage::tell),
        ("(limits of settings and fields)", edges::tell),
    ];
    for (name, tell) in tales.into_iter().filter(|_| arguments.plant.is_none()) {
        let mut levada = Side::connect(&arguments.levada)?;
        let mut kafka = Side::connect(&arguments.kafka)?;
        let ours = tell(&mut levada, arguments.seed)?;
        let theirs = tell(&mut kafka, arguments.seed)?;
        anyhow::ensure!(ours.len() == theirs.len(), "the tales of {name} are not equally long");
        compared += theirs.len();
        by_api.insert(name, theirs.len());
        for (step, (ours, theirs)) in ours.iter().zip(&theirs).enumerate().filter(|(_, (a, b))| a != b) {
            if let Some(reason) = accepted::reason_in_tale(ours, theirs) {
                *accepted.entry(reason).or_insert(0) += 1;
                continue;
            }
            differences += 1;
            println!("difference at step {step} of {name}");
            println!("  levada  {ours}\n  kafka   {theirs}");
        }
    }
    let report = report(compared, differences, &by_api, &accepted);
    println!("{report}");
    println!("{compared} requests compared, {differences} differences");
    if let Some(file) = &arguments.report {
        write(file, report).with_context(|| format!("cannot write {file}"))?;
    }
    Ok(if differences == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The figures as Markdown.
fn report(
    compared: usize,
    differences: usize,
    by_api: &BTreeMap<&'static str, usize>,
    accepted: &BTreeMap<&'static str, usize>,
) -> String {
    let mut lines = vec![
        "# Levada against Apache Kafka, request by request".to_string(),
        String::new(),
        "Written by `compat/differential/run`. The same random requests, valid and invalid, go to Levada and to".into(),
        "Apache Kafka 4.3.1; what may differ between two right brokers (ids, times, hosts, the words of messages) is".into(),
        "made equal, and everything else must be the same: error codes, offsets, order, records, configs.".into(),
        String::new(),
        format!("{compared} requests compared, {differences} unexplained differences."),
        String::new(),
        "| API | requests |".into(),
        "|---|--:|".into(),
    ];
    lines.extend(by_api.iter().map(|(name, count)| format!("| {name} | {count} |")));
    lines.extend(
        ["", "Differences that are accepted:", "", "| times | what and why |", "|--:|---|"].map(String::from),
    );
    lines.extend(accepted.iter().map(|(reason, count)| format!("| {count} | {reason} |")));
    lines.extend([
        "",
        "Not asked, because Apache Kafka 4.3.1 answers with UNKNOWN_SERVER_ERROR or stores something odd: topic ids of",
        "zero in Fetch and Metadata, and batches with the LogAppendTime bit for topics of CreateTime.",
        "",
    ].map(String::from));
    lines.join("\n")
}

#[expect(clippy::disallowed_methods, reason = "a file that the user names, at the rim of the command line")]
fn write(file: &str, report: String) -> std::io::Result<()> {
    std::fs::write(file, report)
}

/// Lives through something with one broker, and says what it was told, line by line.
type Tale = fn(&mut Side, u64) -> anyhow::Result<Vec<String>>;

/// A number below `bound`.
pub(crate) fn pick(random: &SeededRandom, bound: usize) -> usize {
    random.below(bound as u64) as usize
}

/// One of these.
pub(crate) fn one<T: Clone>(random: &SeededRandom, of: &[T]) -> T {
    of[pick(random, of.len())].clone()
}
