//! AlterConfigs: a resource's own configs become those of the request, and no others.

use settings::{Change, Operation, TopicOverrides};
use wire::alter_configs::{AlterConfigsResource, AlterConfigsResourceResponse};
use wire::{AlterConfigsRequest, AlterConfigsResponse, ErrorCode};

use crate::error::{Refusal, of_cluster};
use crate::handlers::configs::{self, Resource};
use crate::hosting::Cluster;
use crate::node::Node;
use crate::topics::Topics;

pub async fn handle(
    request: AlterConfigsRequest,
    node: &Node,
    topics: &Topics,
    cluster: &Cluster,
) -> AlterConfigsResponse {
    let mut response = AlterConfigsResponse::default();
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
    configs::check_not_default(wanted.resource_type, &wanted.resource_name)?;
    let settings = cluster.settings();
    let given = wanted.configs.iter().map(|config| (config.name.as_ref() as &str, config.value.as_deref()));
    let nothing = given.clone().filter(|(_, value)| value.is_none()).map(|(name, _)| name);
    let nothing: Vec<&str> = nothing.collect();
    if !nothing.is_empty() {
        let why = format!("Null value not supported for : {}", nothing.join(","));
        return Err(Refusal::new(ErrorCode::InvalidRequest, why));
    }
    if wanted.resource_type == configs::TOPIC {
        // Values are looked at before the topic is.
        TopicOverrides::default().replace(given.clone(), &settings).map_err(configs::refusal)?;
    }
    match configs::resource(wanted.resource_type, &wanted.resource_name, node, topics)? {
        Resource::Topic(topic) => {
            let changed = topic.overrides.replace(given, &settings).map_err(configs::refusal)?;
            if !validate_only {
                cluster.set_topic_configs(&topic, &changed).await.map_err(of_cluster)?;
            }
        }
        Resource::Group(name) => {
            let present = cluster.groups().overrides(&name);
            let changed = present.replace(given, &settings).map_err(configs::refusal)?;
            if !validate_only {
                cluster.set_group_configs(&name, &changed).await.map_err(of_cluster)?;
            }
        }
        Resource::Broker(scope) => {
            let given: Vec<_> = given.collect();
            let set =
                given.iter().map(|(name, value)| Change { name, operation: Operation::Set, value: *value });
            let present = settings.dynamic(scope).keys();
            let gone = present.filter(|name| !given.iter().any(|(given, _)| given == *name));
            let gone = gone.map(|name| Change { name, operation: Operation::Delete, value: None });
            let changes: Vec<Change<'_>> = set.chain(gone).collect();
            let changed = settings.alter(scope, &changes).map_err(configs::refusal)?;
            if !validate_only {
                cluster.set_broker_configs(scope, &changed).await.map_err(of_cluster)?;
            }
        }
    }
    Ok(())
}
