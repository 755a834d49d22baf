//! Partitions in storage that the metadata does not know.
//!
//! The metadata says that a topic is there before its partitions are made, and that it is removed before they are
//! deleted. So an orphan whose topic's removal stands in the metadata is what an interrupted deletion left, and goes.
//! Any other shows that records of the metadata are lost, and nobody has asked for its data to go: it is served again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coordinators::metadata::{Metadata, Record};
use model::{PartitionId, TopicId};
use storage::Partition;

use super::host::{Fact, LoadError, read_facts};

/// The name of a topic whose own name is lost. Every character of an id may stand in a name.
pub(super) fn recovered_name(id: TopicId) -> String {
    format!("recovered-{id}")
}

/// What a topic that nobody can ask about is kept by: for ever.
pub(super) const RECOVERED_CONFIG: [(&str, Option<&str>); 3] =
    [("cleanup.policy", Some("delete")), ("retention.ms", Some("-1")), ("retention.bytes", Some("-1"))];

/// Orphans of all kinds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Orphans {
    /// Partitions of topics that were removed.
    pub removed: Vec<PartitionId>,
    /// Topics that have more partitions than the metadata knows: how many.
    pub grown: BTreeMap<TopicId, i32>,
    /// Topics that the metadata does not know: how many partitions they have.
    pub unknown: BTreeMap<TopicId, i32>,
}

impl Orphans {
    /// Looks for the orphans among what is stored; those of removed topics are not told apart yet.
    pub fn find(state: &Metadata, stored: &[PartitionId]) -> Orphans {
        let mut orphans = Orphans::default();
        for id in stored.iter().filter(|id| id.topic != TopicId::CLUSTER_METADATA) {
            let topics = match state.topic_by_id(id.topic) {
                Some(topic) if id.index < topic.partitions => continue,
                Some(_) => &mut orphans.grown,
                None => &mut orphans.unknown,
            };
            let count = topics.entry(id.topic).or_default();
            *count = (*count).max(id.index.saturating_add(1));
        }
        orphans
    }

    pub fn is_empty(&self) -> bool {
        *self == Orphans::default()
    }

    /// Sets apart what belongs to topics that were removed.
    pub fn set_apart(&mut self, removed: &BTreeSet<TopicId>, stored: &[PartitionId]) {
        self.unknown.retain(|id, _| !removed.contains(id));
        self.removed = stored.iter().filter(|id| removed.contains(&id.topic)).copied().collect();
    }
}

/// The topics whose removal stands in the log of the metadata. Only read where there are orphans: it grows for ever.
pub(super) async fn removed_topics(log: Arc<Partition>) -> Result<BTreeSet<TopicId>, LoadError> {
    env::run_blocking(move || {
        let mut removed = BTreeSet::new();
        read_facts::<Metadata>(&log, |fact| {
            if let Fact::Record(Record::TopicRemoved { id }) = fact {
                removed.insert(id);
            }
        })?;
        Ok(removed)
    })
    .await
}
