use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use model::{Batch, BatchHeader, Offset, PartitionId};
use tokio::sync::oneshot;

use super::group::{Answer, AnswerTo, Group, Place, StagedBatch, StagedChange, split};
use super::writer::{CHANGE_BYTES_MAX, Writer};
use crate::append::{Append, AppendError, Appended};
use crate::partition::{DirectError, LogState, Partition, ReadError};
use crate::producers::{Marker, Verdict, decide};
use crate::queue::{Change, Reply, Request, RequestKind, Reservation};
use crate::storage::ChangeError;
use crate::wal::format::{DIRECT_BYTES, Entry, FRAME_HEADER_BYTES, write_batch, write_entry};

/// Whether a request became part of a group.
pub(super) enum Staged {
    /// It did, or it was answered.
    Yes,
    /// There is no room, or what is staged must be committed first.
    NotNow(Request),
}

/// What the writer copies itself before a large batch.
const CATCH_UP_BYTES_MAX: u64 = 1 << 20;

/// Bytes that a batch takes in the write-ahead log.
pub(super) fn frame_bytes(batch: &Batch, is_direct: bool) -> usize {
    FRAME_HEADER_BYTES + if is_direct { DIRECT_BYTES } else { batch.size_bytes() }
}

enum BatchStaged {
    At(Offset),
    NotNow,
    Refused(AppendError),
}

impl Writer {
    pub fn stage(&mut self, group: &mut Group, request: Request) -> Staged {
        let reservation = request.reservation;
        match request.kind {
            RequestKind::Append { append, reply } => self.stage_append(group, append, reply, reservation),
            RequestKind::Change { id, change, reply } => {
                self.stage_change(group, id, change, reply, reservation)
            }
            kind @ RequestKind::Close { .. } => Staged::NotNow(Request { kind, reservation }),
        }
    }

    /// Whether a batch goes straight to its partition's segment.
    pub fn is_direct(&self, append: &Append) -> bool {
        let (batch, partition) = (&append.batch, &append.partition);
        // There may be no room for a segment.
        if append.frees_room {
            return false;
        }
        // Markers are read back from the log when it is recovered, so they are always in it.
        if batch.header().attributes.is_control() {
            return false;
        }
        let options = &self.site.options;
        if batch.size_bytes() as u64 > options.wal_file_bytes / 4 {
            return true;
        }
        if batch.size_bytes() < options.direct_batch_bytes_min {
            return false;
        }
        // Much that came before would have to be copied first, and everybody would wait for it. The keeper does
        // that; until then this partition's large batches go through the log too.
        if partition.state.lock().pending_bytes > CATCH_UP_BYTES_MAX {
            self.site.early_roll_up.lock().insert(partition.id(), partition.clone());
            self.site.bell.ring();
            return false;
        }
        true
    }

    fn stage_append(
        &mut self,
        group: &mut Group,
        append: Append,
        reply: oneshot::Sender<Result<Appended, AppendError>>,
        reservation: Option<Reservation>,
    ) -> Staged {
        let index = group.stage(&append.partition);
        let result = match self.examine(group, index, &append) {
            Examined::Refuse(error) => Err(error),
            Examined::Duplicate(appended) => Ok(appended),
            Examined::Accept => match self.stage_batch(group, index, &append) {
                BatchStaged::At(base_offset) => {
                    let last_offset = base_offset.plus(i64::from(append.batch.header().last_offset_delta));
                    let log_start_offset = group.partitions[index].start;
                    Ok(Appended { base_offset, last_offset, log_start_offset, duplicate: false })
                }
                BatchStaged::NotNow => {
                    let kind = RequestKind::Append { append, reply };
                    return Staged::NotNow(Request { kind, reservation });
                }
                BatchStaged::Refused(error) => Err(error),
            },
        };
        group.answers.push(Answer {
            to: AnswerTo::Append { reply, result },
            staged: Some(index),
            _reservation: reservation,
        });
        Staged::Yes
    }

    /// Whether a batch may be appended, after all that the group already holds.
    fn examine(&self, group: &mut Group, index: usize, append: &Append) -> Examined {
        if self.site.is_closed() {
            return Examined::Refuse(AppendError::Closed);
        }
        let staged = &mut group.partitions[index];
        if staged.deleted {
            return Examined::Refuse(AppendError::Deleted);
        }
        if staged.damaged {
            return Examined::Refuse(AppendError::Damaged);
        }
        if append.expected_end.is_some_and(|expected| expected != staged.end) {
            return Examined::Refuse(AppendError::UnexpectedEnd { log_end: staged.end });
        }
        let header = append.batch.header();
        let expiration = self.site.options.producer_id_expiration;
        let log_start_offset = staged.start;
        let known = staged.producer(header.producer_id);
        match decide(known, header, append.first_sequence_zero, group.written_at, expiration) {
            Verdict::Refuse(error) => Examined::Refuse(error),
            Verdict::Duplicate { base_offset, last_offset } => {
                Examined::Duplicate(Appended { base_offset, last_offset, log_start_offset, duplicate: true })
            }
            Verdict::Accept if !append.frees_room && self.site.disk_full.load(Ordering::Acquire) => {
                self.site.metrics.disk_full.add(1);
                Examined::Refuse(AppendError::DiskFull)
            }
            Verdict::Accept => Examined::Accept,
        }
    }

    fn stage_batch(&mut self, group: &mut Group, index: usize, append: &Append) -> BatchStaged {
        let batch = &append.batch;
        let is_direct = self.is_direct(append);
        let frame_bytes = frame_bytes(batch, is_direct);
        let (room, is_pending_full) = match append.frees_room {
            true => (group.room.changes, false),
            false => (group.room.batches, group.room.pending == 0),
        };
        if group.frame_bytes() + frame_bytes > room || is_pending_full {
            return BatchStaged::NotNow;
        }
        let staged = &group.partitions[index];
        let header = BatchHeader {
            base_offset: staged.end,
            partition_leader_epoch: staged.leader_epoch,
            ..*batch.header()
        };
        let place = if is_direct {
            match self.stage_direct(group, index, &header, batch) {
                Ok(place) => place,
                Err(DirectError::Later) => return BatchStaged::NotNow,
                Err(DirectError::Io(error)) => return BatchStaged::Refused(self.direct_failed(&error)),
            }
        } else {
            let at = group.buffer.len() + FRAME_HEADER_BYTES;
            let id = group.partitions[index].partition.id();
            write_batch(&mut group.buffer, group.stamp, id, &header.encode(), &split(batch.bytes()));
            group.room.pending = group.room.pending.saturating_sub(1);
            Place::Wal { at }
        };
        group.frames += 1;
        group.bytes += batch.size_bytes();
        let expiration = self.site.options.producer_id_expiration;
        let staged = &mut group.partitions[index];
        let marker = Marker::read(batch);
        staged.producers.apply(&header, marker, group.written_at, expiration);
        staged.end = header.next_offset();
        if matches!(place, Place::Direct { .. }) {
            staged.in_segment = staged.batches.len() + 1;
        }
        staged.batches.push(StagedBatch { header, marker, place });
        let partition = staged.partition.clone();
        let is_durable = staged.is_durable;
        group.is_durable |= is_durable || self.relaxed_is_due(&partition, header.record_count);
        BatchStaged::At(header.base_offset)
    }

    /// Puts a large batch into its partition's segment, after everything that comes before it.
    fn stage_direct(
        &mut self,
        group: &mut Group,
        index: usize,
        header: &BatchHeader,
        batch: &Batch,
    ) -> Result<Place, DirectError> {
        let now = group.written_at;
        let partition = group.partitions[index].partition.clone();
        partition.roll_up(u64::MAX, u64::MAX).map_err(|error| match error {
            ReadError::Io(error) => DirectError::Io(error),
            other => DirectError::Io(io::Error::other(other)),
        })?;
        // Small ones of this very group first.
        while group.partitions[index].in_segment < group.partitions[index].batches.len() {
            let staged = &mut group.partitions[index];
            let small = &staged.batches[staged.in_segment];
            let (head, rest) = small.parts(&group.buffer);
            partition.stage_direct(&small.header, &[IoSlice::new(head), IoSlice::new(rest)], now)?;
            staged.in_segment += 1;
        }
        let head = Bytes::copy_from_slice(&header.encode());
        let rest = split(batch.bytes());
        let parts = [IoSlice::new(&head), IoSlice::new(&rest)];
        let (segment, position) = partition.stage_direct(header, &parts, now)?;
        self.site.metrics.direct_bytes.add(batch.size_bytes() as u64);
        let entry = Entry::Direct { header: *header, segment, position };
        write_entry(&mut group.buffer, group.stamp, partition.id(), &entry);
        Ok(Place::Direct { head, rest })
    }

    fn direct_failed(&mut self, error: &io::Error) -> AppendError {
        if error.kind() == io::ErrorKind::StorageFull {
            self.disk_is_full();
            return AppendError::DiskFull;
        }
        if env::is_out_of_files(error) {
            self.site.files_are_out("writing to a segment");
            return AppendError::OutOfFiles;
        }
        self.site.close("writing to a segment", error);
        AppendError::Closed
    }

    /// Counts records of topics with relaxed flushing; says whether it is time to sync them.
    fn relaxed_is_due(&mut self, partition: &Arc<Partition>, records: i32) -> bool {
        let config = partition.config();
        if config.is_durable() {
            return false;
        }
        if let Some(interval) = config.flush_interval {
            self.set_sync_due(self.site.clock.monotonic() + interval);
        }
        let count = self.relaxed_records.entry(partition.id()).or_default();
        *count += records.max(0) as u64;
        *count >= config.flush_messages
    }

    fn stage_change(
        &mut self,
        group: &mut Group,
        id: PartitionId,
        change: Change,
        reply: Reply,
        reservation: Option<Reservation>,
    ) -> Staged {
        if group.frame_bytes() + CHANGE_BYTES_MAX > group.room.changes {
            let kind = RequestKind::Change { id, change, reply };
            return Staged::NotNow(Request { kind, reservation });
        }
        let result = self.try_change(group, id, change);
        group.answers.push(Answer {
            to: AnswerTo::Change { reply, result },
            staged: None,
            _reservation: reservation,
        });
        Staged::Yes
    }

    fn try_change(
        &mut self,
        group: &mut Group,
        id: PartitionId,
        change: Change,
    ) -> Result<(Arc<Partition>, Offset), ChangeError> {
        let known = match group.staged(id) {
            Some(index) => Some(group.partitions[index].partition.clone()),
            None => self.partitions.read().get(&id).cloned(),
        };
        if let Change::Create(config) = &change {
            if known.is_some() {
                return Err(ChangeError::Exists);
            }
            let state = LogState::new(config.clone());
            let partition = Arc::new(Partition::new(id, self.site.clone(), state, Default::default()));
            let index = group.stage(&partition);
            self.put(group, index, StagedChange::Create, &Entry::Create(config.clone()));
            return Ok((partition, Offset::ZERO));
        }
        let partition = known.ok_or(ChangeError::Unknown)?;
        let index = group.stage(&partition);
        let staged = &mut group.partitions[index];
        if staged.deleted {
            return Err(ChangeError::Unknown);
        }
        let start = staged.start;
        match change {
            Change::Create(_) => unreachable!("done above"),
            Change::Configure(config) => {
                self.put(group, index, StagedChange::Configure(config.clone()), &Entry::Configure(config));
            }
            Change::Delete => {
                staged.deleted = true;
                self.put(group, index, StagedChange::Delete, &Entry::Delete);
            }
            Change::LogStart(before) if before > staged.end => return Err(ChangeError::OutOfRange),
            Change::LogStart(before) if before > start => {
                staged.start = before;
                self.put(group, index, StagedChange::LogStart(before), &Entry::LogStart(before));
                return Ok((partition, before));
            }
            Change::LogStart(_) => {}
        }
        Ok((partition, start))
    }

    fn put(&mut self, group: &mut Group, index: usize, change: StagedChange, entry: &Entry) {
        let staged = &mut group.partitions[index];
        write_entry(&mut group.buffer, group.stamp, staged.partition.id(), entry);
        staged.changes.push(change);
        // A change is answered when it is durable, so it is seen only then, whatever the topic's flushing.
        staged.is_durable = true;
        group.frames += 1;
        group.is_durable = true;
    }
}

enum Examined {
    Accept,
    Duplicate(Appended),
    Refuse(AppendError),
}
