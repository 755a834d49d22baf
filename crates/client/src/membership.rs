//! Which partitions are to be one's own: a consumer group of Kafka's classic protocol, used for liveness only.
//!
//! Members go on serving what they have while the group rebalances, for being safe is the claim's business
//! ([`crate::ClaimedWriter`]): whoever is given a partition claims it, and the former owner is refused from then on.
//! The leader of the group hands every member the whole map, so that whoever is asked knows whom to ask.
//! Offsets are never committed.

mod assign;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};
use wire::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolAssignmentTopicPartition, ConsumerProtocolSubscription,
    ConsumerProtocolSubscriptionTopicPartition,
};
use wire::join_group::{JoinGroupRequestProtocol, JoinGroupResponseMember};
use wire::leave_group::MemberIdentity;
use wire::sync_group::SyncGroupRequestAssignment;
use wire::{
    ErrorCode, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, Message, Reader,
    Str, SyncGroupRequest,
};

use crate::{AskError, Cluster, Connection, check};
use assign::{Candidate, assign};

/// Kafka's protocol type, so that its tools show who has what.
pub(crate) const PROTOCOL_TYPE: &str = "consumer";

/// How parts are shared out and what travels with them; another number when either changes.
const PROTOCOL: &str = "levada-owners-1";

/// Version of the consumer protocol's messages that is written; newer ones can be read.
const SUBSCRIPTION_VERSION: i16 = 2;
const ASSIGNMENT_VERSION: i16 = 0;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// A topic's name, and a partition's number.
pub type TopicPartition = (String, i32);

#[derive(Debug, Clone)]
pub struct MembershipOptions {
    pub group: String,
    /// What others are to know of this member: where it can be asked. Any text, of this member only: it is Kafka's
    /// `group.instance.id` too, so that a process that comes back at once has its partitions at once.
    pub url: String,
    /// Kafka's `session.timeout.ms`: a member that was not heard of for so long has lost its partitions.
    pub session_timeout: Duration,
    /// Kafka's `heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
    /// How long the others wait for a member that is slow to join anew.
    pub rebalance_timeout: Duration,
}

/// Who has what, as far as this member knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ownership {
    /// Counts what the group has decided, and each time that this member has lost its place. Never goes back.
    pub round: u64,
    /// What this member is to have. Empty when it has no place in the group (any more).
    pub mine: BTreeSet<TopicPartition>,
    /// Where the owner of each partition can be asked.
    pub owners: BTreeMap<TopicPartition, String>,
}

/// A member of the group. It leaves when [`Membership::leave`] is called and there are others; otherwise its place is
/// kept until its session's end.
pub struct Membership {
    ownership: watch::Receiver<Ownership>,
    heard: watch::Receiver<Option<Instant>>,
    topics: watch::Sender<BTreeSet<String>>,
    leaving: watch::Sender<bool>,
    running: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Membership {
    /// Joins, and goes on joining for as long as it is held.
    pub fn join(cluster: Cluster, options: MembershipOptions) -> Membership {
        let (topics, wanted) = watch::channel(BTreeSet::new());
        let (leaving, is_leaving) = watch::channel(false);
        let (told, ownership) = watch::channel(Ownership::default());
        let (heard_at, heard) = watch::channel(None);
        let (id, generation) = (Str::new(), -1);
        let member = Member { cluster, options, wanted, is_leaving, told, heard_at, id, generation };
        let running = Mutex::new(Some(env::spawn(member.run())));
        Membership { ownership, heard, topics, leaving, running }
    }

    /// Who has what; changes are to be waited for.
    pub fn ownership(&self) -> watch::Receiver<Ownership> {
        self.ownership.clone()
    }

    /// When the group was last heard to count this member in: with each heartbeat, of which those who wait for a change of
    /// what they own hear nothing.
    pub fn heard(&self) -> watch::Receiver<Option<Instant>> {
        self.heard.clone()
    }

    /// These topics' partitions are to be shared out, too; topics that others know remain.
    pub fn add_topics(&self, topics: impl IntoIterator<Item = String>) {
        self.topics.send_if_modified(|known| {
            let before = known.len();
            known.extend(topics);
            known.len() > before
        });
    }

    /// This topic's partitions are not to be shared out any more, as far as this member is concerned.
    pub fn remove_topic(&self, topic: &str) {
        self.topics.send_if_modified(|known| known.remove(topic));
    }

    /// Gives its partitions to the others at once.
    pub async fn leave(&self) {
        self.leaving.send_replace(true);
        let running = self.running.lock().take();
        if let Some(running) = running {
            let _ = running.await;
        }
    }
}

struct Member {
    cluster: Cluster,
    options: MembershipOptions,
    wanted: watch::Receiver<BTreeSet<String>>,
    is_leaving: watch::Receiver<bool>,
    told: watch::Sender<Ownership>,
    heard_at: watch::Sender<Option<Instant>>,
    id: Str,
    generation: i32,
}

/// Why a member is to join anew.
#[derive(Debug)]
enum Rejoin {
    /// The others do so, too: what it has remains its own meanwhile.
    Rebalance,
    /// It has no place any more.
    Lost(&'static str),
}

/// What travels with an assignment: where each owner can be asked.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Owners {
    owners: Vec<Owner>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Owner {
    url: String,
    partitions: BTreeMap<String, Vec<i32>>,
}

impl Member {
    async fn run(mut self) {
        while !*self.is_leaving.borrow() {
            let mut leaving = self.is_leaving.clone();
            let outcome = tokio::select! {
                biased;
                _ = leaving.wait_for(|leaving| *leaving) => break,
                outcome = self.take_part() => outcome,
            };
            if let Err(error) = outcome {
                debug!(group = self.options.group, %error, "not in the group");
                self.lapse_in_time();
                sleep(PAUSE).await;
            }
        }
        let has_others = self.told.borrow().owners.values().any(|url| *url != self.options.url);
        self.lapse("it leaves");
        if has_others && !self.id.is_empty() {
            let _ = timeout(self.options.heartbeat_interval, self.leave()).await;
        }
    }

    /// Joins, syncs, and beats for as long as there is no reason to do so anew.
    async fn take_part(&mut self) -> Result<(), AskError> {
        // No topics, nothing to share.
        let mut wanted = self.wanted.clone();
        if wanted.wait_for(|topics| !topics.is_empty()).await.is_err() {
            return std::future::pending().await;
        }
        let coordinator = self.cluster.group_coordinator(&self.options.group).await?;
        // Joining waits for the others: nobody else is to wait behind it.
        let mut connection = self.cluster.dedicated(coordinator).await?;
        while let Some(joined) = self.join(&connection).await? {
            if !self.sync(&connection, joined).await? {
                continue;
            }
            if let Rejoin::Lost(why) = self.beat(&mut connection, coordinator).await? {
                self.lapse(why);
            }
        }
        Ok(())
    }

    /// None: it has to find its place anew.
    async fn join(&mut self, connection: &Connection) -> Result<Option<JoinGroupResponse>, AskError> {
        let topics = self.wanted.borrow_and_update().clone();
        let mine = self.told.borrow().mine.clone();
        let subscription = ConsumerProtocolSubscription {
            topics: topics.iter().map(|topic| topic.as_str().into()).collect(),
            user_data: Some(Bytes::from(self.options.url.clone())),
            owned_partitions: by_topic(&mine)
                .into_iter()
                .map(|(topic, partitions)| ConsumerProtocolSubscriptionTopicPartition {
                    topic: topic.into(),
                    partitions,
                    ..Default::default()
                })
                .collect(),
            generation_id: self.generation,
            ..Default::default()
        };
        let request = JoinGroupRequest {
            group_id: self.options.group.as_str().into(),
            session_timeout_ms: millis(self.options.session_timeout),
            rebalance_timeout_ms: millis(self.options.rebalance_timeout),
            member_id: self.id.clone(),
            group_instance_id: self.instance(),
            protocol_type: PROTOCOL_TYPE.into(),
            protocols: vec![JoinGroupRequestProtocol {
                name: PROTOCOL.into(),
                metadata: prefixed(&subscription, SUBSCRIPTION_VERSION)?,
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = connection.ask(&request).await?;
        match check(answer.error_code, None) {
            Ok(()) => {
                self.id = answer.member_id.clone();
                Ok(Some(answer))
            }
            Err(refused) if refused.is(ErrorCode::MemberIdRequired) => {
                self.id = answer.member_id;
                Ok(None)
            }
            Err(refused) if refused.is(ErrorCode::UnknownMemberId) => {
                self.id = Str::new();
                self.lapse("the group has forgotten it");
                Ok(None)
            }
            Err(refused) => Err(AskError::from(refused).about(format!("joining {}", self.options.group))),
        }
    }

    /// False: the group rebalances once more.
    async fn sync(&mut self, connection: &Connection, joined: JoinGroupResponse) -> Result<bool, AskError> {
        let asked_at = Instant::now();
        let assignments = if joined.leader == joined.member_id {
            self.share_out(&joined.members).await?
        } else {
            Vec::new()
        };
        let request = SyncGroupRequest {
            group_id: self.options.group.as_str().into(),
            generation_id: joined.generation_id,
            member_id: self.id.clone(),
            group_instance_id: self.instance(),
            protocol_type: Some(PROTOCOL_TYPE.into()),
            protocol_name: Some(PROTOCOL.into()),
            assignments,
            ..Default::default()
        };
        let answer = connection.ask(&request).await?;
        match check(answer.error_code, None) {
            Ok(()) => {}
            Err(refused) if refused.is(ErrorCode::RebalanceInProgress) => return Ok(false),
            Err(refused) => {
                if refused.is(ErrorCode::UnknownMemberId) {
                    self.id = Str::new();
                }
                return Err(AskError::from(refused).about(format!("syncing {}", self.options.group)));
            }
        }
        self.generation = joined.generation_id;
        let (mine, owners) = read_assignment(answer.assignment)?;
        info!(group = self.options.group, generation = self.generation, partitions = mine.len(), "owner of");
        // Before the assignment: who is told of that is counted in.
        self.heard_at.send_replace(Some(asked_at));
        self.told.send_modify(|told| *told = Ownership { round: told.round + 1, mine, owners });
        Ok(true)
    }

    async fn share_out(
        &self,
        members: &[JoinGroupResponseMember],
    ) -> Result<Vec<SyncGroupRequestAssignment>, AskError> {
        let mut candidates = BTreeMap::new();
        let mut urls = BTreeMap::new();
        let mut topics = BTreeSet::new();
        for member in members {
            // Whoever is no instance has no share, and does not keep the others from theirs.
            let subscription: ConsumerProtocolSubscription = match read_prefixed(&member.metadata) {
                Ok(subscription) => subscription,
                Err(error) => {
                    warn!(group = self.options.group, member = %member.member_id, %error, "a member is no instance: it gets nothing");
                    continue;
                }
            };
            topics.extend(subscription.topics.iter().map(ToString::to_string));
            let owned = subscription.owned_partitions.iter().flat_map(|topic| {
                topic.partitions.iter().map(|partition| (topic.topic.to_string(), *partition))
            });
            let candidate = Candidate { owned: owned.collect(), generation: subscription.generation_id };
            let id = member.member_id.to_string();
            let url = String::from_utf8_lossy(&subscription.user_data.unwrap_or_default()).into_owned();
            urls.insert(id.clone(), url);
            candidates.insert(id, candidate);
        }
        let mut partitions = BTreeSet::new();
        for topic in topics {
            match self.cluster.topic(&topic, false).await {
                Ok(found) => {
                    partitions.extend(found.partitions.iter().map(|it| (topic.clone(), it.index)));
                }
                // A group that shares out what its leader just happens to see leaves the rest without an owner.
                Err(error) if !is_missing(&error) => return Err(error),
                Err(error) => warn!(topic, %error, "a topic cannot be shared out"),
            }
        }
        let assigned = assign(&candidates, &partitions);
        let owner = |(id, parts): (&String, &BTreeSet<TopicPartition>)| Owner {
            url: urls[id].clone(),
            partitions: by_topic(parts),
        };
        let owners = Owners { owners: assigned.iter().map(owner).collect() };
        let user_data = serde_json::to_vec(&owners).expect("texts and numbers are JSON");
        let user_data = Bytes::from(user_data);
        assigned
            .iter()
            .map(|(id, parts)| {
                let assignment = ConsumerProtocolAssignment {
                    assigned_partitions: by_topic(parts)
                        .into_iter()
                        .map(|(topic, partitions)| ConsumerProtocolAssignmentTopicPartition {
                            topic: topic.into(),
                            partitions,
                            ..Default::default()
                        })
                        .collect(),
                    user_data: Some(user_data.clone()),
                    ..Default::default()
                };
                Ok(SyncGroupRequestAssignment {
                    member_id: id.as_str().into(),
                    assignment: prefixed(&assignment, ASSIGNMENT_VERSION)?,
                    ..Default::default()
                })
            })
            .collect()
    }

    /// Tells the group that it is there, until there is a reason to join anew.
    async fn beat(&mut self, connection: &mut Connection, coordinator: i32) -> Result<Rejoin, AskError> {
        let request = HeartbeatRequest {
            group_id: self.options.group.as_str().into(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            group_instance_id: self.instance(),
            ..Default::default()
        };
        let mut next = Instant::now();
        loop {
            next += self.options.heartbeat_interval;
            tokio::select! {
                biased;
                changed = self.wanted.changed() => match changed {
                    Ok(()) => return Ok(Rejoin::Rebalance),
                    Err(_) => return std::future::pending().await,
                },
                () = sleep_until(next) => {}
            }
            let asked_at = Instant::now();
            let lapses_at = self.heard_at.borrow().unwrap_or(asked_at) + self.options.session_timeout;
            let asking = async {
                if connection.is_ending() {
                    *connection = self.cluster.dedicated(coordinator).await?;
                }
                connection.ask(&request).await
            };
            let answer = tokio::select! {
                biased;
                answer = asking => answer?,
                () = sleep_until(lapses_at) => return Ok(Rejoin::Lost("its session is over")),
            };
            let refused = match check(answer.error_code, None) {
                Ok(()) => {
                    self.heard_at.send_replace(Some(asked_at));
                    continue;
                }
                Err(refused) => refused,
            };
            if refused.is(ErrorCode::RebalanceInProgress) {
                return Ok(Rejoin::Rebalance);
            }
            if refused.is(ErrorCode::FencedInstanceId) {
                self.id = Str::new();
                let url = &self.options.url;
                warn!(
                    group = self.options.group,
                    url,
                    "another instance says the same address: give each its own levada.http.advertised.url"
                );
                return Ok(Rejoin::Lost("another instance has its address"));
            }
            if refused.is(ErrorCode::UnknownMemberId) {
                self.id = Str::new();
                return Ok(Rejoin::Lost("the group has forgotten it"));
            }
            if refused.is(ErrorCode::IllegalGeneration) {
                return Ok(Rejoin::Lost("the group has gone on without it"));
            }
            if !refused.is_passing() {
                return Err(AskError::from(refused));
            }
            if !matches!(refused, ref it if it.is(ErrorCode::CoordinatorLoadInProgress)) {
                // Another broker coordinates it now: what is had remains until the session's end.
                return Err(AskError::from(refused));
            }
        }
    }

    async fn leave(&self) -> Result<(), AskError> {
        let request = LeaveGroupRequest {
            group_id: self.options.group.as_str().into(),
            member_id: self.id.clone(),
            members: vec![MemberIdentity {
                member_id: self.id.clone(),
                group_instance_id: self.instance(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let connection = self.cluster.coordinator(&self.options.group).await?;
        if connection.version(wire::ApiKey::LeaveGroup)? < 3 {
            let request = LeaveGroupRequest { members: Vec::new(), ..request };
            connection.ask(&request).await?;
        } else {
            let request = LeaveGroupRequest { member_id: Str::new(), ..request };
            connection.ask(&request).await?;
        }
        Ok(())
    }

    fn instance(&self) -> Option<Str> {
        Some(self.options.url.as_str().into())
    }

    /// What it had is not its own any more.
    fn lapse(&mut self, why: &str) {
        self.generation = -1;
        self.told.send_if_modified(|told| {
            if told.mine.is_empty() {
                return false;
            }
            info!(group = self.options.group, why, "owner of nothing");
            told.round += 1;
            told.mine.clear();
            self.heard_at.send_replace(None);
            true
        });
    }

    /// The same, if the session must be over by now.
    fn lapse_in_time(&mut self) {
        let heard_at = *self.heard_at.borrow();
        if heard_at.is_some_and(|at| at.elapsed() >= self.options.session_timeout) {
            self.lapse("its session is over");
        }
    }
}

fn is_missing(error: &AskError) -> bool {
    error.refused().is_some_and(|refused| refused.is(ErrorCode::UnknownTopicOrPartition))
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

fn by_topic(parts: &BTreeSet<TopicPartition>) -> BTreeMap<String, Vec<i32>> {
    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in parts {
        topics.entry(topic.clone()).or_default().push(*partition);
    }
    topics
}

/// A message of the consumer protocol, its version before it.
fn prefixed<M: Message>(message: &M, version: i16) -> Result<Bytes, AskError> {
    Ok(wire::stored::encode_with_version_prefix(message, version)?)
}

fn read_prefixed<M: Message>(bytes: &Bytes) -> Result<M, AskError> {
    let mut reader = Reader::new(bytes.clone());
    // Newer versions only add fields behind those that are known.
    let version = reader.i16()?.clamp(M::VERSIONS.min, M::VERSIONS.max);
    Ok(M::decode(&mut reader, version)?)
}

fn read_assignment(
    bytes: Bytes,
) -> Result<(BTreeSet<TopicPartition>, BTreeMap<TopicPartition, String>), AskError> {
    if bytes.is_empty() {
        return Ok((BTreeSet::new(), BTreeMap::new()));
    }
    let assignment: ConsumerProtocolAssignment = read_prefixed(&bytes)?;
    let flat = |topic: &str, partitions: &[i32]| {
        let topic = topic.to_owned();
        partitions.iter().map(move |partition| (topic.clone(), *partition)).collect::<Vec<_>>()
    };
    let mine = assignment.assigned_partitions.iter().flat_map(|it| flat(&it.topic, &it.partitions));
    let mine = mine.collect();
    let told: Owners = serde_json::from_slice(&assignment.user_data.unwrap_or_default())
        .map_err(|error| AskError::Foreign(format!("an assignment is unreadable: {error}")))?;
    let mut owners = BTreeMap::new();
    for owner in told.owners {
        for (topic, partitions) in &owner.partitions {
            owners.extend(flat(topic, partitions).into_iter().map(|part| (part, owner.url.clone())));
        }
    }
    Ok((mine, owners))
}
