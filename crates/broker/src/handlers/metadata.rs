//! Metadata: brokers, topics and who leads what. Creates topics on first use where that is wanted.

use std::collections::HashSet;
use std::sync::Arc;

use wire::metadata::{
    MetadataRequestTopic, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use wire::{ErrorCode, MetadataRequest, MetadataResponse, Str};

use crate::error::Refusal;
use crate::hosting::{Cluster, CreateError};
use crate::node::Node;
use crate::request::Caller;
use crate::topics::{METADATA_TOPIC, OFFSETS_TOPIC, TRANSACTIONS_TOPIC, Topic, Topics};

/// The first version that may ask by topic id alone.
const BY_ID: i16 = 12;

pub async fn handle(
    request: MetadataRequest,
    caller: &Caller,
    node: &Node,
    topics: &Topics,
    cluster: &Cluster,
) -> MetadataResponse {
    // Before topics can be asked for by id, one such entry spoils the request.
    let wrong = |topic: &MetadataRequestTopic| topic.name.is_none() || !topic.topic_id.is_zero();
    if caller.version < BY_ID && request.topics.iter().flatten().any(wrong) {
        return nothing_but_refusals(request);
    }
    let (host, port) = node.address(&caller.ends);
    let broker = MetadataResponseBroker {
        node_id: node.id,
        host,
        port,
        rack: node.rack.clone(),
        ..Default::default()
    };
    let mut response = MetadataResponse {
        brokers: vec![broker],
        cluster_id: Some(node.cluster_id.clone()),
        controller_id: node.id,
        ..Default::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = super::CLUSTER_OPERATIONS;
    }
    let all = match &request.topics {
        None => true,
        Some(named) => caller.version == 0 && named.is_empty(),
    };
    let create = caller.version < 4 || request.allow_auto_topic_creation;
    let mut answered = match all {
        true => topics.all().iter().map(|topic| describe(topic, node)).collect(),
        false => {
            let mut answered: Vec<MetadataResponseTopic> = Vec::new();
            let (mut names, mut ids) = (HashSet::new(), HashSet::new());
            let wanted = request.topics.unwrap_or_default();
            // As in Kafka: where there is an id, it counts and no name does, its own neither.
            let by_id = wanted.iter().any(|topic| !topic.topic_id.is_zero());
            for wanted in wanted {
                let is_first = match (&wanted.name, by_id) {
                    (_, true) => !wanted.topic_id.is_zero() && ids.insert(wanted.topic_id),
                    (Some(name), false) => names.insert(name.clone()),
                    (None, false) => ids.insert(wanted.topic_id),
                };
                if is_first {
                    answered.push(look_up(wanted, by_id, create, node, topics, cluster).await);
                }
            }
            answered
        }
    };
    if request.include_topic_authorized_operations {
        // As in Kafka, also for a name that is not there; never for an id that is not.
        let told = |topic: &&mut MetadataResponseTopic| topic.error_code == 0 || topic.topic_id.is_zero();
        for topic in answered.iter_mut().filter(told) {
            topic.topic_authorized_operations = super::TOPIC_OPERATIONS;
        }
    }
    response.topics = answered;
    response
}

fn nothing_but_refusals(request: MetadataRequest) -> MetadataResponse {
    let refused = |topic: MetadataRequestTopic| MetadataResponseTopic {
        error_code: ErrorCode::InvalidRequest.into(),
        // Before version 12 a name is never null.
        name: Some(topic.name.unwrap_or_default()),
        topic_id: topic.topic_id,
        ..Default::default()
    };
    MetadataResponse {
        topics: request.topics.into_iter().flatten().map(refused).collect(),
        ..Default::default()
    }
}

async fn look_up(
    wanted: MetadataRequestTopic,
    by_id: bool,
    create: bool,
    node: &Node,
    topics: &Topics,
    cluster: &Cluster,
) -> MetadataResponseTopic {
    let refused = |code: ErrorCode, name: Option<Str>| MetadataResponseTopic {
        error_code: code.into(),
        name,
        topic_id: wanted.topic_id,
        ..Default::default()
    };
    let Some(name) = wanted.name.clone().filter(|_| !by_id) else {
        return match topics.by_id(wanted.topic_id) {
            Some(topic) => describe(&topic, node),
            None => refused(ErrorCode::UnknownTopicId, None),
        };
    };
    if let Some(topic) = topics.by_name(&name) {
        return describe(&topic, node);
    }
    let settings = cluster.settings();
    let options = settings.options();
    if name == METADATA_TOPIC || !create || !options.auto_create_topics {
        let valid = coordinators::metadata::check_topic_name(&name).is_ok();
        let code = if valid { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::InvalidTopicException };
        return refused(code, Some(name));
    }
    let partitions = match name.as_ref() as &str {
        OFFSETS_TOPIC => options.offsets_topic_partitions,
        TRANSACTIONS_TOPIC => options.transaction_topic_partitions,
        _ => options.num_partitions,
    };
    match cluster.create_topic(&name, partitions, &Default::default()).await {
        Ok(topic) => describe(&topic, node),
        Err(CreateError::Exists) => match topics.by_name(&name) {
            Some(topic) => describe(&topic, node),
            None => refused(ErrorCode::UnknownTopicOrPartition, Some(name)),
        },
        Err(error) => refused(Refusal::from(error).code, Some(name)),
    }
}

fn describe(topic: &Arc<Topic>, node: &Node) -> MetadataResponseTopic {
    let partition = |(index, partition): (usize, &Arc<storage::Partition>)| MetadataResponsePartition {
        partition_index: index as i32,
        leader_id: node.id,
        leader_epoch: partition.offsets().leader_epoch.0,
        replica_nodes: vec![node.id],
        isr_nodes: vec![node.id],
        ..Default::default()
    };
    MetadataResponseTopic {
        name: Some(topic.name.clone()),
        topic_id: topic.id,
        is_internal: topic.is_internal(),
        partitions: topic.partitions.iter().enumerate().map(partition).collect(),
        ..Default::default()
    }
}
