//! What a subscription hands out, to whom again, and how far it is.
//!
//! ```text
//!           fill              pull                 ack
//! log ───────────────▶ held ────────▶ in flight ────────▶ settled ─▶ the checkpoint follows
//!                       ▲                │ nack, or too late
//!                       └── after a while ┤
//!                       ▲                 │ too often, or told to
//!                       └── replay ─── parked
//! ```
//!
//! Events of one stream are handed out one after the other, each when the one before is settled, unless the subscription
//! is unordered. Behind a parked event, the later ones of its stream are parked, too.
//!
//! Time is what has passed since somebody's beginning, and only goes forward. Nothing here waits or writes: what has to be
//! written is told as [`Effect`]s, and comes back with [`Machine::parked`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use model::Offset;

use crate::event::Recorded;

/// Events that are held to be handed out, or are under way.
pub const HELD_MAX: usize = 1024;

/// Bytes of events that are held, about; then nothing more is read or replayed.
pub const HELD_BYTES_MAX: usize = 4 << 20;

/// Events that are settled although an earlier one of their partition is not: then nothing more is read.
pub const SETTLED_MAX: usize = 10_000;

/// Events that may be parked; then nothing more is read until somebody looks at them.
pub const PARKED_MAX: usize = 10_000;

/// Why an event is parked whose turn never came.
pub const FOLLOWS: &str = "an earlier event of its stream is parked";

/// Where an event is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub partition: i32,
    pub offset: Offset,
}

impl Place {
    pub fn of(event: &Recorded) -> Place {
        Place { partition: event.partition, offset: event.offset }
    }
}

/// As `<partition>.<offset>`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.partition, self.offset)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Place, ()> {
        let (partition, offset) = text.split_once('.').ok_or(())?;
        let (partition, offset) = (partition.parse().map_err(|_| ())?, offset.parse().map_err(|_| ())?);
        if partition < 0 || offset < 0 {
            return Err(());
        }
        Ok(Place { partition, offset: Offset(offset) })
    }
}

/// How a subscription hands out events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Whoever has not acknowledged an event in this time has lost it.
    pub ack_timeout: Duration,
    /// How often an event is handed out before it is parked.
    pub attempts_max: u32,
    /// How long an event rests that was refused, unless whoever refuses says.
    pub retry_delay: Duration,
    /// Events that may be in flight.
    pub in_flight_max: usize,
    /// Events of one stream one after the other.
    pub is_ordered: bool,
}

/// An event that is handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub event: Arc<Recorded>,
    /// From 1.
    pub attempt: u32,
    /// By which whoever has it refuses it: nobody else ever had it.
    pub number: u64,
}

/// What is to be done with an event that somebody could not work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// None: the subscription's own delay.
    Retry {
        after: Option<Duration>,
    },
    Park,
    Skip,
}

/// An event that waits for somebody to look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    pub stream: String,
    pub reason: String,
    /// How often it was handed out.
    pub attempts: u32,
}

/// What is to be written, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Park(Place, Parked),
    Unpark(Place),
}

/// How far a subscription is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Of each partition: everything before this offset is settled.
    pub next: BTreeMap<i32, Offset>,
    /// What is settled beyond that.
    pub settled: BTreeSet<Place>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub held: usize,
    pub in_flight: usize,
    pub parked: usize,
}

#[derive(Debug)]
pub struct Machine {
    rules: Rules,
    /// Of each partition: the offset up to which it was read.
    read: BTreeMap<i32, Offset>,
    lanes: BTreeMap<Lane, Queue>,
    held: BTreeMap<Place, Lane>,
    held_bytes: usize,
    /// Lanes whose first event may be handed out, in their order.
    runnable: VecDeque<Lane>,
    /// When something of a lane ends.
    due: BTreeSet<(Duration, Lane)>,
    in_flight: usize,
    /// Read, and not settled: what the checkpoint may not pass. Replayed events are not among them.
    open: BTreeSet<Place>,
    settled: BTreeSet<Place>,
    parked: BTreeMap<Place, Entry>,
    /// Parked events of each stream that nobody replays.
    blocked: BTreeMap<String, usize>,
    effects: Vec<Effect>,
    /// Of the delivery before.
    number: u64,
}

/// What is handed out one after the other: a stream, or, where there is no order, a single event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Stream(String),
    Event(Place),
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Held>,
    turn: Turn,
}

#[derive(Debug)]
struct Held {
    event: Arc<Recorded>,
    attempts: u32,
    /// Of the newest delivery.
    number: u64,
}

/// How it is with a lane's first event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Turn {
    #[default]
    Ready,
    InFlight {
        until: Duration,
    },
    Resting {
        until: Duration,
    },
    /// It is being parked.
    Parking,
}

#[derive(Debug)]
struct Entry {
    parked: Parked,
    is_replayed: bool,
}

impl Machine {
    pub fn new(rules: Rules, checkpoint: Checkpoint, parked: BTreeMap<Place, Parked>) -> Machine {
        let mut machine = Machine {
            rules,
            read: checkpoint.next,
            lanes: BTreeMap::new(),
            held: BTreeMap::new(),
            held_bytes: 0,
            runnable: VecDeque::new(),
            due: BTreeSet::new(),
            in_flight: 0,
            open: BTreeSet::new(),
            settled: checkpoint.settled,
            parked: BTreeMap::new(),
            blocked: BTreeMap::new(),
            effects: Vec::new(),
            number: 0,
        };
        for (place, parked) in parked {
            machine.enter_parked(place, parked);
        }
        machine
    }

    /// Deliveries are numbered from here on: no number of an earlier host, nor of one before a reset, is to mean another
    /// delivery now.
    pub fn numbered_from(mut self, number: u64) -> Machine {
        self.number = number;
        self
    }

    pub fn change_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// The offset of each partition from which to read on.
    pub fn next(&self, partition: i32) -> Option<Offset> {
        self.read.get(&partition).copied()
    }

    /// How many events may be read.
    pub fn room(&self) -> usize {
        let has_room = self.settled.len() < SETTLED_MAX && self.parked.len() < PARKED_MAX && !self.is_full();
        match has_room {
            true => HELD_MAX.saturating_sub(self.held.len()),
            false => 0,
        }
    }

    /// Whether no more events are to be held, however many there are.
    pub fn is_full(&self) -> bool {
        self.held_bytes >= HELD_BYTES_MAX
    }

    /// Takes events of a partition, which was read up to `next`.
    pub fn fill(&mut self, partition: i32, events: Vec<Recorded>, next: Offset) {
        for event in events {
            let place = Place::of(&event);
            // It was settled before this machine began.
            if self.settled.contains(&place) || self.held.contains_key(&place) {
                continue;
            }
            self.open.insert(place);
            self.hold(event);
        }
        let read = self.read.entry(partition).or_insert(next);
        *read = (*read).max(next);
        self.sweep(partition);
    }

    fn hold(&mut self, event: Recorded) {
        let place = Place::of(&event);
        let lane = match self.rules.is_ordered {
            true => Lane::Stream(event.stream.clone()),
            false => Lane::Event(place),
        };
        self.held.insert(place, lane.clone());
        self.held_bytes += event.size();
        let queue = self.lanes.entry(lane.clone()).or_default();
        queue.events.push_back(Held { event: Arc::new(event), attempts: 0, number: 0 });
        if queue.events.len() == 1 {
            self.begin_turn(lane);
        }
    }

    /// The first event of a lane is another one now.
    fn begin_turn(&mut self, lane: Lane) {
        let Some(queue) = self.lanes.get_mut(&lane) else { return };
        let Some(first) = queue.events.front() else {
            self.lanes.remove(&lane);
            return;
        };
        let place = Place::of(&first.event);
        let is_replayed = self.parked.get(&place).is_some_and(|entry| entry.is_replayed);
        if self.rules.is_ordered && !is_replayed && self.blocked.contains_key(&first.event.stream) {
            queue.turn = Turn::Parking;
            let parked =
                Parked { stream: first.event.stream.clone(), reason: FOLLOWS.to_owned(), attempts: 0 };
            self.effects.push(Effect::Park(place, parked));
            return;
        }
        queue.turn = Turn::Ready;
        self.runnable.push_back(lane);
    }

    /// Hands out events that nobody else has.
    pub fn pull(&mut self, max: usize, now: Duration) -> Vec<Delivery> {
        self.tick(now);
        let mut deliveries = Vec::new();
        while deliveries.len() < max && self.in_flight < self.rules.in_flight_max {
            let Some(lane) = self.runnable.pop_front() else { break };
            let Some(queue) = self.lanes.get_mut(&lane) else { continue };
            let Some(first) = queue.events.front_mut().filter(|_| queue.turn == Turn::Ready) else {
                continue;
            };
            self.number += 1;
            first.attempts += 1;
            first.number = self.number;
            deliveries.push(Delivery {
                event: first.event.clone(),
                attempt: first.attempts,
                number: first.number,
            });
            let until = now + self.rules.ack_timeout;
            queue.turn = Turn::InFlight { until };
            self.due.insert((until, lane));
            self.in_flight += 1;
        }
        deliveries
    }

    /// What ends by now.
    pub fn tick(&mut self, now: Duration) {
        while let Some((at, lane)) = self.due.first().cloned().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, lane.clone()));
            let Some(queue) = self.lanes.get(&lane) else { continue };
            match queue.turn {
                Turn::InFlight { .. } => {
                    self.in_flight -= 1;
                    self.again(&lane, now, now, "nobody acknowledged it in time");
                }
                Turn::Resting { .. } => self.begin_turn(lane),
                Turn::Ready | Turn::Parking => {}
            }
        }
    }

    /// When [`Machine::tick`] has something to do next.
    pub fn next_due(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }

    /// An event was worked with, whoever had it. Again is the same.
    pub fn ack(&mut self, place: Place) {
        if self.held.contains_key(&place) {
            self.settle(place);
        } else if self.parked.contains_key(&place) {
            self.discard(place);
        } else if self.read.get(&place.partition).is_none_or(|read| place.offset >= *read)
            && self.settled.len() < SETTLED_MAX
        {
            // It was handed out by somebody before, and is not read here yet.
            self.settled.insert(place);
        }
    }

    /// An event could not be worked with. Only whoever has it now may say so: false for everybody else.
    pub fn nack(&mut self, place: Place, number: u64, refusal: Refusal, reason: &str, now: Duration) -> bool {
        let Some(lane) = self.held.get(&place).cloned() else { return false };
        let Some(queue) = self.lanes.get(&lane) else { return false };
        let is_theirs = queue
            .events
            .front()
            .is_some_and(|first| Place::of(&first.event) == place && first.number == number);
        let Turn::InFlight { until } = queue.turn else { return false };
        if !is_theirs {
            return false;
        }
        match refusal {
            Refusal::Skip => self.settle(place),
            Refusal::Park => {
                self.leave_flight(&lane, until);
                self.park_first(&lane, reason);
            }
            Refusal::Retry { after } => {
                self.leave_flight(&lane, until);
                let rest = now + after.unwrap_or(self.rules.retry_delay);
                self.again(&lane, rest, now, reason);
            }
        }
        true
    }

    fn leave_flight(&mut self, lane: &Lane, until: Duration) {
        self.due.remove(&(until, lane.clone()));
        self.in_flight -= 1;
    }

    /// The first event of a lane is handed out again, or parked if that was too often.
    fn again(&mut self, lane: &Lane, at: Duration, now: Duration, reason: &str) {
        let Some(queue) = self.lanes.get_mut(lane) else { return };
        let Some(first) = queue.events.front() else { return };
        if first.attempts >= self.rules.attempts_max {
            return self.park_first(lane, reason);
        }
        if at > now {
            queue.turn = Turn::Resting { until: at };
            self.due.insert((at, lane.clone()));
        } else {
            self.begin_turn(lane.clone());
        }
    }

    fn park_first(&mut self, lane: &Lane, reason: &str) {
        let Some(queue) = self.lanes.get_mut(lane) else { return };
        let Some(first) = queue.events.front() else { return };
        queue.turn = Turn::Parking;
        let parked = Parked {
            stream: first.event.stream.clone(),
            reason: reason.to_owned(),
            attempts: first.attempts,
        };
        self.effects.push(Effect::Park(Place::of(&first.event), parked));
    }

    /// What is to be written now.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// It was written that an event is parked.
    pub fn parked(&mut self, place: Place, parked: Parked) {
        // It was acknowledged meanwhile after all.
        if !self.held.contains_key(&place) {
            self.effects.push(Effect::Unpark(place));
            return;
        }
        if let Some(entry) = self.parked.remove(&place)
            && !entry.is_replayed
        {
            self.unblock(&entry.parked.stream);
        }
        self.enter_parked(place, parked);
        self.release(place);
    }

    fn enter_parked(&mut self, place: Place, parked: Parked) {
        *self.blocked.entry(parked.stream.clone()).or_default() += 1;
        self.parked.insert(place, Entry { parked, is_replayed: false });
    }

    fn unblock(&mut self, stream: &str) {
        if let Some(count) = self.blocked.get_mut(stream) {
            *count -= 1;
            if *count == 0 {
                self.blocked.remove(stream);
            }
        }
    }

    /// Parked events, the oldest of each partition first.
    pub fn all_parked(&self) -> impl Iterator<Item = (Place, &Parked, bool)> {
        self.parked.iter().map(|(place, entry)| (*place, &entry.parked, entry.is_replayed))
    }

    /// A parked event is handed out again. It stays parked until it is acknowledged. False: it is not parked, or on its
    /// way already.
    pub fn replay(&mut self, event: Recorded) -> bool {
        let place = Place::of(&event);
        let Some(entry) = self.parked.get_mut(&place).filter(|entry| !entry.is_replayed) else {
            return false;
        };
        entry.is_replayed = true;
        let stream = entry.parked.stream.clone();
        self.unblock(&stream);
        self.hold(event);
        true
    }

    /// A parked event is given up.
    pub fn discard(&mut self, place: Place) -> bool {
        let Some(entry) = self.parked.get(&place) else { return false };
        if entry.is_replayed {
            self.settle(place);
        } else {
            let stream = entry.parked.stream.clone();
            self.parked.remove(&place);
            self.unblock(&stream);
            self.effects.push(Effect::Unpark(place));
        }
        true
    }

    /// Nobody has to see it any more.
    fn settle(&mut self, place: Place) {
        if let Some(entry) = self.parked.remove(&place) {
            if !entry.is_replayed {
                self.unblock(&entry.parked.stream);
            }
            self.effects.push(Effect::Unpark(place));
        }
        self.release(place);
    }

    /// It is held no longer, and the checkpoint may pass it.
    fn release(&mut self, place: Place) {
        if let Some(lane) = self.held.remove(&place)
            && let Some(queue) = self.lanes.get_mut(&lane)
        {
            let at = queue.events.iter().position(|held| Place::of(&held.event) == place);
            if let Some(held) = at.and_then(|at| queue.events.remove(at)) {
                self.held_bytes -= held.event.size();
            }
            if at == Some(0) {
                match queue.turn {
                    Turn::InFlight { until } => {
                        self.due.remove(&(until, lane.clone()));
                        self.in_flight -= 1;
                    }
                    Turn::Resting { until } => drop(self.due.remove(&(until, lane.clone()))),
                    Turn::Ready => self.runnable.retain(|runnable| *runnable != lane),
                    Turn::Parking => {}
                }
                self.begin_turn(lane);
            }
        }
        if self.open.remove(&place) {
            self.settled.insert(place);
            self.sweep(place.partition);
        }
    }

    /// Forgets what the checkpoint has passed.
    fn sweep(&mut self, partition: i32) {
        let Some(next) = self.low(partition) else { return };
        let all = Place { partition, offset: Offset(i64::MIN) };
        while let Some(first) = self.settled.range(all..).next().copied()
            && first.partition == partition
            && first.offset < next
        {
            self.settled.remove(&first);
        }
    }

    /// Everything of a partition before this offset is settled.
    fn low(&self, partition: i32) -> Option<Offset> {
        let read = *self.read.get(&partition)?;
        let all = Place { partition, offset: Offset(i64::MIN) };
        let first = self.open.range(all..).next().filter(|first| first.partition == partition);
        Some(first.map_or(read, |first| first.offset))
    }

    pub fn checkpoint(&self) -> Checkpoint {
        let next = self.read.keys().filter_map(|partition| Some((*partition, self.low(*partition)?)));
        Checkpoint { next: next.collect(), settled: self.settled.clone() }
    }

    pub fn counts(&self) -> Counts {
        Counts { held: self.held.len(), in_flight: self.in_flight, parked: self.parked.len() }
    }
}

#[cfg(test)]
mod tests;
