//! One instance of the event store, asked over HTTP.

use std::time::Duration;

use anyhow::{Context, bail};
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::output::note;

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Before events are asked for again when their stream broke off.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a place where an instance may be is given to answer.
const PROBE_MAX: Duration = Duration::from_secs(2);

pub struct Store {
    url: String,
    patience: Duration,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Store {
    pub fn at(url: &str, patience: Duration) -> Store {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Store { url: url.to_owned(), patience, client }
    }

    /// Whether Levada answers there at all.
    pub async fn is_levada(&self) -> bool {
        let Ok(address) = self.address("/healthz", &[]) else { return false };
        let Ok(request) = Request::get(address).body(Full::default()) else { return false };
        let asking = async {
            let response = self.client.request(request).await.ok()?;
            whole(response.map(Body::new)).await.ok()
        };
        timeout(PROBE_MAX, asking).await.ok().flatten().is_some_and(|body| &body[..] == b"ok\n")
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<T> {
        let request = Request::get(self.address(path, query)?).body(Full::default())?;
        self.ask(request).await
    }

    /// Puts something; whether it is new, and what was answered.
    pub async fn put(&self, path: &str, body: &Value) -> anyhow::Result<(bool, Value)> {
        let request = self.written("PUT", path, body.to_string())?;
        let response = self.answer(request).await?;
        let is_new = response.status() == StatusCode::CREATED;
        Ok((is_new, self.read(response).await?))
    }

    pub async fn send(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send_text(method, path, body.to_string()).await
    }

    pub async fn send_text(&self, method: &str, path: &str, body: String) -> anyhow::Result<Value> {
        self.ask(self.written(method, path, body)?).await
    }

    fn written(&self, method: &str, path: &str, body: String) -> anyhow::Result<Request<Full<Bytes>>> {
        let request = Request::builder()
            .method(method)
            .uri(self.address(path, &[])?)
            .header(header::CONTENT_TYPE, "application/json");
        Ok(request.body(Full::from(body))?)
    }

    /// Hands on the data and ids of server-sent events until `each` says that it is enough, and comes again where they
    /// broke off.
    pub async fn follow(
        &self,
        path: &str,
        query: &[(&str, String)],
        each: &mut impl FnMut(&str, &str) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let (mut last, mut was_there) = (None, false);
        loop {
            let mut request =
                Request::get(self.address(path, query)?).header(header::ACCEPT, "text/event-stream");
            if let Some(last) = &last {
                request = request.header("last-event-id", last);
            }
            let broken = match self.answer(request.body(Full::default())?).await {
                Ok(response) if response.status().is_success() => {
                    was_there = true;
                    match hand_on(response, &mut last, each).await? {
                        Some(broken) => broken,
                        None => return Ok(()),
                    }
                }
                // It was there before: it starts again, or its store is not open yet.
                Ok(response) if response.status() == StatusCode::SERVICE_UNAVAILABLE && was_there => {
                    refused(response).await.to_string()
                }
                Ok(response) => return Err(refused(response).await),
                Err(error) if !was_there => return Err(error),
                Err(error) => error.to_string(),
            };
            note(&format!("{broken}; trying again"));
            sleep(PAUSE).await;
        }
    }

    fn address(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<String> {
        let query = serde_urlencoded::to_string(query)?;
        let mark = if query.is_empty() { "" } else { "?" };
        Ok(format!("{}{path}{mark}{query}", self.url))
    }

    async fn ask<T: DeserializeOwned>(&self, request: Request<Full<Bytes>>) -> anyhow::Result<T> {
        let response = self.answer(request).await?;
        self.read(response).await
    }

    async fn read<T: DeserializeOwned>(&self, response: Response<Body>) -> anyhow::Result<T> {
        if !response.status().is_success() {
            return Err(refused(response).await);
        }
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(serde_json::from_str("null")?);
        }
        let body = timeout(self.patience, whole(response)).await.context("no whole answer in time")??;
        serde_json::from_slice(&body)
            .with_context(|| format!("{} did not answer with JSON: is it Levada?", self.url))
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Body>> {
        let asking = timeout(self.patience, self.client.request(request)).await;
        let asked = asking.with_context(|| format!("{} did not answer (--timeout)", self.url))?;
        let response = asked.with_context(|| {
            format!(
                "cannot reach {}: is Levada running there, with its event store? Name another with --url, or its broker \
                 with --bootstrap",
                self.url
            )
        })?;
        Ok(response.map(Body::new))
    }
}

async fn whole(response: Response<Body>) -> anyhow::Result<Bytes> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    Ok(body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?.to_bytes())
}

/// What a problem says.
async fn refused(response: Response<Body>) -> anyhow::Error {
    let status = response.status();
    let body = whole(response).await.unwrap_or_default();
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    match (problem["detail"].as_str(), problem["type"].as_str()) {
        (Some(detail), Some(kind)) => {
            let name = kind.rsplit(':').next().unwrap_or(kind);
            anyhow::anyhow!("{detail} ({name})")
        }
        _ => anyhow::anyhow!("it answered {status}"),
    }
}

/// Hands events on until the answer ends; why it did. None: it is enough.
async fn hand_on(
    response: Response<Body>,
    last: &mut Option<String>,
    each: &mut impl FnMut(&str, &str) -> anyhow::Result<bool>,
) -> anyhow::Result<Option<String>> {
    let mut body = response.into_body();
    let mut text = Vec::new();
    loop {
        let frame = match body.frame().await {
            None => return Ok(Some("the events ended".to_owned())),
            Some(Err(error)) => return Ok(Some(format!("the events broke off: {error}"))),
            Some(Ok(frame)) => frame,
        };
        text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..]));
        while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = text.drain(..end + 2).collect();
            let event = String::from_utf8_lossy(&event);
            let field = |name: &str| event.lines().find_map(|it| it.strip_prefix(name)).map(str::trim);
            let Some(data) = field("data:") else { continue };
            if field("event:") == Some("problem") {
                let problem: Value = serde_json::from_str(data).unwrap_or_default();
                bail!("{}", problem["detail"].as_str().unwrap_or(data));
            }
            let id = field("id:").unwrap_or_default();
            if !each(data, id)? {
                return Ok(None);
            }
            if !id.is_empty() {
                *last = Some(id.to_owned());
            }
        }
    }
}

/// A part of a path, whatever it contains.
pub fn segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
