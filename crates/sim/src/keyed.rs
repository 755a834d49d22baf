//! Clients of compacted topics: they overwrite and delete keys, and read what is left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use env::{Clock, Random, SeededRandom};
use model::batch::{BatchBuilder, NewRecord, batches};
use model::compression::Compression;
use model::{ProducerEpoch, ProducerId, Timestamp};
use wire::create_topics::CreatableTopicConfig;
use wire::fetch::PartitionData;

use crate::check::{Invariant, Partition};
use crate::clients::{self, Memory};
use crate::kept::{Seen, Terms, Written};
use crate::network::{Broken, Connection, Network};

/// Topics of one partition: what is compacted only, and what expires too.
pub const TOPICS: [&str; 2] = ["settings", "carts"];
const EXPIRES: &str = "carts";

/// So begins every key, and no other bytes do.
pub const KEY_BEGINS: &[u8] = b"key-";

/// Keys that are written over and over.
const KEYS: u64 = 6;

/// One key in so many is a new one that is never written again.
const ONCE_ONE_IN: u64 = 8;

/// After so many answers it should have been possible to read a partition to its end.
const LOOKS_MAX: usize = 500;

/// How a run's topics are kept: short enough that a life sees segments roll, tombstones go and records expire.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    segment: Duration,
    tombstones: Duration,
    retention: Duration,
}

impl Keeping {
    pub fn draw(random: &SeededRandom) -> Keeping {
        let millis = |from, more| Duration::from_millis(from + random.below(more));
        Keeping { segment: millis(20, 150), tombstones: millis(50, 300), retention: millis(300, 1000) }
    }

    fn terms(&self, topic: &str) -> Terms {
        let retention = (topic == EXPIRES).then_some(self.retention);
        Terms { tombstones: self.tombstones, retention }
    }

    fn configs(&self, topic: &str) -> Vec<CreatableTopicConfig> {
        let policy = if topic == EXPIRES { "compact,delete" } else { "compact" };
        let millis = |duration: Duration| duration.as_millis().to_string();
        let configs = [
            ("cleanup.policy", policy.to_string()),
            ("segment.ms", millis(self.segment)),
            ("min.cleanable.dirty.ratio", "0.01".to_string()),
            ("delete.retention.ms", millis(self.tombstones)),
            ("retention.ms", millis(self.retention)),
        ];
        configs.iter().map(|(name, value)| clients::config(name, value)).collect()
    }
}

/// Makes sure that the topics are there; `false` where the broker cannot be asked.
pub async fn create_topics(network: &Network, memory: &Memory, keeping: Keeping) -> bool {
    for topic in TOPICS {
        memory.known(|known| known.kept.agree(&(topic.to_string(), 0), keeping.terms(topic)));
        if !clients::create_topic(network, topic, 1, keeping.configs(topic)).await {
            return false;
        }
    }
    true
}

/// An idempotent producer as it is between two incarnations of the broker.
#[derive(Clone, Debug)]
pub struct Writer {
    /// Apart from those of all other producers.
    name: usize,
    id: Option<(i64, i16)>,
    sequences: BTreeMap<Partition, i32>,
    /// It repeats this until it knows what became of it.
    in_doubt: Option<Sending>,
    sent: u64,
}

#[derive(Clone, Debug)]
struct Sending {
    partition: Partition,
    records: Vec<Written>,
    codec: Compression,
    sequence: i32,
}

impl Writer {
    pub fn new(name: usize) -> Writer {
        Writer { name, id: None, sequences: BTreeMap::new(), in_doubt: None, sent: 0 }
    }

    /// Writes until the broker goes away; `state` keeps what must be known after that.
    pub async fn run(state: Arc<Mutex<Writer>>, network: Network, memory: Memory, clock: Arc<dyn Clock>) {
        loop {
            let mut connection = network.connect();
            while Writer::send(&state, &mut connection, &memory, &*clock).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(memory.random.below(40))).await;
            }
            tokio::time::sleep(Duration::from_millis(5 + memory.random.below(50))).await;
        }
    }

    async fn send(
        state: &Mutex<Writer>,
        connection: &mut Connection,
        memory: &Memory,
        clock: &dyn Clock,
    ) -> Result<(), Broken> {
        let mut writer = state.lock().expect("one thread").clone();
        let id = match writer.id {
            Some(id) => id,
            None => match clients::producer_id(connection).await? {
                Some(id) => id,
                None => return Ok(()),
            },
        };
        writer.id = Some(id);
        let sending = writer.in_doubt.take().unwrap_or_else(|| writer.draw(&memory.random));
        writer.in_doubt = Some(sending.clone());
        *state.lock().expect("one thread") = writer.clone();
        let partition = &sending.partition;
        let now = clock.monotonic();
        memory.known(|known| known.kept.sent(writer.name, partition, &sending.records, now));

        let answer = clients::produce(connection, partition, sending.batch(id, clock.now())).await;
        let told = match &answer {
            Err(Broken) => "in doubt".to_string(),
            Ok(Err(error)) => error.clone(),
            Ok(Ok(base_offset)) => {
                memory.known(|known| known.kept.acknowledged(writer.name, *base_offset));
                writer.in_doubt = None;
                let next = sending.sequence + sending.records.len() as i32;
                writer.sequences.insert(partition.clone(), next);
                *state.lock().expect("one thread") = writer.clone();
                format!("at {base_offset}")
            }
        };
        let ids: Vec<&str> = sending.records.iter().map(|record| &*record.id).collect();
        memory.note(clock, &format!("writer {} sent {ids:?} to {}: {told}", writer.name, partition.0));
        answer.map(drop)
    }

    fn draw(&mut self, random: &SeededRandom) -> Sending {
        let topic = TOPICS[random.below(TOPICS.len() as u64) as usize];
        let partition = (topic.to_string(), 0);
        let records = (0..1 + random.below(4)).map(|_| {
            self.sent += 1;
            let key = match random.chance(ONCE_ONE_IN) {
                true => format!("key-w{}-{}", self.name, self.sent),
                false => format!("key-{}", random.below(KEYS)),
            };
            let is_tombstone = random.chance(4);
            let mark = if is_tombstone { "-" } else { "=" };
            Written { id: format!("w{}-{}:{key}{mark}", self.name, self.sent), key, is_tombstone }
        });
        Sending {
            records: records.collect(),
            codec: match random.chance(3) {
                true => Compression::ALL[random.below(5) as usize],
                false => Compression::None,
            },
            sequence: self.sequences.get(&partition).copied().unwrap_or(0),
            partition,
        }
    }
}

impl Sending {
    fn batch(&self, (id, epoch): (i64, i16), now: Timestamp) -> bytes::Bytes {
        let mut builder = BatchBuilder::new(self.codec);
        builder = builder.producer(ProducerId(id), ProducerEpoch(epoch), self.sequence);
        for record in &self.records {
            builder.push(NewRecord {
                timestamp: now,
                key: Some(record.key.as_bytes()),
                value: (!record.is_tombstone).then_some(&[7; 60]),
                headers: &[(b"id", Some(record.id.as_bytes()))],
            });
        }
        builder.build().into_bytes()
    }
}

/// Reads from random places and compares with what is known.
pub async fn read(network: Network, memory: Memory, clock: Arc<dyn Clock>) {
    loop {
        let mut connection = network.connect();
        loop {
            let topic = TOPICS[memory.random.below(TOPICS.len() as u64) as usize];
            let partition = (topic.to_string(), 0);
            let end = memory.known(|known| known.highest(&partition));
            // Half of all readers begin where there is most to be wrong.
            let from = if memory.random.chance(2) { 0 } else { memory.random.below(end as u64 + 1) as i64 };
            let Ok(read) = look(&mut connection, &partition, from, &memory, &*clock).await else { break };
            if let Some(Look { seen, high_watermark }) = read {
                let Seen { log_start, to, records, .. } = seen;
                let count = records.len();
                let what = format!(
                    "read {count} records of {topic} from {from} to {to}, which begins at {log_start}, high watermark \
                     {high_watermark}"
                );
                memory.note(&*clock, &what);
            }
            tokio::time::sleep(Duration::from_millis(memory.random.below(60))).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Reads everything, for the last judgement; whether everything could be read.
pub async fn judge(network: &Network, memory: &Memory, clock: &dyn Clock, keeping: Keeping) -> bool {
    if !create_topics(network, memory, keeping).await {
        return false;
    }
    let mut judged = true;
    for topic in TOPICS {
        judged &= read_whole(network, memory, clock, &(topic.to_string(), 0)).await;
    }
    judged
}

async fn read_whole(network: &Network, memory: &Memory, clock: &dyn Clock, partition: &Partition) -> bool {
    let mut connection = network.connect();
    let mut from = None;
    for _ in 0..LOOKS_MAX {
        let Some(next) = from else {
            match clients::log_start(&mut connection, partition).await {
                Ok(start) => from = start,
                Err(Broken) => connection = network.connect(),
            }
            continue;
        };
        match look(&mut connection, partition, next, memory, clock).await {
            Ok(Some(Look { seen, high_watermark })) if seen.to >= high_watermark => {
                memory.known(|known| known.kept.ends(partition, high_watermark));
                return true;
            }
            Ok(Some(Look { seen, .. })) => from = Some(seen.to),
            // What it began with is gone by now, or the broker cannot answer yet.
            Ok(None) => from = None,
            Err(Broken) => connection = network.connect(),
        }
    }
    false
}

struct Look {
    seen: Seen,
    high_watermark: i64,
}

/// One fetch, and what it tells; `None` where the broker says no.
async fn look(
    connection: &mut Connection,
    partition: &Partition,
    from: i64,
    memory: &Memory,
    clock: &dyn Clock,
) -> Result<Option<Look>, Broken> {
    let floor = memory.known(|known| known.highest(partition));
    let data = clients::fetch(connection, partition, from).await?;
    if data.error_code != 0 {
        return Ok(None);
    }
    let (seen, gap) = seen(&data, from);
    memory.known(|known| {
        known.high_watermark(partition, floor, data.high_watermark);
        if let Some(at) = gap {
            known.violated(Invariant::NoOffsetTwice, format!("{partition:?} has a gap before {at}"));
        }
        known.kept.seen(partition, &seen, clock.monotonic());
    });
    Ok(Some(Look { seen, high_watermark: data.high_watermark }))
}

/// What an answer shows, and where batches do not follow each other.
fn seen(data: &PartitionData, from: i64) -> (Seen, Option<i64>) {
    let bytes = data.records.as_ref().map(|records| records.to_bytes()).unwrap_or_default();
    let mut seen = Seen { log_start: data.log_start_offset, from, to: from, records: BTreeMap::new() };
    let mut gap = None;
    for batch in batches(bytes) {
        let batch = batch.expect("the broker sends whole batches");
        let header = batch.header();
        if header.base_offset.0 > seen.to {
            gap = gap.or(Some(header.base_offset.0));
        }
        seen.to = header.next_offset().0;
        let records = batch.records(1 << 24).expect("a stored batch can be read");
        for record in records.iter() {
            let record = record.expect("a stored record can be read");
            let offset = records.offset(&record).0;
            if offset >= from {
                let text =
                    |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
                let id = record.headers.into_iter().next().and_then(|(_, id)| id);
                let is_tombstone = record.value.is_none();
                seen.records.insert(offset, Written { key: text(record.key), id: text(id), is_tombstone });
            }
        }
    }
    (seen, gap)
}
