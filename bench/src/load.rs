//! The loads: Kafka's own ProducerPerformance, librdkafka, and raw connections that send one record at a time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use env::{Clock, SystemClock};
use model::batch::{BatchBuilder, NewRecord};
use model::compression::Compression;
use wire::create_topics::CreatableTopic;
use wire::produce::{PartitionProduceData, TopicProduceData};
use wire::{CreateTopicsRequest, Message, ProduceRequest, Request};

use crate::Arguments;
use crate::server::{Server, connect};

const RECORD_BYTES: usize = 1024;

pub struct Measure {
    pub name: &'static str,
    kind: Kind,
    partitions: i32,
    /// Producers, or clients.
    clients: usize,
    records: usize,
}

enum Kind {
    /// Kafka's ProducerPerformance, with this batch size.
    Java(usize),
    /// librdkafka, with this batch size; then read back.
    Rdkafka(usize),
    /// One record per request, one request in flight per connection.
    Single,
}

const KIB: usize = 1024;

pub const MEASURES: &[Measure] = &[
    measure("single record, 1 client, 1 partition", Kind::Single, 1, 1, 2_000),
    measure("single record, 16 clients, 1 partition", Kind::Single, 1, 16, 16_000),
    measure("single record, 16 clients, 16 partitions", Kind::Single, 16, 16, 16_000),
    measure("single record, 64 clients, 16 partitions", Kind::Single, 16, 64, 48_000),
    measure("Java 64 KiB batches, 1 partition", Kind::Java(64 * KIB), 1, 1, 300_000),
    measure("Java 64 KiB batches, 16 partitions", Kind::Java(64 * KIB), 16, 1, 300_000),
    measure("Java default batching (16 KiB), 16 partitions", Kind::Java(16 * KIB), 16, 1, 300_000),
    measure("librdkafka 1 MiB batches, 1 producer, 1 partition", Kind::Rdkafka(KIB * KIB), 1, 1, 600_000),
    measure("librdkafka 1 MiB batches, 1 producer, 16 partitions", Kind::Rdkafka(KIB * KIB), 16, 1, 600_000),
    measure("librdkafka 1 MiB batches, 16 producers, 1 partition", Kind::Rdkafka(KIB * KIB), 1, 16, 600_000),
    measure(
        "librdkafka 1 MiB batches, 16 producers, 16 partitions",
        Kind::Rdkafka(KIB * KIB),
        16,
        16,
        600_000,
    ),
];

const fn measure(name: &'static str, kind: Kind, partitions: i32, clients: usize, records: usize) -> Measure {
    Measure { name, kind, partitions, clients, records }
}

/// Names of the figures: `MB/s` is 10^6 bytes of record values.
pub type Figures = Vec<(&'static str, f64)>;

impl Measure {
    pub fn take(&self, server: &mut Server, arguments: &Arguments) -> anyhow::Result<Figures> {
        let topic = server.new_topic();
        create(&server.address, &topic, self.partitions)?;
        let cpu = server.cpu_seconds()?;
        let gigabytes = (self.records * RECORD_BYTES) as f64 / 1e9;
        let mut figures = match self.kind {
            Kind::Single => single(&server.address, &topic, self.partitions, self.clients, self.records)?,
            Kind::Java(batch) => vec![("MB/s", self.java(&server.address, &topic, batch, arguments)?)],
            Kind::Rdkafka(batch) => {
                let sizes = [self.clients, self.records, RECORD_BYTES, batch];
                let seconds =
                    rdkafka(arguments, "produce", &server.address, &topic, self.partitions, &sizes)?;
                vec![("MB/s", gigabytes * 1000.0 / seconds)]
            }
        };
        figures.push(("broker CPU s/GB", (server.cpu_seconds()? - cpu) / gigabytes));
        if matches!(self.kind, Kind::Rdkafka(_)) {
            let cpu = server.cpu_seconds()?;
            let seconds =
                rdkafka(arguments, "consume", &server.address, &topic, self.partitions, &[self.records])?;
            figures.push(("consume MB/s", gigabytes * 1000.0 / seconds));
            figures.push(("consume broker CPU s/GB", (server.cpu_seconds()? - cpu) / gigabytes));
        }
        Ok(figures)
    }

    fn java(&self, address: &str, topic: &str, batch: usize, arguments: &Arguments) -> anyhow::Result<f64> {
        let output = Command::new("java")
            .args(["-Xmx512m", "-cp", std::fs::read_to_string(&arguments.classpath)?.trim()])
            .args(["org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records"])
            .arg(self.records.to_string())
            .args(["--record-size", &RECORD_BYTES.to_string(), "--throughput", "-1", "--producer-props"])
            .args([&format!("bootstrap.servers={address}"), "acks=all", &format!("batch.size={batch}")])
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        // "300000 records sent, 150000.0 records/sec (146.48 MB/sec), ...": the last such line is the whole run's.
        let line = text.lines().rfind(|line| line.contains("records/sec"));
        let rate =
            line.and_then(|line| line.split(", ").nth(1)?.split_whitespace().next()?.parse::<f64>().ok());
        let rate = rate.with_context(|| {
            format!("ProducerPerformance said {text} {}", String::from_utf8_lossy(&output.stderr))
        })?;
        Ok(rate * RECORD_BYTES as f64 / 1e6)
    }
}

/// One record per request, one request in flight per client.
pub fn single(
    address: &str,
    topic: &str,
    partitions: i32,
    clients: usize,
    records: usize,
) -> anyhow::Result<Figures> {
    let each = records / clients;
    let barrier = Arc::new(Barrier::new(clients + 1));
    let mut threads = Vec::new();
    for client in 0..clients {
        let (topic, barrier) = (topic.to_string(), barrier.clone());
        let partition = client as i32 % partitions;
        let mut stream = connect(address)?;
        let body = move || -> anyhow::Result<Vec<Duration>> {
            let frame = produce_frame(&topic, partition);
            let mut took = Vec::with_capacity(each);
            barrier.wait();
            for _ in 0..each {
                let began = Instant::now();
                stream.write_all(&frame)?;
                check(&read_frame(&mut stream)?)?;
                took.push(began.elapsed());
            }
            Ok(took)
        };
        threads.push(std::thread::spawn(body));
    }
    barrier.wait();
    let began = Instant::now();
    let mut took = Vec::new();
    for thread in threads {
        took.extend(thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))??);
    }
    let seconds = began.elapsed().as_secs_f64();
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    Ok(vec![("records/s", took.len() as f64 / seconds), ("p50 ms", at(0.5)), ("p99 ms", at(0.99))])
}

fn rdkafka(
    arguments: &Arguments,
    what: &str,
    address: &str,
    topic: &str,
    partitions: i32,
    sizes: &[usize],
) -> anyhow::Result<f64> {
    let mut command = Command::new(&arguments.rdkafka);
    command.args([what, address, topic, &partitions.to_string()]);
    command.args(sizes.iter().map(ToString::to_string));
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let figures: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [records, seconds, errors] = figures[..] else {
        anyhow::bail!("librdkafka said {text} {}", String::from_utf8_lossy(&output.stderr))
    };
    let expected = if what == "consume" { sizes[0] } else { sizes[1] };
    let expected = if what == "consume" { expected } else { expected / sizes[0] * sizes[0] };
    ensure!(errors == 0.0 && records as usize >= expected, "{what}: {records} records, {errors} errors");
    Ok(seconds)
}

/// Creates a topic and gets one record acknowledged.
pub fn first_ack(address: &str) -> anyhow::Result<()> {
    create(address, "bench-0", 1)
}

pub fn create(address: &str, topic: &str, partitions: i32) -> anyhow::Result<()> {
    let topic = CreatableTopic {
        name: topic.into(),
        num_partitions: partitions,
        replication_factor: 1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
    let mut stream = connect(address)?;
    stream.write_all(&wire::encode_request(1, None, 5, &request)?.to_bytes())?;
    let answer = decode::<CreateTopicsRequest>(read_frame(&mut stream)?, 5)?;
    ensure!(
        matches!(answer.topics[0].error_code, 0 | 36),
        "creating failed: {}",
        answer.topics[0].error_code
    );
    // Kafka answers before every partition has its leader: a topic is ready when each takes a record.
    let name = &request.topics[0].name;
    let began = Instant::now();
    for partition in 0..partitions {
        let frame = produce_frame(name, partition);
        loop {
            stream.write_all(&frame)?;
            match check(&read_frame(&mut stream)?) {
                Ok(()) => break,
                Err(error) if began.elapsed() > READY => return Err(error),
                Err(_) => std::thread::park_timeout(Duration::from_millis(1)),
            }
        }
    }
    Ok(())
}

/// How long a new topic may take until all its partitions have a leader.
const READY: Duration = Duration::from_secs(20);

fn produce_frame(topic: &str, partition: i32) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    let value = [b'x'; RECORD_BYTES];
    builder.push(NewRecord {
        timestamp: SystemClock::new().now(),
        key: None,
        value: Some(&value),
        headers: &[],
    });
    let records = builder.build().into_bytes();
    let data = PartitionProduceData { index: partition, records: Some(records.into()), ..Default::default() };
    let topic = TopicProduceData { name: topic.into(), partition_data: vec![data], ..Default::default() };
    let request =
        ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() };
    wire::encode_request(1, Some("bench"), 9, &request).expect("our own request can be said").to_bytes()
}

fn check(answer: &Bytes) -> anyhow::Result<()> {
    let answer = decode::<ProduceRequest>(answer.clone(), 9)?;
    let code = answer.responses[0].partition_responses[0].error_code;
    ensure!(code == 0, "producing failed: {code}");
    Ok(())
}

pub fn decode<R: Request>(frame: Bytes, version: i16) -> anyhow::Result<R::Response> {
    let (_, mut body) = wire::decode_response_header(R::KEY, version, frame)?;
    Ok(R::Response::decode(&mut body, version)?)
}

pub fn read_frame(stream: &mut TcpStream) -> anyhow::Result<Bytes> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame)?;
    Ok(frame.into())
}
