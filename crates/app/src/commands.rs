//! One file a command.

mod cluster;
mod config;
mod confirm;
pub mod consume;
mod docs;
mod events;
mod failures;
mod group;
mod produce;
mod repair;
mod serve;
mod topic;
mod verify;

use clap::CommandFactory;

use crate::cli::{Cli, Command};

pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(arguments)) => serve::run(&arguments),
        Some(Command::Verify(arguments)) => verify::run(&arguments),
        Some(Command::Repair(arguments)) => repair::run(&arguments),
        Some(Command::Docs(command)) => docs::run(command),
        Some(Command::Version) => crate::output::line(Cli::command().render_version().trim_end()),
        Some(Command::Cluster(command)) => cluster::run(&command),
        Some(Command::Config(command)) => config::run(&command),
        Some(Command::Completions { shell }) => {
            // Into memory first: it panics where it cannot write, as into `head`.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "levada", &mut script);
            crate::output::line(String::from_utf8_lossy(&script).trim_end())
        }
        Some(Command::Events(command)) => events::run(&command),
        Some(Command::Topic(command)) => topic::run(&command),
        Some(Command::Group(command)) => group::run(&command),
        Some(Command::Produce(arguments)) => produce::run(&arguments),
        Some(Command::Consume(arguments)) => consume::run(&arguments),
    }
}
