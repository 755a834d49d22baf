//! Competing consumers over gRPC. What another instance hosts is asked there.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use events::Handle;
use events::consumers::{ConsumerError, Delivery, Host, Place, Refusal};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tonic::body::Body;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use super::api::events_client::EventsClient;
use super::api::nack_request::Action;
use super::{api, category, event, read_status};
use crate::events::peer::FORWARDED;
use crate::events::subscriptions;

/// Events of one pull, unless it says.
const PULL_DEFAULT: u32 = 32;
const PULL_MAX: u32 = 1000;
const PULL_WAIT_MAX: Duration = Duration::from_secs(60);

type Peer = Client<HttpConnector, Body>;

static PEER: LazyLock<Peer> =
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
        return Err(Status::invalid_argument(format!(
            "a pull takes at most {PULL_MAX} events, and waits {most} s"
        )));
    }
    let host = match host(handle, &wanted.category, &wanted.subscription, &request).await? {
        Hosted::Here(host) => host,
        Hosted::At(mut there) => return there.pull(passed_on(request.into_inner())).await,
    };
    let deliveries = host.pull(max as usize, wait).await.map_err(status)?;
    Ok(Response::new(api::PullResponse { deliveries: deliveries.into_iter().map(delivery).collect() }))
}

pub async fn ack(
    handle: &Handle,
    request: Request<api::AckRequest>,
) -> Result<Response<api::AckResponse>, Status> {
    let wanted = request.get_ref();
    let host = match host(handle, &wanted.category, &wanted.subscription, &request).await? {
        Hosted::Here(host) => host,
        Hosted::At(mut there) => return there.ack(passed_on(request.into_inner())).await,
    };
    let places: Vec<Place> = named(&wanted.deliveries)?.into_iter().map(|(place, _)| place).collect();
    host.ack(&places).map_err(status)?;
    Ok(Response::new(api::AckResponse {}))
}

pub async fn nack(
    handle: &Handle,
    request: Request<api::NackRequest>,
) -> Result<Response<api::NackResponse>, Status> {
    let wanted = request.get_ref();
    let host = match host(handle, &wanted.category, &wanted.subscription, &request).await? {
        Hosted::Here(host) => host,
        Hosted::At(mut there) => return there.nack(passed_on(request.into_inner())).await,
    };
    let after = Some(Duration::from_millis(wanted.delay_ms.into())).filter(|delay| !delay.is_zero());
    let refusal = match Action::try_from(wanted.action) {
        Ok(Action::Retry) => Refusal::Retry { after },
        Ok(Action::Park) => Refusal::Park,
        Ok(Action::Skip) => Refusal::Skip,
        Err(_) => return Err(Status::invalid_argument(format!("there is no action {}", wanted.action))),
    };
    let reason = subscriptions::reason(Some(wanted.reason.as_str()).filter(|reason| !reason.is_empty()));
    let late = host.nack(&named(&wanted.deliveries)?, refusal, &reason).map_err(status)?;
    let late = late.into_iter().map(|(place, attempt)| format!("{place}.{attempt}")).collect();
    Ok(Response::new(api::NackResponse { late }))
}

enum Hosted {
    Here(Arc<Host>),
    At(EventsClient<Peer>),
}

async fn host<T>(
    handle: &Handle,
    name: &str,
    subscription: &str,
    request: &Request<T>,
) -> Result<Hosted, Status> {
    match handle.host(&category(name)?, subscription).await {
        Ok(host) => Ok(Hosted::Here(host)),
        Err(ConsumerError::Elsewhere { url }) if !request.metadata().contains_key(FORWARDED) => {
            let origin = url.parse().map_err(|_| Status::unavailable(format!("{url} is no address")))?;
            Ok(Hosted::At(EventsClient::with_origin(PEER.clone(), origin)))
        }
        Err(error) => Err(status(error)),
    }
}

/// Whoever gets it does not look for another.
fn passed_on<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(FORWARDED, MetadataValue::from_static("1"));
    request.set_timeout(PULL_WAIT_MAX + Duration::from_secs(15));
    request
}

fn named(deliveries: &[String]) -> Result<Vec<(Place, u64)>, Status> {
    let one = |text: &String| {
        subscriptions::delivery(text)
            .map_err(|problem| Status::invalid_argument(problem.details().detail.clone()))
    };
    deliveries.iter().map(one).collect()
}

fn delivery(delivery: Delivery) -> api::Delivery {
    let Delivery { event: recorded, attempt, number } = delivery;
    let name = format!("{}.{number}", Place::of(&recorded));
    api::Delivery { delivery: name, attempt, event: Some(event((*recorded).clone())) }
}

fn status(error: ConsumerError) -> Status {
    let detail = error.to_string();
    match error {
        ConsumerError::NoSubscription { .. } => Status::not_found(detail),
        ConsumerError::Invalid(_) => Status::invalid_argument(detail),
        ConsumerError::Read(error) => read_status(error),
        ConsumerError::Elsewhere { .. } | ConsumerError::Unavailable(_) => Status::unavailable(detail),
    }
}
