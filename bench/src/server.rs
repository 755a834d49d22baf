//! A broker under measure: started fresh, watched through /proc, stopped by its id.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::{Arguments, groups, load};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum System {
    Levada,
    Kafka,
}

impl System {
    pub fn name(self) -> &'static str {
        match self {
            System::Levada => "Levada",
            System::Kafka => "Kafka",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mode {
    /// Acknowledged after fsync.
    Fsync,
    /// Acknowledged after the write.
    PageCache,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Fsync => "fsync",
            Mode::PageCache => "page cache",
        }
    }
}

pub struct Server {
    pub address: String,
    /// When it was started.
    pub began: Instant,
    command: Vec<OsString>,
    /// The HTTP door; of Levada only.
    pub http: String,
    pub first_ack_ms: f64,
    child: Child,
    data: PathBuf,
    topics: usize,
}

/// How long a broker may take to serve.
const START: Duration = Duration::from_secs(60);

impl Server {
    pub fn start(system: System, mode: Mode, arguments: &Arguments) -> anyhow::Result<Server> {
        let port = free_port()?;
        let address = format!("127.0.0.1:{port}");
        let http = format!("127.0.0.1:{}", free_port()?);
        let data = std::env::temp_dir().join(format!("levada-bench-{port}"));
        fs::create_dir_all(&data)?;
        let flush = match mode {
            Mode::Fsync => "log.flush.interval.messages=1",
            Mode::PageCache => "log.flush.interval.messages=9223372036854775807",
        };
        let log = fs::OpenOptions::new().create(true).append(true).open(data.join("server.log"))?;
        let mut command = match system {
            System::Levada => {
                let mut command = Command::new(&arguments.levada);
                command.args(["serve", "--kafka-addr", &address, "--http-addr", &http, "--data-dir"]);
                command.arg(data.join("levada")).args(["--set", flush]);
                let beat = format!("group.consumer.heartbeat.interval.ms={}", groups::BEAT.as_millis());
                command.args(["--set", &beat]);
                command
            }
            System::Kafka => {
                let mut command = Command::new("scripts/kafka-reference");
                command
                    .args(["--port", &port.to_string(), "--set", flush, "--data-dir"])
                    .arg(data.join("kafka"));
                command
            }
        };
        let began = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let command =
            [command.get_program()].into_iter().chain(command.get_args()).map(OsString::from).collect();
        let mut server = Server { address, began, command, http, first_ack_ms: 0.0, child, data, topics: 0 };
        while load::first_ack(&server.address).is_err() {
            if began.elapsed() > START || server.child.try_wait()?.is_some() {
                bail!("{} does not start: see {}", system.name(), server.data.display());
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
        server.first_ack_ms = began.elapsed().as_secs_f64() * 1000.0;
        Ok(server)
    }

    /// A topic name nobody has used.
    pub fn new_topic(&mut self) -> String {
        self.topics += 1;
        format!("bench-{}", self.topics)
    }

    /// CPU seconds of the broker so far, user and system.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()?))?;
        let rest = stat.rsplit_once(')').context("an odd /proc file")?.1;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(ticks as f64 / 100.0)
    }

    pub fn resident_mib(&self) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.split_whitespace().nth(1).context("no VmRSS")?.parse()?;
        Ok(kib / 1024.0)
    }

    /// The broker itself: the child, or the child's child where a script stands in between.
    fn pid(&self) -> anyhow::Result<u32> {
        let mut pid = self.child.id();
        loop {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"))?;
            if matches!(name.trim(), "levada" | "java") {
                return Ok(pid);
            }
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
            let next = children.split_whitespace().next().context("the broker's process is gone")?;
            pid = next.parse()?;
        }
    }

    /// Stops it in order and starts it with the same data; it may not serve yet.
    pub fn restart(mut self) -> anyhow::Result<Server> {
        self.end_process()?;
        let log = fs::OpenOptions::new().append(true).open(self.data.join("server.log"))?;
        self.began = Instant::now();
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        self.child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(self)
    }

    pub fn stop(mut self) -> anyhow::Result<()> {
        self.end()
    }

    fn end(&mut self) -> anyhow::Result<()> {
        self.end_process()?;
        if self.data.exists() {
            fs::remove_dir_all(&self.data)?;
        }
        std::io::stdout().flush()?;
        Ok(())
    }

    fn end_process(&mut self) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        let id = self.child.id().to_string();
        Command::new("kill").arg(&id).status()?;
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            if began.elapsed() > START {
                self.child.kill()?;
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// A measure that fails leaves no broker behind.
impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

pub fn connect(address: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}
