//! A storage on a simulated disk, driven step by step.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use env::sim::{SimClock, SimDisk};
use env::{Clock, Disk, SeededRandom};
use model::batch::{BatchBuilder, NewRecord};
use model::{Batch, Compression, Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp, TopicId};

use crate::{Append, AppendError, Appended, LogConfig, OpenError, Options, Partition, Shard, Storage};

pub struct Bench {
    pub disk: SimDisk,
    pub clock: Arc<SimClock>,
    pub options: Options,
    pub storage: Storage,
    pub shards: Vec<Shard>,
    seed: u64,
}

pub const DATA: &str = "/data";
pub const START: Timestamp = Timestamp(1_700_000_000_000);

/// Small enough that everything happens often.
pub fn small_options() -> Options {
    Options {
        wal_bytes_max: 4 * 16 * 1024,
        wal_file_bytes: 16 * 1024,
        direct_batch_bytes_min: 2048,
        direct_bytes_per_checkpoint: 64 * 1024,
        tail_bytes_max: 4096,
        group_bytes_max: 8 * 1024,
        disk_free_bytes_min: 0,
        checkpoint_reserve_bytes: 4096,
        ..Options::new(DATA)
    }
}

pub fn id(topic: u8, index: i32) -> PartitionId {
    PartitionId { topic: TopicId([topic; 16]), index }
}

impl Bench {
    pub fn new(options: Options) -> Bench {
        let disk = SimDisk::new(1);
        let clock = Arc::new(SimClock::new(START));
        Bench::open(disk, clock, options, 7).expect("a new directory opens")
    }

    pub fn open(
        disk: SimDisk,
        clock: Arc<SimClock>,
        options: Options,
        seed: u64,
    ) -> Result<Bench, OpenError> {
        let random = Arc::new(SeededRandom::new(seed));
        let (storage, shards) =
            Storage::open(options.clone(), Arc::new(disk.clone()), clock.clone(), random)?;
        Ok(Bench { disk, clock, options, storage, shards, seed })
    }

    /// Closes in order and opens again.
    pub fn reopen(mut self) -> Bench {
        self.close();
        self.open_again()
    }

    pub fn close(&mut self) {
        let closing = self.storage.close();
        self.settle();
        self.shards =
            std::mem::take(&mut self.shards).into_iter().filter_map(Shard::finish_if_closing).collect();
        assert!(self.shards.is_empty(), "every shard has finished");
        assert!(now(closing).is_some());
    }

    /// Opens the disk as it is, after a crash or a close.
    pub fn open_again(self) -> Bench {
        self.try_open_again().expect("what we wrote opens")
    }

    pub fn try_open_again(self) -> Result<Bench, OpenError> {
        let Bench { disk, clock, options, storage, shards, seed } = self;
        drop((storage, shards));
        Bench::open(disk, clock, options, seed + 1)
    }

    /// Steps until nothing is left to do.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            let now = self.clock.now();
            let mut did = false;
            for shard in &mut self.shards {
                did |= shard.step(now);
            }
            if !did {
                return;
            }
        }
        panic!("the storage never comes to rest");
    }

    pub fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Closes in order; returns the bytes that were written for each byte produced.
    pub fn close_and_count(mut self) -> f64 {
        let storage = self.storage.clone();
        self.close();
        let metrics = storage.metrics();
        let written = metrics.wal_bytes.value()
            + metrics.direct_bytes.value()
            + metrics.roll_up_bytes.value()
            + metrics.other_bytes.value();
        written as f64 / metrics.produced_bytes.value() as f64
    }

    pub fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
        self.settle();
    }

    /// Drives a request to its end.
    pub fn wait<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        self.settle();
        poll(future.as_mut()).expect("a settled storage has answered")
    }

    pub fn create(&mut self, id: PartitionId, config: LogConfig) -> Arc<Partition> {
        let creating = self.storage.create(id, config);
        self.wait(creating).expect("a new partition can be created")
    }

    pub fn partition(&self, id: PartitionId) -> Arc<Partition> {
        self.storage.partition(id).expect("the partition exists")
    }

    pub fn append(&mut self, id: PartitionId, batch: Batch) -> Result<Appended, AppendError> {
        let appending = self.storage.append(Append::new(self.partition(id), batch));
        self.wait(appending)
    }

    /// Every record of a partition, by reading it from its start.
    pub fn read_all(&self, id: PartitionId) -> Vec<(Offset, Vec<u8>)> {
        read_all(&self.partition(id))
    }

    /// Files under the data directory whose path contains the text.
    pub fn paths(&self, text: &str) -> Vec<PathBuf> {
        self.disk.files().into_keys().filter(|path| path.to_string_lossy().contains(text)).collect()
    }

    pub fn file(&self, path: &Path) -> Vec<u8> {
        env::read_file(&self.disk as &dyn Disk, path, usize::MAX).expect("the file exists")
    }
}

pub fn read_all(partition: &Partition) -> Vec<(Offset, Vec<u8>)> {
    let offsets = partition.offsets();
    let mut from = offsets.log_start;
    let mut records = Vec::new();
    while from < offsets.high_watermark {
        let read = partition.read(from, 3000, offsets.high_watermark).expect("the partition is readable");
        if read.chunks.is_empty() {
            break;
        }
        for batch in model::batch::batches(read.chunks.concat().into()) {
            let batch = batch.expect("the batch is whole");
            let contents = batch.records(1 << 20).expect("the records are whole");
            for record in contents.iter() {
                let record = record.expect("the record is whole");
                let offset = contents.offset(&record);
                if offset >= from {
                    records.push((offset, record.value.unwrap_or_default().to_vec()));
                }
            }
        }
        assert!(read.next_offset > from, "reading makes progress");
        from = read.next_offset;
    }
    records
}

pub fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    poll(pin!(future))
}

pub fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// A batch of records with these values.
pub fn batch(values: &[&[u8]]) -> Batch {
    batch_at(START, values)
}

pub fn batch_at(timestamp: Timestamp, values: &[&[u8]]) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder.push(NewRecord { timestamp, value: Some(value), ..NewRecord::default() });
    }
    builder.build()
}

/// A batch of one record of about so many bytes, recognisable by its number.
pub fn numbered(number: u64, bytes: usize) -> Batch {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(bytes.max(8), number as u8);
    batch(&[&value])
}

/// An idempotent producer's batch of `count` records.
pub fn sequenced(producer: i64, epoch: i16, sequence: i32, count: usize) -> Batch {
    let mut builder =
        BatchBuilder::new(Compression::None).producer(ProducerId(producer), ProducerEpoch(epoch), sequence);
    for index in 0..count {
        let value = format!("{producer}/{epoch}/{}", i64::from(sequence) + index as i64);
        builder.push(NewRecord { timestamp: START, value: Some(value.as_bytes()), ..NewRecord::default() });
    }
    builder.build()
}
