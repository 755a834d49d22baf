use clap::Parser;

use super::*;
use crate::cli::{Cli, Command, TopicCommand};

fn options_of(line: &[&str]) -> anyhow::Result<client::Options> {
    let cli =
        Cli::try_parse_from([&["levada", "topic", "list"], line].concat()).expect("a good command line");
    match cli.command {
        Some(Command::Topic(TopicCommand::List { broker, .. })) => options(&broker),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
    let options = options_of(&[]).unwrap();
    assert_eq!((options.bootstrap.0, options.patience.as_secs()), (vec!["127.0.0.1:9092".to_owned()], 30));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.properties");
    let text = "bootstrap.servers=a:1,b:2\nclient.id=me\nrequest.timeout.ms=7000\n";
    #[expect(clippy::disallowed_methods, reason = "a file of this test's own")]
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let options = options_of(&["--command-config", file]).unwrap();
    assert_eq!(
        (options.bootstrap.0, options.patience.as_secs()),
        (vec!["a:1".to_owned(), "b:2".to_owned()], 7)
    );
    assert_eq!(options.client_id, "me");
    let options = options_of(&["--command-config", file, "-b", "c:3", "--timeout", "9"]).unwrap();
    assert_eq!((options.bootstrap.0, options.patience.as_secs()), (vec!["c:3".to_owned()], 9));
}

#[test]
fn a_file_that_cannot_be_used_is_told_by_its_flag() {
    let why = options_of(&["--command-config", "/nowhere/client.properties"]).unwrap_err().to_string();
    assert!(why.starts_with("--command-config: cannot read /nowhere/client.properties"), "{why}");
}
