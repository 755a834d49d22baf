//! The document that describes the API, and the page to try it.

use axum::Router;
use axum::http::header;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

const PAGE: &str = include_str!("docs.html");

#[derive(OpenApi)]
#[openapi(info(
    title = "Levada",
    description = "Event sourcing over Kafka topics. Errors are problem details (RFC 9457). Every answer carries \
                   `Levada-Position`; a read that sends it back as `Levada-Min-Position` is at least as fresh."
))]
struct Described;

pub fn empty() -> Document {
    Described::openapi()
}

/// Serves the document and the page.
pub fn routes(document: &Document) -> Router {
    let json = document.to_json().expect("the document is JSON");
    Router::new()
        .route(
            "/openapi.json",
            get(|| async move { ([(header::CONTENT_TYPE, "application/json")], json).into_response() }),
        )
        .route("/docs", get(|| async { Html(PAGE) }))
}
