//! Competing consumers over gRPC. What another instance hosts is asked there.

use std::future::ready;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use events::Handle;
use events::consumers::{ConsumerError, DeliveryId, Handed, Host, Refusal};
use events::peers::{Asked, Peers};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::{Instant, sleep};
use tonic::codegen::Service;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use super::api::events_client::EventsClient;
use super::api::nack_request::Action;
use super::{api, category, event, invalid, not_found, read_status, unavailable};
use crate::events::peer::{NotPassedOn, PEER, Proven, believe};
use crate::events::subscriptions;

/// Events of one pull, unless it says.
const PULL_DEFAULT: u32 = 32;
const PULL_MAX: u32 = 1000;
const PULL_WAIT_MAX: Duration = Duration::from_secs(60);

/// Between two tries to find who hosts a subscription.
const PAUSE: Duration = Duration::from_millis(200);

/// In the metadata of a refusal: nothing was done, and who hosts it is told in a moment.
const PROBLEM: &str = "levada-problem";
const MOVING: &str = "elsewhere";

/// The largest request that is passed on.
const REQUEST_BYTES_MAX: usize = 8 << 20;

type HttpClient = Client<HttpConnector, Full<bytes::Bytes>>;

static CLIENT: LazyLock<HttpClient> =
    LazyLock::new(|| Client::builder(TokioExecutor::new()).http2_only(true).build_http());

pub async fn pull(
    handle: &Handle,
    request: Request<api::PullRequest>,
) -> Result<Response<api::PullResponse>, Status> {
    let wanted = request.get_ref();
    let max = if wanted.max == 0 { PULL_DEFAULT } else { wanted.max };
    let wait = Duration::from_millis(wanted.wait_ms.into());
    if max > PULL_MAX || wait > PULL_WAIT_MAX {
        let most = PULL_WAIT_MAX.as_secs();
        return Err(invalid(format!("a pull takes at most {PULL_MAX} events, and waits {most} s")));
    }
    let of = (wanted.category.clone(), wanted.subscription.clone());
    let here = move |host: Arc<Host>| -> Answer<api::PullResponse> {
        Box::pin(async move {
            let handed = host.pull(max as usize, wait).await.map_err(status)?;
            Ok(Response::new(api::PullResponse { deliveries: handed.into_iter().map(delivery).collect() }))
        })
    };
    let there = |mut client: Instance, request| -> Answer<api::PullResponse> {
        Box::pin(async move { client.pull(request).await })
    };
    hosted(handle, of, request, here, there).await
}

pub async fn ack(
    handle: &Handle,
    request: Request<api::AckRequest>,
) -> Result<Response<api::AckResponse>, Status> {
    let wanted = request.get_ref();
    let deliveries = named(&wanted.deliveries)?;
    let of = (wanted.category.clone(), wanted.subscription.clone());
    let here = move |host: Arc<Host>| -> Answer<api::AckResponse> {
        let acked = host.ack(&deliveries).map_err(status);
        Box::pin(ready(acked.map(|()| Response::new(api::AckResponse {}))))
    };
    let there = |mut client: Instance, request| -> Answer<api::AckResponse> {
        Box::pin(async move { client.ack(request).await })
    };
    hosted(handle, of, request, here, there).await
}

pub async fn nack(
    handle: &Handle,
    request: Request<api::NackRequest>,
) -> Result<Response<api::NackResponse>, Status> {
    let wanted = request.get_ref();
    let deliveries = named(&wanted.deliveries)?;
    let after = Some(Duration::from_millis(wanted.delay_ms.into())).filter(|delay| !delay.is_zero());
    let refusal = match Action::try_from(wanted.action) {
        Ok(Action::Retry) => Refusal::Retry { after },
        Ok(Action::Park) => Refusal::Park,
        Ok(Action::Skip) => Refusal::Skip,
        Err(_) => return Err(invalid(format!("there is no action {}", wanted.action))),
    };
    let reason = subscriptions::reason(Some(wanted.reason.as_str()).filter(|reason| !reason.is_empty()));
    let of = (wanted.category.clone(), wanted.subscription.clone());
    let here = move |host: Arc<Host>| -> Answer<api::NackResponse> {
        let late = host.nack(&deliveries, refusal, &reason).map_err(status);
        let body = |late: Vec<DeliveryId>| api::NackResponse {
            late: late.iter().map(DeliveryId::to_string).collect(),
        };
        Box::pin(ready(late.map(|late| Response::new(body(late)))))
    };
    let there = |mut client: Instance, request| -> Answer<api::NackResponse> {
        Box::pin(async move { client.nack(request).await })
    };
    hosted(handle, of, request, here, there).await
}

/// An answer to come, from here or there.
type Answer<R> = Pin<Box<dyn Future<Output = Result<Response<R>, Status>> + Send>>;

/// Another instance.
type Instance = EventsClient<Signing>;

/// Asks whoever hosts a subscription, here or there, also while that changes.
async fn hosted<T: Clone, R>(
    handle: &Handle,
    (name, subscription): (String, String),
    request: Request<T>,
    here: impl Fn(Arc<Host>) -> Answer<R>,
    there: impl Fn(Instance, Request<T>) -> Answer<R>,
) -> Result<Response<R>, Status> {
    let category = category(&name)?;
    let is_passed_on = Proven::is(request.extensions());
    let message = request.into_inner();
    let deadline = Instant::now() + subscriptions::HOST_PATIENCE;
    loop {
        let outcome = match handle.host(&category, &subscription).await {
            Ok(host) => here(host).await,
            Err(ConsumerError::Elsewhere { url }) if !is_passed_on => {
                let origin = url.parse().map_err(|_| unavailable(format!("{url} is no address")))?;
                let signing = Signing { peers: handle.peers().clone(), to: url };
                there(EventsClient::with_origin(signing, origin), passed_on(message.clone())).await
            }
            Err(error) => Err(status(error)),
        };
        match outcome {
            Err(status) if is_moving(&status) && !is_passed_on && Instant::now() < deadline => {
                sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

fn is_moving(status: &Status) -> bool {
    status.metadata().get(PROBLEM).is_some_and(|problem| problem == MOVING)
}

fn passed_on<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(PULL_WAIT_MAX + Duration::from_secs(15));
    request
}

/// The way to another instance: what goes there is signed, and what comes back has to be.
#[derive(Clone)]
struct Signing {
    peers: Peers,
    to: String,
}

impl Service<axum::http::Request<tonic::body::Body>> for Signing {
    type Response = axum::http::Response<tonic::body::Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: axum::http::Request<tonic::body::Body>) -> Self::Future {
        let Signing { peers, to } = self.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let body = Limited::new(body, REQUEST_BYTES_MAX).collect().await;
            let body = body.map_err(|error| Status::internal(error.to_string()))?.to_bytes();
            let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
            let asked = Asked { to: &to, method: parts.method.as_str(), path, body: &body };
            let proof = peers.sign(&asked).await.map_err(|error| unavailable(error.to_string()))?;
            let value = proof.to_string().parse();
            parts.headers.insert(PEER, value.map_err(|_| Status::internal("a proof is a header's value"))?);
            let request = axum::http::Request::from_parts(parts, Full::new(body));
            let answer = CLIENT.request(request).await.map_err(|error| match error.is_connect() {
                true => moving(format!("{to} cannot be reached: {error}")),
                false => unavailable(format!("{to} broke off: {error}")),
            })?;
            match believe(&peers, &proof, &to, answer.status(), answer.headers()).await {
                Ok(()) => Ok(answer.map(tonic::body::Body::new)),
                Err(NotPassedOn::Unreachable(why)) => Err(moving(why)),
                Err(NotPassedOn::Broken(why)) => Err(unavailable(why)),
            }
        })
    }
}

fn moving(why: String) -> Status {
    let mut status = unavailable(why);
    status.metadata_mut().insert(PROBLEM, MetadataValue::from_static(MOVING));
    status
}

fn named(deliveries: &[String]) -> Result<Vec<DeliveryId>, Status> {
    let one = |text: &String| {
        subscriptions::delivery(text).map_err(|problem| invalid(problem.details().detail.clone()))
    };
    deliveries.iter().map(one).collect()
}

fn delivery(handed: Handed) -> api::Delivery {
    let Handed { id, attempt, event: recorded } = handed;
    api::Delivery { delivery: id.to_string(), attempt, event: Some(event(recorded)) }
}

fn status(error: ConsumerError) -> Status {
    let detail = error.to_string();
    match error {
        ConsumerError::NoSubscription { .. } => not_found(detail),
        ConsumerError::Invalid(_) => invalid(detail),
        ConsumerError::Read(error) => read_status(error),
        ConsumerError::NeverHandedOut(_) => {
            let mut status = Status::failed_precondition(detail);
            status.metadata_mut().insert(PROBLEM, MetadataValue::from_static("never-handed-out"));
            status
        }
        ConsumerError::Elsewhere { .. } | ConsumerError::Moving => moving(detail),
        ConsumerError::Unreadable { .. } | ConsumerError::Unavailable(_) => unavailable(detail),
    }
}
