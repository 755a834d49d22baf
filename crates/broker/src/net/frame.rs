//! Bytes to frames: every Kafka request is a big-endian 4-byte length and that many bytes.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::memory::{MemoryBudget, Reservation};
use super::pace::Pace;

/// What a connection without traffic keeps for the next request's first bytes.
const IDLE_BUFFER_BYTES: usize = 512;

/// Up to this size a request needs no place in the memory budget: the connection limit bounds their sum.
pub const SMALL_REQUEST_BYTES: usize = 16 * 1024;

/// How far a large request's place in the budget is ahead of the bytes that really came: this many times what is there,
/// but at least and at most so much. A length alone reserves the least.
const AHEAD_FACTOR: usize = 3;
const AHEAD_BYTES_MIN: usize = 64 * 1024;
const AHEAD_BYTES_MAX: usize = 1024 * 1024;

/// Cuts one connection's bytes into frames. `next` may be dropped between polls without losing bytes.
pub struct FrameReader {
    buffer: BytesMut,
    frame_bytes_max: usize,
    budget: MemoryBudget,
    reservation: Option<Reservation>,
    /// Bytes of the frame being read that have a place: in the budget, or as a small request.
    allowed: usize,
    /// From a frame's first byte to its last.
    pace: Option<Pace>,
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
    #[error("the peer stalled or was too slow in the middle of a request")]
    Stalled,
    #[error(
        "no memory for the rest of a request of {0} bytes; levada.memory.request.bytes.max sets the limit"
    )]
    Memory(usize),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl FrameReader {
    pub fn new(frame_bytes_max: usize, budget: MemoryBudget) -> Self {
        FrameReader {
            buffer: BytesMut::new(),
            frame_bytes_max,
            budget,
            reservation: None,
            allowed: SMALL_REQUEST_BYTES,
            pace: None,
        }
    }

    /// The next frame. Between frames the peer may be silent for `idle`; within one every `stall` must bring
    /// something worth the time ([`Pace`]).
    pub async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        idle: Duration,
        stall: Duration,
    ) -> Result<Frame, FrameError> {
        loop {
            let mut wanted = IDLE_BUFFER_BYTES;
            // Small requests may come many at once; of a large one, nothing is read beyond its end.
            let mut limit = usize::MAX;
            if self.buffer.len() >= 4 {
                let length =
                    i32::from_be_bytes([self.buffer[0], self.buffer[1], self.buffer[2], self.buffer[3]]);
                let size = usize::try_from(length).unwrap_or(usize::MAX);
                if size > self.frame_bytes_max {
                    return Err(FrameError::Length { length, allowed: self.frame_bytes_max });
                }
                let end = 4 + size;
                if self.buffer.len() >= end {
                    return Ok(self.cut(size));
                }
                if size > SMALL_REQUEST_BYTES && self.buffer.len() >= self.allowed {
                    self.make_room(end, stall).await?;
                }
                wanted = end - self.buffer.len();
                if size > SMALL_REQUEST_BYTES {
                    wanted = wanted.min(self.allowed - self.buffer.len());
                    limit = wanted;
                }
            }
            if self.buffer.capacity() - self.buffer.len() < wanted {
                self.buffer.reserve(wanted);
            }
            let mut room = (&mut self.buffer).limit(limit);
            let read = match room.get_ref().is_empty() {
                true => timeout(idle, stream.read_buf(&mut room)).await.map_err(|_| FrameError::Idle)?,
                false => {
                    let pace = self.pace.get_or_insert_with(|| Pace::new(stall));
                    pace.wait(stream.read_buf(&mut room)).await.map_err(|_| FrameError::Stalled)?
                }
            }?;
            if read == 0 {
                return Err(if self.buffer.is_empty() { FrameError::Closed } else { FrameError::Truncated });
            }
            if let Some(pace) = &mut self.pace {
                pace.moved(read);
            }
        }
    }

    fn cut(&mut self, size: usize) -> Frame {
        self.buffer.advance(4);
        let bytes = self.buffer.split_to(size).freeze();
        if self.buffer.is_empty() {
            // What is left of the buffer would keep all of the request's memory.
            self.buffer = BytesMut::new();
        }
        self.pace = None;
        self.allowed = SMALL_REQUEST_BYTES;
        Frame { bytes, reservation: self.reservation.take() }
    }

    /// A place for the next bytes of a large frame that ends at `end`. Frames that hold a part each and wait for more
    /// get it in turn, or are given up.
    async fn make_room(&mut self, end: usize, stall: Duration) -> Result<(), FrameError> {
        let ahead = (self.buffer.len() * AHEAD_FACTOR).clamp(AHEAD_BYTES_MIN, AHEAD_BYTES_MAX);
        let allowed = end.min(self.allowed + ahead);
        // The first step also pays for what came as small.
        let step = if self.reservation.is_none() { allowed } else { allowed - self.allowed };
        let grown = timeout(stall, self.budget.grow(&mut self.reservation, step)).await;
        grown.map_err(|_| FrameError::Memory(end - 4))?;
        self.allowed = allowed;
        Ok(())
    }
}
