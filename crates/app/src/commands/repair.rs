//! `levada repair`: makes damaged partitions writable again.

use std::path::Path;

use anyhow::{Context, bail};

use super::serve::data_dir;
use super::verify::{self, Names};
use crate::cli::RepairArgs;
use crate::output::{line, shell_word};
use crate::wiring::{advise, offline};

pub fn run(arguments: &RepairArgs) -> anyhow::Result<()> {
    let data_dir = data_dir(&arguments.data)?;
    match arguments.accept_loss {
        true => repair(&data_dir),
        false => explain(&data_dir),
    }
}

/// What a repair would give up. Changes nothing.
fn explain(data_dir: &Path) -> anyhow::Result<()> {
    let report = verify::look(data_dir, "look at")?;
    verify::print(&report, &Names::read(data_dir), data_dir, false)?;
    if report.is_sound() {
        return line("no record is damaged: there is nothing to give up");
    }
    bail!(
        "nothing was changed. What is called DAMAGED above would be given up for ever: readers step over it, and the \
         partitions take records again. If you can, restore a copy of {0} instead; if not, keep a copy of it as it is, \
         then say `levada repair --data-dir {0} --accept-loss`",
        shell_word(data_dir)
    )
}

fn repair(data_dir: &Path) -> anyhow::Result<()> {
    let (options, disk, clock, random) = offline(data_dir);
    let repaired = storage::repair(options, disk, clock, random, true)
        .map_err(|error| advise(error, data_dir))
        .with_context(|| format!("cannot repair {}", data_dir.display()))?;
    let names = Names::read(data_dir);
    verify::print(&repaired.found, &names, data_dir, false)?;
    if repaired.has_new_identity {
        line(&format!(
            "levada.properties was lost: the cluster has a new id, {}, by which clients and tools may take it for \
             another one",
            repaired.found.cluster_id
        ))?;
    }
    for shard in &repaired.rebuilt_checkpoints {
        line(&format!(
            "checkpoint {shard} was unreadable and is built anew from segments and write-ahead log"
        ))?;
    }
    for (partition, base) in &repaired.rebuilt_indexes {
        line(&format!("partition {}: index of segment {base} built anew", names.of(*partition)))?;
    }
    for (partition, ranges) in &repaired.accepted {
        let what: Vec<String> = ranges.iter().map(verify::offsets).collect();
        let what = if what.is_empty() { "perhaps records at the end".to_owned() } else { what.join(", ") };
        line(&format!("partition {}: given up {what}", names.of(*partition)))?;
    }
    if repaired.accepted.is_empty() {
        line("nothing had to be given up")?;
    }
    if verify::stops_the_broker(&repaired.found) {
        line(
            "the metadata has lost records: topics whose names went with them will be served as recovered-<topic id>; \
             where settings went with them, topics keep their records as long as before until they are set again",
        )?;
    }
    Ok(())
}
