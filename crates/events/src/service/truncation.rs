//! Truncation of streams, the archive of what was truncated, and trimming of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use client::{AskError, Cluster, Position, Tail, Tailed, Topic};
use model::batch::{BatchBuilder, NewRecord, Record, batches};
use model::{Compression, Offset, PartitionId, Timestamp};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::keeping::batch_bytes_max;
use super::retention::OF_EVENTS;
use super::snapshots::unavailable;
use super::{Freshness, Handle, OpenCategory};
use crate::append::{Append, AppendError, Expected, StreamAppend};
use crate::category::Category;
use crate::event::{Recorded, Seen};
use crate::query::{ANSWER_BYTES, EVENTS_MAX, Found, ReadError};
use crate::record::{self, Entry};
use crate::table::TableError;
use crate::truncation::Mark;

/// Bytes of records that are copied in one batch, about: a larger record is alone in its own.
const COPIED_BYTES: usize = 512 << 10;

const BATCH_BYTES_MAX: usize = 256 << 20;

/// How long nothing may come from a log that is read through.
const STILL_MAX: Duration = Duration::from_secs(30);

/// What became of a truncation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncated {
    /// The first version that is read now.
    pub first: u64,
    /// The stream's version, which goes on counting.
    pub version: u64,
    /// Events that were copied into the archive.
    pub archived: u64,
    /// Whoever reads at least this fresh does not see what was truncated.
    pub position: Position,
}

/// Why a stream was not truncated, or nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TruncateError {
    #[error("{stream} is at version {current}: it can be truncated before {max} at most, not {before}", max = current + 1)]
    Beyond { stream: String, before: u64, current: u64 },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Where a partition's log begins after trimming.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrimmedPartition {
    pub partition: i32,
    pub start_before: Offset,
    pub start: Offset,
}

impl Handle {
    /// Events below a version are not read any more. The stream's version goes on counting. The same again leaves a mark
    /// again, behind everything, so that trimming can pass the older one.
    pub async fn truncate(
        &self,
        category: &Category,
        stream: &str,
        before: u64,
        archive: bool,
        freshness: &Freshness,
    ) -> Result<Truncated, TruncateError> {
        category.check_foreign().map_err(|error| ReadError::Invalid(error.to_string()))?;
        if before == 0 {
            return Err(ReadError::Invalid("versions count from 1".to_owned()).into());
        }
        let strong = Freshness { is_strong: true, ..freshness.clone() };
        let (open, index, known) = self.find_stream(category, stream, &strong).await?;
        let current = known.version;
        if before > current + 1 {
            return Err(TruncateError::Beyond { stream: stream.to_owned(), before, current });
        }
        let archived = match archive {
            true => self.copy_to_archive(&open, index, stream, before).await?,
            false => 0,
        };
        let boundary = known.boundary;
        let mark = Mark { stream: stream.to_owned(), before, archived: archive, boundary: boundary.clone() };
        let part = StreamAppend {
            stream: mark.place(),
            expected: Expected::Any,
            events: vec![mark.event(self.new_id())],
        };
        let boundary = Some(boundary.unwrap_or_else(|| stream.to_owned()));
        let append = Append { boundary, streams: vec![part], conditions: Vec::new() };
        let deadline = Instant::now() + self.0.options.append_patience;
        let appended = self.append_within(&open, &append, deadline, true).await?;
        let first = known.first.max(before);
        Ok(Truncated { first, version: current, archived, position: appended.position })
    }

    /// What of a stream was copied into the archive, from a version on.
    pub async fn archived(
        &self,
        category: &Category,
        stream: &str,
        from: u64,
        limit: usize,
        freshness: &Freshness,
    ) -> Result<Found, ReadError> {
        let (_, index, known) = self.find_stream(category, stream, freshness).await?;
        let none = || ReadError::NoStream(format!("{stream} in the archive of {category}"));
        let name = category.archive().ok_or_else(none)?;
        let cluster = &self.0.cluster;
        let topics = cluster.topics().await.map_err(lost)?;
        let topic = topics.into_iter().find(|topic| topic.name == name).ok_or_else(none)?;
        let number = index as i32;
        let (start, end) = bounds(cluster, &topic, number).await.map_err(lost)?;
        let limit = limit.clamp(1, EVENTS_MAX);
        let (mut events, mut bytes) = (BTreeMap::new(), 0);
        let mut is_end = true;
        let mut walk = Walk::begin(cluster, &topic, number, start, end);
        let mut take = |offset: Offset, at: Timestamp, record: &Record<'_>| {
            if record.key != Some(stream.as_bytes()) {
                return;
            }
            let Some(recorded) = recorded(number, offset, at, record) else { return };
            // What was copied twice has the same version, and is the same.
            if recorded.version < from || events.contains_key(&recorded.version) {
                return;
            }
            bytes += recorded.data.len();
            events.insert(recorded.version, recorded);
            while events.len() > limit || (bytes > ANSWER_BYTES && events.len() > 1) {
                let (_, last) = events.pop_last().expect("there are several");
                bytes -= last.data.len();
                is_end = false;
            }
        };
        while walk.step(&mut take).await.map_err(lost)? {}
        let position = Position::of(PartitionId { topic: topic.id, index: number }, end);
        let mut events: Vec<Recorded> = events.into_values().collect();
        is_end &= self.show_what_fits(&mut events).await?.is_empty();
        Ok(Found { events, version: known.version, first: 1, position, is_end, incomplete: Vec::new() })
    }

    /// Frees what a category's log has of truncated events and of marks and claims that are outdated, as far as nothing
    /// before it is needed: up to the first record that is.
    pub async fn trim(
        &self,
        category: &Category,
        freshness: &Freshness,
    ) -> Result<Vec<TrimmedPartition>, ReadError> {
        category.check_foreign().map_err(|error| ReadError::Invalid(error.to_string()))?;
        let open = self.opened_within(category, freshness.wait).await?;
        let strong = Freshness { is_strong: true, ..freshness.clone() };
        let cluster = &self.0.cluster;
        let topic = cluster.topic(&category.topic(), false).await.map_err(lost)?;
        let mut needed = BTreeMap::new();
        for partition in &open.partitions {
            self.fresh(&open, partition, &strong).await?;
            let at = partition.replica.next();
            let from = partition.replica.index.ask(at, move |it| it.needed_from()).await;
            let from = from.map_err(super::reading::broken)?;
            needed.insert(partition.id().index, from);
        }
        let indexes: Vec<i32> = needed.keys().copied().collect();
        let starts = cluster.offsets(&topic, &indexes, -2, 0).await.map_err(lost)?;
        let start = |index: &i32| starts.get(index).copied().flatten().map_or(Offset::ZERO, Offset);
        needed.retain(|index, from| *from > start(index));
        for (index, from) in &needed {
            let partition = PartitionId { topic: topic.id, index: *index };
            self.0.trimmed.announce(partition, *from).await.map_err(unavailable)?;
        }
        cluster.delete_records(&topic, &needed).await.map_err(lost)?;
        let of = |partition: i32| {
            let start_before = start(&partition);
            let start = needed.get(&partition).copied().unwrap_or(start_before);
            TrimmedPartition { partition, start_before, start }
        };
        Ok(indexes.into_iter().map(of).collect())
    }

    /// Copies events as they are. A truncation that is tried again copies them again: their ids tell.
    async fn copy_to_archive(
        &self,
        open: &OpenCategory,
        index: usize,
        stream: &str,
        before: u64,
    ) -> Result<u64, ReadError> {
        let (replica, name) = (&open.partitions[index].replica, stream.to_owned());
        let offsets = replica.index.search(replica.next(), move |it| it.offsets_below(&name, before)).await;
        let offsets: BTreeSet<Offset> = offsets.map_err(super::reading::broken)?.into_iter().collect();
        let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return Ok(0) };
        let archive = self.archive_of(open).await?;
        let number = index as i32;
        let cluster = &self.0.cluster;
        let topic = cluster.topic(&open.category.topic(), false).await.map_err(lost)?;
        let mut batch = BatchBuilder::new(Compression::None);
        let mut copied = 0;
        let mut walk = Walk::begin(cluster, &topic, number, *first, last.plus(1));
        // What one fetch brought is written before the next one comes.
        loop {
            let mut full = Vec::new();
            let is_more = walk
                .step(|offset, timestamp, record| {
                    if !offsets.contains(&offset) {
                        return;
                    }
                    if batch.record_count() > 0 && batch.section_bytes() + record.size_bytes > COPIED_BYTES {
                        let batch = std::mem::replace(&mut batch, BatchBuilder::new(Compression::None));
                        full.push(batch.build().into_bytes());
                    }
                    let headers: Vec<(&[u8], Option<&[u8]>)> = record.headers.into_iter().collect();
                    batch.push(NewRecord {
                        timestamp,
                        key: record.key,
                        value: record.value,
                        headers: &headers,
                    });
                    copied += 1;
                })
                .await
                .map_err(lost)?;
            if !is_more && batch.record_count() > 0 {
                let batch = std::mem::replace(&mut batch, BatchBuilder::new(Compression::None));
                full.push(batch.build().into_bytes());
            }
            for batch in full {
                cluster.write_at_least_once(&archive, number, batch).await.map_err(lost)?;
            }
            if !is_more {
                break;
            }
        }
        Ok(copied)
    }

    /// The name of a category's archive, which is made where there is none.
    async fn archive_of(&self, open: &OpenCategory) -> Result<String, ReadError> {
        let category = &open.category;
        let name = category.archive().ok_or_else(|| {
            ReadError::Invalid(format!("the name of {category} is too long for a topic of its archive"))
        })?;
        let bytes = batch_bytes_max(self, &category.topic()).await.map_err(lost)?.to_string();
        let configs: Vec<_> = OF_EVENTS.into_iter().chain([("max.message.bytes", bytes.as_str())]).collect();
        let count = open.partitions.len();
        let made = self.make_beside(category, &name, count as i32, &configs).await?;
        match made == count {
            true => Ok(name),
            false => Err(ReadError::Invalid(format!(
                "topic {name} has {made} partitions, and {category} has {count}: events would not be found"
            ))),
        }
    }
}

/// Where a partition begins and ends.
async fn bounds(cluster: &Cluster, topic: &Topic, index: i32) -> Result<(Offset, Offset), AskError> {
    let of = async |timestamp| {
        let offsets = cluster.offsets(topic, &[index], timestamp, 0).await?;
        Ok::<_, AskError>(offsets.get(&index).copied().flatten().map_or(Offset::ZERO, Offset))
    };
    Ok((of(-2).await?, of(-1).await?))
}

/// A part of a partition, read fetch by fetch.
struct Walk {
    name: String,
    index: i32,
    tail: mpsc::Receiver<Tailed>,
    next: Offset,
    end: Offset,
}

impl Walk {
    fn begin(cluster: &Cluster, topic: &Topic, index: i32, from: Offset, end: Offset) -> Walk {
        let mut tails = Tail::start(cluster.clone(), &topic.name, topic.id, [(index, from)]);
        let tail = tails.remove(&index).expect("it was asked for");
        Walk { name: topic.name.clone(), index, tail, next: from, end }
    }

    /// Shows the records of one more fetch. False: there are no more.
    async fn step(&mut self, mut each: impl FnMut(Offset, Timestamp, &Record<'_>)) -> Result<bool, AskError> {
        let Walk { name, index, end, .. } = &*self;
        let (name, index, end, next) = (name.clone(), *index, *end, self.next);
        if next >= end {
            return Ok(false);
        }
        let late = |_| AskError::Lost(format!("{name}-{index} cannot be read beyond offset {next}"));
        let bytes: Bytes = match timeout(STILL_MAX, self.tail.recv()).await.map_err(late)? {
            Some(Tailed::Records { bytes, .. }) => bytes,
            _ => return Err(AskError::Lost(format!("{name}-{index} does not have offset {next}"))),
        };
        for batch in batches(bytes) {
            let Ok(batch) = batch else { break };
            let next = self.next;
            let foreign = |error: model::BatchError| {
                AskError::Foreign(format!("{name}-{index}: a batch at {next} cannot be read: {error}"))
            };
            let records = batch.records(BATCH_BYTES_MAX).map_err(foreign)?;
            for one in records.iter() {
                let one = one.map_err(foreign)?;
                let offset = records.offset(&one);
                if offset >= next && offset < end {
                    each(offset, records.timestamp(&one), &one);
                }
            }
            self.next = next.max(batch.header().next_offset());
        }
        Ok(true)
    }
}

fn recorded(partition: i32, offset: Offset, time: Timestamp, record: &Record<'_>) -> Option<Recorded> {
    match record::read(record, Bytes::copy_from_slice) {
        Entry::Event { stream, version, id, facts, data, .. } => {
            let seen = Seen::default();
            Some(Recorded { stream, version, id, facts, data, partition, offset, time, seen })
        }
        Entry::Claim { .. } | Entry::Foreign { .. } | Entry::Adopted { .. } => None,
    }
}

fn lost(error: AskError) -> ReadError {
    unavailable(TableError::from(error))
}
