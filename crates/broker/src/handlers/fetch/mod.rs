//! Fetch (KIP-227, KIP-320, KIP-516): records from many partitions, waiting until there is enough.

pub mod sessions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{LeaderEpoch, Offset};
use parking_lot::Mutex;
use storage::{Offsets, Partition, Read, ReadError};
use tokio::sync::Notify;
use wire::fetch::{EpochEndOffset, FetchableTopicResponse, PartitionData};
use wire::{ErrorCode, FetchRequest, FetchResponse, Records};

use self::sessions::{Context, Key, Session, SessionError, Told, TopicKey, Wanted};
use crate::Parts;
use crate::error::Refusal;
use crate::net::memory::{MemoryBudget, Reservation};
use crate::request::Caller;

/// From here on requests name topics by id.
const BY_ID: i16 = 13;

/// `isolation_level` of a consumer that sees only committed transactions.
const READ_COMMITTED: i8 = 1;

/// Up to this size an answer needs no place in the memory budget: the connection limit bounds their sum.
const SMALL_ANSWER_BYTES: usize = 16 * 1024;

/// How long a fetch is held at the least (but never longer than its client waits) whose only news is an error that the
/// client would ask about again at once: a Java consumer goes on fetching a deleted topic, or a partition that was stopped,
/// thousands of times a second. So at most ten times.
const ERROR_BRAKE: Duration = Duration::from_millis(100);

/// How long a fetch waits for memory at the least; longer where the client has more patience. Then it is answered
/// without records.
const MEMORY_WAIT_MIN: Duration = Duration::from_secs(5);

/// The answer, and the place that its records take in the memory budget until they are written.
pub async fn handle(
    request: FetchRequest,
    caller: &Caller,
    broker: &Parts,
) -> (FetchResponse, Option<Reservation>) {
    let by_id = caller.version >= BY_ID;
    let (wanted, forgotten) = keys(&request, by_id);
    let id = (request.session_id, request.session_epoch);
    let draw = || broker.random.next_u64();
    let context = broker.sessions.context(id, &wanted, &forgotten, by_id, broker.clock.now(), draw);
    let (wanted, session, only_news) = match context {
        Ok(Context::Sessionless) => (wanted, None, false),
        Ok(Context::Begun(session)) => (wanted, Some(session), false),
        Ok(Context::Incremental(session)) => {
            let wanted = session.lock().wanted();
            (wanted, Some(session), true)
        }
        Err(error) => {
            let code = match error {
                SessionError::NotFound => ErrorCode::FetchSessionIdNotFound,
                SessionError::InvalidEpoch => ErrorCode::InvalidFetchSessionEpoch,
                SessionError::TopicIdMix => ErrorCode::FetchSessionTopicIdError,
            };
            return (FetchResponse { error_code: code.into(), ..Default::default() }, None);
        }
    };
    let limits = Limits {
        bytes_min: request.min_bytes.max(0) as usize,
        bytes_max: (request.max_bytes.max(0) as usize).min(broker.options.fetch_bytes_max as usize),
        read_committed: request.isolation_level == READ_COMMITTED,
    };
    let patience = Duration::from_millis(request.max_wait_ms.max(0) as u64);
    let (answers, held) = collect(&wanted, &limits, patience, caller, broker).await;
    count(&wanted, &answers, broker);
    (respond(wanted, answers, session, only_news), held)
}

struct Limits {
    bytes_min: usize,
    bytes_max: usize,
    read_committed: bool,
}

fn keys(request: &FetchRequest, by_id: bool) -> (Vec<(Key, Wanted)>, Vec<Key>) {
    let topic_key =
        |name: &wire::Str, id| if by_id { TopicKey::Id(id) } else { TopicKey::Name(name.clone()) };
    let mut wanted: Vec<(Key, Wanted)> = Vec::new();
    for topic in &request.topics {
        let key = topic_key(&topic.topic, topic.topic_id);
        for partition in &topic.partitions {
            let key = Key { topic: key.clone(), partition: partition.partition };
            wanted.push((
                key,
                Wanted {
                    offset: Offset(partition.fetch_offset),
                    bytes_max: partition.partition_max_bytes,
                    leader_epoch: partition.current_leader_epoch,
                    last_fetched_epoch: partition.last_fetched_epoch,
                },
            ));
        }
    }
    // The last one counts where a partition is named twice.
    let mut last: BTreeMap<&Key, usize> = BTreeMap::new();
    for (place, (key, _)) in wanted.iter().enumerate() {
        last.insert(key, place);
    }
    if last.len() < wanted.len() {
        let mut kept: Vec<usize> = last.into_values().collect();
        kept.sort_unstable();
        wanted = kept.into_iter().map(|place| wanted[place].clone()).collect();
    }
    let mut forgotten = Vec::new();
    for topic in &request.forgotten_topics_data {
        let key = topic_key(&topic.topic, topic.topic_id);
        forgotten.extend(
            topic.partitions.iter().map(|partition| Key { topic: key.clone(), partition: *partition }),
        );
    }
    (wanted, forgotten)
}

/// What became of one partition.
struct Answer {
    error: Option<ErrorCode>,
    offsets: Option<Offsets>,
    read: Read,
    diverging: Option<(LeaderEpoch, Offset)>,
    /// The partition does not exist.
    missing: bool,
    aborted: Option<Vec<storage::AbortedTransaction>>,
}

/// Reads until there is enough, something that the client must act upon, or no time left. What is not there ends no wait:
/// the other partitions' records are worth waiting for, and in Kafka it does not either.
async fn collect(
    wanted: &[(Key, Wanted)],
    limits: &Limits,
    patience: Duration,
    caller: &Caller,
    broker: &Parts,
) -> (Vec<Answer>, Option<Reservation>) {
    let now = tokio::time::Instant::now();
    let (deadline, give_up_at) = (now + patience, now + patience.max(MEMORY_WAIT_MIN));
    let braked_until = now + patience.min(ERROR_BRAKE);
    let found: Vec<Result<Arc<Partition>, ErrorCode>> =
        wanted.iter().map(|(key, _)| find(broker, key)).collect();
    let mut waiting = None;
    loop {
        let mut answers = Vec::with_capacity(wanted.len());
        let mut bytes = 0;
        let (mut ends, mut ends_braked, mut any_found) = (false, false, false);
        let mut held = Held { reservation: None, budget: &broker.fetch_budget, give_up_at };
        for ((_, wanted), partition) in wanted.iter().zip(&found) {
            let answer = read(wanted, partition, limits, bytes, &mut held).await;
            bytes += answer.read.bytes;
            any_found |= !answer.missing;
            match answer.error {
                Some(error) if is_acted_upon(error) => ends = true,
                Some(_) => ends_braked |= !answer.missing,
                None => ends |= answer.diverging.is_some(),
            }
            answers.push(answer);
        }
        if ends || bytes >= limits.bytes_min || wanted.is_empty() || patience.is_zero() {
            return (answers, held.reservation);
        }
        // Nothing but missing partitions: Kafka answers at once, and is asked again at once.
        let until = if ends_braked || !any_found { braked_until } else { deadline };
        // Watch first, then look once more: nothing that happens in between is missed.
        let Some((news, _guards)) = &waiting else {
            let news = Arc::new(Notify::new());
            let watch = |partition: &Arc<Partition>| partition.wake_on_advance(&news);
            let guards: Vec<_> = found.iter().flatten().map(watch).collect();
            waiting = Some((news.clone(), guards));
            continue;
        };
        let began = broker.clock.monotonic();
        let mut stopping = broker.stopping.subscribe();
        let is_over = tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => true,
            woken = tokio::time::timeout_at(until, news.notified()) => woken.is_err(),
        };
        caller.waited.add(broker.clock.monotonic().saturating_sub(began));
        if is_over {
            return (answers, held.reservation);
        }
    }
}

/// Whether a client does something else after this error than to ask the same again.
fn is_acted_upon(error: ErrorCode) -> bool {
    matches!(error, ErrorCode::OffsetOutOfRange | ErrorCode::CorruptMessage)
}

/// The memory of one answer. Whoever has records in hand never waits for more: the next request gets what is left.
struct Held<'a> {
    reservation: Option<Reservation>,
    budget: &'a MemoryBudget,
    give_up_at: tokio::time::Instant,
}

impl Held<'_> {
    async fn reserve(&self, bytes: usize, may_wait: bool) -> Option<Reservation> {
        match self.budget.try_reserve(bytes) {
            None if may_wait => {
                tokio::time::timeout_at(self.give_up_at, self.budget.reserve(bytes)).await.ok()
            }
            reserved => reserved,
        }
    }

    /// Reads with a place in the budget; nothing where there is none.
    async fn read(
        &mut self,
        partition: &Arc<Partition>,
        from: Offset,
        room: usize,
        up_to: Offset,
        before: usize,
    ) -> Result<Read, ReadError> {
        let nothing = Ok(Read { next_offset: from, ..Read::default() });
        // What is in memory tells its size; what is not must have its place before it is read.
        let mut place = 0;
        if !partition.is_cached(from) {
            place = room;
        }
        for _ in 0..ROUNDS_MAX {
            let mut reservation = None;
            if before + place > SMALL_ANSWER_BYTES {
                reservation = self.reserve(place, before == 0).await;
                if reservation.is_none() {
                    return nothing;
                }
            }
            let read = match partition.is_cached(from) {
                true => partition.read(from, room, up_to)?,
                false => {
                    let partition = partition.clone();
                    env::run_blocking(move || partition.read(from, room, up_to)).await?
                }
            };
            let missing = read.bytes.saturating_sub(place);
            if missing > 0 && before + read.bytes > SMALL_ANSWER_BYTES {
                match self.budget.try_reserve(if reservation.is_some() { missing } else { read.bytes }) {
                    Some(more) => match &mut reservation {
                        Some(reservation) => reservation.join(more),
                        None => reservation = Some(more),
                    },
                    None => {
                        place = read.bytes;
                        continue;
                    }
                }
            }
            if let Some(mut reservation) = reservation {
                reservation.shrink_to(read.bytes);
                match &mut self.reservation {
                    Some(held) => held.join(reservation),
                    held => *held = Some(reservation),
                }
            }
            return Ok(read);
        }
        nothing
    }
}

/// How often a read is tried again with a larger place.
const ROUNDS_MAX: usize = 4;

/// Counts what is sent, by topic. Between two offsets stands a record, as long as nothing is compacted.
fn count(wanted: &[(Key, Wanted)], answers: &[Answer], broker: &Parts) {
    for ((key, wanted), answer) in wanted.iter().zip(answers).filter(|(_, answer)| answer.read.bytes > 0) {
        let records = (answer.read.next_offset.0 - wanted.offset.0).max(0) as u64;
        let counted = |name: &str| broker.metrics.topic(name).fetched(answer.read.bytes, records);
        match &key.topic {
            TopicKey::Name(name) => counted(name),
            TopicKey::Id(id) => drop(broker.topics.by_id(*id).map(|topic| counted(&topic.name))),
        }
    }
}

fn find(broker: &Parts, key: &Key) -> Result<Arc<Partition>, ErrorCode> {
    let topic = match &key.topic {
        TopicKey::Name(name) => broker.topics.by_name(name).ok_or(ErrorCode::UnknownTopicOrPartition)?,
        TopicKey::Id(id) => broker.topics.by_id(*id).ok_or(ErrorCode::UnknownTopicId)?,
    };
    topic.partition(key.partition).cloned().ok_or(ErrorCode::UnknownTopicOrPartition)
}

/// Reads one partition, of which `before` bytes are already in the answer.
async fn read(
    wanted: &Wanted,
    partition: &Result<Arc<Partition>, ErrorCode>,
    limits: &Limits,
    before: usize,
    held: &mut Held<'_>,
) -> Answer {
    let refused = |code: ErrorCode| Answer {
        error: Some(code),
        offsets: None,
        read: Read::default(),
        diverging: None,
        missing: false,
        aborted: None,
    };
    let partition = match partition {
        Ok(partition) => partition,
        // Kafka's answer for what is not there has an empty list, that for other errors has none.
        Err(code) => return Answer { aborted: Some(Vec::new()), missing: true, ..refused(*code) },
    };
    let offsets = partition.offsets();
    if let Err(code) = super::check_leader_epoch(offsets.leader_epoch, wanted.leader_epoch) {
        return refused(code);
    }
    let mut answer = Answer {
        error: None,
        offsets: Some(offsets),
        read: Read::default(),
        diverging: None,
        missing: false,
        aborted: limits.read_committed.then(Vec::new),
    };
    if wanted.last_fetched_epoch >= 0 {
        let epoch = LeaderEpoch(wanted.last_fetched_epoch);
        match partition.end_offset_for_epoch(epoch) {
            None => return refused(ErrorCode::OffsetOutOfRange),
            Some((last, end)) if last < epoch || end < wanted.offset => {
                answer.diverging = Some((last, end));
                return answer;
            }
            Some(_) => {}
        }
    }
    if wanted.offset < offsets.log_start || wanted.offset > offsets.log_end {
        return refused(ErrorCode::OffsetOutOfRange);
    }
    let up_to = if limits.read_committed { offsets.last_stable } else { offsets.high_watermark };
    let room = limits.bytes_max.saturating_sub(before).min(wanted.bytes_max.max(0) as usize);
    // The first batch of an answer may be larger than every limit: a consumer must get on.
    if wanted.offset >= up_to || room == 0 && before > 0 {
        return answer;
    }
    let forgotten = partition.aborted_forgotten();
    match held.read(partition, wanted.offset, room, up_to, before).await {
        Ok(read) if read.bytes > room && before > 0 => {}
        Ok(read) => {
            if limits.read_committed {
                let aborted = partition.aborted_transactions(wanted.offset, read.next_offset);
                if partition.aborted_forgotten() != forgotten {
                    // What was read may hold records of a transaction that is not told of any more: next time.
                    return answer;
                }
                answer.aborted = Some(aborted);
            }
            answer.read = read;
        }
        Err(error) => return refused(Refusal::from(error).code),
    }
    answer
}

fn respond(
    wanted: Vec<(Key, Wanted)>,
    answers: Vec<Answer>,
    session: Option<Arc<Mutex<Session>>>,
    only_news: bool,
) -> FetchResponse {
    let mut response = FetchResponse::default();
    let mut session = session.as_ref().map(|session| session.lock());
    response.session_id = session.as_ref().map_or(0, |session| session.id());
    let mut last: Option<TopicKey> = None;
    let mut answered: Vec<_> = wanted.into_iter().zip(answers).collect();
    // As in Kafka, what is not there comes after what is, unknown ids first.
    answered.sort_by_key(|(_, answer)| match answer.error {
        _ if !answer.missing => 0,
        Some(ErrorCode::UnknownTopicId) => 1,
        _ => 2,
    });
    for ((key, _), answer) in answered {
        if let Some(session) = &mut session {
            let now = Told {
                high_watermark: answer.offsets.map_or(Offset::NONE, |offsets| offsets.high_watermark),
                log_start: answer.offsets.map_or(Offset::NONE, |offsets| offsets.log_start),
            };
            let (has_records, error) = (answer.read.bytes > 0, answer.error.is_some());
            let news = session.is_news(&key, has_records, error || answer.diverging.is_some(), now);
            // The answer that begins a session turns nothing.
            session.told(&key, only_news && has_records, error, now);
            if only_news && !news {
                continue;
            }
        }
        if last.as_ref() != Some(&key.topic) {
            let mut topic = FetchableTopicResponse::default();
            match &key.topic {
                TopicKey::Name(name) => topic.topic = name.clone(),
                TopicKey::Id(id) => topic.topic_id = *id,
            }
            response.responses.push(topic);
            last = Some(key.topic.clone());
        }
        let topic = response.responses.last_mut().expect("a topic was pushed before its first partition");
        topic.partitions.push(partition_data(key.partition, answer));
    }
    response
}

/// Error answers carry -1 for every mark: 0 would be believed.
fn partition_data(index: i32, answer: Answer) -> PartitionData {
    let mark = |mark: fn(&Offsets) -> Offset| answer.offsets.as_ref().map_or(Offset::NONE, mark).0;
    let diverging = answer.diverging.map(|(epoch, end)| EpochEndOffset {
        epoch: epoch.0,
        end_offset: end.0,
        ..Default::default()
    });
    let aborted = answer.aborted.as_ref().map(|aborted| {
        let transaction = |aborted: &storage::AbortedTransaction| wire::fetch::AbortedTransaction {
            producer_id: aborted.producer.0,
            first_offset: aborted.first_offset.0,
            ..Default::default()
        };
        aborted.iter().map(transaction).collect()
    });
    PartitionData {
        partition_index: index,
        error_code: crate::request::code(answer.error),
        high_watermark: mark(|offsets| offsets.high_watermark),
        last_stable_offset: mark(|offsets| offsets.last_stable),
        log_start_offset: mark(|offsets| offsets.log_start),
        diverging_epoch: diverging.unwrap_or_default(),
        aborted_transactions: aborted,
        records: Some(Records::from(answer.read.chunks)),
        ..Default::default()
    }
}
