//! What is read, and how fresh it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use client::{Position, partition_of_key};
use model::{Offset, PartitionId, TopicId};
use tokio::time::{Instant, sleep};

use super::{CategoryInfo, Handle, OpenCategory, OpenPartition};
use crate::append::{AppendError, OWN, Selector, check_selectors};
use crate::category::Category;
use crate::event::Recorded;
use crate::index::{OfStream, Part, Room, Window};
use crate::machine::LIVES_ELSEWHERE;
use crate::query::{ANSWER_BYTES, Direction, EVENTS_MAX, Found, ReadError};
use crate::replica::NotReached;

/// How fresh a read must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freshness {
    /// At least this fresh.
    pub at_least: Position,
    /// As fresh as the log itself when it was asked.
    pub is_strong: bool,
    /// How long to wait for that.
    pub wait: Duration,
}

/// Which events of a category.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// None: all.
    pub any_of: Vec<Selector>,
    pub correlation: Option<String>,
    /// Only events with the data of this subject.
    pub subject: Option<String>,
}

impl Filter {
    /// Refuses what would be too much to search for.
    pub(crate) fn check(&self) -> Result<(), ReadError> {
        check_selectors(self.any_of.iter()).map_err(|why| ReadError::Invalid(format!("the read has {why}")))
    }
}

impl Handle {
    pub fn categories(&self) -> Vec<(Category, CategoryInfo)> {
        self.0.catalog.all().into_iter().collect()
    }

    /// Events of a stream, from a version on. Within a boundary that is not its id it is found, too.
    pub async fn read_stream(
        &self,
        category: &Category,
        stream: &str,
        from: u64,
        direction: Direction,
        limit: usize,
        freshness: &Freshness,
    ) -> Result<Found, ReadError> {
        // Before the category, which may be another one since.
        self.tables_fresh(freshness).await?;
        let open = self.opened_within(category, freshness.wait).await?;
        let mut index = partition_of_key(stream.as_bytes(), open.partitions.len());
        let limit = limit.min(EVENTS_MAX);
        let mut tried = BTreeSet::new();
        loop {
            let partition = &open.partitions[index];
            self.fresh(&open, partition, freshness).await?;
            let at = partition.replica.next();
            let (replica, name, number) = (partition.replica.clone(), stream.to_owned(), index as i32);
            let asked = &replica.index;
            let room = Room { events: limit, bytes: self.1.bytes_max };
            let looked = asked.ask(at, move |it| it.stream(number, &name, from, direction, room));
            let found = looked.await.map_err(broken)?;
            let Some(OfStream { mut events, version, first, .. }) = found else {
                index = self.named_instead(&open, &mut tried, index, stream, freshness).await?;
                continue;
            };
            let elsewhere = events.first().filter(|event| event.facts.kind == LIVES_ELSEWHERE);
            let elsewhere = match elsewhere {
                Some(mark) => Some(mark.data.clone()),
                // Whatever was asked for: the mark is the first event.
                None if version == 1 && events.is_empty() => self.mark(partition, stream).await?,
                None => None,
            };
            if let Some(boundary) = elsewhere {
                index = next_home(&open, &mut tried, index, &boundary, stream)?;
                continue;
            }
            // Upcasters may make more of them than one answer has.
            self.show_what_fits(&mut events).await?;
            let is_end = events.last().is_none_or(|last| match direction {
                Direction::Forward => last.version == version,
                Direction::Backward => last.version == first,
            });
            let position = Position::of(partition.id(), at);
            let incomplete = partition.halted(&open.category).into_iter().collect();
            return Ok(Found { events, version, first, position, is_end, incomplete });
        }
    }

    /// Events of a category after a position, each partition's in the order of its log; a partition that the position
    /// does not name is read from its beginning.
    pub async fn read_category(
        &self,
        category: &Category,
        after: &Position,
        filter: &Filter,
        limit: usize,
        freshness: &Freshness,
    ) -> Result<Found, ReadError> {
        filter.check()?;
        self.tables_fresh(freshness).await?;
        let open = self.opened_within(category, freshness.wait).await?;
        self.check_after(&open, after).await?;
        let limit = limit.clamp(1, EVENTS_MAX);
        let mut found = Found { is_end: true, ..Found::default() };
        let mut nexts = BTreeMap::new();
        let mut bytes = 0;
        // What follows a position is not told by whoever has not got there.
        let mut fresher = freshness.clone();
        fresher.at_least.merge(after);
        for partition in &open.partitions {
            // Who has halted does not get there.
            let freshness = if partition.replica.halted().is_some() { freshness } else { &fresher };
            self.fresh(&open, partition, freshness).await?;
            found.incomplete.extend(partition.halted(&open.category));
            let from = after.next(partition.id()).unwrap_or(Offset::ZERO);
            let known = found.events.len();
            let room = Room {
                // Of the next partition not even one event, where this answer is full already.
                events: if bytes < self.1.bytes_max { limit - known } else { 0 },
                bytes: self.1.bytes_max.saturating_sub(bytes),
            };
            let next = self.read_partition(partition, from, filter, room, &mut found).await?;
            bytes += found.events[known..].iter().map(Recorded::size).sum::<usize>();
            nexts.insert(partition.id().index, (partition.id(), next));
        }
        for left in self.show_what_fits(&mut found.events).await?.into_iter().rev() {
            if let Some((_, next)) = nexts.get_mut(&left.partition) {
                *next = left.offset;
            }
            found.is_end = false;
        }
        for (partition, next) in nexts.into_values() {
            found.position.merge(&Position::of(partition, next));
        }
        Ok(found)
    }

    /// Refuses to read on after a position that nobody can have been given for the category: what would come then is not
    /// what follows.
    pub(super) async fn check_after(&self, open: &OpenCategory, after: &Position) -> Result<(), ReadError> {
        let category = &open.category;
        let invalid = |why: String| {
            Err(ReadError::Invalid(format!("the position {why}: hand on what was handed out, unchanged")))
        };
        let Some(topic) = open.partitions.first().map(|first| first.id().topic) else { return Ok(()) };
        let mut is_of_it = after.is_empty();
        for (partition, next) in after.iter().filter(|(partition, _)| partition.topic == topic) {
            is_of_it = true;
            let index = usize::try_from(partition.index).ok();
            let Some(known) = index.and_then(|index| open.partitions.get(index)) else {
                let count = open.partitions.len();
                return invalid(format!(
                    "names partition {} of {category}, which has {count}",
                    partition.index
                ));
            };
            if next > known.replica.next() {
                let end = self.end(open, partition).await?;
                if next > end {
                    return invalid(format!(
                        "is beyond the end of {category}: partition {} ends at offset {end}",
                        partition.index
                    ));
                }
            }
        }
        if is_of_it { Ok(()) } else { invalid(format!("says nothing about {category}")) }
    }

    /// Adds a partition's events; the offset up to which they were read.
    async fn read_partition(
        &self,
        partition: &OpenPartition,
        from: Offset,
        filter: &Filter,
        room: Room,
        found: &mut Found,
    ) -> Result<Offset, ReadError> {
        let to = partition.replica.next();
        if room.events == 0 {
            found.is_end &= from >= to;
            return Ok(from);
        }
        let (replica, filter) = (partition.replica.clone(), filter.clone());
        let window = Window { from, to, room };
        let number = partition.id().index;
        let asked = replica.index.search(to, move |it| {
            let (correlation, subject) = (filter.correlation.as_deref(), filter.subject.as_deref());
            it.events(number, window, &filter.any_of, correlation, subject)
        });
        let Part { events, next } = asked.await.map_err(broken)?;
        found.is_end &= next >= to;
        found.events.extend(events.into_iter().filter(|event| !event.facts.kind.starts_with(OWN)));
        Ok(next)
    }

    /// Events of one partition from an offset on, as far as this process has read it; where to read on, and whether that
    /// is the end.
    pub(crate) async fn read_partition_from(
        &self,
        category: &Category,
        index: i32,
        from: Offset,
        filter: &Filter,
        limit: usize,
    ) -> Result<(Vec<Recorded>, Offset, bool), ReadError> {
        let open = self.opened(category).ok_or_else(|| self.missing(category))?;
        let partition = usize::try_from(index).ok().and_then(|index| open.partitions.get(index));
        let partition =
            partition.ok_or_else(|| ReadError::Invalid(format!("there is no partition {index}")))?;
        let mut found = Found { is_end: true, ..Found::default() };
        let room = Room { events: limit, bytes: self.1.bytes_max };
        let next = self.read_partition(partition, from, filter, room, &mut found).await?;
        Ok((found.events, next, found.is_end))
    }

    /// The event at an offset, if there is one.
    pub(crate) async fn event_at(
        &self,
        category: &Category,
        index: i32,
        offset: Offset,
    ) -> Result<Option<Recorded>, ReadError> {
        let found = self.read_partition_from(category, index, offset, &Filter::default(), 1).await?;
        Ok(found.0.into_iter().next().filter(|event| event.offset == offset))
    }

    /// How many partitions a category has, once it is open here.
    pub(crate) fn partition_count(&self, category: &Category) -> Result<usize, ReadError> {
        Ok(self.opened(category).ok_or_else(|| self.missing(category))?.partitions.len())
    }

    pub(crate) fn topic_id(&self, category: &Category) -> Result<TopicId, ReadError> {
        let open = self.opened(category).ok_or_else(|| self.missing(category))?;
        open.partitions.first().map(|partition| partition.id().topic).ok_or_else(|| self.missing(category))
    }

    /// Refuses a position at which nobody can begin.
    pub(crate) async fn check_start(&self, category: &Category, start: &Position) -> Result<(), ReadError> {
        let open = self.opened_within(category, Duration::ZERO).await?;
        self.check_after(&open, start).await
    }

    /// Returns when a category is read here.
    pub(crate) async fn readable(&self, category: &Category) -> Result<(), ReadError> {
        self.opened_within(category, Duration::ZERO).await.map(drop)
    }

    /// The position after all that is in the log of a category now.
    pub(crate) async fn end_of_log(&self, category: &Category) -> Result<Position, ReadError> {
        let open = self.opened_within(category, Duration::ZERO).await?;
        let asked = async {
            let topic = self.0.cluster.topic(&category.topic(), false).await?;
            let indexes: Vec<i32> = open.partitions.iter().map(|partition| partition.id().index).collect();
            self.0.cluster.ends(&topic, &indexes).await
        };
        let ends = asked.await.map_err(|error| ReadError::Unavailable(error.to_string()))?;
        let mut position = Position::default();
        for partition in &open.partitions {
            let end = ends.get(&partition.id().index).copied().unwrap_or(Offset::ZERO);
            position.merge(&Position::of(partition.id(), end));
        }
        Ok(position)
    }

    /// The position after all that this process has read of a category.
    pub fn end_of(&self, category: &Category) -> Result<Position, ReadError> {
        let open = self.opened(category).ok_or_else(|| self.missing(category))?;
        let mut position = Position::default();
        for partition in &open.partitions {
            position.merge(&Position::of(partition.id(), partition.replica.next()));
        }
        Ok(position)
    }

    /// Waits until something was added to a category after a position.
    pub async fn added(&self, category: &Category, after: &Position) -> Result<(), ReadError> {
        let open = self.opened(category).ok_or_else(|| self.missing(category))?;
        let mut waiting = tokio::task::JoinSet::new();
        for partition in &open.partitions {
            let from = after.next(partition.id()).unwrap_or(Offset::ZERO);
            let replica = partition.replica.clone();
            waiting.spawn(async move { replica.added(from).await });
        }
        match waiting.join_next().await {
            Some(Ok(true)) => Ok(()),
            _ => Err(ReadError::Unavailable("the event store is shutting down".to_owned())),
        }
    }

    /// The boundary of a stream that lives in another partition than its own.
    pub(super) async fn boundary_of(
        &self,
        open: &OpenCategory,
        stream: &str,
        deadline: Instant,
    ) -> Result<Option<String>, AppendError> {
        let partition = &open.partitions[partition_of_key(stream.as_bytes(), open.partitions.len())];
        let wait = deadline.saturating_duration_since(Instant::now());
        let freshness = Freshness { is_strong: true, wait, ..Freshness::default() };
        let unavailable = |error: ReadError| AppendError::Unavailable(error.to_string());
        self.fresh(open, partition, &freshness).await.map_err(unavailable)?;
        let mark = self.mark(partition, stream).await.map_err(unavailable)?;
        Ok(mark.map(|boundary| String::from_utf8_lossy(&boundary).into_owned()))
    }

    /// Whether this process has seen events of a stream in a partition.
    pub(super) async fn is_there(&self, open: &OpenCategory, index: usize, stream: &str) -> bool {
        let (index, stream) = (open.partitions[index].replica.index.clone(), stream.to_owned());
        let looked =
            index.ask(Offset::ZERO, move |it| it.stream(0, &stream, 1, Direction::Forward, ONE)).await;
        looked.is_ok_and(|found| found.is_some())
    }

    /// Where a stream is that a partition does not know. A position that was given for an append within another boundary
    /// names that boundary's partition, and not the mark in the stream's own, which may not be read yet.
    async fn named_instead(
        &self,
        open: &OpenCategory,
        tried: &mut BTreeSet<usize>,
        unknown_to: usize,
        stream: &str,
        freshness: &Freshness,
    ) -> Result<usize, ReadError> {
        tried.insert(unknown_to);
        for (index, partition) in open.partitions.iter().enumerate() {
            if freshness.at_least.next(partition.id()).is_none() || !tried.insert(index) {
                continue;
            }
            self.fresh(open, partition, freshness).await?;
            if self.is_there(open, index, stream).await {
                return Ok(index);
            }
        }
        Err(match open.partitions[unknown_to].halted(&open.category) {
            // It may be behind that.
            Some(why) => ReadError::Unavailable(format!("{stream} is not among what is read: {why}")),
            None => ReadError::NoStream(stream.to_owned()),
        })
    }

    async fn mark(&self, partition: &OpenPartition, stream: &str) -> Result<Option<bytes::Bytes>, ReadError> {
        let (at, stream) = (partition.replica.next(), stream.to_owned());
        let index = &partition.replica.index;
        let looked = index.ask(at, move |it| it.stream(0, &stream, 1, Direction::Forward, ONE)).await;
        let first: Option<Recorded> =
            looked.map_err(broken)?.and_then(|found| found.events.into_iter().next());
        Ok(first.filter(|event| event.facts.kind == LIVES_ELSEWHERE).map(|event| event.data))
    }

    /// The partition in which a stream is, and what is known of it.
    pub(super) async fn find_stream(
        &self,
        category: &Category,
        stream: &str,
        freshness: &Freshness,
    ) -> Result<(Arc<OpenCategory>, usize, OfStream), ReadError> {
        // Before the category, which may be another one since.
        self.tables_fresh(freshness).await?;
        let open = self.opened_within(category, freshness.wait).await?;
        let mut index = partition_of_key(stream.as_bytes(), open.partitions.len());
        let mut tried = BTreeSet::new();
        loop {
            let partition = &open.partitions[index];
            self.fresh(&open, partition, freshness).await?;
            if let Some(boundary) = self.mark(partition, stream).await? {
                index = next_home(&open, &mut tried, index, &boundary, stream)?;
                continue;
            }
            let (at, name) = (partition.replica.next(), stream.to_owned());
            let asked = &partition.replica.index;
            let looked = asked.ask(at, move |it| it.stream(0, &name, 0, Direction::Backward, NONE)).await;
            let Some(found) = looked.map_err(broken)? else {
                index = self.named_instead(&open, &mut tried, index, stream, freshness).await?;
                continue;
            };
            return Ok((open, index, found));
        }
    }

    /// Waits until a partition is as fresh as it must be: at least as what this process has acknowledged.
    pub(super) async fn fresh(
        &self,
        open: &OpenCategory,
        partition: &OpenPartition,
        freshness: &Freshness,
    ) -> Result<(), ReadError> {
        let mut asked = freshness.at_least.next(partition.id()).unwrap_or(Offset::ZERO);
        if freshness.is_strong {
            asked = asked.max(self.end(open, partition.id()).await?);
        }
        let mut wanted = asked.max(partition.floor);
        if let Some(standing) = *partition.standing.borrow() {
            wanted = wanted.max(standing.acknowledged);
        }
        match partition.replica.reached(wanted, freshness.patience()).await {
            Ok(()) => Ok(()),
            // Whoever asks for nothing in particular gets what is before the trouble.
            Err(NotReached::Halted(_)) if partition.replica.next() >= asked => Ok(()),
            Err(NotReached::Halted(why)) => Err(ReadError::Unavailable(format!(
                "partition {} of {} is not read any further: {why}",
                partition.id().index,
                open.category
            ))),
            Err(NotReached::Rebuilding { at, to }) => Err(ReadError::Unavailable(format!(
                "the index of partition {} of {} was damaged, and is made anew from the log: it is at offset {at} of {to}",
                partition.id().index,
                open.category
            ))),
            Err(NotReached::Late { at }) => Err(ReadError::Stale {
                wanted: Position::of(partition.id(), wanted),
                at: Position::of(partition.id(), at),
            }),
        }
    }

    pub(super) async fn end(&self, open: &OpenCategory, partition: PartitionId) -> Result<Offset, ReadError> {
        let asked = async {
            let topic = self.0.cluster.topic(&open.category.topic(), false).await?;
            self.0.cluster.offsets(&topic, &[partition.index], -1, 0).await
        };
        let ends = asked.await.map_err(|error| ReadError::Unavailable(error.to_string()))?;
        Ok(ends.get(&partition.index).copied().flatten().map_or(Offset::ZERO, Offset))
    }

    /// The category, once its partitions are read.
    pub(super) async fn opened_within(
        &self,
        category: &Category,
        wait: Duration,
    ) -> Result<Arc<OpenCategory>, ReadError> {
        let deadline = Instant::now() + if wait.is_zero() { OWN_WAIT } else { wait };
        // Another instance may have made it a moment ago.
        if self.opened(category).is_none()
            && self.0.catalog.find(category).is_none()
            && let Err(error) = self.0.catalog.catch_up().await
        {
            return Err(ReadError::Unavailable(error.to_string()));
        }
        loop {
            // One that was deleted and made anew is not read as the old one, which is still to be let go.
            let known = self.0.catalog.find(category);
            let is_it = |open: &Arc<OpenCategory>| known.as_ref().is_none_or(|info| open.is_of(info));
            match self.opened(category).filter(is_it) {
                Some(open) => return Ok(open),
                None if self.unopened(category).is_some() => return Err(self.missing(category)),
                None if self.0.catalog.find(category).is_none() || Instant::now() >= deadline => {
                    return Err(self.missing(category));
                }
                None => sleep(PAUSE).await,
            }
        }
    }

    /// Why a category is not open, where that does not pass by itself.
    pub(super) fn unopened(&self, category: &Category) -> Option<String> {
        let trouble = self.0.unopened.lock().get(category).and_then(|why| why.trouble().map(str::to_owned));
        trouble.or_else(|| {
            let unreadable = self.0.catalog.unreadable();
            unreadable.into_iter().find(|(name, _)| name == category.name()).map(|(_, why)| why)
        })
    }

    fn missing(&self, category: &Category) -> ReadError {
        if let Some(why) = self.unopened(category) {
            return ReadError::Unavailable(format!("category {category} is not open: {why}"));
        }
        match self.0.catalog.find(category) {
            Some(_) => {
                ReadError::Unavailable(format!("category {category} is not open (yet): its log says why"))
            }
            None => ReadError::NoCategory(category.to_string()),
        }
    }
}

/// The partition that a stream's mark names. A mark that leads back to where one was is nobody's.
fn next_home(
    open: &OpenCategory,
    tried: &mut BTreeSet<usize>,
    index: usize,
    boundary: &[u8],
    stream: &str,
) -> Result<usize, ReadError> {
    tried.insert(index);
    match partition_of_key(boundary, open.partitions.len()) {
        next if tried.contains(&next) => Err(ReadError::Unavailable(format!(
            "{stream} is not found: its marks in {} lead nowhere (levada verify events)",
            open.category
        ))),
        next => Ok(next),
    }
}

/// Of an answer that is one event, or only what is known of a stream.
const ONE: Room = Room { events: 1, bytes: ANSWER_BYTES };
const NONE: Room = Room { events: 0, bytes: ANSWER_BYTES };

/// Between two looks whether a category is open.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a read waits for what this process itself has acknowledged.
pub(super) const OWN_WAIT: Duration = Duration::from_secs(5);

pub(super) fn broken(error: rusqlite::Error) -> ReadError {
    ReadError::Unavailable(format!("the index cannot be read: {error}"))
}
