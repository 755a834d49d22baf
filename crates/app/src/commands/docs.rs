//! `levada docs`: the manual pages of this very version.

use crate::cli::DocsCommand;
use crate::output;

const EVENTS: &str = include_str!("../../../../docs/events.md");
const OPERATIONS: &str = include_str!("../../../../docs/operations.md");
const DAMAGE: &str = include_str!("../../../../docs/damage.md");
const KAFKA: &str = include_str!("../../../../docs/kafka-behaviour.md");
const GLOSSARY: &str = include_str!("../../../../docs/glossary.md");

pub fn run(command: DocsCommand) -> anyhow::Result<()> {
    let page = match command {
        // Made of the program's own tables.
        DocsCommand::Configuration => return output::line(settings::manual::page().trim_end()),
        DocsCommand::Events => EVENTS,
        DocsCommand::Operations => OPERATIONS,
        DocsCommand::Damage => DAMAGE,
        DocsCommand::Kafka => KAFKA,
        DocsCommand::Glossary => GLOSSARY,
    };
    output::line(page.trim_end())
}
