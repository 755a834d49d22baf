//! The real thing: a file system, threads, many writers and readers at once.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use env::{RealDisk, SystemClock, SystemRandom};
use model::Offset;
use tokio::sync::Notify;

use super::bench::{id, numbered, read_all, small_options};
use crate::{Append, LogConfig, Options, Partition, Storage, verify};

const WRITERS: u64 = 8;
const BATCHES: u64 = 150;

fn open(directory: &Path) -> (Storage, Vec<JoinHandle<()>>) {
    let options = Options { data_dir: directory.join("data"), shards: 2, ..small_options() };
    let (storage, shards) = Storage::open(
        options,
        Arc::new(RealDisk::new()),
        Arc::new(SystemClock::new()),
        Arc::new(SystemRandom),
    )
    .expect("the directory opens");
    let run = |shard: crate::Shard| env::spawn_thread("shard", move || shard.run()).expect("a thread starts");
    (storage, shards.into_iter().map(run).collect())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn write(storage: Storage, partition: Arc<Partition>, writer: u64) {
    for number in 0..BATCHES {
        let bytes = if number % 9 == writer % 9 { 3000 } else { 20 + number as usize * 7 % 900 };
        let batch = numbered(writer << 32 | number, bytes);
        let mut append = Append::new(partition.clone(), batch);
        append.reservation = Some(storage.reserve(&partition, append.batch.size_bytes()).await.unwrap());
        storage.append(append).await.unwrap();
    }
}

/// Follows a partition from its start to the given end, sleeping while there is nothing new.
async fn follow(partition: Arc<Partition>, end: i64) -> usize {
    let waker = Arc::new(Notify::new());
    let _guard = partition.wake_on_advance(&waker);
    let mut from = Offset(0);
    let mut count = 0;
    while from.0 < end {
        let up_to = partition.offsets().high_watermark;
        if from >= up_to {
            waker.notified().await;
            continue;
        }
        let read = if partition.is_cached(from) {
            partition.read(from, 10_000, up_to).unwrap()
        } else {
            let partition = partition.clone();
            env::run_blocking(move || partition.read(from, 10_000, up_to).unwrap()).await
        };
        for batch in model::batch::batches(read.chunks.concat().into()) {
            assert_eq!(batch.unwrap().header().base_offset, from);
            from = from.plus(1);
            count += 1;
        }
    }
    count
}

#[test]
fn many_writers_and_readers_agree() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, threads) = open(directory.path());
    let runtime = runtime();
    let ids = [id(1, 0), id(1, 1), id(2, 0), id(3, 0)];
    runtime.block_on(async {
        let config = LogConfig { segment_bytes: 20_000, ..LogConfig::default() };
        for id in ids {
            storage.create(id, config.clone()).await.unwrap();
        }
        let mut tasks = Vec::new();
        let partition = |index: u64| storage.partition(ids[index as usize % ids.len()]).unwrap();
        for writer in 0..WRITERS {
            tasks.push(env::spawn(write(storage.clone(), partition(writer), writer)));
        }
        let each = (BATCHES * WRITERS / ids.len() as u64) as i64;
        let readers: Vec<_> = (0..4).map(|index| env::spawn(follow(partition(index), each))).collect();
        for task in tasks {
            task.await.unwrap();
        }
        for reader in readers {
            assert_eq!(reader.await.unwrap(), each as usize);
        }
        storage.close().await;
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let before: Vec<_> = ids.iter().map(|id| read_all(&storage.partition(*id).unwrap())).collect();
    drop(storage);

    let options = Options { data_dir: directory.path().join("data"), ..small_options() };
    let report =
        verify(options, Arc::new(RealDisk::new()), Arc::new(SystemClock::new()), Arc::new(SystemRandom))
            .unwrap();
    assert!(report.is_sound() && report.shards.iter().all(|shard| shard.was_closed_cleanly), "{report:?}");
    let (storage, threads) = open(directory.path());
    for (id, before) in ids.iter().zip(before) {
        let after = read_all(&storage.partition(*id).unwrap());
        assert!(after == before);
        // Every writer's batches are there once, in its order.
        for writer in 0..WRITERS {
            let own: Vec<u64> = after
                .iter()
                .map(|(_, value)| u64::from_be_bytes(value[..8].try_into().unwrap()))
                .filter(|number| number >> 32 == writer)
                .collect();
            assert!(own.is_sorted() && (own.is_empty() || own.len() as u64 == BATCHES));
        }
    }
    runtime.block_on(storage.close());
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_simulated_task_does_the_same() {
    let _simulation = env::sim::enter();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let disk = env::sim::SimDisk::new(1);
    let clock = Arc::new(env::sim::SimClock::new(super::bench::START));
    let random = Arc::new(env::SeededRandom::new(1));
    let (storage, shards) =
        Storage::open(small_options(), Arc::new(disk), clock, random).expect("a new directory opens");
    runtime.block_on(async {
        let running: Vec<_> = shards.into_iter().map(|shard| env::spawn(shard.run_simulated())).collect();
        let partition = storage.create(id(1, 0), LogConfig::default()).await.unwrap();
        let reader = env::spawn(follow(partition.clone(), BATCHES as i64));
        write(storage.clone(), partition, 1).await;
        assert_eq!(reader.await.unwrap() as u64, BATCHES);
        storage.close().await;
        for shard in running {
            shard.await.unwrap();
        }
    });
}
