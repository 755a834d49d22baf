//! DescribeGroups: the members of classic groups and what each was assigned.

use coordinators::groups;
use coordinators::groups::classic::{Classic, Member, State};
use wire::describe_groups::{DescribedGroup, DescribedGroupMember};
use wire::{DescribeGroupsRequest, DescribeGroupsResponse, ErrorCode, Str};

use super::groups::{Coordinator, OPERATIONS};
use crate::error::of_host;
use crate::hosting::share_bytes;
use crate::request::Caller;

/// The first version that is told that a group does not exist (KIP-1043).
const KNOWS_NOT_FOUND: i16 = 6;

pub async fn handle(
    request: DescribeGroupsRequest,
    caller: &Caller,
    groups: &Coordinator,
) -> DescribeGroupsResponse {
    let mut response = DescribeGroupsResponse::default();
    for name in request.groups {
        let mut group = describe(name, caller, groups).await;
        if request.include_authorized_operations && group.error_code == 0 {
            group.authorized_operations = OPERATIONS;
        }
        response.groups.push(group);
    }
    response
}

async fn describe(name: Str, caller: &Caller, groups: &Coordinator) -> DescribedGroup {
    let wanted = name.to_string();
    let found = match groups.of(&name).await {
        Ok(host) => {
            let is_classic = |group: &&groups::Group| group.consumer.is_none();
            host.query(move |groups| groups.group(&wanted).filter(is_classic).map(described)).await
        }
        Err(error) => Err(error),
    };
    match found {
        Ok(Some(group)) => DescribedGroup { group_id: name, ..group },
        Ok(None) if caller.version < KNOWS_NOT_FOUND => {
            DescribedGroup { group_id: name, group_state: "Dead".into(), ..Default::default() }
        }
        Ok(None) => DescribedGroup {
            error_code: ErrorCode::GroupIdNotFound.into(),
            error_message: Some(format!("Group {name} not found.").into()),
            group_id: name,
            group_state: "Dead".into(),
            ..Default::default()
        },
        Err(error) => DescribedGroup {
            group_id: name,
            error_code: of_host(error, |reject| super::groups::code(reject).into()).code(),
            ..Default::default()
        },
    }
}

fn described(group: &groups::Group) -> DescribedGroup {
    let Some(classic) = &group.classic else {
        return DescribedGroup { group_state: state_name(State::Empty).into(), ..Default::default() };
    };
    // What members said and were given is only told while it holds.
    let protocol = classic.protocol.as_deref().filter(|_| classic.state == State::Stable);
    DescribedGroup {
        group_state: state_name(classic.state).into(),
        protocol_type: classic.protocol_type.as_deref().unwrap_or_default().into(),
        protocol_data: protocol.unwrap_or_default().into(),
        members: members(classic, protocol),
        ..Default::default()
    }
}

fn members(classic: &Classic, protocol: Option<&str>) -> Vec<DescribedGroupMember> {
    let describe = |(id, member): (&String, &std::sync::Arc<Member>)| DescribedGroupMember {
        member_id: id.as_str().into(),
        group_instance_id: member.instance.as_deref().map(Into::into),
        client_id: member.client_id.as_str().into(),
        client_host: member.client_host.as_str().into(),
        member_metadata: protocol.map(|protocol| member.metadata(protocol)).unwrap_or_default(),
        member_assignment: protocol.map(|_| share_bytes(&member.assignment)).unwrap_or_default(),
        ..Default::default()
    };
    classic.members.iter().map(describe).collect()
}

/// Kafka's names of the states.
pub fn state_name(state: State) -> &'static str {
    match state {
        State::Empty => "Empty",
        State::PreparingRebalance => "PreparingRebalance",
        State::CompletingRebalance => "CompletingRebalance",
        State::Stable => "Stable",
    }
}
