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

use crate::index::{Applied, Halt, Index, State, is_damage};
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
    /// The index was damaged, and is made anew: up to here it had been.
    pub rebuilding: Option<Offset>,
}

impl Seen {
    fn has(&self, next: Offset) -> bool {
        self.rebuilding.is_none() && self.state.next >= next
    }
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
    Late {
        at: Offset,
    },
    /// Its index was damaged, and is made anew from the log.
    Rebuilding {
        at: Offset,
        to: Offset,
    },
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
        let (told, seen) = watch::channel(Seen { state: state.clone(), halted: None, rebuilding: None });
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
        let seen = self.seen.borrow();
        // What was told before counts while the index is made anew.
        seen.rebuilding.map_or(seen.state.next, |upto| upto.max(seen.state.next))
    }

    /// Waits until everything before this offset is in the index.
    pub async fn reached(&self, next: Offset, patience: Duration) -> Result<(), NotReached> {
        if self.seen.borrow().has(next) {
            return Ok(());
        }
        let _hurry = self.pace.hurry();
        let mut seen = self.seen.clone();
        let waiting = seen.wait_for(|seen| seen.has(next) || seen.halted.is_some());
        let Ok(Ok(seen)) = timeout(patience, waiting).await else {
            let seen = self.seen.borrow();
            let at = seen.state.next;
            return Err(match seen.rebuilding {
                Some(to) => NotReached::Rebuilding { at, to },
                None => NotReached::Late { at },
            });
        };
        match &seen.halted {
            Some(why) if !seen.has(next) => Err(NotReached::Halted(why.clone())),
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
    /// The index is damaged.
    Damaged(String),
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
                    self.told.send_modify(|seen| seen.rebuilding = None);
                    Box::pin(self.begin_anew(start)).await;
                }
                End::Trimmed { start } => {
                    info!(topic = self.topic, partition = index, %start, "the log was trimmed: its index is made anew");
                    Box::pin(self.begin_anew(start)).await;
                }
                End::Damaged(why) => {
                    error!(
                        topic = self.topic,
                        partition = index,
                        why,
                        "an index is damaged: it is made anew from the log"
                    );
                    Box::pin(self.rebuild()).await;
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
        let index = self.index.clone();
        match env::run_blocking(move || index.begin_anew(start)).await {
            Ok(state) => self.is_at(state),
            Err(error) => {
                warn!(topic = self.topic, partition = self.partition.index, %error, "an index cannot be written");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Until it succeeds: nobody reads meanwhile.
    async fn rebuild(&mut self) {
        let upto = self.state.next;
        self.told.send_modify(|seen| seen.rebuilding = seen.rebuilding.max(Some(upto)));
        loop {
            let index = self.index.clone();
            match env::run_blocking(move || index.rebuild()).await {
                Ok(state) => return self.is_at(state),
                Err(error) => {
                    warn!(topic = self.topic, partition = self.partition.index, %error, "an index cannot be made anew");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            if self.told.is_closed() {
                return;
            }
        }
    }

    fn is_at(&mut self, state: State) {
        self.state = state.clone();
        let mut is_rebuilt = false;
        self.told.send_modify(|seen| {
            is_rebuilt = seen.rebuilding.is_some_and(|upto| state.next >= upto);
            if is_rebuilt {
                seen.rebuilding = None;
            }
            seen.state = state;
        });
        if is_rebuilt {
            let next = self.state.next;
            info!(topic = self.topic, partition = self.partition.index, %next, "an index was made anew from the log");
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
        let mut damage = self.index.damage();
        let mut after = None;
        loop {
            let next = match after.take() {
                Some(next) => Some(next),
                None => tokio::select! {
                    biased;
                    () = told.closed() => return End::Dropped,
                    why = found(&mut damage) => return End::Damaged(why),
                    next = tail.recv() => next,
                    () = std::future::ready(()), if self.index.has_to_forget() => {
                        Box::pin(self.forget_some()).await;
                        continue;
                    }
                },
            };
            let why = match next {
                Some(Tailed::Records { from, bytes }) => {
                    let chunks = more(&mut tail, (from, bytes), &mut after);
                    match Box::pin(self.take(chunks)).await {
                        Some(end) => return end,
                        None => continue,
                    }
                }
                Some(Tailed::OutOfRange { from, start }) if from >= start => return End::Ahead { start },
                Some(Tailed::OutOfRange { start, .. }) if Box::pin(self.was_trimmed(start)).await => {
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

    /// Does a part of what truncations have left to do.
    async fn forget_some(&self) {
        let index = self.index.clone();
        if let Err(error) = env::run_blocking(move || index.forget_some()).await {
            let partition = self.partition.index;
            warn!(topic = self.topic, partition, %error, "truncated events cannot be taken out of an index");
            tokio::time::sleep(PAUSE).await;
        }
        self.index.close_when_idle();
    }

    /// What was read goes into the index.
    async fn take(&mut self, chunks: Vec<Chunk>) -> Option<End> {
        let chunks = Arc::new(chunks);
        loop {
            let (index, state, chunks) = (self.index.clone(), self.state.clone(), chunks.clone());
            let (state, applied) = env::run_blocking(move || apply(&index, state, &chunks)).await;
            self.is_at(state);
            self.index.close_when_idle();
            match applied {
                Ok(halt) => return halt.map(End::Halted),
                Err(Failed::Unreadable(halt)) => return Some(End::Halted(halt)),
                Err(Failed::Index(error)) if is_damage(&error) => {
                    return Some(End::Damaged(error.to_string()));
                }
                Err(Failed::Index(error)) => {
                    let partition = self.partition.index;
                    warn!(topic = self.topic, partition, %error, "an index cannot be written");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// What is damaged, once it is.
async fn found(damage: &mut watch::Receiver<Option<String>>) -> String {
    let found = damage.wait_for(Option::is_some).await.ok().map(|damage| damage.clone());
    match found.flatten() {
        Some(damage) => damage,
        // Nobody finds anything any more.
        None => std::future::pending().await,
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
