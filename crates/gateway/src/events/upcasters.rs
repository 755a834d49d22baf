//! Upcasters: how events of older schema versions are read.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use events::Handle;
use events::upcast::Upcaster;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::extract::{Body, Path};
use crate::problem::ProblemDetails;
use crate::{Problem, freshness};

/// Lifts events of a type and schema version to the next one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewUpcasterBody {
    /// JSON Patch (RFC 6902)
    #[serde(default)]
    #[schema(example = json!([{"op": "move", "from": "/sum", "path": "/total"}]))]
    patch: Vec<Value>,
    /// Members that are added where they are absent, in objects within, too
    #[schema(value_type = Option<Object>)]
    defaults: Option<Value>,
    /// The type that the event has then
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Data on which it is tried first
    #[schema(value_type = Option<Object>)]
    example: Option<Value>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpcasterBody {
    #[serde(rename = "type")]
    kind: String,
    from_version: u32,
    #[schema(value_type = Vec<Object>)]
    patch: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    #[schema(value_type = Option<Object>)]
    defaults: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_type: Option<String>,
}

/// What an upcaster has made of its example.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriedBody {
    #[serde(rename = "type")]
    kind: String,
    schema_version: u32,
    #[schema(value_type = Object)]
    data: Value,
}

/// All upcasters
#[utoipa::path(
    operation_id = "list_upcasters",
    get, path = "/v1/upcasters", tag = "events",
    responses((status = 200, description = "By type and version", body = Vec<UpcasterBody>)),
)]
pub async fn upcasters(
    State(handle): State<Handle>,
    headers: HeaderMap,
) -> Result<Json<Vec<UpcasterBody>>, Problem> {
    let body = |((kind, from_version), upcaster): ((String, u32), Upcaster)| UpcasterBody {
        kind,
        from_version,
        patch: serde_json::to_value(&upcaster.patch).unwrap_or_default(),
        defaults: upcaster.defaults,
        new_type: upcaster.kind,
    };
    let all = handle.upcasters(&freshness::of(&headers)?).await?;
    Ok(Json(all.into_iter().map(body).collect()))
}

/// Set an upcaster
///
/// From now on, events of the type and schema version are read as of the next one, from every door, unless they are asked
/// for `raw`. The log is not rewritten.
#[utoipa::path(
    put, path = "/v1/upcasters/{type}/{fromVersion}", tag = "events",
    params(("type" = String, Path), ("fromVersion" = u32, Path)),
    request_body = NewUpcasterBody,
    responses(
        (status = 200, description = "It is set; this is what it makes of the example", body = TriedBody, headers(("Levada-Position" = String))),
        (status = 204, description = "It is set", headers(("Levada-Position" = String))),
        (status = 400, description = "It is malformed, or cannot be applied to the example", body = ProblemDetails),
    ),
)]
pub async fn put_upcaster(
    State(handle): State<Handle>,
    Path((kind, from)): Path<(String, u32)>,
    Body(body): Body<NewUpcasterBody>,
) -> Result<Response, Problem> {
    let patch = serde_json::from_value(Value::Array(body.patch));
    let patch = patch.map_err(|error| Problem::invalid(format!("`patch` is no JSON Patch: {error}")))?;
    let upcaster = Upcaster { patch, defaults: body.defaults.unwrap_or_default(), kind: body.kind };
    let (tried, position) = handle.put_upcaster(&kind, from, &upcaster, body.example).await?;
    let position = [(freshness::POSITION, position.to_string())];
    match tried {
        None => Ok((StatusCode::NO_CONTENT, position).into_response()),
        Some(tried) => {
            let events::Tried { kind, schema_version, data } = tried;
            Ok((position, Json(TriedBody { kind, schema_version, data })).into_response())
        }
    }
}

/// Remove an upcaster
#[utoipa::path(
    delete, path = "/v1/upcasters/{type}/{fromVersion}", tag = "events",
    params(("type" = String, Path), ("fromVersion" = u32, Path)),
    responses(
        (status = 204, description = "It is removed", headers(("Levada-Position" = String))),
        (status = 404, description = "There is none", body = ProblemDetails),
    ),
)]
pub async fn delete_upcaster(
    State(handle): State<Handle>,
    Path((kind, from)): Path<(String, u32)>,
) -> Result<Response, Problem> {
    match handle.drop_upcaster(&kind, from).await? {
        Some(position) => {
            Ok((StatusCode::NO_CONTENT, [(freshness::POSITION, position.to_string())]).into_response())
        }
        None => Err(Problem::not_found(format!("there is no upcaster of {kind} from version {from}"))),
    }
}
