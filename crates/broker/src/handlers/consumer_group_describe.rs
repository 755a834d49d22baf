//! ConsumerGroupDescribe (KIP-848): the members of groups under the newer protocol, what each has and is to have.

use std::sync::Arc;

use coordinators::groups::consumer::{self, Consumer};
use wire::consumer_group_describe::{Assignment, DescribedGroup, Member, TopicPartitions};
use wire::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ErrorCode, Str};

use super::groups::{self, Coordinator, OPERATIONS};
use crate::error::of_host;
use crate::topics::Topics;

/// Kafka's numbers of members under the classic and the newer protocol.
const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

pub async fn handle(
    request: ConsumerGroupDescribeRequest,
    groups: &Coordinator,
    topics: &Topics,
) -> ConsumerGroupDescribeResponse {
    let mut response = ConsumerGroupDescribeResponse::default();
    for name in request.group_ids {
        let mut group = describe(name, groups, topics).await;
        if request.include_authorized_operations && group.error_code == 0 {
            group.authorized_operations = OPERATIONS;
        }
        response.groups.push(group);
    }
    response
}

async fn describe(name: Str, groups: &Coordinator, topics: &Topics) -> DescribedGroup {
    if name.is_empty() {
        return DescribedGroup {
            error_code: ErrorCode::InvalidGroupId.into(),
            group_id: name,
            ..Default::default()
        };
    }
    let wanted = name.to_string();
    let found = match groups.of(&name).await {
        Ok(host) => {
            let look = move |groups: &coordinators::groups::Groups| {
                groups.group(&wanted).map(|group| group.consumer.clone())
            };
            host.query(look).await
        }
        Err(error) => Err(error),
    };
    let refused = |code: i16, message: Option<String>| DescribedGroup {
        group_id: name.clone(),
        error_code: code,
        error_message: message.map(Into::into),
        ..Default::default()
    };
    let not_found = i16::from(ErrorCode::GroupIdNotFound);
    match found {
        Ok(Some(Some(group))) => described(name, &group, topics),
        Ok(Some(None)) => refused(not_found, Some(format!("Group {name} is not a consumer group."))),
        Ok(None) => refused(not_found, Some(format!("Group {name} not found."))),
        Err(error) => refused(of_host(error, |reject| groups::code(reject).into()).code(), None),
    }
}

fn described(name: Str, group: &Consumer, topics: &Topics) -> DescribedGroup {
    let member = |(id, member): (&String, &Arc<consumer::Member>)| {
        let metadata = &member.metadata;
        Member {
            member_id: id.as_str().into(),
            instance_id: metadata.instance.as_deref().map(Into::into),
            rack_id: metadata.rack.as_deref().map(Into::into),
            member_epoch: member.current.epoch,
            client_id: metadata.client_id.as_str().into(),
            client_host: metadata.client_host.as_str().into(),
            subscribed_topic_names: metadata.topics.iter().map(|topic| topic.as_str().into()).collect(),
            subscribed_topic_regex: Some(metadata.expression.as_deref().unwrap_or_default().into()),
            assignment: assignment(&member.current.held(), topics),
            target_assignment: group
                .targets
                .get(id)
                .map(|target| assignment(target, topics))
                .unwrap_or_default(),
            member_type: if member.is_classic() { CLASSIC_MEMBER } else { CONSUMER_MEMBER },
            ..Default::default()
        }
    };
    DescribedGroup {
        group_id: name,
        group_state: group.state_name().into(),
        group_epoch: group.epoch,
        assignment_epoch: group.assignment_epoch,
        assignor_name: group.assignor().name().into(),
        members: group.members.iter().map(member).collect(),
        ..Default::default()
    }
}

/// Topics that are gone are left out.
fn assignment(assignment: &consumer::Assignment, topics: &Topics) -> Assignment {
    let known = assignment.iter().filter_map(|(id, partitions)| {
        let topic = topics.by_id(*id)?;
        Some(TopicPartitions {
            topic_id: *id,
            topic_name: topic.name.clone(),
            partitions: partitions.iter().copied().collect(),
            ..Default::default()
        })
    });
    Assignment { topic_partitions: known.collect(), ..Default::default() }
}
