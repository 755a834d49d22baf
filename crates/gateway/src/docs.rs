//! The document that describes the API, and the page to try it: Swagger UI, which is in the binary.

mod examples;
mod problems;

use axum::Router;
use axum::http::header;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

const PAGE: &str = include_str!("docs.html");
const START: &str = include_str!("docs.js");

/// As `scripts/vendor-swagger-ui` has packed them.
const VIEWER: &[u8] = include_bytes!("../vendor/swagger-ui/swagger-ui-bundle.js.gz");
const VIEWER_STYLE: &[u8] = include_bytes!("../vendor/swagger-ui/swagger-ui.css.gz");

const EVENTS_PROTO: &str = include_str!("../proto/levada/events/v1/events.proto");
const LIFECYCLE_PROTO: &str = include_str!("../proto/levada/events/v1/lifecycle.proto");

/// What the page may load: only what this door serves. Swagger UI sets styles itself.
const PAGE_POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                           frame-ancestors 'none'";

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

#[derive(OpenApi)]
#[openapi(servers((url = "/", description = "The instance that this document comes from")), info(
    title = "Levada",
    description = "Event sourcing over Kafka topics. Errors are problem details (RFC 9457). Every answer carries \
                   `Levada-Position`; a read that sends it back as `Levada-Min-Position` is at least as fresh. The same \
                   over gRPC: [events.proto](/events.proto), [lifecycle.proto](/lifecycle.proto)."
))]
struct Described;

pub fn empty() -> Document {
    Described::openapi()
}

/// Serves the document, the page, and what gRPC clients are made from.
pub fn routes(document: &Document) -> Router {
    let mut document = serde_json::to_value(document).expect("the document is JSON");
    examples::fill(&mut document);
    problems::fill(&mut document);
    let json = document.to_string();
    let typed = |content_type: &'static str, text: &'static str| async move {
        ([(header::CONTENT_TYPE, content_type)], text).into_response()
    };
    Router::new()
        .route(
            "/openapi.json",
            get(|| async move { ([(header::CONTENT_TYPE, "application/json")], json).into_response() }),
        )
        .route("/", get(|| async { Redirect::temporary("/docs") }))
        .route("/docs", get(|| async { ([(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(PAGE)) }))
        .route("/docs/start.js", get(move || typed(JAVASCRIPT, START)))
        .route("/docs/swagger-ui-bundle.js", get(|| async { packed(JAVASCRIPT, VIEWER) }))
        .route("/docs/swagger-ui.css", get(|| async { packed("text/css; charset=utf-8", VIEWER_STYLE) }))
        .route("/events.proto", get(move || typed(PLAIN, EVENTS_PROTO)))
        .route("/lifecycle.proto", get(move || typed(PLAIN, LIFECYCLE_PROTO)))
}

/// Every browser unpacks it.
fn packed(content_type: &'static str, bytes: &'static [u8]) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_ENCODING, "gzip"),
        (header::CACHE_CONTROL, "max-age=3600"),
    ];
    (headers, bytes).into_response()
}
