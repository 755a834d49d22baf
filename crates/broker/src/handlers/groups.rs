//! What the handlers of groups share: the way to a group's coordinator, and Kafka's codes for its refusals.

use coordinators::groups::classic::Answer;
use coordinators::groups::{Command, Groups, Reject, Reply};
use env::Random;
use wire::ErrorCode;

use crate::error::of_host;
use crate::hosting::{self, GroupHost, Waiters};
use crate::request::Caller;

pub type Coordinator = hosting::Coordinator<Groups, Waiters>;

/// Operations on a group that everyone may do while there is no authoriser (KIP-430).
pub const OPERATIONS: i32 = 0b1101_0100_1000;

/// The coordinator of one group.
pub struct Group<'a> {
    name: &'a str,
    host: GroupHost,
    groups: &'a Coordinator,
}

impl<'a> Group<'a> {
    pub async fn of(groups: &'a Coordinator, name: &'a str) -> Result<Group<'a>, ErrorCode> {
        let host =
            groups.of(name).await.map_err(|error| of_host(error, |reject| code(reject).into()).code)?;
        Ok(Group { name, host, groups })
    }

    pub fn kept_elsewhere(&self) -> usize {
        kept_elsewhere(self.groups, &self.host)
    }

    pub async fn decide(&self, command: Command) -> Result<Reply, ErrorCode> {
        self.host.decide(command).await.map_err(|error| of_host(error, |reject| code(reject).into()).code)
    }

    /// Decides a command of a member whose answer may have to wait for others.
    pub async fn ask(&self, member: &str, command: Command) -> Result<Answer, ErrorCode> {
        let waiting = self.host.effects.wait(self.name, member);
        match self.decide(command).await {
            // Without an answer the coordinator has forgotten its members: they look for it and join anew.
            Ok(Reply::Waits) => waiting.await.map_err(|_| ErrorCode::NotCoordinator),
            Ok(Reply::Now(answer)) => {
                self.host.effects.forget(self.name, member);
                Ok(answer)
            }
            Ok(_) => Err(ErrorCode::UnknownServerError),
            Err(code) => {
                self.host.effects.forget(self.name, member);
                Err(code)
            }
        }
    }
}

/// Bytes that the machines of other partitions keep of what members say.
pub fn kept_elsewhere(groups: &Coordinator, host: &GroupHost) -> usize {
    let all: usize = groups.started().iter().map(|host| host.effects.kept_bytes()).sum();
    all.saturating_sub(host.effects.kept_bytes())
}

pub fn code(reject: Reject) -> ErrorCode {
    match reject {
        Reject::InvalidGroupId => ErrorCode::InvalidGroupId,
        Reject::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
        Reject::InconsistentGroupProtocol => ErrorCode::InconsistentGroupProtocol,
        Reject::UnknownMemberId => ErrorCode::UnknownMemberId,
        Reject::FencedInstanceId => ErrorCode::FencedInstanceId,
        Reject::IllegalGeneration | Reject::UnknownGeneration => ErrorCode::IllegalGeneration,
        Reject::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        // Clients take both for fatal and tell their application: a retry would find the same.
        Reject::MemberTooLarge => ErrorCode::InvalidRequest,
        Reject::GroupMaxSizeReached | Reject::NoRoom => ErrorCode::GroupMaxSizeReached,
        Reject::NonEmptyGroup => ErrorCode::NonEmptyGroup,
        Reject::GroupNotFound | Reject::CannotUpgrade(_) => ErrorCode::GroupIdNotFound,
        Reject::FencedMemberEpoch => ErrorCode::FencedMemberEpoch,
        Reject::StaleMemberEpoch => ErrorCode::StaleMemberEpoch,
        Reject::UnsupportedVersion => ErrorCode::UnsupportedVersion,
        Reject::UnreleasedInstanceId => ErrorCode::UnreleasedInstanceId,
        Reject::UnsupportedAssignor => ErrorCode::UnsupportedAssignor,
        Reject::InvalidRegularExpression(_) => ErrorCode::InvalidRegularExpression,
    }
}

/// The client's address, as Java writes it.
pub fn host(caller: &Caller) -> String {
    format!("/{}", caller.ends.peer.ip())
}

/// A random UUID (version 4).
pub fn uuid(random: &dyn Random) -> String {
    let bits = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
    let bits = bits & !(0xf << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62;
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
