//! `levada verify`: reads everything that is stored and says what is damaged.

use crate::cli::VerifyArgs;

pub fn run(arguments: &VerifyArgs) -> anyhow::Result<()> {
    crate::wiring::verify(&arguments.data_dir)
}
