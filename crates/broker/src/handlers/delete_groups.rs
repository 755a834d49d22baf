//! DeleteGroups (KIP-229): forgets groups without members, and what they had committed.

use coordinators::groups::Command;
use wire::delete_groups::DeletableGroupResult;
use wire::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::groups::{self, Group};

pub async fn handle(request: DeleteGroupsRequest, groups: &groups::Coordinator) -> DeleteGroupsResponse {
    let mut response = DeleteGroupsResponse::default();
    for group_id in request.groups_names {
        let deleted = match Group::of(groups, &group_id).await {
            Ok(group) => group.decide(Command::DeleteGroup { group: group_id.to_string() }).await,
            Err(code) => Err(code),
        };
        response.results.push(DeletableGroupResult {
            error_code: crate::request::code(deleted.err()),
            group_id,
            ..Default::default()
        });
    }
    response
}
