//! What a pattern does with topics of its own: create them, see where they end, write a record where no order with other
//! writers is needed.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::Offset;
use tokio::time::{Duration, Instant, sleep};
use wire::create_topics::{CreatableTopic, CreatableTopicConfig};
use wire::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};
use wire::delete_topics::{DeletableTopicResult, DeleteTopicState};
use wire::produce::{PartitionProduceData, TopicProduceData};
use wire::{
    ApiKey, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, ErrorCode, ProduceRequest,
};

use crate::{AskError, Cluster, Topic, by_leader, check};

/// From here on DeleteTopics takes topics by their ids.
const DELETED_BY_ID: i16 = 6;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

impl Cluster {
    /// Creates a topic, or finds the one that there is, whatever its settings are ([`Cluster::hold_configs`]).
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication_factor: i16,
        configs: &[(&str, &str)],
    ) -> Result<Topic, AskError> {
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
            timeout_ms: i32::try_from(self.patience().as_millis()).unwrap_or(i32::MAX),
            ..CreateTopicsRequest::default()
        };
        let deadline = Instant::now() + self.patience();
        loop {
            match self.topic(name, false).await {
                Ok(topic) => return Ok(topic),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(error) if error.is_missing_topic() => {}
                Err(error) if error.is_passing() || error.is_lost() => {
                    sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            }
            let answer = match self.ask(&request).await {
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

    /// Deletes topics, given by id and name, and waits until they are gone. What is not there any more, or is another
    /// topic by now, is left alone.
    pub async fn delete_topics(&self, topics: &BTreeMap<String, String>) -> Result<(), AskError> {
        let by_id = self.seed().await?.version(ApiKey::DeleteTopics)? >= DELETED_BY_ID;
        let deadline = Instant::now() + self.patience();
        loop {
            let there = self.topics().await?.into_iter();
            let there: Vec<Topic> =
                there.filter(|topic| topics.contains_key(&topic.id.to_string())).collect();
            if there.is_empty() {
                return Ok(());
            }
            let names = there.iter().map(|topic| topic.name.as_str().into());
            let states =
                there.iter().map(|topic| DeleteTopicState { topic_id: topic.id, ..Default::default() });
            let request = DeleteTopicsRequest {
                topics: if by_id { states.collect() } else { Vec::new() },
                topic_names: if by_id { Vec::new() } else { names.collect() },
                timeout_ms: i32::try_from(self.patience().as_millis()).unwrap_or(i32::MAX),
                ..DeleteTopicsRequest::default()
            };
            let name_of = |result: &DeletableTopicResult| match &result.name {
                Some(name) => name.to_string(),
                None => topics.get(&result.topic_id.to_string()).cloned().unwrap_or_default(),
            };
            let answer = match self.ask(&request).await {
                Err(error) if error.is_lost() && Instant::now() < deadline => {
                    sleep(PAUSE).await;
                    continue;
                }
                answer => answer?,
            };
            for result in &answer.responses {
                match check(result.error_code, result.error_message.as_deref()) {
                    Err(refused) if refused.is(ErrorCode::UnknownTopicId) => {}
                    Err(refused) if refused.is(ErrorCode::UnknownTopicOrPartition) => {}
                    Err(refused) if refused.is_passing() && Instant::now() < deadline => {}
                    checked => checked.map_err(|refused| AskError::from(refused).about(name_of(result)))?,
                }
            }
            if Instant::now() >= deadline {
                let names: Vec<&str> = there.iter().map(|topic| topic.name.as_str()).collect();
                return Err(AskError::Lost(format!("{} are still there", names.join(", "))));
            }
            sleep(PAUSE).await;
        }
    }

    /// Where partitions end. A broker may need a moment before it leads a topic that was just made.
    pub async fn ends(&self, topic: &Topic, indexes: &[i32]) -> Result<BTreeMap<i32, Offset>, AskError> {
        let deadline = Instant::now() + self.patience();
        loop {
            match self.offsets(topic, indexes, -1, 0).await {
                Err(error) if error.is_passing() && Instant::now() < deadline => sleep(PAUSE).await,
                outcome => {
                    let end = |(index, end): (i32, Option<i64>)| (index, end.map_or(Offset::ZERO, Offset));
                    return Ok(outcome?.into_iter().map(end).collect());
                }
            }
        }
    }

    /// Deletes partitions' records before an offset each.
    pub async fn delete_records(
        &self,
        topic: &Topic,
        before: &BTreeMap<i32, Offset>,
    ) -> Result<(), AskError> {
        let indexes: Vec<i32> = before.keys().copied().collect();
        for (leader, indexes) in by_leader(topic, &indexes)? {
            let partition = |index: &i32| DeleteRecordsPartition {
                partition_index: *index,
                offset: before[index].0,
                ..DeleteRecordsPartition::default()
            };
            let request = DeleteRecordsRequest {
                topics: vec![DeleteRecordsTopic {
                    name: topic.name.as_str().into(),
                    partitions: indexes.iter().map(partition).collect(),
                    ..DeleteRecordsTopic::default()
                }],
                timeout_ms: i32::try_from(self.patience().as_millis()).unwrap_or(i32::MAX),
                ..DeleteRecordsRequest::default()
            };
            let answer = self.node(leader).await?.ask(&request).await?;
            for partition in answer.topics.into_iter().flat_map(|topic| topic.partitions) {
                let place = || format!("{} partition {}", topic.name, partition.partition_index);
                check(partition.error_code, None)
                    .map_err(|refused| AskError::from(refused).about(place()))?;
            }
        }
        Ok(())
    }

    /// Writes a batch, for as long as nobody answers: it may be in the log more than once. Gives its first offset.
    pub async fn write_at_least_once(
        &self,
        name: &str,
        partition: i32,
        batch: Bytes,
    ) -> Result<Offset, AskError> {
        let deadline = Instant::now() + self.patience();
        loop {
            match self.write_once(name, partition, batch.clone()).await {
                Err(error) if (error.is_lost() || error.is_passing()) && Instant::now() < deadline => {
                    sleep(PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn write_once(&self, name: &str, partition: i32, batch: Bytes) -> Result<Offset, AskError> {
        let topic = self.topic(name, false).await?;
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: i32::try_from(self.patience().as_millis()).unwrap_or(i32::MAX),
            topic_data: vec![TopicProduceData {
                name: name.into(),
                topic_id: topic.id,
                partition_data: vec![PartitionProduceData {
                    index: partition,
                    records: Some(batch.into()),
                    ..PartitionProduceData::default()
                }],
                ..TopicProduceData::default()
            }],
            ..ProduceRequest::default()
        };
        let found = topic.partitions.iter().find(|one| one.index == partition);
        let leader = found.map_or(-1, |partition| partition.leader);
        let answer = self.node(leader).await?.ask(&request).await?;
        let answers = answer.responses.into_iter().flat_map(|topic| topic.partition_responses);
        let mut first = None;
        for partition in answers {
            check(partition.error_code, partition.error_message.as_deref())
                .map_err(|refused| AskError::from(refused).about(name))?;
            first = Some(Offset(partition.base_offset));
        }
        first.ok_or_else(|| {
            AskError::Foreign(format!("{name}: the broker left the partition out of its answer"))
        })
    }
}
