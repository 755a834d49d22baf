//! DescribeConfigs (KIP-133, KIP-226, KIP-569): every config with its value, source, type and synonyms.

use std::collections::HashSet;

use settings::Described;
use settings::broker::Scope;
use wire::describe_configs::{
    DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use wire::{DescribeConfigsRequest, DescribeConfigsResponse, ErrorCode};

use crate::error::Refusal;
use crate::handlers::configs::{self, Resource};
use crate::hosting::Cluster;
use crate::node::Node;
use crate::request::Caller;
use crate::topics::Topics;

pub async fn handle(
    request: DescribeConfigsRequest,
    _caller: &Caller,
    node: &Node,
    topics: &Topics,
    cluster: &Cluster,
) -> DescribeConfigsResponse {
    let mut response = DescribeConfigsResponse::default();
    let mut seen = HashSet::new();
    for resource in request.resources {
        // Kafka answers a resource as often as it is named, which no client can use (Java's refuses the answer), and
        // which turns a small request into an enormous answer.
        if !seen.insert((resource.resource_type, resource.resource_name.clone())) {
            continue;
        }
        let described = describe(&resource, node, topics, cluster);
        let mut result = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            ..Default::default()
        };
        match described {
            Ok(configs) => {
                let wanted = |described: &Described| match &resource.configuration_keys {
                    Some(keys) if !keys.is_empty() => keys.iter().any(|key| key == described.name),
                    _ => true,
                };
                let entry =
                    |described| entry(described, request.include_synonyms, request.include_documentation);
                result.configs = configs.into_iter().filter(wanted).map(entry).collect();
            }
            Err(refusal) => (result.error_code, result.error_message) = (refusal.code(), refusal.text()),
        }
        response.results.push(result);
    }
    response
}

fn describe(
    wanted: &DescribeConfigsResource,
    node: &Node,
    topics: &Topics,
    cluster: &Cluster,
) -> Result<Vec<Described>, Refusal> {
    let name = &wanted.resource_name;
    match wanted.resource_type {
        // Loggers are not set over the protocol, and nobody collects client metrics.
        configs::BROKER_LOGGER => configs::check_broker(name, node).map(|()| Vec::new()),
        configs::CLIENT_METRICS => Ok(Vec::new()),
        configs::GROUP if name.is_empty() => {
            Err(Refusal::new(ErrorCode::InvalidRequest, "Group name must not be empty"))
        }
        kind => Ok(match configs::resource(kind, name, node, topics)? {
            Resource::Topic(topic) => topic.overrides.describe(&cluster.settings()),
            Resource::Group(name) => cluster.groups().overrides(&name).describe(&cluster.settings()),
            Resource::Broker(Scope::Broker) => cluster.settings().describe(),
            Resource::Broker(Scope::ClusterDefault) => cluster.settings().describe_cluster_default(),
        }),
    }
}

fn entry(described: Described, synonyms: bool, documentation: bool) -> DescribeConfigsResourceResult {
    let synonym = |synonym: settings::Synonym| DescribeConfigsSynonym {
        name: synonym.name.into(),
        value: synonym.value.map(Into::into),
        source: synonym.source.code(),
        ..Default::default()
    };
    DescribeConfigsResourceResult {
        name: described.name.into(),
        value: described.value.map(Into::into),
        read_only: described.read_only,
        config_source: described.source.code(),
        is_sensitive: described.sensitive,
        synonyms: if synonyms { described.synonyms.into_iter().map(synonym).collect() } else { Vec::new() },
        config_type: described.config_type.code(),
        documentation: documentation.then(|| described.documentation.into()),
        ..Default::default()
    }
}
