//! Whether topics of the store keep what is written to them: an event that its topic deletes is lost, whatever was
//! acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use client::TopicConfigs;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, error};

use super::Handle;
use crate::category::Category;
use crate::owner::is_set;
use crate::table::Table;

/// How often settings are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Where events must stay, and where the newest value of each key must.
pub(super) const OF_EVENTS: [(&str, &str); 3] =
    [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")];
pub(super) const OF_TABLES: [(&str, &str); 1] = [("cleanup.policy", "compact")];

const SETTINGS: [&str; 3] = ["cleanup.policy", "retention.ms", "retention.bytes"];

/// Why a topic does not keep what it must, by its name, and the category whose it is.
pub(super) type Forgetting = BTreeMap<String, (Option<Category>, String)>;

impl Handle {
    /// Looks now and then. Until the process stops.
    pub(super) async fn watch_retention(self, mut stop: watch::Receiver<bool>) {
        let mut openings = self.openings();
        loop {
            self.look_at_retention().await;
            tokio::select! {
                biased;
                () = is_set(&mut stop) => return,
                changed = openings.changed() => if changed.is_err() { return },
                () = sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    pub(super) async fn look_at_retention(&self) {
        match self.forgetting().await {
            Ok(found) => {
                let mut known = self.0.forgetting.lock();
                for (topic, (_, why)) in found.iter().filter(|(topic, _)| !known.contains_key(*topic)) {
                    error!(topic, why, "a topic does not keep what it must");
                }
                *known = found;
            }
            Err(error) => debug!(%error, "settings of topics cannot be looked at"),
        }
    }

    async fn forgetting(&self) -> Result<Forgetting, client::AskError> {
        let categories: BTreeMap<String, Category> =
            self.0.open.lock().keys().map(|category| (category.topic(), category.clone())).collect();
        // Asking for a topic that there is not counts as an error at the broker.
        let is_there = |table: &&&Table| table.at().borrow().topic.is_some();
        let tables = self.own_tables();
        let tables = tables.iter().filter(is_there).map(|table| table.topic());
        let topics: Vec<&str> = categories.keys().map(String::as_str).chain(tables).collect();
        let configs = self.0.cluster.topic_configs(&topics, &SETTINGS).await?;
        Ok(forgetting(&configs, &categories))
    }
}

fn forgetting(configs: &TopicConfigs, categories: &BTreeMap<String, Category>) -> Forgetting {
    let mut found = Forgetting::new();
    for (topic, is) in configs {
        let category = categories.get(topic);
        let wanted: &[(&str, &str)] = if category.is_some() { &OF_EVENTS } else { &OF_TABLES };
        let others: Vec<&(&str, &str)> =
            wanted.iter().filter(|(name, value)| is.get(*name).is_some_and(|is| is != value)).collect();
        if others.is_empty() {
            continue;
        }
        let of = |(name, _): &&(&str, &str)| format!("{name}={}", is[*name]);
        let right = |(name, value): &&(&str, &str)| format!(" --set {name}={value}");
        let why = format!(
            "topic {topic} deletes what must be kept ({}): levada topic alter {topic} --force{}",
            others.iter().map(of).collect::<Vec<_>>().join(", "),
            others.iter().map(right).collect::<String>()
        );
        found.insert(topic.clone(), (category.cloned(), why));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_deletes_is_told_with_what_to_do() {
        let category = Category::new("c").unwrap();
        let categories = BTreeMap::from([(category.topic(), category.clone())]);
        let of = |all: &[(&str, &str)]| {
            all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let kept = of(&OF_EVENTS);
        let table = of(&[("cleanup.policy", "compact"), ("retention.ms", "604800000")]);
        let mut configs = TopicConfigs::from([("c.events".to_owned(), kept), ("lv.keys".to_owned(), table)]);
        assert_eq!(forgetting(&configs, &categories), Forgetting::new());
        let deleting = of(&[("cleanup.policy", "delete"), ("retention.ms", "5"), ("retention.bytes", "-1")]);
        configs.insert("c.events".to_owned(), deleting);
        configs.insert("lv.keys".to_owned(), of(&[("cleanup.policy", "compact,delete")]));
        let found = forgetting(&configs, &categories);
        let why = "topic c.events deletes what must be kept (retention.ms=5): levada topic alter c.events --force --set retention.ms=-1";
        assert_eq!(found["c.events"], (Some(category), why.to_owned()));
        assert_eq!(found["lv.keys"].0, None);
        assert!(found["lv.keys"].1.ends_with("--set cleanup.policy=compact"), "{}", found["lv.keys"].1);
    }
}
