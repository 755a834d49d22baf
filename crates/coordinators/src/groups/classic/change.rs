//! A group while a command changes it: a copy that is worked on, and what comes of it.

use std::sync::Arc;

use model::Timestamp;

use super::{Answer, Awaits, Classic, Initial, Member, Rebalance, State, after};
use crate::groups::{Groups, Options, Record, Reject};

pub(super) struct Change<'a> {
    pub name: &'a str,
    pub options: &'a Options,
    pub now: Timestamp,
    pub group: Classic,
    answers: Vec<Record>,
    is_durable: bool,
    lost_members: bool,
}

impl<'a> Change<'a> {
    pub fn of(groups: &'a Groups, name: &'a str, now: Timestamp) -> Change<'a> {
        let group = groups.classic(name).map_or_else(|| Classic::new(now), |group| Classic::clone(group));
        Change::on(&groups.options, name, group, now)
    }

    pub fn on(options: &'a Options, name: &'a str, group: Classic, now: Timestamp) -> Change<'a> {
        Change { name, options, now, group, answers: Vec::new(), is_durable: false, lost_members: false }
    }

    /// What was changed, and then who is told what.
    pub fn into_records(self) -> Vec<Record> {
        let changed = Record::Classic {
            group: self.name.to_string(),
            classic: Some(Arc::new(self.group)),
            is_durable: self.is_durable,
        };
        std::iter::once(changed).chain(self.answers).collect()
    }

    /// The group must be found like this after a restart.
    pub fn keep(&mut self) {
        self.is_durable = true;
    }

    pub fn member(&mut self, id: &str) -> &mut Member {
        Arc::make_mut(self.group.members.get_mut(id).expect("the caller looked for the member"))
    }

    /// Answers a member that waits; from now on it owes signs of life again.
    pub fn answer(&mut self, member: &str, answer: Answer) {
        let now = self.now;
        let waiting = self.member(member);
        (waiting.awaits, waiting.seen) = (Awaits::Nothing, now);
        self.tell(member, answer);
    }

    /// The same for one that is no member any more.
    pub fn tell(&mut self, member: &str, answer: Answer) {
        let record = Record::Answered { group: self.name.to_string(), member: member.to_string(), answer };
        self.answers.push(record);
    }

    pub fn enter(&mut self, state: State) {
        self.group.state = state;
        self.group.since = self.now;
    }

    /// Whether somebody was taken out.
    pub fn lost_members(&self) -> bool {
        self.lost_members
    }

    /// Takes a member out; if it waits, it is told that it is none any more.
    pub fn remove(&mut self, id: &str) {
        let Some(member) = self.group.members.remove(id) else { return };
        self.group.unsynced.remove(id);
        self.lost_members = true;
        if member.awaits != Awaits::Nothing {
            self.tell(id, Answer::Refused(Reject::UnknownMemberId));
        }
        if self.group.leader.as_deref() == Some(id) {
            self.group.leader = self.group.members.keys().next().cloned();
        }
    }

    /// The members are others, or want something else: everyone joins anew.
    pub fn rebalance(&mut self) {
        match self.group.state {
            State::PreparingRebalance => return self.complete_if_all_joined(),
            State::CompletingRebalance => self.refuse_syncs(),
            State::Empty | State::Stable => {}
        }
        self.group.unsynced.clear();
        let timeout = self.rebalance_timeout();
        let delay = self.options.initial_rebalance_delay;
        let is_initial = self.group.state == State::Empty && !delay.is_zero();
        let at_most_until = after(self.now, timeout);
        self.group.rebalance = Some(match is_initial {
            true => Rebalance {
                until: after(self.now, delay.min(timeout)),
                initial: Some(Initial { at_most_until, somebody_came: false }),
            },
            false => Rebalance { until: at_most_until, initial: None },
        });
        self.enter(State::PreparingRebalance);
        self.complete_if_all_joined();
    }

    fn refuse_syncs(&mut self) {
        let ids: Vec<String> = self.group.members.keys().cloned().collect();
        for id in ids {
            let member = self.member(&id);
            member.assignment = Default::default();
            if member.awaits == Awaits::Sync {
                self.answer(&id, Answer::Refused(Reject::RebalanceInProgress));
            }
        }
    }

    fn rebalance_timeout(&self) -> std::time::Duration {
        self.group.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    pub fn complete_if_all_joined(&mut self) {
        let group = &self.group;
        let is_initial = group.rebalance.is_some_and(|rebalance| rebalance.initial.is_some());
        let all =
            group.members.values().all(|member| member.awaits == Awaits::Join) && group.pending.is_empty();
        if group.state == State::PreparingRebalance && !is_initial && all {
            self.complete();
        }
    }

    /// The time for joining is up.
    pub fn joining_is_over(&mut self) {
        let Some(rebalance) = self.group.rebalance else { return };
        if let Some(initial) = rebalance.initial
            && initial.somebody_came
            && rebalance.until < initial.at_most_until
        {
            let until = after(self.now, self.options.initial_rebalance_delay).min(initial.at_most_until);
            let initial = Some(Initial { somebody_came: false, ..initial });
            self.group.rebalance = Some(Rebalance { until, initial });
            return;
        }
        self.complete();
    }

    pub fn somebody_came(&mut self) {
        if let Some(Rebalance { initial: Some(initial), .. }) = &mut self.group.rebalance {
            initial.somebody_came = true;
        }
    }

    /// Begins the next generation with those that have joined.
    fn complete(&mut self) {
        let absent = |member: &Member| member.awaits != Awaits::Join && member.instance.is_none();
        let late: Vec<String> = self
            .group
            .members
            .iter()
            .filter(|(_, member)| absent(member))
            .map(|(id, _)| id.clone())
            .collect();
        late.iter().for_each(|id| self.remove(id));
        let joined = |member: &Arc<Member>| member.awaits == Awaits::Join;
        let leader_joined =
            self.group.leader.as_ref().and_then(|leader| self.group.members.get(leader)).is_some_and(joined);
        if !leader_joined && !self.group.members.is_empty() {
            let next = self.group.members.iter().find(|(_, member)| joined(member)).map(|(id, _)| id.clone());
            if next.is_none() {
                // Only static members, all of them away: their sessions decide.
                let until = after(self.now, self.rebalance_timeout());
                self.group.rebalance = Some(Rebalance { until, initial: None });
                return;
            }
            self.group.leader = next;
        }
        self.group.rebalance = None;
        self.group.generation = self.group.generation.wrapping_add(1).max(0);
        if self.group.members.is_empty() {
            self.group.protocol = None;
            self.group.leader = None;
            self.enter(State::Empty);
            self.keep();
            return;
        }
        self.group.protocol = self.group.select_protocol();
        self.enter(State::CompletingRebalance);
        self.group.sync_until = after(self.now, self.rebalance_timeout());
        self.group.unsynced = self.group.members.keys().cloned().collect();
        let ids: Vec<String> = self.group.members.keys().cloned().collect();
        for id in ids {
            let answer = Answer::Joined(self.group.joined(&id));
            let member = self.member(&id);
            member.is_new = false;
            // A static member that is away keeps its place, and the time that its session has left.
            if member.awaits == Awaits::Join {
                self.answer(&id, answer);
            }
        }
    }
}

/// A group that was one of the newer protocol goes on as a classic one. It is kept as it is; with `rebalances`, its
/// members are to join anew at once.
pub(in crate::groups) fn resumed(
    options: &Options,
    name: &str,
    group: Classic,
    rebalances: bool,
    now: Timestamp,
) -> Vec<Record> {
    let mut kept = Change::on(options, name, group.clone(), now);
    kept.keep();
    let mut records = kept.into_records();
    if rebalances {
        let mut change = Change::on(options, name, group, now);
        change.rebalance();
        records.extend(change.into_records());
    }
    records
}
