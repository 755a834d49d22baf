//! The broker: Kafka's protocol over the log.
//!
//! A request's way is the reading order: [`net`] turns bytes into frames, [`request`] has the table of every API,
//! [`handlers`] has one file per API, [`partition`] says what may be appended, [`hosting`] runs the coordinators'
//! machines; [`error`] is the one place where refusals become Kafka's error codes.
//!
//! The broker never owns a partition's file: it appends to and reads from `storage`, which is the same in the
//! simulation.

pub mod error;
mod handlers;
mod hosting;
pub mod metrics;
pub mod net;
mod node;
mod partition;
mod request;
mod topics;

use std::num::NonZero;
use std::sync::Arc;

use coordinators::groups::consumer::Migration;
use coordinators::groups::{self, Groups};
use coordinators::transactional_ids::TransactionalIds;
use env::{Clock, Random};
use settings::{BrokerOptions, BrokerSettings, GroupMigration};
use storage::Storage;
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::handlers::fetch::sessions::Sessions;
use crate::hosting::{Cluster, Coordinator, GroupConfigs, Waiters};
pub use crate::hosting::{Fate, LoadError, TopicNames};
use crate::metrics::Metrics;
use crate::net::memory::MemoryBudget;
use crate::node::Node;
use crate::request::Requests;
use crate::request::transactions::TransactionsAsked;
use crate::topics::{OFFSETS_TOPIC, TRANSACTIONS_TOPIC, Topics};

/// The id that a node has unless `node.id` says otherwise.
pub(crate) const NODE_ID: i32 = 0;

/// What may be on its way to one end of a connection from within.
const INSIDE_BYTES: usize = 128 << 10;

/// A running broker; cheap to clone.
#[derive(Clone)]
pub struct Broker(Arc<Parts>);

/// What handlers are given pieces of.
pub(crate) struct Parts {
    pub node: Node,
    pub options: BrokerOptions,
    pub topics: Topics,
    pub cluster: Cluster,
    pub groups: Coordinator<Groups, Waiters>,
    pub transactional_ids: Coordinator<TransactionalIds>,
    pub sessions: Sessions,
    pub storage: Storage,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub metrics: Metrics,
    /// Requests being read and worked on, as they came.
    pub request_budget: MemoryBudget,
    /// What they take beside that when they are decoded. Apart from the other: whoever has a place in that one may
    /// wait for a place in this one, and not the other way round.
    pub decoded_budget: MemoryBudget,
    /// Records in answers that are not written yet.
    pub fetch_budget: MemoryBudget,
    /// Turns for validating batches that take their time: one for each core.
    pub validations: Semaphore,
    pub transactions_asked: TransactionsAsked,
    /// Says true when nobody shall be kept waiting any more.
    pub stopping: watch::Sender<bool>,
}

impl Broker {
    /// Loads what the internal topics say. The storage's shards must be running.
    pub async fn open(
        settings: BrokerSettings,
        storage: Storage,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Broker, LoadError> {
        let options = settings.options();
        if options.default_replication_factor > 1 {
            tracing::warn!(
                asked = options.default_replication_factor,
                "default.replication.factor is taken as 1: there is one copy on one broker"
            );
        }
        let node = Node::new(&options, storage.cluster_id());
        let topics = Topics::default();
        let cluster =
            Cluster::open(storage.clone(), topics.clone(), clock.clone(), random.clone(), settings).await?;
        Ok(Broker(Arc::new(Parts {
            node,
            groups: Coordinator::new(
                OFFSETS_TOPIC,
                options.offsets_topic_partitions,
                storage.clone(),
                topics.clone(),
                cluster.clone(),
                clock.clone(),
                Groups::new(group_options(&options, cluster.groups())),
            ),
            transactional_ids: Coordinator::new(
                TRANSACTIONS_TOPIC,
                options.transaction_topic_partitions,
                storage.clone(),
                topics.clone(),
                cluster.clone(),
                clock.clone(),
                TransactionalIds::default(),
            ),
            sessions: Sessions::new(
                options.fetch_sessions_max as usize,
                options.fetch_session_partitions_max as usize,
            ),
            metrics: Metrics::new(clock.now()),
            request_budget: MemoryBudget::new(options.memory_request_bytes_max as usize / 2),
            decoded_budget: MemoryBudget::new(options.memory_request_bytes_max as usize / 2),
            fetch_budget: MemoryBudget::new(options.memory_fetch_bytes_max as usize),
            validations: Semaphore::new(std::thread::available_parallelism().map_or(1, NonZero::get)),
            transactions_asked: TransactionsAsked::default(),
            stopping: watch::Sender::new(false),
            options,
            topics,
            cluster,
            storage,
            clock,
            random,
        })))
    }

    /// Loads the groups, so that time passes for them before anybody asks: sessions end, offsets expire.
    pub async fn load_groups(&self) {
        if let Err(error) = self.0.groups.all().await {
            tracing::warn!(%error, "not all groups can be loaded yet: they will be when somebody asks for them");
        }
    }

    /// Serves connections until `shutdown` says true and what was begun is answered. No more of them at once than
    /// `connections_max`, whatever the settings allow.
    pub async fn serve(
        &self,
        listener: TcpListener,
        connections_max: usize,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let broker = self.clone();
        let service = move |ends| broker.service(ends);
        let mut options = self.net_options();
        options.connections_max = options.connections_max.min(connections_max);
        let serving = net::serve(listener, options, self.0.request_budget.clone(), service, shutdown.clone());
        let stopping = async {
            let _ = shutdown.wait_for(|stop| *stop).await;
            self.stop_waiting();
        };
        tokio::join!(serving, stopping);
    }

    /// Answers at once what waits: for records to come, or for other members of a group. Those ask again, where they
    /// find a coordinator.
    pub fn stop_waiting(&self) {
        self.0.stopping.send_replace(true);
        self.0.groups.started().iter().for_each(|host| host.effects.release());
    }

    /// A connection from within this process, which no limit of connections counts. `ends`: what it is taken for.
    pub fn connect(&self, ends: net::Ends, shutdown: watch::Receiver<bool>) -> DuplexStream {
        let (near, far) = tokio::io::duplex(INSIDE_BYTES);
        let (service, options, budget) = (self.service(ends), self.net_options(), self.request_budget());
        env::spawn(async move {
            let ended = net::serve_connection(far, service, &options, budget, shutdown).await;
            tracing::debug!(reason = %ended, "a connection from within ended");
        });
        near
    }

    /// What answers the requests of one connection; for those who bring their own sockets.
    pub fn service(&self, ends: net::Ends) -> impl net::Service + use<> {
        Requests::new(self.0.clone(), ends)
    }

    pub fn net_options(&self) -> net::Options {
        let options = &self.0.options;
        net::Options {
            frame_bytes_max: options.request_bytes_max as usize,
            connections_max: options.connections_max as usize,
            connections_per_ip_max: options.connections_per_ip_max as usize,
            idle: options.connection_idle_max.unwrap_or(std::time::Duration::MAX / 4),
            stall: options.socket_stall_max,
        }
    }

    pub fn request_budget(&self) -> MemoryBudget {
        self.0.request_budget.clone()
    }

    pub fn cluster_id(&self) -> &str {
        &self.0.node.cluster_id
    }

    /// All metrics of broker and storage in OpenMetrics text.
    pub async fn metrics_text(&self) -> String {
        self.0.metrics.text(&self.0).await
    }
}

fn group_options(options: &BrokerOptions, configs: &GroupConfigs) -> groups::Options {
    groups::Options {
        session_timeout_min: options.group_session_timeout_min,
        session_timeout_max: options.group_session_timeout_max,
        members_max: options.group_members_max as usize,
        member_bytes_max: options.group_member_bytes_max as usize,
        bytes_max: usize::try_from(options.memory_groups_bytes_max).unwrap_or(usize::MAX),
        initial_rebalance_delay: options.group_initial_rebalance_delay,
        consumer_session_timeout: configs.default().consumer_session_timeout,
        consumer_session_timeouts: Arc::new(configs.session_timeouts()),
        consumer_members_max: options.group_consumer_members_max as usize,
        migration: match options.group_consumer_migration {
            GroupMigration::Disabled => Migration::Disabled,
            GroupMigration::Upgrade => Migration::Upgrade,
            GroupMigration::Downgrade => Migration::Downgrade,
            GroupMigration::Bidirectional => Migration::Bidirectional,
        },
        offsets_retention: options.offsets_retention,
        offsets_check_interval: options.offsets_retention_check_interval,
    }
}
