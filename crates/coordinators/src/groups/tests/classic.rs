use std::collections::BTreeSet;

use bytes::Bytes;

use super::offsets::committed;
use super::*;
use crate::groups::classic::{Join, Joined, Leaver, Protocol, Share, State, Subscription, Sync};

pub fn after(at: Timestamp, seconds: u64) -> Timestamp {
    Timestamp(at.0 + seconds as i64 * 1000)
}

/// A member that subscribes to `t`, by the id that it would be given.
pub fn join(fresh: &str) -> Join {
    let protocol = |name: &str| Protocol {
        name: name.into(),
        metadata: Bytes::from(format!("{name} of {fresh}")),
        subscription: Some(Subscription {
            topics: BTreeSet::from(["t".to_string()]),
            ..Subscription::default()
        }),
    };
    Join {
        group: "g".into(),
        member: String::new(),
        fresh: fresh.into(),
        instance: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_secs(60),
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range"), protocol("roundrobin")],
        knows_ids: false,
        knows_skipping: false,
        image: Arc::default(),
        kept_elsewhere: 0,
    }
}

fn again(member: &str) -> Join {
    Join { member: member.into(), ..join(member) }
}

fn fixed(fresh: &str, instance: &str) -> Join {
    Join { instance: Some(instance.into()), ..join(fresh) }
}

impl Bench {
    fn join(&mut self, join: Join) -> Result<Reply, Reject> {
        self.run(Command::Join(join))
    }

    fn group(&self) -> &Classic {
        self.groups.classic("g").unwrap()
    }

    fn state(&self) -> State {
        self.group().state
    }

    fn joined(&self, member: &str) -> &Joined {
        match self.answers.get(member) {
            Some(Answer::Joined(joined)) => joined,
            other => panic!("{member} was told {other:?}"),
        }
    }

    fn sync(&mut self, member: &str, parts: &[(&str, &'static str)]) -> Result<Reply, Reject> {
        let assignments =
            parts.iter().map(|(id, part)| (id.to_string(), Share::opaque(Bytes::from(*part)))).collect();
        self.run(Command::Sync(Sync {
            group: "g".into(),
            generation: self.group().generation,
            member: member.into(),
            instance: None,
            protocol_type: None,
            protocol: None,
            assignments,
            image: Arc::default(),
            kept_elsewhere: 0,
        }))
    }

    fn heartbeat(&mut self, member: &str) -> Result<Reply, Reject> {
        let generation = self.group().generation;
        let (group, member, instance) = ("g".to_string(), member.to_string(), None);
        self.run(Command::Heartbeat { group, generation, member, instance })
    }

    /// A stable group of these, the first of whom leads.
    fn stable(members: &[&str]) -> Bench {
        let mut bench = Bench::new();
        bench.join(join(members[0])).unwrap();
        for member in &members[1..] {
            bench.join(join(member)).unwrap();
        }
        if members.len() > 1 {
            bench.join(again(members[0])).unwrap();
            for member in &members[1..] {
                if bench.state() == State::PreparingRebalance {
                    bench.join(again(member)).unwrap();
                }
            }
        }
        let parts: Vec<(&str, &'static str)> = members.iter().map(|member| (*member, "part")).collect();
        for member in members {
            bench.sync(member, &parts).unwrap();
        }
        assert_eq!(bench.state(), State::Stable);
        assert_eq!(bench.group().members.len(), members.len());
        bench.answers.clear();
        bench
    }
}

fn assigned(part: &'static str) -> Answer {
    Answer::Synced {
        assignment: Share::opaque(Bytes::from(part)),
        protocol_type: Some("consumer".into()),
        protocol: Some("range".into()),
    }
}

#[test]
fn one_member_joins_leads_and_is_assigned() {
    let mut bench = Bench::new();
    assert_eq!(bench.join(join("a")), Ok(Reply::Waits));
    let joined = bench.joined("a");
    assert_eq!((joined.generation, joined.leader.as_str(), joined.members.len()), (1, "a", 1));
    assert_eq!(joined.members[0].metadata, Bytes::from("range of a"));
    assert_eq!(bench.state(), State::CompletingRebalance);
    assert_eq!(bench.sync("a", &[("a", "all")]), Ok(Reply::Waits));
    assert_eq!(bench.answers["a"], assigned("all"));
    assert_eq!(bench.heartbeat("a"), Ok(Reply::Done));
}

#[test]
fn a_second_member_makes_the_first_join_anew() {
    let mut bench = Bench::stable(&["a"]);
    assert_eq!(bench.join(join("b")), Ok(Reply::Waits));
    assert!(bench.answers.is_empty(), "b waits for a");
    let told = Ok(Reply::Now(Answer::Refused(Reject::RebalanceInProgress)));
    assert_eq!(bench.heartbeat("a"), told);
    bench.join(again("a")).unwrap();
    assert_eq!(bench.joined("a").members.len(), 2);
    assert_eq!((bench.joined("b").generation, bench.joined("b").members.len()), (2, 0));
    assert_eq!(bench.sync("b", &[]), Ok(Reply::Waits));
    bench.sync("a", &[("a", "left"), ("b", "right")]).unwrap();
    assert_eq!((&bench.answers["a"], &bench.answers["b"]), (&assigned("left"), &assigned("right")));
    assert_eq!(bench.sync("b", &[]), Ok(Reply::Now(assigned("right"))));
}

#[test]
fn kafka_12_a_member_that_dies_while_others_join_does_not_hang_the_group() {
    let mut bench = Bench::stable(&["a", "b"]);
    bench.join(join("c")).unwrap();
    bench.join(again("a")).unwrap();
    // b never comes: its session ends long before the time for joining does.
    bench.pass(11);
    let members: Vec<&String> = bench.group().members.keys().collect();
    assert_eq!(members, ["a", "c"]);
    assert_eq!(bench.joined("c").generation, bench.group().generation);
    assert_eq!(bench.state(), State::CompletingRebalance);
}

#[test]
fn who_beats_but_does_not_join_is_left_out_when_the_time_is_up() {
    let mut bench = Bench::stable(&["a", "b"]);
    bench.join(join("c")).unwrap();
    bench.join(again("a")).unwrap();
    for _ in 0..11 {
        bench.pass(5);
        bench.heartbeat("b").unwrap();
    }
    assert_eq!(bench.state(), State::PreparingRebalance);
    bench.pass(6);
    assert_eq!(bench.state(), State::CompletingRebalance);
    assert_eq!(bench.heartbeat("b"), Err(Reject::UnknownMemberId));
}

#[test]
fn kafka_12_a_hundred_members_settle() {
    let mut bench = Bench::new();
    let ids: Vec<String> = (0..100).map(|id| format!("m{id:03}")).collect();
    for id in &ids {
        bench.join(join(id)).unwrap();
    }
    while bench.state() == State::PreparingRebalance {
        for id in &ids {
            bench.join(again(id)).unwrap();
        }
    }
    assert_eq!(bench.group().members.len(), 100);
    let generation = bench.group().generation;
    assert!(ids.iter().all(|id| bench.joined(id).generation == generation));
    assert!(generation <= 3, "{generation}");
}

#[test]
fn a_silent_member_is_removed_and_its_part_goes_to_the_others() {
    let mut bench = Bench::stable(&["a", "b"]);
    for _ in 0..3 {
        bench.pass(4);
        let _ = bench.heartbeat("a");
    }
    assert_eq!(bench.group().members.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(bench.state(), State::PreparingRebalance);
    bench.join(again("a")).unwrap();
    assert_eq!(bench.joined("a").members.len(), 1);
}

#[test]
fn the_last_member_leaves_an_empty_group_that_keeps_its_generation() {
    let mut bench = Bench::stable(&["a"]);
    let leaver = Leaver { member: "a".into(), instance: None };
    let left = bench.run(Command::Leave { group: "g".into(), leavers: vec![leaver] });
    assert_eq!(left, Ok(Reply::Left(vec![Ok(())])));
    assert_eq!((bench.state(), bench.group().generation), (State::Empty, 2));
    bench.restart();
    assert_eq!((bench.state(), bench.group().generation), (State::Empty, 2));
    bench.join(join("b")).unwrap();
    assert_eq!(bench.joined("b").generation, 3);
}

#[test]
fn a_leader_that_never_assigns_is_given_up() {
    let mut bench = Bench::stable(&["a", "b"]);
    bench.join(join("c")).unwrap();
    bench.join(again("a")).unwrap();
    bench.join(again("b")).unwrap();
    bench.sync("b", &[]).unwrap();
    bench.sync("c", &[]).unwrap();
    bench.answers.clear();
    for _ in 0..15 {
        bench.pass(5);
        let _ = bench.heartbeat("a");
    }
    assert_eq!(bench.answers["b"], Answer::Refused(Reject::RebalanceInProgress));
    assert!(!bench.group().members.contains_key("a"));
}

#[test]
fn an_id_is_given_before_joining_to_those_who_know_it() {
    let mut bench = Bench::new();
    let first = Join { knows_ids: true, ..join("a") };
    let required = Answer::MemberIdRequired { member: "a".into() };
    assert_eq!(bench.join(first.clone()), Ok(Reply::Now(required)));
    assert_eq!(bench.group().members.len(), 0);
    assert_eq!(bench.join(Join { member: "a".into(), ..first }), Ok(Reply::Waits));
    assert_eq!(bench.joined("a").generation, 1);
    assert_eq!(bench.join(again("nobody")), Err(Reject::UnknownMemberId));
}

#[test]
fn an_id_that_nobody_comes_back_with_delays_a_group_for_a_session_only() {
    let mut bench = Bench::stable(&["a"]);
    bench.join(Join { knows_ids: true, ..join("lost") }).unwrap();
    assert_eq!(bench.state(), State::Stable);
    bench.join(join("b")).unwrap();
    bench.join(again("a")).unwrap();
    assert_eq!(bench.state(), State::PreparingRebalance);
    bench.pass(11);
    assert_eq!(bench.state(), State::CompletingRebalance);
}

#[test]
fn kafka_43_a_static_member_comes_back_without_a_rebalance() {
    let mut bench = Bench::new();
    bench.join(fixed("a-1", "a")).unwrap();
    bench.sync("a-1", &[("a-1", "all")]).unwrap();
    bench.answers.clear();
    let generation = bench.group().generation;
    let old = bench.join(fixed("a-2", "a")).unwrap();
    let Reply::Now(Answer::Joined(joined)) = old else { panic!("{old:?}") };
    assert_eq!((joined.generation, joined.leader.as_str()), (generation, "a-1"));
    assert!(!joined.skip_assignment && joined.members.is_empty());
    let new = bench.join(Join { knows_skipping: true, ..fixed("a-3", "a") }).unwrap();
    let Reply::Now(Answer::Joined(joined)) = new else { panic!("{new:?}") };
    assert_eq!((joined.generation, joined.leader.as_str()), (generation, "a-3"));
    assert!(joined.skip_assignment && joined.members.len() == 1);
    assert_eq!(bench.sync("a-3", &[]), Ok(Reply::Now(assigned("all"))));
    let instance = Some("a".to_string());
    let heartbeat = |member: &str| Command::Heartbeat {
        group: "g".into(),
        generation,
        member: member.into(),
        instance: instance.clone(),
    };
    assert_eq!(bench.run(heartbeat("a-2")), Err(Reject::FencedInstanceId));
    bench.restart();
    assert_eq!(bench.run(heartbeat("a-3")), Ok(Reply::Done));
}

#[test]
fn a_static_member_that_wants_something_else_makes_everyone_join() {
    let mut bench = Bench::new();
    bench.join(fixed("a-1", "a")).unwrap();
    bench.sync("a-1", &[("a-1", "all")]).unwrap();
    let mut other = fixed("a-2", "a");
    other.protocols.iter_mut().for_each(|protocol| protocol.subscription = Some(Subscription::default()));
    assert_eq!(bench.join(other), Ok(Reply::Waits));
    assert_eq!(bench.joined("a-2").generation, 2);
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance() {
    let mut bench = Bench::new();
    bench.join(fixed("a-1", "a")).unwrap();
    bench.sync("a-1", &[("a-1", "all")]).unwrap();
    let leaver =
        |member: &str, instance: &str| Leaver { member: member.into(), instance: Some(instance.into()) };
    let leavers = vec![leaver("", "nobody"), leaver("a-0", "a"), leaver("", "a")];
    let left = bench.run(Command::Leave { group: "g".into(), leavers });
    let results = vec![Err(Reject::UnknownMemberId), Err(Reject::FencedInstanceId), Ok(())];
    assert_eq!(left, Ok(Reply::Left(results)));
    assert_eq!(bench.state(), State::Empty);
}

#[test]
fn members_agree_on_the_protocol_that_most_prefer_and_all_know() {
    let mut bench = Bench::new();
    bench.join(join("a")).unwrap();
    let mut odd = join("b");
    odd.protocols.remove(0);
    bench.join(odd).unwrap();
    bench.join(again("a")).unwrap();
    assert_eq!(bench.joined("b").protocol.as_deref(), Some("roundrobin"));
    let mut stranger = join("c");
    stranger.protocols[0].name = "sticky".into();
    stranger.protocols[1].name = "range".into();
    assert_eq!(bench.join(stranger), Err(Reject::InconsistentGroupProtocol));
    let worker = Join { protocol_type: "connect".into(), ..join("d") };
    assert_eq!(bench.join(worker), Err(Reject::InconsistentGroupProtocol));
    assert_eq!(bench.join(Join { protocols: vec![], ..join("e") }), Err(Reject::InconsistentGroupProtocol));
}

#[test]
fn limits_are_told() {
    let mut bench = Bench::with(Options { members_max: 1, ..options() });
    let hasty = Join { session_timeout: Duration::from_secs(1), ..join("a") };
    assert_eq!(bench.join(hasty), Err(Reject::InvalidSessionTimeout));
    assert_eq!(bench.join(Join { group: String::new(), ..join("a") }), Err(Reject::InvalidGroupId));
    bench.join(join("a")).unwrap();
    assert_eq!(bench.join(join("b")), Err(Reject::GroupMaxSizeReached));
    assert_eq!(bench.join(again("a")), Ok(Reply::Now(Answer::Joined(bench.joined("a").clone()))));
}

#[test]
fn after_a_restart_members_go_on_where_they_were() {
    let mut bench = Bench::stable(&["a", "b"]);
    let generation = bench.group().generation;
    bench.restart();
    bench.pass(9);
    assert_eq!(bench.heartbeat("a"), Ok(Reply::Done));
    assert_eq!(bench.group().generation, generation);
    bench.pass(9);
    // b has not been heard of since.
    assert_eq!(bench.group().members.keys().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn an_interrupted_rebalance_is_as_if_it_had_not_begun_after_a_restart() {
    let mut bench = Bench::stable(&["a"]);
    bench.join(join("b")).unwrap();
    bench.restart();
    assert_eq!(bench.state(), State::Stable);
    assert_eq!(bench.heartbeat("a"), Ok(Reply::Done));
    assert_eq!(bench.heartbeat("b"), Err(Reject::UnknownMemberId));
}

#[test]
fn the_first_rebalance_waits_for_more_members_if_told_to() {
    let delay = Duration::from_secs(3);
    let mut bench = Bench::with(Options { initial_rebalance_delay: delay, ..options() });
    bench.join(join("a")).unwrap();
    bench.pass(2);
    bench.join(join("b")).unwrap();
    bench.pass(2);
    assert_eq!(bench.state(), State::PreparingRebalance);
    bench.pass(3);
    assert_eq!(bench.joined("a").members.len(), 2);
    assert_eq!(bench.joined("b").generation, 1);
}

#[test]
fn kafka_40_who_may_commit() {
    let mut bench = Bench::stable(&["a"]);
    let commit = |bench: &Bench, generation: i32, member: &str| {
        let partition = TopicPartition { topic: "t".into(), partition: 0 };
        Command::Commit(Commit {
            group: "g".into(),
            generation,
            member: member.into(),
            instance: None,
            knows_epochs: true,
            offsets: vec![(partition, committed(1, 1, bench.now))],
        })
    };
    let current = bench.group().generation;
    let try_commit = |bench: &mut Bench, generation, member| {
        let command = commit(bench, generation, member);
        bench.run(command)
    };
    assert_eq!(try_commit(&mut bench, current, "a"), Ok(Reply::Done));
    assert_eq!(try_commit(&mut bench, current - 1, "a"), Err(Reject::IllegalGeneration));
    assert_eq!(try_commit(&mut bench, -1, ""), Err(Reject::UnknownMemberId));
    assert_eq!(try_commit(&mut bench, current, "b"), Err(Reject::UnknownMemberId));
    bench.join(join("b")).unwrap();
    assert_eq!(try_commit(&mut bench, current, "a"), Ok(Reply::Done), "while preparing");
    bench.join(again("a")).unwrap();
    assert_eq!(try_commit(&mut bench, current + 1, "a"), Err(Reject::RebalanceInProgress));
}

#[test]
fn kafka_29_offsets_of_topics_that_are_read_cannot_be_deleted() {
    let mut bench = Bench::stable(&["a"]);
    let partition = |topic: &str| TopicPartition { topic: topic.into(), partition: 0 };
    let delete =
        Command::DeleteOffsets { group: "g".into(), partitions: vec![partition("t"), partition("u")] };
    assert_eq!(bench.run(delete), Ok(Reply::OffsetsDeleted { subscribed: vec![partition("t")] }));
    assert_eq!(bench.run(Command::DeleteGroup { group: "g".into() }), Err(Reject::NonEmptyGroup));
}
