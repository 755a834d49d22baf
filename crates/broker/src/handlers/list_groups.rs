//! ListGroups (KIP-518, KIP-848): all groups, or those of some states and types.

use std::collections::BTreeSet;

use coordinators::groups::Group;
use coordinators::groups::classic::State;
use wire::list_groups::ListedGroup;
use wire::{ListGroupsRequest, ListGroupsResponse, Str};

use super::describe_groups::state_name;
use super::groups::Coordinator;
use crate::error::of_host;

/// The types of groups: those whose members agree among themselves, and those of the newer consumer protocol.
const CLASSIC: &str = "classic";
const CONSUMER: &str = "consumer";

pub async fn handle(request: ListGroupsRequest, groups: &Coordinator) -> ListGroupsResponse {
    match list(groups).await {
        Ok(mut listed) => {
            let (states, types) = (names(&request.states_filter), names(&request.types_filter));
            let is_named = |filter: &BTreeSet<String>, name: &str| {
                filter.is_empty() || filter.contains(&name.to_ascii_lowercase())
            };
            listed
                .retain(|group| is_named(&states, &group.group_state) && is_named(&types, &group.group_type));
            ListGroupsResponse { groups: listed, ..Default::default() }
        }
        Err(code) => ListGroupsResponse { error_code: code, ..Default::default() },
    }
}

/// Whatever their case.
fn names(filter: &[Str]) -> BTreeSet<String> {
    filter.iter().map(|name| name.to_ascii_lowercase()).collect()
}

async fn list(groups: &Coordinator) -> Result<Vec<ListedGroup>, i16> {
    let code = |error| of_host(error, |reject| super::groups::code(reject).into()).code();
    let mut listed = Vec::new();
    for host in groups.all().await.map_err(code)? {
        let of_host: Vec<ListedGroup> = host
            .query(|groups| groups.groups().map(|(name, group)| describe(name, group)).collect())
            .await
            .map_err(code)?;
        listed.extend(of_host);
    }
    Ok(listed)
}

fn describe(name: &str, group: &Group) -> ListedGroup {
    if let Some(consumer) = &group.consumer {
        return ListedGroup {
            group_id: name.into(),
            protocol_type: CONSUMER.into(),
            group_state: consumer.state_name().into(),
            group_type: CONSUMER.into(),
            ..Default::default()
        };
    }
    let classic = group.classic.as_ref();
    let protocol_type = classic.and_then(|classic| classic.protocol_type.as_deref());
    ListedGroup {
        group_id: name.into(),
        protocol_type: protocol_type.unwrap_or_default().into(),
        group_state: state_name(classic.map_or(State::Empty, |classic| classic.state)).into(),
        group_type: CLASSIC.into(),
        ..Default::default()
    }
}
