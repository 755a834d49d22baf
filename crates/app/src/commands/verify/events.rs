//! `levada verify events`: whether the event store's topics are what owners must have left.

use std::path::Path;

use anyhow::{bail, ensure};
use events::Category;
use events::verify::{Audited, verify};

use crate::cli::BrokerArgs;
use crate::client;
use crate::output::{counted, line};

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
            count => {
                format!(
                    "{} in {}",
                    counted(count, "finding").to_uppercase(),
                    counted(self.unsound as u64, "partition")
                )
            }
        };
        format!(
            "{}, {}, {} in {}: {verdict}",
            counted(categories as u64, "category"),
            counted(self.partitions as u64, "partition"),
            counted(self.events, "event"),
            counted(self.streams, "stream")
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
                    count => counted(count, "finding").to_uppercase(),
                };
                let repaired = match audited.repaired {
                    0 => String::new(),
                    count => format!(", {count} passed over or adopted as was decided"),
                };
                line(&format!(
                    "{category} partition {partition}: {found}; {} in {}, {}{repaired}{indexed}",
                    counted(audited.events, "event"),
                    counted(audited.streams, "stream"),
                    counted(audited.claims, "claim")
                ))?;
            }
        }
        let sound = sum.partitions - sum.unsound;
        if sound > 0 && !all {
            let (what, are) = (counted(sound as u64, "partition"), if sound == 1 { "is" } else { "are" });
            line(&format!("{what} {are} sound and not shown here; --all shows every one"))?;
        }
        line(&sum.told(count))?;
        let findings = sum.findings;
        ensure!(
            findings == 0,
            "{} not what an owner leaves: keep the topics as they are, and look who else writes to them or has changed them",
            counted(findings, "record") + if findings == 1 { " is" } else { " are" }
        );
        Ok(())
    })
}
