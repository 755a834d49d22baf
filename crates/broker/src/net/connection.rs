//! One connection: requests begin in the order of arrival and are answered in that order.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::frame::{FrameError, FrameReader};
use super::memory::MemoryBudget;
use super::pace::Pace;
use super::{Begun, Options, Outcome, Service, Work};

/// Requests of one connection that may be under way at once. Kafka's producers send five.
const PIPELINE_MAX: usize = 32;

/// A connection with work under way is not idle.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Pieces given to one vectored write (the kernel takes at most 1024).
const WRITE_PIECES_MAX: usize = 64;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error("closed by the peer")]
    ByPeer,
    #[error("the peer does not read its responses, or too slowly")]
    WriteStalled,
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Frame(FrameError),
    #[error("{0}")]
    Write(io::Error),
    #[error("the broker is shutting down")]
    Shutdown,
}

impl Ended {
    /// Whether this is the ordinary end of a connection, not worth a line in the log.
    pub fn is_ordinary(&self) -> bool {
        matches!(self, Ended::ByPeer | Ended::Shutdown | Ended::Write(_))
            || matches!(self, Ended::Frame(FrameError::Closed | FrameError::Idle | FrameError::Io(_)))
    }
}

/// Serves one connection until it ends. `shutdown` resolves when no new request shall begin.
pub async fn serve_connection<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    mut service: impl Service,
    options: &Options,
    budget: MemoryBudget,
    mut shutdown: tokio::sync::watch::Receiver<bool>,
) -> Ended {
    let mut frames = FrameReader::new(options.frame_bytes_max, budget);
    let mut under_way: VecDeque<Work> = VecDeque::new();
    let mut exclusive = false;
    loop {
        let may_begin = !exclusive && under_way.len() < PIPELINE_MAX;
        let step = match under_way.front_mut() {
            None => tokio::select! {
                biased;
                frame = frames.next(&mut stream, options.idle, options.stall) => Step::Frame(frame),
                _ = shutdown.wait_for(|stop| *stop) => return Ended::Shutdown,
            },
            Some(first) if may_begin => tokio::select! {
                biased;
                outcome = first => Step::Outcome(outcome),
                frame = frames.next(&mut stream, NEVER, options.stall) => Step::Frame(frame),
            },
            Some(first) => Step::Outcome(first.await),
        };
        match step {
            Step::Frame(Ok(frame)) => match service.begin(frame).await {
                Begun::Pipelined(work) => under_way.push_back(work),
                Begun::Exclusive(work) => {
                    under_way.push_back(work);
                    exclusive = true;
                }
            },
            // What is under way was asked for and is finished, though nobody may read the answers.
            Step::Frame(Err(error)) => {
                for work in under_way {
                    if let Outcome::Respond(pieces, _reservation) = work.await {
                        let _ = write(&mut stream, pieces, options.stall).await;
                    }
                }
                return match error {
                    FrameError::Closed => Ended::ByPeer,
                    error => Ended::Frame(error),
                };
            }
            Step::Outcome(outcome) => {
                under_way.pop_front();
                exclusive &= !under_way.is_empty();
                match outcome {
                    Outcome::Respond(pieces, _reservation) => {
                        if let Err(ended) = write(&mut stream, pieces, options.stall).await {
                            return ended;
                        }
                    }
                    Outcome::Silent => {}
                    Outcome::Close(reason) => return Ended::Refused(reason),
                }
            }
        }
    }
}

enum Step {
    Frame(Result<super::Frame, FrameError>),
    Outcome(Outcome),
}

async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    pieces: Vec<Bytes>,
    stall: Duration,
) -> Result<(), Ended> {
    let mut pieces = VecDeque::from(pieces);
    let mut pace = Pace::new(stall);
    while let Some(first) = pieces.front_mut() {
        if first.is_empty() {
            pieces.pop_front();
            continue;
        }
        let slices: Vec<IoSlice<'_>> =
            pieces.iter().take(WRITE_PIECES_MAX).map(|p| IoSlice::new(p)).collect();
        let mut written = match pace.wait(stream.write_vectored(&slices)).await {
            Ok(Ok(0)) => return Err(Ended::ByPeer),
            Ok(Ok(written)) => written,
            Ok(Err(error)) => return Err(Ended::Write(error)),
            Err(_) => return Err(Ended::WriteStalled),
        };
        pace.moved(written);
        while written > 0 {
            let first = pieces.front_mut().expect("no more was written than given");
            let step = written.min(first.len());
            first.advance(step);
            written -= step;
            if first.is_empty() {
                pieces.pop_front();
            }
        }
    }
    match timeout(stall, stream.flush()).await {
        Ok(flushed) => flushed.map_err(Ended::Write),
        Err(_) => Err(Ended::WriteStalled),
    }
}
