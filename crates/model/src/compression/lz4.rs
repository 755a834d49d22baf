//! The LZ4 frame format, in the part of it that Kafka's Java code reads.

use std::io::Write;

use bytes::Bytes;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{CompressionError, damaged, read_bounded};

const MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();

pub fn compress(bytes: &[u8]) -> Vec<u8> {
    const NEVER: &str = "compressing into memory does not fail";
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(bytes).expect(NEVER);
    encoder.finish().expect(NEVER)
}

pub fn decompress(bytes: &[u8], bytes_max: usize) -> Result<Bytes, CompressionError> {
    check(bytes).map_err(|reason| damaged("lz4", reason))?;
    read_bounded("lz4", FrameDecoder::new(bytes), bytes.len(), bytes_max)
}

/// What `Lz4BlockInputStream` or the C library (librdkafka, Python and, underneath, Java too) refuses must not get into a
/// log that they read: their readers stop at such a batch for good. What `FrameDecoder` checks itself (the descriptor's
/// checksum, those of blocks and contents, the content size) is not looked at here.
///
/// ```text
/// magic u32 · flags · block size · [content size u64] · header checksum
///   · (length u32 · block · [checksum u32])* · 0u32 · [content checksum u32]
/// ```
fn check(bytes: &[u8]) -> Result<(), &'static str> {
    let (&[flags, block], mut rest) = bytes
        .strip_prefix(&MAGIC)
        .ok_or("not an LZ4 frame")?
        .split_first_chunk::<2>()
        .ok_or("frame descriptor is cut short")?;
    if flags >> 6 != 1 {
        return Err("unknown frame version");
    }
    if flags & 0b11 != 0 || block & 0b1000_1111 != 0 {
        return Err("reserved bits are set");
    }
    if flags & INDEPENDENT == 0 {
        return Err("dependent blocks are not supported");
    }
    let block_bytes_max = match block >> 4 {
        size @ 4..=7 => 1 << (8 + 2 * size),
        _ => return Err("unknown block size"),
    };
    let has = |flag| flags & flag != 0;
    skip(&mut rest, if has(CONTENT_SIZE) { 9 } else { 1 })?;
    loop {
        let (length, tail) = rest.split_first_chunk::<4>().ok_or("frame has no end mark")?;
        rest = tail;
        let length = u32::from_le_bytes(*length);
        if length == 0 {
            break;
        }
        let is_compressed = length & STORED == 0;
        // Java takes a stored block without bytes for the end mark, the C library for a block.
        let length =
            Some((length & !STORED) as usize).filter(|length| *length > 0).ok_or("a block is empty")?;
        if length > block_bytes_max {
            return Err("a block is larger than the frame allows");
        }
        let block = rest.get(..length).ok_or("a block is cut short")?;
        if is_compressed {
            check_block(block, block_bytes_max)?;
        }
        skip(&mut rest, length + if has(BLOCK_CHECKSUM) { 4 } else { 0 })?;
    }
    skip(&mut rest, if has(CONTENT_CHECKSUM) { 4 } else { 0 })?;
    // Java does not look at what follows; librdkafka refuses it.
    if rest.is_empty() { Ok(()) } else { Err("bytes follow the frame") }
}

fn skip(rest: &mut &[u8], count: usize) -> Result<(), &'static str> {
    *rest = rest.get(count..).ok_or("frame is cut short")?;
    Ok(())
}

const INDEPENDENT: u8 = 1 << 5;
const BLOCK_CHECKSUM: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const CONTENT_CHECKSUM: u8 = 1 << 2;
/// The bit of a block's length that says that it is not compressed.
const STORED: u32 = 1 << 31;

/// How a block must end, which the C library insists on and `lz4_flex` does not.
const LITERALS_LAST: usize = 5;
const MATCH_TO_END_MIN: usize = 12;
const MATCH_LENGTH_MIN: usize = 4;

/// Goes through a block's sequences: (token · literals · offset u16 · length of the match)*, the last one without a match.
/// `room`: what the decompressor has place for.
fn check_block(block: &[u8], room: usize) -> Result<(), &'static str> {
    const CUT: &str = "a block is malformed: a sequence is cut short";
    let (mut at, mut out) = (0, 0);
    // 15 means that bytes follow which are added up to the first that is not 255.
    let length = |nibble: u8, at: &mut usize| -> Result<usize, &'static str> {
        let mut length = usize::from(nibble);
        let mut more = nibble == 15;
        while more {
            let byte = *block.get(*at).ok_or(CUT)?;
            *at += 1;
            length += usize::from(byte);
            more = byte == 255;
        }
        Ok(length)
    };
    loop {
        let token = *block.get(at).ok_or("a block does not end with literals")?;
        at += 1;
        let literals = length(token >> 4, &mut at)?;
        let left = block.len() - at;
        (at, out) = (at + literals, out + literals);
        if out + MATCH_TO_END_MIN > room || literals + 3 + LITERALS_LAST > left {
            return match literals == left && out <= room {
                true => Ok(()),
                false => Err("a block is malformed: its last literals do not end it"),
            };
        }
        let offset = u16::from_le_bytes([block[at], block[at + 1]]);
        at += 2;
        if offset == 0 || usize::from(offset) > out {
            return Err("a block is malformed: it refers to what is not there");
        }
        out += length(token & 15, &mut at)? + MATCH_LENGTH_MIN;
        if out + LITERALS_LAST > room {
            return Err("a block is malformed: it is larger than the frame allows");
        }
    }
}
