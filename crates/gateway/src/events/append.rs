//! Appending, and creating what is appended to.

use axum::Json;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use events::{Append, Appended, DeletedCategory, Expected, Handle, StreamAppend};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::category;
use super::peer::Proven;
use super::shapes::{AppendBody, AppendedBody, CategoryBody, EventsBody, etag};
use crate::extract::{Body, Path};
use crate::problem::ProblemDetails;
use crate::{Problem, freshness};

/// Names the events of an append that have no ids of their own: the same key again is the same append.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// How a category is made.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CategorySettings {
    /// For ever. More partitions, more owners that append at the same time.
    #[schema(example = 16)]
    partitions: Option<i32>,
}

/// Create a category
///
/// Appending to a category that is not there creates it, too, with the default number of partitions.
#[utoipa::path(
    put, path = "/v1/categories/{category}", tag = "events",
    params(("category" = String, Path, description = "Such as `orders` or `shop.orders`")),
    request_body = Option<CategorySettings>,
    responses(
        (status = 201, description = "It is new", body = CategoryBody),
        (status = 200, description = "It was there", body = CategoryBody),
        (status = 400, description = "No such name, or not this number of partitions", body = ProblemDetails),
    ),
)]
pub async fn create_category(
    State(handle): State<Handle>,
    Path(name): Path<String>,
    settings: Option<Body<CategorySettings>>,
) -> Result<Response, Problem> {
    let category = category(&name)?;
    let settings = settings.map(|Body(settings)| settings).unwrap_or_default();
    let was_there = handle.categories().iter().any(|(known, _)| *known == category);
    let info = handle.create_category(&category, settings.partitions).await?;
    if let Some(wanted) = settings.partitions.filter(|wanted| *wanted != info.partitions) {
        return Err(Problem::invalid(format!(
            "category {category} has {} partitions, and not {wanted}: that can never be changed",
            info.partitions
        )));
    }
    let status = if was_there { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(CategoryBody::of(&category, &info))).into_response())
}

/// What was deleted with a category.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeletedCategoryBody {
    category: String,
    /// Its topics, all of them.
    topics: Vec<String>,
    /// The subscriptions to it.
    subscriptions: Vec<String>,
}

/// Delete a category
///
/// With its events, snapshots and archive, its subscriptions, and its indexes on every instance: it cannot be undone. What
/// was begun is finished, also where this instance stops meanwhile. Who appends to a category that is not there makes a
/// new one, so its writers are to be stopped first.
#[utoipa::path(
    delete, path = "/v1/categories/{category}", tag = "events",
    params(("category" = String, Path)),
    responses(
        (status = 200, description = "It is gone", body = DeletedCategoryBody),
        (status = 400, description = "It may not be deleted", body = ProblemDetails),
        (status = 404, description = "No such category", body = ProblemDetails),
        (status = 503, description = "Begun, and not known to be done: ask again", body = ProblemDetails),
    ),
)]
pub async fn delete_category(
    State(handle): State<Handle>,
    Path(name): Path<String>,
) -> Result<Json<DeletedCategoryBody>, Problem> {
    let deleted = handle.delete_category(&category(&name)?).await?;
    let DeletedCategory { topics, subscriptions } = deleted;
    Ok(Json(DeletedCategoryBody { category: name, topics, subscriptions }))
}

/// Append to a stream
///
/// All events or none. `If-Match: "7"` appends only if the stream is at version 7, `If-Match: *` only if it has events,
/// `If-None-Match: *` only if it has none. With the same event ids (or the same `Idempotency-Key`) again, nothing is
/// appended a second time, and the answer is the same.
#[utoipa::path(
    post, path = "/v1/streams/{category}/{stream}/events", tag = "events",
    params(
        ("category" = String, Path), ("stream" = String, Path),
        ("If-Match" = Option<String>, Header, description = "The version that the stream must have, or *"),
        ("If-None-Match" = Option<String>, Header, description = "*: there must be no events yet"),
        ("Idempotency-Key" = Option<String>, Header, description = "Names events that have no id"),
    ),
    request_body = EventsBody,
    responses(
        (status = 201, description = "Appended", body = AppendedBody,
            headers(("ETag" = String, description = "The stream's version"), ("Levada-Position" = String))),
        (status = 200, description = "Was appended earlier", body = AppendedBody),
        (status = 412, description = "The stream has another version: `current`", body = ProblemDetails),
        (status = 409, description = "An event id is taken, or the stream has another boundary", body = ProblemDetails),
        (status = 413, description = "Larger than the topic takes", body = ProblemDetails),
        (status = 503, description = "No owner just now, or in doubt: ask again with the same ids", body = ProblemDetails),
    ),
)]
pub async fn append_to_stream(
    State(handle): State<Handle>,
    Path((name, stream)): Path<(String, String)>,
    headers: HeaderMap,
    Body(body): Body<EventsBody>,
) -> Result<Response, Problem> {
    let category = category(&name)?;
    let key = text(&headers, IDEMPOTENCY_KEY)?;
    let events = match body {
        EventsBody::Many(events) => events,
        EventsBody::One(event) => vec![event],
    };
    let event = |(number, mut event): (usize, super::shapes::EventBody)| {
        event.id = event.id.or_else(|| key.map(|key| format!("{key}:{number}")));
        event.into_event(&handle)
    };
    let events = events.into_iter().enumerate().map(event).collect::<Result<_, _>>()?;
    let part = StreamAppend { stream, expected: expected(&headers)?, events };
    let append = Append { boundary: None, streams: vec![part], conditions: Vec::new() };
    answer(handle.append(&category, append).await?)
}

/// Append to several streams, under conditions
///
/// All streams are of one boundary: what is decided together is in one partition.
#[utoipa::path(
    operation_id = "append_to_streams",
    post, path = "/v1/categories/{category}/append", tag = "events",
    params(("category" = String, Path)),
    request_body = AppendBody,
    responses(
        (status = 201, description = "Appended", body = AppendedBody, headers(("Levada-Position" = String))),
        (status = 200, description = "Was appended earlier", body = AppendedBody),
        (status = 412, description = "A stream has another version, or a condition does not hold", body = ProblemDetails),
        (status = 409, description = "An event id is taken, or a stream has another boundary", body = ProblemDetails),
        (status = 413, description = "Larger than the topic takes", body = ProblemDetails),
        (status = 503, description = "No owner just now, or in doubt: ask again with the same ids", body = ProblemDetails),
    ),
)]
pub async fn append(
    State(handle): State<Handle>,
    Path(name): Path<String>,
    extensions: Extensions,
    Body(body): Body<AppendBody>,
) -> Result<Response, Problem> {
    let category = category(&name)?;
    let append = body.into_append(&handle)?;
    // Another instance has looked for the owner already.
    let appended = match Proven::is(&extensions) {
        true => handle.append_here(&category, append).await?,
        false => handle.append(&category, append).await?,
    };
    answer(appended)
}

fn answer(appended: Appended) -> Result<Response, Problem> {
    let status = if appended.is_repeated { StatusCode::OK } else { StatusCode::CREATED };
    let position = appended.position.to_string();
    let version = match appended.versions.as_slice() {
        [(_, version)] => Some(etag(*version)),
        _ => None,
    };
    let body = Json(AppendedBody::of(appended));
    let mut response = (status, [(freshness::POSITION, position)], body).into_response();
    if let Some(version) = version.and_then(|version| version.parse().ok()) {
        response.headers_mut().insert(header::ETAG, version);
    }
    Ok(response)
}

/// What the conditional headers say (RFC 9110, 13.1).
fn expected(headers: &HeaderMap) -> Result<Expected, Problem> {
    let wrong = |name: &str, text: &str| {
        Problem::invalid(format!("header {name}: a version such as \"7\", or *; not {text}"))
    };
    match (text(headers, header::IF_MATCH.as_str())?, text(headers, header::IF_NONE_MATCH.as_str())?) {
        (None, None) => Ok(Expected::Any),
        (Some("*"), None) => Ok(Expected::Exists),
        (None, Some("*")) => Ok(Expected::None),
        (Some(text), None) => {
            let version = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
            let version: u64 = version.parse().map_err(|_| wrong("If-Match", text))?;
            Ok(if version == 0 { Expected::None } else { Expected::Exactly(version) })
        }
        (None, Some(text)) => Err(Problem::invalid(format!(
            "header If-None-Match takes only *, for a stream that is to be new, not {text}; a version goes into If-Match"
        ))),
        (Some(_), Some(_)) => Err(Problem::invalid("If-Match and If-None-Match are not for one request")),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Problem::invalid(format!("header {name} is there more than once")));
    }
    first
        .map(|value| value.to_str().map_err(|_| Problem::invalid(format!("header {name} is no text"))))
        .transpose()
}
