//! How the leader of a group shares partitions out.

use std::collections::{BTreeMap, BTreeSet};

use super::TopicPartition;

/// A member, as it joins.
#[derive(Debug, Clone, Default)]
pub struct Candidate {
    /// What it has now, by its own account.
    pub owned: BTreeSet<TopicPartition>,
    /// When it got that.
    pub generation: i32,
}

/// Each partition to one member, none to have two more than another; whoever has one keeps it if that allows.
pub fn assign(
    members: &BTreeMap<String, Candidate>,
    partitions: &BTreeSet<TopicPartition>,
) -> BTreeMap<String, BTreeSet<TopicPartition>> {
    let mut assigned: BTreeMap<String, BTreeSet<TopicPartition>> =
        members.keys().map(|id| (id.clone(), BTreeSet::new())).collect();
    if members.is_empty() {
        return assigned;
    }
    let least = partitions.len() / members.len();
    let mut with_one_more = partitions.len() % members.len();
    let mut left = partitions.clone();
    // Where two claim to have the same, the one that heard of it last is right.
    let mut by_age: Vec<(&String, &Candidate)> = members.iter().collect();
    by_age.sort_by_key(|(_, candidate)| std::cmp::Reverse(candidate.generation));
    for (id, candidate) in by_age {
        let part = assigned.get_mut(id).expect("every member is there");
        for partition in &candidate.owned {
            let has_room = part.len() < least || part.len() == least && with_one_more > 0;
            if has_room && left.remove(partition) {
                with_one_more -= usize::from(part.len() == least);
                part.insert(partition.clone());
            }
        }
    }
    for partition in left {
        let fewest = assigned.iter_mut().min_by_key(|(_, part)| part.len());
        fewest.expect("there are members").1.insert(partition);
    }
    assigned
}

#[cfg(test)]
mod tests;
