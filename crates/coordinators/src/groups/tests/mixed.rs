//! Clients of both protocols in one group, as they behave: what each believes that it owns is checked after every step.

use bytes::Bytes;

use super::consumer::{Clients, topic};
use super::*;
use crate::groups::classic::{
    Answer, Join, Joined, Leaver, Named, Protocol, Said, Share, Subscription, Sync,
};

/// A member under the classic protocol, as its client would be.
#[derive(Clone, Default)]
pub struct ClassicClient {
    pub id: String,
    pub instance: Option<String>,
    /// It keeps its partitions while it joins anew (KIP-429); else it gives all of them up before.
    pub cooperative: bool,
    pub topics: BTreeSet<String>,
    pub generation: i32,
    pub owned: Named,
    pub phase: Phase,
    lives: usize,
    /// As a leader: what it gives to whom.
    shares: Vec<(String, Share)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Phase {
    #[default]
    Joins,
    /// For the others.
    WaitsToJoin,
    Syncs,
    /// For the leader.
    WaitsToSync,
    Reads,
}

pub struct Mixed {
    pub clients: Clients,
    pub classics: BTreeMap<String, ClassicClient>,
    /// What the bytes say that members send each other through the broker.
    said: BTreeMap<Bytes, Subscription>,
}

pub fn named(topic: &str, partitions: impl IntoIterator<Item = i32>) -> Named {
    Named::from([(topic.to_string(), partitions.into_iter().collect())])
}

impl Mixed {
    pub fn new(partitions: &[i32]) -> Mixed {
        Mixed::with(partitions, options())
    }

    pub fn with(partitions: &[i32], options: Options) -> Mixed {
        let mut clients = Clients::new(partitions);
        clients.bench = Bench { image: clients.image.clone(), ..Bench::with(options) };
        Mixed { clients, classics: BTreeMap::new(), said: BTreeMap::new() }
    }

    pub fn classic(&mut self, name: &str, topics: &[&str]) -> &mut ClassicClient {
        let topics = topics.iter().map(ToString::to_string).collect();
        self.classics.insert(name.to_string(), ClassicClient { topics, ..ClassicClient::default() });
        self.classics.get_mut(name).unwrap()
    }

    /// A classic group of these, eager or cooperative, that has settled.
    pub fn settled(partitions: &[i32], names: &[&str], cooperative: bool) -> Mixed {
        let mut mixed = Mixed::new(partitions);
        for name in names {
            mixed.classic(name, &["a"]).cooperative = cooperative;
        }
        mixed.rounds(8);
        mixed
    }

    pub fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            let names: Vec<String> = self.classics.keys().cloned().collect();
            names.iter().for_each(|name| self.step(name));
            self.clients.rounds(1);
            self.nothing_is_owned_twice();
        }
    }

    pub fn join_of(&mut self, name: &str) -> Join {
        let client = &self.classics[name];
        let said = Subscription {
            version: 3,
            topics: client.topics.clone(),
            owned: client.owned.clone(),
            rack: None,
        };
        let metadata = Bytes::from(format!("{said:?}"));
        self.said.insert(metadata.clone(), said.clone());
        let protocol = |protocol: &str| Protocol {
            name: protocol.to_string(),
            metadata: metadata.clone(),
            subscription: Some(said.clone()),
        };
        let assignor = if client.cooperative { "cooperative-sticky" } else { "range" };
        Join {
            member: client.id.clone(),
            fresh: format!("{name}-{}", client.lives),
            instance: client.instance.clone(),
            protocols: vec![protocol(assignor)],
            image: self.clients.image.clone(),
            kept_elsewhere: 0,
            ..super::classic::join(name)
        }
    }

    /// What the client does next, and what it makes of the answer.
    pub fn step(&mut self, name: &str) {
        let Some(client) = self.classics.get_mut(name) else { return };
        match client.phase {
            Phase::Joins => {
                if !client.cooperative {
                    client.owned.clear();
                }
                let join = self.join_of(name);
                let waits_as = if join.member.is_empty() { join.fresh.clone() } else { join.member.clone() };
                self.classics.get_mut(name).unwrap().id = waits_as;
                let told = self.clients.bench.run(Command::Join(join));
                self.told(name, told, Phase::WaitsToJoin);
            }
            Phase::Syncs => {
                let sync = self.sync_of(name);
                let told = self.clients.bench.run(Command::Sync(sync));
                self.told(name, told, Phase::WaitsToSync);
            }
            Phase::WaitsToJoin | Phase::WaitsToSync => {}
            Phase::Reads => {
                let told = self.heartbeat(name);
                self.told(name, told, Phase::Reads);
            }
        }
        self.deliver();
        self.nothing_is_owned_twice();
    }

    pub fn heartbeat(&mut self, name: &str) -> Result<Reply, Reject> {
        let client = &self.classics[name];
        self.clients.bench.run(Command::Heartbeat {
            group: "g".into(),
            generation: client.generation,
            member: client.id.clone(),
            instance: client.instance.clone(),
        })
    }

    pub fn sync_of(&self, name: &str) -> Sync {
        let client = &self.classics[name];
        Sync {
            group: "g".into(),
            generation: client.generation,
            member: client.id.clone(),
            instance: client.instance.clone(),
            protocol_type: Some("consumer".into()),
            protocol: None,
            assignments: client.shares.clone(),
            image: self.clients.image.clone(),
            kept_elsewhere: 0,
        }
    }

    pub fn leave(&mut self, name: &str) -> Result<Reply, Reject> {
        let client = self.classics.remove(name).unwrap();
        let leavers = vec![Leaver { member: client.id, instance: client.instance }];
        let left = self.clients.bench.run(Command::Leave { group: "g".into(), leavers });
        self.deliver();
        left
    }

    /// What a leader makes of its members: each topic round the ones that read it; under the cooperative protocol
    /// nobody gets what another has and has not given up.
    fn shares(&self, joined: &Joined) -> Vec<(String, Share)> {
        let said: BTreeMap<&str, &Subscription> = joined
            .members
            .iter()
            .map(|member| (member.member.as_str(), &self.said[&member.metadata]))
            .collect();
        let mut shares: BTreeMap<&str, Named> = BTreeMap::new();
        for (name, topic) in &self.clients.image.topics {
            let readers: Vec<&str> =
                said.iter().filter(|(_, said)| said.topics.contains(name)).map(|(id, _)| *id).collect();
            for partition in (0..topic.partitions).filter(|_| !readers.is_empty()) {
                let reader = readers[partition as usize % readers.len()];
                let has = |said: &Subscription| {
                    said.owned.get(name).is_some_and(|partitions| partitions.contains(&partition))
                };
                if said.iter().all(|(other, said)| *other == reader || !has(said)) {
                    shares.entry(reader).or_default().entry(name.clone()).or_default().insert(partition);
                }
            }
        }
        let written = |partitions: Named| Share::Written {
            bytes: "written".into(),
            says: Some(Said { partitions, has_user_data: false }),
        };
        said.keys().map(|id| (id.to_string(), written(shares.remove(id).unwrap_or_default()))).collect()
    }

    /// What came late is told to whoever waits for it.
    fn deliver(&mut self) {
        let names: Vec<String> = self.classics.keys().cloned().collect();
        for name in names {
            let client = &self.classics[&name];
            if !matches!(client.phase, Phase::WaitsToJoin | Phase::WaitsToSync) {
                continue;
            }
            if let Some(answer) = self.clients.bench.answers.remove(&client.id) {
                self.answered(&name, answer);
            }
        }
        self.clients.bench.answers.clear();
    }

    fn told(&mut self, name: &str, told: Result<Reply, Reject>, waits: Phase) {
        match told {
            Ok(Reply::Now(answer)) => self.answered(name, answer),
            Ok(Reply::Waits) => self.classics.get_mut(name).unwrap().phase = waits,
            Ok(Reply::Done) => {}
            Ok(other) => panic!("{name} was told {other:?}"),
            Err(reject) => self.answered(name, Answer::Refused(reject)),
        }
    }

    fn answered(&mut self, name: &str, answer: Answer) {
        let shares = match &answer {
            Answer::Joined(joined) if joined.leader == joined.member => self.shares(joined),
            _ => Vec::new(),
        };
        let client = self.classics.get_mut(name).unwrap();
        match answer {
            Answer::Joined(joined) => {
                client.id = joined.member.clone();
                client.generation = joined.generation;
                client.shares = shares;
                client.phase = Phase::Syncs;
            }
            Answer::Synced { assignment, .. } => {
                let owned = match assignment {
                    Share::Written { says, .. } => says.map(|said| said.partitions).unwrap_or_default(),
                    Share::Given { partitions, .. } => partitions,
                };
                // What it must give up it gives up now, and joins anew to say so.
                let gives_up = client
                    .owned
                    .iter()
                    .any(|(topic, had)| owned.get(topic).is_none_or(|has| !had.is_subset(has)));
                client.owned = owned;
                client.phase = if client.cooperative && gives_up { Phase::Joins } else { Phase::Reads };
            }
            Answer::MemberIdRequired { member } => (client.id, client.phase) = (member, Phase::Joins),
            Answer::Refused(Reject::RebalanceInProgress) => client.phase = Phase::Joins,
            Answer::Refused(Reject::IllegalGeneration) => {
                client.owned.clear();
                client.phase = Phase::Joins;
            }
            Answer::Refused(_) => {
                // It starts anew, as nobody.
                client.owned.clear();
                client.id.clear();
                client.lives += 1;
                client.phase = Phase::Joins;
            }
        }
    }

    /// Who owns what, of those whom the group knows under the epoch or generation that they believe in: nobody else can
    /// commit.
    pub fn owners(&self) -> BTreeMap<(TopicId, i32), Vec<&str>> {
        let group = self.clients.bench.groups.group("g");
        let consumer = group.and_then(|group| group.consumer.as_ref());
        let classic = group.and_then(|group| group.classic.as_ref());
        let mut owners: BTreeMap<(TopicId, i32), Vec<&str>> = BTreeMap::new();
        for (id, client) in &self.clients.members {
            let member = consumer.and_then(|group| group.members.get(id));
            if member.is_some_and(|member| member.current.epoch == client.epoch) {
                let each = |(topic, partitions): (&TopicId, &BTreeSet<i32>)| {
                    partitions.iter().map(|partition| (*topic, *partition)).collect::<Vec<_>>()
                };
                client.owned.iter().flat_map(each).for_each(|one| owners.entry(one).or_default().push(id));
            }
        }
        for (name, client) in &self.classics {
            let of_consumer = consumer.and_then(|group| group.members.get(&client.id));
            let is_member = of_consumer.is_some_and(|member| member.current.epoch == client.generation)
                || classic.is_some_and(|group| {
                    group.members.contains_key(&client.id) && group.generation == client.generation
                });
            for (topic_name, partitions) in client.owned.iter().filter(|_| is_member) {
                let id = topic(topic_name.as_bytes()[0] - b'a' + 1);
                partitions.iter().for_each(|one| owners.entry((id, *one)).or_default().push(name));
            }
        }
        owners
    }

    pub fn nothing_is_owned_twice(&self) {
        for (partition, owners) in self.owners() {
            assert_eq!(owners.len(), 1, "{partition:?} is owned by {owners:?}");
        }
    }

    pub fn everything_is_owned(&self) -> bool {
        let all: i32 = self.clients.image.topics.values().map(|topic| topic.partitions).sum();
        self.owners().len() == all as usize
    }

    /// How many partitions each member has, by name.
    pub fn counts(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for name in self.classics.keys().chain(self.clients.members.keys()) {
            counts.insert(name.as_str(), 0);
        }
        for owners in self.owners().into_values() {
            owners.into_iter().for_each(|owner| *counts.entry(owner).or_default() += 1);
        }
        counts
    }

    /// What a restart leaves of who waits: nothing.
    pub fn restart(&mut self) {
        self.clients.bench.restart();
        for client in self.classics.values_mut() {
            if matches!(client.phase, Phase::WaitsToJoin | Phase::WaitsToSync) {
                client.phase = Phase::Joins;
            }
        }
    }

    pub fn is_classic(&self) -> bool {
        self.clients.bench.groups.classic("g").is_some()
    }
}

/// Members of both protocols come, beat, fall silent, leave, change their protocol and come back at random, and the
/// broker restarts: never do two own a partition, and when it gets quiet everything is owned.
#[test]
fn whatever_happens_no_partition_has_two_owners_and_in_the_end_each_has_one() {
    for seed in 0..80_u64 {
        let mut mixed = Mixed::new(&[5, 2]);
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = |bound: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % bound
        };
        let cooperative = draw(2) == 0;
        for step in 0..300 {
            let name = format!("m{}", draw(5));
            match draw(16) {
                0 => mixed.go(&name),
                1 => mixed.clients.bench.pass(draw(15)),
                2 if step % 40 == 0 => mixed.restart(),
                _ => mixed.live(&name, draw(8) < 4, cooperative),
            }
            mixed.deliver();
            mixed.nothing_is_owned_twice();
        }
        let ends_classic = draw(2) == 0;
        let names: Vec<String> = mixed.clients.members.keys().cloned().collect();
        names.iter().filter(|_| ends_classic).for_each(|name| mixed.go(name));
        mixed.live("last", ends_classic, cooperative);
        for _ in 0..60 {
            mixed.clients.bench.pass(2);
            mixed.deliver();
            mixed.rounds(1);
        }
        assert!(mixed.everything_is_owned(), "seed {seed}: {:?}", mixed.counts());
        assert_eq!(mixed.is_classic(), ends_classic, "seed {seed}");
    }
}

impl Mixed {
    /// A member, if there is one by this name, leaves.
    fn go(&mut self, name: &str) {
        if self.classics.contains_key(name) {
            let _ = self.leave(name);
        } else if let Some(client) = self.clients.members.get(name) {
            let epoch = client.epoch;
            let mut beat = self.clients.request(name);
            beat.epoch = crate::groups::consumer::LEAVES;
            if epoch > 0 {
                let _ = self.clients.send(beat);
            }
            self.clients.members.remove(name);
        }
    }

    /// A member does what is next; one that is not there yet comes, under one protocol or the other.
    fn live(&mut self, name: &str, classic: bool, cooperative: bool) {
        if self.classics.contains_key(name) {
            return self.step(name);
        }
        if !self.clients.members.contains_key(name) {
            if classic {
                self.classic(name, &["a", "b"]).cooperative = cooperative;
                return self.step(name);
            }
            self.clients.client(name, &["a", "b"]);
        }
        let _ = self.clients.beat(name);
    }
}
