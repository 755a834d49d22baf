//! `levada verify`: reads everything that is stored and says what is damaged.

use std::path::Path;

use anyhow::{Context, ensure};
use broker::{Fate, TopicNames};
use model::{Offset, PartitionId, TopicId};
use storage::{PartitionReport, Report};

use crate::cli::VerifyArgs;
use crate::output::line;
use crate::wiring::{advise, offline};

pub fn run(arguments: &VerifyArgs) -> anyhow::Result<()> {
    let data_dir = &arguments.data_dir;
    let report = look(data_dir)?;
    print(&report, &Names::read(data_dir))?;
    ensure!(report.is_sound(), "{}", consequences(&report, data_dir));
    Ok(())
}

pub fn look(data_dir: &Path) -> anyhow::Result<Report> {
    let (options, disk, clock, random) = offline(data_dir);
    storage::verify(options, disk, clock, random)
        .map_err(|error| advise(error, data_dir))
        .with_context(|| format!("cannot verify {}", data_dir.display()))
}

/// What partitions are called.
pub struct Names {
    topics: TopicNames,
    /// Why there are none.
    error: Option<String>,
}

impl Names {
    /// Reads them from the metadata, as far as it is readable.
    pub fn read(data_dir: &Path) -> Names {
        let (options, disk, clock, random) = offline(data_dir);
        let log = PartitionId { topic: TopicId::CLUSTER_METADATA, index: 0 };
        let mut topics = TopicNames::default();
        let read = storage::read_offline(options, disk, clock, random, log, |batch| topics.add(batch));
        Names { topics, error: read.err().map(|error| error.to_string()) }
    }

    /// Topic and index; the topic's id where its name is not known.
    pub fn of(&self, id: PartitionId) -> String {
        match self.topics.name(id.topic) {
            Some(name) => format!("{name}-{}", id.index),
            None => id.to_string(),
        }
    }

    /// Why a partition is called by its topic's id.
    fn note(&self, id: PartitionId) -> Option<String> {
        if self.error.is_some() || self.topics.name(id.topic).is_some() {
            return None;
        }
        Some(match self.topics.fate(id.topic) {
            Fate::Deleted => "its topic was deleted: the next start removes it".to_owned(),
            Fate::Recovered(name) => format!(
                "the name of this topic cannot be read in {METADATA}: the broker will serve it as {name}"
            ),
        })
    }
}

const METADATA: &str = "__cluster_metadata";

/// What was found, a line each.
pub fn print(report: &Report, names: &Names) -> anyhow::Result<()> {
    line(&format!("cluster {}", report.cluster_id))?;
    if let Some(error) = &names.error {
        line(&format!("{METADATA} cannot be read ({error}): partitions are named by topic id"))?;
    }
    for shard in &report.shards {
        let closed = if shard.was_closed_cleanly { "closed in order" } else { "not closed in order" };
        line(&format!("write-ahead log {}: {closed}, {} groups to replay", shard.shard, shard.groups))?;
        if shard.has_torn_end {
            line("  its end is torn: never acknowledged, the next start cuts it")?;
        }
        for (from, to) in &shard.damaged_groups {
            line(&format!("  DAMAGED: groups {from} to {to}"))?;
        }
    }
    for partition in &report.partitions {
        line(&format!(
            "partition {}: {}, {} batches in {} segments, {} in the write-ahead log, {} bytes",
            names.of(partition.id),
            extent(partition),
            partition.batches,
            partition.segments,
            partition.pending_batches,
            partition.bytes
        ))?;
        if let Some(note) = names.note(partition.id) {
            line(&format!("  {note}"))?;
        }
        damage(partition)?;
    }
    for leftover in &report.leftovers {
        line(&format!("leftover {leftover}: of a deleted partition, the next start removes it"))?;
    }
    Ok(())
}

fn extent(partition: &PartitionReport) -> String {
    match partition.log_start < partition.log_end {
        true => offsets(&(partition.log_start, partition.log_end.plus(-1))),
        false => format!("empty at offset {}", partition.log_end),
    }
}

fn damage(partition: &PartitionReport) -> anyhow::Result<()> {
    for range in &partition.damaged {
        line(&format!("  DAMAGED: {} lost (folder partitions/{})", offsets(range), partition.id))?;
    }
    if partition.is_tail_suspect {
        line(&format!("  DAMAGED: records may be missing at the end (folder partitions/{})", partition.id))?;
    }
    for range in &partition.accepted {
        line(&format!("  given up by an earlier repair: {}", offsets(range)))?;
    }
    for base in &partition.bad_indexes {
        line(&format!("  index of segment {base} does not fit; it is built anew when it is used"))?;
    }
    Ok(())
}

/// A range of offsets, both ends included.
pub fn offsets((first, last): &(Offset, Offset)) -> String {
    match first == last {
        true => format!("offset {first}"),
        false => format!("offsets {first} to {last}"),
    }
}

/// Whether the broker starts.
pub fn stops_the_broker(report: &Report) -> bool {
    let metadata =
        report.partitions.iter().filter(|partition| partition.id.topic == TopicId::CLUSTER_METADATA);
    metadata.into_iter().any(|partition| !partition.damaged.is_empty())
}

fn consequences(report: &Report, data_dir: &Path) -> String {
    let serves = match stops_the_broker(report) {
        true => "the broker does not start, because its metadata is damaged",
        false => "the broker serves the rest of the damaged partitions and takes no records for them",
    };
    format!(
        "acknowledged records are damaged: {serves}. Restore a copy of {0}; or keep a copy of it as it is, and give \
         the lost records up with `levada repair --data-dir {0} --accept-loss`",
        data_dir.display()
    )
}
