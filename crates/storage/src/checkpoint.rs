//! A shard's state at some point of its log, so that recovery reads only what came after.
//!
//! ```text
//! magic "LvCP" · format u32 · CRC32C of all the rest u32 · length of the body u64 · body
//! ```
//!
//! In every format from 2 on (from 3 on with what compaction needs); in format 1 the checksum was that of the body alone, and no deleted partitions were told.
//!
//! The body holds, in the encoding of `codec`: whether the shard was closed cleanly, which files of the
//! write-ahead log are needed still, which deleted partitions may have left their folders, and of each partition: config, log start and end, leader epochs, producers,
//! aborted transactions, damage, and its segments as far as they are synced.
//!
//! Each partition's record was taken at its own moment. That is enough: replay applies to a partition only frames
//! at or after its recorded end, and everything else in the log is idempotent. What a record claims is durable,
//! because a checkpoint is published only when the log was synced past all its moments. The file is replaced as a
//! whole (written beside, synced, renamed).

use std::io;
use std::path::Path;
use std::sync::Arc;

use env::{Disk, read_file, replace_file};
use model::{Offset, PartitionId};

use crate::codec::{Decoder, Encoder, Malformed};
use crate::epochs::Epochs;
use crate::options::LogConfig;
use crate::partition::{Damage, Partition, Synced};
use crate::producers::Producers;
use crate::segment::{Facts, Segment};
use crate::storage::OpenError;

const NAME: &str = "checkpoint";
const RESERVE: &str = "reserve";
const MAGIC: [u8; 4] = *b"LvCP";
/// The format this code writes; it reads all before it.
const FORMAT: u32 = 3;
const HEADER_BYTES: usize = 20;
/// Where the checksum stands.
const CRC_BYTES: std::ops::Range<usize> = 8..12;
const BYTES_MAX: usize = 2 << 30;

/// What is not about a single partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardRecord {
    /// Closed in order: nothing of the log is needed.
    pub is_clean: bool,
    /// The oldest file of the write-ahead log that is needed, and the first group in it.
    pub first_file: u64,
    pub first_group: u64,
    /// No file had this number yet.
    pub next_file: u64,
    /// Every group up to this one is synced.
    pub synced_group: u64,
    /// The records of partitions hold the effects of every group up to this one.
    pub covered_group: u64,
    pub voids: Vec<Void>,
    /// Deleted partitions whose folders may be there still. Only such folders are removed.
    pub deleted: Vec<PartitionId>,
}

/// What a recovery has cut: groups from this number on in files up to that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Void {
    pub file_max: u64,
    pub group_min: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionRecord {
    pub id: PartitionId,
    pub config: LogConfig,
    pub start: Offset,
    pub end: Offset,
    pub epochs: Epochs,
    pub producers: Producers,
    pub damage: Damage,
    pub synced: Synced,
    pub segments: Vec<(Offset, Facts)>,
    /// Compacted up to here.
    pub compacted_end: Offset,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub shard: ShardRecord,
    pub partitions: Vec<PartitionRecord>,
}

/// Reads a shard's checkpoint; none if there is no file.
pub(crate) fn read(disk: &dyn Disk, directory: &Path) -> Result<Option<Checkpoint>, OpenError> {
    let path = directory.join(NAME);
    let bytes = match read_file(disk, &path, BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(OpenError::Io { doing: format!("reading {}", path.display()), source }),
    };
    let unreadable = |reason: &str| OpenError::Checkpoint {
        path: directory.display().to_string(),
        reason: reason.to_owned(),
    };
    let mut header = Decoder::new(&bytes);
    let parsed = (|| Ok((header.take(4)?, header.u32()?, header.u32()?, header.u64()?)))();
    let (magic, format, crc, length) = parsed.map_err(|Malformed(reason)| unreadable(reason))?;
    if magic != MAGIC {
        return Err(unreadable("not a checkpoint"));
    }
    let body = &bytes[HEADER_BYTES..];
    let is_right = match format {
        1 => crc == crc32c::crc32c(body),
        _ => crc == checksum(&bytes),
    };
    if body.len() as u64 != length || !is_right {
        return Err(unreadable("damaged (wrong checksum)"));
    }
    if format > FORMAT {
        return Err(OpenError::Newer { path: path.display().to_string(), found: format, known: FORMAT });
    }
    Checkpoint::decode(body, format).map(Some).map_err(|Malformed(reason)| unreadable(reason))
}

/// Of everything but itself.
fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..CRC_BYTES.start]), &bytes[CRC_BYTES.end..])
}

/// Puts a checkpoint in the place of the one before. On a full disk the reserve makes room.
pub(crate) fn publish(disk: &dyn Disk, directory: &Path, body: &[u8]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&[0; CRC_BYTES.end - CRC_BYTES.start]);
    bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
    bytes.extend_from_slice(body);
    let crc = checksum(&bytes);
    bytes[CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
    let path = directory.join(NAME);
    match replace_file(disk, &path, &bytes) {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            disk.remove(&directory.join(RESERVE))?;
            replace_file(disk, &path, &bytes)
        }
        done => done,
    }
}

/// Sets room aside for the next checkpoint on a full disk.
pub(crate) fn keep_reserve(disk: &dyn Disk, directory: &Path, bytes: u64) -> io::Result<()> {
    let path = directory.join(RESERVE);
    match disk.open(&path) {
        Ok(file) if file.len()? == bytes => return Ok(()),
        // A part was given away; what is left stays where there is no more.
        Ok(file) if file.len()? < bytes => return file.allocate(0, bytes),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&path)?;
    if let Err(error) = file.allocate(0, bytes) {
        let _ = disk.remove(&path);
        return Err(error);
    }
    disk.sync_dir(directory)
}

/// Gives a part of the reserve to something else; says whether there was as much.
pub(crate) fn give_from_reserve(disk: &dyn Disk, directory: &Path, bytes: u64) -> io::Result<bool> {
    let file = match disk.open(&directory.join(RESERVE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let left = file.len()?.saturating_sub(bytes);
    if left == 0 {
        return Ok(false);
    }
    file.set_len(left)?;
    file.sync_data()?;
    Ok(true)
}

impl ShardRecord {
    pub fn encode(&self, out: &mut Encoder) {
        out.bool(self.is_clean);
        out.u64(self.first_file);
        out.u64(self.first_group);
        out.u64(self.next_file);
        out.u64(self.synced_group);
        out.u64(self.covered_group);
        out.list(self.voids.iter(), |out, void| {
            out.u64(void.file_max);
            out.u64(void.group_min);
        });
        out.list(self.deleted.iter(), |out, id| out.partition(*id));
    }

    fn decode(from: &mut Decoder<'_>, format: u32) -> Result<ShardRecord, Malformed> {
        Ok(ShardRecord {
            is_clean: from.bool()?,
            first_file: from.u64()?,
            first_group: from.u64()?,
            next_file: from.u64()?,
            synced_group: from.u64()?,
            covered_group: from.u64()?,
            voids: from.list(|from| Ok(Void { file_max: from.u64()?, group_min: from.u64()? }))?,
            deleted: if format == 1 { Vec::new() } else { from.list(Decoder::partition)? },
        })
    }
}

impl PartitionRecord {
    /// A partition as it is now, as far as it is synced.
    fn of(partition: &Partition) -> PartitionRecord {
        let writer = partition.writer.lock();
        let state = partition.state.lock();
        let synced = writer.synced;
        let is_synced = |segment: &&Arc<Segment>| segment.base <= synced.segment && synced.end > segment.base;
        let segments = state.segments.iter().filter(is_synced).map(|segment| {
            let mut facts = segment.facts();
            if segment.base == synced.segment {
                facts.size = synced.size;
                facts.end = synced.end;
            }
            (segment.base, facts)
        });
        PartitionRecord {
            id: partition.id(),
            config: (*state.config).clone(),
            start: state.start,
            end: state.end,
            epochs: state.epochs.clone(),
            producers: state.producers.clone(),
            damage: state.damage.clone(),
            synced,
            segments: segments.collect(),
            compacted_end: state.compacted_end,
        }
    }

    fn encode(&self, out: &mut Encoder) {
        out.partition(self.id);
        out.config(&self.config);
        out.offset(self.start);
        out.offset(self.end);
        self.epochs.encode(out);
        self.producers.encode(out);
        self.damage.encode(out);
        out.offset(self.synced.end);
        out.offset(self.synced.segment);
        out.u64(self.synced.size);
        out.list(self.segments.iter(), |out, (base, facts)| {
            out.offset(*base);
            out.u64(facts.size);
            out.offset(facts.end);
            out.timestamp(facts.first_timestamp);
            out.timestamp(facts.max_timestamp);
            out.timestamp(facts.appended_at);
            out.timestamp(facts.created_at);
            out.u32(facts.generation);
        });
        out.offset(self.compacted_end);
    }

    fn decode(from: &mut Decoder<'_>, format: u32) -> Result<PartitionRecord, Malformed> {
        Ok(PartitionRecord {
            id: from.partition()?,
            config: from.config()?,
            start: from.offset()?,
            end: from.offset()?,
            epochs: Epochs::decode(from)?,
            producers: Producers::decode(from)?,
            damage: Damage::decode(from)?,
            synced: Synced { end: from.offset()?, segment: from.offset()?, size: from.u64()? },
            segments: from.list(|from| {
                let base = from.offset()?;
                let facts = Facts {
                    size: from.u64()?,
                    end: from.offset()?,
                    first_timestamp: from.timestamp()?,
                    max_timestamp: from.timestamp()?,
                    appended_at: from.timestamp()?,
                    created_at: from.timestamp()?,
                    generation: if format < 3 { 0 } else { from.u32()? },
                };
                Ok((base, facts))
            })?,
            compacted_end: if format < 3 { Offset::ZERO } else { from.offset()? },
        })
    }
}

impl Checkpoint {
    fn decode(body: &[u8], format: u32) -> Result<Checkpoint, Malformed> {
        let mut from = Decoder::new(body);
        let shard = ShardRecord::decode(&mut from, format)?;
        let mut partitions = Vec::new();
        while from.bool()? {
            partitions.push(PartitionRecord::decode(&mut from, format)?);
        }
        from.end()?;
        Ok(Checkpoint { shard, partitions })
    }
}

/// The body of a checkpoint, built partition by partition: each is preceded by 1, the end is 0.
pub(crate) struct Body {
    out: Encoder,
}

impl Body {
    /// The shard's record comes first but is known last: it is put in front at the end.
    pub fn new() -> Body {
        Body { out: Encoder::default() }
    }

    pub fn add(&mut self, partition: &Partition) {
        self.add_record(&PartitionRecord::of(partition));
    }

    pub fn add_record(&mut self, record: &PartitionRecord) {
        self.out.bool(true);
        record.encode(&mut self.out);
    }

    pub fn finish(mut self, shard: &ShardRecord) -> Vec<u8> {
        self.out.bool(false);
        let mut all = Encoder::default();
        shard.encode(&mut all);
        all.bytes.append(&mut self.out.bytes);
        all.bytes
    }
}
