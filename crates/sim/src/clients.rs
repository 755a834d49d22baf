//! Clients that remember what they were told.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use env::{Clock, Random, SeededRandom};
use model::batch::{BatchBuilder, NewRecord, batches};
use model::compression::Compression;
use model::{ProducerEpoch, ProducerId, Timestamp};
use wire::create_topics::{CreatableTopic, CreatableTopicConfig};
use wire::fetch::{FetchPartition, FetchTopic, PartitionData};
use wire::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use wire::produce::{PartitionProduceData, TopicProduceData};
use wire::{
    ErrorCode, FetchRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest, ProduceRequest,
};

use crate::check::{Known, Partition};
use crate::network::{Broken, Connection, Network};

/// The topics that clients use, and how many partitions each has.
pub const TOPICS: [&str; 2] = ["orders", "parcels"];
pub const PARTITIONS: i32 = 2;

/// What outlives the broker: what clients know, and the log of the run.
#[derive(Clone)]
pub struct Memory {
    pub known: Arc<Mutex<Known>>,
    pub log: Arc<Mutex<String>>,
    pub random: Arc<SeededRandom>,
}

impl Memory {
    pub fn note(&self, clock: &dyn Clock, what: &str) {
        let mut log = self.log.lock().expect("one thread");
        let _ = writeln!(log, "{:>12?} {what}", clock.monotonic());
    }

    pub fn known<T>(&self, tell: impl FnOnce(&mut Known) -> T) -> T {
        tell(&mut self.known.lock().expect("one thread"))
    }
}

/// A producer as it is between two incarnations of the broker.
#[derive(Clone, Debug)]
pub struct Producer {
    pub name: usize,
    pub idempotent: bool,
    id: Option<(i64, i16)>,
    sequences: BTreeMap<Partition, i32>,
    /// An idempotent producer repeats this until it knows what became of it.
    in_doubt: Option<Sending>,
    sent: u64,
}

#[derive(Clone, Debug)]
struct Sending {
    partition: Partition,
    values: Vec<String>,
    codec: Compression,
    padding: usize,
    sequence: i32,
}

impl Producer {
    pub fn new(name: usize, idempotent: bool) -> Producer {
        Producer { name, idempotent, id: None, sequences: BTreeMap::new(), in_doubt: None, sent: 0 }
    }

    /// Produces until the broker goes away; `state` keeps what must be known after that.
    pub async fn run(state: Arc<Mutex<Producer>>, network: Network, memory: Memory, clock: Arc<dyn Clock>) {
        loop {
            let mut connection = network.connect();
            while Producer::send(&state, &mut connection, &memory, &*clock).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(memory.random.below(20))).await;
            }
            tokio::time::sleep(Duration::from_millis(5 + memory.random.below(50))).await;
        }
    }

    async fn send(
        state: &Mutex<Producer>,
        connection: &mut Connection,
        memory: &Memory,
        clock: &dyn Clock,
    ) -> Result<(), Broken> {
        let mut producer = state.lock().expect("one thread").clone();
        if producer.idempotent && producer.id.is_none() {
            let Some(id) = producer_id(connection).await? else { return Ok(()) };
            producer.id = Some(id);
        }
        let sending = match producer.in_doubt.take() {
            Some(sending) => sending,
            None => producer.draw(&memory.random),
        };
        producer.in_doubt = producer.idempotent.then(|| sending.clone());
        *state.lock().expect("one thread") = producer.clone();

        let partition = &sending.partition;
        let answer = produce(connection, partition, sending.batch(producer.id, clock.now())).await;
        let told = match &answer {
            Err(Broken) => "in doubt".to_string(),
            Ok(Err(error)) => error.clone(),
            Ok(Ok(base_offset)) => {
                for (value, offset) in sending.values.iter().zip(*base_offset..) {
                    memory.known(|known| known.acknowledged(partition, offset, value));
                }
                producer.in_doubt = None;
                let next = sending.sequence + sending.values.len() as i32;
                producer.sequences.insert(partition.clone(), next);
                *state.lock().expect("one thread") = producer.clone();
                format!("at {base_offset}")
            }
        };
        let (topic, partition) = partition;
        let what =
            format!("producer {} sent {:?} to {topic}-{partition}: {told}", producer.name, sending.values);
        memory.note(clock, &what);
        answer.map(drop)
    }

    fn draw(&mut self, random: &SeededRandom) -> Sending {
        let topic = TOPICS[random.below(TOPICS.len() as u64) as usize];
        let partition = (topic.to_string(), random.below(PARTITIONS as u64) as i32);
        let values = (0..1 + random.below(5)).map(|_| {
            self.sent += 1;
            format!("p{}-{}", self.name, self.sent)
        });
        Sending {
            values: values.collect(),
            codec: Compression::ALL[random.below(5) as usize],
            // Now and then a batch that goes straight to its segment.
            padding: if random.chance(8) { 40_000 } else { random.below(200) as usize },
            sequence: self.sequences.get(&partition).copied().unwrap_or(0),
            partition,
        }
    }
}

impl Sending {
    fn batch(&self, producer: Option<(i64, i16)>, now: Timestamp) -> bytes::Bytes {
        // Padding that does not compress away.
        let padding: Vec<u8> =
            (0..self.padding as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut builder = BatchBuilder::new(self.codec);
        if let Some((id, epoch)) = producer {
            builder = builder.producer(ProducerId(id), ProducerEpoch(epoch), self.sequence);
        }
        for value in &self.values {
            builder.push(NewRecord {
                timestamp: now,
                key: Some(&padding),
                value: Some(value.as_bytes()),
                headers: &[],
            });
        }
        builder.build().into_bytes()
    }
}

/// An id for an idempotent producer; `None` where there is none now.
pub async fn producer_id(connection: &mut Connection) -> Result<Option<(i64, i16)>, Broken> {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    let answer = connection.ask(4, &request).await?;
    Ok((answer.error_code == 0).then_some((answer.producer_id, answer.producer_epoch)))
}

/// Produces a batch; its first offset, or the error's name.
pub async fn produce(
    connection: &mut Connection,
    partition: &Partition,
    batch: bytes::Bytes,
) -> Result<Result<i64, String>, Broken> {
    let (topic, index) = partition;
    let data = PartitionProduceData { index: *index, records: Some(batch.into()), ..Default::default() };
    let topic =
        TopicProduceData { name: topic.as_str().into(), partition_data: vec![data], ..Default::default() };
    let request =
        ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() };
    let answer = connection.ask(9, &request).await?;
    let answer = &answer.responses[0].partition_responses[0];
    Ok(match ErrorCode::try_from(answer.error_code) {
        Ok(ErrorCode::None) => Ok(answer.base_offset),
        Ok(code) => Err(code.name().to_string()),
        Err(_) => Err("an unknown error".to_string()),
    })
}

/// Reads partitions from random places and compares with what is known.
pub async fn consume(network: Network, memory: Memory, clock: Arc<dyn Clock>) {
    loop {
        let mut connection = network.connect();
        loop {
            let topic = TOPICS[memory.random.below(TOPICS.len() as u64) as usize];
            let partition = (topic.to_string(), memory.random.below(PARTITIONS as u64) as i32);
            let offset = memory.random.below(60) as i64;
            let floor = memory.known(|known| known.highest(&partition));
            let Ok(data) = fetch(&mut connection, &partition, offset).await else { break };
            if data.error_code == 0 {
                let records = records(&data);
                memory.known(|known| {
                    known.high_watermark(&partition, floor, data.high_watermark);
                    records.iter().for_each(|(offset, value)| known.read(&partition, *offset, value));
                });
                let what = format!(
                    "read {} records of {topic}-{} from {offset}, high watermark {}",
                    records.len(),
                    partition.1,
                    data.high_watermark
                );
                memory.note(&*clock, &what);
            }
            tokio::time::sleep(Duration::from_millis(memory.random.below(40))).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Creates and deletes topics that nobody else uses.
pub async fn administrate(network: Network, memory: Memory, clock: Arc<dyn Clock>) {
    loop {
        let mut connection = network.connect();
        loop {
            let name = format!("scratch-{}", memory.random.below(3));
            let answer = match memory.random.chance(2) {
                true => {
                    let topic = wire::metadata::MetadataRequestTopic {
                        name: Some(name.as_str().into()),
                        ..Default::default()
                    };
                    let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
                    connection.ask(9, &request).await.map(|answer| answer.topics[0].error_code)
                }
                false => {
                    let names = vec![name.as_str().into()];
                    let request = wire::DeleteTopicsRequest {
                        topic_names: names,
                        timeout_ms: 1000,
                        ..Default::default()
                    };
                    connection.ask(4, &request).await.map(|answer| answer.responses[0].error_code)
                }
            };
            let Ok(code) = answer else { break };
            memory.note(&*clock, &format!("administered {name}: {code}"));
            tokio::time::sleep(Duration::from_millis(memory.random.below(100))).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Makes sure that the topics are there; `false` where the broker cannot be asked.
pub async fn create_topics(network: &Network) -> bool {
    for topic in TOPICS {
        // One segment each: many would only make the run slower.
        let whole = config("segment.ms", "604800000");
        if !create_topic(network, topic, PARTITIONS, vec![whole]).await {
            return false;
        }
    }
    true
}

pub fn config(name: &str, value: &str) -> CreatableTopicConfig {
    CreatableTopicConfig { name: name.into(), value: Some(value.into()), ..Default::default() }
}

/// Makes sure that a topic is there; `false` where the broker cannot be asked.
pub async fn create_topic(
    network: &Network,
    name: &str,
    partitions: i32,
    configs: Vec<CreatableTopicConfig>,
) -> bool {
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: 1,
        configs,
        ..Default::default()
    };
    let request = wire::CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
    for _ in 0..20 {
        if let Ok(answer) = network.connect().ask(5, &request).await {
            let code = answer.topics[0].error_code;
            if code == 0 || code == ErrorCode::TopicAlreadyExists.code() {
                return true;
            }
        }
    }
    false
}

/// What could be read of a partition.
pub struct Whole {
    pub log_start: i64,
    pub records: BTreeMap<i64, String>,
    /// Up to the high watermark, without an error.
    pub complete: bool,
}

/// Everything that a partition holds, for the last judgement.
pub async fn read_whole(network: &Network, partition: &Partition) -> Whole {
    let mut all = BTreeMap::new();
    let mut offset = 0;
    let mut log_start = 0;
    let mut failures = 0;
    let mut connection = network.connect();
    loop {
        let data = match fetch(&mut connection, partition, offset).await {
            Ok(data) if data.error_code == 0 => data,
            _ if failures < 50 => {
                failures += 1;
                connection = network.connect();
                continue;
            }
            _ => return Whole { log_start, records: all, complete: false },
        };
        log_start = data.log_start_offset;
        let before = all.len();
        all.extend(records(&data));
        offset = all.last_key_value().map_or(0, |(last, _)| last + 1);
        if offset >= data.high_watermark {
            return Whole { log_start, records: all, complete: true };
        }
        if all.len() == before {
            failures += 1;
            if failures > 50 {
                return Whole { log_start, records: all, complete: false };
            }
        }
    }
}

pub async fn fetch(
    connection: &mut Connection,
    partition: &Partition,
    offset: i64,
) -> Result<PartitionData, Broken> {
    let row = FetchPartition {
        partition: partition.1,
        fetch_offset: offset,
        partition_max_bytes: 50_000,
        ..Default::default()
    };
    let request = FetchRequest {
        max_wait_ms: 50,
        min_bytes: 1,
        max_bytes: 100_000,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: partition.0.as_str().into(),
            partitions: vec![row],
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut answer = connection.ask(11, &request).await?;
    Ok(answer.responses.remove(0).partitions.remove(0))
}

/// Where a partition begins; `None` where the broker says no.
pub async fn log_start(connection: &mut Connection, partition: &Partition) -> Result<Option<i64>, Broken> {
    const EARLIEST: i64 = -2;
    let row =
        ListOffsetsPartition { partition_index: partition.1, timestamp: EARLIEST, ..Default::default() };
    let topic =
        ListOffsetsTopic { name: partition.0.as_str().into(), partitions: vec![row], ..Default::default() };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    let answer = connection.ask(5, &request).await?;
    let answer = &answer.topics[0].partitions[0];
    Ok((answer.error_code == 0).then_some(answer.offset))
}

fn records(data: &PartitionData) -> Vec<(i64, String)> {
    let bytes = data.records.as_ref().map(|records| records.to_bytes()).unwrap_or_default();
    let mut found = Vec::new();
    for batch in batches(bytes) {
        let batch = batch.expect("the broker sends whole batches");
        let records = batch.records(1 << 24).expect("a stored batch can be read");
        for record in records.iter() {
            let record = record.expect("a stored record can be read");
            let value = String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned();
            found.push((records.offset(&record).0, value));
        }
    }
    found
}
