//! What must hold for every input whatsoever. The tests run it over a corpus, the fuzzer over anything.
//!
//! ```text
//! byte 0      which message (modulo their number), 255: a whole request frame
//! byte 1      which version (modulo their number)
//! then        the body
//! ```

use bytes::Bytes;
use wire::{AnyRequest, DecodeError, MEMORY_PER_BYTE_MAX, Message, Reader, Versions, Writer};

use crate::counting;

/// What decoding may take on top of what the length of the input allows: an error's or a list's first block.
const MEMORY_BASE: usize = 1024;

/// A message type, without its type.
pub struct Kind {
    pub name: &'static str,
    pub versions: Versions,
    check: fn(Bytes, i16) -> Result<usize, DecodeError>,
    recode: fn(Bytes, i16) -> Recoded,
}

/// What became of bytes that are one message.
pub struct Recoded {
    pub debug: String,
    pub left: usize,
    pub bytes: Bytes,
}

impl Kind {
    const fn of<M: Message>() -> Kind {
        Kind { name: M::NAME, versions: M::VERSIONS, check: check_message::<M>, recode: recode::<M> }
    }

    /// Decodes and encodes again; panics where either fails.
    pub fn recode(&self, bytes: Bytes, version: i16) -> Recoded {
        (self.recode)(bytes, version)
    }

    /// Checks the properties for a body; tells whether it was a message, and then how many bytes it had.
    pub fn check(&self, bytes: Bytes, version: i16) -> Result<usize, DecodeError> {
        (self.check)(bytes, version)
    }
}

macro_rules! kinds {
    ($($message:path,)*) => { &[$(Kind::of::<$message>()),*] };
}

/// Every message there is.
pub const KINDS: &[Kind] = wire::all_messages!(kinds);

/// The entry point: panics when a property does not hold. Answers whether the input was a message.
pub fn check(input: &[u8]) -> bool {
    let [message, version, body @ ..] = input else { return false };
    if *message == u8::MAX {
        return check_frame(Bytes::copy_from_slice(body));
    }
    let kind = &KINDS[usize::from(*message) % KINDS.len()];
    let versions = kind.versions.max - kind.versions.min + 1;
    let version = kind.versions.min + i16::from(*version) % versions;
    kind.check(Bytes::copy_from_slice(body), version).is_ok()
}

/// A whole request frame: header, then a body by the header's key and version.
fn check_frame(frame: Bytes) -> bool {
    let length = frame.len();
    let (decoded, memory) = counting::peak(|| {
        let (header, mut body) = wire::decode_request_header(frame)?;
        let key = header.api().ok_or(DecodeError::UnknownApi(header.api_key))?;
        AnyRequest::decode(key, header.api_version, &mut body)
    });
    check_memory("a frame", length, memory);
    decoded.is_ok()
}

/// Within memory, decoding either refuses or yields a value that survives the way back: it can be encoded
/// in the version it came in, no longer than it was, and then means the same.
fn check_message<M: Message>(input: Bytes, version: i16) -> Result<usize, DecodeError> {
    let length = input.len();
    let mut reader = Reader::new(input);
    let (decoded, memory) = counting::peak(|| M::decode(&mut reader, version));
    check_memory(M::NAME, length, memory);
    let message = decoded?;
    let consumed = reader.position();
    assert_eq!(consumed + reader.remaining(), length);
    let encoded = encode(&message, version);
    assert!(encoded.len() <= consumed, "{} {version}: {consumed} bytes became {}", M::NAME, encoded.len());
    let mut reader = Reader::new(encoded.clone());
    let again = M::decode(&mut reader, version).unwrap_or_else(|e| panic!("{} {version}: {e}", M::NAME));
    assert_eq!(reader.remaining(), 0, "{} {version}", M::NAME);
    // Not a number differs from itself, so values are compared as text, and bytes decide.
    assert!(again == message || format!("{again:?}") == format!("{message:?}"), "{} {version}", M::NAME);
    assert_eq!(encode(&again, version), encoded, "{} {version}", M::NAME);
    Ok(consumed)
}

fn check_memory(what: &str, length: usize, memory: usize) {
    let allowed = MEMORY_PER_BYTE_MAX * length + MEMORY_BASE;
    assert!(memory <= allowed, "{what}: {memory} bytes of memory for {length} bytes, allowed are {allowed}");
}

fn recode<M: Message>(input: Bytes, version: i16) -> Recoded {
    let mut reader = Reader::new(input);
    let message = M::decode(&mut reader, version).unwrap_or_else(|e| panic!("{} {version}: {e}", M::NAME));
    Recoded { debug: format!("{message:?}"), left: reader.remaining(), bytes: encode(&message, version) }
}

fn encode<M: Message>(message: &M, version: i16) -> Bytes {
    let mut writer = Writer::new();
    message.encode(&mut writer, version).unwrap_or_else(|e| panic!("{} {version}: {e}", M::NAME));
    let expected = writer.len();
    let bytes = writer.into_bytes();
    assert_eq!(bytes.len(), expected, "{} {version}: a writer that lost count", M::NAME);
    bytes
}
