//! Processes under test: started, killed, stopped and continued, each by its id.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to be ready, or to end when it is told to.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Process {
    pub name: String,
    log: PathBuf,
    child: Option<Child>,
    /// Where its log had got to when it was started last.
    log_from: u64,
}

/// How a process says that it serves, and where.
pub enum Ready<'a> {
    /// Levada's log line; the address is that field of it.
    Line(&'a str),
    /// This file appears.
    File(&'a Path),
}

impl Process {
    pub fn new(name: &str, dir: &Path) -> Process {
        let log = dir.join(format!("{name}.log"));
        Process { name: name.to_owned(), log, child: None, log_from: 0 }
    }

    pub fn start(&mut self, mut command: Command) -> anyhow::Result<()> {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        self.log_from = log.metadata()?.len();
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().with_context(|| format!("starting {}", self.name))?);
        Ok(())
    }

    /// Waits until it serves.
    pub fn ready(&mut self, by: &Ready<'_>) -> anyhow::Result<Option<SocketAddr>> {
        let began = Instant::now();
        loop {
            match by {
                Ready::Line(field) => {
                    if let Some(address) = self.ready_line(field)? {
                        return Ok(Some(address));
                    }
                }
                Ready::File(path) => {
                    if path.exists() {
                        return Ok(None);
                    }
                }
            }
            let ended = self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if ended || began.elapsed() > PATIENCE {
                bail!("{} does not start: see {}", self.name, self.log.display());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn ready_line(&self, field: &str) -> anyhow::Result<Option<SocketAddr>> {
        let text = fs::read(&self.log)?;
        let text = String::from_utf8_lossy(&text[(self.log_from as usize).min(text.len())..]).into_owned();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            let fields = line.get("fields").unwrap_or(&line);
            if fields.get("message").and_then(|it| it.as_str()) == Some("ready") {
                let address = fields.get(field).and_then(|it| it.as_str());
                let address = address.with_context(|| format!("{} is ready without {field}", self.name))?;
                return Ok(Some(address.parse()?));
            }
        }
        Ok(None)
    }

    /// The id of what was started, be it a script.
    pub fn child_id(&self) -> anyhow::Result<u32> {
        Ok(self.child.as_ref().with_context(|| format!("{} does not run", self.name))?.id())
    }

    /// The id of the process itself: the child, or the child's child where a script stands in between.
    pub fn id(&self) -> anyhow::Result<u32> {
        let mut id = self.child_id()?;
        loop {
            let name = fs::read_to_string(format!("/proc/{id}/comm"))?;
            if matches!(name.trim(), "levada" | "java") {
                return Ok(id);
            }
            let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
            let next = children.split_whitespace().next();
            id = next.with_context(|| format!("{} is gone", self.name))?.parse()?;
        }
    }

    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = i32::try_from(self.id()?).ok().and_then(Pid::from_raw).context("no process id")?;
        Ok(kill_process(id, signal)?)
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        self.gone()
    }

    /// SIGTERM, and waits until it has ended by itself.
    pub fn terminate(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        self.gone()
    }

    fn gone(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        let Some(child) = &mut self.child else { return Ok(()) };
        while child.try_wait()?.is_none() {
            if began.elapsed() > PATIENCE {
                bail!("{} does not end", self.name);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child = None;
        Ok(())
    }
}

/// Nothing is left behind.
impl Drop for Process {
    fn drop(&mut self) {
        if self.child.is_some() {
            let is_killed = self.signal(Signal::KILL).is_ok();
            if let Some(mut child) = self.child.take() {
                if !is_killed {
                    let _ = child.kill();
                }
                let _ = child.wait();
            }
        }
    }
}
