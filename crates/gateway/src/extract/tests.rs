use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::Value;
use tonic::codegen::Service;

use super::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Asked {
    #[expect(dead_code, reason = "only whether it can be read counts")]
    stream: String,
    #[serde(default)]
    #[expect(dead_code, reason = "only whether it can be read counts")]
    parts: Vec<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    limit: Option<usize>,
    #[serde(default)]
    #[expect(dead_code, reason = "only whether it can be read counts")]
    raw: bool,
}

fn door() -> Router {
    Router::new()
        .route("/bodies", post(|Body(_): Body<Asked>| async { "read" }))
        .route("/kinds/{type}/{version}", get(|Path(_): Path<(String, u32)>| async { "read" }))
        .route(
            "/pages",
            get(|Query(parameters): Query<Parameters>| async move {
                limit(parameters.limit, 100, 1000).map(|limit| limit.to_string().into_response())
            }),
        )
}

async fn refused(request: axum::http::request::Builder, body: &'static str) -> (u16, String) {
    let answer = door().call(request.body(axum::body::Body::from(body)).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let content_type = answer.headers()[header::CONTENT_TYPE].clone();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    if status == 200 {
        return (status, String::from_utf8(body.to_vec()).unwrap());
    }
    assert_eq!(content_type, "application/problem+json");
    let problem: Value = serde_json::from_slice(&body).unwrap();
    (status, problem["detail"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_said_in_our_words() {
    let posted = || Request::post("/bodies").header(header::CONTENT_TYPE, "application/json");
    for (body, said) in [
        (r#"{"stream":"a"}"#, "read"),
        ("", "the body is empty: send JSON"),
        (r#"{"stream""#, "the body is no JSON: it ends too early"),
        ("{}", "`stream` is missing"),
        (r#"{"stream":"a","events":[]}"#, "there is no member `events`: there are `stream`, `parts`"),
        (r#"{"stream":5}"#, "stream: expected a text, and found the number 5"),
        (r#"{"stream":"a","parts":{}}"#, "parts: expected a list, and found an object"),
        (
            r#"{"stream":"a","parts":[1,"x"]}"#,
            r#"parts[1]: expected a whole number, 0 or more, and found the text "x""#,
        ),
        (r#"{"stream":"a","stream":"b"}"#, "`stream` is there twice"),
    ] {
        let (status, detail) = refused(posted(), body).await;
        assert!(detail.ends_with(said), "{body}: {detail}");
        assert_eq!(status == 200, said == "read", "{body}");
    }
    let (status, detail) = refused(Request::post("/bodies"), "{}").await;
    assert_eq!(status, 415);
    assert!(detail.contains("Content-Type: application/json"), "{detail}");
}

#[tokio::test]
async fn what_is_wrong_with_a_path_or_its_parameters_names_them() {
    for (path, said) in [
        ("/kinds/Placed/1", "read"),
        ("/kinds/Placed/x", "version in the path is a number, not `x`"),
        ("/kinds/%ff/1", "type in the path is no text in UTF-8"),
        ("/pages?limit=x", "`limit` is a whole number"),
        ("/pages?limit=0", "`limit` is 1 to 1000, not 0"),
        ("/pages?limit=1001", "`limit` is 1 to 1000, not 1001"),
        ("/pages?limit=1000", "1000"),
        ("/pages", "100"),
        ("/pages?raw=yes", "`raw` is true or false"),
        ("/pages?lmit=3", "there is no parameter `lmit`: there are `limit`, `raw`"),
    ] {
        assert_eq!(refused(Request::get(path), "").await.1, said, "{path}");
    }
}
