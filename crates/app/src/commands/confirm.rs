//! Asks before something is done that cannot be undone.

use std::io::{IsTerminal, Write};

use anyhow::{Context, bail, ensure};

/// Asks on the terminal, unless `--yes` was given. `what`: "delete orders and all of its records".
pub fn confirm(what: &str, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    ensure!(
        std::io::stdin().is_terminal(),
        "nothing was done: to {what} cannot be undone, and there is no terminal to ask on; add --yes if it is meant"
    );
    let mut question = std::io::stderr().lock();
    write!(question, "{what}? This cannot be undone. [y/N] ").and_then(|()| question.flush())?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("no answer")?;
    if !matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        bail!("nothing was done");
    }
    Ok(())
}
