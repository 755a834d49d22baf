//! `levada verify events`: whether the event store's topics are what owners must have left.

use std::path::Path;

use anyhow::{bail, ensure};
use events::Category;
use events::verify::verify;

use crate::cli::BrokerArgs;
use crate::client;
use crate::output::line;

pub fn run(categories: &[String], index_dir: Option<&Path>, broker: &BrokerArgs) -> anyhow::Result<()> {
    client::run(broker, async |cluster| {
        let categories: Vec<Category> = match categories {
            [] => {
                let topics = cluster.topics().await?;
                topics.iter().filter_map(|topic| Category::of_topic(&topic.name)).collect()
            }
            named => named.iter().map(|name| Category::new(name)).collect::<Result<_, _>>()?,
        };
        if categories.is_empty() {
            bail!("there is no category: no topic is called <category>.events");
        }
        let mut findings = 0;
        for category in categories {
            for (partition, audited) in verify(&cluster, &category, index_dir).await? {
                findings += audited.findings_count;
                for finding in &audited.findings {
                    line(&format!(
                        "{category} partition {partition} offset {}: {}",
                        finding.offset, finding.what
                    ))?;
                }
                let indexed =
                    audited.indexed.map_or_else(String::new, |next| format!(", index up to offset {next}"));
                let found = match audited.findings_count {
                    0 => "sound".to_owned(),
                    count => format!("{count} FINDINGS"),
                };
                line(&format!(
                    "{category} partition {partition}: {found}; {} events in {} streams, {} claims{indexed}",
                    audited.events, audited.streams, audited.claims
                ))?;
            }
        }
        ensure!(
            findings == 0,
            "{findings} records are not what an owner leaves: keep the topics as they are, and look who else writes to \
             them or has changed them"
        );
        Ok(())
    })
}
