use bytes::Bytes;
use model::batch::{BatchBuilder, NewRecord};
use model::compression::Compression;
use model::{ProducerEpoch, ProducerId, Timestamp};
use wire::produce::PartitionProduceResponse;
use wire::{ErrorCode, InitProducerIdRequest, ProduceRequest};

use crate::harness::*;

fn idempotent(producer: (i64, i16), sequence: i32, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None).producer(
        ProducerId(producer.0),
        ProducerEpoch(producer.1),
        sequence,
    );
    for value in values {
        builder.push(NewRecord { timestamp: NOW, key: None, value: Some(value.as_bytes()), headers: &[] });
    }
    builder.build().into_bytes()
}

fn outcome(answer: &PartitionProduceResponse) -> (ErrorCode, i64) {
    (ErrorCode::try_from(answer.error_code).unwrap(), answer.base_offset)
}

#[tokio::test(start_paused = true)]
async fn records_come_back_as_they_were_sent_in_every_codec_also_after_a_restart() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    for (codec, offset) in Compression::ALL.into_iter().zip(0..) {
        let sent = batch_at(codec, [(NOW.0, "a"), (NOW.0 + 1, "b")]);
        let answer = client.produce("t", 0, sent).await;
        assert_eq!(outcome(&answer), (ErrorCode::None, 2 * offset));
        assert_eq!((answer.log_append_time_ms, answer.log_start_offset), (-1, 0));
    }
    let before = client.fetch("t", 0, 0).await;
    assert_eq!(before.high_watermark, 10);
    let expected: Vec<_> =
        (0..10).map(|offset| (offset, if offset % 2 == 0 { "a" } else { "b" }.to_string())).collect();
    assert_eq!(values(&before), expected);

    let server = server.restart().await;
    let after = server.connect().fetch("t", 0, 0).await;
    assert_eq!(after.records, before.records);
}

#[tokio::test(start_paused = true)]
async fn kafka_2_produce_lists_version_0_and_refuses_versions_0_to_2() {
    let server = Server::start().await;
    let versions = server.connect().ask(4, &api_versions()).await;
    let produce = versions.api_keys.iter().find(|api| api.api_key == 0).unwrap();
    assert_eq!((produce.min_version, produce.max_version), (0, 13));
    let mut client = server.connect();
    // Header of a Produce version 2; the body does not matter.
    let frame = [&[0, 0, 0, 2, 0, 0, 0, 1, 255, 255][..], &[0; 10]].concat();
    send_frame(&mut client, &frame).await;
    assert!(client.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn kafka_8_the_last_five_batches_of_a_producer_are_told_apart_from_new_ones() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    let mut ask = async |producer, sequence| {
        outcome(&client.produce("t", 0, idempotent(producer, sequence, &["x", "y"])).await)
    };
    for batch in 0..6 {
        assert_eq!(ask((1, 0), batch * 2).await, (ErrorCode::None, i64::from(batch) * 2));
    }
    // Duplicates of the last five get their first offset again; an older one is out of order.
    for batch in 1..6 {
        assert_eq!(ask((1, 0), batch * 2).await, (ErrorCode::None, i64::from(batch) * 2));
    }
    assert_ne!(ask((1, 0), 0).await.0, ErrorCode::None);
    assert_eq!(ask((1, 0), 14).await.0, ErrorCode::OutOfOrderSequenceNumber);
    // A producer new to the partition may begin anywhere; a new epoch of a known one only at 0.
    assert_eq!(ask((2, 0), i32::MAX - 1).await, (ErrorCode::None, 12));
    assert_eq!(ask((2, 0), 0).await, (ErrorCode::None, 14), "the sequence wraps");
    assert_eq!(ask((2, 1), 5).await.0, ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(ask((2, 1), 0).await, (ErrorCode::None, 16));
    assert_eq!(ask((2, 0), 2).await.0, ErrorCode::InvalidProducerEpoch);
}

#[tokio::test(start_paused = true)]
async fn kafka_8_limits_and_keys_are_enforced_for_the_whole_batch() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("small", 1, &[("max.message.bytes", "100")]).await;
    let answer = client.produce("small", 0, batch(&["x".repeat(200).as_str()])).await;
    assert_eq!(outcome(&answer), (ErrorCode::MessageTooLarge, -1));

    client.create_topic("compacted", 1, &[("cleanup.policy", "compact")]).await;
    let answer = client.produce("compacted", 0, idempotent((-1, -1), -1, &["a", "b"])).await;
    assert_eq!(outcome(&answer), (ErrorCode::InvalidRecord, -1));
    assert_eq!(answer.record_errors.iter().map(|error| error.batch_index).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(client.fetch("compacted", 0, 0).await.high_watermark, 0);
}

#[tokio::test(start_paused = true)]
async fn kafka_9_log_append_time_is_the_brokers() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let answer = client.produce("t", 0, batch_at(Compression::Gzip, [(5, "old")])).await;
    assert_eq!((outcome(&answer), answer.log_append_time_ms), ((ErrorCode::None, 0), NOW.0));
    assert_eq!(client.list_offset("t", NOW.0).await, (0, NOW.0, 0));
    assert_eq!(client.list_offset("t", NOW.0 + 1).await, (0, -1, -1));
}

#[tokio::test(start_paused = true)]
async fn kafka_26_what_a_produce_request_may_hold() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    let two = [batch(&["a"]), batch(&["b"])].concat();
    assert_eq!(outcome(&client.produce("t", 0, two.into()).await), (ErrorCode::InvalidRecord, -1));
    let zstd = produce_request("t", 0, batch_at(Compression::Zstd, [(NOW.0, "z")]), -1);
    let answer = client.ask(6, &zstd).await.responses[0].partition_responses[0].clone();
    assert_eq!(outcome(&answer), (ErrorCode::UnsupportedCompressionType, -1));
    let ahead = batch_at(Compression::None, [(NOW.0 + 3_600_001, "ahead")]);
    assert_eq!(outcome(&client.produce("t", 0, ahead).await), (ErrorCode::InvalidTimestamp, -1));
    let mut corrupt = batch(&["a"]).to_vec();
    *corrupt.last_mut().unwrap() ^= 1;
    assert_eq!(outcome(&client.produce("t", 0, corrupt.into()).await), (ErrorCode::CorruptMessage, -1));
    let acks = client.ask(9, &produce_request("t", 0, batch(&["a"]), 2)).await;
    assert_eq!(outcome(&acks.responses[0].partition_responses[0]).0, ErrorCode::InvalidRequiredAcks);
    let unknown = client.ask(9, &produce_request("t", 1, batch(&["a"]), -1)).await;
    assert_eq!(outcome(&unknown.responses[0].partition_responses[0]).0, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(client.fetch("t", 0, 0).await.high_watermark, 0);
}

#[tokio::test(start_paused = true)]
async fn kafka_26_acks_0_gets_no_answer_and_after_an_error_the_connection_is_closed() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    client.send(9, &produce_request("t", 0, batch(&["a"]), 0)).await;
    // The next answer on the connection is the Fetch's.
    assert_eq!(values(&client.fetch("t", 0, 0).await), [(0, "a".to_string())]);
    client.send(9, &produce_request("t", 7, batch(&["a"]), 0)).await;
    assert!(client.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn kafka_39_a_higher_epoch_of_a_transactional_id_fences_plain_batches_of_the_lower() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    let request = InitProducerIdRequest {
        transactional_id: Some("claim".into()),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    let first = client.ask(5, &request).await;
    let second = client.ask(5, &request).await;
    assert_eq!((first.error_code, second.error_code), (0, 0));
    assert_eq!((second.producer_id, second.producer_epoch), (first.producer_id, first.producer_epoch + 1));
    let (old, new) = ((first.producer_id, first.producer_epoch), (second.producer_id, second.producer_epoch));
    assert_eq!(outcome(&client.produce("t", 0, idempotent(old, 0, &["a"])).await).0, ErrorCode::None);
    assert_eq!(outcome(&client.produce("t", 0, idempotent(new, 0, &["b"])).await).0, ErrorCode::None);
    let fenced = client.produce("t", 0, idempotent(old, 1, &["c"])).await;
    assert_eq!(outcome(&fenced).0, ErrorCode::InvalidProducerEpoch);

    // Durable: the third incarnation, after a restart, is one epoch further.
    let server = server.restart().await;
    let mut client = server.connect();
    let third = client.ask(5, &request).await;
    assert_eq!((third.producer_id, third.producer_epoch), (first.producer_id, second.producer_epoch + 1));
    let fenced = client.produce("t", 0, idempotent(old, 1, &["c"])).await;
    assert_eq!(outcome(&fenced).0, ErrorCode::InvalidProducerEpoch);
}

#[tokio::test(start_paused = true)]
async fn producer_ids_are_never_given_twice_also_over_restarts() {
    let request =
        InitProducerIdRequest { transactional_id: None, transaction_timeout_ms: 1, ..Default::default() };
    let mut server = Server::start().await;
    let mut given = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let mut client = server.connect();
        for _ in 0..1500 {
            let answer = client.ask(5, &request).await;
            assert!(answer.error_code == 0 && given.insert(answer.producer_id), "{answer:?}");
        }
        server = server.restart().await;
    }
}

#[tokio::test(start_paused = true)]
async fn kafka_34_a_transactional_batch_is_refused_while_there_are_no_transactions() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    let mut builder =
        BatchBuilder::new(Compression::None).producer(ProducerId(1), ProducerEpoch(0), 0).transactional();
    builder.push(NewRecord { timestamp: Timestamp(NOW.0), key: None, value: Some(b"x"), headers: &[] });
    let request: ProduceRequest = produce_request("t", 0, builder.build().into_bytes(), -1);
    for (version, code) in [(10, ErrorCode::InvalidTxnState), (11, ErrorCode::TransactionAbortable)] {
        let answer = client.ask(version, &request).await.responses[0].partition_responses[0].clone();
        assert_eq!(outcome(&answer).0, code);
    }
}

#[tokio::test(start_paused = true)]
async fn five_requests_in_flight_are_appended_and_answered_in_order() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    for sequence in 0..5 {
        let records = idempotent((1, 0), sequence, &[&format!("v{sequence}")]);
        client.send(9, &produce_request("t", 0, records, -1)).await;
    }
    for sequence in 0..5 {
        let answer = client.receive::<ProduceRequest>(9).await.unwrap();
        let answer = outcome(&answer.responses[0].partition_responses[0]);
        assert_eq!(answer, (ErrorCode::None, i64::from(sequence)));
    }
    let expected: Vec<_> = (0..5).map(|n| (n, format!("v{n}"))).collect();
    assert_eq!(values(&client.fetch("t", 0, 0).await), expected);
}

#[tokio::test(start_paused = true)]
async fn produce_by_topic_id() {
    let server = Server::start().await;
    let mut client = server.connect();
    let id = client.create_topic("t", 1, &[]).await;
    let mut request = produce_request("", 0, batch(&["a"]), -1);
    request.topic_data[0].topic_id = id;
    let answer = client.ask(13, &request).await;
    assert_eq!(answer.responses[0].topic_id, id);
    assert_eq!(outcome(&answer.responses[0].partition_responses[0]), (ErrorCode::None, 0));
    request.topic_data[0].topic_id = model::TopicId([9; 16]);
    let answer = client.ask(13, &request).await;
    assert_eq!(outcome(&answer.responses[0].partition_responses[0]).0, ErrorCode::UnknownTopicId);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_the_log_tells_where_it_starts_and_one_by_the_request_does_not() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    let mut log_start = async |version, request: &ProduceRequest| {
        let answer = client.ask(version, request).await.responses[0].partition_responses[0].clone();
        (ErrorCode::try_from(answer.error_code).unwrap(), answer.log_start_offset)
    };
    let late = batch_at(Compression::None, [(NOW.0 + 7_200_000, "late")]);
    assert_eq!(log_start(9, &produce_request("t", 0, late, -1)).await, (ErrorCode::InvalidTimestamp, 0));
    let two = [batch(&["a"]), batch(&["b"])].concat();
    assert_eq!(log_start(9, &produce_request("t", 0, two.into(), -1)).await, (ErrorCode::InvalidRecord, -1));
    // A partition that is not there is told before acks that are not known, these before what the log would say.
    assert_eq!(
        log_start(9, &produce_request("t", 7, batch(&["a"]), 2)).await,
        (ErrorCode::UnknownTopicOrPartition, -1)
    );
    assert_eq!(
        log_start(9, &produce_request("t", 0, batch(&["a"]), 2)).await,
        (ErrorCode::InvalidRequiredAcks, -1)
    );
}

#[tokio::test(start_paused = true)]
async fn the_batches_of_a_request_together_decompress_to_a_bounded_size() {
    let server = Server::with(&[("levada.batch.decompressed.bytes.max", "1000000")]).await;
    let mut client = server.connect();
    client.create_topic("t", 4, &[]).await;
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let small = "x".repeat(300_000);
        let large = "x".repeat(1_000_000);
        let mut request = produce_request("t", 0, batch_at(codec, [(NOW.0, small.as_str())]), -1);
        let mut add = |partition, value: &str| {
            let more = produce_request("t", partition, batch_at(codec, [(NOW.0, value)]), -1);
            request.topic_data[0].partition_data.extend(more.topic_data[0].partition_data.clone());
        };
        // What is refused was worked on too.
        add(1, &small);
        add(2, &large);
        add(3, &small);
        let answer = client.ask(9, &request).await;
        let codes: Vec<_> = answer.responses[0].partition_responses.iter().map(|p| p.error_code).collect();
        let too_large = i16::from(ErrorCode::MessageTooLarge);
        assert_eq!(codes, [0, 0, too_large, too_large], "{codec:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn kafka_26_of_a_partition_that_is_named_twice_the_last_batch_counts_and_is_answered_once() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 2, &[]).await;
    let topic = |named: &[(i32, &str)]| {
        let mut topic = produce_request("t", 0, batch(&["x"]), -1).topic_data.remove(0);
        let data = |(index, value): &(i32, &str)| wire::produce::PartitionProduceData {
            index: *index,
            records: Some(batch(&[value]).into()),
            ..Default::default()
        };
        topic.partition_data = named.iter().map(data).collect();
        topic
    };
    for (round, topics) in
        [vec![topic(&[(0, "a"), (1, "c"), (0, "b")])], vec![topic(&[(0, "a")]), topic(&[(1, "c"), (0, "b")])]]
            .into_iter()
            .enumerate()
    {
        let request =
            wire::ProduceRequest { topic_data: topics, ..produce_request("t", 0, batch(&["x"]), -1) };
        let answer = client.ask(9, &request).await;
        assert_eq!(answer.responses.len(), 1);
        let answered: Vec<_> = answer.responses[0]
            .partition_responses
            .iter()
            .map(|partition| (partition.index, partition.error_code, partition.base_offset))
            .collect();
        assert_eq!(answered, [(0, 0, round as i64), (1, 0, round as i64)]);
        let stored = values(&client.fetch("t", 0, round as i64).await);
        assert_eq!(stored, [(round as i64, "b".to_string())]);
    }
}

#[tokio::test(start_paused = true)]
async fn kafka_26_a_batch_larger_than_a_segment_is_refused_as_such() {
    let server = Server::start().await;
    let mut client = server.connect();
    let configs = [("segment.bytes", "1048576"), ("max.message.bytes", "3000000")];
    client.create_topic("t", 1, &configs).await;
    let answer = client.produce("t", 0, batch(&["x".repeat(1_048_576).as_str()])).await;
    assert_eq!((error(answer.error_code), answer.log_start_offset), (ErrorCode::RecordListTooLarge, -1));
    assert!(answer.error_message.is_some_and(|why| why.contains("segment.bytes")));
    assert_eq!(client.produce("t", 0, batch(&["x".repeat(1_000_000).as_str()])).await.error_code, 0);
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_transactions_is_counted() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 1, &[]).await;
    let count = async || {
        let text = server.broker.metrics_text().await;
        let line = text.lines().find(|line| line.starts_with("levada_transactional_requests_total")).unwrap();
        line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()
    };
    assert_eq!(count().await, 0);
    let mut request = wire::InitProducerIdRequest {
        transactional_id: Some("tx".into()),
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    assert_eq!(client.ask(4, &request).await.error_code, 0);
    assert_eq!(count().await, 1);
    request.transactional_id = None;
    assert_eq!(client.ask(4, &request).await.error_code, 0);
    assert_eq!(count().await, 1, "an idempotent producer asks for none");
    client.send(3, &wire::AddPartitionsToTxnRequest::default()).await;
    assert!(client.receive::<wire::AddPartitionsToTxnRequest>(3).await.is_none(), "it is not served");
    assert_eq!(count().await, 2);
}
