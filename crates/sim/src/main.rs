//! Runs seeds until one breaks an invariant: `sim [--from SEED] [--seeds COUNT] [--log]`, with `--lying-disk`,
//! `--forgetful-disk` or `--hasty-clock` for a planted fault.

use std::process::ExitCode;

#[expect(clippy::print_stdout, reason = "a command line tool")]
fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: u64| {
        let value = words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
        value.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (from, seeds) = (number("--from", 1), number("--seeds", 100));
    let (mut acknowledged, mut keyed, mut compactions) = (0, 0, 0);
    for seed in from..from + seeds {
        let has = |name: &str| words.iter().any(|word| word == name);
        let report = sim::run(&sim::Options {
            lying_disk: has("--lying-disk"),
            forgetful_disk: has("--forgetful-disk"),
            hasty_clock: has("--hasty-clock"),
            ..sim::Options::new(seed)
        });
        acknowledged += report.acknowledged;
        keyed += report.keyed;
        compactions += report.compactions;
        if words.iter().any(|word| word == "--log") {
            println!("{}", report.log);
        }
        if !report.violations.is_empty() {
            report.violations.iter().take(20).for_each(|violation| println!("{violation}"));
            println!("replay with: cargo run -p sim -- --from {seed} --seeds 1 --log");
            return ExitCode::FAILURE;
        }
    }
    println!(
        "{seeds} seeds from {from}: {acknowledged} records acknowledged, {keyed} more with keys, {compactions} compactions, no violation"
    );
    ExitCode::SUCCESS
}
