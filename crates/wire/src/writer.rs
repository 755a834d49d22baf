//! Writing the protocol's primitive types.

use bytes::{BufMut, Bytes, BytesMut};
use model::TopicId;

use crate::reader::STRING_BYTES_MAX;
use crate::{EncodeError, Frame, Part, Records, TaggedFields};

/// From this length on record bytes become a segment of their own instead of being copied.
pub const SEGMENT_BYTES_MIN: usize = 512;

/// Collects an encoded message as a list of segments: record bytes of some size are shared, not copied.
/// After an error its content is worthless.
#[derive(Debug, Default)]
pub struct Writer {
    /// The first segment, kept mutable for the frame's length.
    head: Option<BytesMut>,
    done: Vec<Bytes>,
    done_bytes: usize,
    open: BytesMut,
}

/// Where a tagged field's size will be written.
#[must_use]
pub struct OpenTag(usize);

/// Which unknown tagged fields are still to be written.
#[must_use]
pub struct OpenTags<'a> {
    message: &'static str,
    unknown: &'a [crate::TaggedField],
}

impl Writer {
    pub fn new() -> Writer {
        Writer::default()
    }

    /// A writer that expects about so many bytes beside record bytes.
    pub fn with_capacity(bytes: usize) -> Writer {
        Writer { open: BytesMut::with_capacity(bytes), ..Writer::default() }
    }

    /// The number of bytes written so far.
    pub fn len(&self) -> usize {
        self.done_bytes + self.open.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was written, without a length in front.
    pub fn finish(mut self) -> Frame {
        self.cut();
        let head = self.head.map(BytesMut::freeze);
        Frame::new(head.into_iter().chain(self.done).collect())
    }

    /// What was written, as one piece; copies unless it already is one.
    pub fn into_bytes(self) -> Bytes {
        self.finish().to_bytes()
    }

    /// Writes the length of everything behind them into the first four bytes, which the caller left free.
    pub(crate) fn finish_with_length(mut self) -> Result<Frame, EncodeError> {
        self.cut();
        let length = self.done_bytes - 4;
        let prefix = i32::try_from(length).map_err(|_| EncodeError::FrameTooLong { length })?;
        if let Some(head) = &mut self.head {
            head[..4].copy_from_slice(&prefix.to_be_bytes());
        }
        Ok(self.finish())
    }

    /// Closes the open segment.
    fn cut(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let segment = self.open.split();
        self.done_bytes += segment.len();
        if self.head.is_none() && self.done.is_empty() {
            self.head = Some(segment);
        } else {
            self.done.push(segment.freeze());
        }
    }

    pub fn bool(&mut self, value: bool) {
        self.open.put_u8(u8::from(value));
    }

    pub fn i8(&mut self, value: i8) {
        self.open.put_i8(value);
    }

    pub fn i16(&mut self, value: i16) {
        self.open.put_i16(value);
    }

    pub fn u16(&mut self, value: u16) {
        self.open.put_u16(value);
    }

    pub fn i32(&mut self, value: i32) {
        self.open.put_i32(value);
    }

    pub fn u32(&mut self, value: u32) {
        self.open.put_u32(value);
    }

    pub fn i64(&mut self, value: i64) {
        self.open.put_i64(value);
    }

    pub fn f64(&mut self, value: f64) {
        self.open.put_f64(value);
    }

    pub fn uuid(&mut self, value: TopicId) {
        self.open.put_slice(&value.0);
    }

    /// Bytes as they are, without a length.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.open.put_slice(bytes);
    }

    /// An unsigned number in groups of seven bits, the lowest first.
    pub fn varint(&mut self, value: u32) {
        let (bytes, length) = varint(value);
        self.open.put_slice(&bytes[..length]);
    }

    fn length(&mut self, field: &'static str, length: usize, flexible: bool) -> Result<(), EncodeError> {
        let fits = i32::try_from(length).map_err(|_| EncodeError::TooLong { field, length })?;
        if flexible {
            self.varint(fits as u32 + 1)
        } else {
            self.i32(fits)
        }
        Ok(())
    }

    fn null(
        &mut self,
        field: &'static str,
        version: i16,
        flexible: bool,
        null_allowed: bool,
    ) -> Result<(), EncodeError> {
        match (null_allowed, flexible) {
            (false, _) => return Err(EncodeError::Null { field, version }),
            (true, true) => self.varint(0),
            (true, false) => self.i32(-1),
        }
        Ok(())
    }

    pub fn string(&mut self, field: &'static str, value: &str, flexible: bool) -> Result<(), EncodeError> {
        let length = value.len();
        if length > STRING_BYTES_MAX {
            return Err(EncodeError::TooLong { field, length });
        }
        if flexible {
            self.varint(length as u32 + 1)
        } else {
            self.i16(length as i16)
        }
        self.raw(value.as_bytes());
        Ok(())
    }

    pub fn string_or_null(
        &mut self,
        field: &'static str,
        value: Option<&str>,
        version: i16,
        flexible: bool,
        null_allowed: bool,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.string(field, value, flexible),
            None if null_allowed && !flexible => {
                self.i16(-1);
                Ok(())
            }
            None => self.null(field, version, flexible, null_allowed),
        }
    }

    pub fn bytes(&mut self, field: &'static str, value: &[u8], flexible: bool) -> Result<(), EncodeError> {
        self.length(field, value.len(), flexible)?;
        self.raw(value);
        Ok(())
    }

    pub fn bytes_or_null(
        &mut self,
        field: &'static str,
        value: Option<&[u8]>,
        version: i16,
        flexible: bool,
        null_allowed: bool,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.bytes(field, value, flexible),
            None => self.null(field, version, flexible, null_allowed),
        }
    }

    pub fn records(
        &mut self,
        field: &'static str,
        value: &Records,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        self.length(field, value.len(), flexible)?;
        for chunk in value.chunks() {
            if chunk.len() < SEGMENT_BYTES_MIN {
                self.raw(chunk);
            } else {
                self.cut();
                self.done_bytes += chunk.len();
                self.done.push(chunk.clone());
            }
        }
        Ok(())
    }

    pub fn records_or_null(
        &mut self,
        field: &'static str,
        value: Option<&Records>,
        version: i16,
        flexible: bool,
        null_allowed: bool,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.records(field, value, flexible),
            None => self.null(field, version, flexible, null_allowed),
        }
    }

    pub(crate) fn array<T: Part>(
        &mut self,
        field: &'static str,
        value: &[T],
        version: i16,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        self.length(field, value.len(), flexible)?;
        value.iter().try_for_each(|element| element.write(self, version, flexible))
    }

    pub(crate) fn array_or_null<T: Part>(
        &mut self,
        field: &'static str,
        value: Option<&[T]>,
        version: i16,
        flexible: bool,
        null_allowed: bool,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.array(field, value, version, flexible),
            None => self.null(field, version, flexible, null_allowed),
        }
    }

    pub(crate) fn part_or_null<T: Part>(
        &mut self,
        value: Option<&T>,
        version: i16,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        self.i8(if value.is_some() { 1 } else { -1 });
        value.map_or(Ok(()), |value| value.write(self, version, flexible))
    }

    /// The same in a tagged field, where Kafka writes the presence as a variable-length number.
    pub(crate) fn tagged_part_or_null<T: Part>(
        &mut self,
        value: Option<&T>,
        version: i16,
    ) -> Result<(), EncodeError> {
        self.varint(u32::from(value.is_some()));
        value.map_or(Ok(()), |value| value.write(self, version, true))
    }

    /// A tagged section of unknown fields only.
    pub(crate) fn unknown_tags(
        &mut self,
        message: &'static str,
        unknown: &TaggedFields,
    ) -> Result<(), EncodeError> {
        let tags = self.tags(message, unknown, &[])?;
        self.last_tags(tags)
    }

    /// Begins a tagged section: its size, of the known fields that are present and the unknown ones.
    pub(crate) fn tags<'a>(
        &mut self,
        message: &'static str,
        unknown: &'a TaggedFields,
        present: &[bool],
    ) -> Result<OpenTags<'a>, EncodeError> {
        let unknown = unknown.as_slice();
        if !unknown.is_sorted_by(|a, b| a.tag < b.tag) {
            return Err(EncodeError::UnknownTags { message });
        }
        self.varint((unknown.len() + present.iter().filter(|p| **p).count()) as u32);
        Ok(OpenTags { message, unknown })
    }

    /// Begins a known tagged field, after the unknown ones with lower tags.
    pub(crate) fn tag(&mut self, tags: &mut OpenTags, tag: u32) -> Result<OpenTag, EncodeError> {
        let lower = tags.unknown.iter().take_while(|field| field.tag < tag).count();
        let (now, later) = tags.unknown.split_at(lower);
        self.write_unknown(now)?;
        tags.unknown = later;
        if later.first().is_some_and(|field| field.tag == tag) {
            return Err(EncodeError::UnknownTags { message: tags.message });
        }
        self.varint(tag);
        self.open.put_u8(0);
        Ok(OpenTag(self.open.len()))
    }

    /// Ends a known tagged field: puts its size in front. (No tagged field holds records, so that it lies
    /// in the open segment as a whole.)
    pub(crate) fn close(&mut self, OpenTag(start): OpenTag) {
        let size = self.open.len() - start;
        let (bytes, length) = varint(size as u32);
        if length > 1 {
            let end = self.open.len();
            self.open.put_bytes(0, length - 1);
            self.open.copy_within(start..end, start + length - 1);
        }
        self.open[start - 1..start - 1 + length].copy_from_slice(&bytes[..length]);
    }

    /// Ends a tagged section.
    pub(crate) fn last_tags(&mut self, tags: OpenTags) -> Result<(), EncodeError> {
        self.write_unknown(tags.unknown)
    }

    fn write_unknown(&mut self, fields: &[crate::TaggedField]) -> Result<(), EncodeError> {
        fields.iter().try_for_each(|field| {
            self.varint(field.tag);
            let length = field.bytes.len();
            let fits = i32::try_from(length)
                .map_err(|_| EncodeError::TooLong { field: "an unknown tagged field", length })?;
            self.varint(fits as u32);
            self.raw(&field.bytes);
            Ok(())
        })
    }
}

/// The bytes of a number and how many there are.
fn varint(mut value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut length = 0;
    while value >= 0x80 {
        bytes[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    bytes[length] = value as u8;
    (bytes, length + 1)
}
