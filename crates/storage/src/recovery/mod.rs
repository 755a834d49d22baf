//! Bringing a shard back: checkpoint, then what the log says came after, then the segments' ends.
//!
//! The log is the authority. Bytes at the end of a segment that no frame names (rolled up or written directly,
//! but never synced) are cut and, if the log has them, rolled up again. Only the log and the headers of batches
//! since the checkpoint are read, never whole partitions.
//!
//! After an unclean stop every partition of the shard begins a new leader epoch: records that consumers of a topic
//! with relaxed flushing have seen may be gone.

mod replay;
mod segments;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use env::{Clock, Disk, File, Random};
use model::LeaderEpoch;

use crate::checkpoint::{self, Body, Checkpoint, ShardRecord, Void};
use crate::directory;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::partition::Partition;
use crate::site::Site;
use crate::storage::OpenError;
use crate::wal::Wal;
use crate::wal::format::{Entry, GROUP_HEADER_BYTES};
use crate::wal::scan::{Found, Piece, pieces, read_body, scan_file};
use replay::{FrameAt, Replay};
use verdict::{Verdict, judge};

/// A shard, ready to go on.
pub(crate) struct Recovered {
    pub site: Arc<Site>,
    pub partitions: Vec<Arc<Partition>>,
    pub next_group: u64,
    pub voids: Vec<Void>,
    /// Nothing in the log is damaged, so what it does not know does not exist.
    pub is_trustworthy: bool,
}

/// What a shard is made of, from outside.
#[derive(Clone)]
pub(crate) struct Parts {
    pub options: Arc<Options>,
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub metrics: Arc<Metrics>,
}

type Slots = BTreeMap<u32, Arc<dyn File>>;

pub(crate) fn recover(parts: &Parts, shard: u32) -> Result<Recovered, OpenError> {
    let disk = &parts.disk;
    let directory = directory::shard_dir(&parts.options.data_dir, shard);
    let failed = |doing: &'static str| {
        let directory = directory.display().to_string();
        move |source: io::Error| OpenError::Io { doing: format!("{doing} {directory}"), source }
    };
    create(&**disk, &parts.options.data_dir, &directory).map_err(failed("creating"))?;
    let slots = open_slots(&**disk, &directory).map_err(failed("opening the write-ahead log in"))?;
    let Checkpoint { shard: record, partitions } = match checkpoint::read(&**disk, &directory)? {
        Some(checkpoint) => checkpoint,
        None => first_checkpoint(&**disk, &directory, &slots, shard)?,
    };
    let found = scan(&slots, shard, &record).map_err(failed("reading the write-ahead log in"))?;
    let is_clean = record.is_clean && found.is_empty();
    let mut verdict = judge(found, &record.voids, record.synced_group, record.first_group);
    cut_unfinished_direct(&**disk, parts, &slots, &mut verdict).map_err(failed("reading segments of"))?;
    report(shard, &verdict);

    let files: BTreeMap<u64, (u32, u64)> = live_files(&verdict.groups);
    let newest = files.keys().next_back().copied().unwrap_or(0).max(record.next_file.saturating_sub(1));
    let wal = Wal::new(
        disk.clone(),
        directory.clone(),
        parts.options.wal_file_bytes,
        parts.options.wal_files_max(),
        slots.clone().into_iter().collect(),
        newest + 1,
    );
    for (number, (slot, first_group)) in &files {
        wal.adopt(*number, *slot, *first_group);
    }
    let site = Arc::new(Site::new(shard, parts, wal));
    site.written_group.store(verdict.next_group - 1, std::sync::atomic::Ordering::Relaxed);

    let mut replay = Replay::new(partitions);
    replay_groups(&mut replay, &verdict, &record, &slots, &site).map_err(failed("replaying the log in"))?;
    replay.finish(&site);
    let is_trustworthy = verdict.missing.is_empty() && verdict.groups.iter().all(|group| group.is_intact);

    // What was read may have come from memory that a power cut would lose: make it true before relying on it.
    for (slot, _) in files.values() {
        slots[slot].sync_data().map_err(failed("syncing the write-ahead log in"))?;
    }
    site.synced_group.store(verdict.next_group - 1, std::sync::atomic::Ordering::Relaxed);
    let mut partitions = Vec::new();
    for (id, rebuilt) in replay.partitions {
        let end = rebuilt.state.end;
        let partition =
            segments::resume(id, rebuilt, &site, is_clean).map_err(failed("reading segments of"))?;
        if !is_clean {
            let mut state = partition.state.lock();
            let epoch = LeaderEpoch(state.epochs.current().0 + 1);
            state.epochs.begin(epoch, end);
        }
        partitions.push(Arc::new(partition));
    }
    let mut voids = record.voids;
    if !is_clean {
        voids.push(Void { file_max: newest, group_min: verdict.next_group });
    }
    let record = ShardRecord {
        is_clean: false,
        first_file: files.keys().next().copied().unwrap_or(newest + 1),
        first_group: verdict.groups.first().map_or(verdict.next_group, |group| group.header.group),
        next_file: newest + 1,
        synced_group: verdict.next_group - 1,
        voids: voids.clone(),
    };
    let mut body = Body::new();
    for partition in &partitions {
        body.add(partition);
    }
    checkpoint::publish(&**disk, &directory, &body.finish(&record))
        .map_err(failed("writing the checkpoint in"))?;
    let _ = checkpoint::keep_reserve(&**disk, &directory);
    Ok(Recovered { site, partitions, next_group: verdict.next_group, voids, is_trustworthy })
}

fn create(disk: &dyn Disk, data_dir: &Path, directory: &Path) -> io::Result<()> {
    disk.create_dir(&data_dir.join(directory::PARTITIONS))?;
    disk.create_dir(directory)
}

fn open_slots(disk: &dyn Disk, directory: &Path) -> io::Result<Slots> {
    let mut slots = Slots::new();
    for entry in disk.list(directory)? {
        if let Some(slot) = Wal::parse_slot_name(&entry.name) {
            slots.insert(slot, disk.open(&directory.join(&entry.name))?);
        }
    }
    Ok(slots)
}

/// A new shard begins with an empty checkpoint; a shard that has a log but no checkpoint has lost it.
fn first_checkpoint(
    disk: &dyn Disk,
    directory: &Path,
    slots: &Slots,
    shard: u32,
) -> Result<Checkpoint, OpenError> {
    let path = directory.display().to_string();
    for (slot, file) in slots {
        let found = scan_file(file, *slot, shard, 0).map_err(|source| OpenError::Io {
            doing: format!("reading the write-ahead log in {path}"),
            source,
        })?;
        if !found.is_empty() {
            let reason = "the checkpoint is missing although there is a write-ahead log".to_owned();
            return Err(OpenError::Unreadable { path, reason });
        }
    }
    let shard = ShardRecord { first_file: 1, first_group: 1, next_file: 1, ..ShardRecord::default() };
    let shard = ShardRecord { is_clean: true, ..shard };
    checkpoint::publish(disk, directory, &Body::new().finish(&shard))
        .map_err(|source| OpenError::Io { doing: format!("writing the checkpoint in {path}"), source })?;
    Ok(Checkpoint { shard, partitions: Vec::new() })
}

pub(crate) fn scan(slots: &Slots, shard: u32, record: &ShardRecord) -> io::Result<Vec<Found>> {
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
    let header = crate::wal::format::GroupHeader::decode(&bytes[..count], 0);
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

/// A group after the proof that names large batches counts only if all of them are whole in their segments.
fn cut_unfinished_direct(
    _disk: &dyn Disk,
    parts: &Parts,
    slots: &Slots,
    verdict: &mut Verdict,
) -> io::Result<()> {
    let mut body = Vec::new();
    for index in 0..verdict.groups.len() {
        let found = verdict.groups[index];
        if found.header.group <= verdict.proof {
            continue;
        }
        read_body(&*slots[&found.slot], &found.header, &mut body)?;
        for piece in pieces(&body, found.header.file) {
            let Piece::Frame { frame, .. } = piece else { continue };
            let Entry::Direct { header, segment, position } = frame.entry else { continue };
            if !segments::holds(parts, frame.partition, segment, position, &header)? {
                verdict.next_group = found.header.group;
                verdict.groups.truncate(index);
                verdict.is_cut = true;
                return Ok(());
            }
        }
    }
    Ok(())
}

fn report(shard: u32, verdict: &Verdict) {
    if verdict.is_cut {
        tracing::warn!(
            shard,
            group = verdict.next_group,
            proof = verdict.proof,
            "the end of the log was torn and is cut: nothing in it was acknowledged, but the last group cannot prove itself"
        );
    }
    for (from, to) in &verdict.missing {
        tracing::error!(shard, from, to, "groups of the log were synced and are damaged now");
    }
    for group in verdict.groups.iter().filter(|group| !group.is_intact) {
        tracing::error!(
            shard,
            group = group.header.group,
            "a group of the log was synced and is damaged now"
        );
    }
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
            salvage(replay, slots, site, before, Some(found), header.group - next)?;
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
            replay.lose(Some(header.frames - frames));
        }
        next = header.group + 1;
        before = Some(found);
    }
    if verdict.next_group > next {
        salvage(replay, slots, site, before, None, verdict.next_group - next)?;
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
            // Counted by the caller, but it belongs before the frames that follow.
            Piece::Lost { .. } => replay.lose(Some(0)),
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
    groups: u64,
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
        is_whole |= others == 0 && headers == groups;
        if others > 0 {
            replay.lose(None);
        }
        replay_body(replay, &hole, FrameAt { file, position: from, written_at, is_intact: true }, site);
    }
    if !is_whole {
        replay.lose(None);
    }
    Ok(())
}
