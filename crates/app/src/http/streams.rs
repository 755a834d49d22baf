//! An end for each stream of an HTTP/2 connection, whatever else moves on the connection.
//!
//! ```text
//! headers ─ request_max ─▶ the answer begins ─▶ a piece of it ─ idle_max ─▶ the next piece ─▶ …
//!             late: reset                          not taken: reset; or, where it left the stream's hands already,
//!                                                  the connection is closed
//! ```

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Bytes;
use bytes::Buf;
use gateway::bounds::Room;
use hyper::rt::Executor;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::door::Limits;

tokio::task_local! {
    static END: Arc<End>;
}

/// Runs the streams of HTTP/2 connections.
#[derive(Clone)]
pub struct Streams(pub Limits);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        env::spawn(with_an_end(stream, self.0));
    }
}

/// When the stream that is polled just now is given up.
pub struct End {
    until: Mutex<Option<Instant>>,
    idle_max: Duration,
}

impl End {
    /// None: a connection without streams, which has an end itself.
    pub fn of_this_stream() -> Option<Arc<End>> {
        END.try_with(Arc::clone).ok()
    }

    /// Something is there to be taken.
    pub fn is_offered(&self) {
        *self.until.lock() = Some(Instant::now() + self.idle_max);
    }

    /// There is nothing to be taken yet.
    pub fn is_quiet(&self) {
        *self.until.lock() = None;
    }
}

/// A stream that is dropped, and thereby reset, when its time is over.
async fn with_an_end(stream: impl Future<Output = ()>, limits: Limits) {
    let first = Instant::now() + limits.request_max;
    let end = Arc::new(End { until: Mutex::new(Some(first)), idle_max: limits.idle_max });
    let timed = async {
        let (mut stream, mut late) = (pin!(stream), pin!(sleep_until(first)));
        poll_fn(|context| {
            if stream.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let Some(until) = *end.until.lock() else { return Poll::Pending };
            if late.deadline() != until {
                late.as_mut().reset(until);
            }
            late.as_mut().poll(context).map(|()| debug!("a stream took too long"))
        })
        .await;
    };
    END.scope(end.clone(), timed).await;
}

/// What of answers was handed over to one connection and has not left it yet.
#[derive(Default)]
pub struct Sending(Mutex<Handed>);

#[derive(Default)]
struct Handed {
    next: u64,
    since: BTreeMap<u64, Instant>,
}

impl Sending {
    /// Ends when a piece was there for too long. A little longer than a stream has, which is given up by itself where that
    /// is enough.
    pub async fn is_stuck(&self, idle_max: Duration) {
        let patience = idle_max + idle_max / 4;
        loop {
            let oldest = self.0.lock().since.first_key_value().map(|(_, since)| *since);
            let until = oldest.unwrap_or_else(Instant::now) + patience;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// A piece of an answer, which keeps the answer's room until it has left the connection.
pub struct Piece {
    bytes: Bytes,
    number: u64,
    sending: Arc<Sending>,
    _room: Arc<Room>,
}

impl Piece {
    pub fn of(bytes: Bytes, sending: Arc<Sending>, room: Arc<Room>) -> Piece {
        let number = {
            let mut handed = sending.0.lock();
            let number = handed.next;
            handed.next += 1;
            handed.since.insert(number, Instant::now());
            number
        };
        Piece { bytes, number, sending, _room: room }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.sending.0.lock().since.remove(&self.number);
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}
