//! One client of the event store: what it asks for next, and what it remembers.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::{Position, partition_of_key};
use model::{Offset, PartitionId};

use crate::chance::Chance;
use crate::exchange::{self, Reply, Request};
use crate::history::{Append, Condition, EventId, Expected, History, Micros, Outcome, Part, Read, Stream};
use crate::http::Door;
use crate::load::Shared;

/// Streams of a category that many append to, and all others.
const HOT: u64 = 16;
const COLD: u64 = 8_000;

/// A client's own streams among the others: it mostly knows their versions, and finds conflicts with itself only.
const OWN: u64 = 150;

/// Boundaries of a category, and streams within each.
const BOUNDARIES: u64 = 200;
const WITHIN: u64 = 4;

/// Appends that a client remembers, to ask for them again.
const REMEMBERED: usize = 64;

/// How long a client waits for an answer; the store may take longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A process that did not answer is left alone for so long.
const AVOIDANCE: Duration = Duration::from_secs(1);

pub struct Caller {
    shared: Arc<Shared>,
    number: u64,
    chance: Chance,
    doors: Vec<Door>,
    avoided_until: Vec<Instant>,
    versions: HashMap<(u8, Stream), u64>,
    positions: HashMap<(u8, i32), i64>,
    remembered: VecDeque<Append>,
    history: History,
}

impl Caller {
    pub fn new(shared: Arc<Shared>, number: u64) -> Caller {
        let doors: Vec<Door> = shared.doors.iter().map(|address| Door::new(*address, PATIENCE)).collect();
        Caller {
            number,
            chance: Chance::new(shared.seed, number),
            avoided_until: vec![Instant::now(); doors.len()],
            doors,
            shared,
            versions: HashMap::new(),
            positions: HashMap::new(),
            remembered: VecDeque::new(),
            history: History::default(),
        }
    }

    /// Until the load is over.
    pub fn run(mut self) -> History {
        while !self.shared.is_over() {
            match self.chance.percent() {
                0..12 => self.read(),
                12..17 => self.repeat(),
                17..26 => self.append_within(),
                26..32 => self.append_under_condition(),
                _ => self.append_to_one(),
            }
        }
        self.history
    }

    /// Asks once more for what nobody could tell.
    pub fn settle(mut self, append: &mut Append) {
        append.outcome = Outcome::Unresolved;
        self.carry_out(append, false);
    }

    fn category(&mut self) -> u8 {
        self.chance.below(self.shared.topics.len() as u64) as u8
    }

    fn stream(&mut self) -> Stream {
        Stream::Alone(match self.chance.percent() {
            0..20 => self.chance.below(HOT),
            20..40 => HOT + self.chance.below(COLD),
            _ => HOT + (self.number * OWN + self.chance.below(OWN)) % COLD,
        } as u32)
    }

    fn events(&mut self, append: u64, from: usize) -> Vec<EventId> {
        let count = match self.chance.percent() {
            0..60 => 1,
            _ => 1 + self.chance.below(5) as usize,
        };
        (from..from + count).map(|number| EventId::new(append, number)).collect()
    }

    fn expected(&mut self, category: u8, stream: Stream) -> Expected {
        let known = self.versions.get(&(category, stream)).copied();
        match (self.chance.percent(), known) {
            (0..25, _) => Expected::Any,
            (25..32, _) => Expected::Exists,
            (32..37, _) => Expected::None,
            (_, None | Some(0)) => Expected::None,
            (_, Some(version)) => Expected::Exactly(version),
        }
    }

    fn append_to_one(&mut self) {
        let category = self.category();
        // Streams of a boundary are found without naming it, once they are there.
        let stream = match self.chance.percent() {
            0..4 => {
                let of_category = self.versions.iter().filter(|((of, _), _)| *of == category);
                let within = of_category.filter(|((_, it), version)| is_within(*it) && **version > 0);
                let known: Vec<Stream> = within.map(|((_, stream), _)| *stream).take(64).collect();
                self.chance.pick(&known).copied()
            }
            _ => None,
        };
        let stream = match stream {
            Some(stream) => stream,
            None => self.stream(),
        };
        let number = self.shared.next_number();
        let part = Part { stream, expected: self.expected(category, stream), events: self.events(number, 0) };
        let mut append = new_append(category, vec![part], None);
        let by_stream = is_within(stream) || self.chance.percent() < 60;
        self.carry_out(&mut append, by_stream);
        self.learn(append);
    }

    fn append_within(&mut self) {
        let category = self.category();
        let boundary = self.chance.below(BOUNDARIES) as u32;
        let first = self.chance.below(WITHIN);
        let number = self.shared.next_number();
        let (mut parts, mut events) = (Vec::new(), 0);
        for more in 0..1 + self.chance.below(3) {
            let stream = Stream::Within(boundary, ((first + more) % WITHIN) as u8);
            let of_part = self.events(number, events);
            events += of_part.len();
            parts.push(Part { stream, expected: self.expected(category, stream), events: of_part });
        }
        let mut append = new_append(category, parts, None);
        self.carry_out(&mut append, false);
        self.learn(append);
    }

    fn append_under_condition(&mut self) {
        let (category, stream) = (self.category(), self.stream());
        let number = self.shared.next_number();
        let events = self.events(number, 0);
        // The type and the tag of an event that it appends itself: the next one with the same condition is refused.
        let about = *self.chance.pick(&events).expect("an append has events");
        let partition = partition_of_key(stream.boundary().as_bytes(), self.shared.partitions) as i32;
        let after = match self.chance.percent() {
            0..20 => 0,
            _ => self.positions.get(&(category, partition)).copied().unwrap_or(0),
        };
        let condition = Condition { kind: about.kind(), tag: about.tag(), partition, after };
        let part = Part { stream, expected: Expected::Any, events };
        let mut append = new_append(category, vec![part], Some(condition));
        self.carry_out(&mut append, false);
        self.learn(append);
    }

    fn repeat(&mut self) {
        let from: Vec<Append> = self.remembered.iter().cloned().collect();
        let Some(mut append) = self.chance.pick(&from).cloned() else { return };
        append.repeats = true;
        append.outcome = Outcome::Unresolved;
        let by_stream = append.parts.len() == 1
            && append.condition.is_none()
            && !is_within(append.parts[0].stream)
            && self.chance.percent() < 50;
        self.carry_out(&mut append, by_stream);
        self.history.appends.push(append);
    }

    /// Asks until there is an answer that is one, or for as long as anybody would.
    fn carry_out(&mut self, append: &mut Append, by_stream: bool) {
        let after = append.condition.filter(|condition| condition.after > 0);
        let after = after.map(|it| self.token(append.category, it.partition, it.after));
        let request = match by_stream {
            true => exchange::append_to_stream(append),
            false => exchange::append(append, after.as_deref()),
        };
        let settling = append.tries > 0 && !append.repeats;
        if !settling {
            append.begin = self.shared.now();
            append.tries = 0;
            append.was_in_doubt = false;
        }
        let gives_up = Instant::now() + self.shared.give_up;
        loop {
            append.tries += 1;
            append.last_begin = self.shared.now();
            let (reply, _) = self.ask(&request);
            append.end = self.shared.now();
            match reply {
                Reply::Outcome(outcome) => {
                    append.outcome = outcome;
                    break;
                }
                Reply::Doubt => append.was_in_doubt = true,
                Reply::Refused => {}
            }
            if Instant::now() > gives_up {
                append.end = Micros::MAX;
                return;
            }
            std::thread::sleep(Duration::from_millis(20 + self.chance.below(100)));
        }
        if !append.repeats && matches!(append.outcome, Outcome::Appended { .. }) {
            self.shared.acknowledged();
        }
    }

    /// One try, at one of the processes.
    fn ask(&mut self, request: &Request) -> (Reply, usize) {
        let now = Instant::now();
        let all: Vec<usize> = (0..self.doors.len()).collect();
        let free: Vec<usize> = all.iter().copied().filter(|it| self.avoided_until[*it] <= now).collect();
        let number = *self.chance.pick(if free.is_empty() { &all } else { &free }).expect("there are doors");
        let asked = exchange::ask(&mut self.doors[number], request);
        if asked.is_none() {
            self.avoided_until[number] = now + AVOIDANCE;
        }
        (exchange::reply(asked), number)
    }

    fn learn(&mut self, append: Append) {
        let category = append.category;
        match &append.outcome {
            Outcome::Appended { versions, partition, next, .. } => {
                for (stream, version) in versions {
                    self.versions.insert((category, *stream), *version);
                }
                self.note_position(category, *partition, *next);
                if self.remembered.len() == REMEMBERED {
                    self.remembered.pop_front();
                }
                self.remembered.push_back(append.clone());
            }
            Outcome::WrongVersion { stream, current } => {
                self.versions.insert((category, *stream), *current);
            }
            Outcome::ConditionFailed { .. } | Outcome::Unresolved | Outcome::Odd(_) => {}
        }
        self.history.appends.push(append);
    }

    fn token(&self, category: u8, index: i32, next: i64) -> String {
        let topic = self.shared.topics[usize::from(category)];
        Position::of(PartitionId { topic, index }, Offset(next)).to_string()
    }

    fn note_position(&mut self, category: u8, partition: i32, next: i64) {
        let known = self.positions.entry((category, partition)).or_default();
        *known = (*known).max(next);
    }

    fn read(&mut self) {
        let category = self.category();
        let stream = match self.chance.percent() {
            0..10 => Stream::Within(self.chance.below(BOUNDARIES) as u32, self.chance.below(WITHIN) as u8),
            _ => self.stream(),
        };
        let known = self.versions.get(&(category, stream)).copied().unwrap_or(0);
        let from =
            if self.chance.percent() < 30 { 1 } else { known.saturating_sub(self.chance.below(5)).max(1) };
        let limit = 1 + self.chance.below(15) as usize;
        let partition = partition_of_key(stream.boundary().as_bytes(), self.shared.partitions) as i32;
        let (mut is_strong, mut at_least) = (false, None);
        match self.chance.percent() {
            0..30 => is_strong = true,
            30..70 => at_least = self.positions.get(&(category, partition)).map(|next| (partition, *next)),
            _ => {}
        }
        let token = at_least.map(|(partition, next)| self.token(category, partition, next));
        let request = exchange::read(category, stream, from, limit, is_strong, token.as_deref());
        let begin = self.shared.now();
        let number = self.chance.below(self.doors.len() as u64) as usize;
        if self.avoided_until[number] > Instant::now() {
            return;
        }
        let asked = exchange::ask(&mut self.doors[number], &request);
        let end = self.shared.now();
        let Some(answer) = asked else {
            self.avoided_until[number] = Instant::now() + AVOIDANCE;
            return;
        };
        let Some(found) = exchange::found(&answer) else {
            self.shared.read_refused(&answer);
            return;
        };
        if let Some((index, next)) = found.position {
            self.note_position(category, index, next);
        }
        self.versions.insert((category, stream), found.version);
        self.history.reads.push(Read {
            category,
            stream,
            from,
            limit,
            is_strong,
            at_least,
            begin,
            end,
            version: found.version,
            events: found.events,
            position: found.position,
        });
    }
}

fn is_within(stream: Stream) -> bool {
    matches!(stream, Stream::Within(..))
}

fn new_append(category: u8, parts: Vec<Part>, condition: Option<Condition>) -> Append {
    Append {
        category,
        parts,
        condition,
        repeats: false,
        begin: 0,
        last_begin: 0,
        end: 0,
        tries: 0,
        was_in_doubt: false,
        outcome: Outcome::Unresolved,
    }
}
