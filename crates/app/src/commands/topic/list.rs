//! `levada topic list`.

use std::collections::BTreeMap;

use serde_json::json;
use wire::describe_configs::DescribeConfigsResource;
use wire::{DescribeConfigsRequest, DescribeLogDirsRequest};

use super::TOPIC_RESOURCE;
use crate::cli::Format;
use crate::client::{Cluster, Topic, check};
use crate::output::{self, bytes, counted, line, time};

/// Stands for what is not known.
const NOTHING: &str = "-";

/// What the table says of a topic's records.
const RETENTION_MS: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";
const POLICY: &str = "cleanup.policy";

pub async fn list(cluster: &Cluster, internal: bool, format: Format) -> anyhow::Result<()> {
    let topics = cluster.topics().await?;
    let shown: Vec<&Topic> = topics.iter().filter(|topic| internal || !is_internal(topic)).collect();
    let hidden = topics.len() - shown.len();
    let sizes = sizes(cluster).await?;
    let kept = kept(cluster, &shown).await?;
    match format {
        Format::Text if shown.is_empty() => {
            output::note(
                "there are no topics yet: `levada topic create NAME` makes one, as does the first record",
            );
        }
        Format::Text => text(&shown, &sizes, &kept)?,
        Format::Json => {
            for topic in shown {
                let kept = kept.get(&topic.name).cloned().unwrap_or_default();
                let number = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<i64>().ok());
                line(
                    &json!({
                        "name": topic.name, "id": topic.id.to_string(), "partitions": topic.partitions.len(),
                        "internal": is_internal(topic), "bytes": sizes.get(&topic.name),
                        "retention_ms": number(&kept.ms), "retention_bytes": number(&kept.bytes),
                        "cleanup_policy": kept.policy,
                    })
                    .to_string(),
                )?;
            }
        }
    }
    if hidden > 0 && format == Format::Text {
        let (what, are) = (counted(hidden as u64, "internal topic"), if hidden == 1 { "is" } else { "are" });
        output::note(&format!("{what} {are} not shown; --internal shows them"));
    }
    Ok(())
}

/// What brokers and the event store keep for themselves. A category's events are a user's, who may read them.
pub fn is_internal(topic: &Topic) -> bool {
    topic.internal || topic.name.starts_with("__") || topic.name.starts_with(super::own::TABLES)
}

fn text(
    shown: &[&Topic],
    sizes: &BTreeMap<String, i64>,
    kept: &BTreeMap<String, Kept>,
) -> anyhow::Result<()> {
    let width = shown.iter().map(|topic| topic.name.len()).max().unwrap_or(0).max("topic".len());
    line(&format!("{:width$}  partitions        size  {:20}  policy", "topic", "retention"))?;
    for topic in shown {
        let kept = kept.get(&topic.name).cloned().unwrap_or_default();
        let size = sizes.get(&topic.name).map_or(NOTHING.to_owned(), |size| bytes(*size));
        line(&format!(
            "{:width$}  {:10}  {size:>10}  {:20}  {}",
            topic.name,
            topic.partitions.len(),
            kept.told(),
            kept.policy.as_deref().unwrap_or(NOTHING)
        ))?;
    }
    Ok(())
}

/// Which records a topic keeps.
#[derive(Debug, Clone, Default)]
struct Kept {
    ms: Option<String>,
    bytes: Option<String>,
    policy: Option<String>,
}

impl Kept {
    /// For how long, and how much of each partition.
    fn told(&self) -> String {
        // Records that are only compacted have no age.
        if self.policy.as_deref() == Some("compact") {
            return NOTHING.to_owned();
        }
        let limit = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<i64>().ok());
        match (limit(&self.ms), limit(&self.bytes)) {
            (None, None) => NOTHING.to_owned(),
            (ms, size) => {
                let age = ms.filter(|ms| *ms >= 0).map(time);
                let size = size.filter(|size| *size >= 0).map(|size| format!("{} each", bytes(size)));
                let told: Vec<String> = [age, size].into_iter().flatten().collect();
                if told.is_empty() { "for ever".to_owned() } else { told.join(", ") }
            }
        }
    }
}

/// Bytes of each topic's logs, of the largest copy of each partition. Empty where nobody may know.
async fn sizes(cluster: &Cluster) -> anyhow::Result<BTreeMap<String, i64>> {
    let mut copies: BTreeMap<(String, i32), i64> = BTreeMap::new();
    for id in cluster.brokers().await? {
        let request = DescribeLogDirsRequest { topics: None, ..DescribeLogDirsRequest::default() };
        let answer = cluster.node(id).await?.ask(&request).await?;
        for topic in answer.results.into_iter().flat_map(|result| result.topics) {
            for partition in topic.partitions {
                let copy = copies.entry((topic.name.to_string(), partition.partition_index)).or_default();
                *copy = (*copy).max(partition.partition_size);
            }
        }
    }
    let mut sizes = BTreeMap::new();
    for ((topic, _), size) in copies {
        *sizes.entry(topic).or_default() += size;
    }
    Ok(sizes)
}

async fn kept(cluster: &Cluster, topics: &[&Topic]) -> anyhow::Result<BTreeMap<String, Kept>> {
    let resource = |topic: &&Topic| DescribeConfigsResource {
        resource_type: TOPIC_RESOURCE,
        resource_name: topic.name.as_str().into(),
        configuration_keys: Some([RETENTION_MS, RETENTION_BYTES, POLICY].map(Into::into).to_vec()),
        ..DescribeConfigsResource::default()
    };
    let resources = topics.iter().map(resource).collect();
    let request = DescribeConfigsRequest { resources, ..DescribeConfigsRequest::default() };
    let mut kept = BTreeMap::new();
    for result in cluster.ask(&request).await?.results {
        // Deleted meanwhile, or not for this user: the rest is told all the same.
        if check(result.error_code, None).is_err() {
            continue;
        }
        let mut of = Kept::default();
        for config in result.configs {
            let value = config.value.map(|value| value.to_string());
            match &*config.name {
                RETENTION_MS => of.ms = value,
                RETENTION_BYTES => of.bytes = value,
                POLICY => of.policy = value,
                _ => {}
            }
        }
        kept.insert(result.resource_name.to_string(), of);
    }
    Ok(kept)
}
