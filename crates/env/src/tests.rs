//! What every disk must do, run on both; then what only the simulated one can do.

use std::io::{ErrorKind, IoSlice};
use std::path::{Path, PathBuf};

use crate::sim::{Fault, SimDisk, Survival};
use crate::{
    Clock, Disk, Random, RealDisk, SeededRandom, SystemClock, process_usage, read_exact_at, read_file,
    replace_file,
};

fn on_both(check: impl Fn(&dyn Disk, &Path)) {
    let directory = tempfile::tempdir().unwrap();
    check(&RealDisk::new(), directory.path());
    let sim = SimDisk::new(1);
    sim.create_dir(Path::new("/root")).unwrap();
    check(&sim, Path::new("/root"));
}

#[test]
fn what_is_written_is_read() {
    on_both(|disk, root| {
        let file = disk.create(&root.join("a")).unwrap();
        file.write_vectored_at(&[IoSlice::new(b"hello "), IoSlice::new(b""), IoSlice::new(b"world")], 3)
            .unwrap();
        assert_eq!(file.len().unwrap(), 14);
        let mut bytes = [9; 20];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 14);
        assert_eq!(&bytes[..14], b"\0\0\0hello world");
        assert_eq!(file.read_at(&mut bytes, 14).unwrap(), 0);
        assert_eq!(file.read_at(&mut bytes, 1000).unwrap(), 0);
        assert_eq!(read_exact_at(&*file, &mut bytes, 0).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        file.sync_data().unwrap();
        file.start_sync();
        assert_eq!(disk.open(&root.join("a")).unwrap().len().unwrap(), 14);
        assert_eq!(read_file(disk, &root.join("a"), 14).unwrap().len(), 14);
        assert_eq!(read_file(disk, &root.join("a"), 13).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert!(disk.create(&root.join("a")).unwrap().is_empty().unwrap(), "creating empties");
    });
}

#[test]
fn many_parts_are_written_in_one_call() {
    on_both(|disk, root| {
        let file = disk.create(&root.join("a")).unwrap();
        let numbers: Vec<[u8; 4]> = (0..5000u32).map(u32::to_be_bytes).collect();
        let parts: Vec<IoSlice<'_>> = numbers.iter().map(|number| IoSlice::new(number)).collect();
        file.write_vectored_at(&parts, 0).unwrap();
        assert_eq!(read_file(disk, &root.join("a"), 20_000).unwrap(), numbers.concat());
    });
}

#[test]
fn lengths_change() {
    on_both(|disk, root| {
        let file = disk.create(&root.join("a")).unwrap();
        file.allocate(0, 100).unwrap();
        assert_eq!(file.len().unwrap(), 100);
        file.allocate(20, 30).unwrap();
        assert_eq!(file.len().unwrap(), 100, "allocating inside changes nothing");
        file.write_at(b"x", 99).unwrap();
        file.set_len(50).unwrap();
        file.set_len(100).unwrap();
        assert_eq!(
            read_file(disk, &root.join("a"), 100).unwrap(),
            [0; 100],
            "what was cut comes back as zeroes"
        );
    });
}

#[test]
fn names_come_and_go() {
    on_both(|disk, root| {
        let sub = root.join("sub/deeper");
        disk.create_dir(&sub).unwrap();
        disk.create_dir(&sub).unwrap();
        for name in ["b", "a"] {
            disk.create(&sub.join(name)).unwrap().write_at(name.as_bytes(), 0).unwrap();
        }
        disk.sync_dir(&sub).unwrap();
        let names = |path: &Path| -> Vec<String> {
            disk.list(path).unwrap().into_iter().map(|entry| entry.name).collect()
        };
        assert_eq!(names(&sub), ["a", "b"]);
        assert!(disk.list(&root.join("sub")).unwrap()[0].is_dir);
        disk.rename(&sub.join("a"), &sub.join("b")).unwrap();
        assert_eq!(read_file(disk, &sub.join("b"), 10).unwrap(), b"a");
        assert_eq!(disk.remove_dir(&sub).unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
        let held = disk.open(&sub.join("b")).unwrap();
        disk.remove(&sub.join("b")).unwrap();
        assert_eq!(held.len().unwrap(), 1, "an open file outlives its name");
        assert_eq!(disk.remove(&sub.join("b")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(disk.open(&sub.join("b")).err().unwrap().kind(), ErrorKind::NotFound);
        assert_eq!(disk.rename(&sub.join("x"), &sub.join("y")).unwrap_err().kind(), ErrorKind::NotFound);
        disk.remove_dir(&sub).unwrap();
        assert_eq!(disk.list(&sub).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(disk.create(&sub.join("b")).err().unwrap().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_file_is_replaced_as_a_whole() {
    on_both(|disk, root| {
        replace_file(disk, &root.join("a"), b"one").unwrap();
        replace_file(disk, &root.join("a"), b"two!").unwrap();
        assert_eq!(read_file(disk, &root.join("a"), 10).unwrap(), b"two!");
        assert_eq!(disk.list(root).unwrap().len(), 1);
    });
}

#[test]
fn a_lock_is_held_by_one() {
    on_both(|disk, root| {
        let lock = disk.lock(&root.join("lock")).unwrap();
        assert_eq!(disk.lock(&root.join("lock")).err().unwrap().kind(), ErrorKind::WouldBlock);
        drop(lock);
        disk.lock(&root.join("lock")).unwrap();
        let space = disk.space(root).unwrap();
        assert!(space.free > 0 && space.free <= space.total);
    });
}

fn written(disk: &SimDisk, name: &str, bytes: &[u8]) -> PathBuf {
    let path = Path::new("/").join(name);
    let file = disk.create(&path).unwrap();
    file.write_at(bytes, 0).unwrap();
    path
}

#[test]
fn a_crash_forgets_what_was_not_synced() {
    let disk = SimDisk::new(1);
    let path = written(&disk, "a", b"old");
    let file = disk.open(&path).unwrap();
    file.sync_data().unwrap();
    disk.crash(Survival::Nothing);
    assert_eq!(disk.open(&path).err().unwrap().kind(), ErrorKind::NotFound, "its name was never synced");

    let path = written(&disk, "a", b"old");
    let file = disk.open(&path).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    file.write_at(b"new and longer", 0).unwrap();
    disk.crash(Survival::Nothing);
    assert_eq!(read_file(&disk, &path, 100).unwrap(), b"old");
    assert!(file.len().is_err(), "handles of the old machine are dead");

    let file = disk.open(&path).unwrap();
    file.write_at(b"new", 0).unwrap();
    disk.crash(Survival::Everything);
    assert_eq!(read_file(&disk, &path, 100).unwrap(), b"new");
}

#[test]
fn any_part_of_what_was_not_synced_may_survive() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let path = written(&disk, "a", &[1; 2048]);
        disk.sync_dir(Path::new("/")).unwrap();
        let file = disk.open(&path).unwrap();
        file.sync_data().unwrap();
        file.write_at(&[2; 1024], 512).unwrap();
        disk.crash(Survival::Chance);
        let bytes = read_file(&disk, &path, 4096).unwrap();
        assert_eq!(bytes.len(), 2048);
        assert!(
            bytes[..512].iter().chain(&bytes[1536..]).all(|byte| *byte == 1),
            "only what was written can change"
        );
        seen.insert((bytes[512], bytes[1023], bytes[1024], bytes[1535]));
    }
    assert!(seen.contains(&(1, 1, 1, 1)) && seen.contains(&(2, 2, 2, 2)), "none and all");
    assert!(seen.contains(&(1, 1, 2, 2)) && seen.contains(&(2, 2, 1, 1)), "either sector alone");
    assert!(seen.iter().any(|(a, b, c, d)| a > b || c > d), "a torn sector");
}

#[test]
fn a_crash_can_be_set_for_an_operation() {
    let disk = SimDisk::new(3);
    let path = written(&disk, "a", b"1");
    let before = disk.operations();
    disk.crash_at(2);
    let file = disk.open(&path).unwrap();
    file.write_at(b"2", 0).unwrap();
    assert!(file.write_at(b"3", 0).is_err());
    assert!(disk.has_crashed() && disk.operations() == before + 2);
    assert!(disk.open(&path).is_err() && disk.list(Path::new("/")).is_err());
    disk.crash(Survival::Everything);
    assert!(disk.open(&path).is_ok());
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let disk = SimDisk::new(1);
    disk.set_capacity(Some(100));
    let path = written(&disk, "a", &[1; 80]);
    assert_eq!(disk.space(&path).unwrap().free, 20);
    let file = disk.create(Path::new("/b")).unwrap();
    assert_eq!(file.write_at(&[1; 30], 0).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.allocate(0, 30).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.remove(&path).unwrap();
    file.write_at(&[1; 30], 0).unwrap();
}

#[test]
fn faults_strike_once() {
    let disk = SimDisk::new(1);
    let path = written(&disk, "a", b"old");
    disk.sync_dir(Path::new("/")).unwrap();
    let file = disk.open(&path).unwrap();
    file.sync_data().unwrap();
    file.write_at(b"new", 0).unwrap();
    disk.inject(Fault::Sync("a".to_owned()));
    assert!(file.sync_data().is_err());
    assert!(file.sync_data().is_ok(), "the second success is a lie, as on Linux");
    disk.crash(Survival::Nothing);
    assert_eq!(read_file(&disk, &path, 10).unwrap(), b"old");

    let file = disk.open(&path).unwrap();
    disk.inject(Fault::Write("a".to_owned()));
    assert!(file.write_at(b"xxx", 0).is_err());
    disk.inject(Fault::Read("a".to_owned()));
    assert!(file.read_at(&mut [0], 0).is_err());
    file.write_at(b"yyy", 0).unwrap();
    disk.flip_bit(&path, 1, 0);
    assert_eq!(read_file(&disk, &path, 10).unwrap(), b"yxy");
}

#[test]
fn clocks_move_on() {
    let clock = SystemClock::new();
    let (wall, monotonic) = (clock.now(), clock.monotonic());
    assert!(wall.0 > 1_600_000_000_000);
    assert!(clock.monotonic() >= monotonic);
}

#[test]
fn seeded_chance_repeats_itself() {
    let (a, b) = (SeededRandom::new(5), SeededRandom::new(5));
    let numbers: Vec<u64> = (0..100).map(|_| a.below(10)).collect();
    assert_eq!(numbers, (0..100).map(|_| b.below(10)).collect::<Vec<_>>());
    assert!((0..10).all(|number| numbers.contains(&number)));
    assert_eq!(a.below(0), 0);
}

#[test]
fn a_process_knows_what_it_takes() {
    let before = process_usage();
    // To look takes time, too.
    while process_usage().cpu_seconds <= before.cpu_seconds {}
    let now = process_usage();
    assert!(now.resident_bytes.unwrap() > 100_000 && now.virtual_bytes >= now.resident_bytes, "{now:?}");
    assert!(
        now.open_files.unwrap() > 3 && now.open_files <= now.open_files_max.or(Some(u64::MAX)),
        "{now:?}"
    );
    assert!(now.threads.unwrap() >= 1);
}
