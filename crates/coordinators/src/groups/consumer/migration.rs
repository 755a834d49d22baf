//! From one group protocol to the other while members are there (KIP-848's online migration).
//!
//! ```text
//!              a member joins under the newer protocol
//!   classic ────────────────────────────────────────────▶ newer, with classic members among the others
//!      ▲                                                     │
//!      └── nobody is left but classic members ───────────────┘
//! ```
//!
//! What members had stays theirs both ways: the last assignment under one protocol is where the other begins.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Timestamp, TopicId};

use super::change::Change;
use super::{Assignment, Beat, ClassicMetadata, Current, Fact, Image, Limits, Member, MemberState, Metadata};
use crate::groups::classic::{self, Answer, Classic, Share};
use crate::groups::{Groups, Record, Reject};

/// Which ways groups with members may go (`group.consumer.migration.policy`). Empty ones may go both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Migration {
    /// Neither, and no classic member may join a group under the newer protocol.
    Disabled,
    /// From the classic to the newer protocol.
    Upgrade,
    /// From the newer to the classic protocol.
    Downgrade,
    #[default]
    Bidirectional,
}

impl Migration {
    fn upgrades(self) -> bool {
        matches!(self, Migration::Upgrade | Migration::Bidirectional)
    }

    fn downgrades(self) -> bool {
        matches!(self, Migration::Downgrade | Migration::Bidirectional)
    }
}

/// Why a classic group with members does not become one under the newer protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// [`Migration`] does not let it.
    Disabled,
    /// Its members are no consumers.
    OtherProtocol,
    /// It has more members than a group under the newer protocol may have.
    TooManyMembers,
    /// A member's subscription or assignment cannot be read.
    Unreadable,
    /// The leader's assignor tells members more than partitions, which would be lost.
    CustomAssignor,
}

/// A classic group with members as the group under the newer protocol that a heartbeat makes of it. Whoever waits for
/// the others or for the leader is told to join anew.
pub(super) fn upgraded<'a>(
    groups: &'a Groups,
    beat: &Beat,
    classic: &Classic,
    now: Timestamp,
) -> Result<Change<'a>, Reject> {
    check(groups, classic).map_err(Reject::CannotUpgrade)?;
    let mut change = Change::of(groups, &beat.group);
    let name = || beat.group.clone();
    change.before(Record::Classic { group: name(), classic: None, is_durable: true });
    for member in classic.waiting() {
        let (member, answer) = (member.clone(), Answer::Refused(Reject::RebalanceInProgress));
        change.before(Record::Answered { group: name(), member, answer });
    }
    let agreed = classic.agreed().unwrap_or_default();
    let moved: Vec<(&String, Moved)> = classic
        .members
        .iter()
        .map(|(id, member)| {
            check_share(&member.assignment)?;
            Ok((id, Moved::of(&agreed, member, &beat.image).ok_or(Obstacle::Unreadable)?))
        })
        .collect::<Result<_, Obstacle>>()
        .map_err(Reject::CannotUpgrade)?;
    let epoch = classic.generation;
    for (id, moved) in &moved {
        change.put(Fact::Member { member: id.to_string(), metadata: moved.metadata.clone() });
    }
    let metadata_hash = change.group.hash_of(&beat.image);
    change.put(Fact::Group { epoch, metadata_hash });
    for (id, moved) in &moved {
        change.put(Fact::Target { member: id.to_string(), assignment: moved.target.clone() });
    }
    change.put(Fact::TargetEpoch { epoch });
    for (id, Moved { assigned, .. }) in moved {
        let given_at = each(&assigned).map(|partition| (partition, epoch)).collect();
        let (previous_epoch, state) = (epoch, MemberState::Stable);
        let current =
            Current { epoch, previous_epoch, state, assigned, revoking: Assignment::new(), given_at };
        change.put(Fact::Current { member: id.clone(), current });
        change.put(Fact::Seen { member: id.clone(), at: now, limits: Limits::default() });
    }
    Ok(change)
}

fn check(groups: &Groups, classic: &Classic) -> Result<(), Obstacle> {
    if !groups.options.migration.upgrades() {
        return Err(Obstacle::Disabled);
    }
    if !classic.is_consumers() {
        return Err(Obstacle::OtherProtocol);
    }
    if classic.members.len() > groups.options.consumer_members_max {
        return Err(Obstacle::TooManyMembers);
    }
    Ok(())
}

fn each(assignment: &Assignment) -> impl Iterator<Item = (TopicId, i32)> {
    assignment.iter().flat_map(|(topic, partitions)| partitions.iter().map(|partition| (*topic, *partition)))
}

/// Refuses what a leader wrote that the coordinator could not go on with.
fn check_share(share: &Share) -> Result<(), Obstacle> {
    match share {
        share if share.is_missing() => Ok(()),
        Share::Written { says: Some(said), .. } if said.has_user_data => Err(Obstacle::CustomAssignor),
        Share::Written { says: None, .. } => Err(Obstacle::Unreadable),
        Share::Written { .. } | Share::Given { .. } => Ok(()),
    }
}

/// What a classic member is and has under the newer protocol.
struct Moved {
    metadata: Arc<Metadata>,
    target: Arc<Assignment>,
    assigned: Assignment,
}

impl Moved {
    /// None: what it subscribes to, under the protocol that was agreed on, cannot be read.
    fn of(agreed: &str, member: &classic::Member, image: &Image) -> Option<Moved> {
        let subscription = member.subscription(agreed)?;
        let metadata = Metadata {
            instance: member.instance.clone(),
            rack: subscription.rack.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            topics: subscription.topics.clone(),
            expression: None,
            rebalance_timeout: member.rebalance_timeout,
            assignor: None,
            classic: Some(ClassicMetadata {
                session_timeout: member.session_timeout,
                protocols: member.protocols.clone(),
            }),
        };
        let target = member.assignment.partitions().map(|share| image.by_id(share)).unwrap_or_default();
        // Kafka takes the share for what it has. But as long as a cooperative member does not know its share, it goes on
        // with what it had, which nobody else may get meanwhile.
        let assigned = match member.is_told() {
            true => target.clone(),
            false => image.by_id(&subscription.owned),
        };
        Some(Moved { metadata: Arc::new(metadata), target: Arc::new(target), assigned })
    }
}

/// Whether only classic members stay behind when these go, and may have the group.
pub(super) fn is_left_to_classic_members(change: &Change<'_>, gone: &BTreeSet<String>) -> bool {
    let mut left = change.group.members.iter().filter(|(id, _)| !gone.contains(*id)).peekable();
    left.peek().is_some()
        && left.all(|(_, member)| member.is_classic())
        && may_downgrade(change, change.group.members.len() - gone.len())
}

/// The same when a static member comes back under the classic protocol in the place of `replaced`.
pub(super) fn is_left_by(change: &Change<'_>, replaced: &str) -> bool {
    let mut others = change.group.members.iter().filter(|(id, _)| *id != replaced);
    let replaced = change.group.members.get(replaced);
    replaced.is_some_and(|member| !member.is_classic())
        && others.all(|(_, member)| member.is_classic())
        && may_downgrade(change, change.group.members.len())
}

fn may_downgrade(change: &Change<'_>, members: usize) -> bool {
    let options = &change.groups.options;
    options.migration.downgrades() && members <= options.members_max
}

/// The classic group that members leave behind, whose members are to join anew at once.
pub(super) fn downgraded_without(
    mut change: Change<'_>,
    gone: &BTreeSet<String>,
    now: Timestamp,
) -> Vec<Record> {
    change.group.members.retain(|id, _| !gone.contains(id));
    let image = change.group.image.clone().unwrap_or_else(|| change.groups.image.clone());
    downgraded(&change, &image, true, now)
}

/// The classic group of those who are members now, with what they have. `rebalances`: they are to join anew, because it
/// is not what each of them should have.
pub(super) fn downgraded(
    change: &Change<'_>,
    image: &Image,
    rebalances: bool,
    now: Timestamp,
) -> Vec<Record> {
    let name = change.name.as_str();
    let was = change.groups.consumer(name).expect("only a group that was there becomes another");
    let gone = |fact| Record::Consumer { group: name.to_string(), fact };
    let mut records: Vec<Record> = was.tombstones().into_iter().map(gone).collect();
    let members = change.group.members.iter();
    let members = members.filter_map(|(id, member)| Some((id.clone(), classic_member(member)?))).collect();
    // Kafka writes down what they were to get: then nobody knows what is still to be given up, should the group go back
    // before they have joined anew.
    let shares = change.group.members.iter();
    let shares = shares.map(|(id, member)| (id.clone(), image.named(&member.current.held()))).collect();
    let classic = Classic::left(was.epoch, members, shares, now);
    records.extend(classic::resumed(&change.groups.options, name, classic, rebalances, now));
    records
}

/// A classic member as a classic group has it.
fn classic_member(member: &Member) -> Option<classic::Member> {
    let metadata = &member.metadata;
    let classic = metadata.classic.as_ref()?;
    Some(classic::Member::stored(
        metadata.instance.clone(),
        (metadata.client_id.clone(), metadata.client_host.clone()),
        metadata.rebalance_timeout,
        classic.session_timeout,
        classic.protocols.clone(),
        Share::default(),
    ))
}
