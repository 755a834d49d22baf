//! Tagged fields that we do not know.

use bytes::Bytes;

use crate::EncodeError;

/// A tagged field as it came, without an understanding of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedField {
    pub tag: u32,
    pub bytes: Bytes,
}

/// The unknown tagged fields of a struct, by ascending tag. One word as long as there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::box_collection)] // a word instead of three, in every struct of every message
pub struct TaggedFields(Option<Box<Vec<TaggedField>>>);

impl TaggedFields {
    /// Adds a field; tags must be added in ascending order, or encoding fails.
    pub fn push(&mut self, tag: u32, bytes: Bytes) {
        let fields = self.0.get_or_insert_default();
        if fields.is_empty() {
            fields.reserve_exact(1); // one is the rule, and Vec would begin with four
        }
        fields.push(TaggedField { tag, bytes });
    }

    pub fn as_slice(&self) -> &[TaggedField] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Refuses to lose fields in a version that has no place for them.
    pub(crate) fn none(&self, message: &'static str, version: i16) -> Result<(), EncodeError> {
        if self.is_empty() { Ok(()) } else { Err(EncodeError::NoTags { message, version }) }
    }
}
