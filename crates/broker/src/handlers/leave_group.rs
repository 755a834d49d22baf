//! LeaveGroup (KIP-345): members of a classic group go, one or, by an administrator, several.

use coordinators::groups::classic::Leaver;
use coordinators::groups::{Command, Reject, Reply};
use wire::leave_group::{MemberIdentity, MemberResponse};
use wire::{ErrorCode, LeaveGroupRequest, LeaveGroupResponse};

use super::groups::{self, Group};
use crate::request::Caller;

/// From here on a request names several members.
const SEVERAL: i16 = 3;

pub async fn handle(
    request: LeaveGroupRequest,
    caller: &Caller,
    groups: &groups::Coordinator,
) -> LeaveGroupResponse {
    let members = match caller.version {
        ..SEVERAL => vec![MemberIdentity { member_id: request.member_id, ..Default::default() }],
        _ => request.members,
    };
    let results = match leave(&request.group_id, &members, groups).await {
        Ok(results) => results,
        // Every member is unknown to a group that is not there.
        Err(ErrorCode::UnknownMemberId) => vec![Err(Reject::UnknownMemberId); members.len()],
        Err(code) => return LeaveGroupResponse { error_code: code.into(), ..Default::default() },
    };
    let code_of = |result: &Result<(), Reject>| crate::request::code(result.clone().err().map(groups::code));
    if caller.version < SEVERAL {
        let error_code = results.first().map_or(0, code_of);
        return LeaveGroupResponse { error_code, ..Default::default() };
    }
    let answered = members.into_iter().zip(&results).map(|(member, result)| MemberResponse {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        error_code: code_of(result),
        ..Default::default()
    });
    LeaveGroupResponse { members: answered.collect(), ..Default::default() }
}

async fn leave(
    group: &str,
    members: &[MemberIdentity],
    groups: &groups::Coordinator,
) -> Result<Vec<Result<(), Reject>>, ErrorCode> {
    if group.is_empty() {
        return Err(groups::code(Reject::InvalidGroupId));
    }
    let leaver = |member: &MemberIdentity| Leaver {
        member: member.member_id.to_string(),
        instance: member.group_instance_id.as_ref().map(|instance| instance.to_string()),
    };
    let command = Command::Leave { group: group.to_string(), leavers: members.iter().map(leaver).collect() };
    match Group::of(groups, group).await?.decide(command).await? {
        Reply::Left(results) => Ok(results),
        _ => Err(ErrorCode::UnknownServerError),
    }
}
