//! What is under test: a broker, three pattern processes, and the proxies between them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::Context;
use parking_lot::Mutex;
use rustix::process::Signal;

use crate::process::{Process, Ready};
use crate::proxy::{self, BROKER, Switchboard, Target};

/// Pattern processes.
pub const PATTERNS: usize = 3;

pub struct Options {
    pub levada: PathBuf,
    /// Apache Kafka instead of Levada's own broker.
    pub is_kafka: bool,
    pub dir: PathBuf,
    /// For LEVADA_PLANTED.
    pub planted: Option<String>,
    /// Of Levada's processes.
    pub log_level: String,
}

pub struct System {
    options: Options,
    pub board: Arc<Switchboard>,
    broker: Process,
    broker_address: SocketAddr,
    broker_target: Target,
    patterns: Vec<Pattern>,
}

struct Pattern {
    process: Process,
    dir: PathBuf,
    /// 127.0.0.1:0 until it has one: it keeps it.
    address: SocketAddr,
    /// Its way to the broker, and the others' way to it.
    broker: SocketAddr,
    proxy: SocketAddr,
    target: Target,
}

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

impl System {
    pub fn start(options: Options) -> anyhow::Result<System> {
        let board = Arc::new(Switchboard::default());
        let broker_target: Target = Arc::new(Mutex::new(None));
        let mut patterns = Vec::new();
        for number in 0..PATTERNS {
            let name = format!("pattern-{number}");
            let target: Target = Arc::new(Mutex::new(None));
            patterns.push(Pattern {
                process: Process::new(&name, &options.dir),
                dir: options.dir.join(&name),
                address: ANY_PORT,
                broker: proxy::start(board.clone(), Some(number), BROKER, broker_target.clone())?,
                proxy: proxy::start(board.clone(), None, number, target.clone())?,
                target,
            });
        }
        let broker = Process::new("broker", &options.dir);
        let broker_address = ANY_PORT;
        let mut system = System { options, board, broker, broker_address, broker_target, patterns };
        system.start_broker()?;
        for number in 0..PATTERNS {
            system.start_pattern(number)?;
        }
        Ok(system)
    }

    pub fn broker_address(&self) -> SocketAddr {
        self.broker_address
    }

    pub fn dir(&self) -> &Path {
        &self.options.dir
    }

    /// Where clients reach the pattern processes: not through proxies.
    pub fn doors(&self) -> Vec<SocketAddr> {
        self.patterns.iter().map(|pattern| pattern.address).collect()
    }

    /// As what a pattern process is known to the others.
    pub fn url(&self, number: usize) -> String {
        format!("http://{}", self.patterns[number].proxy)
    }

    pub fn start_broker(&mut self) -> anyhow::Result<()> {
        if self.options.is_kafka {
            if self.broker_address.port() == 0 {
                self.broker_address = TcpListener::bind(ANY_PORT)?.local_addr()?;
            }
            let ready = self.options.dir.join("kafka-ready");
            let _ = std::fs::remove_file(&ready);
            let mut command = Command::new("scripts/kafka-reference");
            command.args(["--port", &self.broker_address.port().to_string(), "--data-dir"]);
            command.arg(self.options.dir.join("broker"));
            command.arg("--ready").arg(&ready);
            self.broker.start(command)?;
            self.broker.ready(&Ready::File(&ready))?;
        } else {
            let mut command = Command::new(&self.options.levada);
            command.args(["serve", "--http-addr", "", "--kafka-addr", &self.broker_address.to_string()]);
            command.args(["--log-format", "json", "--log-level", &self.options.log_level]);
            command.arg("--data-dir").arg(self.options.dir.join("broker"));
            self.broker.start(command)?;
            let address = self.broker.ready(&Ready::Line("kafka"))?;
            self.broker_address = address.context("the broker has no address")?;
        }
        *self.broker_target.lock() = Some(self.broker_address);
        Ok(())
    }

    pub fn kill_broker(&mut self) -> anyhow::Result<()> {
        self.broker.kill()
    }

    pub fn terminate_broker(&mut self) -> anyhow::Result<()> {
        self.broker.terminate()
    }

    pub fn signal_broker(&self, signal: Signal) -> anyhow::Result<()> {
        self.broker.signal(signal)
    }

    pub fn start_pattern(&mut self, number: usize) -> anyhow::Result<()> {
        let pattern = &mut self.patterns[number];
        let mut command = Command::new(&self.options.levada);
        command.args(["serve", "--kafka", &pattern.broker.to_string()]);
        command.args(["--log-format", "json", "--log-level", &self.options.log_level]);
        command.args(["--http-addr", &pattern.address.to_string(), "--data-dir"]);
        command.arg(&pattern.dir);
        command.args(["--set", &format!("levada.http.advertised.url=http://{}", pattern.proxy)]);
        if let Some(planted) = &self.options.planted {
            command.env("LEVADA_PLANTED", planted);
        }
        pattern.process.start(command)?;
        // Before its first connection to anybody, as far as that can be.
        self.board.register(number, pattern.process.child_id()?);
        let address = pattern.process.ready(&Ready::Line("http"))?;
        pattern.address = address.context("a pattern process has no address")?;
        *pattern.target.lock() = Some(pattern.address);
        Ok(())
    }

    pub fn kill_pattern(&mut self, number: usize) -> anyhow::Result<()> {
        self.patterns[number].process.kill()
    }

    pub fn terminate_pattern(&mut self, number: usize) -> anyhow::Result<()> {
        self.patterns[number].process.terminate()
    }

    pub fn signal_pattern(&self, number: usize, signal: Signal) -> anyhow::Result<()> {
        self.patterns[number].process.signal(signal)
    }

    /// Its index comes back from the log.
    pub fn lose_index(&self, number: usize) -> anyhow::Result<()> {
        std::fs::remove_dir_all(self.patterns[number].dir.join("patterns"))?;
        Ok(())
    }
}
