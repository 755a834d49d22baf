//! What is damaged on the disk is told by name, the rest is served, and a repair makes it writable again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use wire::ErrorCode;

use crate::client::{Client, records};
use crate::server::{Server, levada};

const NOBODY: (i64, i16) = (-1, -1);

/// Runs a command on the data; what it wrote, and whether it succeeded.
fn run(command: &[&str], data: &Path) -> (String, bool) {
    let Output { status, stdout, stderr } =
        levada(&[command, &["--data-dir", data.to_str().unwrap()]].concat());
    let text = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (text, status.success())
}

fn create_topic(server: &Server, arguments: &[&str]) {
    let output = levada(&[&["topic", "create", "--bootstrap", &server.kafka], arguments].concat());
    assert!(output.status.success(), "{output:?}");
}

/// Produces records one by one, each in a batch of its own.
fn produce(client: &mut Client, topic: &str, partition: i32, values: impl Iterator<Item = String>) {
    for value in values {
        let answer = client.produce((topic, partition), (NOBODY, -1), &[value]).unwrap();
        assert_eq!(answer.error_code, 0);
    }
}

fn produce_error(client: &mut Client, topic: &str) -> i16 {
    client.produce((topic, 0), (NOBODY, -1), &["new".to_string()]).unwrap().error_code
}

/// Changes a bit of the first byte of `value` in the one file of these that holds it.
fn flip(folder: &Path, extension: &str, value: &[u8]) {
    for path in files(folder, extension) {
        let mut bytes = fs::read(&path).unwrap();
        if let Some(position) = bytes.windows(value.len()).position(|window| window == value) {
            bytes[position] ^= 1;
            fs::write(&path, bytes).unwrap();
            return;
        }
    }
    panic!("nothing to damage in {}", folder.display());
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    files
}

/// Everything below a folder.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            all.extend(contents(&entry));
        } else {
            all.push((entry.clone(), fs::read(&entry).unwrap()));
        }
    }
    all.sort();
    all
}

/// What a report says of a partition, line by line.
fn said_of<'a>(report: &'a str, partition: &str) -> Vec<&'a str> {
    let title = format!("partition {partition}:");
    let mut lines = report.lines().skip_while(|line| !line.starts_with(&title)).skip(1);
    let mut said = Vec::new();
    while let Some(line) = lines.next().and_then(|line| line.strip_prefix("  ")) {
        said.push(line);
    }
    said
}

fn numbered(name: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("{name}-{number}"))
}

#[test]
fn damaged_records_are_told_by_name_the_rest_is_served_and_a_repair_makes_it_writable() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let server = Server::start(data, &[]);
    create_topic(
        &server,
        &["rolled", "gone", "logged", "whole", "-p", "1", "--set", "segment.bytes=1048576"],
    );
    let mut client = Client::connect(&server.kafka).unwrap();
    let ids = ["rolled", "gone"].map(|topic| client.topic_id(topic).unwrap());
    let [rolled, gone] = ids.map(|id| data.join(format!("partitions/{id}-0")));
    let logged = client.topic_id("logged").unwrap();
    produce(&mut client, "rolled", 0, numbered("rolled", 10));
    produce(&mut client, "whole", 0, numbered("whole", 3));
    // Three segments of one record.
    produce(&mut client, "gone", 0, (0..3).map(|number| format!("gone-{number}-{}", "x".repeat(600_000))));
    server.stop();
    let server = Server::start(data, &[]);
    let mut client = Client::connect(&server.kafka).unwrap();
    produce(&mut client, "logged", 0, numbered("logged", 10));
    server.kill();
    assert!(run(&["verify"], data).1, "nothing is damaged yet");

    flip(&rolled, "log", b"rolled-4");
    let segments = files(&gone, "log");
    assert_eq!(segments.len(), 3);
    fs::remove_file(&segments[1]).unwrap();
    flip(&data.join("shard-0"), "wal", b"logged-6");

    let before = contents(data);
    let (report, is_sound) = run(&["verify"], data);
    assert!(!is_sound);
    for (partition, range) in [("rolled-0", "offset 4"), ("gone-0", "offset 1"), ("logged-0", "offset 6")] {
        let said = said_of(&report, partition);
        assert!(said[0].starts_with(&format!("DAMAGED: {range} lost")), "{partition}: {said:?}");
        assert_eq!(said.len(), 1, "{partition}: {said:?}");
    }
    assert!(said_of(&report, "logged-0")[0].contains(&logged), "the folder is named by the topic's id");
    assert_eq!(said_of(&report, "whole-0"), Vec::<&str>::new());
    assert!(report.contains("levada repair --data-dir"), "what to do");
    let (report, is_done) = run(&["repair"], data);
    assert!(!is_done && said_of(&report, "rolled-0").len() == 1);
    assert!(report.contains("nothing was changed") && report.contains("--accept-loss"));
    assert!(contents(data) == before, "neither of them changes anything");

    let server = Server::start(data, &[]);
    let mut client = Client::connect(&server.kafka).unwrap();
    for (topic, count, lost) in [("rolled", 10, 4), ("gone", 3, 1), ("logged", 10, 6)] {
        let mut offset = 0;
        let mut found = Vec::new();
        while offset < count {
            let answer = client.fetch(topic, 0, offset).unwrap();
            if offset == lost {
                assert_eq!(answer.error_code, i16::from(ErrorCode::CorruptMessage), "{topic} {offset}");
                offset += 1;
                continue;
            }
            assert_eq!(answer.error_code, 0, "{topic} {offset}");
            let read = records(&answer);
            offset = read.last().unwrap().0 + 1;
            found.extend(read);
        }
        let offsets: Vec<i64> = found.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, (0..count).filter(|offset| *offset != lost).collect::<Vec<_>>(), "{topic}");
        assert!(found.iter().all(|(offset, value)| value.starts_with(&format!("{topic}-{offset}"))));
        assert_eq!(produce_error(&mut client, topic), i16::from(ErrorCode::KafkaStorageError), "{topic}");
    }
    assert_eq!(produce_error(&mut client, "whole"), 0);
    server.stop();

    let (report, is_done) = run(&["repair", "--accept-loss"], data);
    assert!(is_done);
    for what in ["rolled-0: given up offset 4", "gone-0: given up offset 1", "logged-0: given up offset 6"] {
        assert!(report.contains(what), "{what}");
    }
    let (report, is_sound) = run(&["verify"], data);
    assert!(is_sound && !report.contains("DAMAGED"));
    assert_eq!(said_of(&report, "logged-0"), ["given up by an earlier repair: offset 6"]);
    for stop in [Server::stop, Server::kill] {
        let server = Server::start(data, &[]);
        let mut client = Client::connect(&server.kafka).unwrap();
        for (topic, count, lost) in [("rolled", 10, 4), ("gone", 3, 1), ("logged", 10, 6)] {
            assert_eq!(produce_error(&mut client, topic), 0, "{topic}");
            let found = client.read_all(topic, 0).unwrap();
            let offsets: Vec<i64> = found.iter().map(|(offset, _)| *offset).take(count as usize).collect();
            assert_eq!(offsets, (0..=count).filter(|offset| *offset != lost).collect::<Vec<_>>(), "{topic}");
        }
        stop(server);
    }
    assert!(run(&["verify"], data).1);
}

#[test]
fn after_a_repair_a_reader_gets_to_the_end_where_the_newest_records_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let server = Server::start(data, &[]);
    create_topic(&server, &["cut", "-p", "1", "--set", "segment.bytes=1048576"]);
    let mut client = Client::connect(&server.kafka).unwrap();
    let id = client.topic_id("cut").unwrap();
    // Three segments of one record.
    produce(&mut client, "cut", 0, (0..3).map(|number| format!("cut-{number}-{}", "x".repeat(600_000))));
    server.stop();
    let segments = files(&data.join(format!("partitions/{id}-0")), "log");
    fs::remove_file(segments.last().unwrap()).unwrap();
    assert!(run(&["repair", "--accept-loss"], data).1);
    let server = Server::start(data, &[]);
    for (from, count) in [("beginning", 2), ("2", 0)] {
        let arguments = ["consume", "cut", "--from", from, "--until-end", "--bootstrap", &server.kafka];
        let output = levada(&arguments);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), count, "from {from}");
    }
    server.stop();
}

#[test]
fn the_folder_is_found_as_the_broker_finds_it_and_a_report_fits_on_a_screen() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("its data");
    let server = Server::start(&data, &[]);
    create_topic(&server, &["orders", "-p", "1"]);
    create_topic(&server, &["empty", "-p", "50"]);
    let mut client = Client::connect(&server.kafka).unwrap();
    let id = client.topic_id("orders").unwrap();
    produce(&mut client, "orders", 0, numbered("orders", 10));
    server.stop();
    fs::write(folder.path().join("levada.toml"), "\"log.dirs\" = \"its data\"\n").unwrap();
    fs::write(folder.path().join("other.toml"), "\"log.dirs\" = \"its data\"\n").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let say = |directory: &Path, variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_levada"));
        let output =
            command.args(arguments).envs(variables.iter().copied()).current_dir(directory).output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (text, output.status.success())
    };
    let path = data.to_str().unwrap();
    let config = folder.path().join("other.toml");
    let ways: [(&Path, &[(&str, &str)], &[&str]); 4] = [
        (folder.path(), &[], &["verify"]),
        (folder.path(), &[("LEVADA_CONFIG", config.to_str().unwrap())], &["repair"]),
        (folder.path(), &[], &["verify", "--config", config.to_str().unwrap()]),
        (elsewhere.path(), &[("LEVADA_LOG_DIRS", path)], &["verify"]),
    ];
    for (directory, variables, arguments) in ways {
        let (report, is_sound) = say(directory, variables, arguments);
        assert!(is_sound, "{arguments:?}: {report}");
        assert_eq!(report.lines().next().unwrap(), format!("data directory {path}"), "{arguments:?}");
    }

    let (report, _) = run(&["verify"], &data);
    assert!(report.lines().count() < 10, "{report}");
    assert!(
        report.contains("52 partitions are whole and not shown here; `levada verify --all` shows every one"),
        "{report}"
    );
    assert!(!report.contains("\npartition ") && !report.contains("write-ahead log"), "{report}");
    // Of the records of the metadata nothing else is said here.
    assert!(report.lines().last().unwrap().starts_with("52 partitions, "), "{report}");
    assert!(report.ends_with(" records, no damage\n"), "{report}");
    let (report, _) = run(&["verify", "--all"], &data);
    assert!(report.contains("partition empty-49: empty at offset 0"), "{report}");
    assert!(
        report.contains("write-ahead log 0: closed in order") && !report.contains("not shown"),
        "{report}"
    );

    flip(&data.join(format!("partitions/{id}-0")), "log", b"orders-4");
    let (report, is_sound) = run(&["verify"], &data);
    assert!(!is_sound && report.contains(" records, DAMAGED: orders-0\n"), "{report}");
    assert_eq!(said_of(&report, "orders-0").len(), 1, "{report}");
    assert_eq!(report.matches("\npartition ").count(), 1, "only what needs attention: {report}");

    let typo = elsewhere.path().join("typo");
    for command in [&["verify"][..], &["repair"], &["repair", "--accept-loss"]] {
        let (said, is_done) = run(command, &typo);
        assert!(!is_done && said.contains("not a storage directory"), "{said}");
        assert!(!typo.exists(), "{command:?}");
    }
}

#[test]
fn a_folder_that_does_not_say_whose_it_is_gets_a_new_cluster_id_only_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let server = Server::start(data, &[]);
    create_topic(&server, &["kept", "-p", "1"]);
    let mut client = Client::connect(&server.kafka).unwrap();
    produce(&mut client, "kept", 0, numbered("kept", 3));
    server.stop();
    fs::remove_file(data.join("levada.properties")).unwrap();
    for said in [Server::refusal(data), run(&["verify"], data).0, run(&["repair"], data).0] {
        assert!(said.contains("it is missing although there is data"), "{said}");
        assert!(said.contains("--accept-loss"), "{said}");
    }
    assert!(!data.join("levada.properties").exists());
    let (said, is_done) = run(&["repair", "--accept-loss"], data);
    assert!(is_done && said.contains("the cluster has a new id"), "{said}");
    let server = Server::start(data, &[]);
    let mut client = Client::connect(&server.kafka).unwrap();
    assert_eq!(client.read_all("kept", 0).unwrap().len(), 3);
    server.stop();
}

#[test]
fn with_damaged_metadata_it_says_what_to_do_and_a_repair_keeps_every_topics_records() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let server = Server::start(data, &[]);
    create_topic(&server, &["kept", "-p", "1"]);
    create_topic(&server, &["lost", "-p", "2", "--set", "retention.ms=-1"]);
    let mut client = Client::connect(&server.kafka).unwrap();
    let id = client.topic_id("lost").unwrap();
    produce(&mut client, "kept", 0, numbered("kept", 3));
    produce(&mut client, "lost", 1, numbered("lost", 3));
    server.stop();
    let metadata = data.join("partitions/AAAAAAAAAAAAAAAAAAAAAQ-0");
    flip(&metadata, "log", b"lost");

    let recovered = format!("recovered-{id}");
    let (report, is_sound) = run(&["verify"], data);
    assert!(!is_sound && report.contains("the broker does not start"));
    assert!(said_of(&report, "__cluster_metadata-0")[0].starts_with("DAMAGED: offsets 2 to 5 lost"));
    assert_eq!(said_of(&report, "kept-0"), Vec::<&str>::new());
    assert!(said_of(&report, &format!("{id}-1"))[0].ends_with(&format!("serve it as {recovered}")));
    let refusal = Server::refusal(data);
    assert!(refusal.contains("offsets 2 to 5 of __cluster_metadata cannot be read"), "{refusal}");
    assert!(refusal.contains(&format!("levada repair --data-dir {} --accept-loss", data.display())));

    let (report, is_done) = run(&["repair", "--accept-loss"], data);
    assert!(is_done && report.contains("partition __cluster_metadata-0: given up offsets 2 to 5"));
    assert!(run(&["verify"], data).1);
    for stop in [Server::stop, Server::kill] {
        let server = Server::start(data, &[]);
        let mut client = Client::connect(&server.kafka).unwrap();
        for (topic, partition, values) in [("kept", 0, "kept"), (&recovered, 1, "lost")] {
            let found: Vec<String> =
                client.read_all(topic, partition).unwrap().into_iter().map(|(_, value)| value).collect();
            assert_eq!(found, numbered(values, 3).collect::<Vec<_>>());
        }
        create_topic(&server, &["new", "--if-not-exists"]);
        assert_eq!(produce_error(&mut client, &recovered), 0);
        stop(server);
    }
    let (report, is_sound) = run(&["verify", "--all"], data);
    assert!(is_sound && report.contains(&format!("partition {recovered}-1:")));
}

#[test]
fn without_any_metadata_partitions_are_named_by_id_and_come_back_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let server = Server::start(data, &[]);
    create_topic(&server, &["lost", "-p", "1"]);
    let mut client = Client::connect(&server.kafka).unwrap();
    let id = client.topic_id("lost").unwrap();
    produce(&mut client, "lost", 0, numbered("lost", 3));
    server.stop();
    for path in files(&data.join("partitions/AAAAAAAAAAAAAAAAAAAAAQ-0"), "log") {
        fs::remove_file(path).unwrap();
    }
    let recovered = format!("recovered-{id}");
    let (report, is_sound) = run(&["verify"], data);
    assert!(!is_sound);
    assert!(said_of(&report, &format!("{id}-0"))[0].ends_with(&format!("serve it as {recovered}")));
    assert!(Server::refusal(data).contains("cannot start: the cluster metadata is damaged"));
    assert!(run(&["repair", "--accept-loss"], data).1);
    for stop in [Server::stop, Server::kill] {
        let server = Server::start(data, &[]);
        let mut client = Client::connect(&server.kafka).unwrap();
        assert_eq!(client.read_all(&recovered, 0).unwrap().len(), 3);
        stop(server);
    }

    // The checkpoint as well, and then the write-ahead log with it: not even the partitions are known before the
    // repair.
    let shard = data.join("shard-0");
    let flip_in_checkpoint = || {
        let mut bytes = fs::read(shard.join("checkpoint")).unwrap();
        bytes[40] ^= 1;
        fs::write(shard.join("checkpoint"), bytes).unwrap();
    };
    let lose_the_shard = || fs::remove_dir_all(&shard).unwrap();
    for harm in [&flip_in_checkpoint as &dyn Fn(), &lose_the_shard] {
        harm();
        for command in [&["verify"][..], &["repair"]] {
            let (said, is_sound) = run(command, data);
            assert!(!is_sound && said.contains("--accept-loss"), "{said}");
        }
        assert!(Server::refusal(data).contains("--accept-loss"));
        assert!(run(&["repair", "--accept-loss"], data).1);
        assert!(run(&["verify"], data).1);
        let server = Server::start(data, &[]);
        let mut client = Client::connect(&server.kafka).unwrap();
        assert_eq!(client.read_all(&recovered, 0).unwrap().len(), 3);
        server.stop();
    }
}
