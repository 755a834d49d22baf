//! How far the store itself has deleted partitions' records: where a log begins later than that, somebody else has, and
//! events are lost.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use client::Cluster;
use env::Clock;
use model::{Offset, PartitionId};
use tokio::sync::watch;

use crate::table::{At, Options, Table, TableError};

/// Key: `<topic id>/<partition>`; value: the first offset that is needed, in decimal.
pub const TOPIC: &str = "lv.trimmed";

#[derive(Clone)]
pub struct Trimmed(Table);

impl Trimmed {
    pub async fn open(
        cluster: &Cluster,
        clock: Arc<dyn Clock>,
        dir: PathBuf,
        replication_factor: i16,
    ) -> Result<Trimmed, TableError> {
        let options = Options::new(TOPIC, dir, replication_factor);
        Ok(Trimmed(Table::open(cluster, clock, options).await?))
    }

    pub fn table(&self) -> &Table {
        &self.0
    }

    /// Told of each change.
    pub fn at(&self) -> watch::Receiver<At> {
        self.0.at()
    }

    /// Says so before it is done.
    pub async fn announce(&self, partition: PartitionId, start: Offset) -> Result<(), TableError> {
        if self.up_to(partition).await? >= start {
            return Ok(());
        }
        self.0.put(&key(partition), Some(start.0.to_string().as_bytes())).await.map(drop)
    }

    /// Forgets partitions that are gone.
    pub async fn forget(&self, partitions: impl Iterator<Item = PartitionId>) -> Result<(), TableError> {
        self.0.catch_up().await?;
        let mut known = Vec::new();
        for key in partitions.map(key) {
            if self.0.get(&key).await?.is_some() {
                known.push(key);
            }
        }
        if known.is_empty() {
            return Ok(());
        }
        let entries: Vec<(&str, Option<&[u8]>)> = known.iter().map(|key| (key.as_str(), None)).collect();
        self.0.put_all(&entries).await.map(drop)
    }

    /// As of now.
    pub async fn up_to(&self, partition: PartitionId) -> Result<Offset, TableError> {
        self.0.catch_up().await?;
        let value = self.0.get(&key(partition)).await?;
        Ok(value.map_or(Offset::ZERO, |value| read(&value)))
    }
}

/// How far a partition was trimmed, of all that the topic has.
pub fn of(kept: &BTreeMap<String, Bytes>, partition: PartitionId) -> Offset {
    kept.get(&key(partition)).map_or(Offset::ZERO, |value| read(value))
}

fn read(value: &[u8]) -> Offset {
    let start = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
    start.map_or(Offset::ZERO, Offset)
}

fn key(partition: PartitionId) -> String {
    format!("{}/{}", partition.topic, partition.index)
}
