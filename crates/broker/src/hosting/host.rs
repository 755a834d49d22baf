//! Runs one machine over one partition of an internal topic.
//!
//! The task takes what is queued, decides command after command, appends all their records as one batch, and
//! answers when that is durable. While one group is being synced the next one gathers in the queue.

use std::sync::Arc;

use bytes::Bytes;
use env::Clock;
use machine::Machine;
use model::batch::{BatchBuilder, NewRecord, batches};
use model::compression::Compression;
use model::{Offset, Timestamp};
use storage::{Append, AppendError, Partition, Storage};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

/// Commands and queries that may wait for one machine.
const QUEUE_MAX: usize = 1024;

/// Bytes of records after which a group is closed.
const GROUP_BYTES: usize = 512 * 1024;

/// Bytes read at once when a machine is loaded.
const LOAD_BYTES: usize = 1024 * 1024;

/// No batch of an internal topic decompresses to more.
const BATCH_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A machine whose records have a form in an internal topic.
pub trait Hosted: Machine + Default + Send + 'static {
    fn encode(record: &Self::Record) -> (Option<Bytes>, Option<Bytes>);

    /// `None` for a record that this machine has no use for.
    fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Option<Self::Record>, wire::DecodeError>;

    /// Whether this leads to deletions, so that it must be possible on a full disk too.
    fn frees_room(_: &Self::Record) -> bool {
        false
    }
}

/// What must happen outside the machine when records are committed, before the caller gets its answer.
pub trait Effects<M: Machine>: Send + 'static {
    /// The machine was loaded from its log, at the start or after a write failed.
    fn loaded(&mut self, state: &M) -> impl Future<Output = ()> + Send;

    fn committed(&mut self, state: &M, records: &[M::Record]) -> impl Future<Output = ()> + Send;
}

/// Nothing happens outside.
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

type Answer = Box<dyn FnOnce(Result<(), AppendError>) + Send>;

type Job<M> = Box<dyn FnOnce(&mut M, Timestamp, &mut Vec<<M as Machine>::Record>) -> Answer + Send>;

/// The way to a running machine.
pub struct Host<M: Machine> {
    jobs: mpsc::Sender<Job<M>>,
}

impl<M: Machine> Clone for Host<M> {
    fn clone(&self) -> Self {
        Host { jobs: self.jobs.clone() }
    }
}

impl<M: Hosted> Host<M>
where
    M::Command: Send,
    M::Record: Send + Sync,
    M::Reply: Send,
    M::Reject: Send,
{
    /// Loads the machine from its log and starts its task.
    pub async fn start(
        storage: Storage,
        partition: Arc<Partition>,
        clock: Arc<dyn Clock>,
        mut effects: impl Effects<M>,
    ) -> Result<Host<M>, String>
    where
        M: Sync,
    {
        let state = load::<M>(&partition).await?;
        effects.loaded(&state).await;
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        env::spawn(Running { storage, partition, clock, effects, state }.run(queue));
        Ok(Host { jobs })
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

struct Running<M, E> {
    storage: Storage,
    partition: Arc<Partition>,
    clock: Arc<dyn Clock>,
    effects: E,
    state: M,
}

impl<M, E> Running<M, E>
where
    M: Hosted + Sync,
    M::Record: Send + Sync,
    E: Effects<M>,
{
    async fn run(mut self, mut queue: mpsc::Receiver<Job<M>>) {
        while let Some(first) = queue.recv().await {
            let now = self.clock.now();
            let mut records = Vec::new();
            let mut batch = BatchBuilder::new(Compression::None);
            let mut answers = Vec::new();
            let mut next = Some(first);
            while let Some(job) = next {
                let from = records.len();
                answers.push(job(&mut self.state, now, &mut records));
                for record in &records[from..] {
                    let (key, value) = M::encode(record);
                    let (key, value) = (key.as_deref(), value.as_deref());
                    batch.push(NewRecord { timestamp: now, key, value, headers: &[] });
                }
                next = if batch.section_bytes() < GROUP_BYTES { queue.try_recv().ok() } else { None };
            }
            if records.is_empty() {
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
                    match load(&self.partition).await {
                        Ok(state) => {
                            self.effects.loaded(&state).await;
                            self.state = state;
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

fn join(chunks: &[Bytes]) -> Bytes {
    wire::Records::from(chunks.to_vec()).to_bytes()
}

/// Folds the partition's records from its start to its end.
async fn load<M: Hosted>(partition: &Arc<Partition>) -> Result<M, String> {
    let partition = partition.clone();
    env::run_blocking(move || {
        let mut state = M::default();
        let offsets = partition.offsets();
        let mut next: Offset = offsets.log_start;
        while next < offsets.high_watermark {
            let read = partition
                .read(next, LOAD_BYTES, offsets.high_watermark)
                .map_err(|error| error.to_string())?;
            for batch in batches(join(&read.chunks)) {
                let batch = batch.map_err(|error| error.to_string())?;
                let records = batch.records(BATCH_BYTES_MAX).map_err(|error| error.to_string())?;
                for record in records.iter() {
                    let record = record.map_err(|error| error.to_string())?;
                    if records.offset(&record) >= next
                        && let Some(fact) = M::decode(record.key, record.value).map_err(|e| e.to_string())?
                    {
                        state.apply(&fact);
                    }
                }
                next = batch.header().next_offset();
            }
        }
        Ok(state)
    })
    .await
}
