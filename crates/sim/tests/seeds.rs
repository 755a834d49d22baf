//! The invariants over many seeds, the same seed twice, and the checkers against a planted fault.

use std::collections::BTreeSet;

use sim::check::Invariant;
use sim::{Options, run};

/// `./test` runs these; more are run by `cargo run --release -p sim -- --seeds N`.
const SEEDS: std::ops::Range<u64> = 1..101;

#[test]
fn a_hundred_seeds_break_no_invariant() {
    let (mut acknowledged, mut keyed, mut compactions) = (0, 0, 0);
    for seed in SEEDS {
        let report = run(&Options::new(seed));
        let broken: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
        assert!(broken.is_empty(), "{broken:#?}\nreplay: cargo run -p sim -- --from {seed} --seeds 1 --log");
        acknowledged += report.acknowledged;
        keyed += report.keyed;
        compactions += report.compactions;
    }
    assert!(acknowledged > 10_000, "only {acknowledged} records were acknowledged: nothing was tried");
    let tried = keyed > 10_000 && compactions > 500;
    assert!(tried, "only {keyed} keyed records and {compactions} compactions: nothing was tried");
}

#[test]
fn one_seed_run_twice_gives_the_same_log_byte_for_byte() {
    for seed in [3, 14, 15] {
        let (first, second) = (run(&Options::new(seed)), run(&Options::new(seed)));
        let differs = first.log.lines().zip(second.log.lines()).find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first.log.len(), second.log.len());
    }
}

#[test]
fn a_disk_that_lies_about_syncs_breaks_every_invariant() {
    let all = [
        Invariant::NothingAcknowledgedIsLost,
        Invariant::NoOffsetTwice,
        Invariant::HighWatermarkNeverGoesBack,
        Invariant::CommittedOffsetsNeverGoBack,
    ];
    break_all(|options| options.lying_disk = true, &all);
}

/// Seeds until each of these invariants was broken once.
fn break_all(fault: fn(&mut Options), all: &[Invariant]) {
    let mut broken = BTreeSet::new();
    for seed in SEEDS {
        let mut options = Options::new(seed);
        fault(&mut options);
        broken.extend(run(&options).violations.iter().map(|violation| violation.invariant));
        if broken.is_superset(&all.iter().copied().collect()) {
            return;
        }
    }
    panic!("only {broken:?}");
}

#[test]
fn a_disk_that_forgets_what_compaction_writes_loses_the_newest_records_of_keys() {
    break_all(
        |options| options.forgetful_disk = true,
        &[Invariant::NewestOfEachKeyStays, Invariant::TombstonesStayForAWhile],
    );
}

#[test]
fn days_that_go_by_too_fast_take_tombstones_and_records_too_early() {
    break_all(
        |options| options.hasty_clock = true,
        &[Invariant::TombstonesStayForAWhile, Invariant::RetentionTakesOnlyWhatIsOld],
    );
}

#[test]
fn members_that_do_not_mind_the_end_of_their_session_share_partitions() {
    let is_noticed = |seed| {
        let report = run(&Options { stubborn_members: true, ..Options::new(seed) });
        report.violations.iter().any(|violation| violation.invariant == Invariant::OneMemberPerPartition)
    };
    assert!(SEEDS.take(10).any(is_noticed));
}
