//! Runs one machine over one partition of an internal topic.
//!
//! The task takes what is queued, decides command after command, appends all their records as one batch, and
//! answers when that is durable. While one group is being synced the next one gathers in the queue.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use env::Clock;
use machine::Machine;
use model::batch::{BatchBuilder, NewRecord, batches};
use model::compression::Compression;
use model::{Offset, PartitionId, Timestamp};
use storage::{Append, AppendError, Partition, ReadError, Storage};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{error, warn};

use crate::topics::Topics;

/// Commands and queries that may wait for one machine.
const QUEUE_MAX: usize = 1024;

/// Bytes of records after which a group is closed.
const GROUP_BYTES: usize = 512 * 1024;

/// Bytes read at once when a machine is loaded.
const LOAD_BYTES: usize = 1024 * 1024;

/// No batch of an internal topic decompresses to more.
pub(super) const BATCH_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A record's key and value in an internal topic.
pub type Entry = (Option<Bytes>, Option<Bytes>);

/// A machine whose records have a form in an internal topic.
pub trait Hosted: Machine + Clone + Send + 'static {
    /// `None` for a fact that ends with the process.
    fn encode(record: &Self::Record) -> Option<Entry>;

    /// `None` for a record that this machine has no use for.
    fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Option<Self::Record>, wire::DecodeError>;

    /// A machine that has read nothing yet, told what it must know before.
    fn informed(&self, _topics: &Topics) -> Self {
        self.clone()
    }

    /// Whether this leads to deletions, so that it must be possible on a full disk too.
    fn frees_room(_: &Self::Record) -> bool {
        false
    }

    /// To be decided when the log was read.
    fn started() -> Option<Self::Command> {
        None
    }

    /// When the machine wants [`Hosted::wake`] to be decided.
    fn wake_at(&self) -> Option<Timestamp> {
        None
    }

    fn wake() -> Option<Self::Command> {
        None
    }

    /// So many offsets hold no record: compacted away, or given up after damage.
    fn missing(&mut self, _offsets: i64) {}
}

/// What must happen outside the machine when records are committed, before the caller gets its answer.
pub trait Effects<M: Machine>: Clone + Send + 'static {
    /// The machine was loaded from its log, at the start or after a write failed.
    fn loaded(&mut self, state: &M) -> impl Future<Output = ()> + Send;

    fn committed(&mut self, state: &M, records: &[M::Record]) -> impl Future<Output = ()> + Send;
}

/// Nothing happens outside.
#[derive(Clone, Default)]
pub struct NoEffects;

impl<M: Machine + Sync> Effects<M> for NoEffects
where
    M::Record: Sync,
{
    async fn loaded(&mut self, _: &M) {}

    async fn committed(&mut self, _: &M, _: &[M::Record]) {}
}

#[derive(Debug, thiserror::Error)]
pub enum HostError<R> {
    #[error("refused")]
    Rejected(R),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error("the log of an internal topic cannot be read: {0}")]
    Unreadable(String),
    #[error("the broker is shutting down")]
    Gone,
}

/// Why a machine cannot be loaded from its log.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Nothing is loaded as long as the operator has not said that the records may be given up.
    #[error("the record at offset {offset} is damaged")]
    Damaged { offset: Offset },
    /// The same where nothing is left of the log but damaged partitions beside it.
    #[error("nothing is left of it, and partitions are damaged")]
    Lost,
    #[error("{0}")]
    Unreadable(String),
}

type Answer = Box<dyn FnOnce(Result<(), AppendError>) + Send>;

type Job<M> = Box<dyn FnOnce(&mut M, Timestamp, &mut Vec<<M as Machine>::Record>) -> Answer + Send>;

/// The way to a running machine.
#[derive(Clone)]
pub struct Host<M: Machine, E = NoEffects> {
    partition: PartitionId,
    jobs: mpsc::Sender<Job<M>>,
    pub effects: E,
}

impl<M: Hosted, E: Effects<M>> Host<M, E>
where
    M::Command: Send,
    M::Record: Send + Sync,
    M::Reply: Send,
    M::Reject: Send,
{
    /// Loads the machine from its log, on top of `empty`, and starts its task.
    pub async fn start(
        storage: Storage,
        partition: Arc<Partition>,
        clock: &dyn Clock,
        empty: M,
        mut effects: E,
    ) -> Result<Self, LoadError>
    where
        M: Sync,
    {
        let time = MachineTime { began: clock.now(), since: Instant::now() };
        let state = load(&partition, &empty).await?;
        effects.loaded(&state).await;
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let id = partition.id();
        let running = Running { storage, partition, time, effects: effects.clone(), empty, state };
        env::spawn(running.run(queue));
        Ok(Host { partition: id, jobs, effects })
    }

    /// Whether its task still runs, over this very partition: its topic may have been deleted and made anew, and where the
    /// log could not be read the task has ended.
    pub fn runs_over(&self, partition: PartitionId) -> bool {
        self.partition == partition && !self.jobs.is_closed()
    }

    /// Decides a command; answers when its records are durable and applied.
    pub async fn decide(&self, command: M::Command) -> Result<M::Reply, HostError<M::Reject>> {
        let (answer, answered) = oneshot::channel();
        let job: Job<M> = Box::new(move |state, now, records| {
            let decided = state.decide(command, now).map(|decision| {
                decision.records.iter().for_each(|record| state.apply(record));
                records.extend(decision.records);
                decision.reply
            });
            Box::new(move |appended| {
                let _ = answer.send(match (decided, appended) {
                    (_, Err(error)) => Err(HostError::Append(error)),
                    (Ok(reply), Ok(())) => Ok(reply),
                    (Err(reject), Ok(())) => Err(HostError::Rejected(reject)),
                });
            })
        });
        self.jobs.send(job).await.map_err(|_| HostError::Gone)?;
        answered.await.map_err(|_| HostError::Gone)?
    }

    /// Looks at the state; answers when all that was seen is durable.
    pub async fn query<T: Send + 'static>(
        &self,
        look: impl FnOnce(&M) -> T + Send + 'static,
    ) -> Result<T, HostError<M::Reject>> {
        let (answer, answered) = oneshot::channel();
        let job: Job<M> = Box::new(move |state, _, _| {
            let seen = look(state);
            Box::new(move |appended| {
                let _ = answer.send(appended.map(|()| seen).map_err(HostError::Append));
            })
        });
        self.jobs.send(job).await.map_err(|_| HostError::Gone)?;
        answered.await.map_err(|_| HostError::Gone)?
    }
}

/// The time that a machine is told: wall time at the start, and from then on it only goes forward, at the pace of real
/// time, so that a clock that is set does not end every session at once.
struct MachineTime {
    began: Timestamp,
    since: Instant,
}

impl MachineTime {
    fn now(&self) -> Timestamp {
        Timestamp(self.began.0 + self.since.elapsed().as_millis() as i64)
    }

    fn instant(&self, at: Timestamp) -> Instant {
        self.since + Duration::from_millis(at.0.saturating_sub(self.began.0).max(0) as u64)
    }
}

struct Running<M, E> {
    storage: Storage,
    partition: Arc<Partition>,
    time: MachineTime,
    effects: E,
    empty: M,
    state: M,
}

impl<M, E> Running<M, E>
where
    M: Hosted + Sync,
    M::Command: Send,
    M::Record: Send + Sync,
    E: Effects<M>,
{
    async fn run(mut self, mut queue: mpsc::Receiver<Job<M>>) {
        let mut next = M::started().map(unasked::<M>);
        loop {
            let first = match next.take() {
                Some(job) => job,
                None => match next_job(self.state.wake_at(), &self.time, &mut queue).await {
                    Some(job) => job,
                    None => return,
                },
            };
            let now = self.time.now();
            let mut records = Vec::new();
            let mut batch = BatchBuilder::new(Compression::None);
            let mut answers = Vec::new();
            let mut durable = false;
            let mut waiting = Some(first);
            while let Some(job) = waiting {
                let from = records.len();
                answers.push(job(&mut self.state, now, &mut records));
                for record in &records[from..] {
                    let Some((key, value)) = M::encode(record) else { continue };
                    durable = true;
                    let (key, value) = (key.as_deref(), value.as_deref());
                    batch.push(NewRecord { timestamp: now, key, value, headers: &[] });
                }
                waiting = if batch.section_bytes() < GROUP_BYTES { queue.try_recv().ok() } else { None };
            }
            if !durable {
                self.effects.committed(&self.state, &records).await;
                answers.into_iter().for_each(|answer| answer(Ok(())));
                continue;
            }
            let mut append = Append::new(self.partition.clone(), batch.build());
            append.frees_room = records.iter().any(M::frees_room);
            match self.storage.append(append).await {
                Ok(_) => {
                    self.effects.committed(&self.state, &records).await;
                    answers.into_iter().for_each(|answer| answer(Ok(())));
                }
                Err(error) => {
                    warn!(partition = %self.partition.id(), %error, "an internal topic cannot be written");
                    answers.into_iter().for_each(|answer| answer(Err(error.clone())));
                    // The state is ahead of the log now: only the log tells what is true.
                    match load(&self.partition, &self.empty).await {
                        Ok(state) => {
                            self.effects.loaded(&state).await;
                            self.state = state;
                            next = M::started().map(unasked::<M>);
                        }
                        Err(error) => {
                            error!(partition = %self.partition.id(), %error, "an internal topic cannot be read");
                            return;
                        }
                    }
                }
            }
        }
    }
}

/// The next job: the machine's own when its time has come, else whatever is asked. `None`: nobody can ask any more.
async fn next_job<M: Hosted>(
    wake_at: Option<Timestamp>,
    time: &MachineTime,
    queue: &mut mpsc::Receiver<Job<M>>,
) -> Option<Job<M>>
where
    M::Command: Send,
{
    let wake = || M::wake().map(unasked::<M>);
    match wake_at {
        None => queue.recv().await,
        Some(at) if at <= time.now() => wake(),
        Some(at) => tokio::select! {
            biased;
            () = tokio::time::sleep_until(time.instant(at)) => wake(),
            job = queue.recv() => job,
        },
    }
}

/// A command that nobody waits for.
fn unasked<M: Hosted>(command: M::Command) -> Job<M>
where
    M::Command: Send,
{
    Box::new(move |state, now, records| {
        if let Ok(decision) = state.decide(command, now) {
            decision.records.iter().for_each(|record| state.apply(record));
            records.extend(decision.records);
        }
        Box::new(|_| {})
    })
}

fn join(chunks: &[Bytes]) -> Bytes {
    wire::Records::from(chunks.to_vec()).to_bytes()
}

/// Folds the partition's records from its start to its end.
async fn load<M: Hosted>(partition: &Arc<Partition>, empty: &M) -> Result<M, LoadError> {
    let (partition, mut state) = (partition.clone(), empty.clone());
    env::run_blocking(move || {
        read_facts::<M>(&partition, |fact| match fact {
            Fact::Record(record) => state.apply(&record),
            Fact::Missing(offsets) => state.missing(offsets),
        })?;
        Ok(state)
    })
    .await
}

/// What a log says to the machine that it belongs to.
pub(super) enum Fact<R> {
    Record(R),
    Missing(i64),
}

/// Reads a machine's log from offset 0 to its end. Blocks.
pub(super) fn read_facts<M: Hosted>(
    partition: &Partition,
    mut each: impl FnMut(Fact<M::Record>),
) -> Result<(), LoadError> {
    let unreadable = |error: &dyn std::error::Error| LoadError::Unreadable(error.to_string());
    let offsets = partition.offsets();
    let mut seen = Offset::ZERO;
    let mut next: Offset = offsets.log_start;
    while next < offsets.high_watermark {
        let read = partition.read(next, LOAD_BYTES, offsets.high_watermark).map_err(|error| match error {
            ReadError::Corrupt { offset } => LoadError::Damaged { offset },
            other => unreadable(&other),
        })?;
        if read.chunks.is_empty() {
            // The last records of all were given up.
            break;
        }
        for batch in batches(join(&read.chunks)) {
            let batch = batch.map_err(|error| unreadable(&error))?;
            let records = batch.records(BATCH_BYTES_MAX).map_err(|error| unreadable(&error))?;
            for record in records.iter() {
                let record = record.map_err(|error| unreadable(&error))?;
                let offset = records.offset(&record);
                if offset < next {
                    continue;
                }
                if offset > seen {
                    each(Fact::Missing(offset.0 - seen.0));
                }
                seen = offset.plus(1);
                if let Some(fact) = M::decode(record.key, record.value).map_err(|error| unreadable(&error))? {
                    each(Fact::Record(fact));
                }
            }
            next = batch.header().next_offset();
        }
    }
    if seen < offsets.high_watermark {
        each(Fact::Missing(offsets.high_watermark.0 - seen.0));
    }
    Ok(())
}
