//! Compaction: of each key only the newest record is kept. (Kafka's log cleaner; KIP-58, KIP-280, KIP-354, KIP-534.)
//!
//! ```text
//!   start          clean up to                    cleanable up to          end
//!     │  cleaned before │  dirty: read into the map  │  too new, or open      │
//!     └─────────────────┴────────────────────────────┴────────────────────────┘
//!       both are rewritten, whatever the map has something newer for goes
//! ```
//!
//! A rewritten segment has no gaps: where whole batches go, one batch without records stands for their offsets. So
//! every reader, every check and every recovery goes on as with segments that were never compacted, and a missing offset
//! is always damage.

mod filter;
mod map;
#[cfg(test)]
mod tests;

pub(crate) use filter::{Fate, Filter, Transactions};
#[cfg(test)]
pub(crate) use map::ENTRY_BYTES;
pub(crate) use map::KeyMap;
