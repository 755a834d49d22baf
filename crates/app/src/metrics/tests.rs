use axum::http::HeaderValue;
use axum::routing::{get, post};
use axum::{Router, middleware};
use http_body_util::Full;
use tower::ServiceExt;

use super::*;

fn own() -> Arc<Own> {
    Own::new(std::env::temp_dir(), false)
}

#[tokio::test]
async fn requests_are_counted_by_the_routes_template_whatever_stands_in_the_path() {
    let own = own();
    let router = Router::new()
        .route("/v1/streams/{stream}", get(|| async { "an event" }))
        .route("/v1/streams/{stream}/bad", post(|| async { StatusCode::CONFLICT }))
        .layer(middleware::from_fn(gateway::tell_route))
        .fallback(|| async { StatusCode::NOT_FOUND });
    let asked = [
        ("GET", "/v1/streams/order-1"),
        ("GET", "/v1/streams/order-2"),
        ("POST", "/v1/streams/order-1/bad"),
        ("GET", "/a/guess"),
        ("GET", "/another"),
        ("GUESS", "/v1/streams/order-1"),
    ];
    for (method, path) in asked {
        let request = axum::http::Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let method = request.method().clone();
        let response = router.clone().oneshot(request).await.unwrap();
        own.answered(&method, &response, Duration::from_millis(3));
    }
    let text = own.text().await;
    let total = |labels: &str| format!("levada_http_requests_total{{{labels}}}");
    for (labels, count) in [
        ("route=\"/v1/streams/{stream}\",method=\"GET\",status=\"2xx\"", 2),
        ("route=\"/v1/streams/{stream}/bad\",method=\"POST\",status=\"4xx\"", 1),
        ("route=\"(other)\",method=\"GET\",status=\"4xx\"", 2),
        ("route=\"/v1/streams/{stream}\",method=\"(other)\",status=\"4xx\"", 1),
    ] {
        assert!(text.contains(&format!("{} {count}\n", total(labels))), "{labels}: {text}");
    }
    assert!(!text.contains("order-1") && !text.contains("guess"), "{text}");
    let took = "levada_http_request_latency_seconds_sum{route=\"/v1/streams/{stream}\",method=\"GET\"} 0.006";
    assert!(text.contains(took), "{text}");
}

#[tokio::test]
async fn calls_are_counted_by_the_code_that_they_end_with_wherever_it_stands() {
    let own = own();
    let answer = |code: Option<&'static str>, body: Body| {
        let mut response = Response::new(body);
        if let Some(code) = code {
            response.headers_mut().insert("grpc-status", HeaderValue::from_static(code));
        }
        response
    };
    let trailers = |code: &'static str| {
        let headers =
            HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static(code))]);
        Full::new(bytes::Bytes::from_static(b"a message")).with_trailers(async move { Some(Ok(headers)) })
    };
    let path = "/levada.events.v1.Events/Append";
    // At once; behind the messages; never, because whoever called went away.
    own.called(path, answer(Some("5"), Body::empty()), Duration::ZERO);
    for code in ["0", "14", "99"] {
        let response = own.called(path, answer(None, Body::new(trailers(code))), Duration::ZERO);
        response.into_body().collect().await.unwrap();
    }
    drop(own.called(path, answer(None, Body::from("a message")), Duration::ZERO));
    own.called("/levada.events.v1.Events/Guess", answer(Some("12"), Body::empty()), Duration::ZERO);
    let text = own.text().await;
    let called = |method: &str, code: &str| {
        format!("levada_grpc_requests_total{{method=\"{method}\",code=\"{code}\"}} 1\n")
    };
    for code in ["OK", "NOT_FOUND", "UNAVAILABLE", "UNKNOWN", "CANCELLED"] {
        assert!(text.contains(&called(&path[1..], code)), "{code}: {text}");
    }
    assert!(text.contains(&called("(other)", "UNIMPLEMENTED")) && !text.contains("Guess"), "{text}");
    let count = "levada_grpc_request_latency_seconds_count{method=\"levada.events.v1.Events/Append\"} 5\n";
    assert!(text.contains(count), "{text}");
}
