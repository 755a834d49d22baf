//! Measures the log on a real disk: group commits a second, bytes a second, bytes written per byte produced.
//!
//! `cargo run --release -p storage --example storage_bench -- DIRECTORY [SCENARIO…]`
//!
//! The directory is created and emptied afterwards. Scenarios: `commit1 commit64 small large64k large1m mixed read`;
//! all of them if none is named.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use env::{Clock, RealDisk, SystemClock, SystemRandom};
use model::batch::{BatchBuilder, NewRecord};
use model::{Batch, Compression, Offset, PartitionId, TopicId};
use storage::{Append, LogConfig, Options, Partition, Storage};

struct Scenario {
    name: &'static str,
    writers: usize,
    in_flight: usize,
    partitions: usize,
    batch_bytes: usize,
    seconds: u64,
}

const SCENARIOS: [Scenario; 7] = [
    Scenario { name: "commit1", writers: 1, in_flight: 1, partitions: 1, batch_bytes: 200, seconds: 3 },
    Scenario { name: "commit64", writers: 64, in_flight: 1, partitions: 16, batch_bytes: 200, seconds: 3 },
    Scenario { name: "small", writers: 64, in_flight: 5, partitions: 16, batch_bytes: 1100, seconds: 10 },
    Scenario {
        name: "large64k",
        writers: 16,
        in_flight: 5,
        partitions: 16,
        batch_bytes: 65_536,
        seconds: 10,
    },
    Scenario {
        name: "large256k",
        writers: 16,
        in_flight: 5,
        partitions: 16,
        batch_bytes: 262_144,
        seconds: 10,
    },
    Scenario {
        name: "large1m",
        writers: 16,
        in_flight: 5,
        partitions: 16,
        batch_bytes: 1_000_000,
        seconds: 10,
    },
    Scenario {
        name: "medium16k",
        writers: 16,
        in_flight: 5,
        partitions: 16,
        batch_bytes: 16_384,
        seconds: 10,
    },
];

#[expect(clippy::print_stdout, reason = "this is what it is for")]
fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().expect("first argument: a directory to be created"));
    assert!(!directory.exists(), "{} exists; name one that does not", directory.display());
    let wanted: Vec<String> = arguments.collect();
    println!(
        "scenario    batches/s  groups/s   MB/s  written/produced  sync mean  sync p99  cpu s/GB  stalls"
    );
    for scenario in &SCENARIOS {
        if wanted.is_empty() || wanted.iter().any(|name| name == scenario.name) {
            println!("{}", measure(&directory, scenario));
        }
    }
    if wanted.is_empty() || wanted.iter().any(|name| name == "read") {
        println!("{}", measure_reading(&directory));
    }
}

fn open(directory: &PathBuf) -> (Storage, Vec<std::thread::JoinHandle<()>>) {
    let mut options = Options::new(directory);
    if let Some(kib) = std::env::var("DIRECT_KIB").ok().and_then(|kib| kib.parse::<usize>().ok()) {
        options.direct_batch_bytes_min = kib * 1024;
    }
    let (storage, shards) = Storage::open(
        options,
        Arc::new(RealDisk::new()),
        Arc::new(SystemClock::new()),
        Arc::new(SystemRandom),
    )
    .expect("the directory opens");
    let threads = shards
        .into_iter()
        .map(|shard| env::spawn_thread("shard", move || shard.run()).expect("a thread starts"))
        .collect();
    (storage, threads)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime starts")
}

fn batch(bytes: usize) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None);
    let value = vec![7; bytes.min(1000) - 80];
    while builder.record_count() == 0 || builder.section_bytes() + 1100 < bytes {
        builder.push(NewRecord { value: Some(&value), ..NewRecord::default() });
    }
    builder.build()
}

async fn create(storage: &Storage, count: usize) -> Vec<Arc<Partition>> {
    let mut partitions = Vec::new();
    for index in 0..count {
        let id = PartitionId { topic: TopicId([9; 16]), index: index as i32 };
        partitions.push(storage.create(id, LogConfig::default()).await.expect("a new partition"));
    }
    partitions
}

fn measure(directory: &PathBuf, scenario: &Scenario) -> String {
    let (storage, threads) = open(directory);
    let clock = SystemClock::new();
    let runtime = runtime();
    let batch = batch(scenario.batch_bytes);
    let partitions = runtime.block_on(create(&storage, scenario.partitions));
    let begun = clock.monotonic();
    let cpu = cpu_time();
    let end = begun + Duration::from_secs(scenario.seconds);
    let clock = Arc::new(clock);
    runtime.block_on(async {
        let mut writers = Vec::new();
        for index in 0..scenario.writers {
            let (storage, batch, clock) = (storage.clone(), batch.clone(), clock.clone());
            let partition = partitions[index % partitions.len()].clone();
            let in_flight = scenario.in_flight;
            writers.push(env::spawn(async move {
                let mut waiting = std::collections::VecDeque::new();
                while clock.monotonic() < end {
                    while waiting.len() < in_flight {
                        let mut append = Append::new(partition.clone(), batch.clone());
                        append.reservation =
                            Some(storage.reserve(&partition, batch.size_bytes()).await.expect("open"));
                        waiting.push_back(storage.append(append));
                    }
                    waiting.pop_front().expect("just filled").await.expect("appended");
                }
                for append in waiting {
                    append.await.expect("appended");
                }
            }));
        }
        for writer in writers {
            writer.await.expect("no writer panics");
        }
    });
    let took = (clock.monotonic() - begun).as_secs_f64();
    let cpu = (cpu_time() - cpu).as_secs_f64();
    runtime.block_on(storage.close());
    threads.into_iter().for_each(|thread| thread.join().expect("the shard does not panic"));
    let metrics = storage.metrics();
    let produced = metrics.produced_bytes.value() as f64;
    let written = metrics.wal_bytes.value()
        + metrics.direct_bytes.value()
        + metrics.roll_up_bytes.value()
        + metrics.other_bytes.value();
    let report = format!(
        "{:<10} {:>10.0} {:>9.0} {:>6.1} {:>17.3} {:>10.3?} {:>9.1?} {:>9.2} {:>7}",
        scenario.name,
        metrics.batches.value() as f64 / took,
        metrics.groups.value() as f64 / took,
        produced / took / 1e6,
        written as f64 / produced,
        metrics.syncs.sum() / metrics.syncs.count().max(1) as u32,
        percentile(&metrics.syncs.counts(), 0.99),
        cpu / (produced / 1e9),
        metrics.stalls.value(),
    );
    drop(storage);
    std::fs::remove_dir_all(directory).expect("the directory can be removed");
    report
}

fn measure_reading(directory: &PathBuf) -> String {
    let (storage, threads) = open(directory);
    let runtime = runtime();
    let partitions = runtime.block_on(create(&storage, 1));
    let partition = &partitions[0];
    let batch = batch(65_536);
    runtime.block_on(async {
        for _ in 0..8192 {
            storage.append(Append::new(partition.clone(), batch.clone())).await.expect("appended");
        }
    });
    let clock = SystemClock::new();
    let end = partition.offsets().high_watermark;
    let mut from = Offset::ZERO;
    let mut bytes = 0;
    let begun = clock.monotonic();
    let cpu = cpu_time();
    while from < end && !partition.is_cached(from) {
        let read = partition.read(from, 1 << 20, end).expect("readable");
        bytes += read.bytes;
        from = read.next_offset;
    }
    let took = (clock.monotonic() - begun).as_secs_f64();
    let cpu = (cpu_time() - cpu).as_secs_f64();
    runtime.block_on(storage.close());
    threads.into_iter().for_each(|thread| thread.join().expect("the shard does not panic"));
    drop(storage);
    std::fs::remove_dir_all(directory).expect("the directory can be removed");
    format!(
        "read: {:.0} MB/s from segments in the page cache, {:.2} cpu s/GB",
        bytes as f64 / took / 1e6,
        cpu / (bytes as f64 / 1e9)
    )
}

fn percentile(counts: &[u64], part: f64) -> Duration {
    let total: u64 = counts.iter().sum();
    let mut seen = 0;
    for (bucket, count) in counts.iter().enumerate() {
        seen += count;
        if seen as f64 >= total as f64 * part {
            return storage::Histogram::bound(bucket).unwrap_or(Duration::MAX);
        }
    }
    Duration::ZERO
}

/// Processor time of this process so far.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("this is Linux");
    let fields: Vec<&str> =
        stat.rsplit(')').next().expect("a name in parentheses").split_whitespace().collect();
    let ticks: u64 =
        fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number");
    Duration::from_millis(ticks * 10)
}
