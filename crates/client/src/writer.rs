//! The only writer of a partition: fencing by claim.
//!
//! ```text
//! InitProducerId(transactional id of the partition)   same producer id, epoch + 1
//! first batch, the claim, sequence 0                  from here on the partition refuses older epochs
//! read up to the claim                                all that former writers got in lies below it
//! write                                               plain idempotent batches, up to five under way
//! ```
//!
//! No transaction is begun: every record is final as soon as it is readable. A batch whose answer was lost is sent
//! again with the sequence that it had; the broker knows the last five of a producer and writes none twice (KIP-98).
//! What the writer is not told it does not guess: after [`WriteError`] the log is to be read.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use model::batch::BatchBuilder;
use model::{Offset, ProducerEpoch, ProducerId, TopicId};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};
use wire::produce::{PartitionProduceData, TopicProduceData};
use wire::{ErrorCode, InitProducerIdRequest, ProduceRequest, ProduceResponse};

use crate::{AskError, Cluster, Connection, Refused, check};

/// Batches whose answers are outstanding: a broker remembers so many of a producer.
pub const IN_FLIGHT_MAX: usize = 5;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// Transactions are never begun; the coordinator wants to know anyway how long one would last at most.
const TRANSACTION_TIMEOUT_MS: i32 = 60_000;

const ACKS_ALL: i16 = -1;

/// Newer versions would end transactions with the epoch of the next one (KIP-890), of which there are none.
const INIT_VERSION_MAX: i16 = 5;

/// How long it may take to get an epoch, or a batch into the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Somebody else has claimed the partition since.
    #[error("another writer has claimed the partition")]
    Fenced,
    /// The broker refuses to go on with this writer. What was under way may be in the log.
    #[error("the broker takes no more from this writer: {0}")]
    Broken(String),
    /// The writer is gone, and with it the answer.
    #[error("the writer was given up")]
    Gone,
}

/// Where a batch is.
pub type Written = oneshot::Receiver<Result<Offset, WriteError>>;

/// Writes batches in the order in which they are handed over. Ends when it is dropped; what is under way then may still
/// get into the log.
pub struct ClaimedWriter {
    producer_id: ProducerId,
    epoch: ProducerEpoch,
    batches: mpsc::Sender<Outgoing>,
}

struct Outgoing {
    builder: BatchBuilder,
    answer: oneshot::Sender<Result<Offset, WriteError>>,
}

impl ClaimedWriter {
    /// Gets the next epoch. The partition is claimed when the first batch is written, and not before.
    pub async fn open(
        cluster: &Cluster,
        transactional_id: &str,
        topic: (&str, TopicId),
        partition: i32,
    ) -> Result<ClaimedWriter, AskError> {
        let (producer_id, epoch) = next_epoch(cluster, transactional_id).await?;
        let (batches, queue) = mpsc::channel(1);
        let sending = Sending {
            cluster: cluster.clone(),
            topic: topic.0.to_owned(),
            topic_id: topic.1,
            partition,
            producer: (producer_id, epoch),
            sequence: 0,
            in_flight: VecDeque::new(),
            node: None,
        };
        env::spawn(sending.run(queue));
        Ok(ClaimedWriter { producer_id, epoch, batches })
    }

    pub fn producer_id(&self) -> ProducerId {
        self.producer_id
    }

    pub fn epoch(&self) -> ProducerEpoch {
        self.epoch
    }

    /// Hands a batch over; waits while as many are under way as may be. Where it is in the log comes later.
    pub async fn write(&self, builder: BatchBuilder) -> Result<Written, WriteError> {
        let (answer, written) = oneshot::channel();
        match self.batches.send(Outgoing { builder, answer }).await {
            Ok(()) => Ok(written),
            Err(_) => Err(WriteError::Gone),
        }
    }
}

async fn next_epoch(
    cluster: &Cluster,
    transactional_id: &str,
) -> Result<(ProducerId, ProducerEpoch), AskError> {
    let request = InitProducerIdRequest {
        transactional_id: Some(transactional_id.into()),
        transaction_timeout_ms: TRANSACTION_TIMEOUT_MS,
        producer_id: ProducerId::NONE.0,
        producer_epoch: ProducerEpoch::NONE.0,
        ..InitProducerIdRequest::default()
    };
    let deadline = Instant::now() + cluster.patience();
    loop {
        let asked = async {
            let coordinator = cluster.transaction_coordinator(transactional_id).await?;
            let answer = coordinator.ask_up_to(INIT_VERSION_MAX, &request).await?;
            check(answer.error_code, None)?;
            Ok((ProducerId(answer.producer_id), ProducerEpoch(answer.producer_epoch)))
        };
        match asked.await {
            // An epoch that was given and not heard of is only skipped.
            Err::<_, AskError>(error) if passes(&error) && Instant::now() < deadline => {
                debug!(transactional_id, %error, "no epoch yet");
                sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

fn passes(error: &AskError) -> bool {
    error.is_lost()
        || error.is_passing()
        || error.refused().is_some_and(|refused| refused.is(ErrorCode::ConcurrentTransactions))
}

type Answer = Pin<Box<dyn Future<Output = Result<ProduceResponse, AskError>> + Send>>;

struct InFlight {
    batch: Bytes,
    /// None: to be sent (again).
    answer: Option<Answer>,
    caller: oneshot::Sender<Result<Offset, WriteError>>,
}

struct Sending {
    cluster: Cluster,
    topic: String,
    topic_id: TopicId,
    partition: i32,
    producer: (ProducerId, ProducerEpoch),
    sequence: i32,
    in_flight: VecDeque<InFlight>,
    /// On which they are.
    node: Option<Connection>,
}

/// What becomes of the batch that was sent first.
enum Fate {
    Written(Offset),
    Again(String),
    Over(WriteError),
}

impl Sending {
    async fn run(mut self, mut queue: mpsc::Receiver<Outgoing>) {
        let mut leader = None;
        loop {
            let has_room = self.in_flight.len() < IN_FLIGHT_MAX;
            let fate = tokio::select! {
                biased;
                fate = first_answer(&mut self.in_flight) => fate,
                outgoing = queue.recv(), if has_room => {
                    let Some(outgoing) = outgoing else { return };
                    self.take(outgoing);
                    match self.send(&mut leader).await {
                        Ok(()) => continue,
                        Err(error) => Fate::Again(error.to_string()),
                    }
                }
            };
            match fate {
                Fate::Written(offset) => {
                    let written = self.in_flight.pop_front().expect("it was answered");
                    let _ = written.caller.send(Ok(offset));
                }
                Fate::Over(error) => {
                    debug!(topic = self.topic, partition = self.partition, %error, "a claimed writer ends");
                    for batch in self.in_flight {
                        let _ = batch.caller.send(Err(error.clone()));
                    }
                    return;
                }
                Fate::Again(why) => {
                    debug!(topic = self.topic, partition = self.partition, why, "sending again");
                    if !self.send_again(&mut leader, &queue).await {
                        return;
                    }
                }
            }
        }
    }

    fn take(&mut self, outgoing: Outgoing) {
        let (producer_id, epoch) = self.producer;
        let builder = outgoing.builder.producer(producer_id, epoch, self.sequence);
        self.sequence = model::batch::sequence_plus(self.sequence, builder.record_count());
        let batch = builder.build().into_bytes();
        self.in_flight.push_back(InFlight { batch, answer: None, caller: outgoing.answer });
    }

    /// All that is under way, in its order, over again: until it could be sent, or nobody wants it any more.
    async fn send_again(&mut self, leader: &mut Option<i32>, queue: &mpsc::Receiver<Outgoing>) -> bool {
        let mut tries = 0;
        loop {
            sleep(PAUSE).await;
            *leader = None;
            self.in_flight.iter_mut().for_each(|batch| batch.answer = None);
            match self.send(leader).await {
                Ok(()) => return true,
                Err(_) if queue.is_closed() => return false,
                Err(error) => {
                    tries += 1;
                    if tries == 20 {
                        warn!(topic = self.topic, partition = self.partition, %error, "a batch waits to be sent");
                    }
                }
            }
        }
    }

    /// Sends what is not sent yet.
    async fn send(&mut self, leader: &mut Option<i32>) -> Result<(), AskError> {
        let id = match *leader {
            Some(id) => id,
            None => {
                let topic = self.cluster.topic(&self.topic, false).await?;
                let found = topic.partitions.iter().find(|partition| partition.index == self.partition);
                let found = found.ok_or_else(|| {
                    let code = ErrorCode::UnknownTopicOrPartition.code();
                    AskError::from(Refused { code, message: None })
                })?;
                *leader.insert(found.leader)
            }
        };
        // Batches on two connections could overtake each other: another one is taken where none is under way.
        let is_under_way = self.in_flight.iter().any(|batch| batch.answer.is_some());
        let node = match self.node.take() {
            Some(node) if is_under_way => node,
            _ => self.cluster.node(id).await?,
        };
        let node = self.node.insert(node);
        for batch in self.in_flight.iter_mut().filter(|batch| batch.answer.is_none()) {
            let request = ProduceRequest {
                acks: ACKS_ALL,
                timeout_ms: i32::try_from(self.cluster.patience().as_millis()).unwrap_or(i32::MAX),
                topic_data: vec![TopicProduceData {
                    name: self.topic.as_str().into(),
                    topic_id: self.topic_id,
                    partition_data: vec![PartitionProduceData {
                        index: self.partition,
                        records: Some(batch.batch.clone().into()),
                        ..PartitionProduceData::default()
                    }],
                    ..TopicProduceData::default()
                }],
                ..ProduceRequest::default()
            };
            batch.answer = Some(Box::pin(node.ask_ahead(i16::MAX, &request).await?));
        }
        Ok(())
    }
}

/// Answers come in the order of the batches. Waits for ever where nothing is under way.
async fn first_answer(in_flight: &mut VecDeque<InFlight>) -> Fate {
    let Some(answer) = in_flight.front_mut().and_then(|batch| batch.answer.as_mut()) else {
        return std::future::pending().await;
    };
    let answer = match answer.await {
        Ok(answer) => answer,
        Err(AskError::Foreign(why)) => return Fate::Over(WriteError::Broken(why)),
        Err(error) => return Fate::Again(error.to_string()),
    };
    let partition = answer.responses.into_iter().flat_map(|topic| topic.partition_responses).next();
    let Some(partition) = partition else {
        return Fate::Over(WriteError::Broken("it left the partition out of its answer".to_owned()));
    };
    match check(partition.error_code, partition.error_message.as_deref()) {
        Ok(()) => Fate::Written(Offset(partition.base_offset)),
        Err(refused)
            if refused.is(ErrorCode::InvalidProducerEpoch) || refused.is(ErrorCode::ProducerFenced) =>
        {
            Fate::Over(WriteError::Fenced)
        }
        Err(refused) if refused.is_passing() => Fate::Again(refused.to_string()),
        Err(refused) => Fate::Over(WriteError::Broken(refused.to_string())),
    }
}
