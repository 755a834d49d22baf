//! What a storage must do, in a few lines: the oracle of the random and the crash tests.

use std::collections::BTreeMap;
use std::time::Duration;

use model::batch::{BatchBuilder, NewRecord};
use model::{Batch, Compression, Offset, PartitionId, ProducerEpoch, ProducerId};

use super::bench::{Bench, START, id, now};
use crate::{Append, AppendError, ChangeError, Health, LogConfig, OpenError};

/// What was asked of a storage, and what it has promised.
#[derive(Clone, Default)]
pub struct Model {
    pub partitions: BTreeMap<PartitionId, ModelPartition>,
    next_topic: u8,
}

#[derive(Clone)]
pub struct ModelPartition {
    is_durable: bool,
    /// In the order of sending; offsets follow from it.
    sent: Vec<Sent>,
    /// Those before are acknowledged.
    acknowledged: usize,
    start_promised: Offset,
    start_asked: Offset,
    exists: Certainty,
}

#[derive(Clone)]
struct Sent {
    sequence: i32,
    values: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Certainty {
    Yes,
    Perhaps,
    No,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Operation {
    /// A batch each, for the n-th partition (wrapping around), of so many records and bytes; sent together.
    Append(Vec<(usize, usize, usize)>),
    Create {
        is_durable: bool,
    },
    Delete(usize),
    DeleteRecords {
        partition: usize,
        of_ten: i64,
    },
    Advance(Duration),
    Reopen,
}

impl Operation {
    /// A mix of everything; `next` gives numbers below its argument.
    pub fn random(next: &mut impl FnMut(u64) -> u64) -> Operation {
        match next(20) {
            0..=12 => {
                let count = 1 + next(5);
                let append = |next: &mut dyn FnMut(u64) -> u64| {
                    let bytes = if next(4) == 0 { 2048 + next(3000) } else { 20 + next(600) };
                    (next(64) as usize, 1 + next(3) as usize, bytes as usize)
                };
                Operation::Append((0..count).map(|_| append(next)).collect())
            }
            13 => Operation::Create { is_durable: next(3) > 0 },
            14 => Operation::Delete(next(64) as usize),
            15 | 16 => Operation::DeleteRecords { partition: next(64) as usize, of_ten: next(11) as i64 },
            17 | 18 => Operation::Advance(Duration::from_secs(1 + next(100))),
            _ => Operation::Reopen,
        }
    }
}

impl Model {
    pub fn config(is_durable: bool) -> LogConfig {
        LogConfig {
            segment_bytes: 12 * 1024,
            index_interval_bytes: 512,
            retention: None,
            flush_messages: if is_durable { 1 } else { 10 },
            ..LogConfig::default()
        }
    }

    fn pick(&self, number: usize) -> Option<PartitionId> {
        let alive: Vec<PartitionId> = self
            .partitions
            .iter()
            .filter(|(_, partition)| partition.exists == Certainty::Yes)
            .map(|(id, _)| *id)
            .collect();
        (!alive.is_empty()).then(|| alive[number % alive.len()])
    }

    /// Does it in both worlds. Refusals are right only if the disk has crashed or is full.
    /// None when it crashed while there was no storage.
    pub fn carry_out(&mut self, mut bench: Bench, operation: &Operation) -> Option<Bench> {
        match operation {
            Operation::Append(batches) => self.append(&mut bench, batches),
            Operation::Create { is_durable } => {
                self.next_topic += 1;
                let id = id(self.next_topic, 0);
                let mut partition = ModelPartition::new(*is_durable);
                let creating = bench.storage.create(id, Model::config(*is_durable));
                bench.settle();
                match now(creating).expect("answered") {
                    Ok(_) => partition.exists = Certainty::Yes,
                    Err(error) => refused_rightly(&bench, &error),
                }
                self.partitions.insert(id, partition);
            }
            Operation::Delete(number) => {
                let Some(id) = self.pick(*number) else { return Some(bench) };
                let deleting = bench.storage.delete(vec![id]);
                bench.settle();
                let partition = self.partitions.get_mut(&id).expect("just picked");
                match now(deleting).expect("answered") {
                    Ok(()) => partition.exists = Certainty::No,
                    Err(error) => {
                        refused_rightly(&bench, &error);
                        partition.exists = Certainty::Perhaps;
                    }
                }
            }
            Operation::DeleteRecords { partition, of_ten } => {
                let Some(id) = self.pick(*partition) else { return Some(bench) };
                let end = bench.partition(id).offsets().high_watermark;
                let before = Offset(end.0 * of_ten / 10);
                let deleting = bench.storage.delete_records(id, before);
                bench.settle();
                let partition = self.partitions.get_mut(&id).expect("just picked");
                partition.start_asked = partition.start_asked.max(before);
                match now(deleting).expect("answered") {
                    Ok(start) => partition.start_promised = start,
                    Err(error) => refused_rightly(&bench, &error),
                }
            }
            Operation::Advance(by) => bench.advance(*by),
            Operation::Reopen => {
                bench.close();
                if !bench.disk.has_crashed() {
                    let disk = bench.disk.clone();
                    return match bench.try_open_again() {
                        Err(OpenError::Io { .. }) if disk.has_crashed() => None,
                        opened => Some(opened.expect("what was closed opens")),
                    };
                }
            }
        }
        Some(bench)
    }

    fn append(&mut self, bench: &mut Bench, batches: &[(usize, usize, usize)]) {
        let mut waiting = Vec::new();
        for (number, records, bytes) in batches {
            let Some(id) = self.pick(*number) else { return };
            let partition = self.partitions.get_mut(&id).expect("just picked");
            let sent = partition.next(id, *records, *bytes);
            let batch = sent.batch(id);
            partition.sent.push(sent);
            waiting.push((id, bench.storage.append(Append::new(bench.partition(id), batch))));
        }
        bench.settle();
        for (id, appending) in waiting {
            let partition = self.partitions.get_mut(&id).expect("just picked");
            match now(appending).expect("answered") {
                Ok(appended) => {
                    assert_eq!(appended.base_offset, partition.offset_of(partition.acknowledged), "in order");
                    assert!(!appended.duplicate);
                    partition.acknowledged += 1;
                }
                Err(AppendError::Closed) => assert!(bench.disk.has_crashed(), "closed without a reason"),
                Err(error) => panic!("refused: {error}"),
            }
        }
    }

    /// Compares a storage that was opened after a crash with what was promised, and takes what it says for the truth.
    pub fn check(&mut self, bench: &Bench) {
        for held in bench.storage.partitions() {
            assert!(self.partitions.contains_key(&held.id()), "a partition out of nowhere");
        }
        for (id, partition) in &mut self.partitions {
            let Some(held) = bench.storage.partition(*id) else {
                assert_ne!(partition.exists, Certainty::Yes, "partition {id} is gone");
                partition.exists = Certainty::No;
                continue;
            };
            assert_ne!(partition.exists, Certainty::No, "partition {id} is back");
            partition.exists = Certainty::Yes;
            assert_eq!(held.health(), Health::Good, "partition {id}");
            let offsets = held.offsets();
            assert!(
                partition.start_promised <= offsets.log_start && offsets.log_start <= partition.start_asked,
                "partition {id}: log start {:?} is not in {:?}..={:?}",
                offsets.log_start,
                partition.start_promised,
                partition.start_asked
            );
            partition.start_promised = offsets.log_start;
            partition.start_asked = offsets.log_start;
            let survivors = (0..=partition.sent.len())
                .find(|count| partition.offset_of(*count) == offsets.log_end)
                .unwrap_or_else(|| panic!("partition {id}: no batch ends at {:?}", offsets.log_end));
            if partition.is_durable {
                assert!(
                    survivors >= partition.acknowledged,
                    "partition {id}: {survivors} batches, {} were acknowledged",
                    partition.acknowledged
                );
            }
            partition.sent.truncate(survivors);
            partition.acknowledged = survivors;
            let records = bench.read_all(*id);
            let expected: Vec<(Offset, Vec<u8>)> = partition
                .sent
                .iter()
                .flat_map(|sent| sent.values.iter().cloned())
                .enumerate()
                .map(|(offset, value)| (Offset(offset as i64), value))
                .filter(|(offset, _)| *offset >= offsets.log_start)
                .collect();
            assert!(
                records == expected,
                "partition {id}: contents differ: {}",
                difference(&records, &expected)
            );
        }
        self.partitions.retain(|_, partition| partition.exists != Certainty::No);
    }

    /// What was not acknowledged is sent again by real clients, and so is, sometimes, what was: no record may
    /// be there twice.
    pub fn check_repetition(&self, bench: &mut Bench) {
        for (id, partition) in &self.partitions {
            let Some(last) = partition.sent.last() else { continue };
            let again = bench.append(*id, last.batch(*id)).expect("a repetition is no error");
            let base_offset = partition.offset_of(partition.sent.len() - 1);
            assert!(again.duplicate, "partition {id}: the last batch was taken twice");
            assert_eq!(again.base_offset, base_offset);
        }
    }
}

impl ModelPartition {
    fn new(is_durable: bool) -> ModelPartition {
        ModelPartition {
            is_durable,
            sent: Vec::new(),
            acknowledged: 0,
            start_promised: Offset::ZERO,
            start_asked: Offset::ZERO,
            exists: Certainty::Perhaps,
        }
    }

    fn next(&self, id: PartitionId, records: usize, bytes: usize) -> Sent {
        let sequence = self.offset_of(self.sent.len()).0 as i32;
        let value = |index: usize| {
            let mut value = format!("{id}/{}/", sequence as usize + index).into_bytes();
            value.resize(value.len().max(bytes / records), b'.');
            value
        };
        Sent { sequence, values: (0..records).map(value).collect() }
    }

    /// The base offset of the n-th batch.
    fn offset_of(&self, index: usize) -> Offset {
        Offset(self.sent[..index].iter().map(|sent| sent.values.len() as i64).sum())
    }
}

impl Sent {
    fn batch(&self, id: PartitionId) -> Batch {
        let producer = ProducerId(i64::from(id.topic.0[0]) + 1000);
        let mut builder =
            BatchBuilder::new(Compression::None).producer(producer, ProducerEpoch(0), self.sequence);
        for value in &self.values {
            builder.push(NewRecord { timestamp: START, value: Some(value), ..NewRecord::default() });
        }
        builder.build()
    }
}

fn refused_rightly(bench: &Bench, error: &ChangeError) {
    assert!(*error == ChangeError::Closed && bench.disk.has_crashed(), "refused: {error}");
}

fn difference(found: &[(Offset, Vec<u8>)], expected: &[(Offset, Vec<u8>)]) -> String {
    let at = found.iter().zip(expected).position(|(a, b)| a != b);
    let show = |records: &[(Offset, Vec<u8>)]| {
        let at = at.unwrap_or(found.len().min(expected.len()));
        records.get(at).map(|(offset, value)| {
            format!("{offset:?} {}", String::from_utf8_lossy(&value[..value.len().min(50)]))
        })
    };
    format!(
        "{} and {} records, first: {:?} and {:?}",
        found.len(),
        expected.len(),
        show(found),
        show(expected)
    )
}
