//! Reads one partition into its index, whoever owns it.
//!
//! Every instance does so for every partition: taking a partition over costs a claim then, and no rebuilding.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::{Cluster, Pace, Tail, Tailed};
use model::batch::batches;
use model::{Offset, PartitionId, TopicId};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::index::{Applied, Halt, Index, State};
use crate::record;
use crate::trimmed::Trimmed;

/// No batch of an events topic decompresses to more.
const BATCH_BYTES_MAX: usize = 256 << 20;

/// Records that go into the index in one transaction, about.
const RECORDS_AT_ONCE: usize = 20_000;

/// How far behind an index may be that nobody waits for: many small fetches and transactions cost more than one.
const BEHIND_MAX: Duration = Duration::from_millis(100);

/// Bytes of the log that go into the index at once, about.
const TAKEN_BYTES_MAX: usize = 4 << 20;

/// Between two tries to write an index.
const PAUSE: Duration = Duration::from_secs(1);

/// How far a partition is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub state: State,
    /// Why nothing more is taken: an operator has to look at it.
    pub halted: Option<String>,
}

/// A partition's index as it follows the log. Ends when it is dropped.
pub struct Replica {
    pub partition: PartitionId,
    pub index: Arc<Index>,
    seen: watch::Receiver<Seen>,
    /// Of all partitions of the topic.
    pace: Pace,
}

/// What was waited for did not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotReached {
    Late { at: Offset },
    Halted(String),
}

/// Opens the indexes of a topic's partitions, and reads on from where each is. In the order of the partitions.
pub async fn start(
    cluster: &Cluster,
    trimmed: &Trimmed,
    topic: &str,
    id: TopicId,
    partitions: i32,
    dir: PathBuf,
) -> rusqlite::Result<Vec<Replica>> {
    let open = move || -> rusqlite::Result<Vec<(i32, Index, State)>> {
        let one =
            |index| Index::open(&dir, PartitionId { topic: id, index }).map(|(it, state)| (index, it, state));
        (0..partitions).map(one).collect()
    };
    let opened = env::run_blocking(open).await?;
    // One fetch carries all partitions.
    let from = opened.iter().map(|(index, _, state)| (*index, state.next));
    let pace = Pace::every(BEHIND_MAX);
    let mut tails = Tail::start_at(pace.clone(), cluster.clone(), topic, id, from);
    let start = |(number, index, state): (i32, Index, State)| {
        let partition = PartitionId { topic: id, index: number };
        let index = Arc::new(index);
        let (told, seen) = watch::channel(Seen { state: state.clone(), halted: None });
        let following = Following {
            cluster: cluster.clone(),
            trimmed: trimmed.clone(),
            topic: topic.to_owned(),
            partition,
            index: index.clone(),
            state,
            told,
            pace: pace.clone(),
        };
        env::spawn(following.run(tails.remove(&number).expect("it was asked for")));
        Replica { partition, index, seen, pace: pace.clone() }
    };
    Ok(opened.into_iter().map(start).collect())
}

impl Replica {
    pub fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.clone()
    }

    pub fn next(&self) -> Offset {
        self.seen.borrow().state.next
    }

    /// Waits until everything before this offset is in the index.
    pub async fn reached(&self, next: Offset, patience: Duration) -> Result<(), NotReached> {
        if self.next() >= next {
            return Ok(());
        }
        let _hurry = self.pace.hurry();
        let mut seen = self.seen.clone();
        let waiting = seen.wait_for(|seen| seen.state.next >= next || seen.halted.is_some());
        let Ok(Ok(seen)) = timeout(patience, waiting).await else {
            return Err(NotReached::Late { at: self.next() });
        };
        match &seen.halted {
            Some(why) if seen.state.next < next => Err(NotReached::Halted(why.clone())),
            _ => Ok(()),
        }
    }
}

impl Replica {
    /// Waits until the index has something from this offset on. False: nothing will come any more.
    pub async fn added(&self, from: Offset) -> bool {
        let _hurry = self.pace.hurry();
        self.seen.clone().wait_for(|seen| seen.state.next > from).await.is_ok()
    }
}

/// Why a partition is not read any more.
enum End {
    /// Nobody looks at it.
    Dropped,
    /// The log is shorter than what the index has seen: it was restored from an older copy. It begins there.
    Ahead {
        start: Offset,
    },
    /// What the index goes on from was trimmed: the log begins there.
    Trimmed {
        start: Offset,
    },
    Halted(Halt),
}

struct Following {
    cluster: Cluster,
    trimmed: Trimmed,
    topic: String,
    partition: PartitionId,
    index: Arc<Index>,
    state: State,
    told: watch::Sender<Seen>,
    pace: Pace,
}

impl Following {
    async fn run(mut self, mut tail: mpsc::Receiver<Tailed>) {
        loop {
            let index = self.partition.index;
            match self.follow(tail).await {
                // Nobody looks at it any more.
                End::Dropped => return,
                End::Ahead { start } => {
                    warn!(
                        topic = self.topic,
                        partition = index,
                        "the log is shorter than its index: it is made anew"
                    );
                    self.begin_anew(start).await;
                }
                End::Trimmed { start } => {
                    info!(topic = self.topic, partition = index, %start, "the log was trimmed: its index is made anew");
                    self.begin_anew(start).await;
                }
                End::Halted(halt) => return self.halt(halt),
            }
            let from = [(self.partition.index, self.state.next)];
            let (pace, cluster) = (self.pace.clone(), self.cluster.clone());
            let mut tails = Tail::start_at(pace, cluster, &self.topic, self.partition.topic, from);
            tail = tails.remove(&self.partition.index).expect("it was asked for");
        }
    }

    /// Only what the log has is read again.
    async fn begin_anew(&mut self, start: Offset) {
        let (index, partition) = (self.index.clone(), self.partition);
        match env::run_blocking(move || index.begin_anew(partition, start)).await {
            Ok(state) => self.state = state,
            Err(error) => {
                warn!(topic = self.topic, partition = self.partition.index, %error, "an index cannot be written");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Whether the store itself has deleted everything before this offset. Asks until somebody knows.
    async fn was_trimmed(&self, start: Offset) -> bool {
        loop {
            match self.trimmed.up_to(self.partition).await {
                Ok(trimmed) => return trimmed >= start,
                Err(error) => {
                    warn!(topic = self.topic, %error, "nobody knows yet how far it was trimmed");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            if self.told.is_closed() {
                return true;
            }
        }
    }

    async fn follow(&mut self, mut tail: mpsc::Receiver<Tailed>) -> End {
        let told = self.told.clone();
        let mut after = None;
        loop {
            let next = match after.take() {
                Some(next) => Some(next),
                None => tokio::select! {
                    biased;
                    () = told.closed() => return End::Dropped,
                    next = tail.recv() => next,
                },
            };
            let why = match next {
                Some(Tailed::Records { from, bytes }) => {
                    let chunks = more(&mut tail, (from, bytes), &mut after);
                    match self.take(chunks).await {
                        Some(halt) => return End::Halted(halt),
                        None => continue,
                    }
                }
                Some(Tailed::OutOfRange { from, start }) if from >= start => return End::Ahead { start },
                Some(Tailed::OutOfRange { start, .. }) if self.was_trimmed(start).await => {
                    return End::Trimmed { start };
                }
                Some(Tailed::OutOfRange { from, start }) => format!(
                    "events from offset {from} on were deleted, the log begins at {start}: an events topic needs \
                     cleanup.policy=delete and retention.ms=-1"
                ),
                Some(Tailed::Gone) | None => "the topic was deleted, or is another one now".to_owned(),
            };
            return End::Halted(Halt { offset: self.state.next, why });
        }
    }

    fn halt(&mut self, halt: Halt) {
        let Halt { offset, why } = halt;
        error!(topic = self.topic, partition = self.partition.index, %offset, why, "nothing more is read");
        self.told.send_modify(|seen| seen.halted = Some(format!("at offset {offset}: {why}")));
    }

    /// What was read goes into the index.
    async fn take(&mut self, chunks: Vec<Chunk>) -> Option<Halt> {
        let chunks = Arc::new(chunks);
        loop {
            let (index, state, chunks) = (self.index.clone(), self.state.clone(), chunks.clone());
            let (state, applied) = env::run_blocking(move || apply(&index, state, &chunks)).await;
            self.state = state.clone();
            self.told.send_modify(|seen| seen.state = state);
            match applied {
                Ok(halt) => return halt,
                Err(Failed::Unreadable(halt)) => return Some(halt),
                Err(Failed::Index(error)) => {
                    let partition = self.partition.index;
                    warn!(topic = self.topic, partition, %error, "an index cannot be written");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// The offset that was asked for, and whole batches.
type Chunk = (Offset, Bytes);

/// With what else is there already; what follows and is no records is put back.
fn more(tail: &mut mpsc::Receiver<Tailed>, first: Chunk, after: &mut Option<Tailed>) -> Vec<Chunk> {
    let mut size = first.1.len();
    let mut chunks = vec![first];
    while size < TAKEN_BYTES_MAX
        && let Ok(next) = tail.try_recv()
    {
        match next {
            Tailed::Records { from, bytes } => {
                size += bytes.len();
                chunks.push((from, bytes));
            }
            other => {
                *after = Some(other);
                break;
            }
        }
    }
    chunks
}

enum Failed {
    Unreadable(Halt),
    Index(rusqlite::Error),
}

/// How far it got, also where it failed: what is in the index is not to come a second time.
fn apply(index: &Index, mut state: State, chunks: &[Chunk]) -> (State, Result<Option<Halt>, Failed>) {
    let (mut records, mut next) = (Vec::new(), state.next);
    for (number, (from, bytes)) in (1..).zip(chunks) {
        match read(*from, bytes, state.next, &mut records) {
            Ok(end) => next = next.max(end),
            Err(failed) => return (state, Err(failed)),
        }
        if records.len() >= RECORDS_AT_ONCE || number == chunks.len() {
            let halt = match index.apply(&state, &records, next) {
                Ok((now, halt)) => {
                    state = now;
                    halt
                }
                Err(error) => return (state, Err(Failed::Index(error))),
            };
            if halt.is_some() {
                return (state, Ok(halt));
            }
            records.clear();
        }
    }
    (state, Ok(None))
}

/// Adds the records of a chunk that are not known yet; the offset after it.
fn read(from: Offset, bytes: &Bytes, known: Offset, records: &mut Vec<Applied>) -> Result<Offset, Failed> {
    let mut next = from;
    for batch in batches(bytes.clone()) {
        let unreadable = |error: model::BatchError| {
            let why = format!("a batch cannot be read: {error}");
            Failed::Unreadable(Halt { offset: from, why })
        };
        // The last one may have come in part.
        let batch = match batch {
            Ok(batch) => batch,
            Err(_) if next > from => break,
            Err(error) => return Err(unreadable(error)),
        };
        if !batch.header().attributes.is_control() {
            let of_batch = batch.records(BATCH_BYTES_MAX).map_err(unreadable)?;
            for one in of_batch.iter() {
                let one = one.map_err(unreadable)?;
                let offset = of_batch.offset(&one);
                if offset >= known.max(from) {
                    let entry = record::read(&one, Bytes::copy_from_slice);
                    records.push(Applied { offset, at: of_batch.timestamp(&one), entry });
                }
            }
        }
        next = next.max(batch.header().next_offset());
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use model::batch::BatchBuilder;
    use model::{Compression, Timestamp};

    use super::*;
    use crate::event::{Facts, NewEvent};
    use crate::record::{At, Placed, push};

    const PARTITION: PartitionId = PartitionId { topic: TopicId([7; 16]), index: 0 };

    /// So many events of one stream from an offset on.
    fn chunk(from: i64, count: i64) -> Chunk {
        let mut batch = BatchBuilder::new(Compression::None).base_offset(Offset(from));
        for offset in from..from + count {
            let facts = Facts { kind: "T".to_owned(), ..Facts::default() };
            let event = NewEvent { id: format!("id-{offset}"), facts, data: Bytes::new() };
            let placed = Placed {
                category: "c",
                stream: "s",
                version: offset as u64 + 1,
                event: &event,
                boundary: None,
                writer: "1:0",
                at: At { time: Timestamp(0), text: "1970-01-01T00:00:00Z" },
            };
            push(&mut batch, &placed);
        }
        (Offset(from), batch.build().into_bytes())
    }

    #[test]
    fn what_is_in_the_index_when_it_fails_does_not_come_a_second_time() {
        let dir = tempfile::tempdir().unwrap();
        let (index, state) = Index::open(dir.path(), PARTITION).unwrap();
        let many = RECORDS_AT_ONCE as i64;
        let chunks = [chunk(0, many), chunk(many, 2)];
        let path = dir.path().join(PARTITION.topic.to_string()).join("0.sqlite");
        let disk = rusqlite::Connection::open(path).unwrap();
        let full = format!(
            "CREATE TRIGGER full BEFORE INSERT ON events WHEN NEW.off >= {many}
             BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        );
        disk.execute_batch(&full).unwrap();
        let (state, applied) = apply(&index, state, &chunks);
        assert!(matches!(applied, Err(Failed::Index(_))));
        assert_eq!(state.next, Offset(many));
        disk.execute_batch("DROP TRIGGER full").unwrap();
        let (state, applied) = apply(&index, state, &chunks);
        assert!(matches!(applied, Ok(None)), "{:?}", applied.ok());
        assert_eq!(state.next, Offset(many + 2));
    }
}
