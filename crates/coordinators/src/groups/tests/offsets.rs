use super::*;

fn partition(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.into(), partition }
}

pub fn committed(offset: i64, id: u8, at: Timestamp) -> Committed {
    Committed {
        offset: Offset(offset),
        leader_epoch: LeaderEpoch::NONE,
        metadata: "mine".into(),
        committed_at: at,
        topic_id: TopicId([id; 16]),
    }
}

fn commit(bench: &mut Bench, generation: i32, offset: i64) -> Result<usize, Reject> {
    let at = bench.now;
    let offsets =
        vec![(partition("t", 0), committed(offset, 1, at)), (partition("u", 3), committed(offset, 2, at))];
    let member = if generation < 0 { "" } else { "m" };
    let commit = Commit {
        group: "g".into(),
        generation,
        member: member.into(),
        instance: None,
        knows_epochs: true,
        offsets,
    };
    count(bench, Command::Commit(commit))
}

/// How many records it led to.
fn count(bench: &mut Bench, command: Command) -> Result<usize, Reject> {
    let before = bench.log.len();
    bench.run(command)?;
    Ok(bench.log.len() - before)
}

#[test]
fn the_last_commit_stands() {
    let mut bench = Bench::new();
    assert_eq!(commit(&mut bench, -1, 4), Ok(2));
    assert_eq!(commit(&mut bench, -1, 3), Ok(2));
    let group = bench.groups.group("g").unwrap();
    assert_eq!(group.offsets[&partition("u", 3)], committed(3, 2, bench.now));
}

#[test]
fn a_generation_needs_a_group_with_members() {
    let mut bench = Bench::new();
    assert_eq!(commit(&mut bench, 0, 4), Err(Reject::UnknownGeneration));
    commit(&mut bench, -1, 4).unwrap();
    assert_eq!(commit(&mut bench, 0, 4), Err(Reject::UnknownMemberId));
}

#[test]
fn kafka_29_a_deleted_topic_takes_every_groups_offsets_along() {
    let mut bench = Bench::new();
    commit(&mut bench, -1, 4).unwrap();
    let deleted = Command::TopicDeleted { id: TopicId([1; 16]) };
    assert_eq!(count(&mut bench, deleted.clone()), Ok(1));
    let left: Vec<_> = bench.groups.group("g").unwrap().offsets.keys().cloned().collect();
    assert_eq!(left, [partition("u", 3)]);
    assert_eq!(count(&mut bench, deleted), Ok(0));
}

#[test]
fn a_group_without_offsets_and_members_is_no_group() {
    let mut bench = Bench::new();
    commit(&mut bench, -1, 4).unwrap();
    let both = vec![partition("t", 0), partition("u", 3), partition("never", 0)];
    let delete = Command::DeleteOffsets { group: "g".into(), partitions: both };
    assert_eq!(count(&mut bench, delete.clone()), Ok(2));
    assert_eq!(bench.groups.group("g"), None);
    assert_eq!(count(&mut bench, delete), Err(Reject::GroupNotFound));
}

#[test]
fn kafka_41_offsets_of_a_simple_group_expire_seven_days_after_the_commit() {
    let mut bench = Bench::new();
    commit(&mut bench, -1, 4).unwrap();
    bench.pass(6 * 24 * 3600);
    assert!(bench.groups.group("g").is_some());
    bench.pass(24 * 3600 + 700);
    assert!(bench.groups.group("g").is_none());
}

#[test]
fn deleting_a_group_forgets_its_offsets_for_good() {
    let mut bench = Bench::new();
    commit(&mut bench, -1, 4).unwrap();
    bench.run(Command::DeleteGroup { group: "g".into() }).unwrap();
    assert_eq!(bench.run(Command::DeleteGroup { group: "g".into() }), Err(Reject::GroupNotFound));
    bench.restart();
    assert!(bench.groups.group("g").is_none());
}
