//! The brokers behind one address: who leads what.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use model::TopicId;
use tokio::time::{Instant, sleep};
use wire::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use wire::metadata::{MetadataRequestTopic, MetadataResponseTopic};
use wire::{
    ApiKey, ErrorCode, FindCoordinatorRequest, ListOffsetsRequest, MetadataRequest, MetadataResponse,
    Request, Str,
};

use super::{Connection, Refused, check};
use crate::cli::BrokerArgs;

/// How long a missing topic is waited for where the broker may be creating it.
const CREATION_PATIENCE: Duration = Duration::from_secs(5);
/// The protocol's number for "the key is a group".
const GROUP_COORDINATOR: i8 = 0;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

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

/// Connections to the brokers that were needed so far.
pub struct Cluster {
    patience: Duration,
    seed: Connection,
    addresses: BTreeMap<i32, String>,
    nodes: BTreeMap<i32, Connection>,
}

impl Cluster {
    pub async fn connect(arguments: &BrokerArgs) -> anyhow::Result<Cluster> {
        let patience = Duration::from_secs(arguments.timeout);
        let seed = open_first(&arguments.bootstrap.0, patience).await?;
        Ok(Cluster { patience, seed, addresses: BTreeMap::new(), nodes: BTreeMap::new() })
    }

    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Asks any broker; in a cluster without ZooKeeper each of them passes administration on.
    pub async fn ask<R: Request>(&mut self, request: &R) -> anyhow::Result<R::Response> {
        self.seed.ask(request).await
    }

    /// The connection of [`Cluster::ask`], for what depends on the version.
    pub fn seed(&mut self) -> &mut Connection {
        &mut self.seed
    }

    /// The same as [`Cluster::node`], where nothing was asked yet that tells the brokers' addresses.
    pub async fn broker(&mut self, id: i32) -> anyhow::Result<&mut Connection> {
        if !self.addresses.contains_key(&id) {
            self.metadata(None, false).await?;
        }
        self.node(id).await
    }

    /// The connection to one broker, by its number.
    pub async fn node(&mut self, id: i32) -> anyhow::Result<&mut Connection> {
        if !self.nodes.contains_key(&id) {
            let address = self.addresses.get(&id).with_context(|| format!("there is no broker {id}"))?;
            let connection = Connection::open(address, self.patience).await.with_context(|| {
                format!("broker {id} says that it is at {address} (its advertised.listeners)")
            })?;
            self.nodes.insert(id, connection);
        }
        self.nodes.get_mut(&id).context("the connection was just made")
    }

    /// The numbers of all brokers.
    pub async fn brokers(&mut self) -> anyhow::Result<Vec<i32>> {
        self.metadata(Some(&[]), false).await?;
        Ok(self.addresses.keys().copied().collect())
    }

    /// The connection to the broker in charge of a group.
    pub async fn coordinator(&mut self, group: &str) -> anyhow::Result<&mut Connection> {
        let is_batched = self.seed.version(ApiKey::FindCoordinator)? >= 4;
        let request = FindCoordinatorRequest {
            key: if is_batched { Str::new() } else { group.into() },
            key_type: GROUP_COORDINATOR,
            coordinator_keys: if is_batched { vec![group.into()] } else { Vec::new() },
            ..FindCoordinatorRequest::default()
        };
        let deadline = Instant::now() + self.patience;
        let (id, host, port) = loop {
            let answer = self.seed.ask(&request).await?;
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
                    return Err(anyhow::Error::new(refused).context(format!("no broker coordinates {group}")));
                }
            }
        };
        self.addresses.insert(id, format!("{}:{port}", bracketed(&host)));
        self.node(id).await
    }

    /// Does something over as long as brokers say "not now", until the patience ends. Only for what does no harm when
    /// it is done twice.
    pub async fn persist<T>(
        &mut self,
        mut attempt: impl AsyncFnMut(&mut Cluster) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + self.patience;
        loop {
            match attempt(self).await {
                Err(error)
                    if error.downcast_ref::<Refused>().is_some_and(Refused::is_passing)
                        && Instant::now() < deadline =>
                {
                    sleep(PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// All topics, by name.
    pub async fn topics(&mut self) -> anyhow::Result<Vec<Topic>> {
        Ok(self.overview().await?.topics)
    }

    /// Everything that metadata tell.
    pub async fn overview(&mut self) -> anyhow::Result<Overview> {
        let answer = self.metadata(None, false).await?;
        let mut topics: Vec<Topic> = answer.topics.into_iter().map(topic).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Overview {
            cluster_id: answer.cluster_id.map(|id| id.to_string()),
            controller: answer.controller_id,
            brokers: self.addresses.clone(),
            topics,
        })
    }

    /// One topic with a leader for each partition. Where `create` is set, asking creates it, if the broker does that.
    pub async fn topic(&mut self, name: &str, create: bool) -> anyhow::Result<Topic> {
        let deadline = Instant::now() + if create { CREATION_PATIENCE } else { Duration::ZERO };
        loop {
            let answer = self.metadata(Some(&[name]), create).await?;
            let found =
                answer.topics.into_iter().next().context("the broker left the topic out of its answer")?;
            let leaderless = found.partitions.iter().any(|partition| partition.leader_id < 0);
            match check(found.error_code, None) {
                Ok(()) if !leaderless => return Ok(topic(found)),
                Ok(()) if Instant::now() > deadline => bail!("{name}: a partition has no leader"),
                Err(refused) if !refused.is_passing() || Instant::now() > deadline => {
                    return Err(anyhow::Error::new(refused).context(name.to_owned()));
                }
                _ => sleep(PAUSE).await,
            }
        }
    }

    /// Offsets of some partitions by timestamp, or -1 (the end) or -2 (the beginning). `None` where no record is that
    /// young.
    pub async fn offsets(
        &mut self,
        topic: &Topic,
        partitions: &[i32],
        timestamp: i64,
        isolation_level: i8,
    ) -> anyhow::Result<BTreeMap<i32, Option<i64>>> {
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
                timeout_ms: i32::try_from(self.patience.as_millis()).unwrap_or(i32::MAX),
                ..ListOffsetsRequest::default()
            };
            let answer = self.node(leader).await?.ask(&request).await?;
            for partition in answer.topics.into_iter().flat_map(|topic| topic.partitions) {
                let place = || format!("{} partition {}", topic.name, partition.partition_index);
                check(partition.error_code, None).with_context(place)?;
                found.insert(partition.partition_index, Some(partition.offset).filter(|offset| *offset >= 0));
            }
        }
        Ok(found)
    }

    async fn metadata(&mut self, names: Option<&[&str]>, create: bool) -> anyhow::Result<MetadataResponse> {
        let named =
            |name: &str| MetadataRequestTopic { name: Some(name.into()), ..MetadataRequestTopic::default() };
        let request = MetadataRequest {
            topics: names.map(|names| names.iter().map(|name| named(name)).collect()),
            allow_auto_topic_creation: create,
            ..MetadataRequest::default()
        };
        let answer = self.seed.ask(&request).await?;
        check(answer.error_code, None)?;
        self.addresses = answer
            .brokers
            .iter()
            .map(|broker| (broker.node_id, format!("{}:{}", bracketed(&broker.host), broker.port)))
            .collect();
        Ok(answer)
    }
}

/// The first of several addresses where a broker answers.
async fn open_first(addresses: &[String], patience: Duration) -> anyhow::Result<Connection> {
    let mut failed = Vec::new();
    for address in addresses {
        match Connection::open(address, patience).await {
            Ok(connection) => return Ok(connection),
            Err(error) => failed.push(error),
        }
    }
    let last = failed.pop().context("--bootstrap names no address")?;
    Err(failed.into_iter().rev().fold(last, |error, before| error.context(format!("{before:#}"))))
}

/// The partitions of each leader.
pub fn by_leader(topic: &Topic, partitions: &[i32]) -> anyhow::Result<BTreeMap<i32, Vec<i32>>> {
    let mut leaders: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for index in partitions {
        let partition = topic.partitions.iter().find(|partition| partition.index == *index);
        let Some(partition) = partition else {
            return Err(anyhow::Error::new(Refused {
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
