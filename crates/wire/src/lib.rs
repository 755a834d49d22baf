//! The Kafka protocol: messages, their bytes, and frames.
//!
//! The messages are generated at build time from the compact files in `schemas/`, which hold the facts of
//! Kafka 4.4's own definitions (`cargo xtask schemas check` compares them). Each API has a module with its
//! request, its response and their nested structs; requests and responses are re-exported here.
//!
//! This crate never does IO, never logs, never decides what a request means. Decoding never copies
//! strings, bytes or records (they share the input), never reserves more memory than a small constant times
//! the bytes that are there, and never panics; encoding never copies record bytes of some size.
//!
//! Start reading at [`frame`] for what crosses a connection, at [`Message`] for one message, at `schemas/`
//! for what there is, and at `build/generate.rs` for how it becomes code.

mod api;
mod error;
mod error_code;
pub mod frame;
mod message;
#[doc(hidden)]
pub mod part;
mod reader;
mod records;
pub mod stored;
mod tagged;
mod writer;

/// A string of the protocol; shares the bytes it was decoded from.
pub type Str = bytestring::ByteString;

pub use api::{Request, Response};
pub use error::{DecodeError, EncodeError, UnknownApiKey};
pub use error_code::{ErrorCode, UnknownErrorCode};
pub use frame::{
    Frame, Header, decode_request_header, decode_response_header, encode_any_request, encode_any_response,
    encode_request, encode_response,
};
pub use message::{Message, Versions};
pub use part::Part;
pub use reader::{ARRAY_ELEMENTS_MAX, MEMORY_PER_BYTE_MAX, Reader, STRING_BYTES_MAX, TAGGED_FIELDS_MAX};
pub use records::Records;
pub use stored::Stored;
pub use tagged::{TaggedField, TaggedFields};
pub use writer::{SEGMENT_BYTES_MIN, Writer};

include!(concat!(env!("OUT_DIR"), "/messages.rs"));

#[cfg(test)]
mod tests;
