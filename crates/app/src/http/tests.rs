//! The door, asked over a real socket.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[expect(clippy::disallowed_methods, reason = "the test itself is the outside")]
async fn ask(path: &str, readiness: Readiness) -> String {
    let parts = Parts {
        metrics: Arc::new(|| Box::pin(async { "levada_requests_total 7\n# EOF\n".to_owned() })),
        readiness: Arc::new(move || readiness.clone()),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(Door::new(listener), router(parts)).await });
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: levada\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    server.abort();
    answer
}

#[tokio::test]
async fn metrics_are_openmetrics() {
    let answer = ask("/metrics", Readiness::Ready).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("application/openmetrics-text"), "{answer}");
    assert!(answer.contains("levada_requests_total 7") && answer.contains("# EOF"), "{answer}");
}

#[tokio::test]
async fn health_and_readiness_are_two_questions() {
    let not_yet = Readiness::NotYet("recovering".to_owned());
    assert!(ask("/healthz", not_yet.clone()).await.starts_with("HTTP/1.1 200"));
    let answer = ask("/readyz", not_yet).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("recovering"), "{answer}");
    assert!(ask("/readyz", Readiness::Ready).await.starts_with("HTTP/1.1 200"));
    let answer = ask("/readyz", Readiness::ReadyExcept("2 partitions".to_owned())).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("ready, except: 2 partitions"), "{answer}");
    assert!(ask("/", Readiness::Ready).await.starts_with("HTTP/1.1 404"));
}

fn parts() -> Parts {
    Parts {
        metrics: Arc::new(|| Box::pin(async { String::new() })),
        readiness: Arc::new(|| Readiness::Ready),
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test itself is the outside")]
async fn half_a_request_ends_and_a_quiet_connection_stays() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let door = Door::with(listener, Duration::from_millis(300), Duration::from_secs(60));
    let server = tokio::spawn(async move { axum::serve(door, router(parts())).await });
    let mut quiet = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut bytes = [0; 1000];
    quiet.write_all(b"GET /healthz HTTP/1.1\r\nHost: levada\r\n\r\n").await.unwrap();
    assert!(quiet.read(&mut bytes).await.unwrap() > 0);
    let mut half = tokio::net::TcpStream::connect(address).await.unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), half.read(&mut bytes)).await;
    assert_eq!(ended.expect("closed in time").unwrap_or(0), 0);
    // A scraper comes back on the same connection.
    quiet.write_all(b"GET /healthz HTTP/1.1\r\nHost: levada\r\n\r\n").await.unwrap();
    assert!(quiet.read(&mut bytes).await.unwrap() > 0);
    server.abort();
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test itself is the outside")]
async fn an_answer_in_parts_is_sent_at_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut door = Door::new(listener);
    let (client, accepted) =
        tokio::join!(tokio::net::TcpStream::connect(address), axum::serve::Listener::accept(&mut door));
    let (connection, _) = accepted;
    assert!(client.is_ok() && connection.stream.nodelay().unwrap());
}
