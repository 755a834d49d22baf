mod bounds;
mod classic;
mod classics;
mod consumer;
mod epochs;
mod migration;
mod mixed;
mod offsets;

use std::collections::BTreeMap;
use std::time::Duration;

use machine::Machine;
use model::{LeaderEpoch, Offset, Timestamp, TopicId};

use super::classic::Answer;
use super::*;

/// A machine, its log, and what its waiting members were told.
struct Bench {
    groups: Groups,
    now: Timestamp,
    log: Vec<Record>,
    answers: BTreeMap<String, Answer>,
    /// The topics that it finds when it is started again.
    image: Arc<Image>,
}

fn options() -> Options {
    Options {
        session_timeout_min: Duration::from_secs(6),
        session_timeout_max: Duration::from_secs(1800),
        members_max: 1000,
        member_bytes_max: 256 << 20,
        bytes_max: 1 << 30,
        initial_rebalance_delay: Duration::ZERO,
        consumer_session_timeout: Duration::from_secs(45),
        consumer_members_max: 1000,
        migration: Migration::Bidirectional,
        consumer_session_timeouts: Arc::default(),
        offsets_retention: Duration::from_secs(7 * 24 * 3600),
        offsets_check_interval: Duration::from_secs(600),
    }
}

impl Bench {
    fn new() -> Bench {
        Bench::with(options())
    }

    fn with(options: Options) -> Bench {
        let mut bench = Bench {
            groups: Groups::new(options),
            now: Timestamp(1_000_000),
            log: Vec::new(),
            answers: BTreeMap::new(),
            image: Arc::default(),
        };
        bench.run(Command::Started).unwrap();
        bench
    }

    fn run(&mut self, command: Command) -> Result<Reply, Reject> {
        let decision = self.groups.decide(command, self.now)?;
        for record in decision.records {
            self.groups.apply(&record);
            if let Record::Answered { member, answer, .. } = &record {
                self.answers.insert(member.clone(), answer.clone());
            }
            self.log.push(record);
        }
        Ok(decision.reply)
    }

    /// Lets time go by, and the machine wake whenever it wants to.
    fn pass(&mut self, seconds: u64) {
        let until = classic::after(self.now, seconds);
        while let Some(at) = self.groups.wake_at().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.run(Command::Wake).unwrap();
            assert!(self.groups.wake_at().is_none_or(|next| next > self.now), "it would spin");
        }
        self.now = until;
    }

    /// The process ends: what was not written is gone.
    fn restart(&mut self) {
        let mut groups = Groups::new(self.groups.options.clone()).knowing(self.image.clone());
        self.log.retain(Record::is_durable);
        self.log.iter().for_each(|record| groups.apply(record));
        self.groups = groups;
        self.answers.clear();
        self.run(Command::Started).unwrap();
    }
}
