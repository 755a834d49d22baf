//! How groups and frames lie in a file of the write-ahead log. All numbers are little-endian, except inside batches.
//!
//! ```text
//! file   = group* , from position 0; after the last group lies whatever an earlier use of the file left
//!
//! group  = header of 64 bytes, then its frames without gaps
//!      0  4  magic "LvG1"
//!      4  4  CRC32C of bytes 8..64
//!      8  8  file sequence number      grows with every use of any file: old content is never mistaken
//!     16  8  group number              contiguous over all files of a shard
//!     24  8  last group known to be synced when this one was written (the proof; 0: none)
//!     32  8  position of this header in the file
//!     40  8  append time, milliseconds
//!     48  4  bytes of all frames
//!     52  4  number of frames
//!     56  4  shard
//!     60  4  zero
//!
//! frame  = header of 40 bytes, then its payload
//!      0  4  CRC32C of bytes 4..40 and of the payload's first 61 bytes (batch) or all of it (others)
//!      4  4  file sequence number, low half
//!      8  4  group number, low half
//!     12  4  payload bytes
//!     16  1  kind
//!     17  3  zero
//!     20 16  topic id
//!     36  4  partition index
//!
//! kind 1 batch      the batch with base offset and leader epoch filled in; its own CRC covers the rest of it
//!      2 direct     the header (61 bytes) of a batch that lies in a segment, the segment's base offset (8) and
//!                   the position in it (8)
//!      3 create     the partition's LogConfig
//!      4 configure  the partition's new LogConfig
//!      5 delete     nothing
//!      6 log start  the partition's new log start offset (8)
//! ```

use model::batch::HEADER_BYTES;
use model::{BatchHeader, Offset, PartitionId, Timestamp, TopicId};

use crate::codec::{Decoder, Encoder};
use crate::options::LogConfig;

pub(crate) const GROUP_MAGIC: [u8; 4] = *b"LvG1";
pub(crate) const GROUP_HEADER_BYTES: usize = 64;
pub(crate) const FRAME_HEADER_BYTES: usize = 40;
/// Payload of a frame that names a batch in a segment.
pub(crate) const DIRECT_BYTES: usize = HEADER_BYTES + 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    pub file: u64,
    pub group: u64,
    pub synced: u64,
    pub position: u64,
    pub written_at: Timestamp,
    pub body_bytes: u32,
    pub frames: u32,
    pub shard: u32,
}

impl GroupHeader {
    pub fn encode(&self) -> [u8; GROUP_HEADER_BYTES] {
        let mut b = [0; GROUP_HEADER_BYTES];
        b[0..4].copy_from_slice(&GROUP_MAGIC);
        b[8..16].copy_from_slice(&self.file.to_le_bytes());
        b[16..24].copy_from_slice(&self.group.to_le_bytes());
        b[24..32].copy_from_slice(&self.synced.to_le_bytes());
        b[32..40].copy_from_slice(&self.position.to_le_bytes());
        b[40..48].copy_from_slice(&self.written_at.0.to_le_bytes());
        b[48..52].copy_from_slice(&self.body_bytes.to_le_bytes());
        b[52..56].copy_from_slice(&self.frames.to_le_bytes());
        b[56..60].copy_from_slice(&self.shard.to_le_bytes());
        let crc = crc32c::crc32c(&b[8..]);
        b[4..8].copy_from_slice(&crc.to_le_bytes());
        b
    }

    /// The header at the start of `bytes`, if it is one that was written for this position.
    pub fn decode(bytes: &[u8], position: u64) -> Option<GroupHeader> {
        let b = bytes.first_chunk::<GROUP_HEADER_BYTES>()?;
        if b[0..4] != GROUP_MAGIC || u32_at(b, 4) != crc32c::crc32c(&b[8..]) {
            return None;
        }
        let header = GroupHeader {
            file: u64_at(b, 8),
            group: u64_at(b, 16),
            synced: u64_at(b, 24),
            position: u64_at(b, 32),
            written_at: Timestamp(u64_at(b, 40) as i64),
            body_bytes: u32_at(b, 48),
            frames: u32_at(b, 52),
            shard: u32_at(b, 56),
        };
        (header.position == position).then_some(header)
    }

    /// Where the next group begins.
    pub fn end(&self) -> u64 {
        self.position + GROUP_HEADER_BYTES as u64 + u64::from(self.body_bytes)
    }
}

/// What ties a frame to its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub file: u64,
    pub group: u64,
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Batch(BatchHeader),
    Direct { header: BatchHeader, segment: Offset, position: u64 },
    Create(LogConfig),
    Configure(LogConfig),
    Delete,
    LogStart(Offset),
}

/// A frame read back. Only [`Entry::Batch`] has more of a payload than the entry holds: `payload`.
#[derive(Clone, Debug)]
pub(crate) struct Frame<'a> {
    pub partition: PartitionId,
    pub entry: Entry,
    pub payload: &'a [u8],
    /// Low half of the group number.
    pub group_low: u32,
}

impl Frame<'_> {
    pub fn size_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.payload.len()
    }
}

const BATCH: u8 = 1;
const DIRECT: u8 = 2;
const CREATE: u8 = 3;
const CONFIGURE: u8 = 4;
const DELETE: u8 = 5;
const LOG_START: u8 = 6;

/// Appends a frame with a batch: its 61 bytes of header, patched, and the rest of it as the client sent it.
pub(crate) fn write_batch(
    out: &mut Vec<u8>,
    stamp: Stamp,
    partition: PartitionId,
    head: &[u8; HEADER_BYTES],
    rest: &[u8],
) {
    write_header(out, stamp, partition, BATCH, HEADER_BYTES + rest.len(), head);
    out.extend_from_slice(head);
    out.extend_from_slice(rest);
}

/// Appends any other frame.
pub(crate) fn write_entry(out: &mut Vec<u8>, stamp: Stamp, partition: PartitionId, entry: &Entry) {
    let mut payload = Encoder::default();
    let kind = match entry {
        Entry::Batch(_) => unreachable!("batches are written with their bytes"),
        Entry::Direct { header, segment, position } => {
            payload.bytes.extend_from_slice(&header.encode());
            payload.offset(*segment);
            payload.u64(*position);
            DIRECT
        }
        Entry::Create(config) => {
            payload.config(config);
            CREATE
        }
        Entry::Configure(config) => {
            payload.config(config);
            CONFIGURE
        }
        Entry::Delete => DELETE,
        Entry::LogStart(offset) => {
            payload.offset(*offset);
            LOG_START
        }
    };
    write_header(out, stamp, partition, kind, payload.bytes.len(), &payload.bytes);
    out.extend_from_slice(&payload.bytes);
}

fn write_header(
    out: &mut Vec<u8>,
    stamp: Stamp,
    partition: PartitionId,
    kind: u8,
    payload_bytes: usize,
    covered: &[u8],
) {
    let mut b = [0; FRAME_HEADER_BYTES];
    b[4..8].copy_from_slice(&(stamp.file as u32).to_le_bytes());
    b[8..12].copy_from_slice(&(stamp.group as u32).to_le_bytes());
    b[12..16].copy_from_slice(&(payload_bytes as u32).to_le_bytes());
    b[16] = kind;
    b[20..36].copy_from_slice(&partition.topic.0);
    b[36..40].copy_from_slice(&partition.index.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&b[4..]), covered);
    b[0..4].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&b);
}

/// The frame at the start of `bytes` if it belongs to that use of the file. Does not check the part of a batch
/// that the batch's own CRC covers.
pub(crate) fn read_frame(bytes: &[u8], file: u64) -> Option<Frame<'_>> {
    let b = bytes.first_chunk::<FRAME_HEADER_BYTES>()?;
    if u32_at(b, 4) != file as u32 {
        return None;
    }
    let payload = bytes[FRAME_HEADER_BYTES..].get(..u32_at(b, 12) as usize)?;
    let covered = match b[16] {
        BATCH => payload.get(..HEADER_BYTES)?,
        _ => payload,
    };
    if u32_at(b, 0) != crc32c::crc32c_append(crc32c::crc32c(&b[4..]), covered) {
        return None;
    }
    let topic = TopicId(b[20..36].try_into().expect("16 bytes"));
    let partition = PartitionId { topic, index: u32_at(b, 36) as i32 };
    let mut decoder = Decoder::new(payload);
    let entry = match b[16] {
        BATCH => {
            let header = BatchHeader::parse(payload).ok()?;
            if header.size_bytes() != payload.len() {
                return None;
            }
            Entry::Batch(header)
        }
        DIRECT => Entry::Direct {
            header: BatchHeader::parse(decoder.take(HEADER_BYTES).ok()?).ok()?,
            segment: decoder.offset().ok()?,
            position: decoder.u64().ok()?,
        },
        CREATE => Entry::Create(decoder.config().ok()?),
        CONFIGURE => Entry::Configure(decoder.config().ok()?),
        DELETE => Entry::Delete,
        LOG_START => Entry::LogStart(decoder.offset().ok()?),
        _ => return None,
    };
    Some(Frame { partition, entry, payload, group_low: u32_at(b, 8) })
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(b[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(b[at..at + 8].try_into().expect("8 bytes"))
}
