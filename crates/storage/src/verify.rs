//! Looking at a storage directory without changing it: `levada verify`.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use env::{Clock, Disk, Random};
use model::{BatchHeader, Offset, PartitionId};

use crate::directory::{self, PARTITIONS};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::partition::Pending;
use crate::recovery::{
    Examined, Extent, Parts, Rebuilt, examine, extents, found_by_folder, gaps, holds_batches, log_files,
};
use crate::segment::{IndexFiles, Step, Walk};
use crate::site::Site;
use crate::storage::OpenError;

/// What was found in a storage directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub cluster_id: String,
    pub shards: Vec<ShardReport>,
    /// By id.
    pub partitions: Vec<PartitionReport>,
    /// Folders of deleted partitions; the next start removes them.
    pub leftovers: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardReport {
    pub shard: u32,
    pub was_closed_cleanly: bool,
    /// Groups in the write-ahead log that the next start will replay.
    pub groups: usize,
    /// The log's end is torn: never acknowledged, cut by the next start.
    pub has_torn_end: bool,
    /// Groups that were synced and are damaged or missing: first and last number.
    pub damaged_groups: Vec<(u64, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionReport {
    pub id: PartitionId,
    pub log_start: Offset,
    pub log_end: Offset,
    pub segments: usize,
    /// Batches in segments, and batches still in the write-ahead log.
    pub batches: u64,
    pub pending_batches: u64,
    /// Records in all of them.
    pub records: u64,
    pub bytes: u64,
    /// Lost offsets: first and last.
    pub damaged: Vec<(Offset, Offset)>,
    /// Records may be missing at the end.
    pub is_tail_suspect: bool,
    /// Nothing but its folder tells of it.
    pub is_only_folder: bool,
    /// Losses accepted by an earlier repair.
    pub accepted: Vec<(Offset, Offset)>,
    /// Base offsets of segments whose index does not fit; it is built anew when it is used.
    pub bad_indexes: Vec<Offset>,
}

impl Report {
    /// Nothing that was acknowledged is lost.
    pub fn is_sound(&self) -> bool {
        self.shards.iter().all(|shard| shard.damaged_groups.is_empty())
            && !self.partitions.iter().any(PartitionReport::is_damaged)
    }
}

/// Reads the whole directory: log, segments, indexes. Nobody else may use it meanwhile.
pub fn verify(
    options: Options,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
) -> Result<Report, OpenError> {
    let data_dir = options.data_dir.clone();
    let identity = directory::read_identity(&*disk, &data_dir)?.ok_or_else(|| absent(&data_dir))?;
    let _lock = directory::lock(&*disk, &data_dir)?;
    let failed =
        |source: io::Error| OpenError::Io { doing: format!("reading {}", data_dir.display()), source };
    let (shards, shards_known) = directory::shards(&*disk, &data_dir, &identity).map_err(failed)?;
    let metrics = Arc::new(Metrics::default());
    let parts = Parts { options: Arc::new(options), disk, clock, random, metrics, shards_known };
    let mut site = None;
    let mut deleted = BTreeSet::new();
    let mut is_trustworthy = true;
    let mut report = Report {
        cluster_id: identity.cluster_id,
        shards: Vec::new(),
        partitions: Vec::new(),
        leftovers: Vec::new(),
    };
    for shard in 0..shards {
        let Some(examined) = examine(&parts, shard)? else { continue };
        report.shards.push(report_shard(shard, &examined));
        for (id, rebuilt) in &examined.replay.partitions {
            report.partitions.push(report_partition(*id, rebuilt, &examined.site).map_err(failed)?);
        }
        deleted.extend(examined.replay.deleted);
        is_trustworthy &= examined.verdict.is_whole();
        site = Some(examined.site);
    }
    let known: BTreeSet<PartitionId> = report.partitions.iter().map(|partition| partition.id).collect();
    let folders = match site {
        Some(_) => parts.disk.list(&data_dir.join(PARTITIONS)).map_err(failed)?,
        None => Vec::new(),
    };
    for entry in folders {
        let Some(id) = directory::parse_partition_dir(&entry.name) else { continue };
        if known.contains(&id) {
            continue;
        }
        let is_left =
            deleted.contains(&id) || is_trustworthy && !holds_batches(&parts, id).map_err(failed)?;
        match &site {
            Some(site) if !is_left => {
                let rebuilt = found_by_folder(&parts, id).map_err(failed)?;
                let found = report_partition(id, &rebuilt, site).map_err(failed)?;
                report.partitions.push(PartitionReport { is_only_folder: true, ..found });
            }
            _ => report.leftovers.push(entry.name),
        }
    }
    report.partitions.sort_by_key(|partition| partition.id);
    Ok(report)
}

/// There is no storage.
pub(crate) fn absent(data_dir: &Path) -> OpenError {
    OpenError::Unreadable {
        path: data_dir.display().to_string(),
        reason: "not a storage directory".to_owned(),
    }
}

fn report_shard(shard: u32, examined: &Examined) -> ShardReport {
    let verdict = &examined.verdict;
    let damaged = verdict.groups.iter().filter(|group| !group.is_intact);
    let mut damaged_groups: Vec<(u64, u64)> =
        damaged.map(|group| (group.header.group, group.header.group)).collect();
    damaged_groups.extend(&verdict.missing);
    damaged_groups.sort_unstable();
    ShardReport {
        shard,
        was_closed_cleanly: examined.is_clean,
        groups: verdict.groups.len(),
        has_torn_end: verdict.is_cut,
        damaged_groups,
    }
}

fn report_partition(id: PartitionId, rebuilt: &Rebuilt, site: &Site) -> io::Result<PartitionReport> {
    let directory = site.partitions_dir().join(id.to_string());
    let on_disk = log_files(&*site.disk, &directory)?;
    let state = &rebuilt.state;
    let pending_records = |pending: &Pending| u64::from(pending.last_offset_delta.unsigned_abs()) + 1;
    let mut report = PartitionReport {
        id,
        log_start: state.start,
        log_end: state.end,
        segments: 0,
        batches: 0,
        pending_batches: state.pending.len() as u64,
        records: state.pending.iter().map(pending_records).sum(),
        bytes: state.pending_bytes,
        damaged: state.damage.ranges(),
        is_tail_suspect: state.damage.tail_suspect,
        is_only_folder: false,
        accepted: state.damage.accepted_ranges(state.start),
        bad_indexes: Vec::new(),
    };
    let extents = extents(rebuilt, &directory, &on_disk, site)?;
    for (first, last) in gaps(rebuilt, &extents) {
        for (first, last) in state.damage.unknown(first, last) {
            report.lose(first, last);
        }
    }
    for extent in &extents {
        if extent.exists {
            report_segment(&mut report, &*site.disk, &directory, extent)?;
        } else {
            report.lose(extent.base, extent.end.plus(-1));
        }
    }
    report.damaged.sort_unstable();
    Ok(report)
}

fn report_segment(
    report: &mut PartitionReport,
    disk: &dyn Disk,
    directory: &Path,
    extent: &Extent,
) -> io::Result<()> {
    let stem = directory.join(extent.known.name(extent.base).stem());
    let log = disk.open(&stem.with_extension("log"))?;
    let mut index = IndexFiles::open(disk, &stem, extent.base, extent.size, extent.end)?;
    report.segments += 1;
    report.bytes += extent.size;
    for step in Walk::new(&*log, extent.base, extent.size, extent.end, true) {
        match step? {
            Step::Batch { position, header } => {
                report.batches += 1;
                report.records += u64::from(header.record_count.unsigned_abs());
                index.compare(position, &header);
            }
            Step::Gap { first, last } | Step::Damage { first, last, .. } => report.lose(first, last),
        }
    }
    if !index.fits() {
        report.bad_indexes.push(extent.base);
    }
    Ok(())
}

impl PartitionReport {
    /// Records of it are lost, or may be.
    pub fn is_damaged(&self) -> bool {
        !self.damaged.is_empty() || self.is_tail_suspect
    }

    fn lose(&mut self, first: Offset, last: Offset) {
        let first = first.max(self.log_start);
        let covers = |known: &(Offset, Offset)| known.0 <= first && last <= known.1;
        if first <= last && !self.damaged.iter().chain(&self.accepted).any(covers) {
            self.damaged.push((first, last));
        }
    }
}

impl IndexFiles {
    /// Compares the entries with the next batch of the log.
    fn compare(&mut self, position: u64, header: &BatchHeader) {
        self.compare_offset(position, header.last_offset());
        self.compare_time(header.max_timestamp, header.last_offset());
    }
}
