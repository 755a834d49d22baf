//! The event store under faults: a load with a history, faults from a seed, and a check of every answer against the log.
//!
//! Start reading at [`history`] (what is kept), then [`check`] (what must be true); [`caller`] is the load, [`inject`] the
//! faults, [`system`] what they are made to. `faults/run` builds what is needed and starts this.

#![allow(clippy::disallowed_methods, reason = "a load generator works in the real world, from outside")]

mod caller;
mod chance;
mod check;
mod exchange;
mod history;
mod http;
mod inject;
mod load;
mod measure;
mod process;
mod proxy;
mod report;
mod system;
mod topics;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::chance::Chance;
use crate::check::{Kind, Violation};
use crate::http::Door;
use crate::inject::Injector;
use crate::load::{Load, Shared};
use crate::report::Summary;
use crate::system::System;

/// What `faults/run` hands on.
struct Arguments {
    levada: PathBuf,
    is_kafka: bool,
    appends: u64,
    faults: usize,
    seed: u64,
    clients: u64,
    seconds: Option<u64>,
    is_brief: bool,
    planted: Option<String>,
    keep: Option<PathBuf>,
    page: Option<String>,
    /// Only faults whose name has this in it.
    only: Option<String>,
    /// Seconds between two faults, about.
    pause: u64,
    log_level: Option<String>,
}

/// Categories, and partitions of each.
const CATEGORIES: u8 = 3;
const PARTITIONS: usize = 8;

/// How long a client asks for the same append; with a planted fault partitions may stop for ever.
const GIVE_UP: Duration = Duration::from_secs(150);
const GIVE_UP_PLANTED: Duration = Duration::from_secs(15);

/// The load's end with a planted fault, after which nothing may get on any more.
const SECONDS_PLANTED: u64 = 180;

/// Violations of a kind that are shown.
const SHOWN: usize = 5;

fn arguments() -> anyhow::Result<Arguments> {
    let mut values = BTreeMap::new();
    let mut words = std::env::args().skip(1);
    while let Some(name) = words.next() {
        let value = match name.as_str() {
            "--kafka" | "--brief" => String::new(),
            _ => words.next().with_context(|| format!("{name} needs a value"))?,
        };
        values.insert(name, value);
    }
    let number = |text: String| text.parse::<u64>().with_context(|| format!("{text} is no number"));
    let mut take = |name: &str| values.remove(name);
    let arguments = Arguments {
        levada: take("--levada").context("--levada is missing; use faults/run")?.into(),
        is_kafka: take("--kafka").is_some(),
        is_brief: take("--brief").is_some(),
        appends: take("--appends").map_or(Ok(50_000), number)?,
        faults: take("--faults").map_or(Ok(12), number)? as usize,
        seed: take("--seed").map_or(Ok(1), number)?,
        clients: take("--clients").map_or(Ok(32), number)?,
        seconds: take("--seconds").map(number).transpose()?,
        planted: take("--planted"),
        keep: take("--keep").map(PathBuf::from),
        page: take("--page"),
        only: take("--only"),
        pause: take("--pause").map_or(Ok(5), number)?,
        log_level: take("--log-level"),
    };
    if let Some(name) = values.keys().next() {
        bail!("unknown option {name}");
    }
    let late = arguments.planted.as_ref().map(|_| SECONDS_PLANTED);
    Ok(Arguments { seconds: arguments.seconds.or(late), ..arguments })
}

#[expect(clippy::print_stdout, reason = "a command line tool")]
fn tell(line: &str) {
    println!("{line}");
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = arguments()?;
    let work = tempfile::Builder::new().prefix("levada-faults-").tempdir()?;
    let dir = match &arguments.keep {
        Some(dir) => dir.clone(),
        None => work.path().to_owned(),
    };
    std::fs::create_dir_all(&dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (summary, violations) = run(&arguments, dir, &runtime)?;
    for line in summary.lines() {
        tell(&line);
    }
    show(&violations);
    if let Some(section) = &arguments.page {
        summary.write(section)?;
    }
    Ok(if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

fn run(
    arguments: &Arguments,
    dir: PathBuf,
    runtime: &tokio::runtime::Runtime,
) -> anyhow::Result<(Summary, Vec<Violation>)> {
    let options = system::Options {
        levada: arguments.levada.clone(),
        is_kafka: arguments.is_kafka,
        dir,
        planted: arguments.planted.clone(),
        log_level: arguments.log_level.clone().unwrap_or_else(|| "info".to_owned()),
    };
    let system = System::start(options)?;
    tell(&format!("seed {}, logs in {}", arguments.seed, system.dir().display()));
    let doors = system.doors();
    create(&doors)?;
    let broker = system.broker_address().to_string();
    let topics = runtime.block_on(async {
        let cluster = topics::connect(&broker).await?;
        let mut topics = Vec::new();
        for category in 0..CATEGORIES {
            topics.push(topics::topic_id(&cluster, category).await?);
        }
        anyhow::Ok(topics)
    })?;
    let give_up = if arguments.planted.is_some() { GIVE_UP_PLANTED } else { GIVE_UP };
    let shared = Arc::new(Shared::new(arguments.seed, doors, topics, PARTITIONS, give_up));
    let load = Load::start(&shared, arguments.clients);
    let mut injector = Injector {
        system,
        shared: shared.clone(),
        runtime: runtime.handle().clone(),
        is_brief: arguments.is_brief,
        only: arguments.only.clone(),
        pause: Duration::from_secs(arguments.pause),
        chance: Chance::new(arguments.seed, u64::MAX),
        incidents: Vec::new(),
        tell,
    };
    let is_late = || arguments.seconds.is_some_and(|max| shared.now() > max * 1_000_000);
    injector.run(arguments.faults, || shared.acknowledged_so_far() >= arguments.appends, is_late)?;
    shared.end();
    let took = shared.now();
    tell("healed; asking for what is in doubt");
    let mut history = load.finish()?;
    let settled = load::settle(&shared, &mut history, arguments.clients as usize);
    tell("reading the log");
    let log = runtime.block_on(async {
        let cluster = topics::connect(&broker).await?;
        topics::read(&cluster, CATEGORIES).await
    })?;
    let began = Instant::now();
    let violations = check::run(&history, &log);
    let checked = began.elapsed();
    let incidents = injector.incidents;
    let broker = if arguments.is_kafka { "Apache Kafka 4.3.1" } else { "Levada" };
    let summary = Summary::of(
        &history,
        &log,
        &incidents,
        report::Run {
            broker: broker.to_owned(),
            seed: arguments.seed,
            clients: arguments.clients,
            took,
            settled,
            checked,
            reads_refused: shared.reads_refused_so_far(),
            violations: violations.len(),
        },
    );
    Ok((summary, violations))
}

/// Each category through another process, all at the same time: so that they have to agree from the beginning.
fn create(doors: &[std::net::SocketAddr]) -> anyhow::Result<()> {
    let creating = |category: u8, address: std::net::SocketAddr| {
        let mut door = Door::new(address, Duration::from_secs(30));
        let began = Instant::now();
        loop {
            let answer = exchange::ask(&mut door, &exchange::create(category, PARTITIONS));
            let told =
                answer.map(|answer| (answer.status, String::from_utf8_lossy(&answer.body).into_owned()));
            match told {
                Some((200 | 201, _)) => return Ok(()),
                Some((503, _)) | None if began.elapsed() < Duration::from_secs(60) => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                other => bail!("category {category} cannot be created: {other:?}"),
            }
        }
    };
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for category in 0..CATEGORIES {
            for address in doors {
                threads.push(scope.spawn(move || creating(category, *address)));
            }
        }
        threads.into_iter().try_for_each(|thread| thread.join().ok().context("creating")?)
    })
}

fn show(violations: &[Violation]) {
    let mut by_kind: BTreeMap<Kind, Vec<&Violation>> = BTreeMap::new();
    for violation in violations {
        by_kind.entry(violation.kind).or_default().push(violation);
    }
    for (kind, found) in by_kind {
        tell(&format!("VIOLATED {kind:?}: {} times", found.len()));
        for violation in found.iter().take(SHOWN) {
            tell(&format!("  {}", violation.what));
        }
    }
}
