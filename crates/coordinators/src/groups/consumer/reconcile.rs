//! One member's next step towards its target.

use std::collections::BTreeSet;

use model::TopicId;

use super::{Assignment, Consumer, Current, MemberState};

/// `owned`: what the member says that it owns; `None`: it does not say.
pub(super) fn reconcile(
    group: &Consumer,
    member: &str,
    current: &Current,
    target: &Assignment,
    owned: Option<&Assignment>,
) -> Current {
    if current.state == MemberState::UnrevokedPartitions && owns_any(owned, &current.revoking) {
        return current.clone();
    }
    if current.state == MemberState::Stable && current.epoch == group.assignment_epoch {
        return current.clone();
    }
    let owners = group.owners();
    let is_free =
        |topic, partition: &i32| owners.get(&(topic, *partition)).is_none_or(|owner| *owner == member);
    let none = BTreeSet::new();
    let (mut kept, mut revoking, mut given) = (Assignment::new(), Assignment::new(), Assignment::new());
    let mut waits = false;
    let topics: BTreeSet<_> = target.keys().chain(current.assigned.keys()).copied().collect();
    for topic in topics {
        let wanted = target.get(&topic).unwrap_or(&none);
        let has = current.assigned.get(&topic).unwrap_or(&none);
        put(&mut kept, topic, has.intersection(wanted).copied().collect());
        put(&mut revoking, topic, has.difference(wanted).copied().collect());
        let more: BTreeSet<i32> = wanted.difference(has).copied().collect();
        let free: BTreeSet<i32> =
            more.iter().copied().filter(|partition| is_free(topic, partition)).collect();
        waits |= free.len() < more.len();
        put(&mut given, topic, free);
    }
    let mut given_at = current.given_at.clone();
    let is_of = |assignment: &Assignment, (topic, partition): &(TopicId, i32)| {
        assignment.get(topic).is_some_and(|partitions| partitions.contains(partition))
    };
    if owns_any(owned, &revoking) {
        // It keeps its epoch until it has given them up.
        given_at.retain(|one, _| is_of(&kept, one) || is_of(&revoking, one));
        return Current {
            state: MemberState::UnrevokedPartitions,
            assigned: kept,
            revoking,
            given_at,
            ..current.clone()
        };
    }
    let epoch = group.assignment_epoch;
    given_at.retain(|one, _| is_of(&kept, one));
    for (topic, partitions) in given {
        given_at.extend(partitions.iter().map(|partition| ((topic, *partition), epoch)));
        put(&mut kept, topic, partitions);
    }
    Current {
        epoch,
        previous_epoch: if epoch == current.epoch { current.previous_epoch } else { current.epoch },
        state: if waits { MemberState::UnreleasedPartitions } else { MemberState::Stable },
        assigned: kept,
        revoking: Assignment::new(),
        given_at,
    }
}

/// Adds partitions; a topic without any is not there.
fn put(assignment: &mut Assignment, topic: TopicId, partitions: BTreeSet<i32>) {
    if !partitions.is_empty() {
        assignment.entry(topic).or_default().extend(partitions);
    }
}

/// Whether a member owns any of these, as far as anybody knows.
fn owns_any(owned: Option<&Assignment>, partitions: &Assignment) -> bool {
    let Some(owned) = owned else { return !partitions.is_empty() };
    partitions
        .iter()
        .any(|(topic, partitions)| owned.get(topic).is_some_and(|owned| !owned.is_disjoint(partitions)))
}
