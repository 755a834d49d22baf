//! `levada docs`: manual pages that are made of the program's own tables.

use crate::cli::DocsCommand;
use crate::output;

pub fn run(command: &DocsCommand) -> anyhow::Result<()> {
    match command {
        DocsCommand::Configuration => output::line(settings::manual::page().trim_end()),
    }
}
