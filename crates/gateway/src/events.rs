//! The event store's routes.
//!
//! ```text
//! GET  /v1/categories                              all of them
//! PUT  /v1/categories/{category}                   creates one; GET, DELETE
//! POST /v1/streams/{category}/{stream}/events      appends to one stream; If-Match, If-None-Match
//! GET  /v1/streams/{category}/{stream}/events      from a version, forward or backward
//! PUT  /v1/streams/{category}/{stream}/snapshot    keeps a snapshot; GET, DELETE
//! POST /v1/streams/{category}/{stream}/truncate    events below a version are not read any more
//! GET  /v1/streams/{category}/{stream}/archive     what was truncated, where it was archived
//! POST /v1/categories/{category}/trim              frees the log of what is not needed
//! POST /v1/categories/{category}/append            several streams of one boundary, with conditions
//! GET  /v1/categories/{category}/events            across streams, after a position; live with text/event-stream
//! POST /v1/categories/{category}/query             the same, by several selectors
//! …    /v1/subscriptions/{category}/{name}…        competing consumers
//! GET  /v1/upcasters                               all of them
//! PUT  /v1/upcasters/{type}/{fromVersion}          how events of older schema versions are read; DELETE
//! GET  /v1/troubles                                what somebody has to look at
//! POST /v1/categories/{category}/repair            what is done about it
//! POST /v1/tables/{table}/repair                   the same for topics of the store's own
//! POST /v1/peer-key/rotate                         a new key for what instances ask each other
//! POST /v1/erasure/{subject}                       destroys a subject's keys; GET: the certificates
//! GET  /v1/erasures                                the certificates of all
//! ```
//!
//! The same over gRPC ([`Grpc`]), on the same port: `proto/levada/events/v1/`.

mod append;
mod erasure;
mod grpc;
mod lifecycle;
mod peer;
mod read;
mod repair;
mod shapes;
mod snapshots;
mod subscriptions;
mod truncation;
mod upcasters;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use events::{AppendError, Category, Handle, ReadError};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::bounds::Full;
use crate::{Problem, docs, freshness};

pub use grpc::{Grpc, GrpcAnswering};
pub use peer::HttpPeer;

/// The largest body of a request. A topic's max.message.bytes is the limit of what it may hold.
const BODY_BYTES_MAX: usize = 8 << 20;

/// All routes, and their description.
pub fn router(handle: Handle) -> Router {
    let proving = handle.clone();
    let (router, document) = store().with_state(handle.clone()).merge(hosted(handle)).split_for_parts();
    router
        .merge(docs::routes(&document))
        .layer(from_fn(crate::tell_route))
        .fallback(|uri: Uri| async move { Problem::not_found(format!("there is nothing at {}", uri.path())) })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            let detail = format!("{method} is not for {}: see /openapi.json", uri.path());
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Not this method", detail)
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(proving, peer::prove))
        .layer(from_fn(refuse_large))
}

/// What [`router`] describes.
#[cfg(test)]
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    store().merge(subscriptions()).into_openapi()
}

fn store() -> OpenApiRouter<Handle> {
    OpenApiRouter::with_openapi(docs::empty())
        .routes(routes!(read::categories))
        .routes(routes!(read::show_category, append::create_category, append::delete_category))
        .routes(routes!(append::append_to_stream, read::read_stream))
        .routes(routes!(append::append))
        .routes(routes!(snapshots::put_snapshot, snapshots::get_snapshot, snapshots::delete_snapshot))
        .routes(routes!(truncation::truncate))
        .routes(routes!(truncation::read_archive))
        .routes(routes!(truncation::trim))
        .routes(routes!(erasure::erase, erasure::certificates))
        .routes(routes!(erasure::all_certificates))
        .routes(routes!(upcasters::upcasters))
        .routes(routes!(upcasters::put_upcaster, upcasters::delete_upcaster))
        .routes(routes!(read::read_category))
        .routes(routes!(read::query))
        .routes(routes!(peer::rotate_key))
        .routes(routes!(repair::troubles))
        .routes(routes!(repair::repair))
        .routes(routes!(repair::repair_table))
}

/// The answer to any request while there is no store to ask, as a client of that door understands it.
pub fn not_open(request: &HeaderMap) -> Response {
    let why = "the event store is not open yet";
    let content_type = request.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    match content_type.is_some_and(|it| it.starts_with("application/grpc")) {
        true => tonic::Status::unavailable(why).into_http::<axum::body::Body>().into_response(),
        false => Problem::unavailable(why).into_response(),
    }
}

/// The answer to a request that there is no place or no room for, as a client of that door understands it.
pub fn full(request: &HeaderMap, full: Full) -> Response {
    let content_type = request.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    match content_type.is_some_and(|it| it.starts_with("application/grpc")) {
        true => tonic::Status::resource_exhausted(full.why()).into_http::<axum::body::Body>().into_response(),
        false => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "full", "Too much at once", full.why())
            .header("retry-after", "1")
            .into_response(),
    }
}

fn subscriptions() -> OpenApiRouter<Handle> {
    OpenApiRouter::new()
        .routes(routes!(subscriptions::list))
        .routes(routes!(subscriptions::create, subscriptions::show, subscriptions::delete))
        .routes(routes!(subscriptions::reset))
        .routes(routes!(subscriptions::pull))
        .routes(routes!(subscriptions::stream))
        .routes(routes!(subscriptions::ack))
        .routes(routes!(subscriptions::nack))
        .routes(routes!(subscriptions::parked))
        .routes(routes!(subscriptions::replay))
        .routes(routes!(subscriptions::discard))
}

/// The subscriptions' routes, which another instance answers where it hosts the subscription.
fn hosted(handle: Handle) -> OpenApiRouter {
    let state = (Arc::new(HttpPeer::default()), handle.clone());
    subscriptions().route_layer(from_fn_with_state(state, subscriptions::pass_on)).with_state(handle)
}

/// What is announced too large is refused before it is sent.
async fn refuse_large(request: Request, next: Next) -> Response {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let length = length.and_then(|length| length.parse::<u64>().ok());
    match length.filter(|length| *length > BODY_BYTES_MAX as u64) {
        None => next.run(request).await,
        Some(length) => {
            let detail = format!("{length} bytes are more than {BODY_BYTES_MAX}, which a request may have");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large", detail).into_response()
        }
    }
}

fn category(name: &str) -> Result<Category, Problem> {
    Category::new(name).map_err(|error| Problem::invalid(error.to_string()))
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Problem {
        let detail = error.to_string();
        match error {
            AppendError::Version { stream, expected, current } => {
                let title = "The stream has another version";
                Problem::new(StatusCode::PRECONDITION_FAILED, "wrong-version", title, detail)
                    .with("stream", stream)
                    .with("expected", expected.to_string())
                    .with("current", current)
                    .header("etag", shapes::etag(current))
            }
            AppendError::Condition { at } => {
                let title = "A condition does not hold";
                Problem::new(StatusCode::PRECONDITION_FAILED, "condition-failed", title, detail)
                    .with("offset", at.0)
            }
            AppendError::Boundary { stream, boundary } => {
                let title = "The stream belongs to another boundary";
                Problem::new(StatusCode::CONFLICT, "wrong-boundary", title, detail)
                    .with("stream", stream)
                    .with("boundary", boundary)
            }
            AppendError::IdTaken { id, stream } => {
                let title = "An event id is taken";
                Problem::new(StatusCode::CONFLICT, "id-taken", title, detail)
                    .with("id", id)
                    .with("stream", stream)
            }
            AppendError::Invalid(_) => Problem::invalid(detail),
            AppendError::TooLarge { bytes, max } => {
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large", detail)
                    .with("bytes", bytes)
                    .with("max", max)
            }
            AppendError::NoCategory(_) => Problem::not_found(detail),
            AppendError::Unavailable(_) => Problem::unavailable(detail),
            AppendError::Halted(_) => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "halted",
                "Nothing can be appended until somebody has looked at it",
                format!("{detail}; `levada events repair` shows what can be done"),
            ),
            AppendError::InDoubt(_) => {
                let title = "It is not known whether the events were appended";
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "in-doubt", title, detail)
                    .header("retry-after", "1")
            }
            AppendError::Elsewhere { partition, url } => {
                let title = "Another instance owns the partition";
                Problem::new(StatusCode::MISDIRECTED_REQUEST, "elsewhere", title, detail)
                    .with("partition", partition)
                    .with("url", url)
            }
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Problem {
        let detail = error.to_string();
        match error {
            ReadError::NoCategory(_) | ReadError::NoStream(_) => Problem::not_found(detail),
            ReadError::Invalid(_) | ReadError::Position(_) => Problem::invalid(detail),
            ReadError::Stale { at, .. } => {
                let title = "Not as fresh as was asked for";
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stale-read", title, detail)
                    .header("retry-after", "1")
                    .header(freshness::POSITION, at.to_string())
            }
            ReadError::Unavailable(_) => Problem::unavailable(detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_too_early_is_answered_in_the_terms_of_the_door() {
        let answered = not_open(&HeaderMap::new());
        assert_eq!(answered.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answered.headers()[header::CONTENT_TYPE], "application/problem+json");
        let grpc = HeaderMap::from_iter([(header::CONTENT_TYPE, "application/grpc".parse().unwrap())]);
        let answered = not_open(&grpc);
        assert_eq!(answered.status(), StatusCode::OK);
        assert_eq!(answered.headers()["grpc-status"], (tonic::Code::Unavailable as i32).to_string());
    }
}
