use wire::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::{ErrorCode, OffsetCommitRequest, OffsetFetchRequest};

use crate::harness::*;

fn commit(group: &str, generation: i32, offset: i64, metadata: &str) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        committed_offset: offset,
        committed_leader_epoch: 3,
        committed_metadata: Some(metadata.into()),
        ..Default::default()
    };
    let topic =
        OffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
    OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: generation,
        topics: vec![topic],
        ..Default::default()
    }
}

async fn committed(client: &mut Client, group: &str) -> (i16, i64, i32, String) {
    let topic =
        OffsetFetchRequestTopics { name: "t".into(), partition_indexes: vec![0], ..Default::default() };
    let group =
        OffsetFetchRequestGroup { group_id: group.into(), topics: Some(vec![topic]), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    let answer = client.ask(9, &request).await;
    assert_eq!(answer.groups[0].error_code, 0);
    let partition = answer.groups[0].topics[0].partitions[0].clone();
    let metadata = partition.metadata.unwrap().to_string();
    (partition.error_code, partition.committed_offset, partition.committed_leader_epoch, metadata)
}

#[tokio::test(start_paused = true)]
async fn kafka_4_committed_offsets_come_back_with_their_metadata_also_after_a_restart() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    assert_eq!(committed(&mut client, "g").await, (0, -1, -1, String::new()));
    let answer = client.ask(9, &commit("g", -1, 7, "words")).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    assert_eq!(committed(&mut client, "g").await, (0, 7, 3, "words".into()));
    let server = server.restart().await;
    let mut client = server.connect();
    assert_eq!(committed(&mut client, "g").await, (0, 7, 3, "words".into()));

    // The older form, and all offsets of a group.
    let request = OffsetFetchRequest { group_id: "g".into(), topics: None, ..Default::default() };
    let answer = client.ask(7, &request).await;
    assert_eq!(
        (answer.topics[0].name.as_ref() as &str, answer.topics[0].partitions[0].committed_offset),
        ("t", 7)
    );
}

#[tokio::test(start_paused = true)]
async fn kafka_29_a_deleted_topic_takes_its_committed_offsets_along() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    client.ask(9, &commit("g", -1, 7, "")).await;
    let request = wire::DeleteTopicsRequest { topic_names: vec!["t".into()], ..Default::default() };
    assert_eq!(client.ask(5, &request).await.responses[0].error_code, 0);
    client.create_topic("t", 1, &[]).await;
    assert_eq!(committed(&mut client, "g").await, (0, -1, -1, String::new()));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topic_of_offsets_is_made_anew_and_so_are_its_coordinators() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    client.ask(9, &commit("g", -1, 7, "")).await;
    let topic_names = vec!["__consumer_offsets".into()];
    let request = wire::DeleteTopicsRequest { topic_names, ..Default::default() };
    assert_eq!(client.ask(5, &request).await.responses[0].error_code, 0);
    assert_eq!(committed(&mut client, "g").await, (0, -1, -1, String::new()));
    let answer = client.ask(9, &commit("g", -1, 8, "")).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    assert_eq!(committed(&mut client, "g").await, (0, 8, 3, String::new()));
}

#[tokio::test(start_paused = true)]
async fn kafka_40_commits_that_are_refused() {
    let server = Server::with(&[("offset.metadata.max.bytes", "4")]).await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    let mut ask = async |version, request: OffsetCommitRequest| {
        let answer = client.ask(version, &request).await;
        ErrorCode::try_from(answer.topics[0].partitions[0].error_code).unwrap()
    };
    assert_eq!(ask(8, commit("g", 1, 7, "")).await, ErrorCode::IllegalGeneration);
    assert_eq!(ask(9, commit("g", 1, 7, "")).await, ErrorCode::GroupIdNotFound);
    // Counted as Java counts, in units of UTF-16.
    for (metadata, code) in [
        ("1234", ErrorCode::None),
        ("12345", ErrorCode::OffsetMetadataTooLarge),
        ("éééé", ErrorCode::None),
        ("ééééé", ErrorCode::OffsetMetadataTooLarge),
        ("漢字漢字", ErrorCode::None),
        ("😀😀", ErrorCode::None),
        ("😀😀1", ErrorCode::OffsetMetadataTooLarge),
    ] {
        assert_eq!(ask(9, commit("other", -1, 7, metadata)).await, code, "{metadata}");
    }
    let mut unknown = commit("g", -1, 7, "");
    unknown.topics[0].partitions[0].partition_index = 1;
    assert_eq!(ask(9, unknown).await, ErrorCode::UnknownTopicOrPartition);
}

#[tokio::test(start_paused = true)]
async fn offsets_can_be_forgotten() {
    use wire::offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    client.ask(9, &commit("g", -1, 7, "")).await;
    let topic = OffsetDeleteRequestTopic {
        name: "t".into(),
        partitions: vec![OffsetDeleteRequestPartition::default()],
        ..Default::default()
    };
    let request =
        wire::OffsetDeleteRequest { group_id: "g".into(), topics: vec![topic], ..Default::default() };
    assert_eq!(client.ask(0, &request).await.error_code, 0);
    assert_eq!(committed(&mut client, "g").await, (0, -1, -1, String::new()));
    let again = client.ask(0, &request).await.error_code;
    assert_eq!(ErrorCode::try_from(again).unwrap(), ErrorCode::GroupIdNotFound);
}
