use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use env::Disk;
use model::{BatchHeader, Offset, PartitionId};

use super::Parts;
use super::replay::Rebuilt;
use crate::directory::PARTITIONS;
use crate::partition::{LogState, Lost, Partition, Synced, Writer};
use crate::segment::{Facts, Name, Segment, Spot, Step, Walk};
use crate::site::Site;

/// Whether a segment holds, whole, the batch that a frame names, and everything between it and what is `known` to be
/// whole.
pub(super) fn holds(
    parts: &Parts,
    id: PartitionId,
    known: Synced,
    segment: Offset,
    position: u64,
    header: &BatchHeader,
) -> io::Result<bool> {
    let directory = parts.options.data_dir.join(PARTITIONS).join(id.to_string());
    let log = match parts.disk.open(&directory.join(Name::first(segment).stem()).with_extension("log")) {
        Ok(log) => log,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut bytes = BytesMut::zeroed(header.size_bytes());
    let count = log.read_at(&mut bytes, position)?;
    let found = BatchHeader::parse(&bytes[..count]);
    if !found.is_ok_and(|found| found == *header && found.check_crc(&bytes[..count]).is_ok()) {
        return Ok(false);
    }
    let goes_on = known.segment == segment && known.end > segment && known.size <= position;
    let (from, expected) = if goes_on { (known.size, known.end) } else { (0, segment) };
    for step in Walk::new(&*log, segment, position, header.base_offset, true).from(from, expected) {
        // Offsets without bytes were given up earlier.
        if let Step::Damage { position, next, .. } = step?
            && position < next
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A segment that a partition should have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub base: Offset,
    /// What the checkpoint knows of it, or nothing.
    pub known: Facts,
    /// How far it reaches, by the checkpoint or by the log.
    pub size: u64,
    pub end: Offset,
    /// Its file is there.
    pub exists: bool,
}

/// The segments a partition should have by checkpoint and log, in order.
pub(crate) fn extents(
    rebuilt: &Rebuilt,
    directory: &Path,
    on_disk: &[Name],
    site: &Site,
) -> io::Result<Vec<Extent>> {
    let Rebuilt { state, synced, segments, direct, .. } = rebuilt;
    // What lies below the log's start may have been removed since; but the checkpoint knows the last segment only
    // in part, and a large batch that came after it may reach beyond the start.
    let is_needed = |(base, facts): &&(Offset, Facts)| {
        let grows = *base == synced.segment && direct.is_some_and(|direct| direct.end > state.start);
        facts.end > state.start || grows
    };
    let extent = |(base, facts): &(Offset, Facts)| Extent {
        base: *base,
        known: *facts,
        size: facts.size,
        end: facts.end,
        exists: on_disk.contains(&facts.name(*base)),
    };
    let mut extents: Vec<Extent> = segments.iter().filter(is_needed).map(extent).collect();
    let Some(direct) = direct else { return Ok(extents) };
    let now = site.clock.now();
    for Name { base, generation } in on_disk.iter().copied() {
        // What was compacted, the checkpoint knows.
        let is_new = base >= synced.end && base <= direct.segment && generation == 0;
        if is_new && !extents.iter().any(|extent| extent.base == base) {
            let known = Facts::new(base, now);
            extents.push(Extent { base, known, size: 0, end: base, exists: true });
        }
    }
    // All but the last were complete before the next was begun.
    for index in 0..extents.len() {
        let next = extents.get(index + 1).map(|next| next.base);
        let extent = &mut extents[index];
        if extent.base < synced.segment || !extent.exists {
            continue;
        }
        (extent.size, extent.end) = match next {
            Some(next) => {
                let path = directory.join(extent.known.name(extent.base).stem()).with_extension("log");
                (site.disk.open(&path)?.len()?, next)
            }
            None => (direct.position, direct.end),
        };
    }
    Ok(extents)
}

/// Offsets, first and last, that no segment is left to hold: files are gone, and nothing but the offsets around them
/// tells of them.
pub(crate) fn gaps(rebuilt: &Rebuilt, extents: &[Extent]) -> Vec<(Offset, Offset)> {
    let mut gaps = Vec::new();
    let mut reached = rebuilt.state.start;
    for extent in extents {
        if extent.base > reached {
            gaps.push((reached, extent.base.plus(-1)));
        }
        reached = reached.max(extent.end);
    }
    let first = reached.max(rebuilt.synced.end);
    if let Some(direct) = rebuilt.direct
        && first < direct.end
    {
        gaps.push((first, direct.end.plus(-1)));
    }
    gaps
}

/// Puts a partition's segments right and makes the partition.
pub(super) fn resume(
    id: PartitionId,
    rebuilt: Rebuilt,
    site: &Arc<Site>,
    is_clean: bool,
) -> io::Result<Partition> {
    let directory = site.partitions_dir().join(id.to_string());
    let on_disk = if is_clean {
        rebuilt.segments.iter().map(|(base, facts)| facts.name(*base)).collect()
    } else {
        log_files(&*site.disk, &directory)?
    };
    let extents = extents(&rebuilt, &directory, &on_disk, site)?;
    let gaps = gaps(&rebuilt, &extents);
    let Rebuilt { mut state, mut synced, direct, .. } = rebuilt;
    for (first, last) in gaps {
        state.damage.add_all(first, last);
    }
    for extent in &extents {
        if !extent.exists {
            let first = extent.base.max(state.start);
            state.damage.add(Lost { first, last: extent.end.plus(-1), spot: None });
            continue;
        }
        let segment = Segment::new(site.disk.clone(), &directory, extent.base, extent.known, None);
        if extent.end > extent.known.end {
            follow(&segment, extent, &mut state, site)?;
            // Below the log's start segments are removed, and a crash may take back some of that.
            state.damage.truncate_start(state.start);
        }
        state.segments.push(Arc::new(segment));
    }
    if let Some(direct) = direct {
        let last = state.segments.last().map(|segment| (segment.base, segment.facts()));
        let (segment, size) = last.map_or((Offset::ZERO, 0), |(base, facts)| (base, facts.size));
        synced = Synced { end: direct.end, segment, size };
    }
    if !is_clean {
        trim(&state.segments, &on_disk, &directory, synced, site)?;
    }
    // One that was compacted is complete; and the log's frames name segments as they are first called.
    let grows = |segment: &&Arc<Segment>| {
        let facts = segment.facts();
        segment.base == synced.segment && facts.size > 0 && facts.generation == 0
    };
    let last = state.segments.last().filter(grows);
    let mut writer = Writer::resume(last.cloned(), synced);
    writer.has_directory |= !state.segments.is_empty();
    Ok(Partition::new(id, site.clone(), state, writer))
}

/// The log files there are, in order.
pub(crate) fn log_files(disk: &dyn Disk, directory: &Path) -> io::Result<Vec<Name>> {
    match disk.list(directory) {
        Ok(entries) => {
            let mut names: Vec<Name> = entries.iter().filter_map(|entry| Name::parse(&entry.name)).collect();
            names.sort_unstable();
            Ok(names)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Takes in what a segment holds beyond what the checkpoint knows of it. It was synced: what cannot be read of it
/// is damaged.
fn follow(segment: &Segment, extent: &Extent, state: &mut LogState, site: &Arc<Site>) -> io::Result<()> {
    let now = site.clock.now();
    let interval = state.config.index_interval_bytes;
    let log = segment.log()?;
    log.sync_data()?;
    let walk = Walk::new(&*log, extent.base, extent.size, extent.end, false)
        .from(extent.known.size, extent.known.end);
    for step in walk {
        match step? {
            Step::Batch { header, .. } => segment.add(&header, now, interval),
            Step::Gap { first, last } => {
                if last >= state.start {
                    state.damage.add(Lost { first, last, spot: None });
                }
            }
            Step::Damage { position, next, first, last } => {
                let spot = Spot { segment: extent.base, position, next };
                state.damage.add(Lost { first, last, spot: Some(spot) });
                segment.skip(next, last.plus(1));
            }
        }
    }
    Ok(())
}

/// Cuts what lies behind the point that counts, and removes files that nothing speaks of.
fn trim(
    segments: &[Arc<Segment>],
    on_disk: &[Name],
    directory: &Path,
    reached: Synced,
    site: &Arc<Site>,
) -> io::Result<()> {
    for name in on_disk {
        let base = name.base;
        match segments.iter().find(|segment| segment.facts().name(segment.base) == *name) {
            // Also what a compaction was making, or has replaced.
            None => {
                let facts = Facts { generation: name.generation, ..Facts::new(base, site.clock.now()) };
                Segment::new(site.disk.clone(), directory, base, facts, None).remove()?
            }
            Some(segment) if base == reached.segment => {
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
