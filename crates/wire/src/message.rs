//! What all messages have in common.

use std::fmt;

use crate::part::Part;
use crate::{DecodeError, EncodeError, Reader, Writer};

/// An inclusive range of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub min: i16,
    pub max: i16,
}

impl Versions {
    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.min, self.max)
    }
}

/// A message of the protocol: a request, a response, a header or a record of an internal topic.
pub trait Message: Part + Clone + fmt::Debug + PartialEq + Default {
    /// Kafka's name, such as `FetchRequest`.
    const NAME: &'static str;
    /// The versions that can be read and written.
    const VERSIONS: Versions;
    /// The first version with compact lengths and tagged fields; `i16::MAX` if there is none.
    const FLEXIBLE: i16;

    /// Reads one message; what follows it stays in the reader.
    ///
    /// Fields that the version does not have get their defaults.
    fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(version) {
            return Err(DecodeError::Version { message: Self::NAME, version, known: Self::VERSIONS });
        }
        Self::read(reader, version, version >= Self::FLEXIBLE)
    }

    /// Writes the message. A field that the version does not have must hold its default, unless Kafka
    /// declares it ignorable.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(version) {
            return Err(EncodeError::Version { message: Self::NAME, version, known: Self::VERSIONS });
        }
        self.write(writer, version, version >= Self::FLEXIBLE)
    }
}
