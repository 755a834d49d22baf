//! Every version of every API that the real binary offers, asked once over a socket: it answers, in that version, without
//! an error. Old clients use old versions; a field that the version does not have must not end their connection.
//!
//! `KAFKA_REFERENCE=host:port` (see scripts/kafka-reference) asks Apache Kafka instead, to check the questions.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use model::TopicId;
use model::batch::{BatchBuilder, NewRecord};
use model::compression::Compression;
use wire::*;

const TOPIC: &str = "every-version";
const GROUP: &str = "every-version";
/// The protocol's number for "this resource is a topic".
const TOPIC_RESOURCE: i8 = 2;

/// The binary under test; ends with the test.
struct Levada {
    child: Option<Child>,
    address: String,
    _data: Option<tempfile::TempDir>,
}

impl Levada {
    fn start() -> Levada {
        if let Ok(address) = std::env::var("KAFKA_REFERENCE") {
            return Levada { child: None, address, _data: None };
        }
        let data = tempfile::tempdir().expect("a folder");
        let mut child = Command::new(env!("CARGO_BIN_EXE_levada"))
            .args(["--kafka-addr", "127.0.0.1:0", "--http-addr", "", "--log-format", "json", "--data-dir"])
            .arg(data.path())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut log = BufReader::new(child.stderr.take().expect("its standard error"));
        let address = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).expect("a log line") > 0, "it ended while starting");
            let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            if line["message"] == "ready" {
                break line["kafka"].as_str().expect("the Kafka address").to_owned();
            }
        };
        // Its further lines are read, so that it never waits for us.
        let drain = move || drop(std::io::copy(&mut log, &mut std::io::sink()));
        env::spawn_thread("log".to_owned(), drain).expect("a thread");
        Levada { child: Some(child), address, _data: Some(data) }
    }
}

impl Drop for Levada {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

struct Asker {
    address: String,
    stream: TcpStream,
    correlation_id: i32,
    offered: BTreeMap<i16, Versions>,
    /// APIs that have been asked in all of their versions.
    asked: Vec<i16>,
    failures: Vec<String>,
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).expect("a timeout");
    stream
}

impl Asker {
    fn new(address: &str) -> Asker {
        let mut asker = Asker {
            address: address.to_owned(),
            stream: connect(address),
            correlation_id: 0,
            offered: BTreeMap::new(),
            asked: Vec::new(),
            failures: Vec::new(),
        };
        let answer = asker.ask(0, &ApiVersionsRequest::default()).expect("ApiVersions");
        asker.offered = (answer.api_keys.iter())
            .map(|api| (api.api_key, Versions { min: api.min_version, max: api.max_version }))
            .collect();
        asker
    }

    fn ask<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response, String> {
        self.correlation_id += 1;
        let frame =
            encode_request(self.correlation_id, Some("test"), version, request).expect("the question fits");
        let body = self.exchange(&frame.to_bytes()).map_err(|why| format!("no answer: {why}"))?;
        let (_, mut reader) = decode_response_header(R::KEY, version, body).map_err(|why| why.to_string())?;
        let answer = R::Response::decode(&mut reader, version).map_err(|why| why.to_string())?;
        match reader.remaining() {
            0 => Ok(answer),
            more => Err(format!("{more} bytes follow the answer")),
        }
    }

    /// Asks again while a coordinator is only being set up, which the first question for it may begin.
    fn ask_until_there<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response, String> {
        let setting_up = [
            ErrorCode::CoordinatorLoadInProgress,
            ErrorCode::CoordinatorNotAvailable,
            ErrorCode::NotCoordinator,
        ];
        let setting_up = setting_up.map(ErrorCode::code);
        for _ in 0..10_000 {
            let answer = self.ask(version, request)?;
            if !error_codes(&answer).any(|code| setting_up.contains(&code)) {
                return Ok(answer);
            }
        }
        Err("the coordinator is never there".to_owned())
    }

    fn exchange(&mut self, frame: &[u8]) -> std::io::Result<Bytes> {
        self.stream.write_all(frame)?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut body = vec![0; i32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut body)?;
        Ok(body.into())
    }

    /// Asks in every version that both sides speak; no answer may hold an error code.
    fn sweep<R: Request>(&mut self, request: impl Fn(i16) -> R) {
        self.sweep_for(|_| 0, request);
    }

    /// The same where the answer is a refusal with this code; 0: none.
    fn sweep_for<R: Request>(&mut self, refusal: impl Fn(i16) -> i16, request: impl Fn(i16) -> R) {
        self.asked.push(R::KEY.code());
        let Some(theirs) = self.offered.get(&R::KEY.code()).copied() else { return };
        let ours = R::KEY.stable_versions();
        for version in theirs.min.max(ours.min)..=theirs.max.min(ours.max) {
            let failure = match self.ask_until_there(version, &request(version)) {
                Ok(answer) => {
                    let codes: Vec<i16> = error_codes(&answer).filter(|code| *code != 0).collect();
                    let expected = refusal(version);
                    let is_right =
                        codes.iter().all(|code| *code == expected) && codes.is_empty() == (expected == 0);
                    (!is_right).then(|| format!("{answer:?}"))
                }
                Err(why) => {
                    self.stream = connect(&self.address);
                    Some(why)
                }
            };
            self.failures.extend(failure.map(|why| format!("{} version {version}: {why}", R::NAME)));
        }
    }
}

/// All error codes in an answer, wherever they stand.
fn error_codes(answer: &impl std::fmt::Debug) -> impl Iterator<Item = i16> {
    let shown = format!("{answer:?}");
    let codes: Vec<i16> = (shown.split("error_code: ").skip(1))
        .filter_map(|rest| rest.split([',', ' ']).next()?.parse().ok())
        .collect();
    codes.into_iter()
}

fn a_batch() -> Bytes {
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_millis() as i64;
    let mut batch = BatchBuilder::new(Compression::None);
    batch.push(NewRecord {
        timestamp: model::Timestamp(now),
        key: Some(b"k"),
        value: Some(b"v"),
        headers: &[],
    });
    batch.build().into_bytes()
}

fn create(name: &str) -> CreateTopicsRequest {
    let topic = create_topics::CreatableTopic {
        name: name.into(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() }
}

/// A list of one, or the empty list.
fn only<T>(there: bool, value: T) -> Vec<T> {
    if there { vec![value] } else { Vec::new() }
}

#[test]
fn every_version_of_every_api_is_answered() {
    let levada = Levada::start();
    let mut asker = Asker::new(&levada.address);
    topics(&mut asker);
    let topic_id = topic_id(&mut asker);
    records(&mut asker, topic_id);
    offsets(&mut asker, topic_id);
    settings_and_cluster(&mut asker);
    assert!(asker.failures.is_empty(), "{}", asker.failures.join("\n"));

    if levada.child.is_some() {
        let left: Vec<i16> = asker.offered.keys().filter(|key| !asker.asked.contains(key)).copied().collect();
        assert!(left.is_empty(), "offered, and not asked here yet: API keys {left:?}");
    }
}

fn topics(asker: &mut Asker) {
    asker.sweep(|_| ApiVersionsRequest {
        client_software_name: "test".into(),
        client_software_version: "1".into(),
        ..Default::default()
    });
    asker.sweep(|version| create(&format!("{TOPIC}-{version}")));
    asker.ask(2, &create(&format!("{TOPIC}-1"))).expect("a topic for version 1 of DeleteTopics");
    asker.sweep(|version| {
        let name = Str::from(format!("{TOPIC}-{version}"));
        DeleteTopicsRequest {
            topics: only(
                version >= 6,
                delete_topics::DeleteTopicState { name: Some(name.clone()), ..Default::default() },
            ),
            topic_names: only(version < 6, name),
            timeout_ms: 10_000,
            ..Default::default()
        }
    });
}

/// Creates the topic and waits until it can be seen.
fn topic_id(asker: &mut Asker) -> TopicId {
    asker.ask(7, &create(TOPIC)).expect("CreateTopics");
    let all = MetadataRequest { topics: None, ..Default::default() };
    loop {
        let answer = asker.ask(12, &all).expect("Metadata");
        if let Some(topic) = answer.topics.iter().find(|topic| topic.name.as_deref() == Some(TOPIC)) {
            return topic.topic_id;
        }
    }
}

fn records(asker: &mut Asker, topic_id: TopicId) {
    asker.sweep(|version| {
        let topic = metadata::MetadataRequestTopic { name: Some(TOPIC.into()), ..Default::default() };
        MetadataRequest {
            topics: Some(vec![topic]),
            include_topic_authorized_operations: version >= 8,
            ..Default::default()
        }
    });
    asker.sweep(|_| ProduceRequest {
        acks: -1,
        timeout_ms: 10_000,
        topic_data: vec![produce::TopicProduceData {
            name: TOPIC.into(),
            topic_id,
            partition_data: vec![produce::PartitionProduceData {
                records: Some(a_batch().into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    });
    asker.sweep(|_| FetchRequest {
        max_wait_ms: 100,
        max_bytes: 1 << 20,
        topics: vec![fetch::FetchTopic {
            topic: TOPIC.into(),
            topic_id,
            partitions: vec![fetch::FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() }],
            ..Default::default()
        }],
        ..Default::default()
    });
    for timestamp in [-1, -2, 0] {
        asker.sweep(|_| ListOffsetsRequest {
            replica_id: -1,
            topics: vec![list_offsets::ListOffsetsTopic {
                name: TOPIC.into(),
                partitions: vec![list_offsets::ListOffsetsPartition { timestamp, ..Default::default() }],
                ..Default::default()
            }],
            ..Default::default()
        });
    }
    asker.sweep(|_| OffsetForLeaderEpochRequest {
        replica_id: -1,
        topics: vec![offset_for_leader_epoch::OffsetForLeaderTopic {
            topic: TOPIC.into(),
            partitions: vec![Default::default()],
            ..Default::default()
        }],
        ..Default::default()
    });
    asker.sweep(|_| DeleteRecordsRequest {
        topics: vec![delete_records::DeleteRecordsTopic {
            name: TOPIC.into(),
            partitions: vec![delete_records::DeleteRecordsPartition { offset: 1, ..Default::default() }],
            ..Default::default()
        }],
        timeout_ms: 10_000,
        ..Default::default()
    });
    asker.sweep(|_| InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: 60_000,
        ..Default::default()
    });
    asker.sweep(|_| DescribeProducersRequest {
        topics: vec![describe_producers::TopicRequest {
            name: TOPIC.into(),
            partition_indexes: vec![0],
            ..Default::default()
        }],
        ..Default::default()
    });
}

fn offsets(asker: &mut Asker, topic_id: TopicId) {
    asker.sweep(|version| FindCoordinatorRequest {
        key: if version < 4 { GROUP.into() } else { Str::default() },
        coordinator_keys: only(version >= 4, GROUP.into()),
        ..Default::default()
    });
    asker.sweep(|_| OffsetCommitRequest {
        group_id: GROUP.into(),
        topics: vec![offset_commit::OffsetCommitRequestTopic {
            name: TOPIC.into(),
            topic_id,
            partitions: vec![offset_commit::OffsetCommitRequestPartition {
                committed_offset: 1,
                committed_metadata: Some("m".into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    });
    asker.sweep(|version| OffsetFetchRequest {
        group_id: if version < 8 { GROUP.into() } else { Str::default() },
        topics: match version {
            ..8 => Some(vec![offset_fetch::OffsetFetchRequestTopic {
                name: TOPIC.into(),
                partition_indexes: vec![0],
                ..Default::default()
            }]),
            _ => OffsetFetchRequest::default().topics,
        },
        groups: only(
            version >= 8,
            offset_fetch::OffsetFetchRequestGroup {
                group_id: GROUP.into(),
                topics: Some(vec![offset_fetch::OffsetFetchRequestTopics {
                    name: TOPIC.into(),
                    topic_id,
                    partition_indexes: vec![0],
                    ..Default::default()
                }]),
                ..Default::default()
            },
        ),
        ..Default::default()
    });
    asker.sweep(|_| OffsetDeleteRequest {
        group_id: GROUP.into(),
        topics: vec![offset_delete::OffsetDeleteRequestTopic {
            name: TOPIC.into(),
            partitions: vec![Default::default()],
            ..Default::default()
        }],
        ..Default::default()
    });
}

fn settings_and_cluster(asker: &mut Asker) {
    asker.sweep(|version| DescribeConfigsRequest {
        resources: vec![describe_configs::DescribeConfigsResource {
            resource_type: TOPIC_RESOURCE,
            resource_name: TOPIC.into(),
            configuration_keys: None,
            ..Default::default()
        }],
        include_synonyms: true,
        include_documentation: version >= 3,
        ..Default::default()
    });
    asker.sweep(|_| AlterConfigsRequest {
        resources: vec![alter_configs::AlterConfigsResource {
            resource_type: TOPIC_RESOURCE,
            resource_name: TOPIC.into(),
            configs: vec![alter_configs::AlterableConfig {
                name: "retention.ms".into(),
                value: Some("1000000".into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    });
    asker.sweep(|_| IncrementalAlterConfigsRequest {
        resources: vec![incremental_alter_configs::AlterConfigsResource {
            resource_type: TOPIC_RESOURCE,
            resource_name: TOPIC.into(),
            configs: vec![incremental_alter_configs::AlterableConfig {
                name: "retention.ms".into(),
                value: Some("2000000".into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    });
    asker.sweep(|version| CreatePartitionsRequest {
        topics: vec![create_partitions::CreatePartitionsTopic {
            name: TOPIC.into(),
            count: i32::from(version) + 2,
            assignments: None,
            ..Default::default()
        }],
        timeout_ms: 10_000,
        ..Default::default()
    });
    asker.sweep(|_| DescribeLogDirsRequest { topics: None, ..Default::default() });
    const MEMBER_ID_REQUIRED: i16 = 79;
    const UNKNOWN_MEMBER_ID: i16 = 25;
    const INCONSISTENT_GROUP_PROTOCOL: i16 = 23;
    const GROUP_ID_NOT_FOUND: i16 = 69;
    const INVALID_REQUEST: i16 = 42;
    const SECURITY_DISABLED: i16 = 54;
    asker.sweep_for(
        |version| if version < 4 { 0 } else { MEMBER_ID_REQUIRED },
        |version| JoinGroupRequest {
            group_id: format!("{GROUP}-{version}").into(),
            protocol_type: "consumer".into(),
            protocols: vec![join_group::JoinGroupRequestProtocol {
                name: "range".into(),
                ..Default::default()
            }],
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: if version < 1 { -1 } else { 10_000 },
            ..Default::default()
        },
    );
    asker.sweep_for(
        |version| if version < 5 { UNKNOWN_MEMBER_ID } else { INCONSISTENT_GROUP_PROTOCOL },
        |_| SyncGroupRequest { group_id: GROUP.into(), ..Default::default() },
    );
    asker.sweep_for(
        |_| UNKNOWN_MEMBER_ID,
        |_| HeartbeatRequest { group_id: GROUP.into(), ..Default::default() },
    );
    asker.sweep_for(
        |_| UNKNOWN_MEMBER_ID,
        |version| LeaveGroupRequest {
            group_id: GROUP.into(),
            member_id: if version < 3 { "nobody".into() } else { Str::default() },
            members: only(
                version >= 3,
                leave_group::MemberIdentity { member_id: "nobody".into(), ..Default::default() },
            ),
            ..Default::default()
        },
    );
    asker.sweep_for(
        |version| if version < 6 { 0 } else { GROUP_ID_NOT_FOUND },
        |_| DescribeGroupsRequest { groups: vec!["nobody".into()], ..Default::default() },
    );
    asker.sweep(|_| ListGroupsRequest::default());
    asker.sweep_for(
        |_| GROUP_ID_NOT_FOUND,
        |_| DeleteGroupsRequest { groups_names: vec!["nobody".into()], ..Default::default() },
    );
    asker.sweep_for(
        |_| INVALID_REQUEST,
        |_| ConsumerGroupHeartbeatRequest { group_id: GROUP.into(), ..Default::default() },
    );
    asker.sweep_for(
        |_| GROUP_ID_NOT_FOUND,
        |_| ConsumerGroupDescribeRequest { group_ids: vec!["nobody".into()], ..Default::default() },
    );
    asker.sweep_for(|_| SECURITY_DISABLED, |_| DescribeAclsRequest::default());
    asker.sweep_for(
        |_| SECURITY_DISABLED,
        |_| CreateAclsRequest { creations: vec![Default::default()], ..Default::default() },
    );
    asker.sweep_for(
        |_| SECURITY_DISABLED,
        |_| DeleteAclsRequest { filters: vec![Default::default()], ..Default::default() },
    );
    asker.sweep(|_| AlterReplicaLogDirsRequest::default());
    asker.sweep(|_| ElectLeadersRequest { topic_partitions: None, ..Default::default() });
    asker.sweep(|_| AlterPartitionReassignmentsRequest::default());
    asker.sweep(|_| ListPartitionReassignmentsRequest::default());
    asker.sweep(|_| DescribeQuorumRequest::default());
    asker.sweep(|_| UpdateFeaturesRequest::default());
    asker.sweep(|_| DescribeClusterRequest::default());
    asker.sweep(|_| ListConfigResourcesRequest::default());
    asker.sweep(|_| DescribeClientQuotasRequest::default());
    asker.sweep(|_| DescribeUserScramCredentialsRequest::default());
    asker.sweep(|_| ListTransactionsRequest::default());
    let no_sasl = ErrorCode::IllegalSaslState.code();
    asker
        .sweep_for(|_| no_sasl, |_| SaslHandshakeRequest { mechanism: "PLAIN".into(), ..Default::default() });
    asker.sweep_for(|_| no_sasl, |_| SaslAuthenticateRequest::default());
    asker.sweep(|_| DescribeTopicPartitionsRequest {
        topics: vec![describe_topic_partitions::TopicRequest { name: TOPIC.into(), ..Default::default() }],
        response_partition_limit: 10,
        ..Default::default()
    });
}
