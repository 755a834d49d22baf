//! `levada cluster`: what is there.

use serde_json::json;

use crate::cli::{ClusterCommand, Format};
use crate::client::{self, Overview};
use crate::output::line;

pub fn run(command: &ClusterCommand) -> anyhow::Result<()> {
    let ClusterCommand::Info { format, broker } = command;
    client::run(broker, async |cluster| print(&cluster.overview().await?, *format))
}

fn print(overview: &Overview, format: Format) -> anyhow::Result<()> {
    let partitions: usize = overview.topics.iter().map(|topic| topic.partitions.len()).sum();
    let internal = overview.topics.iter().filter(|topic| topic.internal).count();
    match format {
        Format::Text => {
            line(&format!("cluster {}", overview.cluster_id.as_deref().unwrap_or("without an id")))?;
            for (id, address) in &overview.brokers {
                let controller = if *id == overview.controller { ", controller" } else { "" };
                line(&format!("broker {id} at {address}{controller}"))?;
            }
            line(&format!("{} topics ({internal} internal), {partitions} partitions", overview.topics.len()))
        }
        Format::Json => {
            let broker = |(id, address): (&i32, &String)| json!({ "id": id, "address": address });
            let brokers: Vec<_> = overview.brokers.iter().map(broker).collect();
            let info = json!({
                "cluster_id": overview.cluster_id, "controller": overview.controller, "brokers": brokers,
                "topics": overview.topics.len(), "internal_topics": internal, "partitions": partitions,
            });
            line(&info.to_string())
        }
    }
}
