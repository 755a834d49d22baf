//! What the requests and answers of the HTTP doors may take together: memory, and places.
//!
//! ```text
//! request ─▶ a place (short, or one that stays) ─▶ its body, counted as it comes ─▶ handler ─▶ its answer, counted
//!            none: 503                              no room: 503                                until it is sent
//! ```
//!
//! A quarter of the memory is kept for what is small, so that a few who send or take much do not keep the others out.
//! Answers without an end read the next page when the last one was taken, into a place that they wait for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use env::memory::{MemoryBudget, Reservation};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::Stream;

/// Up to this size a body or an answer is small.
pub const SMALL_BYTES: usize = 16 << 10;

/// Requests that stay (streams of events, and pulls that wait) at a time. Short ones and whoever asks after the
/// process's health have the other connections.
pub const STAYING_MAX: usize = 2048;

/// Short requests at a time: more than there are connections, since one connection may carry several.
pub const SHORT_MAX: usize = 8192;

/// Bytes of one page of an answer without an end: one event may have more.
pub const PAGE_BYTES: usize = 64 << 10;

/// How often a page is held while it is sent: as it was read, and as it is written.
const PAGE_COPIES: usize = 2;

/// Shared by all doors of a process. Cheap to clone.
#[derive(Clone)]
pub struct Bounds {
    small: MemoryBudget,
    large: MemoryBudget,
    short: Arc<Semaphore>,
    staying: Arc<Semaphore>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    Memory,
    Short,
    Staying,
}

impl Full {
    pub fn why(self) -> String {
        match self {
            Full::Memory => {
                "the requests and answers of this instance have taken all the memory that they may \
                             (levada.http.memory.bytes)"
                    .to_owned()
            }
            Full::Short => format!("this instance answers {SHORT_MAX} requests already"),
            Full::Staying => {
                format!("this instance has {STAYING_MAX} streams of events and waiting pulls already")
            }
        }
    }
}

/// As it is unless somebody sets it.
const MEMORY_BYTES: usize = 256 << 20;

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds::new(MEMORY_BYTES)
    }
}

impl Bounds {
    /// `bytes`: `levada.http.memory.bytes`.
    pub fn new(bytes: usize) -> Bounds {
        Bounds {
            small: MemoryBudget::new(bytes / 4),
            large: MemoryBudget::new(bytes - bytes / 4),
            short: Arc::new(Semaphore::new(SHORT_MAX)),
            staying: Arc::new(Semaphore::new(STAYING_MAX)),
        }
    }

    /// A place for a request.
    pub fn place(&self, stays: bool) -> Result<OwnedSemaphorePermit, Full> {
        let (places, full) = match stays {
            true => (&self.staying, Full::Staying),
            false => (&self.short, Full::Short),
        };
        places.clone().try_acquire_owned().map_err(|_| full)
    }

    /// Room for so many bytes, if there is any.
    pub fn room(&self, bytes: usize) -> Result<Room, Full> {
        let mut room = Room::default();
        room.grow(self, bytes)?;
        Ok(room)
    }

    /// Bytes that are taken now.
    pub fn taken_bytes(&self) -> usize {
        self.small.reserved_bytes() + self.large.reserved_bytes()
    }

    /// Reads a page into a place of its own: `read` is asked again where what it gave has no room yet, and has waited.
    pub async fn page<T, E, R: Future<Output = Result<T, E>>>(
        &self,
        mut read: impl FnMut() -> R,
        size: impl Fn(&T) -> usize,
    ) -> Result<(T, Held), E> {
        let page = read().await?;
        let bytes = PAGE_COPIES * size(&page);
        if bytes == 0 {
            return Ok((page, Held::default()));
        }
        if let Some(held) = self.large.try_reserve(bytes) {
            return Ok((page, Held(Some(Arc::new(held)))));
        }
        // Nobody waits with a page in the hand.
        drop(page);
        let mut held = None;
        self.large.grow(&mut held, bytes).await;
        Ok((read().await?, Held(held.map(Arc::new))))
    }
}

/// Room that was taken; given back when it is dropped.
#[derive(Default)]
pub struct Room {
    bytes: usize,
    small: Option<Reservation>,
    large: Option<Reservation>,
}

impl Room {
    /// Takes room for so many bytes more.
    pub fn grow(&mut self, bounds: &Bounds, bytes: usize) -> Result<(), Full> {
        let before = self.bytes;
        self.bytes += bytes;
        let small = self.bytes.min(SMALL_BYTES) - before.min(SMALL_BYTES);
        let large = bytes - small;
        for (held, budget, bytes) in
            [(&mut self.small, &bounds.small, small), (&mut self.large, &bounds.large, large)]
        {
            if bytes == 0 {
                continue;
            }
            let more = budget.try_reserve(bytes).ok_or(Full::Memory)?;
            match held {
                Some(held) => held.join(more),
                None => *held = Some(more),
            }
        }
        Ok(())
    }
}

/// A page's room, held by each part of it that is yet to be taken.
#[derive(Clone, Default)]
pub struct Held(
    #[expect(dead_code, reason = "gives the room back when it is dropped")] Option<Arc<Reservation>>,
);

/// Parts of pages, one after the other: the last part's room is held until the next one is asked for.
pub struct Parts<S> {
    inner: S,
    held: Held,
}

impl<S> Parts<S> {
    pub fn of(inner: S) -> Parts<S> {
        Parts { inner, held: Held::default() }
    }
}

impl<T, S: Stream<Item = (T, Held)> + Unpin> Stream for Parts<S> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.held = Held::default();
        Pin::new(&mut self.inner).poll_next(context).map(|next| {
            next.map(|(part, held)| {
                self.held = held;
                part
            })
        })
    }
}

#[cfg(test)]
mod tests;
