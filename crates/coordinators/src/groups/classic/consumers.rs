//! What consumers say and are told inside the classic protocol. Their bytes are a wire format, which only the host
//! knows: it reads them before the machine gets them, and writes what the machine itself has to say.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

/// Partitions by the names of their topics; no topic without partitions.
pub type Named = BTreeMap<String, BTreeSet<i32>>;

/// What a consumer says of itself when it joins (`ConsumerProtocolSubscription`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subscription {
    /// The version of the format; the consumer reads its assignment in the same one.
    pub version: i16,
    pub topics: BTreeSet<String>,
    /// What it has and has not given up: nothing under the eager protocol.
    pub owned: Named,
    pub rack: Option<String>,
}

/// What a member was assigned.
#[derive(Clone, Debug, PartialEq)]
pub enum Share {
    /// By the leader, in its own words.
    Written {
        bytes: Bytes,
        /// None: these are no consumer's words.
        says: Option<Said>,
    },
    /// By the coordinator, when a group became a classic one (KIP-848): to be written in this version of the format.
    Given { version: i16, partitions: Named },
}

/// What a leader's words say (`ConsumerProtocolAssignment`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    pub partitions: Named,
    /// There is more in it, which only the leader's assignor understands.
    pub has_user_data: bool,
}

impl Share {
    /// What no consumer reads.
    pub fn opaque(bytes: Bytes) -> Share {
        Share::Written { bytes, says: None }
    }

    /// As far as it can be read.
    pub fn partitions(&self) -> Option<&Named> {
        match self {
            Share::Written { says, .. } => says.as_ref().map(|said| &said.partitions),
            Share::Given { partitions, .. } => Some(partitions),
        }
    }

    /// The leader has given it nothing yet, not even an empty list.
    pub fn is_missing(&self) -> bool {
        matches!(self, Share::Written { bytes, .. } if bytes.is_empty())
    }
}

impl Default for Share {
    fn default() -> Share {
        Share::opaque(Bytes::new())
    }
}
