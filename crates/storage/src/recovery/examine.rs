//! What checkpoint and log say, found out without changing anything.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use env::{Disk, File};
use model::{Offset, PartitionId};

use super::replay::{FrameAt, Replay};
use super::verdict::{Verdict, judge};
use super::{Parts, failed, segments};
use crate::checkpoint::{self, Checkpoint, PartitionRecord, ShardRecord};
use crate::directory;
use crate::partition::Synced;
use crate::site::Site;
use crate::storage::OpenError;
use crate::wal::Wal;
use crate::wal::format::{Entry, GROUP_HEADER_BYTES, GroupHeader};
use crate::wal::scan::{Found, Piece, pieces, read_body, scan_file};

/// A shard as it lies on the disk, replayed in memory.
pub(crate) struct Examined {
    pub record: ShardRecord,
    pub slots: Slots,
    pub verdict: Verdict,
    /// The log's files that are needed: number → slot and first group.
    pub files: BTreeMap<u64, (u32, u64)>,
    pub newest_file: u64,
    /// It was closed in order.
    pub is_clean: bool,
    pub site: Arc<Site>,
    pub replay: Replay,
}

pub(crate) type Slots = BTreeMap<u32, Arc<dyn File>>;

/// None when there is no shard yet. One that was there, or has a log, but has no checkpoint has lost it, which is an
/// error.
pub(crate) fn examine(parts: &Parts, shard: u32) -> Result<Option<Examined>, OpenError> {
    let disk = &*parts.disk;
    let directory = directory::shard_dir(&parts.options.data_dir, shard);
    let failed = |doing: &'static str| failed(doing, &directory);
    let slots = open_slots(disk, &directory).map_err(failed("opening the write-ahead log in"))?;
    let Some(Checkpoint { shard: record, partitions }) = checkpoint::read(disk, &directory)? else {
        let missing = |beside: &str| OpenError::Checkpoint {
            path: directory.display().to_string(),
            reason: format!("it is missing although there {beside}"),
        };
        let empty = ShardRecord::default();
        if shard < parts.shards_known {
            return Err(missing("was one"));
        }
        if !scan(&slots, shard, &empty).map_err(failed("reading the write-ahead log in"))?.is_empty() {
            return Err(missing("is a write-ahead log"));
        }
        // What no shard knows is removed: a first shard that is gone must not take everything with it.
        if shard == 0
            && directory::has_partitions(disk, &parts.options.data_dir)
                .map_err(failed("listing the partitions beside"))?
        {
            return Err(missing("are partitions"));
        }
        return Ok(None);
    };
    let found = scan(&slots, shard, &record).map_err(failed("reading the write-ahead log in"))?;
    let is_clean = record.is_clean && found.is_empty();
    let mut verdict = judge(found, &record.voids, record.synced_group, record.first_group);
    cut_unfinished_direct(parts, &slots, &mut verdict, &partitions).map_err(failed("reading segments of"))?;
    let files: BTreeMap<u64, (u32, u64)> = live_files(&verdict.groups);
    let newest_file = files.keys().next_back().copied().unwrap_or(0).max(record.next_file.saturating_sub(1));
    let wal = Wal::new(
        parts.disk.clone(),
        directory.clone(),
        parts.options.wal_file_bytes,
        parts.options.wal_files_max(),
        slots.clone().into_iter().collect(),
        newest_file + 1,
    );
    for (number, (slot, first_group)) in &files {
        wal.adopt(*number, *slot, *first_group);
    }
    let site = Arc::new(Site::new(shard, parts, wal));
    site.written_group.store(verdict.next_group - 1, Ordering::Relaxed);
    site.published_group.store(verdict.next_group - 1, Ordering::Relaxed);
    let mut replay = Replay::new(partitions, &record);
    replay_groups(&mut replay, &verdict, &record, &slots, &site).map_err(failed("replaying the log in"))?;
    replay.finish(&site);
    Ok(Some(Examined { record, slots, verdict, files, newest_file, is_clean, site, replay }))
}

pub(super) fn open_slots(disk: &dyn Disk, directory: &Path) -> io::Result<Slots> {
    let mut slots = Slots::new();
    let entries = match disk.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(slots),
        listed => listed?,
    };
    for entry in entries {
        if let Some(slot) = Wal::parse_slot_name(&entry.name) {
            slots.insert(slot, disk.open(&directory.join(&entry.name))?);
        }
    }
    Ok(slots)
}

pub(super) fn scan(slots: &Slots, shard: u32, record: &ShardRecord) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for (slot, file) in slots {
        if record.is_clean && !begins_with_newer(&**file, record.first_file)? {
            continue;
        }
        found.extend(scan_file(file, *slot, shard, record.first_file)?);
    }
    Ok(found)
}

/// After a clean stop nothing is in the log, unless somebody went on without writing a checkpoint first, which
/// never happens: one look at each file is enough.
fn begins_with_newer(file: &dyn File, first_file: u64) -> io::Result<bool> {
    let mut bytes = [0; GROUP_HEADER_BYTES];
    let count = file.read_at(&mut bytes, 0)?;
    let header = GroupHeader::decode(&bytes[..count], 0);
    Ok(header.is_some_and(|header| header.file >= first_file))
}

/// The files that hold groups to be replayed: number → slot and first group.
fn live_files(groups: &[Found]) -> BTreeMap<u64, (u32, u64)> {
    let mut files = BTreeMap::new();
    for found in groups {
        files.entry(found.header.file).or_insert((found.slot, found.header.group));
    }
    files
}

/// A group after the proof that names large batches counts only if all of them are whole in their segments, and so is what
/// was put there before them: small ones were brought there just then, unsynced as well.
fn cut_unfinished_direct(
    parts: &Parts,
    slots: &Slots,
    verdict: &mut Verdict,
    partitions: &[PartitionRecord],
) -> io::Result<()> {
    while let Some(index) = find_unfinished_direct(parts, slots, verdict, partitions)? {
        verdict.next_group = verdict.groups[index].header.group;
        verdict.groups.truncate(index);
        verdict.is_cut = true;
    }
    Ok(())
}

fn find_unfinished_direct(
    parts: &Parts,
    slots: &Slots,
    verdict: &Verdict,
    partitions: &[PartitionRecord],
) -> io::Result<Option<usize>> {
    let unproven =
        || verdict.groups.iter().enumerate().filter(|(_, found)| found.header.group > verdict.proof);
    // What a later group has deleted may be gone from the disk.
    let mut deleted_up_to: BTreeMap<PartitionId, Offset> = BTreeMap::new();
    let mut body = Vec::new();
    for (_, found) in unproven() {
        read_body(&*slots[&found.slot], &found.header, &mut body)?;
        for piece in pieces(&body, found.header.file) {
            let Piece::Frame { frame, .. } = piece else { continue };
            let up_to = match frame.entry {
                Entry::Delete => Offset(i64::MAX),
                Entry::LogStart(start) => start,
                _ => continue,
            };
            let deleted = deleted_up_to.entry(frame.partition).or_default();
            *deleted = up_to.max(*deleted);
        }
    }
    if unproven().next().is_none() {
        return Ok(None);
    }
    // Up to where each partition's segments are known to be whole.
    let mut whole: BTreeMap<PartitionId, Synced> =
        partitions.iter().map(|held| (held.id, held.synced)).collect();
    for (index, found) in verdict.groups.iter().enumerate() {
        let is_proven = found.header.group <= verdict.proof;
        read_body(&*slots[&found.slot], &found.header, &mut body)?;
        for piece in pieces(&body, found.header.file) {
            let Piece::Frame { frame, .. } = piece else { continue };
            let Entry::Direct { header, segment, position } = frame.entry else { continue };
            let is_deleted =
                deleted_up_to.get(&frame.partition).is_some_and(|end| header.next_offset() <= *end);
            let known = whole.entry(frame.partition).or_default();
            if !is_proven
                && !is_deleted
                && !segments::holds(parts, frame.partition, *known, segment, position, &header)?
            {
                return Ok(Some(index));
            }
            let size = position + header.size_bytes() as u64;
            *known = Synced { end: header.next_offset(), segment, size };
        }
    }
    Ok(None)
}

fn replay_groups(
    replay: &mut Replay,
    verdict: &Verdict,
    record: &ShardRecord,
    slots: &Slots,
    site: &Site,
) -> io::Result<()> {
    let mut body = Vec::new();
    let mut next = record.first_group;
    let mut before: Option<&Found> = None;
    for found in &verdict.groups {
        let header = &found.header;
        if header.group > next {
            salvage(replay, slots, site, before, Some(found), next..header.group)?;
        }
        read_body(&*slots[&found.slot], header, &mut body)?;
        let at = FrameAt {
            file: header.file,
            position: header.position + GROUP_HEADER_BYTES as u64,
            written_at: header.written_at,
            is_intact: true,
        };
        let frames = replay_body(replay, &body, at, site);
        if frames < header.frames {
            replay.lose(header.group, Some(header.frames - frames));
        }
        next = header.group + 1;
        before = Some(found);
    }
    if verdict.next_group > next {
        salvage(replay, slots, site, before, None, next..verdict.next_group)?;
    }
    Ok(())
}

/// Replays what can be read of a body; returns the number of frames.
fn replay_body(replay: &mut Replay, body: &[u8], start: FrameAt, site: &Site) -> u32 {
    let mut frames = 0;
    for piece in pieces(body, start.file) {
        match piece {
            Piece::Frame { frame, at, is_intact } => {
                frames += 1;
                replay.apply(
                    &frame,
                    FrameAt { position: start.position + at as u64, is_intact, ..start },
                    site,
                );
            }
            // Told by the caller, who knows how many frames there should be.
            Piece::Lost { .. } => {}
        }
    }
    frames
}

/// Between two readable groups lie others whose headers are damaged: their frames may be readable still.
fn salvage(
    replay: &mut Replay,
    slots: &Slots,
    site: &Site,
    before: Option<&Found>,
    after: Option<&Found>,
    groups: Range<u64>,
) -> io::Result<()> {
    let mut holes: Vec<(u32, u64, u64, u64)> = Vec::new();
    let written_at = before.or(after).map_or(site.clock.now(), |found| found.header.written_at);
    match (before, after) {
        (Some(before), Some(after)) if before.header.file == after.header.file => {
            holes.push((before.slot, before.header.file, before.header.end(), after.header.position));
        }
        _ => {
            if let Some(before) = before {
                let length = slots[&before.slot].len()?;
                holes.push((before.slot, before.header.file, before.header.end(), length));
            }
            if let Some(after) = after {
                holes.push((after.slot, after.header.file, 0, after.header.position));
            }
        }
    }
    let mut is_whole = false;
    for (slot, file, from, to) in holes {
        let mut hole = vec![0; to.saturating_sub(from) as usize];
        let count = slots[&slot].read_at(&mut hole, from)?;
        hole.truncate(count);
        // If nothing but the headers is unreadable, no frame is lost.
        let mut headers = 0;
        let mut others = 0;
        for piece in pieces(&hole, file) {
            match piece {
                Piece::Lost { bytes } if bytes == GROUP_HEADER_BYTES => headers += 1,
                Piece::Lost { .. } => others += 1,
                Piece::Frame { .. } => {}
            }
        }
        is_whole |= others == 0 && headers == groups.end - groups.start;
        replay_body(replay, &hole, FrameAt { file, position: from, written_at, is_intact: true }, site);
    }
    if !is_whole {
        // Where nothing is found behind them, groups that nobody knows of may have gone with them.
        let last = if after.is_some() { groups.end - 1 } else { groups.end };
        replay.lose(last, None);
    }
    Ok(())
}
