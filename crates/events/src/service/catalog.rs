//! Which categories there are: a compacted topic with one record each, so that a topic that only looks like one is
//! never taken for it, and one whose partitions were changed is refused.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use client::{AskError, Cluster, Refused, Topic};
use env::Clock;
use model::Offset;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;
use wire::ErrorCode;

use super::deletion::Deleting;
use super::retention::OF_EVENTS;
use crate::category::Category;
use crate::table::{Options, Table, TableError};

/// Key: the category's name; value: [`CategoryInfo`] as JSON.
pub const TOPIC: &str = "lv.categories";

/// Another number when the record format of events or of the catalog changes.
const FORMAT: u32 = 1;

/// What is known for ever about a category.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CategoryInfo {
    pub format: u32,
    /// The topic's id, as Kafka writes it.
    pub topic_id: String,
    pub partitions: i32,
    /// Topics beside its own that the store has made, for snapshots and archive: their ids, by name. One that only has
    /// such a name is somebody else's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub beside: BTreeMap<String, String>,
    /// It is to be deleted, with what goes with it: from then on it is not there for anybody who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleting: Option<Deleting>,
}

type Known = BTreeMap<Category, CategoryInfo>;

/// What the topic says.
#[derive(Debug, Default)]
struct Entries {
    known: Known,
    /// Names of categories, and why nobody knows what they are.
    unreadable: BTreeMap<String, String>,
}

#[derive(Clone)]
pub struct Catalog {
    cluster: Cluster,
    replication_factor: i16,
    table: Table,
    known: watch::Receiver<Known>,
    unreadable: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Catalog {
    /// Reads what the topic has.
    pub async fn open(
        cluster: &Cluster,
        clock: Arc<dyn Clock>,
        dir: PathBuf,
        replication_factor: i16,
    ) -> Result<Catalog, TableError> {
        let options = Options::new(TOPIC, dir, replication_factor);
        let table = Table::open(cluster, clock, options).await?;
        let mut at = table.at();
        at.mark_unchanged();
        let entries = read(&table).await?;
        let unreadable = Arc::new(Mutex::new(entries.unreadable));
        let (told, known) = watch::channel(entries.known);
        let told_unreadable = unreadable.clone();
        let following = table.clone();
        env::spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = told.closed() => return,
                    changed = at.changed() => if changed.is_err() { return },
                }
                match read(&following).await {
                    Ok(entries) => {
                        *told_unreadable.lock() = entries.unreadable;
                        told.send_replace(entries.known);
                    }
                    Err(error) => warn!(%error, "the catalog cannot be read"),
                }
            }
        });
        Ok(Catalog { cluster: cluster.clone(), replication_factor, table, known, unreadable })
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    pub fn known(&self) -> watch::Receiver<Known> {
        self.known.clone()
    }

    pub fn find(&self, category: &Category) -> Option<CategoryInfo> {
        self.entry(category).filter(|info| info.deleting.is_none())
    }

    /// Also one that is to be deleted.
    pub fn entry(&self, category: &Category) -> Option<CategoryInfo> {
        self.known.borrow().get(category).cloned()
    }

    pub fn all(&self) -> Known {
        let known = self.known.borrow();
        let there = known.iter().filter(|(_, info)| info.deleting.is_none());
        there.map(|(category, info)| (category.clone(), info.clone())).collect()
    }

    /// Those that are to be deleted.
    pub fn marked(&self) -> Known {
        let known = self.known.borrow();
        let marked = known.iter().filter(|(_, info)| info.deleting.is_some());
        marked.map(|(category, info)| (category.clone(), info.clone())).collect()
    }

    /// Writes what a category is now.
    pub async fn enter(&self, category: &Category, info: &CategoryInfo) -> Result<(), TableError> {
        let value = serde_json::to_vec(info).expect("texts and numbers are JSON");
        self.table.put(category.name(), Some(&value)).await?;
        self.until(|known| known.get(category) == Some(info)).await
    }

    /// Forgets a category, unless it was made anew meanwhile.
    pub async fn forget(&self, category: &Category, info: &CategoryInfo) -> Result<(), TableError> {
        self.catch_up().await?;
        if self.entry(category).is_none_or(|now| now.topic_id != info.topic_id) {
            return Ok(());
        }
        self.table.put(category.name(), None).await?;
        self.until(|known| known.get(category).is_none_or(|now| now.topic_id != info.topic_id)).await
    }

    async fn until(&self, is_so: impl Fn(&Known) -> bool) -> Result<(), TableError> {
        let mut known = self.known.clone();
        match timeout(self.cluster.patience(), known.wait_for(|known| is_so(known))).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(TableError::Late(TOPIC.to_owned())),
        }
    }

    /// Nobody makes anew what is not gone yet.
    fn refuse_marked(&self, category: &Category) -> Result<(), TableError> {
        match self.entry(category).is_some_and(|info| info.deleting.is_some()) {
            false => Ok(()),
            true => Err(TableError::Going(category.to_string())),
        }
    }

    /// Reads what was entered by now.
    pub async fn catch_up(&self) -> Result<(), TableError> {
        self.table.catch_up().await?;
        let mut known = self.known.clone();
        let reading = async {
            loop {
                let seen = known.borrow_and_update().clone();
                if seen == read(&self.table).await?.known || known.changed().await.is_err() {
                    return Ok(());
                }
            }
        };
        let late = |_| TableError::Late(TOPIC.to_owned());
        timeout(self.cluster.patience(), reading).await.map_err(late)?
    }

    /// Creates a category's topic and enters it. What another has created meanwhile is taken as it is.
    pub async fn create(&self, category: &Category, partitions: i32) -> Result<CategoryInfo, TableError> {
        if let Some(known) = self.find(category) {
            return Ok(known);
        }
        self.refuse_marked(category)?;
        let name = category.topic();
        let topic = self.cluster.create_topic(&name, partitions, self.replication_factor, &OF_EVENTS).await?;
        let indexes: Vec<i32> = topic.partitions.iter().map(|partition| partition.index).collect();
        // Another may have entered it, and that is not read yet.
        self.catch_up().await?;
        if let Some(known) = self.find(category) {
            return Ok(known);
        }
        self.refuse_marked(category)?;
        let ends = self.cluster.ends(&topic, &indexes).await?;
        if ends.values().any(|end| *end > Offset::ZERO) {
            let message = format!(
                "topic {name} exists, has records, and is no category of this event store: choose another name"
            );
            let code = ErrorCode::TopicAlreadyExists.code();
            return Err(AskError::from(Refused { code, message: Some(message) }).into());
        }
        // Not before: one with records is somebody else's, and stays as it is.
        self.cluster.hold_configs(&name, &OF_EVENTS).await?;
        self.enter(category, &CategoryInfo::of(&topic)).await?;
        self.entered(category).await
    }

    /// Forgets a category, also one whose record cannot be read.
    pub async fn remove(&self, category: &Category) -> Result<(), TableError> {
        self.table.put(category.name(), None).await.map(drop)
    }

    /// Categories whose records cannot be read, and why.
    pub fn unreadable(&self) -> BTreeMap<String, String> {
        self.unreadable.lock().clone()
    }

    async fn entered(&self, category: &Category) -> Result<CategoryInfo, TableError> {
        let mut known = self.known.clone();
        let entered = timeout(self.cluster.patience(), known.wait_for(|all| all.contains_key(category)));
        match entered.await {
            Ok(Ok(known)) => Ok(known[category].clone()),
            _ => Err(TableError::Late(TOPIC.to_owned())),
        }
    }
}

impl CategoryInfo {
    /// Of a topic as it is.
    pub(super) fn of(topic: &Topic) -> CategoryInfo {
        let (topic_id, partitions) = (topic.id.to_string(), topic.partitions.len() as i32);
        CategoryInfo { format: FORMAT, topic_id, partitions, beside: BTreeMap::new(), deleting: None }
    }
}

async fn read(table: &Table) -> Result<Entries, TableError> {
    let mut entries = Entries::default();
    for (name, value) in table.scan("").await? {
        let Ok(category) = Category::new(&name) else {
            warn!(topic = TOPIC, name, "a record whose key is no category is passed over");
            continue;
        };
        match entry(&value) {
            Ok(info) => drop(entries.known.insert(category, info)),
            Err(why) => {
                warn!(%category, why, "a record of the catalog cannot be read");
                drop(entries.unreadable.insert(category.to_string(), why));
            }
        }
    }
    Ok(entries)
}

fn entry(value: &[u8]) -> Result<CategoryInfo, String> {
    let ways = "take the topic as the category's, or give the category up (levada events repair)";
    match serde_json::from_slice::<CategoryInfo>(value) {
        Ok(info) if info.format == FORMAT => Ok(info),
        Ok(info) => Err(format!(
            "its record in {TOPIC} is of format {}, and this version knows {FORMAT}: use a newer version",
            info.format
        )),
        Err(error) => Err(format!("its record in {TOPIC} cannot be read ({error}): {ways}")),
    }
}
