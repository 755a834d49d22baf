//! DescribeCluster (KIP-700).

use wire::describe_cluster::DescribeClusterBroker;
use wire::{DescribeClusterRequest, DescribeClusterResponse, ErrorCode};

use crate::node::Node;
use crate::request::Caller;

/// Kafka's numbers of endpoint types (KIP-919).
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub async fn handle(
    request: DescribeClusterRequest,
    caller: &Caller,
    node: &Node,
) -> DescribeClusterResponse {
    if request.endpoint_type != BROKERS {
        let (code, why) = match request.endpoint_type {
            CONTROLLERS => {
                (ErrorCode::MismatchedEndpointType, "this address is a broker's, not a controller's")
            }
            _ => (ErrorCode::UnsupportedEndpointType, "unknown endpoint type"),
        };
        return DescribeClusterResponse {
            error_code: code.into(),
            error_message: Some(why.into()),
            ..Default::default()
        };
    }
    let (host, port) = node.address(&caller.ends);
    let broker = DescribeClusterBroker {
        broker_id: node.id,
        host,
        port,
        rack: node.rack.clone(),
        ..Default::default()
    };
    DescribeClusterResponse {
        cluster_id: node.cluster_id.clone(),
        controller_id: node.id,
        brokers: vec![broker],
        cluster_authorized_operations: match request.include_cluster_authorized_operations {
            true => super::CLUSTER_OPERATIONS,
            false => i32::MIN,
        },
        ..Default::default()
    }
}
