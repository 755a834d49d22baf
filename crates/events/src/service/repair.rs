//! What somebody has to look at, and what can be done about it.

use std::time::Duration;

use model::Offset;
use tokio::time::{Instant, sleep};

use super::catalog::CategoryInfo;
use super::retention::OF_EVENTS;
use super::{Handle, OpenCategory, OpenPartition};
use crate::append::{OWN, TYPE_MAX};
use crate::category::Category;
use crate::repairs::Repair;
use crate::replica::Halted;
use crate::table::TableError;

/// Between two looks whether a repair has helped.
const PAUSE: Duration = Duration::from_millis(50);

/// Something that does not go on by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// None: all of the store.
    pub category: Option<String>,
    /// The store's own topic that is not there, or is another one.
    pub table: Option<String>,
    /// None: all of the category.
    pub partition: Option<i32>,
    /// The first one that is not read.
    pub offset: Option<Offset>,
    pub why: String,
}

/// What takes the place of one of the store's own topics that is not there any more, or is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableRepair {
    /// What this instance knows of the old one.
    Restore,
    /// The topic as it is now, or an empty one.
    Accept,
}

/// What is done about a trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepairAction {
    /// The record at which a partition has halted is as if it were not there; with `until`, all from there up to that
    /// offset.
    PassOver { partition: i32, offset: Offset, until: Option<Offset> },
    /// The record is taken as an event: of the stream that is its key, of the type that its `ce_type` is, unless said
    /// otherwise.
    Adopt { partition: i32, offset: Offset, stream: Option<String>, kind: Option<String> },
    /// What was deleted at the beginning of a partition's log is given up: reading begins where the log does.
    AcceptLoss { partition: i32 },
    /// The topic that has the category's name is the category's from now on.
    TakeBack,
    /// The category is forgotten. Its topics stay.
    GiveUp,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RepairError {
    /// There is nothing to repair, or something else.
    #[error("{0}")]
    NotSo(String),
    #[error("{0}")]
    Invalid(String),
    #[error("there is no category {0}")]
    NoCategory(String),
    #[error("{0}")]
    Unavailable(String),
}

impl From<TableError> for RepairError {
    fn from(error: TableError) -> RepairError {
        match error {
            TableError::NotLost(_) => RepairError::NotSo(error.to_string()),
            error => RepairError::Unavailable(error.to_string()),
        }
    }
}

impl Handle {
    /// What somebody has to look at, as far as this instance knows.
    pub fn troubles(&self) -> Vec<Trouble> {
        let open: Vec<_> = self.0.open.lock().values().cloned().collect();
        let whole = |category: String, why: String| {
            let (category, table) = (Some(category), None);
            Trouble { category, table, partition: None, offset: None, why }
        };
        let of_partition = |category: &Category, partition: &OpenPartition| {
            let Halted { offset, why, is_topic_gone } = partition.replica.halted()?;
            if is_topic_gone {
                // Once for all partitions.
                let why = "its topic was deleted, or is another one now: restore it, take the one that there is as the \
                           category's, or give the category up (levada events repair)";
                let first = partition.id().index == 0;
                return first.then(|| whole(category.to_string(), why.to_owned()));
            }
            let (category, partition) = (Some(category.to_string()), Some(partition.id().index));
            Some(Trouble { category, table: None, partition, offset: Some(offset), why })
        };
        let mut all: Vec<Trouble> = open
            .iter()
            .flat_map(|category| category.partitions.iter().map(move |it| (category, it)))
            .filter_map(|(category, it)| of_partition(&category.category, it))
            .collect();
        let unopened = self.0.unopened.lock();
        let unopened = unopened.iter().filter_map(|(category, why)| Some((category, why.trouble()?)));
        all.extend(unopened.map(|(category, why)| whole(category.to_string(), why.to_owned())));
        let unreadable = self.0.catalog.unreadable();
        all.extend(unreadable.into_iter().map(|(category, why)| whole(category, why)));
        let lost = |table: &crate::table::Table| {
            let (why, table) = (table.lost()?, Some(table.topic().to_owned()));
            Some(Trouble { category: None, table, partition: None, offset: None, why })
        };
        all.extend(self.own_tables().into_iter().filter_map(lost));
        let forgetting = self.0.forgetting.lock().clone();
        all.extend(forgetting.into_iter().map(|(topic, (category, why))| {
            let table = category.is_none().then_some(topic);
            let category = category.map(|category| category.to_string());
            Trouble { category, table, partition: None, offset: None, why }
        }));
        all
    }

    /// Has a topic take the place of one of the store's own that is lost. Gives what is still wrong with those.
    pub async fn repair_table(&self, topic: &str, how: TableRepair) -> Result<Vec<Trouble>, RepairError> {
        let table = self.own_tables().into_iter().find(|table| table.topic() == topic);
        let Some(table) = table else {
            let known: Vec<&str> = self.own_tables().into_iter().map(|table| table.topic()).collect();
            return Err(RepairError::Invalid(format!(
                "{topic} is none of the store's own topics, which are {}",
                known.join(", ")
            )));
        };
        table.replace(how == TableRepair::Restore).await?;
        self.look_at_retention().await;
        Ok(self.troubles().into_iter().filter(|trouble| trouble.table.is_some()).collect())
    }

    /// Does something about a trouble, and waits until it has helped. Gives what is still wrong with the category.
    pub async fn repair(
        &self,
        category: &Category,
        action: &RepairAction,
        reason: &str,
    ) -> Result<Vec<Trouble>, RepairError> {
        self.0.catalog.catch_up().await?;
        match action {
            RepairAction::PassOver { partition, offset, until } => {
                if !(Offset::ZERO..Offset(i64::MAX)).contains(offset) {
                    return Err(RepairError::Invalid(format!("{offset} is no offset of a record")));
                }
                let until = until.unwrap_or_else(|| offset.plus(1));
                if until <= *offset {
                    return Err(RepairError::Invalid(format!("`until` is an offset after {offset}")));
                }
                let repair = Repair::PassOver { until };
                self.decide(category, *partition, *offset, &repair, reason).await?;
            }
            RepairAction::Adopt { partition, offset, stream, kind } => {
                let named = [stream.as_deref(), kind.as_deref()].into_iter().flatten();
                if let Some(name) = named.clone().find(|name| {
                    name.is_empty() || name.len() > TYPE_MAX || name.chars().any(char::is_control)
                }) {
                    return Err(RepairError::Invalid(format!("`{name}` is no name of a stream or type")));
                }
                if let Some(name) = named.clone().find(|name| name.starts_with(OWN)) {
                    return Err(RepairError::Invalid(format!("`{name}` is the store's own")));
                }
                let repair = Repair::Adopt { stream: stream.clone(), kind: kind.clone() };
                self.decide(category, *partition, *offset, &repair, reason).await?;
            }
            RepairAction::AcceptLoss { partition } => self.accept_loss(category, *partition).await?,
            RepairAction::TakeBack => self.take_back(category).await?,
            RepairAction::GiveUp => self.give_up(category).await?,
        }
        self.0.catalog.catch_up().await?;
        self.look_at_retention().await;
        Ok(self
            .troubles()
            .into_iter()
            .filter(|trouble| trouble.category.as_deref() == Some(category.name()))
            .collect())
    }

    async fn decide(
        &self,
        category: &Category,
        partition: i32,
        offset: Offset,
        repair: &Repair,
        reason: &str,
    ) -> Result<(), RepairError> {
        let open = self.open_or(category)?;
        let (partition, halted) = halted(&open, partition)?;
        if halted.offset != offset {
            return Err(RepairError::NotSo(format!(
                "partition {} of {category} has halted at offset {}, not at {offset}: {}",
                partition.id().index,
                halted.offset,
                halted.why
            )));
        }
        if let Repair::PassOver { until } = repair {
            let end = self.end(&open, partition.id()).await;
            let end = end.map_err(|error| RepairError::Unavailable(error.to_string()))?;
            if *until > end {
                return Err(RepairError::Invalid(format!(
                    "the log of partition {} ends at {end}: nobody passes over what is not there yet (`until` {until})",
                    partition.id().index
                )));
            }
        }
        self.0.repairs.put(partition.id(), offset, repair, reason).await?;
        self.wait_until_changed(&open, partition, &halted).await
    }

    async fn accept_loss(&self, category: &Category, partition: i32) -> Result<(), RepairError> {
        let open = self.open_or(category)?;
        let (partition, halted) = halted(&open, partition)?;
        let asked = async {
            let topic = self.0.cluster.topic(&category.topic(), false).await?;
            self.0.cluster.offsets(&topic, &[partition.id().index], -2, 0).await
        };
        let starts = asked.await.map_err(|error| RepairError::Unavailable(error.to_string()))?;
        let start = starts.get(&partition.id().index).copied().flatten().map_or(Offset::ZERO, Offset);
        if start <= halted.offset {
            return Err(RepairError::NotSo(format!(
                "the log of partition {} begins at {start}: nothing is missing before offset {}, where it has halted ({})",
                partition.id().index,
                halted.offset,
                halted.why
            )));
        }
        self.0.trimmed.announce(partition.id(), start).await?;
        self.wait_until_changed(&open, partition, &halted).await
    }

    async fn take_back(&self, category: &Category) -> Result<(), RepairError> {
        let name = category.topic();
        let topic =
            self.0.cluster.topic(&name, false).await.map_err(|error| match error.is_missing_topic() {
                true => RepairError::NotSo(format!(
                    "there is no topic {name} that could be taken as the category's"
                )),
                false => RepairError::Unavailable(error.to_string()),
            })?;
        let known = self.0.catalog.find(category);
        let mut info = CategoryInfo::of(&topic);
        info.beside = known.as_ref().map(|known| known.beside.clone()).unwrap_or_default();
        // Partitions may have been added: streams are where they were.
        if let Some(known) = known.as_ref().filter(|known| known.topic_id == info.topic_id) {
            info.partitions = info.partitions.min(known.partitions);
        }
        if known.as_ref() == Some(&info) {
            return Err(RepairError::NotSo(format!("topic {name} is the category's already")));
        }
        let held = self.0.cluster.hold_configs(&name, &OF_EVENTS).await;
        held.map_err(|error| RepairError::Unavailable(error.to_string()))?;
        if known.as_ref().is_none_or(|known| known.topic_id != info.topic_id) {
            self.restart_subscriptions(category).await.map_err(of_consumers)?;
        }
        self.0.catalog.enter(category, &info).await?;
        let deadline = Instant::now() + self.0.options.append_patience;
        while self.opened(category).is_none_or(|open| !open.is_of(&info)) {
            if Instant::now() >= deadline {
                return Err(RepairError::Unavailable(format!("{category} is taken back, and not open yet")));
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Only what cannot be used: what can is deleted, with all that goes with it.
    async fn give_up(&self, category: &Category) -> Result<(), RepairError> {
        let is_usable = self.opened(category).is_some_and(|open| {
            let mut partitions = open.partitions.iter();
            !partitions.any(|it| it.replica.halted().is_some_and(|halted| halted.is_topic_gone))
        });
        if is_usable && self.unopened(category).is_none() {
            return Err(RepairError::NotSo(format!(
                "the topic of {category} is there: delete it with `levada events category delete {category}`"
            )));
        }
        if self.0.catalog.entry(category).is_none() && self.unopened(category).is_none() {
            return Err(RepairError::NoCategory(category.to_string()));
        }
        self.restart_subscriptions(category).await.map_err(of_consumers)?;
        let beside = self.0.catalog.entry(category).map(|info| info.beside).unwrap_or_default();
        // Snapshots are of streams that are no more; what was archived stays.
        let snapshots = beside.into_iter().filter(|(name, _)| category.snapshots().as_ref() == Some(name));
        let snapshots = snapshots.map(|(name, id)| (id, name)).collect();
        let deleted = self.0.cluster.delete_topics(&snapshots).await;
        deleted.map_err(|error| RepairError::Unavailable(error.to_string()))?;
        Ok(self.0.catalog.remove(category).await?)
    }

    /// Until it has gone on, or halts somewhere else or for something else.
    async fn wait_until_changed(
        &self,
        open: &OpenCategory,
        partition: &OpenPartition,
        before: &Halted,
    ) -> Result<(), RepairError> {
        let mut seen = partition.replica.seen();
        let changed = seen.wait_for(|seen| seen.halted.as_ref() != Some(before));
        let late =
            || RepairError::Unavailable("it is decided, and the partition has not gone on yet".to_owned());
        match tokio::time::timeout(self.0.options.append_patience, changed).await {
            Ok(Ok(_)) => {}
            _ => return Err(late()),
        }
        // What is wrong next is told at once.
        if let Ok(end) = self.end(open, partition.id()).await {
            let _ = partition.replica.reached(end, self.0.options.append_patience).await;
        }
        Ok(())
    }

    fn open_or(&self, category: &Category) -> Result<std::sync::Arc<OpenCategory>, RepairError> {
        self.opened(category).ok_or_else(|| match self.0.catalog.find(category) {
            Some(_) => {
                RepairError::NotSo(format!("{category} is not open: nothing is read of any partition"))
            }
            None => RepairError::NoCategory(category.to_string()),
        })
    }
}

fn of_consumers(error: crate::consumers::ConsumerError) -> RepairError {
    RepairError::Unavailable(error.to_string())
}

fn halted(open: &OpenCategory, index: i32) -> Result<(&OpenPartition, Halted), RepairError> {
    let partition = usize::try_from(index).ok().and_then(|index| open.partitions.get(index));
    let none = || RepairError::Invalid(format!("{} has no partition {index}", open.category));
    let partition = partition.ok_or_else(none)?;
    let well = || RepairError::NotSo(format!("partition {index} of {} has not halted", open.category));
    Ok((partition, partition.replica.halted().ok_or_else(well)?))
}
