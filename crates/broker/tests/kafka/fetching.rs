use std::time::Duration;

use model::TopicId;
use model::compression::Compression;
use wire::fetch::{FetchPartition, FetchTopic};
use wire::offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use wire::{ErrorCode, FetchRequest, OffsetForLeaderEpochRequest};

use crate::harness::*;

#[tokio::test(start_paused = true)]
async fn kafka_4_special_timestamps_and_the_versions_that_know_them() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    client
        .produce("t", 0, batch_at(Compression::None, [(NOW.0 - 5, "a"), (NOW.0, "b"), (NOW.0 - 9, "c")]))
        .await;
    assert_eq!(client.list_offset("t", -1).await, (0, -1, 3));
    assert_eq!(client.list_offset("t", -2).await, (0, -1, 0));
    assert_eq!(client.list_offset("t", -3).await, (0, NOW.0, 1));
    assert_eq!(client.list_offset("t", -4).await, (0, -1, 0));
    assert_eq!(client.list_offset("t", -5).await, (0, -1, -1));
    assert_eq!(client.list_offset("t", -6).await, (0, -1, -1));
    for (timestamp, since) in [(-3, 7), (-4, 8), (-5, 9), (-6, 11)] {
        for version in [since - 1, since] {
            let answer = client.ask(version, &list_offsets_request("t", timestamp)).await;
            let expected = if version < since { ErrorCode::UnsupportedVersion } else { ErrorCode::None };
            assert_eq!(
                error(answer.topics[0].partitions[0].error_code),
                expected,
                "{timestamp} in {version}"
            );
        }
    }
    assert_eq!(error(client.list_offset("t", -7).await.0), ErrorCode::UnsupportedVersion);
    let mut twice = list_offsets_request("t", -1);
    let partition = twice.topics[0].partitions[0].clone();
    twice.topics[0].partitions.push(partition);
    let answer = client.ask(11, &twice).await;
    for partition in &answer.topics[0].partitions {
        assert_eq!(error(partition.error_code), ErrorCode::InvalidRequest);
    }
}

#[tokio::test(start_paused = true)]
async fn kafka_45_offsets_by_time_are_exact_inside_compressed_batches() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    let at = |offset: i64| NOW.0 + offset * 10;
    for first in [0, 3, 6] {
        let records = [(at(first), "a"), (at(first + 1), "b"), (at(first + 2), "c")];
        client.produce("t", 0, batch_at(Compression::Zstd, records)).await;
    }
    for offset in 0..9 {
        assert_eq!(client.list_offset("t", at(offset)).await, (0, at(offset), offset));
        assert_eq!(client.list_offset("t", at(offset) - 3).await, (0, at(offset), offset));
    }
    assert_eq!(client.list_offset("t", at(9)).await, (0, -1, -1));
}

#[tokio::test(start_paused = true)]
async fn kafka_6_a_fetch_gives_whole_batches_and_at_least_one_per_request() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 2, &[]).await;
    for partition in [0, 1] {
        client.produce("t", partition, batch(&["a", "b", "c"])).await;
    }
    let middle = client.fetch("t", 0, 1).await;
    assert_eq!(values(&middle).first(), Some(&(0, "a".to_string())));
    let mut request = fetch_request("t", 0, 0);
    let other = FetchPartition { partition: 1, ..request.topics[0].partitions[0].clone() };
    request.topics[0].partitions.push(other);
    request.max_bytes = 1;
    let answer = client.ask(12, &request).await;
    let counts: Vec<usize> = answer.responses[0].partitions.iter().map(|data| values(data).len()).collect();
    assert_eq!(counts, [3, 0]);
    request.max_bytes = 1 << 20;
    request.topics[0].partitions[1].partition_max_bytes = 1;
    let answer = client.ask(12, &request).await;
    let counts: Vec<usize> = answer.responses[0].partitions.iter().map(|data| values(data).len()).collect();
    assert_eq!(counts, [3, 0]);
}

#[tokio::test(start_paused = true)]
async fn kafka_7_and_22_offsets_out_of_range_answer_at_once_with_no_marks() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 2, &[]).await;
    client.produce("t", 0, batch(&["a"])).await;
    for offset in [-1, 2, i64::MAX] {
        let mut request = fetch_request("t", 0, offset);
        request.max_wait_ms = 60_000;
        // The other partition has nothing yet: one failing partition answers for both.
        let quiet =
            FetchPartition { partition: 1, fetch_offset: 0, ..request.topics[0].partitions[0].clone() };
        request.topics[0].partitions.push(quiet);
        let before = tokio::time::Instant::now();
        let data = client.ask(12, &request).await.responses[0].partitions[0].clone();
        assert!(before.elapsed() < Duration::from_secs(1));
        assert_eq!(error(data.error_code), ErrorCode::OffsetOutOfRange);
        assert_eq!((data.high_watermark, data.last_stable_offset, data.log_start_offset), (-1, -1, -1));
        assert_eq!(data.records.map(|records| records.len()), Some(0));
    }
}

#[tokio::test(start_paused = true)]
async fn kafka_22_a_fetch_at_the_end_waits_for_records_or_for_its_time() {
    let server = Server::start().await;
    let (mut consumer, mut producer) = (server.connect(), server.connect());
    consumer.create_topic("t", 1, &[]).await;
    let mut request = fetch_request("t", 0, 0);
    request.max_wait_ms = 700;
    let before = tokio::time::Instant::now();
    let empty = consumer.ask(12, &request).await;
    assert_eq!(before.elapsed().as_millis() / 100, 7);
    assert_eq!(error(empty.responses[0].partitions[0].error_code), ErrorCode::None);

    request.max_wait_ms = 60_000;
    consumer.send(12, &request).await;
    settle().await;
    let before = tokio::time::Instant::now();
    producer.produce("t", 0, batch(&["a"])).await;
    let answer = consumer.receive::<FetchRequest>(12).await.unwrap();
    assert_eq!(values(&answer.responses[0].partitions[0]), [(0, "a".to_string())]);
    assert!(before.elapsed() < Duration::from_secs(1));

    // min.bytes: not before there is enough.
    (request.min_bytes, request.max_wait_ms) = (150, 5_000);
    let before = tokio::time::Instant::now();
    consumer.ask(12, &request).await;
    assert_eq!(before.elapsed().as_secs(), 5);
    producer.produce("t", 0, batch(&["x".repeat(150).as_str()])).await;
    let before = tokio::time::Instant::now();
    consumer.ask(12, &request).await;
    assert!(before.elapsed() < Duration::from_secs(1));
}

/// A fetch of these topics' first partitions, by name or id, which waits for at most 1.5 s.
fn patient(topics: &[(&str, TopicId)], by_id: bool) -> FetchRequest {
    let of = |(name, id): &(&str, TopicId)| FetchTopic {
        topic: if by_id { "".into() } else { (*name).into() },
        topic_id: if by_id { *id } else { TopicId::ZERO },
        ..fetch_request("", 0, 0).topics[0].clone()
    };
    FetchRequest {
        max_wait_ms: 1500,
        topics: topics.iter().map(of).collect(),
        session_epoch: -1,
        ..fetch_request("", 0, 0)
    }
}

#[tokio::test(start_paused = true)]
async fn kafka_22_a_missing_partition_does_not_end_the_wait_of_the_others() {
    let server = Server::start().await;
    let (mut consumer, mut producer) = (server.connect(), server.connect());
    let live = consumer.create_topic("live", 1, &[]).await;
    let dead = consumer.create_topic("dead", 1, &[]).await;
    let request = wire::DeleteTopicsRequest { topic_names: vec!["dead".into()], ..Default::default() };
    assert_eq!(consumer.ask(5, &request).await.responses[0].error_code, 0);
    for (offset, version, by_id, code) in
        [(0, 12, false, ErrorCode::UnknownTopicOrPartition), (1, 18, true, ErrorCode::UnknownTopicId)]
    {
        let mut request = patient(&[("live", live), ("dead", dead)], by_id);
        request.topics[0].partitions[0].fetch_offset = offset;
        let before = tokio::time::Instant::now();
        let answer = consumer.ask(version, &request).await;
        assert_eq!(before.elapsed().as_millis() / 100, 15, "version {version}");
        let codes: Vec<_> =
            answer.responses.iter().map(|topic| error(topic.partitions[0].error_code)).collect();
        assert_eq!(codes, [ErrorCode::None, code]);
        // The same in a session, whose answers have only the error.
        request.session_epoch = 0;
        let session_id = consumer.ask(version, &request).await.session_id;
        let next =
            |session_epoch| FetchRequest { session_id, session_epoch, topics: vec![], ..request.clone() };
        let before = tokio::time::Instant::now();
        let answer = consumer.ask(version, &next(1)).await;
        assert_eq!(before.elapsed().as_millis() / 100, 15, "version {version} in a session");
        assert_eq!(error(answer.responses[0].partitions[0].error_code), code);
        // Records end it.
        consumer.send(version, &next(2)).await;
        settle().await;
        let before = tokio::time::Instant::now();
        producer.produce("live", 0, batch(&["a"])).await;
        consumer.receive::<FetchRequest>(version).await.unwrap();
        assert!(before.elapsed() < Duration::from_millis(500));
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_that_is_asked_about_again_at_once_is_answered_ten_times_a_second() {
    let server = Server::start().await;
    let mut client = server.connect();
    let id = client.create_topic("t", 1, &[]).await;
    let unknown = TopicId([7; 16]);
    let mut fenced = patient(&[("t", id)], true);
    fenced.topics[0].partitions[0].current_leader_epoch = 5;
    for (version, request, code) in [
        (12, patient(&[("nope", unknown)], false), ErrorCode::UnknownTopicOrPartition),
        (18, patient(&[("nope", unknown)], true), ErrorCode::UnknownTopicId),
        (18, fenced, ErrorCode::UnknownLeaderEpoch),
    ] {
        let before = tokio::time::Instant::now();
        let answer = client.ask(version, &request).await;
        assert_eq!(error(answer.responses[0].partitions[0].error_code), code);
        assert_eq!(before.elapsed().as_millis() / 50, 2, "{code:?}");
        // Who does not want to wait does not.
        let impatient = FetchRequest { max_wait_ms: 0, ..request };
        let before = tokio::time::Instant::now();
        client.ask(version, &impatient).await;
        assert!(before.elapsed() < Duration::from_millis(50));
    }
}

#[tokio::test(start_paused = true)]
async fn kafka_11_an_incremental_fetch_answers_only_what_is_new() {
    let server = Server::start().await;
    let (mut consumer, mut producer) = (server.connect(), server.connect());
    let id = consumer.create_topic("t", 2, &[]).await;
    let partition = |partition| FetchPartition {
        partition,
        partition_max_bytes: 1 << 20,
        current_leader_epoch: -1,
        ..Default::default()
    };
    let topic =
        FetchTopic { topic_id: id, partitions: vec![partition(0), partition(1)], ..Default::default() };
    let mut request = FetchRequest { topics: vec![topic], ..fetch_request("", 0, 0) };
    request.session_epoch = 0;
    let full = consumer.ask(18, &request).await;
    assert_eq!((full.error_code, full.responses[0].partitions.len()), (0, 2));
    assert_ne!(full.session_id, 0);

    let next = |epoch| FetchRequest {
        session_id: full.session_id,
        session_epoch: epoch,
        topics: Vec::new(),
        ..fetch_request("", 0, 0)
    };
    assert_eq!(consumer.ask(18, &next(1)).await.responses, []);
    producer.produce("t", 1, batch(&["a"])).await;
    let news = consumer.ask(18, &next(2)).await;
    assert_eq!(news.responses[0].partitions.len(), 1);
    assert_eq!(news.responses[0].partitions[0].partition_index, 1);
    assert_eq!(error(consumer.ask(18, &next(2)).await.error_code), ErrorCode::InvalidFetchSessionEpoch);
    let unknown = FetchRequest { session_id: full.session_id + 1, ..next(3) };
    assert_eq!(error(consumer.ask(18, &unknown).await.error_code), ErrorCode::FetchSessionIdNotFound);
    assert_eq!(error(consumer.ask(12, &next(3)).await.error_code), ErrorCode::FetchSessionTopicIdError);
}

#[tokio::test(start_paused = true)]
async fn kafka_19_topic_ids_are_new_on_re_creation_and_unknown_ones_are_told() {
    let server = Server::start().await;
    let mut client = server.connect();
    let first = client.create_topic("t", 1, &[]).await;
    client.produce("t", 0, batch(&["old"])).await;
    let request = wire::DeleteTopicsRequest { topic_names: vec!["t".into()], ..Default::default() };
    assert_eq!(client.ask(5, &request).await.responses[0].error_code, 0);
    let second = client.create_topic("t", 1, &[]).await;
    assert!(first != second && first != TopicId::ZERO && second != TopicId::ZERO);
    assert_eq!(client.fetch("t", 0, 0).await.high_watermark, 0, "a recreated topic inherits no records");

    let mut request = fetch_request("", 0, 0);
    request.topics[0].topic_id = first;
    let answer = client.ask(13, &request).await;
    assert_eq!(error(answer.responses[0].partitions[0].error_code), ErrorCode::UnknownTopicId);
    assert_eq!(answer.responses[0].topic_id, first);

    let server = server.restart().await;
    request.topics[0].topic_id = second;
    let answer = server.connect().ask(13, &request).await;
    assert_eq!(error(answer.responses[0].partitions[0].error_code), ErrorCode::None);
}

#[tokio::test(start_paused = true)]
async fn kafka_20_and_21_leader_epochs() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    client.produce("t", 0, batch(&["a", "b"])).await;
    for (believed, expected) in [(-1, 0), (0, 0), (1, ErrorCode::UnknownLeaderEpoch.into())] {
        let mut request = fetch_request("t", 0, 0);
        request.topics[0].partitions[0].current_leader_epoch = believed;
        let answer = client.ask(12, &request).await;
        assert_eq!(answer.responses[0].partitions[0].error_code, expected, "{believed}");
    }
    let mut ask = async |epoch: i32| {
        let partition =
            OffsetForLeaderPartition { leader_epoch: epoch, current_leader_epoch: -1, ..Default::default() };
        let topic =
            OffsetForLeaderTopic { topic: "t".into(), partitions: vec![partition], ..Default::default() };
        let request = OffsetForLeaderEpochRequest { topics: vec![topic], ..Default::default() };
        let answer = client.ask(4, &request).await.topics[0].partitions[0].clone();
        (answer.error_code, answer.leader_epoch, answer.end_offset)
    };
    assert_eq!(ask(0).await, (0, 0, 2));
    assert_eq!(ask(1).await, (0, -1, -1));
}

#[tokio::test(start_paused = true)]
async fn kafka_47_deleted_records_are_gone_for_every_reader() {
    use wire::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    client.create_topic("compacted", 1, &[("cleanup.policy", "compact")]).await;
    client.produce("t", 0, batch(&["a", "b", "c"])).await;
    client.produce("t", 0, batch(&["d"])).await;
    let mut delete = async |topic: &str, offset: i64| {
        let partition = DeleteRecordsPartition { offset, ..Default::default() };
        let topic =
            DeleteRecordsTopic { name: topic.into(), partitions: vec![partition], ..Default::default() };
        let request = wire::DeleteRecordsRequest { topics: vec![topic], ..Default::default() };
        let answer = client.ask(2, &request).await.topics[0].partitions[0].clone();
        (error(answer.error_code), answer.low_watermark)
    };
    assert_eq!(delete("t", 2).await, (ErrorCode::None, 2));
    assert_eq!(delete("t", 1).await, (ErrorCode::None, 2));
    assert_eq!(delete("t", 5).await, (ErrorCode::OffsetOutOfRange, -1));
    assert_eq!(delete("compacted", 0).await, (ErrorCode::PolicyViolation, -1));
    let server = server.restart().await;
    let mut client = server.connect();
    assert_eq!(client.list_offset("t", -2).await, (0, -1, 2));
    assert_eq!(error(client.fetch("t", 0, 1).await.error_code), ErrorCode::OffsetOutOfRange);
    let data = client.fetch("t", 0, 2).await;
    assert_eq!((data.log_start_offset, values(&data).last().cloned()), (2, Some((3, "d".to_string()))));
    assert_eq!(client.list_offset("t", 0).await.2, 2, "by time, never below the log's start");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_told_as_kafka_does() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    client.produce("t", 0, batch(&["a"])).await;
    // Answers about what is missing come last, with an empty list of aborted transactions instead of none.
    let mut request = fetch_request("nope", 0, 0);
    request.topics.extend(fetch_request("t", 0, 0).topics);
    let response = client.ask(11, &request).await;
    let answered: Vec<_> = response
        .responses
        .iter()
        .map(|topic| (topic.topic.as_ref() as &str, topic.partitions[0].error_code))
        .collect();
    assert_eq!(answered, [("t", 0), ("nope", 3)]);
    assert_eq!(response.responses[1].partitions[0].aborted_transactions, Some(Vec::new()));
    // A special timestamp that the version does not know is told before the missing partition; what is named twice
    // is answered once.
    let mut request = list_offsets_request("nope", -5);
    let response = client.ask(8, &request).await;
    assert_eq!(response.topics[0].partitions[0].error_code, 35);
    let again = request.topics[0].partitions[0].clone();
    request.topics[0].partitions.push(again);
    let response = client.ask(8, &request).await;
    assert_eq!(response.topics[0].partitions.iter().map(|p| p.error_code).collect::<Vec<_>>(), [42]);
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_reads_keep_their_memory_and_no_more_of_it_is_given() {
    for tail_bytes in ["0", "67108864"] {
        let settings =
            [("levada.memory.fetch.bytes.max", "2097152"), ("levada.memory.tail.bytes.max", tail_bytes)];
        let server = Server::with(&settings).await;
        let mut client = server.connect();
        client.create_topic("t", 1, &[]).await;
        let large = "x".repeat(900_000);
        client.produce("t", 0, batch(&[&large])).await;
        client.produce("t", 0, batch(&[&large])).await;
        let mut request = fetch_request("t", 0, 0);
        (request.max_bytes, request.topics[0].partitions[0].partition_max_bytes) = (2 << 20, 2 << 20);
        // More than the pipe between the two ends takes.
        let mut deaf = server.connect();
        deaf.send(11, &request).await;
        settle().await;
        let read = async |client: &mut Client| {
            let response = client.ask(11, &request).await;
            values(&response.responses[0].partitions[0]).len()
        };
        assert_eq!(read(&mut client).await, 0, "tail {tail_bytes}");
        assert!(deaf.receive::<FetchRequest>(11).await.is_some());
        assert_eq!(read(&mut client).await, 2, "tail {tail_bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_larger_than_the_answer_may_be_is_counted_in_full() {
    let settings = [("levada.memory.fetch.bytes.max", "1048576"), ("levada.memory.tail.bytes.max", "0")];
    let server = Server::with(&settings).await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[("max.message.bytes", "4000000")]).await;
    client.produce("t", 0, batch(&[&"x".repeat(3_000_000)])).await;
    let mut deaf = server.connect();
    let mut request = fetch_request("t", 0, 0);
    request.topics[0].partitions[0].partition_max_bytes = 1;
    deaf.send(11, &request).await;
    settle().await;
    assert_eq!(values(&client.ask(11, &request).await.responses[0].partitions[0]).len(), 0);
    assert!(deaf.receive::<FetchRequest>(11).await.is_some());
    assert_eq!(values(&client.ask(11, &request).await.responses[0].partitions[0]).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_waits_is_answered_when_the_broker_stops() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    let mut request = fetch_request("t", 0, 0);
    request.max_wait_ms = i32::MAX;
    client.send(11, &request).await;
    settle().await;
    let since = tokio::time::Instant::now();
    server.broker.stop_waiting();
    let response = client.receive::<FetchRequest>(11).await.expect("an answer");
    assert_eq!(response.responses[0].partitions[0].error_code, 0);
    assert!(since.elapsed() < Duration::from_secs(1));
}
