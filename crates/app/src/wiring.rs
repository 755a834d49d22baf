//! How the broker is put together from its settings. The commands know nothing of it beyond this file.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow};
use client::Inside;
use env::{Clock, Disk, Random, RealDisk, SystemClock, SystemRandom};
use model::{PartitionId, TopicId};
use settings::{BrokerOptions, BrokerSettings};
use storage::{Health, OpenError, Shard, Storage};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::http::{Metrics, Readiness};
use crate::output::{counted, shell_word};

/// A broker that serves.
pub struct Broker {
    /// Where Kafka is served, as bound: never port 0.
    pub kafka_address: SocketAddr,
    broker: broker::Broker,
    storage: Storage,
    shards: Vec<JoinHandle<()>>,
    serving: tokio::task::JoinHandle<()>,
    shutdown: watch::Sender<bool>,
    options: BrokerOptions,
}

impl Broker {
    /// Opens the storage, recovers, starts the broker, opens its door. None if told to stop meanwhile.
    pub async fn start(
        settings: &BrokerSettings,
        told_to_stop: impl Future<Output = ()>,
    ) -> anyhow::Result<Option<Broker>> {
        let mut told_to_stop = std::pin::pin!(told_to_stop);
        let options = settings.options();
        let connections_max = connections_max(env::raise_open_files_max());
        // The door first: a port that is taken is told before anything is touched.
        let address = options.listener.address();
        let resolved =
            tokio::net::lookup_host(&address).await.with_context(|| format!("cannot resolve {address}"))?;
        let resolved =
            resolved.into_iter().next().with_context(|| format!("{address} resolves to nothing"))?;
        let listener = env::listen(resolved).await.with_context(|| {
            format!("cannot serve Kafka on {address}; choose another with --kafka-addr HOST:PORT (port 0: a free one)")
        })?;
        let kafka_address = listener.local_addr().context("the Kafka door has no address")?;

        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let opening = open_storage(&options, clock.clone(), random.clone());
        let (storage, shards) = tokio::select! {
            biased;
            opened = told_of("the log to be recovered", opening) => opened?,
            // Recovery only repeats what a crash would make it repeat.
            () = &mut told_to_stop => return Ok(None),
        };
        let shards = run_shards(shards)?;
        let opening = broker::Broker::open(settings.clone(), storage.clone(), clock, random);
        let broker = tokio::select! {
            biased;
            opened = told_of("the cluster metadata to be loaded", opening) => match opened {
                Ok(broker) => broker,
                Err(error) => {
                    let error = explain(&error, &storage, &options.data_dir);
                    // In order, so that the next try finds what this one found.
                    storage.close().await;
                    return Err(error);
                }
            },
            () = &mut told_to_stop => {
                close(&storage, shards).await?;
                return Ok(None);
            }
        };
        env::spawn({
            let broker = broker.clone();
            async move { broker.load_groups().await }
        });
        let (shutdown, stopped) = watch::channel(false);
        let serving = env::spawn({
            let broker = broker.clone();
            async move { broker.serve(listener, connections_max, stopped).await }
        });
        Ok(Some(Broker { kafka_address, broker, storage, shards, serving, shutdown, options }))
    }

    pub fn cluster_id(&self) -> &str {
        self.broker.cluster_id()
    }

    /// How clients in this process reach it.
    pub fn inside(&self) -> Inside {
        let (broker, stopped) = (self.broker.clone(), self.shutdown.subscribe());
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let ends = broker::net::Ends { local: self.kafka_address, peer };
        Inside::new(move || broker.connect(ends, stopped.clone()))
    }

    /// What `/readyz` asks, each time.
    pub fn readiness(&self) -> Arc<dyn Fn() -> Readiness + Send + Sync> {
        let storage = self.storage.clone();
        Arc::new(move || {
            let closed = storage.partitions().iter().any(|partition| partition.health() == Health::Closed);
            if closed {
                return Readiness::NotYet(
                    "the log is closed after a failed sync; restart the process".into(),
                );
            }
            match storage.damaged_count() {
                0 => Readiness::Ready,
                count => Readiness::ReadyExcept(format!(
                    "{} damaged and take{} no records; stop the broker and say `levada verify`",
                    counted(count as u64, "partition") + if count == 1 { " is" } else { " are" },
                    if count == 1 { "s" } else { "" }
                )),
            }
        })
    }

    /// What `/metrics` shows, each time.
    pub fn metrics(&self) -> Metrics {
        let broker = self.broker.clone();
        Arc::new(move || {
            let broker = broker.clone();
            Box::pin(async move { broker.metrics_text().await })
        })
    }

    /// Ends in order: no new requests, those under way are answered, everything is synced.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.send_replace(true);
        if tokio::time::timeout(self.options.shutdown_wait_max, self.serving).await.is_err() {
            warn!("stopping although requests are still under way: levada.shutdown.wait.max.ms is over");
        }
        close(&self.storage, self.shards).await
    }
}

async fn close(storage: &Storage, shards: Vec<JoinHandle<()>>) -> anyhow::Result<()> {
    storage.close().await;
    env::run_blocking(move || shards.into_iter().all(|shard| shard.join().is_ok()))
        .await
        .then_some(())
        .context("a storage thread failed")
}

/// How often it is told what a start waits for.
const START_INTERVAL: Duration = Duration::from_secs(5);

/// Says now and then what is being waited for.
async fn told_of<T>(what: &'static str, step: impl Future<Output = T>) -> T {
    let mut step = std::pin::pin!(step);
    loop {
        match tokio::time::timeout(START_INTERVAL, &mut step).await {
            Ok(done) => return done,
            Err(_) => info!(what, "starting: still waiting"),
        }
    }
}

/// Files that are kept for everything but Kafka's connections: the log, open segments, indexes, the HTTP door.
const FILES_KEPT: u64 = 16384;

/// How many connections the limit of open files leaves room for: at least half of it.
pub fn connections_max(open_files_max: Option<u64>) -> usize {
    let Some(open_files_max) = open_files_max else { return usize::MAX };
    let kept = FILES_KEPT.min(open_files_max / 2);
    usize::try_from(open_files_max - kept).unwrap_or(usize::MAX)
}

/// Why the broker cannot start with this storage, and what to do.
fn explain(error: &broker::LoadError, storage: &Storage, data_dir: &str) -> anyhow::Error {
    let offset = match error {
        broker::LoadError::Damaged { offset } => offset,
        broker::LoadError::Lost => return refuse("the cluster metadata is lost", data_dir),
        other => return anyhow!("the cluster metadata cannot be loaded: {other}"),
    };
    let log = storage.partition(PartitionId { topic: TopicId::CLUSTER_METADATA, index: 0 });
    let ranges = match log.map(|log| log.health()) {
        Some(Health::Damaged(ranges)) => ranges,
        _ => vec![(*offset, *offset)],
    };
    let ranges: Vec<String> = ranges.iter().map(|(first, last)| format!("{first} to {last}")).collect();
    let what = format!(
        "the cluster metadata is damaged, offsets {} of __cluster_metadata cannot be read",
        ranges.join(", ")
    );
    refuse(&what, data_dir)
}

fn refuse(what: &str, data_dir: &str) -> anyhow::Error {
    let data_dir = shell_word(data_dir.as_ref());
    anyhow!(
        "cannot start: {what}. See all that is damaged with `levada verify --data-dir {data_dir}`. Restore a copy of \
         {data_dir}; or keep a copy of it as it is, and give the lost records up with `levada repair --data-dir \
         {data_dir} --accept-loss`: then the broker starts, and serves topics whose names are lost as \
         recovered-<topic id>"
    )
}

/// Adds what to do, where something can be done.
pub fn advise(error: OpenError, data_dir: &std::path::Path) -> anyhow::Error {
    let how = match &error {
        OpenError::Checkpoint { .. } => "It can be made anew from segments and write-ahead log",
        OpenError::Identity { .. } => {
            "Restore it from a copy if you can. A new one gives the cluster another id"
        }
        OpenError::Locked(_) => {
            return anyhow!(
                "{error}: stop it first, if it is the broker that is meant; or name another folder with --data-dir"
            );
        }
        OpenError::Unreadable { path, reason } if reason == "not a storage directory" => {
            return anyhow!(
                "{path} is not a storage directory, or is not there: name the one that the broker tells as data=… in its \
                 log when it is ready, with --data-dir"
            );
        }
        OpenError::Newer { .. } => {
            return anyhow!("{error}: take that version of Levada, or a copy of the data from before it");
        }
        _ => return error.into(),
    };
    let data_dir = shell_word(data_dir);
    anyhow!(
        "{error}. {how}: keep a copy of {data_dir}, then say `levada repair --data-dir {data_dir} --accept-loss`"
    )
}

/// The storage of a broker that is not running, for the commands that look after it.
pub fn offline(
    data_dir: &std::path::Path,
) -> (storage::Options, Arc<dyn Disk>, Arc<dyn Clock>, Arc<dyn Random>) {
    (storage::Options::new(data_dir), real_disk(), Arc::new(SystemClock::new()), Arc::new(SystemRandom))
}

async fn open_storage(
    options: &BrokerOptions,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
) -> anyhow::Result<(Storage, Vec<Shard>)> {
    let storage_options = storage::Options {
        shards: options.storage_shards.into(),
        wal_bytes_max: options.wal_bytes_max,
        direct_batch_bytes_min: options.wal_batch_direct_bytes_min as usize,
        tail_bytes_max: options.memory_tail_bytes_max as usize,
        retention_check_interval: options.log_retention_check_interval,
        producer_id_expiration: options.producer_id_expiration,
        compacts: options.log_cleaner,
        ..storage::Options::new(&options.data_dir)
    };
    let data_dir = options.data_dir.clone();
    let opened = env::run_blocking(move || Storage::open(storage_options, real_disk(), clock, random)).await;
    opened
        .map_err(|error| advise(error, options.data_dir.as_ref()))
        .with_context(|| format!("cannot open the data directory {data_dir}"))
}

fn real_disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

fn run_shards(shards: Vec<Shard>) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let start =
        |(number, shard): (usize, Shard)| env::spawn_thread(format!("storage-{number}"), move || shard.run());
    shards
        .into_iter()
        .enumerate()
        .map(start)
        .collect::<Result<_, _>>()
        .context("cannot start a storage thread")
}
