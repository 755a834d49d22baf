//! Members of groups under both protocols, who stop, pause, leave and come back.
//!
//! A member remembers until when it may believe that its partitions are its own: a session after it last asked and was
//! answered. The broker counts from when it was asked, which is later, so two members that both believe it are its mistake.

mod consumers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use env::{Clock, Random};
use model::TopicId;
use wire::consumer_group_heartbeat::RequestTopicPartitions;
use wire::join_group::JoinGroupRequestProtocol;
use wire::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::sync_group::SyncGroupRequestAssignment;
use wire::{
    ConsumerGroupHeartbeatRequest, ErrorCode, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest,
    MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
};

use crate::check::Partition;
use crate::clients::{Memory, PARTITIONS, TOPICS};
use crate::network::{Broken, Connection, Network};

pub const CLASSIC: &str = "classic";
pub const CONSUMER: &str = "consumer";
/// A group whose members come under one protocol or the other, as they like (KIP-848's online migration).
pub const MIXED: &str = "mixed";
pub const OF_ONE_PROTOCOL: &[&str] = &[CLASSIC, CONSUMER];
pub const ALL: &[&str] = &[CLASSIC, CONSUMER, MIXED];
/// Of both kinds; also the shortest that the simulated broker allows.
pub const SESSION: Duration = Duration::from_millis(200);
const REBALANCE: Duration = Duration::from_millis(300);
const BEAT: Duration = Duration::from_millis(40);

/// How long a group may take to settle when everybody is there and nobody fails.
const SETTLES_WITHIN: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub struct World {
    pub network: Network,
    pub memory: Memory,
    pub clock: Arc<dyn Clock>,
    /// Which groups there are.
    pub groups: &'static [&'static str],
    /// A planted fault: members go on believing although their session is over.
    pub stubborn: bool,
}

impl World {
    fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    fn chance(&self, one_in: u64) -> bool {
        self.memory.random.chance(one_in)
    }

    async fn rest(&self, most: Duration) {
        tokio::time::sleep(Duration::from_micros(self.memory.random.below(most.as_micros() as u64 + 1)))
            .await;
    }

    fn note(&self, what: &str) {
        self.memory.note(&*self.clock, what);
    }
}

fn all_partitions() -> Vec<Partition> {
    TOPICS.iter().flat_map(|topic| (0..PARTITIONS).map(|index| (topic.to_string(), index))).collect()
}

/// A member while it is one.
struct Me {
    group: &'static str,
    id: String,
    epoch: i32,
    owned: BTreeSet<Partition>,
}

/// A member of a group, over and over, until the broker goes away.
pub async fn live(world: World, group: &'static str, name: usize) {
    for life in 0.. {
        let mut me = Me { group, id: String::new(), epoch: 0, owned: BTreeSet::new() };
        let classic = group == CLASSIC || group == MIXED && world.chance(2);
        if !classic {
            me.id = format!("{name}-{life}-{}", world.memory.random.next_u64());
        }
        let mut connection = world.network.connect();
        let ended = match classic {
            true => me.classic(&world, &mut connection).await,
            false => me.consumer(&world, &mut connection).await,
        };
        // Who loses a connection first when all end at once is chance that no seed governs: nothing is said of it.
        if ended.is_ok() {
            world.note(&format!("{group} member {name} goes"));
        }
        world.memory.known(|known| known.disowned(group, &me.id));
        world.rest(Duration::from_millis(60)).await;
    }
}

impl Me {
    /// Takes what it was told it owns as its own, from what was asked at `asked` on.
    fn owns(&mut self, world: &World, owned: BTreeSet<Partition>, asked: Duration) {
        let until = if world.stubborn { Duration::MAX } else { asked + SESSION };
        let now = world.now();
        world.memory.known(|known| known.owned(self.group, &self.id, &owned, now, until));
        self.owned = owned;
    }

    async fn classic(&mut self, world: &World, connection: &mut Connection) -> Result<(), Broken> {
        loop {
            self.owned.clear();
            world.memory.known(|known| known.disowned(self.group, &self.id));
            let (protocol_type, metadata) = match self.group {
                MIXED => ("consumer", consumers::subscription()),
                _ => ("test", Bytes::new()),
            };
            let join = JoinGroupRequest {
                group_id: self.group.into(),
                session_timeout_ms: SESSION.as_millis() as i32,
                rebalance_timeout_ms: REBALANCE.as_millis() as i32,
                member_id: self.id.as_str().into(),
                protocol_type: protocol_type.into(),
                protocols: vec![JoinGroupRequestProtocol {
                    name: "all".into(),
                    metadata,
                    ..Default::default()
                }],
                ..Default::default()
            };
            let joined = connection.ask(5, &join).await?;
            match ErrorCode::try_from(joined.error_code) {
                Ok(ErrorCode::None | ErrorCode::MemberIdRequired) => self.id = joined.member_id.to_string(),
                Ok(ErrorCode::UnknownMemberId) => self.id.clear(),
                _ => world.rest(BEAT).await,
            }
            if joined.error_code != 0 {
                continue;
            }
            self.epoch = joined.generation_id;
            let members: Vec<String> =
                joined.members.iter().map(|member| member.member_id.to_string()).collect();
            let asked = world.now();
            let sync = SyncGroupRequest {
                group_id: self.group.into(),
                generation_id: self.epoch,
                member_id: self.id.as_str().into(),
                assignments: deal(self.group, &members),
                ..Default::default()
            };
            let synced = connection.ask(3, &sync).await?;
            if synced.error_code != 0 {
                world.rest(BEAT).await;
                continue;
            }
            let owned = share(self.group, &synced.assignment);
            world.note(&format!("{} has {owned:?} in generation {}", self.id, self.epoch));
            let (id, generation) = (self.id.clone(), self.epoch);
            // In a mixed group everybody reaches an epoch at another time.
            if self.group == CLASSIC {
                world.memory.known(|known| known.assigned(CLASSIC, generation, &id, &owned));
            }
            self.owns(world, owned, asked);
            if self.work(world, connection).await? {
                return Ok(());
            }
        }
    }

    /// Beats and commits until the group changes; says whether it has left.
    async fn work(&mut self, world: &World, connection: &mut Connection) -> Result<bool, Broken> {
        loop {
            world.rest(BEAT).await;
            if world.chance(60) {
                // A long pause: the others may have taken over by then.
                world.rest(SESSION * 3).await;
            }
            if world.chance(40) {
                let leave = LeaveGroupRequest {
                    group_id: self.group.into(),
                    member_id: self.id.as_str().into(),
                    ..Default::default()
                };
                world.memory.known(|known| known.disowned(self.group, &self.id));
                connection.ask(2, &leave).await?;
                return Ok(true);
            }
            if !self.commit(world, connection).await? {
                return Ok(false);
            }
            let asked = world.now();
            let beat = HeartbeatRequest {
                group_id: self.group.into(),
                generation_id: self.epoch,
                member_id: self.id.as_str().into(),
                ..Default::default()
            };
            let answer = connection.ask(3, &beat).await?;
            match ErrorCode::try_from(answer.error_code) {
                Ok(ErrorCode::None) => self.owns(world, self.owned.clone(), asked),
                Ok(ErrorCode::UnknownMemberId) => {
                    self.id.clear();
                    return Ok(false);
                }
                _ => return Ok(false),
            }
        }
    }

    async fn consumer(&mut self, world: &World, connection: &mut Connection) -> Result<(), Broken> {
        let ids = topic_ids(connection).await?;
        self.epoch = 0;
        loop {
            let joins = self.epoch == 0;
            let mut owned: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
            for (topic, partition) in &self.owned {
                owned.entry(ids[topic]).or_default().push(*partition);
            }
            let owned = owned.into_iter().map(|(topic_id, partitions)| RequestTopicPartitions {
                topic_id,
                partitions,
                ..Default::default()
            });
            let asked = world.now();
            let beat = ConsumerGroupHeartbeatRequest {
                group_id: self.group.into(),
                member_id: self.id.as_str().into(),
                member_epoch: self.epoch,
                rebalance_timeout_ms: if joins { REBALANCE.as_millis() as i32 } else { -1 },
                subscribed_topic_names: joins.then(|| TOPICS.iter().map(|topic| (*topic).into()).collect()),
                topic_partitions: Some(owned.collect()),
                ..Default::default()
            };
            let told = connection.ask(1, &beat).await?;
            match ErrorCode::try_from(told.error_code) {
                Ok(ErrorCode::None) => {}
                Ok(ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId) => {
                    self.epoch = 0;
                    self.owned.clear();
                    world.memory.known(|known| known.disowned(self.group, &self.id));
                    continue;
                }
                _ => {
                    world.rest(BEAT).await;
                    continue;
                }
            }
            self.epoch = told.member_epoch;
            let owned = match told.assignment {
                None => self.owned.clone(),
                Some(assignment) => {
                    let name = |id| ids.iter().find(|(_, known)| **known == id).map(|(name, _)| name.clone());
                    let mut owned = BTreeSet::new();
                    for topic in assignment.topic_partitions {
                        let Some(name) = name(topic.topic_id) else { continue };
                        owned.extend(topic.partitions.into_iter().map(|index| (name.clone(), index)));
                    }
                    owned
                }
            };
            if owned != self.owned {
                world.note(&format!("{} has {owned:?} at epoch {}", self.id, self.epoch));
            }
            self.owns(world, owned, asked);
            world.rest(BEAT).await;
            if world.chance(60) {
                world.rest(SESSION * 3).await;
            }
            if world.chance(40) {
                world.memory.known(|known| known.disowned(self.group, &self.id));
                let leave = ConsumerGroupHeartbeatRequest {
                    group_id: self.group.into(),
                    member_id: self.id.as_str().into(),
                    member_epoch: -1,
                    ..Default::default()
                };
                connection.ask(1, &leave).await?;
                return Ok(());
            }
            self.commit(world, connection).await?;
        }
    }

    /// Commits more than anybody before for one of its partitions, after looking at what was committed. Says whether the
    /// group took it.
    async fn commit(&mut self, world: &World, connection: &mut Connection) -> Result<bool, Broken> {
        let count = self.owned.len() as u64;
        let Some(partition) =
            self.owned.iter().nth(world.memory.random.below(count.max(1)) as usize).cloned()
        else {
            return Ok(true);
        };
        committed(world, connection, self.group, &partition).await?;
        let offset = world.memory.known(|known| known.next_commit(self.group, &partition));
        let request = OffsetCommitRequest {
            group_id: self.group.into(),
            generation_id_or_member_epoch: self.epoch,
            member_id: self.id.as_str().into(),
            topics: vec![OffsetCommitRequestTopic {
                name: partition.0.as_str().into(),
                partitions: vec![OffsetCommitRequestPartition {
                    partition_index: partition.1,
                    committed_offset: offset,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        // The first version that members under the newer protocol may use.
        let answer = connection.ask(9, &request).await?;
        let code = answer.topics[0].partitions[0].error_code;
        if code == 0 {
            world.memory.known(|known| known.committed(self.group, &partition, offset));
        }
        Ok(code == 0)
    }
}

/// Looks at what a group has committed, and compares it with what is known.
async fn committed(
    world: &World,
    connection: &mut Connection,
    group: &'static str,
    partition: &Partition,
) -> Result<(), Broken> {
    let floor = world.memory.known(|known| known.highest_commit(group, partition));
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.into(),
            topics: Some(vec![OffsetFetchRequestTopics {
                name: partition.0.as_str().into(),
                partition_indexes: vec![partition.1],
                ..Default::default()
            }]),
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = connection.ask(8, &request).await?;
    let group_answer = &answer.groups[0];
    if group_answer.error_code == 0 {
        let seen = group_answer.topics[0].partitions[0].committed_offset;
        world.memory.known(|known| known.commit_seen(group, partition, floor, seen));
    }
    Ok(())
}

/// Gives each member its share: by place in the list of all partitions, in a mixed group in consumers' words.
fn deal(group: &str, members: &[String]) -> Vec<SyncGroupRequestAssignment> {
    let share = |index: usize| -> Bytes {
        let places = (0..all_partitions().len()).filter(|place| place % members.len() == index);
        match group {
            MIXED => consumers::assignment(places.map(|place| all_partitions()[place].clone()).collect()),
            _ => places.map(|place| place as u8).collect(),
        }
    };
    let assignment = |(index, member): (usize, &String)| SyncGroupRequestAssignment {
        member_id: member.as_str().into(),
        assignment: share(index),
        ..Default::default()
    };
    members.iter().enumerate().map(assignment).collect()
}

/// What a classic member was given.
fn share(group: &str, assignment: &Bytes) -> BTreeSet<Partition> {
    let all = all_partitions();
    match group {
        MIXED => consumers::partitions(assignment),
        _ => assignment.iter().map(|place| all[usize::from(*place)].clone()).collect(),
    }
}

async fn topic_ids(connection: &mut Connection) -> Result<BTreeMap<String, TopicId>, Broken> {
    let topic = |name: &&str| wire::metadata::MetadataRequestTopic {
        name: Some((*name).into()),
        ..Default::default()
    };
    let request = MetadataRequest { topics: Some(TOPICS.iter().map(topic).collect()), ..Default::default() };
    let answer = connection.ask(12, &request).await?;
    let known = |topic: wire::metadata::MetadataResponseTopic| {
        Some((topic.name?.to_string(), topic.topic_id)).filter(|_| topic.error_code == 0)
    };
    let ids: BTreeMap<String, TopicId> = answer.topics.into_iter().filter_map(known).collect();
    if ids.len() == TOPICS.len() { Ok(ids) } else { Err(Broken) }
}

/// At the end: with members that only do what they should, every partition is somebody's soon, and nothing that was
/// committed is gone.
pub async fn judge(world: &World) {
    let members: Vec<_> = world
        .groups
        .iter()
        .flat_map(|group| (0..3).map(move |name| (group, name)))
        .map(|(group, name)| env::spawn(live(world.clone(), group, 100 + name)))
        .collect();
    let began = world.now();
    for group in world.groups.iter().copied() {
        loop {
            let now = world.now();
            let owned = world.memory.known(|known| known.believed(group, now));
            if owned == all_partitions().len() {
                break;
            }
            if now - began > SETTLES_WITHIN {
                world.memory.known(|known| known.hangs(group, owned));
                break;
            }
            tokio::time::sleep(BEAT).await;
        }
        let mut connection = world.network.connect();
        for partition in all_partitions() {
            while committed(world, &mut connection, group, &partition).await.is_err() {
                connection = world.network.connect();
            }
        }
    }
    members.iter().for_each(|member| member.abort());
}
