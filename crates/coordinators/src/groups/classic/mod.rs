//! The classic group protocol: members join, the leader assigns, everyone syncs; then again, whenever somebody comes
//! or goes. (Kafka's `GroupCoordinator`, KIP-62; static members KIP-345; ids before joining KIP-394; cooperative
//! rebalancing KIP-429 is the clients' affair.)
//!
//! ```text
//!             somebody joins                 all have joined,             the leader's
//!                                            or time is up                assignment is here
//!   Empty ───────────────▶ PreparingRebalance ───────▶ CompletingRebalance ───────▶ Stable
//!     ▲                      │    ▲    ▲                    │                         │
//!     └── nobody is left ────┘    │    └ somebody comes,  ──┘                         │
//!                                 │      goes or is late                              │
//!                                 └──────── somebody comes, goes, or changes ─────────┘
//! ```

mod change;
mod consumers;
mod heart;
mod join;
mod leave;
mod sync;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::Timestamp;

use super::Reject;

use change::Change;
pub(super) use change::resumed;
pub use consumers::{Named, Said, Share, Subscription};
pub(super) use heart::{expire, heartbeat};
pub use join::Join;
pub(super) use join::{check, join};
pub use leave::Leaver;
pub(super) use leave::leave;
pub use sync::Sync;
pub(super) use sync::sync;

/// The protocol type of consumers, whose subscriptions the broker can read.
pub const CONSUMER: &str = "consumer";

/// A member that has never been answered is given up after this, though it is waiting: its client may be gone.
const NEW_MEMBER_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// A classic group that somebody joined.
#[derive(Clone, Debug, PartialEq)]
pub struct Classic {
    pub protocol_type: Option<String>,
    pub generation: i32,
    /// What the members agreed on (`range`, say); none while nobody is there.
    pub protocol: Option<String>,
    /// The member that assigns.
    pub leader: Option<String>,
    pub state: State,
    /// Since when it is in this state.
    pub since: Timestamp,
    pub members: BTreeMap<String, Arc<Member>>,
    /// Ids that were given to clients which have not come back with them, and until when they may.
    pub pending: BTreeMap<String, Timestamp>,
    /// While preparing: when the members that have not joined are given up.
    rebalance: Option<Rebalance>,
    /// Until when the members of this generation must have fetched their assignment, and who has not.
    unsynced: BTreeSet<String>,
    sync_until: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Rebalance {
    until: Timestamp,
    /// The group was empty: it waits for more members even when all that are known have joined, in slices, as long as
    /// new ones come, but not beyond this.
    initial: Option<Initial>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Initial {
    at_most_until: Timestamp,
    somebody_came: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// `group.instance.id`: a static member, which keeps its place while it is away (KIP-345).
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout: Duration,
    pub session_timeout: Duration,
    /// In the member's order of preference.
    pub protocols: Vec<Protocol>,
    pub assignment: Share,
    /// It was told its assignment since it joined.
    is_told: bool,
    /// When it was last heard of.
    pub seen: Timestamp,
    awaits: Awaits,
    /// It was never told a generation.
    is_new: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Protocol {
    pub name: String,
    pub metadata: Bytes,
    /// What the metadata says. None: it is not a consumer's.
    pub subscription: Option<Subscription>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    Nothing,
    Join,
    Sync,
}

/// What a member is told at last.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Joined(Joined),
    Synced {
        assignment: Share,
        protocol_type: Option<String>,
        protocol: Option<String>,
    },
    /// It gets this id and must come back with it (KIP-394).
    MemberIdRequired {
        member: String,
    },
    Refused(Reject),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    pub member: String,
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub leader: String,
    /// Only for the leader.
    pub members: Vec<JoinedMember>,
    pub skip_assignment: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct JoinedMember {
    pub member: String,
    pub instance: Option<String>,
    pub metadata: Bytes,
}

impl Classic {
    fn new(now: Timestamp) -> Classic {
        Classic {
            protocol_type: None,
            generation: 0,
            protocol: None,
            leader: None,
            state: State::Empty,
            since: now,
            members: BTreeMap::new(),
            pending: BTreeMap::new(),
            rebalance: None,
            unsynced: BTreeSet::new(),
            sync_until: Timestamp::NONE,
        }
    }

    /// As it was written: with members it was stable, without it was empty.
    pub fn stored(
        protocol_type: Option<String>,
        generation: i32,
        protocol: Option<String>,
        leader: Option<String>,
        since: Timestamp,
        members: BTreeMap<String, Arc<Member>>,
    ) -> Classic {
        let state = if members.is_empty() { State::Empty } else { State::Stable };
        Classic {
            protocol_type,
            generation,
            protocol,
            leader,
            state,
            since,
            members,
            ..Classic::new(Timestamp(0))
        }
    }

    /// As the members of a group under the newer protocol leave it behind: stable, with what each has.
    pub(super) fn left(
        generation: i32,
        members: BTreeMap<String, Member>,
        mut shares: BTreeMap<String, Named>,
        now: Timestamp,
    ) -> Classic {
        let members = members.into_iter().map(|(id, member)| (id, Arc::new(Member { seen: now, ..member })));
        let protocol_type = Some(CONSUMER.to_string());
        let mut group = Classic::stored(protocol_type, generation, None, None, now, members.collect());
        group.protocol = group.select_protocol();
        let protocol = group.protocol.clone().unwrap_or_default();
        for (id, member) in &mut group.members {
            let member = Arc::make_mut(member);
            let version = member.subscription(&protocol).map_or(0, |subscription| subscription.version);
            let partitions = shares.remove(id).unwrap_or_default();
            member.assignment = Share::Given { version, partitions };
        }
        group
    }

    /// Members that wait for the others or for the leader.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &String> {
        self.members.iter().filter(|(_, member)| member.awaits != Awaits::Nothing).map(|(id, _)| id)
    }

    /// The protocol that was agreed on; before there is one, the one that would be.
    pub(super) fn agreed(&self) -> Option<String> {
        self.protocol.clone().or_else(|| self.select_protocol())
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty()
    }

    pub fn is_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// The topics that any member reads.
    pub fn topics(&self) -> BTreeSet<&str> {
        let said = self.members.values().flat_map(|member| &member.protocols);
        let said = said.filter_map(|protocol| protocol.subscription.as_ref());
        said.flat_map(|said| said.topics.iter().map(String::as_str)).collect()
    }

    /// Refuses who is not a member, or no longer the one of its instance id.
    pub(super) fn check_member(&self, member: &str, instance: Option<&str>) -> Result<(), Reject> {
        if let Some(instance) = instance {
            match self.of_instance(instance) {
                None => return Err(Reject::UnknownMemberId),
                Some(id) if id != member => return Err(Reject::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(Reject::UnknownMemberId) }
    }

    /// The members that have instance ids, by these.
    fn instances(&self) -> BTreeMap<&str, &str> {
        let members = self.members.iter();
        members.filter_map(|(id, member)| Some((member.instance.as_deref()?, id.as_str()))).collect()
    }

    /// The member that has this instance id.
    pub(super) fn of_instance(&self, instance: &str) -> Option<&str> {
        let mut of = self.members.iter().filter(|(_, member)| member.instance.as_deref() == Some(instance));
        of.next().map(|(id, _)| id.as_str())
    }

    pub(super) fn seen(&mut self, member: &str, at: Timestamp) {
        if let Some(member) = self.members.get_mut(member) {
            let member = Arc::make_mut(member);
            member.seen = member.seen.max(at);
        }
    }

    pub(super) fn begin_sessions(&mut self, now: Timestamp) {
        for member in self.members.values_mut() {
            Arc::make_mut(member).seen = now;
        }
    }

    /// When the next thing is due, at the earliest.
    pub(super) fn due_at(&self) -> Option<Timestamp> {
        let members = self.members.values().map(|member| member.due_at());
        let rebalance = self.rebalance.map(|rebalance| rebalance.until);
        let sync = (!self.unsynced.is_empty()).then_some(self.sync_until);
        members.chain(self.pending.values().copied()).chain(rebalance).chain(sync).min()
    }

    /// The protocol that all members know and most of them prefer.
    fn select_protocol(&self) -> Option<String> {
        let candidates = common(self.members.values().map(|member| &*member.protocols));
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let mut names = names(&member.protocols);
            if let Some(preferred) = names.find(|name| candidates.contains(name)) {
                *votes.entry(preferred).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(name, _)| name.to_string())
    }

    /// Whether somebody with these protocols could agree with all members.
    fn could_agree(&self, protocol_type: &str, protocols: &[Protocol], except: Option<&str>) -> bool {
        if protocol_type.is_empty() || protocols.is_empty() {
            return false;
        }
        if self.members.is_empty() {
            return true;
        }
        let others = self.members.iter().filter(|(id, _)| Some(id.as_str()) != except);
        let others = others.map(|(_, member)| &*member.protocols);
        self.protocol_type.as_deref() == Some(protocol_type)
            && !common(std::iter::once(protocols).chain(others)).is_empty()
    }

    /// What a member is told of the generation that has begun.
    fn joined(&self, member: &str) -> Joined {
        let is_leader = self.leader.as_deref() == Some(member);
        Joined {
            member: member.to_string(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            members: if is_leader { self.joined_members() } else { Vec::new() },
            skip_assignment: false,
        }
    }

    fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self.members.iter().map(|(id, member)| JoinedMember {
            member: id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata(protocol),
        });
        members.collect()
    }
}

impl Member {
    /// As it was written, its session not begun yet.
    pub fn stored(
        instance: Option<String>,
        client: (String, String),
        rebalance_timeout: Duration,
        session_timeout: Duration,
        protocols: Vec<Protocol>,
        assignment: Share,
    ) -> Member {
        let (client_id, client_host) = client;
        Member {
            instance,
            client_id,
            client_host,
            rebalance_timeout,
            session_timeout,
            protocols,
            assignment,
            is_told: true,
            seen: Timestamp(0),
            awaits: Awaits::Nothing,
            is_new: false,
        }
    }

    /// It knows its share, and has no more than that; else it has what it said when it joined.
    pub(super) fn is_told(&self) -> bool {
        self.is_told
    }

    /// What it said for this protocol.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        let known = self.protocols.iter().find(|known| known.name == protocol);
        known.map(|known| known.metadata.clone()).unwrap_or_default()
    }

    pub(super) fn subscription(&self, protocol: &str) -> Option<&Subscription> {
        self.protocols.iter().find(|known| known.name == protocol)?.subscription.as_ref()
    }

    /// When it is given up unless it is heard of. Whoever waits for the broker owes it no sign of life.
    fn due_at(&self) -> Timestamp {
        match self.awaits {
            Awaits::Nothing => after(self.seen, self.session_timeout),
            _ if self.is_new => after(self.seen, NEW_MEMBER_PATIENCE),
            _ => Timestamp(i64::MAX),
        }
    }
}

fn names(protocols: &[Protocol]) -> impl Iterator<Item = &str> {
    protocols.iter().map(|protocol| protocol.name.as_str())
}

/// The names of the protocols that are in each of these lists.
pub(super) fn common<'a>(mut lists: impl Iterator<Item = &'a [Protocol]>) -> BTreeSet<&'a str> {
    let first = lists.next().into_iter().flat_map(names).collect();
    lists.fold(first, |common: BTreeSet<&str>, list| {
        names(list).filter(|name| common.contains(name)).collect()
    })
}

pub(super) fn after(at: Timestamp, wait: Duration) -> Timestamp {
    Timestamp(at.0.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)))
}
