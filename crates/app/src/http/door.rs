//! Connections with an end: so many at once, and nobody may take for ever over a request or its answer.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};
use tracing::debug;

/// Connections at once; the next ones wait.
const CONNECTIONS_MAX: usize = 4096;

/// From the connection or a request's first byte until its answer begins: longer than any read may wait to be fresh.
const REQUEST_MAX: Duration = Duration::from_secs(75);

/// Without a request, or without taking more of an answer. Longer than scrapers wait between two.
const IDLE_MAX: Duration = Duration::from_secs(120);

pub struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
    request_max: Duration,
    idle_max: Duration,
}

impl Door {
    pub fn new(listener: TcpListener) -> Door {
        Door::with(listener, REQUEST_MAX, IDLE_MAX)
    }

    pub fn with(listener: TcpListener, request_max: Duration, idle_max: Duration) -> Door {
        Door { listener, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)), request_max, idle_max }
    }
}

impl axum::serve::Listener for Door {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let place = self.places.clone().acquire_owned().await.expect("the places are never closed");
        // Axum's own, which goes on after errors.
        let (stream, peer) = axum::serve::Listener::accept(&mut self.listener).await;
        // The parts of an answer are written one after the other: none waits for the other side to acknowledge the last.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "a connection waits before it sends");
        }
        let (request_max, idle_max) = (self.request_max, self.idle_max);
        let left = Box::pin(sleep(request_max));
        let connection = Connection { stream, left, is_asked: false, request_max, idle_max, _place: place };
        (connection, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

pub struct Connection {
    pub(super) stream: TcpStream,
    left: Pin<Box<Sleep>>,
    /// Something of a request has come that is not answered yet.
    is_asked: bool,
    request_max: Duration,
    idle_max: Duration,
    _place: OwnedSemaphorePermit,
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
