//! Other instances, asked over their HTTP door.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use events::{Append, AppendError, Appended, Category, Expected, Peer};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use tokio::time::timeout;

use super::shapes::{AppendBody, AppendedBody};

/// Says that whoever sends this has looked for the owner, and that it is to be here.
pub const FORWARDED: &str = "levada-forwarded";

/// The largest answer of an append that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How long another instance may take to begin its answer: longer than any of them waits for something.
const ANSWER_MAX: Duration = Duration::from_secs(75);

/// Why another instance gave no answer.
#[derive(Debug)]
pub enum NotPassedOn {
    /// It was not asked.
    Unreachable(String),
    Broken(String),
}

/// Asks other instances.
pub struct HttpPeer {
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Default for HttpPeer {
    fn default() -> HttpPeer {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        HttpPeer { client: Client::builder(TokioExecutor::new()).build(connector) }
    }
}

impl Peer for HttpPeer {
    fn append<'a>(
        &'a self,
        url: &'a str,
        category: &'a Category,
        append: &'a Append,
    ) -> Pin<Box<dyn Future<Output = Result<Appended, AppendError>> + Send + 'a>> {
        Box::pin(self.ask(url, category, append))
    }
}

/// As much of a problem as there must be to be the same error here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Told {
    #[serde(rename = "type")]
    kind: String,
    detail: String,
    stream: String,
    boundary: String,
    id: String,
    expected: String,
    current: u64,
    offset: i64,
    bytes: usize,
    max: usize,
    partition: i32,
    url: String,
}

impl HttpPeer {
    /// Has another instance answer a request.
    pub async fn pass_on(
        &self,
        url: &str,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response, NotPassedOn> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{url}{path}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(FORWARDED, "1")
            .body(Full::from(body))
            .map_err(|error| NotPassedOn::Broken(format!("{url} is no address: {error}")))?;
        match timeout(ANSWER_MAX, self.client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer.map(Body::new)),
            Ok(Err(error)) if error.is_connect() => {
                Err(NotPassedOn::Unreachable(format!("{url} cannot be reached: {error}")))
            }
            Ok(Err(error)) => Err(NotPassedOn::Broken(format!("{url} broke off: {error}"))),
            Err(_) => {
                Err(NotPassedOn::Broken(format!("{url} did not answer within {} s", ANSWER_MAX.as_secs())))
            }
        }
    }

    async fn ask(&self, url: &str, category: &Category, append: &Append) -> Result<Appended, AppendError> {
        let body = serde_json::to_vec(&AppendBody::of(append))
            .map_err(|error| AppendError::Invalid(error.to_string()))?;
        let request = Request::post(format!("{url}/v1/categories/{category}/append"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(FORWARDED, "1")
            .body(Full::from(body))
            .map_err(|error| AppendError::Unavailable(format!("{url} is no address: {error}")))?;
        let answer = self.client.request(request).await.map_err(|error| match error.is_connect() {
            true => AppendError::Unavailable(format!("{url} cannot be reached: {error}")),
            false => AppendError::InDoubt(format!("{url} broke off: {error}")),
        })?;
        let status = answer.status();
        let body = Limited::new(Body::new(answer.into_body()), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| AppendError::InDoubt(format!("{url} broke off: {error}")))?;
        read(url, status, &body.to_bytes())
    }
}

fn read(url: &str, status: StatusCode, body: &[u8]) -> Result<Appended, AppendError> {
    if status.is_success() {
        let appended: Result<AppendedBody, _> = serde_json::from_slice(body);
        return appended
            .ok()
            .and_then(|body| body.into_appended().ok())
            .ok_or_else(|| AppendError::InDoubt(format!("{url} answered with something unreadable")));
    }
    let told: Told = serde_json::from_slice(body).unwrap_or_default();
    Err(match told.kind.strip_prefix("urn:levada:problem:").unwrap_or_default() {
        "wrong-version" => AppendError::Version {
            stream: told.stream,
            expected: match told.expected.as_str() {
                "any" => Expected::Any,
                "none" => Expected::None,
                "exists" => Expected::Exists,
                version => Expected::Exactly(version.parse().unwrap_or(0)),
            },
            current: told.current,
        },
        "condition-failed" => AppendError::Condition { at: model::Offset(told.offset) },
        "wrong-boundary" => AppendError::Boundary { stream: told.stream, boundary: told.boundary },
        "id-taken" => AppendError::IdTaken { id: told.id, stream: told.stream },
        "too-large" if told.max > 0 => AppendError::TooLarge { bytes: told.bytes, max: told.max },
        "invalid-request" => AppendError::Invalid(told.detail),
        "not-found" => AppendError::NoCategory(told.detail),
        "elsewhere" => AppendError::Elsewhere { partition: told.partition, url: told.url },
        "halted" => AppendError::Halted(told.detail),
        "in-doubt" => AppendError::InDoubt(told.detail),
        "unavailable" => AppendError::Unavailable(told.detail),
        _ => AppendError::InDoubt(format!("{url} answered {status}")),
    })
}
