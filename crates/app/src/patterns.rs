//! What is built on Kafka, put together: started beside the broker of this process, or on a cluster.

use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};
use client::{AskError, Bootstrap, Cluster, Inside, Properties};
use env::{Disk, DiskLock, RealDisk, SystemClock, SystemRandom};
use events::{Events, TableError, Trouble};
use gateway::HttpPeer;
use gateway::callers::{Callers, Verdict};
use gateway::events::{Grpc, GrpcAnswering};
use settings::BrokerOptions;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};
use tower::{Service, ServiceExt};
use tracing::{info, warn};

use crate::client::read_properties;
use crate::http::{Metrics, Readiness};
use crate::metrics::{self, Own};
use crate::output::counted;

/// Between two tries to start.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a broker may take to be reached and to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Troubles that readiness names; the others are counted.
const TROUBLES_TOLD: usize = 10;

/// What is there once Kafka is reached.
struct Open {
    router: Router,
    grpc: Grpc,
    events: events::Handle,
}

/// The patterns of this process: they start in the background, and start again where Kafka cannot be reached yet.
pub struct Patterns {
    api: Arc<OnceLock<Open>>,
    callers: Arc<Callers>,
    own: Arc<Own>,
    stop: watch::Sender<bool>,
    running: tokio::task::JoinHandle<()>,
    denied: oneshot::Receiver<AskError>,
    _lock: DiskLock,
}

impl Patterns {
    /// `broker`: the one of this process, by its address; the settings may name another cluster.
    pub fn start(
        options: &BrokerOptions,
        broker: Option<(SocketAddr, Inside)>,
        http: SocketAddr,
    ) -> anyhow::Result<Patterns> {
        let dir = PathBuf::from(&options.data_dir).join("patterns").join("events");
        let lock = lock(&dir)?;
        let is_beside_broker = broker.is_some();
        let (cluster, inside) = match broker {
            Some((address, inside)) => {
                let bootstrap = Bootstrap(vec![address.to_string()]);
                (Remote { bootstrap, properties: Properties::default() }, Some(inside))
            }
            None => (Remote::of(options)?, None),
        };
        let url = match options.http_advertised.as_str() {
            "" => format!("http://{http}"),
            url => url.trim_end_matches('/').to_owned(),
        };
        let events = events::Options {
            group: options.events_group.clone(),
            session_timeout: options.events_session_timeout,
            heartbeat_interval: options.events_heartbeat_interval,
            partitions: options.events_partitions,
            replication_factor: cluster.properties.replication_factor.unwrap_or(-1),
            ..events::Options::new(dir, url)
        };
        let events = match options.events_master_key_file.as_str() {
            "" => events,
            file => events::Options { master_key_file: PathBuf::from(file), ..events },
        };
        let Remote { bootstrap, properties } = cluster;
        let cluster = client::Options {
            bootstrap,
            client_id: properties.client_id.unwrap_or_else(|| "levada".to_owned()),
            patience: properties.request_timeout.unwrap_or(PATIENCE),
            security: properties.security,
            inside,
        };
        let api = Arc::new(OnceLock::new());
        let callers = Arc::new(Callers::new(
            &listed(&options.http_hosts),
            &listed(&options.http_origins),
            &options.http_advertised,
        ));
        let (stop, stopped) = watch::channel(false);
        let (deny, denied) = oneshot::channel();
        let running = env::spawn(run(cluster, events, api.clone(), stopped, deny));
        let own = Own::new(PathBuf::from(&options.data_dir), is_beside_broker);
        Ok(Patterns { api, callers, own, stop, running, denied, _lock: lock })
    }

    /// Adds the patterns' answers to a process's own routes, also while they cannot answer yet.
    pub fn front(&self, own: Router) -> Front {
        let routes = Router::new().fallback(answer).with_state(self.api.clone());
        Front {
            api: self.api.clone(),
            callers: self.callers.clone(),
            own: self.own.clone(),
            routes: own.merge(routes),
        }
    }

    /// Adds what the patterns and the process show to a broker's metrics, or to none.
    pub fn metrics(&self, broker: Option<Metrics>) -> Metrics {
        let (api, own) = (self.api.clone(), self.own.clone());
        Arc::new(move || {
            let (api, own, broker) = (api.clone(), own.clone(), broker.clone());
            Box::pin(async move {
                let text = match broker {
                    Some(broker) => broker().await,
                    None => String::new(),
                };
                let process = own.text().await;
                let events = api.get().map(|open| open.events.metrics()).unwrap_or_default();
                let before = text.strip_suffix(metrics::END).unwrap_or(&text);
                format!("{before}{process}{events}{}", metrics::END)
            })
        })
    }

    /// Whether the work can be done: the broker's, where there is one, and the patterns'.
    pub fn readiness(
        &self,
        broker: Option<Arc<dyn Fn() -> Readiness + Send + Sync>>,
    ) -> Arc<dyn Fn() -> Readiness + Send + Sync> {
        let api = self.api.clone();
        Arc::new(move || {
            let of_broker = broker.as_ref().map(|readiness| readiness());
            if let Some(Readiness::NotYet(why)) = of_broker {
                return Readiness::NotYet(why);
            }
            let Some(open) = api.get() else {
                // Kafka's clients are served already.
                return match of_broker {
                    Some(Readiness::ReadyExcept(what)) => {
                        Readiness::ReadyExcept(format!("{what}; the event store is not open yet"))
                    }
                    Some(_) => Readiness::ReadyExcept("the event store is not open yet".to_owned()),
                    None => Readiness::NotYet("Kafka is not reached yet".to_owned()),
                };
            };
            let mut except: Vec<String> = match of_broker {
                Some(Readiness::ReadyExcept(what)) => vec![what],
                _ => Vec::new(),
            };
            let troubles = open.events.troubles();
            let others = troubles.len().saturating_sub(TROUBLES_TOLD);
            except.extend(troubles.into_iter().take(TROUBLES_TOLD).map(|trouble| {
                let Trouble { category, partition, why, .. } = trouble;
                match (category, partition) {
                    (Some(category), Some(index)) => format!("{category} partition {index}: {why}"),
                    (Some(category), None) => format!("{category}: {why}"),
                    (None, _) => why,
                }
            }));
            if others > 0 {
                except.push(format!("{}: see levada events repair", counted(others as u64, "other")));
            }
            if except.is_empty() { Readiness::Ready } else { Readiness::ReadyExcept(except.join("; ")) }
        })
    }

    /// Why they will never start: Kafka is there, and does not take this client as its settings are. Waits for ever
    /// where that does not happen.
    pub async fn denied(&mut self) -> AskError {
        match (&mut self.denied).await {
            Ok(error) => error,
            Err(_) => std::future::pending().await,
        }
    }

    /// Hands over what it owns, and ends.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.running.await;
    }
}

/// All that is asked over HTTP. Each layer is a part of what a short request takes, so gRPC goes past the routes.
#[derive(Clone)]
pub struct Front {
    api: Arc<OnceLock<Open>>,
    callers: Arc<Callers>,
    own: Arc<Own>,
    routes: Router,
}

/// The answer to come, which is counted.
pub struct Answering {
    kind: AnsweringKind,
    own: Arc<Own>,
    began: Instant,
}

enum AnsweringKind {
    Grpc { path: Uri, answering: GrpcAnswering },
    Route { method: Method, answering: Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>> },
}

impl Service<Request> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // No route waits before it takes a request.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Answering {
        let began = Instant::now();
        let method = request.method().clone();
        let verdict = self.callers.judge(&method, request.uri(), request.headers());
        let refused = match &verdict {
            Ok(verdict) => verdict.preflight(&method, request.headers()),
            Err(refused) => Some(refused.clone().into_response()),
        };
        let kind = match (refused, verdict, self.api.get()) {
            (Some(answer), ..) => AnsweringKind::Route { method, answering: Box::pin(ready(Ok(answer))) },
            (None, Ok(Verdict::Program), Some(open)) if Grpc::takes(&request) => {
                AnsweringKind::Grpc { path: request.uri().clone(), answering: open.grpc.answer(request) }
            }
            (None, Ok(Verdict::Page(origin)), _) => {
                let answering = self.routes.clone().oneshot(request);
                let answering = async move { Ok(Verdict::Page(origin).mark(answering.await?)) };
                AnsweringKind::Route { method, answering: Box::pin(answering) }
            }
            _ => AnsweringKind::Route { method, answering: Box::pin(self.routes.clone().oneshot(request)) },
        };
        Answering { kind, own: self.own.clone(), began }
    }
}

impl Future for Answering {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Answering { kind, own, began } = self.get_mut();
        match kind {
            AnsweringKind::Grpc { path, answering } => {
                let response = ready!(Pin::new(answering).poll(context));
                Poll::Ready(Ok(own.called(path.path(), response, began.elapsed())))
            }
            AnsweringKind::Route { method, answering } => {
                let Ok(response) = ready!(answering.as_mut().poll(context));
                own.answered(method, &response, began.elapsed());
                Poll::Ready(Ok(response))
            }
        }
    }
}

/// The parts of a setting that is a list.
fn listed(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// A cluster that is not in this process.
struct Remote {
    bootstrap: Bootstrap,
    properties: Properties,
}

impl Remote {
    /// What a flag or a setting says wins over the file.
    fn of(options: &BrokerOptions) -> anyhow::Result<Remote> {
        let properties = match options.kafka_properties.as_str() {
            "" => Properties::default(),
            path => {
                let read = read_properties(std::path::Path::new(path));
                read.map_err(|why| anyhow::anyhow!("--kafka-config: {why}"))?
            }
        };
        for warning in &properties.warnings {
            warn!(file = options.kafka_properties, "{warning}");
        }
        let bootstrap = match (options.kafka_bootstrap.as_str(), &properties.bootstrap) {
            ("", Some(bootstrap)) => bootstrap.clone(),
            ("", None) => anyhow::bail!(
                "{} has no bootstrap.servers: put them there, or give --kafka",
                options.kafka_properties
            ),
            (text, _) => Bootstrap::parse(text).map_err(|why| anyhow::anyhow!("--kafka: {why}"))?,
        };
        Ok(Remote { bootstrap, properties })
    }
}

/// Two processes in one folder would write the same indexes.
fn lock(dir: &std::path::Path) -> anyhow::Result<DiskLock> {
    let made = RealDisk.create_dir(dir);
    made.with_context(|| format!("cannot create {}", dir.display()))?;
    RealDisk.lock(&dir.join("lock")).with_context(|| {
        format!("{} is used by another process: give each its own --data-dir", dir.display())
    })
}

async fn run(
    cluster: client::Options,
    options: events::Options,
    api: Arc<OnceLock<Open>>,
    mut stop: watch::Receiver<bool>,
    deny: oneshot::Sender<AskError>,
) {
    let began = Instant::now();
    let mut was_told = false;
    let events = loop {
        let starting = start(&cluster, &options);
        let error = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            started = starting => match started {
                Ok(events) => break events,
                // Nobody waits for a password to become right.
                Err(TableError::Kafka(error)) if error.is_denied() => {
                    let _ = deny.send(error);
                    return;
                }
                Err(error) => error,
            },
        };
        if !was_told {
            warn!(%error, "the event store waits for Kafka");
            was_told = true;
        }
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = sleep(PAUSE) => {}
        }
    };
    info!(after = ?began.elapsed(), "the event store is open");
    let handle = events.handle();
    let (router, grpc) = (gateway::events::router(handle.clone()), Grpc::new(handle.clone()));
    let _ = api.set(Open { router, grpc, events: handle });
    let _ = stop.wait_for(|stop| *stop).await;
    events.stop().await;
}

async fn start(cluster: &client::Options, options: &events::Options) -> Result<Events, TableError> {
    let cluster = Cluster::connect(cluster.clone()).await?;
    let (clock, random) = (Arc::new(SystemClock::new()), Arc::new(SystemRandom));
    Events::start(cluster, clock, random, options.clone(), Arc::new(HttpPeer::default())).await
}

async fn answer(State(api): State<Arc<OnceLock<Open>>>, request: Request) -> Response {
    match api.get() {
        Some(open) => match open.router.clone().oneshot(request.map(Body::new)).await {
            Ok(response) => response.into_response(),
            Err(never) => match never {},
        },
        None => gateway::events::not_open(request.headers()),
    }
}
