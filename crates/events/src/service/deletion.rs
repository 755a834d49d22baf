//! Deleting a category, with all that goes with it.
//!
//! ```text
//! catalog: to be deleted ─▶ every instance lets go ─▶ topics ─▶ subscriptions, trim marks ─▶ catalog: gone
//! ```
//!
//! What is to go is in the catalog before anything is done, by its topics' ids: whoever sees it finishes what another has
//! begun, and never deletes what was made anew under the same name. Each instance removes its own indexes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use client::AskError;
use model::{PartitionId, TopicId};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::catalog::CategoryInfo;
use super::erasure::CERTIFICATES;
use super::snapshots::unavailable;
use super::{Handle, OpenCategory};
use crate::category::Category;
use crate::owner::is_set;
use crate::query::ReadError;
use crate::table::TableError;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// How long is waited for instances to let go of a category before its topic is deleted: those that do not hear of it in
/// time find the topic missing.
const LETTING_GO_MAX: Duration = Duration::from_secs(10);

/// After so long a deletion that another instance has begun is finished here.
const OVERDUE: Duration = Duration::from_secs(20);

/// How long what is under way in a category is waited for before its index is removed.
const UNDER_WAY_MAX: Duration = Duration::from_secs(60);

/// Which topics go with a category, by id and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleting {
    pub topics: BTreeMap<String, String>,
}

/// What was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedCategory {
    pub topics: Vec<String>,
    pub subscriptions: Vec<String>,
}

impl Handle {
    /// Deletes a category: its events, snapshots and archive, its subscriptions, and its indexes everywhere. Once it was
    /// begun it is finished, also where this process ends.
    pub async fn delete_category(&self, category: &Category) -> Result<DeletedCategory, ReadError> {
        if category.name() == CERTIFICATES {
            return Err(ReadError::Invalid(format!(
                "{category} holds the certificates of erasures, which are to be kept"
            )));
        }
        let catalog = &self.0.catalog;
        catalog.catch_up().await.map_err(unavailable)?;
        let info = catalog.entry(category).ok_or_else(|| ReadError::NoCategory(category.to_string()))?;
        let info = match info.deleting {
            Some(_) => info,
            None => {
                // Only what the store has made for it, whatever else has such a name.
                let beside = info.beside.iter().map(|(name, id)| (id.clone(), name.clone()));
                let topics = beside.chain([(info.topic_id.clone(), category.topic())]).collect();
                let marked = CategoryInfo { deleting: Some(Deleting { topics }), ..info };
                catalog.enter(category, &marked).await.map_err(unavailable)?;
                info!(%category, "a category is deleted");
                marked
            }
        };
        self.finish_deletion(category, info).await
    }

    /// Does what is left to do.
    async fn finish_deletion(
        &self,
        category: &Category,
        info: CategoryInfo,
    ) -> Result<DeletedCategory, ReadError> {
        let topics = info.deleting.clone().map(|deleting| deleting.topics).unwrap_or_default();
        self.is_let_go(category, &info).await;
        if let Err(error) = self.0.cluster.delete_topics(&topics).await {
            // Where it may not be done (and was not), the category remains what it was.
            let refused = error.refused().filter(|refused| !refused.is_passing());
            let are_all_there = matches!(self.are_there(&topics).await, Ok(count) if count == topics.len());
            if refused.is_some() && are_all_there {
                let kept = CategoryInfo { deleting: None, ..info };
                self.0.catalog.enter(category, &kept).await.map_err(unavailable)?;
                return Err(ReadError::Invalid(format!("{category} is not deleted: {error}")));
            }
            return Err(asked(error));
        }
        let subscriptions = self.forget_subscriptions(category).await.map_err(|error| match error {
            crate::consumers::ConsumerError::Read(error) => error,
            error => ReadError::Unavailable(error.to_string()),
        })?;
        if let Some(topic) = topic_id(&info.topic_id) {
            let partitions = (0..info.partitions).map(|index| PartitionId { topic, index });
            self.0.trimmed.forget(partitions).await.map_err(unavailable)?;
        }
        self.0.catalog.forget(category, &info).await.map_err(unavailable)?;
        info!(%category, "a category is gone");
        Ok(DeletedCategory { topics: topics.into_values().collect(), subscriptions })
    }

    /// Waits until neither this instance nor any other has it, as far as the group tells, or for long enough.
    async fn is_let_go(&self, category: &Category, info: &CategoryInfo) {
        let deadline = Instant::now() + LETTING_GO_MAX;
        let topic = category.topic();
        let is_held = || {
            let is_open = self.opened(category).is_some_and(|open| open.is_of(info));
            let ownership = self.0.membership.ownership();
            let is_owned = ownership.borrow().owners.keys().any(|(of, _)| *of == topic);
            is_open || is_owned
        };
        while is_held() && Instant::now() < deadline {
            sleep(PAUSE).await;
        }
    }

    async fn are_there(&self, topics: &BTreeMap<String, String>) -> Result<usize, AskError> {
        let there = self.0.cluster.topics().await?;
        Ok(there.iter().filter(|topic| topics.contains_key(&topic.id.to_string())).count())
    }

    /// Its topic is not there any more: nobody deletes it from the catalog before.
    async fn is_without_topic(&self, open: &OpenCategory) -> Result<bool, AskError> {
        let there = self.0.cluster.topics().await?;
        Ok(!there
            .iter()
            .any(|topic| open.partitions.iter().any(|partition| partition.id().topic == topic.id)))
    }

    /// Lets go of what the catalog does not have any more, or has to be deleted. False: not all of that is known yet.
    pub(super) async fn let_go(&self, all: &BTreeMap<Category, CategoryInfo>) -> bool {
        let opened: Vec<_> = self.0.open.lock().values().cloned().collect();
        let mut is_done = true;
        for open in opened {
            let is_over = match all.get(&open.category) {
                Some(info) => info.deleting.is_some() || !open.is_of(info),
                // The catalog's own topic may be another one: what is there is not let go for that.
                None => match self.is_without_topic(&open).await {
                    Ok(is_without) => is_without,
                    Err(_) => {
                        is_done = false;
                        false
                    }
                },
            };
            if is_over {
                self.close(open);
            }
        }
        is_done
    }

    fn close(&self, open: Arc<OpenCategory>) {
        let shared = &self.0;
        open.over.send_replace(true);
        shared.open.lock().remove(&open.category);
        let snapshots = shared.snapshots.lock().remove(&open.category);
        // Whoever hosts subscriptions looks again.
        shared.openings.send_modify(|count| *count += 1);
        shared.membership.remove_topic(&open.category.topic());
        info!(category = %open.category, "a category is let go");
        let dir = shared.options.index_dir.clone();
        env::spawn(async move {
            let deadline = Instant::now() + UNDER_WAY_MAX;
            while Arc::strong_count(&open) > 1 && Instant::now() < deadline {
                sleep(PAUSE).await;
            }
            let category = open.category.clone();
            let index = open.partitions.first().map(|partition| dir.join(partition.id().topic.to_string()));
            drop((open, snapshots));
            env::run_blocking(move || {
                index.iter().for_each(|index| remove_dir(index));
                snapshots_copy(&dir, &category).iter().for_each(|copy| crate::index::remove_files(copy));
            })
            .await;
        });
    }

    /// Finishes what another instance has begun and not finished. Until the process stops.
    pub(super) async fn finish_overdue(self, mut stop: watch::Receiver<bool>) {
        let mut seen: BTreeSet<(Category, String)> = BTreeSet::new();
        loop {
            tokio::select! {
                biased;
                () = is_set(&mut stop) => return,
                () = sleep(OVERDUE) => {}
            }
            let marked = self.0.catalog.marked();
            // What was there the last time, too, is late.
            let late = marked
                .iter()
                .filter(|(category, info)| seen.contains(&((*category).clone(), info.topic_id.clone())));
            for (category, info) in late {
                info!(%category, "the deletion of a category is finished");
                if let Err(error) = self.finish_deletion(category, info.clone()).await {
                    warn!(%category, %error, "a category cannot be deleted yet");
                }
            }
            seen = marked.into_iter().map(|(category, info)| (category, info.topic_id)).collect();
        }
    }
}

impl OpenCategory {
    /// Whether it is the one that the catalog has: one that was made anew has another topic.
    pub(super) fn is_of(&self, info: &CategoryInfo) -> bool {
        self.partitions.first().is_some_and(|partition| partition.id().topic.to_string() == info.topic_id)
    }
}

/// Removes indexes of categories that were deleted while this process was not there. Blocks.
pub(super) fn sweep(dir: &Path, all: &BTreeMap<Category, CategoryInfo>) {
    let Ok(entries) = dir.read_dir() else { return };
    let topics: BTreeSet<&str> = all.values().map(|info| info.topic_id.as_str()).collect();
    for entry in entries.flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let Some(name) = name.to_str() else { continue };
        if topic_id(name).is_some() && !topics.contains(name) {
            remove_dir(&path);
        }
        let of = name.strip_suffix(SNAPSHOTS_COPY).and_then(|name| Category::new(name).ok());
        if of.is_some_and(|category| !all.contains_key(&category)) {
            crate::index::remove_files(&path);
        }
    }
}

/// How the file of a category's snapshots ends.
const SNAPSHOTS_COPY: &str = ".snapshots.table.sqlite";

fn snapshots_copy(dir: &Path, category: &Category) -> Option<PathBuf> {
    category.snapshots().map(|_| dir.join(format!("{category}{SNAPSHOTS_COPY}")))
}

fn remove_dir(path: &Path) {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            warn!(path = %path.display(), %error, "an index cannot be removed");
        }
        Ok(()) => info!(path = %path.display(), "the index of a category that is gone was removed"),
        Err(_) => {}
    }
}

/// Kafka's text for an id, read.
fn topic_id(text: &str) -> Option<TopicId> {
    text.parse().ok()
}

fn asked(error: AskError) -> ReadError {
    unavailable(TableError::Kafka(error))
}

#[cfg(test)]
mod tests;
