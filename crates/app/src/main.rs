//! The `levada` binary: command line, configuration, wiring.
//!
//! `main` parses and hands over; every command is one file under `commands/`. The broker is put together in
//! `wiring.rs`, the doors that are not Kafka's stand in `http.rs`, what is built on Kafka in `patterns.rs`.

mod cli;
mod client;
mod commands;
mod data_directory;
mod http;
mod logging;
mod metrics;
mod output;
mod patterns;
mod wiring;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static HEAP: env::Heap = env::HEAP;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error);
            ExitCode::FAILURE
        }
    }
}
