//! The cluster metadata: its machine over `__cluster_metadata`, and what follows from its records: partitions in
//! storage, the directory of topics, the broker's dynamic settings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coordinators::metadata::{self, Command, Metadata, Record, Reject, Reply, Resource};
use env::{Clock, Random};
use model::{PartitionId, ProducerId, TopicId};
use parking_lot::{Mutex, RwLock};
use settings::broker::Scope;
use settings::{BrokerSettings, GroupOverrides, Kind, TopicOverrides};
use storage::{CompactionOptions, LogConfig, Partition, Storage};
use tracing::{error, info, warn};

use super::group_configs::GroupConfigs;
use super::host::{Effects, Host, HostError, LoadError};
use super::orphans::{Orphans, RECOVERED_CONFIG, recovered_name, removed_topics};
use crate::topics::{Topic, Topics, log_config};

/// The partition of `__cluster_metadata`.
const PARTITION: PartitionId = PartitionId { topic: TopicId::CLUSTER_METADATA, index: 0 };

#[derive(Clone)]
pub struct Cluster {
    host: Host<Metadata, Follower>,
    shared: Arc<Shared>,
}

struct Shared {
    storage: Storage,
    topics: Topics,
    settings: RwLock<Arc<BrokerSettings>>,
    groups: GroupConfigs,
    random: Arc<dyn Random>,
    producer_ids: Mutex<ProducerIds>,
}

/// The block of producer ids that this broker hands out.
#[derive(Default)]
struct ProducerIds {
    next: i64,
    end: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("{0}")]
    InvalidName(String),
    #[error("the topic exists")]
    Exists,
    #[error("the name collides with the topic {0}: '.' and '_' are one in metric names")]
    Collides(String),
    #[error("{0}")]
    InvalidPartitions(String),
    #[error("{0}")]
    Storage(String),
}

/// Partitions that one topic may have, and that all topics together may have.
pub const PARTITIONS_MAX: i32 = 100_000;

pub type ClusterError = HostError<Reject>;

impl Cluster {
    /// Loads the metadata and brings storage and `topics` in line with it.
    pub async fn open(
        storage: Storage,
        topics: Topics,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        settings: BrokerSettings,
    ) -> Result<Cluster, LoadError> {
        let created = match storage.partition(PARTITION) {
            Some(log) => Ok(log),
            // A new broker has none yet. After a repair nothing is damaged any more, and a new one is begun.
            None if storage.damaged_count() > 0 => return Err(LoadError::Lost),
            None => storage.create(PARTITION, metadata_log()).await,
        };
        let log = created.map_err(|error| LoadError::Unreadable(error.to_string()))?;
        let shared = Arc::new(Shared {
            storage: storage.clone(),
            topics,
            groups: GroupConfigs::new(&settings),
            settings: RwLock::new(Arc::new(settings)),
            random,
            producer_ids: Mutex::default(),
        });
        let follower = Follower { shared: shared.clone() };
        let host = Host::start(storage, log.clone(), &*clock, Metadata::default(), follower).await?;
        let cluster = Cluster { host, shared };
        cluster.place_orphans(log).await?;
        Ok(cluster)
    }

    /// What is set now, dynamic settings included.
    pub fn settings(&self) -> Arc<BrokerSettings> {
        self.shared.settings.read().clone()
    }

    /// What groups set themselves.
    pub fn groups(&self) -> &GroupConfigs {
        &self.shared.groups
    }

    /// Creates a topic; it is ready for use when this answers.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        overrides: &TopicOverrides,
    ) -> Result<Arc<Topic>, CreateError> {
        if partitions > PARTITIONS_MAX {
            return Err(CreateError::InvalidPartitions(format!(
                "{partitions} partitions; one topic may have {PARTITIONS_MAX} at the most"
            )));
        }
        self.create_topic_as(self.new_topic_id(), name, partitions, overrides).await
    }

    async fn create_topic_as(
        &self,
        id: TopicId,
        name: &str,
        partitions: i32,
        overrides: &TopicOverrides,
    ) -> Result<Arc<Topic>, CreateError> {
        let configs = overrides.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let command = Command::CreateTopic { name: name.to_string(), id, partitions, configs };
        match self.host.decide(command).await {
            Ok(_) => {
                info!(topic = name, partitions, "topic created");
                let topic = self.shared.topics.by_id(id);
                topic.ok_or_else(|| CreateError::Storage("the topic's partitions cannot be created".into()))
            }
            Err(HostError::Rejected(reject)) => Err(match reject {
                Reject::InvalidName(why) => CreateError::InvalidName(why),
                Reject::NameCollides { with } => CreateError::Collides(with),
                Reject::InvalidPartitions(why) => CreateError::InvalidPartitions(why),
                Reject::TopicExists | Reject::UnknownTopic | Reject::TooManyConfiguredGroups => {
                    CreateError::Exists
                }
            }),
            Err(error) => Err(CreateError::Storage(error.to_string())),
        }
    }

    /// Whether a topic of this name may be created.
    pub fn check_topic_name(&self, name: &str) -> Result<(), CreateError> {
        metadata::check_topic_name(name).map_err(CreateError::InvalidName)?;
        if self.shared.topics.by_name(name).is_some() {
            return Err(CreateError::Exists);
        }
        match self.shared.topics.by_metric_name(name) {
            Some(other) => Err(CreateError::Collides(other.to_string())),
            None => Ok(()),
        }
    }

    /// Deletes a topic; its records are gone when this answers.
    pub async fn delete_topic(&self, id: TopicId) -> Result<(), ClusterError> {
        let topic = self.shared.topics.by_id(id);
        self.host.decide(Command::DeleteTopic { id }).await?;
        if let Some(topic) = topic {
            info!(topic = &*topic.name, partitions = topic.partitions.len(), "topic deleted");
        }
        Ok(())
    }

    /// Grows a topic to `partitions` in all.
    pub async fn create_partitions(&self, id: TopicId, partitions: i32) -> Result<(), ClusterError> {
        self.host.decide(Command::CreatePartitions { id, partitions }).await?;
        if let Some(topic) = self.shared.topics.by_id(id) {
            info!(topic = &*topic.name, partitions, "topic has more partitions");
        }
        Ok(())
    }

    /// Makes a topic's own settings the given ones.
    pub async fn set_topic_configs(
        &self,
        topic: &Topic,
        wanted: &TopicOverrides,
    ) -> Result<(), ClusterError> {
        let changes = difference(topic.overrides.iter(), wanted.iter());
        self.set_configs(Resource::Topic(topic.name.to_string()), changes).await
    }

    /// Makes the broker's dynamic settings of one scope those of `wanted`.
    pub async fn set_broker_configs(
        &self,
        scope: Scope,
        wanted: &BrokerSettings,
    ) -> Result<(), ClusterError> {
        let settings = self.settings();
        let (present, wanted) = (settings.dynamic(scope), wanted.dynamic(scope));
        let changes = difference(
            present.iter().map(|(name, value)| (*name, value.as_str())),
            wanted.iter().map(|(name, value)| (*name, value.as_str())),
        );
        self.set_configs(Resource::Broker(scope_name(scope, &settings)), changes).await
    }

    /// Makes a group's own settings the given ones.
    pub async fn set_group_configs(&self, group: &str, wanted: &GroupOverrides) -> Result<(), ClusterError> {
        let changes = difference(self.groups().overrides(group).iter(), wanted.iter());
        self.set_configs(Resource::Group(group.to_string()), changes).await
    }

    async fn set_configs(
        &self,
        resource: Resource,
        changes: Vec<(String, Option<String>)>,
    ) -> Result<(), ClusterError> {
        if changes.is_empty() {
            return Ok(());
        }
        let command = Command::SetConfigs { resource: resource.clone(), changes: changes.clone() };
        self.host.decide(command).await?;
        let (mut topic, mut broker, mut group) = (None, None, None);
        match &resource {
            Resource::Topic(name) => topic = Some(name.as_str()),
            Resource::Broker(name) if name.is_empty() => broker = Some("all"),
            Resource::Broker(name) => broker = Some(name.as_str()),
            Resource::Group(name) => group = Some(name.as_str()),
        }
        for (setting, value) in changes {
            let is_secret = settings::broker::find(&setting).is_some_and(|line| line.kind == Kind::Password);
            match value {
                Some(_) if is_secret => info!(topic, broker, group, setting, "setting changed"),
                Some(value) => info!(topic, broker, group, setting, value, "setting changed"),
                None => info!(topic, broker, group, setting, "setting is back to what it is by default"),
            }
        }
        Ok(())
    }

    /// A producer id that nobody was given before.
    pub async fn new_producer_id(&self) -> Result<ProducerId, ClusterError> {
        loop {
            {
                let mut ids = self.shared.producer_ids.lock();
                if ids.next < ids.end {
                    ids.next += 1;
                    return Ok(ProducerId(ids.next - 1));
                }
            }
            if let Reply::ProducerIds { first } = self.host.decide(Command::AllocateProducerIds).await? {
                let mut ids = self.shared.producer_ids.lock();
                // Somebody else may have got a block meanwhile: the later one counts, ids are plenty.
                *ids = ProducerIds { next: first.0, end: first.0 + metadata::PRODUCER_ID_BLOCK };
            }
        }
    }

    /// Deletes, or serves again, what storage holds and the metadata does not know.
    async fn place_orphans(&self, log: Arc<Partition>) -> Result<(), LoadError> {
        let stored: Vec<PartitionId> = self.shared.storage.partitions().iter().map(|p| p.id()).collect();
        let seen = stored.clone();
        let found = self.host.query(move |state| Orphans::find(state, &seen)).await;
        let mut orphans = found.map_err(|error| LoadError::Unreadable(error.to_string()))?;
        if orphans.is_empty() {
            return Ok(());
        }
        orphans.set_apart(&removed_topics(log).await?, &stored);
        self.shared.delete(orphans.removed).await;
        for (id, partitions) in orphans.grown {
            let placed = self.create_partitions(id, partitions).await.map_err(|error| error.to_string());
            report_placed(id, self.shared.topics.by_id(id).filter(|_| placed.is_ok()), placed.err());
        }
        for (id, partitions) in orphans.unknown {
            let settings = self.settings();
            let overrides =
                TopicOverrides::create(RECOVERED_CONFIG, &settings).expect("all of them are valid");
            let placed = self.create_topic_as(id, &recovered_name(id), partitions, &overrides).await;
            let error = placed.as_ref().err().map(ToString::to_string);
            report_placed(id, placed.ok(), error);
        }
        Ok(())
    }

    fn new_topic_id(&self) -> TopicId {
        loop {
            let mut id = [0; 16];
            self.shared.random.fill(&mut id);
            // A version 4 UUID, whose text does not begin with a dash (tools would take it for a flag).
            id[6] = id[6] & 0x0f | 0x40;
            id[8] = id[8] & 0x3f | 0x80;
            let id = TopicId(id);
            if !id.to_string().starts_with('-') && self.shared.topics.by_id(id).is_none() {
                return id;
            }
        }
    }
}

/// Tells what became of partitions that the metadata did not know.
fn report_placed(id: TopicId, topic: Option<Arc<Topic>>, error: Option<String>) {
    match (topic, error) {
        (Some(topic), _) => warn!(
            topic = &*topic.name,
            partitions = topic.partitions.len(),
            "the metadata has lost this topic or some of its partitions: what is stored of it is served again"
        ),
        (None, error) => error!(
            topic = %id,
            error,
            "the metadata has lost this topic or some of its partitions, and they cannot be served: they are kept"
        ),
    }
}

/// Metadata is kept for ever and always synced.
fn metadata_log() -> LogConfig {
    LogConfig { delete: false, ..LogConfig::default() }
}

/// Kafka's "no limit" is the greatest number that there is.
fn bytes_per_second(most: f64) -> Option<u64> {
    (most < u64::MAX as f64).then_some(most.ceil() as u64)
}

/// Makes `config` keep at least what the one before it kept; says whether that changed it.
fn keep_as_before(config: &mut LogConfig, before: &LogConfig) -> bool {
    // None is for ever.
    fn longer<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
        Some(one?.max(other?))
    }
    let kept = LogConfig {
        delete: config.delete && before.delete,
        compact: config.compact && before.compact,
        retention: longer(config.retention, before.retention),
        retention_bytes: longer(config.retention_bytes, before.retention_bytes),
        ..config.clone()
    };
    let keeps_more = kept != *config;
    *config = kept;
    keeps_more
}

fn scope_name(scope: Scope, settings: &BrokerSettings) -> String {
    match scope {
        Scope::Broker => settings.options().node_id.to_string(),
        Scope::ClusterDefault => String::new(),
    }
}

fn difference<'a>(
    present: impl Iterator<Item = (&'static str, &'a str)>,
    wanted: impl Iterator<Item = (&'static str, &'a str)>,
) -> Vec<(String, Option<String>)> {
    let present: BTreeMap<_, _> = present.collect();
    let wanted: BTreeMap<_, _> = wanted.collect();
    let removed =
        present.keys().filter(|name| !wanted.contains_key(*name)).map(|name| (name.to_string(), None));
    let set = wanted.iter().filter(|(name, value)| present.get(*name) != Some(value));
    removed.chain(set.map(|(name, value)| (name.to_string(), Some(value.to_string())))).collect()
}

/// Brings storage, the directory and the settings in line with committed metadata.
#[derive(Clone)]
struct Follower {
    shared: Arc<Shared>,
}

impl Effects<Metadata> for Follower {
    async fn loaded(&mut self, state: &Metadata) {
        self.follow_settings(state);
        self.shared.groups.follow_all(state, &self.shared.settings.read());
        for topic in state.topics() {
            self.follow_topic(topic, state.has_lost_records()).await;
        }
        for topic in self.shared.topics.all() {
            if state.topic_by_id(topic.id).is_none() {
                self.shared.topics.remove(topic.id);
            }
        }
    }

    async fn committed(&mut self, state: &Metadata, records: &[Record]) {
        let mut touched = BTreeSet::new();
        let mut removed = BTreeSet::new();
        let mut groups = BTreeSet::new();
        let mut settings = false;
        for record in records {
            match record {
                Record::TopicCreated { id, .. } => drop(touched.insert(*id)),
                Record::PartitionCreated { topic, .. } => drop(touched.insert(*topic)),
                Record::TopicRemoved { id } => drop(removed.insert(*id)),
                Record::ConfigSet { resource: Resource::Topic(name), .. } => {
                    touched.extend(state.topic(name).map(|topic| topic.id));
                }
                Record::ConfigSet { resource: Resource::Broker(_), .. } => settings = true,
                Record::ConfigSet { resource: Resource::Group(name), .. } => drop(groups.insert(name)),
                Record::ProducerIdsAllocated { .. } => {}
            }
        }
        if settings {
            self.follow_settings(state);
            touched.extend(state.topics().map(|topic| topic.id));
        }
        for name in groups {
            self.shared.groups.follow(name, state, &self.shared.settings.read());
        }
        for id in touched.difference(&removed) {
            if let Some(topic) = state.topic_by_id(*id) {
                self.follow_topic(topic, false).await;
            }
        }
        let mut partitions = Vec::new();
        for id in removed {
            if let Some(topic) = self.shared.topics.by_id(id) {
                partitions.extend(topic.partitions.iter().map(|partition| partition.id()));
            }
            self.shared.topics.remove(id);
        }
        self.shared.delete(partitions).await;
    }
}

impl Follower {
    fn follow_settings(&self, state: &Metadata) {
        let mut settings = BrokerSettings::clone(&self.shared.settings.read());
        for scope in [Scope::ClusterDefault, Scope::Broker] {
            let name = scope_name(scope, &settings);
            for problem in settings.restore_dynamic(scope, state.broker_configs(&name)) {
                warn!(problem, "a stored dynamic setting is not used");
            }
        }
        let options = settings.options();
        self.shared.storage.tune_compaction(&CompactionOptions {
            interval: options.log_cleaner_backoff,
            map_bytes_max: options.log_cleaner_dedupe_bytes_max as usize,
            io_bytes_per_second_max: bytes_per_second(options.log_cleaner_io_bytes_per_second_max),
        });
        *self.shared.settings.write() = Arc::new(settings);
    }

    /// Creates missing partitions, tells all of them the topic's config, and puts the topic into the directory. A
    /// config that `may_be_stale` makes no partition keep less than before.
    async fn follow_topic(&self, topic: &metadata::Topic, may_be_stale: bool) {
        let stored = topic.configs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let (overrides, problems) = TopicOverrides::restore(stored);
        for problem in problems {
            warn!(topic = topic.name, problem, "a stored topic config is not used");
        }
        let settings = self.shared.settings.read().clone();
        let config = log_config(&settings::TopicConfig::new(&overrides, &settings));
        let mut partitions = Vec::new();
        let mut keeps_more = false;
        for index in 0..topic.partitions {
            let id = PartitionId { topic: topic.id, index };
            let ready = match self.shared.storage.partition(id) {
                // Nothing is written for what is known: a start needs no room on the disk.
                Some(partition) if *partition.config() == config => Ok(partition),
                Some(partition) => {
                    let mut config = config.clone();
                    if may_be_stale {
                        keeps_more |= keep_as_before(&mut config, &partition.config());
                    }
                    self.shared.storage.configure(id, config).await.map(|()| partition)
                }
                None => self.shared.storage.create(id, config.clone()).await,
            };
            match ready {
                Ok(partition) => partitions.push(partition),
                Err(error) => {
                    error!(topic = topic.name, partition = index, %error, "a partition cannot be made ready");
                    return;
                }
            }
        }
        if keeps_more {
            warn!(
                topic = topic.name,
                "records of the metadata are lost, and perhaps settings of this topic with them: it keeps its records \
                 as long as before, until retention or cleanup.policy is set"
            );
        }
        self.shared.topics.put(Topic::new(
            topic.name.as_str().into(),
            topic.id,
            overrides,
            &settings,
            partitions,
        ));
    }
}

impl Shared {
    async fn delete(&self, partitions: Vec<PartitionId>) {
        if partitions.is_empty() {
            return;
        }
        let count = partitions.len();
        match self.storage.delete(partitions).await {
            Ok(()) => info!(count, "partitions deleted"),
            // What is left is deleted at the next start: the metadata says that it was removed.
            Err(error) => error!(count, %error, "partitions cannot be deleted"),
        }
    }
}
