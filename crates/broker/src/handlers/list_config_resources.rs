//! ListConfigResources (KIP-1142): what has configs.

use wire::list_config_resources::ConfigResource;
use wire::{ErrorCode, ListConfigResourcesRequest, ListConfigResourcesResponse, Str};

use crate::handlers::configs::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use crate::hosting::Cluster;
use crate::node::Node;
use crate::request::Caller;
use crate::topics::Topics;

pub async fn handle(
    request: ListConfigResourcesRequest,
    caller: &Caller,
    node: &Node,
    topics: &Topics,
    cluster: &Cluster,
) -> ListConfigResourcesResponse {
    const ALL: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
    // Version 0 was ListClientMetricsResources.
    let wanted: Vec<i8> = match (caller.version, request.resource_types.as_slice()) {
        (0, _) => vec![CLIENT_METRICS],
        (_, []) => ALL.to_vec(),
        (_, given) => given.to_vec(),
    };
    if wanted.iter().any(|kind| !ALL.contains(kind)) {
        return ListConfigResourcesResponse {
            error_code: ErrorCode::UnsupportedVersion.into(),
            ..Default::default()
        };
    }
    let mut response = ListConfigResourcesResponse::default();
    let mut list = |resource_type: i8, resource_name: Str| {
        response.config_resources.push(ConfigResource { resource_name, resource_type, ..Default::default() });
    };
    for kind in ALL.into_iter().filter(|kind| wanted.contains(kind)) {
        match kind {
            TOPIC => topics.all().iter().for_each(|topic| list(TOPIC, topic.name.clone())),
            BROKER | BROKER_LOGGER => list(kind, node.id.to_string().into()),
            GROUP => cluster.groups().names().into_iter().for_each(|name| list(GROUP, name.into())),
            _ => {}
        }
    }
    response
}
