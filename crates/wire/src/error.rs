//! Why bytes could not be read, or a message not be written.

use crate::{ApiKey, Versions};

/// Why bytes are not a message. Offsets count from the start of what the reader was given. Whatever the
/// variant, the peer is broken or speaks something else: answer INVALID_REQUEST or close the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{needed} bytes needed at offset {offset}, {left} left")]
    End { offset: usize, needed: usize, left: usize },
    #[error("{message}: version {version} is outside {known}")]
    Version { message: &'static str, version: i16, known: Versions },
    #[error("{field} must not be null in this version (before offset {offset})")]
    Null { field: &'static str, offset: usize },
    #[error("{field} at offset {offset} has {length} bytes, more than a string may have (32767)")]
    StringTooLong { field: &'static str, offset: usize, length: usize },
    #[error("{field} at offset {offset} is not UTF-8")]
    NotUtf8 { field: &'static str, offset: usize },
    #[error("{field} at offset {offset} has {length} elements, more than an array may have (1000000)")]
    ArrayTooLong { field: &'static str, offset: usize, length: usize },
    #[error("{field} at offset {offset} makes the message take more memory than the {allowed} bytes it may")]
    TooMuchMemory { field: &'static str, offset: usize, allowed: usize },
    #[error("the variable-length number at offset {offset} does not end within 32 bits")]
    Varint { offset: usize },
    #[error("{message} at offset {offset}: {count} tagged fields, more than allowed (10000)")]
    TooManyTags { message: &'static str, offset: usize, count: usize },
    #[error("{message} at offset {offset}: tag {tag} does not come in ascending order")]
    TagOrder { message: &'static str, tag: u32, offset: usize },
    #[error("{message}: the field of tag {tag} ends at offset {offset}, {left} bytes before its size says")]
    TagSize { message: &'static str, tag: u32, offset: usize, left: usize },
    #[error("the record has type {found}, not {expected}")]
    RecordType { expected: i16, found: i16 },
    #[error("the metadata record has frame version {version}, and only 1 is known")]
    FrameVersion { version: u32 },
    #[error("there is no API with key {0} here")]
    UnknownApi(i16),
}

/// Why a message cannot be written in the version asked for: always a mistake of the caller, who picked
/// the version or filled the fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("{message}: version {version} is outside {known}")]
    Version { message: &'static str, version: i16, known: Versions },
    #[error("{field} is set, but version {version} has no such field; leave it at its default")]
    Absent { field: &'static str, version: i16 },
    #[error("{field} must not be null in version {version}")]
    Null { field: &'static str, version: i16 },
    #[error("{field} has {length} bytes or elements, more than its length can say")]
    TooLong { field: &'static str, length: usize },
    #[error("{message}: unknown tagged fields must ascend and avoid the known tags")]
    UnknownTags { message: &'static str },
    #[error("{message}: version {version} has no tagged fields, but some are set")]
    NoTags { message: &'static str, version: i16 },
    #[error("a frame of {length} bytes is longer than its length can say")]
    FrameTooLong { length: usize },
}

impl EncodeError {
    #[cold]
    pub(crate) fn absent(field: &'static str, version: i16) -> EncodeError {
        EncodeError::Absent { field, version }
    }
}

/// A number that is no API of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no API with key {0} here")]
pub struct UnknownApiKey(pub i16);

impl TryFrom<i16> for ApiKey {
    type Error = UnknownApiKey;

    fn try_from(key: i16) -> Result<Self, UnknownApiKey> {
        ApiKey::of(key).ok_or(UnknownApiKey(key))
    }
}
