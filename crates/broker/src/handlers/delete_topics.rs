//! DeleteTopics (KIP-516): by name or by id; takes the groups' committed offsets along.

use std::collections::HashMap;
use std::sync::Arc;

use coordinators::groups::Command;
use settings::BrokerOptions;
use tracing::warn;
use wire::delete_topics::{DeletableTopicResult, DeleteTopicState};
use wire::{DeleteTopicsRequest, DeleteTopicsResponse, ErrorCode, Str};

use super::groups::Coordinator;
use crate::error::{Refusal, of_cluster};
use crate::hosting::Cluster;
use crate::request::Caller;
use crate::topics::{Topic, Topics};

/// From here on topics are named one by one, by name or id.
const BY_ID: i16 = 6;

/// The first version that knows TOPIC_DELETION_DISABLED.
const KNOWS_DISABLED: i16 = 3;

pub async fn handle(
    request: DeleteTopicsRequest,
    caller: &Caller,
    topics: &Topics,
    cluster: &Cluster,
    groups: &Coordinator,
    options: &BrokerOptions,
) -> DeleteTopicsResponse {
    let by_name = |name: Str| DeleteTopicState { name: Some(name), ..Default::default() };
    let wanted: Vec<DeleteTopicState> = match caller.version < BY_ID {
        true => request.topic_names.into_iter().map(by_name).collect(),
        false => request.topics,
    };
    let found: Vec<Result<Arc<Topic>, Refusal>> = wanted.iter().map(|wanted| find(topics, wanted)).collect();
    let mut times = HashMap::new();
    for topic in found.iter().flatten() {
        *times.entry(topic.id).or_insert(0) += 1;
    }
    let mut response = DeleteTopicsResponse::default();
    for (wanted, topic) in wanted.iter().zip(&found) {
        let deleted = match topic {
            _ if !options.delete_topics => Err(match caller.version < KNOWS_DISABLED {
                true => ErrorCode::InvalidRequest.into(),
                false => Refusal::new(ErrorCode::TopicDeletionDisabled, "delete.topic.enable is false"),
            }),
            Err(refusal) => Err(refusal.clone()),
            Ok(topic) if times[&topic.id] > 1 => {
                Err(Refusal::new(ErrorCode::InvalidRequest, "the topic is named more than once"))
            }
            Ok(topic) => delete(topic, cluster, groups).await,
        };
        let mut result = DeletableTopicResult {
            name: wanted.name.clone(),
            topic_id: wanted.topic_id,
            ..Default::default()
        };
        match (&deleted, topic) {
            (Ok(()), Ok(topic)) => {
                (result.name, result.topic_id) = (Some(topic.name.clone()), topic.id);
            }
            (Err(refusal), _) => {
                (result.error_code, result.error_message) = (refusal.code(), refusal.text());
            }
            (Ok(()), Err(_)) => {}
        }
        response.responses.push(result);
    }
    response
}

fn find(topics: &Topics, wanted: &DeleteTopicState) -> Result<Arc<Topic>, Refusal> {
    match (&wanted.name, wanted.topic_id.is_zero()) {
        (Some(_), false) => Err(Refusal::new(ErrorCode::InvalidRequest, "give a name or an id, not both")),
        (None, true) => {
            Err(Refusal::new(ErrorCode::InvalidRequest, "neither a topic name nor an id was given"))
        }
        (Some(name), true) => {
            Ok(topics.by_name(name).ok_or(Refusal::from(ErrorCode::UnknownTopicOrPartition))?)
        }
        (None, false) => Ok(topics.by_id(wanted.topic_id).ok_or(Refusal::from(ErrorCode::UnknownTopicId))?),
    }
}

async fn delete(topic: &Topic, cluster: &Cluster, groups: &Coordinator) -> Result<(), Refusal> {
    cluster.delete_topic(topic.id).await.map_err(of_cluster)?;
    // The topic is gone whether or not this succeeds: its id never comes back, so leftovers are only waste.
    match groups.all().await {
        Ok(hosts) => {
            for host in hosts {
                if let Err(error) = host.decide(Command::TopicDeleted { id: topic.id }).await {
                    warn!(topic = %topic.name, %error, "committed offsets of a deleted topic stay behind");
                }
            }
        }
        Err(error) => warn!(topic = %topic.name, %error, "committed offsets of a deleted topic stay behind"),
    }
    Ok(())
}
