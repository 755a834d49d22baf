//! A subscription at work: reads ahead, answers consumers, writes down how far it is.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use client::Position;
use env::Clock;
use model::{Offset, TopicId};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{info, warn};

use super::delivery::DeliveryId;
use super::machine::{Checkpoint, Counts, Delivery, Effect, Machine, Parked, Place, Refusal};
use super::{ConsumerError, Settings, Subscription, record, topic_of};
use crate::event::Recorded;
use crate::owner::is_set;
use crate::service::{Filter, Handle};
use crate::table::{Table, TableError};

/// How often it is written down how far a subscription is, while that changes.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

/// Events that are read of one partition before it is the next one's turn.
const SHARE: usize = 128;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// Where the events of a subscription come from and go to, in this process.
pub struct Host {
    handle: Handle,
    topic: TopicId,
    subscription: Subscription,
    clock: Arc<dyn Clock>,
    machine: Mutex<Machine>,
    /// Something may be handed out.
    ready: Notify,
    /// Something may be read or has to be written.
    work: Notify,
    over: watch::Receiver<bool>,
    /// What is in the log of how far it is: whoever hosts it next goes on there.
    written: Mutex<Checkpoint>,
}

/// How a subscription is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub counts: Counts,
    /// Everything before it is settled or parked.
    pub position: Position,
    /// All of that is written down, too.
    pub is_written: bool,
    /// Records of the log after that, whether they are for this subscription or not.
    pub behind: u64,
}

/// An event that is handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handed {
    /// To acknowledge or refuse it by.
    pub id: DeliveryId,
    /// From 1.
    pub attempt: u32,
    pub event: Recorded,
}

/// A host and how to end it.
#[derive(Clone)]
pub(super) struct Running {
    pub host: Arc<Host>,
    stop: watch::Sender<bool>,
    ended: watch::Receiver<bool>,
}

impl Running {
    /// Whether it may go on for the subscription as it is now.
    pub fn is_of(&self, now: &Subscription) -> bool {
        let before = &self.host.subscription;
        before.id == now.id
            && before.settings.filter == now.settings.filter
            && before.settings.rules.is_ordered == now.settings.rules.is_ordered
    }

    /// Returns when everything is written down.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }
}

/// Goes on where the run is.
pub(super) async fn start(
    handle: &Handle,
    table: &Table,
    subscription: Subscription,
) -> Result<Running, ConsumerError> {
    // What the host before has written.
    table.catch_up().await?;
    let topic = topic_of(handle, &subscription.category)?;
    let checkpoint = match table.get(&record::checkpoint_key(&subscription.id)).await? {
        Some(value) => record::read_checkpoint(topic, &value).map_err(ConsumerError::Unavailable)?,
        None => record::begin_at(topic, &subscription.from),
    };
    let parked = table.scan(&record::parked_prefix(&subscription.id)).await?;
    let parked: BTreeMap<Place, Parked> =
        parked.iter().filter_map(|(key, value)| record::read_parked(key, value)).collect();
    let (stop, stopped) = watch::channel(false);
    let (end, ended) = watch::channel(false);
    let machine = Machine::new(subscription.settings.rules.clone(), checkpoint.clone(), parked);
    // Room to count from there.
    let machine = machine.numbered_from(handle.chance() >> 16);
    info!(category = %subscription.category, name = subscription.name, "a subscription is hosted here");
    let host = Arc::new(Host {
        handle: handle.clone(),
        topic,
        clock: handle.clock(),
        machine: Mutex::new(machine),
        ready: Notify::new(),
        work: Notify::new(),
        over: ended.clone(),
        written: Mutex::new(checkpoint),
        subscription,
    });
    let running = Run { host: host.clone(), table: table.clone(), effects: Vec::new() };
    env::spawn(async move {
        running.run(stopped).await;
        end.send_replace(true);
    });
    Ok(Running { host, stop, ended })
}

impl Host {
    pub fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    pub(super) fn change(&self, settings: &Settings) {
        self.machine.lock().change_rules(settings.rules.clone());
        self.ready.notify_waiters();
    }

    fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Up to `max` events that are nobody's yet; waits for the first one. None came: an empty answer.
    pub async fn pull(&self, max: usize, wait: Duration) -> Result<Vec<Handed>, ConsumerError> {
        let deadline = Instant::now() + wait;
        let mut over = self.over.clone();
        loop {
            let mut ready = pin!(self.ready.notified());
            ready.as_mut().enable();
            let deliveries = self.machine.lock().pull(max, self.now());
            if !deliveries.is_empty() {
                self.work.notify_one();
                return self.shown(deliveries).await;
            }
            tokio::select! {
                biased;
                () = is_set(&mut over) => {
                    return Err(ConsumerError::Moving);
                }
                timely = timeout_at(deadline, ready) => if timely.is_err() { return Ok(Vec::new()) },
            }
        }
    }

    /// As they are read today: what is held is as it was recorded.
    async fn shown(&self, deliveries: Vec<Delivery>) -> Result<Vec<Handed>, ConsumerError> {
        let mut events: Vec<Recorded> = deliveries.iter().map(|it| (*it.event).clone()).collect();
        self.handle.show(&mut events).await?;
        let run = &self.subscription.id;
        let handed = |(it, event): (Delivery, Recorded)| Handed {
            id: DeliveryId::new(run, Place::of(&it.event), it.number),
            attempt: it.attempt,
            event,
        };
        Ok(deliveries.into_iter().zip(events).map(handed).collect())
    }

    /// Takes events as worked with. The same again is nothing new. What was never handed out is refused; the others count.
    pub fn ack(&self, deliveries: &[DeliveryId]) -> Result<(), ConsumerError> {
        let (handed_out, others) = self.proven(deliveries);
        let mut machine = self.machine.lock();
        handed_out.iter().for_each(|delivery| machine.ack(delivery.place));
        drop(machine);
        self.settled();
        if others.is_empty() { Ok(()) } else { Err(ConsumerError::NeverHandedOut(others)) }
    }

    /// Takes events as not worked with. Gives those whose delivery was somebody else's by then: nothing is done with
    /// them.
    pub fn nack(
        &self,
        deliveries: &[DeliveryId],
        refusal: Refusal,
        reason: &str,
    ) -> Result<Vec<DeliveryId>, ConsumerError> {
        let now = self.now();
        let (handed_out, others) = self.proven(deliveries);
        let mut machine = self.machine.lock();
        let late = handed_out
            .into_iter()
            .filter(|it| !machine.nack(it.place, it.number, refusal, reason, now))
            .collect();
        drop(machine);
        self.settled();
        if others.is_empty() { Ok(late) } else { Err(ConsumerError::NeverHandedOut(others)) }
    }

    /// What was handed out in this run, by whichever host, and the rest.
    fn proven(&self, deliveries: &[DeliveryId]) -> (Vec<DeliveryId>, Vec<DeliveryId>) {
        deliveries.iter().cloned().partition(|delivery| delivery.is_of(&self.subscription.id))
    }

    /// Parked events, the oldest of each partition first, with what they are, as far as they can be read.
    pub async fn parked(&self, max: usize) -> Result<Vec<(Place, Parked, Option<Recorded>)>, ConsumerError> {
        let all: Vec<_> =
            self.machine.lock().all_parked().take(max).map(|(at, parked, _)| (at, parked.clone())).collect();
        let mut found = Vec::new();
        for (place, parked) in all {
            let category = &self.subscription.category;
            let event = self.handle.event_at(category, place.partition, place.offset).await?;
            let mut event: Vec<Recorded> = event.into_iter().collect();
            self.handle.show(&mut event).await?;
            found.push((place, parked, event.pop()));
        }
        Ok(found)
    }

    /// Hands out parked events again; none named: all. Gives how many: as many as are held at a time, so that whoever
    /// wants all asks until it is none.
    pub async fn replay(&self, places: Option<&BTreeSet<Place>>) -> Result<usize, ConsumerError> {
        let mut count = 0;
        for place in self.chosen(places) {
            if self.machine.lock().is_full() {
                break;
            }
            let event =
                self.handle.event_at(&self.subscription.category, place.partition, place.offset).await?;
            if let Some(event) = event {
                count += usize::from(self.machine.lock().replay(event));
            }
        }
        self.settled();
        Ok(count)
    }

    /// Gives parked events up; none named: all. Gives how many.
    pub fn discard(&self, places: Option<&BTreeSet<Place>>) -> usize {
        let chosen = self.chosen(places);
        let mut machine = self.machine.lock();
        let count = chosen.into_iter().filter(|place| machine.discard(*place)).count();
        drop(machine);
        self.settled();
        count
    }

    fn chosen(&self, places: Option<&BTreeSet<Place>>) -> Vec<Place> {
        let machine = self.machine.lock();
        let all = machine.all_parked().map(|(place, ..)| place);
        all.filter(|place| places.is_none_or(|places| places.contains(place))).collect()
    }

    pub fn status(&self) -> Result<Status, ConsumerError> {
        let end = self.handle.end_of(&self.subscription.category)?;
        let (checkpoint, counts) = {
            let machine = self.machine.lock();
            (machine.checkpoint(), machine.counts())
        };
        let behind = |(partition, end): (model::PartitionId, Offset)| {
            let next = checkpoint.next.get(&partition.index).copied().unwrap_or(Offset::ZERO);
            u64::try_from(end.0 - next.0).unwrap_or(0)
        };
        let behind = end.iter().map(behind).sum();
        let is_written = checkpoint == *self.written.lock();
        Ok(Status { counts, position: record::position(self.topic, &checkpoint), is_written, behind })
    }

    fn settled(&self) {
        self.work.notify_one();
        self.ready.notify_waiters();
    }
}

/// What a host does on its own.
struct Run {
    host: Arc<Host>,
    table: Table,
    /// What could not be written so far.
    effects: Vec<Effect>,
}

impl Run {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut first = 0;
        let mut write_at = Instant::now() + CHECKPOINT_INTERVAL;
        loop {
            self.host.machine.lock().tick(self.host.now());
            if let Err(error) = self.perform().await {
                self.told(&error);
                write_at = write_at.max(Instant::now() + PAUSE);
            }
            let is_more = match self.fill(first).await {
                Ok(is_more) => is_more,
                Err(error) => {
                    self.told(&error);
                    false
                }
            };
            first += 1;
            self.host.ready.notify_waiters();
            let is_written = self.host.machine.lock().checkpoint() == *self.host.written.lock();
            if !is_written && Instant::now() >= write_at {
                if let Err(error) = self.write().await {
                    self.told(&error);
                }
                write_at = Instant::now() + CHECKPOINT_INTERVAL;
                continue;
            }
            if is_more && self.effects.is_empty() {
                continue;
            }
            let (due, room) = {
                let machine = self.host.machine.lock();
                (machine.next_due(), machine.room())
            };
            let due = due.map(|due| Instant::now() + due.saturating_sub(self.host.now()));
            let wait_until =
                due.into_iter().chain((!is_written || !self.effects.is_empty()).then_some(write_at)).min();
            let category = self.host.subscription.category.clone();
            let after = record::position(self.host.topic, &self.read());
            tokio::select! {
                biased;
                () = is_set(&mut stop) => break,
                () = self.host.work.notified() => {}
                added = self.host.handle.added(&category, &after), if room > 0 => if added.is_err() {
                    // The process stops.
                    break;
                },
                () = sleep_until(wait_until.unwrap_or_else(Instant::now)), if wait_until.is_some() => {}
            }
        }
        for outcome in [self.perform().await, self.write().await] {
            if let Err(error) = outcome {
                self.told(&error);
            }
        }
    }

    fn told(&self, error: &dyn std::fmt::Display) {
        let Subscription { category, name, .. } = &self.host.subscription;
        warn!(%category, name, %error, "a subscription does not get on");
    }

    /// How far each partition was read.
    fn read(&self) -> Checkpoint {
        let machine = self.host.machine.lock();
        let count = self.host.handle.partition_count(&self.host.subscription.category).unwrap_or(0) as i32;
        let next = (0..count).filter_map(|index| Some((index, machine.next(index)?)));
        Checkpoint { next: next.collect(), ..Checkpoint::default() }
    }

    /// Reads a share of each partition. True: there is more, and room for it.
    async fn fill(&self, first: usize) -> Result<bool, ConsumerError> {
        let host = &self.host;
        let category = &host.subscription.category;
        let count = host.handle.partition_count(category)?;
        let filter: &Filter = &host.subscription.settings.filter;
        let mut is_more = false;
        for index in (0..count).map(|index| ((first + index) % count) as i32) {
            let (from, room) = {
                let machine = host.machine.lock();
                (machine.next(index).unwrap_or(Offset::ZERO), machine.room())
            };
            if room == 0 {
                return Ok(false);
            }
            let limit = room.min(SHARE);
            let (events, next, is_end) =
                host.handle.read_partition_from(category, index, from, filter, limit).await?;
            is_more |= !is_end;
            host.machine.lock().fill(index, events, next);
        }
        Ok(is_more)
    }

    /// Writes what was parked, and what is not any more.
    async fn perform(&mut self) -> Result<(), TableError> {
        loop {
            self.effects.extend(self.host.machine.lock().take_effects());
            if self.effects.is_empty() {
                return Ok(());
            }
            let id = &self.host.subscription.id;
            let entry = |effect: &Effect| match effect {
                Effect::Park(place, parked) => {
                    (record::parked_key(id, *place), Some(record::write_parked(parked)))
                }
                Effect::Unpark(place) => (record::parked_key(id, *place), None),
            };
            let entries: Vec<_> = self.effects.iter().map(entry).collect();
            let entries: Vec<(&str, Option<&[u8]>)> =
                entries.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
            self.table.put_all(&entries).await?;
            let mut machine = self.host.machine.lock();
            for effect in self.effects.drain(..) {
                if let Effect::Park(place, parked) = effect {
                    machine.parked(place, parked);
                }
            }
        }
    }

    async fn write(&mut self) -> Result<(), TableError> {
        let checkpoint = self.host.machine.lock().checkpoint();
        if checkpoint == *self.host.written.lock() {
            return Ok(());
        }
        let value = record::write_checkpoint(self.host.topic, &checkpoint);
        self.table.put(&record::checkpoint_key(&self.host.subscription.id), Some(&value)).await?;
        *self.host.written.lock() = checkpoint;
        Ok(())
    }
}
