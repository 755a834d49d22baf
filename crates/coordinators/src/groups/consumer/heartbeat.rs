use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use machine::Decision;
use model::{Timestamp, TopicId};

use super::assign::{self, Assignor, Subscriber};
use super::expression::Expression;
use super::reconcile::reconcile;
use super::{
    Assignment, Change, Consumer, Current, Fact, Image, JOINS, LEAVES, LEAVES_FOR_A_WHILE, Limits, Member,
    MemberState, Metadata, migration,
};
use crate::groups::classic::{State, after};
use crate::groups::kept::expression_bytes;
use crate::groups::{Groups, Record, Reject, Reply};

/// One heartbeat. What is `None` has not changed since the last one.
#[derive(Clone, Debug)]
pub struct Beat {
    pub group: String,
    pub member: String,
    pub epoch: i32,
    pub instance: Option<String>,
    pub rack: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout: Option<Duration>,
    pub topics: Option<BTreeSet<String>>,
    /// Empty: none any more.
    pub expression: Option<String>,
    pub assignor: Option<String>,
    pub owned: Option<Assignment>,
    pub image: Arc<Image>,
    pub session_timeout: Duration,
    /// Bytes that other machines of the broker keep of what members say.
    pub kept_elsewhere: usize,
}

/// What the member is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Beaten {
    pub member: String,
    pub epoch: i32,
    /// None: as before.
    pub assignment: Option<Assignment>,
}

type Outcome = Result<Decision<Groups>, Reject>;

pub(crate) fn heartbeat(groups: &Groups, beat: Beat, now: Timestamp) -> Outcome {
    let known = groups.consumer(&beat.group);
    if known.is_none() && beat.epoch != JOINS {
        return Err(Reject::GroupNotFound);
    }
    match beat.epoch {
        LEAVES | LEAVES_FOR_A_WHILE => leave(groups, &beat, now),
        _ => stay(groups, beat, now),
    }
}

/// The group as a heartbeat finds it. A classic one becomes one under the newer protocol: with its members, if it has
/// any; else it is what the first newcomer wants it to be.
fn found<'a>(groups: &'a Groups, beat: &Beat, now: Timestamp) -> Result<Change<'a>, Reject> {
    match groups.classic(&beat.group) {
        None => Ok(Change::of(groups, &beat.group)),
        Some(classic) if classic.state == State::Empty => {
            let mut change = Change::of(groups, &beat.group);
            change.before(Record::Classic { group: beat.group.clone(), classic: None, is_durable: true });
            Ok(change)
        }
        Some(classic) => migration::upgraded(groups, beat, classic, now),
    }
}

fn leave(groups: &Groups, beat: &Beat, now: Timestamp) -> Outcome {
    let mut change = Change::of(groups, &beat.group);
    let member = match &beat.instance {
        None => beat.member.clone(),
        Some(instance) => {
            let id = change.group.of_instance(instance).ok_or(Reject::UnknownMemberId)?;
            if id != beat.member {
                return Err(Reject::FencedInstanceId);
            }
            id.to_string()
        }
    };
    let known = change.group.members.get(&member).ok_or(Reject::UnknownMemberId)?.clone();
    if beat.epoch == LEAVES_FOR_A_WHILE {
        // Its partitions stay its own until its session is over; whatever it had to give up, it has.
        let mut current = Current {
            epoch: LEAVES_FOR_A_WHILE,
            revoking: Assignment::new(),
            state: MemberState::Stable,
            ..known.current.clone()
        };
        let is_kept = |(topic, partition): &(TopicId, i32)| {
            known.current.assigned.get(topic).is_some_and(|partitions| partitions.contains(partition))
        };
        // Whoever comes back under its instance may commit for them whatever its epoch.
        current.given_at.retain(|one, _| is_kept(one));
        current.given_at.values_mut().for_each(|since| *since = 0);
        change.put(Fact::Current { member: member.clone(), current });
        change.put(Fact::Seen { member: member.clone(), at: known.seen, limits: Limits::default() });
    }
    let records = match beat.epoch {
        LEAVES_FOR_A_WHILE => change.into_records(),
        _ => change.without(&BTreeSet::from([member.clone()]), now),
    };
    let told = Beaten { member, epoch: beat.epoch, assignment: None };
    Ok(Decision::new(records, Reply::Beaten(told)))
}

/// Whether a heartbeat of a member changes nothing: it is where it should be, and so is the group.
fn is_settled(group: &Consumer, beat: &Beat) -> bool {
    let says_nothing = beat.topics.is_none() && beat.expression.is_none() && beat.assignor.is_none();
    let knows = |member: &Arc<Member>| {
        let (current, metadata) = (&member.current, &member.metadata);
        current.state == MemberState::Stable
            && current.epoch == beat.epoch
            && current.epoch == group.assignment_epoch
            && metadata.client_id == beat.client_id
            && metadata.client_host == beat.client_host
            && metadata.instance == beat.instance
            && !member.is_classic()
    };
    says_nothing
        && beat.rebalance_timeout.is_none()
        && beat.rack.is_none()
        && group.epoch == group.assignment_epoch
        && group.image.as_ref().is_some_and(|image| image.version == beat.image.version)
        && group.session_timeout == beat.session_timeout
        && group.members.get(&beat.member).is_some_and(knows)
}

fn stay(groups: &Groups, beat: Beat, now: Timestamp) -> Outcome {
    if groups.consumer(&beat.group).is_some_and(|group| is_settled(group, &beat)) {
        let member = beat.member.clone();
        let fact = Fact::Seen { member: beat.member, at: now, limits: Limits::default() };
        let told = Beaten { member, epoch: beat.epoch, assignment: None };
        return Ok(Decision::new(vec![Record::Consumer { group: beat.group, fact }], Reply::Beaten(told)));
    }
    let mut change = found(groups, &beat, now)?;
    if let Some(name) = beat.assignor.as_deref().filter(|name| !name.is_empty())
        && Assignor::named(name).is_none()
    {
        return Err(Reject::UnsupportedAssignor);
    }
    let came = find(&change.group, &beat)?;
    let is_new = matches!(came, Came::New);
    if is_new && change.group.members.len() >= groups.options.consumer_members_max {
        return Err(Reject::GroupMaxSizeReached);
    }
    if let Came::Replaces(old) = &came {
        change.take_over(old, &beat.member);
    }
    let id = beat.member.clone();
    let before = change.group.members.get(&id).map(|member| Member::clone(member));
    let metadata = updated(before.as_ref().map(|member| &*member.metadata), &beat);
    let old = before.as_ref().map(|member| member.metadata.clone()).unwrap_or_default();
    let says_more = before.is_none() || *old != metadata;
    if says_more {
        let said = metadata.kept_bytes(&id);
        let more = said.saturating_sub(old.kept_bytes(&id));
        groups.check_room(said, more, beat.kept_elsewhere)?;
    }
    if let Some(expression) = &metadata.expression
        && !change.group.expressions.contains_key(expression)
    {
        let topics = Arc::new(matches(expression, &beat.image)?);
        groups.check_room(0, expression_bytes(expression, &topics), beat.kept_elsewhere)?;
        change.put(Fact::Expression { expression: expression.clone(), topics });
    }
    let wants_others = old.topics != metadata.topics || old.expression != metadata.expression;
    if says_more {
        change.put(Fact::Member { member: id.clone(), metadata: Arc::new(metadata) });
        change.drop_unused_expressions();
    }
    look_at(&mut change, &beat.image, beat.session_timeout);
    let hash = change.group.hash_of(&beat.image);
    let is_first = is_new || change.group.epoch == 0;
    if is_first || wants_others || hash != change.group.metadata_hash {
        change.next_epoch(hash);
    }
    if change.group.epoch > change.group.assignment_epoch {
        assign(&mut change, &beat.image);
    }
    let before = before.map(|member| member.current).unwrap_or_default();
    let is_rejoining = beat.epoch == JOINS;
    // Who joins owns nothing, whatever was told before.
    let owned = if is_rejoining { Some(Assignment::new()) } else { beat.owned.clone() };
    let target = change.group.targets.get(&id).map(|target| Assignment::clone(target)).unwrap_or_default();
    let current = reconcile(&change.group, &id, &before, &target, owned.as_ref());
    if is_new || current != before {
        change.put(Fact::Current { member: id.clone(), current: current.clone() });
    }
    let revoke = match (&change.group.members[&id], current.state) {
        (member, MemberState::UnrevokedPartitions) => Some(match member.limits.revoke {
            Some(until) if before.state == current.state && before.revoking == current.revoking => until,
            _ => after(now, member.metadata.rebalance_timeout),
        }),
        _ => None,
    };
    let limits = Limits { revoke, ..Limits::default() };
    change.put(Fact::Seen { member: id.clone(), at: now, limits });
    let is_full = beat.rebalance_timeout.is_some()
        && (beat.topics.is_some() || beat.expression.is_some())
        && beat.owned.is_some();
    let told = Beaten {
        member: id,
        epoch: current.epoch,
        assignment: (is_rejoining || is_full || before.assigned != current.assigned)
            .then_some(current.assigned),
    };
    Ok(Decision::new(change.into_records(), Reply::Beaten(told)))
}

enum Came {
    New,
    Known,
    /// A static member comes back in place of this one.
    Replaces(String),
}

fn find(group: &Consumer, beat: &Beat) -> Result<Came, Reject> {
    let of_instance = beat.instance.as_deref().and_then(|instance| group.of_instance(instance));
    let joins = beat.epoch == JOINS;
    if beat.instance.is_some() {
        match of_instance {
            None if joins => return Ok(Came::New),
            None => return Err(Reject::UnknownMemberId),
            Some(id) if id == beat.member => {}
            Some(id) if joins => {
                // A classic static member goes without a word.
                let member = &group.members[id];
                return match member.current.epoch {
                    LEAVES_FOR_A_WHILE => Ok(Came::Replaces(id.to_string())),
                    _ if member.is_classic() => Ok(Came::Replaces(id.to_string())),
                    _ => Err(Reject::UnreleasedInstanceId),
                };
            }
            Some(_) => return Err(Reject::FencedInstanceId),
        }
    }
    let Some(member) = group.members.get(&beat.member) else {
        return if joins { Ok(Came::New) } else { Err(Reject::UnknownMemberId) };
    };
    let current = &member.current;
    let owns_no_more = |owned: &Assignment| {
        owned.iter().all(|(topic, partitions)| {
            current.assigned.get(topic).is_some_and(|assigned| partitions.is_subset(assigned))
        })
    };
    // Its last answer may have got lost: then it comes with the epoch before, and with nothing that it may not have.
    let is_one_behind = beat.epoch == current.previous_epoch && beat.owned.as_ref().is_some_and(owns_no_more);
    match joins || beat.epoch == current.epoch || beat.epoch < current.epoch && is_one_behind {
        true => Ok(Came::Known),
        false => Err(Reject::FencedMemberEpoch),
    }
}

fn updated(old: Option<&Metadata>, beat: &Beat) -> Metadata {
    let old = old.cloned().unwrap_or_default();
    Metadata {
        instance: beat.instance.clone().or(old.instance),
        rack: beat.rack.clone().or(old.rack),
        client_id: beat.client_id.clone(),
        client_host: beat.client_host.clone(),
        topics: beat.topics.clone().unwrap_or(old.topics),
        expression: match &beat.expression {
            None => old.expression,
            Some(expression) => Some(expression.clone()).filter(|expression| !expression.is_empty()),
        },
        rebalance_timeout: beat.rebalance_timeout.unwrap_or(old.rebalance_timeout),
        assignor: beat.assignor.clone().filter(|name| !name.is_empty()).or(old.assignor),
        classic: None,
    }
}

/// The topics whose whole name an expression matches.
fn matches(expression: &str, image: &Image) -> Result<BTreeSet<String>, Reject> {
    let whole = Expression::new(expression).map_err(|why| {
        let why = format!("SubscribedTopicRegex `{expression}` is not a valid regular expression: {why}.");
        Reject::InvalidRegularExpression(why.into())
    })?;
    Ok(image.topics.keys().filter(|name| whole.is_match(name)).cloned().collect())
}

/// Looks at the topics again if they are others than last time.
pub(super) fn look_at(change: &mut Change<'_>, image: &Arc<Image>, session_timeout: Duration) {
    let is_new = change.group.image.as_ref().is_none_or(|known| known.version != image.version);
    if is_new {
        let expressions: Vec<String> = change.group.expressions.keys().cloned().collect();
        for expression in expressions {
            let Ok(topics) = matches(&expression, image) else { continue };
            if *change.group.expressions[&expression] != topics {
                change.put(Fact::Expression { expression, topics: Arc::new(topics) });
            }
        }
    }
    if is_new || session_timeout != change.group.session_timeout {
        change.put(Fact::Looked { image: Some(image.clone()), session_timeout });
    }
}

/// Computes everybody's target.
pub(super) fn assign(change: &mut Change<'_>, image: &Image) {
    let group = &change.group;
    let subscribers = group.members.iter().map(|(id, member)| Subscriber {
        member: id,
        order: member.metadata.instance.as_deref().unwrap_or(id),
        topics: group.topics_of(&member.metadata).filter_map(|name| image.topics.get(name)).collect(),
        before: group.targets.get(id).map(|target| &**target),
    });
    let targets = assign::assign(group.assignor(), subscribers.collect());
    let epoch = group.epoch;
    for (member, assignment) in targets {
        if change.group.targets.get(&member).is_none_or(|target| **target != assignment) {
            change.put(Fact::Target { member, assignment: Arc::new(assignment) });
        }
    }
    change.put(Fact::TargetEpoch { epoch });
}
