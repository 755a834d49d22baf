//! Reads partitions of one topic as they grow.
//!
//! One fetch a leader carries all partitions whose reader has room; a reader that does not keep up holds up nobody
//! else. Where a leader cannot be reached it is looked for anew, for as long as anybody reads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use model::{Offset, TopicId};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};
use wire::fetch::{FetchPartition, FetchTopic, PartitionData};
use wire::{ErrorCode, FetchRequest};

use crate::{AskError, Cluster, Connection, Refused, Topic, by_leader, check};

/// How long a fetch waits for records; twice as long after each that came back without any, up to the most: a partition
/// at rest is asked for seldom, and what comes is there at once anyway.
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(10);

const FETCH_BYTES_MAX: i32 = 8 << 20;
const PARTITION_BYTES_MAX: i32 = 1 << 20;

/// What a partition's reader may have before it has taken it.
const CHUNKS_MAX: usize = 2;

/// After an answer with so many bytes the next fetch follows at once, whatever the pace: there is more to catch up with.
const CATCH_UP_BYTES: usize = 1 << 20;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// What a partition's reader is handed.
#[derive(Debug)]
pub enum Tailed {
    /// Whole batches, of which the first may begin before `from`.
    Records { from: Offset, bytes: Bytes },
    /// The log does not have the offset (any more): it begins at `start` now. Nothing follows.
    OutOfRange { from: Offset, start: Offset },
    /// The topic is gone, or is another one now. Nothing follows.
    Gone,
}

/// How often a tail fetches while records keep coming: few large fetches cost less than many small ones. Somebody in a
/// hurry gets what there is at once.
#[derive(Debug, Clone)]
pub struct Pace(Arc<Pacing>);

#[derive(Debug)]
struct Pacing {
    /// From one fetch to the next while nobody is in a hurry.
    every: Duration,
    hurried: AtomicUsize,
    came: Notify,
}

/// Somebody in a hurry, until it is dropped.
#[derive(Debug)]
pub struct Hurry(Arc<Pacing>);

impl Pace {
    pub fn every(every: Duration) -> Pace {
        Pace(Arc::new(Pacing { every, hurried: AtomicUsize::new(0), came: Notify::new() }))
    }

    pub fn hurry(&self) -> Hurry {
        self.0.hurried.fetch_add(1, Ordering::AcqRel);
        // All tails of this pace; one that comes to wait only then sees the number.
        self.0.came.notify_waiters();
        Hurry(self.0.clone())
    }

    /// Waits until it is time for the fetch after one that began then.
    async fn next(&self, began: Instant) {
        let came = self.0.came.notified();
        if self.0.every.is_zero() || self.0.hurried.load(Ordering::Acquire) > 0 {
            return;
        }
        tokio::select! {
            biased;
            () = came => {}
            () = sleep_until(began + self.0.every) => {}
        }
    }
}

impl Drop for Hurry {
    fn drop(&mut self) {
        self.0.hurried.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Partitions of a topic that are read. Ends when all readers are gone.
pub struct Tail;

impl Tail {
    /// Starts to read each partition from its offset on, each record as soon as it is there.
    pub fn start(
        cluster: Cluster,
        topic: &str,
        id: TopicId,
        from: impl IntoIterator<Item = (i32, Offset)>,
    ) -> BTreeMap<i32, mpsc::Receiver<Tailed>> {
        Tail::start_at(Pace::every(Duration::ZERO), cluster, topic, id, from)
    }

    /// The same, at a pace.
    pub fn start_at(
        pace: Pace,
        cluster: Cluster,
        topic: &str,
        id: TopicId,
        from: impl IntoIterator<Item = (i32, Offset)>,
    ) -> BTreeMap<i32, mpsc::Receiver<Tailed>> {
        let (mut readers, mut receivers) = (BTreeMap::new(), BTreeMap::new());
        for (partition, next) in from {
            let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
            readers.insert(partition, Reader { next, sender });
            receivers.insert(partition, receiver);
        }
        let name = topic.to_owned();
        env::spawn(async move {
            while !readers.is_empty() {
                readers = round(&cluster, &pace, &name, id, readers).await;
            }
        });
        receivers
    }
}

struct Reader {
    next: Offset,
    sender: mpsc::Sender<Tailed>,
}

type Readers = BTreeMap<i32, Reader>;

/// Reads from today's leaders until one of them says that it is none, or cannot be reached. Gives back who still reads.
async fn round(cluster: &Cluster, pace: &Pace, name: &str, id: TopicId, mut readers: Readers) -> Readers {
    let topic = match cluster.topic(name, false).await {
        Ok(topic) if topic.id == id => topic,
        Err(error) if !is_gone(&error) => {
            debug!(topic = name, %error, "leaders are looked for");
            sleep(PAUSE).await;
            readers.retain(|_, reader| !reader.sender.is_closed());
            return readers;
        }
        Ok(_) | Err(_) => {
            for reader in readers.into_values() {
                let _ = reader.sender.send(Tailed::Gone).await;
            }
            return Readers::new();
        }
    };
    let indexes: Vec<i32> = readers.keys().copied().collect();
    let leaders = match by_leader(&topic, &indexes) {
        Ok(leaders) => leaders,
        Err(error) => {
            // Partitions never become fewer: this is another topic.
            warn!(topic = name, %error, "partitions are gone");
            return Readers::new();
        }
    };
    let mut reading = JoinSet::new();
    for (leader, indexes) in leaders {
        let readers: Readers = indexes.iter().filter_map(|index| readers.remove_entry(index)).collect();
        reading.spawn(read(cluster.clone(), pace.clone(), topic.clone(), leader, readers));
    }
    while let Some(ended) = reading.join_next().await {
        readers.extend(ended.expect("reading does not panic"));
    }
    readers
}

fn is_gone(error: &AskError) -> bool {
    error.refused().is_some_and(|refused| {
        refused.is(ErrorCode::UnknownTopicOrPartition) || refused.is(ErrorCode::UnknownTopicId)
    })
}

/// Reads from one leader for as long as it leads.
async fn read(cluster: Cluster, pace: Pace, topic: Topic, leader: i32, mut readers: Readers) -> Readers {
    let connection = match cluster.dedicated(leader).await {
        Ok(connection) => connection,
        Err(error) => {
            debug!(leader, %error, "a leader cannot be reached");
            sleep(PAUSE).await;
            readers.retain(|_, reader| !reader.sender.is_closed());
            return readers;
        }
    };
    let wait_max = WAIT_MAX.min(cluster.patience() / 2);
    let mut wait = WAIT_MIN.min(wait_max);
    loop {
        readers.retain(|_, reader| !reader.sender.is_closed());
        if readers.is_empty() || connection.is_ending() {
            return readers;
        }
        if readers.values().all(|reader| reader.sender.capacity() == 0) {
            room(&readers).await;
            continue;
        }
        let began = Instant::now();
        // Who has no room now is not asked for before this one is back.
        let is_partial = readers.values().any(|reader| reader.sender.capacity() == 0);
        let waiting = if is_partial { wait.min(WAIT_MIN) } else { wait };
        let fetched = fetch(&cluster, &connection, &topic, &mut readers, waiting).await;
        wait = match fetched {
            Ok(0) => (wait * 2).min(wait_max),
            _ => WAIT_MIN.min(wait_max),
        };
        match fetched {
            Ok(0) => {}
            Ok(bytes) if bytes >= CATCH_UP_BYTES => {}
            Ok(_) => pace.next(began).await,
            Err(error) => {
                debug!(topic = topic.name, leader, %error, "a fetch failed");
                sleep(PAUSE).await;
                return readers;
            }
        }
    }
}

/// Waits until one of them has room, or has gone.
async fn room(readers: &Readers) {
    let mut waiting = JoinSet::new();
    for reader in readers.values() {
        let sender = reader.sender.clone();
        waiting.spawn(async move { drop(sender.reserve().await) });
    }
    waiting.join_next().await;
}

/// How many bytes of records came.
async fn fetch(
    cluster: &Cluster,
    connection: &Connection,
    topic: &Topic,
    readers: &mut Readers,
    wait: Duration,
) -> Result<usize, AskError> {
    let with_room = readers.iter().filter(|(_, reader)| reader.sender.capacity() > 0);
    let partition = |(index, reader): (&i32, &Reader)| FetchPartition {
        partition: *index,
        fetch_offset: reader.next.0,
        partition_max_bytes: PARTITION_BYTES_MAX,
        ..FetchPartition::default()
    };
    let request = FetchRequest {
        replica_id: -1,
        max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: 1,
        max_bytes: FETCH_BYTES_MAX,
        topics: vec![FetchTopic {
            topic: topic.name.as_str().into(),
            topic_id: topic.id,
            partitions: with_room.map(partition).collect(),
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    };
    let answer = connection.ask(&request).await?;
    check(answer.error_code, None)?;
    let (mut lost, mut bytes) = (Vec::new(), 0);
    for partition in answer.responses.into_iter().flat_map(|topic| topic.partitions) {
        bytes += partition.records.as_ref().map_or(0, |records| records.len());
        lost.extend(hand_on(readers, partition)?);
    }
    if !lost.is_empty() {
        tell_range(cluster, topic, readers, &lost).await?;
    }
    Ok(bytes)
}

/// Tells readers of what the log does not have where it begins: the answer that refuses them does not say.
async fn tell_range(
    cluster: &Cluster,
    topic: &Topic,
    readers: &mut Readers,
    lost: &[i32],
) -> Result<(), AskError> {
    let starts = cluster.offsets(topic, lost, -2, 0).await?;
    let ends = cluster.offsets(topic, lost, -1, 0).await?;
    for index in lost {
        let of = |offsets: &BTreeMap<i32, Option<i64>>| offsets.get(index).copied().flatten().map(Offset);
        let (Some(start), Some(end)) = (of(&starts), of(&ends)) else { continue };
        let Some(reader) = readers.get(index) else { continue };
        let from = reader.next;
        // Where it has the offset by now it is asked again.
        if from < start || from > end {
            let _ = reader.sender.try_send(Tailed::OutOfRange { from, start });
            readers.remove(index);
        }
    }
    Ok(())
}

/// Gives a partition's records to its reader; the partition, where its log does not have what it asks for.
fn hand_on(readers: &mut Readers, partition: PartitionData) -> Result<Option<i32>, AskError> {
    let index = partition.partition_index;
    let Some(reader) = readers.get_mut(&index) else { return Ok(None) };
    let from = reader.next;
    match check(partition.error_code, None) {
        Ok(()) => {}
        Err(refused) if refused.is(ErrorCode::OffsetOutOfRange) => return Ok(Some(index)),
        Err(refused) => return Err(AskError::from(refused)),
    }
    let bytes = partition.records.unwrap_or_default().to_bytes();
    let Some(next) = next_offset(&bytes)? else { return Ok(None) };
    // There was room when it was asked for, and nobody else fills it.
    if reader.sender.try_send(Tailed::Records { from, bytes }).is_ok() {
        reader.next = next;
    }
    Ok(None)
}

/// The offset after the last whole batch.
fn next_offset(bytes: &Bytes) -> Result<Option<Offset>, AskError> {
    let mut next = None;
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let Ok(header) = model::BatchHeader::parse(rest) else {
            break;
        };
        if header.size_bytes() > rest.len() {
            break;
        }
        next = Some(header.next_offset());
        rest = &rest[header.size_bytes()..];
    }
    match next {
        None if !bytes.is_empty() => {
            let code = ErrorCode::CorruptMessage.code();
            let message = Some("no batch can be read".to_owned());
            Err(AskError::from(Refused { code, message }))
        }
        next => Ok(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_tail_keeps_its_pace_from_the_beginning_of_a_fetch() {
        let (pace, began) = (Pace::every(EVERY), Instant::now());
        sleep(EVERY / 3).await;
        pace.next(began).await;
        assert_eq!(began.elapsed(), EVERY);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_in_a_hurry_waits_for_the_pace() {
        let (pace, began) = (Pace::every(EVERY), Instant::now());
        let (first, second) = (pace.hurry(), pace.hurry());
        pace.next(began).await;
        drop(first);
        pace.next(began).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        drop(second);
        pace.next(began).await;
        assert_eq!(began.elapsed(), EVERY);
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_in_a_hurry_ends_the_wait() {
        let (pace, began) = (Pace::every(EVERY), Instant::now());
        let coming = async {
            sleep(EVERY / 4).await;
            drop(pace.hurry());
        };
        tokio::join!(pace.next(began), coming);
        assert_eq!(began.elapsed(), EVERY / 4);
    }
}
