//! `levada verify events`: whether the event store's topics are what owners must have left.

use std::path::Path;

use anyhow::{bail, ensure};
use events::Category;
use events::verify::{Audited, verify};

use crate::cli::BrokerArgs;
use crate::client;
use crate::output::line;

/// Over all partitions.
#[derive(Default)]
struct Sum {
    partitions: usize,
    unsound: usize,
    events: u64,
    streams: u64,
    findings: u64,
}

impl Sum {
    fn add(&mut self, audited: &Audited) {
        self.partitions += 1;
        self.unsound += usize::from(audited.findings_count > 0);
        self.events += audited.events;
        self.streams += audited.streams;
        self.findings += audited.findings_count;
    }

    fn told(&self, categories: usize) -> String {
        let verdict = match self.findings {
            0 => "sound".to_owned(),
            count => format!("{count} FINDINGS in {} partitions", self.unsound),
        };
        format!(
            "{categories} categories, {} partitions, {} events in {} streams: {verdict}",
            self.partitions, self.events, self.streams
        )
    }
}

pub fn run(
    categories: &[String],
    index_dir: Option<&Path>,
    all: bool,
    broker: &BrokerArgs,
) -> anyhow::Result<()> {
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
        let count = categories.len();
        let mut sum = Sum::default();
        for category in categories {
            for (partition, audited) in verify(&cluster, &category, index_dir).await? {
                sum.add(&audited);
                for finding in &audited.findings {
                    line(&format!(
                        "{category} partition {partition} offset {}: {}",
                        finding.offset, finding.what
                    ))?;
                }
                if audited.findings_count == 0 && !all {
                    continue;
                }
                let indexed =
                    audited.indexed.map_or_else(String::new, |next| format!(", index up to offset {next}"));
                let found = match audited.findings_count {
                    0 => "sound".to_owned(),
                    count => format!("{count} FINDINGS"),
                };
                let repaired = match audited.repaired {
                    0 => String::new(),
                    count => format!(", {count} passed over or adopted as was decided"),
                };
                line(&format!(
                    "{category} partition {partition}: {found}; {} events in {} streams, {} claims{repaired}{indexed}",
                    audited.events, audited.streams, audited.claims
                ))?;
            }
        }
        let sound = sum.partitions - sum.unsound;
        if sound > 0 && !all {
            let what = if sound == 1 { "1 partition is" } else { &format!("{sound} partitions are") };
            line(&format!("{what} sound and not shown here; --all shows every one"))?;
        }
        line(&sum.told(count))?;
        let findings = sum.findings;
        ensure!(
            findings == 0,
            "{findings} records are not what an owner leaves: keep the topics as they are, and look who else writes to \
             them or has changed them"
        );
        Ok(())
    })
}
