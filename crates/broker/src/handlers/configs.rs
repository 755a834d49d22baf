//! What the config APIs share: which resource is meant, and what a refusal is called.

use std::sync::Arc;

use settings::broker::Scope;
use wire::{ErrorCode, Str};

use crate::error::Refusal;
use crate::node::Node;
use crate::topics::{Topic, Topics};

/// Kafka's numbers of resources that have configs.
pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;
pub const BROKER_LOGGER: i8 = 8;
pub const CLIENT_METRICS: i8 = 16;
pub const GROUP: i8 = 32;

pub enum Resource {
    Topic(Arc<Topic>),
    Broker(Scope),
    Group(Str),
}

/// The resource of a request, if it is one whose configs can be changed.
pub fn resource(kind: i8, name: &Str, node: &Node, topics: &Topics) -> Result<Resource, Refusal> {
    match kind {
        TOPIC => {
            if let Err(why) = coordinators::metadata::check_topic_name(name) {
                return Err(Refusal::new(ErrorCode::InvalidTopicException, why));
            }
            let unknown =
                || Refusal::new(ErrorCode::UnknownTopicOrPartition, format!("there is no topic {name}"));
            topics.by_name(name).map(Resource::Topic).ok_or_else(unknown)
        }
        BROKER if name.is_empty() => Ok(Resource::Broker(Scope::ClusterDefault)),
        BROKER => {
            check_broker(name, node)?;
            Ok(Resource::Broker(Scope::Broker))
        }
        // The group need not exist yet.
        GROUP => Ok(Resource::Group(name.clone())),
        _ => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!("resources of type {kind} have no such configs"),
        )),
    }
}

/// Topics and groups have no defaults of their own to change: those are the broker's.
pub fn check_not_default(kind: i8, name: &str) -> Result<(), Refusal> {
    let noun = match kind {
        TOPIC if name.is_empty() => "topic",
        GROUP if name.is_empty() => "group",
        _ => return Ok(()),
    };
    Err(Refusal::new(ErrorCode::InvalidRequest, format!("Default {noun} resources are not allowed.")))
}

pub fn check_broker(name: &Str, node: &Node) -> Result<(), Refusal> {
    // Only as it is written: "00" and the like would be as many names of one resource.
    if name.as_ref() as &str == node.id.to_string() {
        return Ok(());
    }
    let why = format!("Unexpected broker id, expected {} or empty string, but received {name}", node.id);
    Err(Refusal::new(ErrorCode::InvalidRequest, why))
}

pub fn refusal(refusal: settings::Refusal) -> Refusal {
    let code = match &refusal {
        settings::Refusal::Request(_) => ErrorCode::InvalidRequest,
        settings::Refusal::Config(_) => ErrorCode::InvalidConfig,
    };
    Refusal::new(code, refusal.to_string())
}
