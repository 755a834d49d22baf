use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use model::{BatchHeader, Offset, PartitionId};

use super::Parts;
use super::replay::{DirectEnd, Rebuilt};
use crate::directory::PARTITIONS;
use crate::partition::{Lost, Partition, Synced, Writer};
use crate::segment::{Facts, Segment, Spot, Step, Walk, file_stem, parse_log_name};
use crate::site::Site;

/// Whether a segment holds, whole, the batch that a frame names.
pub(super) fn holds(
    parts: &Parts,
    id: PartitionId,
    segment: Offset,
    position: u64,
    header: &BatchHeader,
) -> io::Result<bool> {
    let directory = parts.options.data_dir.join(PARTITIONS).join(id.to_string());
    let log = match parts.disk.open(&directory.join(file_stem(segment)).with_extension("log")) {
        Ok(log) => log,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut bytes = BytesMut::zeroed(header.size_bytes());
    let count = log.read_at(&mut bytes, position)?;
    let found = BatchHeader::parse(&bytes[..count]);
    Ok(found.is_ok_and(|found| found == *header && found.check_crc(&bytes[..count]).is_ok()))
}

/// Puts a partition's segments right and makes the partition.
pub(super) fn resume(
    id: PartitionId,
    rebuilt: Rebuilt,
    site: &Arc<Site>,
    is_clean: bool,
) -> io::Result<Partition> {
    let directory = site.partitions_dir().join(id.to_string());
    let Rebuilt { mut state, synced, segments, direct, .. } = rebuilt;
    let disk = &site.disk;
    let new =
        |(base, facts): (Offset, Facts)| Arc::new(Segment::new(disk.clone(), &directory, base, facts, None));
    // What lies below the log's start may have been removed since; but the checkpoint knows the last segment
    // only in part, and a large batch that came after it may reach beyond the start.
    let start = state.start;
    let is_needed = |(base, facts): &(Offset, Facts)| {
        facts.end > start || *base == synced.segment && direct.is_some_and(|direct| direct.end > start)
    };
    state.segments = segments.into_iter().filter(is_needed).map(new).collect();
    let mut reached = synced;
    if !is_clean {
        let on_disk = log_files(site, &directory)?;
        if let Some(direct) = direct {
            reached = follow(&mut state, &on_disk, &directory, synced, direct, site)?;
        }
        trim(&state.segments, &on_disk, &directory, reached, site)?;
    }
    let last =
        state.segments.last().filter(|segment| segment.base == reached.segment && segment.facts().size > 0);
    let mut writer = Writer::resume(last.cloned(), &state.config, reached)?;
    writer.has_directory |= !state.segments.is_empty();
    Ok(Partition::new(id, site.clone(), state, writer))
}

/// The base offsets of the log files there are.
fn log_files(site: &Site, directory: &Path) -> io::Result<Vec<Offset>> {
    match site.disk.list(directory) {
        Ok(entries) => Ok(entries.iter().filter_map(|entry| parse_log_name(&entry.name)).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Takes in what lies between the checkpoint's point and the last large batch that the log names. It was synced:
/// what cannot be read of it is damaged.
fn follow(
    state: &mut crate::partition::LogState,
    on_disk: &[Offset],
    directory: &Path,
    synced: Synced,
    direct: DirectEnd,
    site: &Arc<Site>,
) -> io::Result<Synced> {
    let now = site.clock.now();
    let interval = state.config.index_interval_bytes;
    let from = |base: &&Offset| **base >= synced.segment && **base <= direct.segment;
    let bases: Vec<Offset> = on_disk.iter().filter(from).copied().collect();
    let mut expected = synced.end;
    for (index, base) in bases.iter().enumerate() {
        let segment = match state.segments.iter().find(|segment| segment.base == *base) {
            Some(segment) => segment.clone(),
            // Its batches are older than the checkpoint: a leftover that retention has removed.
            None if *base < synced.end && synced.end > Offset::ZERO => continue,
            None => {
                let facts = Facts::new(*base, now);
                let segment = Arc::new(Segment::new(site.disk.clone(), directory, *base, facts, None));
                state.segments.push(segment.clone());
                segment
            }
        };
        let facts = segment.facts();
        let log = segment.log()?;
        let length = log.len()?;
        let (size, end) = match bases.get(index + 1) {
            Some(next) => (length, *next),
            None => (direct.position, direct.end),
        };
        log.sync_data()?;
        let walk = Walk::new(&*log, *base, size, end, false).from(facts.size, facts.end);
        for step in walk {
            match step? {
                Step::Batch { header, .. } => segment.add(&header, now, interval),
                Step::Damage { position, next, first, last } => {
                    let spot = Spot { segment: *base, position, next };
                    state.damage.add(Lost { first, last, spot: Some(spot) });
                    segment.skip(next, last.plus(1));
                }
            }
        }
        expected = segment.facts().end;
    }
    let first = expected.max(state.start);
    if first < direct.end {
        // The segment itself is gone.
        state.damage.add(Lost { first, last: direct.end.plus(-1), spot: None });
    }
    let last = state.segments.last().map(|segment| (segment.base, segment.facts().size));
    let (segment, size) = last.unwrap_or_default();
    Ok(Synced { end: direct.end, segment, size })
}

/// Cuts what lies behind the point that counts, and removes files that nothing speaks of.
fn trim(
    segments: &[Arc<Segment>],
    on_disk: &[Offset],
    directory: &Path,
    reached: Synced,
    site: &Arc<Site>,
) -> io::Result<()> {
    for base in on_disk {
        match segments.iter().find(|segment| segment.base == *base) {
            None => {
                Segment::new(site.disk.clone(), directory, *base, Facts::new(*base, site.clock.now()), None)
                    .remove()?
            }
            Some(segment) if *base == reached.segment => {
                let log = segment.log()?;
                let size = segment.facts().size;
                if log.len()? > size {
                    log.set_len(size)?;
                }
            }
            Some(_) => {}
        }
    }
    Ok(())
}
