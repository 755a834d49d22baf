//! What is gone from a data directory, whole: the file that says whose it is, a shard, what knew of a partition. And
//! formats: older ones are read, newer ones are refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use env::sim::{SimClock, SimDisk, Survival};
use env::{Disk, SeededRandom, replace_file};
use model::{Offset, PartitionId};

use super::bench::{Bench, START, batch, id, numbered, small_options};
use super::damage::{check_honest, check_mends, config, filled, reopened};
use crate::{AppendError, LogConfig, OpenError, Options, Repaired, Report, repair, verify};

fn mend(bench: &Bench, disk: &SimDisk) -> Result<Repaired, OpenError> {
    let random = Arc::new(SeededRandom::new(3));
    repair(bench.options.clone(), Arc::new(disk.clone()), bench.clock.clone(), random, true)
}

fn look(bench: &Bench, disk: &SimDisk) -> Result<Report, OpenError> {
    let random = Arc::new(SeededRandom::new(3));
    verify(bench.options.clone(), Arc::new(disk.clone()), bench.clock.clone(), random)
}

fn refusal(bench: &Bench, disk: &SimDisk) -> OpenError {
    let opened = Bench::open(disk.clone(), bench.clock.clone(), bench.options.clone(), 5);
    opened.map(|_| ()).expect_err("it does not open")
}

fn remove_all(disk: &SimDisk, directory: &Path) {
    for path in disk.files().keys().filter(|path| path.starts_with(directory)) {
        disk.remove(path).unwrap();
    }
    disk.remove_dir(directory).unwrap();
}

#[test]
fn a_directory_that_has_lost_its_identity_is_nobody_elses_until_a_repair() {
    let (mut bench, contents) = filled(small_options(), 20);
    let before = bench.storage.cluster_id().to_owned();
    bench.close();
    let path = Path::new("/data/levada.properties");
    let harms: [fn(&SimDisk, &Path); 2] = [
        |disk, path| disk.remove(path).unwrap(),
        |disk, path| replace_file(disk, path, b"\xff\xfe").unwrap(),
    ];
    for harm in harms {
        let disk = bench.disk.fork();
        harm(&disk, path);
        let files = disk.files();
        assert!(matches!(refusal(&bench, &disk), OpenError::Identity { .. }));
        assert!(matches!(look(&bench, &disk), Err(OpenError::Identity { .. })));
        assert_eq!(files.get(path), disk.files().get(path), "nothing is made up");
        assert!(mend(&bench, &disk).unwrap().has_new_identity);
        assert!(!mend(&bench, &disk).unwrap().has_new_identity, "once");
        let mut bench = reopened(&bench, disk);
        assert_ne!(bench.storage.cluster_id(), before);
        assert!(!check_honest(&mut bench, &contents, None));
    }
}

#[test]
fn a_directory_that_is_not_there_is_not_made_by_a_repair() {
    let mut bench = Bench::new(small_options());
    bench.close();
    bench.options = Options { data_dir: PathBuf::from("/tpyo"), ..bench.options };
    assert!(matches!(mend(&bench, &bench.disk), Err(OpenError::Unreadable { .. })));
    assert!(matches!(look(&bench, &bench.disk), Err(OpenError::Unreadable { .. })));
    assert!(bench.disk.list(Path::new("/tpyo")).is_err());
}

#[test]
fn whichever_shard_is_lost_no_partition_goes_with_it() {
    let options = Options { shards: 3, ..small_options() };
    let mut bench = Bench::new(options);
    let ids: Vec<PartitionId> = (1..=9).map(|topic| id(topic, 0)).collect();
    for id in &ids {
        bench.create(*id, config());
        bench.append(*id, numbered(1, 100)).unwrap();
        bench.append(*id, numbered(2, 3000)).unwrap();
    }
    let contents = ids.iter().map(|id| (*id, bench.read_all(*id))).collect();
    let mut bench = bench.reopen();
    bench.close();
    for shard in 0..3 {
        let disk = bench.disk.fork();
        remove_all(&disk, &PathBuf::from(format!("/data/shard-{shard}")));
        // With fewer shards than before as well.
        bench.options.shards = 1;
        assert!(matches!(refusal(&bench, &disk), OpenError::Checkpoint { .. }), "{shard}");
        assert!(matches!(look(&bench, &disk), Err(OpenError::Checkpoint { .. })), "{shard}");
        assert_eq!(mend(&bench, &disk).unwrap().rebuilt_checkpoints, [shard]);
        let mut bench = reopened(&bench, disk);
        assert!(!check_honest(&mut bench, &contents, None), "{shard}");
    }
}

#[test]
fn a_partition_that_only_its_folder_tells_of_is_kept_until_it_is_deleted() {
    let (mut bench, mut contents) = filled(small_options(), 40);
    bench.close();
    let (known, lost) = (id(1, 0), id(7, 3));
    let folder = |id: PartitionId| Path::new("/data/partitions").join(id.to_string());
    bench.disk.create_dir(&folder(lost)).unwrap();
    for (path, bytes) in bench.disk.files() {
        if let Ok(name) = path.strip_prefix(folder(known)) {
            replace_file(&bench.disk, &folder(lost).join(name), &bytes).unwrap();
        }
    }
    contents.insert(lost, contents[&known].clone());
    let report = look(&bench, &bench.disk).unwrap();
    assert!(!report.is_sound() && report.leftovers.is_empty());
    let only: Vec<_> = report.partitions.iter().filter(|partition| partition.is_only_folder).collect();
    assert_eq!(only.iter().map(|partition| partition.id).collect::<Vec<_>>(), [lost]);

    let mut bench = bench.open_again();
    for _ in 0..2 {
        assert_eq!(bench.read_all(lost), contents[&lost]);
        assert_eq!(bench.append(lost, batch(&[b"next"])).unwrap_err(), AppendError::Damaged);
        bench = bench.reopen();
    }
    bench.close();
    check_mends(&bench, bench.disk.fork(), &contents, &"only a folder");

    mend(&bench, &bench.disk).unwrap();
    let mut bench = bench.open_again();
    let deleting = bench.storage.delete(vec![lost]);
    bench.wait(deleting).unwrap();
    assert!(bench.storage.partition(lost).is_none());
    for survival in [Survival::Nothing, Survival::Everything] {
        bench.disk.crash(survival);
        bench = bench.open_again();
        assert!(bench.storage.partition(lost).is_none());
        assert!(bench.disk.list(&folder(lost)).is_err());
    }
}

/// A topic with relaxed flushing.
fn relaxed() -> LogConfig {
    LogConfig { flush_messages: 1000, ..config() }
}

#[test]
fn a_deletion_counts_although_the_batch_before_it_went_with_the_files() {
    for is_topic in [true, false] {
        let mut bench = Bench::new(small_options());
        let p = id(1, 0);
        bench.create(p, relaxed());
        // Not synced by itself: nothing proves its group but the one of the deletion, which proves nothing of itself.
        bench.append(p, numbered(1, 3000)).unwrap();
        if is_topic {
            let deleting = bench.storage.delete(vec![p]);
            bench.wait(deleting).unwrap();
        } else {
            let emptying = bench.storage.delete_records(p, Offset(1));
            assert_eq!(bench.wait(emptying), Ok(Offset(1)));
        }
        assert!(bench.paths(".log").is_empty(), "its files are gone");
        for survival in [Survival::Nothing, Survival::Everything] {
            let disk = bench.disk.fork();
            disk.crash(survival);
            let mut bench = reopened(&bench, disk);
            assert_eq!(bench.storage.partition(p).is_none(), is_topic, "{survival:?}");
            if !is_topic {
                assert_eq!(bench.partition(p).offsets().log_start, Offset(1));
                assert_eq!(bench.append(p, batch(&[b"next"])).unwrap().base_offset, Offset(1));
            }
        }
    }
}

/// Written by the version that knew only the first format: a topic of two partitions with three records, closed in order.
const FORMAT_1: [(&str, &[u8]); 4] = [
    ("levada.properties", include_bytes!("golden/format-1/levada.properties")),
    (
        "partitions/AAAAAAAAAAAAAAAAAAAAAQ-0/00000000000000000000.log",
        include_bytes!("golden/format-1/partitions+AAAAAAAAAAAAAAAAAAAAAQ-0+00000000000000000000.log"),
    ),
    (
        "partitions/ZO7e6mj4RNi6TfeahWRE4w-0/00000000000000000000.log",
        include_bytes!("golden/format-1/partitions+ZO7e6mj4RNi6TfeahWRE4w-0+00000000000000000000.log"),
    ),
    ("shard-0/checkpoint", include_bytes!("golden/format-1/shard-0+checkpoint")),
];

#[test]
fn a_directory_of_the_first_format_is_opened_and_a_newer_one_refused() {
    let disk = SimDisk::new(3);
    for (path, bytes) in FORMAT_1 {
        let path = Path::new("/data").join(path);
        disk.create_dir(path.parent().unwrap()).unwrap();
        replace_file(&disk, &path, bytes).unwrap();
    }
    let clock = Arc::new(SimClock::new(START));
    let mut bench = Bench::open(disk.clone(), clock, small_options(), 1).unwrap();
    let partitions = bench.storage.partitions();
    let records = |partition: &Arc<crate::Partition>| partition.offsets().log_end.0;
    let counts: Vec<i64> = partitions.iter().map(records).collect();
    assert_eq!(counts.iter().skip(1).sum::<i64>(), 3, "{counts:?}");
    let topic = partitions.iter().find(|partition| records(partition) == 3).expect("all went to one");
    let values: Vec<Vec<u8>> = bench.read_all(topic.id()).into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [b"1", b"2", b"3"]);
    assert!(topic.config().compact && topic.config().compaction == crate::CompactionConfig::default());
    bench.append(topic.id(), batch(&[b"next"])).unwrap();
    let path = Path::new("/data/shard-0/checkpoint");
    assert_eq!(disk.files()[path][4..8], 3u32.to_le_bytes());

    bench.close();
    let mut newer = bench.file(path);
    newer[4..8].copy_from_slice(&4u32.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&newer[..8]), &newer[12..]);
    newer[8..12].copy_from_slice(&crc.to_le_bytes());
    let disk = bench.disk.fork();
    replace_file(&disk, path, &newer).unwrap();
    for error in [refusal(&bench, &disk), mend(&bench, &disk).unwrap_err()] {
        assert!(matches!(error, OpenError::Newer { found: 4, known: 3, .. }), "{error}");
    }
}

#[test]
fn a_write_ahead_log_that_is_gone_after_a_crash_is_told() {
    let (bench, contents) = filled(Options { wal_file_bytes: 64 * 1024, ..small_options() }, 20);
    bench.disk.crash(Survival::Everything);
    let logs = bench.paths(".wal");
    assert_eq!(logs.len(), 1, "everything is in the first file");
    let disk = bench.disk.fork();
    disk.remove(&logs[0]).unwrap();
    assert!(!look(&bench, &disk).unwrap().is_sound());
    let mut reopened = reopened(&bench, disk.fork());
    assert!(check_honest(&mut reopened, &contents, None));
    check_mends(&bench, disk, &contents, &"no log");
}
