use std::collections::BTreeMap;

use machine::Decision;
use model::Timestamp;

use super::{Change, Classic, State};
use crate::groups::{Groups, Reject, Reply};

/// One that goes.
#[derive(Clone, Debug)]
pub struct Leaver {
    pub member: String,
    pub instance: Option<String>,
}

pub(crate) fn leave(
    groups: &Groups,
    name: &str,
    leavers: &[Leaver],
    now: Timestamp,
) -> Result<Decision<Groups>, Reject> {
    if name.is_empty() {
        return Err(Reject::InvalidGroupId);
    }
    let group = groups.classic(name).ok_or(Reject::UnknownMemberId)?;
    let mut change = Change::on(&groups.options, name, Classic::clone(group), now);
    let instances = group.instances();
    let mut results = Vec::new();
    let mut somebody_went = false;
    for leaver in leavers {
        if leaver.instance.is_none() && change.group.pending.remove(&leaver.member).is_some() {
            results.push(Ok(()));
            somebody_went = true;
            continue;
        }
        let found = find(&change.group, &instances, leaver);
        if let Ok(id) = &found {
            change.remove(id);
            somebody_went = true;
        }
        results.push(found.map(drop));
    }
    if !somebody_went {
        return Ok(Decision::answer(Reply::Left(results)));
    }
    after_departure(&mut change);
    Ok(Decision::new(change.into_records(), Reply::Left(results)))
}

/// Whoever is left shares what those who went had.
pub(super) fn after_departure(change: &mut Change<'_>) {
    match change.group.state {
        State::Empty => {}
        // Somebody was only given an id and has not come with it: nothing to share.
        State::Stable | State::CompletingRebalance if !change.lost_members() => {}
        State::PreparingRebalance | State::Stable | State::CompletingRebalance => change.rebalance(),
    }
}

/// `instances`: the members that had instance ids before anybody left.
fn find(group: &Classic, instances: &BTreeMap<&str, &str>, leaver: &Leaver) -> Result<String, Reject> {
    let is_there = |id: &&str| group.members.contains_key(*id);
    let id = match leaver.instance.as_deref() {
        None => Some(leaver.member.as_str()).filter(is_there),
        Some(instance) => match instances.get(instance).copied().filter(is_there) {
            // An administrator names static members without their id.
            Some(id) if !leaver.member.is_empty() && id != leaver.member => {
                return Err(Reject::FencedInstanceId);
            }
            found => found,
        },
    };
    id.map(str::to_string).ok_or(Reject::UnknownMemberId)
}
