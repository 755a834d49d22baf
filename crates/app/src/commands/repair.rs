//! `levada repair`: makes damaged partitions writable again.

use anyhow::{Context, ensure};

use super::verify;
use crate::cli::RepairArgs;
use crate::output::line;

pub fn run(arguments: &RepairArgs) -> anyhow::Result<()> {
    ensure!(
        arguments.accept_loss,
        "repairing gives up the records that cannot be read; see which with `levada verify --data-dir {0}`, keep a \
         copy of {0}, then say --accept-loss",
        arguments.data_dir.display()
    );
    let (options, disk, clock, random) = crate::wiring::offline(&arguments.data_dir);
    let repaired = storage::repair(options, disk, clock, random, arguments.accept_loss)
        .with_context(|| format!("cannot repair {}", arguments.data_dir.display()))?;
    verify::print(&repaired.found)?;
    for shard in &repaired.rebuilt_checkpoints {
        line(&format!(
            "checkpoint {shard} was unreadable and is built anew; topic configs may be lost with it"
        ))?;
    }
    for (partition, base) in &repaired.rebuilt_indexes {
        line(&format!("partition {partition}: index of segment {base} built anew"))?;
    }
    for (partition, ranges) in &repaired.accepted {
        let what: Vec<String> = ranges.iter().map(verify::offsets).collect();
        let what = if what.is_empty() { "perhaps records at the end".to_owned() } else { what.join(", ") };
        line(&format!("partition {partition}: given up {what}"))?;
    }
    if repaired.accepted.is_empty() {
        line("nothing had to be given up")?;
    }
    Ok(())
}
