//! How many bytes are kept of what members say of themselves, and for whom there is no room.
//!
//! Kafka has no such bound, but what a group's members said must fit one record of `__consumer_offsets`
//! (`max.message.bytes`, 1 MB): a group with more never becomes stable.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::classic::{Classic, Member, Named, Protocol, Share, Subscription};
use super::consumer::{Consumer, Fact, Metadata};
use super::{Groups, Reject};

/// What each of these takes beside its text, at the least.
const MEMBER_BYTES: usize = 512;
const PENDING_BYTES: usize = 128;
const PROTOCOL_BYTES: usize = 192;
const TOPIC_BYTES: usize = 64;
const PARTITION_BYTES: usize = 8;

impl Groups {
    /// Bytes that are kept of what the members of all these groups say.
    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// Refuses what one member says where it is too much for one, and where all groups of the broker have no room for
    /// `more` than is kept already. Who says no more than before is never refused for want of room.
    pub(super) fn check_room(&self, said: usize, more: usize, kept_elsewhere: usize) -> Result<(), Reject> {
        if said > self.options.member_bytes_max {
            return Err(Reject::MemberTooLarge);
        }
        let kept = self.kept_bytes.saturating_add(kept_elsewhere);
        match more > 0 && kept.saturating_add(more) > self.options.bytes_max {
            true => Err(Reject::NoRoom),
            false => Ok(()),
        }
    }
}

impl Classic {
    /// The members that are the same in both are not looked at.
    pub(super) fn kept_bytes_beside(&self, other: Option<&Classic>) -> usize {
        let is_other = |id: &str, member: &Arc<Member>| {
            let there = other.and_then(|other| other.members.get(id));
            !there.is_some_and(|there| Arc::ptr_eq(there, member))
        };
        let members = self.members.iter().filter(|(id, member)| is_other(id, member));
        let members: usize = members.map(|(id, member)| id.len() + member.kept_bytes()).sum();
        let pending: usize = self.pending.keys().map(|id| PENDING_BYTES + id.len()).sum();
        members + pending
    }
}

impl Member {
    pub(super) fn kept_bytes(&self) -> usize {
        let instance = self.instance.as_deref().unwrap_or_default();
        said_bytes([instance, &self.client_id, &self.client_host], &self.protocols)
            + self.assignment.kept_bytes()
    }
}

/// What is kept of a classic member beside its id and its assignment.
pub(super) fn said_bytes(texts: [&str; 3], protocols: &[Protocol]) -> usize {
    let protocols: usize = protocols.iter().map(Protocol::kept_bytes).sum();
    MEMBER_BYTES + texts.iter().map(|text| text.len()).sum::<usize>() + protocols
}

impl Protocol {
    fn kept_bytes(&self) -> usize {
        let subscription = self.subscription.as_ref().map_or(0, Subscription::kept_bytes);
        PROTOCOL_BYTES + self.name.len() + self.metadata.len() + subscription
    }
}

impl Subscription {
    fn kept_bytes(&self) -> usize {
        topics_bytes(&self.topics) + named_bytes(&self.owned) + self.rack.as_ref().map_or(0, String::len)
    }
}

impl Share {
    pub(super) fn kept_bytes(&self) -> usize {
        let written = match self {
            Share::Written { bytes, .. } => bytes.len(),
            Share::Given { .. } => 0,
        };
        written + self.partitions().map_or(0, named_bytes)
    }
}

impl Metadata {
    /// Nothing of a member that has not said anything yet.
    pub(super) fn kept_bytes(&self, id: &str) -> usize {
        if *self == Metadata::default() {
            return 0;
        }
        let texts = [&self.instance, &self.rack, &self.expression, &self.assignor].into_iter().flatten();
        let texts: usize = texts.chain([&self.client_id, &self.client_host]).map(String::len).sum();
        let protocols = self.classic.iter().flat_map(|classic| &classic.protocols);
        let protocols: usize = protocols.map(Protocol::kept_bytes).sum();
        MEMBER_BYTES + id.len() + texts + topics_bytes(&self.topics) + protocols
    }
}

impl Consumer {
    /// What is kept of what a fact is about.
    pub(super) fn kept_bytes_of(&self, fact: &Fact) -> usize {
        let member = |id: &str| self.members.get(id).map_or(0, |member| member.metadata.kept_bytes(id));
        let expression =
            |name: &str| self.expressions.get(name).map_or(0, |topics| expression_bytes(name, topics));
        match fact {
            Fact::Member { member: id, .. } | Fact::MemberGone { member: id } => member(id),
            Fact::Expression { expression: name, .. } | Fact::ExpressionGone { expression: name } => {
                expression(name)
            }
            Fact::GroupGone => {
                let members: usize = self.members.keys().map(|id| member(id)).sum();
                members + self.expressions.keys().map(|name| expression(name)).sum::<usize>()
            }
            _ => 0,
        }
    }
}

/// What is kept of an expression and of the topics that it stands for.
pub(super) fn expression_bytes(expression: &str, topics: &BTreeSet<String>) -> usize {
    TOPIC_BYTES + expression.len() + topics_bytes(topics)
}

fn topics_bytes(topics: &BTreeSet<String>) -> usize {
    topics.iter().map(|topic| TOPIC_BYTES + topic.len()).sum()
}

fn named_bytes(named: &Named) -> usize {
    let one = |(topic, partitions): (&String, &BTreeSet<i32>)| {
        TOPIC_BYTES + topic.len() + PARTITION_BYTES * partitions.len()
    };
    named.iter().map(one).sum()
}
