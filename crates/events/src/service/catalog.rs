//! Which categories there are: a compacted topic with one record each, so that a topic that only looks like one is
//! never taken for it, and one whose partitions were changed is refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::{AskError, Cluster, Refused, Tail, Tailed, check};
use model::batch::{BatchBuilder, NewRecord, batches};
use model::{Compression, Offset, TopicId};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};
use wire::create_topics::{CreatableTopic, CreatableTopicConfig};
use wire::produce::{PartitionProduceData, TopicProduceData};
use wire::{CreateTopicsRequest, ErrorCode, ProduceRequest};

use crate::category::Category;

/// Key: the category's name; value: [`CategoryInfo`] as JSON.
pub const TOPIC: &str = "lv.categories";

/// Another number when the record format of events or of the catalog changes.
const FORMAT: u32 = 1;

const PAUSE: Duration = Duration::from_millis(100);

/// How often the topic is looked for while there is none.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// What is known for ever about a category.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CategoryInfo {
    pub format: u32,
    /// The topic's id, as Kafka writes it.
    pub topic_id: String,
    pub partitions: i32,
}

type Known = BTreeMap<Category, CategoryInfo>;

pub struct Catalog {
    cluster: Cluster,
    replication_factor: i16,
    known: watch::Receiver<(Offset, Known)>,
    /// The topic may be there now.
    created: Arc<Notify>,
}

impl Catalog {
    /// Reads what the topic has. Where there is none, it is created with the first category, and looked for now and
    /// then, because another process may create it.
    pub async fn open(cluster: &Cluster, replication_factor: i16) -> Result<Catalog, AskError> {
        let (told, known) = watch::channel((Offset::ZERO, Known::new()));
        let created = Arc::new(Notify::new());
        let catalog =
            Catalog { cluster: cluster.clone(), replication_factor, known, created: created.clone() };
        let topic = match cluster.topic(TOPIC, false).await {
            Ok(topic) => topic,
            Err(error) if is_missing(&error) => {
                let cluster = cluster.clone();
                env::spawn(async move {
                    if let Some(topic) = wait_for_topic(&cluster, &told, &created).await {
                        follow(cluster, topic.id, told).await;
                    }
                });
                return Ok(catalog);
            }
            Err(error) => return Err(error),
        };
        env::spawn(follow(cluster.clone(), topic.id, told));
        catalog.catch_up().await?;
        Ok(catalog)
    }

    pub fn known(&self) -> watch::Receiver<(Offset, Known)> {
        self.known.clone()
    }

    pub fn find(&self, category: &Category) -> Option<CategoryInfo> {
        self.known.borrow().1.get(category).cloned()
    }

    pub fn all(&self) -> Known {
        self.known.borrow().1.clone()
    }

    /// Creates a category's topic and enters it. What another has created meanwhile is taken as it is.
    pub async fn create(&self, category: &Category, partitions: i32) -> Result<CategoryInfo, AskError> {
        if let Some(known) = self.find(category) {
            return Ok(known);
        }
        let name = category.topic();
        let configs = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")];
        let topic = create(&self.cluster, &name, partitions, self.replication_factor, &configs).await?;
        let indexes: Vec<i32> = topic.partitions.iter().map(|partition| partition.index).collect();
        if self.find(category).is_none() {
            let ends = ends(&self.cluster, &topic, &indexes).await?;
            let has_records = ends.values().flatten().any(|end| *end > 0);
            if has_records {
                // Whoever writes there has entered it before: perhaps that is not read yet.
                self.catch_up().await?;
            }
            if has_records && self.find(category).is_none() {
                let message = format!(
                    "topic {name} exists, has records, and is no category of this event store: choose another name"
                );
                let code = ErrorCode::TopicAlreadyExists.code();
                return Err(AskError::from(Refused { code, message: Some(message) }));
            }
            let info = CategoryInfo {
                format: FORMAT,
                topic_id: topic.id.to_string(),
                partitions: indexes.len() as i32,
            };
            let configs = [("cleanup.policy", "compact")];
            create(&self.cluster, TOPIC, 1, self.replication_factor, &configs).await?;
            self.created.notify_one();
            self.enter(category, &info).await?;
        }
        let mut known = self.known.clone();
        let entered = timeout(self.cluster.patience(), known.wait_for(|(_, all)| all.contains_key(category)));
        match entered.await {
            Ok(Ok(known)) => Ok(known.1[category].clone()),
            _ => Err(AskError::Lost(format!("{TOPIC} could not be read in time"))),
        }
    }

    /// Reads what was entered by now.
    async fn catch_up(&self) -> Result<(), AskError> {
        let topic = match self.cluster.topic(TOPIC, false).await {
            Ok(topic) => topic,
            Err(error) if is_missing(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.created.notify_one();
        let ends = ends(&self.cluster, &topic, &[0]).await?;
        let end = ends.get(&0).copied().flatten().map_or(Offset::ZERO, Offset);
        let mut known = self.known.clone();
        let late = |_| AskError::Lost(format!("{TOPIC} could not be read in time"));
        timeout(self.cluster.patience(), known.wait_for(|(next, _)| *next >= end))
            .await
            .map_err(late)?
            .map_err(|_| AskError::Lost(format!("{TOPIC} was deleted")))?;
        Ok(())
    }

    async fn enter(&self, category: &Category, info: &CategoryInfo) -> Result<(), AskError> {
        let value = serde_json::to_vec(info).expect("texts and numbers are JSON");
        let mut batch = BatchBuilder::new(Compression::None);
        let (key, value) = (Some(category.name().as_bytes()), Some(value.as_slice()));
        let timestamp = model::Timestamp(0);
        batch.push(NewRecord { timestamp, key, value, headers: &[] });
        let deadline = Instant::now() + self.cluster.patience();
        loop {
            match produce(&self.cluster, batch.build().into_bytes()).await {
                // The same once more says the same.
                Err(error) if (error.is_lost() || error.is_passing()) && Instant::now() < deadline => {
                    sleep(PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }
}

async fn produce(cluster: &Cluster, batch: Bytes) -> Result<(), AskError> {
    let topic = cluster.topic(TOPIC, false).await?;
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: TOPIC.into(),
            topic_id: topic.id,
            partition_data: vec![PartitionProduceData {
                index: 0,
                records: Some(batch.into()),
                ..PartitionProduceData::default()
            }],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    };
    let leader = topic.partitions.first().map_or(-1, |partition| partition.leader);
    let answer = cluster.node(leader).await?.ask(&request).await?;
    for partition in answer.responses.into_iter().flat_map(|topic| topic.partition_responses) {
        check(partition.error_code, partition.error_message.as_deref())?;
    }
    Ok(())
}

/// Creates a topic, or finds the one that there is.
async fn create(
    cluster: &Cluster,
    name: &str,
    partitions: i32,
    replication_factor: i16,
    configs: &[(&str, &str)],
) -> Result<client::Topic, AskError> {
    let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
        name: (*name).into(),
        value: Some((*value).into()),
        ..CreatableTopicConfig::default()
    };
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor,
            configs: configs.iter().map(config).collect(),
            ..CreatableTopic::default()
        }],
        timeout_ms: i32::try_from(cluster.patience().as_millis()).unwrap_or(i32::MAX),
        ..CreateTopicsRequest::default()
    };
    let deadline = Instant::now() + cluster.patience();
    loop {
        match cluster.topic(name, false).await {
            Ok(topic) => return Ok(topic),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(error) if is_missing(&error) => {}
            Err(error) if error.is_passing() || error.is_lost() => {
                sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error),
        }
        let answer = match cluster.ask(&request).await {
            Ok(answer) => answer,
            Err(error) if error.is_lost() => continue,
            Err(error) => return Err(error),
        };
        for topic in &answer.topics {
            match check(topic.error_code, topic.error_message.as_deref()) {
                Ok(()) => {}
                Err(refused) if refused.is(ErrorCode::TopicAlreadyExists) || refused.is_passing() => {
                    sleep(PAUSE).await;
                }
                Err(refused) => return Err(AskError::from(refused).about(name)),
            }
        }
    }
}

/// Where partitions end. A broker may need a moment before it leads a topic that was just made.
async fn ends(
    cluster: &Cluster,
    topic: &client::Topic,
    indexes: &[i32],
) -> Result<BTreeMap<i32, Option<i64>>, AskError> {
    let deadline = Instant::now() + cluster.patience();
    loop {
        match cluster.offsets(topic, indexes, -1, 0).await {
            Err(error) if error.is_passing() && Instant::now() < deadline => sleep(PAUSE).await,
            outcome => return outcome,
        }
    }
}

fn is_missing(error: &AskError) -> bool {
    error.refused().is_some_and(|refused| refused.is(ErrorCode::UnknownTopicOrPartition))
}

/// None: nobody wants to know any more.
async fn wait_for_topic(
    cluster: &Cluster,
    told: &watch::Sender<(Offset, Known)>,
    created: &Notify,
) -> Option<client::Topic> {
    loop {
        tokio::select! {
            biased;
            () = told.closed() => return None,
            () = created.notified() => {}
            () = sleep(LOOK_INTERVAL) => {}
        }
        // All topics: asking for one that is missing counts as an error at the broker.
        match cluster.topics().await {
            Ok(topics) => {
                if let Some(topic) = topics.into_iter().find(|topic| topic.name == TOPIC) {
                    return Some(topic);
                }
            }
            Err(error) => debug!(topic = TOPIC, %error, "it cannot be looked for"),
        }
    }
}

async fn follow(cluster: Cluster, id: TopicId, told: watch::Sender<(Offset, Known)>) {
    let mut tails = Tail::start(cluster, TOPIC, id, [(0, Offset::ZERO)]);
    let mut tail = tails.remove(&0).expect("it was asked for");
    loop {
        let tailed = tokio::select! {
            biased;
            () = told.closed() => return,
            tailed = tail.recv() => tailed,
        };
        let bytes = match tailed {
            Some(Tailed::Records { bytes, .. }) => bytes,
            other => {
                warn!(topic = TOPIC, ?other, "the catalog is not read any more");
                return;
            }
        };
        told.send_modify(|(next, known)| {
            for batch in batches(bytes) {
                let Ok(batch) = batch else { break };
                if let Ok(records) = batch.records(1 << 24) {
                    records.iter().filter_map(Result::ok).for_each(|record| take(known, &record));
                }
                *next = batch.header().next_offset();
            }
        });
    }
}

fn take(known: &mut Known, record: &model::batch::Record<'_>) {
    let name = record.key.and_then(|key| std::str::from_utf8(key).ok());
    let Some(category) = name.and_then(|name| Category::new(name).ok()) else { return };
    match record.value {
        None => {
            known.remove(&category);
        }
        Some(value) => match serde_json::from_slice::<CategoryInfo>(value) {
            Ok(info) if info.format == FORMAT => {
                known.insert(category, info);
            }
            Ok(info) => warn!(%category, format = info.format, "a category of a newer format is left alone"),
            Err(error) => warn!(%category, %error, "a record of the catalog cannot be read"),
        },
    }
}
