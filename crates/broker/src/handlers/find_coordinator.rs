//! FindCoordinator (KIP-699): who is in charge of a group or a transactional id. On one node, always this one.

use coordinators::transactional_ids::TransactionalIds;
use wire::find_coordinator::Coordinator as Found;
use wire::{ErrorCode, FindCoordinatorRequest, FindCoordinatorResponse};

use super::groups;
use crate::error::{Refusal, of_host};
use crate::hosting::Coordinator;
use crate::node::Node;
use crate::request::Caller;

/// Kafka's numbers of coordinator types.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// From here on one request asks for many.
const BATCHED: i16 = 4;

pub async fn handle(
    request: FindCoordinatorRequest,
    caller: &Caller,
    node: &Node,
    groups: &groups::Coordinator,
    transactional_ids: &Coordinator<TransactionalIds>,
) -> FindCoordinatorResponse {
    // The internal topic is made here, where clients are ready to wait and try again.
    let ready = match request.key_type {
        GROUP => groups.topic().await.map(drop).map_err(|error| of_host(error, |_| unexpected())),
        TRANSACTION => {
            transactional_ids.topic().await.map(drop).map_err(|error| of_host(error, |_| unexpected()))
        }
        other => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!("coordinators of type {other} are not served"),
        )),
    };
    let (host, port) = node.address(&caller.ends);
    if caller.version < BATCHED {
        return match ready {
            Ok(()) => FindCoordinatorResponse {
                node_id: node.id,
                host,
                port,
                error_message: Some("NONE".into()),
                ..Default::default()
            },
            Err(refusal) => FindCoordinatorResponse {
                error_code: refusal.code(),
                error_message: refusal.text(),
                node_id: -1,
                port: -1,
                ..Default::default()
            },
        };
    }
    let answer = |key| match &ready {
        Ok(()) => Found { key, node_id: node.id, host: host.clone(), port, ..Default::default() },
        Err(refusal) => Found {
            key,
            node_id: -1,
            port: -1,
            error_code: refusal.code(),
            error_message: refusal.text(),
            ..Default::default()
        },
    };
    FindCoordinatorResponse {
        coordinators: request.coordinator_keys.into_iter().map(answer).collect(),
        ..Default::default()
    }
}

fn unexpected() -> Refusal {
    ErrorCode::UnknownServerError.into()
}
