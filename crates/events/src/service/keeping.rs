//! Opens categories as they come, and owns what the group gives this process.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use client::{AskError, Ownership, TopicPartition};
use model::Offset;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{error, warn};

use super::catalog::CategoryInfo;
use super::routing::halted;
use super::{Handle, OpenCategory, OpenPartition};
use crate::category::Category;
use crate::owner::{self, End, Job, Parts, QUEUE_MAX, Standing, is_set};
use crate::replica::{self, NotReached};

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// Between two looks for a topic that is not there.
const MISSING_PAUSE: Duration = Duration::from_secs(2);

/// When nothing can be learnt about new categories any more.
const CATALOG_PAUSE: Duration = Duration::from_secs(1);

/// How often it is looked whether an index is still being read.
const READ_PATIENCE: Duration = Duration::from_secs(10);

/// How long an owner that is to stop may take to answer what is under way.
const HANDOVER_MAX: Duration = Duration::from_secs(5);

/// Kafka's default of `max.message.bytes`.
const BATCH_BYTES_MAX: usize = 1_048_588;

/// No batch is larger, whatever the topic takes.
const BATCH_BYTES: usize = 4 << 20;

/// Until the process stops.
pub(super) async fn keep(handle: Handle, mut stop: watch::Receiver<bool>) {
    let mut known = handle.0.catalog.known();
    let mut owners = JoinSet::new();
    loop {
        let all = known.borrow_and_update().clone();
        let mut is_done = handle.let_go(&all).await;
        handle.0.unopened.lock().retain(|category, _| all.contains_key(category));
        let opened: BTreeSet<Category> = handle.0.open.lock().keys().cloned().collect();
        let (mut new, mut pause) = (Vec::new(), MISSING_PAUSE);
        let is_new = |(category, info): &(&Category, &CategoryInfo)| {
            !opened.contains(*category) && info.deleting.is_none()
        };
        for (category, info) in all.iter().filter(is_new) {
            let why = match open(&handle, category, info, &mut owners).await {
                Ok(opened) => {
                    handle.0.unopened.lock().remove(category);
                    new.push(opened);
                    continue;
                }
                Err(why) => why,
            };
            is_done &= matches!(why, Unopened::Never(_));
            pause = pause.min(why.pause());
            if handle.0.unopened.lock().get(category) != Some(&why) {
                match &why {
                    Unopened::Later(why) => warn!(%category, why, "a category cannot be opened yet"),
                    Unopened::Missing(why) | Unopened::Never(why) => {
                        error!(%category, why, "a category cannot be opened");
                    }
                }
                handle.0.unopened.lock().insert(category.clone(), why);
            }
        }
        if !new.is_empty() {
            env::spawn(own_when_read(handle.clone(), new, stop.clone()));
        }
        tokio::select! {
            biased;
            () = is_set(&mut stop) => break,
            // The catalog is deleted: what is open goes on.
            changed = known.changed() => if changed.is_err() {
                tokio::time::sleep(CATALOG_PAUSE).await;
            },
            () = sleep(pause), if !is_done => {}
        }
    }
    for open in handle.0.open.lock().values() {
        open.over.send_replace(true);
    }
    while owners.join_next().await.is_some() {}
}

/// Why a category is not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unopened {
    /// It is tried again.
    Later(String),
    /// It is tried again, and somebody has to look at it: its topic is not there.
    Missing(String),
    /// Until the catalog says something else.
    Never(String),
}

impl Unopened {
    /// When to try again.
    fn pause(&self) -> Duration {
        match self {
            Unopened::Later(_) => PAUSE,
            Unopened::Missing(_) | Unopened::Never(_) => MISSING_PAUSE,
        }
    }

    /// Why somebody has to look at it.
    pub fn trouble(&self) -> Option<&str> {
        match self {
            Unopened::Later(_) => None,
            Unopened::Missing(why) | Unopened::Never(why) => Some(why),
        }
    }
}

impl From<AskError> for Unopened {
    fn from(error: AskError) -> Unopened {
        match error.is_missing_topic() {
            true => Unopened::Missing(format!(
                "its topic is not there ({error}): restore it, or give the category up (levada events repair)"
            )),
            false => Unopened::Later(error.to_string()),
        }
    }
}

async fn open(
    handle: &Handle,
    category: &Category,
    info: &CategoryInfo,
    owners: &mut JoinSet<()>,
) -> Result<Arc<OpenCategory>, Unopened> {
    let shared = &handle.0;
    let name = category.topic();
    let topic = shared.cluster.topic(&name, false).await?;
    if topic.id.to_string() != info.topic_id {
        return Err(Unopened::Never(format!(
            "topic {name} is another one than that of the category: take it as the category's (levada events repair), or \
             restore the old one"
        )));
    }
    let count = topic.partitions.len();
    if count < info.partitions as usize {
        return Err(Unopened::Never(format!(
            "topic {name} has {count} partitions, and was made with {}: restore it",
            info.partitions
        )));
    }
    if count > info.partitions as usize {
        // Streams stay where they are looked for.
        warn!(
            topic = name,
            count,
            made_with = info.partitions,
            "partitions were added: nothing is written to them"
        );
    }
    let batch_bytes_max = batch_bytes_max(handle, &name).await?;
    let indexes: Vec<i32> = (0..info.partitions).collect();
    let ends = shared.cluster.offsets(&topic, &indexes, -1, 0).await?;
    let mut partitions = Vec::new();
    let (over, stop) = watch::channel(false);
    let dir = shared.options.index_dir.clone();
    let replicas = replica::start(
        &shared.cluster,
        (&shared.trimmed, &shared.repairs),
        &name,
        topic.id,
        info.partitions,
        dir,
    )
    .await;
    let replicas = replicas.map_err(|error| Unopened::Later(format!("the index of {name}: {error}")))?;
    for replica in replicas.into_iter().map(Arc::new) {
        let index = replica.partition.index;
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let (told, standing) = watch::channel(None);
        let parts = Parts {
            cluster: shared.cluster.clone(),
            clock: shared.clock.clone(),
            category: category.clone(),
            replica: replica.clone(),
            batch_bytes_max,
            stray_writes_max: shared.options.session_timeout + shared.cluster.patience() * 2,
        };
        owners.spawn(keep_owning(handle.clone(), parts, queue, told, stop.clone()));
        let floor = ends.get(&index).copied().flatten().map_or(Offset::ZERO, Offset);
        partitions.push(OpenPartition { replica, jobs, floor, standing });
    }
    let opened = Arc::new(OpenCategory { category: category.clone(), partitions, over });
    shared.open.lock().insert(category.clone(), opened.clone());
    shared.openings.send_modify(|count| *count += 1);
    Ok(opened)
}

/// Takes part in the group when it has read what is in the categories: an owner that has yet to build its index takes no
/// appends for as long as that takes, and another process may have it already.
async fn own_when_read(handle: Handle, categories: Vec<Arc<OpenCategory>>, mut stop: watch::Receiver<bool>) {
    for category in &categories {
        if !all_read(category, &mut stop).await {
            return;
        }
    }
    let there = categories.iter().filter(|category| !*category.over.borrow());
    handle.0.membership.add_topics(there.map(|category| category.category.topic()));
}

/// Waits until all that was in a category is read, or it is over. False: the process stops.
async fn all_read(category: &OpenCategory, stop: &mut watch::Receiver<bool>) -> bool {
    for partition in &category.partitions {
        while !*category.over.borrow() {
            let reached = partition.replica.reached(partition.floor, READ_PATIENCE);
            let reached = tokio::select! {
                biased;
                () = is_set(stop) => return false,
                reached = reached => reached,
            };
            match reached {
                Err(NotReached::Late { .. } | NotReached::Rebuilding { .. }) => {}
                // Who owns it says why it takes nothing.
                Ok(()) | Err(NotReached::Halted(_)) => break,
            }
        }
    }
    true
}

pub(super) async fn batch_bytes_max(handle: &Handle, topic: &str) -> Result<usize, AskError> {
    let configs = handle.0.cluster.topic_configs(&[topic], &["max.message.bytes"]).await?;
    let value = configs.get(topic).and_then(|of| of.get("max.message.bytes")?.parse().ok());
    Ok(value.unwrap_or(BATCH_BYTES_MAX).min(BATCH_BYTES))
}

/// Owns a partition whenever the group says so.
async fn keep_owning(
    handle: Handle,
    parts: Parts,
    mut queue: mpsc::Receiver<Job>,
    told: watch::Sender<Option<Standing>>,
    stop: watch::Receiver<bool>,
) {
    let part = (parts.category.topic(), parts.replica.partition.index);
    let mut ownership = handle.0.membership.ownership();
    loop {
        // Nobody is to wait for an owner that is not here.
        let round = loop {
            while let Ok(job) = queue.try_recv() {
                owner::not_tried(job.answer);
            }
            let mut stopped = stop.clone();
            tokio::select! {
                biased;
                () = is_set(&mut stopped) => return,
                told = ownership.wait_for(|ownership| ownership.mine.contains(&part)) => match told {
                    // Not all of it: what every partition keeps of all others grows with the square of them.
                    Ok(ownership) => break ownership.round,
                    Err(_) => return,
                },
                job = queue.recv() => if let Some(job) = job {
                    owner::not_tried(job.answer);
                },
            }
        };
        let end = own_while_given(&parts, &part, &mut queue, &told, &ownership, &stop).await;
        let (topic, index) = &part;
        match end {
            End::Stopped | End::ClaimAgain => {}
            End::Fenced => {
                // Either the group knows better soon, or it was a straggler: only who is heard by the group goes on.
                let mut heard = handle.0.membership.heard();
                let heard_at = *heard.borrow_and_update();
                let mut stopped = stop.clone();
                tokio::select! {
                    biased;
                    () = is_set(&mut stopped) => return,
                    _ = ownership.wait_for(|now| now.round != round) => {}
                    _ = heard.wait_for(|now| *now > heard_at) => {}
                }
            }
            End::Failed(why) => {
                warn!(topic, partition = index, why, "a partition is to be claimed again");
                sleep(PAUSE).await;
            }
            End::Halted(why) => {
                error!(topic, partition = index, why, "a partition takes no appends");
                let (mut stopped, mut seen) = (stop.clone(), parts.replica.seen());
                loop {
                    let job = tokio::select! {
                        biased;
                        () = is_set(&mut stopped) => return,
                        // Somebody has decided what becomes of it.
                        read_on = seen.wait_for(|seen| seen.halted.is_none()) => match read_on {
                            Ok(_) => break,
                            Err(_) => return,
                        },
                        job = queue.recv() => job,
                    };
                    let Some(job) = job else { return };
                    let why = halted(*index, &parts.category, &why);
                    let _ = job.answer.send(Err(crate::AppendError::Halted(why)));
                }
            }
        }
    }
}

/// Owns a partition until the group takes it away, or something else ends that.
async fn own_while_given(
    parts: &Parts,
    part: &TopicPartition,
    queue: &mut mpsc::Receiver<Job>,
    told: &watch::Sender<Option<Standing>>,
    ownership: &watch::Receiver<Ownership>,
    stop: &watch::Receiver<bool>,
) -> End {
    let (stop_owning, is_stopped) = watch::channel(false);
    let (mut ownership, mut stop) = (ownership.clone(), stop.clone());
    let mut seen = parts.replica.seen();
    let mut owning = std::pin::pin!(owner::own(parts, queue, told, is_stopped));
    tokio::select! {
        biased;
        () = is_set(&mut stop) => {}
        _ = ownership.wait_for(|ownership| !ownership.mine.contains(part)) => {}
        end = &mut owning => return end,
        // Nothing that is appended now would ever be read.
        halted = seen.wait_for(|seen| seen.halted.is_some()) => {
            told.send_replace(None);
            let why = halted.ok().and_then(|seen| seen.halted.clone()).map(|halted| halted.why);
            return End::Halted(why.unwrap_or_default());
        }
    }
    stop_owning.send_replace(true);
    match timeout(HANDOVER_MAX, owning).await {
        Ok(end) => end,
        Err(_) => {
            // Who waits for it learns that it is in doubt.
            told.send_replace(None);
            End::Stopped
        }
    }
}
