//! What somebody has decided about records that cannot be, so that a partition is read on.
//!
//! ```text
//! lv.repairs   compacted; key: <topic id>/<partition>/<offset>
//!   value: JSON {format, action: "passOver" | "adopt", until, stream, type, reason, madeAt}
//! ```
//!
//! The log is never rewritten. Every instance reads the same records by the same decisions, also when it builds its index
//! anew, so that all come to the same streams.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use client::Cluster;
use env::Clock;
use model::{Offset, PartitionId};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::warn;

use crate::table::{At, Options, Table, TableError};

pub const TOPIC: &str = "lv.repairs";

/// Another number when the record's fields change their meaning.
const FORMAT: u32 = 1;

/// What becomes of a record, or of what begins with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair {
    /// Everything from there up to this offset is as if it were not there.
    PassOver { until: Offset },
    /// It is an event: with the version that it says where that is new, else with the next one of its stream.
    Adopt {
        /// None: its key.
        stream: Option<String>,
        /// None: its `ce_type`.
        kind: Option<String>,
    },
}

/// The decisions about one partition, by offset.
pub type OfPartition = BTreeMap<Offset, Repair>;

#[derive(Clone)]
pub struct Repairs {
    table: Table,
    clock: Arc<dyn Clock>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    format: u32,
    action: Action,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    /// For people.
    reason: String,
    made_at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Action {
    PassOver,
    Adopt,
}

impl Repairs {
    pub async fn open(
        cluster: &Cluster,
        clock: Arc<dyn Clock>,
        dir: PathBuf,
        replication_factor: i16,
    ) -> Result<Repairs, TableError> {
        let options = Options::new(TOPIC, dir, replication_factor);
        Ok(Repairs { table: Table::open(cluster, clock.clone(), options).await?, clock })
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Told of each new one.
    pub fn at(&self) -> watch::Receiver<At> {
        self.table.at()
    }

    /// What was decided by now about a partition.
    pub async fn of(&self, partition: PartitionId) -> Result<OfPartition, TableError> {
        let prefix = prefix(partition);
        let kept = self.table.scan(&prefix).await?;
        Ok(kept.iter().filter_map(|(key, value)| read(&key[prefix.len()..], value)).collect())
    }

    pub async fn put(
        &self,
        partition: PartitionId,
        offset: Offset,
        repair: &Repair,
        reason: &str,
    ) -> Result<(), TableError> {
        let key = format!("{}/{}/{offset}", partition.topic, partition.index);
        self.table.put(&key, Some(&write(repair, reason, self.clock.now().0))).await.map(drop)
    }
}

fn prefix(partition: PartitionId) -> String {
    format!("{}/{}/", partition.topic, partition.index)
}

/// What was decided about a partition, of all that the topic has.
pub fn of(kept: &BTreeMap<String, Bytes>, partition: PartitionId) -> OfPartition {
    let prefix = prefix(partition);
    kept.iter().filter_map(|(key, value)| read(key.strip_prefix(&prefix)?, value)).collect()
}

fn write(repair: &Repair, reason: &str, made_at: i64) -> Vec<u8> {
    let (format, reason) = (FORMAT, reason.to_owned());
    let kept = match repair.clone() {
        Repair::PassOver { until } => {
            let (action, until) = (Action::PassOver, Some(until.0));
            Kept { format, action, until, stream: None, kind: None, reason, made_at }
        }
        Repair::Adopt { stream, kind } => {
            Kept { format, action: Action::Adopt, until: None, stream, kind, reason, made_at }
        }
    };
    serde_json::to_vec(&kept).expect("texts and numbers are JSON")
}

fn read(offset: &str, value: &[u8]) -> Option<(Offset, Repair)> {
    let offset = Offset(offset.parse().ok()?);
    let kept: Kept = match serde_json::from_slice(value) {
        Ok(kept) => Some(kept).filter(|kept: &Kept| kept.format == FORMAT)?,
        Err(error) => {
            warn!(topic = TOPIC, %offset, %error, "a record is no repair, and is passed over");
            return None;
        }
    };
    let repair = match kept.action {
        Action::PassOver => Repair::PassOver { until: Offset(kept.until?).max(offset.plus(1)) },
        Action::Adopt => Repair::Adopt { stream: kept.stream, kind: kept.kind },
    };
    Some((offset, repair))
}

/// Where to read on instead of at an offset; None: at it.
pub fn passed_over(repairs: &OfPartition, offset: Offset) -> Option<Offset> {
    let (_, repair) = repairs.range(..=offset).rev().find(|(_, it)| matches!(it, Repair::PassOver { .. }))?;
    match repair {
        Repair::PassOver { until } if *until > offset => Some(*until),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repair_is_read_as_it_was_written_and_nothing_else_is_one() {
        let adopt = Repair::Adopt { stream: Some("s".to_owned()), kind: None };
        for repair in [Repair::PassOver { until: Offset(9) }, adopt] {
            assert_eq!(read("7", &write(&repair, "why", 5)), Some((Offset(7), repair)));
        }
        assert_eq!(read("7", b"garbage"), None);
        assert_eq!(read("x", &write(&Repair::PassOver { until: Offset(9) }, "", 5)), None);
        // It cannot have anything read twice.
        let back = write(&Repair::PassOver { until: Offset(2) }, "", 5);
        assert_eq!(read("7", &back), Some((Offset(7), Repair::PassOver { until: Offset(8) })));
    }

    #[test]
    fn only_what_is_within_is_passed_over() {
        let repairs = OfPartition::from([
            (Offset(5), Repair::PassOver { until: Offset(8) }),
            (Offset(6), Repair::Adopt { stream: None, kind: None }),
        ]);
        let over: Vec<_> =
            (4..9).map(|offset| passed_over(&repairs, Offset(offset)).map(|it| it.0)).collect();
        assert_eq!(over, [None, Some(8), Some(8), Some(8), None]);
    }
}
