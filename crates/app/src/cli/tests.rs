use clap::CommandFactory;

use super::*;

fn refused(line: &str) -> String {
    match Cli::try_parse_from(line.split_whitespace()) {
        Ok(_) => panic!("{line} is taken"),
        Err(error) => error.to_string(),
    }
}

fn taken(line: &str) {
    if let Err(error) = Cli::try_parse_from(line.split_whitespace()) {
        panic!("{line}: {error}");
    }
}

#[test]
fn every_argument_says_what_it_is() {
    fn look(command: &clap::Command, path: &str) {
        for argument in
            command.get_arguments().filter(|it| !matches!(it.get_id().as_str(), "help" | "version"))
        {
            assert!(argument.get_help().is_some(), "{path}: {}", argument.get_id());
        }
        for inner in command.get_subcommands().filter(|it| it.get_name() != "help") {
            look(inner, &format!("{path} {}", inner.get_name()));
        }
    }
    let mut command = Cli::command();
    command.build();
    command.clone().debug_assert();
    look(&command, "levada");
}

#[test]
fn what_cannot_be_a_value_is_told_with_what_can() {
    for (line, said) in [
        ("levada topic create t --partitions many", "`many` is no whole number"),
        ("levada topic create t --partitions 99999999999", "out of range"),
        ("levada topic list --timeout 1x", "such as 30s"),
        ("levada events tail orders --after foo", "`beginning`, `end`, or a position"),
        ("levada events read orders o --from foo", "neither a version nor `snapshot`"),
        ("levada events subscription create orders m --ack-timeout 30", "500ms, 30s, 5m, 1h or 2d"),
        ("levada group list --state foo", "PreparingRebalance"),
        ("levada group reset g --to end", "--all-topics"),
        ("levada group reset g --topic t", "--shift"),
        ("levada events upcaster put T 1", "--defaults"),
        ("levada events subscription alter orders m --all-events --type T", "cannot be used with"),
    ] {
        let told = refused(line);
        assert!(told.contains(said), "{line}: {told}");
    }
}

#[test]
fn what_is_written_in_the_manual_is_taken() {
    for line in [
        "levada topic list --timeout 30s",
        "levada topic list --timeout 30",
        "levada group reset g --topic t --topic u --shift -1",
        "levada group reset g --all-topics --to end",
        "levada group list --state Stable --state empty",
        "levada config list",
        "levada events list",
        "levada events create orders --partitions 3",
        "levada events category list",
        "levada events tail orders --after end -n 3",
        "levada events read orders o --from snapshot --raw",
        "levada events subscription create orders m --ack-timeout 2d --unordered",
        "levada events subscription alter orders m --ordered",
        "levada events upcaster put T 1 --new-type U",
    ] {
        taken(line);
    }
}
