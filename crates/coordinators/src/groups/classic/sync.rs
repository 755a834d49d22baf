use std::sync::Arc;

use machine::Decision;
use model::Timestamp;

use super::{Answer, Awaits, Change, Classic, Share, State};
use crate::groups::consumer::Image;
use crate::groups::{Groups, Reject, Reply};

#[derive(Clone, Debug)]
pub struct Sync {
    pub group: String,
    pub generation: i32,
    pub member: String,
    pub instance: Option<String>,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    /// The leader's.
    pub assignments: Vec<(String, Share)>,
    /// The topics that there are; of interest where the coordinator assigns.
    pub image: Arc<Image>,
    /// Bytes that other machines of the broker keep of what members say.
    pub kept_elsewhere: usize,
}

pub(crate) fn sync(groups: &Groups, sync: Sync, now: Timestamp) -> Result<Decision<Groups>, Reject> {
    if sync.group.is_empty() {
        return Err(Reject::InvalidGroupId);
    }
    let group = groups.classic(&sync.group).ok_or(Reject::UnknownMemberId)?;
    group.check_member(&sync.member, sync.instance.as_deref())?;
    if sync.generation != group.generation {
        return Err(Reject::IllegalGeneration);
    }
    let differs = |told: &Option<String>, ours: &Option<String>| told.is_some() && told != ours;
    if differs(&sync.protocol_type, &group.protocol_type) || differs(&sync.protocol, &group.protocol) {
        return Err(Reject::InconsistentGroupProtocol);
    }
    match group.state {
        State::Empty => Err(Reject::UnknownMemberId),
        State::PreparingRebalance => Err(Reject::RebalanceInProgress),
        State::Stable => {
            let mut change = Change::of(groups, &sync.group, now);
            change.group.unsynced.remove(&sync.member);
            let member = change.member(&sync.member);
            (member.seen, member.is_told) = (now, true);
            let answer = synced(&change.group, &sync.member);
            Ok(Decision::new(change.into_records(), Reply::Now(answer)))
        }
        State::CompletingRebalance => {
            let leads = group.leader.as_deref() == Some(&sync.member);
            if leads {
                check_shares(groups, group, &sync)?;
            }
            let mut change = Change::of(groups, &sync.group, now);
            change.group.unsynced.remove(&sync.member);
            let member = change.member(&sync.member);
            (member.seen, member.awaits) = (now, Awaits::Sync);
            if leads {
                assign(&mut change, sync.assignments);
            }
            Ok(Decision::new(change.into_records(), Reply::Waits))
        }
    }
}

/// Refuses shares for which there is no room. Kafka takes none either that do not fit its log's largest record.
fn check_shares(groups: &Groups, group: &Classic, sync: &Sync) -> Result<(), Reject> {
    let shares = || sync.assignments.iter().map(|(_, share)| share.kept_bytes());
    let before: usize = group.members.values().map(|member| member.assignment.kept_bytes()).sum();
    let more = shares().sum::<usize>().saturating_sub(before);
    groups.check_room(shares().max().unwrap_or_default(), more, sync.kept_elsewhere)
}

/// The leader has spoken: whoever waits gets its part.
fn assign(change: &mut Change<'_>, assignments: Vec<(String, Share)>) {
    let ids: Vec<String> = change.group.members.keys().cloned().collect();
    for id in &ids {
        change.member(id).assignment = Share::default();
    }
    for (id, assignment) in assignments {
        if change.group.members.contains_key(&id) {
            change.member(&id).assignment = assignment;
        }
    }
    change.enter(State::Stable);
    change.keep();
    for id in ids {
        if change.group.members[&id].awaits == Awaits::Sync {
            let answer = synced(&change.group, &id);
            change.member(&id).is_told = true;
            change.answer(&id, answer);
        }
    }
}

fn synced(group: &Classic, member: &str) -> Answer {
    Answer::Synced {
        assignment: group.members[member].assignment.clone(),
        protocol_type: group.protocol_type.clone(),
        protocol: group.protocol.clone(),
    }
}
