//! `levada verify`: reads everything that is stored and says what is damaged.

mod events;

use std::path::Path;

use anyhow::{Context, ensure};
use broker::{Fate, TopicNames};
use model::{Offset, PartitionId, TopicId};
use storage::{PartitionReport, Report};

use super::serve::data_dir;
use crate::cli::VerifyArgs;
use crate::cli::events::VerifyCommand;
use crate::output::{bytes, counted, line, shell_word};
use crate::wiring::{advise, offline};

pub fn run(arguments: &VerifyArgs) -> anyhow::Result<()> {
    if let Some(VerifyCommand::Events { categories, index_dir, all, broker }) = &arguments.command {
        return events::run(categories, index_dir.as_deref(), *all, broker);
    }
    let data_dir = &data_dir(&arguments.data)?;
    let report = look(data_dir, "verify")?;
    print(&report, &Names::read(data_dir), data_dir, arguments.all)?;
    ensure!(report.is_sound(), "{}", consequences(&report, data_dir));
    Ok(())
}

/// `deed`: what cannot be done where it fails.
pub fn look(data_dir: &Path, deed: &str) -> anyhow::Result<Report> {
    let (options, disk, clock, random) = offline(data_dir);
    storage::verify(options, disk, clock, random)
        .map_err(|error| advise(error, data_dir))
        .with_context(|| format!("cannot {deed} {}", data_dir.display()))
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

/// What was found: what needs attention, or everything with `all`, and the sum of it.
pub fn print(report: &Report, names: &Names, data_dir: &Path, all: bool) -> anyhow::Result<()> {
    line(&format!("data directory {}", std::path::absolute(data_dir)?.display()))?;
    line(&format!("cluster {}", report.cluster_id))?;
    if let Some(error) = &names.error {
        line(&format!("{METADATA} cannot be read ({error}): partitions are named by topic id"))?;
    }
    for shard in &report.shards {
        let closed = if shard.was_closed_cleanly { "closed in order" } else { "not closed in order" };
        if all || !shard.was_closed_cleanly || shard.has_torn_end || !shard.damaged_groups.is_empty() {
            let groups = counted(shard.groups as u64, "group");
            line(&format!("write-ahead log {}: {closed}, {groups} to replay", shard.shard))?;
        }
        if shard.has_torn_end {
            line("  its end is torn: never acknowledged, the next start cuts it")?;
        }
        for (from, to) in &shard.damaged_groups {
            line(&format!("  DAMAGED: groups {from} to {to}"))?;
        }
    }
    let mut hidden = 0_u64;
    for partition in &report.partitions {
        let note = names.note(partition.id);
        if !all && note.is_none() && !is_remarkable(partition) {
            hidden += 1;
            continue;
        }
        line(&format!(
            "partition {}: {}, {} in {}, {} in the write-ahead log, {}",
            names.of(partition.id),
            extent(partition),
            counted(partition.batches, "batch"),
            counted(partition.segments as u64, "segment"),
            partition.pending_batches,
            bytes(i64::try_from(partition.bytes).unwrap_or(i64::MAX))
        ))?;
        if let Some(note) = note {
            line(&format!("  {note}"))?;
        }
        damage(partition)?;
    }
    for leftover in &report.leftovers {
        line(&format!("leftover {leftover}: of a deleted partition, the next start removes it"))?;
    }
    if hidden > 0 {
        let are = if hidden == 1 { "is" } else { "are" };
        line(&format!(
            "{} {are} whole and not shown here; `levada verify --all` shows every one",
            counted(hidden, "partition")
        ))?;
    }
    line(&summary(report, names))
}

/// Whether there is more to say of a partition than how large it is.
fn is_remarkable(partition: &PartitionReport) -> bool {
    partition.is_damaged()
        || partition.is_only_folder
        || partition.is_tail_suspect
        || !partition.accepted.is_empty()
        || !partition.bad_indexes.is_empty()
}

/// Everything in one line.
fn summary(report: &Report, names: &Names) -> String {
    let records: u64 = report.partitions.iter().map(|partition| partition.records).sum();
    let size: u64 = report.partitions.iter().map(|partition| partition.bytes).sum();
    let size = bytes(i64::try_from(size).unwrap_or(i64::MAX));
    let partitions = counted(report.partitions.len() as u64, "partition");
    let counts = format!("{partitions}, {size}, {}", counted(records, "record"));
    if report.is_sound() {
        return format!("{counts}, no damage");
    }
    let partitions = report.partitions.iter().filter(|partition| partition.is_damaged());
    let mut damaged: Vec<String> = partitions.map(|partition| names.of(partition.id)).collect();
    let logs = report.shards.iter().filter(|shard| !shard.damaged_groups.is_empty());
    damaged.extend(logs.map(|shard| format!("write-ahead log {}", shard.shard)));
    let more = damaged.len().saturating_sub(NAMED_MAX);
    damaged.truncate(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{counts}, DAMAGED: {}{more}", damaged.join(", "))
}

/// How many the summary names.
const NAMED_MAX: usize = 20;

fn is_empty(partition: &PartitionReport) -> bool {
    partition.log_start >= partition.log_end
}

fn extent(partition: &PartitionReport) -> String {
    match is_empty(partition) {
        true => format!("empty at offset {}", partition.log_end),
        false => offsets(&(partition.log_start, partition.log_end.plus(-1))),
    }
}

fn damage(partition: &PartitionReport) -> anyhow::Result<()> {
    for range in &partition.damaged {
        line(&format!("  DAMAGED: {} lost (folder partitions/{})", offsets(range), partition.id))?;
    }
    if partition.is_only_folder {
        line(
            "  nothing but its folder tells of this partition: what the write-ahead log knew of it is lost",
        )?;
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
    let mut partitions = report.partitions.iter();
    match partitions.find(|partition| partition.id.topic == TopicId::CLUSTER_METADATA) {
        Some(metadata) => !metadata.damaged.is_empty(),
        None => report.partitions.iter().any(PartitionReport::is_damaged),
    }
}

fn consequences(report: &Report, data_dir: &Path) -> String {
    let serves = match stops_the_broker(report) {
        true => "the broker does not start, because its metadata is damaged",
        false => "the broker serves the rest of the damaged partitions and takes no records for them",
    };
    format!(
        "acknowledged records are damaged: {serves}. Restore a copy of {0}; or keep a copy of it as it is, and give \
         the lost records up with `levada repair --data-dir {0} --accept-loss`",
        shell_word(data_dir)
    )
}
