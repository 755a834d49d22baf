//! Event stores beside each other: Levada, UmaDB and PostgreSQL with a plain events table, each durable, in the same run.
//!
//! The load comes from `bench/eventstores`, a program of its own.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::report::{median, short};
use crate::server::{Mode, Server, System, free_port};
use crate::{Arguments, report};

/// Clients, and appends of all of them together.
const APPENDS: [(usize, usize); 4] = [(1, 3_000), (16, 30_000), (256, 60_000), (1_024, 60_000)];

/// The append whose streams are read afterwards, and by how many clients.
const READ: (usize, usize) = (16, 30_000);

const START: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Store {
    Levada,
    UmaDb,
    PostgreSql,
}

const ALL: [Store; 3] = [Store::Levada, Store::UmaDb, Store::PostgreSql];

impl Store {
    fn name(self) -> &'static str {
        match self {
            Store::Levada => "Levada",
            Store::UmaDb => "UmaDB",
            Store::PostgreSql => "PostgreSQL",
        }
    }

    /// As the load calls it.
    fn word(self) -> &'static str {
        match self {
            Store::Levada => "levada",
            Store::UmaDb => "umadb",
            Store::PostgreSql => "postgres",
        }
    }
}

/// Medians over the runs, written into the page.
#[expect(clippy::print_stdout, reason = "a command line tool")]
pub fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let mut figures = Figures::default();
    for run in 0..arguments.runs {
        // Whoever comes first finds a cooler machine: take turns.
        let mut stores = ALL;
        stores.rotate_left(run % ALL.len());
        for store in stores {
            println!("run {}: {}", run + 1, store.name());
            let running = Running::start(store, arguments)?;
            for (clients, appends) in APPENDS {
                let before = running.cpu_seconds()?;
                let load = running.load(arguments, "append", clients, appends)?;
                let cpu = (running.cpu_seconds()? - before) * 1e6 / appends as f64;
                let name = format!("{clients} clients");
                figures.add(&format!("{name}: appends/s"), store, load.per_second);
                figures.add(&format!("{name}: p50, ms"), store, load.p50);
                figures.add(&format!("{name}: p99, ms"), store, load.p99);
                figures.add(&format!("{name}: server's CPU, µs an append"), store, cpu);
            }
            let read = running.load(arguments, "read", READ.0, READ.1)?;
            figures.add("reads of a stream of 10 events, 16 clients: streams/s", store, read.per_second);
            let all = running.load(arguments, "catchup", READ.0, READ.1)?;
            figures.add("catch-up from the beginning, one reader: events/s", store, all.per_second);
            running.stop()?;
        }
    }
    let text = figures.markdown(arguments.runs);
    println!("{text}");
    report::write(&text, "events")
}

/// How long it takes to serve again with so many events in the index.
#[expect(clippy::print_stdout, reason = "a command line tool")]
pub fn restart(arguments: &Arguments) -> anyhow::Result<()> {
    let events: usize = 10_000_000;
    let mut server = Server::start(System::Levada, Mode::Fsync, arguments)?;
    let began = Instant::now();
    while load(arguments, Store::Levada, &server.http, "append", 1, 1, "open").is_err() {
        ensure!(began.elapsed() < START, "the event store does not open");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let began = Instant::now();
    load(arguments, Store::Levada, &server.http, "fill", 16, events, "fill")?;
    println!("{events} events appended in {:.0} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    load(arguments, Store::Levada, &server.http, "strong", 1, events, "fill")?;
    println!(
        "indexed {:.0} s after that; resident {:.0} MiB",
        began.elapsed().as_secs_f64(),
        server.resident_mib()?
    );
    for _ in 0..arguments.runs {
        server = server.restart()?;
        let began = server.began;
        load(arguments, Store::Levada, &server.http, "first", 1, events, "fill")?;
        println!("first read and append {:.0} ms after the start", began.elapsed().as_secs_f64() * 1000.0);
        println!("resident {:.0} MiB", server.resident_mib()?);
    }
    server.stop()
}

struct Load {
    per_second: f64,
    p50: f64,
    p99: f64,
}

fn load(
    arguments: &Arguments,
    store: Store,
    address: &str,
    measure: &str,
    clients: usize,
    appends: usize,
    name: &str,
) -> anyhow::Result<Load> {
    let program = arguments.eventstores.as_ref().context("--eventstores is missing; use bench/run")?;
    let mut command = Command::new(program);
    command.args([measure, store.word(), address, "--name", name]);
    command.args(["--clients", &clients.to_string(), "--appends", &appends.to_string()]);
    let output = command.stderr(Stdio::null()).output()?;
    ensure!(output.status.success(), "{measure} on {} failed", store.name());
    let text = String::from_utf8(output.stdout)?;
    let field = |name: &str| -> anyhow::Result<f64> {
        let rest =
            text.split_once(&format!("\"{name}\":")).with_context(|| format!("no {name} in {text}"))?.1;
        let end = rest.find([',', '}']).context("no end")?;
        Ok(rest[..end].trim().parse()?)
    };
    Ok(Load { per_second: field("per_second")?, p50: field("p50_ms")?, p99: field("p99_ms")? })
}

/// A store under load.
struct Running {
    store: Store,
    /// For the load.
    address: String,
    process: Process,
}

enum Process {
    Levada(Server),
    Other { child: Child, data: PathBuf },
}

impl Running {
    fn start(store: Store, arguments: &Arguments) -> anyhow::Result<Running> {
        if store == Store::Levada {
            let server = Server::start(System::Levada, Mode::Fsync, arguments)?;
            let address = server.http.clone();
            let running = Running { store, address, process: Process::Levada(server) };
            let began = Instant::now();
            while running.load(arguments, "append", 1, 1).is_err() {
                ensure!(began.elapsed() < START, "the event store does not open");
                std::thread::park_timeout(Duration::from_millis(50));
            }
            return Ok(running);
        }
        let port = free_port()?;
        let data = std::env::temp_dir().join(format!("levada-bench-{port}"));
        fs::create_dir_all(&data)?;
        let log = fs::File::create(data.with_extension("log"))?;
        let at = format!("127.0.0.1:{port}");
        let (mut command, address) = match store {
            Store::Levada => unreachable!("it was started above"),
            Store::UmaDb => {
                let mut command =
                    Command::new(arguments.umadb.as_ref().context("--umadb is missing; use bench/run")?);
                command.args(["--listen", &at, "--db-path"]).arg(data.join("uma.db"));
                (command, at.clone())
            }
            Store::PostgreSql => {
                let bin = arguments.postgres.as_ref().context("--postgres is missing; use bench/run")?;
                initdb(bin, &data)?;
                let mut command = as_somebody(&bin.join("postgres"))?;
                command.arg("-D").arg(data.join("pg")).args(["-p", &port.to_string()]);
                for setting in [
                    "listen_addresses=127.0.0.1",
                    "unix_socket_directories=",
                    "max_connections=1100",
                    "shared_buffers=512MB",
                ] {
                    command.args(["-c", setting]);
                }
                (command, format!("host=127.0.0.1 port={port} user=bench dbname=postgres"))
            }
        };
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut running = Running { store, address, process: Process::Other { child, data } };
        let began = Instant::now();
        while TcpStream::connect(&at).is_err() || running.load(arguments, "append", 1, 1).is_err() {
            let Process::Other { child, data } = &mut running.process else { break };
            if began.elapsed() > START || child.try_wait()?.is_some() {
                bail!("{} does not start: see {}", store.name(), data.with_extension("log").display());
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Ok(running)
    }

    fn load(
        &self,
        arguments: &Arguments,
        measure: &str,
        clients: usize,
        appends: usize,
    ) -> anyhow::Result<Load> {
        let name = format!("r{clients}-{appends}");
        load(arguments, self.store, &self.address, measure, clients, appends, &name)
    }

    /// CPU seconds of its processes so far.
    fn cpu_seconds(&self) -> anyhow::Result<f64> {
        match &self.process {
            Process::Levada(server) => server.cpu_seconds(),
            Process::Other { child, .. } => tree_cpu_seconds(child.id()),
        }
    }

    fn stop(self) -> anyhow::Result<()> {
        match self.process {
            Process::Levada(server) => server.stop(),
            Process::Other { mut child, data } => {
                // PostgreSQL: without waiting for who is still connected.
                Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
                let began = Instant::now();
                while child.try_wait()?.is_none() {
                    if began.elapsed() > START {
                        child.kill()?;
                    }
                    std::thread::park_timeout(Duration::from_millis(50));
                }
                fs::remove_dir_all(&data)?;
                let _ = fs::remove_file(data.with_extension("log"));
                Ok(())
            }
        }
    }
}

/// PostgreSQL does not run as root.
fn as_somebody(program: &Path) -> anyhow::Result<Command> {
    let id = Command::new("id").arg("-u").output()?;
    if id.stdout.trim_ascii() != b"0" {
        return Ok(Command::new(program));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]).arg(program);
    Ok(command)
}

fn initdb(bin: &Path, data: &Path) -> anyhow::Result<()> {
    Command::new("chmod").arg("777").arg(data).status()?;
    let mut command = as_somebody(&bin.join("initdb"))?;
    let made = command.arg("-D").arg(data.join("pg")).args(["-U", "bench", "--auth=trust"]).output()?;
    ensure!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

/// Of a process and its children, also those that have ended.
fn tree_cpu_seconds(root: u32) -> anyhow::Result<f64> {
    let ticks = |pid: u32, fields: &[usize]| -> Option<u64> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let rest: Vec<String> = stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect();
        fields.iter().map(|at| rest[*at].parse::<u64>().ok()).sum()
    };
    let mut sum = ticks(root, &[11, 12, 13, 14]).context("the store's process is gone")?;
    let children = fs::read_to_string(format!("/proc/{root}/task/{root}/children"))?;
    sum += children.split_whitespace().filter_map(|pid| ticks(pid.parse().ok()?, &[11, 12])).sum::<u64>();
    Ok(sum as f64 / 100.0)
}

#[derive(Default)]
struct Figures {
    order: Vec<String>,
    values: BTreeMap<(String, Store), Vec<f64>>,
}

impl Figures {
    #[expect(clippy::print_stdout, reason = "a command line tool")]
    fn add(&mut self, measure: &str, store: Store, value: f64) {
        println!("  {measure} {value:.2}");
        if !self.order.iter().any(|known| known == measure) {
            self.order.push(measure.to_owned());
        }
        self.values.entry((measure.to_owned(), store)).or_default().push(value);
    }

    fn markdown(&self, runs: usize) -> String {
        let mut text = format!(
            "Medians of {runs} alternating runs; ratios are medians of the runs' ratios.\n\n\
             | measure | Levada | UmaDB | PostgreSQL | Levada / UmaDB | Levada / PostgreSQL |\n|---|--:|--:|--:|--:|--:|\n"
        );
        for measure in &self.order {
            let of = |store| self.values.get(&(measure.clone(), store)).cloned().unwrap_or_default();
            let [ours, uma, postgres] = ALL.map(of);
            let ratio = |theirs: &[f64]| {
                let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
                format!("{:.2}", median(ratios))
            };
            let _ = writeln!(
                text,
                "| {measure} | {} | {} | {} | {} | {} |",
                short(median(ours.clone())),
                short(median(uma.clone())),
                short(median(postgres.clone())),
                ratio(&uma),
                ratio(&postgres),
            );
        }
        text
    }
}
