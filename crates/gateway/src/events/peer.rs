//! Other instances: asked over their HTTP door, and believed when they ask here, both only with a proof
//! ([`events::peers`]).

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use events::peers::{Asked, NotProven, Peers, Proof};
use events::{Append, AppendError, Appended, Category, Expected, Handle, Peer, TableError};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::ToSchema;

use super::BODY_BYTES_MAX;
use super::shapes::{AppendBody, AppendedBody};
use crate::Problem;

/// The signature of a request that another instance makes: it has looked for the owner, and that is to be here.
pub const PEER: &str = "levada-peer";

/// What proves the answer to it.
const PEER_ANSWER: &str = "levada-peer-answer";

/// The largest answer of an append that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How long another instance may take to begin its answer: longer than any of them waits for something.
const ANSWER_MAX: Duration = Duration::from_secs(75);

/// Why another instance gave no answer.
#[derive(Debug)]
pub enum NotPassedOn {
    /// It was not asked, or did not take the proof.
    Unreachable(String),
    Broken(String),
}

/// On a request that another instance of this system has signed for this one.
#[derive(Debug, Clone)]
pub struct Proven(Proof);

impl Proven {
    pub fn is(extensions: &Extensions) -> bool {
        extensions.get::<Proven>().is_some()
    }
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
        peers: &'a Peers,
        url: &'a str,
        category: &'a Category,
        append: &'a Append,
    ) -> Pin<Box<dyn Future<Output = Result<Appended, AppendError>> + Send + 'a>> {
        Box::pin(self.ask(peers, url, category, append))
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
        peers: &Peers,
        url: &str,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response, NotPassedOn> {
        match timeout(ANSWER_MAX, self.send(peers, url, method, path, body)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                Err(NotPassedOn::Broken(format!("{url} did not answer within {} s", ANSWER_MAX.as_secs())))
            }
        }
    }

    /// Signs a request, and believes an answer that is signed, too.
    async fn send(
        &self,
        peers: &Peers,
        url: &str,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response, NotPassedOn> {
        let asked = Asked { to: url, method: method.as_str(), path, body: &body };
        let unsigned =
            |error: TableError| NotPassedOn::Unreachable(format!("{url} cannot be asked: {error}"));
        let proof = peers.sign(&asked).await.map_err(unsigned)?;
        let request = Request::builder()
            .method(method)
            .uri(format!("{url}{path}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(PEER, proof.to_string())
            .body(Full::from(body))
            .map_err(|error| NotPassedOn::Unreachable(format!("{url} is no address: {error}")))?;
        let answer = self.client.request(request).await.map_err(|error| match error.is_connect() {
            true => NotPassedOn::Unreachable(format!("{url} cannot be reached: {error}")),
            false => NotPassedOn::Broken(format!("{url} broke off: {error}")),
        })?;
        believe(peers, &proof, url, answer.status(), answer.headers()).await?;
        Ok(answer.map(Body::new))
    }

    async fn ask(
        &self,
        peers: &Peers,
        url: &str,
        category: &Category,
        append: &Append,
    ) -> Result<Appended, AppendError> {
        let body = serde_json::to_vec(&AppendBody::of(append))
            .map_err(|error| AppendError::Invalid(error.to_string()))?;
        let path = format!("/v1/categories/{category}/append");
        let answer = self.send(peers, url, Method::POST, &path, body.into()).await;
        let answer = answer.map_err(|error| match error {
            NotPassedOn::Unreachable(why) => AppendError::Unavailable(why),
            NotPassedOn::Broken(why) => AppendError::InDoubt(why),
        })?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| AppendError::InDoubt(format!("{url} broke off: {error}")))?;
        read(url, status, &body.to_bytes())
    }
}

/// Whether an answer came from an instance of this system.
pub async fn believe(
    peers: &Peers,
    proof: &Proof,
    url: &str,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<(), NotPassedOn> {
    // It has refused the proof, and done nothing. Whoever it is, the next try is signed with what is known then.
    if status == StatusCode::UNAUTHORIZED {
        return Err(NotPassedOn::Unreachable(format!("{url} does not believe this instance")));
    }
    let Some(mac) = headers.get(PEER_ANSWER).and_then(|mac| mac.to_str().ok()) else {
        return Err(NotPassedOn::Broken(format!(
            "{url} does not prove that it is an instance of this system"
        )));
    };
    peers
        .check_answer(proof, status.as_u16(), mac)
        .await
        .map_err(|error| NotPassedOn::Broken(format!("{url} is not believed: {error}")))
}

/// Believes whoever proves to be an instance, refuses whoever tries and does not, and proves the answer.
pub async fn prove(State(handle): State<Handle>, request: Request, next: Next) -> Response {
    if !request.headers().contains_key(PEER) {
        return next.run(request).await;
    }
    let (request, proven) = match proven(&handle, request).await {
        Ok(proven) => proven,
        Err(refused) => return refused.into_response(),
    };
    answered(&handle, &proven, next.run(request).await).await
}

/// A request with [`Proven`], once its signature was checked.
pub async fn proven(handle: &Handle, request: Request) -> Result<(Request, Proven), Problem> {
    let refuse = |error: NotProven| {
        let title = "It is not proven that an instance of this system asks";
        match error {
            NotProven::Unavailable(_) | NotProven::TooMany => Problem::unavailable(error.to_string()),
            _ => Problem::new(StatusCode::UNAUTHORIZED, "unproven", title, error.to_string()),
        }
    };
    let text = request.headers().get(PEER).and_then(|text| text.to_str().ok()).unwrap_or_default();
    let proof: Proof = text.parse().map_err(refuse)?;
    handle.peers().check_sender(&proof).await.map_err(refuse)?;
    let (mut parts, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let body =
        body.map_err(|error| Problem::invalid(format!("the body cannot be read: {error}")))?.to_bytes();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let asked = Asked { to: handle.url(), method: parts.method.as_str(), path, body: &body };
    handle.peers().check(&proof, &asked).await.map_err(refuse)?;
    // The same append again appends nothing.
    if !parts.uri.path().ends_with("/append") {
        handle.peers().once(&proof).map_err(refuse)?;
    }
    let proven = Proven(proof);
    parts.extensions.insert(proven.clone());
    Ok((Request::from_parts(parts, Body::from(body)), proven))
}

/// Adds the proof to an answer.
pub async fn answered(handle: &Handle, Proven(proof): &Proven, mut response: Response) -> Response {
    match handle.peers().sign_answer(proof, response.status().as_u16()).await {
        Ok(mac) => {
            let mac = mac.parse().expect("base64 is a header's value");
            response.headers_mut().insert(PEER_ANSWER, mac);
            response
        }
        // The key was replaced meanwhile: whoever asked does not believe the answer, and asks again.
        Err(_) => response,
    }
}

/// The key that instances sign with now.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerKeyBody {
    key_id: String,
}

/// Make a new key for what instances ask each other
///
/// It takes the place of those that there were. Instances take it over by themselves.
#[utoipa::path(
    post, path = "/v1/peer-key/rotate", tag = "instances",
    responses((status = 200, description = "The new key's id", body = PeerKeyBody)),
)]
pub async fn rotate_key(State(handle): State<Handle>) -> Result<Json<PeerKeyBody>, Problem> {
    let rotated = handle.peers().rotate().await;
    let key_id = rotated.map_err(|error| Problem::unavailable(error.to_string()))?;
    Ok(Json(PeerKeyBody { key_id }))
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
