//! Carries out compat/scenarios.json with rskafka. See compat/README.md.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rskafka::BackoffConfig;
use rskafka::client::error::Error as ClientError;
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::{Record, RecordAndOffset};
use serde_json::{Map, Value, json};

const PATIENCE: Duration = Duration::from_secs(20);
/// The client makes one batch of what it is given at once, however large.
const BATCH_RECORDS: usize = 500;

enum Failed {
    /// This client cannot do that.
    Skip(String),
    /// An error with the protocol's name, as the scenarios write it.
    Named(String, String),
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        let text = error.to_string();
        let name = match error {
            ClientError::ServerError { protocol_error, .. } => screaming(&format!("{protocol_error:?}")),
            _ => "error".to_owned(),
        };
        Failed::Named(name, text)
    }
}

/// `TopicAlreadyExists` as the protocol writes it.
fn screaming(name: &str) -> String {
    let mut screamed = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !screamed.is_empty() {
            screamed.push('_');
        }
        screamed.extend(letter.to_uppercase());
    }
    screamed
}

fn skip<T>(why: &str) -> Result<T, Failed> {
    Err(Failed::Skip(why.to_owned()))
}

struct Driver {
    client: Client,
    /// Put before every name, so that scenarios and runs do not meet.
    prefix: String,
    /// The number of the next generated record, by topic.
    generated: HashMap<String, usize>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let backoff = BackoffConfig { deadline: Some(PATIENCE), ..BackoffConfig::default() };
    let client = ClientBuilder::new(vec![arguments[1].clone()]).backoff_config(backoff).build().await?;
    let mut driver = Driver { client, prefix: String::new(), generated: HashMap::new() };
    let mut scenarios = String::new();
    std::io::stdin().read_to_string(&mut scenarios)?;
    let scenarios: Value = serde_json::from_str(&scenarios)?;
    for (number, scenario) in scenarios.as_array().into_iter().flatten().enumerate() {
        driver.prefix = format!("{}-{number}-", arguments[2]);
        driver.generated.clear();
        println!("{}", driver.run(scenario).await);
        std::io::stdout().flush()?;
    }
    Ok(())
}

impl Driver {
    async fn run(&mut self, scenario: &Value) -> Value {
        let mut observed = Vec::new();
        let report = |outcome: &str, reason: String, observed: Vec<Value>| json!({"scenario": scenario["name"], "outcome": outcome, "reason": reason, "observed": observed});
        for (number, step) in scenario["steps"].as_array().into_iter().flatten().enumerate() {
            let at = format!("step {} ({}): ", number + 1, step["do"].as_str().unwrap_or_default());
            let expected = step["error"].as_str();
            let done = tokio::time::timeout(PATIENCE * 2, self.until_seen(step)).await;
            match done
                .unwrap_or_else(|_| Err(Failed::Named("error".to_owned(), "no answer in time".to_owned())))
            {
                Ok(_) if expected.is_some() => {
                    return report("failed", format!("{at}no {}", expected.unwrap_or_default()), observed);
                }
                Ok(seen) => observed.push(seen),
                Err(Failed::Skip(why)) => return report("skip", why, observed),
                Err(Failed::Named(name, _)) if Some(name.as_str()) == expected => observed.push(json!(name)),
                Err(Failed::Named(name, text)) => {
                    return report("failed", format!("{at}{name}: {text}"), observed);
                }
            }
        }
        report("ok", String::new(), observed)
    }

    /// One step; one with "until" again and again, until that is seen or patience ends.
    async fn until_seen(&mut self, step: &Value) -> Result<Value, Failed> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.carry_out(step).await?;
            if step.get("until").is_none_or(|wanted| *wanted == seen) || Instant::now() > deadline {
                return Ok(seen);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn carry_out(&mut self, step: &Value) -> Result<Value, Failed> {
        let topic = format!("{}{}", self.prefix, step["topic"].as_str().unwrap_or_default());
        match step["do"].as_str().unwrap_or_default() {
            "create_topic" if step.get("configs").is_some() => {
                skip("the client creates topics without settings")
            }
            "create_topic" => {
                let partitions = step["partitions"].as_i64().unwrap_or(1) as i32;
                self.client.controller_client()?.create_topic(&topic, partitions, 1, 5000).await?;
                Ok(Value::Null)
            }
            "delete_topic" => {
                self.client.controller_client()?.delete_topic(&topic, 5000).await?;
                Ok(Value::Null)
            }
            "list_topics" => {
                let topics = self.client.list_topics().await?;
                let mut own: Vec<_> =
                    topics.iter().filter_map(|one| one.name.strip_prefix(&self.prefix)).collect();
                own.sort_unstable();
                Ok(json!(own))
            }
            "produce" => self.produce(step, &topic).await,
            "consume" => self.consume(step, &topic).await,
            "list_offsets" => {
                let mut found = Map::new();
                for partition in self.partitions(&topic).await? {
                    let offset =
                        self.partition(&topic, partition).await?.get_offset(place(&step["at"])).await?;
                    found.insert(partition.to_string(), json!(offset));
                }
                Ok(Value::Object(found))
            }
            "delete_records" => {
                for (partition, offset) in step["before"].as_object().into_iter().flatten() {
                    let client = self.partition(&topic, partition.parse().unwrap_or(0)).await?;
                    client.delete_records(offset.as_i64().unwrap_or(0), 5000).await?;
                }
                Ok(Value::Null)
            }
            "pause" => {
                tokio::time::sleep(Duration::from_millis(step["ms"].as_u64().unwrap_or(0))).await;
                Ok(Value::Null)
            }
            "join" => skip("the client has no groups"),
            "transaction" => skip("the client has no transactions"),
            other => skip(&format!("the client has no call for `{other}`")),
        }
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<i32>, Failed> {
        let topics = self.client.list_topics().await?;
        Ok(topics.into_iter().filter(|one| one.name == topic).flat_map(|one| one.partitions).collect())
    }

    async fn partition(&self, topic: &str, partition: i32) -> Result<Arc<PartitionClient>, Failed> {
        Ok(Arc::new(self.client.partition_client(topic, partition, UnknownTopicHandling::Retry).await?))
    }

    async fn produce(&mut self, step: &Value, topic: &str) -> Result<Value, Failed> {
        if step["acks"].as_str().is_some_and(|acks| acks != "all") {
            return skip("the client always asks for acks=all");
        }
        if step["idempotent"] == true {
            return skip("the client has no idempotent producer");
        }
        let codec = match step["codec"].as_str().unwrap_or("none") {
            "gzip" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd,
            _ => Compression::NoCompression,
        };
        let mut batches: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
        for (number, record) in step["records"].as_array().into_iter().flatten().enumerate() {
            let fields = record.as_array().map(Vec::as_slice).unwrap_or_default();
            if fields.len() > 3 {
                return skip("the client keeps one header of each name");
            }
            let timestamp = step["timestamps"][number]
                .as_i64()
                .and_then(DateTime::from_timestamp_millis)
                .unwrap_or_else(Utc::now);
            let bytes = |value: &Value| value.as_str().map(|text| text.as_bytes().to_vec());
            let record = Record {
                key: bytes(&fields[1]),
                value: bytes(&fields[2]),
                headers: BTreeMap::new(),
                timestamp,
            };
            batches.entry(fields[0].as_i64().unwrap_or(0) as i32).or_default().push(record);
        }
        let generate = &step["generate"];
        for _ in 0..generate["count"].as_u64().unwrap_or(0) {
            let Some(partition) = generate["partition"].as_i64() else {
                return skip("the client has no partitioner");
            };
            let number = self.generated.entry(topic.to_owned()).or_default();
            // Rust's own padding ends at 65535.
            let mut value = number.to_string().into_bytes();
            value.resize(generate["value_bytes"].as_u64().unwrap_or(0) as usize, b'.');
            *number += 1;
            let record = Record {
                key: None,
                value: Some(value),
                headers: BTreeMap::new(),
                timestamp: Utc::now(),
            };
            batches.entry(partition as i32).or_default().push(record);
        }
        for (partition, records) in batches {
            let client = self.partition(topic, partition).await?;
            for batch in records.chunks(BATCH_RECORDS) {
                client.produce(batch.to_vec(), codec).await?;
            }
        }
        Ok(Value::Null)
    }

    async fn consume(&mut self, step: &Value, topic: &str) -> Result<Value, Failed> {
        if step.get("group").is_some() {
            return skip("the client has no groups");
        }
        let mut positions = Vec::new();
        for partition in self.partitions(topic).await? {
            let client = self.partition(topic, partition).await?;
            let offset = client.get_offset(place(step.get("from").unwrap_or(&json!("beginning")))).await?;
            positions.push((partition, client, offset));
        }
        if let Some(records) = step.get("produce_meanwhile") {
            self.produce(&json!({ "records": records }), topic).await?;
        }
        let count = step["count"].as_u64().unwrap_or(0) as usize;
        let mut read: Vec<(i32, RecordAndOffset)> = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            // More than was asked for is seen too, if it is there.
            let last = read.len() >= count || Instant::now() > deadline;
            for (partition, client, offset) in &mut positions {
                let (records, _) = client.fetch_records(*offset, 1..5_000_000, 200).await?;
                for record in records {
                    *offset = record.offset + 1;
                    read.push((*partition, record));
                }
            }
            if last {
                break;
            }
        }
        read.sort_by_key(|(partition, record)| (*partition, record.offset));
        Ok(if step["summary"] == true { summary(&read) } else { lines(step, &read) })
    }
}

fn place(at: &Value) -> OffsetAt {
    match at {
        Value::Number(millis) => {
            OffsetAt::Timestamp(millis.as_i64().and_then(DateTime::from_timestamp_millis).unwrap_or_default())
        }
        Value::String(name) if name == "latest" || name == "end" => OffsetAt::Latest,
        _ => OffsetAt::Earliest,
    }
}

fn text(bytes: Option<&Vec<u8>>) -> Value {
    bytes.map_or(Value::Null, |bytes| json!(String::from_utf8_lossy(bytes)))
}

fn lines(step: &Value, read: &[(i32, RecordAndOffset)]) -> Value {
    let line = |(partition, one): &(i32, RecordAndOffset)| {
        let record = &one.record;
        let mut line =
            vec![json!(partition), json!(one.offset), text(record.key.as_ref()), text(record.value.as_ref())];
        if step["timestamps"] == "recent" {
            let recent = (Utc::now() - record.timestamp).abs() < chrono::Duration::minutes(1);
            line.push(json!(if recent { "recent" } else { "not recent" }));
        } else if step["timestamps"] == true {
            line.push(json!(record.timestamp.timestamp_millis()));
        }
        Value::Array(line)
    };
    Value::Array(read.iter().map(line).collect())
}

fn summary(read: &[(i32, RecordAndOffset)]) -> Value {
    let value = |one: &RecordAndOffset| one.record.value.clone().unwrap_or_default();
    let number = |one: &RecordAndOffset| {
        String::from_utf8_lossy(&value(one)).trim_end_matches('.').parse::<u64>().unwrap_or(0)
    };
    let mut by_partition: BTreeMap<String, usize> = BTreeMap::new();
    for (partition, _) in read {
        *by_partition.entry(partition.to_string()).or_default() += 1;
    }
    json!({
        "records": read.len(),
        "value_bytes": read.iter().map(|(_, one)| value(one).len()).sum::<usize>(),
        "in_order": read.windows(2).all(|pair| pair[0].0 != pair[1].0 || number(&pair[0].1) < number(&pair[1].1)),
        "first": read.first().map_or(-1, |(_, one)| one.offset),
        "last": read.last().map_or(-1, |(_, one)| one.offset),
        "by_partition": by_partition,
    })
}
