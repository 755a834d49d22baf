use expect_test::{Expect, expect};

use super::*;

/// Applies `history`, decides `command`, and shows the records or the refusal.
fn check(history: &[Record], command: Command, expected: Expect) {
    let mut state = Metadata::default();
    history.iter().for_each(|record| state.apply(record));
    let outcome = match state.decide(command, Timestamp(0)) {
        Ok(decision) => decision.records.iter().map(|r| format!("{r:?}\n")).collect::<String>(),
        Err(reject) => format!("refused: {reject:?}\n"),
    };
    expected.assert_eq(&outcome);
}

fn create(name: &str, partitions: i32) -> Command {
    Command::CreateTopic { name: name.into(), id: TopicId([7; 16]), partitions, configs: BTreeMap::new() }
}

fn existing(name: &str) -> Vec<Record> {
    let id = TopicId([1; 16]);
    vec![Record::TopicCreated { name: name.into(), id }, Record::PartitionCreated { topic: id, index: 0 }]
}

#[test]
fn a_new_topic_is_its_name_then_its_partitions() {
    check(
        &[],
        create("orders", 2),
        expect![[r#"
            TopicCreated { name: "orders", id: BwcHBwcHBwcHBwcHBwcHBw }
            PartitionCreated { topic: BwcHBwcHBwcHBwcHBwcHBw, index: 0 }
            PartitionCreated { topic: BwcHBwcHBwcHBwcHBwcHBw, index: 1 }
        "#]],
    );
}

#[test]
fn kafka_25_topic_names_bad_long_or_colliding_are_refused() {
    check(
        &[],
        create("a b", 1),
        expect![[r#"
        refused: InvalidName("'a b' holds characters other than ASCII letters, digits, '.', '_' and '-'")
    "#]],
    );
    check(
        &[],
        create("..", 1),
        expect![[r#"
        refused: InvalidName("'..' is not a topic name")
    "#]],
    );
    assert!(check_topic_name(&"x".repeat(249)).is_ok());
    assert!(check_topic_name(&"x".repeat(250)).is_err());
    check(
        &existing("a.b"),
        create("a_b", 1),
        expect![[r#"
        refused: NameCollides { with: "a.b" }
    "#]],
    );
    check(
        &existing("a.b"),
        create("a.b", 1),
        expect![[r#"
        refused: TopicExists
    "#]],
    );
}

#[test]
fn a_deleted_topic_frees_its_name_and_its_configs() {
    let mut history = existing("a.b");
    history.push(Record::ConfigSet {
        resource: Resource::Topic("a.b".into()),
        name: "retention.ms".into(),
        value: Some("1".into()),
    });
    history.push(Record::TopicRemoved { id: TopicId([1; 16]) });
    let mut state = Metadata::default();
    history.iter().for_each(|record| state.apply(record));
    assert_eq!(state, Metadata::default());
    check(
        &history,
        create("a_b", 1),
        expect![[r#"
        TopicCreated { name: "a_b", id: BwcHBwcHBwcHBwcHBwcHBw }
        PartitionCreated { topic: BwcHBwcHBwcHBwcHBwcHBw, index: 0 }
    "#]],
    );
}

#[test]
fn partitions_only_grow() {
    let grow = |partitions| Command::CreatePartitions { id: TopicId([1; 16]), partitions };
    check(
        &existing("t"),
        grow(2),
        expect![[r#"
        PartitionCreated { topic: AQEBAQEBAQEBAQEBAQEBAQ, index: 1 }
    "#]],
    );
    check(
        &existing("t"),
        grow(1),
        expect![[r#"
        refused: InvalidPartitions("Topic already has 1 partition(s).")
    "#]],
    );
    check(
        &[],
        grow(2),
        expect![[r#"
        refused: UnknownTopic
    "#]],
    );
}

#[test]
fn producer_id_blocks_never_overlap() {
    let mut state = Metadata::default();
    let mut firsts = Vec::new();
    for _ in 0..3 {
        let decision = state.decide(Command::AllocateProducerIds, Timestamp(0)).ok().unwrap();
        decision.records.iter().for_each(|record| state.apply(record));
        firsts.push(decision.reply);
    }
    let expected = [0, 1000, 2000].map(|first| Reply::ProducerIds { first: ProducerId(first) });
    assert_eq!(firsts, expected);
}

#[test]
fn producer_ids_of_lost_allocations_are_not_given_again() {
    let allocate = |state: &mut Metadata| {
        let decision = state.decide(Command::AllocateProducerIds, Timestamp(0)).ok().unwrap();
        decision.records.iter().for_each(|record| state.apply(record));
        decision.reply
    };
    let mut whole = Metadata::default();
    for _ in 0..4 {
        allocate(&mut whole);
    }
    // Of four allocations the last two are lost.
    let mut state = Metadata::default();
    state.apply(&Record::ProducerIdsAllocated { next: 2 * PRODUCER_ID_BLOCK });
    state.lose(2);
    assert_eq!(allocate(&mut state), allocate(&mut whole.clone()));
    // One that survived says more than what was lost before it.
    let mut state = Metadata::default();
    state.lose(3);
    state.apply(&Record::ProducerIdsAllocated { next: 4 * PRODUCER_ID_BLOCK });
    assert_eq!(allocate(&mut state), allocate(&mut whole));
}

#[test]
fn a_topic_whose_name_went_to_another_is_gone_although_its_removal_is_lost() {
    let mut state = Metadata::default();
    existing("t").iter().for_each(|record| state.apply(record));
    let second = TopicId([2; 16]);
    state.apply(&Record::TopicCreated { name: "t".into(), id: second });
    assert_eq!(state.topic_by_id(TopicId([1; 16])), None);
    assert_eq!(state.topic_by_id(second).unwrap().partitions, 0);
}

fn group_config(name: &str, value: Option<&str>) -> Record {
    let resource = Resource::Group("billing".into());
    Record::ConfigSet { resource, name: name.into(), value: value.map(Into::into) }
}

#[test]
fn a_group_has_configs_as_long_as_any_is_set() {
    let mut state = Metadata::default();
    let mut shown = |record: Record| {
        state.apply(&record);
        format!("{:?}", state.group_configs())
    };
    assert_eq!(shown(group_config("a", Some("1"))), r#"{"billing": {"a": "1"}}"#);
    assert_eq!(shown(group_config("b", Some("2"))), r#"{"billing": {"a": "1", "b": "2"}}"#);
    assert_eq!(shown(group_config("a", None)), r#"{"billing": {"b": "2"}}"#);
    assert_eq!(shown(group_config("b", None)), "{}");
}

#[test]
fn no_more_than_so_many_groups_have_configs() {
    let mut state = Metadata::default();
    let set = |group: usize| Record::ConfigSet {
        resource: Resource::Group(group.to_string()),
        name: "a".into(),
        value: Some("1".into()),
    };
    (0..CONFIGURED_GROUPS_MAX).for_each(|group| state.apply(&set(group)));
    let decide = |group: usize| {
        let changes = vec![("a".to_string(), Some("2".to_string()))];
        state.decide(
            Command::SetConfigs { resource: Resource::Group(group.to_string()), changes },
            Timestamp(0),
        )
    };
    assert!(decide(CONFIGURED_GROUPS_MAX - 1).is_ok());
    assert_eq!(decide(CONFIGURED_GROUPS_MAX).err(), Some(Reject::TooManyConfiguredGroups));
}
