//! What one client may cost the others. A step that looks through one list for each entry of another would take minutes
//! over lists as long as these.

use bytes::Bytes;

use super::classic::join;
use super::*;
use crate::groups::classic::{Classic, Join, Leaver, Member, Protocol, Share, Subscription};

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
