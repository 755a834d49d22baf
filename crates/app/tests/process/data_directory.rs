//! Where the data lie: what is begun is said, and what is not meant is not begun.

use std::fs;

use crate::server::{Server, levada, said};

#[test]
fn a_new_data_directory_is_told_once_and_a_parent_that_is_not_there_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let log = said(&data, &[]);
    assert!(log.contains("created a new data directory") && log.contains(data.to_str().unwrap()), "{log}");
    assert!(log.trim_end().lines().last().unwrap().contains("stopped in order"), "{log}");
    let log = said(&data, &[]);
    assert!(!log.contains("new data directory") && !log.contains("nothing was stored"), "{log}");

    // A disk that is not mounted, or a slip of the finger.
    let lost = folder.path().join("mnt/disk/levada");
    let refusal = Server::refusal(&lost);
    let parent = lost.parent().unwrap();
    assert!(refusal.contains(&format!("{} does not exist", parent.display())), "{refusal}");
    assert!(refusal.contains(&format!("mkdir -p {}", parent.display())), "{refusal}");
    assert!(!folder.path().join("mnt").exists(), "nothing was made");
    // What it says works.
    fs::create_dir_all(parent).unwrap();
    assert!(said(&lost, &[]).contains("created a new data directory"));

    let dangling = folder.path().join("dangling");
    std::os::unix::fs::symlink(folder.path().join("nowhere"), &dangling).unwrap();
    assert!(Server::refusal(&dangling).contains("a link to something that does not exist"));
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let refusal = Server::refusal(&file);
    assert!(refusal.contains("cannot be used") && refusal.contains("--data-dir"), "{refusal}");
}

#[test]
fn where_data_must_be_there_neither_a_new_nor_an_empty_directory_is_begun() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let start = || {
        let data = data.to_str().unwrap();
        let must = ["--set", "levada.data.dir.must.exist=true"];
        let doors = ["--kafka-addr", "127.0.0.1:0", "--http-addr", ""];
        let output = levada(&[&["serve", "--data-dir", data][..], &doors, &must].concat());
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let refusal = start();
    assert!(refusal.contains("does not exist") && refusal.contains("must.exist=false"), "{refusal}");
    assert!(!data.exists());
    fs::create_dir(&data).unwrap();
    fs::create_dir(data.join("lost+found")).unwrap();
    let refusal = start();
    assert!(refusal.contains("holds no data of Levada") && refusal.contains("must.exist=false"), "{refusal}");
    assert!(!data.join("levada.properties").exists());

    let log = said(&data, &["levada.data.dir.must.exist=false"]);
    assert!(log.contains("nothing was stored in the data directory before"), "{log}");
    said(&data, &["levada.data.dir.must.exist=true"]);
}

#[test]
fn a_second_one_in_the_same_folder_is_told_of_the_first_and_not_of_its_ports() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let data = folder.path().to_str().unwrap();
    let output = levada(&["serve", "--data-dir", data, "--kafka-addr", &server.kafka, "--http-addr", ""]);
    let refusal = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    let said = format!("a Levada serves the data directory {data} already (process ");
    assert!(refusal.contains(&said) && !refusal.contains("in use"), "{refusal}");
}

#[test]
fn both_doors_on_one_address_and_a_port_without_a_host_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for (kafka, http, said) in [
        ("127.0.0.1:47792", "127.0.0.1:47792", "on one address, 127.0.0.1:47792"),
        ("9092", "", "`9092` has no host; write HOST:PORT"),
    ] {
        let doors = ["--kafka-addr", kafka, "--http-addr", http];
        let output = levada(&[&["serve", "--data-dir", data.to_str().unwrap()][..], &doors].concat());
        let refusal = String::from_utf8(output.stderr).unwrap();
        assert!(refusal.contains(said), "{refusal}");
        assert!(!data.exists());
    }
}
