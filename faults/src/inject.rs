//! Faults, one after the other, as a seed says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;

use crate::chance::Chance;
use crate::history::{Micros, Place};
use crate::load::Shared;
use crate::proxy::{BROKER, Cut};
use crate::system::{PATTERNS, System};
use crate::topics;

/// The event store's session timeout (levada.events.session.timeout.ms).
pub const SESSION: Duration = Duration::from_secs(6);

/// How long the next fault waits until every partition has an owner.
const SETTLED_MAX: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL, and started again at once.
    Kill,
    /// SIGKILL, and started again when others have its partitions.
    KillForLong,
    /// SIGKILL, and its index is gone when it comes back at once.
    KillAndLoseIndex,
    /// SIGSTOP, and SIGCONT when others have its partitions.
    Stop,
    /// SIGTERM, and started again when it has ended.
    Terminate,
    /// A process cannot reach the broker for longer than its session.
    CutOff(Cut),
    /// Nor other processes, nor they it.
    Isolate(Cut),
    KillBroker,
    /// SIGSTOP for longer than anybody's session.
    StopBroker,
    TerminateBroker,
}

const ALL: [Fault; 12] = [
    Fault::Kill,
    Fault::KillForLong,
    Fault::KillAndLoseIndex,
    Fault::Stop,
    Fault::Terminate,
    Fault::CutOff(Cut::Blocked),
    Fault::CutOff(Cut::Deaf),
    Fault::CutOff(Cut::Broken),
    Fault::Isolate(Cut::Blocked),
    Fault::KillBroker,
    Fault::StopBroker,
    Fault::TerminateBroker,
];

/// What a short run has.
const FEW: [Fault; 5] =
    [Fault::KillAndLoseIndex, Fault::KillBroker, Fault::Stop, Fault::Kill, Fault::CutOff(Cut::Deaf)];

impl Fault {
    pub fn name(self) -> String {
        match self {
            Fault::Kill => "killed, started at once".to_owned(),
            Fault::KillForLong => "killed, started after its session".to_owned(),
            Fault::KillAndLoseIndex => "killed, index lost, started at once".to_owned(),
            Fault::Stop => "stopped past its session, continued".to_owned(),
            Fault::Terminate => "told to stop, started again".to_owned(),
            Fault::CutOff(Cut::Blocked) => "cut off from the broker: nothing passes".to_owned(),
            Fault::CutOff(Cut::Deaf) => "cut off from the broker: answers do not pass".to_owned(),
            Fault::CutOff(Cut::Broken) => "cut off from the broker: connections break".to_owned(),
            Fault::Isolate(_) => "cut off from broker and peers: nothing passes".to_owned(),
            Fault::KillBroker => "broker killed, started at once".to_owned(),
            Fault::StopBroker => "broker stopped past all sessions, continued".to_owned(),
            Fault::TerminateBroker => "broker told to stop, started again".to_owned(),
        }
    }

    pub fn is_of_broker(self) -> bool {
        matches!(self, Fault::KillBroker | Fault::StopBroker | Fault::TerminateBroker)
    }
}

/// A fault that was made.
#[derive(Debug, Clone)]
pub struct Incident {
    pub fault: Fault,
    pub begin: Micros,
    pub healed: Micros,
    /// Partitions that the process had; all of them where it is the broker.
    pub owned: Vec<Place>,
}

pub struct Injector {
    pub system: System,
    pub shared: Arc<Shared>,
    pub runtime: tokio::runtime::Handle,
    pub is_brief: bool,
    /// Between two faults, about.
    pub pause: Duration,
    /// Only faults whose name has this in it.
    pub only: Option<String>,
    pub chance: Chance,
    pub incidents: Vec<Incident>,
    pub tell: fn(&str),
}

impl Injector {
    /// Until the load is enough and so many faults were made, or it is late. Everything is healed at the end.
    pub fn run(
        &mut self,
        at_least: usize,
        is_enough: impl Fn() -> bool,
        is_late: impl Fn() -> bool,
    ) -> anyhow::Result<()> {
        let mut deck: Vec<Fault> = Vec::new();
        while !is_late() && (self.incidents.len() < at_least || !is_enough()) {
            let pause = match self.is_brief {
                true => Duration::from_millis(1500),
                // From half to one and a half.
                false => self.pause.mul_f64(0.5 + self.chance.percent() as f64 / 100.0),
            };
            self.sleep(pause);
            if deck.is_empty() {
                deck = self.deck();
            }
            let fault = deck.pop().context("no fault has such a name")?;
            self.inject(fault)?;
        }
        Ok(())
    }

    fn deck(&mut self) -> Vec<Fault> {
        if self.is_brief {
            return FEW.into_iter().rev().collect();
        }
        let is_wanted = |fault: &Fault| self.only.as_ref().is_none_or(|only| fault.name().contains(only));
        let mut deck: Vec<Fault> = ALL.into_iter().filter(is_wanted).collect();
        for end in (1..deck.len()).rev() {
            deck.swap(end, self.chance.below(end as u64 + 1) as usize);
        }
        deck
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    fn past_session(&mut self) -> Duration {
        SESSION + Duration::from_millis(1500 + self.chance.below(2500))
    }

    fn inject(&mut self, fault: Fault) -> anyhow::Result<()> {
        let process = self.chance.below(PATTERNS as u64) as usize;
        let owned = self.owned(fault, process);
        let begin = self.shared.now();
        let seconds = begin / 1_000_000;
        let whom = if fault.is_of_broker() { String::new() } else { format!("pattern-{process} ") };
        (self.tell)(&format!(
            "{seconds:>4} s, {:>8} acknowledged: {whom}{}",
            self.shared.acknowledged_so_far(),
            fault.name()
        ));
        let hold = self.past_session();
        match fault {
            Fault::Kill => {
                self.system.kill_pattern(process)?;
                self.system.start_pattern(process)?;
            }
            Fault::KillForLong => {
                self.system.kill_pattern(process)?;
                self.meanwhile(process, hold)?;
                self.system.start_pattern(process)?;
            }
            Fault::KillAndLoseIndex => {
                self.system.kill_pattern(process)?;
                self.system.lose_index(process)?;
                self.system.start_pattern(process)?;
            }
            Fault::Stop => {
                self.system.signal_pattern(process, Signal::STOP)?;
                self.meanwhile(process, hold)?;
                self.system.signal_pattern(process, Signal::CONT)?;
            }
            Fault::Terminate => {
                self.system.terminate_pattern(process)?;
                self.system.start_pattern(process)?;
            }
            Fault::CutOff(cut) => {
                self.system.board.cut(process, BROKER, Some(cut));
                self.meanwhile(process, hold)?;
                self.system.board.cut(process, BROKER, None);
            }
            Fault::Isolate(cut) => {
                let others: Vec<usize> = (0..PATTERNS).filter(|other| *other != process).collect();
                self.system.board.cut(process, BROKER, Some(cut));
                for other in &others {
                    self.system.board.cut(process, *other, Some(cut));
                    self.system.board.cut(*other, process, Some(cut));
                }
                self.meanwhile(process, hold)?;
                for other in &others {
                    self.system.board.cut(process, *other, None);
                    self.system.board.cut(*other, process, None);
                }
                self.system.board.cut(process, BROKER, None);
            }
            Fault::KillBroker => {
                self.system.kill_broker()?;
                self.system.start_broker()?;
            }
            Fault::StopBroker => {
                self.system.signal_broker(Signal::STOP)?;
                self.sleep(hold);
                self.system.signal_broker(Signal::CONT)?;
            }
            Fault::TerminateBroker => {
                self.system.terminate_broker()?;
                self.system.start_broker()?;
            }
        }
        let healed = self.shared.now();
        self.incidents.push(Incident { fault, begin, healed, owned });
        Ok(())
    }

    /// While one process is away something else may happen, too.
    fn meanwhile(&mut self, process: usize, hold: Duration) -> anyhow::Result<()> {
        if self.is_brief || self.chance.percent() >= 30 {
            self.sleep(hold);
            return Ok(());
        }
        let before = hold.mul_f64(self.chance.percent() as f64 / 100.0);
        self.sleep(before);
        if self.chance.percent() < 50 {
            (self.tell)("        meanwhile: broker killed, started at once");
            self.system.kill_broker()?;
            self.system.start_broker()?;
        } else {
            let other = (process + 1 + self.chance.below(PATTERNS as u64 - 1) as usize) % PATTERNS;
            (self.tell)(&format!("        meanwhile: pattern-{other} killed, started at once"));
            self.system.kill_pattern(other)?;
            self.system.start_pattern(other)?;
        }
        self.sleep(hold.saturating_sub(before));
        Ok(())
    }

    fn owned(&self, fault: Fault, process: usize) -> Vec<Place> {
        let categories = self.shared.topics.len() as u8;
        if fault.is_of_broker() {
            let partitions = 0..self.shared.partitions as i32;
            let of = |category| partitions.clone().map(move |partition| Place { category, partition });
            return (0..categories).flat_map(of).collect();
        }
        let address = self.system.broker_address().to_string();
        let began = Instant::now();
        let owners = loop {
            let asked = self.runtime.block_on(async {
                let cluster = topics::connect(&address).await?;
                topics::owners(&cluster, categories).await
            });
            let owners: BTreeMap<String, Vec<Place>> = asked.unwrap_or_default();
            let shared_out: usize = owners.values().map(Vec::len).sum();
            let is_settled = shared_out == usize::from(categories) * self.shared.partitions;
            if is_settled || began.elapsed() > SETTLED_MAX {
                break owners;
            }
            self.sleep(Duration::from_millis(100));
        };
        owners.get(&self.system.url(process)).cloned().unwrap_or_default()
    }
}
