//! Bytes to frames: every Kafka request is a big-endian 4-byte length and that many bytes.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::memory::{MemoryBudget, Reservation};

/// What a connection without traffic keeps for the next request's first bytes.
const IDLE_BUFFER_BYTES: usize = 512;

/// Up to this size a request needs no place in the memory budget: the connection limit bounds their sum.
pub const SMALL_REQUEST_BYTES: usize = 16 * 1024;

/// How far the buffer grows ahead of the bytes that really came: a length alone reserves nothing more.
const GROWTH_BYTES: usize = 1024 * 1024;

/// Cuts one connection's bytes into frames. `next` may be dropped between polls without losing bytes.
pub struct FrameReader {
    buffer: BytesMut,
    frame_bytes_max: usize,
    budget: MemoryBudget,
    reservation: Option<Reservation>,
}

/// One request as it came, and its place in the memory budget.
pub struct Frame {
    pub bytes: Bytes,
    pub reservation: Option<Reservation>,
}

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("the peer closed the connection")]
    Closed,
    #[error("the peer closed the connection in the middle of a request")]
    Truncated,
    #[error("a frame of {length} bytes; socket.request.max.bytes allows {allowed}")]
    Length { length: i32, allowed: usize },
    #[error("idle for longer than connections.max.idle.ms")]
    Idle,
    #[error("the peer stalled in the middle of a request")]
    Stalled,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl FrameReader {
    pub fn new(frame_bytes_max: usize, budget: MemoryBudget) -> Self {
        FrameReader { buffer: BytesMut::new(), frame_bytes_max, budget, reservation: None }
    }

    /// The next frame. Between frames the peer may be silent for `idle`, within one for `stall`.
    pub async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        idle: Duration,
        stall: Duration,
    ) -> Result<Frame, FrameError> {
        loop {
            let mut wanted = IDLE_BUFFER_BYTES;
            if self.buffer.len() >= 4 {
                let length =
                    i32::from_be_bytes([self.buffer[0], self.buffer[1], self.buffer[2], self.buffer[3]]);
                let size = usize::try_from(length).unwrap_or(usize::MAX);
                if size > self.frame_bytes_max {
                    return Err(FrameError::Length { length, allowed: self.frame_bytes_max });
                }
                if self.buffer.len() >= 4 + size {
                    self.buffer.advance(4);
                    let bytes = self.buffer.split_to(size).freeze();
                    return Ok(Frame { bytes, reservation: self.reservation.take() });
                }
                if size > SMALL_REQUEST_BYTES && self.reservation.is_none() {
                    self.reservation = Some(self.budget.reserve(size).await);
                }
                wanted = (4 + size - self.buffer.len()).min(GROWTH_BYTES);
            }
            if self.buffer.capacity() - self.buffer.len() < wanted {
                self.buffer.reserve(wanted);
            }
            let (patience, silence) = match self.buffer.is_empty() {
                true => (idle, FrameError::Idle),
                false => (stall, FrameError::Stalled),
            };
            let Ok(read) = timeout(patience, stream.read_buf(&mut self.buffer)).await else {
                return Err(silence);
            };
            if read? == 0 {
                return Err(if self.buffer.is_empty() { FrameError::Closed } else { FrameError::Truncated });
            }
        }
    }
}
