//! Records of the metadata that are lost: what is stored of their topics is kept and served.

use std::path::Path;
use std::time::Duration;

use broker::LoadError;
use model::{Offset, PartitionId, TopicId};
use wire::metadata::MetadataRequestTopic;
use wire::{InitProducerIdRequest, MetadataRequest};

use crate::harness::*;

const METADATA_LOG: &str = "partitions/AAAAAAAAAAAAAAAAAAAAAQ-0/00000000000000000000.log";

async fn partitions(client: &mut Client, name: &str) -> usize {
    let topic = MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
    let answer = client.ask(12, &request).await;
    assert_eq!(answer.topics[0].error_code, 0, "{name}");
    answer.topics[0].partitions.len()
}

async fn producer_id(client: &mut Client) -> i64 {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    let answer = client.ask(4, &request).await;
    assert_eq!(answer.error_code, 0);
    answer.producer_id
}

async fn delete_topic(client: &mut Client, id: TopicId) {
    let topic = wire::delete_topics::DeleteTopicState { topic_id: id, ..Default::default() };
    let request = wire::DeleteTopicsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() };
    assert_eq!(client.ask(6, &request).await.responses[0].error_code, 0);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_the_metadata_has_lost_is_served_under_a_new_name_and_kept_for_ever() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("kept", 1, &[]).await;
    let id = client.create_topic("lost", 2, &[("retention.ms", "-1")]).await;
    client.create_topic("later", 1, &[]).await;
    for (topic, partition) in [("kept", 0), ("lost", 1), ("later", 0)] {
        assert_eq!(client.produce(topic, partition, batch(&["a", "b"])).await.error_code, 0);
    }
    let stopped = server.stop().await;
    stopped.damage(METADATA_LOG, b"lost");
    let refusal = stopped.refusal().await;
    assert!(matches!(refusal, LoadError::Damaged { offset: Offset(2) }), "{refusal}");
    let metadata_log = PartitionId { topic: TopicId::CLUSTER_METADATA, index: 0 };
    // The topic, its partitions, its setting.
    assert_eq!(stopped.repair().accepted, [(metadata_log, vec![(Offset(2), Offset(5))])]);

    let recovered = format!("recovered-{id}");
    let mut server = stopped.start().await;
    // It is a topic like any other from then on.
    for _ in 0..2 {
        let mut client = server.connect();
        for (topic, partition) in [("kept", 0), (recovered.as_str(), 1), ("later", 0)] {
            let found = values(&client.fetch(topic, partition, 0).await);
            assert_eq!(found, [(0, "a".to_string()), (1, "b".to_string())], "{topic}");
        }
        assert_eq!(partitions(&mut client, &recovered).await, 2);
        let log = server.storage.partition(PartitionId { topic: id, index: 1 }).unwrap();
        let config = log.config();
        assert_eq!((config.retention, config.retention_bytes, config.compact), (None, None, false));
        server = server.restart().await;
    }
    let mut client = server.connect();
    assert_eq!(client.produce(&recovered, 0, batch(&["c"])).await.error_code, 0);
}

#[tokio::test(start_paused = true)]
async fn records_that_were_given_up_at_the_end_of_the_metadata_hold_up_nothing_and_no_producer_id_twice() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("kept", 1, &[]).await;
    let first = producer_id(&mut client).await;
    client.create_topic("lost", 1, &[]).await;
    // The second block of ids is in one batch with nothing else, and the last.
    let mut last = first;
    while last < 1000 {
        last = producer_id(&mut client).await;
    }
    let stopped = server.stop().await;
    stopped.damage(METADATA_LOG, &2000i64.to_be_bytes());
    assert!(matches!(stopped.refusal().await, LoadError::Damaged { .. }));
    stopped.repair();
    let server = stopped.start().await;
    let mut client = server.connect();
    assert!(producer_id(&mut client).await > last);
    client.create_topic("new", 1, &[]).await;
    let mut client = server.restart().await.connect();
    assert_eq!(partitions(&mut client, "new").await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_an_interrupted_deletion_left_is_deleted_and_what_nobody_deleted_is_not() {
    let server = Server::start().await;
    let mut client = server.connect();
    let deleted = client.create_topic("deleted", 1, &[]).await;
    let grown = client.create_topic("grown", 1, &[]).await;
    delete_topic(&mut client, deleted).await;
    let stopped = server.stop().await;
    let storage = stopped.open_storage();
    let orphans = [(deleted, 0), (grown, 2)].map(|(topic, index)| PartitionId { topic, index });
    for id in orphans {
        storage.create(id, storage::LogConfig::default()).await.unwrap();
    }
    storage.close().await;
    drop(storage);

    let server = stopped.start().await;
    let mut client = server.connect();
    assert!(server.storage.partition(orphans[0]).is_none());
    assert!(server.storage.partition(orphans[1]).is_some());
    assert_eq!(partitions(&mut client, "grown").await, 3);
}

#[tokio::test(start_paused = true)]
async fn metadata_is_kept_for_ever_also_after_its_checkpoint_was_made_anew() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    let stopped = server.stop().await;
    stopped.disk.flip_bit(Path::new("data/shard-0/checkpoint"), 30, 1);
    assert_eq!(stopped.repair().rebuilt_checkpoints, [0]);
    let server = stopped.start().await;
    let log = server.storage.partition(PartitionId { topic: TopicId::CLUSTER_METADATA, index: 0 }).unwrap();
    assert!(!log.config().delete);
    assert_eq!(partitions(&mut server.connect(), "t").await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_topic_whose_removal_is_lost_is_there_again_and_empty() {
    let server = Server::start().await;
    let mut client = server.connect();
    let id = client.create_topic("t", 1, &[]).await;
    assert_eq!(client.produce("t", 0, batch(&["a"])).await.error_code, 0);
    delete_topic(&mut client, id).await;
    let stopped = server.stop().await;
    // RemoveTopicRecord: frame version 1, its number 9, version 0, the topic's id.
    stopped.damage(METADATA_LOG, &[&[1, 9, 0][..], &id.0].concat());
    stopped.repair();
    let server = stopped.start().await;
    let answer = server.connect().fetch("t", 0, 0).await;
    assert_eq!((answer.error_code, answer.high_watermark), (0, 0));
}

async fn set_retention(client: &mut Client, topic: &str, value: &str) {
    use wire::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
    let config =
        AlterableConfig { name: "retention.ms".into(), value: Some(value.into()), ..Default::default() };
    let resource = AlterConfigsResource {
        resource_type: 2,
        resource_name: topic.into(),
        configs: vec![config],
        ..Default::default()
    };
    let request = wire::IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    assert_eq!(client.ask(1, &request).await.responses[0].error_code, 0);
}

#[tokio::test(start_paused = true)]
async fn a_topic_whose_settings_are_lost_keeps_its_records_as_long_as_before_until_they_are_set() {
    let server = Server::start().await;
    let mut client = server.connect();
    let topic = client.create_topic("t", 1, &[]).await;
    let id = PartitionId { topic, index: 0 };
    set_retention(&mut client, "t", "-1").await;
    let stopped = server.stop().await;
    stopped.damage(METADATA_LOG, b"retention.ms");
    stopped.repair();
    let mut server = stopped.start().await;
    for _ in 0..2 {
        assert_eq!(server.storage.partition(id).unwrap().config().retention, None);
        server = server.restart().await;
    }
    set_retention(&mut server.connect(), "t", "1000").await;
    for _ in 0..2 {
        let retention = server.storage.partition(id).unwrap().config().retention;
        assert_eq!(retention, Some(Duration::from_secs(1)));
        server = server.restart().await;
    }
}

#[tokio::test(start_paused = true)]
async fn damaged_partitions_are_counted_from_the_start_on_once_they_are_known() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("harmed", 1, &[]).await;
    client.create_topic("whole", 1, &[]).await;
    for topic in ["harmed", "whole"] {
        assert_eq!(client.produce(topic, 0, batch(&["of the topic"])).await.error_code, 0);
    }
    assert_eq!(client.produce("harmed", 0, batch(&["the other"])).await.error_code, 0);
    let stopped = server.stop().await;
    stopped.damage("partitions", b"the other");
    let shown = async |server: &Server, count: u32| {
        let text = server.broker.metrics_text().await;
        assert!(text.contains(&format!("levada_storage_damaged_partitions {count}\n")), "{text}");
    };
    let server = stopped.start().await;
    shown(&server, 0).await;
    assert_ne!(server.connect().fetch("harmed", 0, 1).await.error_code, 0);
    shown(&server, 1).await;
    let server = server.restart().await;
    shown(&server, 1).await;
    let stopped = server.stop().await;
    stopped.repair();
    shown(&stopped.start().await, 0).await;
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_left_of_the_metadata_it_is_not_begun_anew_before_a_repair() {
    let server = Server::start().await;
    let mut client = server.connect();
    let id = client.create_topic("lost", 1, &[]).await;
    assert_eq!(client.produce("lost", 0, batch(&["a"])).await.error_code, 0);
    assert_eq!(client.produce("lost", 0, batch(&["damaged"])).await.error_code, 0);
    let stopped = server.stop().await;
    stopped.damage("partitions", b"damaged");
    let storage = stopped.open_storage();
    let log = storage.partition(PartitionId { topic: id, index: 0 }).unwrap();
    assert!(log.read(Offset(1), 100, Offset(2)).is_err());
    storage.delete(vec![PartitionId { topic: TopicId::CLUSTER_METADATA, index: 0 }]).await.unwrap();
    storage.close().await;
    for _ in 0..2 {
        let refusal = stopped.refusal().await;
        assert!(matches!(refusal, LoadError::Lost), "{refusal}");
    }
    stopped.repair();
    let server = stopped.start().await;
    let found = server.connect().fetch(&format!("recovered-{id}"), 0, 0).await;
    assert_eq!(values(&found), [(0, "a".to_string())]);
}
