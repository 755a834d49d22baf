//! Reading: streams, and events across streams.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use client::Position;
use events::{Category, Direction, Filter, Found, Freshness, Handle, Loaded, Selector};
use serde::Deserialize;
use tokio::time::timeout;
use tokio_stream::Stream;
use utoipa::{IntoParams, ToSchema};

use super::category;
use super::shapes::{CategoryBody, FoundBody, QueryBody, RecordedBody, SelectorBody, etag, position};
use super::snapshots::SnapshotBody;
use crate::bounds::{Bounds, Held, PAGE_BYTES, Parts};
use crate::extract::{Body, Path, Query, limit};
use crate::problem::ProblemDetails;
use crate::{Problem, freshness};

/// Events of one answer, unless it says.
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;

/// Says that nothing happens, so that nobody between takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// All categories
#[utoipa::path(
    operation_id = "list_categories",
    get, path = "/v1/categories", tag = "events",
    responses((status = 200, description = "All of them, by name", body = Vec<CategoryBody>)),
)]
pub async fn categories(State(handle): State<Handle>) -> Json<Vec<CategoryBody>> {
    Json(handle.categories().iter().map(|(category, info)| CategoryBody::of(category, info)).collect())
}

/// Look at a category
#[utoipa::path(
    get, path = "/v1/categories/{category}", tag = "events",
    params(("category" = String, Path)),
    responses(
        (status = 200, description = "It is there", body = CategoryBody),
        (status = 404, description = "No such category", body = ProblemDetails),
    ),
)]
pub async fn show_category(
    State(handle): State<Handle>,
    Path(name): Path<String>,
) -> Result<Json<CategoryBody>, Problem> {
    let category = category(&name)?;
    let known = handle.categories();
    let found = known.iter().find(|(known, _)| *known == category);
    let (category, info) = found.ok_or_else(|| Problem::from(events::ReadError::NoCategory(name)))?;
    Ok(Json(CategoryBody::of(category, info)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(rename_all = "camelCase")]
pub struct StreamParameters {
    /// The first version to read: 1 when reading forward, the newest when reading backward. `snapshot`: the stream's
    /// snapshot, and the events after it.
    #[param(value_type = Option<String>)]
    from: Option<From>,
    /// From which end
    #[param(inline, default = "forward")]
    direction: Option<Ordered>,
    /// At most so many events
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// true: events as they are recorded, whatever upcasters there are
    #[serde(default)]
    raw: bool,
    /// With `from=snapshot`: only a snapshot of this schema version; where there is none, all events
    schema_version: Option<u32>,
}

/// In which order events come.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Ordered {
    Forward,
    Backward,
}

/// Where to begin.
#[derive(Debug, Clone, Copy)]
enum From {
    Version(u64),
    Snapshot,
}

impl<'de> Deserialize<'de> for From {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<From, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "snapshot" => Ok(From::Snapshot),
            text => text.parse().map(From::Version).map_err(|_| {
                serde::de::Error::custom(format!("`from` is a version or `snapshot`, not `{text}`"))
            }),
        }
    }
}

/// Read a stream
#[utoipa::path(
    get, path = "/v1/streams/{category}/{stream}/events", tag = "events",
    params(
        ("category" = String, Path), ("stream" = String, Path), StreamParameters,
        ("Levada-Min-Position" = Option<String>, Header, description = "Be at least this fresh"),
        ("Levada-Wait" = Option<String>, Header, description = "How long to wait for that, such as 500ms; 2s is the default"),
        ("Levada-Consistency" = Option<String>, Header, description = "strong: as fresh as the log is now"),
    ),
    responses(
        (status = 200, description = "Events in the order of their versions", body = FoundBody,
            headers(("ETag" = String, description = "The stream's version"), ("Levada-Position" = String))),
        (status = 404, description = "No such category or stream", body = ProblemDetails),
        (status = 503, description = "Not as fresh as was asked for", body = ProblemDetails),
    ),
)]
pub async fn read_stream(
    State(handle): State<Handle>,
    Path((name, stream)): Path<(String, String)>,
    Query(parameters): Query<StreamParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let category = category(&name)?;
    let direction = match parameters.direction {
        None | Some(Ordered::Forward) => Direction::Forward,
        Some(Ordered::Backward) => Direction::Backward,
    };
    let limit = page(parameters.limit)?;
    let freshness = freshness::of(&headers)?;
    let handle = viewed(handle, parameters.raw);
    let loaded = match (parameters.from, direction) {
        (Some(From::Snapshot), Direction::Forward) => {
            let schema_version = parameters.schema_version;
            handle.load(&category, &stream, schema_version, limit, &freshness).await?
        }
        (Some(From::Snapshot), Direction::Backward) => {
            return Err(Problem::invalid("what comes after a snapshot is read forward"));
        }
        (from, _) => {
            let from = match (from, direction) {
                (Some(From::Version(version)), _) => version,
                (_, Direction::Forward) => 1,
                (_, Direction::Backward) => u64::MAX,
            };
            let found = handle.read_stream(&category, &stream, from, direction, limit, &freshness).await?;
            Loaded { snapshot: None, found }
        }
    };
    let version = loaded.found.version;
    let mut body = found_body(loaded.found, Some(version));
    body.snapshot = loaded.snapshot.map(|snapshot| SnapshotBody::of(&stream, snapshot));
    let mut response = answer(body);
    if let Ok(version) = etag(version).parse() {
        response.headers_mut().insert(header::ETAG, version);
    }
    Ok(response)
}

/// Read a category
///
/// Events of all streams, each partition's in the order of its log; there is no order over partitions. The answer's
/// position is where to go on. With `Accept: text/event-stream` it does so by itself: every event comes as a server-sent
/// event whose id is the position after it; after a break, `Last-Event-ID` goes on there.
#[utoipa::path(
    get, path = "/v1/categories/{category}/events", tag = "events",
    params(
        ("category" = String, Path),
        ("after" = Option<String>, Query, description = "A position; without one from the beginning. `end`: only what comes from now on"),
        ("limit" = Option<usize>, Query, description = "At most so many events", minimum = 1, maximum = 1000),
        ("type" = Option<Vec<String>>, Query, description = "Only events of one of these types; may be repeated"),
        ("tag" = Option<Vec<String>>, Query, description = "Only events that have all of these tags; may be repeated"),
        ("correlation" = Option<String>, Query, description = "Only events with this correlation id"),
        ("subject" = Option<String>, Query, description = "Only events with the data of this subject"),
        ("raw" = Option<bool>, Query, description = "true: events as they are recorded, whatever upcasters there are"),
        ("Accept" = Option<String>, Header, description = "text/event-stream: go on for ever"),
        ("Last-Event-ID" = Option<String>, Header, description = "Where a stream of events broke off"),
    ),
    responses(
        (status = 200, description = "Events", body = FoundBody, headers(("Levada-Position" = String))),
        (status = 404, description = "No such category", body = ProblemDetails),
    ),
)]
pub async fn read_category(
    State(handle): State<Handle>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    bounds: Option<Extension<Bounds>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let category = category(&name)?;
    let parameters = Parameters::parse(query.as_deref().unwrap_or_default())?;
    let freshness = freshness::of(&headers)?;
    let resumed = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let after = match resumed.or(parameters.after.as_deref()) {
        None => Position::default(),
        Some("end") => handle.end_of(&category)?,
        Some(text) => position(text)?,
    };
    let handle = viewed(handle, parameters.is_raw);
    let accepts = |kind: &str| {
        headers
            .get(header::ACCEPT)
            .and_then(|accept| accept.to_str().ok())
            .is_some_and(|it| it.contains(kind))
    };
    if accepts("text/event-stream") {
        let Extension(bounds) = bounds.unwrap_or_default();
        let live = live(handle, bounds, category, after, parameters.filter, freshness);
        return Ok(Sse::new(live).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response());
    }
    let limit = page(parameters.limit)?;
    let found = handle.read_category(&category, &after, &parameters.filter, limit, &freshness).await?;
    Ok(answer(found_body(found, None)))
}

/// Query a category
///
/// Events that match one of several selectors, such as an append's conditions speak of.
#[utoipa::path(
    operation_id = "query_category",
    post, path = "/v1/categories/{category}/query", tag = "events",
    params(("category" = String, Path)),
    request_body = QueryBody,
    responses(
        (status = 200, description = "Events", body = FoundBody, headers(("Levada-Position" = String))),
        (status = 404, description = "No such category", body = ProblemDetails),
    ),
)]
pub async fn query(
    State(handle): State<Handle>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(body): Body<QueryBody>,
) -> Result<Response, Problem> {
    let category = category(&name)?;
    let any_of = body.any_of.into_iter().map(SelectorBody::into_selector).collect();
    let filter = Filter { any_of, correlation: body.correlation_id, subject: None };
    let after = body.after.as_deref().map(position).transpose()?.unwrap_or_default();
    let limit = page(body.limit)?;
    let freshness = freshness::of(&headers)?;
    let handle = viewed(handle, body.raw);
    let found = handle.read_category(&category, &after, &filter, limit, &freshness).await?;
    Ok(answer(found_body(found, None)))
}

/// The store as events are asked for.
pub fn viewed(handle: Handle, is_raw: bool) -> Handle {
    if is_raw { handle.raw() } else { handle }
}

pub fn found_body(found: Found, version: Option<u64>) -> FoundBody {
    FoundBody {
        version,
        first: Some(found.first).filter(|first| *first > 1),
        snapshot: None,
        events: found.events.into_iter().map(RecordedBody::of).collect(),
        position: found.position.to_string(),
        end: found.is_end,
        incomplete: found.incomplete,
    }
}

/// How many events of one answer.
pub fn page(wanted: Option<usize>) -> Result<usize, Problem> {
    limit(wanted, LIMIT_DEFAULT, LIMIT_MAX)
}

pub fn answer(body: FoundBody) -> Response {
    ([(freshness::POSITION, body.position.clone())], Json(body)).into_response()
}

#[derive(Debug, Default)]
struct Parameters {
    after: Option<String>,
    limit: Option<usize>,
    is_raw: bool,
    filter: Filter,
}

impl Parameters {
    /// Parameters that may be repeated, which axum's `Query` does not read.
    fn parse(query: &str) -> Result<Parameters, Problem> {
        let pairs = form(query)?;
        let mut parameters = Parameters::default();
        let (mut types, mut tags) = (BTreeSet::new(), BTreeSet::new());
        for (name, value) in pairs {
            match name.as_str() {
                "after" => parameters.after = Some(value),
                "limit" => {
                    let number = value.parse().map_err(|_| Problem::invalid("`limit` is a whole number"))?;
                    parameters.limit = Some(number);
                }
                "raw" => {
                    let raw = value.parse().map_err(|_| Problem::invalid("`raw` is true or false"))?;
                    parameters.is_raw = raw;
                }
                "type" | "tag" if value.is_empty() => {
                    return Err(Problem::invalid(format!("`{name}` is empty: no event has such a one")));
                }
                "type" => drop(types.insert(value)),
                "tag" => drop(tags.insert(value)),
                "subject" => parameters.filter.subject = Some(value),
                "correlation" => parameters.filter.correlation = Some(value),
                other => return Err(Problem::invalid(format!("there is no parameter `{other}`"))),
            }
        }
        if !types.is_empty() || !tags.is_empty() {
            parameters.filter.any_of = vec![Selector { types, tags }];
        }
        Ok(parameters)
    }
}

fn form(query: &str) -> Result<Vec<(String, String)>, Problem> {
    serde_urlencoded::from_str(query).map_err(|error| Problem::invalid(error.to_string()))
}

/// Events as they come. Ends when the category cannot be read any more; whoever reads comes again with the last id.
fn live(
    handle: Handle,
    bounds: Bounds,
    category: Category,
    after: Position,
    filter: Filter,
    freshness: Freshness,
) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    let (events, stream) = tokio::sync::mpsc::channel(1);
    let handle = handle.in_pages(PAGE_BYTES);
    env::spawn(async move {
        let mut after = after;
        let mut freshness = freshness;
        loop {
            let read = || handle.read_category(&category, &after, &filter, PAGE_EVENTS, &freshness);
            let paged = tokio::select! {
                biased;
                () = events.closed() => return,
                paged = bounds.page(read, Found::size) => paged,
            };
            let (found, held) = match paged {
                Ok(paged) => paged,
                Err(error) => {
                    let problem = Problem::from(error);
                    let data = serde_json::to_string(problem.details()).unwrap_or_default();
                    let problem = Event::default().event("problem").data(data);
                    let _ = events.send((Ok(problem), Held::default())).await;
                    return;
                }
            };
            // Only the first read waits for what was asked for.
            freshness = Freshness::default();
            let mut seen = after.clone();
            for recorded in found.events {
                if let Some(partition) = partition_of(&found.position, recorded.partition) {
                    seen.merge(&Position::of(partition, recorded.offset.plus(1)));
                }
                let event = Event::default().event("event").id(seen.to_string());
                let data = serde_json::to_string(&RecordedBody::of(recorded)).unwrap_or_default();
                // Whoever takes nothing holds the room of others.
                let sending = events.send((Ok(event.data(data)), held.clone()));
                if !timeout(STUCK_MAX, sending).await.is_ok_and(|sent| sent.is_ok()) {
                    return;
                }
            }
            drop(held);
            after = found.position;
            if !found.is_end {
                continue;
            }
            tokio::select! {
                biased;
                () = events.closed() => return,
                added = handle.added(&category, &after) => if added.is_err() { return },
            }
        }
    });
    Parts::of(tokio_stream::wrappers::ReceiverStream::new(stream))
}

/// Events that are read at once for a stream of events.
const PAGE_EVENTS: usize = 256;

/// How long whoever reads a stream of events may take none of those that are there.
pub const STUCK_MAX: Duration = Duration::from_secs(60);

fn partition_of(position: &Position, index: i32) -> Option<model::PartitionId> {
    position.iter().map(|(partition, _)| partition).find(|partition| partition.index == index)
}
