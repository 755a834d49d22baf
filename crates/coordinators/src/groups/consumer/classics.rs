//! Members under the classic protocol in a group under the newer one: their generation is their epoch, nobody of them
//! leads, and the coordinator assigns. Each joins and syncs for itself, without waiting for the others; with its
//! heartbeats it hears when it must join anew, to reach the next epoch or to give something up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use machine::Decision;
use model::Timestamp;

use super::change::Change;
use super::heartbeat::{assign, look_at};
use super::reconcile::reconcile;
use super::{
    ClassicMetadata, Consumer, Current, Fact, Limits, Member, MemberState, Metadata, Migration, after,
    migration,
};
use crate::groups::classic::{Answer, CONSUMER, Join, Joined, Leaver, Share, Subscription, Sync, common};
use crate::groups::{Groups, Record, Reject, Reply};

type Outcome = Result<Decision<Groups>, Reject>;

/// A member joins a group that has others.
pub(in crate::groups) fn join(groups: &Groups, join: &Join, now: Timestamp) -> Outcome {
    if groups.options.migration == Migration::Disabled {
        return Err(Reject::InconsistentGroupProtocol);
    }
    let mut change = Change::of(groups, &join.group);
    let id = if join.member.is_empty() { join.fresh.clone() } else { join.member.clone() };
    let is_known = change.group.members.contains_key(&id);
    if !is_known && change.group.members.len() >= groups.options.consumer_members_max {
        return Err(Reject::GroupMaxSizeReached);
    }
    let said = subscription(&change.group, join).ok_or(Reject::InconsistentGroupProtocol)?;
    if join.member.is_empty() && join.instance.is_none() && join.knows_ids {
        // Nobody remembers the id: who comes with one is taken.
        return Ok(Decision::answer(Reply::Now(Answer::MemberIdRequired { member: id })));
    }
    if !is_known && !join.member.is_empty() && !said.owned.is_empty() {
        // It was given up and has not heard of it. Kafka takes it in, and its late commits with it.
        return Err(Reject::UnknownMemberId);
    }
    let replaced = replaced(&change.group, join)?.map(str::to_string);
    let leaves_to_classic =
        replaced.as_ref().is_some_and(|replaced| migration::is_left_by(&change, replaced));
    if let Some(replaced) = &replaced {
        change.take_over(replaced, &id);
    }
    update(&mut change, &id, join, said);
    if leaves_to_classic {
        return Ok(downgrade(change, &id, join, now));
    }
    if change.group.epoch > change.group.assignment_epoch {
        assign(&mut change, &join.image);
    }
    let epoch = step(&mut change, &id, join, said).epoch;
    let sync = Some(after(now, join.rebalance_timeout));
    change.put(Fact::Seen { member: id.clone(), at: now, limits: Limits { sync, ..Limits::default() } });
    let answer = Answer::Joined(joined(id, epoch, join));
    Ok(Decision::new(change.into_records(), Reply::Now(answer)))
}

/// What a member says, if it can be among the classic members of a group.
fn subscription<'a>(group: &Consumer, join: &'a Join) -> Option<&'a Subscription> {
    let classics = group.members.values().filter_map(|member| member.metadata.classic.as_ref());
    let lists = std::iter::once(&*join.protocols).chain(classics.map(|classic| &*classic.protocols));
    if join.protocol_type != CONSUMER || common(lists).is_empty() {
        return None;
    }
    join.protocols.first()?.subscription.as_ref()
}

/// The static member whose place the one that joins takes.
fn replaced<'a>(group: &'a Consumer, join: &Join) -> Result<Option<&'a str>, Reject> {
    let Some(instance) = join.instance.as_deref() else { return Ok(None) };
    let known = group.of_instance(instance);
    match known {
        _ if join.member.is_empty() => Ok(known),
        None => Err(Reject::UnknownMemberId),
        Some(id) if id != join.member => Err(Reject::FencedInstanceId),
        Some(_) => Ok(None),
    }
}

/// Takes in what a member says of itself.
fn update(change: &mut Change<'_>, id: &str, join: &Join, said: &Subscription) {
    let before = change.group.members.get(id).map(|member| member.metadata.clone());
    let old = before.as_deref().cloned().unwrap_or_default();
    let metadata = Metadata {
        instance: join.instance.clone().or(old.instance.clone()),
        rack: said.rack.clone().or(old.rack.clone()),
        client_id: join.client_id.clone(),
        client_host: join.client_host.clone(),
        topics: said.topics.clone(),
        expression: None,
        rebalance_timeout: join.rebalance_timeout,
        assignor: old.assignor.clone(),
        classic: Some(ClassicMetadata {
            session_timeout: join.session_timeout,
            protocols: join.protocols.clone(),
        }),
    };
    let wants_others = old.topics != metadata.topics || old.expression.is_some();
    if before.is_none() || old != metadata {
        change.put(Fact::Member { member: id.to_string(), metadata: Arc::new(metadata) });
        change.drop_unused_expressions();
    }
    let session_timeout = change.group.session_timeout;
    look_at(change, &join.image, session_timeout);
    let hash = change.group.hash_of(&join.image);
    if before.is_none() || wants_others || hash != change.group.metadata_hash {
        change.next_epoch(hash);
    }
}

/// The member's next step towards its target.
fn step(change: &mut Change<'_>, id: &str, join: &Join, said: &Subscription) -> Current {
    let before = change.group.members[id].current.clone();
    let target = change.group.targets.get(id).cloned().unwrap_or_default();
    let owned = join.image.by_id(&said.owned);
    let current = reconcile(&change.group, id, &before, &target, Some(&owned));
    if current != before {
        change.put(Fact::Current { member: id.to_string(), current: current.clone() });
    }
    current
}

/// The last member under the newer protocol came back under the classic one, as a static member: the group is theirs.
fn downgrade(mut change: Change<'_>, id: &str, join: &Join, now: Timestamp) -> Decision<Groups> {
    let group = &change.group;
    let is_settled = |(other, member): (&String, &Arc<Member>)| {
        other == id || member.current.state == MemberState::Stable && member.current.epoch == group.epoch
    };
    let rebalances = group.epoch > group.assignment_epoch
        // Kafka leaves a member that still waits for partitions without them until the next rebalance.
        || !group.members.iter().all(is_settled);
    let mut epoch = group.members[id].current.epoch;
    if !rebalances {
        epoch = step(&mut change, id, join, &Subscription::default()).epoch;
    }
    let records = migration::downgraded(&change, &join.image, rebalances, now);
    Decision::new(records, Reply::Now(Answer::Joined(joined(id.to_string(), epoch, join))))
}

fn joined(member: String, generation: i32, join: &Join) -> Joined {
    Joined {
        member,
        generation,
        protocol_type: Some(CONSUMER.to_string()),
        protocol: join.protocols.first().map(|protocol| protocol.name.clone()),
        leader: String::new(),
        members: Vec::new(),
        skip_assignment: false,
    }
}

/// Refuses who is not a classic member of this generation.
fn find<'a>(
    group: &'a Consumer,
    id: &str,
    instance: Option<&str>,
    generation: i32,
) -> Result<(&'a Arc<Member>, &'a ClassicMetadata), Reject> {
    if let Some(instance) = instance {
        match group.of_instance(instance) {
            None => return Err(Reject::UnknownMemberId),
            Some(known) if known != id => return Err(Reject::FencedInstanceId),
            Some(_) => {}
        }
    }
    let member = group.members.get(id).ok_or(Reject::UnknownMemberId)?;
    let classic = member.metadata.classic.as_ref().ok_or(Reject::UnknownMemberId)?;
    if generation != member.current.epoch {
        return Err(Reject::IllegalGeneration);
    }
    Ok((member, classic))
}

/// A sign of life, which owes to join anew from now on if it must.
fn seen(group: &str, id: &str, limits: Limits, now: Timestamp) -> Record {
    let fact = Fact::Seen { member: id.to_string(), at: now, limits };
    Record::Consumer { group: group.to_string(), fact }
}

fn must_join(member: &Member, now: Timestamp) -> Limits {
    let join = member.limits.join.unwrap_or(after(now, member.metadata.rebalance_timeout));
    Limits { join: Some(join), ..member.limits }
}

/// A heartbeat of the classic protocol.
pub(in crate::groups) fn beat(
    group: &Consumer,
    name: &str,
    generation: i32,
    id: &str,
    instance: Option<&str>,
    now: Timestamp,
) -> Outcome {
    let (member, _) = find(group, id, instance, generation)?;
    let rejoins = epoch_to_reach(group) > member.current.epoch
        || match member.current.state {
            MemberState::Stable => false,
            MemberState::UnrevokedPartitions => true,
            MemberState::UnreleasedPartitions => !waits(group, id, member),
        };
    let (limits, reply) = match rejoins {
        true => (must_join(member, now), Reply::Now(Answer::Refused(Reject::RebalanceInProgress))),
        false => (member.limits, Reply::Done),
    };
    Ok(Decision::new(vec![seen(name, id, limits, now)], reply))
}

/// The epoch that classic members are to join for. A member under the newer protocol assigns with its next heartbeat; where
/// there is none, because the way back is closed, one of themselves has to.
fn epoch_to_reach(group: &Consumer) -> i32 {
    let assigns = group.members.values().any(|member| !member.is_classic());
    if assigns { group.assignment_epoch } else { group.epoch }
}

/// Whether others have still to give up what a member is to get.
fn waits(group: &Consumer, id: &str, member: &Member) -> bool {
    let (owners, nothing) = (group.owners(), BTreeSet::new());
    group.targets.get(id).is_some_and(|target| {
        target.iter().any(|(topic, partitions)| {
            let assigned = member.current.assigned.get(topic).unwrap_or(&nothing);
            partitions.difference(assigned).any(|partition| owners.contains_key(&(*topic, *partition)))
        })
    })
}

/// A classic member fetches what it may take, and keeps what it does not have to give up.
pub(in crate::groups) fn sync(group: &Consumer, sync: Sync, now: Timestamp) -> Outcome {
    let (member, classic) = find(group, &sync.member, sync.instance.as_deref(), sync.generation)?;
    let first = classic.protocols.first();
    let is_other = |told: &Option<String>, ours: Option<&str>| told.is_some() && told.as_deref() != ours;
    if is_other(&sync.protocol_type, Some(CONSUMER))
        || is_other(&sync.protocol, first.map(|protocol| protocol.name.as_str()))
    {
        return Err(Reject::InconsistentGroupProtocol);
    }
    if epoch_to_reach(group) > member.current.epoch
        && member.current.state != MemberState::UnrevokedPartitions
    {
        let record = seen(&sync.group, &sync.member, must_join(member, now), now);
        let answer = Answer::Refused(Reject::RebalanceInProgress);
        return Ok(Decision::new(vec![record], Reply::Now(answer)));
    }
    let said = first.and_then(|protocol| protocol.subscription.as_ref());
    let answer = Answer::Synced {
        assignment: Share::Given {
            version: said.map_or(0, |said| said.version),
            partitions: sync.image.named(&member.current.assigned),
        },
        protocol_type: sync.protocol_type,
        protocol: sync.protocol,
    };
    let limits = Limits { sync: None, ..member.limits };
    let record = seen(&sync.group, &sync.member, limits, now);
    Ok(Decision::new(vec![record], Reply::Now(answer)))
}

/// Members go by the classic protocol's request; an administrator's may name those under the newer protocol too.
pub(in crate::groups) fn leave(groups: &Groups, name: &str, leavers: &[Leaver], now: Timestamp) -> Outcome {
    let change = Change::of(groups, name);
    let instances = change.group.instances();
    let results: Vec<Result<String, Reject>> =
        leavers.iter().map(|leaver| leaving(&change.group, &instances, leaver)).collect();
    let gone: BTreeSet<String> = results.iter().flatten().cloned().collect();
    let records = if gone.is_empty() { Vec::new() } else { change.without(&gone, now) };
    let results = results.into_iter().map(|result| result.map(drop)).collect();
    Ok(Decision::new(records, Reply::Left(results)))
}

fn leaving(group: &Consumer, instances: &BTreeMap<&str, &str>, leaver: &Leaver) -> Result<String, Reject> {
    let id = match leaver.instance.as_deref() {
        None => leaver.member.as_str(),
        Some(instance) => match *instances.get(instance).ok_or(Reject::UnknownMemberId)? {
            // An administrator names static members without their id.
            id if leaver.member.is_empty() || leaver.member == id => id,
            _ => return Err(Reject::FencedInstanceId),
        },
    };
    if group.members.contains_key(id) { Ok(id.to_string()) } else { Err(Reject::UnknownMemberId) }
}
