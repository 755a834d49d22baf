//! Commits and questions for offsets under an epoch that is not the member's own any more.

use super::consumer::{Clients, partitions};
use super::offsets::committed;
use super::*;
use crate::groups::consumer::MemberState;

fn commit(clients: &mut Clients, member: &str, epoch: i32, partitions: &[i32]) -> Result<Reply, Reject> {
    let offset = |partition: &i32| {
        let key = TopicPartition { topic: "a".into(), partition: *partition };
        (key, committed(1, 1, Timestamp(1)))
    };
    clients.bench.run(Command::Commit(Commit {
        group: "g".into(),
        generation: epoch,
        member: member.into(),
        instance: None,
        knows_epochs: true,
        offsets: partitions.iter().map(offset).collect(),
    }))
}

/// `m1` has partitions 0 and 1 since epoch 2, `m2` has 2 and 3 since epoch 3; both have reached epoch 3.
fn two_members() -> Clients {
    let mut clients = Clients::new(&[4]);
    clients.client("m1", &["a"]);
    clients.rounds(1);
    clients.client("m2", &["a"]);
    clients.rounds(3);
    assert_eq!(clients.group().members["m1"].current.assigned, partitions(1, [0, 1]));
    assert_eq!(clients.group().epoch, 3);
    clients
}

#[test]
fn kafka_42_an_older_epoch_may_commit_for_what_the_member_has_had_since() {
    let mut clients = two_members();
    assert_eq!(commit(&mut clients, "m1", 3, &[0, 1, 2, 3]), Ok(Reply::Done), "its own epoch is enough");
    assert_eq!(commit(&mut clients, "m1", 2, &[0, 1]), Ok(Reply::Done));
    assert_eq!(commit(&mut clients, "m1", 1, &[0]), Err(Reject::StaleMemberEpoch), "before it was given it");
    assert_eq!(commit(&mut clients, "m1", 2, &[0, 2]), Err(Reject::StaleMemberEpoch), "2 went to m2");
    assert_eq!(commit(&mut clients, "m1", 4, &[0]), Err(Reject::StaleMemberEpoch), "no such epoch yet");
    assert_eq!(commit(&mut clients, "m2", 2, &[2]), Err(Reject::StaleMemberEpoch));
    assert_eq!(commit(&mut clients, "m3", 3, &[0]), Err(Reject::UnknownMemberId));
    assert_eq!(commit(&mut clients, "", -1, &[0]), Err(Reject::UnknownMemberId));
}

#[test]
fn since_when_a_partition_is_the_members_own_outlives_a_restart() {
    let mut clients = two_members();
    clients.bench.restart();
    assert_eq!(commit(&mut clients, "m1", 2, &[0]), Ok(Reply::Done));
    assert_eq!(commit(&mut clients, "m2", 2, &[2]), Err(Reject::StaleMemberEpoch));
}

#[test]
fn what_must_be_given_up_may_be_committed_until_then() {
    let mut clients = Clients::new(&[4]);
    clients.client("m1", &["a"]);
    clients.rounds(1);
    clients.client("m2", &["a"]);
    clients.beat("m2").unwrap();
    let mut hesitant = clients.request("m1");
    hesitant.owned = Some(partitions(1, 0..4));
    clients.send(hesitant).unwrap();
    assert_eq!(clients.group().members["m1"].current.state, MemberState::UnrevokedPartitions);
    assert_eq!(commit(&mut clients, "m1", 2, &[0, 1, 2, 3]), Ok(Reply::Done));
    clients.members.get_mut("m1").unwrap().owned = partitions(1, [0, 1]);
    clients.rounds(3);
    assert_eq!(commit(&mut clients, "m1", 2, &[3]), Err(Reject::StaleMemberEpoch));
}

#[test]
fn a_static_member_that_is_away_had_its_partitions_always() {
    let mut clients = Clients::new(&[1]);
    clients.client("m1", &["a"]).instance = Some("i".into());
    clients.rounds(2);
    clients.leave("m1", crate::groups::consumer::LEAVES_FOR_A_WHILE);
    let current = &clients.group().members["m1"].current;
    assert_eq!(current.given_at.values().copied().collect::<Vec<_>>(), [0]);
}

#[test]
fn a_request_that_cannot_carry_an_epoch_is_refused() {
    let mut clients = two_members();
    let partition = TopicPartition { topic: "a".into(), partition: 0 };
    let old = Commit {
        group: "g".into(),
        generation: 3,
        member: "m1".into(),
        instance: None,
        knows_epochs: false,
        offsets: vec![(partition, committed(1, 1, Timestamp(1)))],
    };
    assert_eq!(clients.bench.run(Command::Commit(old)), Err(Reject::UnsupportedVersion));
}

#[test]
fn committed_offsets_are_told_under_the_members_epoch_only() {
    let clients = two_members();
    let group = clients.group();
    assert_eq!(group.check_fetch(Some("m1"), 3), Ok(()));
    assert_eq!(group.check_fetch(Some("m1"), 2), Err(Reject::StaleMemberEpoch));
    assert_eq!(group.check_fetch(Some("m3"), 3), Err(Reject::UnknownMemberId));
    assert_eq!(group.check_fetch(None, -1), Ok(()), "an administrator");
}
