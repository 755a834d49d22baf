//! Groups: who their members are, and how far they have got.
//!
//! One machine per partition of `__consumer_offsets`. A group is *simple* (it only commits offsets), or has members
//! under the classic protocol ([`classic`]) or
//! under the newer one of consumers ([`consumer`]).
//!
//! Not every fact outlives the process. Who is joining just now, or was heard of when, is folded like everything else
//! but never written: after a restart the members simply come again, as they do in Kafka. [`Record::is_durable`] tells
//! which is which.

pub mod classic;
pub mod consumer;
mod kept;
mod offsets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use machine::{Decision, Machine};
use model::{Timestamp, TopicId};

use classic::{Answer, Classic, Join, Leaver, Sync};
use consumer::{Beat, Beaten, Consumer, Fact, Image, Migration, Obstacle};
pub use offsets::{Commit, Committed, Offsets, TopicPartition};

#[cfg(test)]
mod tests;

/// What one process may choose.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Bounds of the session timeout that a classic member may ask for.
    pub session_timeout_min: Duration,
    pub session_timeout_max: Duration,
    /// Most members of a classic group.
    pub members_max: usize,
    /// Most bytes that are kept of what one member says of itself, and of what it is assigned.
    pub member_bytes_max: usize,
    /// The same of all members of all groups of the broker, those of other machines too.
    pub bytes_max: usize,
    /// How long the first rebalance of an empty group waits for more members.
    pub initial_rebalance_delay: Duration,
    /// Session timeout under the newer protocol, for groups that nobody has told another yet.
    pub consumer_session_timeout: Duration,
    /// Most members of a group under the newer protocol.
    pub consumer_members_max: usize,
    /// Which ways groups with members may go from one protocol to the other.
    pub migration: Migration,
    /// The same for groups that have one of their own.
    pub consumer_session_timeouts: Arc<BTreeMap<String, Duration>>,
    /// Offsets that nobody uses are forgotten after this.
    pub offsets_retention: Duration,
    /// How often they are looked for.
    pub offsets_check_interval: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Groups {
    options: Options,
    groups: BTreeMap<String, Group>,
    /// When something of a group is due, at the earliest.
    due: BTreeMap<String, Timestamp>,
    due_order: BTreeSet<(Timestamp, String)>,
    offsets_checked_at: Timestamp,
    kept_bytes: usize,
    /// The topics that there were when the log was read, for groups that nobody has told of others since.
    image: Arc<Image>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    pub offsets: Offsets,
    /// None: the group is simple, nobody ever joined it.
    pub classic: Option<Arc<Classic>>,
    /// A group of consumers under the newer protocol; then it is not a classic one.
    pub consumer: Option<Arc<Consumer>>,
}

#[derive(Clone, Debug)]
pub enum Command {
    Join(Join),
    Sync(Sync),
    Heartbeat {
        group: String,
        generation: i32,
        member: String,
        instance: Option<String>,
    },
    Leave {
        group: String,
        leavers: Vec<Leaver>,
    },
    Commit(Commit),
    ConsumerHeartbeat(Beat),
    /// Forgets these offsets of one group.
    DeleteOffsets {
        group: String,
        partitions: Vec<TopicPartition>,
    },
    /// Forgets every group's offsets of a topic that is gone.
    TopicDeleted {
        id: TopicId,
    },
    DeleteGroup {
        group: String,
    },
    /// The log was read: sessions of the members found there begin now.
    Started,
    /// Something may be due.
    Wake,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    OffsetCommitted {
        group: String,
        partition: TopicPartition,
        committed: Committed,
    },
    OffsetForgotten {
        group: String,
        partition: TopicPartition,
    },
    /// A classic group as it is now. `None`: it is gone.
    Classic {
        group: String,
        classic: Option<Arc<Classic>>,
        is_durable: bool,
    },
    Consumer {
        group: String,
        fact: Fact,
    },
    /// A classic member was heard of.
    Seen {
        group: String,
        member: String,
        at: Timestamp,
    },
    /// What a member that waits is told.
    Answered {
        group: String,
        member: String,
        answer: Answer,
    },
    /// Looked at, and nothing was due.
    Looked {
        group: String,
    },
    OffsetsChecked {
        at: Timestamp,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Done,
    /// The answer comes with a record [`Record::Answered`].
    Waits,
    Now(Answer),
    Beaten(Beaten),
    /// One per leaver.
    Left(Vec<Result<(), Reject>>),
    /// Partitions that were left alone because the group reads their topic.
    OffsetsDeleted {
        subscribed: Vec<TopicPartition>,
    },
}

/// What callers are refused, as Kafka tells it apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reject {
    InvalidGroupId,
    InvalidSessionTimeout,
    InconsistentGroupProtocol,
    UnknownMemberId,
    FencedInstanceId,
    IllegalGeneration,
    RebalanceInProgress,
    GroupMaxSizeReached,
    /// More than is kept of one member.
    MemberTooLarge,
    /// All groups of the broker keep as much as they may.
    NoRoom,
    NonEmptyGroup,
    GroupNotFound,
    /// A commit with a generation, into a group that does not exist.
    UnknownGeneration,
    FencedMemberEpoch,
    StaleMemberEpoch,
    /// A member under the newer protocol commits with a request that cannot carry its epoch.
    UnsupportedVersion,
    UnreleasedInstanceId,
    /// A classic group with members cannot have one under the newer protocol.
    CannotUpgrade(Obstacle),
    UnsupportedAssignor,
    /// With the words for the client.
    InvalidRegularExpression(Arc<str>),
}

impl Record {
    pub fn is_durable(&self) -> bool {
        match self {
            Record::OffsetCommitted { .. } | Record::OffsetForgotten { .. } => true,
            Record::Classic { is_durable, .. } => *is_durable,
            Record::Consumer { fact, .. } => fact.is_durable(),
            Record::Seen { .. }
            | Record::Answered { .. }
            | Record::Looked { .. }
            | Record::OffsetsChecked { .. } => false,
        }
    }

    fn group(&self) -> Option<&str> {
        match self {
            Record::OffsetCommitted { group, .. }
            | Record::OffsetForgotten { group, .. }
            | Record::Classic { group, .. }
            | Record::Consumer { group, .. }
            | Record::Seen { group, .. }
            | Record::Answered { group, .. }
            | Record::Looked { group } => Some(group),
            Record::OffsetsChecked { .. } => None,
        }
    }
}

impl Machine for Groups {
    type Command = Command;
    type Record = Record;
    type Reply = Reply;
    type Reject = Reject;

    fn decide(&self, command: Command, now: Timestamp) -> Result<Decision<Self>, Reject> {
        match command {
            Command::Join(join) => self.join(join, now),
            Command::Sync(sync) => match self.consumer(&sync.group) {
                Some(group) => consumer::sync(group, sync, now),
                None => classic::sync(self, sync, now),
            },
            Command::Heartbeat { group: name, generation, member, instance } => {
                let instance = instance.as_deref();
                match self.consumer(&name) {
                    Some(group) => consumer::classic_beat(group, &name, generation, &member, instance, now),
                    None => classic::heartbeat(self, &name, generation, &member, instance, now),
                }
            }
            Command::Leave { group: name, leavers } => match self.consumer(&name) {
                Some(_) => consumer::leave(self, &name, &leavers, now),
                None => classic::leave(self, &name, &leavers, now),
            },
            Command::ConsumerHeartbeat(beat) => consumer::heartbeat(self, beat, now),
            Command::Commit(commit) => offsets::commit(self, commit, now),
            Command::DeleteOffsets { group, partitions } => offsets::delete(self, &group, partitions),
            Command::TopicDeleted { id } => Ok(offsets::topic_deleted(self, id)),
            Command::DeleteGroup { group } => self.delete_group(&group),
            Command::Started => Ok(self.started(now)),
            Command::Wake => Ok(self.wake(now)),
        }
    }

    fn apply(&mut self, record: &Record) {
        match record {
            Record::OffsetCommitted { group, partition, committed } => {
                let group = self.groups.entry(group.clone()).or_default();
                group.offsets.insert(partition.clone(), committed.clone());
            }
            Record::OffsetForgotten { group, partition } => {
                if let Some(group) = self.groups.get_mut(group) {
                    group.offsets.remove(partition);
                }
            }
            Record::Classic { group, classic: Some(classic), .. } => {
                let group = self.groups.entry(group.clone()).or_default();
                let more = classic.kept_bytes_beside(group.classic.as_deref());
                let before = group.classic.replace(classic.clone());
                self.kept_bytes += more;
                self.kept_bytes -= before.map_or(0, |before| before.kept_bytes_beside(Some(classic)));
            }
            Record::Classic { group, classic: None, .. } => {
                let group = self.groups.get_mut(group);
                let before = group.and_then(|group| group.classic.take());
                self.kept_bytes -= before.map_or(0, |before| before.kept_bytes_beside(None));
            }
            Record::Consumer { group: name, fact } => {
                if !self.take_in(name, fact) {
                    // The earlier time stays, as for classic members.
                    return;
                }
            }
            Record::Seen { group, member, at } => {
                if let Some(classic) = self.groups.get_mut(group).and_then(|group| group.classic.as_mut()) {
                    Arc::make_mut(classic).seen(member, *at);
                }
                // The earlier time stays: looking then costs less than keeping this exact.
                return;
            }
            Record::Answered { .. } => return,
            Record::Looked { .. } => {}
            Record::OffsetsChecked { at } => self.offsets_checked_at = *at,
        }
        if let Some(name) = record.group() {
            let is_nothing = |group: &Group| {
                group.classic.is_none() && group.consumer.is_none() && group.offsets.is_empty()
            };
            if self.groups.get(name).is_some_and(is_nothing) {
                self.groups.remove(name);
            }
            self.schedule(name);
        }
    }
}

impl Groups {
    pub fn new(options: Options) -> Groups {
        Groups {
            options,
            groups: BTreeMap::new(),
            due: BTreeMap::new(),
            due_order: BTreeSet::new(),
            offsets_checked_at: Timestamp(0),
            kept_bytes: 0,
            image: Arc::default(),
        }
    }

    /// The same, told of the topics that there are.
    pub fn knowing(self, image: Arc<Image>) -> Groups {
        Groups { image, ..self }
    }

    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(name)
    }

    /// All groups, by name.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &Group)> {
        self.groups.iter().map(|(name, group)| (name.as_str(), group))
    }

    /// When [`Command::Wake`] is wanted.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let of_groups = self.due_order.first().map(|(at, _)| *at);
        let check = (!self.groups.is_empty())
            .then(|| classic::after(self.offsets_checked_at, self.options.offsets_check_interval));
        of_groups.into_iter().chain(check).min()
    }

    fn classic(&self, group: &str) -> Option<&Arc<Classic>> {
        self.groups.get(group)?.classic.as_ref()
    }

    fn consumer(&self, group: &str) -> Option<&Arc<Consumer>> {
        self.groups.get(group)?.consumer.as_ref()
    }

    /// A group under the newer protocol that nobody is in any more becomes what the first newcomer wants it to be.
    fn join(&self, join: Join, now: Timestamp) -> Result<Decision<Self>, Reject> {
        classic::check(self, &join)?;
        let name = join.group.clone();
        match self.consumer(&name) {
            None => classic::join(self, join, now),
            Some(consumer) if !consumer.members.is_empty() => consumer::join(self, &join, now),
            Some(consumer) => {
                let mut decision = classic::join(self, join, now)?;
                let gone = |fact| Record::Consumer { group: name.clone(), fact };
                decision.records.splice(0..0, consumer.tombstones().into_iter().map(gone));
                Ok(decision)
            }
        }
    }

    /// Says whether it matters for when the group is due.
    fn take_in(&mut self, name: &str, fact: &Fact) -> bool {
        // A fact that ends something must not begin it.
        let ends = matches!(
            fact,
            Fact::GroupGone
                | Fact::MemberGone { .. }
                | Fact::TargetEpochGone
                | Fact::TargetGone { .. }
                | Fact::CurrentGone { .. }
                | Fact::ExpressionGone { .. }
        );
        if ends && self.consumer(name).is_none() {
            return false;
        }
        let group = self.groups.entry(name.to_string()).or_default();
        let consumer = group.consumer.get_or_insert_default();
        self.kept_bytes -= consumer.kept_bytes_of(fact);
        match Arc::make_mut(consumer).apply(fact) {
            true => self.kept_bytes += consumer.kept_bytes_of(fact),
            false => group.consumer = None,
        }
        match fact {
            Fact::Seen { member, limits, .. } => {
                let known = self.due.get(name);
                let due = self.consumer(name).and_then(|group| group.due_at_of(member));
                limits.earliest().is_some() || known.is_none_or(|known| due.is_some_and(|due| due < *known))
            }
            _ => true,
        }
    }

    fn schedule(&mut self, name: &str) {
        let classic = self.classic(name).and_then(|classic| classic.due_at());
        let consumer = self.consumer(name).and_then(|consumer| consumer.due_at());
        let next = classic.or(consumer);
        if let Some(at) = self.due.remove(name) {
            self.due_order.remove(&(at, name.to_string()));
        }
        if let Some(at) = next {
            self.due.insert(name.to_string(), at);
            self.due_order.insert((at, name.to_string()));
        }
    }

    fn started(&self, now: Timestamp) -> Decision<Self> {
        let mut records = vec![Record::OffsetsChecked { at: now }];
        for (name, group) in &self.groups {
            if let Some(classic) = &group.classic {
                let mut classic = Classic::clone(classic);
                classic.begin_sessions(now);
                let classic = Some(Arc::new(classic));
                records.push(Record::Classic { group: name.clone(), classic, is_durable: false });
            }
            if group.consumer.is_some() {
                let own = self.options.consumer_session_timeouts.get(name);
                let session_timeout = own.copied().unwrap_or(self.options.consumer_session_timeout);
                records.extend(consumer::started(self, name, session_timeout, now));
            }
        }
        Decision::new(records, Reply::Done)
    }

    fn wake(&self, now: Timestamp) -> Decision<Self> {
        let mut records = Vec::new();
        for (_, name) in self.due_order.iter().take_while(|(at, _)| *at <= now) {
            match self.classic(name) {
                Some(classic) => records.extend(classic::expire(&self.options, name, classic, now)),
                None => records.extend(consumer::expire(self, name, now)),
            }
        }
        let check_at = classic::after(self.offsets_checked_at, self.options.offsets_check_interval);
        if check_at <= now {
            records.push(Record::OffsetsChecked { at: now });
            records.extend(offsets::expired(self, now));
        }
        Decision::new(records, Reply::Done)
    }

    fn delete_group(&self, name: &str) -> Result<Decision<Self>, Reject> {
        let group = self.groups.get(name).ok_or(Reject::GroupNotFound)?;
        let has_consumers = group.consumer.as_ref().is_some_and(|consumer| !consumer.members.is_empty());
        if has_consumers || group.classic.as_ref().is_some_and(|classic| !classic.is_empty()) {
            return Err(Reject::NonEmptyGroup);
        }
        Ok(Decision::new(self.tombstones(name, group), Reply::Done))
    }

    /// The records that make a group nothing.
    fn tombstones(&self, name: &str, group: &Group) -> Vec<Record> {
        let forget = |partition: &TopicPartition| Record::OffsetForgotten {
            group: name.to_string(),
            partition: partition.clone(),
        };
        let mut records: Vec<Record> = group.offsets.keys().map(forget).collect();
        if group.classic.is_some() {
            records.push(Record::Classic { group: name.to_string(), classic: None, is_durable: true });
        }
        if let Some(consumer) = &group.consumer {
            let gone = |fact| Record::Consumer { group: name.to_string(), fact };
            records.extend(consumer.tombstones().into_iter().map(gone));
        }
        records
    }
}
