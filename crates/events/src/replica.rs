//! Reads one partition into its index, whoever owns it.
//!
//! Every instance does so for every partition: taking a partition over costs a claim then, and no rebuilding.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::{Cluster, Pace, Tail, Tailed};
use model::batch::{Record, batches};
use model::{Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp, TopicId};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::index::{Applied, Halt, Index, State, is_damage};
use crate::record::{self, Entry};
use crate::repairs::{self, OfPartition, Repair, Repairs};
use crate::table::At;
use crate::trimmed::Trimmed;

/// No batch of an events topic decompresses to more.
const BATCH_BYTES_MAX: usize = 256 << 20;

/// Records that go into the index in one transaction, about.
const RECORDS_AT_ONCE: usize = 20_000;

/// How far behind an index may be that nobody waits for: many small fetches and transactions cost more than one.
const BEHIND_MAX: Duration = Duration::from_millis(100);

/// Bytes of the log that go into the index at once, about.
const TAKEN_BYTES_MAX: usize = 4 << 20;

/// Why nothing more is read of a partition whose topic is not there.
const GONE: &str = "the topic was deleted, or is another one now";

/// Between two tries to write an index.
const PAUSE: Duration = Duration::from_secs(1);

/// How far a partition is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub state: State,
    /// Why nothing more is taken: somebody has to look at it.
    pub halted: Option<Halted>,
    /// The index was damaged, and is made anew: up to here it had been.
    pub rebuilding: Option<Offset>,
}

impl Seen {
    fn has(&self, next: Offset) -> bool {
        self.rebuilding.is_none() && self.state.next >= next
    }
}

/// From where on nothing is read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halted {
    pub offset: Offset,
    /// With the offset.
    pub why: String,
    /// It is not this partition alone: its topic is not there.
    pub is_topic_gone: bool,
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
    (trimmed, repairs): (&Trimmed, &Repairs),
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
            repairs: repairs.clone(),
            decided: None,
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
            Some(halted) if !seen.has(next) => Err(NotReached::Halted(halted.why.clone())),
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

    /// Why nothing more is read, if that is so.
    pub fn halted(&self) -> Option<Halted> {
        self.seen.borrow().halted.clone()
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
    /// The topic was deleted, or is another one.
    Gone,
    /// The index is damaged.
    Damaged(String),
    Halted(Halt),
}

struct Following {
    cluster: Cluster,
    trimmed: Trimmed,
    repairs: Repairs,
    /// What was decided about this partition, and how far that was read.
    decided: Option<(At, Arc<OfPartition>)>,
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
                End::Gone => {
                    let halt = Halt { offset: self.state.next, why: GONE.to_owned() };
                    match self.wait_for_repair(halt, true).await {
                        true => {}
                        false => return,
                    }
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
                End::Halted(halt) => match self.wait_for_repair(halt, false).await {
                    true => {}
                    false => return,
                },
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

    /// What was decided by now. Asks until somebody knows.
    async fn decided(&mut self) -> Arc<OfPartition> {
        loop {
            let at = self.repairs.at().borrow().clone();
            if let Some((known, decided)) = &self.decided
                && *known == at
            {
                return decided.clone();
            }
            match self.repairs.of(self.partition).await {
                Ok(decided) => {
                    let decided = Arc::new(decided);
                    self.decided = Some((at, decided.clone()));
                    return decided;
                }
                Err(error) => {
                    warn!(topic = self.topic, %error, "nobody knows yet what was decided about it");
                    tokio::time::sleep(PAUSE).await;
                }
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
                Some(Tailed::Gone) | None => return End::Gone,
            };
            return End::Halted(Halt { offset: self.state.next, why });
        }
    }

    /// Says why nothing more is read, until somebody has decided about it. False: nobody looks at it any more.
    async fn wait_for_repair(&mut self, halt: Halt, is_topic_gone: bool) -> bool {
        let Halt { offset, why } = halt;
        let (mut repairs, mut trimmed) = (self.repairs.at(), self.trimmed.at());
        let told = self.told.clone();
        let mut was_told = false;
        loop {
            repairs.mark_unchanged();
            trimmed.mark_unchanged();
            let decided = self.decided().await;
            if let Some(until) = repairs::passed_over(&decided, offset) {
                info!(topic = self.topic, partition = self.partition.index, %offset, %until, "passed over, as was decided");
                self.pass_over(until).await;
                break;
            }
            // What is to be adopted is read again; where it still cannot be, that was not known before.
            if was_told && decided.contains_key(&offset) {
                break;
            }
            if !was_told {
                error!(topic = self.topic, partition = self.partition.index, %offset, why, "nothing more is read");
                let why = format!("at offset {offset}: {why}");
                self.told.send_modify(|seen| seen.halted = Some(Halted { offset, why, is_topic_gone }));
                was_told = true;
            }
            tokio::select! {
                biased;
                () = told.closed() => return false,
                changed = repairs.changed() => if changed.is_err() { return false },
                // Somebody may have given up what was deleted: then it is looked at anew.
                changed = trimmed.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return false,
                },
            }
        }
        self.told.send_if_modified(|seen| seen.halted.take().is_some());
        true
    }

    /// Goes on behind what nobody can read.
    async fn pass_over(&mut self, until: Offset) {
        loop {
            let (index, state) = (self.index.clone(), self.state.clone());
            match env::run_blocking(move || index.apply(&state, &[], until)).await {
                Ok((state, _)) => {
                    self.state = state.clone();
                    self.told.send_modify(|seen| seen.state = state);
                    return;
                }
                Err(error) => {
                    warn!(topic = self.topic, partition = self.partition.index, %error, "an index cannot be written");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
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
        let decided = self.decided().await;
        loop {
            let (index, state, chunks) = (self.index.clone(), self.state.clone(), chunks.clone());
            let (decided, number) = (decided.clone(), self.partition.index);
            let applying = move || apply(&index, state, &chunks, (number, &decided));
            let (state, applied) = env::run_blocking(applying).await;
            self.is_at(state);
            self.index.close_when_idle();
            match applied {
                Ok(halt) => return halt.map(End::Halted),
                Err(error) if is_damage(&error) => return Some(End::Damaged(error.to_string())),
                Err(error) => {
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

/// How far it got, also where it failed: what is in the index is not to come a second time. `decided`: the partition's
/// number, and what was decided about it.
fn apply(
    index: &Index,
    mut state: State,
    chunks: &[Chunk],
    decided: (i32, &OfPartition),
) -> (State, rusqlite::Result<Option<Halt>>) {
    let (mut records, mut next) = (Vec::new(), state.next);
    for (number, (from, bytes)) in (1..).zip(chunks) {
        let (end, unreadable) = read(*from, bytes, state.next, decided, &mut records);
        next = next.max(end);
        if records.len() >= RECORDS_AT_ONCE || number == chunks.len() || unreadable.is_some() {
            let halt = match index.apply(&state, &records, next) {
                Ok((now, halt)) => {
                    state = now;
                    halt
                }
                Err(error) => return (state, Err(error)),
            };
            // Whatever comes first.
            if let Some(halt) = halt.or(unreadable) {
                return (state, Ok(Some(halt)));
            }
            records.clear();
        }
    }
    (state, Ok(None))
}

/// Adds the records of a chunk that are not known yet. The offset after them, and why it ends there if it does so early.
fn read(
    from: Offset,
    bytes: &Bytes,
    known: Offset,
    (partition, decided): (i32, &OfPartition),
    records: &mut Vec<Applied>,
) -> (Offset, Option<Halt>) {
    let mut next = from;
    for batch in batches(bytes.clone()) {
        let unreadable = |offset: Offset, error: model::BatchError| {
            (offset, Some(Halt { offset, why: format!("a batch cannot be read: {error}") }))
        };
        // The last one may have come in part.
        let batch = match batch {
            Ok(batch) => batch,
            Err(_) if next > from => break,
            Err(error) => return unreadable(from.max(known), error),
        };
        let (base, end) = (batch.header().base_offset, batch.header().next_offset());
        let producer = (batch.header().producer_id, batch.header().producer_epoch);
        let is_over = |offset: Offset| repairs::passed_over(decided, offset).is_some();
        if !batch.header().attributes.is_control() && end > known {
            let mut found = Vec::new();
            match read_batch(&batch, |offset, at, record| {
                if offset >= known.max(from) && !is_over(offset) {
                    let entry = read_record(record, producer, (partition, offset), decided);
                    found.push(Applied { offset, at, entry });
                }
            }) {
                Ok(()) => records.append(&mut found),
                Err(_) if is_over(base.max(known)) => {}
                Err(error) => return unreadable(base.max(known), error),
            }
        }
        next = next.max(end);
    }
    (next, None)
}

fn read_batch(
    batch: &model::batch::Batch,
    mut each: impl FnMut(Offset, Timestamp, &Record<'_>),
) -> Result<(), model::BatchError> {
    let of_batch = batch.records(BATCH_BYTES_MAX)?;
    for one in of_batch.iter() {
        let one = one?;
        each(of_batch.offset(&one), of_batch.timestamp(&one), &one);
    }
    Ok(())
}

fn read_record(
    one: &Record<'_>,
    producer: (ProducerId, ProducerEpoch),
    place: (i32, Offset),
    decided: &OfPartition,
) -> Entry {
    let Some(Repair::Adopt { stream, kind }) = decided.get(&place.1) else {
        return record::read_of(one, Bytes::copy_from_slice, producer);
    };
    match record::adopt(one, place, stream.as_deref(), kind.as_deref()) {
        Ok(adopted) => adopted,
        Err(why) => Entry::Foreign { why: format!("it cannot be adopted: {why}").into() },
    }
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
        let batch = BatchBuilder::new(Compression::None).base_offset(Offset(from));
        let mut batch = batch.producer(ProducerId(1), ProducerEpoch(0), from as i32);
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

    fn offsets_read(bytes: &Bytes, decided: &OfPartition) -> (i64, Option<i64>, Vec<i64>) {
        let mut records = Vec::new();
        let (next, halt) = read(Offset(0), bytes, Offset(0), (0, decided), &mut records);
        let offsets = records.iter().map(|record| record.offset.0).collect();
        (next.0, halt.map(|halt| halt.offset.0), offsets)
    }

    #[test]
    fn what_is_to_be_passed_over_is_not_there() {
        let (_, bytes) = chunk(0, 5);
        assert_eq!(offsets_read(&bytes, &OfPartition::new()), (5, None, vec![0, 1, 2, 3, 4]));
        let over = OfPartition::from([(Offset(2), Repair::PassOver { until: Offset(4) })]);
        assert_eq!(offsets_read(&bytes, &over), (5, None, vec![0, 1, 4]));
    }

    #[test]
    fn a_batch_that_cannot_be_read_ends_it_there() {
        let (_, good) = chunk(0, 2);
        let mut bad = chunk(2, 2).1.to_vec();
        // Its checksum is another one then.
        bad[model::batch::HEADER_BYTES] ^= 1;
        let all: Bytes = [&good[..], &bad].concat().into();
        // It may be the end of what came in part: whoever goes on there is told.
        assert_eq!(offsets_read(&all, &OfPartition::new()), (2, None, vec![0, 1]));
        let (next, halt) = read(Offset(2), &bad.into(), Offset(2), (0, &OfPartition::new()), &mut Vec::new());
        assert_eq!((next, halt.map(|halt| halt.offset)), (Offset(2), Some(Offset(2))));
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
        let (state, applied) = apply(&index, state.claimed(), &chunks, (0, &OfPartition::new()));
        assert!(applied.is_err());
        assert_eq!(state.next, Offset(many));
        disk.execute_batch("DROP TRIGGER full").unwrap();
        let (state, applied) = apply(&index, state, &chunks, (0, &OfPartition::new()));
        assert!(matches!(applied, Ok(None)), "{:?}", applied.ok());
        assert_eq!(state.next, Offset(many + 2));
    }
}
