//! Messages that are kept in the log: records of internal topics.
//!
//! ```text
//! key    of __consumer_offsets and __transaction_state:   record type i16 | body in version 0
//! value  of the same:                                     version i16 | body
//! value  of __cluster_metadata:    frame version varint (1) | record type varint | version varint | body
//! ```

use bytes::Bytes;

use crate::{DecodeError, EncodeError, Message, Reader, Writer};

/// A message that is kept in an internal topic.
pub trait Stored: Message {
    /// The record type: of a key, of the value that belongs to it, or of a metadata record.
    const ID: i16;
}

/// A coordinator record's value: its version, then the body.
pub fn encode_with_version_prefix<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    encode_prefixed(message, version, version)
}

/// Reads a coordinator record's value; the version in front is returned too.
pub fn decode_with_version_prefix<M: Message>(bytes: Bytes) -> Result<(i16, M), DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16()?;
    Ok((version, M::decode(&mut reader, version)?))
}

/// A coordinator record's key: its type, then the body.
pub fn encode_key<K: Stored>(key: &K) -> Result<Bytes, EncodeError> {
    encode_prefixed(key, K::ID, 0)
}

/// The type of a coordinator record, from its key: the [`Stored::ID`] of the message to decode.
pub fn key_type(bytes: &Bytes) -> Result<i16, DecodeError> {
    Reader::new(bytes.clone()).i16()
}

/// Reads a coordinator record's key, which must be of type `K`.
pub fn decode_key<K: Stored>(bytes: Bytes) -> Result<K, DecodeError> {
    let mut reader = Reader::new(bytes);
    let found = reader.i16()?;
    if found != K::ID {
        return Err(DecodeError::RecordType { expected: K::ID, found });
    }
    K::decode(&mut reader, 0)
}

fn encode_prefixed<M: Message>(message: &M, prefix: i16, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::with_capacity(64);
    writer.i16(prefix);
    message.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}

/// The only frame version of metadata records.
const METADATA_FRAME: u32 = 1;

/// A record's value in `__cluster_metadata`.
pub fn encode_metadata_record<M: Stored>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::with_capacity(64);
    writer.varint(METADATA_FRAME);
    writer.varint(M::ID as u32);
    writer.varint(version as u32);
    message.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}

/// Reads the front of a record's value in `__cluster_metadata`: its type (the [`Stored::ID`] of the message
/// to decode), its version, and a reader that stands at the body.
pub fn decode_metadata_header(bytes: Bytes) -> Result<(i16, i16, Reader), DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.varint()?;
    if version != METADATA_FRAME {
        return Err(DecodeError::FrameVersion { version });
    }
    let mut short = || {
        let offset = reader.position();
        i16::try_from(reader.varint()?).map_err(|_| DecodeError::Varint { offset })
    };
    let (id, version) = (short()?, short()?);
    Ok((id, version, reader))
}
