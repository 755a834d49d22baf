//! Signs of life, and what happens without them.

use machine::Decision;
use model::Timestamp;

use super::leave::after_departure;
use super::{Change, Classic, State};
use crate::groups::{Groups, Options, Record, Reject, Reply};

pub(crate) fn heartbeat(
    groups: &Groups,
    name: &str,
    generation: i32,
    member: &str,
    instance: Option<&str>,
    now: Timestamp,
) -> Result<Decision<Groups>, Reject> {
    if name.is_empty() {
        return Err(Reject::InvalidGroupId);
    }
    let group = groups.classic(name).ok_or(Reject::UnknownMemberId)?;
    group.check_member(member, instance)?;
    if generation != group.generation {
        return Err(Reject::IllegalGeneration);
    }
    let seen = Record::Seen { group: name.to_string(), member: member.to_string(), at: now };
    match group.state {
        State::Empty => Err(Reject::UnknownMemberId),
        // A sign of life all the same.
        State::PreparingRebalance => {
            Ok(Decision::new(vec![seen], Reply::Now(super::Answer::Refused(Reject::RebalanceInProgress))))
        }
        State::CompletingRebalance | State::Stable => Ok(Decision::new(vec![seen], Reply::Done)),
    }
}

/// Carries out what is due in a group.
pub(crate) fn expire(options: &Options, name: &str, group: &Classic, now: Timestamp) -> Vec<Record> {
    let mut change = Change::on(options, name, Classic::clone(group), now);
    let late: Vec<String> =
        group.pending.iter().filter(|(_, until)| **until <= now).map(|(id, _)| id.clone()).collect();
    let silent = group.members.iter().filter(|(_, member)| member.due_at() <= now).map(|(id, _)| id.clone());
    let mut gone: Vec<String> = silent.collect();
    if group.sync_until <= now {
        // They were told their generation and never asked what it means for them.
        gone.extend(group.unsynced.iter().cloned());
    }
    let joining_is_over = group.rebalance.is_some_and(|rebalance| rebalance.until <= now);
    if late.is_empty() && gone.is_empty() && !joining_is_over {
        return vec![Record::Looked { group: name.to_string() }];
    }
    for id in &late {
        change.group.pending.remove(id);
    }
    for id in &gone {
        change.remove(id);
    }
    if !late.is_empty() || !gone.is_empty() {
        after_departure(&mut change);
    }
    // Unless it has just begun, or was completed by those who went.
    if joining_is_over && change.group.rebalance == group.rebalance {
        change.joining_is_over();
    }
    change.into_records()
}
