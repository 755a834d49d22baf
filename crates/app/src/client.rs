//! How commands use the Kafka client.
//!
//! A command does nothing twice: it never retries where a request may already have been carried out (the connection
//! broke; `consume` may: reading changes nothing). Where the broker itself says "not now", it asks again until the
//! patience of `--timeout` ends.

use std::path::Path;
use std::time::Duration;

use client::Properties;
pub use client::{
    AskError, Bootstrap, Cluster, Overview, Partition, Refused, Topic, by_leader, check, partition_of_key,
};
use tokio::time::{Instant, sleep};

use crate::cli::BrokerArgs;
use crate::output;

/// Where a broker is looked for that nobody named.
const DEFAULT_BOOTSTRAP: &str = "127.0.0.1:9092";

/// How long a broker may take to be reached and to answer.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(30);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs a command that talks to a broker.
pub fn run<T>(
    arguments: &BrokerArgs,
    command: impl AsyncFnOnce(Cluster) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = options(arguments)?;
    runtime.block_on(async { command(Cluster::connect(options).await?).await })
}

/// How brokers are reached, as a command's arguments say.
pub fn options(arguments: &BrokerArgs) -> anyhow::Result<client::Options> {
    let properties = match &arguments.command_config {
        Some(path) => read_properties(path).map_err(|why| anyhow::anyhow!("--command-config: {why}"))?,
        None => Properties::default(),
    };
    for warning in &properties.warnings {
        output::note(warning);
    }
    let default = || Bootstrap(vec![DEFAULT_BOOTSTRAP.to_owned()]);
    let timeout = arguments.timeout.map(Duration::from_secs);
    Ok(client::Options {
        bootstrap: arguments.bootstrap.clone().or(properties.bootstrap).unwrap_or_else(default),
        client_id: properties.client_id.unwrap_or_else(|| "levada-cli".to_owned()),
        patience: timeout.or(properties.request_timeout).unwrap_or(DEFAULT_PATIENCE),
        security: properties.security,
        inside: None,
    })
}

/// Kafka's client properties, and the files that they name.
#[expect(clippy::disallowed_methods, reason = "files that the user names, at the rim of the process")]
pub fn read_properties(path: &Path) -> Result<Properties, String> {
    Properties::read(path, &|path| std::fs::read(path))
}

/// Does something over as long as brokers say "not now", until the patience ends. Only for what does no harm when
/// it is done twice.
pub async fn persist<T>(
    cluster: &Cluster,
    mut attempt: impl AsyncFnMut(&Cluster) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + cluster.patience();
    loop {
        match attempt(cluster).await {
            Err(error) if refused(&error).is_some_and(Refused::is_passing) && Instant::now() < deadline => {
                sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

/// The broker's "no", where that is what went wrong.
pub fn refused(error: &anyhow::Error) -> Option<&Refused> {
    error.downcast_ref::<Refused>().or_else(|| error.downcast_ref::<AskError>().and_then(AskError::refused))
}

/// The broker cannot be reached, or does not answer any more.
pub fn is_lost(error: &anyhow::Error) -> bool {
    error.downcast_ref::<AskError>().is_some_and(AskError::is_lost)
}

#[cfg(test)]
mod tests;
