//! `levada cluster`: what is there.

use serde_json::json;

use crate::cli::{ClusterCommand, Format};
use crate::client::{self, Overview};
use crate::commands::topic::list::is_internal;
use crate::output::{counted, line};

pub fn run(command: &ClusterCommand) -> anyhow::Result<()> {
    let ClusterCommand::Info { format, broker } = command;
    client::run(broker, async |cluster| print(&cluster.overview().await?, *format))
}

fn print(overview: &Overview, format: Format) -> anyhow::Result<()> {
    let partitions: usize = overview.topics.iter().map(|topic| topic.partitions.len()).sum();
    let internal = overview.topics.iter().filter(|topic| is_internal(topic)).count();
    match format {
        Format::Text => {
            line(&format!("cluster {}", overview.cluster_id.as_deref().unwrap_or("without an id")))?;
            for (id, address) in &overview.brokers {
                let controller = if *id == overview.controller { ", controller" } else { "" };
                line(&format!("broker {id} at {address}{controller}"))?;
            }
            line(&format!(
                "{} ({internal} internal), {}",
                counted(overview.topics.len() as u64, "topic"),
                counted(partitions as u64, "partition")
            ))
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
