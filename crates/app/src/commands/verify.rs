//! `levada verify`: reads everything that is stored and says what is damaged.

use anyhow::{Context, ensure};
use model::Offset;
use storage::{PartitionReport, Report};

use crate::cli::VerifyArgs;
use crate::output::line;

pub fn run(arguments: &VerifyArgs) -> anyhow::Result<()> {
    let (options, disk, clock, random) = crate::wiring::offline(&arguments.data_dir);
    let report = storage::verify(options, disk, clock, random)
        .with_context(|| format!("cannot verify {}", arguments.data_dir.display()))?;
    print(&report)?;
    ensure!(
        report.is_sound(),
        "acknowledged records are damaged; restore a copy, or give them up with `levada repair --accept-loss`"
    );
    Ok(())
}

/// What was found, a line each; partitions by topic id and index.
pub fn print(report: &Report) -> anyhow::Result<()> {
    line(&format!("cluster {}", report.cluster_id))?;
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
            "partition {}: offsets {} to {}, {} batches in {} segments, {} in the write-ahead log, {} bytes",
            partition.id,
            partition.log_start,
            partition.log_end,
            partition.batches,
            partition.segments,
            partition.pending_batches,
            partition.bytes
        ))?;
        damage(partition)?;
    }
    for leftover in &report.leftovers {
        line(&format!("leftover {leftover}: of a deleted partition, the next start removes it"))?;
    }
    Ok(())
}

fn damage(partition: &PartitionReport) -> anyhow::Result<()> {
    for range in &partition.damaged {
        line(&format!("  DAMAGED: {}", offsets(range)))?;
    }
    if partition.is_tail_suspect {
        line("  DAMAGED: records may be missing at the end")?;
    }
    for range in &partition.accepted {
        line(&format!("  given up by an earlier repair: {}", offsets(range)))?;
    }
    for base in &partition.bad_indexes {
        line(&format!("  index of segment {base} does not fit; it is built anew when it is used"))?;
    }
    Ok(())
}

/// A range of lost offsets, both ends included.
pub fn offsets((first, last): &(Offset, Offset)) -> String {
    format!("offsets {first} to {last}")
}
