//! Topics beside a category's own: its snapshots, and what was archived of it.

use model::Offset;

use super::Handle;
use super::retention::OF_TABLES;
use super::snapshots::unavailable;
use crate::category::Category;
use crate::query::ReadError;
use crate::table::Table;

impl Handle {
    /// Makes the topic of a category's snapshots, unless the one that is followed is known to be the store's.
    pub(super) async fn make_snapshots(&self, category: &Category, table: &Table) -> Result<(), ReadError> {
        let followed = table.at().borrow().topic.map(|topic| topic.to_string());
        let made = self.0.catalog.find(category).and_then(|info| info.beside.get(table.topic()).cloned());
        if made.is_some() && made == followed {
            return Ok(());
        }
        self.make_beside(category, table.topic(), 1, &OF_TABLES).await.map(drop)
    }

    /// Makes such a topic, or finds the one that the store has made. Gives its number of partitions. One of the same name
    /// that somebody else has filled is left alone.
    pub(super) async fn make_beside(
        &self,
        category: &Category,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Result<usize, ReadError> {
        let (cluster, catalog) = (&self.0.cluster, &self.0.catalog);
        let lost = |error: client::AskError| ReadError::Unavailable(error.to_string());
        let known = catalog.find(category).ok_or_else(|| ReadError::NoCategory(category.to_string()))?;
        let found = match cluster.topic(name, false).await {
            Ok(topic) => Some(topic),
            Err(error) if error.is_missing_topic() => None,
            Err(error) => return Err(lost(error)),
        };
        if let Some(topic) = found {
            if known.beside.get(name) == Some(&topic.id.to_string()) {
                return Ok(topic.partitions.len());
            }
            let indexes: Vec<i32> = topic.partitions.iter().map(|partition| partition.index).collect();
            let ends = cluster.ends(&topic, &indexes).await.map_err(lost)?;
            if ends.values().any(|end| *end > Offset::ZERO) {
                return Err(ReadError::Invalid(format!(
                    "topic {name} has records, and was not made by the event store for {category}: copy them elsewhere and \
                     delete it"
                )));
            }
        }
        let factor = self.0.options.replication_factor;
        let topic = cluster.create_topic(name, partitions, factor, configs).await.map_err(lost)?;
        cluster.hold_configs(name, configs).await.map_err(lost)?;
        catalog.catch_up().await.map_err(unavailable)?;
        let mut info = catalog.find(category).ok_or_else(|| ReadError::NoCategory(category.to_string()))?;
        info.beside.insert(name.to_owned(), topic.id.to_string());
        catalog.enter(category, &info).await.map_err(unavailable)?;
        Ok(topic.partitions.len())
    }
}
