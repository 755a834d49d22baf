//! The five codecs of record batches.
//!
//! Reading takes a limit and never holds more than that plus a constant (a codec's window or one block).
//! Snappy is read raw and with the xerial frame that Java's library writes; LZ4 is read only as Java can read
//! it: independent blocks, reserved bits zero.

mod lz4;
mod snappy;
#[cfg(test)]
mod tests;

use std::io::Read;

use bytes::Bytes;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Compression {
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    #[error("compression type {0} is unknown")]
    Unknown(i16),
    #[error("decompressed records exceed {0} bytes")]
    TooLarge(usize),
    #[error("{codec} data is damaged: {reason}")]
    Damaged { codec: &'static str, reason: String },
}

impl Compression {
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    pub fn from_id(id: i16) -> Result<Compression, CompressionError> {
        match id {
            0 => Ok(Compression::None),
            1 => Ok(Compression::Gzip),
            2 => Ok(Compression::Snappy),
            3 => Ok(Compression::Lz4),
            4 => Ok(Compression::Zstd),
            other => Err(CompressionError::Unknown(other)),
        }
    }

    /// Kafka's name, as in `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    pub fn from_name(name: &str) -> Option<Compression> {
        if name == "uncompressed" {
            return Some(Compression::None);
        }
        Compression::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// Compresses at the codec's usual level, in the frame that Java clients read.
    pub fn compress(self, bytes: &[u8]) -> Vec<u8> {
        const NEVER: &str = "compressing into memory does not fail";
        match self {
            Compression::None => bytes.to_vec(),
            Compression::Gzip => {
                let mut out = Vec::new();
                flate2::read::GzEncoder::new(bytes, flate2::Compression::default())
                    .read_to_end(&mut out)
                    .expect(NEVER);
                out
            }
            Compression::Snappy => snappy::compress(bytes),
            Compression::Lz4 => lz4::compress(bytes),
            Compression::Zstd => zstd::bulk::compress(bytes, zstd::DEFAULT_COMPRESSION_LEVEL).expect(NEVER),
        }
    }

    /// Decompresses into at most `bytes_max` bytes; more is an error, found before they are held.
    pub fn decompress(self, bytes: &Bytes, bytes_max: usize) -> Result<Bytes, CompressionError> {
        match self {
            Compression::None if bytes.len() > bytes_max => Err(CompressionError::TooLarge(bytes_max)),
            Compression::None => Ok(bytes.clone()),
            Compression::Gzip => {
                read_bounded("gzip", flate2::read::MultiGzDecoder::new(&bytes[..]), bytes.len(), bytes_max)
            }
            Compression::Snappy => snappy::decompress(bytes, bytes_max),
            Compression::Lz4 => lz4::decompress(bytes, bytes_max),
            Compression::Zstd => unzstd(bytes, bytes_max),
        }
    }
}

fn unzstd(bytes: &[u8], bytes_max: usize) -> Result<Bytes, CompressionError> {
    // A frame may ask for a window up to 128 MiB. 8 MiB is what every decoder must accept; beyond that we
    // grant no more than the caller is ready to hold anyway.
    let window_log = bytes_max.max(1).ilog2().clamp(23, 27);
    let mut decoder =
        zstd::stream::read::Decoder::with_buffer(bytes).map_err(|error| damaged("zstd", error))?;
    decoder.window_log_max(window_log).map_err(|error| damaged("zstd", error))?;
    read_bounded("zstd", decoder, bytes.len(), bytes_max)
}

fn read_bounded(
    codec: &'static str,
    reader: impl Read,
    compressed: usize,
    bytes_max: usize,
) -> Result<Bytes, CompressionError> {
    let mut out = Vec::with_capacity(compressed.saturating_mul(2).min(bytes_max));
    reader.take(bytes_max as u64 + 1).read_to_end(&mut out).map_err(|error| damaged(codec, error))?;
    if out.len() > bytes_max {
        return Err(CompressionError::TooLarge(bytes_max));
    }
    Ok(out.into())
}

fn damaged(codec: &'static str, error: impl ToString) -> CompressionError {
    CompressionError::Damaged { codec, reason: error.to_string() }
}
