//! IncrementalAlterConfigs (KIP-339): sets, deletes, appends to and subtracts from single configs.

use settings::{Change, Operation, TopicOverrides};
use wire::incremental_alter_configs::{AlterConfigsResource, AlterConfigsResourceResponse};
use wire::{ErrorCode, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use crate::error::{Refusal, of_cluster};
use crate::handlers::configs::{self, Resource};
use crate::hosting::Cluster;
use crate::node::Node;
use crate::topics::Topics;

pub async fn handle(
    request: IncrementalAlterConfigsRequest,
    node: &Node,
    topics: &Topics,
    cluster: &Cluster,
) -> IncrementalAlterConfigsResponse {
    let mut response = IncrementalAlterConfigsResponse::default();
    for resource in request.resources {
        let refusal = alter(&resource, request.validate_only, node, topics, cluster).await.err();
        response.responses.push(AlterConfigsResourceResponse {
            error_code: crate::request::code(refusal.as_ref().map(|refusal| refusal.code)),
            error_message: refusal.and_then(|refusal| refusal.text()),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            ..Default::default()
        });
    }
    response
}

async fn alter(
    wanted: &AlterConfigsResource,
    validate_only: bool,
    node: &Node,
    topics: &Topics,
    cluster: &Cluster,
) -> Result<(), Refusal> {
    let mut changes = Vec::with_capacity(wanted.configs.len());
    for config in &wanted.configs {
        let unknown = || {
            Refusal::new(ErrorCode::InvalidRequest, format!("{} is no operation", config.config_operation))
        };
        let operation = Operation::from_code(config.config_operation).ok_or_else(unknown)?;
        changes.push(Change { name: &config.name, operation, value: config.value.as_deref() });
    }
    configs::check_not_default(wanted.resource_type, &wanted.resource_name)?;
    let settings = cluster.settings();
    let resource = configs::resource(wanted.resource_type, &wanted.resource_name, node, topics);
    if resource.is_err() && wanted.resource_type == configs::TOPIC {
        // Values are looked at before the topic is.
        TopicOverrides::default().alter(&changes, &settings).map_err(configs::refusal)?;
    }
    match resource? {
        Resource::Topic(topic) => {
            let changed = topic.overrides.alter(&changes, &settings).map_err(configs::refusal)?;
            if !validate_only {
                cluster.set_topic_configs(&topic, &changed).await.map_err(of_cluster)?;
            }
        }
        Resource::Group(name) => {
            let present = cluster.groups().overrides(&name);
            let changed = present.alter(&changes, &settings).map_err(configs::refusal)?;
            if !validate_only {
                cluster.set_group_configs(&name, &changed).await.map_err(of_cluster)?;
            }
        }
        Resource::Broker(scope) => {
            let changed = settings.alter(scope, &changes).map_err(configs::refusal)?;
            if !validate_only {
                cluster.set_broker_configs(scope, &changed).await.map_err(of_cluster)?;
            }
        }
    }
    Ok(())
}
