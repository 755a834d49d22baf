//! What one client may cost the others. A step that looks through one list for each entry of another would take minutes
//! over lists as long as these.

use bytes::Bytes;

use super::classic::join;
use super::*;
use crate::groups::classic::{Classic, Join, Leaver, Member, Protocol, Share, Subscription, Sync};
use crate::groups::consumer::LEAVES;

const MANY: usize = 200_000;

/// So many protocols of its own, and `range`, which it likes least.
fn protocols(count: usize, name: &str) -> Vec<Protocol> {
    let subscription = Some(Subscription::default());
    let one = |name: String| Protocol { name, metadata: Bytes::new(), subscription: subscription.clone() };
    (0..count).map(|n| one(format!("{name}{n}"))).chain([one("range".into())]).collect()
}

fn with_protocols(fresh: &str, count: usize, name: &str) -> Join {
    Join { protocols: protocols(count, name), ..join(fresh) }
}

#[test]
fn members_with_200_000_protocols_agree_at_once() {
    let mut bench = Bench::new();
    for member in ["a", "b"] {
        bench.run(Command::Join(with_protocols(member, MANY, member))).unwrap();
    }
    bench.run(Command::Join(Join { member: "a".into(), ..with_protocols("a", MANY, "a") })).unwrap();
    let group = bench.groups.classic("g").unwrap();
    assert_eq!((group.members.len(), group.protocol.as_deref()), (2, Some("range")));
    let mut other = with_protocols("c", MANY, "c");
    other.protocols.pop();
    assert_eq!(bench.run(Command::Join(other)), Err(Reject::InconsistentGroupProtocol));
}

#[test]
fn a_classic_member_with_200_000_protocols_joins_members_of_the_newer_protocol_at_once() {
    let mut clients = super::consumer::Clients::new(&[1]);
    clients.client("n", &["a"]);
    clients.bench.run(Command::ConsumerHeartbeat(clients.request("n"))).unwrap();
    for member in ["a", "b"] {
        let join = Join { image: clients.image.clone(), ..with_protocols(member, MANY, member) };
        clients.bench.run(Command::Join(join)).unwrap();
    }
    assert_eq!(clients.bench.groups.consumer("g").unwrap().members.len(), 3);
}

#[test]
fn offsets_of_200_000_partitions_are_deleted_at_once_where_members_have_as_many_protocols() {
    let mut bench = Bench::new();
    bench.run(Command::Join(with_protocols("a", MANY, "a"))).unwrap();
    let partitions = (0..MANY as i32).map(|partition| TopicPartition { topic: "u".into(), partition });
    let delete = Command::DeleteOffsets { group: "g".into(), partitions: partitions.collect() };
    assert_eq!(bench.run(delete), Ok(Reply::OffsetsDeleted { subscribed: Vec::new() }));
}

#[test]
fn many_static_members_leave_at_once() {
    const MEMBERS: usize = 20_000;
    let leavers = |prefix: &str| -> Vec<Leaver> {
        let leaver = |n: usize| Leaver { member: String::new(), instance: Some(format!("{prefix}{n}")) };
        (0..MEMBERS).map(leaver).collect()
    };
    let member = |n: usize| {
        let (instance, client) = (Some(format!("i{n}")), ("client".into(), "/127.0.0.1".into()));
        let timeout = Duration::from_secs(10);
        let member = Member::stored(instance, client, timeout, timeout, protocols(0, ""), Share::default());
        (format!("m{n}"), Arc::new(member))
    };
    let mut bench = Bench::new();
    let (protocol_type, protocol) = (Some("consumer".into()), Some("range".into()));
    let members = (0..MEMBERS).map(member).collect();
    let group = Classic::stored(protocol_type, 1, protocol, None, bench.now, members);
    let group = Some(Arc::new(group));
    bench.groups.apply(&Record::Classic { group: "g".into(), classic: group, is_durable: true });
    let reply = bench.run(Command::Leave { group: "g".into(), leavers: leavers("x") }).unwrap();
    assert_eq!(reply, Reply::Left(vec![Err(Reject::UnknownMemberId); MEMBERS]));
    let reply = bench.run(Command::Leave { group: "g".into(), leavers: leavers("i") }).unwrap();
    assert_eq!(reply, Reply::Left(vec![Ok(()); MEMBERS]));
}

const MEMBER_BYTES_MAX: usize = 64 << 10;
const BYTES_MAX: usize = 200 << 10;

fn bounded() -> Bench {
    Bench::with(Options { member_bytes_max: MEMBER_BYTES_MAX, bytes_max: BYTES_MAX, ..options() })
}

/// A member of a group of its own that says so many bytes.
fn saying(group: &str, bytes: usize) -> Join {
    let metadata = Bytes::from(vec![0; bytes]);
    let protocol = Protocol { name: "range".into(), metadata, subscription: None };
    Join { group: group.into(), protocols: vec![protocol], ..join(group) }
}

#[test]
fn a_member_that_says_too_much_of_itself_is_refused() {
    let mut bench = bounded();
    let refused = Err(Reject::MemberTooLarge);
    assert_eq!(bench.run(Command::Join(saying("g", MEMBER_BYTES_MAX))), refused);
    // As many small things, and a long name.
    assert_eq!(bench.run(Command::Join(with_protocols("a", 1000, "a"))), refused);
    let client_id = "c".repeat(MEMBER_BYTES_MAX);
    assert_eq!(bench.run(Command::Join(Join { client_id, ..saying("g", 0) })), refused);
    assert_eq!(bench.groups.kept_bytes(), 0);
    assert_eq!(bench.run(Command::Join(saying("g", MEMBER_BYTES_MAX - 2000))), Ok(Reply::Waits));
}

#[test]
fn all_groups_together_keep_no_more_than_they_may_and_give_it_back() {
    let mut bench = bounded();
    for group in ["a", "b", "c"] {
        bench.run(Command::Join(saying(group, 60 << 10))).unwrap();
    }
    assert_eq!(bench.run(Command::Join(saying("d", 60 << 10))), Err(Reject::NoRoom));
    // Nor is an id given to who would not be taken with it.
    let asks = Join { knows_ids: true, ..saying("d", 60 << 10) };
    assert_eq!(bench.run(Command::Join(asks)), Err(Reject::NoRoom));
    bench.run(Command::Join(saying("d", 1 << 10))).unwrap();
    let again = |group: &str, bytes| Join { member: group.into(), ..saying(group, bytes) };
    assert_eq!(bench.run(Command::Join(again("d", 60 << 10))), Err(Reject::NoRoom));
    // Who says what it said is never refused.
    bench.run(Command::Join(Join { kept_elsewhere: BYTES_MAX, ..again("a", 60 << 10) })).unwrap();
    let leavers = vec![Leaver { member: "a".into(), instance: None }];
    bench.run(Command::Leave { group: "a".into(), leavers }).unwrap();
    bench.run(Command::Join(again("d", 60 << 10))).unwrap();
    bench.pass(3600);
    assert_eq!(bench.groups.kept_bytes(), 0);
}

#[test]
fn what_other_machines_keep_counts_too() {
    let mut bench = bounded();
    let join = Join { kept_elsewhere: BYTES_MAX, ..saying("g", 1) };
    assert_eq!(bench.run(Command::Join(join)), Err(Reject::NoRoom));
}

#[test]
fn ids_that_nobody_came_with_count_too() {
    let mut bench = bounded();
    let given = (0..).take_while(|n| {
        let fresh = format!("{n}-{}", "x".repeat(10_000));
        bench.run(Command::Join(Join { fresh, knows_ids: true, ..saying("g", 1) })).is_ok()
    });
    // Each is 10,130 bytes, and what it would say as a member must fit too.
    assert_eq!(given.count(), 20);
}

#[test]
fn a_leader_cannot_assign_more_than_is_kept() {
    let mut bench = bounded();
    bench.run(Command::Join(join("a"))).unwrap();
    let sync = |bytes: usize, kept_elsewhere: usize| {
        Command::Sync(Sync {
            group: "g".into(),
            generation: 1,
            member: "a".into(),
            instance: None,
            protocol_type: None,
            protocol: None,
            assignments: vec![("a".into(), Share::opaque(Bytes::from(vec![0; bytes])))],
            image: Arc::default(),
            kept_elsewhere,
        })
    };
    assert_eq!(bench.run(sync(MEMBER_BYTES_MAX + 1, 0)), Err(Reject::MemberTooLarge));
    assert_eq!(bench.run(sync(1000, BYTES_MAX)), Err(Reject::NoRoom));
    let before = bench.groups.kept_bytes();
    assert_eq!(bench.run(sync(1000, 0)), Ok(Reply::Waits));
    assert_eq!(bench.groups.kept_bytes(), before + 1000);
    bench.restart();
    assert!(bench.groups.kept_bytes() > 1000);
}

#[test]
fn members_under_the_newer_protocol_are_bounded_too() {
    let mut clients = super::consumer::Clients::new(&[1]);
    clients.bench = bounded();
    let topics: Vec<String> = (0..1000).map(|n| format!("t{n}")).collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    clients.client("a", &topics);
    assert_eq!(clients.beat("a"), Err(Reject::MemberTooLarge));
    clients.client("a", &[]).expression = Some("x".repeat(MEMBER_BYTES_MAX));
    assert_eq!(clients.beat("a"), Err(Reject::MemberTooLarge));
    clients.client("a", &topics[..500]);
    clients.beat("a").unwrap();
    let kept = clients.bench.groups.kept_bytes();
    assert!(kept > 500 * 64, "{kept}");
    // Whoever says nothing new goes on, and the next one is refused.
    clients.beat("a").unwrap();
    clients.client("b", &topics[..500]);
    let beat = Beat { kept_elsewhere: BYTES_MAX - kept, ..clients.request("b") };
    assert_eq!(clients.send(beat), Err(Reject::NoRoom));
    clients.beat("b").unwrap();
    clients.client("c", &["a"]).expression = Some("a.*".into());
    clients.beat("c").unwrap();
    for member in ["a", "b", "c"] {
        clients.leave(member, LEAVES);
    }
    assert_eq!(clients.bench.groups.kept_bytes(), 0);
}
