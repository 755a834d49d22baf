//! `levada repair`: makes damaged partitions writable again.

use anyhow::ensure;

use crate::cli::RepairArgs;

pub fn run(arguments: &RepairArgs) -> anyhow::Result<()> {
    ensure!(
        arguments.accept_loss,
        "repairing gives up the records that cannot be read; see which with `levada verify --data-dir {0}`, keep a \
         copy of {0}, then say --accept-loss",
        arguments.data_dir.display()
    );
    crate::wiring::repair(&arguments.data_dir)
}
