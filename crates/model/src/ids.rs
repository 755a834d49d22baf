//! Newtypes for numbers that must not be swapped.

use std::fmt;
use std::str::FromStr;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl $name {
            /// The protocol's "none": -1.
            pub const NONE: $name = $name(-1);

            pub fn is_none(self) -> bool {
                self.0 < 0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number! {
    /// Position of a record in a partition, from 0.
    Offset(i64)
}
number! {
    /// Milliseconds since 1970-01-01 UTC.
    Timestamp(i64)
}
number! {
    /// Number of a partition's leadership; never decreases for a topic id.
    LeaderEpoch(i32)
}
number! {
    /// Identity of an idempotent producer (KIP-98).
    ProducerId(i64)
}
number! {
    /// Incarnation of a producer id; the higher one fences the lower (KIP-98).
    ProducerEpoch(i16)
}

impl Offset {
    pub const ZERO: Offset = Offset(0);

    /// The offset `n` records further.
    pub fn plus(self, n: i64) -> Offset {
        Offset(self.0 + n)
    }
}

/// Base64 for URLs.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A topic's identity (KIP-516): new whenever the topic is created anew. Never all zeroes for a real topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// "No topic id" on the wire.
    pub const ZERO: TopicId = TopicId([0; 16]);
    /// Kafka's fixed id of `__cluster_metadata`.
    pub const CLUSTER_METADATA: TopicId = TopicId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    pub fn is_zero(self) -> bool {
        self == TopicId::ZERO
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Kafka's way of writing ids: base64 in the URL alphabet, without padding.
impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bits: u32 = 0;
        let mut held = 0;
        for byte in self.0 {
            bits = bits << 8 | u32::from(byte);
            held += 8;
            while held >= 6 {
                held -= 6;
                write!(f, "{}", ALPHABET[(bits >> held) as usize & 63] as char)?;
            }
        }
        write!(f, "{}", ALPHABET[(bits << (6 - held)) as usize & 63] as char)
    }
}

/// A text that is no topic id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotATopicId;

impl FromStr for TopicId {
    type Err = NotATopicId;

    /// Reads what `Display` writes: 22 characters.
    fn from_str(text: &str) -> Result<TopicId, NotATopicId> {
        if text.len() != 22 {
            return Err(NotATopicId);
        }
        let mut id = TopicId::ZERO;
        let (mut bits, mut held, mut at): (u32, u32, usize) = (0, 0, 0);
        for character in text.bytes() {
            let value = ALPHABET.iter().position(|known| *known == character).ok_or(NotATopicId)?;
            bits = bits << 6 | value as u32;
            held += 6;
            if held >= 8 {
                held -= 8;
                id.0[at] = (bits >> held) as u8;
                at += 1;
            }
        }
        // The last character holds two bits of the id, and nothing else.
        if bits & ((1 << held) - 1) == 0 { Ok(id) } else { Err(NotATopicId) }
    }
}

/// One partition of one topic, by the topic's id: a recreated topic is another topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    pub topic: TopicId,
    /// From 0.
    pub index: i32,
}

impl fmt::Debug for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}
