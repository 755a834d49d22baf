//! The door, asked over a real socket.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use gateway::bounds::{Bounds, STAYING_MAX};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A door on a free port.
#[expect(clippy::disallowed_methods, reason = "the test itself is the outside")]
async fn serve(limits: Limits, bounds: Bounds, router: Router) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Door::new(listener, limits, bounds).serve(router));
    address
}

/// Sends, and reads to the end of the connection.
async fn exchange(address: std::net::SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(60), socket.read_to_string(&mut answer)).await;
    read.expect("answered in time").unwrap();
    answer
}

async fn ask(path: &str, readiness: Readiness) -> String {
    let parts = Parts {
        metrics: Arc::new(|| Box::pin(async { "levada_requests_total 7\n# EOF\n".to_owned() })),
        readiness: Arc::new(move || readiness.clone()),
    };
    let address = serve(Limits::default(), Bounds::default(), router(parts)).await;
    exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: levada\r\nConnection: close\r\n\r\n")).await
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
async fn half_a_request_ends_and_a_quiet_connection_stays() {
    let limits = Limits {
        request_max: Duration::from_millis(300),
        idle_max: Duration::from_secs(60),
        ..Limits::default()
    };
    let address = serve(limits, Bounds::default(), router(parts())).await;
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
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test itself is the outside")]
async fn an_answer_in_parts_is_sent_at_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut door = Door::new(listener, Limits::default(), Bounds::default());
    let (client, connection) = tokio::join!(tokio::net::TcpStream::connect(address), door.accept());
    assert!(client.is_ok() && connection.stream.nodelay().unwrap());
}

#[tokio::test]
async fn connections_without_a_whole_request_keep_nobody_out() {
    let limits = Limits { connections_max: 4, ..Limits::default() };
    let router = router(parts()).route("/never", get(std::future::pending::<()>));
    let address = serve(limits, Bounds::default(), router).await;
    let mut held = Vec::new();
    for begun in ["", "GET /healthz HTTP/1.1\r\n", "POST /metrics HTTP/1.1\r\nContent-Length: 9\r\n\r\n1"] {
        let mut one = TcpStream::connect(address).await.unwrap();
        one.write_all(begun.as_bytes()).await.unwrap();
        held.push(one);
    }
    // This one is being answered, and stays.
    let mut asked = TcpStream::connect(address).await.unwrap();
    asked.write_all(b"GET /never HTTP/1.1\r\nHost: levada\r\n\r\n").await.unwrap();
    for _ in 0..8 {
        let answer =
            exchange(address, "GET /healthz HTTP/1.1\r\nHost: levada\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let mut bytes = [0; 10];
    let waited = tokio::time::timeout(Duration::from_millis(50), asked.read(&mut bytes)).await;
    assert!(waited.is_err(), "it waits for its answer still");
}

#[tokio::test]
async fn streams_leave_places_for_short_requests() {
    let bounds = Bounds::default();
    let address = serve(Limits::default(), bounds.clone(), router(parts())).await;
    let _streams: Vec<_> = (0..STAYING_MAX).map(|_| bounds.place(true).unwrap()).collect();
    let stream =
        "GET /v1/categories/c/events HTTP/1.1\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n";
    let refused = exchange(address, stream).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 1"), "{refused}");
    assert!(refused.contains("urn:levada:problem:full"), "{refused}");
    let short = "GET /v1/categories HTTP/1.1\r\nHost: levada\r\nConnection: close\r\n\r\n";
    // Nobody answers that here.
    assert!(exchange(address, short).await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn a_body_that_has_no_room_is_refused_and_what_is_small_goes_on() {
    let bounds = Bounds::new(4 << 20);
    let length = |body: axum::body::Bytes| async move { body.len().to_string() };
    let router = router(parts())
        .route("/length", axum::routing::post(length))
        .layer(axum::extract::DefaultBodyLimit::disable());
    let address = serve(Limits::default(), bounds.clone(), router).await;
    let post = |bytes: usize| {
        let body = "x".repeat(bytes);
        format!(
            "POST /length HTTP/1.1\r\nHost: levada\r\nConnection: close\r\nContent-Length: {bytes}\r\n\r\n{body}"
        )
    };
    assert!(exchange(address, &post(900_000)).await.ends_with("900000"));
    // Half of one is held by who does not go on.
    let mut held = TcpStream::connect(address).await.unwrap();
    let large = post(1_000_000);
    held.write_all(&large.as_bytes()[..900_000]).await.unwrap();
    while bounds.taken_bytes() < 2_600_000 {
        tokio::task::yield_now().await;
    }
    let refused = exchange(address, &post(900_000)).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("levada.http.memory.bytes"), "{refused}");
    assert!(exchange(address, &post(1000)).await.ends_with("1000"));
    drop(held);
    while bounds.taken_bytes() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_answer_has_its_room_until_it_is_sent() {
    let bounds = Bounds::new(64 << 20);
    let large = || async { "x".repeat(40 << 20) };
    let address = serve(Limits::default(), bounds.clone(), router(parts()).route("/large", get(large))).await;
    let request = "GET /large HTTP/1.1\r\nHost: levada\r\nConnection: close\r\n\r\n";
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 15];
    slow.read_exact(&mut first).await.unwrap();
    assert!(bounds.taken_bytes() >= 40 << 20);
    let refused = exchange(address, request).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{}", &refused[..100]);
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).await.unwrap();
    while bounds.taken_bytes() > 0 {
        tokio::task::yield_now().await;
    }
}

/// A client of HTTP/2 with a window of so many bytes for each answer.
struct Http2 {
    socket: TcpStream,
    came: Vec<u8>,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

impl Http2 {
    async fn connect(address: std::net::SocketAddr, window: u32) -> Http2 {
        let socket = TcpStream::connect(address).await.unwrap();
        let mut client = Http2 { socket, came: Vec::new() };
        client.socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        // SETTINGS_INITIAL_WINDOW_SIZE
        let settings = [&[0, 4], &window.to_be_bytes()[..]].concat();
        client.send(SETTINGS, 0, 0, &settings).await;
        client
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, bytes: &[u8]) {
        self.try_send(kind, flags, stream, bytes).await.unwrap();
    }

    async fn try_send(&mut self, kind: u8, flags: u8, stream: u32, bytes: &[u8]) -> std::io::Result<()> {
        let length = (bytes.len() as u32).to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()[..]].concat();
        self.socket.write_all(&[&head, bytes].concat()).await
    }

    /// The headers of a request; `method` as HPACK's static table has it.
    async fn ask(&mut self, method: u8, path: &str, flags: u8) {
        let text = |name: u8, text: &str| [&[name, text.len() as u8], text.as_bytes()].concat();
        let block = [&[method, 0x86][..], &text(1, "localhost"), &text(4, path)].concat();
        self.send(HEADERS, END_HEADERS | flags, 1, &block).await;
    }

    /// Sends PINGs until a frame of this kind has come; false where the connection ended before.
    async fn moves_until(&mut self, wanted: u8) -> bool {
        let late = tokio::time::Instant::now() + Duration::from_secs(30);
        while tokio::time::Instant::now() < late {
            let mut bytes = [0; 10_000];
            if self.try_send(PING, 0, 0, &[7; 8]).await.is_err() {
                return false;
            }
            match tokio::time::timeout(Duration::from_millis(50), self.socket.read(&mut bytes)).await {
                Err(_) => {}
                Ok(Err(_) | Ok(0)) => return false,
                Ok(Ok(count)) => self.came.extend(&bytes[..count]),
            }
            while self.came.len() >= 9 {
                let end = 9 + u32::from_be_bytes([0, self.came[0], self.came[1], self.came[2]]) as usize;
                if self.came.len() < end {
                    break;
                }
                let frame: Vec<u8> = self.came.drain(..end).collect();
                if frame[3] == wanted {
                    return true;
                }
            }
        }
        panic!("not within 30 s");
    }
}

const GET: u8 = 0x82;
const POST: u8 = 0x83;

#[tokio::test]
async fn an_unfinished_request_over_http2_is_given_up_whatever_else_moves_on_its_connection() {
    let bounds = Bounds::default();
    let limits = Limits { request_max: Duration::from_millis(500), ..Limits::default() };
    let length = |body: axum::body::Bytes| async move { body.len().to_string() };
    let router = router(parts()).route("/length", axum::routing::post(length));
    let address = serve(limits, bounds.clone(), router).await;
    let mut client = Http2::connect(address, 65_535).await;
    client.ask(POST, "/length", 0).await;
    for _ in 0..4 {
        client.send(DATA, 0, 1, &[b'x'; 10_000]).await;
    }
    while bounds.taken_bytes() < 40_000 {
        tokio::task::yield_now().await;
    }
    assert!(client.moves_until(RESET).await, "its stream ends, and not the connection");
    while bounds.taken_bytes() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(client.moves_until(PING).await);
}

#[tokio::test]
async fn an_answer_over_http2_of_which_nothing_is_taken_is_given_up_whatever_else_moves_on_its_connection() {
    let bounds = Bounds::new(64 << 20);
    let limits = Limits { idle_max: Duration::from_millis(500), ..Limits::default() };
    let large = || async { "x".repeat(40 << 20) };
    let address = serve(limits, bounds.clone(), router(parts()).route("/large", get(large))).await;
    let mut client = Http2::connect(address, 0).await;
    client.ask(GET, "/large", END_STREAM).await;
    assert!(client.moves_until(HEADERS).await);
    assert!(bounds.taken_bytes() >= 40 << 20);
    assert!(client.moves_until(RESET).await, "its stream ends, and not the connection");
    while bounds.taken_bytes() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(client.moves_until(PING).await);
}

#[tokio::test]
async fn an_answers_room_is_taken_until_its_last_piece_has_left_and_a_connection_that_keeps_it_is_closed() {
    let bounds = Bounds::default();
    let limits = Limits { idle_max: Duration::from_millis(500), ..Limits::default() };
    let small = || async { "x".repeat(40_000) };
    let address = serve(limits, bounds.clone(), router(parts()).route("/small", get(small))).await;
    let mut client = Http2::connect(address, 1).await;
    client.ask(GET, "/small", END_STREAM).await;
    assert!(client.moves_until(DATA).await);
    assert!(bounds.taken_bytes() >= 40_000, "{}", bounds.taken_bytes());
    assert!(!client.moves_until(RESET).await, "nothing but the connection's end gives it back");
    while bounds.taken_bytes() > 0 {
        tokio::task::yield_now().await;
    }
}
