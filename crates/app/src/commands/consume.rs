//! `levada consume`: records become lines.

mod position;
mod shape;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use env::{Clock, SystemClock};
use model::batch::{Batch, batches};
pub use position::Start;
use shape::Placed;
pub use shape::Shape;
use tokio::time::{Duration, Instant, sleep};
use wire::fetch::{FetchPartition, FetchTopic, PartitionData};
use wire::{ErrorCode, FetchRequest};

use crate::cli::ConsumeArgs;
use crate::client::{self, Cluster, Refused, Topic, by_leader, check};
use crate::output;

/// How long the broker waits for more before it answers with nothing.
const WAIT_MS: i32 = 500;
const FETCH_BYTES_MAX: i32 = 16 << 20;
const PARTITION_BYTES_MAX: i32 = 1 << 20;
/// The most that one batch may hold when decompressed.
const BATCH_BYTES_MAX: usize = 1 << 30;
/// How often new partitions are looked for.
const METADATA_INTERVAL: Duration = Duration::from_secs(5);
/// Between two tries to get on after a broker went away.
const PAUSE: Duration = Duration::from_millis(200);
/// What a broker says no longer than this passes without a word.
const TOLD_AFTER: Duration = Duration::from_secs(1);

pub fn run(arguments: &ConsumeArgs) -> anyhow::Result<()> {
    let from = if arguments.from_beginning { "beginning" } else { &arguments.from };
    let start = Start::parse("--from", from, SystemClock::new().now())?;
    client::run(&arguments.broker, async |cluster| {
        let topic = cluster.topic(&arguments.topic, false).await?;
        let partitions = match arguments.partition.is_empty() {
            true => topic.partitions.iter().map(|partition| partition.index).collect(),
            false => arguments.partition.clone(),
        };
        let mut reader = Reader::place(&cluster, arguments, topic, partitions, start).await?;
        while !reader.is_done() {
            if let Err(error) = reader.step(&cluster).await {
                reader.get_on(&cluster, error).await?;
            }
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
    looked_at: Instant,
}

impl<'a> Reader<'a> {
    async fn place(
        cluster: &Cluster,
        arguments: &'a ConsumeArgs,
        topic: Topic,
        partitions: Vec<i32>,
        start: Start,
    ) -> anyhow::Result<Reader<'a>> {
        let isolation = i8::from(arguments.read_committed);
        let at = async |cluster: &Cluster, timestamp| {
            let found = cluster.offsets(&topic, &partitions, timestamp, isolation).await?;
            anyhow::Ok(found)
        };
        let ends = at(cluster, -1).await?;
        let ends: BTreeMap<i32, i64> =
            ends.into_iter().map(|(index, end)| (index, end.unwrap_or(0))).collect();
        let firsts = at(cluster, -2).await?;
        let first = |index: i32| firsts.get(&index).copied().flatten().unwrap_or(0);
        if let Start::Offset(offset) = start {
            // Uncommitted records have offsets, too.
            let ends = cluster.offsets(&topic, &partitions, -1, 0).await?;
            for index in &partitions {
                let end = ends.get(index).copied().flatten().unwrap_or(0);
                check_offset(&topic.name, *index, offset, (first(*index), end))?;
            }
        }
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
        let left = arguments.count.unwrap_or(u64::MAX);
        Ok(Reader { arguments, topic, positions, ends, left, looked_at: Instant::now() })
    }

    /// Looks for new partitions now and then, and fetches once.
    async fn step(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        if self.looked_at.elapsed() >= METADATA_INTERVAL {
            self.look(cluster).await?;
        }
        self.read(cluster).await
    }

    /// Where the broker went away or said "not now": waits until it can be asked again, as long as `--timeout` says.
    async fn get_on(&mut self, cluster: &Cluster, error: anyhow::Error) -> anyhow::Result<()> {
        let patience = cluster.patience();
        let (began, deadline) = (Instant::now(), Instant::now() + patience);
        let mut problem = error;
        let mut was_told = false;
        let mut was_lost = false;
        loop {
            let is_lost = client::is_lost(&problem);
            let is_passing = client::refused(&problem).is_some_and(Refused::is_passing);
            if !is_lost && !is_passing {
                return Err(problem);
            }
            if Instant::now() >= deadline {
                return Err(problem.context(format!("gave up after {patience:?} (--timeout)")));
            }
            if !was_told && (is_lost || began.elapsed() >= TOLD_AFTER) {
                output::note(&format!("{problem:#}; trying again for {patience:?} (--timeout)"));
                was_told = true;
            }
            was_lost |= is_lost;
            sleep(PAUSE).await;
            // A deleted topic is deleted; but a cluster that has just come back may not know all of its topics yet.
            let tried = async {
                self.look(cluster).await?;
                self.read(cluster).await
            };
            match tried.await {
                Ok(()) => break,
                Err(error) if is_unknown_topic(&error) && !was_lost => {
                    bail!("{} was deleted while it was read", self.topic.name);
                }
                Err(error) => problem = error,
            }
        }
        if was_told {
            output::note(if was_lost { "connected again" } else { "it goes on" });
        }
        Ok(())
    }

    /// Who leads what now, and partitions that are new, which are read from their beginning.
    async fn look(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let topic = cluster.topic(&self.topic.name, false).await?;
        if topic.id != self.topic.id {
            bail!("{} was deleted while it was read, and is another topic now", topic.name);
        }
        if self.arguments.partition.is_empty() && self.ends.is_none() {
            let indexes = topic.partitions.iter().map(|partition| partition.index);
            let new: Vec<i32> = indexes.filter(|index| !self.positions.contains_key(index)).collect();
            let firsts = cluster.offsets(&topic, &new, -2, 0).await?;
            self.positions.extend(firsts.into_iter().map(|(index, first)| (index, first.unwrap_or(0))));
        }
        self.topic = topic;
        self.looked_at = Instant::now();
        Ok(())
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
    async fn read(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
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
                let placed =
                    Placed { topic: &self.topic.name, partition: index, records: &records, record: &record };
                let separator = self.arguments.key_separator.as_deref();
                output::line(&self.arguments.format.line(&placed, separator))?;
            }
        }
        self.positions.insert(index, header.next_offset().0);
        Ok(())
    }
}

/// A number that was given must be one that can be read, or the next.
fn check_offset(topic: &str, partition: i32, offset: i64, (first, end): (i64, i64)) -> Result<(), Refused> {
    if (first..=end).contains(&offset) {
        return Ok(());
    }
    let holds = match end - first {
        0 => format!("holds no records, the next has offset {end}"),
        _ => format!("holds offsets {first} to {}", end - 1),
    };
    let message = format!("{topic} partition {partition} {holds}: there is no {offset}");
    Err(Refused { code: ErrorCode::OffsetOutOfRange.code(), message: Some(message) })
}

fn is_unknown_topic(error: &anyhow::Error) -> bool {
    let is = |code| client::refused(error).is_some_and(|refused| refused.is(code));
    is(ErrorCode::UnknownTopicOrPartition) || is(ErrorCode::UnknownTopicId)
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
