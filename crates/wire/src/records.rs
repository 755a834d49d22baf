//! Record batches inside Produce and Fetch messages.

use std::fmt;

use bytes::{Bytes, BytesMut};

/// The bytes of record batches, in one piece or several. Only the bytes count: two are equal however they
/// are cut.
#[derive(Clone)]
pub struct Records(Chunks);

#[derive(Clone)]
enum Chunks {
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Records {
    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.chunks().iter().map(Bytes::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.chunks().iter().all(Bytes::is_empty)
    }

    pub fn chunks(&self) -> &[Bytes] {
        match &self.0 {
            Chunks::One(bytes) => std::slice::from_ref(bytes),
            Chunks::Many(chunks) => chunks,
        }
    }

    /// All bytes in one piece; copies only when there are several chunks.
    pub fn to_bytes(&self) -> Bytes {
        join(self.chunks())
    }
}

/// The chunks in one piece; copies only when there are several.
pub(crate) fn join(chunks: &[Bytes]) -> Bytes {
    match chunks {
        [] => Bytes::new(),
        [one] => one.clone(),
        many => {
            let mut out = BytesMut::with_capacity(many.iter().map(Bytes::len).sum());
            many.iter().for_each(|chunk| out.extend_from_slice(chunk));
            out.freeze()
        }
    }
}

impl Default for Records {
    fn default() -> Self {
        Records(Chunks::One(Bytes::new()))
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        Records(Chunks::One(bytes))
    }
}

impl From<Vec<Bytes>> for Records {
    fn from(chunks: Vec<Bytes>) -> Self {
        Records(Chunks::Many(chunks))
    }
}

impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        match (self.chunks(), other.chunks()) {
            ([one], [other]) => one == other,
            (many, others) => self.len() == other.len() && many.iter().flatten().eq(others.iter().flatten()),
        }
    }
}

impl Eq for Records {}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Records({} bytes)", self.len())
    }
}
