//! The same load on three event stores, each over its own protocol with its own client: Levada and UmaDB over gRPC,
//! PostgreSQL with a plain events table.
//!
//! ```text
//! eventstores append  SYSTEM ADDRESS --clients N --appends N --name TEXT   appends that expect a version
//! eventstores read    SYSTEM ADDRESS --clients N --appends N --name TEXT   of what such an append has left: streams of 10
//! eventstores catchup SYSTEM ADDRESS --appends N --name TEXT               all events from the beginning, one reader
//! ```
//!
//! Of Levada only: `fill` appends many events in large requests, `strong` waits until all of them are indexed, `first`
//! asks until a stream is read and an event is appended.
//!
//! Prints one JSON object: `per_second`, `p50_ms`, `p99_ms`. Each client has a connection of its own, one request in
//! flight, and streams of its own: a stream gets ten events of 256 bytes, one request each, and every request says which
//! version it expects. Before the time counts each client appends one event more, so that what is made once (a topic, a
//! connection) is there.

mod levada;
mod postgres;
mod umadb;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::sync::Barrier;

/// Bytes of an event's data: JSON text.
pub const EVENT_BYTES: usize = 256;

/// Events of a stream.
pub const STREAM_EVENTS: usize = 10;

/// One connection to a store.
pub trait Client: Send + Sized + 'static {
    /// What an append of the stream's next event has to know of the one before.
    type Seen: Default + Send;

    fn connect(address: &str) -> impl Future<Output = anyhow::Result<Self>> + Send;

    /// Appends a stream's event of this version (from 1), if it is the next one.
    fn append(
        &mut self,
        name: &str,
        stream: &str,
        version: usize,
        data: &[u8],
        seen: &mut Self::Seen,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Reads a stream; gives how many events it has.
    fn read(&mut self, name: &str, stream: &str) -> impl Future<Output = anyhow::Result<usize>> + Send;

    /// Reads so many events from the beginning.
    fn catch_up(&mut self, name: &str, events: usize) -> impl Future<Output = anyhow::Result<()>> + Send;
}

struct Load {
    address: String,
    name: String,
    clients: usize,
    appends: usize,
    warms_up: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let mut next = |what: &str| words.next().with_context(|| format!("{what} is missing"));
    let (measure, system, address) = (next("the measure")?, next("the system")?, next("the address")?);
    let mut load = Load { address, name: "bench".to_owned(), clients: 1, appends: 1000, warms_up: false };
    while let Some(flag) = words.next() {
        let value = words.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--clients" => load.clients = value.parse()?,
            "--appends" => load.appends = value.parse()?,
            "--name" => load.name = value,
            other => bail!("unknown option {other}"),
        }
    }
    match measure.as_str() {
        "fill" => return levada::fill(&load.address, &load.name, load.clients, load.appends).await,
        "strong" => return levada::strong(&load.address, &load.name).await,
        "first" => return levada::first(&load.address, &load.name).await,
        _ => {}
    }
    match system.as_str() {
        "levada" => run::<levada::Levada>(&measure, load).await,
        "umadb" => run::<umadb::Uma>(&measure, load).await,
        "postgres" => run::<postgres::Postgres>(&measure, load).await,
        other => bail!("unknown system {other}"),
    }
}

async fn run<C: Client>(measure: &str, mut load: Load) -> anyhow::Result<()> {
    let (seconds, count, mut took) = match measure {
        "append" => {
            load.warms_up = true;
            on_clients::<C>(&load, append).await?
        }
        "read" => on_clients::<C>(&load, read).await?,
        "catchup" => {
            let mut client = C::connect(&load.address).await?;
            let began = Instant::now();
            client.catch_up(&load.name, load.appends).await?;
            (began.elapsed().as_secs_f64(), load.appends, vec![began.elapsed()])
        }
        other => bail!("unknown measure {other}"),
    };
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    print(count as f64 / seconds, at(0.5), at(0.99));
    Ok(())
}

pub fn print(per_second: f64, p50: f64, p99: f64) {
    println!("{}", serde_json::json!({ "per_second": per_second, "p50_ms": p50, "p99_ms": p99 }));
}

/// One client's share: how long each of its requests took.
async fn append<C: Client>(mut client: C, number: usize, load: Arc<Load>) -> anyhow::Result<Vec<Duration>> {
    let data = data();
    let mut took = Vec::new();
    let mut seen = C::Seen::default();
    for event in 0..load.appends / load.clients {
        let version = event % STREAM_EVENTS + 1;
        if version == 1 {
            seen = C::Seen::default();
        }
        let stream = stream(&load.name, number, event / STREAM_EVENTS);
        let began = Instant::now();
        client.append(&load.name, &stream, version, data.as_bytes(), &mut seen).await?;
        took.push(began.elapsed());
    }
    Ok(took)
}

async fn read<C: Client>(mut client: C, number: usize, load: Arc<Load>) -> anyhow::Result<Vec<Duration>> {
    let mut took = Vec::new();
    for round in 0..load.appends / load.clients / STREAM_EVENTS {
        let stream = stream(&load.name, number, round);
        let began = Instant::now();
        let count = client.read(&load.name, &stream).await?;
        took.push(began.elapsed());
        anyhow::ensure!(count == STREAM_EVENTS, "{stream} has {count} events");
    }
    Ok(took)
}

/// Starts all at once. Seconds, requests, how long each took.
async fn on_clients<C: Client>(
    load: &Load,
    body: impl AsyncShare<C>,
) -> anyhow::Result<(f64, usize, Vec<Duration>)> {
    let shared = Arc::new(Load {
        address: load.address.clone(),
        name: load.name.clone(),
        clients: load.clients,
        appends: load.appends,
        warms_up: load.warms_up,
    });
    let barrier = Arc::new(Barrier::new(load.clients + 1));
    let mut tasks = Vec::new();
    for number in 0..load.clients {
        let mut client = C::connect(&load.address).await?;
        if load.warms_up {
            let stream = format!("{}-warm-{number}", load.name);
            client.append(&load.name, &stream, 1, data().as_bytes(), &mut C::Seen::default()).await?;
        }
        let (barrier, shared) = (barrier.clone(), shared.clone());
        let share = body.share(client, number, shared);
        tasks.push(tokio::spawn(async move {
            barrier.wait().await;
            share.await
        }));
    }
    barrier.wait().await;
    let began = Instant::now();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await??);
    }
    Ok((began.elapsed().as_secs_f64(), took.len(), took))
}

/// An async function of a client.
trait AsyncShare<C> {
    fn share(
        &self,
        client: C,
        number: usize,
        load: Arc<Load>,
    ) -> impl Future<Output = anyhow::Result<Vec<Duration>>> + Send + 'static;
}

impl<C, F, T> AsyncShare<C> for F
where
    F: Fn(C, usize, Arc<Load>) -> T,
    T: Future<Output = anyhow::Result<Vec<Duration>>> + Send + 'static,
{
    fn share(
        &self,
        client: C,
        number: usize,
        load: Arc<Load>,
    ) -> impl Future<Output = anyhow::Result<Vec<Duration>>> + Send + 'static {
        self(client, number, load)
    }
}

fn stream(name: &str, client: usize, round: usize) -> String {
    format!("{name}-{client}-{round}")
}

pub fn data() -> String {
    format!(r#"{{"text":"{}"}}"#, "x".repeat(EVENT_BYTES - 11))
}
