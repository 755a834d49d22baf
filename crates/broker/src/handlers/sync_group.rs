//! SyncGroup: the leader hands in the assignment, everybody gets their part of it.

use coordinators::groups::classic::{Answer, Sync};
use coordinators::groups::{Command, Reject};
use wire::{ErrorCode, SyncGroupRequest, SyncGroupResponse};

use super::groups::{self, Group};
use crate::hosting;
use crate::request::Caller;
use crate::topics::Topics;

/// From here on the client must say which protocol it believes in (KIP-559).
const NAMES_PROTOCOL: i16 = 5;

pub async fn handle(
    request: SyncGroupRequest,
    caller: &Caller,
    groups: &groups::Coordinator,
    topics: &Topics,
) -> SyncGroupResponse {
    let failed = |code: ErrorCode| SyncGroupResponse { error_code: code.into(), ..Default::default() };
    match sync(request, caller, groups, topics).await {
        Ok(Answer::Synced { assignment, protocol_type, protocol }) => SyncGroupResponse {
            protocol_type: protocol_type.map(Into::into),
            protocol_name: protocol.map(Into::into),
            assignment: hosting::share_bytes(&assignment),
            ..Default::default()
        },
        Ok(Answer::Refused(reject)) => failed(groups::code(reject)),
        // It was asked to join meanwhile, by a request of the same member.
        Ok(Answer::Joined(_) | Answer::MemberIdRequired { .. }) => failed(ErrorCode::RebalanceInProgress),
        Err(code) => failed(code),
    }
}

async fn sync(
    request: SyncGroupRequest,
    caller: &Caller,
    groups: &groups::Coordinator,
    topics: &Topics,
) -> Result<Answer, ErrorCode> {
    let named = request.protocol_type.is_some() && request.protocol_name.is_some();
    if caller.version >= NAMES_PROTOCOL && !named {
        return Err(ErrorCode::InconsistentGroupProtocol);
    }
    if request.group_id.is_empty() {
        return Err(groups::code(Reject::InvalidGroupId));
    }
    let group = Group::of(groups, &request.group_id).await?;
    let assignments = request.assignments.into_iter().map(|assignment| {
        // It is kept for as long as the member is there: the request's other bytes must not be.
        let bytes = bytes::Bytes::copy_from_slice(&assignment.assignment);
        (assignment.member_id.to_string(), hosting::share(bytes))
    });
    let command = Sync {
        group: request.group_id.to_string(),
        generation: request.generation_id,
        member: request.member_id.to_string(),
        instance: request.group_instance_id.map(|instance| instance.to_string()),
        protocol_type: request.protocol_type.map(|name| name.to_string()),
        protocol: request.protocol_name.map(|name| name.to_string()),
        assignments: assignments.collect(),
        image: topics.image(),
        kept_elsewhere: group.kept_elsewhere(),
    };
    group.ask(&request.member_id, Command::Sync(command)).await
}
