//! Competing consumers: subscriptions, and what is done with what they hand out.
//!
//! A subscription is hosted by one instance; another one passes requests on to it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use events::consumers::{ConsumerError, DeliveryId, Handed, Place, Refusal, Settings, Start, Subscription};
use events::{Filter, Handle, Selector};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use utoipa::{IntoParams, ToSchema};

use super::peer::{HttpPeer, NotPassedOn, Proven};
use super::shapes::{RecordedBody, SelectorBody, position};
use super::{BODY_BYTES_MAX, category};
use crate::extract::{Body, Path, Query, limit};
use crate::problem::ProblemDetails;
use crate::{Problem, duration, freshness};

/// Where the host of a subscription is.
const OWNER: &str = "levada-owner";

/// Events of one pull, unless it says.
const PULL_DEFAULT: usize = 32;
const PULL_MAX: usize = 1000;

/// How long a pull may wait for a first event.
const PULL_WAIT_MAX: Duration = Duration::from_secs(60);

/// How long a host is waited for that cannot be reached.
pub(super) const HOST_PATIENCE: Duration = Duration::from_secs(20);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// Parked events of one answer.
const PARKED_DEFAULT: usize = 100;
const PARKED_MAX: usize = 1000;

/// Characters of a reason that are kept.
const REASON_MAX: usize = 1000;

/// Says that nothing happens, so that nobody between takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How a subscription is to be.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubscriptionSettings {
    /// Only events that one of these matches; none: all.
    #[serde(default)]
    any_of: Vec<SelectorBody>,
    #[serde(default)]
    correlation_id: Option<String>,
    /// Where a new subscription begins: `beginning` (the default), `end`, or a position.
    #[serde(default)]
    from: Option<String>,
    /// Whoever has not acknowledged an event in this time has lost it [default: 30s]
    #[serde(default)]
    #[schema(example = "30s")]
    ack_timeout: Option<String>,
    /// How often an event is handed out before it is parked [default: 10]
    #[serde(default)]
    max_attempts: Option<u32>,
    /// How long a refused event rests [default: 5s]
    #[serde(default)]
    #[schema(example = "5s")]
    retry_delay: Option<String>,
    /// Events that may be in flight [default: 256]
    #[serde(default)]
    max_in_flight: Option<usize>,
    /// Events of one stream one after the other, and parked behind a parked one [default: true]
    #[serde(default)]
    ordered: Option<bool>,
}

impl SubscriptionSettings {
    fn into_settings(self) -> Result<(Settings, Start), Problem> {
        let mut settings = Settings {
            filter: Filter {
                any_of: self.any_of.into_iter().map(SelectorBody::into_selector).collect(),
                correlation: self.correlation_id,
                subject: None,
            },
            ..Settings::default()
        };
        let rules = &mut settings.rules;
        let time = |name: &str, text: Option<String>, default: Duration| match text {
            None => Ok(default),
            Some(text) => duration::parse(&text).ok_or_else(|| {
                Problem::invalid(format!("`{name}` is such as 500ms, 30s, 5m or 1h, not `{text}`"))
            }),
        };
        rules.ack_timeout = time("ackTimeout", self.ack_timeout, rules.ack_timeout)?;
        rules.retry_delay = time("retryDelay", self.retry_delay, rules.retry_delay)?;
        rules.attempts_max = self.max_attempts.unwrap_or(rules.attempts_max);
        rules.in_flight_max = self.max_in_flight.unwrap_or(rules.in_flight_max);
        rules.is_ordered = self.ordered.unwrap_or(rules.is_ordered);
        Ok((settings, start(self.from.as_deref())?))
    }
}

fn start(from: Option<&str>) -> Result<Start, Problem> {
    match from {
        None | Some("beginning") => Ok(Start::Beginning),
        Some("end") => Ok(Start::End),
        Some(text) => position(text).map(Start::At).map_err(|_| {
            Problem::invalid(format!(
                "`from` is beginning, end, or a position that was handed out, not `{text}`"
            ))
        }),
    }
}

/// A subscription, and how it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionBody {
    pub category: String,
    pub name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub any_of: Vec<SelectorBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    pub ack_timeout: String,
    pub max_attempts: u32,
    pub retry_delay: String,
    pub max_in_flight: usize,
    pub ordered: bool,
    /// Everything before it is settled or parked. This and what follows is told only of one that is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// Whoever hosts it next goes on there. It is written once a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<bool>,
    /// Records of the log after that, whether they are for this subscription or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parked: Option<usize>,
}

impl SubscriptionBody {
    fn of(subscription: Subscription) -> SubscriptionBody {
        let Settings { filter, rules } = subscription.settings;
        let selector = |it: Selector| SelectorBody {
            types: it.types.into_iter().collect(),
            tags: it.tags.into_iter().collect(),
        };
        SubscriptionBody {
            category: subscription.category.to_string(),
            name: subscription.name,
            any_of: filter.any_of.into_iter().map(selector).collect(),
            correlation_id: filter.correlation,
            ack_timeout: duration::write(rules.ack_timeout),
            max_attempts: rules.attempts_max,
            retry_delay: duration::write(rules.retry_delay),
            max_in_flight: rules.in_flight_max,
            ordered: rules.is_ordered,
            position: None,
            written: None,
            behind: None,
            in_flight: None,
            parked: None,
        }
    }
}

/// An event that is handed out.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DeliveryBody {
    /// To acknowledge or refuse it by. Hand it on as it is.
    #[schema(example = "6.41.8812.qK3vTmX0b4Y")]
    pub delivery: String,
    /// From 1.
    pub attempt: u32,
    pub event: RecordedBody,
}

impl DeliveryBody {
    fn of(handed: Handed) -> DeliveryBody {
        let Handed { id, attempt, event } = handed;
        DeliveryBody { delivery: id.to_string(), attempt, event: RecordedBody::of(event) }
    }
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PulledBody {
    /// None came in time: an empty list. Ask again.
    pub deliveries: Vec<DeliveryBody>,
}

#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PullBody {
    /// At most so many events
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000, default = 32)]
    pub max: Option<usize>,
    /// How long to wait for the first one [default: 0s, at most 60s]
    #[serde(default)]
    #[schema(example = "20s")]
    pub wait: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AckBody {
    /// As they were handed out.
    pub deliveries: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NackBody {
    /// As they were handed out.
    pub deliveries: Vec<String>,
    /// What becomes of them
    #[serde(default)]
    #[schema(pattern = "^(retry|park|skip)$", default = "retry")]
    pub action: Option<String>,
    /// How long a retry rests; without one the subscription's delay.
    #[serde(default)]
    pub delay: Option<String>,
    /// For whoever looks at parked events.
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct NackedBody {
    /// Whose time was over: they are somebody else's, and nothing was done.
    pub late: Vec<String>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChosenBody {
    /// Which parked events, by their place; not given: all.
    #[serde(default)]
    #[schema(example = json!(["6.41"]))]
    places: Option<Vec<String>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CountBody {
    pub count: usize,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetBody {
    /// `beginning` (the default), `end`, or a position.
    #[serde(default)]
    from: Option<String>,
}

/// An event that waits for somebody to look at it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ParkedBody {
    /// To replay or discard it by.
    #[schema(example = "6.41")]
    pub place: String,
    pub stream: String,
    pub reason: String,
    /// How often it was handed out.
    pub attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<RecordedBody>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListParameters {
    /// Only those to this category
    category: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ParkedParameters {
    /// At most so many
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

/// List subscriptions
#[utoipa::path(
    operation_id = "list_subscriptions",
    get, path = "/v1/subscriptions", tag = "subscriptions", params(ListParameters),
    responses((status = 200, description = "By category and name", body = Vec<SubscriptionBody>)),
)]
pub async fn list(
    State(handle): State<Handle>,
    Query(parameters): Query<ListParameters>,
) -> Result<Response, Problem> {
    let of = parameters.category.as_deref().map(category).transpose()?;
    let all = handle.subscriptions(of.as_ref()).await?;
    Ok(Json(all.into_iter().map(SubscriptionBody::of).collect::<Vec<_>>()).into_response())
}

/// Create a subscription
///
/// Or change one: it goes on where it is; `from` counts only for a new one.
#[utoipa::path(
    operation_id = "put_subscription",
    put, path = "/v1/subscriptions/{category}/{name}", tag = "subscriptions",
    params(("category" = String, Path), ("name" = String, Path)),
    request_body = Option<SubscriptionSettings>,
    responses(
        (status = 201, description = "It is new", body = SubscriptionBody, headers(("Levada-Position" = String))),
        (status = 200, description = "It was there", body = SubscriptionBody),
        (status = 404, description = "No such category", body = ProblemDetails),
    ),
)]
pub async fn create(
    State(handle): State<Handle>,
    Path((name_of_category, name)): Path<(String, String)>,
    body: Option<Body<SubscriptionSettings>>,
) -> Result<Response, Problem> {
    let category = category(&name_of_category)?;
    let body = body.map(|Body(body)| body).unwrap_or_default();
    let (settings, start) = body.into_settings()?;
    let (subscription, is_new, position) = handle.subscribe(&category, &name, settings, &start).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, at(&position), Json(SubscriptionBody::of(subscription))).into_response())
}

/// Look at a subscription
#[utoipa::path(
    operation_id = "show_subscription",
    get, path = "/v1/subscriptions/{category}/{name}", tag = "subscriptions",
    params(("category" = String, Path), ("name" = String, Path)),
    responses(
        (status = 200, description = "What it is, and how far", body = SubscriptionBody),
        (status = 404, description = "No such subscription", body = ProblemDetails),
    ),
)]
pub async fn show(
    State(handle): State<Handle>,
    Path((name_of_category, name)): Path<(String, String)>,
) -> Result<Json<SubscriptionBody>, Problem> {
    let host = handle.host(&category(&name_of_category)?, &name).await?;
    let status = host.status()?;
    let mut body = SubscriptionBody::of(handle.subscription(&category(&name_of_category)?, &name).await?);
    body.position = Some(status.position.to_string());
    body.written = Some(status.is_written);
    body.behind = Some(status.behind);
    body.in_flight = Some(status.counts.in_flight);
    body.parked = Some(status.counts.parked);
    Ok(Json(body))
}

/// Delete a subscription
#[utoipa::path(
    operation_id = "delete_subscription",
    delete, path = "/v1/subscriptions/{category}/{name}", tag = "subscriptions",
    params(("category" = String, Path), ("name" = String, Path)),
    responses(
        (status = 204, description = "It is gone, and what it has parked", headers(("Levada-Position" = String))),
        (status = 404, description = "No such subscription", body = ProblemDetails),
    ),
)]
pub async fn delete(
    State(handle): State<Handle>,
    Path((name_of_category, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let position = handle.delete_subscription(&category(&name_of_category)?, &name).await?;
    Ok((StatusCode::NO_CONTENT, at(&position)).into_response())
}

/// Begin a subscription anew
///
/// What it has parked is forgotten.
#[utoipa::path(
    operation_id = "reset_subscription",
    post, path = "/v1/subscriptions/{category}/{name}/reset", tag = "subscriptions",
    params(("category" = String, Path), ("name" = String, Path)),
    request_body = Option<ResetBody>,
    responses((
        status = 200, description = "It begins there", body = SubscriptionBody, headers(("Levada-Position" = String)),
    )),
)]
pub async fn reset(
    State(handle): State<Handle>,
    Path((name_of_category, name)): Path<(String, String)>,
    body: Option<Body<ResetBody>>,
) -> Result<Response, Problem> {
    let category = category(&name_of_category)?;
    let body = body.map(|Body(body)| body).unwrap_or_default();
    let start = start(body.from.as_deref())?;
    let (subscription, position) = handle.reset_subscription(&category, &name, &start).await?;
    Ok((at(&position), Json(SubscriptionBody::of(subscription))).into_response())
}

/// Take events
///
/// They are yours for the subscription's `ackTimeout`.
#[utoipa::path(
    operation_id = "pull_deliveries",
    post, path = "/v1/subscriptions/{category}/{name}/pull", tag = "subscriptions",
    params(("category" = String, Path), ("name" = String, Path)),
    request_body = Option<PullBody>,
    responses((status = 200, description = "Events that nobody else has", body = PulledBody)),
)]
pub async fn pull(
    State(handle): State<Handle>,
    Path((name_of_category, name)): Path<(String, String)>,
    body: Option<Body<PullBody>>,
) -> Result<Json<PulledBody>, Problem> {
    let host = handle.host(&category(&name_of_category)?, &name).await?;
    let body = body.map(|Body(body)| body).unwrap_or_default();
    let max = body.max.unwrap_or(PULL_DEFAULT);
    if max == 0 || max > PULL_MAX {
        return Err(Problem::invalid(format!("`max` is 1 to {PULL_MAX}, not {max}")));
    }
    let wait = match body.wait.as_deref() {
        None => Duration::ZERO,
        Some(text) => duration::parse(text).filter(|wait| *wait <= PULL_WAIT_MAX).ok_or_else(|| {
            let most = PULL_WAIT_MAX.as_secs();
            Problem::invalid(format!("`wait` is such as 500ms or 20s, at most {most}s, not `{text}`"))
        })?,
    };
    let deliveries = host.pull(max, wait).await?;
    Ok(Json(PulledBody { deliveries: deliveries.into_iter().map(DeliveryBody::of).collect() }))
}

/// Take events as they come
///
/// Every event comes as a server-sent event; acknowledge it by `POST …/ack`. No more come than may be in flight.
#[utoipa::path(
    operation_id = "stream_deliveries",
    get, path = "/v1/subscriptions/{category}/{name}/events", tag = "subscriptions",
    params(("category" = String, Path), ("name" = String, Path)),
    responses((status = 200, description = "text/event-stream of deliveries", body = DeliveryBody)),
)]
pub async fn stream(
    State(handle): State<Handle>,
    Path((name_of_category, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let host = handle.host(&category(&name_of_category)?, &name).await?;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Event, Infallible>>(1);
    env::spawn(async move {
        loop {
            // Nothing is taken that cannot be handed on.
            let Ok(place) = sender.reserve().await else { return };
            let pulled = tokio::select! {
                biased;
                () = sender.closed() => return,
                pulled = host.pull(1, PULL_WAIT_MAX) => pulled,
            };
            match pulled {
                Ok(deliveries) => {
                    let Some(delivery) = deliveries.into_iter().next() else { continue };
                    let body = DeliveryBody::of(delivery);
                    let data = serde_json::to_string(&body).unwrap_or_default();
                    place.send(Ok(Event::default().event("delivery").id(body.delivery).data(data)));
                }
                Err(error) => {
                    let problem = Problem::from(error);
                    let data = serde_json::to_string(problem.details()).unwrap_or_default();
                    place.send(Ok(Event::default().event("problem").data(data)));
                    return;
                }
            }
        }
    });
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// Acknowledge events
#[utoipa::path(
    operation_id = "ack_deliveries",
    post, path = "/v1/subscriptions/{category}/{name}/ack", tag = "subscriptions",
    params(("category" = String, Path), ("name" = String, Path)),
    request_body = AckBody,
    responses(
        (status = 204, description = "They do not come again"),
        (status = 409, description = "Some were never handed out, `deliveries`; the others do not come again", body = ProblemDetails),
    ),
)]
pub async fn ack(
    State(handle): State<Handle>,
    Path((name_of_category, name)): Path<(String, String)>,
    Body(body): Body<AckBody>,
) -> Result<StatusCode, Problem> {
    let host = handle.host(&category(&name_of_category)?, &name).await?;
    let deliveries: Vec<DeliveryId> =
        body.deliveries.iter().map(|text| delivery(text)).collect::<Result<_, Problem>>()?;
    host.ack(&deliveries)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Refuse events
#[utoipa::path(
    operation_id = "nack_deliveries",
    post, path = "/v1/subscriptions/{category}/{name}/nack", tag = "subscriptions",
    params(("category" = String, Path), ("name" = String, Path)),
    request_body = NackBody,
    responses(
        (status = 200, description = "Those that came too late to be refused", body = NackedBody),
        (status = 409, description = "Some were never handed out, `deliveries`; the others are refused", body = ProblemDetails),
    ),
)]
pub async fn nack(
    State(handle): State<Handle>,
    Path((name_of_category, name)): Path<(String, String)>,
    Body(body): Body<NackBody>,
) -> Result<Json<NackedBody>, Problem> {
    let host = handle.host(&category(&name_of_category)?, &name).await?;
    let deliveries: Vec<DeliveryId> =
        body.deliveries.iter().map(|text| delivery(text)).collect::<Result<_, _>>()?;
    let after = match body.delay.as_deref() {
        None => None,
        Some(text) => Some(duration::parse(text).ok_or_else(|| {
            Problem::invalid(format!("`delay` is such as 500ms, 30s, 5m or 1h, not `{text}`"))
        })?),
    };
    let refusal = match body.action.as_deref() {
        None | Some("retry") => Refusal::Retry { after },
        Some("park") => Refusal::Park,
        Some("skip") => Refusal::Skip,
        Some(other) => {
            return Err(Problem::invalid(format!("`action` is retry, park or skip, not `{other}`")));
        }
    };
    let reason = reason(body.reason.as_deref());
    let late = host.nack(&deliveries, refusal, &reason)?;
    let late = late.into_iter().map(|delivery| delivery.to_string()).collect();
    Ok(Json(NackedBody { late }))
}

/// See parked events
#[utoipa::path(
    operation_id = "list_parked",
    get, path = "/v1/subscriptions/{category}/{name}/parked", tag = "subscriptions",
    params(("category" = String, Path), ("name" = String, Path), ParkedParameters),
    responses((status = 200, description = "The oldest of each partition first", body = Vec<ParkedBody>)),
)]
pub async fn parked(
    State(handle): State<Handle>,
    Path((name_of_category, name)): Path<(String, String)>,
    Query(parameters): Query<ParkedParameters>,
) -> Result<Json<Vec<ParkedBody>>, Problem> {
    let host = handle.host(&category(&name_of_category)?, &name).await?;
    let parked = host.parked(limit(parameters.limit, PARKED_DEFAULT, PARKED_MAX)?).await?;
    let body =
        |(place, parked, event): (Place, events::consumers::Parked, Option<events::Recorded>)| ParkedBody {
            place: place.to_string(),
            stream: parked.stream,
            reason: parked.reason,
            attempts: parked.attempts,
            event: event.map(RecordedBody::of),
        };
    Ok(Json(parked.into_iter().map(body).collect()))
}

/// Replay parked events
///
/// They are handed out again, and stay parked until they are acknowledged.
#[utoipa::path(
    operation_id = "replay_parked",
    post, path = "/v1/subscriptions/{category}/{name}/parked/replay", tag = "subscriptions",
    params(("category" = String, Path), ("name" = String, Path)),
    request_body = Option<ChosenBody>,
    responses((status = 200, description = "How many are on their way", body = CountBody)),
)]
pub async fn replay(
    State(handle): State<Handle>,
    Path((name_of_category, name)): Path<(String, String)>,
    body: Option<Body<ChosenBody>>,
) -> Result<Json<CountBody>, Problem> {
    let host = handle.host(&category(&name_of_category)?, &name).await?;
    let places = chosen(body)?;
    Ok(Json(CountBody { count: host.replay(places.as_ref()).await? }))
}

/// Give parked events up
#[utoipa::path(
    operation_id = "discard_parked",
    post, path = "/v1/subscriptions/{category}/{name}/parked/discard", tag = "subscriptions",
    params(("category" = String, Path), ("name" = String, Path)),
    request_body = Option<ChosenBody>,
    responses((status = 200, description = "How many are forgotten", body = CountBody)),
)]
pub async fn discard(
    State(handle): State<Handle>,
    Path((name_of_category, name)): Path<(String, String)>,
    body: Option<Body<ChosenBody>>,
) -> Result<Json<CountBody>, Problem> {
    let host = handle.host(&category(&name_of_category)?, &name).await?;
    let places = chosen(body)?;
    Ok(Json(CountBody { count: host.discard(places.as_ref()) }))
}

fn chosen(body: Option<Body<ChosenBody>>) -> Result<Option<BTreeSet<Place>>, Problem> {
    let body = body.map(|Body(body)| body).unwrap_or_default();
    let place = |text: &String| {
        text.parse().map_err(|()| Problem::invalid(format!("`{text}` is no place, such as 6.41")))
    };
    body.places.map(|places| places.iter().map(place).collect()).transpose()
}

/// What is kept of why an event was refused.
pub fn reason(text: Option<&str>) -> String {
    text.unwrap_or("a consumer refused it").chars().take(REASON_MAX).collect()
}

/// A delivery by its name.
pub fn delivery(text: &str) -> Result<DeliveryId, Problem> {
    text.parse().map_err(|()| {
        Problem::invalid(format!("`{text}` is no delivery: hand on what a pull gave, unchanged"))
    })
}

/// Passes on to the host what another instance hosts.
pub async fn pass_on(
    State((peer, handle)): State<(Arc<HttpPeer>, Handle)>,
    request: Request,
    next: Next,
) -> Response {
    let is_passed_on = Proven::is(request.extensions());
    // Whoever asks for a subscription that was made elsewhere says so by its position.
    if let Err(problem) = fresh(&handle, request.headers()).await {
        return problem.into_response();
    }
    let (mut parts, body) = request.into_parts();
    let body = match axum::body::to_bytes(body, BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(error) => {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            return Problem::new(status, "too-large", "Too large", error.to_string()).into_response();
        }
    };
    if body.is_empty() {
        // Whoever says nothing means nothing, whatever type it is of.
        parts.headers.remove(header::CONTENT_TYPE);
    }
    let deadline = Instant::now() + HOST_PATIENCE;
    loop {
        let request = Request::from_parts(parts.clone(), axum::body::Body::from(body.clone()));
        let response = next.clone().run(request).await;
        if is_passed_on || response.status() != StatusCode::MISDIRECTED_REQUEST {
            return response;
        }
        let url = response.headers().get(OWNER).and_then(|url| url.to_str().ok()).map(str::to_owned);
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let asked = match &url {
            Some(url) => {
                Some(peer.pass_on(handle.peers(), url, parts.method.clone(), path, body.clone()).await)
            }
            None => None,
        };
        let why = match asked {
            Some(Ok(response)) if response.status() != StatusCode::MISDIRECTED_REQUEST => return response,
            // Nobody hosts it any more, or not yet: whoever does is told by the group in a moment.
            None | Some(Ok(_)) => ConsumerError::Moving.to_string(),
            // Nobody was asked: another instance takes over when that one's session is over.
            Some(Err(NotPassedOn::Unreachable(why))) => why,
            Some(Err(NotPassedOn::Broken(why))) => return Problem::unavailable(why).into_response(),
        };
        if Instant::now() >= deadline {
            return Problem::unavailable(why).into_response();
        }
        sleep(PAUSE).await;
    }
}

/// Waits until this instance knows what the request's position names.
async fn fresh(handle: &Handle, headers: &HeaderMap) -> Result<(), Problem> {
    let freshness = freshness::of(headers)?;
    Ok(handle.subscriptions_fresh(&freshness).await?)
}

fn at(position: &client::Position) -> [(&'static str, String); 1] {
    [(freshness::POSITION, position.to_string())]
}

impl From<ConsumerError> for Problem {
    fn from(error: ConsumerError) -> Problem {
        let detail = error.to_string();
        match error {
            ConsumerError::NoSubscription { .. } => Problem::not_found(detail),
            ConsumerError::Invalid(_) => Problem::invalid(detail),
            ConsumerError::NeverHandedOut(deliveries) => {
                let names: Vec<String> = deliveries.iter().map(DeliveryId::to_string).collect();
                Problem::new(StatusCode::CONFLICT, "never-handed-out", "Not handed out", detail)
                    .with("deliveries", names)
            }
            ConsumerError::Unreadable { .. } => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unreadable",
                "The subscription cannot be read",
                detail,
            ),
            ConsumerError::Moving => {
                let title = "The subscription moves to another instance";
                Problem::new(StatusCode::MISDIRECTED_REQUEST, "elsewhere", title, detail)
            }
            ConsumerError::Elsewhere { url } => {
                let title = "Another instance hosts the subscription";
                Problem::new(StatusCode::MISDIRECTED_REQUEST, "elsewhere", title, detail)
                    .with("url", url.clone())
                    .header(OWNER, url)
            }
            ConsumerError::Read(error) => error.into(),
            ConsumerError::Unavailable(_) => Problem::unavailable(detail),
        }
    }
}
