//! Erasure of a subject's personal data.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use client::Position;
use events::{Certificate, EraseError, Handle};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::shapes::fixed;
use crate::extract::{Body, Path, Query, limit};
use crate::problem::ProblemDetails;
use crate::{Problem, freshness};

/// Certificates that are shown at once where nobody says how many.
const ERASURES_DEFAULT: usize = 100;
const ERASURES_MAX: usize = 1000;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EraseBody {
    /// Why, for the certificate. It is kept for ever, and is not to name anybody.
    #[schema(example = "request 4711")]
    reason: String,
}

/// Says that a subject's data cannot be decrypted any more.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateBody {
    subject_sha256: String,
    key_ids: Vec<String>,
    erased_at: String,
    /// When the topic does not have the keys any more, at the latest.
    keys_gone_by: String,
    reason: String,
    /// Events with the subject's data, by category.
    events: BTreeMap<String, u64>,
    /// Snapshots that were removed.
    snapshots: u64,
    /// Partitions of which nothing is read beyond some offset: what is behind it was erased, too, and is not counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<String>,
}

impl CertificateBody {
    fn of(certificate: Certificate) -> CertificateBody {
        CertificateBody {
            subject_sha256: certificate.subject_sha256,
            key_ids: certificate.key_ids,
            erased_at: fixed(&certificate.erased_at),
            keys_gone_by: fixed(&certificate.keys_gone_by),
            reason: certificate.reason,
            events: certificate.events,
            snapshots: certificate.snapshots,
            incomplete: certificate.incomplete,
        }
    }
}

/// Erase a subject's data
///
/// Its keys are destroyed, so that what was encrypted with them is read as null, here and by everybody. The same again gives
/// the same certificate. A later event with the subject's data gets a new key.
#[utoipa::path(
    operation_id = "erase_subject",
    post, path = "/v1/erasure/{subject}", tag = "events",
    params(("subject" = String, Path)),
    request_body = EraseBody,
    responses(
        (status = 200, description = "Erased", body = CertificateBody, headers(("Levada-Position" = String))),
        (status = 404, description = "There are no data of that subject", body = ProblemDetails),
        (status = 503, description = "Not now, or in doubt: ask again", body = ProblemDetails),
    ),
)]
pub async fn erase(
    State(handle): State<Handle>,
    Path(subject): Path<String>,
    Body(body): Body<EraseBody>,
) -> Result<Response, Problem> {
    let (certificate, position) = handle.erase(&subject, &body.reason).await?;
    let position = [(freshness::POSITION, position.to_string())];
    Ok((position, Json(CertificateBody::of(certificate))).into_response())
}

/// Certificates of a subject's erasures
#[utoipa::path(
    operation_id = "list_subject_certificates",
    get, path = "/v1/erasure/{subject}", tag = "events",
    params(("subject" = String, Path)),
    responses(
        (status = 200, description = "The oldest first", body = Vec<CertificateBody>),
        (status = 404, description = "It was not erased", body = ProblemDetails),
    ),
)]
pub async fn certificates(
    State(handle): State<Handle>,
    Path(subject): Path<String>,
) -> Result<Json<Vec<CertificateBody>>, Problem> {
    let found = handle.certificates(&subject).await?;
    if found.is_empty() {
        return Err(Problem::not_found("that subject was not erased"));
    }
    Ok(Json(found.into_iter().map(CertificateBody::of).collect()))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ErasuresParameters {
    /// After this position, which an answer before has given
    after: Option<String>,
    /// At most so many
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

/// Certificates of all subjects.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErasuresBody {
    certificates: Vec<CertificateBody>,
    /// To go on from.
    position: String,
    /// There are no more.
    end: bool,
}

/// Certificates of all erasures
///
/// Of each subject the oldest first; over subjects there is no order. Subjects are told by their SHA-256 only.
#[utoipa::path(
    operation_id = "list_certificates",
    get, path = "/v1/erasures", tag = "events",
    params(ErasuresParameters),
    responses(
        (status = 200, description = "All, page by page", body = ErasuresBody),
        (status = 400, description = "No position, or more than one answer may have", body = ProblemDetails),
    ),
)]
pub async fn all_certificates(
    State(handle): State<Handle>,
    Query(parameters): Query<ErasuresParameters>,
) -> Result<Json<ErasuresBody>, Problem> {
    let after = parameters.after.map(|text| text.parse::<Position>()).transpose();
    let after = after.map_err(|error| Problem::invalid(format!("`after`: {error}")))?.unwrap_or_default();
    let limit = limit(parameters.limit, ERASURES_DEFAULT, ERASURES_MAX)?;
    let (certificates, position, end) = handle.all_certificates(&after, limit).await?;
    let certificates = certificates.into_iter().map(CertificateBody::of).collect();
    Ok(Json(ErasuresBody { certificates, position: position.to_string(), end }))
}

impl From<EraseError> for Problem {
    fn from(error: EraseError) -> Problem {
        let detail = error.to_string();
        match error {
            EraseError::NoSubject => Problem::not_found(detail),
            EraseError::Key(_) => Problem::unavailable(detail),
            EraseError::Read(error) => error.into(),
            EraseError::Append(error) => error.into(),
        }
    }
}
