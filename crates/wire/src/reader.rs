//! Reading the protocol's primitive types.

use bytes::Bytes;
use model::TopicId;

use crate::tagged::TaggedField;
use crate::{DecodeError, Part, Records, Str, TaggedFields};

/// The most elements an array may have, as in Kafka 4.4's readers.
pub const ARRAY_ELEMENTS_MAX: usize = 1_000_000;
/// The most fields a tagged section may have, as in Kafka 4.4's readers.
pub const TAGGED_FIELDS_MAX: usize = 10_000;
/// The longest string, whatever its length prefix could say.
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// The most memory that a decoded message takes per byte of input, beside the input itself: what a memory
/// budget has to reckon with. Arrays of empty strings come near it; produced records take next to nothing.
pub const MEMORY_PER_BYTE_MAX: usize = 80;

/// The most memory that one element of an array takes per byte it has on the wire; checked for every array
/// when this crate is compiled.
const ELEMENT_MEMORY_PER_BYTE_MAX: usize = 48;

/// A position in a message's bytes. Strings, bytes and records that it yields share those bytes: whoever
/// keeps one for long keeps the whole input alive, and should copy it.
#[derive(Clone, Debug)]
pub struct Reader {
    data: Bytes,
    at: usize,
    /// Where reading stops: the end of the data, or of the tagged field being read.
    end: usize,
    /// Bytes that arrays and unknown tagged fields take in memory so far, and may take.
    memory: usize,
    memory_max: usize,
}

impl Reader {
    pub fn new(data: Bytes) -> Reader {
        let end = data.len();
        Reader { data, at: 0, end, memory: 0, memory_max: usize::MAX }
    }

    /// Refuses messages whose arrays and unknown tagged fields together take more memory than this. (Strings, bytes
    /// and records share the input's.)
    pub fn with_memory_max(self, bytes: usize) -> Reader {
        Reader { memory_max: bytes, ..self }
    }

    /// What has been read takes so many bytes of memory, beside the input itself.
    pub fn memory(&self) -> usize {
        self.memory
    }

    fn charge(&mut self, field: &'static str, offset: usize, bytes: usize) -> Result<(), DecodeError> {
        self.memory += bytes;
        if self.memory > self.memory_max {
            return Err(DecodeError::TooMuchMemory { field, offset, allowed: self.memory_max });
        }
        Ok(())
    }

    /// The number of bytes not read yet. After a complete message, anything but 0 is for the caller to judge.
    pub fn remaining(&self) -> usize {
        self.end - self.at
    }

    /// The number of bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The bytes not read yet.
    pub fn rest(self) -> Bytes {
        self.data.slice(self.at..self.end)
    }

    fn take(&mut self, count: usize) -> Result<&[u8], DecodeError> {
        let offset = self.at;
        if count > self.end - offset {
            return Err(DecodeError::End { offset, needed: count, left: self.end - offset });
        }
        self.at += count;
        Ok(&self.data[offset..offset + count])
    }

    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn take_shared(&mut self, count: usize) -> Result<Bytes, DecodeError> {
        if count == 0 {
            return Ok(Bytes::new());
        }
        let offset = self.at;
        self.take(count)?;
        Ok(self.data.slice(offset..offset + count))
    }

    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? != 0)
    }

    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        self.array_of().map(i8::from_be_bytes)
    }

    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        self.array_of().map(i16::from_be_bytes)
    }

    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array_of().map(u16::from_be_bytes)
    }

    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array_of().map(i32::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array_of().map(u32::from_be_bytes)
    }

    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array_of().map(i64::from_be_bytes)
    }

    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        self.array_of().map(f64::from_be_bytes)
    }

    pub fn uuid(&mut self) -> Result<TopicId, DecodeError> {
        self.array_of().map(TopicId)
    }

    /// An unsigned number in groups of seven bits, the lowest first, of at most five bytes.
    pub fn varint(&mut self) -> Result<u32, DecodeError> {
        let offset = self.at;
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.take(1)?[0];
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Varint { offset })
    }

    /// The length in front of bytes and arrays: `None` for null, which is any negative number.
    fn length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible {
            Ok(self.varint()?.checked_sub(1).map(|length| length as usize))
        } else {
            Ok(usize::try_from(self.i32()?).ok())
        }
    }

    fn string_length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible { self.length(true) } else { Ok(usize::try_from(self.i16()?).ok()) }
    }

    pub fn string(&mut self, field: &'static str, flexible: bool) -> Result<Str, DecodeError> {
        match self.string_or_null(field, flexible, false)? {
            Some(string) => Ok(string),
            None => Err(self.null(field)),
        }
    }

    /// `null_allowed` says whether this version allows null.
    pub fn string_or_null(
        &mut self,
        field: &'static str,
        flexible: bool,
        null_allowed: bool,
    ) -> Result<Option<Str>, DecodeError> {
        let offset = self.at;
        let Some(length) = self.string_length(flexible)? else {
            return if null_allowed { Ok(None) } else { Err(self.null(field)) };
        };
        if length > STRING_BYTES_MAX {
            return Err(DecodeError::StringTooLong { field, offset, length });
        }
        let bytes = self.take_shared(length)?;
        Str::try_from(bytes).map(Some).map_err(|_| DecodeError::NotUtf8 { field, offset })
    }

    pub fn bytes(&mut self, field: &'static str, flexible: bool) -> Result<Bytes, DecodeError> {
        match self.bytes_or_null(field, flexible, false)? {
            Some(bytes) => Ok(bytes),
            None => Err(self.null(field)),
        }
    }

    pub fn bytes_or_null(
        &mut self,
        field: &'static str,
        flexible: bool,
        null_allowed: bool,
    ) -> Result<Option<Bytes>, DecodeError> {
        match self.length(flexible)? {
            Some(length) => self.take_shared(length).map(Some),
            None if null_allowed => Ok(None),
            None => Err(self.null(field)),
        }
    }

    pub fn records(&mut self, field: &'static str, flexible: bool) -> Result<Records, DecodeError> {
        self.bytes(field, flexible).map(Records::from)
    }

    pub fn records_or_null(
        &mut self,
        field: &'static str,
        flexible: bool,
        null_allowed: bool,
    ) -> Result<Option<Records>, DecodeError> {
        Ok(self.bytes_or_null(field, flexible, null_allowed)?.map(Records::from))
    }

    pub(crate) fn array<T: Part>(
        &mut self,
        field: &'static str,
        version: i16,
        flexible: bool,
    ) -> Result<Vec<T>, DecodeError> {
        match self.array_or_null(field, version, flexible, false)? {
            Some(array) => Ok(array),
            None => Err(self.null(field)),
        }
    }

    pub(crate) fn array_or_null<T: Part>(
        &mut self,
        field: &'static str,
        version: i16,
        flexible: bool,
        null_allowed: bool,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        const { assert!(T::LEAST_SIZE > 0, "elements without bytes could be claimed for free") };
        const { assert!(size_of::<T>() <= ELEMENT_MEMORY_PER_BYTE_MAX * T::LEAST_SIZE) };
        let offset = self.at;
        let Some(length) = self.length(flexible)? else {
            return if null_allowed { Ok(None) } else { Err(self.null(field)) };
        };
        self.check_array(field, offset, length, T::LEAST_SIZE)?;
        // What is reserved ahead takes no more memory than the bytes that are there; an array whose
        // elements are larger in memory than on the wire grows as they really arrive.
        let first = step(length, |n| n <= self.remaining() / size_of::<T>());
        self.charge(field, offset, first * size_of::<T>())?;
        let mut array: Vec<T> = Vec::with_capacity(first);
        while array.len() < length {
            if array.len() == array.capacity() {
                let next = step(length, |n| n.div_ceil(2) <= array.len());
                self.charge(field, offset, (next - array.len()) * size_of::<T>())?;
                array.reserve_exact(next - array.len());
            }
            array.push(T::read(self, version, flexible)?);
        }
        Ok(Some(array))
    }

    fn check_array(
        &self,
        field: &'static str,
        offset: usize,
        length: usize,
        element: usize,
    ) -> Result<(), DecodeError> {
        if length > ARRAY_ELEMENTS_MAX {
            return Err(DecodeError::ArrayTooLong { field, offset, length });
        }
        let (needed, left) = (length * element, self.remaining());
        if needed > left { Err(DecodeError::End { offset, needed, left }) } else { Ok(()) }
    }

    /// A struct after a byte that says whether it is there.
    pub(crate) fn part_or_null<T: Part>(
        &mut self,
        version: i16,
        flexible: bool,
    ) -> Result<Option<T>, DecodeError> {
        if self.i8()? < 0 {
            return Ok(None);
        }
        T::read(self, version, flexible).map(Some)
    }

    /// The same in a tagged field, where Kafka writes the presence as a variable-length number.
    pub(crate) fn tagged_part_or_null<T: Part>(&mut self, version: i16) -> Result<Option<T>, DecodeError> {
        if self.varint()? == 0 {
            return Ok(None);
        }
        T::read(self, version, true).map(Some)
    }

    /// A tagged section without any tag that we know.
    pub(crate) fn unknown_tags(&mut self, message: &'static str) -> Result<TaggedFields, DecodeError> {
        let mut unknown = TaggedFields::default();
        self.tags(message, &mut unknown, |_, _| Ok(false))?;
        Ok(unknown)
    }

    /// A tagged section; `known` reads the field of a tag, or answers that it does not know it.
    #[inline]
    pub(crate) fn tags(
        &mut self,
        message: &'static str,
        unknown: &mut TaggedFields,
        mut known: impl FnMut(&mut Reader, u32) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let offset = self.at;
        let count = self.varint()? as usize;
        if count == 0 {
            return Ok(());
        }
        if count > TAGGED_FIELDS_MAX {
            return Err(DecodeError::TooManyTags { message, offset, count });
        }
        let mut least = 0;
        for _ in 0..count {
            let (tag, end) = self.open_tag(message, least)?;
            least = u64::from(tag) + 1;
            let outer = std::mem::replace(&mut self.end, end);
            if !known(self, tag)? {
                self.charge(message, offset, size_of::<TaggedField>())?;
                let bytes = self.take_shared(self.remaining())?;
                unknown.push(tag, bytes);
            }
            if self.at != end {
                return Err(DecodeError::TagSize { message, tag, offset: self.at, left: end - self.at });
            }
            self.end = outer;
        }
        Ok(())
    }

    /// Reads tag and size, and returns the tag and where its field ends.
    fn open_tag(&mut self, message: &'static str, least: u64) -> Result<(u32, usize), DecodeError> {
        let offset = self.at;
        let tag = self.varint()?;
        if u64::from(tag) < least {
            return Err(DecodeError::TagOrder { message, tag, offset });
        }
        let size = self.varint()? as usize;
        let left = self.remaining();
        if size > left {
            return Err(DecodeError::End { offset: self.at, needed: size, left });
        }
        Ok((tag, self.at + size))
    }

    #[cold]
    fn null(&self, field: &'static str) -> DecodeError {
        DecodeError::Null { field, offset: self.at }
    }
}

/// The first of `length`, its half, its quarter and so on that fits. Growing in these steps, an array ends
/// at its exact length, and old and new storage together never hold more than one and a half of it.
fn step(length: usize, fits: impl Fn(usize) -> bool) -> usize {
    let mut step = length;
    while step > 1 && !fits(step) {
        step = step.div_ceil(2);
    }
    step
}
