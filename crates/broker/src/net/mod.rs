//! Bytes to frames and back: listening, the order of each connection, back-pressure.
//!
//! Knows nothing of what a request means: [`Service::begin`] takes a frame and gives back the work that answers it.

mod connection;
pub mod frame;
mod listener;
mod pace;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use bytes::Bytes;

pub use connection::serve_connection;
pub use env::memory;
pub use frame::Frame;
pub use listener::{Options, serve};
use memory::Reservation;

/// Where a connection comes from and where it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub local: SocketAddr,
    pub peer: SocketAddr,
}

/// What becomes of one request.
pub enum Outcome {
    /// The response frame, length prefix included, as pieces for one vectored write, and the place that they take in
    /// a memory budget until they are written.
    Respond(Vec<Bytes>, Option<Reservation>),
    /// Nothing is sent (Produce with acks=0).
    Silent,
    /// The connection is closed; the reason goes into the log.
    Close(String),
}

pub type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The work that answers a request.
pub enum Begun {
    /// Its effects are in order already (an append is queued): the next request may begin before it is answered.
    Pipelined(Work),
    /// Runs when everything before it is answered; nothing after it begins until then.
    Exclusive(Work),
}

/// One per connection.
pub trait Service: Send + 'static {
    /// Takes the request in: its effects are in order when this is done, its answer need not be.
    fn begin(&mut self, frame: Frame) -> impl Future<Output = Begun> + Send;
}
