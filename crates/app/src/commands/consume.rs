//! `levada consume`: records become lines.

mod position;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use model::batch::{Batch, Record, Records, batches};
use position::Start;
use serde_json::json;
use wire::FetchRequest;
use wire::fetch::{FetchPartition, FetchTopic, PartitionData};

use crate::cli::{ConsumeArgs, Format};
use crate::client::{self, Cluster, Topic, by_leader, check};
use crate::output;

/// How long the broker waits for more before it answers with nothing.
const WAIT_MS: i32 = 500;
const FETCH_BYTES_MAX: i32 = 16 << 20;
const PARTITION_BYTES_MAX: i32 = 1 << 20;
/// The most that one batch may hold when decompressed.
const BATCH_BYTES_MAX: usize = 1 << 30;

pub fn run(arguments: &ConsumeArgs) -> anyhow::Result<()> {
    let start = Start::parse(&arguments.from)?;
    client::run(&arguments.broker, async |mut cluster| {
        let topic = cluster.topic(&arguments.topic, false).await?;
        let partitions = match arguments.partition.is_empty() {
            true => topic.partitions.iter().map(|partition| partition.index).collect(),
            false => arguments.partition.clone(),
        };
        let mut reader = Reader::place(&mut cluster, arguments, topic, partitions, start).await?;
        while !reader.is_done() {
            reader.read(&mut cluster).await?;
        }
        Ok(())
    })
}

/// Where the command stands in each partition.
struct Reader<'a> {
    arguments: &'a ConsumeArgs,
    topic: Topic,
    positions: BTreeMap<i32, i64>,
    /// Where to stop, under `--until-end`.
    ends: Option<BTreeMap<i32, i64>>,
    left: u64,
}

impl<'a> Reader<'a> {
    async fn place(
        cluster: &mut Cluster,
        arguments: &'a ConsumeArgs,
        topic: Topic,
        partitions: Vec<i32>,
        start: Start,
    ) -> anyhow::Result<Reader<'a>> {
        let isolation = i8::from(arguments.read_committed);
        let at = async |cluster: &mut Cluster, timestamp| {
            let found = cluster.offsets(&topic, &partitions, timestamp, isolation).await?;
            anyhow::Ok(found)
        };
        let ends = at(cluster, -1).await?;
        let ends: BTreeMap<i32, i64> =
            ends.into_iter().map(|(index, end)| (index, end.unwrap_or(0))).collect();
        let firsts = at(cluster, -2).await?;
        let first = |index: i32| firsts.get(&index).copied().flatten().unwrap_or(0);
        let positions = match start {
            Start::Beginning => partitions.iter().map(|index| (*index, first(*index))).collect(),
            Start::End => ends.clone(),
            Start::Offset(offset) => partitions.iter().map(|index| (*index, offset)).collect(),
            Start::Last(count) => {
                ends.iter().map(|(index, end)| (*index, (end - count).max(first(*index)))).collect()
            }
            Start::Time(timestamp) => {
                let found = at(cluster, timestamp).await?;
                found.into_iter().map(|(index, offset)| (index, offset.unwrap_or(ends[&index]))).collect()
            }
        };
        let ends = arguments.until_end.then_some(ends);
        Ok(Reader { arguments, topic, positions, ends, left: arguments.count.unwrap_or(u64::MAX) })
    }

    fn is_done(&self) -> bool {
        self.left == 0 || self.open_partitions().is_empty()
    }

    /// Partitions that are still to be read.
    fn open_partitions(&self) -> Vec<i32> {
        let open = |(index, position): (&i32, &i64)| {
            let end = self.ends.as_ref().map(|ends| ends[index]);
            end.is_none_or(|end| *position < end).then_some(*index)
        };
        self.positions.iter().filter_map(open).collect()
    }

    /// One fetch from each leader.
    async fn read(&mut self, cluster: &mut Cluster) -> anyhow::Result<()> {
        for (leader, partitions) in by_leader(&self.topic, &self.open_partitions())? {
            let request = self.request(&partitions);
            let answer = cluster.node(leader).await?.ask(&request).await?;
            check(answer.error_code, None)?;
            for partition in answer.responses.into_iter().flat_map(|topic| topic.partitions) {
                self.take(partition)?;
            }
        }
        Ok(())
    }

    fn request(&self, partitions: &[i32]) -> FetchRequest {
        let partition = |index: &i32| FetchPartition {
            partition: *index,
            fetch_offset: self.positions[index],
            partition_max_bytes: PARTITION_BYTES_MAX,
            ..FetchPartition::default()
        };
        FetchRequest {
            replica_id: -1,
            max_wait_ms: WAIT_MS,
            min_bytes: 1,
            max_bytes: FETCH_BYTES_MAX,
            isolation_level: i8::from(self.arguments.read_committed),
            topics: vec![FetchTopic {
                topic: self.topic.name.as_str().into(),
                topic_id: self.topic.id,
                partitions: partitions.iter().map(partition).collect(),
                ..FetchTopic::default()
            }],
            ..FetchRequest::default()
        }
    }

    fn take(&mut self, partition: PartitionData) -> anyhow::Result<()> {
        let index = partition.partition_index;
        let place = format!("{} partition {index}, offset {}", self.topic.name, self.positions[&index]);
        check(partition.error_code, None).with_context(|| place.clone())?;
        let mut aborted = Aborted::of(&partition);
        for batch in batches(partition.records.unwrap_or_default().to_bytes()) {
            let batch = batch.with_context(|| place.clone())?;
            self.take_batch(index, &batch, &mut aborted).with_context(|| place.clone())?;
        }
        Ok(())
    }

    fn take_batch(&mut self, index: i32, batch: &Batch, aborted: &mut Aborted) -> anyhow::Result<()> {
        let header = *batch.header();
        let hidden = aborted.hides(batch);
        if !hidden {
            let records = batch.records(BATCH_BYTES_MAX)?;
            for record in records.iter() {
                let record = record?;
                let offset = records.offset(&record).0;
                let past_end = self.ends.as_ref().is_some_and(|ends| offset >= ends[&index]);
                if offset < self.positions[&index] || past_end || self.left == 0 {
                    continue;
                }
                self.left -= 1;
                output::line(&self.line(index, offset, &records, &record))?;
            }
        }
        self.positions.insert(index, header.next_offset().0);
        Ok(())
    }

    fn line(&self, partition: i32, offset: i64, records: &Records, record: &Record<'_>) -> String {
        match self.arguments.format {
            Format::Text => {
                let text =
                    |bytes: Option<&[u8]>| bytes.map_or("null".into(), |bytes| lossy(bytes).into_owned());
                match &self.arguments.key_separator {
                    None => text(record.value),
                    Some(separator) => format!("{}{separator}{}", text(record.key), text(record.value)),
                }
            }
            Format::Json => {
                let headers: Vec<_> =
                    record.headers.map(|(name, value)| json!([lossy(name), value.map(shown)])).collect();
                json!({
                    "topic": self.topic.name, "partition": partition, "offset": offset,
                    "timestamp": records.timestamp(record).0,
                    "key": record.key.map(shown), "value": record.value.map(shown), "headers": headers,
                })
                .to_string()
            }
        }
    }
}

fn lossy(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Text as text; anything else as `{"hex": "…"}`.
fn shown(bytes: &[u8]) -> serde_json::Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}

/// Which batches belong to aborted transactions: the broker lists them with each fetch, and markers end them.
struct Aborted {
    /// First offset and producer, not yet reached.
    ahead: BTreeSet<(i64, i64)>,
    producers: BTreeSet<i64>,
}

impl Aborted {
    fn of(partition: &PartitionData) -> Aborted {
        let listed = partition.aborted_transactions.iter().flatten();
        let ahead = listed.map(|transaction| (transaction.first_offset, transaction.producer_id)).collect();
        Aborted { ahead, producers: BTreeSet::new() }
    }

    /// Whether a batch shows nothing to the reader: part of an aborted transaction, or a marker.
    fn hides(&mut self, batch: &Batch) -> bool {
        let header = batch.header();
        while let Some((_, producer)) =
            self.ahead.first().copied().filter(|(first, _)| *first <= header.last_offset().0)
        {
            self.ahead.pop_first();
            self.producers.insert(producer);
        }
        if header.attributes.is_control() {
            // An abort marker ends what it aborts; a commit marker of the same producer cannot come before that.
            self.producers.remove(&header.producer_id.0);
            return true;
        }
        header.attributes.is_transactional() && self.producers.contains(&header.producer_id.0)
    }
}

#[cfg(test)]
mod tests;
