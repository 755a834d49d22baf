//! Snapshots of streams.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use events::{Handle, NewSnapshot, Snapshot, SnapshotError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::category;
use super::shapes::{etag, payload, sealed, shown, time};
use crate::extract::{Body, Path, Query};
use crate::problem::ProblemDetails;
use crate::{Problem, freshness};

/// The state that a stream's events lead to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewSnapshotBody {
    /// Of the last event that it rests on.
    version: u64,
    /// Of the code that made it [default: 1]
    schema_version: Option<u32>,
    /// Any JSON.
    #[schema(value_type = Option<Object>)]
    data: Option<Box<RawValue>>,
    /// What is not JSON, in base64; with `contentType`.
    data_base64: Option<String>,
    content_type: Option<String>,
    /// Whose data it has: they are encrypted, and can be erased with the subject's key.
    subject: Option<String>,
    /// JSON pointers to what is personal in the data; without any, all is.
    #[serde(default)]
    personal: Vec<String>,
}

/// A snapshot that is kept.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotBody {
    pub stream: String,
    pub version: u64,
    pub schema_version: u32,
    /// When it was put.
    pub time: String,
    pub content_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
}

impl SnapshotBody {
    pub fn of(stream: &str, snapshot: Snapshot) -> SnapshotBody {
        let (data, data_base64) = shown(&snapshot.content_type, &snapshot.data);
        SnapshotBody {
            stream: stream.to_owned(),
            version: snapshot.version,
            schema_version: snapshot.schema_version,
            time: time(snapshot.time),
            content_type: snapshot.content_type,
            data,
            data_base64,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(rename_all = "camelCase")]
pub struct SnapshotParameters {
    /// Only a snapshot of this schema version
    schema_version: Option<u32>,
}

/// Keep a snapshot of a stream
///
/// In place of the one that there is, unless that one is of the same schema version and newer.
#[utoipa::path(
    put, path = "/v1/streams/{category}/{stream}/snapshot", tag = "events",
    params(("category" = String, Path), ("stream" = String, Path)),
    request_body = NewSnapshotBody,
    responses(
        (status = 204, description = "It is kept",
            headers(("ETag" = String, description = "Its version"), ("Levada-Position" = String))),
        (status = 404, description = "No such category or stream", body = ProblemDetails),
        (status = 409, description = "Newer than the stream (`current`), or older than what is there (`stored`)", body = ProblemDetails),
        (status = 413, description = "Larger than the topic takes", body = ProblemDetails),
    ),
)]
pub async fn put_snapshot(
    State(handle): State<Handle>,
    Path((name, stream)): Path<(String, String)>,
    headers: HeaderMap,
    Body(body): Body<NewSnapshotBody>,
) -> Result<Response, Problem> {
    let category = category(&name)?;
    let (content_type, data) = payload(body.content_type, body.data, body.data_base64)?;
    let schema_version = body.schema_version.unwrap_or(1);
    let sealed = sealed(body.subject, body.personal)?;
    let new = NewSnapshot { version: body.version, schema_version, content_type, data, sealed };
    let (put, position) = handle.put_snapshot(&category, &stream, new, &freshness::of(&headers)?).await?;
    Ok((StatusCode::NO_CONTENT, told(put.version, &position)).into_response())
}

/// Read a stream's snapshot
#[utoipa::path(
    get, path = "/v1/streams/{category}/{stream}/snapshot", tag = "events",
    params(
        ("category" = String, Path), ("stream" = String, Path), SnapshotParameters,
        ("Levada-Consistency" = Option<String>, Header, description = "strong: as fresh as the topic is now"),
    ),
    responses(
        (status = 200, description = "The newest one", body = SnapshotBody,
            headers(("ETag" = String, description = "Its version"), ("Levada-Position" = String))),
        (status = 404, description = "There is none, or one of another schema version: replay from the beginning", body = ProblemDetails),
    ),
)]
pub async fn get_snapshot(
    State(handle): State<Handle>,
    Path((name, stream)): Path<(String, String)>,
    Query(parameters): Query<SnapshotParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let category = category(&name)?;
    let snapshot = handle.snapshot(&category, &stream, &freshness::of(&headers)?).await?;
    let snapshot = snapshot.ok_or_else(|| none(&stream))?;
    let (stored, stored_version) = (snapshot.schema_version, snapshot.version);
    if let Some(wanted) = parameters.schema_version.filter(|wanted| *wanted != stored) {
        let detail = format!(
            "the snapshot of {stream} is of schema version {stored}, not {wanted}: read its events from the beginning"
        );
        let title = "The snapshot has another schema version";
        let problem = Problem::new(StatusCode::NOT_FOUND, "other-schema-version", title, detail);
        return Err(problem.with("schemaVersion", stored));
    }
    Ok((told(stored_version, &snapshot.position), Json(SnapshotBody::of(&stream, snapshot))).into_response())
}

/// Remove a stream's snapshot
#[utoipa::path(
    delete, path = "/v1/streams/{category}/{stream}/snapshot", tag = "events",
    params(("category" = String, Path), ("stream" = String, Path)),
    responses(
        (status = 204, description = "It is removed", headers(("Levada-Position" = String))),
        (status = 404, description = "There is none", body = ProblemDetails),
    ),
)]
pub async fn delete_snapshot(
    State(handle): State<Handle>,
    Path((name, stream)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let category = category(&name)?;
    match handle.drop_snapshot(&category, &stream).await? {
        Some(position) => {
            Ok((StatusCode::NO_CONTENT, [(freshness::POSITION, position.to_string())]).into_response())
        }
        None => Err(none(&stream)),
    }
}

fn none(stream: &str) -> Problem {
    Problem::not_found(format!("there is no snapshot of {stream}"))
}

fn told(version: u64, position: &client::Position) -> [(header::HeaderName, String); 2] {
    let name = header::HeaderName::from_static(freshness::POSITION);
    [(header::ETAG, etag(version)), (name, position.to_string())]
}

impl From<SnapshotError> for Problem {
    fn from(error: SnapshotError) -> Problem {
        let detail = error.to_string();
        let title = "The snapshot cannot be taken";
        match error {
            SnapshotError::Ahead { current, .. } => {
                Problem::new(StatusCode::CONFLICT, "snapshot-ahead", title, detail).with("current", current)
            }
            SnapshotError::Older { stored, .. } => {
                Problem::new(StatusCode::CONFLICT, "snapshot-older", title, detail).with("stored", stored)
            }
            SnapshotError::Invalid(_) => Problem::invalid(detail),
            SnapshotError::TooLarge(_) => {
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large", detail)
            }
            SnapshotError::Read(error) => error.into(),
        }
    }
}
