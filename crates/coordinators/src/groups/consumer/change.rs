//! A group while a command changes it, and what time alone does to it.

use std::collections::BTreeSet;
use std::time::Duration;

use model::Timestamp;

use super::{Consumer, Current, Fact, JOINS, Limits, MemberState, after, migration};
use crate::groups::{Groups, Record};

/// A copy of the group that is worked on, and the facts that made it what it is.
pub(super) struct Change<'a> {
    pub groups: &'a Groups,
    pub name: String,
    pub group: Consumer,
    /// What must be said before: the end of what the group was.
    before: Vec<Record>,
    facts: Vec<Fact>,
}

impl<'a> Change<'a> {
    pub fn of(groups: &'a Groups, name: &str) -> Change<'a> {
        let group = groups.consumer(name).map_or_else(Consumer::default, |group| Consumer::clone(group));
        Change { groups, name: name.to_string(), group, before: Vec::new(), facts: Vec::new() }
    }

    pub fn put(&mut self, fact: Fact) {
        self.group.apply(&fact);
        self.facts.push(fact);
    }

    pub fn before(&mut self, record: Record) {
        self.before.push(record);
    }

    pub fn into_records(self) -> Vec<Record> {
        let Change { name, before, facts, .. } = self;
        let record = |fact| Record::Consumer { group: name.clone(), fact };
        before.into_iter().chain(facts.into_iter().map(record)).collect()
    }

    /// Takes a member out.
    fn remove(&mut self, member: &str) {
        self.put(Fact::CurrentGone { member: member.to_string() });
        self.put(Fact::TargetGone { member: member.to_string() });
        self.put(Fact::MemberGone { member: member.to_string() });
    }

    pub fn drop_unused_expressions(&mut self) {
        let used: BTreeSet<&String> =
            self.group.members.values().filter_map(|member| member.metadata.expression.as_ref()).collect();
        let unused: Vec<String> =
            self.group.expressions.keys().filter(|known| !used.contains(known)).cloned().collect();
        unused.into_iter().for_each(|expression| self.put(Fact::ExpressionGone { expression }));
    }

    /// The members or what they want are others: targets must be computed anew.
    pub fn next_epoch(&mut self, metadata_hash: i64) {
        let epoch = self.group.epoch + 1;
        self.put(Fact::Group { epoch, metadata_hash });
    }

    /// Takes members out that left or are given up. Where only classic members stay behind, the group becomes theirs.
    pub fn without(mut self, gone: &BTreeSet<String>, now: Timestamp) -> Vec<Record> {
        if migration::is_left_to_classic_members(&self, gone) {
            return migration::downgraded_without(self, gone, now);
        }
        let image = self.group.image.clone();
        gone.iter().for_each(|member| self.remove(member));
        self.drop_unused_expressions();
        let hash = image.map_or(self.group.metadata_hash, |image| self.group.hash_of(&image));
        self.next_epoch(hash);
        self.into_records()
    }

    /// Gives a static member's place to its new incarnation, which owns nothing yet.
    pub fn take_over(&mut self, old: &str, new: &str) {
        let was = self.group.members[old].clone();
        let target = self.group.targets.get(old).cloned();
        self.remove(old);
        let member = new.to_string();
        self.put(Fact::Member { member: member.clone(), metadata: was.metadata.clone() });
        if let Some(assignment) = target {
            self.put(Fact::Target { member: member.clone(), assignment });
        }
        let current = Current { epoch: JOINS, previous_epoch: JOINS, ..was.current.clone() };
        self.put(Fact::Current { member, current });
    }
}

/// Carries out what is due in a group.
pub(in crate::groups) fn expire(groups: &Groups, name: &str, now: Timestamp) -> Vec<Record> {
    let change = Change::of(groups, name);
    let session = change.group.session_timeout;
    let due = change.group.members.iter().filter(|(_, member)| member.due_at(session) <= now);
    let gone: BTreeSet<String> = due.map(|(id, _)| id.clone()).collect();
    if gone.is_empty() {
        return vec![Record::Looked { group: name.to_string() }];
    }
    change.without(&gone, now)
}

/// Sessions of the members that were found in the log begin now.
pub(in crate::groups) fn started(
    groups: &Groups,
    name: &str,
    session_timeout: Duration,
    now: Timestamp,
) -> Vec<Record> {
    let mut change = Change::of(groups, name);
    change.put(Fact::Looked { image: None, session_timeout });
    let members: Vec<_> =
        change.group.members.iter().map(|(id, member)| (id.clone(), member.clone())).collect();
    for (id, member) in members {
        // A classic member that has something to give up hears of it with its next heartbeat.
        let revokes = member.current.state == MemberState::UnrevokedPartitions && !member.is_classic();
        let revoke = revokes.then(|| after(now, member.metadata.rebalance_timeout));
        change.put(Fact::Seen { member: id, at: now, limits: Limits { revoke, ..Limits::default() } });
    }
    change.into_records()
}
