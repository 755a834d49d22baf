//! The event store under load: appends that expect a version, over HTTP, one request in flight per client.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::load::Figures;

/// Bytes of an event's data.
const EVENT_BYTES: usize = 256;

/// Each client goes on with its own stream for so many events, then begins a new one.
const STREAM_EVENTS: usize = 10;

/// Clients append to streams of their own: `records/s`, `p50 ms`, `p99 ms`.
pub fn append(address: &str, category: &str, clients: usize, appends: usize) -> anyhow::Result<Figures> {
    let each = appends / clients;
    let barrier = Arc::new(Barrier::new(clients + 1));
    let mut threads = Vec::new();
    for client in 0..clients {
        let mut stream = connect(address)?;
        let (category, barrier) = (category.to_owned(), barrier.clone());
        threads.push(std::thread::spawn(move || -> anyhow::Result<Vec<Duration>> {
            let data = "x".repeat(EVENT_BYTES - 2);
            let mut took = Vec::with_capacity(each);
            barrier.wait();
            for number in 0..each {
                let version = number % STREAM_EVENTS;
                let name = format!("{appends}-{client}-{}", number / STREAM_EVENTS);
                let body =
                    format!(r#"{{"id":"{appends}-{client}-{number}","type":"Happened","data":"{data}"}}"#);
                let condition = match version {
                    0 => "If-None-Match: *".to_owned(),
                    version => format!("If-Match: \"{version}\""),
                };
                let request = format!(
                    "POST /v1/streams/{category}/{name}/events HTTP/1.1\r\nHost: levada\r\n\
                     Content-Type: application/json\r\n{condition}\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let began = Instant::now();
                stream.write_all(request.as_bytes())?;
                let answer = read_answer(&mut stream)?;
                took.push(began.elapsed());
                ensure!(answer.starts_with("HTTP/1.1 201"), "an append failed: {answer}");
            }
            Ok(took)
        }));
    }
    barrier.wait();
    let began = Instant::now();
    let mut took = Vec::new();
    for thread in threads {
        took.extend(thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))??);
    }
    let seconds = began.elapsed().as_secs_f64();
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    Ok(vec![("appends/s", took.len() as f64 / seconds), ("p50 ms", at(0.5)), ("p99 ms", at(0.99))])
}

fn connect(address: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

/// One answer with a length.
fn read_answer(stream: &mut TcpStream) -> anyhow::Result<String> {
    let mut bytes = Vec::with_capacity(1024);
    let mut chunk = [0; 4096];
    loop {
        let count = stream.read(&mut chunk)?;
        ensure!(count > 0, "the connection was closed");
        bytes.extend_from_slice(&chunk[..count]);
        let text = std::str::from_utf8(&bytes)?;
        let Some(head) = text.find("\r\n\r\n") else { continue };
        let length = text[..head].lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.context("an answer without a length")?.parse()?;
        if bytes.len() >= head + 4 + length {
            return Ok(text.to_owned());
        }
    }
}
