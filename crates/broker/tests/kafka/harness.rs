//! A whole broker in one thread over a simulated disk, and a client that speaks raw requests to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, LoadError, net};
use bytes::Bytes;
use env::sim::{Entered, SimClock, SimDisk};
use env::{Clock, SeededRandom};
use model::batch::{BatchBuilder, NewRecord, batches};
use model::compression::Compression;
use model::{Timestamp, TopicId};
use settings::BrokerSettings;
use storage::Storage;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;
use wire::{ErrorCode, Message, Request};

pub const NOW: Timestamp = Timestamp(1_700_000_000_000);

pub fn error(code: i16) -> ErrorCode {
    ErrorCode::try_from(code).unwrap()
}

pub struct Server {
    pub broker: Broker,
    pub storage: Storage,
    pub disk: Arc<SimDisk>,
    pub clock: Arc<SimClock>,
    stop: watch::Sender<bool>,
    _simulated: Arc<Entered>,
}

impl Server {
    pub async fn start() -> Server {
        Server::with(&[]).await
    }

    /// With these settings on top of the defaults.
    pub async fn with(settings: &[(&str, &str)]) -> Server {
        let disk = Arc::new(SimDisk::new(7));
        Server::on(disk, Arc::new(SimClock::new(NOW)), Arc::new(env::sim::enter()), settings).await
    }

    async fn on(
        disk: Arc<SimDisk>,
        clock: Arc<SimClock>,
        simulated: Arc<Entered>,
        settings: &[(&str, &str)],
    ) -> Server {
        let settings = BrokerSettings::new(settings.iter().copied()).unwrap();
        let random = Arc::new(SeededRandom::new(7));
        let tail_bytes_max = settings.options().memory_tail_bytes_max as usize;
        let options = storage::Options { tail_bytes_max, ..storage::Options::new("data") };
        let (storage, shards) =
            Storage::open(options, disk.clone(), clock.clone() as Arc<dyn Clock>, random.clone()).unwrap();
        for shard in shards {
            env::spawn(shard.run_simulated());
        }
        let broker = Broker::open(settings, storage.clone(), clock.clone(), random).await.unwrap();
        let (stop, _) = watch::channel(false);
        Server { broker, storage, disk, clock, stop, _simulated: simulated }
    }

    /// Closes in order and opens again from the same disk.
    pub async fn restart(self) -> Server {
        self.stop().await.start().await
    }

    /// Closes in order.
    pub async fn stop(self) -> Stopped {
        self.stop.send_replace(true);
        self.storage.close().await;
        Stopped { disk: self.disk, clock: self.clock, simulated: self._simulated }
    }

    pub fn connect(&self) -> Client {
        let (near, far) = duplex(1 << 20);
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let ends = net::Ends { local: address(9092), peer: address(50_000) };
        let service = self.broker.service(ends);
        let (options, budget) = (self.broker.net_options(), self.broker.request_budget());
        let stopped = self.stop.subscribe();
        env::spawn(async move { net::serve_connection(far, service, &options, budget, stopped).await });
        Client { stream: near, correlation_id: 0 }
    }
}

/// What a server leaves.
pub struct Stopped {
    pub disk: Arc<SimDisk>,
    pub clock: Arc<SimClock>,
    simulated: Arc<Entered>,
}

impl Stopped {
    pub async fn start(self) -> Server {
        Server::on(self.disk, self.clock, self.simulated, &[]).await
    }

    /// Tries to start; why that is refused.
    pub async fn refusal(&self) -> LoadError {
        let storage = self.open_storage();
        let settings = BrokerSettings::new([]).unwrap();
        let random = Arc::new(SeededRandom::new(7));
        let opened = Broker::open(settings, storage.clone(), self.clock.clone(), random).await;
        storage.close().await;
        opened.map(|_| ()).expect_err("it starts")
    }

    /// The storage without a broker.
    pub fn open_storage(&self) -> Storage {
        let clock = self.clock.clone() as Arc<dyn Clock>;
        let random = Arc::new(SeededRandom::new(7));
        let options = storage::Options::new("data");
        let (storage, shards) = Storage::open(options, self.disk.clone(), clock, random).unwrap();
        for shard in shards {
            env::spawn(shard.run_simulated());
        }
        storage
    }

    pub fn repair(&self) -> storage::Repaired {
        let clock = self.clock.clone() as Arc<dyn Clock>;
        let random = Arc::new(SeededRandom::new(7));
        storage::repair(storage::Options::new("data"), self.disk.clone(), clock, random, true).unwrap()
    }

    /// Changes a bit of the first byte of `found` in the files whose path contains `part`.
    pub fn damage(&self, part: &str, found: &[u8]) {
        let files = self.disk.files();
        let positions = files.iter().filter(|(path, _)| path.to_string_lossy().contains(part)).filter_map(
            |(path, bytes)| Some((path, bytes.windows(found.len()).position(|window| window == found)?)),
        );
        let mut damaged = 0;
        for (path, position) in positions {
            self.disk.flip_bit(path, position as u64, 1);
            damaged += 1;
        }
        assert!(damaged > 0, "nothing to damage");
    }
}

pub struct Client {
    pub stream: DuplexStream,
    correlation_id: i32,
}

impl Client {
    /// Sends a request and waits for its answer.
    pub async fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.send(version, request).await;
        self.receive::<R>(version).await.unwrap_or_else(|| panic!("{} was answered by closing", R::NAME))
    }

    pub async fn send<R: Request>(&mut self, version: i16, request: &R) {
        self.correlation_id += 1;
        let frame = wire::encode_request(self.correlation_id, Some("test"), version, request).unwrap();
        self.stream.write_all(&frame.to_bytes()).await.unwrap();
    }

    /// Sends without reading anything; whether the connection still takes it.
    pub async fn is_open_after<R: Request>(&mut self, version: i16, request: &R) -> bool {
        let frame = wire::encode_request(1, Some("test"), version, request).unwrap();
        self.stream.write_all(&frame.to_bytes()).await.is_ok()
    }

    pub async fn receive<R: Request>(&mut self, version: i16) -> Option<R::Response> {
        let frame = self.frame().await?;
        let (_, mut body) = wire::decode_response_header(R::KEY, version, frame).unwrap();
        Some(R::Response::decode(&mut body, version).unwrap())
    }

    pub async fn frame(&mut self) -> Option<Bytes> {
        let length = self.stream.read_i32().await.ok()?;
        let mut bytes = vec![0; length as usize];
        self.stream.read_exact(&mut bytes).await.ok()?;
        Some(bytes.into())
    }

    pub async fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> TopicId {
        use wire::create_topics::{CreatableTopic, CreatableTopicConfig};
        let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
            name: (*name).into(),
            value: Some((*value).into()),
            ..Default::default()
        };
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.iter().map(config).collect(),
            ..Default::default()
        };
        let request = wire::CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let response = self.ask(7, &request).await;
        assert_eq!((response.topics[0].error_code, &response.topics[0].error_message), (0, &None));
        response.topics[0].topic_id
    }

    /// Produces records with acks=all; the answer for the partition.
    pub async fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        records: Bytes,
    ) -> wire::produce::PartitionProduceResponse {
        let response = self.ask(9, &produce_request(topic, partition, records, -1)).await;
        response.responses[0].partition_responses[0].clone()
    }

    /// Fetches once, without a session, by name; the answer for the partition.
    pub async fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> wire::fetch::PartitionData {
        let response = self.ask(12, &fetch_request(topic, partition, offset)).await;
        response.responses[0].partitions[0].clone()
    }

    pub async fn list_offset(&mut self, topic: &str, timestamp: i64) -> (i16, i64, i64) {
        let response = self.ask(11, &list_offsets_request(topic, timestamp)).await;
        let answer = &response.topics[0].partitions[0];
        (answer.error_code, answer.timestamp, answer.offset)
    }
}

pub fn list_offsets_request(topic: &str, timestamp: i64) -> wire::ListOffsetsRequest {
    use wire::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
    let partition = ListOffsetsPartition { timestamp, ..Default::default() };
    let topic = ListOffsetsTopic { name: topic.into(), partitions: vec![partition], ..Default::default() };
    wire::ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() }
}

pub fn produce_request(topic: &str, partition: i32, records: Bytes, acks: i16) -> wire::ProduceRequest {
    use wire::produce::{PartitionProduceData, TopicProduceData};
    let data = PartitionProduceData { index: partition, records: Some(records.into()), ..Default::default() };
    let topic = TopicProduceData { name: topic.into(), partition_data: vec![data], ..Default::default() };
    wire::ProduceRequest { acks, timeout_ms: 1000, topic_data: vec![topic], ..Default::default() }
}

pub fn fetch_request(topic: &str, partition: i32, offset: i64) -> wire::FetchRequest {
    use wire::fetch::{FetchPartition, FetchTopic};
    let partition = FetchPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topic = FetchTopic { topic: topic.into(), partitions: vec![partition], ..Default::default() };
    wire::FetchRequest {
        max_wait_ms: 100,
        min_bytes: 1,
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    }
}

/// One batch of records with these values, all of them now.
pub fn batch(values: &[&str]) -> Bytes {
    batch_at(Compression::None, values.iter().map(|value| (NOW.0, *value)))
}

pub fn batch_at<'a>(codec: Compression, records: impl IntoIterator<Item = (i64, &'a str)>) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for (timestamp, value) in records {
        builder.push(NewRecord {
            timestamp: Timestamp(timestamp),
            key: Some(b"key"),
            value: Some(value.as_bytes()),
            headers: &[],
        });
    }
    builder.build().into_bytes()
}

/// Offsets and values of what a Fetch gave.
pub fn values(data: &wire::fetch::PartitionData) -> Vec<(i64, String)> {
    let bytes = data.records.as_ref().expect("records are never null").to_bytes();
    let mut values = Vec::new();
    for batch in batches(bytes) {
        let batch = batch.unwrap();
        let records = batch.records(1 << 23).unwrap();
        for record in records.iter() {
            let record = record.unwrap();
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            values.push((records.offset(&record).0, value));
        }
    }
    values
}

/// Runs until nothing is left to do but wait for time.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

pub fn api_versions() -> wire::ApiVersionsRequest {
    wire::ApiVersionsRequest {
        client_software_name: "test".into(),
        client_software_version: "1".into(),
        ..Default::default()
    }
}

/// Sends these bytes as one frame.
pub async fn send_frame(client: &mut Client, bytes: &[u8]) {
    client.stream.write_all(&(bytes.len() as u32).to_be_bytes()).await.unwrap();
    client.stream.write_all(bytes).await.unwrap();
}
