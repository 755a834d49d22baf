//! Chores of this repository: `cargo xtask <chore>`.
#![allow(clippy::disallowed_methods, clippy::print_stdout)] // a tool for developers: there is no `env` here

mod corpus;
mod golden;
mod schemas;

use anyhow::{Result, bail};

const USAGE: &str = "cargo xtask schemas check    compare crates/wire/schemas with Kafka's own definitions
cargo xtask schemas import   write the schema files from Kafka's definitions
cargo xtask golden           compare crates/wire/golden with what Kafka's own classes write
cargo xtask golden write     write it anew (needs Java and Maven, as the three above do)
cargo xtask corpus unpack    fill the fuzzer's folder with the kept inputs and the goldens
cargo xtask corpus pack      keep what is in the fuzzer's folder (minimise it first)";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["schemas", "check"] => schemas::check(),
        ["schemas", "import"] => schemas::import(),
        ["golden"] => golden::check(),
        ["golden", "write"] => golden::write(),
        ["corpus", "unpack"] => corpus::unpack(),
        ["corpus", "pack"] => corpus::pack(),
        _ => bail!("usage:\n{USAGE}"),
    }
}
