//! The HTTP door: metrics, and the two questions that supervisors ask.
//!
//! ```text
//! GET /metrics   200, OpenMetrics text
//! GET /healthz   200 as long as the process answers
//! GET /readyz    200 when it serves Kafka, and what somebody should look after; else 503 and why not
//! ```

mod bounded;
mod door;
mod streams;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

pub use door::{CONNECTIONS_MAX, Door, Limits};

/// Whether the process can do its work now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// It can, but not all of it.
    ReadyExcept(String),
    NotYet(String),
}

/// OpenMetrics text, as of now.
pub type Metrics = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = String> + Send>> + Send + Sync>;

/// What the door shows.
#[derive(Clone)]
pub struct Parts {
    pub metrics: Metrics,
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
}

pub fn router(parts: Parts) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .layer(from_fn(gateway::tell_route))
        .with_state(parts)
}

async fn metrics(State(parts): State<Parts>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], (parts.metrics)().await).into_response()
}

async fn ready(State(parts): State<Parts>) -> Response {
    match (parts.readiness)() {
        Readiness::Ready => "ready\n".into_response(),
        Readiness::ReadyExcept(what) => format!("ready, except: {what}\n").into_response(),
        Readiness::NotYet(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests;
