//! Truncation of streams, their archive, and trimming of a category's log.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use events::{Handle, TruncateError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::category;
use super::read::{answer, found_body, page, viewed};
use super::shapes::FoundBody;
use crate::extract::{Body, Path, Query};
use crate::problem::ProblemDetails;
use crate::{Problem, freshness};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TruncateBody {
    /// The first version that is still read. At most the stream's version and one: then nothing is.
    before: u64,
    /// Copy the events into the category's archive first.
    #[serde(default)]
    archive: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TruncatedBody {
    /// The first version that is read now.
    first: u64,
    /// The stream's version, which goes on counting.
    version: u64,
    /// Events that were copied into the archive.
    archived: u64,
    /// Whoever reads at least this fresh does not see what was truncated.
    position: String,
}

/// Truncate a stream
///
/// Events below a version are not read any more, and match no condition; their ids stay used. The log is not rewritten:
/// `trim` frees its space.
#[utoipa::path(
    operation_id = "truncate_stream",
    post, path = "/v1/streams/{category}/{stream}/truncate", tag = "events",
    params(("category" = String, Path), ("stream" = String, Path)),
    request_body = TruncateBody,
    responses(
        (status = 200, description = "They are not read any more", body = TruncatedBody, headers(("Levada-Position" = String))),
        (status = 404, description = "No such category or stream", body = ProblemDetails),
        (status = 409, description = "Beyond the stream's version: `current`", body = ProblemDetails),
        (status = 503, description = "No owner just now, or in doubt: ask again", body = ProblemDetails),
    ),
)]
pub async fn truncate(
    State(handle): State<Handle>,
    Path((name, stream)): Path<(String, String)>,
    headers: HeaderMap,
    Body(body): Body<TruncateBody>,
) -> Result<Response, Problem> {
    let category = category(&name)?;
    let TruncateBody { before, archive } = body;
    let freshness = freshness::of(&headers)?;
    let truncated = handle.truncate(&category, &stream, before, archive, &freshness).await?;
    let position = truncated.position.to_string();
    let body = TruncatedBody {
        first: truncated.first,
        version: truncated.version,
        archived: truncated.archived,
        position: position.clone(),
    };
    Ok(([(freshness::POSITION, position)], Json(body)).into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ArchiveParameters {
    /// The first version to read [default: 1]
    from: Option<u64>,
    /// At most so many events
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// true: events as they are recorded, whatever upcasters there are
    #[serde(default)]
    raw: bool,
}

/// Read a stream's archive
///
/// What was truncated with `archive`. The partition of the archive's topic is read through: this is slow.
#[utoipa::path(
    get, path = "/v1/streams/{category}/{stream}/archive", tag = "events",
    params(("category" = String, Path), ("stream" = String, Path), ArchiveParameters),
    responses(
        (status = 200, description = "Events in the order of their versions", body = FoundBody),
        (status = 404, description = "No such category, stream or archive", body = ProblemDetails),
    ),
)]
pub async fn read_archive(
    State(handle): State<Handle>,
    Path((name, stream)): Path<(String, String)>,
    Query(parameters): Query<ArchiveParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let category = category(&name)?;
    let (from, limit) = (parameters.from.unwrap_or(1), page(parameters.limit)?);
    let freshness = freshness::of(&headers)?;
    let handle = viewed(handle, parameters.raw);
    let found = handle.archived(&category, &stream, from, limit, &freshness).await?;
    let version = found.version;
    Ok(answer(found_body(found, Some(version))))
}

/// Where a partition's log begins.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrimmedBody {
    partition: i32,
    start_before: i64,
    start: i64,
}

/// Trim a category's log
///
/// Deletes each partition's records up to the first one that is still needed: truncated events, marks and claims that
/// newer ones have made superfluous. What comes after a record that is needed stays, whatever it is.
#[utoipa::path(
    operation_id = "trim_category",
    post, path = "/v1/categories/{category}/trim", tag = "events",
    params(("category" = String, Path)),
    responses(
        (status = 200, description = "Where each partition begins", body = Vec<TrimmedBody>),
        (status = 404, description = "No such category", body = ProblemDetails),
    ),
)]
pub async fn trim(
    State(handle): State<Handle>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Vec<TrimmedBody>>, Problem> {
    let category = category(&name)?;
    let trimmed = handle.trim(&category, &freshness::of(&headers)?).await?;
    let body = |part: events::TrimmedPartition| TrimmedBody {
        partition: part.partition,
        start_before: part.start_before.0,
        start: part.start.0,
    };
    Ok(Json(trimmed.into_iter().map(body).collect()))
}

impl From<TruncateError> for Problem {
    fn from(error: TruncateError) -> Problem {
        let detail = error.to_string();
        match error {
            TruncateError::Beyond { current, .. } => {
                let title = "The stream is not that long";
                Problem::new(StatusCode::CONFLICT, "beyond-the-end", title, detail).with("current", current)
            }
            TruncateError::Read(error) => error.into(),
            TruncateError::Append(error) => error.into(),
        }
    }
}
