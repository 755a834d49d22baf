//! How the broker is put together from its settings. The commands know nothing of it beyond this file.

use std::path::Path;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use settings::BrokerSettings;

use crate::http::Readiness;

/// A broker that serves.
pub struct Broker {
    /// Where Kafka is served, as bound: never port 0.
    pub kafka_address: Option<std::net::SocketAddr>,
}

impl Broker {
    /// Opens the storage, recovers, starts the broker, opens its door.
    pub async fn start(_settings: &BrokerSettings, _metrics: &mut Registry) -> anyhow::Result<Broker> {
        Ok(Broker { kafka_address: None })
    }

    /// What `/readyz` asks, each time.
    pub fn readiness(&self) -> Arc<dyn Fn() -> Readiness + Send + Sync> {
        let serving = self.kafka_address.is_some();
        Arc::new(move || match serving {
            true => Readiness::Ready,
            false => Readiness::NotYet("the broker is not part of this build yet".to_owned()),
        })
    }

    /// Ends in order: no new requests, those under way are answered, everything is synced.
    pub async fn stop(self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Reads everything under `data_dir` and reports on standard output; an error if anything is damaged.
pub fn verify(_data_dir: &Path) -> anyhow::Result<()> {
    anyhow::bail!("this command is not part of this build yet")
}

/// Gives up what cannot be read under `data_dir`, and says what that was.
pub fn repair(_data_dir: &Path) -> anyhow::Result<()> {
    anyhow::bail!("this command is not part of this build yet")
}
