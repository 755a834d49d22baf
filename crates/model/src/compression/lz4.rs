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
    check_descriptor(bytes)?;
    read_bounded("lz4", FrameDecoder::new(bytes), bytes.len(), bytes_max)
}

/// What `Lz4BlockInputStream` refuses must not get into a log that Java clients read.
fn check_descriptor(bytes: &[u8]) -> Result<(), CompressionError> {
    let refuse = |reason: &str| Err(damaged("lz4", reason));
    if !bytes.starts_with(&MAGIC) {
        return refuse("not an LZ4 frame");
    }
    let Some(&[flags, block]) = bytes.get(4..6) else {
        return refuse("frame descriptor is cut short");
    };
    if flags >> 6 != 1 {
        return refuse("unknown frame version");
    }
    if flags & 0b11 != 0 {
        return refuse("reserved bits are set");
    }
    if flags & 1 << 5 == 0 {
        return refuse("dependent blocks are not supported");
    }
    if block & 0b1000_1111 != 0 {
        return refuse("reserved bits are set");
    }
    if !(4..=7).contains(&(block >> 4)) {
        return refuse("unknown block size");
    }
    Ok(())
}
