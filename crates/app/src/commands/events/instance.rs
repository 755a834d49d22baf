//! Which instance of the event store is asked, where only its broker is named, or nothing.

use anyhow::{bail, ensure};

use super::store::Store;
use crate::cli::events::StoreArgs;
use crate::client::{self, Cluster};

/// Where an instance is looked for that nobody named.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// Where HTTP is served unless somebody moves it.
const DEFAULT_PORT: u16 = 8080;

/// Addresses that mean "this machine, on every network": somebody else has to look for the machine itself.
const EVERYWHERE: [&str; 2] = ["0.0.0.0", "[::]"];

/// What `--url` says; else what is found from `--bootstrap`, where that or its file is named; else the default.
pub async fn find(arguments: &StoreArgs) -> anyhow::Result<Store> {
    let options = client::options(&arguments.broker)?;
    if let Some(url) = &arguments.url {
        let url = url.trim_end_matches('/');
        return Ok(Store::at(checked(url)?, options.patience));
    }
    let broker = &arguments.broker;
    if broker.bootstrap.is_none() && broker.command_config.is_none() {
        return Ok(Store::at(DEFAULT_URL, options.patience));
    }
    from_broker(options).await
}

/// An address as these commands can use it.
fn checked(url: &str) -> anyhow::Result<&str> {
    ensure!(
        !url.starts_with("https://"),
        "`{url}` (--url, or LEVADA_URL): these commands do not speak TLS to the event store. Give the http:// address of \
         an instance, from a machine that reaches it; programs may go through the proxy with https"
    );
    let place = url.strip_prefix("http://").filter(|place| !place.is_empty());
    let Some(place) = place else {
        bail!("`{url}` (--url, or LEVADA_URL) is no address of the event store: write http://HOST:PORT");
    };
    ensure!(
        !place.ends_with("/v1"),
        "`{url}` (--url, or LEVADA_URL) is the address of the event store without /v1: write http://HOST:PORT"
    );
    Ok(url)
}

async fn from_broker(options: ::client::Options) -> anyhow::Result<Store> {
    let (brokers, patience) = (options.bootstrap.clone(), options.patience);
    let hosts: Vec<&str> = brokers.0.iter().map(|address| host(address)).collect();
    let cluster = Cluster::connect(options).await?;
    let members = ::client::instances(&cluster).await?;
    let mut places: Vec<String> = members.iter().flat_map(|url| reachable(url, &hosts)).collect();
    // An instance without any category is in no group yet.
    places.extend(hosts.iter().map(|host| format!("http://{host}:{DEFAULT_PORT}")));
    let mut tried: Vec<String> = Vec::new();
    for url in places {
        if tried.contains(&url) {
            continue;
        }
        let store = Store::at(&url, patience);
        if store.is_levada().await {
            return Ok(store);
        }
        tried.push(url);
    }
    bail!(
        "no instance of the event store is found from the broker at {}: none answers at {}. Pass --url http://HOST:PORT \
         (or LEVADA_URL): an instance tells its own as http=HOST:PORT in its log when it is ready",
        brokers.0.join(","),
        tried.join(", ")
    )
}

/// Where an instance that gives this address can be asked from here.
fn reachable(url: &str, hosts: &[&str]) -> Vec<String> {
    match EVERYWHERE.iter().find(|all| url.starts_with(&format!("http://{all}:"))) {
        Some(all) => hosts.iter().map(|host| url.replacen(all, host, 1)).collect(),
        None => vec![url.to_owned()],
    }
}

/// The host of `host:port`, an IPv6 one in its brackets.
fn host(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

#[cfg(test)]
mod tests;
