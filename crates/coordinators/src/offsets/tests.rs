use super::*;

fn partition(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.into(), partition }
}

fn committed(offset: i64, id: u8) -> Committed {
    Committed {
        offset: Offset(offset),
        leader_epoch: LeaderEpoch::NONE,
        metadata: "mine".into(),
        committed_at: Timestamp(5),
        topic_id: TopicId([id; 16]),
    }
}

fn commit(generation: i32, offset: i64) -> Command {
    let offsets = vec![(partition("t", 0), committed(offset, 1)), (partition("u", 3), committed(offset, 2))];
    Command::Commit { group: "g".into(), generation, member: String::new(), offsets }
}

fn run(state: &mut Offsets, command: Command) -> Result<usize, Reject> {
    let decision = state.decide(command, Timestamp(9))?;
    decision.records.iter().for_each(|record| state.apply(record));
    Ok(decision.records.len())
}

#[test]
fn the_last_commit_stands() {
    let mut state = Offsets::default();
    assert_eq!(run(&mut state, commit(-1, 4)), Ok(2));
    assert_eq!(run(&mut state, commit(-1, 3)), Ok(2));
    assert_eq!(state.group("g").unwrap()[&partition("u", 3)], committed(3, 2));
}

#[test]
fn a_generation_needs_a_group_with_members() {
    let mut state = Offsets::default();
    assert_eq!(run(&mut state, commit(0, 4)), Err(Reject::UnknownGeneration));
    run(&mut state, commit(-1, 4)).unwrap();
    assert_eq!(run(&mut state, commit(0, 4)), Err(Reject::UnknownMember));
}

#[test]
fn kafka_29_a_deleted_topic_takes_every_groups_offsets_along() {
    let mut state = Offsets::default();
    run(&mut state, commit(-1, 4)).unwrap();
    assert_eq!(run(&mut state, Command::TopicDeleted { id: TopicId([1; 16]) }), Ok(1));
    assert_eq!(state.group("g").unwrap().keys().collect::<Vec<_>>(), [&partition("u", 3)]);
    assert_eq!(run(&mut state, Command::TopicDeleted { id: TopicId([1; 16]) }), Ok(0));
}

#[test]
fn a_group_without_offsets_is_no_group() {
    let mut state = Offsets::default();
    run(&mut state, commit(-1, 4)).unwrap();
    let both = vec![partition("t", 0), partition("u", 3), partition("never", 0)];
    assert_eq!(run(&mut state, Command::Delete { group: "g".into(), partitions: both }), Ok(2));
    assert_eq!(state, Offsets::default());
    let again = Command::Delete { group: "g".into(), partitions: Vec::new() };
    assert_eq!(run(&mut state, again), Err(Reject::GroupNotFound));
}
