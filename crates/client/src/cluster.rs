//! The brokers behind one address: who leads what.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::TopicId;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tracing::warn;
use wire::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use wire::metadata::{MetadataRequestTopic, MetadataResponseTopic};
use wire::{
    ApiKey, ErrorCode, FindCoordinatorRequest, ListOffsetsRequest, MetadataRequest, MetadataResponse,
    Request, Str,
};

use crate::{AskError, Bootstrap, Connection, Inside, Refused, Security, check};

/// How long a missing topic is waited for where the broker may be creating it.
const CREATION_PATIENCE: Duration = Duration::from_secs(5);
/// The protocol's numbers for what a coordinator's key is.
const GROUP_COORDINATOR: i8 = 0;
const TRANSACTION_COORDINATOR: i8 = 1;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);
/// A broker that denied this client is left alone for so long.
const DENIED_PAUSE: Duration = Duration::from_secs(10);

/// A topic as its metadata shows it.
#[derive(Debug, Clone)]
pub struct Topic {
    pub name: String,
    pub id: TopicId,
    pub internal: bool,
    /// Ascending by index.
    pub partitions: Vec<Partition>,
}

#[derive(Debug, Clone)]
pub struct Partition {
    pub index: i32,
    /// Below 0: none at the moment.
    pub leader: i32,
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
}

/// A cluster as its metadata show it.
pub struct Overview {
    pub cluster_id: Option<String>,
    /// Below 0: none at the moment.
    pub controller: i32,
    /// Number and address of each.
    pub brokers: BTreeMap<i32, String>,
    pub topics: Vec<Topic>,
}

/// How brokers are reached.
#[derive(Debug, Clone)]
pub struct Options {
    pub bootstrap: Bootstrap,
    /// Kafka's `client.id`.
    pub client_id: String,
    /// How long a broker may take to be reached and to answer.
    pub patience: Duration,
    pub security: Security,
    /// Where the broker is in this process.
    pub inside: Option<Inside>,
}

/// Connections to the brokers that were needed so far. A connection that broke is made anew when it is next needed.
#[derive(Clone)]
pub struct Cluster(Arc<Shared>);

struct Shared {
    options: Options,
    denied: Denied,
    seed: Mutex<Connection>,
    addresses: Mutex<BTreeMap<i32, String>>,
    nodes: Mutex<BTreeMap<i32, Connection>>,
    /// What was told last, for those who need not know it as of now.
    lately: tokio::sync::Mutex<Option<(Instant, Arc<Vec<Topic>>)>>,
}

impl Cluster {
    pub async fn connect(options: Options) -> Result<Cluster, AskError> {
        let denied = Denied::default();
        let seed = open_first(&options, &denied).await?;
        let (addresses, nodes, lately) = Default::default();
        Ok(Cluster(Arc::new(Shared { options, denied, seed: Mutex::new(seed), addresses, nodes, lately })))
    }

    pub fn patience(&self) -> Duration {
        self.0.options.patience
    }

    /// Asks any broker; in a cluster without ZooKeeper each of them passes administration on.
    pub async fn ask<R: Request>(&self, request: &R) -> Result<R::Response, AskError> {
        self.seed().await?.ask(request).await
    }

    /// The connection of [`Cluster::ask`], for what depends on the version.
    pub async fn seed(&self) -> Result<Connection, AskError> {
        let seed = self.0.seed.lock().clone();
        if !seed.is_closed() {
            return Ok(seed);
        }
        let seed = open_first(&self.0.options, &self.0.denied).await?;
        *self.0.seed.lock() = seed.clone();
        Ok(seed)
    }

    /// The same as [`Cluster::node`], where nothing was asked yet that tells the brokers' addresses.
    pub async fn broker(&self, id: i32) -> Result<Connection, AskError> {
        if !self.0.addresses.lock().contains_key(&id) {
            self.metadata(None, false).await?;
        }
        self.node(id).await
    }

    /// The connection to one broker, by its number.
    pub async fn node(&self, id: i32) -> Result<Connection, AskError> {
        if let Some(known) = self.0.nodes.lock().get(&id).filter(|node| !node.is_closed()) {
            return Ok(known.clone());
        }
        let connection = self.dedicated(id).await?;
        self.0.nodes.lock().insert(id, connection.clone());
        Ok(connection)
    }

    /// A new connection to one broker, for answers that are meant to come late.
    pub async fn dedicated(&self, id: i32) -> Result<Connection, AskError> {
        let known = self.0.addresses.lock().get(&id).cloned();
        let address = known.ok_or_else(|| AskError::Lost(format!("there is no broker {id}")))?;
        open(&address, &self.0.options, &self.0.denied).await.map_err(|error| {
            error.about(format!("broker {id} says that it is at {address} (its advertised.listeners)"))
        })
    }

    /// The numbers of all brokers.
    pub async fn brokers(&self) -> Result<Vec<i32>, AskError> {
        self.metadata(Some(&[]), false).await?;
        Ok(self.0.addresses.lock().keys().copied().collect())
    }

    /// The connection to the broker in charge of a group. It is shared: JoinGroup and SyncGroup wait, and are asked on
    /// one of [`Cluster::dedicated`].
    pub async fn coordinator(&self, group: &str) -> Result<Connection, AskError> {
        let id = self.coordinator_id(group, GROUP_COORDINATOR).await?;
        self.node(id).await
    }

    /// The same for a transactional id.
    pub async fn transaction_coordinator(&self, transactional_id: &str) -> Result<Connection, AskError> {
        let id = self.coordinator_id(transactional_id, TRANSACTION_COORDINATOR).await?;
        self.node(id).await
    }

    /// The number of the broker in charge of a group, for [`Cluster::dedicated`].
    pub async fn group_coordinator(&self, group: &str) -> Result<i32, AskError> {
        self.coordinator_id(group, GROUP_COORDINATOR).await
    }

    async fn coordinator_id(&self, key: &str, key_type: i8) -> Result<i32, AskError> {
        let seed = self.seed().await?;
        let is_batched = seed.version(ApiKey::FindCoordinator)? >= 4;
        let request = FindCoordinatorRequest {
            key: if is_batched { Str::new() } else { key.into() },
            key_type,
            coordinator_keys: if is_batched { vec![key.into()] } else { Vec::new() },
            ..FindCoordinatorRequest::default()
        };
        let deadline = Instant::now() + self.patience();
        let (id, host, port) = loop {
            let answer = seed.ask(&request).await?;
            let (code, message, found) = match answer.coordinators.into_iter().next() {
                Some(found) => {
                    (found.error_code, found.error_message, (found.node_id, found.host, found.port))
                }
                None => (answer.error_code, answer.error_message, (answer.node_id, answer.host, answer.port)),
            };
            match check(code, message.as_deref()) {
                Ok(()) => break found,
                Err(refused) if refused.is_passing() && Instant::now() < deadline => sleep(PAUSE).await,
                Err(refused) => {
                    return Err(AskError::from(refused).about(format!("no broker coordinates {key}")));
                }
            }
        };
        self.0.addresses.lock().insert(id, format!("{}:{port}", bracketed(&host)));
        Ok(id)
    }

    /// All topics, by name.
    pub async fn topics(&self) -> Result<Vec<Topic>, AskError> {
        Ok(self.overview().await?.topics)
    }

    /// The same, as somebody has asked for them within this time: of many who look now and then, one asks for all.
    pub async fn topics_within(&self, age: Duration) -> Result<Arc<Vec<Topic>>, AskError> {
        let mut lately = self.0.lately.lock().await;
        if let Some((_, topics)) = lately.as_ref().filter(|(at, _)| at.elapsed() < age) {
            return Ok(topics.clone());
        }
        let at = Instant::now();
        let topics = Arc::new(self.topics().await?);
        *lately = Some((at, topics.clone()));
        Ok(topics)
    }

    /// Everything that metadata tell.
    pub async fn overview(&self) -> Result<Overview, AskError> {
        let answer = self.metadata(None, false).await?;
        let mut topics: Vec<Topic> = answer.topics.into_iter().map(topic).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Overview {
            cluster_id: answer.cluster_id.map(|id| id.to_string()),
            controller: answer.controller_id,
            brokers: self.0.addresses.lock().clone(),
            topics,
        })
    }

    /// One topic with a leader for each partition. Where `create` is set, asking creates it, if the broker does that.
    pub async fn topic(&self, name: &str, create: bool) -> Result<Topic, AskError> {
        let deadline = Instant::now() + if create { CREATION_PATIENCE } else { Duration::ZERO };
        loop {
            let answer = self.metadata(Some(&[name]), create).await?;
            let left_out = || AskError::Foreign("the broker left the topic out of its answer".to_owned());
            let found = answer.topics.into_iter().next().ok_or_else(left_out)?;
            let leaderless = found.partitions.iter().any(|partition| partition.leader_id < 0);
            match check(found.error_code, None) {
                Ok(()) if !leaderless => return Ok(topic(found)),
                Ok(()) if Instant::now() > deadline => {
                    return Err(AskError::Lost(format!("{name}: a partition has no leader")));
                }
                Err(refused) if !refused.is_passing() || Instant::now() > deadline => {
                    return Err(AskError::from(refused).about(name));
                }
                _ => sleep(PAUSE).await,
            }
        }
    }

    /// Offsets of some partitions by timestamp, or -1 (the end) or -2 (the beginning). `None` where no record is that
    /// young.
    pub async fn offsets(
        &self,
        topic: &Topic,
        partitions: &[i32],
        timestamp: i64,
        isolation_level: i8,
    ) -> Result<BTreeMap<i32, Option<i64>>, AskError> {
        let mut found = BTreeMap::new();
        for (leader, indexes) in by_leader(topic, partitions)? {
            let wanted = |partition_index: &i32| ListOffsetsPartition {
                partition_index: *partition_index,
                timestamp,
                ..ListOffsetsPartition::default()
            };
            let request = ListOffsetsRequest {
                replica_id: -1,
                isolation_level,
                topics: vec![ListOffsetsTopic {
                    name: topic.name.as_str().into(),
                    partitions: indexes.iter().map(wanted).collect(),
                    ..ListOffsetsTopic::default()
                }],
                timeout_ms: i32::try_from(self.patience().as_millis()).unwrap_or(i32::MAX),
                ..ListOffsetsRequest::default()
            };
            let answer = self.node(leader).await?.ask(&request).await?;
            for partition in answer.topics.into_iter().flat_map(|topic| topic.partitions) {
                let place = || format!("{} partition {}", topic.name, partition.partition_index);
                check(partition.error_code, None)
                    .map_err(|refused| AskError::from(refused).about(place()))?;
                found.insert(partition.partition_index, Some(partition.offset).filter(|offset| *offset >= 0));
            }
        }
        Ok(found)
    }

    async fn metadata(&self, names: Option<&[&str]>, create: bool) -> Result<MetadataResponse, AskError> {
        let named =
            |name: &str| MetadataRequestTopic { name: Some(name.into()), ..MetadataRequestTopic::default() };
        let request = MetadataRequest {
            topics: names.map(|names| names.iter().map(|name| named(name)).collect()),
            allow_auto_topic_creation: create,
            ..MetadataRequest::default()
        };
        let answer = self.ask(&request).await?;
        check(answer.error_code, None)?;
        *self.0.addresses.lock() = answer
            .brokers
            .iter()
            .map(|broker| (broker.node_id, format!("{}:{}", bracketed(&broker.host), broker.port)))
            .collect();
        Ok(answer)
    }
}

/// Which addresses denied this client, when, and why.
type Denied = Mutex<BTreeMap<String, (Instant, AskError)>>;

async fn open(address: &str, options: &Options, denied: &Denied) -> Result<Connection, AskError> {
    let known = denied.lock().get(address).cloned();
    if let Some((at, error)) = known
        && at.elapsed() < DENIED_PAUSE
    {
        return Err(error);
    }
    let opened = Connection::open(address, options).await;
    match &opened {
        Err(error) if error.is_denied() => {
            warn!(address, %error, "a broker does not take this client");
            denied.lock().insert(address.to_owned(), (Instant::now(), error.clone()));
        }
        _ => drop(denied.lock().remove(address)),
    }
    opened
}

/// The first of several addresses where a broker answers.
async fn open_first(options: &Options, denied: &Denied) -> Result<Connection, AskError> {
    let mut failed = Vec::new();
    for address in &options.bootstrap.0 {
        match open(address, options, denied).await {
            Ok(connection) => return Ok(connection),
            // A wrong password is not tried on every broker: users are locked out where that happens often.
            Err(error) if error.is_denied() => return Err(error),
            Err(error) => failed.push(error),
        }
    }
    let last = failed.pop().ok_or_else(|| AskError::Lost("--bootstrap names no address".to_owned()))?;
    Err(failed.into_iter().rev().fold(last, |error, before| error.about(before.to_string())))
}

/// The partitions of each leader.
pub fn by_leader(topic: &Topic, partitions: &[i32]) -> Result<BTreeMap<i32, Vec<i32>>, AskError> {
    let mut leaders: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for index in partitions {
        let partition = topic.partitions.iter().find(|partition| partition.index == *index);
        let Some(partition) = partition else {
            return Err(AskError::from(Refused {
                code: ErrorCode::UnknownTopicOrPartition.code(),
                message: Some(format!(
                    "{} has {} partitions, 0 to {}: there is no {index}",
                    topic.name,
                    topic.partitions.len(),
                    topic.partitions.len() - 1
                )),
            }));
        };
        leaders.entry(partition.leader).or_default().push(*index);
    }
    Ok(leaders)
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn topic(found: MetadataResponseTopic) -> Topic {
    let mut partitions: Vec<Partition> = found
        .partitions
        .into_iter()
        .map(|partition| Partition {
            index: partition.partition_index,
            leader: partition.leader_id,
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes,
            in_sync: partition.isr_nodes,
        })
        .collect();
    partitions.sort_by_key(|partition| partition.index);
    Topic {
        name: found.name.map(|name| name.to_string()).unwrap_or_default(),
        id: found.topic_id,
        internal: found.is_internal,
        partitions,
    }
}
