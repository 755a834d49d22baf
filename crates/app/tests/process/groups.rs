//! `levada group`, against groups that a client made.

use wire::join_group::JoinGroupRequestProtocol;
use wire::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::{
    ConsumerGroupHeartbeatRequest, ErrorCode, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest,
};

use crate::client::Client;
use crate::server::{Server, levada};

fn commit(client: &mut Client, group: &str, topic: &str, offset: i64) {
    let row = OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
    let topic = OffsetCommitRequestTopic { name: topic.into(), partitions: vec![row], ..Default::default() };
    let request = OffsetCommitRequest { group_id: group.into(), topics: vec![topic], ..Default::default() };
    assert_eq!(client.ask(8, &request).unwrap().topics[0].partitions[0].error_code, 0);
}

/// Becomes a member that never gets anything.
fn join(client: &mut Client, group: &str) -> String {
    let protocol = JoinGroupRequestProtocol { name: "range".into(), ..Default::default() };
    let mut request = JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        ..Default::default()
    };
    let answer = client.ask(5, &request).unwrap();
    assert_eq!(answer.error_code, ErrorCode::MemberIdRequired.code());
    request.member_id = answer.member_id;
    let answer = client.ask(5, &request).unwrap();
    assert_eq!(answer.error_code, 0);
    answer.member_id.to_string()
}

struct Groups {
    server: Server,
    client: Client,
    _data: tempfile::TempDir,
}

impl Groups {
    /// Four records in `t`.
    fn start() -> Groups {
        let data = tempfile::tempdir().unwrap();
        let server = Server::start(data.path(), &["num.partitions=1", "group.initial.rebalance.delay.ms=0"]);
        let mut client = Client::connect(&server.kafka).unwrap();
        client.use_topic("t").unwrap();
        let producer = client.producer_id().unwrap();
        let values = ["a", "b", "c", "d"].map(str::to_owned);
        assert_eq!(client.produce(("t", 0), (producer, 0), &values).unwrap().error_code, 0);
        Groups { server, client, _data: data }
    }

    fn run(&self, arguments: &[&str]) -> (bool, String, String) {
        let arguments = [&["group"], arguments, &["--bootstrap", &self.server.kafka]].concat();
        let output = levada(&arguments);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    fn done(&self, arguments: &[&str]) -> String {
        let (is_done, told, complaint) = self.run(arguments);
        assert!(is_done, "{arguments:?}: {complaint}");
        told
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let (is_done, told, complaint) = self.run(arguments);
        assert!(!is_done, "{arguments:?}: {told}");
        complaint
    }

    fn described(&self, group: &str) -> serde_json::Value {
        serde_json::from_str(&self.done(&["describe", group, "--format", "json"])).unwrap()
    }
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut groups = Groups::start();
    let (is_done, told, hint) = groups.run(&["list"]);
    assert!(is_done && told.is_empty() && hint.contains("there are no groups yet"), "{hint}");
    commit(&mut groups.client, "simple", "t", 1);
    join(&mut groups.client, "joined");
    let names = |told: String| -> Vec<String> {
        told.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(names(groups.done(&["list"])), ["group", "joined", "simple"]);
    assert_eq!(names(groups.done(&["list", "--state", "EMPTY"])), ["group", "simple"]);
    assert_eq!(names(groups.done(&["list", "--type", "consumer"])), [""; 0]);
    let told = groups.done(&["list"]);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<Vec<String>> = told.lines().map(words).collect();
    assert_eq!(lines[0], ["group", "type", "state", "protocol", "lag"]);
    assert_eq!(lines[1][4], "-", "it has committed nothing");
    assert_eq!(lines[2][0], "simple");
    assert_eq!(lines[2].last().unwrap(), "3", "of four records one is behind it");
    let told = groups.done(&["list", "--state", "empty", "--format", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(listed["group"], "simple");
    assert_eq!(listed["type"], "classic");
    assert_eq!(listed["lag"], 3);
}

#[test]
fn a_group_tells_what_it_has_committed_and_how_far_it_is_behind() {
    let mut groups = Groups::start();
    commit(&mut groups.client, "g", "t", 1);
    let described = groups.described("g");
    assert_eq!(described["state"], "Empty");
    let row = &described["partitions"][0];
    assert_eq!(
        (&row["topic"], &row["committed"], &row["end"], &row["lag"]),
        (&"t".into(), &1.into(), &4.into(), &3.into())
    );
    assert!(row["owner"].is_null());
    let complaint = groups.refused(&["describe", "nobody", "g"]);
    assert!(complaint.contains("cannot describe nobody: there is no such group"), "{complaint}");
}

#[test]
fn a_reset_moves_a_group_and_tells_from_where_and_says_what_it_clamped() {
    let mut groups = Groups::start();
    commit(&mut groups.client, "g", "t", 1);
    let reset = |to: &[&str]| groups.done(&[&["reset", "g", "--topic", "t"], to].concat());
    let committed = || groups.described("g")["partitions"][0]["committed"].clone();
    assert_eq!(reset(&["--to", "end", "--dry-run"]), "t partition 0: 1 -> 4\n");
    assert_eq!(committed(), 1);
    assert_eq!(reset(&["--to", "-1"]), "t partition 0: 1 -> 3\n");
    assert_eq!(committed(), 3);
    assert_eq!(reset(&["--shift", "-2"]), "t partition 0: 3 -> 1\n");
    assert_eq!(reset(&["--to", "99", "-p", "0"]), "t partition 0: 1 -> 4  (not 99: the log ends here)\n");
    // The records were sent without timestamps.
    assert_eq!(
        groups.done(&["reset", "g", "--all-topics", "--to", "1h"]),
        "t partition 0: 4 -> 4  (the end: no record is that young)\n"
    );
    assert_eq!(groups.done(&["reset", "g", "--all-topics", "--to", "beginning"]), "t partition 0: 4 -> 0\n");
    assert_eq!(committed(), 0);
    let complaint = groups.refused(&["reset", "nwe", "--topic", "t", "--to", "2"]);
    assert!(complaint.contains("there is no group nwe") && complaint.contains("--create"), "{complaint}");
    assert!(!groups.done(&["list"]).contains("nwe"), "a slip of the finger makes no group");
    let create = ["reset", "new", "--topic", "t", "--to", "2", "--create"];
    assert_eq!(groups.done(&create), "t partition 0: nothing -> 2\n");
    assert_eq!(groups.described("new")["partitions"][0]["committed"], 2);
    let complaint = groups.refused(&["reset", "g", "--topic", "t", "-p", "7", "--to", "end"]);
    assert!(complaint.contains("there is no 7"), "{complaint}");
    let complaint = groups.refused(&["reset", "other", "--topic", "t", "--shift", "1", "--create"]);
    assert!(complaint.contains("--shift has nothing to start from"), "{complaint}");
    let complaint = groups.refused(&["reset", "other", "--all-topics", "--to", "end", "--create"]);
    assert!(complaint.contains("give --topic"), "{complaint}");
}

#[test]
fn a_group_with_members_is_neither_reset_nor_deleted_and_the_other_one_is() {
    let mut groups = Groups::start();
    commit(&mut groups.client, "empty", "t", 1);
    let member = join(&mut groups.client, "busy");
    let complaint = groups.refused(&["reset", "busy", "--topic", "t", "--to", "end"]);
    assert!(complaint.contains("busy has members") && complaint.contains(&member), "{complaint}");
    let (is_done, told, complaint) = groups.run(&["delete", "busy", "nobody", "empty", "--yes"]);
    assert!(!is_done);
    assert_eq!(told, "deleted empty\n");
    assert!(complaint.contains("cannot delete busy: it has members"), "{complaint}");
    assert!(complaint.contains("cannot delete nobody: there is no such group"), "{complaint}");
    let request = LeaveGroupRequest {
        group_id: "busy".into(),
        member_id: member.as_str().into(),
        ..Default::default()
    };
    assert_eq!(groups.client.ask(2, &request).unwrap().error_code, 0);
    assert_eq!(groups.done(&["delete", "busy", "--yes"]), "deleted busy\n");
}

#[test]
fn a_group_of_the_newer_protocol_tells_its_members_and_what_they_read_without_a_commit() {
    let mut groups = Groups::start();
    let request = ConsumerGroupHeartbeatRequest {
        group_id: "newer".into(),
        member_id: "a-member".into(),
        instance_id: Some("an-instance".into()),
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(vec!["t".into()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    let answer = groups.client.ask(1, &request).unwrap();
    assert_eq!((answer.error_code, answer.member_epoch), (0, 2));
    let described = groups.described("newer");
    assert_eq!(described["type"], "consumer");
    assert_eq!(described["assignor"], "uniform");
    let member = &described["members"][0];
    assert_eq!((&member["id"], &member["instance"]), (&"a-member".into(), &"an-instance".into()));
    assert_eq!(member["assigned"]["t"][0], 0);
    let row = &described["partitions"][0];
    assert_eq!((&row["owner"], &row["end"]), (&"a-member".into(), &4.into()));
    assert!(row["committed"].is_null() && row["lag"].is_null());
    assert!(groups.done(&["list", "--type", "consumer"]).contains("\nnewer  consumer"));
    let told = groups.done(&["describe", "newer"]);
    assert!(told.contains("instance an-instance  reads t:0"), "{told}");
    let complaint = groups.refused(&["reset", "newer", "--topic", "t", "--to", "end"]);
    assert!(complaint.contains("newer has members") && complaint.contains("a-member"), "{complaint}");
}
