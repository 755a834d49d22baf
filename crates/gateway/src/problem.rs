//! Errors as problem details (RFC 9457).

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// An error that becomes an answer.
#[derive(Debug, Clone)]
pub struct Problem {
    details: Box<ProblemDetails>,
    headers: Vec<(&'static str, String)>,
}

/// What is wrong, and what to do.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ProblemDetails {
    /// Which kind of problem, for programs: `urn:levada:problem:` and a name.
    #[serde(rename = "type")]
    #[schema(example = "urn:levada:problem:wrong-version")]
    pub kind: String,
    #[schema(example = "The stream has another version")]
    pub title: String,
    #[schema(example = 412)]
    pub status: u16,
    /// What happened, for people.
    pub detail: String,
    /// Facts for programs, by kind.
    #[serde(flatten)]
    #[schema(ignore)]
    pub facts: Map<String, Value>,
}

impl Problem {
    pub fn new(status: StatusCode, name: &str, title: &str, detail: impl Into<String>) -> Problem {
        let details = ProblemDetails {
            kind: format!("urn:levada:problem:{name}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            facts: Map::new(),
        };
        Problem { details: Box::new(details), headers: Vec::new() }
    }

    pub fn details(&self) -> &ProblemDetails {
        &self.details
    }

    pub fn with(mut self, fact: &str, value: impl Into<Value>) -> Problem {
        self.details.facts.insert(fact.to_owned(), value.into());
        self
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Problem {
        self.headers.push((name, value.into()));
        self
    }

    /// The request cannot be understood, or says what cannot be.
    pub fn invalid(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "invalid-request", "The request cannot be taken", detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not-found", "It is not there", detail)
    }

    /// Asking again later may help.
    pub fn unavailable(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not now", detail)
            .header("retry-after", "1")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.details.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(*name, value);
            }
        }
        let mut response = (status, headers, Json(self.details)).into_response();
        let content_type = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        response
    }
}
