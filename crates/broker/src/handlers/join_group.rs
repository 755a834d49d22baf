//! JoinGroup (KIP-62, KIP-345, KIP-394): becomes a member of a classic group; answered when all of its members have
//! joined.

use std::time::Duration;

use coordinators::groups::classic::{Answer, Join, Joined, Protocol};
use coordinators::groups::{Command, Reject};
use env::Random;
use wire::join_group::{JoinGroupRequestProtocol, JoinGroupResponseMember};
use wire::{ErrorCode, JoinGroupRequest, JoinGroupResponse, Str};

use super::groups::{self, Group};
use crate::hosting::subscription;
use crate::request::Caller;
use crate::topics::Topics;

/// The first version with a rebalance timeout of its own.
const REBALANCE_TIMEOUT: i16 = 1;
/// The first version that is told its id before it joins.
const KNOWS_IDS: i16 = 4;
/// From here on no protocol is null, not empty.
const NULL_PROTOCOL: i16 = 7;
/// The first version that knows `skip_assignment`.
const KNOWS_SKIPPING: i16 = 9;

pub async fn handle(
    request: JoinGroupRequest,
    caller: &Caller,
    groups: &groups::Coordinator,
    topics: &Topics,
    random: &dyn Random,
) -> JoinGroupResponse {
    let member = request.member_id.clone();
    match join(request, caller, groups, topics, random).await {
        Ok(Answer::Joined(joined)) => respond(joined),
        Ok(Answer::MemberIdRequired { member }) => {
            failed(ErrorCode::MemberIdRequired, member.as_str().into(), caller)
        }
        Ok(Answer::Refused(reject)) => failed(groups::code(reject), member, caller),
        Ok(Answer::Synced { .. }) => failed(ErrorCode::UnknownServerError, member, caller),
        Err(code) => failed(code, member, caller),
    }
}

async fn join(
    request: JoinGroupRequest,
    caller: &Caller,
    groups: &groups::Coordinator,
    topics: &Topics,
    random: &dyn Random,
) -> Result<Answer, ErrorCode> {
    if request.group_id.is_empty() {
        return Err(groups::code(Reject::InvalidGroupId));
    }
    let millis = |millis: i32| Duration::from_millis(millis.max(0) as u64);
    let client_id = caller.client_id.as_deref().unwrap_or_default();
    let instance = request.group_instance_id.map(|instance| instance.to_string());
    let fresh = format!("{}-{}", instance.as_deref().unwrap_or(client_id), groups::uuid(random));
    let protocol = |protocol: JoinGroupRequestProtocol| Protocol {
        name: protocol.name.to_string(),
        subscription: subscription(&request.protocol_type, &protocol.metadata),
        // It is kept for as long as the member is there: the request's other bytes must not be.
        metadata: bytes::Bytes::copy_from_slice(&protocol.metadata),
    };
    let group = Group::of(groups, &request.group_id).await?;
    let command = Join {
        group: request.group_id.to_string(),
        member: request.member_id.to_string(),
        fresh: fresh.clone(),
        instance,
        client_id: client_id.to_string(),
        client_host: groups::host(caller),
        session_timeout: millis(request.session_timeout_ms),
        rebalance_timeout: match caller.version {
            ..REBALANCE_TIMEOUT => millis(request.session_timeout_ms),
            _ => millis(request.rebalance_timeout_ms),
        },
        protocol_type: request.protocol_type.to_string(),
        protocols: request.protocols.into_iter().map(protocol).collect(),
        knows_ids: caller.version >= KNOWS_IDS,
        knows_skipping: caller.version >= KNOWS_SKIPPING,
        image: topics.image(),
        kept_elsewhere: group.kept_elsewhere(),
    };
    let member = if request.member_id.is_empty() { fresh } else { request.member_id.to_string() };
    group.ask(&member, Command::Join(command)).await
}

fn respond(joined: Joined) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|member| JoinGroupResponseMember {
        member_id: member.member.into(),
        group_instance_id: member.instance.map(Into::into),
        metadata: member.metadata,
        ..Default::default()
    });
    JoinGroupResponse {
        generation_id: joined.generation,
        protocol_type: joined.protocol_type.map(Into::into),
        protocol_name: Some(joined.protocol.unwrap_or_default().into()),
        leader: joined.leader.into(),
        skip_assignment: joined.skip_assignment,
        member_id: joined.member.into(),
        members: members.collect(),
        ..Default::default()
    }
}

fn failed(code: ErrorCode, member_id: Str, caller: &Caller) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code: code.into(),
        generation_id: -1,
        protocol_name: if caller.version < NULL_PROTOCOL { Some(Str::new()) } else { None },
        member_id,
        ..Default::default()
    }
}
