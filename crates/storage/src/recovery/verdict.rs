//! What of a log counts after a crash: a pure decision over the groups that were found.
//!
//! ```text
//! groups found, by number      … 41 42 43 44 45 46        each one intact or damaged, or missing
//! newest proof                            │               the largest "last synced group" in any header
//!                                         ▼
//! at or before the proof       synced, so acknowledged: what is damaged or missing here is corruption
//! after the proof              perhaps never synced: from the first damaged or missing one on, all is cut
//! ```

use crate::checkpoint::Void;
use crate::wal::scan::Found;

/// Which groups to replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// To be replayed in this order, the damaged ones as far as they are readable.
    pub groups: Vec<Found>,
    /// Numbers of groups that were synced but cannot be found: from, to (inclusive).
    pub missing: Vec<(u64, u64)>,
    /// Every group up to this one is known to have been synced.
    pub proof: u64,
    /// The number of the next group to be written.
    pub next_group: u64,
    /// Something after the proof was cut.
    pub is_cut: bool,
}

impl Verdict {
    /// Nothing that was synced is damaged.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.groups.iter().all(|group| group.is_intact)
    }
}

/// `synced` is the checkpoint's proof, `first_group` the first group that it needs.
pub(crate) fn judge(mut found: Vec<Found>, voids: &[Void], synced: u64, first_group: u64) -> Verdict {
    found.retain(|found| {
        let header = &found.header;
        let is_void = |void: &Void| header.file <= void.file_max && header.group >= void.group_min;
        header.group >= first_group && !voids.iter().any(is_void)
    });
    found.sort_by_key(|found| (found.header.file, found.header.position));
    let proof = found.iter().map(|found| found.header.synced).max().unwrap_or(0).max(synced);
    let mut groups: Vec<Found> = Vec::new();
    for group in found {
        // A later use of the log that begins at this number has replaced what was there.
        while groups.last().is_some_and(|last| last.header.group >= group.header.group) {
            groups.pop();
        }
        groups.push(group);
    }
    let mut missing = Vec::new();
    let mut next = first_group;
    let mut cut_at = None;
    for (index, group) in groups.iter().enumerate() {
        let number = group.header.group;
        if number > next {
            if number - 1 > proof {
                // A group after the proof is missing: nothing behind it counts.
                cut_at = Some((index, next.max(proof + 1)));
                if next <= proof {
                    missing.push((next, proof));
                }
                break;
            }
            missing.push((next, number - 1));
        }
        if number > proof && !group.is_intact {
            cut_at = Some((index, number));
            break;
        }
        next = number + 1;
    }
    let is_cut = cut_at.is_some();
    match cut_at {
        Some((index, number)) => {
            groups.truncate(index);
            next = number;
        }
        None if next <= proof => {
            missing.push((next, proof));
            next = proof + 1;
        }
        None => {}
    }
    Verdict { groups, missing, proof, next_group: next, is_cut }
}
