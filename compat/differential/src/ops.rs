//! What is asked: random requests over a few topics, near the edges of what is valid.

use std::collections::BTreeMap;

use bytes::Bytes;
use env::{Clock, SeededRandom, SystemClock};
use model::TopicId;
use wire::*;

use crate::batches::Batch;
use crate::side::Names;
use crate::{one, pick};

type Frame = Box<dyn Fn(&Names) -> Bytes>;

pub struct Op {
    pub key: ApiKey,
    pub version: i16,
    pub words: String,
    pub frame: Frame,
}

impl Op {
    /// Whether topics or their configs may be others afterwards.
    pub fn changes_topics(&self) -> bool {
        matches!(
            self.key,
            ApiKey::CreateTopics
                | ApiKey::DeleteTopics
                | ApiKey::CreatePartitions
                | ApiKey::AlterConfigs
                | ApiKey::IncrementalAlterConfigs
        )
    }
}

/// The topics of one round and the way through it.
pub struct Script {
    /// Names and the ids that the script gives them.
    pub topics: Vec<(String, TopicId)>,
    prefix: String,
    start: i64,
}

/// Configs of the topics that exist from the beginning: (suffix, partitions, configs).
const TOPICS: [(&str, i32, &[(&str, &str)]); 6] = [
    ("plain", 2, &[]),
    ("compact", 1, &[("cleanup.policy", "compact")]),
    ("stamped", 1, &[("message.timestamp.type", "LogAppendTime")]),
    ("small", 1, &[("max.message.bytes", "2000"), ("compression.type", "zstd")]),
    ("gzip", 1, &[("compression.type", "gzip")]),
    // The only one whose configs and partitions are really changed; nobody writes to it, for a change takes effect
    // a little after it was answered.
    ("altered", 1, &[]),
];

/// Stands for the epoch that the newest fetch session expects.
const NEXT: i32 = -7;

/// Groups; nobody commits to the last.
const GROUPS: [&str; 4] = ["g1", "g2", "g3", "unknown"];
const TRANSACTIONAL_IDS: [&str; 2] = ["tx-a", "tx-b"];

/// How many of them keep their configs.
const FIXED: usize = TOPICS.len() - 1;

/// Topics that a round may create and delete.
const MORE: [&str; 3] = ["new", "new.er", "new_er"];

/// The APIs that are asked, in about these proportions.
const APIS: [ApiKey; 50] = [
    ApiKey::Produce,
    ApiKey::Produce,
    ApiKey::Produce,
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::Fetch,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::OffsetCommit,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::OffsetDelete,
    ApiKey::FindCoordinator,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::CreatePartitions,
    ApiKey::DeleteRecords,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::DescribeTopicPartitions,
    ApiKey::DescribeProducers,
    ApiKey::ListConfigResources,
    ApiKey::DescribeCluster,
    ApiKey::DescribeLogDirs,
    ApiKey::DeleteRecords,
    ApiKey::OffsetFetch,
    ApiKey::Fetch,
    ApiKey::JoinGroup,
    ApiKey::JoinGroup,
    ApiKey::SyncGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::DescribeGroups,
    ApiKey::DeleteGroups,
    ApiKey::ConsumerGroupHeartbeat,
    ApiKey::ConsumerGroupHeartbeat,
    ApiKey::ConsumerGroupDescribe,
    ApiKey::ElectLeaders,
    ApiKey::AlterPartitionReassignments,
    ApiKey::ListPartitionReassignments,
    ApiKey::AlterReplicaLogDirs,
    ApiKey::DescribeAcls,
    ApiKey::CreateAcls,
    ApiKey::DeleteAcls,
];

impl Script {
    pub fn new(seed: u64) -> Script {
        let prefix = format!("r{seed}-");
        let names = TOPICS.iter().map(|(name, _, _)| *name).chain(MORE);
        let id = |number: usize| TopicId([number as u8 + 1; 16]);
        let topics =
            names.enumerate().map(|(number, name)| (format!("{prefix}{name}"), id(number))).collect();
        Script { topics, prefix, start: SystemClock::new().now().0 }
    }

    /// Creates the topics that exist from the beginning.
    pub fn topics_to_create(&self) -> CreateTopicsRequest {
        use wire::create_topics::{CreatableTopic, CreatableTopicConfig};
        let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
            name: (*name).into(),
            value: Some((*value).into()),
            ..Default::default()
        };
        let topic = |(name, partitions, configs): &(&str, i32, &[(&str, &str)])| CreatableTopic {
            name: format!("{}{name}", self.prefix).into(),
            num_partitions: *partitions,
            replication_factor: 1,
            configs: configs.iter().map(config).collect(),
            ..Default::default()
        };
        let topics = TOPICS.iter().map(topic).collect();
        CreateTopicsRequest { topics, timeout_ms: 10_000, ..Default::default() }
    }

    /// Groups and transactional ids whose coordinators must be ready before the round begins.
    pub fn groups(&self) -> Vec<String> {
        GROUPS.iter().map(|group| self.group(group)).collect()
    }

    pub fn transactional_ids(&self) -> Vec<String> {
        TRANSACTIONAL_IDS.iter().map(|id| format!("{}{id}", self.prefix)).collect()
    }

    fn group(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The next request, in a version that both brokers offer.
    pub fn next(
        &mut self,
        random: &SeededRandom,
        ours: &BTreeMap<i16, (i16, i16)>,
        theirs: &BTreeMap<i16, (i16, i16)>,
    ) -> Op {
        loop {
            let key = one(random, &APIS);
            let (Some(ours), Some(theirs)) = (ours.get(&key.code()), theirs.get(&key.code())) else {
                continue;
            };
            let (mut min, max) = (ours.0.max(theirs.0), ours.1.min(theirs.1));
            if key == ApiKey::Produce {
                min = 3;
            }
            let version = min + pick(random, (max - min + 1) as usize) as i16;
            if pick(random, 40) == 0 {
                return garbage(random, key, version);
            }
            // A draw that this version cannot say is drawn again.
            if let Some(op) = self.draw(random, key, version) {
                return op;
            }
        }
    }

    fn topic(&self, random: &SeededRandom) -> (Str, TopicId) {
        match pick(random, 12) {
            0 => ("nope".into(), TopicId([99; 16])),
            1 => (one(random, &["", "bad name", ".", "a/b"]).into(), TopicId::ZERO),
            _ => {
                let (name, id) = one(random, &self.topics[..FIXED]);
                (name.into(), id)
            }
        }
    }

    /// A group that nobody commits to.
    fn joined_group(&self, random: &SeededRandom) -> Str {
        match pick(random, 8) {
            0 => Str::new(),
            number => format!("{}joined-{}", self.prefix, number % 2).into(),
        }
    }

    /// Some topics, each once, each with some partitions.
    fn several(&self, random: &SeededRandom) -> Vec<(Str, TopicId, Vec<i32>)> {
        let mut several: Vec<(Str, TopicId, Vec<i32>)> = Vec::new();
        for _ in 0..one(random, &[1, 1, 1, 2, 3]) {
            let (name, id) = self.topic(random);
            let partitions =
                one(random, &[vec![0], vec![0], vec![0], vec![1], vec![7], vec![0, 1], vec![1, 0, -1]]);
            if several.iter().all(|(other, other_id, _)| *other != name && *other_id != id) {
                several.push((name, id, partitions));
            }
        }
        several
    }

    /// The topic for a config request, and whether it may really be changed.
    fn alterable(&self, random: &SeededRandom, name: Str) -> (Str, bool) {
        match pick(random, 2) {
            0 => (self.topics[FIXED].0.as_str().into(), true),
            _ => (name, false),
        }
    }

    fn draw(&self, random: &SeededRandom, key: ApiKey, version: i16) -> Option<Op> {
        let (name, id) = self.topic(random);
        let partition = one(random, &[0, 0, 0, 0, 1, 7, -1]);
        match key {
            ApiKey::Produce => self.produce(random, version),
            ApiKey::Fetch => self.fetch(random, version),
            ApiKey::JoinGroup => {
                use wire::join_group::JoinGroupRequestProtocol;
                let protocol =
                    |name: &str| JoinGroupRequestProtocol { name: name.into(), ..Default::default() };
                // Whoever joins without an id at an older version would wait, or be waited for.
                let member_id = one(random, &["nobody", "nobody", ""]);
                if member_id.is_empty() && version < 4 {
                    return None;
                }
                let request = JoinGroupRequest {
                    group_id: self.joined_group(random),
                    session_timeout_ms: one(random, &[10_000, 10_000, 10_000, 1, i32::MAX]),
                    rebalance_timeout_ms: if version >= 1 { 10_000 } else { -1 },
                    member_id: member_id.into(),
                    protocol_type: one(random, &["consumer", "consumer", ""]).into(),
                    protocols: one(random, &[vec![protocol("range")], vec![protocol("range")], vec![]]),
                    ..Default::default()
                };
                op(version, request)
            }
            ApiKey::SyncGroup => {
                let named = version >= 5 && pick(random, 3) > 0;
                let request = SyncGroupRequest {
                    group_id: self.joined_group(random),
                    generation_id: one(random, &[-1, 0, 1]),
                    member_id: one(random, &["nobody", ""]).into(),
                    protocol_type: named.then(|| "consumer".into()),
                    protocol_name: named.then(|| "range".into()),
                    ..Default::default()
                };
                op(version, request)
            }
            ApiKey::Heartbeat => {
                let request = HeartbeatRequest {
                    group_id: self.joined_group(random),
                    generation_id: one(random, &[-1, 0, 1]),
                    member_id: one(random, &["nobody", ""]).into(),
                    group_instance_id: (version >= 3 && pick(random, 3) == 0).then(|| "place".into()),
                    ..Default::default()
                };
                op(version, request)
            }
            ApiKey::LeaveGroup => {
                use wire::leave_group::MemberIdentity;
                let member = |(member, instance): (&str, Option<&str>)| MemberIdentity {
                    member_id: member.into(),
                    group_instance_id: instance.map(Into::into),
                    ..Default::default()
                };
                let members = one(
                    random,
                    &[
                        vec![("nobody", None)],
                        vec![("", Some("place"))],
                        vec![("nobody", Some("place")), ("", None)],
                        vec![],
                    ],
                );
                let request = LeaveGroupRequest {
                    group_id: self.joined_group(random),
                    member_id: if version < 3 { "nobody".into() } else { Str::new() },
                    members: if version < 3 { Vec::new() } else { members.into_iter().map(member).collect() },
                    ..Default::default()
                };
                op(version, request)
            }
            ApiKey::DescribeGroups => {
                let groups = [format!("{}unknown", self.prefix).into(), Str::new()];
                let request = DescribeGroupsRequest {
                    groups: groups[..1 + pick(random, 2)].to_vec(),
                    include_authorized_operations: version >= 3 && pick(random, 2) == 0,
                    ..Default::default()
                };
                op(version, request)
            }
            ApiKey::DeleteGroups => {
                let groups = [Str::new(), format!("{}unknown", self.prefix).into()];
                op(
                    version,
                    DeleteGroupsRequest {
                        groups_names: groups[pick(random, 2)..].to_vec(),
                        ..Default::default()
                    },
                )
            }
            ApiKey::ConsumerGroupHeartbeat => {
                let joins = pick(random, 3) == 0;
                let request = ConsumerGroupHeartbeatRequest {
                    group_id: one(random, &["", "nobodys", "nobodys"]).into(),
                    member_id: one(random, &["", "nobody", "nobody"]).into(),
                    member_epoch: if joins { 0 } else { one(random, &[-3, -2, -1, 1, 7]) },
                    instance_id: one(random, &[None, None, Some("place"), Some("")]).map(Into::into),
                    rebalance_timeout_ms: one(random, &[-1, 1000]),
                    // Nobody really joins: members would have to be kept alive on both sides.
                    subscribed_topic_names: None,
                    server_assignor: one(random, &[None, None, Some("")]).map(Into::into),
                    topic_partitions: one(random, &[None, Some(vec![])]),
                    ..Default::default()
                };
                op(version, request)
            }
            ApiKey::ConsumerGroupDescribe => {
                let groups = [Str::new(), format!("{}unknown", self.prefix).into()];
                let request = ConsumerGroupDescribeRequest {
                    group_ids: groups[pick(random, 2)..].to_vec(),
                    include_authorized_operations: pick(random, 2) == 0,
                    ..Default::default()
                };
                op(version, request)
            }
            ApiKey::ElectLeaders => {
                use wire::elect_leaders::TopicPartitions;
                let topic = |(topic, _, partitions): (Str, TopicId, Vec<i32>)| TopicPartitions {
                    topic,
                    partitions,
                    ..Default::default()
                };
                let several: Vec<_> = self.several(random).into_iter().map(topic).collect();
                let request = ElectLeadersRequest {
                    topic_partitions: (pick(random, 4) > 0).then_some(several),
                    timeout_ms: 10_000,
                    ..Default::default()
                };
                op(version, request)
            }
            ApiKey::AlterPartitionReassignments => {
                use wire::alter_partition_reassignments::{ReassignablePartition, ReassignableTopic};
                let replicas = one(random, &[None, None, Some(vec![7]), Some(vec![])]);
                let row = |partition_index| ReassignablePartition {
                    partition_index,
                    replicas: replicas.clone(),
                    ..Default::default()
                };
                let topic = |(name, _, partitions): (Str, TopicId, Vec<i32>)| ReassignableTopic {
                    name,
                    partitions: partitions.into_iter().map(row).collect(),
                    ..Default::default()
                };
                let topics = self.several(random).into_iter().map(topic).collect();
                op(version, AlterPartitionReassignmentsRequest { topics, ..Default::default() })
            }
            ApiKey::ListPartitionReassignments => {
                use wire::list_partition_reassignments::ListPartitionReassignmentsTopics;
                let topic = ListPartitionReassignmentsTopics {
                    name,
                    partition_indexes: vec![partition],
                    ..Default::default()
                };
                let topics = one(random, &[None, Some(vec![topic])]);
                op(version, ListPartitionReassignmentsRequest { topics, ..Default::default() })
            }
            ApiKey::AlterReplicaLogDirs => {
                use wire::alter_replica_log_dirs::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
                let topic =
                    AlterReplicaLogDirTopic { name, partitions: vec![partition], ..Default::default() };
                let dir =
                    AlterReplicaLogDir { path: "/nowhere".into(), topics: vec![topic], ..Default::default() };
                op(version, AlterReplicaLogDirsRequest { dirs: vec![dir], ..Default::default() })
            }
            // Any resource, any principal, any operation.
            ApiKey::DescribeAcls => op(
                version,
                DescribeAclsRequest {
                    resource_type_filter: 1,
                    pattern_type_filter: 1,
                    operation: 1,
                    permission_type: 1,
                    ..Default::default()
                },
            ),
            ApiKey::CreateAcls => op(version, CreateAclsRequest::default()),
            ApiKey::DeleteAcls => op(version, DeleteAclsRequest::default()),
            ApiKey::ListOffsets => {
                use wire::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
                let special = [-1, -2, -3, -4, -5, -6, 0];
                let near = [-1000, 0, 1, 2, 3, 9_000_000].map(|after| self.start + after);
                let row = |partition_index| ListOffsetsPartition {
                    partition_index,
                    current_leader_epoch: if version >= 4 { one(random, &[-1, -1, 0, 5]) } else { -1 },
                    timestamp: if pick(random, 2) == 0 { one(random, &special) } else { one(random, &near) },
                    ..Default::default()
                };
                let topic = |(name, _, partitions): (Str, TopicId, Vec<i32>)| {
                    let mut partitions: Vec<_> = partitions.into_iter().map(row).collect();
                    if pick(random, 12) == 0 {
                        partitions.push(partitions[0].clone());
                    }
                    ListOffsetsTopic { name, partitions, ..Default::default() }
                };
                let topics = self.several(random).into_iter().map(topic).collect();
                let isolation_level = if version >= 2 { one(random, &[0, 1]) } else { 0 };
                op(
                    version,
                    ListOffsetsRequest { replica_id: -1, isolation_level, topics, ..Default::default() },
                )
            }
            ApiKey::Metadata => {
                use wire::metadata::MetadataRequestTopic;
                // A zero id without a name is an unknown server error to the other broker. Ids in versions that do not
                // know them are tried too.
                let by_id = version >= 10 && !id.is_zero() && pick(random, 3) == 0;
                let no_name = if version >= 12 { [None, Some("")] } else { [Some("x"), Some("")] };
                let no_name = one(random, &no_name);
                let others = match by_id && pick(random, 2) == 0 {
                    true => vec![self.topic(random), self.topic(random)],
                    false => Vec::new(),
                };
                let topic = move |(name, id): &(Str, TopicId), names: &Names| MetadataRequestTopic {
                    name: if by_id { no_name.map(Into::into) } else { Some(name.clone()) },
                    topic_id: if by_id { names.topic_id(*id) } else { TopicId::ZERO },
                    ..Default::default()
                };
                let mut wanted = vec![(name, id)];
                for other in others.into_iter().filter(|(_, id)| !id.is_zero()) {
                    if wanted.iter().all(|(_, id)| *id != other.1) {
                        wanted.push(other);
                    }
                }
                let include = version >= 8 && pick(random, 2) == 0;
                by_names(version, move |names| MetadataRequest {
                    topics: Some(wanted.iter().map(|wanted| topic(wanted, names)).collect()),
                    allow_auto_topic_creation: version < 4,
                    include_cluster_authorized_operations: include && version <= 10,
                    include_topic_authorized_operations: include,
                    ..Default::default()
                })
                // Creating by asking is tried elsewhere: the other broker answers before it is done.
                .filter(|op| version >= 4 || !op.words.contains("nope"))
            }
            ApiKey::OffsetCommit => {
                use wire::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
                let by_id = version >= 10;
                let group = self.group(one(random, &GROUPS[..3]));
                let generation = one(random, &[-1, -1, -1, -1, 0, 3]);
                let member = one(random, &["", "", "", "someone"]);
                let row = OffsetCommitRequestPartition {
                    partition_index: partition,
                    committed_offset: one(random, &[0, 5, 100, -1]),
                    committed_leader_epoch: if version >= 6 { one(random, &[-1, 0, 4]) } else { -1 },
                    committed_metadata: one(
                        random,
                        &[None, Some("".into()), Some("m".into()), Some("x".repeat(5000).into())],
                    ),
                    ..Default::default()
                };
                by_names(version, move |names| OffsetCommitRequest {
                    group_id: group.as_str().into(),
                    generation_id_or_member_epoch: generation,
                    member_id: member.into(),
                    topics: vec![OffsetCommitRequestTopic {
                        name: if by_id { Str::new() } else { name.clone() },
                        topic_id: if by_id { names.topic_id(id) } else { TopicId::ZERO },
                        partitions: vec![row.clone()],
                        ..Default::default()
                    }],
                    ..Default::default()
                })
            }
            ApiKey::OffsetFetch => self.offset_fetch(random, version, name, id, partition),
            ApiKey::OffsetDelete => {
                use wire::offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
                let partitions =
                    vec![OffsetDeleteRequestPartition { partition_index: partition, ..Default::default() }];
                let topic = OffsetDeleteRequestTopic { name, partitions, ..Default::default() };
                let group_id = self.group(one(random, &GROUPS)).into();
                op(version, OffsetDeleteRequest { group_id, topics: vec![topic], ..Default::default() })
            }
            ApiKey::FindCoordinator => {
                let key_type = if version >= 1 { one(random, &[0, 1, 9]) } else { 0 };
                let request = match version {
                    4.. => FindCoordinatorRequest {
                        key_type,
                        coordinator_keys: vec![self.group("g1").into(), self.group("g2").into()],
                        ..Default::default()
                    },
                    _ => FindCoordinatorRequest {
                        key: self.group("g1").into(),
                        key_type,
                        ..Default::default()
                    },
                };
                op(version, request)
            }
            ApiKey::ApiVersions => {
                let name = one(random, &["good", "bad name", "", "-x"]);
                let request = ApiVersionsRequest {
                    client_software_name: if version >= 3 { name.into() } else { Str::new() },
                    client_software_version: if version >= 3 { "1.0".into() } else { Str::new() },
                    ..Default::default()
                };
                op(version, request)
            }
            ApiKey::CreateTopics => self.create_topics(random, version),
            ApiKey::DeleteTopics => {
                use wire::delete_topics::DeleteTopicState;
                let (name, id) = match pick(random, 4) {
                    0 => (Str::from("nope"), TopicId([99; 16])),
                    _ => {
                        let (name, id) = one(random, &self.topics[TOPICS.len()..]);
                        (name.into(), id)
                    }
                };
                let by_id = version >= 6 && pick(random, 3) == 0;
                by_names(version, move |names| {
                    let state = DeleteTopicState {
                        name: (!by_id).then(|| name.clone()),
                        topic_id: if by_id { names.topic_id(id) } else { TopicId::ZERO },
                        ..Default::default()
                    };
                    match version {
                        6.. => DeleteTopicsRequest {
                            topics: vec![state],
                            timeout_ms: 10_000,
                            ..Default::default()
                        },
                        _ => DeleteTopicsRequest {
                            topic_names: vec![name.clone()],
                            timeout_ms: 10_000,
                            ..Default::default()
                        },
                    }
                })
            }
            ApiKey::CreatePartitions => {
                use wire::create_partitions::{CreatePartitionsAssignment, CreatePartitionsTopic};
                let assigned =
                    |node| CreatePartitionsAssignment { broker_ids: vec![node], ..Default::default() };
                let (altered, real) = self.alterable(random, name.clone());
                let topic = |name| CreatePartitionsTopic {
                    name,
                    count: one(random, &[-1, 0, 1, 2, 3, 4, 5]),
                    assignments: one(
                        random,
                        &[
                            None,
                            None,
                            None,
                            Some(vec![assigned(0)]),
                            Some(vec![assigned(8)]),
                            Some(Vec::new()),
                        ],
                    ),
                    ..Default::default()
                };
                let validate_only = !real || pick(random, 2) == 0;
                let mut topics = vec![topic(altered.clone())];
                if pick(random, 4) == 0 && (validate_only || name.is_empty()) {
                    topics.push(topic(name));
                }
                if pick(random, 10) == 0 {
                    topics.push(topic(altered));
                }
                op(
                    version,
                    CreatePartitionsRequest {
                        topics,
                        timeout_ms: 10_000,
                        validate_only,
                        ..Default::default()
                    },
                )
            }
            ApiKey::DeleteRecords => {
                use wire::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
                let row = |partition_index| DeleteRecordsPartition {
                    partition_index,
                    offset: one(random, &[0, 1, 2, 3, 5, -1, -2, 1_000_000]),
                    ..Default::default()
                };
                let topic = |(name, _, partitions): (Str, TopicId, Vec<i32>)| DeleteRecordsTopic {
                    name,
                    partitions: partitions.into_iter().map(row).collect(),
                    ..Default::default()
                };
                let topics = self.several(random).into_iter().map(topic).collect();
                op(version, DeleteRecordsRequest { topics, timeout_ms: 10_000, ..Default::default() })
            }
            ApiKey::DescribeCluster => {
                let request = DescribeClusterRequest {
                    include_cluster_authorized_operations: pick(random, 2) == 0,
                    endpoint_type: if version >= 1 { one(random, &[1, 1, 2, 9]) } else { 1 },
                    ..Default::default()
                };
                op(version, request)
            }
            ApiKey::DescribeLogDirs => {
                use wire::describe_log_dirs::DescribableLogDirTopic;
                let topic =
                    DescribableLogDirTopic { topic: name, partitions: vec![0, 1, 7], ..Default::default() };
                op(version, DescribeLogDirsRequest { topics: Some(vec![topic]), ..Default::default() })
            }
            ApiKey::InitProducerId => {
                let transactional = one(random, &[None, None, Some("tx-a"), Some("tx-b"), Some("")]);
                let transactional_id = transactional.map(|id| format!("{}{id}", self.prefix).into());
                let transactional_id =
                    if transactional == Some("") { Some(Str::new()) } else { transactional_id };
                let transaction_timeout_ms = one(random, &[1000, 1000, 60_000, 0, -1, i32::MAX]);
                let current = (version >= 3 && pick(random, 3) == 0)
                    .then(|| (pick(random, 6), one(random, &[0_i16, 1, 2])));
                by_names(version, move |names| InitProducerIdRequest {
                    transactional_id: transactional_id.clone(),
                    transaction_timeout_ms,
                    producer_id: current.map_or(-1, |(number, _)| names.producer_id(number)),
                    producer_epoch: current.map_or(-1, |(_, epoch)| epoch),
                    ..Default::default()
                })
            }
            ApiKey::OffsetForLeaderEpoch => {
                use wire::offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic};
                let row = OffsetForLeaderPartition {
                    partition,
                    current_leader_epoch: one(random, &[-1, -1, 0, 5]),
                    leader_epoch: one(random, &[0, 1, -1, 7]),
                    ..Default::default()
                };
                let topic = OffsetForLeaderTopic { topic: name, partitions: vec![row], ..Default::default() };
                op(version, OffsetForLeaderEpochRequest { topics: vec![topic], ..Default::default() })
            }
            ApiKey::DescribeConfigs => {
                use wire::describe_configs::DescribeConfigsResource;
                let keys: Vec<Str> = vec!["retention.ms".into(), "cleanup.policy".into(), "nope".into()];
                let (resource_type, resource_name) = match pick(random, 8) {
                    0 => (4, "77".into()),
                    1 => (4, "x".into()),
                    2 => (1, "x".into()),
                    _ => (2, self.alterable(random, name).0),
                };
                let resource = DescribeConfigsResource {
                    resource_type,
                    resource_name,
                    configuration_keys: one(random, &[None, Some(keys)]),
                    ..Default::default()
                };
                let include_synonyms = pick(random, 2) == 0;
                op(
                    version,
                    DescribeConfigsRequest {
                        resources: vec![resource],
                        include_synonyms,
                        ..Default::default()
                    },
                )
            }
            ApiKey::AlterConfigs => {
                use wire::alter_configs::{AlterConfigsResource, AlterableConfig};
                let (config, value) = config(random);
                let (name, real) = self.alterable(random, name);
                let configs = vec![AlterableConfig { name: config.into(), value, ..Default::default() }];
                let resource = AlterConfigsResource {
                    resource_type: if real { 2 } else { one(random, &[2, 2, 2, 1]) },
                    resource_name: name,
                    configs,
                    ..Default::default()
                };
                let validate_only = !real || pick(random, 2) == 0;
                op(
                    version,
                    AlterConfigsRequest { resources: vec![resource], validate_only, ..Default::default() },
                )
            }
            ApiKey::IncrementalAlterConfigs => {
                use wire::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
                let (config, value) = config(random);
                let (name, real) = self.alterable(random, name);
                let mut configs = vec![AlterableConfig {
                    name: config.into(),
                    config_operation: one(random, &[0, 0, 1, 2, 3, 9]),
                    value,
                    ..Default::default()
                }];
                if pick(random, 8) == 0 {
                    configs.push(configs[0].clone());
                }
                let resource = AlterConfigsResource {
                    resource_type: if real { 2 } else { one(random, &[2, 2, 2, 1]) },
                    resource_name: name,
                    configs,
                    ..Default::default()
                };
                let validate_only = !real || pick(random, 2) == 0;
                op(
                    version,
                    IncrementalAlterConfigsRequest {
                        resources: vec![resource],
                        validate_only,
                        ..Default::default()
                    },
                )
            }
            // An empty name is an unknown server error to the other broker.
            ApiKey::DescribeTopicPartitions if name.is_empty() => None,
            ApiKey::DescribeTopicPartitions => {
                use wire::describe_topic_partitions::{RequestCursor, TopicRequest};
                let mut topics: Vec<TopicRequest> = self.topics[..TOPICS.len()]
                    .iter()
                    .map(|(name, _)| TopicRequest { name: name.as_str().into(), ..Default::default() })
                    .collect();
                topics.push(TopicRequest { name, ..Default::default() });
                let cursor = |index| RequestCursor {
                    topic_name: format!("{}plain", self.prefix).into(),
                    partition_index: index,
                    ..Default::default()
                };
                let request = DescribeTopicPartitionsRequest {
                    topics,
                    response_partition_limit: one(random, &[1, 2, 3, 2000]),
                    cursor: one(random, &[None, Some(cursor(0)), Some(cursor(1)), Some(cursor(2))]),
                    ..Default::default()
                };
                op(version, request)
            }
            ApiKey::DescribeProducers => {
                use wire::describe_producers::TopicRequest;
                let topic = TopicRequest { name, partition_indexes: vec![partition], ..Default::default() };
                op(version, DescribeProducersRequest { topics: vec![topic], ..Default::default() })
            }
            ApiKey::ListConfigResources => {
                let resource_types =
                    if version >= 1 { one(random, &[vec![16], vec![9]]) } else { Vec::new() };
                op(version, ListConfigResourcesRequest { resource_types, ..Default::default() })
            }
            _ => None,
        }
    }

    fn produce(&self, random: &SeededRandom, version: i16) -> Option<Op> {
        use wire::produce::{PartitionProduceData, TopicProduceData};
        let by_id = version >= 13;
        let mut topics: Vec<(Str, TopicId, i32, Batch, Option<Batch>)> = Vec::new();
        for _ in 0..1 + pick(random, 2) {
            let (name, id) = self.topic(random);
            let index = one(random, &[0, 0, 0, 0, 1, 7, -1]);
            if !topics.iter().any(|(other, other_id, ..)| *other == name || *other_id == id) {
                let stamped = name.ends_with("stamped");
                let twice = (pick(random, 12) == 0).then(|| Batch::draw(random).for_topic(stamped));
                topics.push((name, id, index, Batch::draw(random).for_topic(stamped), twice));
            }
        }
        // Alone, for the other broker never answers and it is unclear what became of the rest.
        if pick(random, 60) == 0 {
            topics.truncate(1);
            (topics[0].3, topics[0].4) = (Batch::NULL, None);
        }
        let acks = one(random, &[-1, -1, -1, 1, 1, 2, -2]);
        let start = self.start;
        let words = format!("Produce acks {acks} {topics:?}");
        let mut op = by_names(version, move |names| {
            let topic = |(name, id, index, batch, twice): &(Str, TopicId, i32, Batch, Option<Batch>)| {
                let data = |batch: &Batch| PartitionProduceData {
                    index: *index,
                    records: batch.bytes(|number| names.producer_id(number), start).map(Into::into),
                    ..Default::default()
                };
                TopicProduceData {
                    name: if by_id { Str::new() } else { name.clone() },
                    topic_id: if by_id { names.topic_id(*id) } else { TopicId::ZERO },
                    partition_data: std::iter::once(batch).chain(twice).map(data).collect(),
                    ..Default::default()
                }
            };
            ProduceRequest {
                acks,
                timeout_ms: 5000,
                topic_data: topics.iter().map(topic).collect(),
                ..Default::default()
            }
        })?;
        op.words = words;
        Some(op)
    }

    fn fetch(&self, random: &SeededRandom, version: i16) -> Option<Op> {
        use wire::fetch::{FetchPartition, FetchTopic, ForgottenTopic};
        let by_id = version >= 13;
        let mut several = self.several(random);
        if by_id {
            // An id of zero is an unknown server error to the other broker.
            several.retain(|(_, id, _)| !id.is_zero());
        }
        let offset = one(random, &[0, 0, 1, 2, 3, 5, 8, 1_000_000, -1]);
        let epoch = if version >= 9 { one(random, &[-1, -1, 0, 5]) } else { -1 };
        let isolation_level = one(random, &[0, 0, 1]);
        // Limits between depend on how well each broker compresses.
        let max_bytes = one(random, &[1 << 20, 1 << 20, 1 << 20, 1]);
        let partition_max_bytes = one(random, &[1 << 20, 1 << 20, 1]);
        let session = version >= 7 && pick(random, 2) == 0;
        let (session_epoch, known) = match session {
            // Mostly the epoch that is next, so that sessions live for a while.
            true => one(random, &[(0, false), (NEXT, true), (NEXT, true), (NEXT, true), (7, true)]),
            false => (-1, false),
        };
        let names_none = session_epoch == NEXT && pick(random, 4) == 0;
        let forgotten =
            if session_epoch == NEXT && pick(random, 3) == 0 { self.several(random) } else { Vec::new() };
        by_names(version, move |names| {
            let row = |partition: &i32| FetchPartition {
                partition: *partition,
                current_leader_epoch: epoch,
                fetch_offset: offset,
                partition_max_bytes,
                ..Default::default()
            };
            let topic = |(name, id, partitions): &(Str, TopicId, Vec<i32>)| FetchTopic {
                topic: if by_id { Str::new() } else { name.clone() },
                topic_id: if by_id { names.topic_id(*id) } else { TopicId::ZERO },
                partitions: partitions.iter().map(row).collect(),
                ..Default::default()
            };
            let forget = |(name, id, partitions): &(Str, TopicId, Vec<i32>)| ForgottenTopic {
                topic: if by_id { Str::new() } else { name.clone() },
                topic_id: if by_id { names.topic_id(*id) } else { TopicId::ZERO },
                partitions: partitions.clone(),
                ..Default::default()
            };
            FetchRequest {
                max_wait_ms: 0,
                min_bytes: 0,
                max_bytes,
                isolation_level,
                session_id: if known { names.session } else { 0 },
                session_epoch: if session_epoch == NEXT { names.session_epoch } else { session_epoch },
                topics: if names_none { Vec::new() } else { several.iter().map(topic).collect() },
                forgotten_topics_data: forgotten.iter().map(forget).collect(),
                ..Default::default()
            }
        })
    }

    fn offset_fetch(
        &self,
        random: &SeededRandom,
        version: i16,
        name: Str,
        id: TopicId,
        partition: i32,
    ) -> Option<Op> {
        use wire::offset_fetch::{
            OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
        };
        let group = self.group(one(random, &GROUPS));
        let all = version >= 2 && pick(random, 4) == 0;
        let by_id = version >= 10;
        by_names(version, move |names| match version {
            8.. => OffsetFetchRequest {
                groups: vec![OffsetFetchRequestGroup {
                    group_id: group.as_str().into(),
                    topics: (!all).then(|| {
                        vec![OffsetFetchRequestTopics {
                            name: if by_id { Str::new() } else { name.clone() },
                            topic_id: if by_id { names.topic_id(id) } else { TopicId::ZERO },
                            partition_indexes: vec![partition],
                            ..Default::default()
                        }]
                    }),
                    ..Default::default()
                }],
                ..Default::default()
            },
            _ => OffsetFetchRequest {
                group_id: group.as_str().into(),
                topics: (!all).then(|| {
                    vec![OffsetFetchRequestTopic {
                        name: name.clone(),
                        partition_indexes: vec![partition],
                        ..Default::default()
                    }]
                }),
                ..Default::default()
            },
        })
    }

    fn create_topics(&self, random: &SeededRandom, version: i16) -> Option<Op> {
        use wire::create_topics::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
        let (config_name, value) = config(random);
        let config = CreatableTopicConfig { name: config_name.into(), value, ..Default::default() };
        let assigned = |index, node| CreatableReplicaAssignment {
            partition_index: index,
            broker_ids: vec![node],
            ..Default::default()
        };
        let name = match pick(random, 5) {
            0 => one(random, &["", "bad name", ".."]).into(),
            1 => format!("{}plain", self.prefix),
            _ => one(random, &self.topics[TOPICS.len()..]).0,
        };
        let manual = pick(random, 5) == 0;
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: if manual { one(random, &[-1, -1, 2]) } else { one(random, &[1, 2, -1, 0, -2]) },
            replication_factor: if manual {
                one(random, &[-1, -1, 1])
            } else {
                one(random, &[1, 1, -1, 0, -2])
            },
            assignments: match manual {
                false => Vec::new(),
                true => one(random, &[vec![assigned(0, 0)], vec![assigned(1, 0)], vec![assigned(0, 5)]]),
            },
            configs: if pick(random, 3) == 0 { vec![config] } else { Vec::new() },
            ..Default::default()
        };
        let mut topics = vec![topic];
        if pick(random, 10) == 0 {
            topics.push(topics[0].clone());
        }
        let validate_only = pick(random, 4) == 0;
        op(version, CreateTopicsRequest { topics, timeout_ms: 10_000, validate_only, ..Default::default() })
    }
}

fn config(random: &SeededRandom) -> (&'static str, Option<Str>) {
    one(
        random,
        &[
            ("retention.ms", Some("60000".into())),
            ("retention.ms", Some("soon".into())),
            ("retention.ms", None),
            ("cleanup.policy", Some("compact".into())),
            ("cleanup.policy", Some("delete,compact".into())),
            ("cleanup.policy", Some("burn".into())),
            ("max.message.bytes", Some("-1".into())),
            ("min.insync.replicas", Some("1".into())),
            ("compression.type", Some("lz4".into())),
            ("compression.type", Some("zip".into())),
            ("flush.messages", Some("0".into())),
            ("no.such.config", Some("1".into())),
            ("", Some("1".into())),
        ],
    )
}

/// A frame that is no request: cut short, of an unknown version, or of an unknown API.
fn garbage(random: &SeededRandom, key: ApiKey, version: i16) -> Op {
    let kind = pick(random, 3);
    let (code, version) = match kind {
        0 => (key.code(), 99),
        1 => (2000, 0),
        _ => (key.code(), version),
    };
    // What follows the header is cut short, or beyond the point.
    let mut body = [&code.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 9, 255, 255, 0]].concat();
    if kind == 2 {
        body.truncate(9);
    }
    let frame: Bytes = [&(body.len() as u32).to_be_bytes()[..], &body].concat().into();
    let words = format!("{code} version {version}, {} bytes of garbage", body.len());
    let answered_in = if key == ApiKey::ApiVersions && kind == 0 { 0 } else { version };
    Op { key, version: answered_in, words, frame: Box::new(move |_| frame.clone()) }
}

fn op<R: Request + 'static>(version: i16, request: R) -> Option<Op> {
    by_names(version, move |_| request.clone())
}

/// A request that each broker gets with its own ids; `None` where this version cannot say it.
fn by_names<R: Request + 'static>(version: i16, make: impl Fn(&Names) -> R + 'static) -> Option<Op> {
    let sample = make(&Names::default());
    let mut words = format!("{sample:?}");
    words.truncate(4000);
    encode_request(9, None, version, &sample).ok()?;
    let frame = move |names: &Names| {
        let frame = encode_request(9, None, version, &make(names)).expect("the sample could be encoded");
        frame.to_bytes()
    };
    Some(Op { key: R::KEY, version, words, frame: Box::new(frame) })
}
