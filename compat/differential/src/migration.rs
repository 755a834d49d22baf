//! Members of both group protocols in one group: the same tale with both brokers, step by step, in lines that must be the
//! same. How partitions are shared out is the assignors' affair: only how many anybody has is compared.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use bytes::Bytes;
use model::TopicId;
use wire::consumer_group_heartbeat::RequestTopicPartitions;
use wire::consumer_protocol::*;
use wire::create_topics::CreatableTopic;
use wire::join_group::JoinGroupRequestProtocol;
use wire::leave_group::MemberIdentity;
use wire::metadata::MetadataRequestTopic;
use wire::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::offset_fetch::OffsetFetchRequestGroup;
use wire::sync_group::SyncGroupRequestAssignment;
use wire::*;

use crate::side::{ATTEMPTS, PAUSE, Side};

/// So many that one, two or three members have equally many each.
const PARTITIONS: i32 = 6;

/// The tale, which is the same for both brokers.
pub fn tell(side: &mut Side, seed: u64) -> anyhow::Result<Vec<String>> {
    let mut tale = Tale::begin(side, seed)?;
    tale.upgrade_and_downgrade()?;
    tale.static_members()?;
    tale.cooperative()?;
    tale.other_kinds()?;
    Ok(tale.lines)
}

struct Tale<'a> {
    side: &'a mut Side,
    prefix: String,
    topic: String,
    topic_id: TopicId,
    /// Of classic members, as the broker gave them, by their names here.
    ids: BTreeMap<String, String>,
    /// The generation or epoch that a member was told last.
    epochs: BTreeMap<String, i32>,
    owned: BTreeMap<String, Vec<i32>>,
    lines: Vec<String>,
}

/// How a classic member joins.
#[derive(Clone, Copy)]
struct Joins<'a> {
    protocols: &'a [&'a str],
    protocol_type: &'a str,
    instance: Option<&'a str>,
    /// It says that it has what it was told last.
    keeps: bool,
}

const EAGER: Joins<'_> =
    Joins { protocols: &["range"], protocol_type: "consumer", instance: None, keeps: false };

impl<'a> Tale<'a> {
    fn begin(side: &'a mut Side, seed: u64) -> anyhow::Result<Tale<'a>> {
        let prefix = format!("migration-{seed}-");
        let topic = format!("{prefix}t");
        let create = CreatableTopic {
            name: topic.as_str().into(),
            num_partitions: PARTITIONS,
            replication_factor: 1,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![create], timeout_ms: 10_000, ..Default::default() };
        side.call(5, &request)?;
        let mut topic_id = TopicId::ZERO;
        side.until("the topic", |side| {
            let wanted = MetadataRequestTopic { name: Some(topic.as_str().into()), ..Default::default() };
            let request = MetadataRequest { topics: Some(vec![wanted]), ..Default::default() };
            let known = side.call(12, &request)?.topics;
            topic_id = known.first().map(|topic| topic.topic_id).unwrap_or_default();
            Ok(known
                .iter()
                .all(|topic| topic.error_code == 0 && topic.partitions.len() == PARTITIONS as usize))
        })?;
        for group in ["g", "s", "c", "o", "probe"] {
            let group: Str = format!("{prefix}{group}").into();
            side.until("a coordinator", |side| {
                let coordinator_keys = vec![group.clone()];
                let request = FindCoordinatorRequest { coordinator_keys, ..Default::default() };
                Ok(side.call(4, &request)?.coordinators.iter().all(|found| found.error_code == 0))
            })?;
            side.until("a group's coordinator", |side| {
                let group = OffsetFetchRequestGroup { group_id: group.clone(), ..Default::default() };
                let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
                Ok(side.call(8, &request)?.groups.iter().all(|group| group.error_code == 0))
            })?;
        }
        let lines = Vec::new();
        let (ids, epochs, owned) = Default::default();
        let mut tale = Tale { side, prefix, topic, topic_id, ids, epochs, owned, lines };
        tale.wait_for_the_coordinators()?;
        Ok(tale)
    }

    /// Kafka's group coordinators hear of a new topic a little later than everybody else.
    fn wait_for_the_coordinators(&mut self) -> anyhow::Result<()> {
        for _ in 0..ATTEMPTS {
            self.beat("probe", "probe", 0, None)?;
            let assigned = self.owned.get("probe").map_or(0, Vec::len);
            self.beat("probe", "probe", -1, None)?;
            if assigned == PARTITIONS as usize {
                self.lines.clear();
                return Ok(());
            }
            std::thread::park_timeout(PAUSE);
        }
        bail!("the new topic is not assigned to anybody")
    }

    /// A classic group becomes one under the newer protocol, others come and go, and it becomes classic again.
    fn upgrade_and_downgrade(&mut self) -> anyhow::Result<()> {
        self.id("g", "c1", EAGER)?;
        self.join("g", "c1", EAGER)?;
        self.sync("g", "c1", 0, Some("range"), &["c1"])?;
        self.heartbeat("g", "c1", 0, None)?;
        self.commit("g", "c1", 0, 8, 0)?;
        self.describe("g")?;

        self.beat("g", "n1", 0, None)?;
        self.describe("g")?;
        self.heartbeat("g", "c1", 0, None)?;
        self.sync("g", "c1", 0, Some("range"), &[])?;
        self.commit("g", "c1", 0, 8, 0)?;
        self.join("g", "c1", EAGER)?;
        self.heartbeat("g", "c1", 0, None)?;
        self.sync("g", "c1", 0, Some("range"), &[])?;
        self.beat("g", "n1", 1, None)?;
        self.heartbeat("g", "c1", 0, None)?;
        self.describe("g")?;

        self.id("g", "c2", EAGER)?;
        self.join("g", "c2", Joins { protocols: &["sticky"], ..EAGER })?;
        self.join("g", "c2", Joins { protocols: &[], ..EAGER })?;
        self.join("g", "c2", Joins { protocol_type: "connect", ..EAGER })?;
        self.join("g", "c2", Joins { protocols: &["range", "sticky"], ..EAGER })?;
        self.sync("g", "c2", 0, Some("sticky"), &[])?;
        self.sync("g", "c2", 0, Some("range"), &[])?;
        self.heartbeat("g", "c2", 0, None)?;
        self.describe("g")?;
        self.beat("g", "n1", 1, None)?;
        self.beat("g", "n1", 1, None)?;
        self.heartbeat("g", "c1", 0, None)?;
        self.join("g", "c1", EAGER)?;
        self.sync("g", "c1", 0, Some("range"), &[])?;
        self.heartbeat("g", "c2", 0, None)?;
        self.join("g", "c2", Joins { protocols: &["range", "sticky"], ..EAGER })?;
        self.sync("g", "c2", 0, None, &[])?;
        self.heartbeat("g", "c2", 0, None)?;
        self.describe("g")?;
        self.who_is_refused()?;

        self.leave("g", &["c2", "c9"])?;
        self.heartbeat("g", "c1", 0, None)?;
        self.beat("g", "n1", 1, None)?;
        self.heartbeat("g", "c1", 0, None)?;
        self.join("g", "c1", EAGER)?;
        self.sync("g", "c1", 0, Some("range"), &[])?;
        self.beat("g", "n1", 1, None)?;
        self.describe("g")?;

        self.beat("g", "n1", -1, None)?;
        self.describe("g")?;
        self.heartbeat("g", "c1", 0, None)?;
        self.join("g", "c1", EAGER)?;
        self.sync("g", "c1", 0, Some("range"), &["c1"])?;
        self.heartbeat("g", "c1", 0, None)?;
        self.commit("g", "c1", 0, 8, 0)?;
        self.describe("g")?;
        self.leave("g", &["c1"])
    }

    /// Wrong generations, epochs, instances and ways.
    fn who_is_refused(&mut self) -> anyhow::Result<()> {
        for off in [-1, 1] {
            self.heartbeat("g", "c1", off, None)?;
            self.sync("g", "c1", off, Some("range"), &[])?;
        }
        for (member, version) in [("c1", 8), ("n1", 9), ("n1", 8), ("c9", 9)] {
            for off in [0, 1, -1, -10] {
                self.commit("g", member, off, version, 0)?;
            }
        }
        // What it has had for long, and what it never had.
        let mine = self.owned.get("n1").and_then(|owned| owned.first().copied()).context("n1 has nothing")?;
        let other = (0..PARTITIONS).find(|one| !self.owned["n1"].contains(one)).context("n1 has all")?;
        self.commit("g", "n1", -1, 9, mine)?;
        self.commit("g", "n1", -1, 9, other)?;
        for (member, off) in [("n1", 0), ("n1", -1), ("n1", 1), ("c1", 0), ("c1", -1), ("c9", 0)] {
            self.fetch("g", Some(member), off)?;
        }
        self.fetch("g", None, 0)?;
        self.heartbeat("g", "n1", 0, None)?;
        self.heartbeat("g", "c9", 0, None)?;
        self.heartbeat("g", "c1", 0, Some("i9"))?;
        self.sync("g", "n1", 0, Some("range"), &[])?;
        self.join("g", "c1", Joins { instance: Some("i9"), ..EAGER })?;
        self.beat("g", "c9", 7, None)
    }

    /// A static member takes its place under the other protocol, and the group goes where it goes.
    fn static_members(&mut self) -> anyhow::Result<()> {
        let fixed = |instance| Joins { instance: Some(instance), ..EAGER };
        self.join("s", "s1", fixed("i1"))?;
        self.sync("s", "s1", 0, Some("range"), &["s1"])?;
        self.beat("s", "n1", 0, Some("i1"))?;
        self.describe("s")?;
        self.heartbeat("s", "s1", 0, Some("i1"))?;
        self.beat("s", "n2", 0, Some("i1"))?;
        self.join("s", "s2", fixed("i2"))?;
        self.sync("s", "s2", 0, Some("range"), &[])?;
        self.beat("s", "n1", 1, Some("i1"))?;
        self.beat("s", "n1", 1, Some("i1"))?;
        self.heartbeat("s", "s2", 0, Some("i2"))?;
        self.join("s", "s2", fixed("i2"))?;
        self.sync("s", "s2", 0, Some("range"), &[])?;
        self.describe("s")?;
        self.beat("s", "n1", -2, Some("i1"))?;
        self.describe("s")?;
        // The last one under the newer protocol comes back under the classic one: nobody else hears of it.
        self.ids.remove("s1");
        self.join("s", "s1", fixed("i1"))?;
        self.describe("s")?;
        self.heartbeat("s", "s2", 0, Some("i2"))?;
        self.sync("s", "s1", 0, Some("range"), &[])?;
        self.heartbeat("s", "s1", 0, Some("i1"))?;
        self.leave("s", &["s1", "s2"])
    }

    /// A cooperative member gives up what it must before it goes on.
    fn cooperative(&mut self) -> anyhow::Result<()> {
        let keeps = Joins { protocols: &["cooperative-sticky"], keeps: true, ..EAGER };
        self.id("c", "c1", keeps)?;
        self.join("c", "c1", keeps)?;
        self.sync("c", "c1", 0, None, &["c1"])?;
        self.beat("c", "n1", 0, None)?;
        self.heartbeat("c", "c1", 0, None)?;
        self.join("c", "c1", keeps)?;
        self.heartbeat("c", "c1", 0, None)?;
        self.beat("c", "n1", 1, None)?;
        self.sync("c", "c1", 0, None, &[])?;
        self.describe("c")?;
        self.beat("c", "n1", 1, None)?;
        self.join("c", "c1", keeps)?;
        self.sync("c", "c1", 0, None, &[])?;
        self.beat("c", "n1", 1, None)?;
        self.heartbeat("c", "c1", 0, None)?;
        self.describe("c")?;
        self.leave("c", &["c1"])?;
        self.beat("c", "n1", -1, None)
    }

    /// Members that are no consumers keep their group to themselves.
    fn other_kinds(&mut self) -> anyhow::Result<()> {
        let connect = Joins { protocol_type: "connect", ..EAGER };
        self.id("o", "o1", connect)?;
        self.join("o", "o1", connect)?;
        self.sync("o", "o1", 0, None, &["o1"])?;
        self.beat("o", "n1", 0, None)?;
        self.describe("o")?;
        self.leave("o", &["o1"])?;
        self.beat("o", "n1", 0, None)?;
        self.describe("o")?;
        self.beat("o", "n1", -1, None)
    }

    // ---- Requests ----------------------------------------------------------------------------------------------

    fn note(&mut self, line: String) {
        self.lines.push(line);
    }

    fn group(&self, name: &str) -> Str {
        format!("{}{name}", self.prefix).into()
    }

    fn id_of(&self, member: &str) -> Str {
        self.ids.get(member).map_or(member, String::as_str).into()
    }

    fn epoch_of(&self, member: &str) -> i32 {
        self.epochs.get(member).copied().unwrap_or(0)
    }

    /// Joins as nobody, and is given an id.
    fn id(&mut self, group: &str, member: &str, how: Joins<'_>) -> anyhow::Result<()> {
        self.ids.insert(member.to_string(), String::new());
        self.join(group, member, how)
    }

    fn join(&mut self, group: &str, member: &str, how: Joins<'_>) -> anyhow::Result<()> {
        let has = self.owned.get(member).filter(|owned| how.keeps && !owned.is_empty());
        let owned = has.map(|owned| ConsumerProtocolSubscriptionTopicPartition {
            topic: self.topic.as_str().into(),
            partitions: owned.clone(),
            ..Default::default()
        });
        let said = ConsumerProtocolSubscription {
            topics: vec![self.topic.as_str().into()],
            owned_partitions: owned.into_iter().collect(),
            ..Default::default()
        };
        let metadata = written(&said)?;
        let protocol = |name: &&str| JoinGroupRequestProtocol {
            name: (*name).into(),
            metadata: metadata.clone(),
            ..Default::default()
        };
        let request = JoinGroupRequest {
            group_id: self.group(group),
            session_timeout_ms: 30_000,
            rebalance_timeout_ms: 30_000,
            member_id: if self.ids.contains_key(member) { self.id_of(member) } else { Str::new() },
            group_instance_id: how.instance.map(Into::into),
            protocol_type: how.protocol_type.into(),
            protocols: how.protocols.iter().map(protocol).collect(),
            ..Default::default()
        };
        let told = self.side.call(9, &request)?;
        if !told.member_id.is_empty() {
            self.ids.insert(member.to_string(), told.member_id.to_string());
        }
        if told.error_code == 0 {
            self.epochs.insert(member.to_string(), told.generation_id);
        }
        let leads = !told.leader.is_empty() && told.leader == told.member_id;
        self.note(format!(
            "{group}: {member} joins: {} generation {} {:?} {:?} leads {leads} of {} skips {}",
            told.error_code,
            told.generation_id,
            told.protocol_type,
            told.protocol_name,
            told.members.len(),
            told.skip_assignment,
        ));
        Ok(())
    }

    /// `leads`: it gives all partitions to the first of these.
    fn sync(
        &mut self,
        group: &str,
        member: &str,
        off: i32,
        protocol: Option<&str>,
        leads: &[&str],
    ) -> anyhow::Result<()> {
        let all = ConsumerProtocolAssignmentTopicPartition {
            topic: self.topic.as_str().into(),
            partitions: (0..PARTITIONS).collect(),
            ..Default::default()
        };
        let all = ConsumerProtocolAssignment { assigned_partitions: vec![all], ..Default::default() };
        let assignment = written(&all)?;
        let assignments = leads.iter().map(|one| SyncGroupRequestAssignment {
            member_id: self.id_of(one),
            assignment: assignment.clone(),
            ..Default::default()
        });
        let request = SyncGroupRequest {
            group_id: self.group(group),
            generation_id: self.epoch_of(member) + off,
            member_id: self.id_of(member),
            protocol_type: protocol.map(|_| "consumer".into()),
            protocol_name: protocol.map(Into::into),
            assignments: assignments.collect(),
            ..Default::default()
        };
        // Who names no protocol uses a version that does not ask for it.
        let told = self.side.call(if protocol.is_some() { 5 } else { 4 }, &request)?;
        let mut count = None;
        if told.error_code == 0 && !told.assignment.is_empty() {
            let mut reader = Reader::new(told.assignment);
            let version = reader.i16()?;
            let told = ConsumerProtocolAssignment::decode(&mut reader, version)?;
            let partitions: Vec<i32> =
                told.assigned_partitions.iter().flat_map(|one| one.partitions.iter().copied()).collect();
            count = Some((version, told.user_data, partitions.len()));
            self.owned.insert(member.to_string(), partitions);
        }
        let (code, names) = (told.error_code, (told.protocol_type, told.protocol_name));
        self.note(format!("{group}: {member} syncs: {code} {names:?} assigned {count:?}"));
        Ok(())
    }

    fn heartbeat(
        &mut self,
        group: &str,
        member: &str,
        off: i32,
        instance: Option<&str>,
    ) -> anyhow::Result<()> {
        let request = HeartbeatRequest {
            group_id: self.group(group),
            generation_id: self.epoch_of(member) + off,
            member_id: self.id_of(member),
            group_instance_id: instance.map(Into::into),
            ..Default::default()
        };
        let code = self.side.call(4, &request)?.error_code;
        self.note(format!("{group}: {member} beats, {off} off, as {instance:?}: {code}"));
        Ok(())
    }

    /// Epoch 0 joins, below it leaves; above it goes on under the epoch that it was told.
    fn beat(&mut self, group: &str, member: &str, epoch: i32, instance: Option<&str>) -> anyhow::Result<()> {
        if epoch == 0 {
            self.owned.insert(member.to_string(), Vec::new());
        }
        let owned = self.owned.get(member).cloned().unwrap_or_default();
        let owned =
            RequestTopicPartitions { topic_id: self.topic_id, partitions: owned, ..Default::default() };
        let owned = if owned.partitions.is_empty() { Vec::new() } else { vec![owned] };
        let request = ConsumerGroupHeartbeatRequest {
            group_id: self.group(group),
            member_id: member.into(),
            member_epoch: if epoch == 1 { self.epoch_of(member) } else { epoch },
            instance_id: instance.map(Into::into),
            rebalance_timeout_ms: if epoch == 0 { 30_000 } else { -1 },
            subscribed_topic_names: (epoch == 0).then(|| vec![self.topic.as_str().into()]),
            topic_partitions: (epoch >= 0).then_some(owned),
            ..Default::default()
        };
        let told = self.side.call(1, &request)?;
        if told.error_code == 0 {
            self.epochs.insert(member.to_string(), told.member_epoch);
        }
        let assigned: Option<Vec<i32>> = told.assignment.map(|assignment| {
            assignment.topic_partitions.iter().flat_map(|one| one.partitions.iter().copied()).collect()
        });
        let count = assigned.as_ref().map(Vec::len);
        if let Some(assigned) = assigned {
            self.owned.insert(member.to_string(), assigned);
        }
        self.note(format!(
            "{group}: {member} beats at {epoch} as {instance:?}: {} epoch {} assigned {count:?}",
            told.error_code, told.member_epoch
        ));
        Ok(())
    }

    fn commit(
        &mut self,
        group: &str,
        member: &str,
        off: i32,
        version: i16,
        partition: i32,
    ) -> anyhow::Result<()> {
        let partition = OffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: 1,
            ..Default::default()
        };
        let topic = OffsetCommitRequestTopic {
            name: self.topic.as_str().into(),
            partitions: vec![partition],
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: self.group(group),
            generation_id_or_member_epoch: self.epoch_of(member) + off,
            member_id: self.id_of(member),
            topics: vec![topic],
            ..Default::default()
        };
        let told = self.side.call(version, &request)?;
        let codes: Vec<i16> =
            told.topics.iter().flat_map(|topic| topic.partitions.iter().map(|one| one.error_code)).collect();
        self.note(format!("{group}: {member} commits, {off} off, version {version}: {codes:?}"));
        Ok(())
    }

    fn fetch(&mut self, group: &str, member: Option<&str>, off: i32) -> anyhow::Result<()> {
        let wanted = OffsetFetchRequestGroup {
            group_id: self.group(group),
            member_id: member.map(|member| self.id_of(member)),
            member_epoch: member.map_or(-1, |member| self.epoch_of(member) + off),
            ..Default::default()
        };
        let told = self.side.call(9, &OffsetFetchRequest { groups: vec![wanted], ..Default::default() })?;
        let codes: Vec<(i16, usize)> =
            told.groups.iter().map(|group| (group.error_code, group.topics.len())).collect();
        self.note(format!("{group}: {member:?} asks for offsets, {off} off: {codes:?}"));
        Ok(())
    }

    fn leave(&mut self, group: &str, members: &[&str]) -> anyhow::Result<()> {
        let member = |name: &&str| MemberIdentity { member_id: self.id_of(name), ..Default::default() };
        let request = LeaveGroupRequest {
            group_id: self.group(group),
            members: members.iter().map(member).collect(),
            ..Default::default()
        };
        let told = self.side.call(5, &request)?;
        let codes: Vec<i16> = told.members.iter().map(|member| member.error_code).collect();
        self.note(format!("{group}: {members:?} leave: {} {codes:?}", told.error_code));
        Ok(())
    }

    /// The group in the words of all three APIs that tell of it.
    fn describe(&mut self, name: &str) -> anyhow::Result<()> {
        let group = self.group(name);
        let request = ConsumerGroupDescribeRequest { group_ids: vec![group.clone()], ..Default::default() };
        for described in self.side.call(1, &request)?.groups {
            let count = |assignment: &wire::consumer_group_describe::Assignment| -> usize {
                assignment.topic_partitions.iter().map(|topic| topic.partitions.len()).sum()
            };
            let mut members: Vec<String> = described
                .members
                .iter()
                .map(|member| {
                    format!(
                        "type {} epoch {} as {:?} has {} is to have {} reads {} {:?}",
                        member.member_type,
                        member.member_epoch,
                        member.instance_id,
                        count(&member.assignment),
                        count(&member.target_assignment),
                        member.subscribed_topic_names.len(),
                        member.subscribed_topic_regex,
                    )
                })
                .collect();
            members.sort();
            self.note(format!(
                "{name} is {} {} epoch {} assigned at {} by {:?}: {members:#?}",
                described.error_code,
                described.group_state,
                described.group_epoch,
                described.assignment_epoch,
                described.assignor_name,
            ));
        }
        for version in [5, 6] {
            let request = DescribeGroupsRequest { groups: vec![group.clone()], ..Default::default() };
            for described in self.side.call(version, &request)?.groups {
                self.note(format!(
                    "{name} is {} {:?} {:?} {:?} with {} members",
                    described.error_code,
                    described.group_state,
                    described.protocol_type,
                    described.protocol_data,
                    described.members.len()
                ));
            }
        }
        let listed = self.side.call(5, &ListGroupsRequest::default())?.groups;
        let listed = listed.into_iter().find(|listed| listed.group_id == group);
        let listed = listed.map(|listed| (listed.protocol_type, listed.group_state, listed.group_type));
        self.note(format!("{name} is listed as {listed:?}"));
        Ok(())
    }
}

/// A consumer's words behind their version, the newest.
fn written<M: Message>(said: &M) -> anyhow::Result<Bytes> {
    Ok(stored::encode_with_version_prefix(said, M::VERSIONS.max)?)
}
