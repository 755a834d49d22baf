//! A client of raw requests over a blocking socket.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use model::batch::{BatchBuilder, NewRecord, batches};
use model::compression::Compression;
use model::{ProducerEpoch, ProducerId, Timestamp};
use wire::fetch::{FetchPartition, FetchTopic, PartitionData};
use wire::produce::{PartitionProduceData, PartitionProduceResponse, TopicProduceData};
use wire::{FetchRequest, InitProducerIdRequest, Message, MetadataRequest, ProduceRequest, Request};

pub struct Client {
    stream: TcpStream,
}

impl Client {
    pub fn connect(address: &str) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_nodelay(true)?;
        Ok(Client { stream })
    }

    pub fn ask<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        self.stream
            .write_all(&wire::encode_request(1, Some("test"), version, request).unwrap().to_bytes())?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame)?;
        let (_, mut body) = wire::decode_response_header(R::KEY, version, frame.into()).unwrap();
        Ok(R::Response::decode(&mut body, version).unwrap())
    }

    /// Uses a topic, which creates it.
    pub fn use_topic(&mut self, topic: &str) -> io::Result<()> {
        let topic = wire::metadata::MetadataRequestTopic { name: Some(topic.into()), ..Default::default() };
        let answer = self.ask(9, &MetadataRequest { topics: Some(vec![topic]), ..Default::default() })?;
        assert_eq!(answer.topics[0].error_code, 0);
        Ok(())
    }

    pub fn producer_id(&mut self) -> io::Result<(i64, i16)> {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: 60_000,
            ..Default::default()
        };
        let answer = self.ask(4, &request)?;
        assert_eq!(answer.error_code, 0);
        Ok((answer.producer_id, answer.producer_epoch))
    }

    pub fn produce(
        &mut self,
        (topic, partition): (&str, i32),
        (producer, sequence): ((i64, i16), i32),
        values: &[String],
    ) -> io::Result<PartitionProduceResponse> {
        let (id, epoch) = (ProducerId(producer.0), ProducerEpoch(producer.1));
        let mut builder = BatchBuilder::new(Compression::None).producer(id, epoch, sequence);
        for value in values {
            let timestamp = Timestamp::NONE;
            builder.push(NewRecord { timestamp, key: None, value: Some(value.as_bytes()), headers: &[] });
        }
        let records = Some(builder.build().into_bytes().into());
        let data = PartitionProduceData { index: partition, records, ..Default::default() };
        let topic = TopicProduceData { name: topic.into(), partition_data: vec![data], ..Default::default() };
        let request =
            ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() };
        Ok(self.ask(9, &request)?.responses[0].partition_responses[0].clone())
    }

    /// The topic's id as Kafka writes it.
    pub fn topic_id(&mut self, topic: &str) -> io::Result<String> {
        let topic = wire::metadata::MetadataRequestTopic { name: Some(topic.into()), ..Default::default() };
        let answer = self.ask(12, &MetadataRequest { topics: Some(vec![topic]), ..Default::default() })?;
        assert_eq!(answer.topics[0].error_code, 0);
        Ok(answer.topics[0].topic_id.to_string())
    }

    /// Fetches once.
    pub fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> io::Result<PartitionData> {
        let row = FetchPartition {
            partition,
            fetch_offset: offset,
            partition_max_bytes: 8 << 20,
            ..Default::default()
        };
        let topic = FetchTopic { topic: topic.into(), partitions: vec![row], ..Default::default() };
        let request =
            FetchRequest { max_bytes: 8 << 20, session_epoch: -1, topics: vec![topic], ..Default::default() };
        Ok(self.ask(11, &request)?.responses[0].partitions[0].clone())
    }

    /// Everything from the beginning to the high watermark: offsets and values.
    pub fn read_all(&mut self, topic: &str, partition: i32) -> io::Result<Vec<(i64, String)>> {
        let mut all = Vec::new();
        loop {
            let offset = all.last().map_or(0, |(offset, _)| offset + 1);
            let data = self.fetch(topic, partition, offset)?;
            assert_eq!(data.error_code, 0);
            if offset >= data.high_watermark {
                return Ok(all);
            }
            all.extend(records(&data).into_iter().filter(|(found, _)| *found >= offset));
        }
    }
}

/// Offsets and values.
pub fn records(data: &PartitionData) -> Vec<(i64, String)> {
    let mut all = Vec::new();
    for batch in batches(data.records.as_ref().unwrap().to_bytes()) {
        let batch = batch.unwrap();
        let records = batch.records(64 << 20).unwrap();
        for record in records.iter().map(Result::unwrap) {
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            all.push((records.offset(&record).0, value));
        }
    }
    all
}
