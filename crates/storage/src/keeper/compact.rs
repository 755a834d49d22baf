//! Compacting one partition at a time, a small piece a step.
//!
//! ```text
//! read what is dirty into the map → of each group of segments write a new one, sync it, put it in their place
//! → publish a checkpoint that speaks of it → remove what it was made from
//! ```
//!
//! Until that checkpoint is published a crash finds the old segments, whole; from then on it finds the new one. Readers
//! that have an old file open go on with it. A compaction that fails is given up, and nothing has happened.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::batch::{BatchBuilder, batches};
use model::{Batch, Compression, Offset, ProducerEpoch, ProducerId, Timestamp};

use super::Keeper;
use crate::compaction::{Fate, Filter, KeyMap, Transactions};
use crate::options::LogConfig;
use crate::partition::{Partition, Synced};
use crate::producers::Marker;
use crate::segment::{Facts, Known, Segment, SegmentRead};
use crate::site::Site;

/// Bytes read in one step.
const STEP_BYTES: usize = 1 << 20;

/// Longest rest between two steps of a compaction, however few bytes a second it may move.
const REST_MAX: Duration = Duration::from_secs(24 * 3600);

/// A partition that is being compacted.
pub(super) struct Compaction {
    partition: Arc<Partition>,
    config: Arc<LogConfig>,
    /// Complete segments from the first on; the map was read from the last of them.
    sources: Vec<Arc<Segment>>,
    map: KeyMap,
    /// What was compacted before.
    compacted_end: Offset,
    transactions: Transactions,
    last_of_producers: BTreeMap<ProducerId, (Option<Offset>, ProducerEpoch)>,
    phase: Phase,
    /// Something that was to be replaced was gone already: what this has seen is not what there is.
    is_outrun: bool,
    bytes_before: u64,
    bytes_after: u64,
    /// Read and written since the last step was paid for.
    moved: u64,
}

enum Phase {
    /// Reading into the map, on from here.
    Reading { next: Offset },
    /// Writing what is left of the sources from this one on.
    Writing { first: usize, output: Option<Output> },
}

/// A segment in the making.
struct Output {
    segment: Segment,
    /// The sources that it replaces are `first..end`.
    end: usize,
    /// The one that is read, and where.
    reading: usize,
    next: Offset,
    position: u64,
    /// The offset that the next batch should have.
    expected: Offset,
    /// Something is not as it was.
    has_changed: bool,
}

/// What compaction may do with a partition now.
struct Chance {
    sources: Vec<Arc<Segment>>,
    compacted_end: Offset,
    /// Thousandths.
    dirty: u64,
}

impl Keeper {
    /// Looks for the partition that has most to gain.
    pub(super) fn begin_compaction(&mut self, now: Timestamp) -> bool {
        let mut best: Option<(u64, Arc<Partition>, Chance)> = None;
        for partition in self.own_partitions() {
            partition.roll_up_for_compaction(now);
            if let Some(chance) = partition.chance(now)
                && best.as_ref().is_none_or(|(dirty, ..)| chance.dirty > *dirty)
            {
                best = Some((chance.dirty, partition, chance));
            }
        }
        let Some((_, partition, chance)) = best else { return false };
        self.compaction = Some(Compaction::new(partition, chance, &self.site));
        true
    }

    /// Goes on with it.
    pub(super) fn step_compaction(&mut self, now: Timestamp) {
        let Some(mut compaction) = self.compaction.take() else { return };
        let stepped = compaction.step(now, &self.site, &mut self.replaced);
        self.rest_after(std::mem::take(&mut compaction.moved));
        match stepped {
            Ok(ControlFlow::Continue(())) => self.compaction = Some(compaction),
            Ok(ControlFlow::Break(())) => {
                self.site.news.store(true, std::sync::atomic::Ordering::Release);
                let id = compaction.partition.id();
                let (before, after) = (compaction.bytes_before, compaction.bytes_after);
                let topic = compaction.partition.label();
                tracing::debug!(topic, partition = %id, before, after, up_to = compaction.map.end().0, "compacted");
                self.site.metrics.compactions.add(1);
                self.site.metrics.compacted_bytes.add(before.saturating_sub(after));
                // There may be more, of this one or another.
                self.compaction_due = Duration::ZERO;
            }
            Err(error) => {
                let (topic, id) = (compaction.partition.label(), compaction.partition.id());
                tracing::warn!(topic, partition = %id, %error, "compaction is given up for now");
                compaction.discard();
            }
        }
    }

    /// So many bytes were moved: nothing more is as long as they may take.
    fn rest_after(&mut self, moved: u64) {
        let Some(most) = self.site.compaction.lock().io_bytes_per_second_max else { return };
        let share = most as f64 / self.site.options.shards.max(1) as f64;
        let rest = Duration::try_from_secs_f64(moved as f64 / share).unwrap_or(REST_MAX).min(REST_MAX);
        self.compaction_resumes = self.site.clock.monotonic() + rest;
    }

    /// Removes what a published checkpoint does not speak of any more.
    pub(super) fn remove_replaced(&mut self, replaced: Vec<Arc<Segment>>) {
        for segment in replaced {
            if let Err(error) = segment.remove() {
                tracing::warn!(path = %segment.log_path().display(), %error, "cannot remove a compacted segment");
            }
        }
    }
}

impl Partition {
    /// A compacted log is kept in segments, where it can be compacted; what would stay in the write-ahead log for long is
    /// brought there once a segment of it would be complete.
    fn roll_up_for_compaction(self: &Arc<Self>, now: Timestamp) {
        let state = self.state.lock();
        if !state.config.compact || state.deleted {
            return;
        }
        let Some(oldest) = state.pending.front() else { return };
        let age = now.0.saturating_sub(oldest.max_timestamp.0);
        let is_old = age > state.config.roll_after().as_millis().min(i64::MAX as u128) as i64;
        if is_old || state.pending_bytes >= state.config.segment_bytes {
            let site = &self.site;
            site.early_roll_up.lock().insert(self.id(), self.clone());
        }
    }

    /// What can be compacted here, if it is time.
    fn chance(&self, now: Timestamp) -> Option<Chance> {
        let state = self.state.lock();
        let config = &state.config;
        if !config.compact || state.deleted || !state.damage.is_none() {
            return None;
        }
        let stable = state.offsets().last_stable;
        let lag_min = config.compaction.lag_min.as_millis().min(i64::MAX as u128) as i64;
        let complete = state.segments.len().saturating_sub(1);
        let may_be = |facts: &Facts| {
            let newest = if facts.max_timestamp.is_none() { facts.appended_at } else { facts.max_timestamp };
            facts.size > 0 && facts.end <= stable && now.0.saturating_sub(newest.0) >= lag_min
        };
        let sources: Vec<Arc<Segment>> = state.segments[..complete]
            .iter()
            .take_while(|segment| may_be(&segment.facts()))
            .cloned()
            .collect();
        let compacted_end = state.compacted_end;
        let (mut clean, mut dirty, mut oldest_dirty) = (0, 0, Timestamp(i64::MAX));
        for facts in sources.iter().map(|segment| segment.facts()) {
            match facts.end <= compacted_end {
                true => clean += facts.size,
                false => {
                    dirty += facts.size;
                    oldest_dirty = oldest_dirty.min(facts.first_timestamp);
                }
            }
        }
        if dirty == 0 {
            return None;
        }
        let permille = dirty * 1000 / (clean + dirty);
        let lag_max = config.compaction.lag_max.as_millis().min(i64::MAX as u128) as i64;
        let is_overdue = now.0.saturating_sub(oldest_dirty.0) > lag_max;
        let is_time = permille >= config.compaction.dirty_permille.into() || is_overdue;
        is_time.then_some(Chance { sources, compacted_end, dirty: permille })
    }
}

impl Compaction {
    fn new(partition: Arc<Partition>, chance: Chance, site: &Site) -> Compaction {
        let Chance { sources, compacted_end, .. } = chance;
        let seed = [site.random.next_u64(), site.random.next_u64()];
        let first = sources[0].base;
        let end = sources.last().map_or(first, |segment| segment.facts().end);
        let (config, aborted, last_of_producers) = {
            let state = partition.state.lock();
            let last = |(id, producer): (ProducerId, &crate::producers::Producer)| {
                (id, (producer.last_data_offset(), producer.epoch))
            };
            (
                state.config.clone(),
                state.producers.aborted(first, end),
                state.producers.iter().map(last).collect(),
            )
        };
        let start = compacted_end.max(first);
        Compaction {
            map: KeyMap::new(site.compaction.lock().map_bytes_max, seed, start),
            transactions: Transactions::new(aborted),
            phase: Phase::Reading { next: first },
            config,
            partition,
            sources,
            compacted_end: start,
            last_of_producers,
            is_outrun: false,
            bytes_before: 0,
            bytes_after: 0,
            moved: 0,
        }
    }

    fn step(
        &mut self,
        now: Timestamp,
        site: &Site,
        replaced: &mut Vec<Arc<Segment>>,
    ) -> io::Result<ControlFlow<()>> {
        match &mut self.phase {
            Phase::Reading { next } => {
                let next = *next;
                self.read(next, site)?;
                Ok(ControlFlow::Continue(()))
            }
            Phase::Writing { first, output: None } => {
                let first = *first;
                if first == self.sources.len() || self.sources[first].base >= self.map.end() {
                    self.end();
                    return Ok(ControlFlow::Break(()));
                }
                let output = self.begin_output(first, site)?;
                self.phase = Phase::Writing { first, output: Some(output) };
                Ok(ControlFlow::Continue(()))
            }
            Phase::Writing { .. } => {
                self.write(now, site, replaced)?;
                Ok(ControlFlow::Continue(()))
            }
        }
    }

    /// Everything is in its place.
    fn end(&mut self) {
        let emptied = self.transactions.take_emptied();
        let mut state = self.partition.state.lock();
        state.compacted_end = state.compacted_end.max(self.map.end());
        if !emptied.is_empty() && !self.is_outrun {
            state.producers.forget_aborted(&emptied);
            state.aborted_forgotten += 1;
        }
    }

    /// Reads a piece of the sources; what is dirty goes into the map.
    fn read(&mut self, next: Offset, site: &Site) -> io::Result<()> {
        let Some(segment) = self.sources.iter().find(|segment| segment.facts().end > next) else {
            self.begin_writing(next);
            return Ok(());
        };
        // What was compacted before is only of interest for the transactions that reach into what was not.
        let bytes = read_batches(segment, next)?;
        self.moved += bytes.len() as u64;
        for batch in batches(bytes) {
            let batch = batch.map_err(io::Error::other)?;
            let header = batch.header();
            let is_dirty = header.last_offset() >= self.compacted_end;
            if is_dirty && !self.map.has_room_for(header.record_count.unsigned_abs() as usize) {
                if self.map.is_empty() {
                    return Err(io::Error::other(
                        "the map has no room for one batch: raise log.cleaner.dedupe.buffer.size",
                    ));
                }
                self.begin_writing(header.base_offset);
                return Ok(());
            }
            let means_nothing = self.transactions.pass(header, Marker::read(&batch));
            if is_dirty && !means_nothing && !header.attributes.is_control() {
                self.put(&batch, site);
            }
            self.phase = Phase::Reading { next: header.next_offset() };
        }
        Ok(())
    }

    fn put(&mut self, batch: &Batch, site: &Site) {
        // One that cannot be read stays as it is, and outdates nothing.
        let Ok(records) = batch.records(site.options.compaction_batch_bytes_max) else { return };
        for record in records.iter().map_while(Result::ok) {
            let offset = records.offset(&record);
            if let Some(key) = record.key.filter(|_| offset >= self.compacted_end) {
                self.map.put(key, offset);
            }
        }
    }

    fn begin_writing(&mut self, end: Offset) {
        self.map.reach(end);
        let first = self.sources[0].base;
        self.transactions = Transactions::new(self.partition.state.lock().producers.aborted(first, end));
        self.phase = Phase::Writing { first: 0, output: None };
    }

    /// As many sources as fit into one segment, by what they have now.
    fn begin_output(&self, first: usize, site: &Site) -> io::Result<Output> {
        let base = self.sources[first].base;
        let (mut end, mut bytes, mut generation) = (first, 0, 0);
        for segment in &self.sources[first..] {
            let facts = segment.facts();
            let spans = facts.end.0 - 1 - base.0 > i64::from(i32::MAX);
            let is_full = bytes + facts.size > self.config.segment_bytes || spans;
            if end > first && (is_full || segment.base >= self.map.end()) {
                break;
            }
            bytes += facts.size;
            generation = generation.max(facts.generation);
            end += 1;
        }
        let facts = Facts { generation: generation + 1, ..Facts::new(base, site.clock.now()) };
        let segment = Segment::create_with(site.disk.clone(), &self.partition.directory, base, facts)?;
        Ok(Output {
            segment,
            end,
            reading: first,
            next: base,
            position: 0,
            expected: base,
            has_changed: end > first + 1,
        })
    }

    /// Writes what is left of a piece of the sources.
    fn write(&mut self, now: Timestamp, site: &Site, replaced: &mut Vec<Arc<Segment>>) -> io::Result<()> {
        let Phase::Writing { first, output: Some(output) } = &mut self.phase else { return Ok(()) };
        let first = *first;
        let source = &self.sources[output.reading];
        if output.next >= source.facts().end {
            output.reading += 1;
            if output.reading == output.end {
                return self.finish_output(first, site, replaced);
            }
            output.next = output.next.max(self.sources[output.reading].base);
            return Ok(());
        }
        let filter = Filter {
            map: &self.map,
            now,
            delete_retention: self.config.compaction.delete_retention,
            last_of_producers: &self.last_of_producers,
            up_to: self.map.end(),
        };
        let interval = self.config.index_interval_bytes;
        let (bytes, written_before) = (read_batches(source, output.next)?, output.position);
        self.moved += bytes.len() as u64;
        for batch in batches(bytes) {
            let batch = batch.map_err(io::Error::other)?;
            output.next = batch.header().next_offset();
            match filter.judge(&batch, &mut self.transactions, site.options.compaction_batch_bytes_max) {
                Fate::Stays => output.put(&batch, interval, now)?,
                Fate::Becomes(other) => {
                    output.has_changed = true;
                    output.put(&other, interval, now)?;
                }
                // A hole alone stays a hole.
                Fate::Goes => output.has_changed |= batch.header().record_count > 0,
            }
        }
        self.moved += output.position - written_before;
        Ok(())
    }

    fn finish_output(
        &mut self,
        first: usize,
        site: &Site,
        replaced: &mut Vec<Arc<Segment>>,
    ) -> io::Result<()> {
        let Phase::Writing { output, .. } = &mut self.phase else { return Ok(()) };
        let Some(mut output) = output.take() else { return Ok(()) };
        let end = output.end;
        let facts: Vec<Facts> = self.sources[first..end].iter().map(|segment| segment.facts()).collect();
        let bytes: u64 = facts.iter().map(|facts| facts.size).sum();
        self.phase = Phase::Writing { first: end, output: None };
        self.bytes_before += bytes;
        if !output.has_changed {
            self.bytes_after += bytes;
            return output.segment.remove();
        }
        let reached = facts.last().map_or(output.expected, |facts| facts.end);
        output.fill(reached, self.config.index_interval_bytes, site.clock.now())?;
        let appended_at = facts.iter().map(|facts| facts.appended_at).max().unwrap_or_default();
        let created_at = facts.iter().map(|facts| facts.created_at).min().unwrap_or_default();
        output.segment.set_times(appended_at, created_at);
        let synced = output.segment.log().and_then(|log| log.sync_data());
        if let Err(error) = synced {
            let _ = output.segment.remove();
            return Err(error);
        }
        output.segment.seal_index()?;
        self.bytes_after += output.segment.facts().size;
        let fresh = Arc::new(output.segment);
        match self.partition.replace(&self.sources[first..end], fresh.clone()) {
            true => {
                replaced.extend(self.sources[first..end].iter().cloned());
                Ok(())
            }
            // Retention was faster.
            false => {
                self.is_outrun = true;
                fresh.remove()
            }
        }
    }

    /// Removes what was not finished.
    pub(super) fn discard(self) {
        if let Phase::Writing { output: Some(output), .. } = self.phase {
            // Else the next start removes it.
            let _ = output.segment.remove();
        }
    }
}

impl Output {
    fn put(&mut self, batch: &Batch, interval: u32, now: Timestamp) -> io::Result<()> {
        let header = batch.header();
        self.fill(header.base_offset, interval, now)?;
        self.append(batch.bytes(), batch, interval, now)
    }

    /// Stands a batch without records in the place of offsets of which nothing is left.
    fn fill(&mut self, end: Offset, interval: u32, now: Timestamp) -> io::Result<()> {
        if self.expected >= end {
            return Ok(());
        }
        let last_delta = i32::try_from(end.0 - 1 - self.expected.0).expect("a segment spans no more");
        let hole =
            BatchBuilder::new(Compression::None).base_offset(self.expected).reaching(last_delta).build();
        self.append(hole.bytes(), &hole, interval, now)
    }

    fn append(&mut self, bytes: &Bytes, batch: &Batch, interval: u32, now: Timestamp) -> io::Result<()> {
        let header = batch.header();
        let log = self.segment.log()?;
        log.write_vectored_at(&[IoSlice::new(bytes)], self.position)?;
        self.segment.add(header, now, interval);
        self.position += bytes.len() as u64;
        self.expected = header.next_offset();
        Ok(())
    }
}

/// Whole batches of a complete segment, from one that ends after an offset on.
fn read_batches(segment: &Segment, next: Offset) -> io::Result<Bytes> {
    match segment.read(next, STEP_BYTES, Offset(i64::MAX), &Known::default())? {
        SegmentRead::Found { bytes, .. } => Ok(bytes),
        SegmentRead::Nothing | SegmentRead::Corrupt | SegmentRead::BadIndex => {
            Err(io::Error::other(format!("offset {next} of {} cannot be read", segment.log_path().display())))
        }
    }
}

impl Partition {
    /// Puts a segment in the place of those that it was made of. Says no when they are not all there any more.
    fn replace(&self, old: &[Arc<Segment>], new: Arc<Segment>) -> bool {
        let mut writer = self.writer.lock();
        let mut state = self.state.lock();
        let at = state.segments.iter().position(|segment| Arc::ptr_eq(segment, &old[0]));
        let Some(at) = at.filter(|_| !state.deleted) else { return false };
        let are_there =
            state.segments[at..].iter().zip(old).filter(|(held, old)| Arc::ptr_eq(held, old)).count();
        if are_there < old.len() {
            return false;
        }
        let facts = new.facts();
        // The last of them may be the last that is synced; checkpoints say so by its base and size.
        if old.iter().any(|segment| segment.base == writer.synced.segment) {
            writer.synced = Synced { end: facts.end, segment: new.base, size: facts.size };
        }
        // Memory still has what was there before: readers shall see what is left.
        let end = facts.end;
        while state.tail.front().is_some_and(|batch| batch.last < end) {
            state.tail.pop_front();
        }
        state.segments.splice(at..at + old.len(), [new]);
        true
    }
}
