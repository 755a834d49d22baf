//! One machine per partition of an internal topic, each started when it is first needed.

use std::collections::BTreeMap;
use std::sync::Arc;

use env::Clock;
use machine::Machine;
use parking_lot::Mutex;
use settings::TopicOverrides;
use storage::Storage;
use tokio::sync::OnceCell;

use super::cluster::{Cluster, CreateError};
use super::host::{Effects, Host, HostError, Hosted, NoEffects};
use crate::topics::{Topic, Topics};

pub struct Coordinator<M: Machine, E = NoEffects> {
    topic: &'static str,
    partitions: i32,
    storage: Storage,
    topics: Topics,
    cluster: Cluster,
    clock: Arc<dyn Clock>,
    /// A machine that has read nothing yet.
    empty: M,
    hosts: Mutex<BTreeMap<i32, Arc<OnceCell<Host<M, E>>>>>,
}

impl<M: Hosted + Sync, E: Effects<M> + Default> Coordinator<M, E>
where
    M::Command: Send,
    M::Record: Send + Sync,
    M::Reply: Send,
    M::Reject: Send,
{
    /// `partitions` is how many the internal topic gets when it does not exist yet.
    pub fn new(
        topic: &'static str,
        partitions: i32,
        storage: Storage,
        topics: Topics,
        cluster: Cluster,
        clock: Arc<dyn Clock>,
        empty: M,
    ) -> Self {
        Coordinator { topic, partitions, storage, topics, cluster, clock, empty, hosts: Mutex::default() }
    }

    /// The machine in charge of a group or transactional id.
    pub async fn of(&self, key: &str) -> Result<Host<M, E>, HostError<M::Reject>> {
        let topic = self.topic().await?;
        let partition = partition_of(key, topic.partitions.len() as i32);
        self.host(&topic, partition).await
    }

    /// All machines; none where the internal topic does not exist.
    pub async fn all(&self) -> Result<Vec<Host<M, E>>, HostError<M::Reject>> {
        let Some(topic) = self.topics.by_name(self.topic) else { return Ok(Vec::new()) };
        let mut hosts = Vec::new();
        for partition in 0..topic.partitions.len() as i32 {
            hosts.push(self.host(&topic, partition).await?);
        }
        Ok(hosts)
    }

    /// The machines that have been started.
    pub fn started(&self) -> Vec<Host<M, E>> {
        let Some(topic) = self.topics.by_name(self.topic) else { return Vec::new() };
        let running = |(index, cell): (&i32, &Arc<OnceCell<Host<M, E>>>)| {
            let log = topic.partition(*index)?;
            cell.get().filter(|host| host.runs_over(log.id())).cloned()
        };
        self.hosts.lock().iter().filter_map(running).collect()
    }

    /// The internal topic; created where it does not exist.
    pub async fn topic(&self) -> Result<Arc<Topic>, HostError<M::Reject>> {
        if let Some(topic) = self.topics.by_name(self.topic) {
            return Ok(topic);
        }
        // What Kafka sets on these topics, as far as it means something here.
        let config = [
            ("cleanup.policy", Some("compact")),
            ("compression.type", Some("producer")),
            ("segment.bytes", Some("104857600")),
        ];
        let overrides = TopicOverrides::create(config, &self.cluster.settings())
            .map_err(|refusal| HostError::Unreadable(refusal.to_string()))?;
        match self.cluster.create_topic(self.topic, self.partitions, &overrides).await {
            Ok(topic) => Ok(topic),
            Err(CreateError::Exists) => self.topics.by_name(self.topic).ok_or(HostError::Gone),
            Err(error) => Err(HostError::Unreadable(error.to_string())),
        }
    }

    async fn host(&self, topic: &Topic, partition: i32) -> Result<Host<M, E>, HostError<M::Reject>> {
        let log = topic.partition(partition).ok_or(HostError::Gone)?.clone();
        let cell = {
            let mut hosts = self.hosts.lock();
            let cell = hosts.entry(partition).or_default();
            if cell.get().is_some_and(|host| !host.runs_over(log.id())) {
                *cell = Arc::default();
            }
            cell.clone()
        };
        let empty = self.empty.informed(&self.topics);
        let started = cell.get_or_try_init(|| async {
            Host::start(self.storage.clone(), log, &*self.clock, empty, E::default())
                .await
                .map_err(|error| HostError::Unreadable(error.to_string()))
        });
        started.await.cloned()
    }
}

/// Kafka's way: Java's `String.hashCode`, its sign bit cleared, modulo the number of partitions.
pub fn partition_of(key: &str, partitions: i32) -> i32 {
    let hash =
        key.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    (hash & i32::MAX) % partitions
}
