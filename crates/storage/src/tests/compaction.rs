//! Compacted partitions: of each key the newest record survives, whatever happens while it is compacted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use env::sim::{SimClock, SimDisk, Survival};
use env::{Random, SeededRandom};
use model::batch::{BatchBuilder, NewRecord, batches};
use model::{Batch, Compression, Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp};

use super::bench::{Bench, START, id, small_options};
use crate::{CompactionConfig, CompactionOptions, LogConfig, OpenError, Options, Partition};

const P: PartitionId = PartitionId { topic: model::TopicId([1; 16]), index: 0 };

fn config() -> LogConfig {
    LogConfig {
        delete: false,
        compact: true,
        segment_bytes: 3000,
        index_interval_bytes: 256,
        compaction: CompactionConfig {
            dirty_permille: 300,
            delete_retention: Duration::from_secs(60),
            ..CompactionConfig::default()
        },
        ..LogConfig::default()
    }
}

fn options() -> Options {
    // Everything goes straight to segments, so that there is something to compact early, and is read from there.
    Options {
        direct_batch_bytes_min: 100,
        tail_bytes_max: 0,
        compaction: CompactionOptions { interval: Duration::from_secs(5), ..CompactionOptions::default() },
        ..small_options()
    }
}

/// A record's value is its number, padded; none is a tombstone.
fn keyed(at: Timestamp, codec: Compression, records: &[(u64, Option<u64>)]) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    for (key, number) in records {
        let value = number.map(|number| format!("{number:0>100}"));
        let key = format!("key-{key}");
        let record = NewRecord {
            timestamp: at,
            key: Some(key.as_bytes()),
            value: value.as_ref().map(|value| value.as_bytes()),
            headers: &[],
        };
        builder.push(record);
    }
    builder.build()
}

type Found = Vec<(Offset, String, Option<u64>)>;

/// Every record from the start to the end; the batches have no gaps between them.
fn read(partition: &Partition) -> Found {
    let offsets = partition.offsets();
    let mut from = offsets.log_start;
    let mut found = Vec::new();
    while from < offsets.high_watermark {
        let read = partition.read(from, 2000, offsets.high_watermark).expect("the partition is readable");
        assert!(read.next_offset > from, "reading gets on at {from}");
        for batch in batches(read.chunks.concat().into()) {
            let batch = batch.expect("a right batch");
            assert!(batch.header().base_offset <= from, "a gap before {}", batch.header().base_offset);
            let records = batch.records(1 << 20).unwrap();
            for record in records.iter() {
                let record = record.unwrap();
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let number = record.value.map(|value| text(value).parse().unwrap());
                found.push((records.offset(&record), text(record.key.unwrap()), number));
            }
            from = batch.header().next_offset();
        }
    }
    found
}

fn newest(found: &Found) -> BTreeMap<String, Option<u64>> {
    found.iter().map(|(_, key, number)| (key.clone(), *number)).collect()
}

/// Appends so many batches over a few keys; returns what each key should have.
fn fill(bench: &mut Bench, batches: u64) -> BTreeMap<String, Option<u64>> {
    let mut expected = BTreeMap::new();
    for number in 0..batches {
        let key = number % 7;
        let at = bench.clock_now();
        bench
            .append(P, keyed(at, Compression::Zstd, &[(key, Some(number)), (key + 10, Some(number))]))
            .unwrap();
        expected.insert(format!("key-{key}"), Some(number));
        expected.insert(format!("key-{}", key + 10), Some(number));
    }
    expected
}

fn passes(bench: &mut Bench, seconds: u64) {
    for _ in 0..seconds.div_ceil(5) {
        bench.advance(Duration::from_secs(5));
    }
}

#[test]
fn of_each_key_the_newest_record_is_left() {
    let mut bench = Bench::new(options());
    bench.create(P, config());
    let expected = fill(&mut bench, 200);
    let before = (read(&bench.partition(P)).len(), bench.partition(P).size_bytes());
    passes(&mut bench, 20);
    let found = read(&bench.partition(P));
    let after = (found.len(), bench.partition(P).size_bytes());
    assert_eq!(newest(&found), expected);
    assert!(after.0 * 4 < before.0 && after.1 * 3 < before.1, "{before:?} {after:?}");
    assert_eq!(bench.partition(P).offsets().log_start, Offset::ZERO);
    assert!(bench.storage.metrics().compactions.value() > 0);
    // The next start finds what was made, and only that.
    let mut bench = bench.reopen();
    assert_eq!(read(&bench.partition(P)), found);
    let logs = bench.paths(".log").len();
    let expected_more = fill(&mut bench, 50);
    passes(&mut bench, 20);
    let found = read(&bench.partition(P));
    assert_eq!(newest(&found), expected.into_iter().chain(expected_more).collect());
    assert!(bench.paths(".log").len() <= logs + 2, "{:?}", bench.paths(".log"));
}

#[test]
fn readers_see_what_is_left_although_memory_had_it_all() {
    let mut bench = Bench::new(Options { tail_bytes_max: 1 << 20, ..options() });
    bench.create(P, config());
    let expected = fill(&mut bench, 100);
    assert_eq!(read(&bench.partition(P)).len(), 200);
    passes(&mut bench, 20);
    let found = read(&bench.partition(P));
    assert_eq!(newest(&found), expected);
    assert!(found.len() < 60, "{}", found.len());
}

#[test]
fn a_topic_that_is_not_compacted_keeps_everything() {
    let mut bench = Bench::new(options());
    bench.create(P, LogConfig { compact: false, ..config() });
    fill(&mut bench, 100);
    passes(&mut bench, 60);
    assert_eq!(read(&bench.partition(P)).len(), 200);
    // Until it is told otherwise.
    let configuring = bench.storage.configure(P, config());
    bench.wait(configuring).unwrap();
    passes(&mut bench, 20);
    assert!(read(&bench.partition(P)).len() < 100);
}

#[test]
fn a_tombstone_is_seen_for_its_time_and_then_gone_for_good() {
    let mut bench = Bench::new(options());
    bench.create(P, config());
    fill(&mut bench, 60);
    let at = bench.clock_now();
    bench.append(P, keyed(at, Compression::None, &[(3, None)])).unwrap();
    let fresh = |bench: &mut Bench| {
        for number in 0..40 {
            let at = bench.clock_now();
            bench.append(P, keyed(at, Compression::None, &[(20 + number % 3, Some(number))])).unwrap();
        }
    };
    fresh(&mut bench);
    passes(&mut bench, 20);
    let found = newest(&read(&bench.partition(P)));
    assert_eq!(found.get("key-3"), Some(&None), "readers may see it still");
    passes(&mut bench, 60);
    fresh(&mut bench);
    passes(&mut bench, 20);
    let found = newest(&read(&bench.partition(P)));
    assert_eq!(found.get("key-3"), None);
    assert!(found.contains_key("key-4"));
}

#[test]
fn what_is_too_young_is_left_alone_and_what_is_too_old_is_not() {
    let young = CompactionConfig { lag_min: Duration::from_secs(3600), ..config().compaction };
    let mut bench = Bench::new(options());
    bench.create(P, LogConfig { compaction: young.clone(), ..config() });
    fill(&mut bench, 100);
    passes(&mut bench, 60);
    assert_eq!(read(&bench.partition(P)).len(), 200);
    let lazy = CompactionConfig {
        dirty_permille: 1001,
        lag_min: Duration::ZERO,
        lag_max: Duration::from_secs(600),
        ..young
    };
    let configuring = bench.storage.configure(P, LogConfig { compaction: lazy, ..config() });
    bench.wait(configuring).unwrap();
    passes(&mut bench, 60);
    assert_eq!(read(&bench.partition(P)).len(), 200, "the ratio is never reached");
    passes(&mut bench, 600);
    assert!(read(&bench.partition(P)).len() < 100);
}

#[test]
fn kafka_48_sequences_are_remembered_though_their_records_are_gone() {
    let sequenced = |sequence: i32, key: u64| {
        let mut builder =
            BatchBuilder::new(Compression::None).producer(ProducerId(5), ProducerEpoch(0), sequence);
        let (key, value) = (format!("key-{key}"), format!("{sequence:0>200}"));
        let record = NewRecord {
            timestamp: START,
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            headers: &[],
        };
        builder.push(record);
        builder.build()
    };
    let mut bench = Bench::new(options());
    bench.create(P, config());
    let first = bench.append(P, sequenced(0, 1)).unwrap();
    fill(&mut bench, 100);
    let at = bench.clock_now();
    bench.append(P, keyed(at, Compression::None, &[(1, Some(77))])).unwrap();
    fill(&mut bench, 100);
    passes(&mut bench, 20);
    let again = bench.append(P, sequenced(0, 1)).unwrap();
    assert!(again.duplicate && again.base_offset == first.base_offset);
    let mut bench = bench.reopen();
    assert!(bench.append(P, sequenced(0, 1)).unwrap().duplicate);
    assert!(!bench.append(P, sequenced(1, 1)).unwrap().duplicate);
}

#[test]
fn small_batches_are_brought_from_the_log_to_where_they_can_be_compacted() {
    let mut bench =
        Bench::new(Options { wal_file_bytes: 1 << 20, wal_bytes_max: 4 << 20, ..small_options() });
    bench.create(P, LogConfig { segment_roll: Duration::from_secs(30), ..config() });
    let expected = fill(&mut bench, 60);
    assert_eq!(bench.partition(P).state.lock().segments.len(), 0, "all of it is in the log");
    passes(&mut bench, 60);
    let newer = fill(&mut bench, 20);
    passes(&mut bench, 60);
    let found = read(&bench.partition(P));
    assert_eq!(newest(&found), expected.into_iter().chain(newer).collect());
    assert!(found.len() < 100, "{}", found.len());
}

#[test]
fn a_keeper_without_work_rests_although_settings_allow_it_no_rest() {
    let mut bench = Bench::new(options());
    let restless = CompactionOptions { interval: Duration::ZERO, ..options().compaction };
    bench.storage.tune_compaction(&restless);
    bench.create(P, config());
    fill(&mut bench, 200);
    passes(&mut bench, 20);
    assert!(bench.storage.metrics().compactions.value() > 0);
    assert!(bench.shards[0].rests_for() >= Duration::from_millis(10), "{:?}", bench.shards[0].rests_for());
}

/// The newest segment, brought from the log early, was never synced: a checkpoint knows the one before it as the last.
#[test]
fn a_crash_finds_what_a_compaction_made_of_the_last_segment_that_was_synced() {
    for survival in [Survival::Nothing, Survival::Everything] {
        let mut bench =
            Bench::new(Options { wal_file_bytes: 1 << 20, wal_bytes_max: 4 << 20, ..small_options() });
        // No entry of an index hides what stands between two batches.
        let config = LogConfig { index_interval_bytes: 1 << 20, ..config() };
        bench.create(P, config.clone());
        let mut expected = fill(&mut bench, 60);
        passes(&mut bench, 40);
        {
            let partition = bench.partition(P);
            let segments = partition.state.lock().segments.clone();
            let synced = partition.writer.lock().synced;
            let before_last = segments[segments.len() - 2].clone();
            assert_eq!(before_last.facts().generation, 1, "it was compacted");
            assert_eq!((synced.segment, synced.end), (before_last.base, before_last.facts().end));
        }
        // Whoever goes on writing may do so where the other ends.
        bench.wait(bench.storage.configure(P, LogConfig { segment_bytes: 1 << 20, ..config })).unwrap();
        let found = read(&bench.partition(P));
        bench.disk.crash(survival);
        let mut bench = bench.open_again();
        assert_eq!(read(&bench.partition(P)), found);
        assert!(bench.partition(P).state.lock().damage.is_none());
        // A large batch that goes straight into a segment is found again, too.
        let at = bench.clock_now();
        let large: Vec<(u64, Option<u64>)> = (0..50).map(|key| (key, Some(key))).collect();
        bench.append(P, keyed(at, Compression::None, &large)).unwrap();
        let found = read(&bench.partition(P));
        bench.disk.crash(Survival::Nothing);
        let bench = bench.open_again();
        assert_eq!(read(&bench.partition(P)), found);
        // So it is when nothing is left in the log and in memory.
        let bench = bench.reopen();
        assert_eq!(read(&bench.partition(P)), found);
        expected.extend(large.iter().map(|(key, number)| (format!("key-{key}"), *number)));
        assert_eq!(newest(&found), expected);
    }
}

#[test]
fn a_map_that_is_too_small_for_all_does_it_piece_by_piece() {
    let map_bytes_max = 16 * crate::compaction::ENTRY_BYTES;
    let mut bench = Bench::new(options());
    bench.storage.tune_compaction(&CompactionOptions { map_bytes_max, ..options().compaction });
    bench.create(P, config());
    let mut expected = BTreeMap::new();
    for number in 0..300 {
        let at = bench.clock_now();
        bench.append(P, keyed(at, Compression::None, &[(number % 50, Some(number))])).unwrap();
        expected.insert(format!("key-{}", number % 50), Some(number));
    }
    passes(&mut bench, 200);
    let found = read(&bench.partition(P));
    assert_eq!(newest(&found), expected);
    assert!(found.len() < 150, "{}", found.len());
}

#[test]
fn it_takes_as_long_as_the_bytes_a_second_ask_and_goes_on_at_once_when_they_may_be_more() {
    let mut bench = Bench::new(options());
    bench.create(P, config());
    let expected = fill(&mut bench, 200);
    let complete = |bench: &Bench| {
        let state = bench.partition(P).state.lock().segments.clone();
        state[..state.len() - 1].iter().map(|segment| segment.facts().size).sum::<u64>()
    };
    // Read for the map, read again, and as much of it written as is left: at the most three times its size.
    let bytes = complete(&bench);
    let slow = |most| CompactionOptions { io_bytes_per_second_max: Some(most), ..options().compaction };
    bench.storage.tune_compaction(&slow(bytes / 20));
    let count = |bench: &Bench| bench.storage.metrics().compactions.value();
    let mut seconds = 0;
    while count(&bench) == 0 {
        bench.advance(Duration::from_secs(1));
        seconds += 1;
        assert!(seconds <= 65, "it is slower than it should be");
    }
    assert!(seconds >= 38, "{seconds} s");
    assert_eq!(newest(&read(&bench.partition(P))), expected);

    let expected: BTreeMap<_, _> = expected.into_iter().chain(fill(&mut bench, 200)).collect();
    bench.storage.tune_compaction(&slow(0));
    passes(&mut bench, 3600);
    assert_eq!(count(&bench), 1, "it rests");
    bench.storage.tune_compaction(&options().compaction);
    bench.advance(Duration::from_secs(1));
    assert_eq!(count(&bench), 2);
    assert_eq!(newest(&read(&bench.partition(P))), expected);
}

/// Batches of producer 7 with records, and its markers, by base offset.
fn of_producer_7(partition: &Partition) -> (Vec<Offset>, Vec<Offset>) {
    let (mut data, mut markers) = (Vec::new(), Vec::new());
    let offsets = partition.offsets();
    let mut from = offsets.log_start;
    while from < offsets.high_watermark {
        let read = partition.read(from, 2000, offsets.high_watermark).expect("the partition is readable");
        for batch in batches(read.chunks.concat().into()).map(Result::unwrap) {
            let header = batch.header();
            if header.producer_id == ProducerId(7) && header.record_count > 0 {
                let found = if header.attributes.is_control() { &mut markers } else { &mut data };
                found.push(header.base_offset);
            }
            from = header.next_offset();
        }
    }
    (data, markers)
}

#[test]
fn an_aborted_transaction_is_forgotten_when_its_records_are_gone_and_its_marker_later() {
    let mut bench = Bench::new(options());
    bench.create(P, config());
    let at = bench.clock_now();
    let of_7 = |sequence: i32| {
        BatchBuilder::new(Compression::None)
            .producer(ProducerId(7), ProducerEpoch(1), sequence)
            .transactional()
    };
    for number in 0..3 {
        let mut data = of_7(number);
        let key = format!("aborted-{number}");
        data.push(NewRecord {
            timestamp: at,
            key: Some(key.as_bytes()),
            value: Some(&[b'0'; 100]),
            headers: &[],
        });
        bench.append(P, data.build()).unwrap();
        let mut marker = of_7(-1).control();
        let (key, value) = ([0; 4], [0; 6]);
        marker.push(NewRecord { timestamp: at, key: Some(&key), value: Some(&value), headers: &[] });
        bench.append(P, marker.build()).unwrap();
        fill(&mut bench, 40);
    }
    let told = |bench: &Bench| bench.partition(P).aborted_transactions(Offset::ZERO, Offset(i64::MAX)).len();
    let (data, markers) = of_producer_7(&bench.partition(P));
    assert_eq!((data.len(), markers.len(), told(&bench)), (3, 3, 3));
    bench.advance(Duration::from_secs(5));
    let forgotten = bench.partition(P).aborted_forgotten();
    let (data, markers) = of_producer_7(&bench.partition(P));
    assert_eq!((data.len(), markers.len(), told(&bench)), (0, 3, 0), "nobody need pass over anything");
    assert!(forgotten > 0);
    // Their days are counted from the next pass on.
    for _ in 0..3 {
        fill(&mut bench, 60);
        passes(&mut bench, 61);
    }
    assert_eq!(of_producer_7(&bench.partition(P)).1.len(), 0);
    bench.disk.crash(Survival::Nothing);
    let bench = bench.open_again();
    assert_eq!((of_producer_7(&bench.partition(P)), told(&bench)), ((vec![], vec![]), 0));
}

/// A crash gives back records and what readers must know of them together.
#[test]
fn wherever_it_crashes_who_reads_aborted_records_is_told_that_they_are() {
    let run = |steps: usize| {
        let mut bench = Bench::new(options());
        bench.create(P, config());
        let mut data =
            BatchBuilder::new(Compression::None).producer(ProducerId(7), ProducerEpoch(1), 0).transactional();
        data.push(NewRecord { key: Some(b"aborted"), value: Some(&[b'0'; 100]), ..NewRecord::default() });
        bench.append(P, data.build()).unwrap();
        let mut marker = BatchBuilder::new(Compression::None)
            .producer(ProducerId(7), ProducerEpoch(1), -1)
            .transactional()
            .control();
        marker.push(NewRecord { key: Some(&[0; 4]), value: Some(&[0; 6]), ..NewRecord::default() });
        bench.append(P, marker.build()).unwrap();
        fill(&mut bench, 80);
        let told =
            |bench: &Bench| !bench.partition(P).aborted_transactions(Offset::ZERO, Offset(9)).is_empty();
        bench.clock.advance(Duration::from_secs(6));
        for _ in 0..steps {
            let now = bench.clock_now();
            if !bench.shards[0].step(now) {
                return false;
            }
            let is_there = !of_producer_7(&bench.partition(P)).0.is_empty();
            assert!(!is_there || told(&bench), "after {steps} steps");
        }
        bench.disk.crash(Survival::Nothing);
        let bench = bench.open_again();
        let is_there = !of_producer_7(&bench.partition(P)).0.is_empty();
        assert!(!is_there || told(&bench), "after {steps} steps and a crash");
        true
    };
    let steps = (1..500).take_while(|steps| run(*steps)).count();
    assert!((10..400).contains(&steps), "{steps}");
}

#[test]
fn offsets_by_time_are_right_after_compaction() {
    let mut bench = Bench::new(options());
    bench.create(P, config());
    for number in 0..100 {
        let at = Timestamp(START.0 + number as i64 * 10);
        bench.append(P, keyed(at, Compression::None, &[(number % 5, Some(number))])).unwrap();
    }
    passes(&mut bench, 20);
    let partition = bench.partition(P);
    let left = read(&partition);
    for number in 0..100 {
        let at = Timestamp(START.0 + number * 10);
        let found = partition.offset_for_timestamp(at, Offset(i64::MAX)).unwrap().map(|found| found.offset);
        let expected = left.iter().find(|(offset, ..)| offset.0 >= number).map(|(offset, ..)| *offset);
        assert_eq!(found, expected, "{number}");
    }
}

/// What was sent, by offset as far as it was acknowledged.
#[derive(Default)]
struct Sent {
    records: Vec<(u64, Option<u64>)>,
    acknowledged: usize,
}

impl Sent {
    /// Appends batches until the disk crashes, if it does.
    fn carry_out(&mut self, bench: &mut Bench, chance: &SeededRandom, steps: u64) {
        for _ in 0..steps {
            if chance.chance(6) {
                bench.advance(Duration::from_secs(5 + chance.below(60)));
                continue;
            }
            let records: Vec<(u64, Option<u64>)> = (0..1 + chance.below(3))
                .map(|index| {
                    let number = self.records.len() as u64 + index;
                    (chance.below(6), (!chance.chance(8)).then_some(number))
                })
                .collect();
            let codec = if chance.chance(2) { Compression::Lz4 } else { Compression::None };
            let batch = keyed(bench.clock_now(), codec, &records);
            self.records.extend(records);
            let Ok(appended) = bench.append(P, batch) else { return };
            assert_eq!(appended.last_offset.0 as usize + 1, self.records.len(), "offsets follow each other");
            self.acknowledged = self.records.len();
        }
    }

    /// Each record that is there is what was sent at its offset; one that is not there has a newer one of its key, or is
    /// a tombstone.
    fn check(&mut self, bench: &Bench) {
        let partition = bench.partition(P);
        let end = partition.offsets().high_watermark.0 as usize;
        assert!(end >= self.acknowledged && end <= self.records.len());
        self.records.truncate(end);
        self.acknowledged = end;
        let found: BTreeMap<usize, (String, Option<u64>)> = read(&partition)
            .into_iter()
            .map(|(offset, key, number)| (offset.0 as usize, (key, number)))
            .collect();
        for (offset, (key, number)) in self.records.iter().enumerate() {
            match found.get(&offset) {
                Some(found) => assert_eq!(*found, (format!("key-{key}"), *number), "offset {offset}"),
                None => {
                    let is_outdated = self.records[offset + 1..].iter().any(|(other, _)| other == key);
                    assert!(is_outdated || number.is_none(), "offset {offset} of key {key} is lost");
                }
            }
        }
        assert!(found.keys().all(|offset| *offset < end));
    }
}

fn open(disk: &SimDisk, clock: &Arc<SimClock>, survival: Survival) -> Bench {
    for seed in 0..10 {
        match Bench::open(disk.clone(), clock.clone(), options(), seed) {
            Ok(bench) if !disk.has_crashed() => return bench,
            Ok(_) | Err(OpenError::Io { .. }) if disk.has_crashed() => disk.crash(survival),
            Ok(_) => unreachable!("caught above"),
            Err(error) => panic!("cannot open: {error}"),
        }
    }
    panic!("crashed too often while opening");
}

/// Says whether it got to the crash.
fn crash(seed: u64, crash_at: u64, survival: Survival) -> bool {
    let chance = SeededRandom::new(seed);
    let disk = SimDisk::new(seed);
    let clock = Arc::new(SimClock::new(START));
    let mut sent = Sent::default();
    let mut bench = open(&disk, &clock, survival);
    bench.create(P, config());
    disk.crash_at(disk.operations() + crash_at);
    sent.carry_out(&mut bench, &chance, 60);
    let has_crashed = disk.has_crashed();
    drop(bench);
    disk.crash(survival);
    if chance.chance(3) {
        disk.crash_at(disk.operations() + 1 + chance.below(30));
    }
    let mut bench = open(&disk, &clock, survival);
    disk.crash_at(u64::MAX / 2);
    sent.check(&bench);
    sent.carry_out(&mut bench, &chance, 30);
    passes(&mut bench, 30);
    sent.check(&bench);
    bench.close();
    let bench = bench.open_again();
    sent.check(&bench);
    has_crashed
}

fn crash_everywhere(survival: Survival, seeds: std::ops::Range<u64>, stride: u64) {
    for seed in seeds {
        let mut crash_at = 1 + seed % stride;
        loop {
            let result = std::panic::catch_unwind(|| crash(seed, crash_at, survival));
            match result {
                Ok(true) => crash_at += stride,
                Ok(false) => break,
                Err(panic) => {
                    eprintln!("replay: crash({seed}, {crash_at}, Survival::{survival:?})");
                    std::panic::resume_unwind(panic);
                }
            }
        }
        assert!(crash_at > 50, "the workload reached its crashes");
    }
}

#[test]
fn a_crash_anywhere_while_compacting_loses_no_key() {
    crash_everywhere(Survival::Chance, 1..4, 1);
}

#[test]
fn a_crash_that_keeps_only_what_was_synced_loses_no_key() {
    crash_everywhere(Survival::Nothing, 11..13, 2);
}

#[test]
fn a_killed_process_loses_no_key() {
    crash_everywhere(Survival::Everything, 21..23, 3);
}

#[test]
fn deleting_records_and_partitions_meanwhile_harms_nothing() {
    let mut bench = Bench::new(options());
    bench.create(P, LogConfig { delete: true, ..config() });
    let other = id(2, 0);
    bench.create(other, config());
    let chance = SeededRandom::new(9);
    for round in 0..30 {
        fill(&mut bench, 10);
        let now = bench.clock_now();
        // One step at a time, so that a compaction is under way.
        bench.clock.advance(Duration::from_secs(5));
        for _ in 0..chance.below(12) {
            for shard in &mut bench.shards {
                shard.step(now);
            }
        }
        let offsets = bench.partition(P).offsets();
        let before = Offset(
            offsets.log_start.0 + chance.below((offsets.log_end.0 - offsets.log_start.0) as u64) as i64,
        );
        let deleting = bench.storage.delete_records(P, before);
        bench.wait(deleting).unwrap();
        let found = read(&bench.partition(P));
        assert!(found.iter().filter(|(offset, ..)| *offset >= before).count() > 0, "round {round}");
    }
    let deleting = bench.storage.delete(vec![P]);
    bench.wait(deleting).unwrap();
    passes(&mut bench, 20);
    let mut bench = bench.reopen();
    assert!(bench.storage.partition(P).is_none());
    assert!(bench.paths(&P.to_string()).is_empty(), "{:?}", bench.paths(&P.to_string()));
    passes(&mut bench, 5);
}
