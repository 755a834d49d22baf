//! One file a command.

mod docs;
mod repair;
mod serve;
mod verify;

use crate::cli::{Cli, Command};

pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(arguments)) => serve::run(&arguments),
        Some(Command::Verify(arguments)) => verify::run(&arguments),
        Some(Command::Repair(arguments)) => repair::run(&arguments),
        Some(Command::Docs(command)) => docs::run(&command),
        Some(Command::Topic(_) | Command::Produce(_) | Command::Consume(_)) => {
            anyhow::bail!("this command is not part of this build yet")
        }
    }
}
