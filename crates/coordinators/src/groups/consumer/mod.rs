//! The consumer group protocol (KIP-848): members say what they want with every heartbeat, the coordinator assigns, and
//! moves each member towards its target on its own, one heartbeat at a time.
//!
//! ```text
//!   group epoch ─────── rises when the members or what they subscribe to change
//!   assignment epoch ── the group epoch for which targets were computed
//!   member epoch ────── the assignment epoch that the member has reached:
//!
//!     Stable ──────────▶ UnrevokedPartitions ── it has given up what it must ──▶ UnreleasedPartitions or Stable
//!        ▲   new target        (keeps its epoch until then)                             │
//!        └───────────────── others have given up what it gets ──────────────────────────┘
//! ```
//!
//! A partition is handed to a member only when nobody owns it and nobody has still to give it up.
//!
//! Members under the classic protocol may be among them ([`classics`]), while an application moves from one protocol to
//! the other: a group with any member under the newer protocol is one of these groups ([`migration`]).

mod assign;
mod change;
mod classics;
mod expression;
mod heartbeat;
mod migration;
mod reconcile;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::{Timestamp, TopicId};

use super::Reject;
use super::classic::{Named, Protocol, after};

pub use assign::Assignor;
use change::Change;
pub(super) use change::{expire, started};
pub(super) use classics::{beat as classic_beat, join, leave, sync};
pub(super) use heartbeat::heartbeat;
pub use heartbeat::{Beat, Beaten};
pub use migration::{Migration, Obstacle};

/// Partitions by topic; no topic without partitions.
pub type Assignment = BTreeMap<TopicId, BTreeSet<i32>>;

/// The member epoch of who joins, of who leaves, and of a static member that will come back.
pub const JOINS: i32 = 0;
pub const LEAVES: i32 = -1;
pub const LEAVES_FOR_A_WHILE: i32 = -2;

/// The epoch of a group that nobody has joined yet.
const EPOCH_BEFORE_ALL: i32 = 1;

/// The topics that there are, as the coordinator is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// Another one has another version.
    pub version: u64,
    pub topics: BTreeMap<String, ImageTopic>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageTopic {
    pub id: TopicId,
    pub partitions: i32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Consumer {
    pub epoch: i32,
    /// Changes with the subscribed topics, their ids and numbers of partitions.
    pub metadata_hash: i64,
    pub assignment_epoch: i32,
    pub members: BTreeMap<String, Arc<Member>>,
    pub targets: BTreeMap<String, Arc<Assignment>>,
    /// The topics that regular expressions stood for when they were last looked at.
    pub expressions: BTreeMap<String, Arc<BTreeSet<String>>>,
    /// The image that the hash was computed from; none since the start of the process, or since nobody is left.
    image: Option<Arc<Image>>,
    session_timeout: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub metadata: Arc<Metadata>,
    pub current: Current,
    /// When it was last heard of.
    pub seen: Timestamp,
    pub limits: Limits,
}

/// By when a member must have done what it was told; it is given up otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Given up what it has to; under the newer protocol.
    pub revoke: Option<Timestamp>,
    /// Joined anew; under the classic protocol.
    pub join: Option<Timestamp>,
    /// Fetched its assignment; under the classic protocol.
    pub sync: Option<Timestamp>,
}

/// What a member said of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    pub instance: Option<String>,
    pub rack: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub topics: BTreeSet<String>,
    /// A regular expression over topic names, in RE2's syntax.
    pub expression: Option<String>,
    pub rebalance_timeout: Duration,
    pub assignor: Option<String>,
    /// A member under the classic protocol.
    pub classic: Option<ClassicMetadata>,
}

/// What a member said of itself under the classic protocol only.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassicMetadata {
    pub session_timeout: Duration,
    /// In the member's order of preference.
    pub protocols: Vec<Protocol>,
}

/// How far a member has got.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Current {
    pub epoch: i32,
    pub previous_epoch: i32,
    pub state: MemberState,
    /// What it owns, or may take.
    pub assigned: Assignment,
    /// What it owns and must give up.
    pub revoking: Assignment,
    /// The assignment epoch at which it was given each partition of both (KIP-1251). A commit with an older epoch of
    /// the member is late but true as long as the partition has been its own since.
    pub given_at: BTreeMap<(TopicId, i32), i32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemberState {
    #[default]
    Stable,
    UnrevokedPartitions,
    UnreleasedPartitions,
}

/// What is kept of a consumer group, in records of their own as Kafka keeps them.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    Group {
        epoch: i32,
        metadata_hash: i64,
    },
    GroupGone,
    Member {
        member: String,
        metadata: Arc<Metadata>,
    },
    MemberGone {
        member: String,
    },
    TargetEpoch {
        epoch: i32,
    },
    TargetEpochGone,
    Target {
        member: String,
        assignment: Arc<Assignment>,
    },
    TargetGone {
        member: String,
    },
    Current {
        member: String,
        current: Current,
    },
    CurrentGone {
        member: String,
    },
    Expression {
        expression: String,
        topics: Arc<BTreeSet<String>>,
    },
    ExpressionGone {
        expression: String,
    },
    /// Not kept: a sign of life, and by when what must be done.
    Seen {
        member: String,
        at: Timestamp,
        limits: Limits,
    },
    /// Not kept: what was last looked at.
    Looked {
        image: Option<Arc<Image>>,
        session_timeout: Duration,
    },
}

impl Fact {
    pub fn is_durable(&self) -> bool {
        !matches!(self, Fact::Seen { .. } | Fact::Looked { .. })
    }
}

impl Default for Consumer {
    fn default() -> Consumer {
        Consumer {
            epoch: EPOCH_BEFORE_ALL,
            metadata_hash: 0,
            assignment_epoch: EPOCH_BEFORE_ALL,
            members: BTreeMap::new(),
            targets: BTreeMap::new(),
            expressions: BTreeMap::new(),
            image: None,
            session_timeout: Duration::from_secs(45),
        }
    }
}

impl Current {
    /// What a member has, whether it may keep it or not.
    pub fn held(&self) -> Assignment {
        let mut held = self.assigned.clone();
        for (topic, partitions) in &self.revoking {
            held.entry(*topic).or_default().extend(partitions);
        }
        held
    }
}

impl Limits {
    pub fn earliest(&self) -> Option<Timestamp> {
        [self.revoke, self.join, self.sync].into_iter().flatten().min()
    }
}

impl Image {
    /// Partitions under the names of their topics; those of topics that are gone are left out.
    fn named(&self, assignment: &Assignment) -> Named {
        let named = self.topics.iter().filter_map(|(name, topic)| {
            let partitions = assignment.get(&topic.id)?;
            Some((name.clone(), partitions.clone()))
        });
        named.collect()
    }

    /// The other way round.
    fn by_id(&self, named: &Named) -> Assignment {
        let by_id = named.iter().filter_map(|(name, partitions)| {
            let topic = self.topics.get(name)?;
            Some((topic.id, partitions.clone()))
        });
        by_id.collect()
    }
}

impl Member {
    fn new() -> Member {
        Member {
            metadata: Arc::default(),
            current: Current::default(),
            seen: Timestamp(0),
            limits: Limits::default(),
        }
    }

    /// How a member is told that its epoch is not the one that it should have.
    fn stale_epoch(&self) -> Reject {
        if self.is_classic() { Reject::IllegalGeneration } else { Reject::StaleMemberEpoch }
    }

    pub fn is_classic(&self) -> bool {
        self.metadata.classic.is_some()
    }

    /// When it is given up unless it is heard of, or does what it was told; `session_timeout` is that of the newer
    /// protocol.
    fn due_at(&self, session_timeout: Duration) -> Timestamp {
        let own = self.metadata.classic.as_ref().map(|classic| classic.session_timeout);
        let session = after(self.seen, own.unwrap_or(session_timeout));
        self.limits.earliest().map_or(session, |limit| limit.min(session))
    }
}

impl Consumer {
    /// Takes in a fact. Says whether the group is still there.
    pub(super) fn apply(&mut self, fact: &Fact) -> bool {
        match fact {
            Fact::Group { epoch, metadata_hash } => {
                (self.epoch, self.metadata_hash) = (*epoch, *metadata_hash);
            }
            Fact::GroupGone => return false,
            Fact::Member { member, metadata } => self.member_mut(member).metadata = metadata.clone(),
            Fact::MemberGone { member } => {
                self.members.remove(member);
                if self.members.is_empty() {
                    self.image = None;
                }
            }
            Fact::TargetEpoch { epoch } => self.assignment_epoch = *epoch,
            Fact::TargetEpochGone => self.assignment_epoch = 0,
            Fact::Target { member, assignment } => {
                self.targets.insert(member.clone(), assignment.clone());
            }
            Fact::TargetGone { member } => drop(self.targets.remove(member)),
            Fact::Current { member, current } => self.member_mut(member).current = current.clone(),
            Fact::CurrentGone { member } => {
                if let Some(member) = self.members.get_mut(member) {
                    Arc::make_mut(member).current = Current::default();
                }
            }
            Fact::Expression { expression, topics } => {
                self.expressions.insert(expression.clone(), topics.clone());
            }
            Fact::ExpressionGone { expression } => drop(self.expressions.remove(expression)),
            Fact::Seen { member, at, limits } => {
                let member = self.member_mut(member);
                (member.seen, member.limits) = (*at, *limits);
            }
            Fact::Looked { image, session_timeout } => {
                (self.image, self.session_timeout) = (image.clone(), *session_timeout);
            }
        }
        true
    }

    fn member_mut(&mut self, id: &str) -> &mut Member {
        Arc::make_mut(self.members.entry(id.to_string()).or_insert_with(|| Arc::new(Member::new())))
    }

    pub fn state_name(&self) -> &'static str {
        let reached = |member: &Arc<Member>| {
            member.current.state == MemberState::Stable && member.current.epoch == self.assignment_epoch
        };
        match self {
            _ if self.members.is_empty() => "Empty",
            _ if self.epoch > self.assignment_epoch => "Assigning",
            _ if self.members.values().all(reached) => "Stable",
            _ => "Reconciling",
        }
    }

    /// The topics that a member reads, by name or by its expression.
    fn topics_of<'a>(&'a self, metadata: &'a Metadata) -> impl Iterator<Item = &'a String> {
        let matched = metadata.expression.as_ref().and_then(|expression| self.expressions.get(expression));
        metadata.topics.iter().chain(matched.into_iter().flat_map(|topics| topics.iter()))
    }

    /// The topics that any member reads.
    pub fn topics(&self) -> BTreeSet<&str> {
        let read = self.members.values().flat_map(|member| self.topics_of(&member.metadata));
        read.map(String::as_str).collect()
    }

    /// Refuses who is not a member, and an epoch that is not the member's, unless it is an older one and the member
    /// has had all of these partitions since.
    pub(super) fn check_commit<'a>(
        &self,
        member: &str,
        epoch: i32,
        knows_epochs: bool,
        mut partitions: impl Iterator<Item = (TopicId, i32)> + 'a,
    ) -> Result<(), Reject> {
        let known = self.members.get(member).ok_or(Reject::UnknownMemberId)?;
        if !knows_epochs && !known.is_classic() {
            return Err(Reject::UnsupportedVersion);
        }
        let has_had = |partition| known.current.given_at.get(&partition).is_some_and(|since| *since <= epoch);
        let is_true = match epoch.cmp(&known.current.epoch) {
            Ordering::Equal => true,
            Ordering::Less => partitions.all(has_had),
            Ordering::Greater => false,
        };
        if is_true { Ok(()) } else { Err(known.stale_epoch()) }
    }

    /// Refuses a member's question for committed offsets under another epoch than its own. Who is no member and says
    /// no epoch may ask.
    pub fn check_fetch(&self, member: Option<&str>, epoch: i32) -> Result<(), Reject> {
        let Some(member) = member else {
            return if epoch < 0 { Ok(()) } else { Err(Reject::UnknownMemberId) };
        };
        let known = self.members.get(member).ok_or(Reject::UnknownMemberId)?;
        if epoch == known.current.epoch { Ok(()) } else { Err(known.stale_epoch()) }
    }

    /// The members that have instance ids, by these.
    fn instances(&self) -> BTreeMap<&str, &str> {
        let members = self.members.iter();
        members.filter_map(|(id, member)| Some((member.metadata.instance.as_deref()?, id.as_str()))).collect()
    }

    pub(super) fn of_instance(&self, instance: &str) -> Option<&str> {
        let mut of = self.members.iter().filter(|(_, m)| m.metadata.instance.as_deref() == Some(instance));
        of.next().map(|(id, _)| id.as_str())
    }

    /// Who owns a partition, or has still to give it up.
    fn owners(&self) -> BTreeMap<(TopicId, i32), &str> {
        let mut owners = BTreeMap::new();
        for (id, member) in &self.members {
            for (topic, partitions) in member.current.assigned.iter().chain(&member.current.revoking) {
                owners.extend(partitions.iter().map(|partition| ((*topic, *partition), id.as_str())));
            }
        }
        owners
    }

    /// The assignor that most members ask for.
    pub fn assignor(&self) -> Assignor {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.members.values().filter_map(|member| member.metadata.assignor.as_deref()) {
            *votes.entry(name).or_default() += 1;
        }
        let most = votes.into_iter().max_by_key(|(_, votes)| *votes);
        most.and_then(|(name, _)| Assignor::named(name)).unwrap_or_default()
    }

    fn hash_of(&self, image: &Image) -> i64 {
        let mut hash = Hash::default();
        for name in self.topics() {
            if let Some(topic) = image.topics.get(name) {
                hash.take(name.as_bytes());
                hash.take(&topic.id.0);
                hash.take(&topic.partitions.to_be_bytes());
            }
        }
        hash.0 as i64
    }

    pub(super) fn due_at_of(&self, member: &str) -> Option<Timestamp> {
        Some(self.members.get(member)?.due_at(self.session_timeout))
    }

    /// When the next member is due.
    pub(super) fn due_at(&self) -> Option<Timestamp> {
        self.members.values().map(|member| member.due_at(self.session_timeout)).min()
    }

    /// The records that end a group.
    pub(super) fn tombstones(&self) -> Vec<Fact> {
        let mut facts: Vec<Fact> = Vec::new();
        for member in self.members.keys() {
            facts.push(Fact::CurrentGone { member: member.clone() });
        }
        for member in self.targets.keys() {
            facts.push(Fact::TargetGone { member: member.clone() });
        }
        facts.push(Fact::TargetEpochGone);
        for member in self.members.keys() {
            facts.push(Fact::MemberGone { member: member.clone() });
        }
        for expression in self.expressions.keys() {
            facts.push(Fact::ExpressionGone { expression: expression.clone() });
        }
        facts.push(Fact::GroupGone);
        facts
    }
}

/// FNV-1a, 64 bits: stable over restarts and versions of the standard library.
struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Hash(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().chain(&[0xff]) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
