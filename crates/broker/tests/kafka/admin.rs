use model::TopicId;
use wire::create_partitions::CreatePartitionsTopic;
use wire::create_topics::CreatableTopic;
use wire::describe_configs::DescribeConfigsResource;
use wire::describe_topic_partitions::{RequestCursor, TopicRequest};
use wire::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use wire::metadata::MetadataRequestTopic;
use wire::*;

use crate::harness::*;

fn metadata(name: &str) -> MetadataRequest {
    let topic = MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
    MetadataRequest { topics: Some(vec![topic]), ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn kafka_1_an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let server = Server::start().await;
    let mut client = server.connect();
    // Key 18, version 99, correlation id 5, no client id; then what we cannot know.
    send_frame(&mut client, &[0, 18, 0, 99, 0, 0, 0, 5, 255, 255, 0, 1, 2]).await;
    let frame = client.frame().await.unwrap();
    let (correlation_id, mut body) = decode_response_header(ApiKey::ApiVersions, 0, frame).unwrap();
    let answer = ApiVersionsResponse::decode(&mut body, 0).unwrap();
    assert_eq!((correlation_id, error(answer.error_code)), (5, ErrorCode::UnsupportedVersion));
    assert!(answer.api_keys.iter().any(|api| api.api_key == 18 && api.max_version == 5));
    // The connection goes on.
    assert_eq!(client.ask(4, &api_versions()).await.error_code, 0);
}

#[tokio::test(start_paused = true)]
async fn kafka_16_client_software_and_cluster_are_checked() {
    let server = Server::start().await;
    let mut client = server.connect();
    let odd = ApiVersionsRequest { client_software_name: "no spaces".into(), ..api_versions() };
    assert_eq!(error(client.ask(3, &odd).await.error_code), ErrorCode::InvalidRequest);
    let elsewhere = ApiVersionsRequest { cluster_id: Some("other".into()), ..api_versions() };
    assert_eq!(error(client.ask(5, &elsewhere).await.error_code), ErrorCode::RebootstrapRequired);
    let here = ApiVersionsRequest {
        cluster_id: Some(server.broker.cluster_id().into()),
        node_id: 0,
        ..api_versions()
    };
    assert_eq!(client.ask(5, &here).await.error_code, 0);
    let other_node = ApiVersionsRequest { node_id: 1, ..here };
    assert_eq!(error(client.ask(5, &other_node).await.error_code), ErrorCode::RebootstrapRequired);
}

#[tokio::test(start_paused = true)]
async fn features_with_lowest_level_0_are_not_listed_below_version_4_and_the_epoch_is_there() {
    let server = Server::start().await;
    let mut client = server.connect();
    for version in [3, 4, 5] {
        let answer = client.ask(version, &api_versions()).await;
        assert!(answer.finalized_features_epoch >= 0);
        assert!(version >= 4 || answer.supported_features.iter().all(|feature| feature.min_version > 0));
    }
}

#[tokio::test(start_paused = true)]
async fn every_listed_api_and_version_is_answered() {
    let server = Server::start().await;
    let mut client = server.connect();
    let answer = client.ask(4, &api_versions()).await;
    assert!(answer.api_keys.iter().all(|api| ![27, 71, 72].contains(&api.api_key)), "not ours to serve");
    for api in &answer.api_keys {
        let key = ApiKey::try_from(api.api_key).unwrap();
        let lowest = if key == ApiKey::Produce { 3 } else { api.min_version };
        for version in lowest..=api.max_version {
            let mut client = server.connect();
            send_frame(&mut client, &default_request(key, version)[4..]).await;
            if key == ApiKey::Produce {
                // By default acks are 0, which has no answer.
                continue;
            }
            let frame = client.frame().await.unwrap_or_else(|| panic!("{} {version} is closed", key.name()));
            let (correlation_id, mut body) = decode_response_header(key, version, frame).unwrap();
            assert_eq!(correlation_id, 7);
            AnyResponse::decode(key, version, &mut body).unwrap();
            assert_eq!(body.remaining(), 0, "{} {version}", key.name());
        }
    }
}

/// The frame of a request in which every field has its default.
fn default_request(key: ApiKey, version: i16) -> bytes::Bytes {
    macro_rules! of {
        ($($api:ident: $request:ident),* $(,)?) => {
            match key {
                $(ApiKey::$api => encode_request(7, None, version, &$request::default()).unwrap().to_bytes(),)*
                _ => panic!("{} is listed but not tried here", key.name()),
            }
        };
    }
    of! {
        Produce: ProduceRequest, Fetch: FetchRequest, ListOffsets: ListOffsetsRequest, Metadata: MetadataRequest,
        OffsetCommit: OffsetCommitRequest, OffsetFetch: OffsetFetchRequest,
        FindCoordinator: FindCoordinatorRequest, ApiVersions: ApiVersionsRequest,
        CreateTopics: CreateTopicsRequest, DeleteTopics: DeleteTopicsRequest,
        DeleteRecords: DeleteRecordsRequest, InitProducerId: InitProducerIdRequest,
        OffsetForLeaderEpoch: OffsetForLeaderEpochRequest, DescribeConfigs: DescribeConfigsRequest,
        AlterConfigs: AlterConfigsRequest, DescribeLogDirs: DescribeLogDirsRequest,
        CreatePartitions: CreatePartitionsRequest, IncrementalAlterConfigs: IncrementalAlterConfigsRequest,
        JoinGroup: JoinGroupRequest, SyncGroup: SyncGroupRequest, Heartbeat: HeartbeatRequest,
        LeaveGroup: LeaveGroupRequest, DescribeGroups: DescribeGroupsRequest, ListGroups: ListGroupsRequest,
        ConsumerGroupHeartbeat: ConsumerGroupHeartbeatRequest,
        ConsumerGroupDescribe: ConsumerGroupDescribeRequest, DeleteGroups: DeleteGroupsRequest, DescribeAcls: DescribeAclsRequest, CreateAcls: CreateAclsRequest, DeleteAcls: DeleteAclsRequest,
        AlterReplicaLogDirs: AlterReplicaLogDirsRequest, ElectLeaders: ElectLeadersRequest,
        AlterPartitionReassignments: AlterPartitionReassignmentsRequest,
        ListPartitionReassignments: ListPartitionReassignmentsRequest,
        DescribeQuorum: DescribeQuorumRequest, UpdateFeatures: UpdateFeaturesRequest,
        OffsetDelete: OffsetDeleteRequest, DescribeCluster: DescribeClusterRequest,
        DescribeProducers: DescribeProducersRequest, ListConfigResources: ListConfigResourcesRequest,
        DescribeTopicPartitions: DescribeTopicPartitionsRequest, SaslHandshake: SaslHandshakeRequest,
        SaslAuthenticate: SaslAuthenticateRequest, DescribeClientQuotas: DescribeClientQuotasRequest,
        DescribeUserScramCredentials: DescribeUserScramCredentialsRequest,
        ListTransactions: ListTransactionsRequest,
    }
}

#[tokio::test(start_paused = true)]
async fn kafka_3_configs_are_described_whole_and_changed_one_by_one() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[("cleanup.policy", "compact")]).await;
    let resource = |resource_type, name: &str| DescribeConfigsResource {
        resource_type,
        resource_name: name.into(),
        configuration_keys: None,
        ..Default::default()
    };
    let describe = |resource| DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: true,
        include_documentation: true,
        ..Default::default()
    };
    let answer = client.ask(4, &describe(resource(2, "t"))).await;
    let config = |name: &str| answer.results[0].configs.iter().find(|config| config.name == name).unwrap();
    let policy = config("cleanup.policy");
    assert_eq!((policy.value.as_deref(), policy.config_source, policy.config_type), (Some("compact"), 1, 7));
    assert_eq!(config("retention.ms").value.as_deref(), Some("604800000"));
    assert_eq!((config("retention.ms").config_source, config("retention.ms").config_type), (5, 5));
    assert_eq!(config("retention.ms").synonyms.last().unwrap().name, "log.retention.hours");
    assert!(config("retention.ms").documentation.as_ref().is_some_and(|text| !text.is_empty()));

    for (name, expected) in [("0", ErrorCode::None), ("", ErrorCode::None), ("1", ErrorCode::InvalidRequest)]
    {
        let answer = client.ask(4, &describe(resource(4, name))).await;
        assert_eq!(error(answer.results[0].error_code), expected, "broker {name:?}");
    }
    assert_eq!(
        error(client.ask(4, &describe(resource(2, "nope"))).await.results[0].error_code),
        ErrorCode::UnknownTopicOrPartition
    );

    let mut alter = async |operation: i8, name: &str, value: Option<&str>| {
        let config = AlterableConfig {
            name: name.into(),
            config_operation: operation,
            value: value.map(Into::into),
            ..Default::default()
        };
        let resource = AlterConfigsResource {
            resource_type: 2,
            resource_name: "t".into(),
            configs: vec![config],
            ..Default::default()
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        error(client.ask(1, &request).await.responses[0].error_code)
    };
    assert_eq!(alter(0, "retention.ms", Some("1000")).await, ErrorCode::None);
    assert_eq!(alter(2, "cleanup.policy", Some("delete")).await, ErrorCode::None);
    assert_eq!(alter(1, "retention.ms", None).await, ErrorCode::None);
    assert_eq!(alter(0, "retention.mss", Some("1")).await, ErrorCode::InvalidConfig);
    assert_eq!(alter(0, "retention.ms", Some("soon")).await, ErrorCode::InvalidConfig);
    let server = server.restart().await;
    let answer = server.connect().ask(4, &describe(resource(2, "t"))).await;
    let policy = answer.results[0].configs.iter().find(|config| config.name == "cleanup.policy").unwrap();
    assert_eq!(policy.value.as_deref(), Some("compact,delete"));
}

#[tokio::test(start_paused = true)]
async fn kafka_5_one_result_per_requested_resource_in_order() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("b", 2, &[]).await;
    let topic = |name: &str, count| CreatePartitionsTopic {
        name: name.into(),
        count,
        assignments: None,
        ..Default::default()
    };
    let topics = vec![topic("z", 3), topic("b", 2), topic("a", 1), topic("b2", 1)];
    let request = CreatePartitionsRequest { topics, ..Default::default() };
    let answer = client.ask(3, &request).await;
    let results: Vec<_> = answer.results.iter().map(|r| (r.name.to_string(), error(r.error_code))).collect();
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let expected = [("z", unknown), ("b", ErrorCode::InvalidPartitions), ("a", unknown), ("b2", unknown)];
    assert_eq!(results, expected.map(|(name, code)| (name.to_string(), code)));
    let grow = CreatePartitionsRequest { topics: vec![topic("b", 5)], ..Default::default() };
    assert_eq!(client.ask(3, &grow).await.results[0].error_code, 0);
    assert_eq!(client.ask(12, &metadata("b")).await.topics[0].partitions.len(), 5);

    let names = ["nope", "b", "never"].map(Into::into).to_vec();
    let answer = client.ask(5, &DeleteTopicsRequest { topic_names: names, ..Default::default() }).await;
    let results: Vec<_> = answer.responses.iter().map(|result| error(result.error_code)).collect();
    assert_eq!(results, [unknown, ErrorCode::None, unknown]);
}

#[tokio::test(start_paused = true)]
async fn kafka_10_topics_are_created_on_first_use_if_both_sides_want_it() {
    let server = Server::start().await;
    let mut client = server.connect();
    let unwanted = MetadataRequest { allow_auto_topic_creation: false, ..metadata("t") };
    assert_eq!(
        error(client.ask(12, &unwanted).await.topics[0].error_code),
        ErrorCode::UnknownTopicOrPartition
    );
    // kafka 18: ready at once, with a leader.
    let created = client.ask(12, &metadata("t")).await.topics[0].clone();
    assert_eq!((created.error_code, created.partitions.len()), (0, 4));
    assert!(created.partitions.iter().all(|partition| partition.leader_id == 0 && partition.error_code == 0));
    assert_eq!(client.produce("t", 3, batch(&["a"])).await.error_code, 0);
}

#[tokio::test(start_paused = true)]
async fn kafka_10_no_topic_is_created_where_the_broker_does_not_want_it() {
    let server = Server::with(&[("auto.create.topics.enable", "false")]).await;
    let answer = server.connect().ask(12, &metadata("t")).await;
    assert_eq!(error(answer.topics[0].error_code), ErrorCode::UnknownTopicOrPartition);
}

#[tokio::test(start_paused = true)]
async fn kafka_10_replication_beyond_one_broker_is_granted_as_one() {
    let server = Server::start().await;
    let mut client = server.connect();
    let topic = |name: &str, partitions, replication| CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: replication,
        ..Default::default()
    };
    let topics =
        vec![topic("three", 1, 3), topic("defaults", -1, -1), topic("none", 1, 0), topic("zero", 0, 1)];
    let answer = client.ask(7, &CreateTopicsRequest { topics, ..Default::default() }).await;
    let told: Vec<_> = answer
        .topics
        .iter()
        .map(|topic| (error(topic.error_code), topic.num_partitions, topic.replication_factor))
        .collect();
    let expected = [
        (ErrorCode::None, 1, 1),
        (ErrorCode::None, 4, 1),
        (ErrorCode::InvalidReplicationFactor, -1, -1),
        (ErrorCode::InvalidPartitions, -1, -1),
    ];
    assert_eq!(told, expected);
    let replicas = client.ask(12, &metadata("three")).await.topics[0].partitions[0].replica_nodes.clone();
    assert_eq!(replicas, [0]);
}

#[tokio::test(start_paused = true)]
async fn kafka_17_everyone_names_the_same_node() {
    let server = Server::start().await;
    let mut client = server.connect();
    let metadata = client.ask(13, &MetadataRequest { topics: None, ..Default::default() }).await;
    let cluster = client.ask(2, &DescribeClusterRequest::default()).await;
    let keys = vec!["g".into()];
    let coordinator =
        client.ask(6, &FindCoordinatorRequest { coordinator_keys: keys, ..Default::default() }).await;
    let (broker, coordinator) = (&metadata.brokers[0], &coordinator.coordinators[0]);
    assert_eq!((broker.node_id, broker.host.as_ref() as &str, broker.port), (0, "127.0.0.1", 9092));
    assert_eq!((coordinator.node_id, &coordinator.host, coordinator.port), (0, &broker.host, broker.port));
    assert_eq!((cluster.brokers[0].broker_id, &cluster.brokers[0].host), (0, &broker.host));
    assert_eq!((metadata.controller_id, cluster.controller_id), (0, 0));
    assert_eq!(metadata.cluster_id.as_ref(), Some(&cluster.cluster_id));
    assert_eq!(cluster.cluster_id.len(), 22);
}

#[tokio::test(start_paused = true)]
async fn kafka_25_bad_topic_names() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("a.b", 1, &[]).await;
    for name in ["", ".", "a b", "a_b", &"x".repeat(250)] {
        let answer = client.ask(12, &metadata(name)).await;
        assert_eq!(error(answer.topics[0].error_code), ErrorCode::InvalidTopicException, "{name:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn kafka_28_topic_partitions_are_described_in_order_page_by_page() {
    let server = Server::start().await;
    let mut client = server.connect();
    for (name, partitions) in [("b", 3), ("a", 2), ("c", 1)] {
        client.create_topic(name, partitions, &[]).await;
    }
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let request =
            DescribeTopicPartitionsRequest { response_partition_limit: 2, cursor, ..Default::default() };
        let answer = client.ask(0, &request).await;
        for topic in &answer.topics {
            let name = topic.name.clone().unwrap().to_string();
            seen.extend(topic.partitions.iter().map(|p| (name.clone(), p.partition_index)));
        }
        match answer.next_cursor {
            None => break,
            Some(next) => {
                let (topic_name, partition_index) = (next.topic_name, next.partition_index);
                cursor = Some(RequestCursor { topic_name, partition_index, ..Default::default() });
            }
        }
    }
    let expected = [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 2), ("c", 0)];
    assert_eq!(seen, expected.map(|(name, index)| (name.to_string(), index)));
    let topics = vec![TopicRequest { name: "nope".into(), ..Default::default() }];
    let answer = client.ask(0, &DescribeTopicPartitionsRequest { topics, ..Default::default() }).await;
    assert_eq!(error(answer.topics[0].error_code), ErrorCode::UnknownTopicOrPartition);
}

#[tokio::test(start_paused = true)]
async fn ten_clients_that_use_a_new_topic_at_once_all_find_it() {
    let server = Server::start().await;
    let mut waiting = Vec::new();
    for _ in 0..10 {
        let mut client = server.connect();
        waiting.push(env::spawn(async move { client.ask(12, &metadata("new")).await.topics[0].clone() }));
    }
    let mut ids = std::collections::BTreeSet::new();
    for answer in waiting {
        let topic = answer.await.unwrap();
        assert_eq!((topic.error_code, topic.partitions.len()), (0, 4));
        ids.insert(topic.topic_id);
    }
    assert_eq!(ids.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_resource_is_described_once_however_often_it_is_named() {
    use wire::describe_configs::DescribeConfigsResource;
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    let resource = |kind: i8, name: &str| DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configuration_keys: None,
        ..Default::default()
    };
    let named = [resource(2, "t"), resource(4, "0"), resource(2, "t"), resource(2, "u"), resource(4, "00")];
    let request = wire::DescribeConfigsRequest { resources: named.to_vec(), ..Default::default() };
    let results = client.ask(4, &request).await.results;
    let told: Vec<_> = results
        .iter()
        .map(|r| (r.resource_name.as_ref() as &str, r.error_code, r.configs.is_empty()))
        .collect();
    assert_eq!(told, [("t", 0, false), ("0", 0, false), ("u", 3, true), ("00", 42, true)]);
}

#[tokio::test(start_paused = true)]
async fn requests_with_very_many_names_take_no_more_than_their_size() {
    let server = Server::start().await;
    let mut client = server.connect();
    let names = || (0..40_000).map(|number| wire::Str::from(format!("t_{number}")));
    let since = std::time::Instant::now();
    let topic =
        |name: wire::Str| wire::metadata::MetadataRequestTopic { name: Some(name), ..Default::default() };
    let topics = Some(names().chain(names()).map(topic).collect());
    let request = wire::MetadataRequest { topics, allow_auto_topic_creation: false, ..Default::default() };
    assert_eq!(client.ask(9, &request).await.topics.len(), 40_000);
    let topic = |name: wire::Str| wire::create_topics::CreatableTopic { name, ..Default::default() };
    let topics = names().chain(names()).map(topic).collect();
    let request = wire::CreateTopicsRequest { topics, ..Default::default() };
    assert_eq!(client.ask(4, &request).await.topics.len(), 40_000);
    let topic =
        |name: wire::Str| wire::create_partitions::CreatePartitionsTopic { name, ..Default::default() };
    let topics = names().chain(names()).map(topic).collect();
    let request = wire::CreatePartitionsRequest { topics, ..Default::default() };
    assert_eq!(client.ask(3, &request).await.results.len(), 40_000);
    client.create_topic("t", 1, &[]).await;
    let topic_names = std::iter::repeat_n(wire::Str::from("t"), 80_000).collect();
    let request = wire::DeleteTopicsRequest { topic_names, ..Default::default() };
    assert_eq!(client.ask(3, &request).await.responses.len(), 80_000);
    // Quadratic ones took minutes; debug builds on a busy machine take a few seconds for all of these.
    assert!(since.elapsed() < std::time::Duration::from_secs(30), "{:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn on_a_full_disk_topics_are_deleted_and_nothing_is_created() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 2, &[]).await;
    client.produce("t", 0, batch(&["a"])).await;
    server.disk.set_capacity(Some(server.disk.used_bytes()));
    server.clock.advance(std::time::Duration::from_secs(2));
    // The storage looks around when something is asked of it.
    let _ = client.produce("t", 0, batch(&["b"])).await;
    settle().await;
    let server = server.restart().await;
    let mut client = server.connect();
    let full = i16::from(ErrorCode::KafkaStorageError);
    server.clock.advance(std::time::Duration::from_secs(2));
    let _ = client.produce("t", 0, batch(&["b"])).await;
    settle().await;
    assert_eq!(client.produce("t", 0, batch(&["b"])).await.error_code, full);
    let topic = wire::create_topics::CreatableTopic {
        name: "u".into(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    let request = wire::CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    assert_eq!(client.ask(4, &request).await.topics[0].error_code, full);
    let request = wire::DeleteTopicsRequest { topic_names: vec!["t".into()], ..Default::default() };
    assert_eq!(client.ask(3, &request).await.responses[0].error_code, 0);
    assert!(
        server
            .storage
            .partitions()
            .iter()
            .all(|partition| partition.id().topic == model::TopicId::CLUSTER_METADATA)
    );
}

#[tokio::test(start_paused = true)]
async fn metadata_is_told_by_topic_id_whatever_name_stands_beside_it() {
    let server = Server::start().await;
    let mut client = server.connect();
    let (a, b) = (client.create_topic("a", 1, &[]).await, client.create_topic("b", 2, &[]).await);
    let (none, unknown) = (TopicId::ZERO, TopicId([7; 16]));
    let mut ask = async |version, topics: &[(TopicId, Option<&str>)]| {
        let topic = |(topic_id, name): &(TopicId, Option<&str>)| MetadataRequestTopic {
            topic_id: *topic_id,
            name: name.map(Into::into),
            ..Default::default()
        };
        let request =
            MetadataRequest { topics: Some(topics.iter().map(topic).collect()), ..Default::default() };
        let answer = client.ask(version, &request).await;
        let told = |topic: metadata::MetadataResponseTopic| {
            (error(topic.error_code), topic.name.map(|name| name.to_string()), topic.partitions.len())
        };
        answer.topics.into_iter().map(told).collect::<Vec<_>>()
    };
    let told = |name: &str, partitions| (ErrorCode::None, Some(name.to_string()), partitions);
    for version in [12, 13] {
        assert_eq!(ask(version, &[(a, Some("")), (b, Some(""))]).await, [told("a", 1), told("b", 2)]);
        assert_eq!(ask(version, &[(b, None), (b, Some(""))]).await, [told("b", 2)]);
        assert_eq!(ask(version, &[(a, Some("b"))]).await, [told("a", 1)], "the id counts");
        assert_eq!(ask(version, &[(a, None), (none, Some("b"))]).await, [told("a", 1)], "and no name does");
        assert_eq!(ask(version, &[(unknown, Some("a"))]).await, [(ErrorCode::UnknownTopicId, None, 0)]);
        assert_eq!(ask(version, &[(none, Some("b"))]).await, [told("b", 2)]);
    }
    let refused = |name: &str| (ErrorCode::InvalidRequest, Some(name.to_string()), 0);
    assert_eq!(ask(11, &[(a, Some("a")), (none, Some("b"))]).await, [refused("a"), refused("b")]);
    assert_eq!(ask(10, &[(none, None), (none, Some("b"))]).await, [refused(""), refused("b")]);
}

#[tokio::test(start_paused = true)]
async fn clients_with_sasl_are_told_that_there_is_none() {
    let server = Server::start().await;
    let mut client = server.connect();
    let listed = client.ask(3, &api_versions()).await.api_keys;
    assert!(listed.iter().any(|api| api.api_key == 17 && (api.min_version, api.max_version) == (0, 1)));
    for version in [0, 1] {
        let answer = client
            .ask(version, &SaslHandshakeRequest { mechanism: "PLAIN".into(), ..Default::default() })
            .await;
        assert_eq!((error(answer.error_code), answer.mechanisms), (ErrorCode::IllegalSaslState, Vec::new()));
    }
    let answer = client.ask(2, &SaslAuthenticateRequest::default()).await;
    assert_eq!(error(answer.error_code), ErrorCode::IllegalSaslState);
    assert!(answer.error_message.is_some_and(|why| why.contains("PLAINTEXT")));
}

#[tokio::test(start_paused = true)]
async fn nobody_has_quotas_or_credentials_and_transactional_ids_are_listed_without_transactions() {
    use describe_client_quotas::ComponentData;
    let server = Server::start().await;
    let mut client = server.connect();
    let component = |kind: &str, match_type, name: Option<&str>| ComponentData {
        entity_type: kind.into(),
        match_type,
        match_: name.map(Into::into),
        ..Default::default()
    };
    let any = |kind| component(kind, 2, None);
    let mut quotas = async |components: Vec<ComponentData>| {
        let answer = client.ask(1, &DescribeClientQuotasRequest { components, ..Default::default() }).await;
        (error(answer.error_code), answer.entries.map(|entries| entries.len()))
    };
    assert_eq!(quotas(vec![]).await, (ErrorCode::None, Some(0)));
    assert_eq!(
        quotas(vec![any("user"), component("client-id", 0, Some("c"))]).await,
        (ErrorCode::None, Some(0))
    );
    assert_eq!(quotas(vec![component("user", 1, None)]).await, (ErrorCode::None, Some(0)));
    for components in [
        vec![any("")],
        vec![any("user"), any("user")],
        vec![component("user", 0, None)],
        vec![component("user", 1, Some("a"))],
        vec![component("user", 9, Some("a"))],
        vec![any("user"), any("ip")],
    ] {
        assert_eq!(quotas(components).await, (ErrorCode::InvalidRequest, None));
    }
    assert_eq!(quotas(vec![any("moon")]).await, (ErrorCode::UnsupportedVersion, None));

    let mut users = async |names: Option<&[&str]>| {
        let user = |name: &&str| describe_user_scram_credentials::UserName {
            name: (*name).into(),
            ..Default::default()
        };
        let users = names.map(|names| names.iter().map(user).collect());
        let answer =
            client.ask(0, &DescribeUserScramCredentialsRequest { users, ..Default::default() }).await;
        assert_eq!(answer.error_code, 0);
        answer.results.iter().map(|result| error(result.error_code)).collect::<Vec<_>>()
    };
    assert_eq!(users(None).await, []);
    assert_eq!(users(Some(&["a", "b"])).await, [ErrorCode::ResourceNotFound; 2]);
    assert_eq!(users(Some(&["a", "a"])).await, [ErrorCode::DuplicateResource]);

    let mut transactions = async |states: &[&str], producer_id_filters: Vec<i64>| {
        let request = ListTransactionsRequest {
            state_filters: states.iter().map(|state| (*state).into()).collect(),
            producer_id_filters,
            ..Default::default()
        };
        let answer = client.ask(1, &request).await;
        assert_eq!(answer.error_code, 0);
        let listed: Vec<_> = answer
            .transaction_states
            .iter()
            .map(|listed| (listed.transactional_id.to_string(), listed.transaction_state.to_string()))
            .collect();
        (listed, answer.unknown_state_filters.len())
    };
    assert_eq!(transactions(&[], vec![]).await, (vec![], 0));
    let request = InitProducerIdRequest {
        transactional_id: Some("tx".into()),
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let id = server.connect().ask(4, &request).await.producer_id;
    let listed = vec![("tx".to_string(), "Empty".to_string())];
    assert_eq!(transactions(&[], vec![]).await, (listed.clone(), 0));
    assert_eq!(transactions(&["Empty", "ongoing"], vec![id]).await, (listed, 1));
    assert_eq!(transactions(&["Ongoing"], vec![]).await, (vec![], 0));
    assert_eq!(transactions(&[], vec![id + 1]).await, (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_creates_no_more_partitions_than_kafkas_would() {
    let server = Server::start().await;
    let mut client = server.connect();
    let mut ask = async |partitions: &[i32]| {
        let topic = |(number, partitions): (usize, &i32)| CreatableTopic {
            name: format!("t{number}").into(),
            num_partitions: *partitions,
            replication_factor: 1,
            ..Default::default()
        };
        let topics = partitions.iter().enumerate().map(topic).collect();
        let request = CreateTopicsRequest { topics, validate_only: true, ..Default::default() };
        let answer = client.ask(7, &request).await;
        answer.topics.iter().map(|topic| error(topic.error_code)).collect::<Vec<_>>()
    };
    assert_eq!(ask(&[9_999]).await, [ErrorCode::None]);
    assert_eq!(ask(&[10_000]).await, [ErrorCode::PolicyViolation]);
    assert_eq!(ask(&[i32::MAX, i32::MAX]).await, [ErrorCode::PolicyViolation; 2]);
    assert_eq!(
        ask(&[5_000, 4_997, 0]).await,
        [ErrorCode::None, ErrorCode::None, ErrorCode::InvalidPartitions]
    );
    assert_eq!(ask(&[5_000, 5_000]).await, [ErrorCode::PolicyViolation; 2]);
}
