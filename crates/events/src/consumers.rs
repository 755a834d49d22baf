//! Competing consumers: a named subscription whose events several consumers share out among themselves, with
//! acknowledgements, and with parking for what nobody can work with.
//!
//! A subscription has one host at a time: the owner of one of the category's partitions, which its name decides. The host
//! reads all partitions from its own indexes, hands out events ([`machine`]) and keeps how far that is in a compacted topic
//! ([`record`]). Delivery is at least once: when the host changes, or after a crash, what was acknowledged in the last
//! [`host::CHECKPOINT_INTERVAL`] may come again. Two instances that both believe they are the host do no harm beyond that:
//! both write only what is true.

mod delivery;
mod host;
pub mod machine;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use client::{Position, partition_of_key};
use model::TopicId;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::category::Category;
use crate::owner::is_set;
use crate::query::ReadError;
use crate::service::{Filter, Freshness, Handle};
use crate::table::{Table, TableError};
use host::Running;
use machine::Rules;

pub use delivery::DeliveryId;
pub use host::{Handed, Host, Status};
pub use machine::{Counts, Parked, Place, Refusal};

pub(crate) const TOPIC: &str = record::TOPIC;

/// Bytes of a subscription's name.
const NAME_MAX: usize = 128;
/// Subscriptions of all categories.
pub const SUBSCRIPTIONS_MAX: usize = 1000;
const ACK_TIMEOUT_MAX: Duration = Duration::from_secs(12 * 3600);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(24 * 3600);
const ATTEMPTS_MAX: u32 = 1000;

/// Between two looks whether a host is there.
const PAUSE: Duration = Duration::from_millis(50);

/// A named subscription to a category.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub category: Category,
    pub name: String,
    /// Of its present run: a reset begins another one.
    pub id: String,
    /// Where this run has begun.
    pub from: Position,
    pub settings: Settings,
}

/// What may be changed while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Which events. What was passed over once is not seen again when this changes.
    pub filter: Filter,
    pub rules: Rules,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            filter: Filter::default(),
            rules: Rules {
                ack_timeout: Duration::from_secs(30),
                attempts_max: 10,
                retry_delay: Duration::from_secs(5),
                in_flight_max: 256,
                is_ordered: true,
            },
        }
    }
}

/// Where a run begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    Beginning,
    /// After all that is in the log now.
    End,
    At(Position),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsumerError {
    #[error("there is no subscription {name} to {category}")]
    NoSubscription { category: String, name: String },
    #[error(
        "the record of subscription {name} in {TOPIC} cannot be read ({why}): delete the subscription and make it anew"
    )]
    Unreadable { name: String, why: String },
    #[error("{0}")]
    Invalid(String),
    /// They were not handed out in this run of the subscription. What else was named is done.
    #[error(
        "{} of them were never handed out by this subscription since it began or was reset: hand on what a pull gave, unchanged",
        .0.len()
    )]
    NeverHandedOut(Vec<DeliveryId>),
    /// Another instance hosts it.
    #[error("the subscription is hosted by {url}")]
    Elsewhere { url: String },
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Nothing was done. Whoever hosts it next is told in a moment.
    #[error("the subscription moves to another instance: ask again")]
    Moving,
    /// Asking again later may help.
    #[error("{0}")]
    Unavailable(String),
}

impl From<TableError> for ConsumerError {
    fn from(error: TableError) -> ConsumerError {
        ConsumerError::Unavailable(error.to_string())
    }
}

/// The subscriptions of one process.
pub(crate) struct Consumers {
    table: Table,
    hosts: Mutex<BTreeMap<(Category, String), Running>>,
}

impl Consumers {
    pub fn new(table: Table) -> Consumers {
        Consumers { table, hosts: Mutex::default() }
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    async fn all(&self) -> Result<Vec<Subscription>, TableError> {
        let entries = self.table.scan(record::SUBSCRIPTIONS).await?;
        let read = |(key, value): (String, bytes::Bytes)| match record::read(&key, &value) {
            Ok(subscription) => Some(subscription),
            Err(why) => {
                warn!(key, why, "a subscription is left alone");
                None
            }
        };
        Ok(entries.into_iter().filter_map(read).collect())
    }
}

impl Handle {
    /// All subscriptions, or those to one category.
    pub async fn subscriptions(
        &self,
        category: Option<&Category>,
    ) -> Result<Vec<Subscription>, ConsumerError> {
        self.consumers().table.catch_up().await?;
        let mut all = self.consumers().all().await?;
        all.retain(|subscription| category.is_none_or(|category| subscription.category == *category));
        Ok(all)
    }

    /// Waits until this process knows of subscriptions what a position names.
    pub async fn subscriptions_fresh(&self, freshness: &Freshness) -> Result<(), ConsumerError> {
        self.tables_fresh(freshness).await?;
        if freshness.is_strong {
            self.consumers().table.catch_up().await?;
        }
        Ok(())
    }

    pub async fn subscription(&self, category: &Category, name: &str) -> Result<Subscription, ConsumerError> {
        let value = self.consumers().table.get(&record::subscription_key(category, name)).await?;
        let missing =
            || ConsumerError::NoSubscription { category: category.to_string(), name: name.to_owned() };
        let value = value.ok_or_else(missing)?;
        let unreadable = |why| ConsumerError::Unreadable { name: name.to_owned(), why };
        record::read(&record::subscription_key(category, name), &value).map_err(unreadable)
    }

    /// Makes a subscription, or changes the settings of the one that there is, which goes on where it is. True: it is a
    /// new one. Whoever asks at least as fresh as the position finds it.
    pub async fn subscribe(
        &self,
        category: &Category,
        name: &str,
        settings: Settings,
        start: &Start,
    ) -> Result<(Subscription, bool, Position), ConsumerError> {
        check(name, &settings)?;
        self.consumers().table.catch_up().await?;
        let known = match self.subscription(category, name).await {
            Ok(known) => Some(known),
            Err(ConsumerError::NoSubscription { .. }) => None,
            Err(error) => return Err(error),
        };
        let is_new = known.is_none();
        let subscription = match known {
            Some(known) if known.settings == settings => {
                return Ok((known, false, self.consumers().table.position()));
            }
            Some(known) => Subscription { settings, ..known },
            None => {
                if self.consumers().all().await?.len() >= SUBSCRIPTIONS_MAX {
                    let why = format!("there are {SUBSCRIPTIONS_MAX} subscriptions already: delete some");
                    return Err(ConsumerError::Invalid(why));
                }
                self.readable(category).await?;
                let from = self.start(category, start).await?;
                let (category, name, id) = (category.clone(), name.to_owned(), self.new_id());
                Subscription { category, name, id, from, settings }
            }
        };
        let position = self.keep(&subscription, &[]).await?;
        Ok((subscription, is_new, position))
    }

    /// Begins a subscription anew somewhere else. What is parked is forgotten.
    pub async fn reset_subscription(
        &self,
        category: &Category,
        name: &str,
        start: &Start,
    ) -> Result<(Subscription, Position), ConsumerError> {
        self.consumers().table.catch_up().await?;
        let known = self.subscription(category, name).await?;
        let (from, id) = (self.start(category, start).await?, self.new_id());
        let old = self.keys_of(&known.id).await?;
        let subscription = Subscription { id, from, ..known };
        let position = self.keep(&subscription, &old).await?;
        Ok((subscription, position))
    }

    /// Begins all subscriptions to a category anew, at the beginning of what takes the place of its topic: nothing that was
    /// handed out, settled or parked is of that one.
    pub(crate) async fn restart_subscriptions(&self, category: &Category) -> Result<(), ConsumerError> {
        self.consumers().table.catch_up().await?;
        for known in self.consumers().all().await?.into_iter().filter(|known| known.category == *category) {
            let old = self.keys_of(&known.id).await?;
            let subscription = Subscription { id: self.new_id(), from: Position::default(), ..known };
            self.keep(&subscription, &old).await?;
        }
        Ok(())
    }

    /// Also one whose record cannot be read.
    pub async fn delete_subscription(
        &self,
        category: &Category,
        name: &str,
    ) -> Result<Position, ConsumerError> {
        self.consumers().table.catch_up().await?;
        let mut keys = match self.subscription(category, name).await {
            Ok(known) => self.keys_of(&known.id).await?,
            Err(ConsumerError::Unreadable { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        keys.push(record::subscription_key(category, name));
        let entries: Vec<(&str, Option<&[u8]>)> = keys.iter().map(|key| (key.as_str(), None)).collect();
        Ok(self.consumers().table.put_all(&entries).await?)
    }

    /// Forgets all subscriptions to a category that is deleted; their names.
    pub(crate) async fn forget_subscriptions(
        &self,
        category: &Category,
    ) -> Result<Vec<String>, ConsumerError> {
        self.consumers().table.catch_up().await?;
        let all = self.consumers().all().await?;
        let mut names = Vec::new();
        for subscription in all.into_iter().filter(|subscription| subscription.category == *category) {
            self.delete_subscription(category, &subscription.name).await?;
            names.push(subscription.name);
        }
        Ok(names)
    }

    /// What a host writes down when it is stopped, after its subscription was deleted.
    async fn forget_run(&self, id: &str) {
        let forgetting = async {
            let table = &self.consumers().table;
            let mut there = Vec::new();
            for key in self.keys_of(id).await? {
                if table.get(&key).await?.is_some() {
                    there.push(key);
                }
            }
            let entries: Vec<(&str, Option<&[u8]>)> = there.iter().map(|key| (key.as_str(), None)).collect();
            if !entries.is_empty() {
                table.put_all(&entries).await?;
            }
            Ok::<(), ConsumerError>(())
        };
        if let Err(error) = forgetting.await {
            warn!(id, %error, "what is left of a subscription that was deleted stays");
        }
    }

    async fn keys_of(&self, id: &str) -> Result<Vec<String>, ConsumerError> {
        let parked = self.consumers().table.scan(&record::parked_prefix(id)).await?;
        Ok(parked.into_iter().map(|(key, _)| key).chain([record::checkpoint_key(id)]).collect())
    }

    async fn keep(&self, subscription: &Subscription, without: &[String]) -> Result<Position, ConsumerError> {
        let key = record::subscription_key(&subscription.category, &subscription.name);
        let value = record::write(subscription);
        let mut entries: Vec<(&str, Option<&[u8]>)> = vec![(&key, Some(&value))];
        entries.extend(without.iter().map(|key| (key.as_str(), None)));
        Ok(self.consumers().table.put_all(&entries).await?)
    }

    async fn start(&self, category: &Category, start: &Start) -> Result<Position, ConsumerError> {
        Ok(match start {
            Start::Beginning => Position::default(),
            Start::End => self.end_of_log(category).await?,
            Start::At(position) => {
                self.check_start(category, position).await?;
                position.clone()
            }
        })
    }

    /// The host of a subscription, if it is here. Waits a moment for one that is about to be.
    pub async fn host(&self, category: &Category, name: &str) -> Result<Arc<Host>, ConsumerError> {
        let deadline = Instant::now() + self.append_patience();
        // Another instance may have made it a moment ago.
        if let Err(ConsumerError::NoSubscription { .. }) = self.subscription(category, name).await {
            self.consumers().table.catch_up().await?;
        }
        loop {
            let subscription = self.subscription(category, name).await?;
            let running = self.consumers().hosts.lock().get(&(category.clone(), name.to_owned())).cloned();
            if let Some(running) = running.filter(|running| running.is_of(&subscription)) {
                return Ok(running.host);
            }
            let url = self.owner_of(category, name)?;
            match url {
                Some(url) if url != self.url() => return Err(ConsumerError::Elsewhere { url }),
                _ if Instant::now() >= deadline => {
                    let why = format!("subscription {name} to {category} has no host just now");
                    return Err(ConsumerError::Unavailable(why));
                }
                _ => sleep(PAUSE).await,
            }
        }
    }

    /// Those that are here.
    pub(crate) fn hosts(&self) -> Vec<Arc<Host>> {
        self.consumers().hosts.lock().values().map(|running| running.host.clone()).collect()
    }

    /// Where the owner is of the partition that decides who hosts a subscription.
    fn owner_of(&self, category: &Category, name: &str) -> Result<Option<String>, ConsumerError> {
        let count = self.partition_count(category)?;
        let part = (category.topic(), home(category, name, count));
        Ok(self.ownership().borrow().owners.get(&part).cloned())
    }
}

/// The partition whose owner hosts a subscription.
fn home(category: &Category, name: &str, partitions: usize) -> i32 {
    partition_of_key(format!("{category}/{name}").as_bytes(), partitions) as i32
}

fn check(name: &str, settings: &Settings) -> Result<(), ConsumerError> {
    let invalid = |why: String| Err(ConsumerError::Invalid(why));
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(legal) {
        return invalid(format!(
            "a subscription's name is 1 to {NAME_MAX} letters, digits, dots, underscores and hyphens"
        ));
    }
    let rules = &settings.rules;
    if rules.ack_timeout.is_zero() || rules.ack_timeout > ACK_TIMEOUT_MAX {
        return invalid(format!("the time for an acknowledgement is up to {} s", ACK_TIMEOUT_MAX.as_secs()));
    }
    if rules.retry_delay > RETRY_DELAY_MAX {
        return invalid(format!("the delay of a retry is at most {} s", RETRY_DELAY_MAX.as_secs()));
    }
    if rules.attempts_max == 0 || rules.attempts_max > ATTEMPTS_MAX {
        return invalid(format!("an event has 1 to {ATTEMPTS_MAX} attempts"));
    }
    if rules.in_flight_max == 0 || rules.in_flight_max > machine::HELD_MAX {
        return invalid(format!("1 to {} events are in flight", machine::HELD_MAX));
    }
    match settings.filter.check() {
        Ok(()) => Ok(()),
        Err(error) => invalid(format!("a subscription: {error}")),
    }
}

/// Hosts the subscriptions that are this process's, until it stops.
pub(crate) async fn keep_hosting(handle: Handle, mut stop: watch::Receiver<bool>) {
    let mut changes = handle.consumers().table.at();
    let mut ownership = handle.ownership();
    let mut openings = handle.openings();
    loop {
        changes.mark_unchanged();
        ownership.mark_unchanged();
        openings.mark_unchanged();
        let is_done = match handle.consumers().all().await {
            Ok(all) => arrange(&handle, all).await,
            Err(error) => {
                warn!(%error, "subscriptions cannot be read");
                false
            }
        };
        tokio::select! {
            biased;
            () = is_set(&mut stop) => break,
            changed = changes.changed() => if changed.is_err() { break },
            changed = ownership.changed() => if changed.is_err() { break },
            changed = openings.changed() => if changed.is_err() { break },
            () = sleep(PAUSE * 4), if !is_done => {}
        }
    }
    let running = std::mem::take(&mut *handle.consumers().hosts.lock());
    for running in running.into_values() {
        running.stop().await;
    }
}

/// Stops hosts that are none any more, and starts those that are. False: one could not be started yet.
async fn arrange(handle: &Handle, all: Vec<Subscription>) -> bool {
    let is_ours = |subscription: &Subscription| {
        let Ok(count) = handle.partition_count(&subscription.category) else { return false };
        let part = (subscription.category.topic(), home(&subscription.category, &subscription.name, count));
        handle.ownership().borrow().mine.contains(&part)
    };
    let runs: BTreeSet<String> = all.iter().map(|subscription| subscription.id.clone()).collect();
    let wanted: BTreeMap<_, _> =
        all.into_iter().filter(is_ours).map(|it| ((it.category.clone(), it.name.clone()), it)).collect();
    let mut over = Vec::new();
    handle.consumers().hosts.lock().retain(|key, running| {
        let is_wanted = wanted.get(key).is_some_and(|subscription| running.is_of(subscription));
        if !is_wanted {
            over.push(running.clone());
        }
        is_wanted
    });
    for running in over {
        running.stop().await;
        let id = &running.host.subscription().id;
        if !runs.contains(id) {
            handle.forget_run(id).await;
        }
    }
    let mut is_done = true;
    for (key, subscription) in wanted {
        if let Some(running) = handle.consumers().hosts.lock().get(&key) {
            running.host.change(&subscription.settings);
            continue;
        }
        match host::start(handle, &handle.consumers().table, subscription).await {
            Ok(running) => drop(handle.consumers().hosts.lock().insert(key, running)),
            Err(error) => {
                let (category, name) = key;
                warn!(%category, name, %error, "a subscription cannot be hosted yet");
                is_done = false;
            }
        }
    }
    is_done
}

/// Which topic a category's positions speak of.
fn topic_of(handle: &Handle, category: &Category) -> Result<TopicId, ConsumerError> {
    Ok(handle.topic_id(category)?)
}
