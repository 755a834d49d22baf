use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{oneshot, watch};

use super::connection::{Ended, serve_connection};
use super::frame::{FrameError, FrameReader};
use super::memory::MemoryBudget;
use super::*;

fn options() -> Options {
    Options {
        frame_bytes_max: 1000,
        connections_max: 10,
        connections_per_ip_max: 10,
        idle: Duration::from_secs(600),
        stall: Duration::from_secs(30),
    }
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes(), body].concat()
}

/// Answers `p…` pipelined and anything else exclusively, each with its own bytes; `…!` waits for a release first.
struct Echo {
    began: Arc<Mutex<Vec<String>>>,
    release: Vec<oneshot::Receiver<()>>,
}

impl Service for Echo {
    async fn begin(&mut self, frame: Frame) -> Begun {
        let text = String::from_utf8(frame.bytes.to_vec()).unwrap();
        let began = self.began.clone();
        let held = if text.ends_with('!') { self.release.pop() } else { None };
        let bytes = frame.bytes;
        let note = text.clone();
        let work = async move {
            began.lock().unwrap().push(note);
            if let Some(held) = held {
                let _ = held.await;
            }
            let pieces =
                vec![Bytes::copy_from_slice(&(bytes.len() as u32).to_be_bytes()), Bytes::new(), bytes];
            Outcome::Respond(pieces, None)
        };
        if text.starts_with('p') {
            self.began.lock().unwrap().push(format!("queued {text}"));
            Begun::Pipelined(Box::pin(work))
        } else {
            Begun::Exclusive(Box::pin(work))
        }
    }
}

struct Running {
    client: DuplexStream,
    server: tokio::task::JoinHandle<Ended>,
    began: Arc<Mutex<Vec<String>>>,
    stop: watch::Sender<bool>,
}

fn start(release: Vec<oneshot::Receiver<()>>) -> Running {
    let (client, server) = duplex(64);
    let began = Arc::new(Mutex::new(Vec::new()));
    let service = Echo { began: began.clone(), release };
    let (stop, stopped) = watch::channel(false);
    let server = env::spawn(async move {
        serve_connection(server, service, &options(), MemoryBudget::new(10_000), stopped).await
    });
    Running { client, server, began, stop }
}

#[tokio::test(start_paused = true)]
async fn answers_come_in_the_order_of_requests_and_produce_is_queued_before_the_first_answer() {
    let (release, held) = oneshot::channel();
    let mut run = start(vec![held]);
    run.client.write_all(&[frame(b"p1!"), frame(b"p2"), frame(b"x3"), frame(b"p4")].concat()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*run.began.lock().unwrap(), ["queued p1!", "p1!", "queued p2"]);
    release.send(()).unwrap();
    let mut answers = vec![0; 4 * 4 + 3 + 2 + 2 + 2];
    run.client.read_exact(&mut answers).await.unwrap();
    assert_eq!(answers, [frame(b"p1!"), frame(b"p2"), frame(b"x3"), frame(b"p4")].concat());
    let began = ["queued p1!", "p1!", "queued p2", "p2", "x3", "queued p4", "p4"];
    assert_eq!(*run.began.lock().unwrap(), began);
}

#[tokio::test(start_paused = true)]
async fn lengths_that_cannot_be_are_refused_without_waiting_for_the_bytes() {
    for length in [-1i32, 1001, i32::MAX] {
        let mut run = start(Vec::new());
        run.client.write_all(&length.to_be_bytes()).await.unwrap();
        let ended = run.server.await.unwrap();
        assert!(matches!(ended, Ended::Frame(FrameError::Length { .. })), "{ended}");
        assert!(!ended.is_ordinary());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_cut_short_is_told_from_an_ordinary_close() {
    let mut run = start(Vec::new());
    run.client.write_all(&frame(b"x123")[..6]).await.unwrap();
    drop(run.client);
    assert!(matches!(run.server.await.unwrap(), Ended::Frame(FrameError::Truncated)));

    let run = start(Vec::new());
    drop(run.client);
    assert!(matches!(run.server.await.unwrap(), Ended::ByPeer));
}

#[tokio::test(start_paused = true)]
async fn silence_is_idle_between_requests_and_a_stall_within_one() {
    let run = start(Vec::new());
    assert!(matches!(run.server.await.unwrap(), Ended::Frame(FrameError::Idle)));

    let mut run = start(Vec::new());
    let since = tokio::time::Instant::now();
    run.client.write_all(&frame(b"x123")[..6]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(matches!(run.server.await.unwrap(), Ended::Frame(FrameError::Stalled)));
    assert!(since.elapsed() < Duration::from_secs(35));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_is_closed_and_begins_nothing_more() {
    let mut run = start(Vec::new());
    let flood = env::spawn(async move {
        let mut sent = 0;
        while run.client.write_all(&frame(&[b'x'; 50])).await.is_ok() && sent < 10_000 {
            sent += 1;
        }
        sent
    });
    assert!(matches!(run.server.await.unwrap(), Ended::WriteStalled));
    assert!(flood.await.unwrap() < 20);
}

#[tokio::test(start_paused = true)]
async fn shutdown_answers_what_was_begun() {
    let (release, held) = oneshot::channel();
    let mut run = start(vec![held]);
    run.client.write_all(&frame(b"x1!")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    run.stop.send(true).unwrap();
    release.send(()).unwrap();
    let mut answer = vec![0; 7];
    run.client.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, frame(b"x1!"));
    assert!(matches!(run.server.await.unwrap(), Ended::Shutdown));
}

#[tokio::test(start_paused = true)]
async fn the_budget_holds_back_large_requests_and_frees_them_in_turn() {
    let budget = MemoryBudget::new(2048);
    let first = budget.reserve(2000).await;
    let waiting = env::spawn({
        let budget = budget.clone();
        async move { budget.reserve(1_000_000).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    drop(first);
    let all = waiting.await.unwrap();
    assert_eq!(budget.reserved_bytes(), 2048);
    drop(all);
    assert_eq!(budget.reserved_bytes(), 0);
}

const STALL: Duration = Duration::from_secs(30);

/// Reads one frame of up to 100 MiB.
fn read_frame(budget: &MemoryBudget) -> (DuplexStream, tokio::task::JoinHandle<Result<Frame, FrameError>>) {
    let (client, mut server) = duplex(1 << 20);
    let mut frames = FrameReader::new(100 << 20, budget.clone());
    let idle = Duration::from_secs(600);
    (client, env::spawn(async move { frames.next(&mut server, idle, STALL).await }))
}

#[tokio::test(start_paused = true)]
async fn announcing_much_takes_little_of_the_budget() {
    let budget = MemoryBudget::new(10 << 20);
    let mut announced = Vec::new();
    for _ in 0..3 {
        let (mut client, reading) = read_frame(&budget);
        client.write_all(&[&(90u32 << 20).to_be_bytes()[..], &[b'x'; 20_000]].concat()).await.unwrap();
        announced.push((client, reading));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(budget.reserved_bytes() < 1 << 20);
    let (mut client, reading) = read_frame(&budget);
    client.write_all(&frame(&vec![0; 5 << 20])).await.unwrap();
    let frame = reading.await.unwrap().expect("served");
    assert_eq!(frame.bytes.len(), 5 << 20);
    assert!(frame.reservation.expect("counted").bytes() >= 5 << 20);
    assert!(announced.iter().all(|(_, reading)| !reading.is_finished()));
}

#[tokio::test(start_paused = true)]
async fn dripping_bytes_ends_and_a_slow_link_does_not() {
    let budget = MemoryBudget::new(10 << 20);
    let (mut client, reading) = read_frame(&budget);
    let since = tokio::time::Instant::now();
    client.write_all(&(1u32 << 20).to_be_bytes()).await.unwrap();
    while !reading.is_finished() {
        let _ = client.write_all(b"x").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(since.elapsed() < Duration::from_secs(35), "a byte a second keeps the connection");
    }
    assert!(matches!(reading.await.unwrap(), Err(FrameError::Stalled)));

    // 1 Mbit/s
    let (mut client, reading) = read_frame(&budget);
    for piece in frame(&vec![0; 8 << 20]).chunks(12_500) {
        client.write_all(piece).await.expect("open");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(reading.await.unwrap().expect("a slow request").bytes.len(), 8 << 20);
    assert_eq!(budget.reserved_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn large_requests_that_hold_all_memory_together_do_not_block_each_other() {
    let budget = MemoryBudget::new(4 << 20);
    let mut readings = Vec::new();
    for _ in 0..8 {
        let (mut client, reading) = read_frame(&budget);
        // Taken out of the budget as the request's work is done, as a broker does.
        readings.push(env::spawn(async move { reading.await.unwrap().map(|frame| frame.bytes.len()) }));
        env::spawn(async move {
            for piece in frame(&vec![0; 3 << 20]).chunks(10_000) {
                if client.write_all(piece).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
    }
    let since = tokio::time::Instant::now();
    for reading in readings {
        assert_eq!(reading.await.unwrap().expect("served"), 3 << 20);
    }
    assert!(since.elapsed() < STALL, "{:?}", since.elapsed());
    assert_eq!(budget.reserved_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_get_memory_within_the_stall_is_closed() {
    let budget = MemoryBudget::new(1 << 20);
    let (_all, mut beyond) = (budget.reserve(1 << 20).await, None);
    budget.grow(&mut beyond, 1).await;
    let (mut client, reading) = read_frame(&budget);
    client.write_all(&frame(&vec![0; 100_000])).await.unwrap();
    let since = tokio::time::Instant::now();
    assert!(matches!(reading.await.unwrap(), Err(FrameError::Memory(100_000))));
    assert!(since.elapsed() < STALL * 2);
    // Small requests need no place.
    let (mut client, reading) = read_frame(&budget);
    client.write_all(&frame(&[0; 10_000])).await.unwrap();
    assert!(reading.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_answer_keeps_its_memory_until_it_is_written_and_reading_it_drop_by_drop_ends() {
    struct Large(MemoryBudget);
    impl Service for Large {
        async fn begin(&mut self, _: Frame) -> Begun {
            let reservation = self.0.reserve(1 << 20).await;
            Begun::Exclusive(Box::pin(async move {
                Outcome::Respond(vec![Bytes::from(vec![0; 1 << 20])], Some(reservation))
            }))
        }
    }
    let budget = MemoryBudget::new(1 << 20);
    let service = Large(budget.clone());
    let (mut client, server) = duplex(64);
    let (_stop, stopped) = watch::channel(false);
    let requests = MemoryBudget::new(10_000);
    let serving =
        env::spawn(async move { serve_connection(server, service, &options(), requests, stopped).await });
    client.write_all(&frame(b"x")).await.unwrap();
    let since = tokio::time::Instant::now();
    client.read_u8().await.unwrap();
    while !serving.is_finished() {
        assert_eq!(budget.reserved_bytes(), 1 << 20);
        let _ = client.read_u8().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(since.elapsed() < Duration::from_secs(40), "a byte a second keeps the memory");
    }
    assert!(matches!(serving.await.unwrap(), Ended::WriteStalled));
    assert_eq!(budget.reserved_bytes(), 0);
}
