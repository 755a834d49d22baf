//! Reads one partition into its index, whoever owns it.
//!
//! Every instance does so for every partition: taking a partition over costs a claim then, and no rebuilding.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::{Cluster, Tail, Tailed};
use model::batch::batches;
use model::{Offset, PartitionId};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::{error, warn};

use crate::index::{Applied, Halt, Index, State};
use crate::record;

/// No batch of an events topic decompresses to more.
const BATCH_BYTES_MAX: usize = 256 << 20;

/// Records that go into the index in one transaction, about.
const RECORDS_AT_ONCE: usize = 20_000;

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
}

/// What was waited for did not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotReached {
    Late { at: Offset },
    Halted(String),
}

impl Replica {
    /// Opens the index and reads on from where it is.
    pub async fn start(
        cluster: Cluster,
        topic: String,
        dir: PathBuf,
        partition: PartitionId,
    ) -> rusqlite::Result<Replica> {
        let (index, state) = env::run_blocking(move || Index::open(&dir, partition)).await?;
        let index = Arc::new(index);
        let (told, seen) = watch::channel(Seen { state: state.clone(), halted: None });
        let following = Following { cluster, topic, partition, index: index.clone(), state, told };
        env::spawn(following.run());
        Ok(Replica { partition, index, seen })
    }

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

/// Why a partition is not read any more.
enum End {
    /// Nobody looks at it.
    Dropped,
    /// The log is shorter than what the index has seen: it was restored from an older copy.
    Ahead,
    Halted(Halt),
}

struct Following {
    cluster: Cluster,
    topic: String,
    partition: PartitionId,
    index: Arc<Index>,
    state: State,
    told: watch::Sender<Seen>,
}

impl Following {
    async fn run(mut self) {
        loop {
            let index = self.partition.index;
            let from = [(index, self.state.next)];
            let mut tails = Tail::start(self.cluster.clone(), &self.topic, self.partition.topic, from);
            let tail = tails.remove(&index).expect("it was asked for");
            match self.follow(tail).await {
                // Nobody looks at it any more.
                End::Dropped => return,
                End::Ahead => {
                    warn!(
                        topic = self.topic,
                        partition = index,
                        "the log is shorter than its index: it is made anew"
                    );
                    let (index, partition) = (self.index.clone(), self.partition);
                    match env::run_blocking(move || index.begin_anew(partition)).await {
                        Ok(state) => self.state = state,
                        Err(error) => {
                            warn!(topic = self.topic, partition = self.partition.index, %error, "an index cannot be written");
                            tokio::time::sleep(PAUSE).await;
                        }
                    }
                }
                End::Halted(halt) => return self.halt(halt),
            }
        }
    }

    async fn follow(&mut self, mut tail: mpsc::Receiver<Tailed>) -> End {
        loop {
            let told = self.told.clone();
            let first = tokio::select! {
                biased;
                () = told.closed() => return End::Dropped,
                first = tail.recv() => first,
            };
            let (from, bytes) = match first {
                Some(Tailed::Records { from, bytes }) => (from, bytes),
                Some(Tailed::OutOfRange { from, start }) if from >= start => return End::Ahead,
                Some(Tailed::OutOfRange { from, start }) => {
                    let why = format!(
                        "events from offset {from} on were deleted, the log begins at {start}: an events topic needs \
                         cleanup.policy=delete and retention.ms=-1"
                    );
                    return End::Halted(Halt { offset: from, why });
                }
                Some(Tailed::Gone) | None => {
                    let why = "the topic was deleted, or is another one now".to_owned();
                    return End::Halted(Halt { offset: self.state.next, why });
                }
            };
            if let Some(halt) = self.take(from, bytes).await {
                return End::Halted(halt);
            }
        }
    }

    fn halt(&mut self, halt: Halt) {
        let Halt { offset, why } = halt;
        error!(topic = self.topic, partition = self.partition.index, %offset, why, "nothing more is read");
        self.told.send_modify(|seen| seen.halted = Some(format!("at offset {offset}: {why}")));
    }

    async fn take(&mut self, from: Offset, bytes: Bytes) -> Option<Halt> {
        loop {
            let (index, state, chunk) = (self.index.clone(), self.state.clone(), bytes.clone());
            let applied = env::run_blocking(move || apply(&index, state, from, chunk)).await;
            match applied {
                Ok((state, halt)) => {
                    self.state = state.clone();
                    self.told.send_modify(|seen| seen.state = state);
                    return halt;
                }
                Err(Failed::Unreadable(halt)) => return Some(halt),
                Err(Failed::Index(error)) => {
                    warn!(topic = self.topic, partition = self.partition.index, %error, "an index cannot be written");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

enum Failed {
    Unreadable(Halt),
    Index(rusqlite::Error),
}

fn apply(
    index: &Index,
    mut state: State,
    from: Offset,
    bytes: Bytes,
) -> Result<(State, Option<Halt>), Failed> {
    let mut records = Vec::new();
    let mut next = state.next;
    let take = |state: &State, records: &mut Vec<Applied>, next: Offset| {
        let applied = index.apply(state, records, next).map_err(Failed::Index);
        records.clear();
        applied
    };
    for batch in batches(bytes) {
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
                if offset >= state.next {
                    let entry = record::read(&one, Bytes::copy_from_slice);
                    records.push(Applied { offset, at: of_batch.timestamp(&one), entry });
                }
            }
        }
        next = next.max(batch.header().next_offset());
        if records.len() >= RECORDS_AT_ONCE {
            let (now, halt) = take(&state, &mut records, next)?;
            if halt.is_some() {
                return Ok((now, halt));
            }
            state = now;
        }
    }
    take(&state, &mut records, next)
}
