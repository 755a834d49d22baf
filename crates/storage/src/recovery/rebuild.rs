//! A checkpoint made anew from segments and log, when the old one is unreadable.

use std::collections::BTreeSet;
use std::io;

use bytes::BytesMut;
use env::read_exact_at;
use model::{Batch, Offset, PartitionId};

use super::examine::{open_slots, scan};
use super::{Parts, failed, log_files};
use crate::checkpoint::{self, Body, PartitionRecord, ShardRecord};
use crate::directory::{self, PARTITIONS};
use crate::epochs::Epochs;
use crate::options::LogConfig;
use crate::partition::{Damage, Synced};
use crate::producers::{Marker, Producers};
use crate::segment::{Facts, Step, Walk, file_stem};
use crate::storage::OpenError;

/// Writes a checkpoint for a shard by what its partitions' segments hold; `shards` are all there are. Partitions
/// that no other shard knows are taken to be this one's. What is in the log since is replayed by the next start.
pub(crate) fn rebuild_checkpoint(parts: &Parts, shard: u32, shards: &[u32]) -> Result<(), OpenError> {
    let disk = &*parts.disk;
    let data_dir = &parts.options.data_dir;
    let directory = directory::shard_dir(data_dir, shard);
    let failed = |doing: &'static str| failed(doing, &directory);
    disk.create_dir(&directory).map_err(failed("creating"))?;
    let mut foreign = BTreeSet::new();
    for other in shards.iter().filter(|other| **other != shard) {
        let checkpoint = checkpoint::read(disk, &directory::shard_dir(data_dir, *other));
        foreign.extend(
            checkpoint.ok().flatten().into_iter().flat_map(|held| held.partitions).map(|held| held.id),
        );
    }
    let slots = open_slots(disk, &directory).map_err(failed("opening the write-ahead log in"))?;
    let found =
        scan(&slots, shard, &ShardRecord::default()).map_err(failed("reading the write-ahead log in"))?;
    // The log's last run of groups without a gap; what comes before it was recycled in part.
    let mut groups: Vec<(u64, u64)> =
        found.iter().map(|found| (found.header.group, found.header.file)).collect();
    groups.sort_unstable();
    groups.dedup_by_key(|(group, _)| *group);
    let breaks = groups.windows(2).rposition(|pair| pair[1].0 != pair[0].0 + 1);
    let first = groups.get(breaks.map_or(0, |index| index + 1)).copied();
    let newest = groups.iter().map(|(_, file)| *file).max().unwrap_or(0);
    let (first_group, first_file) = first.unwrap_or((1, newest + 1));
    let record = ShardRecord { first_file, first_group, next_file: newest + 1, ..ShardRecord::default() };
    let mut body = Body::new();
    let entries = disk.list(&data_dir.join(PARTITIONS)).map_err(failed("listing the partitions of"))?;
    for entry in entries {
        let Some(id) = directory::parse_partition_dir(&entry.name) else { continue };
        if !foreign.contains(&id) {
            body.add_record(&rebuild_partition(parts, id).map_err(failed("reading segments of"))?);
        }
    }
    checkpoint::publish(disk, &directory, &body.finish(&record))
        .map_err(failed("writing the checkpoint in"))?;
    tracing::warn!(shard, "the checkpoint was unreadable and was made anew");
    Ok(())
}

fn rebuild_partition(parts: &Parts, id: PartitionId) -> io::Result<PartitionRecord> {
    let directory = parts.options.data_dir.join(PARTITIONS).join(id.to_string());
    let bases = log_files(&*parts.disk, &directory)?;
    let now = parts.clock.now();
    let start = bases.first().copied().unwrap_or(Offset::ZERO);
    let mut record = PartitionRecord {
        id,
        config: LogConfig::unknown(),
        start,
        end: start,
        epochs: Epochs::new(),
        producers: Producers::default(),
        damage: Damage::default(),
        synced: Synced::default(),
        segments: Vec::new(),
    };
    for base in bases {
        let log = parts.disk.open(&directory.join(file_stem(base)).with_extension("log"))?;
        let size = log.len()?;
        let mut facts = Facts::new(base, now);
        // Damage before the last readable batch is kept, to be found again; behind it is only what was never synced.
        let mut readable = facts;
        for step in Walk::new(&*log, base, size, Offset(i64::MAX), true) {
            match step? {
                Step::Damage { next, .. } if next >= size => break,
                // Found again, and told, when it is read.
                Step::Damage { next, last, .. } => {
                    facts.size = next;
                    facts.end = last.plus(1);
                }
                Step::Gap { last, .. } => facts.end = last.plus(1),
                Step::Batch { position, header } => {
                    facts.add(&header, now);
                    readable = facts;
                    record.epochs.begin(header.partition_leader_epoch, header.base_offset);
                    let marker = if header.attributes.is_control() {
                        let mut bytes = BytesMut::zeroed(header.size_bytes());
                        read_exact_at(&*log, &mut bytes, position)?;
                        Batch::parse(bytes.freeze()).ok().as_ref().and_then(Marker::read)
                    } else {
                        None
                    };
                    record.producers.apply(&header, marker, now, parts.options.producer_id_expiration);
                }
            }
        }
        record.end = readable.end;
        record.synced = Synced { end: readable.end, segment: base, size: readable.size };
        record.segments.push((base, readable));
    }
    record.epochs.truncate_start(start);
    Ok(record)
}
