//! Bits that change on the disk: what is damaged is told, the rest is served, nothing is silently cut.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use env::sim::{SimDisk, Survival};
use model::{Offset, PartitionId, Timestamp};

use super::bench::{Bench, batch, id, numbered, small_options};
use crate::{AppendError, Health, LogConfig, OpenError, Options, ReadError, repair, verify};

type Contents = BTreeMap<PartitionId, Vec<(Offset, Vec<u8>)>>;

fn config() -> LogConfig {
    LogConfig { segment_bytes: 12 * 1024, index_interval_bytes: 256, ..LogConfig::default() }
}

/// Some partitions with some records each, in small and large batches; `count` groups.
fn filled(options: Options, count: u64) -> (Bench, Contents) {
    let mut bench = Bench::new(options);
    let ids = [id(1, 0), id(1, 1), id(2, 0)];
    for id in ids {
        bench.create(id, config());
    }
    // New partitions get into a checkpoint within a second.
    bench.advance(Duration::from_secs(1));
    for number in 0..count {
        let large = number % 6 == 4;
        bench.append(ids[number as usize % 2], numbered(number, if large { 2500 } else { 60 })).unwrap();
    }
    // This one is silent from then on: nothing after a damage can prove that it has lost nothing.
    bench.append(ids[2], batch(&[b"first"])).unwrap();
    for number in 0..count / 2 {
        bench.append(ids[number as usize % 2], numbered(1000 + number, 60)).unwrap();
    }
    let contents = ids.iter().map(|id| (*id, bench.read_all(*id))).collect();
    (bench, contents)
}

/// What a client sees of a partition: the records it can read, and where it is told that some are damaged.
fn readable(bench: &Bench, id: PartitionId) -> (Vec<(Offset, Vec<u8>)>, Vec<(Offset, Offset)>) {
    let partition = bench.partition(id);
    let mut from = partition.offsets().log_start;
    let mut records = Vec::new();
    loop {
        let end = partition.offsets().high_watermark;
        if from >= end {
            break;
        }
        match partition.read(from, 300, end) {
            Ok(read) => {
                assert!(read.next_offset > from, "reading makes progress at {from:?}");
                for batch in model::batch::batches(read.chunks.concat().into()) {
                    let batch = batch.expect("only right batches are served");
                    let contents = batch.records(1 << 20).unwrap();
                    for record in contents.iter() {
                        let record = record.unwrap();
                        records.push((contents.offset(&record), record.value.unwrap().to_vec()));
                    }
                }
                from = read.next_offset;
            }
            Err(ReadError::Corrupt { offset }) => {
                let Health::Damaged(ranges) = partition.health() else { panic!("corrupt but healthy") };
                let range = ranges.iter().find(|(first, last)| *first <= offset && offset <= *last);
                from = range.expect("a corrupt offset lies in a damaged range").1.plus(1);
            }
            Err(error) => panic!("reading at {from:?}: {error}"),
        }
    }
    let ranges = match partition.health() {
        Health::Damaged(ranges) => ranges,
        _ => Vec::new(),
    };
    (records, ranges)
}

/// No record is wrong, and every record that is missing is told to be: by a damaged range, by a suspect end, or
/// (if allowed) because it was in the last, unproven group. Returns whether anything is damaged.
fn check_honest(bench: &mut Bench, expected: &Contents, last: Option<(PartitionId, Offset)>) -> bool {
    let mut is_damaged = false;
    for (id, expected) in expected {
        let Some(partition) = bench.storage.partition(*id) else { panic!("partition {id} is gone") };
        let (records, ranges) = readable(bench, *id);
        let health = partition.health();
        let end = partition.offsets().log_end;
        for record in &records {
            assert!(expected.contains(record), "partition {id} has made up {:?}", record.0);
        }
        for (offset, _) in expected.iter().filter(|record| !records.contains(record)) {
            let is_told = ranges.iter().any(|(first, last)| first <= offset && offset <= last)
                || *offset >= end && matches!(health, Health::Damaged(_));
            let is_cut = last == Some((*id, *offset)) && *offset >= end;
            assert!(
                is_told || is_cut,
                "partition {id} has silently lost {offset:?} ({health:?}, end {end:?})"
            );
        }
        let appended = bench.append(*id, batch(&[b"next"]));
        match health {
            Health::Good => assert!(appended.is_ok(), "partition {id}: {appended:?}"),
            _ => {
                is_damaged = true;
                assert_eq!(appended.unwrap_err(), AppendError::Damaged);
            }
        }
    }
    is_damaged
}

fn reopened(bench: &Bench, disk: SimDisk) -> Bench {
    Bench::open(disk, bench.clock.clone(), bench.options.clone(), 99)
        .expect("damage is no reason not to start")
}

/// The used part of the log, in one file.
fn log_of(bench: &Bench) -> (PathBuf, u64) {
    let path = Path::new("/data/shard-0/00.wal").to_owned();
    let used = bench.file(&path).iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    (path, used)
}

fn roomy_options() -> Options {
    Options { wal_file_bytes: 32 * 1024, wal_bytes_max: 128 * 1024, ..small_options() }
}

fn killed_bench() -> (Bench, Contents, (PartitionId, Offset)) {
    let (bench, contents) = filled(roomy_options(), 30);
    bench.disk.crash(Survival::Everything);
    // The last append of `filled` is the last group; nothing after it proves it.
    let id = id(1, 0);
    let last = (id, contents[&id].last().unwrap().0);
    (bench, contents, last)
}

#[test]
fn a_changed_bit_anywhere_in_the_log_is_told() {
    let (bench, contents, last) = killed_bench();
    let (path, used) = log_of(&bench);
    let mut damaged = 0;
    let step = 3;
    for position in (0..used).step_by(step) {
        let disk = bench.disk.fork();
        disk.flip_bit(&path, position, (position / 3 % 8) as u8);
        let mut bench = reopened(&bench, disk);
        damaged += u64::from(check_honest(&mut bench, &contents, Some(last)));
    }
    // Not all of the log is the only copy of something: headers of groups, and what lies in segments too.
    assert!(damaged > used / step as u64 / 3, "only {damaged} of {used} were noticed");
}

#[test]
fn a_zeroed_sector_in_the_log_is_told() {
    let (bench, contents, last) = killed_bench();
    let (path, used) = log_of(&bench);
    let mut damaged = 0;
    // Not the last two: who zeroes the last groups takes the proofs with them, and that is a torn end.
    for sector in 0..used / 512 - 2 {
        let disk = bench.disk.fork();
        let bytes = bench.file(&path);
        for position in sector * 512..(sector + 1) * 512 {
            for bit in 0..8 {
                if bytes[position as usize] & 1 << bit != 0 {
                    disk.flip_bit(&path, position, bit);
                }
            }
        }
        let mut bench = reopened(&bench, disk);
        damaged += u64::from(check_honest(&mut bench, &contents, Some(last)));
    }
    assert!(damaged > used / 512 / 2, "only {damaged} were noticed");
}

#[test]
fn a_changed_bit_in_a_segment_is_told_when_it_is_read() {
    let (bench, contents) = filled(small_options(), 60);
    let bench = bench.reopen();
    let logs = bench.paths(".log");
    assert!(logs.len() > 4, "{logs:?}");
    let (mut damaged, mut flipped) = (0, 0);
    for path in logs {
        for position in (0..bench.file(&path).len() as u64).step_by(11) {
            let disk = bench.disk.fork();
            disk.flip_bit(&path, position, (position % 8) as u8);
            let mut bench = reopened(&bench, disk);
            damaged += u64::from(check_honest(&mut bench, &contents, None));
            flipped += 1;
        }
    }
    // Only the leader epoch in a batch's header is covered by nothing.
    assert!(damaged * 100 > flipped * 95, "only {damaged} of {flipped} were noticed");
}

#[test]
fn a_changed_bit_in_an_index_changes_no_answer() {
    let (bench, contents) = filled(small_options(), 60);
    let bench = bench.reopen();
    let indexes = bench.paths("index");
    assert!(indexes.len() >= 4, "{indexes:?}");
    for path in indexes {
        for position in 0..bench.file(&path).len() as u64 {
            let disk = bench.disk.fork();
            disk.flip_bit(&path, position, (position % 8) as u8);
            let bench = reopened(&bench, disk);
            for (id, expected) in &contents {
                let partition = bench.partition(*id);
                let end = partition.offsets().high_watermark;
                for (offset, _) in expected.iter().rev() {
                    let read = partition.read(*offset, 1, end).unwrap();
                    assert!(read.next_offset > *offset, "{path:?} {position}");
                }
                let found = partition.offset_for_timestamp(Timestamp(0), end).unwrap().unwrap();
                assert_eq!(found.offset, Offset(0), "{path:?} {position}");
                assert_eq!(bench.read_all(*id), *expected);
                assert_eq!(partition.health(), Health::Good);
            }
        }
    }
}

#[test]
fn missing_indexes_are_built_anew() {
    let (bench, contents) = filled(small_options(), 60);
    let bench = bench.reopen();
    let disk = bench.disk.fork();
    for path in bench.paths("index") {
        env::Disk::remove(&disk, &path).unwrap();
    }
    let bench = reopened(&bench, disk);
    for (id, expected) in &contents {
        assert_eq!(bench.read_all(*id), *expected);
    }
}

#[test]
fn a_missing_segment_is_told() {
    let (bench, contents) = filled(small_options(), 60);
    let bench = bench.reopen();
    for path in bench.paths(".log") {
        let disk = bench.disk.fork();
        env::Disk::remove(&disk, &path).unwrap();
        let mut bench = reopened(&bench, disk);
        assert!(check_honest(&mut bench, &contents, None), "{path:?}");
    }
}

#[test]
fn a_missing_segment_is_stepped_over_once_its_loss_is_accepted() {
    let (mut bench, contents) = filled(small_options(), 60);
    bench.close();
    for path in bench.paths(".log") {
        let disk = bench.disk.fork();
        env::Disk::remove(&disk, &path).unwrap();
        let random = std::sync::Arc::new(env::SeededRandom::new(3));
        let shared = std::sync::Arc::new(disk.clone());
        let repaired = repair(bench.options.clone(), shared, bench.clock.clone(), random, true).unwrap();
        let [(damaged, ranges)] = &repaired.accepted[..] else { panic!("{path:?}: {repaired:?}") };
        let mut bench = reopened(&bench, disk);
        for turn in 0..2 {
            for (id, expected) in &contents {
                let is_lost = |offset: &Offset| {
                    id == damaged && ranges.iter().any(|(first, last)| first <= offset && offset <= last)
                };
                let mut rest: Vec<_> = expected
                    .iter()
                    .filter(|(offset, _)| !is_lost(offset))
                    .map(|(offset, _)| *offset)
                    .collect();
                bench.append(*id, batch(&[b"next"])).unwrap();
                rest.extend((0..=turn).map(|number| expected.last().unwrap().0.plus(1 + number)));
                let found: Vec<_> = bench.read_all(*id).into_iter().map(|(offset, _)| offset).collect();
                assert_eq!(found, rest, "{path:?} {id}");
            }
            bench = bench.reopen();
        }
    }
}

#[test]
fn a_damaged_partition_stays_so_until_its_loss_is_accepted() {
    let (bench, contents) = filled(small_options(), 60);
    let bench = bench.reopen();
    let path = bench.paths(".log")[0].clone();
    let disk = bench.disk.fork();
    disk.flip_bit(&path, 100, 1);
    let report = |disk: &SimDisk| {
        let random = std::sync::Arc::new(env::SeededRandom::new(3));
        verify(bench.options.clone(), std::sync::Arc::new(disk.clone()), bench.clock.clone(), random).unwrap()
    };
    let mend = |disk: &SimDisk, accept_loss| {
        let random = std::sync::Arc::new(env::SeededRandom::new(3));
        let disk = std::sync::Arc::new(disk.clone());
        repair(bench.options.clone(), disk, bench.clock.clone(), random, accept_loss).unwrap()
    };
    let before = disk.files();
    let found = report(&disk);
    assert!(!found.is_sound());
    assert_eq!(disk.files(), before, "verifying changes nothing");
    let damaged: Vec<_> = found.partitions.iter().filter(|partition| !partition.damaged.is_empty()).collect();
    assert_eq!(damaged.len(), 1);
    let (id, ranges) = (damaged[0].id, damaged[0].damaged.clone());

    // Found by a reader, it is remembered.
    let only = Contents::from([(id, contents[&id].clone())]);
    let mut running = reopened(&bench, disk.clone());
    assert!(check_honest(&mut running, &only, None));
    running.advance(running.options.checkpoint_interval);
    running.close();
    drop(running);
    let running = reopened(&bench, disk.clone());
    assert_eq!(running.partition(id).health(), Health::Damaged(ranges.clone()));
    drop(running);

    assert_eq!(mend(&disk, false).accepted, []);
    let mut running = reopened(&bench, disk.clone());
    assert!(check_honest(&mut running, &only, None), "repair without accepting changes nothing");
    running.close();
    drop(running);

    let epoch = reopened(&bench, disk.clone()).partition(id).offsets().leader_epoch;
    let repaired = mend(&disk, true);
    assert_eq!(repaired.accepted, [(id, ranges.clone())]);
    assert!(report(&disk).is_sound());
    let mut running = reopened(&bench, disk.clone());
    let partition = running.partition(id);
    assert_eq!(partition.health(), Health::Good);
    assert!(partition.offsets().leader_epoch > epoch, "clients learn of it");
    let is_lost = |offset: &Offset| ranges.iter().any(|(first, last)| first <= offset && offset <= last);
    let rest: Vec<_> = contents[&id].iter().filter(|(offset, _)| !is_lost(offset)).cloned().collect();
    assert_eq!(running.read_all(id), rest, "readers step over the loss");
    let end = partition.offsets().log_end;
    assert_eq!(running.append(id, batch(&[b"next"])).unwrap().base_offset, end);
    let running = running.reopen();
    assert_eq!(running.read_all(id).len(), rest.len() + 1);
}

#[test]
fn an_unreadable_checkpoint_is_refused_and_can_be_made_anew() {
    let (bench, contents, _) = killed_bench();
    let path = Path::new("/data/shard-0/checkpoint");
    for position in (0..bench.file(path).len() as u64).step_by(7) {
        let disk = bench.disk.fork();
        disk.flip_bit(path, position, 3);
        let opened = Bench::open(disk.clone(), bench.clock.clone(), bench.options.clone(), 5);
        let is_newer =
            |error: &OpenError| matches!(error, OpenError::Newer { .. }) && (4..8).contains(&position);
        match opened {
            Err(error @ (OpenError::Checkpoint { .. } | OpenError::Newer { .. })) => {
                assert!(matches!(error, OpenError::Checkpoint { .. }) || is_newer(&error));
            }
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("opened with a damaged checkpoint"),
        }
        if position % 3 > 0 || (4..8).contains(&position) {
            continue;
        }
        let random = std::sync::Arc::new(env::SeededRandom::new(3));
        let shared = std::sync::Arc::new(disk.clone());
        let repaired = repair(bench.options.clone(), shared, bench.clock.clone(), random, true).unwrap();
        assert_eq!(repaired.rebuilt_checkpoints, [0]);
        let mut bench = reopened(&bench, disk);
        assert!(!check_honest(&mut bench, &contents, None), "nothing is lost with a checkpoint");
    }
}

#[test]
fn a_lost_shard_takes_no_partition_with_it() {
    let (mut bench, contents) = filled(small_options(), 60);
    bench.close();
    let disk = bench.disk.fork();
    for path in disk.files().keys().filter(|path| path.starts_with("/data/shard-0")) {
        env::Disk::remove(&disk, path).unwrap();
    }
    for _ in 0..2 {
        let opened = Bench::open(disk.clone(), bench.clock.clone(), bench.options.clone(), 5);
        assert!(matches!(opened.map(|_| ()), Err(OpenError::Checkpoint { .. })));
    }
    let random = std::sync::Arc::new(env::SeededRandom::new(3));
    let shared = std::sync::Arc::new(disk.clone());
    repair(bench.options.clone(), shared, bench.clock.clone(), random, true).unwrap();
    let mut bench = reopened(&bench, disk);
    assert!(!check_honest(&mut bench, &contents, None));
    // By what retention is not known, so by none.
    assert!(contents.keys().all(|id| !bench.partition(*id).config().delete));
}

#[test]
fn a_lost_checkpoint_is_made_anew_also_from_segments_alone() {
    let (bench, contents) = filled(small_options(), 60);
    let bench = bench.reopen();
    let disk = bench.disk.fork();
    disk.flip_bit(Path::new("/data/shard-0/checkpoint"), 30, 3);
    let random = std::sync::Arc::new(env::SeededRandom::new(3));
    repair(bench.options.clone(), std::sync::Arc::new(disk.clone()), bench.clock.clone(), random, true)
        .unwrap();
    let mut bench = reopened(&bench, disk);
    assert!(!check_honest(&mut bench, &contents, None));
}

/// Repairs a copy of the disk: then all is sound, takes records, and stays so.
fn check_mends(bench: &Bench, disk: SimDisk, contents: &Contents, what: &dyn std::fmt::Debug) {
    let random = || std::sync::Arc::new(env::SeededRandom::new(3));
    let shared = || std::sync::Arc::new(disk.clone());
    let mended = repair(bench.options.clone(), shared(), bench.clock.clone(), random(), true);
    let given_up = mended.unwrap_or_else(|error| panic!("{what:?}: {error}")).accepted;
    let report = verify(bench.options.clone(), shared(), bench.clock.clone(), random()).unwrap();
    assert!(report.is_sound(), "{what:?}: {report:#?}");
    let mut bench = reopened(bench, disk);
    for _ in 0..2 {
        for (id, expected) in contents {
            let partition = bench.partition(*id);
            assert_eq!(partition.health(), Health::Good, "{what:?} {id}");
            bench.append(*id, batch(&[b"next"])).unwrap();
            let found = bench.read_all(*id);
            let is_damaged = given_up.iter().any(|(damaged, _)| damaged == id);
            let is_there = |record: &(Offset, Vec<u8>)| found.contains(record);
            assert!(is_damaged || expected.iter().all(is_there), "{what:?} {id}: a loss nobody accepted");
        }
        bench = bench.reopen();
    }
}

#[test]
fn whatever_was_damaged_is_sound_and_writable_after_a_repair() {
    let (mut bench, contents) = filled(small_options(), 60);
    bench.close();
    let logs = bench.paths(".log");
    for path in &logs {
        for position in (0..bench.file(path).len() as u64).step_by(97) {
            let disk = bench.disk.fork();
            disk.flip_bit(path, position, (position % 8) as u8);
            check_mends(&bench, disk, &contents, &(path, position));
        }
    }
    for (first, second) in logs.iter().zip(&logs[1..]) {
        let disk = bench.disk.fork();
        disk.flip_bit(first, 70, 1);
        env::Disk::remove(&disk, second).unwrap();
        check_mends(&bench, disk, &contents, &(first, second));
    }
    let (bench, mut contents, (id, _)) = killed_bench();
    // The last group proves nothing: damage in it is a torn end.
    contents.get_mut(&id).unwrap().pop();
    let (path, used) = log_of(&bench);
    for position in (0..used).step_by(61) {
        let disk = bench.disk.fork();
        disk.flip_bit(&path, position, (position % 8) as u8);
        check_mends(&bench, disk, &contents, &(&path, position));
    }
}
