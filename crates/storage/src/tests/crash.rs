//! Power cuts at every write of a workload: nothing acknowledged is lost, nothing is there twice, offsets have no gaps.

use std::sync::Arc;

use env::sim::{SimClock, SimDisk, Survival};
use env::{Random, SeededRandom};

use super::bench::{Bench, START, small_options};
use super::faults;
use super::model::{Model, Operation};
use crate::OpenError;

/// Opens a disk that may crash while it is being opened, as often as it takes.
fn open(disk: &SimDisk, clock: &Arc<SimClock>, seed: u64, survival: Survival) -> Bench {
    for attempt in 0..10 {
        match Bench::open(disk.clone(), clock.clone(), small_options(), seed + attempt) {
            Ok(bench) if !disk.has_crashed() => return bench,
            Ok(_) => disk.crash(survival),
            Err(OpenError::Io { .. }) if disk.has_crashed() => disk.crash(survival),
            Err(error) => panic!("cannot open: {error}"),
        }
    }
    panic!("crashed too often while opening");
}

/// Runs a workload whose disk crashes at the n-th operation, again soon after, and checks what is left. Says
/// whether it got that far.
fn run(workload: &[Operation], seed: u64, crash_at: u64, survival: Survival) -> bool {
    let chance = SeededRandom::new(seed ^ crash_at << 20);
    let disk = SimDisk::new(chance.next_u64());
    let clock = Arc::new(SimClock::new(START));
    disk.crash_at(crash_at);
    let mut model = Model::default();
    let mut running = Some(open(&disk, &clock, seed, survival));
    for operation in workload {
        running = running.and_then(|bench| model.carry_out(bench, operation));
        if disk.has_crashed() {
            break;
        }
    }
    let has_crashed = disk.operations() >= crash_at;
    drop(running);
    disk.crash(survival);
    if chance.chance(3) {
        // And again while recovering.
        disk.crash_at(1 + chance.below(20));
    }
    let mut bench = open(&disk, &clock, seed + 100, survival);
    disk.crash_at(u64::MAX / 2);
    model.check(&bench);
    model.check_repetition(&mut bench);
    for operation in &workload[..workload.len().min(6)] {
        bench = model.carry_out(bench, operation).expect("the disk was not told to crash");
    }
    // What was promised after a recovery must survive the next crash, even if the first was only a killed process
    // that left everything in memory.
    disk.crash(if survival == Survival::Everything { Survival::Nothing } else { survival });
    let mut bench = bench.open_again();
    model.check(&bench);
    model.check_repetition(&mut bench);
    has_crashed
}

fn workload(seed: u64, length: usize) -> Vec<Operation> {
    let chance = SeededRandom::new(seed);
    let mut workload = vec![Operation::Create { is_durable: true }, Operation::Create { is_durable: false }];
    let mut next = |bound: u64| chance.below(bound);
    workload.extend((0..length).map(|_| Operation::random(&mut next)));
    workload
}

/// Every crash point of a workload, with a kind of survival.
fn crash_everywhere(seed: u64, length: usize, survival: Survival, stride: u64) {
    let workload = workload(seed, length);
    let mut crash_at = 1 + seed % stride;
    loop {
        let result = std::panic::catch_unwind(|| run(&workload, seed, crash_at, survival));
        match result {
            Ok(true) => crash_at += stride,
            Ok(false) => return,
            Err(panic) => {
                eprintln!(
                    "replay: run(&workload({seed}, {length}), {seed}, {crash_at}, Survival::{survival:?})"
                );
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// The seeds of a test, or those that a longer search asks for: `CRASH_SEEDS=100..200 cargo test --release -p storage crash`.
fn seeds(usual: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(wanted) = std::env::var("CRASH_SEEDS") else { return usual };
    let (from, to) = wanted.split_once("..").expect("CRASH_SEEDS is FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn a_crash_anywhere_keeps_what_was_acknowledged() {
    for seed in seeds(1..4) {
        crash_everywhere(seed, 40, Survival::Chance, 1);
    }
}

#[test]
fn a_crash_that_keeps_only_what_was_synced() {
    crash_everywhere(11, 40, Survival::Nothing, 1);
}

#[test]
fn a_killed_process() {
    crash_everywhere(12, 40, Survival::Everything, 1);
}

#[test]
fn long_workloads() {
    for seed in seeds(20..26) {
        crash_everywhere(seed, 200, Survival::Chance, 41);
    }
}

#[test]
#[should_panic]
fn acknowledging_before_the_sync_is_found() {
    faults::acknowledge_before_sync(true);
    let off = Off;
    crash_everywhere(1, 40, Survival::Nothing, 1);
    drop(off);
}

struct Off;

impl Drop for Off {
    fn drop(&mut self) {
        faults::acknowledge_before_sync(false);
    }
}

/// A small batch is put into the segment before a large one of the same, unsynced group: of the two, the crash keeps the
/// large one only.
#[test]
fn a_large_batch_that_is_whole_does_not_vouch_for_the_small_ones_before_it() {
    run(&workload(101, 40), 101, 60, Survival::Chance);
}

/// Of three segments below the log's start the middle one is gone for good, and the crash brings the others back.
#[test]
fn what_is_missing_below_the_logs_start_is_no_damage() {
    run(&workload(131, 200), 131, 788, Survival::Chance);
}
