use model::Timestamp;

use super::verdict::judge;
use crate::checkpoint::Void;
use crate::wal::format::GroupHeader;
use crate::wal::scan::Found;

/// A group: file, number, proof.
fn group(file: u64, group: u64, synced: u64) -> Found {
    let header = GroupHeader {
        file,
        group,
        synced,
        position: group * 100,
        written_at: Timestamp(0),
        body_bytes: 0,
        frames: 0,
        shard: 0,
    };
    Found { slot: 0, header, is_intact: true }
}

fn damaged(found: Found) -> Found {
    Found { is_intact: false, ..found }
}

/// Checks which groups count, which are missing, and where the log goes on.
fn check(
    found: Vec<Found>,
    synced: u64,
    expect: &[(u64, u64)],
    missing: &[(u64, u64)],
    next: u64,
    is_cut: bool,
) {
    let verdict = judge(found, &[], synced, 1);
    let groups: Vec<(u64, u64)> =
        verdict.groups.iter().map(|found| (found.header.file, found.header.group)).collect();
    assert_eq!(groups, expect);
    assert_eq!(verdict.missing, missing);
    assert_eq!((verdict.next_group, verdict.is_cut), (next, is_cut));
}

#[test]
fn an_unharmed_log_counts_whole() {
    check(vec![], 0, &[], &[], 1, false);
    check(vec![group(1, 1, 0), group(1, 2, 1), group(2, 3, 2)], 0, &[(1, 1), (1, 2), (2, 3)], &[], 4, false);
}

#[test]
fn damage_after_the_newest_proof_is_cut() {
    // Group 3 was never proven: whoever wrote it did not get to write another one after its sync.
    check(vec![group(1, 1, 0), group(1, 2, 1), damaged(group(1, 3, 2))], 0, &[(1, 1), (1, 2)], &[], 3, true);
    // With relaxed flushing several groups may be unproven: the first damaged one takes the others with it.
    let relaxed = vec![group(1, 1, 0), group(1, 2, 1), damaged(group(1, 3, 1)), group(1, 4, 1)];
    check(relaxed, 0, &[(1, 1), (1, 2)], &[], 3, true);
    // Or it is not to be found at all.
    check(vec![group(1, 1, 0), group(1, 2, 1), group(1, 4, 1)], 0, &[(1, 1), (1, 2)], &[], 3, true);
}

#[test]
fn damage_up_to_the_newest_proof_is_corruption() {
    let found = vec![group(1, 1, 0), damaged(group(1, 2, 1)), group(1, 3, 2)];
    check(found, 0, &[(1, 1), (1, 2), (1, 3)], &[], 4, false);
    check(vec![group(1, 1, 0), group(1, 4, 3)], 0, &[(1, 1), (1, 4)], &[(2, 3)], 5, false);
    // The checkpoint can prove groups too, even those at the end.
    check(vec![group(1, 1, 0)], 3, &[(1, 1)], &[(2, 3)], 4, false);
    check(vec![], 2, &[], &[(1, 2)], 3, false);
}

#[test]
fn a_hole_across_the_proof_is_both() {
    // Groups 2 to 4 are missing, of which 2 is proven: 5 cannot count.
    check(vec![group(1, 1, 0), group(1, 5, 2)], 0, &[(1, 1)], &[(2, 2)], 3, true);
}

#[test]
fn a_later_use_of_the_log_replaces_what_was_cut() {
    // Group 3 in file 1 was torn, then 3 was written anew to file 2; group 4 of file 1 is a ghost.
    let found = vec![group(1, 1, 0), group(1, 2, 1), group(1, 4, 1), group(2, 3, 2)];
    check(found, 0, &[(1, 1), (1, 2), (2, 3)], &[], 4, false);
}

#[test]
fn ghosts_never_return() {
    // The new group 3 is lost as well: the ghost in file 1 must not take its place.
    let voids = [Void { file_max: 1, group_min: 3 }];
    let found = vec![group(1, 1, 0), group(1, 2, 1), group(1, 3, 1), group(1, 4, 1)];
    let verdict = judge(found, &voids, 2, 1);
    assert_eq!(verdict.groups.len(), 2);
    assert_eq!((verdict.next_group, verdict.is_cut), (3, false));
}

#[test]
fn groups_of_recycled_files_do_not_count() {
    let verdict = judge(vec![group(1, 1, 0), group(1, 2, 1), group(2, 3, 2)], &[], 2, 3);
    assert_eq!(verdict.groups.len(), 1);
    assert!(verdict.missing.is_empty());
}
