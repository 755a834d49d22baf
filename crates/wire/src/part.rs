//! What the generated code is made of.

pub use crate::api::{Request, Response};
pub use crate::stored::Stored;
pub use crate::{
    ApiKey, DecodeError, EncodeError, Message, Reader, Records, Str, TaggedFields, Versions, Writer,
};
pub use bytes::Bytes;
pub use model::TopicId;

/// A struct or an array's element on the wire.
pub trait Part: Sized {
    /// The fewest bytes it takes in any version. Never 0 for an array's element, so that no input can claim
    /// elements that cost it nothing.
    const LEAST_SIZE: usize;

    fn read(reader: &mut Reader, version: i16, flexible: bool) -> Result<Self, DecodeError>;
    fn write(&self, writer: &mut Writer, version: i16, flexible: bool) -> Result<(), EncodeError>;

    /// Tells every error code in it, those of its parts included; 0, which is none, too.
    fn error_codes(&self, _tell: &mut dyn FnMut(i16)) {}
}

macro_rules! scalar {
    ($type:ty, $name:ident, $size:literal) => {
        impl Part for $type {
            const LEAST_SIZE: usize = $size;

            fn read(reader: &mut Reader, _: i16, _: bool) -> Result<Self, DecodeError> {
                reader.$name()
            }

            fn write(&self, writer: &mut Writer, _: i16, _: bool) -> Result<(), EncodeError> {
                writer.$name(*self);
                Ok(())
            }
        }
    };
}

scalar!(i8, i8, 1);
scalar!(i16, i16, 2);
scalar!(i32, i32, 4);
scalar!(i64, i64, 8);
scalar!(TopicId, uuid, 16);

impl Part for Str {
    const LEAST_SIZE: usize = 1;

    fn read(reader: &mut Reader, _: i16, flexible: bool) -> Result<Self, DecodeError> {
        reader.string("a string in an array", flexible)
    }

    fn write(&self, writer: &mut Writer, _: i16, flexible: bool) -> Result<(), EncodeError> {
        writer.string("a string in an array", self, flexible)
    }
}
