//! ConsumerGroupHeartbeat (KIP-848): a member says what it wants and has, and is told what to take or give up.

use std::time::Duration;

use coordinators::groups::consumer::{
    Assignment, Assignor, Beat, Beaten, JOINS, LEAVES, LEAVES_FOR_A_WHILE, Obstacle,
};
use coordinators::groups::{Command, Reject, Reply};
use env::Random;
use settings::GroupConfig;
use wire::consumer_group_heartbeat::{Assignment as Assigned, ResponseTopicPartitions};
use wire::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, ErrorCode};

use super::groups;
use crate::error::{Refusal, of_host};
use crate::hosting::Cluster;
use crate::request::Caller;
use crate::topics::Topics;

/// From here on members make their own ids.
const OWN_IDS: i16 = 1;

pub async fn handle(
    request: ConsumerGroupHeartbeatRequest,
    caller: &Caller,
    groups: &groups::Coordinator,
    topics: &Topics,
    cluster: &Cluster,
    random: &dyn Random,
) -> ConsumerGroupHeartbeatResponse {
    let config = cluster.groups().config(&request.group_id);
    match beat(request, caller, groups, topics, &config, random).await {
        Ok(told) => ConsumerGroupHeartbeatResponse {
            member_id: Some(told.member.into()),
            member_epoch: told.epoch,
            heartbeat_interval_ms: match told.epoch {
                ..=LEAVES => 0,
                _ => config.consumer_heartbeat_interval.as_millis() as i32,
            },
            assignment: told.assignment.map(assigned),
            ..Default::default()
        },
        Err(refusal) => ConsumerGroupHeartbeatResponse {
            error_code: refusal.code(),
            error_message: refusal.text(),
            ..Default::default()
        },
    }
}

async fn beat(
    request: ConsumerGroupHeartbeatRequest,
    caller: &Caller,
    groups: &groups::Coordinator,
    topics: &Topics,
    config: &GroupConfig,
    random: &dyn Random,
) -> Result<Beaten, Refusal> {
    check(&request, caller).map_err(|why| Refusal::new(ErrorCode::InvalidRequest, why))?;
    if let Some(name) = request.server_assignor.as_deref().filter(|name| Assignor::named(name).is_none()) {
        let why = format!("ServerAssignor {name} is not supported. Supported assignors: uniform, range.");
        return Err(Refusal::new(ErrorCode::UnsupportedAssignor, why));
    }
    let member = match request.member_id.is_empty() {
        true => groups::uuid(random),
        false => request.member_id.to_string(),
    };
    let text = |text: Option<wire::Str>| text.map(|text| text.to_string());
    let owned = |owned: Vec<wire::consumer_group_heartbeat::RequestTopicPartitions>| -> Assignment {
        crate::hosting::assignment(owned.into_iter().map(|one| (one.topic_id, one.partitions)))
    };
    let timeout = request.rebalance_timeout_ms;
    let host = groups.of(&request.group_id).await;
    let host = host.map_err(|error| of_host(error, |reject| refusal(reject, &request.group_id)))?;
    let says = request.subscribed_topic_names.is_some()
        || request.subscribed_topic_regex.is_some()
        || request.member_epoch == JOINS;
    let command = Beat {
        group: request.group_id.to_string(),
        member,
        epoch: request.member_epoch,
        instance: text(request.instance_id),
        rack: text(request.rack_id),
        client_id: caller.client_id.as_deref().unwrap_or_default().to_string(),
        client_host: groups::host(caller),
        rebalance_timeout: (timeout >= 0).then(|| Duration::from_millis(timeout.max(0) as u64)),
        topics: request.subscribed_topic_names.map(|names| names.iter().map(ToString::to_string).collect()),
        expression: text(request.subscribed_topic_regex),
        assignor: text(request.server_assignor),
        owned: request.topic_partitions.map(owned),
        image: topics.image(),
        session_timeout: config.consumer_session_timeout,
        // Most heartbeats say nothing.
        kept_elsewhere: if says { groups::kept_elsewhere(groups, &host) } else { 0 },
    };
    let decided = host.decide(Command::ConsumerHeartbeat(command)).await;
    match decided.map_err(|error| of_host(error, |reject| refusal(reject, &request.group_id)))? {
        Reply::Beaten(told) => Ok(told),
        _ => Err(ErrorCode::UnknownServerError.into()),
    }
}

/// Says why a group of the other protocol stays one, since an operator has to change something, and what is wrong with an
/// expression.
fn refusal(reject: Reject, group: &str) -> Refusal {
    if let Reject::InvalidRegularExpression(why) = &reject {
        let why = why.to_string();
        return Refusal::new(groups::code(reject), why);
    }
    let settings = match reject {
        Reject::MemberTooLarge => {
            Some(("The member says too much of itself", "levada.group.member.bytes.max"))
        }
        Reject::NoRoom => Some(("All groups together are full", "levada.memory.groups.bytes.max")),
        _ => None,
    };
    if let Some((why, setting)) = settings {
        return Refusal::new(groups::code(reject), format!("{why} ({setting})."));
    }
    let Reject::CannotUpgrade(obstacle) = reject else { return groups::code(reject).into() };
    let why = match obstacle {
        Obstacle::Disabled => "online upgrade is disabled",
        Obstacle::OtherProtocol => "its members are no consumers",
        Obstacle::TooManyMembers => "it has more members than a consumer group may have",
        Obstacle::Unreadable => "what its members say or were told cannot be read",
        Obstacle::CustomAssignor => "a custom assignor is in use, whose user data would be lost",
    };
    Refusal::new(
        groups::code(reject),
        format!("Cannot upgrade classic group {group} to consumer group: {why}."),
    )
}

/// What no heartbeat may be, whatever the group is; Kafka's rules, and much its words.
fn check(request: &ConsumerGroupHeartbeatRequest, caller: &Caller) -> Result<(), String> {
    let is_empty = |text: &Option<wire::Str>| text.as_ref().is_some_and(|text| text.trim().is_empty());
    if request.group_id.trim().is_empty() {
        return Err("GroupId can't be empty.".into());
    }
    if is_empty(&request.instance_id) {
        return Err("InstanceId can't be empty.".into());
    }
    if is_empty(&request.rack_id) {
        return Err("RackId can't be empty.".into());
    }
    let needs_id =
        caller.version >= OWN_IDS || request.member_epoch > JOINS || request.member_epoch == LEAVES;
    if needs_id && request.member_id.trim().is_empty() {
        return Err("MemberId can't be empty.".into());
    }
    match request.member_epoch {
        ..LEAVES_FOR_A_WHILE => return Err("MemberEpoch is invalid.".into()),
        LEAVES_FOR_A_WHILE if request.instance_id.is_none() => {
            return Err("InstanceId can't be null.".into());
        }
        JOINS => {
            if request.rebalance_timeout_ms == -1 {
                return Err("RebalanceTimeoutMs must be provided in first request.".into());
            }
            if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
                return Err("TopicPartitions must be empty when (re-)joining.".into());
            }
            // Empty is enough: the Java client sends no names where its own pattern matches nothing yet.
            if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
                return Err("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when \
                            (re-)joining."
                    .into());
            }
        }
        _ => {}
    }
    Ok(())
}

fn assigned(assignment: Assignment) -> Assigned {
    let partitions = assignment.into_iter().map(|(topic_id, partitions)| ResponseTopicPartitions {
        topic_id,
        partitions: partitions.into_iter().collect(),
        ..Default::default()
    });
    Assigned { topic_partitions: partitions.collect(), ..Default::default() }
}
