//! How far groups are behind, and how many members they have.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use coordinators::groups::{Group, Groups};
use model::{Offset, TopicId};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::timeout;

use crate::Parts;

/// So many groups are counted each by itself, those that were seen first; all others together.
const GROUPS_MAX: usize = 1000;

/// The same for partitions of groups.
const LAGS_MAX: usize = 10_000;

/// Groups with longer names (they may have 32 KiB) are counted with the others.
const NAME_BYTES_MAX: usize = 255;

/// The label of the others; no topic can have this name.
const OTHERS: &str = "(others)";

/// Whoever cannot tell within this time is left out of this text: metrics are wanted most when something hangs.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct OfGroup {
    group: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct OfPartition {
    group: String,
    topic: String,
    partition: String,
}

/// What the groups were when someone looked.
#[derive(Default)]
pub struct Seen {
    members: BTreeMap<OfGroup, i64>,
    lags: BTreeMap<OfPartition, i64>,
}

/// Asks the groups that are loaded. Those of a log that is closed have no answer.
pub async fn look(parts: &Parts) -> Seen {
    let mut seen = Seen::default();
    let looking = async {
        for host in parts.groups.started() {
            let told: Result<Vec<Told>, _> = host
                .query(|groups: &Groups| groups.groups().map(|(name, group)| tell(name, group)).collect())
                .await;
            for told in told.into_iter().flatten() {
                seen.take(told, parts);
            }
        }
    };
    if timeout(PATIENCE, looking).await.is_err() {
        tracing::debug!("metrics without some groups: their logs do not answer");
    }
    seen
}

/// What is needed of a group, without holding up its task for more.
struct Told {
    name: String,
    members: usize,
    committed: Vec<(String, i32, Offset, TopicId)>,
}

fn tell(name: &str, group: &Group) -> Told {
    let classic = group.classic.as_ref().map_or(0, |classic| classic.members.len());
    let consumers = group.consumer.as_ref().map_or(0, |consumer| consumer.members.len());
    let committed = group
        .offsets
        .iter()
        .map(|(key, committed)| (key.topic.clone(), key.partition, committed.offset, committed.topic_id));
    Told { name: name.to_owned(), members: classic + consumers, committed: committed.collect() }
}

impl Seen {
    fn take(&mut self, told: Told, parts: &Parts) {
        for (topic, index, committed, topic_id) in told.committed {
            // A commit for an earlier topic of the same name says nothing about this one.
            let current =
                parts.topics.by_name(&topic).filter(|topic| topic_id.is_zero() || topic.id == topic_id);
            let Some(partition) = current.as_ref().and_then(|topic| topic.partition(index)) else { continue };
            let lag = partition.offsets().high_watermark.0.saturating_sub(committed.0).max(0);
            let label = OfPartition { group: told.name.clone(), topic, partition: index.to_string() };
            self.lags.insert(label, lag);
        }
        self.members.insert(OfGroup { group: told.name }, told.members as i64);
    }
}

/// The gauges, and who has a label of its own.
#[derive(Default)]
pub struct GroupGauges {
    members: Family<OfGroup, Gauge>,
    lags: Family<OfPartition, Gauge>,
    named_groups: BTreeSet<OfGroup>,
    named_partitions: BTreeSet<OfPartition>,
}

impl GroupGauges {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("group_members", "Members, by group", self.members.clone());
        let help = "Records between what a group has committed and the end, by partition";
        registry.register("group_lag", help, self.lags.clone());
    }

    pub fn set(&mut self, seen: Seen) {
        let others = OfGroup { group: OTHERS.to_owned() };
        let is_short = |label: &OfGroup| label.group.len() <= NAME_BYTES_MAX;
        let members = bounded(&mut self.named_groups, seen.members, GROUPS_MAX, &others, is_short);
        self.members.clear();
        for (label, count) in members {
            self.members.get_or_create(&label).set(count);
        }
        let (group, topic) = (OTHERS.to_owned(), OTHERS.to_owned());
        let others = OfPartition { group, topic, partition: OTHERS.to_owned() };
        let is_short = |label: &OfPartition| label.group.len() <= NAME_BYTES_MAX;
        let lags = bounded(&mut self.named_partitions, seen.lags, LAGS_MAX, &others, is_short);
        self.lags.clear();
        for (label, lag) in lags {
            self.lags.get_or_create(&label).set(lag);
        }
    }
}

/// Values under their labels, and what is beyond the limit under one. Whoever has a label keeps it as long as it is
/// there: a newcomer must not end another one's curve.
fn bounded<L: Clone + Ord>(
    named: &mut BTreeSet<L>,
    values: BTreeMap<L, i64>,
    limit: usize,
    others: &L,
    may_be_named: impl Fn(&L) -> bool,
) -> BTreeMap<L, i64> {
    named.retain(|label| values.contains_key(label));
    let mut bounded = BTreeMap::new();
    for (label, value) in values {
        let has_place = named.contains(&label) || (named.len() < limit && may_be_named(&label));
        if has_place {
            named.insert(label.clone());
        }
        *bounded.entry(if has_place { label } else { others.clone() }).or_default() += value;
    }
    bounded
}

#[cfg(test)]
mod tests;
