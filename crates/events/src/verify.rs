//! `levada verify events`: whether a category's log is what owners must have left, and whether indexes say the same.
//!
//! It reads the topic as any consumer could and trusts nobody: neither the owners nor their indexes.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use client::{AskError, Cluster, Tail, Tailed, partition_of_key};
use model::batch::{Record, batches};
use model::{Offset, PartitionId, ProducerEpoch, ProducerId};
use tokio::time::timeout;

use crate::append::OWN;
use crate::category::Category;
use crate::index::{Index, Window, adopted_version};
use crate::machine::LIVES_ELSEWHERE;
use crate::query::ROOM;
use crate::record::{self, Entry};
use crate::repairs::{self, OfPartition, Repair};
use crate::service::{CATALOG, CategoryInfo};
use crate::table;
use crate::trimmed;
use crate::truncation::{MARKS, Mark, TRUNCATED};

/// Findings of one partition that are told; the others are counted.
const FINDINGS_MAX: usize = 100;

const BATCH_BYTES_MAX: usize = 256 << 20;

/// Something that no owner would have left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub offset: Offset,
    pub what: String,
}

/// What a partition's log holds, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audited {
    pub events: u64,
    pub streams: u64,
    pub claims: u64,
    /// Records that are passed over, or adopted, because somebody has decided so.
    pub repaired: u64,
    /// The first ones.
    pub findings: Vec<Finding>,
    pub findings_count: u64,
    /// Offset up to which an index was compared; None: there is none.
    pub indexed: Option<Offset>,
    /// Streams whose first event is here, and that are looked for in another partition: where, which, within which boundary.
    elsewhere: Vec<(Offset, String, String)>,
    /// Streams that are looked for here, and the boundary that is named for each.
    marks: BTreeMap<String, String>,
}

impl Audited {
    fn find(&mut self, offset: Offset, what: String) {
        self.findings_count += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { offset, what });
        }
    }
}

/// Looks at a partition's records in their order.
pub struct Audit {
    partition: i32,
    partitions: usize,
    streams: HashMap<String, Stream>,
    /// By the hash of the id: offsets. Two ids of one hash among a billion are one in thirty; it is looked into then.
    ids: HashMap<u64, Offset>,
    claim: Option<(i64, i16)>,
    next: Option<Offset>,
    /// Where the log begins: what was before was trimmed.
    start: Offset,
    /// What somebody has decided about this partition.
    decided: OfPartition,
    audited: Audited,
}

#[derive(Default)]
struct Stream {
    version: u64,
    boundary: Option<String>,
    /// The first version that the log has.
    first: u64,
    /// The newest mark: versions below are truncated. 0: none.
    before: u64,
}

impl Audit {
    pub fn new(partition: i32, partitions: usize) -> Audit {
        Audit {
            partition,
            partitions,
            streams: HashMap::new(),
            ids: HashMap::new(),
            claim: None,
            next: None,
            start: Offset::ZERO,
            decided: OfPartition::new(),
            audited: Audited::default(),
        }
    }

    /// With what somebody has decided about records that no owner wrote.
    pub fn deciding(mut self, decided: OfPartition) -> Audit {
        self.decided = decided;
        self
    }

    /// The log begins there, and not at 0.
    pub fn from(mut self, start: Offset) -> Audit {
        self.start = start;
        self
    }

    pub fn take(&mut self, offset: Offset, entry: &Entry) {
        if let Some(next) = self.next.filter(|next| *next != offset) {
            self.find(offset, format!("offsets {next} to {} are missing", offset.plus(-1)));
        }
        self.next = Some(offset.plus(1));
        if repairs::passed_over(&self.decided, offset).is_some() {
            self.audited.repaired += 1;
            return;
        }
        match entry {
            Entry::Foreign { why } => self.find(offset, format!("no owner wrote this record ({why})")),
            Entry::Claim { writer } => self.claim(offset, writer),
            Entry::Adopted { stream, version, id, .. } => {
                self.audited.events += 1;
                self.audited.repaired += 1;
                let head = self.streams.get(stream).map_or(0, |known| known.version);
                let version = adopted_version(head, *version);
                let known = self.streams.entry(stream.clone()).or_default();
                known.first = if known.first == 0 { version } else { known.first };
                known.version = version;
                // Where it was used already the index has given it another.
                self.ids.entry(hash(id)).or_insert(offset);
            }
            Entry::Event { stream, version, id, facts, data, boundary, writer } => {
                self.audited.events += 1;
                self.writer(offset, writer);
                self.version(offset, stream, *version, boundary.as_deref());
                self.place(offset, stream, facts.kind == LIVES_ELSEWHERE);
                match boundary {
                    _ if facts.kind == LIVES_ELSEWHERE => {
                        let boundary = String::from_utf8_lossy(data).into_owned();
                        self.audited.marks.insert(stream.clone(), boundary);
                    }
                    Some(boundary) if self.home(stream) != self.partition as usize => {
                        self.audited.elsewhere.push((offset, stream.clone(), boundary.clone()));
                    }
                    _ => {}
                }
                if facts.kind == TRUNCATED {
                    self.mark(offset, stream, data);
                }
                if let Some(known) = self.ids.insert(hash(id), offset) {
                    self.find(offset, format!("id {id} was used at offset {known} already"));
                }
            }
        }
    }

    pub fn finish(mut self) -> Audited {
        self.audited.streams = self.streams.len() as u64;
        let mut lost: Vec<(String, u64)> = self
            .streams
            .iter()
            .filter(|(stream, known)| known.first > known.before.max(1) && !stream.starts_with(MARKS))
            .map(|(stream, known)| (stream.clone(), known.first - 1))
            .collect();
        lost.sort();
        for (stream, last) in lost {
            let what = format!("events up to version {last} of {stream} are gone, and nobody truncated them");
            self.find(self.start, what);
        }
        self.audited
    }

    fn find(&mut self, offset: Offset, what: String) {
        self.audited.find(offset, what);
    }

    fn claim(&mut self, offset: Offset, writer: &str) {
        self.audited.claims += 1;
        let Some(claim) = parse(writer) else {
            return self.find(offset, format!("the claim's writer {writer} cannot be read"));
        };
        if let Some((id, epoch)) = self.claim.filter(|(id, epoch)| *id == claim.0 && *epoch >= claim.1) {
            self.find(offset, format!("claimed by {writer} after {id}:{epoch}, which is not older"));
        }
        self.claim = Some(claim);
    }

    fn writer(&mut self, offset: Offset, writer: &str) {
        let claim = self.claim.map(|(id, epoch)| format!("{id}:{epoch}"));
        match claim {
            None if self.start > Offset::ZERO => {}
            None => {
                self.find(offset, format!("written by {writer} before anybody had claimed the partition"))
            }
            Some(claim) if claim != writer => {
                self.find(offset, format!("written by {writer}, while the partition was {claim}'s"));
            }
            Some(_) => {}
        }
    }

    fn version(&mut self, offset: Offset, stream: &str, version: u64, boundary: Option<&str>) {
        let known = self.streams.get_mut(stream);
        let before = known.as_ref().map_or(0, |known| known.version);
        match known {
            Some(known) => known.version = version,
            None => {
                let boundary = boundary.map(str::to_owned);
                let known = Stream { version, boundary, first: version, before: 0 };
                self.streams.insert(stream.to_owned(), known);
            }
        }
        // Of a stream whose first events were trimmed, only the rest is there.
        let is_rest = before == 0 && self.start > Offset::ZERO;
        if version != before + 1 && !is_rest {
            self.find(offset, format!("version {version} of {stream}, which was at {before}"));
        }
    }

    fn mark(&mut self, offset: Offset, stream: &str, data: &[u8]) {
        let Some(mark) = Mark::read(stream, data) else {
            return self.find(offset, "a mark of a truncation that cannot be read".to_owned());
        };
        let is_trimmed = self.start > Offset::ZERO;
        let known = self.streams.entry(mark.stream.clone()).or_default();
        let version = known.version;
        if version == 0 && is_trimmed {
            (known.version, known.first) = (mark.before - 1, mark.before);
        }
        known.before = known.before.max(mark.before);
        if known.boundary.is_none() {
            known.boundary = mark.boundary;
        }
        if mark.before > version + 1 && !is_trimmed {
            let Mark { stream, before, .. } = mark;
            self.find(offset, format!("truncates {stream} before {before}, which was at {version}"));
        }
    }

    /// Where one looks for a stream whose boundary one does not know.
    fn home(&self, stream: &str) -> usize {
        partition_of_key(stream.as_bytes(), self.partitions)
    }

    fn place(&mut self, offset: Offset, stream: &str, is_mark: bool) {
        let known = self.streams.get(stream);
        // Only its first event says where a stream lives, and its mark.
        if known.is_some_and(|known| known.first > 1 && known.boundary.is_none()) {
            return;
        }
        let boundary = known.and_then(|known| known.boundary.as_deref());
        let key = if is_mark { stream } else { boundary.unwrap_or(stream) };
        let place = partition_of_key(key.as_bytes(), self.partitions);
        if place != self.partition as usize {
            self.find(offset, format!("{stream} belongs into partition {place}"));
        }
    }
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

fn parse(writer: &str) -> Option<(i64, i16)> {
    let (id, epoch) = writer.split_once(':')?;
    Some((id.parse().ok()?, epoch.parse().ok()?))
}

/// Reads every partition of a category from its beginning to its end as of now, and compares the indexes in a folder, if
/// one is given. Whoever writes them must not run.
pub async fn verify(
    cluster: &Cluster,
    category: &Category,
    index_dir: Option<&Path>,
) -> Result<BTreeMap<i32, Audited>, AskError> {
    let name = category.topic();
    let topic = cluster.topic(&name, false).await?;
    let indexes: Vec<i32> = topic.partitions.iter().map(|partition| partition.index).collect();
    let ends = cluster.offsets(&topic, &indexes, -1, 0).await?;
    let starts = cluster.offsets(&topic, &indexes, -2, 0).await?;
    let decided = table_of(cluster, repairs::TOPIC).await?;
    let trimmed = table_of(cluster, trimmed::TOPIC).await?;
    // Partitions that were added later have nothing.
    let entry = table_of(cluster, CATALOG).await?.remove(category.name());
    let info: Option<CategoryInfo> = entry.and_then(|entry| serde_json::from_slice(&entry).ok());
    let count = info.map_or(indexes.len(), |info| info.partitions as usize);
    let mut audited = BTreeMap::new();
    for index in &indexes {
        let end = ends.get(index).copied().flatten().map_or(Offset::ZERO, Offset);
        let partition = PartitionId { topic: topic.id, index: *index };
        let compared = match index_dir.map(|dir| dir.to_owned()) {
            None => None,
            Some(dir) => env::run_blocking(move || Index::open_existing(&dir, partition)).await,
        };
        let start = starts.get(index).copied().flatten().map_or(Offset::ZERO, Offset);
        let decided = repairs::of(&decided, partition);
        let mut audit = Audit::new(*index, count).from(start).deciding(decided.clone());
        let needed = trimmed::of(&trimmed, partition);
        if start > needed {
            let why = format!(
                "records from offset {needed} to {} were deleted, and not by the store",
                start.plus(-1)
            );
            audit.find(start, why);
        }
        let mut comparing = compared.map(|(index, next)| Comparing::new(index, next));
        read(cluster, &name, partition, start, end, |offset, record, producer| {
            let entry = match decided.get(&offset) {
                Some(Repair::Adopt { stream, kind }) => {
                    let place = (partition.index, offset);
                    let adopted = record::adopt(record, place, stream.as_deref(), kind.as_deref());
                    adopted.unwrap_or_else(|why| Entry::Foreign { why: why.into() })
                }
                _ => record::read_of(record, Bytes::copy_from_slice, producer),
            };
            audit.take(offset, &entry);
            if let Some(comparing) = &mut comparing {
                comparing.take(offset, &entry, &mut audit);
            }
        })
        .await?;
        let indexed = comparing.as_ref().map(|comparing| comparing.next);
        if let Some(comparing) = comparing {
            comparing.finish(&mut audit);
        }
        if let Some(next) = indexed.filter(|next| *next > end) {
            audit.find(end, format!("the index is at offset {next}, and the log ends at {end}"));
        }
        let mut done = audit.finish();
        done.indexed = indexed;
        audited.insert(*index, done);
    }
    find_unmarked(&mut audited);
    Ok(audited)
}

/// Streams that nobody finds who looks for them by their id alone.
fn find_unmarked(audited: &mut BTreeMap<i32, Audited>) {
    let marks: Vec<BTreeMap<String, String>> =
        audited.values_mut().map(|of| std::mem::take(&mut of.marks)).collect();
    let is_marked = |stream: &String, boundary: &String| {
        marks.iter().any(|marks| marks.get(stream).is_some_and(|named| named == boundary))
    };
    for of in audited.values_mut() {
        for (offset, stream, boundary) in std::mem::take(&mut of.elsewhere) {
            if !stream.starts_with(OWN) && !is_marked(&stream, &boundary) {
                of.find(
                    offset,
                    format!("{stream} is within {boundary}, and no mark says so where it is looked for"),
                );
            }
        }
    }
}

/// The entries of one of the store's own topics, as it has them.
async fn table_of(cluster: &Cluster, name: &str) -> Result<BTreeMap<String, Bytes>, AskError> {
    let topics = cluster.topics().await?;
    let Some(topic) = topics.iter().find(|topic| topic.name == name) else { return Ok(BTreeMap::new()) };
    let (_, entries) = table::read_topic(cluster, topic).await?;
    Ok(entries.into_iter().filter_map(|(key, value)| Some((String::from_utf8(key).ok()?, value))).collect())
}

async fn read(
    cluster: &Cluster,
    topic: &str,
    partition: PartitionId,
    start: Offset,
    end: Offset,
    mut each: impl FnMut(Offset, &Record<'_>, (ProducerId, ProducerEpoch)),
) -> Result<(), AskError> {
    let index = partition.index;
    let mut tails = Tail::start(cluster.clone(), topic, partition.topic, [(index, start)]);
    let mut tail = tails.remove(&index).expect("it was asked for");
    let mut next = start;
    while next < end {
        let late = |_| AskError::Lost(format!("{topic}-{index} cannot be read beyond offset {next}"));
        let bytes: Bytes = match timeout(STILL_MAX, tail.recv()).await.map_err(late)? {
            Some(Tailed::Records { bytes, .. }) => bytes,
            Some(Tailed::OutOfRange { start, .. }) if start > next => {
                return Err(AskError::Foreign(format!("{topic}-{index} begins at offset {start}")));
            }
            _ => return Err(AskError::Lost(format!("{topic}-{index} is gone"))),
        };
        for batch in batches(bytes) {
            let Ok(batch) = batch else { break };
            let foreign = |error: model::BatchError| {
                AskError::Foreign(format!("{topic}-{index}: a batch at {next} cannot be read: {error}"))
            };
            let records = batch.records(BATCH_BYTES_MAX).map_err(foreign)?;
            for one in records.iter() {
                let one = one.map_err(foreign)?;
                let offset = records.offset(&one);
                if offset >= next && offset < end {
                    each(offset, &one, (batch.header().producer_id, batch.header().producer_epoch));
                }
            }
            next = next.max(batch.header().next_offset());
        }
    }
    Ok(())
}

/// How long nothing may come.
const STILL_MAX: Duration = Duration::from_secs(30);

/// An index beside the log, event by event.
struct Comparing {
    index: Index,
    next: Offset,
    /// Events of the index that are still to come, the next one last, and whether they are gone.
    buffer: Vec<(crate::Recorded, bool)>,
    /// Of each stream: the first version that the marks leave, the last that is gone in the index, the first that is not.
    truncated: BTreeMap<String, u64>,
    gone: BTreeMap<String, u64>,
    kept: BTreeMap<String, u64>,
}

impl Comparing {
    fn new(index: Index, next: Offset) -> Comparing {
        let (truncated, gone, kept) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Comparing { index, next, buffer: Vec::new(), truncated, gone, kept }
    }

    /// Whether what is gone in the index is what the marks say.
    fn finish(self, audit: &mut Audit) {
        let first = |stream: &String| self.truncated.get(stream).copied().unwrap_or(1);
        for (stream, version) in self.gone.iter().filter(|(stream, version)| **version >= first(stream)) {
            audit.find(self.next, format!("the index has left out version {version} of {stream}"));
        }
        for (stream, version) in self.kept.iter().filter(|(stream, version)| **version < first(stream)) {
            audit.find(self.next, format!("the index still has version {version} of {stream}"));
        }
    }

    fn take(&mut self, offset: Offset, entry: &Entry, audit: &mut Audit) {
        let is_over = repairs::passed_over(&audit.decided, offset).is_some();
        let (stream, facts, data, named) = match entry {
            Entry::Event { stream, version, id, facts, data, .. } if !is_over => {
                (stream, facts, data, Some((version, id)))
            }
            // Its version and id are the index's to give.
            Entry::Adopted { stream, facts, data, .. } => (stream, facts, data, None),
            _ => return,
        };
        if offset >= self.next {
            return;
        }
        if let Some((version, _)) = named.filter(|_| facts.kind == TRUNCATED) {
            self.truncated.insert(stream.clone(), *version);
            if let Some(mark) = Mark::read(stream, data) {
                let first = self.truncated.entry(mark.stream).or_default();
                *first = (*first).max(mark.before);
            }
        }
        if self.buffer.is_empty() {
            let window = Window { from: offset, to: self.next, room: ROOM };
            match self.index.reading(|it| it.rows(audit.partition, window)) {
                Ok(events) => self.buffer = events.into_iter().rev().collect(),
                Err(error) => return audit.find(offset, format!("the index cannot be read: {error}")),
            }
        }
        match self.buffer.pop() {
            Some((known, is_gone)) if known.offset == offset => {
                let is_named = |(version, id): (&u64, &String)| known.version == *version && known.id == *id;
                let same = known.stream == *stream && named.is_none_or(is_named);
                if is_gone {
                    self.gone.insert(stream.clone(), known.version);
                } else {
                    self.kept.entry(stream.clone()).or_insert(known.version);
                }
                if !same || !is_gone && (known.facts != *facts || known.data != *data) {
                    audit.find(offset, "the index has another event here".to_owned());
                }
            }
            Some(other) => {
                audit.find(offset, "the index does not have this event".to_owned());
                self.buffer.push(other);
            }
            None => audit.find(offset, "the index does not have this event".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
