//! Who gets which partitions: the coordinator's two assignors.
//!
//! There is one copy of each partition, on one broker, so racks make no difference to either.

use std::collections::{BTreeMap, BTreeSet};

use model::TopicId;

use super::{Assignment, ImageTopic};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Assignor {
    /// Everybody gets as many as everybody else, as far as subscriptions allow; as few as possible move.
    #[default]
    Uniform,
    /// Of each topic, everybody gets a range: the same numbers of topics that have as many partitions.
    Range,
}

impl Assignor {
    pub fn named(name: &str) -> Option<Assignor> {
        match name {
            "uniform" => Some(Assignor::Uniform),
            "range" => Some(Assignor::Range),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }
}

pub(super) struct Subscriber<'a> {
    pub member: &'a str,
    /// Its place among the others: a static member keeps it when it comes back.
    pub order: &'a str,
    pub topics: Vec<&'a ImageTopic>,
    pub before: Option<&'a Assignment>,
}

pub(super) fn assign(
    assignor: Assignor,
    mut subscribers: Vec<Subscriber<'_>>,
) -> BTreeMap<String, Assignment> {
    subscribers.sort_by_key(|subscriber| subscriber.order);
    let assigned = match assignor {
        Assignor::Uniform => uniform(&subscribers),
        Assignor::Range => range(&subscribers),
    };
    subscribers.iter().map(|subscriber| subscriber.member.to_string()).zip(assigned).collect()
}

/// Each topic with its number of partitions and, by place, who reads it.
fn topics(subscribers: &[Subscriber<'_>]) -> BTreeMap<TopicId, (i32, Vec<usize>)> {
    let mut topics: BTreeMap<TopicId, (i32, Vec<usize>)> = BTreeMap::new();
    for (place, subscriber) in subscribers.iter().enumerate() {
        for topic in &subscriber.topics {
            let readers = &mut topics.entry(topic.id).or_insert((topic.partitions, Vec::new())).1;
            // By name and by expression at once.
            if readers.last() != Some(&place) {
                readers.push(place);
            }
        }
    }
    topics
}

fn range(subscribers: &[Subscriber<'_>]) -> Vec<Assignment> {
    let mut assigned = vec![Assignment::new(); subscribers.len()];
    for (topic, (partitions, readers)) in topics(subscribers) {
        let (each, more) = (partitions / readers.len() as i32, partitions % readers.len() as i32);
        let mut next = 0;
        for (index, place) in readers.into_iter().enumerate() {
            let count = each + i32::from((index as i32) < more);
            if count > 0 {
                assigned[place].insert(topic, (next..next + count).collect());
            }
            next += count;
        }
    }
    assigned
}

fn uniform(subscribers: &[Subscriber<'_>]) -> Vec<Assignment> {
    let topics = topics(subscribers);
    let mut plan = Plan::new(subscribers.len());
    let mut taken: BTreeSet<(TopicId, i32)> = BTreeSet::new();
    // What everybody had and still may have, each partition once.
    for (place, subscriber) in subscribers.iter().enumerate() {
        for (topic, had) in subscriber.before.into_iter().flatten() {
            let Some((partitions, readers)) = topics.get(topic) else { continue };
            if readers.binary_search(&place).is_err() {
                continue;
            }
            for partition in had.iter().filter(|partition| **partition < *partitions) {
                if taken.insert((*topic, *partition)) {
                    plan.give(place, *topic, *partition);
                }
            }
        }
    }
    // What nobody has, the topics with the fewest readers first: their partitions have the least choice.
    let mut order: Vec<_> = topics.iter().collect();
    order.sort_by_key(|(_, (_, readers))| readers.len());
    for (topic, (partitions, readers)) in order {
        for partition in (0..*partitions).filter(|partition| !taken.contains(&(*topic, *partition))) {
            let place = plan.least(readers);
            plan.give(place, *topic, partition);
        }
    }
    plan.balance(&topics);
    plan.assigned
}

struct Plan {
    assigned: Vec<Assignment>,
    counts: Vec<usize>,
}

impl Plan {
    fn new(members: usize) -> Plan {
        Plan { assigned: vec![Assignment::new(); members], counts: vec![0; members] }
    }

    fn give(&mut self, place: usize, topic: TopicId, partition: i32) {
        self.assigned[place].entry(topic).or_default().insert(partition);
        self.counts[place] += 1;
    }

    /// Takes the last partition of a topic.
    fn take(&mut self, place: usize, topic: TopicId) -> i32 {
        let partitions = self.assigned[place].get_mut(&topic).expect("the caller looked");
        let partition = partitions.pop_last().expect("no topic is there without partitions");
        if partitions.is_empty() {
            self.assigned[place].remove(&topic);
        }
        self.counts[place] -= 1;
        partition
    }

    fn least(&self, readers: &[usize]) -> usize {
        *readers.iter().min_by_key(|place| (self.counts[**place], **place)).expect("a topic has readers")
    }

    /// Moves partitions from who has most to who has least, as long as that evens things out. Each move makes the
    /// counts more even, so this ends.
    fn balance(&mut self, topics: &BTreeMap<TopicId, (i32, Vec<usize>)>) {
        loop {
            let mut by_count: Vec<usize> = (0..self.counts.len()).collect();
            by_count.sort_by_key(|place| (std::cmp::Reverse(self.counts[*place]), *place));
            let better = |from: usize| Some((from, self.better_place(from, topics)?));
            let Some((from, (topic, to))) = by_count.into_iter().find_map(better) else { return };
            let partition = self.take(from, topic);
            self.give(to, topic, partition);
        }
    }

    /// A topic of which a partition would be better with somebody else: who has at least two fewer.
    fn better_place(
        &self,
        from: usize,
        topics: &BTreeMap<TopicId, (i32, Vec<usize>)>,
    ) -> Option<(TopicId, usize)> {
        let candidates = self.assigned[from].keys().map(|topic| (*topic, self.least(&topics[topic].1)));
        let best = candidates.min_by_key(|(_, to)| (self.counts[*to], *to));
        best.filter(|(_, to)| self.counts[*to] + 2 <= self.counts[from])
    }
}
