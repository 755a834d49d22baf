//! Levada beside Apache Kafka, in the same run, alternating.
//!
//! Each run starts each broker fresh in each mode and takes every measure once; the figures are medians over the runs,
//! the ratios medians of the ratios within a run. `docs/performance.md` is written by this, never by hand.

#![allow(clippy::disallowed_methods, reason = "a load generator measures the real world, from outside")]

mod groups;
mod load;
mod report;
mod restless;
mod server;
mod stores;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::report::Results;
use crate::server::{Mode, Server, System};

pub struct Arguments {
    pub levada: PathBuf,
    pub rdkafka: PathBuf,
    pub classpath: PathBuf,
    pub runs: usize,
    pub only: Option<String>,
    /// Measure groups instead, of Levada alone.
    pub groups: bool,
    /// Of the event stores: the load, and who is beside Levada.
    pub eventstores: Option<PathBuf>,
    pub umadb: Option<PathBuf>,
    pub postgres: Option<PathBuf>,
}

fn arguments() -> anyhow::Result<Arguments> {
    let mut values = BTreeMap::new();
    let mut words = std::env::args().skip(1);
    while let Some(name) = words.next() {
        let value = words.next().with_context(|| format!("{name} needs a value"))?;
        values.insert(name, value);
    }
    let mut need =
        |name: &str| values.remove(name).with_context(|| format!("{name} is missing; use bench/run"));
    let (levada, rdkafka, classpath) = (need("--levada")?, need("--rdkafka")?, need("--classpath")?);
    let runs = values.remove("--runs").map_or(Ok(5), |text| text.parse())?;
    let only = values.remove("--only");
    let groups = only.as_deref() == Some("groups");
    let mut path = |name: &str| values.remove(name).map(PathBuf::from);
    let (eventstores, umadb, postgres) = (path("--eventstores"), path("--umadb"), path("--postgres"));
    if let Some(name) = values.keys().next() {
        bail!("unknown option {name}");
    }
    Ok(Arguments {
        levada: levada.into(),
        rdkafka: rdkafka.into(),
        classpath: classpath.into(),
        runs,
        only,
        groups,
        eventstores,
        umadb,
        postgres,
    })
}

#[expect(clippy::print_stdout, reason = "a command line tool")]
fn main() -> anyhow::Result<()> {
    let arguments = arguments()?;
    if arguments.groups {
        return measure_groups(&arguments);
    }
    match arguments.only.as_deref() {
        Some("events") => return stores::measure(&arguments),
        Some("restart") => return stores::restart(&arguments),
        _ => {}
    }
    let mut results = Results::default();
    for run in 0..arguments.runs {
        for mode in [Mode::Fsync, Mode::PageCache] {
            // Whoever comes first finds a cooler machine: take turns.
            let mut systems = [System::Levada, System::Kafka];
            if run % 2 == 1 {
                systems.reverse();
            }
            for system in systems {
                println!("run {}: {} {}", run + 1, system.name(), mode.name());
                let mut server = Server::start(system, mode, &arguments)?;
                if wanted(&arguments, "start") {
                    results.add("first ack after start, ms", mode, system, server.first_ack_ms);
                    results.add("resident memory idle, MiB", mode, system, server.resident_mib()?);
                }
                for measure in load::MEASURES.iter().filter(|measure| wanted(&arguments, measure.name)) {
                    let figures = measure.take(&mut server, &arguments)?;
                    for (figure, value) in figures {
                        let name = format!("{}: {figure}", measure.name);
                        println!("  {name} {value:.1}");
                        results.add(&name, mode, system, value);
                    }
                }
                server.stop()?;
            }
        }
    }
    let text = results.markdown(arguments.runs);
    println!("{text}");
    if arguments.only.is_none() {
        report::write(&text, "figures")?;
    }
    Ok(())
}

/// Consumer groups under load, and producers beside them: medians over the runs.
#[expect(clippy::print_stdout, reason = "a command line tool")]
fn measure_groups(arguments: &Arguments) -> anyhow::Result<()> {
    let mut results = Results::default();
    for _ in 0..arguments.runs {
        let mut server = Server::start(System::Levada, Mode::Fsync, arguments)?;
        let measures = [
            ("KIP-848, 1,000 members, 1,000 partitions", groups::consumer_group(&mut server, 1000)?),
            ("classic group, 100 members", groups::classic_group(&mut server, 100)?),
            ("100 classic groups of 10", restless::beside_groups(&mut server)?),
        ];
        for (name, figures) in measures {
            for (figure, value) in figures {
                println!("{name}: {figure} {value:.2}");
                results.add(&format!("{name}: {figure}"), Mode::Fsync, System::Levada, value);
            }
        }
        server.stop()?;
    }
    println!("{}", results.markdown(arguments.runs));
    Ok(())
}

fn wanted(arguments: &Arguments, name: &str) -> bool {
    arguments.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
}
