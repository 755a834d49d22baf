//! The edges of everything that has a limit: each setting and each field of a request with zero, minus one, its least and
//! greatest values and those just beyond, names of every length. Only error codes are compared: what is taken is taken.

use std::collections::BTreeSet;

use model::TopicId;
use wire::create_topics::{CreatableTopic, CreatableTopicConfig};
use wire::describe_configs::DescribeConfigsResource;
use wire::*;

use crate::side::Side;

/// What numbers, and what is none, are tried as the value of every setting.
const VALUES: [&str; 34] = [
    "-9223372036854775809",
    "-9223372036854775808",
    "-2147483649",
    "-2147483648",
    "-32769",
    "-3",
    "-2",
    "-1",
    "0",
    "1",
    "2",
    "9",
    "10",
    "13",
    "14",
    "22",
    "23",
    "1023",
    "1024",
    "1048575",
    "1048576",
    "32767",
    "32768",
    "2147483647",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "0.5",
    "1.1",
    "-0.1",
    "true",
    "",
    " ",
    "x",
];

const NUMBERS: [i64; 9] = [i64::MIN, -7, -3, -2, -1, 0, 1, 5, i64::MAX];

const SMALL_NUMBERS: [i32; 7] = [i32::MIN, -2, -1, 0, 1, 2, i32::MAX];

/// Lengths of names.
const LENGTHS: [usize; 8] = [0, 1, 2, 248, 249, 250, 255, 32_767];

pub fn tell(side: &mut Side, seed: u64) -> anyhow::Result<Vec<String>> {
    let topic = format!("edges-{seed}");
    let group = format!("edges-{seed}-g");
    let mut edges = Edges { side, topic, group, lines: Vec::new() };
    edges.prepare()?;
    edges.configs()?;
    edges.topics()?;
    edges.names()?;
    edges.offsets()?;
    edges.groups()?;
    edges.producers()?;
    Ok(edges.lines)
}

struct Edges<'a> {
    side: &'a mut Side,
    topic: String,
    group: String,
    lines: Vec<String>,
}

impl Edges<'_> {
    fn prepare(&mut self) -> anyhow::Result<()> {
        let topic = CreatableTopic {
            name: self.topic.as_str().into(),
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        self.side.call(5, &request)?;
        let topics = [(self.topic.clone(), TopicId([1; 16]))];
        self.side.until("the topic", |side| {
            let known = side.learn(&topics)?;
            Ok(!known.is_empty() && side.leads(&known)?)
        })?;
        let request = FindCoordinatorRequest {
            coordinator_keys: vec![self.group.as_str().into()],
            ..Default::default()
        };
        self.side.until("a coordinator", |side| {
            Ok(side.call(4, &request)?.coordinators.iter().all(|coordinator| coordinator.error_code == 0))
        })
    }

    /// Asks, and writes down the error codes of the answer.
    fn ask<R: Request>(
        &mut self,
        what: impl std::fmt::Display,
        version: i16,
        request: &R,
    ) -> anyhow::Result<()> {
        let told = match self.side.attempt(version, request)? {
            None => "closed".to_string(),
            Some(answer) => {
                let mut codes = Vec::new();
                answer.error_codes(&mut |code| codes.push(code));
                format!("{codes:?}")
            }
        };
        self.lines.push(format!("{} {what}: {told}", R::NAME));
        Ok(())
    }

    /// Every numeric setting of topics, brokers and groups.
    fn configs(&mut self) -> anyhow::Result<()> {
        use wire::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
        for (resource_type, resource) in
            [(2, self.topic.clone()), (4, String::new()), (32, self.group.clone())]
        {
            for name in names_of(resource_type) {
                for value in VALUES {
                    let config = AlterableConfig {
                        name: (*name).into(),
                        value: Some(value.into()),
                        ..Default::default()
                    };
                    let changed = AlterConfigsResource {
                        resource_type,
                        resource_name: resource.as_str().into(),
                        configs: vec![config],
                        ..Default::default()
                    };
                    let request = IncrementalAlterConfigsRequest {
                        resources: vec![changed],
                        validate_only: true,
                        ..Default::default()
                    };
                    self.ask(format!("{resource_type} {name}={value:?}"), 1, &request)?;
                }
            }
        }
        Ok(())
    }

    fn topics(&mut self) -> anyhow::Result<()> {
        let create = |name: String, num_partitions, replication_factor, configs| CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: name.into(),
                num_partitions,
                replication_factor,
                configs,
                ..Default::default()
            }],
            timeout_ms: 10_000,
            validate_only: true,
            ..Default::default()
        };
        for partitions in SMALL_NUMBERS.into_iter().chain([10_000, 10_001]) {
            self.ask(
                format!("{partitions} partitions"),
                5,
                &create("edges-new".into(), partitions, 1, vec![]),
            )?;
        }
        for replicas in [i16::MIN, -2, -1, 0, 1] {
            self.ask(format!("{replicas} replicas"), 5, &create("edges-new".into(), 1, replicas, vec![]))?;
        }
        for length in LENGTHS {
            self.ask(format!("name of {length}"), 5, &create("t".repeat(length), 1, 1, vec![]))?;
            let name = "é".repeat(length.min(200));
            self.ask(format!("name of {} é", name.chars().count()), 5, &create(name, 1, 1, vec![]))?;
        }
        let null = CreatableTopicConfig { name: "retention.ms".into(), value: None, ..Default::default() };
        self.ask("a config without a value", 5, &create("edges-new".into(), 1, 1, vec![null]))?;
        for count in SMALL_NUMBERS.into_iter().chain([10_000, 10_001]) {
            let topic = create_partitions::CreatePartitionsTopic {
                name: self.topic.as_str().into(),
                count,
                ..Default::default()
            };
            let request = CreatePartitionsRequest {
                topics: vec![topic],
                timeout_ms: 10_000,
                validate_only: true,
                ..Default::default()
            };
            self.ask(format!("{count} partitions"), 2, &request)?;
        }
        Ok(())
    }

    fn names(&mut self) -> anyhow::Result<()> {
        for length in LENGTHS {
            let name = "n".repeat(length);
            let topic =
                metadata::MetadataRequestTopic { name: Some(name.as_str().into()), ..Default::default() };
            let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
            self.ask(format!("name of {length}"), 9, &request)?;
            let resource = DescribeConfigsResource {
                resource_type: 2,
                resource_name: name.as_str().into(),
                ..Default::default()
            };
            let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
            self.ask(format!("name of {length}"), 4, &request)?;
            let request =
                FindCoordinatorRequest { coordinator_keys: vec![name.as_str().into()], ..Default::default() };
            self.ask(format!("key of {length}"), 4, &request)?;
            let request =
                DeleteGroupsRequest { groups_names: vec![name.as_str().into()], ..Default::default() };
            self.ask(format!("name of {length}"), 2, &request)?;
        }
        Ok(())
    }

    fn offsets(&mut self) -> anyhow::Result<()> {
        use wire::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
        use wire::fetch::{FetchPartition, FetchTopic};
        use wire::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
        let name = || -> Str { self.topic.as_str().into() };
        let mut asks: Vec<(String, i16, AnyOf)> = Vec::new();
        for number in NUMBERS {
            let partition = ListOffsetsPartition { timestamp: number, ..Default::default() };
            let topic = ListOffsetsTopic { name: name(), partitions: vec![partition], ..Default::default() };
            let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
            asks.push((format!("timestamp {number}"), 7, AnyOf::ListOffsets(request)));
            let partition = DeleteRecordsPartition { offset: number, ..Default::default() };
            let topic =
                DeleteRecordsTopic { name: name(), partitions: vec![partition], ..Default::default() };
            let request =
                DeleteRecordsRequest { topics: vec![topic], timeout_ms: 5000, ..Default::default() };
            asks.push((format!("offset {number}"), 2, AnyOf::DeleteRecords(request)));
        }
        let fetch = |change: &dyn Fn(&mut FetchRequest)| {
            let partition = FetchPartition {
                partition_max_bytes: 1 << 20,
                current_leader_epoch: -1,
                ..Default::default()
            };
            let topic = FetchTopic { topic: name(), partitions: vec![partition], ..Default::default() };
            let mut request = FetchRequest {
                max_bytes: 1 << 20,
                session_epoch: -1,
                topics: vec![topic],
                ..Default::default()
            };
            change(&mut request);
            request
        };
        for number in NUMBERS {
            let request = fetch(&|request| request.topics[0].partitions[0].fetch_offset = number);
            asks.push((format!("offset {number}"), 12, AnyOf::Fetch(request)));
        }
        for number in SMALL_NUMBERS {
            for (what, set) in [
                ("max_bytes", (|request, to| request.max_bytes = to) as fn(&mut FetchRequest, i32)),
                ("partition_max_bytes", |request, to| {
                    request.topics[0].partitions[0].partition_max_bytes = to
                }),
                ("current_leader_epoch", |request, to| {
                    request.topics[0].partitions[0].current_leader_epoch = to
                }),
                ("partition", |request, to| request.topics[0].partitions[0].partition = to),
                ("session_id", |request, to| request.session_id = to),
                ("session_epoch", |request, to| request.session_epoch = to),
            ] {
                let request = fetch(&|request| set(request, number));
                asks.push((format!("{what} {number}"), 12, AnyOf::Fetch(request)));
            }
            let no_wait = number.min(1);
            let request = fetch(&|request| request.max_wait_ms = no_wait);
            asks.push((format!("max_wait_ms {no_wait}"), 12, AnyOf::Fetch(request)));
            let request = fetch(&|request| request.min_bytes = number);
            asks.push((format!("min_bytes {number}"), 12, AnyOf::Fetch(request)));
        }
        for (what, version, request) in asks {
            match request {
                AnyOf::ListOffsets(request) => self.ask(what, version, &request)?,
                AnyOf::DeleteRecords(request) => self.ask(what, version, &request)?,
                AnyOf::Fetch(request) => self.ask(what, version, &request)?,
            }
        }
        Ok(())
    }

    fn groups(&mut self) -> anyhow::Result<()> {
        use wire::join_group::JoinGroupRequestProtocol;
        use wire::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
        let topic = self.topic.clone();
        let commit = |group: &str, offset, epoch, metadata: Option<String>| {
            let partition = OffsetCommitRequestPartition {
                committed_offset: offset,
                committed_leader_epoch: epoch,
                committed_metadata: metadata.map(Into::into),
                ..Default::default()
            };
            let topic = OffsetCommitRequestTopic {
                name: topic.as_str().into(),
                partitions: vec![partition],
                ..Default::default()
            };
            OffsetCommitRequest {
                group_id: group.into(),
                generation_id_or_member_epoch: -1,
                topics: vec![topic],
                ..Default::default()
            }
        };
        let group = self.group.clone();
        for offset in NUMBERS {
            self.ask(format!("offset {offset}"), 8, &commit(&group, offset, -1, None))?;
        }
        for epoch in SMALL_NUMBERS {
            self.ask(format!("leader epoch {epoch}"), 8, &commit(&group, 1, epoch, None))?;
        }
        for (letter, count) in [
            ("", 0),
            ("x", 1),
            ("x", 4096),
            ("x", 4097),
            ("é", 4096),
            ("é", 4097),
            ("漢", 4096),
            ("😀", 2048),
            ("😀", 2049),
        ] {
            let request = commit(&group, 1, -1, Some(letter.repeat(count)));
            self.ask(format!("metadata of {count} {letter}"), 8, &request)?;
        }
        for length in LENGTHS {
            // Its coordinator may have to be found first: any code but that is told.
            let name = "g".repeat(length);
            self.ask(format!("group of {length}"), 8, &commit(&name, 1, -1, None))?;
            let protocol = JoinGroupRequestProtocol { name: "range".into(), ..Default::default() };
            let request = JoinGroupRequest {
                group_id: name.as_str().into(),
                session_timeout_ms: 10_000,
                rebalance_timeout_ms: 10_000,
                protocol_type: "consumer".into(),
                protocols: vec![protocol],
                ..Default::default()
            };
            self.ask(format!("group of {length}"), 5, &request)?;
            let heartbeat = ConsumerGroupHeartbeatRequest {
                group_id: group.as_str().into(),
                member_id: name.as_str().into(),
                member_epoch: 3,
                ..Default::default()
            };
            self.ask(format!("member id of {length}"), 1, &heartbeat)?;
        }
        for timeout in SMALL_NUMBERS.into_iter().chain([999, 1000, 1_800_000, 1_800_001]) {
            let request = JoinGroupRequest {
                group_id: group.as_str().into(),
                session_timeout_ms: timeout,
                rebalance_timeout_ms: 10_000,
                member_id: "nobody".into(),
                protocol_type: "consumer".into(),
                protocols: vec![JoinGroupRequestProtocol { name: "range".into(), ..Default::default() }],
                ..Default::default()
            };
            self.ask(format!("session timeout {timeout}"), 5, &request)?;
        }
        for epoch in SMALL_NUMBERS {
            let heartbeat = ConsumerGroupHeartbeatRequest {
                group_id: format!("{group}-new").into(),
                member_id: "nobody".into(),
                member_epoch: epoch,
                ..Default::default()
            };
            self.ask(format!("member epoch {epoch}"), 1, &heartbeat)?;
        }
        Ok(())
    }

    fn producers(&mut self) -> anyhow::Result<()> {
        for timeout in SMALL_NUMBERS {
            let request = InitProducerIdRequest {
                transactional_id: Some("".into()),
                transaction_timeout_ms: timeout,
                producer_id: -1,
                producer_epoch: -1,
                ..Default::default()
            };
            self.ask(format!("no name, timeout {timeout}"), 4, &request)?;
            let request = InitProducerIdRequest { transactional_id: None, ..request };
            self.ask(format!("timeout {timeout}"), 4, &request)?;
        }
        for headers in [-1, 0, 1, 2, 1000] {
            let data = wire::produce::PartitionProduceData {
                records: Some(with_headers(headers).into()),
                ..Default::default()
            };
            let data = wire::produce::TopicProduceData {
                name: self.topic.as_str().into(),
                partition_data: vec![data],
                ..Default::default()
            };
            let request =
                ProduceRequest { acks: -1, timeout_ms: 5000, topic_data: vec![data], ..Default::default() };
            self.ask(format!("{headers} headers"), 9, &request)?;
        }
        Ok(())
    }
}

enum AnyOf {
    ListOffsets(ListOffsetsRequest),
    DeleteRecords(DeleteRecordsRequest),
    Fetch(FetchRequest),
}

/// A batch of one record that says to have so many headers, and has them if it can.
fn with_headers(count: i32) -> bytes::Bytes {
    use model::batch::{BatchBuilder, HEADER_BYTES, NewRecord, seal};
    let header: (&[u8], Option<&[u8]>) = (b"h", None);
    let headers = vec![header; count.max(0) as usize];
    let mut builder = BatchBuilder::new(model::compression::Compression::None);
    builder.push(NewRecord {
        timestamp: model::Timestamp(1_700_000_000_000),
        key: None,
        value: None,
        headers: &headers,
    });
    let mut bytes = builder.build().into_bytes().to_vec();
    if count < 0 {
        // The last byte of a record without headers is their count: 1 is -1 in zigzag.
        let last = bytes.len() - 1;
        debug_assert!(last > HEADER_BYTES);
        bytes[last] = 1;
        seal(&mut bytes).expect("still a batch");
    }
    bytes.into()
}

/// The settings whose values are numbers and that both brokers have, by the kind of resource.
fn names_of(resource_type: i8) -> Vec<&'static str> {
    let is_number = |kind: &settings::Kind| {
        matches!(
            kind.config_type(),
            settings::ConfigType::Int
                | settings::ConfigType::Short
                | settings::ConfigType::Long
                | settings::ConfigType::Double
        )
    };
    let newer: BTreeSet<&str> = crate::accepted::NEWER_CONFIGS.into_iter().collect();
    let names: Vec<&'static str> = match resource_type {
        2 => settings::topic::table()
            .iter()
            .filter(|line| is_number(&line.setting.kind))
            .map(|line| line.setting.name)
            .collect(),
        32 => settings::group::table()
            .iter()
            .filter(|line| is_number(&line.setting.kind))
            .map(|line| line.setting.name)
            .collect(),
        _ => settings::broker::table()
            .iter()
            .filter(|setting| is_number(&setting.kind) && setting.update == settings::Update::Dynamic)
            .map(|setting| setting.name)
            .filter(|name| !name.starts_with("levada."))
            .collect(),
    };
    names.into_iter().filter(|name| !newer.contains(name)).collect()
}
