//! Heartbeat: a classic member is alive, and hears whether it must join anew.

use coordinators::groups::classic::Answer;
use coordinators::groups::{Command, Reject, Reply};
use wire::{ErrorCode, HeartbeatRequest, HeartbeatResponse};

use super::groups::{self, Group};

pub async fn handle(request: HeartbeatRequest, groups: &groups::Coordinator) -> HeartbeatResponse {
    let code = match heartbeat(request, groups).await {
        Ok(Reply::Now(Answer::Refused(reject))) => Some(groups::code(reject)),
        Ok(_) => None,
        Err(code) => Some(code),
    };
    HeartbeatResponse { error_code: crate::request::code(code), ..Default::default() }
}

async fn heartbeat(request: HeartbeatRequest, groups: &groups::Coordinator) -> Result<Reply, ErrorCode> {
    if request.group_id.is_empty() {
        return Err(groups::code(Reject::InvalidGroupId));
    }
    let command = Command::Heartbeat {
        group: request.group_id.to_string(),
        generation: request.generation_id,
        member: request.member_id.to_string(),
        instance: request.group_instance_id.map(|instance| instance.to_string()),
    };
    Group::of(groups, &request.group_id).await?.decide(command).await
}
