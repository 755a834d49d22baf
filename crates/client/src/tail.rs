//! Reads partitions of one topic as they grow.
//!
//! One fetch a leader carries all partitions whose reader has room; a reader that does not keep up holds up nobody
//! else. Where a leader cannot be reached it is looked for anew, for as long as anybody reads.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use model::{Offset, TopicId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, warn};
use wire::fetch::{FetchPartition, FetchTopic, PartitionData};
use wire::{ErrorCode, FetchRequest};

use crate::{AskError, Cluster, Connection, Refused, Topic, by_leader, check};

/// How long a fetch waits for records.
const WAIT_MS: i32 = 500;

const FETCH_BYTES_MAX: i32 = 8 << 20;
const PARTITION_BYTES_MAX: i32 = 1 << 20;

/// What a partition's reader may have before it has taken it.
const CHUNKS_MAX: usize = 2;

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

/// Partitions of a topic that are read. Ends when all readers are gone.
pub struct Tail;

impl Tail {
    /// Starts to read each partition from its offset on.
    pub fn start(
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
                readers = round(&cluster, &name, id, readers).await;
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
async fn round(cluster: &Cluster, name: &str, id: TopicId, mut readers: Readers) -> Readers {
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
        reading.spawn(read(cluster.clone(), topic.clone(), leader, readers));
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
async fn read(cluster: Cluster, topic: Topic, leader: i32, mut readers: Readers) -> Readers {
    let connection = match cluster.dedicated(leader).await {
        Ok(connection) => connection,
        Err(error) => {
            debug!(leader, %error, "a leader cannot be reached");
            sleep(PAUSE).await;
            readers.retain(|_, reader| !reader.sender.is_closed());
            return readers;
        }
    };
    loop {
        readers.retain(|_, reader| !reader.sender.is_closed());
        if readers.is_empty() || connection.is_ending() {
            return readers;
        }
        if readers.values().all(|reader| reader.sender.capacity() == 0) {
            room(&readers).await;
            continue;
        }
        match fetch(&cluster, &connection, &topic, &mut readers).await {
            Ok(()) => {}
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

async fn fetch(
    cluster: &Cluster,
    connection: &Connection,
    topic: &Topic,
    readers: &mut Readers,
) -> Result<(), AskError> {
    let with_room = readers.iter().filter(|(_, reader)| reader.sender.capacity() > 0);
    let partition = |(index, reader): (&i32, &Reader)| FetchPartition {
        partition: *index,
        fetch_offset: reader.next.0,
        partition_max_bytes: PARTITION_BYTES_MAX,
        ..FetchPartition::default()
    };
    let request = FetchRequest {
        replica_id: -1,
        max_wait_ms: WAIT_MS,
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
    let mut lost = Vec::new();
    for partition in answer.responses.into_iter().flat_map(|topic| topic.partitions) {
        lost.extend(hand_on(readers, partition)?);
    }
    if !lost.is_empty() {
        tell_range(cluster, topic, readers, &lost).await?;
    }
    Ok(())
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
