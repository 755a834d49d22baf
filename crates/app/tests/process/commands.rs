use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::server::Server;

/// A command that runs beside the test, and what it prints.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(line: &str) -> Running {
        let mut child = command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }

    /// Waits for the next line.
    fn line(&mut self) -> String {
        self.lines.next().expect("it ended").unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_levada"));
    command.args(line.split(' ')).stdin(Stdio::null());
    command
}

/// Runs a command to its end, with these lines as its input.
fn run(line: &str, input: &str) -> Output {
    let mut command = command(line);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn must(line: &str, input: &str) {
    let output = run(line, input);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_reader_goes_on_where_it_was_when_the_broker_comes_back_killed_or_stopped() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), &[]);
    let address = server.kafka.clone();
    must(&format!("topic create t -p 1 -b {address}"), "");
    let mut reader = Running::start(&format!("consume t --from beginning -b {address}"));
    for round in 0..3 {
        must(&format!("produce t -b {address}"), &format!("{round}\n"));
        assert_eq!(reader.line(), round.to_string());
        server.kill();
        server = Server::start_at(&address, data.path(), &[]);
    }
    must(&format!("produce t -b {address}"), "last\n");
    assert_eq!(reader.line(), "last");
}

#[test]
fn a_reader_waits_for_a_broker_only_as_long_as_it_was_told() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let address = server.kafka.clone();
    must(&format!("topic create t -p 1 -b {address}"), "");
    must(&format!("produce t -b {address}"), "one\n");
    let mut reader = Running::start(&format!("consume t --from beginning --timeout 1 -b {address}"));
    assert_eq!(reader.line(), "one");
    server.kill();
    assert!(!reader.child.wait().unwrap().success());
    let mut told = String::new();
    std::io::Read::read_to_string(&mut reader.child.stderr.take().unwrap(), &mut told).unwrap();
    assert!(told.contains("trying again for 1s") && told.contains("gave up after 1s (--timeout)"), "{told}");
}

#[test]
fn a_reader_sees_partitions_that_are_added_and_says_when_its_topic_is_deleted() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let address = &server.kafka;
    must(&format!("topic create t -p 1 -b {address}"), "");
    let mut reader = Running::start(&format!("consume t -o beginning -b {address} --format %p:%s"));
    must(&format!("produce t -p 0 -b {address}"), "old\n");
    assert_eq!(reader.line(), "0:old");
    must(&format!("topic alter t --partitions 2 -b {address}"), "");
    must(&format!("produce t -p 1 -b {address}"), "new\n");
    assert_eq!(reader.line(), "1:new");
    must(&format!("topic delete t --yes -b {address}"), "");
    assert!(!reader.child.wait().unwrap().success());
    let mut told = String::new();
    std::io::Read::read_to_string(&mut reader.child.stderr.take().unwrap(), &mut told).unwrap();
    assert_eq!(told, "levada: t was deleted while it was read\n");
}

#[test]
fn a_producer_that_fails_says_where_and_what_was_acknowledged() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let address = &server.kafka;
    must(&format!("topic create t -p 1 --set max.message.bytes=1000000 -b {address}"), "");
    // The line without a separator is refused before it is sent; those before it are sent.
    let lines: String = (1..=2500).map(|number| format!("k:{number}\n")).collect();
    let output = run(&format!("produce t -k : -b {address}"), &format!("{lines}broken\nk:after\n"));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(told.contains("2500 records were acknowledged before this: line 2501: no `:`"), "{told}");
    let read = run(&format!("consume t --from beginning --until-end -b {address}"), "");
    assert_eq!(String::from_utf8(read.stdout).unwrap().lines().count(), 2500);
    // The broker refuses the third line.
    let large = "x".repeat(1_500_000);
    let output = run(&format!("produce t -b {address}"), &format!("{}{large}\n", "small\n".repeat(1000)));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("1000 records were acknowledged before this: line 1001: "), "{told}");
    assert!(told.contains("MESSAGE_TOO_LARGE"), "{told}");
}

#[test]
fn a_file_from_windows_is_sent_as_it_is_and_that_is_said_once() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let address = &server.kafka;
    must(&format!("topic create t -p 1 -b {address}"), "");
    let output = run(&format!("produce t -b {address}"), "one\r\ntwo\r\n");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && told.matches("CR LF").count() == 1, "{told}");
    let read = run(&format!("consume t --from beginning --until-end -b {address}"), "");
    assert_eq!(String::from_utf8(read.stdout).unwrap(), "one\r\ntwo\r\n");
}

#[test]
fn a_partition_that_is_not_there_is_told_at_once_and_not_after_the_timeout() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let address = &server.kafka;
    must(&format!("topic create t -p 2 -b {address}"), "");
    let began = Instant::now();
    let output = run(&format!("produce t -p 99 --timeout 60 -b {address}"), "x\n");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("t has 2 partitions, 0 to 1: there is no 99"), "{told}");
    assert!(began.elapsed() < Duration::from_secs(30));
}

fn text(output: Output) -> (String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

#[test]
fn topics_are_listed_with_their_size_and_what_is_kept_and_internal_ones_are_only_counted() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let address = &server.kafka;
    let (told, hint) = text(run(&format!("topic list -b {address}"), ""));
    assert_eq!(told, "");
    assert!(hint.contains("levada topic create NAME"), "{hint}");
    must(
        &format!(
            "topic create orders -p 3 --set retention.ms=5400000 --set retention.bytes=1048576 -b {address}"
        ),
        "",
    );
    must(&format!("topic create state -p 1 --set cleanup.policy=compact -b {address}"), "");
    must(&format!("topic create kept -p 1 --set retention.ms=-1 -b {address}"), "");
    must(&format!("topic create lv.categories -p 1 -b {address}"), "");
    must(&format!("produce orders -p 0 -b {address}"), &"x".repeat(2000));
    must(&format!("group reset g --topic orders --to end --create -b {address}"), "");
    let (told, hint) = text(run(&format!("topic list -b {address}"), ""));
    let words =
        |line: &str| line.split("  ").map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect();
    let lines: Vec<Vec<String>> = told.lines().map(words).collect();
    assert_eq!(lines[0], ["topic", "partitions", "size", "retention", "policy"]);
    assert_eq!(lines[1], ["kept", "1", "0 B", "for ever", "delete"]);
    assert_eq!((&*lines[2][0], &*lines[2][1]), ("orders", "3"));
    assert_eq!((&*lines[2][2], &*lines[2][3]), ("2.0 KiB", "90 minutes, 1.0 MiB each"));
    assert_eq!(lines[3], ["state", "1", "0 B", "-", "compact"]);
    assert_eq!(lines.len(), 4, "{told}");
    assert_eq!(hint, "levada: 2 internal topics are not shown; --internal shows them\n");
    let (told, hint) = text(run(&format!("topic list --internal --format json -b {address}"), ""));
    let topics: Vec<serde_json::Value> =
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = topics.iter().map(|topic| topic["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["__consumer_offsets", "kept", "lv.categories", "orders", "state"]);
    assert_eq!(hint, "");
    let orders = &topics[3];
    assert_eq!((&orders["retention_ms"], &orders["retention_bytes"]), (&5_400_000.into(), &1_048_576.into()));
    assert!(orders["bytes"].as_i64().unwrap() > 2000 && orders["internal"] == false, "{orders}");
    assert_eq!(topics[2]["internal"], true);
}

#[test]
fn without_a_terminal_a_topic_is_deleted_only_with_yes() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let address = &server.kafka;
    must(&format!("topic create a b -p 1 -b {address}"), "");
    let output = run(&format!("topic delete a b -b {address}"), "y\n");
    assert!(!output.status.success());
    let (told, complaint) = text(output);
    assert_eq!(told, "");
    assert!(complaint.contains("delete a and b") && complaint.contains("--yes"), "{complaint}");
    must(&format!("topic describe a b -b {address}"), "");
    let (told, _) = text(run(&format!("topic delete a b --yes -b {address}"), ""));
    assert_eq!(told, "deleted a\ndeleted b\n");
}

#[test]
fn it_says_its_version_and_carries_its_manual() {
    let (told, _) = text(run("version", ""));
    assert_eq!(told, format!("levada {}\n", env!("CARGO_PKG_VERSION")));
    let docs = [
        ("events", "# The event store"),
        ("operations", "# Operations"),
        ("damage", "# When the disk damages data"),
        ("configuration", "# Configuration"),
        ("kafka", "# "),
        ("glossary", "# "),
    ];
    for (page, title) in docs {
        let (told, _) = text(run(&format!("docs {page}"), ""));
        assert!(told.starts_with(title), "{page}: {}", told.lines().next().unwrap());
    }
}
