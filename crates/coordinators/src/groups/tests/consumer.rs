use std::sync::Arc;

use super::*;
use crate::groups::consumer::{
    Assignment, Beat, Beaten, Consumer, Image, ImageTopic, JOINS, LEAVES, LEAVES_FOR_A_WHILE,
};

pub(super) fn topic(id: u8) -> TopicId {
    TopicId([id; 16])
}

/// The topics `a`, `b`, … with so many partitions each.
pub(super) fn image(version: u64, partitions: &[i32]) -> Arc<Image> {
    let entry = |(index, partitions): (u8, &i32)| {
        let name = char::from(b'a' + index).to_string();
        (name, ImageTopic { id: topic(index + 1), partitions: *partitions })
    };
    Arc::new(Image { version, topics: (0..).zip(partitions).map(entry).collect() })
}

/// Members as their clients would be, and the image that they are told of.
pub(super) struct Clients {
    pub(super) bench: Bench,
    pub(super) image: Arc<Image>,
    pub(super) members: BTreeMap<String, Client>,
}

pub(super) struct Client {
    pub(super) epoch: i32,
    pub(super) owned: Assignment,
    pub(super) topics: BTreeSet<String>,
    pub(super) expression: Option<String>,
    pub(super) assignor: Option<String>,
    pub(super) instance: Option<String>,
}

impl Clients {
    pub(super) fn new(partitions: &[i32]) -> Clients {
        Clients { bench: Bench::new(), image: image(1, partitions), members: BTreeMap::new() }
    }

    pub(super) fn client(&mut self, id: &str, topics: &[&str]) -> &mut Client {
        let client = Client {
            epoch: JOINS,
            owned: Assignment::new(),
            topics: topics.iter().map(ToString::to_string).collect(),
            expression: None,
            assignor: None,
            instance: None,
        };
        self.members.insert(id.to_string(), client);
        self.members.get_mut(id).unwrap()
    }

    pub(super) fn request(&self, id: &str) -> Beat {
        let client = &self.members[id];
        let joins = client.epoch == JOINS;
        Beat {
            group: "g".into(),
            member: id.into(),
            epoch: client.epoch,
            instance: client.instance.clone(),
            rack: None,
            client_id: "client".into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout: joins.then_some(Duration::from_secs(60)),
            topics: joins.then(|| client.topics.clone()),
            expression: client.expression.clone().filter(|_| joins),
            assignor: client.assignor.clone().filter(|_| joins),
            owned: Some(client.owned.clone()),
            image: self.image.clone(),
            session_timeout: Duration::from_secs(45),
            kept_elsewhere: 0,
        }
    }

    pub(super) fn send(&mut self, beat: Beat) -> Result<Beaten, Reject> {
        match self.bench.run(Command::ConsumerHeartbeat(beat))? {
            Reply::Beaten(told) => Ok(told),
            other => panic!("{other:?}"),
        }
    }

    /// One heartbeat, and what the client makes of it: it gives up and takes over at once.
    pub(super) fn beat(&mut self, id: &str) -> Result<Beaten, Reject> {
        let told = self.send(self.request(id));
        let client = self.members.get_mut(id).unwrap();
        match &told {
            Ok(told) => {
                client.epoch = told.epoch;
                if let Some(assignment) = &told.assignment {
                    client.owned = assignment.clone();
                }
            }
            Err(Reject::FencedMemberEpoch | Reject::UnknownMemberId) => {
                (client.epoch, client.owned) = (JOINS, Assignment::new());
            }
            Err(_) => {}
        }
        self.nothing_is_owned_twice();
        told
    }

    pub(super) fn leave(&mut self, id: &str, epoch: i32) {
        let mut beat = self.request(id);
        beat.epoch = epoch;
        self.send(beat).unwrap();
        self.members.remove(id);
    }

    pub(super) fn nothing_is_owned_twice(&self) {
        let mut owners = BTreeMap::new();
        // Whoever the group has given up will find out; its clients cannot commit any more.
        let is_member = |(id, client): &(&String, &Client)| {
            let member = self.bench.groups.consumer("g").and_then(|group| group.members.get(*id));
            member.is_some_and(|member| member.current.epoch == client.epoch)
        };
        for (id, client) in self.members.iter().filter(is_member) {
            for (topic, partitions) in &client.owned {
                for partition in partitions {
                    let other = owners.insert((*topic, *partition), id);
                    assert_eq!(other, None, "{topic}-{partition} is {id}'s and somebody else's");
                }
            }
        }
    }

    /// Everybody beats so often.
    pub(super) fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            let ids: Vec<String> = self.members.keys().cloned().collect();
            for id in ids {
                let _ = self.beat(&id);
            }
        }
    }

    pub(super) fn counts(&self) -> Vec<usize> {
        self.members.values().map(|client| client.owned.values().map(BTreeSet::len).sum()).collect()
    }

    pub(super) fn group(&self) -> &Consumer {
        self.bench.groups.consumer("g").unwrap()
    }
}

pub(super) fn partitions(topic_id: u8, partitions: impl IntoIterator<Item = i32>) -> Assignment {
    Assignment::from([(topic(topic_id), partitions.into_iter().collect())])
}

#[test]
fn one_member_gets_everything_at_once() {
    let mut clients = Clients::new(&[3]);
    clients.client("m1", &["a"]);
    let told = clients.beat("m1").unwrap();
    assert_eq!((told.epoch, told.assignment), (2, Some(partitions(1, 0..3))));
    let told = clients.beat("m1").unwrap();
    assert_eq!((told.epoch, told.assignment), (2, None), "nothing new");
    assert_eq!(clients.group().state_name(), "Stable");
}

#[test]
fn kafka_42_a_partition_moves_only_when_its_owner_has_given_it_up() {
    let mut clients = Clients::new(&[4]);
    clients.client("m1", &["a"]);
    clients.beat("m1").unwrap();
    clients.client("m2", &["a"]);
    let told = clients.beat("m2").unwrap();
    assert_eq!((told.epoch, told.assignment), (3, Some(Assignment::new())), "m1 has all of it still");
    let mut hesitant = clients.request("m1");
    hesitant.owned = Some(partitions(1, 0..4));
    let told = clients.send(hesitant.clone()).unwrap();
    assert_eq!((told.epoch, told.assignment.map(|a| a[&topic(1)].len())), (2, Some(2)), "keeps its epoch");
    let told = clients.send(hesitant).unwrap();
    assert_eq!(told.epoch, 2, "it has not given up anything yet");
    assert_eq!(clients.beat("m2").unwrap().assignment, None);
    let kept = clients.group().members["m1"].current.assigned.clone();
    clients.members.get_mut("m1").unwrap().owned = kept;
    assert_eq!(clients.beat("m1").unwrap().epoch, 3);
    assert_eq!(clients.beat("m2").unwrap().assignment.map(|a| a[&topic(1)].len()), Some(2));
    assert_eq!(clients.group().state_name(), "Stable");
}

#[test]
fn who_does_not_give_up_in_time_is_removed() {
    let mut clients = Clients::new(&[4]);
    clients.client("m1", &["a"]);
    clients.beat("m1").unwrap();
    clients.client("m2", &["a"]);
    clients.beat("m2").unwrap();
    for _ in 0..7 {
        clients.bench.pass(10);
        let mut beat = clients.request("m1");
        beat.owned = Some(partitions(1, 0..4));
        let _ = clients.send(beat);
        let _ = clients.beat("m2");
    }
    assert!(!clients.group().members.contains_key("m1"));
    clients.members.remove("m1");
    clients.rounds(2);
    assert_eq!(clients.counts(), [4]);
}

#[test]
fn a_silent_member_loses_its_place_when_its_session_is_over() {
    let mut clients = Clients::new(&[4]);
    clients.client("m1", &["a"]);
    clients.client("m2", &["a"]);
    clients.rounds(3);
    assert_eq!(clients.counts(), [2, 2]);
    for _ in 0..5 {
        clients.bench.pass(10);
        clients.beat("m2").unwrap();
    }
    assert_eq!(clients.group().members.keys().collect::<Vec<_>>(), ["m2"]);
    assert_eq!(clients.beat("m1"), Err(Reject::UnknownMemberId));
}

#[test]
fn kafka_42_epochs() {
    let mut clients = Clients::new(&[4]);
    clients.client("m1", &["a"]);
    clients.beat("m1").unwrap();
    clients.client("m2", &["a"]);
    clients.rounds(3);
    let with = |clients: &Clients, epoch: i32, owned: Option<Assignment>| {
        let mut beat = clients.request("m1");
        (beat.epoch, beat.owned) = (epoch, owned);
        beat
    };
    let ahead = with(&clients, 9, None);
    assert_eq!(clients.send(ahead), Err(Reject::FencedMemberEpoch));
    let current = clients.group().members["m1"].current.clone();
    let behind = with(&clients, current.previous_epoch, Some(current.assigned.clone()));
    assert_eq!(clients.send(behind).map(|told| told.epoch), Ok(current.epoch), "its answer got lost");
    let too_much = with(&clients, current.previous_epoch, Some(partitions(1, 0..4)));
    assert_eq!(clients.send(too_much), Err(Reject::FencedMemberEpoch));
    let silent = with(&clients, current.previous_epoch, None);
    assert_eq!(clients.send(silent), Err(Reject::FencedMemberEpoch));
    let mut unknown = clients.request("m1");
    unknown.member = "nobody".into();
    assert_eq!(clients.send(unknown), Err(Reject::UnknownMemberId));
}

#[test]
fn leaving_gives_the_partitions_to_the_others() {
    let mut clients = Clients::new(&[4]);
    clients.client("m1", &["a"]);
    clients.client("m2", &["a"]);
    clients.rounds(3);
    clients.leave("m1", LEAVES);
    clients.rounds(1);
    assert_eq!(clients.counts(), [4]);
    clients.leave("m2", LEAVES);
    assert_eq!(clients.group().state_name(), "Empty");
}

#[test]
fn kafka_43_a_static_member_that_comes_back_finds_its_partitions() {
    let mut clients = Clients::new(&[4]);
    clients.client("m1", &["a"]).instance = Some("i1".into());
    clients.client("m2", &["a"]);
    clients.rounds(3);
    let owned = clients.members["m1"].owned.clone();
    clients.client("m3", &["a"]).instance = Some("i1".into());
    let came = clients.request("m3");
    assert_eq!(clients.send(came), Err(Reject::UnreleasedInstanceId));
    clients.members.remove("m3");
    let epoch = clients.group().epoch;
    clients.leave("m1", LEAVES_FOR_A_WHILE);
    clients.client("m3", &["a"]).instance = Some("i1".into());
    assert_eq!(clients.beat("m3").unwrap().assignment, Some(owned));
    assert_eq!(clients.group().epoch, epoch, "nothing has changed for the others");
}

#[test]
fn a_static_member_that_stays_away_is_removed_in_the_end() {
    let mut clients = Clients::new(&[4]);
    clients.client("m1", &["a"]).instance = Some("i1".into());
    clients.rounds(1);
    clients.leave("m1", LEAVES_FOR_A_WHILE);
    clients.bench.pass(46);
    assert!(clients.group().members.is_empty());
}

#[test]
fn kafka_44_expressions_match_whole_names_and_follow_new_topics() {
    let mut clients = Clients::new(&[1, 1]);
    clients.client("m1", &[]).expression = Some("a|[c-z]+".into());
    clients.rounds(1);
    assert_eq!(clients.members["m1"].owned, partitions(1, [0]));
    clients.image = image(2, &[1, 1, 2]);
    clients.rounds(2);
    assert_eq!(clients.counts(), [3]);
    clients.client("m2", &[]).expression = Some("a)|(?:b".into());
    let Err(Reject::InvalidRegularExpression(why)) = clients.beat("m2") else { panic!("it is taken") };
    assert_eq!(
        &*why,
        "SubscribedTopicRegex `a)|(?:b` is not a valid regular expression: unexpected ): `)` at character 2."
    );
    assert_eq!(clients.group().members.len(), 1);
}

#[test]
fn more_partitions_and_a_topic_less_are_noticed() {
    let mut clients = Clients::new(&[2, 2]);
    clients.client("m1", &["a", "b"]);
    clients.rounds(2);
    assert_eq!(clients.counts(), [4]);
    clients.image = image(2, &[5]);
    clients.rounds(2);
    assert_eq!(clients.members["m1"].owned, partitions(1, 0..5));
}

#[test]
fn the_assignor_that_most_ask_for_is_taken() {
    let mut clients = Clients::new(&[3, 3]);
    for id in ["m1", "m2"] {
        clients.client(id, &["a", "b"]).assignor = Some("range".into());
    }
    clients.rounds(4);
    assert_eq!(clients.counts(), [4, 2], "two of each topic, and one of each");
    clients.client("m3", &["a"]).assignor = Some("best".into());
    assert_eq!(clients.beat("m3"), Err(Reject::UnsupportedAssignor));
}

#[test]
fn different_subscriptions_are_evened_out_as_far_as_they_allow() {
    let mut clients = Clients::new(&[6, 2]);
    clients.client("m1", &["a", "b"]);
    clients.client("m2", &["b"]);
    clients.client("m3", &["a"]);
    clients.rounds(6);
    assert_eq!(clients.counts(), [3, 2, 3]);
}

#[test]
fn few_partitions_move_when_somebody_comes() {
    let mut clients = Clients::new(&[12]);
    clients.client("m1", &["a"]);
    clients.client("m2", &["a"]);
    clients.client("m3", &["a"]);
    clients.rounds(5);
    let before: Vec<Assignment> = clients.members.values().map(|client| client.owned.clone()).collect();
    clients.client("m4", &["a"]);
    clients.rounds(5);
    assert_eq!(clients.counts(), [3, 3, 3, 3]);
    for (client, before) in clients.members.values().zip(before) {
        assert!(client.owned[&topic(1)].is_subset(&before[&topic(1)]), "it only gave up");
    }
}

#[test]
fn a_restart_changes_nothing_for_the_members() {
    let mut clients = Clients::new(&[4]);
    clients.client("m1", &["a"]);
    clients.client("m2", &["a"]);
    clients.rounds(3);
    let before = (clients.group().epoch, clients.counts());
    clients.bench.restart();
    clients.rounds(2);
    assert_eq!((clients.group().epoch, clients.counts()), before);
    clients.bench.pass(46);
    assert!(clients.group().members.is_empty(), "sessions began again at the start");
}

#[test]
fn an_empty_group_of_either_kind_becomes_the_other() {
    let mut clients = Clients::new(&[1]);
    clients.client("m1", &["a"]);
    clients.rounds(1);
    let join = |bench: &mut Bench| bench.run(Command::Join(super::classic::join("c1")));
    clients.leave("m1", LEAVES);
    assert_eq!(join(&mut clients.bench), Ok(Reply::Waits));
    clients.bench.restart();
    assert!(clients.bench.groups.consumer("g").is_none());
    clients.client("m1", &["a"]);
    clients.beat("m1").unwrap();
    assert!(clients.bench.groups.classic("g").is_none());
}

/// Members come, beat, fall silent, leave and come back at random; what anybody is told never lets two own the same
/// partition, and when it gets quiet everything is owned.
#[test]
fn whatever_happens_no_partition_has_two_owners_and_in_the_end_each_has_one() {
    for seed in 0..60_u64 {
        let mut clients = Clients::new(&[7, 4, 1]);
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = |bound: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % bound
        };
        for step in 0..300 {
            let id = format!("m{}", draw(6));
            match draw(12) {
                0 if clients.members.contains_key(&id) => {
                    // A member that never joined has nothing to leave.
                    if clients.group_has(&id) {
                        clients.leave(&id, LEAVES);
                    }
                }
                1 => clients.bench.pass(draw(20)),
                2 if step % 50 == 0 => clients.image = image(step, &[7, 4, 1 + draw(4) as i32]),
                _ => {
                    if !clients.members.contains_key(&id) {
                        let topics: &[&str] = [&["a"][..], &["a", "b"], &["b", "c"]][draw(3) as usize];
                        clients.client(&id, topics);
                    }
                    let _ = clients.beat(&id);
                }
            }
        }
        clients.client("all", &["a", "b", "c"]);
        clients.rounds(20);
        let total: usize = clients.counts().iter().sum();
        let expected: i32 = clients.image.topics.values().map(|topic| topic.partitions).sum();
        assert_eq!(total, expected as usize, "seed {seed}: {:?}", clients.counts());
        assert_eq!(clients.group().state_name(), "Stable", "seed {seed}");
    }
}

impl Clients {
    fn group_has(&self, id: &str) -> bool {
        self.bench.groups.consumer("g").is_some_and(|group| group.members.contains_key(id))
    }
}

#[test]
fn a_session_is_as_long_as_the_groups_last_heartbeat_says_and_after_a_restart_as_long_as_its_own() {
    let long = Duration::from_secs(60);
    let own = Arc::new(BTreeMap::from([("g".to_string(), long)]));
    let mut clients = Clients::new(&[1]);
    clients.bench = Bench::with(Options { consumer_session_timeouts: own, ..options() });
    let is_member = |clients: &Clients| clients.group_has("m1");
    clients.client("m1", &["a"]);
    clients.beat("m1").unwrap();
    let beat = Beat { session_timeout: long, ..clients.request("m1") };
    clients.send(beat).unwrap();
    clients.bench.pass(55);
    assert!(is_member(&clients), "its session is 60 seconds long now");
    clients.bench.restart();
    clients.bench.pass(55);
    assert!(is_member(&clients), "and still is");
    clients.beat("m1").unwrap();
    clients.bench.pass(50);
    assert!(!is_member(&clients), "45 seconds again");
}
