//! Snappy, raw or in xerial's frame:
//!
//! ```text
//! 82 'S' 'N' 'A' 'P' 'P' 'Y' 00 · version i32 · compatible i32 · (length i32 · raw snappy block)*
//! ```
//!
//! Such streams may be concatenated: the 16 bytes then appear again where a length would be.

use bytes::Bytes;

use super::{CompressionError, damaged};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEADER_BYTES: usize = 16;
/// The only version of xerial's frame; Java refuses lower ones.
const VERSION: i32 = 1;
/// What snappy-java writes.
const BLOCK_BYTES: usize = 32 * 1024;

pub fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + bytes.len() / 2);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&VERSION.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in bytes.chunks(BLOCK_BYTES) {
        let compressed = encoder.compress_vec(block).expect("a block of 32 KiB is not too large");
        out.extend_from_slice(&(compressed.len() as i32).to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    out
}

pub fn decompress(bytes: &[u8], bytes_max: usize) -> Result<Bytes, CompressionError> {
    let mut out = Vec::new();
    if !bytes.starts_with(&MAGIC) {
        append_block(&mut out, bytes, bytes_max)?;
        return Ok(out.into());
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        if rest.starts_with(&MAGIC) {
            let (header, tail) = rest
                .split_first_chunk::<HEADER_BYTES>()
                .ok_or_else(|| damaged("snappy", "frame header is cut short"))?;
            let version = i32::from_be_bytes([header[8], header[9], header[10], header[11]]);
            if version < VERSION {
                return Err(damaged("snappy", format!("frame version {version} is not known")));
            }
            rest = tail;
            continue;
        }
        let (length, tail) =
            rest.split_first_chunk::<4>().ok_or_else(|| damaged("snappy", "block length is cut short"))?;
        let length = usize::try_from(i32::from_be_bytes(*length))
            .map_err(|_| damaged("snappy", "negative block length"))?;
        let (block, tail) =
            tail.split_at_checked(length).ok_or_else(|| damaged("snappy", "block is cut short"))?;
        append_block(&mut out, block, bytes_max)?;
        rest = tail;
    }
    Ok(out.into())
}

fn append_block(out: &mut Vec<u8>, block: &[u8], bytes_max: usize) -> Result<(), CompressionError> {
    // Not even "nothing" is written as no bytes, and Java refuses it.
    if block.is_empty() {
        return Err(damaged("snappy", "a block is empty"));
    }
    let length = snap::raw::decompress_len(block).map_err(|error| damaged("snappy", error))?;
    if length > bytes_max.saturating_sub(out.len()) {
        return Err(CompressionError::TooLarge(bytes_max));
    }
    // Snappy's best ratio is about 1:21 (a copy of 64 bytes in 3): a longer claim is a lie that must not reserve.
    if length > block.len().saturating_mul(64) {
        return Err(damaged("snappy", "block claims more than it can hold"));
    }
    let start = out.len();
    out.resize(start + length, 0);
    let written = snap::raw::Decoder::new()
        .decompress(block, &mut out[start..])
        .map_err(|error| damaged("snappy", error))?;
    out.truncate(start + written);
    Ok(())
}
