//! Disks that fail or fill up, and directories that cannot be opened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use env::sim::{Fault, SimClock, SimDisk, Survival};
use env::{Disk, SeededRandom, replace_file};
use model::Offset;

use super::bench::{Bench, START, batch, id, numbered, read_all, small_options};
use crate::{AppendError, ChangeError, Health, LogConfig, OpenError, Options, verify};

fn bench_with_partition() -> Bench {
    let mut bench = Bench::new(small_options());
    bench.create(id(1, 0), LogConfig::default());
    bench.append(id(1, 0), batch(&[b"before"])).unwrap();
    bench
}

#[test]
fn after_a_failed_sync_the_log_is_closed_for_ever() {
    for path in ["wal", "checkpoint", ".log"] {
        let mut bench = bench_with_partition();
        let p = id(1, 0);
        bench.disk.inject(Fault::Sync(path.to_owned()));
        let large = numbered(1, 3000);
        if path == "checkpoint" {
            bench.advance(bench.options.checkpoint_interval);
            assert_eq!(bench.append(p, large).unwrap_err(), AppendError::Closed);
        } else {
            assert_eq!(bench.append(p, large).unwrap_err(), AppendError::Closed, "{path}");
        }
        // The disk works again, but nobody knows what is on it.
        assert_eq!(bench.append(p, batch(&[b"after"])).unwrap_err(), AppendError::Closed);
        let creating = bench.storage.create(id(2, 0), LogConfig::default());
        assert_eq!(bench.wait(creating).err(), Some(ChangeError::Closed));
        assert_eq!(bench.partition(p).health(), Health::Closed);
        assert_eq!(
            bench.read_all(p).len(),
            1,
            "reading goes on, and shows nothing that was not acknowledged"
        );
        bench.close();
        let mut bench = bench.open_again();
        assert_eq!(bench.read_all(p)[0].1, b"before");
        bench.append(p, batch(&[b"after"])).unwrap();
    }
}

#[test]
fn a_failed_write_closes_the_log_too() {
    let mut bench = bench_with_partition();
    bench.disk.inject(Fault::Write("wal".to_owned()));
    assert_eq!(bench.append(id(1, 0), batch(&[b"x"])).unwrap_err(), AppendError::Closed);
    bench.disk.crash(Survival::Chance);
    let bench = bench.open_again();
    assert_eq!(bench.read_all(id(1, 0)).len(), 1);
}

#[test]
fn an_unreadable_sector_is_an_error_and_not_a_hole() {
    let mut bench = bench_with_partition();
    let p = id(1, 0);
    for number in 0..20 {
        bench.append(p, numbered(number, 1000)).unwrap();
    }
    let bench = bench.reopen();
    bench.disk.inject(Fault::Read(".log".to_owned()));
    let partition = bench.partition(p);
    assert!(partition.read(Offset(0), 100, Offset(20)).is_err());
    assert_eq!(partition.health(), Health::Good, "it may be readable the next time");
    assert_eq!(bench.read_all(p).len(), 21);
}

fn tiny_disk() -> Bench {
    let mut bench = Bench::new(Options { wal_bytes_max: 3 * 16 * 1024, ..small_options() });
    let config = LogConfig { segment_bytes: 8 * 1024, ..LogConfig::default() };
    bench.create(id(1, 0), config.clone());
    bench.create(id(2, 0), config);
    bench.advance(Duration::from_secs(2));
    bench.disk.set_capacity(Some(bench.disk.used_bytes() + 60 * 1024));
    bench
}

/// Appends until the disk is full; returns how many were acknowledged.
fn fill(bench: &mut Bench, bytes: usize) -> u64 {
    for number in 0..10_000 {
        match bench.append(id(1, 0), numbered(number, bytes)) {
            Ok(_) => {}
            Err(AppendError::DiskFull) => return number,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the disk never fills up");
}

#[test]
fn a_full_disk_refuses_appends_serves_reads_and_recovers_by_deleting() {
    for bytes in [200, 3000] {
        let mut bench = tiny_disk();
        let p = id(1, 0);
        let count = fill(&mut bench, bytes);
        assert!(count > 10);
        assert_eq!(bench.read_all(p).len() as u64, count);
        assert_eq!(bench.append(id(2, 0), batch(&[b"x"])).unwrap_err(), AppendError::DiskFull);
        bench.advance(Duration::from_secs(10));
        assert_eq!(bench.read_all(p).len() as u64, count);

        // Retention is not even needed: deleting records is a change that always finds room.
        let deleting = bench.storage.delete_records(p, Offset(count as i64 - 2));
        assert_eq!(bench.wait(deleting).unwrap(), Offset(count as i64 - 2));
        bench.advance(Duration::from_secs(2));
        bench.append(p, numbered(count, bytes)).unwrap();
        assert_eq!(bench.read_all(p).len(), 3);
        bench.disk.crash(Survival::Chance);
        let bench = bench.open_again();
        assert_eq!(bench.read_all(p).len(), 3);
    }
}

#[test]
fn a_full_disk_recovers_by_retention_alone() {
    let mut bench = tiny_disk();
    let p = id(1, 0);
    let count = fill(&mut bench, 3000);
    let config = LogConfig { retention_bytes: Some(10_000), segment_bytes: 8 * 1024, ..LogConfig::default() };
    let configuring = bench.storage.configure(p, config);
    bench.wait(configuring).unwrap();
    bench.advance(Duration::from_secs(2));
    bench.append(p, numbered(count, 3000)).unwrap();
    assert!(bench.partition(p).offsets().log_start > Offset::ZERO);
}

#[test]
fn a_full_disk_recovers_by_deleting_a_topic() {
    let mut bench = tiny_disk();
    fill(&mut bench, 3000);
    let deleting = bench.storage.delete(vec![id(1, 0)]);
    bench.wait(deleting).unwrap();
    bench.advance(Duration::from_secs(2));
    bench.append(id(2, 0), numbered(0, 3000)).unwrap();
}

#[test]
fn a_disk_that_is_quite_full_at_the_start_serves_reads_and_makes_room_by_deleting() {
    for (bytes, by_topic) in [(200, true), (200, false), (3000, true), (3000, false)] {
        let mut bench = Bench::new(Options {
            wal_bytes_max: 3 * 16 * 1024,
            checkpoint_reserve_bytes: 48 * 1024,
            ..small_options()
        });
        let config = LogConfig { segment_bytes: 8 * 1024, ..LogConfig::default() };
        bench.create(id(1, 0), config.clone());
        bench.create(id(2, 0), config);
        bench.advance(Duration::from_secs(100));
        bench.disk.set_capacity(Some(bench.disk.used_bytes() + 60 * 1024));
        let count = fill(&mut bench, bytes);
        bench.disk.crash(Survival::Everything);
        // Others have taken the rest.
        bench.disk.set_capacity(Some(bench.disk.used_bytes()));
        let mut bench = bench.open_again();
        assert_eq!(bench.read_all(id(1, 0)).len() as u64, count);
        bench.advance(Duration::from_secs(2));
        assert_eq!(bench.append(id(2, 0), batch(&[b"x"])).unwrap_err(), AppendError::DiskFull);
        // What leads to deletions is appended all the same.
        let mut append = crate::Append::new(bench.partition(id(2, 0)), batch(&[b"removed"]));
        append.frees_room = true;
        let appending = bench.storage.append(append);
        bench.wait(appending).expect("removing is possible");
        if by_topic {
            let deleting = bench.storage.delete(vec![id(1, 0)]);
            bench.wait(deleting).expect("deleting is possible");
        } else {
            let deleting = bench.storage.delete_records(id(1, 0), Offset(count as i64));
            bench.wait(deleting).expect("deleting is possible");
        }
        bench.advance(Duration::from_secs(3));
        // What lay only in the write-ahead log goes with its files, which takes a roll-up.
        bench.disk.set_capacity(Some(bench.disk.used_bytes() + 40 * 1024));
        bench.advance(Duration::from_secs(3));
        for number in 0..10 {
            bench.append(id(2, 0), numbered(number, bytes)).unwrap();
        }
        bench.disk.crash(Survival::Chance);
        let bench = bench.open_again();
        assert_eq!(bench.read_all(id(2, 0)).len(), 11);
        assert!(bench.storage.partition(id(1, 0)).is_none_or(|partition| read_all(&partition).is_empty()));
    }
}

#[test]
fn too_many_open_files_refuse_an_append_and_close_nothing() {
    for path in [".log", "wal"] {
        let mut bench = Bench::new(small_options());
        let p = id(1, 0);
        bench.create(p, LogConfig { segment_bytes: 8 * 1024, ..LogConfig::default() });
        let mut refused = 0;
        let mut acknowledged = 0;
        for number in 0..200 {
            if number % 20 == 5 {
                bench.disk.inject(Fault::Open(path.to_owned()));
            }
            match bench.append(p, numbered(number, if path != "wal" || number % 3 == 0 { 3000 } else { 500 }))
            {
                Ok(_) => acknowledged += 1,
                Err(AppendError::OutOfFiles) => refused += 1,
                Err(error) => panic!("{error}"),
            }
            bench.advance(Duration::from_millis(300));
        }
        assert!(refused > 0 || path == "wal", "{path}");
        assert_eq!(bench.partition(p).health(), Health::Good);
        assert_eq!(bench.read_all(p).len(), acknowledged);
        bench.disk.crash(Survival::Chance);
        let bench = bench.open_again();
        assert_eq!(bench.read_all(p).len(), acknowledged);
    }
}

#[test]
fn a_full_disk_loses_nothing_in_a_crash() {
    for seed in 0..20 {
        let mut bench = tiny_disk();
        let count = fill(&mut bench, if seed % 2 == 0 { 300 } else { 2500 });
        bench.disk.crash(Survival::Chance);
        let mut bench =
            Bench::open(bench.disk.clone(), bench.clock.clone(), bench.options.clone(), seed).unwrap();
        bench.settle();
        assert_eq!(bench.read_all(id(1, 0)).len() as u64, count, "seed {seed}");
    }
}

#[test]
fn appending_stops_before_the_disk_is_quite_full() {
    let mut bench = Bench::new(Options { disk_free_bytes_min: 40 * 1024, ..small_options() });
    bench.create(id(1, 0), LogConfig::default());
    bench.disk.set_capacity(Some(bench.disk.used_bytes() + 39 * 1024));
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.append(id(1, 0), batch(&[b"x"])).unwrap_err(), AppendError::DiskFull);
    bench.disk.set_capacity(None);
    bench.advance(Duration::from_secs(1));
    bench.append(id(1, 0), batch(&[b"x"])).unwrap();
}

#[test]
fn one_directory_has_one_user() {
    let bench = bench_with_partition();
    let again = || Bench::open(bench.disk.clone(), bench.clock.clone(), small_options(), 1);
    assert!(matches!(again().err(), Some(OpenError::Locked(_))));
    let random = Arc::new(SeededRandom::new(1));
    let verifying = verify(small_options(), Arc::new(bench.disk.clone()), bench.clock.clone(), random);
    assert!(matches!(verifying.err(), Some(OpenError::Locked(_))));
    let Bench { disk, clock, storage, shards, .. } = bench;
    drop(shards);
    drop(storage);
    assert!(Bench::open(disk, clock, small_options(), 1).is_ok());
}

#[test]
fn an_identity_is_given_once() {
    let bench = bench_with_partition();
    let ids = (bench.storage.cluster_id().to_owned(), bench.storage.directory_id().to_owned());
    assert_eq!((ids.0.len(), ids.1.len()), (22, 22));
    assert_ne!(ids.0, ids.1);
    let bench = bench.reopen();
    assert_eq!((bench.storage.cluster_id(), bench.storage.directory_id()), (&*ids.0, &*ids.1));
}

#[test]
fn a_newer_format_is_refused() {
    let mut bench = bench_with_partition();
    bench.close();
    let path = Path::new("/data/levada.properties");
    let text = String::from_utf8(bench.file(path)).unwrap();
    replace_file(&bench.disk, path, text.replace("format=1", "format=2").as_bytes()).unwrap();
    let Bench { disk, clock, options, storage, shards, .. } = bench;
    drop((storage, shards));
    let error = Bench::open(disk.clone(), clock.clone(), options.clone(), 1).err().unwrap();
    assert!(matches!(error, OpenError::Newer { found: 2, known: 1, .. }), "{error}");
    replace_file(&disk, path, b"nonsense").unwrap();
    let error = Bench::open(disk, clock, options, 1).err().unwrap();
    assert!(matches!(error, OpenError::Identity { .. }), "{error}");
}

#[test]
fn what_is_left_of_deleted_partitions_goes() {
    let mut bench = bench_with_partition();
    let p = id(1, 0);
    bench.append(p, numbered(1, 5000)).unwrap();
    assert_eq!(bench.paths("partitions").len(), 1);
    let held = bench.partition(p);
    let deleting = bench.storage.delete(vec![p, id(9, 9)]);
    bench.wait(deleting).unwrap();
    assert!(bench.paths("partitions").is_empty(), "its files go at once");
    assert!(bench.storage.partition(p).is_none());
    assert!(held.read(Offset(0), 100, Offset(10)).is_err());
    let appending = bench.storage.append(crate::Append::new(held, batch(&[b"x"])));
    assert_eq!(bench.wait(appending).unwrap_err(), AppendError::Deleted);

    // Names may come back when the power goes before the directory was synced; a stranger's directory stays.
    let leftover = bench.options.data_dir.join("partitions").join(id(7, 3).to_string());
    bench.disk.create_dir(&leftover).unwrap();
    bench.disk.create(&leftover.join("00000000000000000000.log")).unwrap();
    bench.disk.create_dir(Path::new("/data/partitions/mine")).unwrap();
    let bench = bench.reopen();
    let names = bench.disk.list(Path::new("/data/partitions")).unwrap();
    assert_eq!(names.iter().map(|entry| &*entry.name).collect::<Vec<_>>(), ["mine"]);
}

#[test]
fn a_recreated_topic_inherits_nothing() {
    let mut bench = bench_with_partition();
    let deleting = bench.storage.delete(vec![id(1, 0)]);
    bench.wait(deleting).unwrap();
    bench.create(id(3, 0), LogConfig::default());
    bench.append(id(3, 0), batch(&[b"new"])).unwrap();
    bench.disk.crash(Survival::Nothing);
    let bench = bench.open_again();
    assert!(bench.storage.partition(id(1, 0)).is_none());
    assert_eq!(bench.read_all(id(3, 0)), [(Offset(0), b"new".to_vec())]);
}

#[test]
fn a_torn_end_is_cut() {
    let mut bench = bench_with_partition();
    let p = id(1, 0);
    // What was written but never acknowledged: the sync of the next group fails, and part of it survives.
    bench.disk.crash_at(2);
    assert_eq!(bench.append(p, numbered(1, 1500)).unwrap_err(), AppendError::Closed);
    bench.disk.crash(Survival::Nothing);
    let mut bench = bench.open_again();
    assert_eq!(bench.read_all(p).len(), 1);
    let appended = bench.append(p, batch(&[b"next"])).unwrap();
    assert_eq!(appended.base_offset, Offset(1), "the offset was never given to anybody");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = || {
        let disk = SimDisk::new(5);
        let mut bench = Bench::open(disk, Arc::new(SimClock::new(START)), small_options(), 5).unwrap();
        for topic in 0..4 {
            bench.create(id(topic, 0), LogConfig { segment_bytes: 9000, ..LogConfig::default() });
        }
        for number in 0..200 {
            bench
                .append(id(number as u8 % 4, 0), numbered(number, 50 + number as usize * 13 % 3000))
                .unwrap();
            bench.advance(Duration::from_millis(700));
        }
        let contents: Vec<_> =
            bench.storage.partitions().iter().map(|partition| read_all(partition)).collect();
        (bench.disk.files(), contents)
    };
    assert!(run() == run());
}
