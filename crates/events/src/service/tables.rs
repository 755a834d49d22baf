//! How fresh the small tables are that reads rest on: upcasters, keys, subscriptions, snapshots, the catalog.
//!
//! Whoever puts something into one gets a position of its topic. A read with that position waits until the copy of this
//! process has it, as it waits for events.

use std::time::Duration;

use client::Position;
use model::{Offset, PartitionId, TopicId};
use tokio::time::{Instant, timeout_at};

use super::snapshots::unavailable;
use super::{Freshness, Handle};
use crate::query::ReadError;
use crate::table::{Table, TableError};

/// Topics of positions that are known to be none of the tables'. More are forgotten, and looked for again.
const OTHERS_MAX: usize = 1000;

impl Handle {
    /// Waits until the tables have what a read asks for; a strong read sees what is in them now.
    pub(crate) async fn tables_fresh(&self, freshness: &Freshness) -> Result<(), ReadError> {
        let deadline = Instant::now() + freshness.patience();
        self.tables_reached(&freshness.at_least, deadline).await?;
        if freshness.is_strong {
            let (upcasters, keys) = (self.0.upcasters.table(), self.0.keys.table());
            let both = async { tokio::try_join!(upcasters.catch_up(), keys.catch_up()) };
            let late = |_| unavailable(TableError::Late(upcasters.topic().to_owned()));
            timeout_at(deadline, both).await.map_err(late)?.map_err(unavailable)?;
        }
        self.0.upcasters.refreshed().await.map_err(unavailable)
    }

    async fn tables_reached(&self, position: &Position, deadline: Instant) -> Result<(), ReadError> {
        let mut wanted: Vec<(PartitionId, Offset)> = {
            let open = self.0.open.lock();
            let of_events = |topic: TopicId| {
                open.values().any(|category| category.partitions.iter().any(|it| it.id().topic == topic))
            };
            position.iter().filter(|(partition, _)| !of_events(partition.topic)).collect()
        };
        if wanted.is_empty() {
            return Ok(());
        }
        let tables = self.tables();
        // A table that is opened when it is first asked for may have been none when its topic was named before.
        let is_table = |topic: TopicId| tables.iter().any(|table| table.at().borrow().topic == Some(topic));
        wanted.retain(|(partition, _)| {
            is_table(partition.topic) || !self.0.other_topics.lock().contains(&partition.topic)
        });
        self.wait_for(&tables, &mut wanted, deadline).await?;
        if wanted.is_empty() {
            return Ok(());
        }
        // A table's topic may have been made elsewhere, and not be known here yet.
        for table in &tables {
            let late = |_| unavailable(TableError::Late(table.topic().to_owned()));
            timeout_at(deadline, table.catch_up()).await.map_err(late)?.map_err(unavailable)?;
        }
        self.wait_for(&tables, &mut wanted, deadline).await?;
        let mut others = self.0.other_topics.lock();
        if others.len() > OTHERS_MAX {
            others.clear();
        }
        others.extend(wanted.iter().map(|(partition, _)| partition.topic));
        Ok(())
    }

    /// Waits for what the tables are known to be asked for; what is of none of them is left.
    async fn wait_for(
        &self,
        tables: &[Table],
        wanted: &mut Vec<(PartitionId, Offset)>,
        deadline: Instant,
    ) -> Result<(), ReadError> {
        for table in tables {
            let known = table.at().borrow().topic;
            let named = wanted.iter().position(|(partition, _)| Some(partition.topic) == known);
            let Some((partition, next)) = named.map(|at| wanted.swap_remove(at)) else { continue };
            let patience = deadline.saturating_duration_since(Instant::now());
            if table.reached(partition.topic, next, patience).await.is_err() {
                let at = table.at().borrow().next;
                return Err(ReadError::Stale {
                    wanted: Position::of(partition, next),
                    at: Position::of(partition, at),
                });
            }
        }
        Ok(())
    }

    /// The store's own tables, of all categories.
    pub(super) fn own_tables(&self) -> [&Table; 7] {
        let shared = &self.0;
        [
            shared.catalog.table(),
            shared.upcasters.table(),
            shared.keys.table(),
            shared.consumers.table(),
            shared.trimmed.table(),
            shared.repairs.table(),
            shared.peers.table(),
        ]
    }

    /// Those that positions name.
    fn tables(&self) -> Vec<Table> {
        let shared = &self.0;
        let snapshots: Vec<Table> =
            shared.snapshots.lock().values().filter_map(|opened| opened.get().cloned()).collect();
        let own = [shared.catalog.table(), shared.upcasters.table(), shared.keys.table()];
        own.into_iter().chain([shared.consumers.table()]).cloned().chain(snapshots).collect()
    }
}

impl Freshness {
    /// How long to wait for it.
    pub(super) fn patience(&self) -> Duration {
        if self.wait.is_zero() { super::reading::OWN_WAIT } else { self.wait }
    }
}
