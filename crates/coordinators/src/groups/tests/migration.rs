//! From one protocol to the other with members in the group, and what a classic member is told among the others.

use super::consumer::partitions;
use super::mixed::{Mixed, Phase, named};
use super::*;
use crate::groups::classic::{Join, Joined, Protocol, Said, Share, State, Subscription, Sync};
use crate::groups::consumer::{Beat, Consumer, JOINS, LEAVES, LEAVES_FOR_A_WHILE, MemberState};

pub fn consumer(mixed: &Mixed) -> &Consumer {
    mixed.clients.group()
}

pub fn refused(reject: Reject) -> Result<Reply, Reject> {
    Ok(Reply::Now(Answer::Refused(reject)))
}

/// A heartbeat by which `id` joins under the newer protocol.
fn newcomer(mixed: &mut Mixed, id: &str) -> Beat {
    mixed.clients.client(id, &["a"]);
    let beat = mixed.clients.request(id);
    mixed.clients.members.remove(id);
    beat
}

fn upgrade(mixed: &mut Mixed) -> Result<Reply, Reject> {
    let beat = newcomer(mixed, "n");
    mixed.clients.bench.run(Command::ConsumerHeartbeat(beat))
}

fn joined(told: Result<Reply, Reject>) -> Joined {
    match told {
        Ok(Reply::Now(Answer::Joined(joined))) => joined,
        other => panic!("{other:?}"),
    }
}

#[test]
fn kafka_44_a_newcomer_takes_the_classic_members_along() {
    let mut mixed = Mixed::settled(&[4], &["c1", "c2"], false);
    let generation = mixed.classics["c1"].generation;
    let before = mixed.clients.bench.groups.classic("g").unwrap().clone();
    mixed.clients.client("n", &["a"]);
    let told = mixed.clients.beat("n").unwrap();
    assert_eq!((told.epoch, told.assignment), (generation + 1, Some(Default::default())), "nothing is free");
    assert!(!mixed.is_classic());
    for (id, was) in &before.members {
        let member = &consumer(&mixed).members[id];
        assert_eq!((member.current.epoch, member.current.state), (generation, MemberState::Stable));
        let Share::Written { says: Some(said), .. } = &was.assignment else { panic!("{was:?}") };
        assert_eq!(member.current.assigned, partitions(1, said.partitions["a"].clone()));
        let classic = member.metadata.classic.as_ref().unwrap();
        assert_eq!((classic.session_timeout, &classic.protocols), (was.session_timeout, &was.protocols));
    }
    assert_eq!(mixed.heartbeat("c1"), refused(Reject::RebalanceInProgress));
    mixed.rounds(5);
    assert_eq!(mixed.counts().values().sum::<usize>(), 4);
    assert!(mixed.counts().values().all(|count| (1..=2).contains(count)), "{:?}", mixed.counts());
    assert_eq!(consumer(&mixed).state_name(), "Stable");
    assert_eq!(mixed.heartbeat("c1"), Ok(Reply::Done));
}

#[test]
fn a_cooperative_member_keeps_what_it_may_keep_while_it_gives_up_the_rest() {
    let mut mixed = Mixed::settled(&[4], &["c1"], true);
    mixed.clients.client("n", &["a"]);
    mixed.clients.rounds(1);
    let generation = mixed.classics["c1"].generation;
    mixed.step("c1");
    mixed.step("c1");
    assert_eq!(mixed.classics["c1"].phase, Phase::Syncs);
    assert_eq!(mixed.classics["c1"].generation, generation, "it has something to give up first");
    mixed.step("c1");
    assert_eq!(mixed.classics["c1"].owned["a"].len(), 2);
    mixed.clients.rounds(1);
    assert_eq!(mixed.counts()["n"], 0, "c1 has not said yet that it gave up");
    mixed.rounds(4);
    assert_eq!(mixed.counts(), BTreeMap::from([("c1", 2), ("n", 2)]));
}

#[test]
fn a_restart_keeps_a_mixed_group() {
    let mut mixed = Mixed::settled(&[4], &["c1", "c2"], true);
    mixed.clients.client("n", &["a"]);
    mixed.rounds(6);
    let (before, counts) = (consumer(&mixed).members.clone(), mixed.counts().len());
    mixed.restart();
    for (id, member) in &before {
        let after = &consumer(&mixed).members[id];
        assert_eq!((&after.metadata, &after.current), (&member.metadata, &member.current));
    }
    mixed.rounds(2);
    assert_eq!(mixed.counts().len(), counts);
    assert!(mixed.everything_is_owned());
    assert_eq!(consumer(&mixed).state_name(), "Stable");
}

#[test]
fn a_classic_group_says_why_it_stays_one() {
    let refuses = |mixed: &mut Mixed, obstacle| {
        assert_eq!(upgrade(mixed), Err(Reject::CannotUpgrade(obstacle)));
        assert!(mixed.is_classic());
    };
    let with = |options: Options| {
        let mut mixed = Mixed::with(&[4], options);
        mixed.classic("c1", &["a"]);
        mixed.classic("c2", &["a"]);
        mixed.rounds(8);
        mixed
    };
    for migration in [Migration::Disabled, Migration::Downgrade] {
        refuses(&mut with(Options { migration, ..options() }), Obstacle::Disabled);
    }
    refuses(&mut with(Options { consumer_members_max: 1, ..options() }), Obstacle::TooManyMembers);

    let mut mixed = Mixed::new(&[1]);
    let connect = Join { protocol_type: "connect".into(), ..super::classic::join("c1") };
    mixed.clients.bench.run(Command::Join(connect)).unwrap();
    refuses(&mut mixed, Obstacle::OtherProtocol);

    for (says, obstacle) in [
        (Some(Said { has_user_data: true, ..Said::default() }), Obstacle::CustomAssignor),
        (None, Obstacle::Unreadable),
    ] {
        let mut mixed = Mixed::new(&[1]);
        mixed.clients.bench.run(Command::Join(super::classic::join("c1"))).unwrap();
        let share = Share::Written { bytes: "words".into(), says };
        let sync = Sync {
            group: "g".into(),
            generation: 1,
            member: "c1".into(),
            instance: None,
            protocol_type: None,
            protocol: None,
            assignments: vec![("c1".into(), share)],
            image: Arc::default(),
            kept_elsewhere: 0,
        };
        mixed.clients.bench.run(Command::Sync(sync)).unwrap();
        refuses(&mut mixed, obstacle);
    }
}

#[test]
fn who_waits_for_a_classic_rebalance_is_told_to_join_anew() {
    let mut mixed = Mixed::settled(&[4], &["c1", "c2"], false);
    mixed.classic("c3", &["a"]);
    mixed.step("c3");
    assert_eq!(mixed.classics["c3"].phase, Phase::WaitsToJoin);
    mixed.clients.bench.answers.clear();
    upgrade(&mut mixed).unwrap();
    let answer = &mixed.clients.bench.answers[&mixed.classics["c3"].id];
    assert_eq!(*answer, Answer::Refused(Reject::RebalanceInProgress));
    assert!(consumer(&mixed).members.contains_key(&mixed.classics["c3"].id));
}

#[test]
fn a_cooperative_member_that_does_not_know_its_share_yet_has_what_it_had() {
    let mut mixed = Mixed::settled(&[4], &["c1", "c2"], true);
    let (leader, other) = match mixed.clients.bench.groups.classic("g").unwrap().leader.as_deref() {
        Some("c1-0") => ("c1", "c2"),
        _ => ("c2", "c1"),
    };
    mixed.classic("c3", &["a"]).cooperative = true;
    // The next generation begins, and its leader has assigned; the other has not fetched its part of it.
    mixed.step("c3");
    for name in [leader, leader, other, other, leader] {
        mixed.step(name);
    }
    assert_eq!((mixed.classics[other].phase, mixed.classics[other].owned["a"].len()), (Phase::Syncs, 2));
    let had = mixed.classics[other].owned["a"].clone();
    mixed.clients.client("n", &["a"]);
    mixed.clients.beat("n").unwrap();
    let group = consumer(&mixed);
    assert_eq!(group.members[&mixed.classics[other].id].current.assigned, partitions(1, had));
    assert_eq!(group.targets[&mixed.classics[other].id].values().map(BTreeSet::len).sum::<usize>(), 1);
    mixed.nothing_is_owned_twice();
    mixed.rounds(8);
    assert!(mixed.everything_is_owned());
}

#[test]
fn what_a_member_has_still_to_give_up_is_its_own_in_the_classic_group_too() {
    let mut mixed = Mixed::settled(&[4], &["c1"], true);
    mixed.clients.client("n", &["a"]);
    mixed.clients.rounds(1);
    mixed.step("c1");
    mixed.step("c1");
    let id = mixed.classics["c1"].id.clone();
    assert_eq!(consumer(&mixed).members[&id].current.state, MemberState::UnrevokedPartitions);
    // Whoever leaves first after a restart finds nobody who has told the group of its topics.
    mixed.restart();
    mixed.clients.leave("n", LEAVES);
    let group = mixed.clients.bench.groups.classic("g").unwrap();
    assert_eq!(group.members[&id].assignment.partitions(), Some(&named("a", 0..4)));
}

#[test]
fn a_static_member_that_comes_back_among_unsettled_ones_makes_everybody_join_anew() {
    let mut mixed = Mixed::settled(&[4], &["c1"], false);
    mixed.clients.client("n", &["a"]).instance = Some("i".into());
    mixed.rounds(5);
    mixed.classic("c2", &["a"]);
    mixed.step("c2");
    mixed.step("c2");
    mixed.clients.leave("n", LEAVES_FOR_A_WHILE);
    mixed.classic("c3", &["a"]).instance = Some("i".into());
    mixed.step("c3");
    assert_eq!(mixed.clients.bench.groups.classic("g").unwrap().state, State::PreparingRebalance);
    mixed.rounds(8);
    assert!(mixed.everything_is_owned());
}

#[test]
fn kafka_44_the_last_one_under_the_newer_protocol_leaves_the_group_to_the_classic_members() {
    for cooperative in [false, true] {
        let mut mixed = Mixed::settled(&[4], &["c1", "c2"], cooperative);
        mixed.clients.client("n", &["a"]);
        mixed.rounds(6);
        let epoch = consumer(&mixed).epoch;
        mixed.clients.leave("n", LEAVES);
        let group = mixed.clients.bench.groups.classic("g").unwrap();
        assert_eq!((group.state, group.generation), (State::PreparingRebalance, epoch));
        assert!(mixed.clients.bench.groups.consumer("g").is_none());
        assert_eq!(mixed.heartbeat("c1"), refused(Reject::RebalanceInProgress));
        mixed.rounds(8);
        assert_eq!(mixed.counts(), BTreeMap::from([("c1", 2), ("c2", 2)]));
        let group = mixed.clients.bench.groups.classic("g").unwrap();
        assert_eq!(group.state, State::Stable);
        assert!(group.generation > epoch);
    }
}

#[test]
fn what_is_left_to_classic_members_outlives_a_restart() {
    let mut mixed = Mixed::settled(&[4], &["c1", "c2"], true);
    mixed.clients.client("n", &["a"]);
    mixed.rounds(6);
    let epoch = consumer(&mixed).epoch;
    let owned = mixed.classics["c1"].owned.clone();
    mixed.clients.leave("n", LEAVES);
    mixed.restart();
    let group = mixed.clients.bench.groups.classic("g").unwrap();
    assert_eq!((group.state, group.generation), (State::Stable, epoch));
    let member = &group.members[&mixed.classics["c1"].id];
    assert_eq!(member.assignment.partitions(), Some(&owned));
    assert!(mixed.clients.bench.groups.consumer("g").is_none());
}

#[test]
fn a_newer_member_that_falls_silent_leaves_the_group_too() {
    let mut mixed = Mixed::settled(&[4], &["c1"], false);
    mixed.clients.client("n", &["a"]);
    mixed.rounds(6);
    mixed.clients.members.remove("n");
    for _ in 0..12 {
        mixed.clients.bench.pass(4);
        mixed.rounds(1);
    }
    assert!(mixed.is_classic());
    mixed.rounds(4);
    assert_eq!(mixed.counts(), BTreeMap::from([("c1", 4)]));
}

#[test]
fn where_the_way_back_is_closed_classic_members_go_on_among_themselves() {
    let mut mixed = Mixed::with(&[4], Options { migration: Migration::Upgrade, ..options() });
    mixed.classic("c1", &["a"]);
    mixed.classic("c2", &["a"]);
    mixed.rounds(8);
    mixed.clients.client("n", &["a"]);
    mixed.rounds(6);
    mixed.clients.leave("n", LEAVES);
    assert!(!mixed.is_classic());
    mixed.rounds(6);
    assert_eq!(mixed.counts(), BTreeMap::from([("c1", 2), ("c2", 2)]));
}

#[test]
fn a_closed_migration_keeps_classic_members_out() {
    let mut mixed = Mixed::with(&[4], Options { migration: Migration::Disabled, ..options() });
    mixed.clients.client("n", &["a"]);
    mixed.rounds(1);
    mixed.classic("c1", &["a"]);
    let join = mixed.join_of("c1");
    assert_eq!(mixed.clients.bench.run(Command::Join(join)), Err(Reject::InconsistentGroupProtocol));
}

#[test]
fn ids_come_before_members_and_need_not_be_remembered() {
    let mut mixed = Mixed::new(&[2]);
    mixed.clients.client("n", &["a"]);
    mixed.rounds(1);
    mixed.classic("c1", &["a"]);
    let join = Join { knows_ids: true, ..mixed.join_of("c1") };
    let member = join.fresh.clone();
    let told = mixed.clients.bench.run(Command::Join(join.clone()));
    assert_eq!(told, Ok(Reply::Now(Answer::MemberIdRequired { member: member.clone() })));
    assert_eq!(consumer(&mixed).members.len(), 1);
    let told = mixed.clients.bench.run(Command::Join(Join { member: member.clone(), ..join.clone() }));
    let joined = joined(told);
    assert_eq!((joined.member.as_str(), joined.leader.as_str()), (member.as_str(), ""), "nobody leads");
    assert_eq!((joined.generation, joined.protocol.as_deref()), (consumer(&mixed).epoch, Some("range")));
    let said = Subscription { owned: named("a", [0]), ..join.protocols[0].subscription.clone().unwrap() };
    let protocol = Protocol { subscription: Some(said), ..join.protocols[0].clone() };
    let late = Join { member: "gone".into(), protocols: vec![protocol], ..join };
    let told = mixed.clients.bench.run(Command::Join(late));
    assert_eq!(told, Err(Reject::UnknownMemberId), "what it believes to own, it lost with its place");
}

#[test]
fn classic_members_must_have_a_protocol_in_common() {
    let mut mixed = Mixed::settled(&[2], &["c1"], false);
    mixed.clients.client("n", &["a"]);
    mixed.rounds(4);
    mixed.classic("c2", &["a"]).cooperative = true;
    let join = mixed.join_of("c2");
    for join in [
        join.clone(),
        Join { protocol_type: "connect".into(), protocols: mixed.join_of("c1").protocols, ..join.clone() },
        Join { protocols: Vec::new(), ..join },
    ] {
        assert_eq!(mixed.clients.bench.run(Command::Join(join)), Err(Reject::InconsistentGroupProtocol));
    }
}

#[test]
fn kafka_43_a_static_member_changes_its_protocol_and_keeps_its_place() {
    let mut mixed = Mixed::new(&[4]);
    for name in ["c1", "c2"] {
        mixed.classic(name, &["a"]).instance = Some(format!("at {name}"));
    }
    mixed.rounds(8);
    let owned = mixed.classics["c1"].owned["a"].clone();
    // It went without a word, as classic static members do.
    mixed.classics.remove("c1");
    mixed.clients.client("n", &["a"]).instance = Some("at c1".into());
    assert_eq!(mixed.clients.beat("n").unwrap().assignment, Some(partitions(1, owned.clone())));
    mixed.rounds(4);
    assert_eq!(mixed.counts(), BTreeMap::from([("c2", 2), ("n", 2)]));

    // And back: the group is a classic one again, and nobody else hears of it.
    let generation = consumer(&mixed).epoch;
    mixed.clients.leave("n", LEAVES_FOR_A_WHILE);
    mixed.classic("c1", &["a"]).instance = Some("at c1".into());
    mixed.step("c1");
    assert!(mixed.is_classic());
    assert_eq!((mixed.classics["c1"].phase, mixed.classics["c1"].generation), (Phase::Syncs, generation));
    mixed.step("c1");
    assert_eq!(mixed.classics["c1"].owned["a"], owned);
    assert_eq!(mixed.heartbeat("c2"), Ok(Reply::Done));
    assert_eq!(mixed.clients.bench.groups.classic("g").unwrap().state, State::Stable);
}

#[test]
fn a_static_member_that_brings_other_topics_back_makes_everybody_join_anew() {
    let mut mixed = Mixed::new(&[4, 2]);
    mixed.classic("c2", &["a"]).instance = Some("at c2".into());
    mixed.rounds(4);
    mixed.clients.client("n", &["a"]).instance = Some("at c1".into());
    mixed.rounds(5);
    mixed.clients.leave("n", LEAVES_FOR_A_WHILE);
    mixed.classic("c1", &["a", "b"]).instance = Some("at c1".into());
    mixed.step("c1");
    assert_eq!(mixed.clients.bench.groups.classic("g").unwrap().state, State::PreparingRebalance);
    mixed.rounds(8);
    assert_eq!(mixed.owners().len(), 6);
}

#[test]
fn a_live_static_member_under_the_newer_protocol_gives_way_to_a_classic_one_only() {
    let mut mixed = Mixed::new(&[4]);
    mixed.clients.client("n", &["a"]).instance = Some("i".into());
    mixed.clients.client("other", &["a"]);
    mixed.rounds(4);
    let mut again = mixed.clients.request("n");
    (again.member, again.epoch) = ("n-2".into(), JOINS);
    assert_eq!(mixed.clients.send(again), Err(Reject::UnreleasedInstanceId));
    mixed.classic("c", &["a"]).instance = Some("i".into());
    mixed.step("c");
    assert_eq!(mixed.classics["c"].phase, Phase::Syncs);
    assert_eq!(mixed.clients.beat("n"), Err(Reject::FencedInstanceId));
    mixed.clients.members.remove("n");
    mixed.rounds(4);
    assert_eq!(mixed.counts(), BTreeMap::from([("c", 2), ("other", 2)]));
    // Whoever comes with an id is no newcomer.
    let join = |member: &str, instance: &str| Join {
        member: member.into(),
        instance: Some(instance.into()),
        ..mixed_join(&mixed)
    };
    let (fenced, unknown) = (join("c-old", "i"), join("c-old", "j"));
    assert_eq!(mixed.clients.bench.run(Command::Join(fenced)), Err(Reject::FencedInstanceId));
    assert_eq!(mixed.clients.bench.run(Command::Join(unknown)), Err(Reject::UnknownMemberId));
}

fn mixed_join(mixed: &Mixed) -> Join {
    let protocol = Protocol {
        name: "range".into(),
        metadata: "range".into(),
        subscription: Some(Subscription { topics: BTreeSet::from(["a".into()]), ..Subscription::default() }),
    };
    Join { protocols: vec![protocol], image: mixed.clients.image.clone(), ..super::classic::join("x") }
}
