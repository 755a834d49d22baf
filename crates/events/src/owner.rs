//! The only writer of one partition, for as long as it is.
//!
//! ```text
//! claim ─▶ read up to the claim ─▶ ┌ take what is queued ─▶ look into the index ─▶ decide ─▶ one batch ─▶ log ┐
//!                                  └───────────── the next group forms while others are under way ◀───────┘
//! ```
//!
//! Safety is the broker's: once another has claimed the partition, no batch of this one gets in. So there is nothing to
//! take back; who waits for an answer then is told that it is in doubt, and asks the next owner, who finds the event ids
//! in the log or does not.

mod claim;
mod searching;
mod unseen;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use client::{AskError, ClaimedWriter, Cluster, IN_FLIGHT_MAX, Position, WriteError, Written};
use env::Clock;
use machine::Machine;
use model::batch::{BatchBuilder, HEADER_BYTES};
use model::{Compression, Offset, PartitionId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::info;

use crate::append::{Append, AppendError, Appended, StreamAppend};
use crate::category::Category;
use crate::index::{Name, Reader, Searched};
use crate::machine::{Command, Found, Looked, Reject, Reply, Streams, Taken};
use crate::planted::{self, Planted};
use crate::record::{self, At, Placed};
use crate::replica::Replica;
use claim::{claim, over};
use searching::Searching;
use unseen::Unseen;

/// Appends that wait for their owner; whoever comes next is told to come again.
pub const QUEUE_MAX: usize = 8192;

/// Appends that are decided together.
const GROUP_MAX: usize = 512;

/// How long a group waits for the batch before it, growing meanwhile: where the log answers within this, one batch at a
/// time carries the most for what it costs.
const GROW_MAX: Duration = Duration::from_millis(5);

/// Where at least so many appends came together, and their batch took so long, there is more to do than processors or disk
/// can: the next group waits half of that time, up to the most, since its members share what a batch costs.
const GATHER_MIN: usize = 4;
const GATHER_FROM: Duration = Duration::from_millis(2);
const GATHER_MAX: Duration = Duration::from_millis(5);

/// Events that the index may be behind; then appending waits for it.
const PENDING_MAX: usize = 100_000;

/// A partition forgets a producer that is quiet for `producer.id.expiration.ms` (a day), and with it the claim.
const CLAIM_AGAIN: Duration = Duration::from_secs(6 * 3600);

/// What a record needs beside its own texts, at most.
const RECORD_OVERHEAD: usize = 512;

pub type Answer = oneshot::Sender<Result<Appended, AppendError>>;

/// An append that waits for its owner.
pub struct Job {
    pub append: Append,
    pub answer: Answer,
    turn: Turn,
    /// What is known of its conditions.
    searched: Option<Result<Searched, String>>,
}

impl Job {
    /// Whoever takes the turn first decides what becomes of it: the owner, who appends, or who asks and waits no longer.
    pub fn new(append: Append, answer: Answer) -> (Job, Turn) {
        let turn = Turn::default();
        (Job { append, answer, turn: turn.clone(), searched: None }, turn)
    }
}

/// One of two may have it.
#[derive(Debug, Clone, Default)]
pub struct Turn(Arc<AtomicBool>);

impl Turn {
    /// Whether the other has not.
    pub fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

/// What an owner works with.
#[derive(Clone)]
pub struct Parts {
    pub cluster: Cluster,
    pub clock: Arc<dyn Clock>,
    pub category: Category,
    pub replica: Arc<Replica>,
    /// The topic's `max.message.bytes`.
    pub batch_bytes_max: usize,
    /// How long a write of a former owner, whom the claim does not fence, may still be under way.
    pub stray_writes_max: Duration,
}

/// Why an owner is none any more.
#[derive(Debug)]
pub enum End {
    /// It was told to stop.
    Stopped,
    /// Another has claimed the partition.
    Fenced,
    /// It is time to claim again.
    ClaimAgain,
    /// Trying again may help.
    Failed(String),
    /// Somebody has to look at it.
    Halted(String),
}

/// What others may know of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Everything before this offset was acknowledged.
    pub acknowledged: Offset,
}

/// Owns the partition until something ends that. `standing` is set while it takes appends.
pub async fn own(
    parts: &Parts,
    jobs: &mut mpsc::Receiver<Job>,
    standing: &watch::Sender<Option<Standing>>,
    mut stop: watch::Receiver<bool>,
) -> End {
    let claimed = tokio::select! {
        biased;
        () = is_set(&mut stop) => return End::Stopped,
        // What is rare takes its room only while it lasts: there are many owners, and most of them wait.
        claimed = Box::pin(claim(parts)) => claimed,
    };
    let (writer, next) = match claimed {
        Ok(claimed) => claimed,
        Err(end) => return end,
    };
    let (flights, to_complete) = mpsc::channel(8);
    let (landed, landings) = mpsc::unbounded_channel();
    let (ended, end) = oneshot::channel();
    let sent = Arc::new(AtomicI64::new(next.0));
    let took = Arc::<Took>::default();
    standing.send_replace(Some(Standing { acknowledged: next }));
    let completing = Completing {
        log_end: log_end(parts),
        sent: sent.clone(),
        unproven: Vec::new(),
        partition: parts.replica.partition,
        next,
        landed,
        standing: standing.clone(),
        took: took.clone(),
        bytes: parts.batch_bytes_max,
    };
    env::spawn(async move {
        let _ = ended.send(completing.run(to_complete).await);
    });
    let name = record::writer(writer.producer_id(), writer.epoch());
    let places = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let index = parts.replica.index.clone();
    let (unseen, searching) = (Unseen::of(index.clone()), Searching::new(index, parts.replica.partition));
    let owner = Owner {
        parts,
        writer,
        name,
        streams: Streams::default(),
        indexed: Offset::ZERO,
        unseen,
        searching,
        places,
        sent,
        flights,
        landings,
        gathered: 0,
        took,
    };
    let ended = owner.run(jobs, stop, end).await;
    standing.send_replace(None);
    info!(category = %parts.category, partition = parts.replica.partition.index, ?ended, "not the owner any more");
    ended
}

/// Waits until nothing is under way, or long enough, and there is room for one more batch.
async fn place(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let closed = "nobody closes it";
    match timeout(GROW_MAX, places.clone().acquire_many_owned(IN_FLIGHT_MAX as u32)).await {
        Ok(all) => all.expect(closed).split(1).expect("it has more than one"),
        Err(_) => places.clone().acquire_owned().await.expect(closed),
    }
}

/// How long a group waits for more, after one of this size whose batch took so long.
fn pause(gathered: usize, took: Duration) -> Option<Duration> {
    (gathered >= GATHER_MIN && took >= GATHER_FROM).then(|| (took / 2).min(GATHER_MAX))
}

/// Adds what is queued to a group, after a pause.
async fn gather(jobs: &mut mpsc::Receiver<Job>, group: &mut Vec<Job>, pause: Option<Duration>) {
    if let Some(pause) = pause {
        sleep(pause).await;
    }
    while group.len() < GROUP_MAX
        && let Ok(job) = jobs.try_recv()
    {
        group.push(job);
    }
}

/// Waits until it is told to; for ever where nobody can tell any more.
pub async fn is_set(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending().await
    }
}

/// A batch under way, and who waits for it.
struct Flight {
    /// None: nothing was written, but what is answered rests on what was before.
    written: Option<Written>,
    records: i64,
    waiting: Vec<Waiting>,
    /// Until it has landed.
    place: Option<OwnedSemaphorePermit>,
    began: Instant,
}

/// Somebody who waits for a batch.
struct Waiting {
    answer: Answer,
    verdict: Verdict,
}

enum Verdict {
    /// Its events end so many records into the batch; that is its number at the machine.
    Appended {
        versions: Vec<(String, u64)>,
        end: i64,
        number: u64,
    },
    Repeated {
        versions: Vec<(String, u64)>,
        last: Option<Offset>,
    },
    /// All that was taken before it ends so many records into the batch.
    Rejected {
        reject: Reject,
        end: i64,
    },
    TooLarge(usize),
    Failed(String),
}

impl Verdict {
    /// Whether it is true only as long as nobody else appends. What is in the log already remains so.
    fn is_of_now(&self) -> bool {
        let rejected = match self {
            Verdict::Rejected { reject, .. } => reject,
            _ => return false,
        };
        matches!(rejected, Reject::Version { .. } | Reject::Undecidable(_))
    }
}

/// What the machine is to know of a batch in the log: number of an append, offset of its last event.
type Landing = (u64, Offset);

struct Owner<'a> {
    parts: &'a Parts,
    writer: ClaimedWriter,
    name: String,
    streams: Streams,
    /// The index has had everything before this offset, and tells it.
    indexed: Offset,
    unseen: Unseen,
    searching: Searching,
    places: Arc<Semaphore>,
    sent: Arc<AtomicI64>,
    flights: mpsc::Sender<Flight>,
    landings: mpsc::UnboundedReceiver<Landing>,
    /// The size of the last group.
    gathered: usize,
    took: Arc<Took>,
}

/// How long the last batch took that has landed, in microseconds.
type Took = AtomicU64;

impl Owner<'_> {
    async fn run(
        mut self,
        jobs: &mut mpsc::Receiver<Job>,
        mut stop: watch::Receiver<bool>,
        mut end: oneshot::Receiver<End>,
    ) -> End {
        let claim_again = Instant::now() + CLAIM_AGAIN;
        let failed = |end: Result<End, _>| end.unwrap_or_else(|_| End::Failed("it was cut off".to_owned()));
        let why = loop {
            let first = tokio::select! {
                biased;
                ended = &mut end => return failed(ended),
                () = is_set(&mut stop) => break End::Stopped,
                job = jobs.recv() => match job {
                    Some(job) => job,
                    None => break End::Stopped,
                },
                job = self.searching.found() => job,
                () = sleep_until(claim_again) => break End::ClaimAgain,
            };
            let Some(first) = self.searching.take(first) else { continue };
            let mut group = vec![first];
            let place = tokio::select! {
                biased;
                ended = &mut end => {
                    // They were not tried: the next owner takes them.
                    group.into_iter().for_each(|job| not_tried(job.answer));
                    return failed(ended);
                }
                place = place(&self.places) => place,
            };
            let pause = pause(self.gathered, Duration::from_micros(self.took.load(Ordering::Relaxed)));
            tokio::select! {
                biased;
                ended = &mut end => {
                    // They were not tried: the next owner takes them.
                    group.into_iter().for_each(|job| not_tried(job.answer));
                    return failed(ended);
                }
                () = async {
                    gather(jobs, &mut group, pause).await;
                    self.room().await;
                } => {}
            }
            let mut group = self.searching.take_all(group);
            self.searching.add_found(&mut group, GROUP_MAX);
            self.gathered = group.len();
            if let Err(why) = Box::pin(self.decide(group, place)).await {
                return match end.await {
                    Ok(end) => end,
                    Err(_) => End::Failed(why),
                };
            }
        };
        // What is under way is answered before the end, and the writer lives until then.
        drop(self.flights);
        match end.await {
            Ok(End::Stopped) | Err(_) => why,
            Ok(other) => other,
        }
    }

    /// Waits while the index is too far behind.
    async fn room(&mut self) {
        let mut seen = self.parts.replica.seen();
        loop {
            while let Ok((number, last)) = self.landings.try_recv() {
                self.streams.written(number, last);
            }
            let indexed = seen.borrow_and_update().state.next;
            if !planted::is(Planted::HeadsNotRebuilt) {
                self.streams.forget(indexed);
            }
            self.indexed = self.indexed.max(indexed);
            if self.streams.pending() < PENDING_MAX || seen.changed().await.is_err() {
                return;
            }
        }
    }

    /// Decides a group and sends what it leads to. Err: nothing more can be sent.
    async fn decide(&mut self, group: Vec<Job>, place: OwnedSemaphorePermit) -> Result<(), String> {
        let looked = self.look(group).await;
        let now = self.parts.clock.now();
        let text = record::rfc3339(now);
        let at = At { time: now, text: &text };
        let bytes_max = self.parts.batch_bytes_max;
        let mut batch = BatchBuilder::new(Compression::None);
        let mut waiting = Vec::new();
        for (looked, job) in looked {
            let (looked, job) = match looked {
                Ok(seen) => match self.searching.complete(job, seen, self.sent.load(Ordering::SeqCst)) {
                    Some((looked, job)) => (Ok(looked), job),
                    None => continue,
                },
                Err(error) => (Err(error), job),
            };
            // Who asked was told that it was not tried.
            if !job.turn.take() {
                continue;
            }
            let Job { append, answer, .. } = job;
            let bytes = size(&append);
            if bytes + HEADER_BYTES > bytes_max {
                waiting.push(Waiting { answer, verdict: Verdict::TooLarge(bytes) });
                continue;
            }
            if batch.section_bytes() + bytes + HEADER_BYTES > bytes_max {
                let full = std::mem::replace(&mut batch, BatchBuilder::new(Compression::None));
                self.send(full, std::mem::take(&mut waiting), None).await?;
            }
            let verdict = match looked {
                Err(why) => Verdict::Failed(why),
                Ok(looked) => match self.decide_one(append, looked, now) {
                    Err(reject) => Verdict::Rejected { reject, end: i64::from(batch.record_count()) },
                    Ok(decision) => {
                        for taken in &decision.records {
                            self.take(taken);
                            self.push(&mut batch, taken, at);
                        }
                        let end = i64::from(batch.record_count());
                        match decision.reply {
                            Reply::Appended(versions) => {
                                Verdict::Appended { versions, end, number: self.streams.last_number() }
                            }
                            Reply::Repeated { versions, last } => Verdict::Repeated { versions, last },
                        }
                    }
                },
            };
            waiting.push(Waiting { answer, verdict });
        }
        self.send(batch, waiting, Some(place)).await
    }

    /// What the index knows of each, where that is not known here.
    async fn look(&mut self, group: Vec<Job>) -> Vec<(Result<Seen, String>, Job)> {
        let names = |(stream, id)| [Name::Stream(stream), Name::Id(id)];
        self.unseen.renew(self.indexed, self.streams.under_way().flat_map(names));
        let asked: Vec<bool> = group.iter().map(|job| !self.is_known(&job.append)).collect();
        if !asked.contains(&true) {
            return group.into_iter().map(|job| (Ok(Seen::default()), job)).collect();
        }
        let (indexed, partition) = (self.indexed, self.parts.replica.partition);
        let looking = move |index: rusqlite::Result<&Reader<'_>>| {
            // What it lacks of that nobody has any more.
            let index = index.and_then(|index| index.has(indexed).map(|()| index));
            let one = |(is_asked, job): (bool, Job)| {
                let seen = match (is_asked, &index) {
                    (false, _) => Ok(Seen::default()),
                    (true, Ok(index)) => look(index, &job, partition).map_err(|error| unread(&error)),
                    (true, Err(error)) => Err(unread(error)),
                };
                (seen, job)
            };
            asked.into_iter().zip(group).map(one).collect()
        };
        self.parts.replica.index.ask_first(looking).await
    }

    /// Whether an append can be decided without the index.
    fn is_known(&self, append: &Append) -> bool {
        let is_stream =
            |stream: &str| self.streams.has_stream(stream) || self.unseen.is(Name::Stream(stream));
        let is_id = |id: &str| self.streams.has_id(id) || self.unseen.is(Name::Id(id));
        let is_part =
            |part: &StreamAppend| is_stream(&part.stream) && part.events.iter().all(|event| is_id(&event.id));
        append.conditions.is_empty() && append.streams.iter().all(is_part)
    }

    fn decide_one(
        &mut self,
        append: Append,
        looked: Looked,
        now: model::Timestamp,
    ) -> Result<machine::Decision<Streams>, Reject> {
        self.streams.learn(&looked.heads);
        self.streams.decide(Command { append, looked }, now)
    }

    fn take(&mut self, taken: &Taken) {
        self.streams.apply(taken);
        for event in &taken.events {
            if event.version == 1 {
                self.unseen.add(Name::Stream(&event.stream));
            }
            self.unseen.add(Name::Id(&event.event.id));
        }
    }

    fn push(&self, batch: &mut BatchBuilder, taken: &Taken, at: At<'_>) {
        for event in &taken.events {
            let placed = Placed {
                category: self.parts.category.name(),
                stream: &event.stream,
                version: event.version,
                event: &event.event,
                boundary: event.boundary.as_deref(),
                writer: &self.name,
                at,
            };
            record::push(batch, &placed);
        }
    }

    async fn send(
        &mut self,
        batch: BatchBuilder,
        waiting: Vec<Waiting>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<(), String> {
        let records = i64::from(batch.record_count());
        self.sent.fetch_add(records, Ordering::SeqCst);
        let written = match records {
            0 => None,
            _ => match self.writer.write(batch).await {
                Ok(written) => Some(written),
                Err(error) => {
                    waiting.into_iter().for_each(|it| in_doubt(it.answer, &error.to_string()));
                    return Err(error.to_string());
                }
            },
        };
        let flight = Flight { written, records, waiting, place, began: Instant::now() };
        match self.flights.send(flight).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendError(flight)) => {
                let why = "the owner has ended";
                flight.waiting.into_iter().for_each(|it| in_doubt(it.answer, why));
                Err(why.to_owned())
            }
        }
    }
}

/// What the index knows for an append, and of its conditions.
type Seen = (Looked, Searched);

fn look(index: &Reader<'_>, job: &Job, partition: PartitionId) -> rusqlite::Result<Seen> {
    let searched = job.searched.as_ref().and_then(|searched| searched.as_ref().ok());
    let (mut looked, searched) = index.look(&job.append, partition, searched)?;
    if planted::is(Planted::HeadsNotRebuilt) {
        looked.heads.clear();
    }
    Ok((looked, searched))
}

fn unread(error: &rusqlite::Error) -> String {
    format!("the index cannot be read: {error}")
}

/// Asks the broker where the partition ends.
type LogEnd = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Offset, AskError>> + Send>> + Send + Sync>;

fn log_end(parts: &Parts) -> LogEnd {
    let (cluster, topic, index) =
        (parts.cluster.clone(), parts.category.topic(), parts.replica.partition.index);
    Box::new(move || {
        let (cluster, topic) = (cluster.clone(), topic.clone());
        Box::pin(async move {
            let topic = cluster.topic(&topic, false).await?;
            let ends = cluster.offsets(&topic, &[index], -1, 0).await?;
            Ok(ends.get(&index).copied().flatten().map_or(Offset::ZERO, Offset))
        })
    })
}

/// Answers in the order of the batches.
struct Completing {
    log_end: LogEnd,
    /// The offset after all that was handed to the writer.
    sent: Arc<AtomicI64>,
    /// Waits for the next batch to prove it.
    unproven: Vec<Waiting>,
    partition: PartitionId,
    /// The offset that the next batch must get: nobody else writes.
    next: Offset,
    landed: mpsc::UnboundedSender<Landing>,
    standing: watch::Sender<Option<Standing>>,
    took: Arc<Took>,
    bytes: usize,
}

impl Completing {
    async fn run(mut self, mut flights: mpsc::Receiver<Flight>) -> End {
        let mut end = None;
        while let Some(flight) = flights.recv().await {
            let landed = match &end {
                None => self.land(flight).await,
                Some(_) => {
                    flight.waiting.into_iter().for_each(|it| in_doubt(it.answer, "the owner has ended"));
                    continue;
                }
            };
            if let Err(why) = landed {
                end = Some(why);
                flights.close();
            }
        }
        self.unproven.drain(..).for_each(|it| not_tried(it.answer));
        end.unwrap_or(End::Stopped)
    }

    /// Waits for a batch and answers. Err: nothing more is written.
    async fn land(&mut self, flight: Flight) -> Result<(), End> {
        let Flight { written, records, waiting, place: _place, began } = flight;
        let Some(written) = written else {
            let (of_now, of_the_log) = waiting.into_iter().partition(|it| it.verdict.is_of_now());
            self.answer_all(of_the_log, self.next);
            return self.prove(of_now).await;
        };
        let (why, end) = match written.await.unwrap_or(Err(WriteError::Gone)) {
            Ok(base) if base == self.next => {
                let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.took.store(took, Ordering::Relaxed);
                self.next = base.plus(records);
                self.tell();
                let unproven = std::mem::take(&mut self.unproven);
                self.answer_all(unproven, base);
                self.answer_all(waiting, base);
                return Ok(());
            }
            Ok(base) => {
                let next = self.next;
                let why =
                    format!("somebody else writes to the topic: a batch got offset {base} instead of {next}");
                (why.clone(), End::Failed(why))
            }
            Err(error) => (error.to_string(), over(error)),
        };
        waiting.into_iter().for_each(|it| in_doubt(it.answer, &why));
        Err(end)
    }

    /// Answers what is true only if nobody else has claimed the partition meanwhile, and knows more: where nothing is
    /// under way the end of the log tells, otherwise the next batch does, by getting in where it must.
    async fn prove(&mut self, waiting: Vec<Waiting>) -> Result<(), End> {
        if waiting.is_empty() {
            return Ok(());
        }
        if self.is_all_landed() {
            match (self.log_end)().await {
                Ok(end) if end <= self.next => {
                    self.answer_all(waiting, self.next);
                    return Ok(());
                }
                Ok(_) if self.is_all_landed() => {
                    waiting.into_iter().for_each(|it| not_tried(it.answer));
                    return Err(End::Fenced);
                }
                // Its own batches, perhaps.
                Ok(_) => {}
                Err(_) => {
                    waiting.into_iter().for_each(|it| not_tried(it.answer));
                    return Ok(());
                }
            }
        }
        self.unproven.extend(waiting);
        Ok(())
    }

    fn is_all_landed(&self) -> bool {
        self.sent.load(Ordering::SeqCst) <= self.next.0
    }

    fn tell(&self) {
        let next = self.next;
        // Nobody waits for it any more where the owner is gone.
        self.standing.send_if_modified(|standing| match standing {
            Some(standing) if standing.acknowledged < next => {
                standing.acknowledged = next;
                true
            }
            _ => false,
        });
    }

    fn answer_all(&self, waiting: Vec<Waiting>, base: Offset) {
        for Waiting { answer, verdict } in waiting {
            let _ = answer.send(self.answer(verdict, base));
        }
    }

    fn answer(&self, verdict: Verdict, base: Offset) -> Result<Appended, AppendError> {
        let at = |next| Position::of(self.partition, next);
        match verdict {
            Verdict::Appended { versions, end, number } => {
                let next = base.plus(end);
                let _ = self.landed.send((number, next.plus(-1)));
                Ok(Appended { versions, position: at(next), is_repeated: false })
            }
            Verdict::Repeated { versions, last } => {
                let position = at(last.map_or(self.next, |last| last.plus(1)));
                Ok(Appended { versions, position, is_repeated: true })
            }
            Verdict::Rejected { reject, end } => Err(refusal(reject, base.plus(end))),
            Verdict::TooLarge(bytes) => Err(AppendError::TooLarge { bytes, max: self.bytes }),
            Verdict::Failed(why) => Err(AppendError::Unavailable(why)),
        }
    }
}

/// `end`: after all that was taken before it.
fn refusal(reject: Reject, end: Offset) -> AppendError {
    match reject {
        Reject::Version { stream, expected, current } => AppendError::Version { stream, expected, current },
        Reject::Condition { at: Found::At(at) } => AppendError::Condition { at },
        Reject::Condition { at: Found::Back(records) } => AppendError::Condition { at: end.plus(-records) },
        Reject::Boundary { stream, boundary } => AppendError::Boundary { stream, boundary },
        Reject::IdTaken { id, stream } => AppendError::IdTaken { id, stream },
        Reject::Undecidable(why) => AppendError::Invalid(why),
    }
}

fn in_doubt(answer: Answer, why: &str) {
    let _ = answer.send(Err(AppendError::InDoubt(why.to_owned())));
}

/// Whoever asked asks the next owner.
pub fn not_tried(answer: Answer) {
    let _ = answer.send(Err(AppendError::Unavailable("the partition has no owner just now".to_owned())));
}

/// What an append's records take in a batch, at most.
fn size(append: &Append) -> usize {
    let boundary = append.boundary.as_ref().map_or(0, String::len);
    let event = |stream: &str, event: &crate::NewEvent| {
        let facts = &event.facts;
        let texts = [
            facts.kind.len(),
            facts.content_type.len(),
            facts.correlation.as_ref().map_or(0, String::len),
            facts.causation.as_ref().map_or(0, String::len),
            facts.metadata.as_ref().map_or(0, String::len),
            event.id.len(),
            2 * stream.len(),
            boundary,
        ];
        // JSON may escape every character of a tag.
        let tags: usize = facts.tags.iter().map(|tag| 6 * tag.len() + 3).sum();
        let sealed = facts.sealed.as_ref().map_or(0, |it| {
            let personal: usize = it.personal.iter().map(|pointer| 6 * pointer.len() + 3).sum();
            it.subject.len() + it.key.as_ref().map_or(0, String::len) + personal
        });
        RECORD_OVERHEAD + sealed + texts.into_iter().sum::<usize>() + tags + event.data.len()
    };
    append.streams.iter().flat_map(|part| part.events.iter().map(|it| event(&part.stream, it))).sum()
}

#[cfg(test)]
mod tests;
