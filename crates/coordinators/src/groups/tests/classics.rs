//! What a classic member is told in a group under the newer protocol, and by when it must do what.

use super::migration::{consumer, refused};
use super::mixed::{Mixed, Phase};
use super::offsets::committed;
use super::*;
use crate::groups::classic::{Leaver, Share, Sync};

/// `c1` and `n` share four partitions.
fn shared() -> Mixed {
    let mut mixed = Mixed::settled(&[4], &["c1"], false);
    mixed.clients.client("n", &["a"]);
    mixed.rounds(5);
    assert_eq!(mixed.counts(), BTreeMap::from([("c1", 2), ("n", 2)]));
    mixed
}

#[test]
fn a_classic_member_must_join_within_its_rebalance_timeout() {
    let mut mixed = shared();
    mixed.clients.client("n2", &["a"]);
    // It goes on beating and does not do what it is told.
    for _ in 0..13 {
        let _ = mixed.heartbeat("c1");
        mixed.clients.rounds(1);
        mixed.clients.bench.pass(5);
    }
    assert_eq!(mixed.heartbeat("c1"), Err(Reject::UnknownMemberId));
    mixed.clients.rounds(2);
    assert_eq!(mixed.clients.counts(), [2, 2]);
}

#[test]
fn a_classic_member_must_sync_within_its_rebalance_timeout() {
    let mut mixed = shared();
    mixed.classic("c2", &["a"]);
    mixed.step("c2");
    assert_eq!(mixed.classics["c2"].phase, Phase::Syncs);
    for _ in 0..12 {
        assert_eq!(mixed.heartbeat("c2").map(drop), Ok(()));
        mixed.step("c1");
        mixed.clients.rounds(1);
        mixed.clients.bench.pass(5);
    }
    assert_eq!(mixed.heartbeat("c2"), Err(Reject::UnknownMemberId));
}

#[test]
fn each_member_has_the_session_of_its_protocol() {
    let mut mixed = shared();
    mixed.clients.bench.pass(11);
    assert_eq!(consumer(&mixed).members.keys().collect::<Vec<_>>(), ["n"]);
    let mut mixed = shared();
    mixed.clients.bench.pass(9);
    assert_eq!(mixed.heartbeat("c1"), Ok(Reply::Done));
    mixed.clients.bench.pass(9);
    assert_eq!(mixed.heartbeat("c1"), Ok(Reply::Done));
}

#[test]
fn a_classic_member_is_told_what_is_wrong_with_its_requests() {
    let mut mixed = shared();
    let run = |mixed: &mut Mixed, sync: Sync| mixed.clients.bench.run(Command::Sync(sync));
    let sync = mixed.sync_of("c1");
    let epoch = consumer(&mixed).epoch;
    let share = Share::Given { version: 3, partitions: mixed.classics["c1"].owned.clone() };
    let told = Answer::Synced { assignment: share, protocol_type: Some("consumer".into()), protocol: None };
    assert_eq!(run(&mut mixed, sync.clone()), Ok(Reply::Now(told)));
    for (wrong, reject) in [
        (Sync { generation: epoch - 1, ..sync.clone() }, Reject::IllegalGeneration),
        (Sync { member: "c9".into(), ..sync.clone() }, Reject::UnknownMemberId),
        (Sync { member: "n".into(), ..sync.clone() }, Reject::UnknownMemberId),
        (Sync { instance: Some("i".into()), ..sync.clone() }, Reject::UnknownMemberId),
        (Sync { protocol_type: Some("connect".into()), ..sync.clone() }, Reject::InconsistentGroupProtocol),
        (Sync { protocol: Some("sticky".into()), ..sync.clone() }, Reject::InconsistentGroupProtocol),
    ] {
        assert_eq!(run(&mut mixed, wrong), Err(reject));
    }
    mixed.classics.get_mut("c1").unwrap().generation += 1;
    assert_eq!(mixed.heartbeat("c1"), Err(Reject::IllegalGeneration));
    mixed.classics.get_mut("c1").unwrap().generation -= 1;
    mixed.clients.client("n2", &["a"]);
    mixed.clients.rounds(1);
    assert_eq!(run(&mut mixed, sync), refused(Reject::RebalanceInProgress), "it has to join first");
}

#[test]
fn a_classic_member_commits_under_its_generation() {
    let mut mixed = shared();
    let (member, epoch) = (mixed.classics["c1"].id.clone(), consumer(&mixed).epoch);
    let owned = mixed.classics["c1"].owned["a"].clone();
    let mut commit = |generation: i32, partition: i32| {
        let key = TopicPartition { topic: "a".into(), partition };
        mixed.clients.bench.run(Command::Commit(Commit {
            group: "g".into(),
            generation,
            member: member.clone(),
            instance: None,
            knows_epochs: false,
            offsets: vec![(key, committed(1, 1, Timestamp(1)))],
        }))
    };
    let mine = *owned.first().unwrap();
    let other = (0..4).find(|partition| !owned.contains(partition)).unwrap();
    assert_eq!(commit(epoch, mine), Ok(Reply::Done));
    assert_eq!(commit(epoch + 1, mine), Err(Reject::IllegalGeneration));
    assert_eq!(commit(epoch - 1, mine), Ok(Reply::Done), "it had it before the others came");
    assert_eq!(commit(epoch - 1, other), Err(Reject::IllegalGeneration));
    let group = consumer(&mixed);
    assert_eq!(group.check_fetch(Some(&member), epoch - 1), Err(Reject::IllegalGeneration));
    assert_eq!(group.check_fetch(Some(&member), epoch), Ok(()));
}

#[test]
fn the_classic_way_to_leave_is_open_to_all() {
    let mut mixed = shared();
    mixed.clients.client("n2", &["a"]).instance = Some("i".into());
    mixed.classic("c2", &["a"]);
    mixed.rounds(6);
    let leaver = |member: &str, instance: Option<&str>| Leaver {
        member: member.into(),
        instance: instance.map(str::to_string),
    };
    let leavers = vec![
        leaver("", Some("i")),
        leaver("c9", None),
        leaver("", Some("j")),
        leaver("other", Some("i")),
        leaver(&mixed.classics["c2"].id, None),
    ];
    let left = mixed.clients.bench.run(Command::Leave { group: "g".into(), leavers });
    let unknown = Err(Reject::UnknownMemberId);
    let expected = vec![Ok(()), unknown.clone(), unknown, Err(Reject::FencedInstanceId), Ok(())];
    assert_eq!(left, Ok(Reply::Left(expected)));
    mixed.classics.remove("c2");
    mixed.clients.members.remove("n2");
    assert_eq!(consumer(&mixed).members.len(), 2);
    let leavers = vec![leaver("n", None)];
    mixed.clients.bench.run(Command::Leave { group: "g".into(), leavers }).unwrap();
    assert!(mixed.is_classic());
}
