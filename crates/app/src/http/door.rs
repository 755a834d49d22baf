//! Connections with an end: so many at once, and nobody may take for ever over a request or its answer.
//!
//! Where all places are taken, whoever has waited longest without a whole request gives way to the next one: connections
//! that nobody uses, and requests that do not come to an end, keep nobody out.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use gateway::bounds::Bounds;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep};
use tower::Service;
use tracing::debug;

use super::bounded;
use super::streams::{Sending, Streams};

/// Connections at once.
pub const CONNECTIONS_MAX: usize = 4096;

/// From the connection or a request's first byte until its answer begins: longer than any read may wait to be fresh. Over
/// HTTP/2 it counts for each request from its headers on.
const REQUEST_MAX: Duration = Duration::from_secs(75);

/// Without a request, or without taking more of an answer (over HTTP/2: of each of them). Longer than scrapers wait
/// between two.
const IDLE_MAX: Duration = Duration::from_secs(120);

/// A request's headers.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Requests of one HTTP/2 connection at a time.
const STREAMS_MAX: u32 = 128;

/// What an HTTP/2 connection takes in before somebody reads it, and of an answer before it is sent.
const WINDOW_BYTES: u32 = 128 << 10;
const SEND_BYTES: usize = 64 << 10;

pub struct Door {
    listener: TcpListener,
    limits: Limits,
    bounds: Bounds,
}

/// How much of connections there may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub connections_max: usize,
    pub request_max: Duration,
    pub idle_max: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { connections_max: CONNECTIONS_MAX, request_max: REQUEST_MAX, idle_max: IDLE_MAX }
    }
}

impl Door {
    pub fn new(listener: TcpListener, limits: Limits, bounds: Bounds) -> Door {
        Door { listener, limits, bounds }
    }

    /// Answers whoever comes, for ever.
    pub async fn serve<S>(mut self, service: S)
    where
        S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let seats = Arc::new(Seats::new(self.limits.connections_max));
        loop {
            let seat = seats.take().await;
            let connection = self.accept().await;
            let (service, bounds, limits) = (service.clone(), self.bounds.clone(), self.limits);
            env::spawn(async move {
                let (builder, asked) = (builder(limits), seat.0.clone());
                let answering = hyper::service::service_fn(move |request| {
                    bounded::answer(service.clone(), bounds.clone(), limits, asked.clone(), request)
                });
                let serving = builder.serve_connection(TokioIo::new(connection), answering);
                tokio::select! {
                    biased;
                    () = seat.0.leave.notified() => debug!("a connection gave its place to another"),
                    () = seat.0.sending.is_stuck(limits.idle_max) => debug!("a connection takes nothing"),
                    served = serving => if let Err(error) = served {
                        debug!(error, "a connection ended");
                    },
                }
            });
        }
    }

    /// The next connection.
    pub(super) async fn accept(&mut self) -> Connection {
        // Axum's own, which goes on after errors.
        let (stream, peer) = axum::serve::Listener::accept(&mut self.listener).await;
        // The parts of an answer are written one after the other: none waits for the other side to acknowledge the last.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "a connection waits before it sends");
        }
        let Limits { request_max, idle_max, .. } = self.limits;
        Connection { stream, left: Box::pin(sleep(request_max)), is_asked: false, request_max, idle_max }
    }
}

fn builder(limits: Limits) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams(limits));
    builder.http1().timer(TokioTimer::new()).max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES);
    builder
}

/// The places of a door.
struct Seats {
    taken: Mutex<Taken>,
    freed: Notify,
}

struct Taken {
    max: usize,
    next: u64,
    /// Those who have no whole request just now, who has waited longest first.
    quiet: BTreeMap<u64, Arc<Seat>>,
    count: usize,
}

/// A connection's place.
pub struct Seat {
    seats: Arc<Seats>,
    leave: Notify,
    /// Requests that are being answered; and under which number it is among the quiet ones, while there are none.
    state: Mutex<(usize, u64)>,
    pub sending: Arc<Sending>,
}

/// Until it is dropped.
struct Sitting(Arc<Seat>);

impl Seats {
    fn new(max: usize) -> Seats {
        let taken = Taken { max: max.max(1), next: 0, quiet: BTreeMap::new(), count: 0 };
        Seats { taken: Mutex::new(taken), freed: Notify::new() }
    }

    /// A place; where there is none, that of who has waited longest without a whole request.
    async fn take(self: &Arc<Self>) -> Sitting {
        loop {
            let freed = self.freed.notified();
            {
                let mut taken = self.taken.lock();
                if taken.count < taken.max {
                    taken.count += 1;
                    let number = taken.next;
                    taken.next += 1;
                    let state = Mutex::new((0, number));
                    let (leave, sending) = (Notify::new(), Arc::default());
                    let seat = Arc::new(Seat { seats: self.clone(), leave, state, sending });
                    taken.quiet.insert(number, seat.clone());
                    return Sitting(seat);
                }
                if let Some((_, longest)) = taken.quiet.pop_first() {
                    longest.leave.notify_one();
                }
            }
            freed.await;
        }
    }
}

impl Drop for Sitting {
    fn drop(&mut self) {
        let seats = &self.0.seats;
        let mut taken = seats.taken.lock();
        let number = self.0.state.lock().1;
        taken.quiet.remove(&number);
        taken.count -= 1;
        drop(taken);
        seats.freed.notify_waiters();
    }
}

impl Seat {
    /// There is a whole request: the place is kept until it is answered.
    pub fn is_busy(&self) {
        let mut taken = self.seats.taken.lock();
        let mut state = self.state.lock();
        if state.0 == 0 {
            taken.quiet.remove(&state.1);
        }
        state.0 += 1;
    }

    /// It is answered.
    pub fn is_done(self: &Arc<Self>) {
        let mut taken = self.seats.taken.lock();
        let mut state = self.state.lock();
        state.0 -= 1;
        if state.0 == 0 {
            state.1 = taken.next;
            taken.next += 1;
            let number = state.1;
            taken.quiet.insert(number, self.clone());
            // Somebody may wait for one who can give way.
            if taken.count == taken.max {
                self.seats.freed.notify_waiters();
            }
        }
    }
}

pub struct Connection {
    pub(super) stream: TcpStream,
    left: Pin<Box<Sleep>>,
    /// Something of a request has come that is not answered yet.
    is_asked: bool,
    request_max: Duration,
    idle_max: Duration,
}

impl Connection {
    /// Whether the time is over; otherwise the task is woken when it is.
    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        self.left.as_mut().poll(context).is_ready()
    }

    fn after_write(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_pending() {
            return match self.is_late(context) {
                true => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                false => Poll::Pending,
            };
        }
        self.is_asked = false;
        let end = Instant::now() + self.idle_max;
        self.left.as_mut().reset(end);
        written
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before && !self.is_asked {
            self.is_asked = true;
            let end = Instant::now() + self.request_max;
            self.left.as_mut().reset(end);
        }
        match read.is_pending() && self.is_late(context) {
            true => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            false => read,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.after_write(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.after_write(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
