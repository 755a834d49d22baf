use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use machine::Decision;
use model::Timestamp;

use super::{Answer, Awaits, Change, Classic, Joined, Member, Protocol, State, after};
use crate::groups::consumer::Image;
use crate::groups::kept::said_bytes;
use crate::groups::{Groups, Reject, Reply};

#[derive(Clone, Debug)]
pub struct Join {
    pub group: String,
    /// Empty: it has none yet.
    pub member: String,
    /// The id that it gets then; drawn by the caller.
    pub fresh: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    pub protocol_type: String,
    pub protocols: Vec<Protocol>,
    /// The client can be told its id and come back with it (v4 and later).
    pub knows_ids: bool,
    /// The client can be told that the assignment stays (v9 and later).
    pub knows_skipping: bool,
    /// The topics that there are; of interest where the coordinator assigns.
    pub image: Arc<Image>,
    /// Bytes that other machines of the broker keep of what members say.
    pub kept_elsewhere: usize,
}

type Outcome = Result<Decision<Groups>, Reject>;

/// What holds for joining any group.
pub(crate) fn check(groups: &Groups, join: &Join) -> Result<(), Reject> {
    if join.group.is_empty() {
        return Err(Reject::InvalidGroupId);
    }
    let options = &groups.options;
    if !(options.session_timeout_min..=options.session_timeout_max).contains(&join.session_timeout) {
        return Err(Reject::InvalidSessionTimeout);
    }
    let texts = [join.instance.as_deref().unwrap_or_default(), &join.client_id, &join.client_host];
    let said = said_bytes(texts, &join.protocols);
    let id = if join.member.is_empty() { &join.fresh } else { &join.member };
    let more = (id.len() + said).saturating_sub(kept_already(groups, join));
    groups.check_room(said, more, join.kept_elsewhere)
}

/// Bytes that are kept of the member that it is already.
fn kept_already(groups: &Groups, join: &Join) -> usize {
    let place = |of_instance: Option<&str>| of_instance.unwrap_or(&join.member).to_string();
    let instance = join.instance.as_deref();
    if let Some(group) = groups.classic(&join.group) {
        let id = place(instance.and_then(|instance| group.of_instance(instance)));
        return group.members.get(&id).map_or(0, |member| id.len() + member.kept_bytes());
    }
    let Some(group) = groups.consumer(&join.group) else { return 0 };
    let id = place(instance.and_then(|instance| group.of_instance(instance)));
    group.members.get(&id).map_or(0, |member| member.metadata.kept_bytes(&id))
}

pub(crate) fn join(groups: &Groups, join: Join, now: Timestamp) -> Outcome {
    let known = groups.classic(&join.group);
    let nobody = Classic::new(now);
    let group = known.map_or(&nobody, |group| group);
    let of_instance = join.instance.as_deref().and_then(|instance| group.of_instance(instance));
    if join.member.is_empty() {
        if !group.could_agree(&join.protocol_type, &join.protocols, of_instance) {
            return Err(Reject::InconsistentGroupProtocol);
        }
        if let Some(old) = of_instance {
            let old = old.to_string();
            return Ok(replace_static(groups, &join, &old, now));
        }
        check_size(groups, group)?;
        if join.knows_ids && join.instance.is_none() {
            return Ok(give_id(groups, &join, now));
        }
        let fresh = join.fresh.clone();
        return Ok(add(groups, join, fresh, now));
    }
    if known.is_none() {
        return Err(Reject::UnknownMemberId);
    }
    // Before anybody asks who it is.
    if !group.could_agree(&join.protocol_type, &join.protocols, Some(&join.member)) {
        return Err(Reject::InconsistentGroupProtocol);
    }
    if group.pending.contains_key(&join.member) && join.instance.is_none() {
        let id = join.member.clone();
        return Ok(add(groups, join, id, now));
    }
    group.check_member(&join.member, join.instance.as_deref())?;
    let member = &group.members[&join.member];
    let is_same = member.protocols == join.protocols;
    match group.state {
        State::Empty => Err(Reject::UnknownMemberId),
        // Its answer got lost: it hears it again.
        State::CompletingRebalance if is_same => Ok(again(groups, group, &join, now)),
        State::Stable if is_same && group.leader.as_deref() != Some(&join.member) => {
            Ok(again(groups, group, &join, now))
        }
        State::PreparingRebalance | State::CompletingRebalance | State::Stable => {
            Ok(rejoin(groups, &join, now))
        }
    }
}

fn check_size(groups: &Groups, group: &Classic) -> Result<(), Reject> {
    let taken = group.members.len() + group.pending.len();
    if taken >= groups.options.members_max { Err(Reject::GroupMaxSizeReached) } else { Ok(()) }
}

fn again(groups: &Groups, group: &Classic, join: &Join, now: Timestamp) -> Decision<Groups> {
    let answer = Answer::Joined(group.joined(&join.member));
    let mut change = Change::of(groups, &join.group, now);
    change.member(&join.member).seen = now;
    Decision::new(change.into_records(), Reply::Now(answer))
}

/// The client comes back with this id, so that a lost answer leaves no dead member behind.
fn give_id(groups: &Groups, join: &Join, now: Timestamp) -> Decision<Groups> {
    let mut change = Change::of(groups, &join.group, now);
    change.group.pending.insert(join.fresh.clone(), after(now, join.session_timeout));
    let answer = Answer::MemberIdRequired { member: join.fresh.clone() };
    Decision::new(change.into_records(), Reply::Now(answer))
}

fn add(groups: &Groups, join: Join, id: String, now: Timestamp) -> Decision<Groups> {
    let mut change = Change::of(groups, &join.group, now);
    let group = &mut change.group;
    group.pending.remove(&id);
    if group.members.is_empty() {
        group.protocol_type = Some(join.protocol_type.clone());
    }
    if group.leader.is_none() {
        group.leader = Some(id.clone());
    }
    let member = Member {
        instance: join.instance.clone(),
        client_id: join.client_id.clone(),
        client_host: join.client_host.clone(),
        rebalance_timeout: join.rebalance_timeout,
        session_timeout: join.session_timeout,
        protocols: join.protocols.clone(),
        assignment: Default::default(),
        is_told: false,
        seen: now,
        awaits: Awaits::Join,
        is_new: true,
    };
    group.members.insert(id.clone(), Arc::new(member));
    change.somebody_came();
    change.rebalance();
    waits(change)
}

fn rejoin(groups: &Groups, join: &Join, now: Timestamp) -> Decision<Groups> {
    let mut change = Change::of(groups, &join.group, now);
    update(&mut change, &join.member, join);
    change.rebalance();
    waits(change)
}

fn update(change: &mut Change<'_>, id: &str, join: &Join) {
    let now = change.now;
    let member = change.member(id);
    // It may ask anew while it waits: the older question is dropped by whoever keeps them.
    member.awaits = Awaits::Join;
    member.is_told = false;
    member.protocols = join.protocols.clone();
    member.rebalance_timeout = join.rebalance_timeout;
    member.session_timeout = join.session_timeout;
    member.client_id = join.client_id.clone();
    member.client_host = join.client_host.clone();
    member.seen = now;
}

/// A static member comes back without its id: it takes the place of the one that it was.
fn replace_static(groups: &Groups, join: &Join, old: &str, now: Timestamp) -> Decision<Groups> {
    let mut change = Change::of(groups, &join.group, now);
    let id = join.fresh.clone();
    let leader_before = change.group.leader.clone();
    let was = change.group.members.remove(old).expect("the instance id was found");
    if was.awaits != Awaits::Nothing {
        change.tell(old, Answer::Refused(Reject::FencedInstanceId));
    }
    let topics_before = topics_of(&was.protocols);
    let mut member = Arc::unwrap_or_clone(was);
    member.awaits = Awaits::Nothing;
    change.group.members.insert(id.clone(), Arc::new(member));
    if change.group.unsynced.remove(old) {
        change.group.unsynced.insert(id.clone());
    }
    let is_leader = leader_before.as_deref() == Some(old);
    if is_leader {
        change.group.leader = Some(id.clone());
    }
    update(&mut change, &id, join);
    let stays = change.group.state == State::Stable
        && change.group.protocol == change.group.select_protocol()
        && topics_of(&join.protocols) == topics_before;
    if !stays {
        change.rebalance();
        return waits(change);
    }
    // Nothing changes for the others: no rebalance, only the new id is kept.
    change.keep();
    change.member(&id).awaits = Awaits::Nothing;
    let joined = change.group.joined(&id);
    let joined = match join.knows_skipping {
        true => Joined { skip_assignment: is_leader, ..joined },
        // An older client that is told it leads would assign: it is told the id that it had before.
        false => Joined { members: Vec::new(), leader: leader_before.unwrap_or_default(), ..joined },
    };
    Decision::new(change.into_records(), Reply::Now(Answer::Joined(joined)))
}

fn topics_of(protocols: &[Protocol]) -> Vec<Option<BTreeSet<String>>> {
    let topics = |protocol: &Protocol| Some(protocol.subscription.as_ref()?.topics.clone());
    protocols.iter().map(topics).collect()
}

fn waits(change: Change<'_>) -> Decision<Groups> {
    Decision::new(change.into_records(), Reply::Waits)
}
