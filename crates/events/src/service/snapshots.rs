//! Snapshots of streams: one table a category, opened when it is first asked for.

use std::sync::Arc;

use client::Position;
use tokio::sync::OnceCell;

use super::{Freshness, Handle};
use crate::category::Category;
use crate::query::{Direction, Found, ReadError};
use crate::snapshot::{self, Loaded, NewSnapshot, Snapshot, SnapshotError};
use crate::table::{self, Table, TableError};

/// A category's snapshots, once somebody has asked for them.
pub(super) type Opened = Arc<OnceCell<Table>>;

impl Handle {
    /// Keeps a snapshot in place of the one that there is. Two that are put at the same moment may both be taken, and
    /// either may stay: both are true. Whoever reads at least as fresh as the position sees it or a newer one.
    pub async fn put_snapshot(
        &self,
        category: &Category,
        stream: &str,
        new: NewSnapshot,
        freshness: &Freshness,
    ) -> Result<(Snapshot, Position), SnapshotError> {
        category.check_foreign().map_err(|error| SnapshotError::Invalid(error.to_string()))?;
        // The events may have been appended elsewhere a moment ago.
        let strong = Freshness { is_strong: true, ..freshness.clone() };
        let found = self.read_stream(category, stream, u64::MAX, Direction::Backward, 1, &strong).await?;
        let table = self.snapshots_of(category).await?;
        let stored = table.get(stream).await.map_err(unavailable)?;
        let topic = self.topic_id(category)?;
        let is_true = |stored: &Snapshot| stored.is_of(topic) && stored.version <= found.version;
        let stored = stored.and_then(|bytes| snapshot::read(&bytes)).filter(is_true);
        snapshot::check(&new, found.version, stored.as_ref())?;
        if let Some(sealed) = &new.sealed {
            crate::sealing::check(&sealed.personal).map_err(SnapshotError::Invalid)?;
        }
        let NewSnapshot { version, schema_version, content_type, data, sealed } = new;
        let (time, position) = (self.0.clock.now(), found.position);
        let mut snapshot = Snapshot { version, schema_version, content_type, data, time, position, sealed };
        self.seal_snapshot(stream, &mut snapshot).await?;
        self.make_snapshots(category, &table).await?;
        let put = table.put(stream, Some(&snapshot::write(&snapshot))).await;
        let mut position = put.map_err(|error| match &error {
            TableError::Kafka(asked) if is_too_large(asked) => SnapshotError::TooLarge(error.to_string()),
            _ => SnapshotError::Read(unavailable(error)),
        })?;
        position.merge(&snapshot.position);
        Ok((snapshot, position))
    }

    /// The newest snapshot of a stream.
    pub async fn snapshot(
        &self,
        category: &Category,
        stream: &str,
        freshness: &Freshness,
    ) -> Result<Option<Snapshot>, ReadError> {
        let table = self.snapshots_of(category).await?;
        self.tables_fresh(freshness).await?;
        if freshness.is_strong {
            table.catch_up().await.map_err(unavailable)?;
        }
        let stored = table.get(stream).await.map_err(unavailable)?;
        self.readable(category).await?;
        let topic = self.topic_id(category)?;
        match stored.and_then(|bytes| snapshot::read(&bytes)).filter(|stored| stored.is_of(topic)) {
            Some(snapshot) => self.unseal_snapshot(stream, snapshot).await,
            None => Ok(None),
        }
    }

    /// None: there is none.
    pub async fn drop_snapshot(
        &self,
        category: &Category,
        stream: &str,
    ) -> Result<Option<Position>, ReadError> {
        category.check_foreign().map_err(|error| ReadError::Invalid(error.to_string()))?;
        let table = self.snapshots_of(category).await?;
        table.catch_up().await.map_err(unavailable)?;
        if table.get(stream).await.map_err(unavailable)?.is_none() {
            return Ok(None);
        }
        Ok(Some(table.put(stream, None).await.map_err(unavailable)?))
    }

    /// A stream's newest snapshot of a schema version (none given: whichever) and the events after it.
    pub async fn load(
        &self,
        category: &Category,
        stream: &str,
        schema_version: Option<u32>,
        limit: usize,
        freshness: &Freshness,
    ) -> Result<Loaded, ReadError> {
        let snapshot = self.snapshot(category, stream, freshness).await?;
        let snapshot = snapshot.filter(|it| schema_version.is_none_or(|wanted| wanted == it.schema_version));
        let from = snapshot.as_ref().map_or(1, |snapshot| snapshot.version + 1);
        let mut freshness = freshness.clone();
        if let Some(snapshot) = &snapshot {
            freshness.at_least.merge(&snapshot.position);
        }
        let found: Found =
            self.read_stream(category, stream, from, Direction::Forward, limit, &freshness).await?;
        // The log was restored from an older copy: what the snapshot rests on is not there.
        if snapshot.as_ref().is_some_and(|snapshot| snapshot.version > found.version) {
            let found = self.read_stream(category, stream, 1, Direction::Forward, limit, &freshness).await?;
            return Ok(Loaded { snapshot: None, found });
        }
        Ok(Loaded { snapshot, found })
    }

    pub(super) async fn snapshots_of(&self, category: &Category) -> Result<Table, ReadError> {
        if self.0.catalog.find(category).is_none() {
            return Err(ReadError::NoCategory(category.to_string()));
        }
        let topic = category.snapshots().ok_or_else(|| {
            ReadError::Invalid(format!("the name of {category} is too long for a topic of its snapshots"))
        })?;
        let cell = self.0.snapshots.lock().entry(category.clone()).or_default().clone();
        let opening = cell.get_or_try_init(|| {
            let (dir, factor) = (self.0.options.index_dir.clone(), self.0.options.replication_factor);
            let options = table::Options { is_expendable: true, ..table::Options::new(&topic, dir, factor) };
            Table::open(&self.0.cluster, self.0.clock.clone(), options)
        });
        Ok(opening.await.map_err(unavailable)?.clone())
    }
}

fn is_too_large(asked: &client::AskError) -> bool {
    let codes = [wire::ErrorCode::MessageTooLarge, wire::ErrorCode::RecordListTooLarge];
    asked.refused().is_some_and(|refused| codes.into_iter().any(|code| refused.is(code)))
}

pub(super) fn unavailable(error: TableError) -> ReadError {
    ReadError::Unavailable(error.to_string())
}
