//! The golden bytes of `wire`: what Kafka's own classes write.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};

use crate::schemas::{self, schema};

/// Runs the Java program and fails unless its output is the file in the repository, byte for byte.
pub fn check() -> Result<()> {
    let made = make()?;
    let kept = kept()?;
    let differences: Vec<String> = made
        .lines()
        .zip(kept.lines())
        .filter(|(made, kept)| made != kept)
        .map(|(made, kept)| format!("made {made}\nkept {kept}"))
        .collect();
    ensure!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    ensure!(made == kept, "{} lines made, {} kept", made.lines().count(), kept.lines().count());
    println!("{} lines: the same as Kafka writes", made.lines().count());
    Ok(())
}

/// The lines of the file in the repository.
pub fn kept() -> Result<String> {
    let mut kept = String::new();
    GzDecoder::new(std::fs::File::open(file())?).read_to_string(&mut kept)?;
    Ok(kept)
}

/// Runs the Java program and keeps its output.
pub fn write() -> Result<()> {
    let made = make()?;
    let mut gzip = GzBuilder::new().mtime(0).write(std::fs::File::create(file())?, Compression::best());
    gzip.write_all(made.as_bytes())?;
    gzip.finish()?;
    println!("{} lines", made.lines().count());
    Ok(())
}

/// The coordinators' records come with an older release than the APIs, and need its clients.
fn make() -> Result<String> {
    let (mut apis, records): (Vec<_>, Vec<_>) =
        classes().into_iter().partition(|(_, class)| class.contains(MESSAGES));
    for class in ["org.apache.kafka.common.protocol.Errors", "org.apache.kafka.common.message.ApiMessageType"]
    {
        apis.push(("facts".to_string(), class.to_string()));
    }
    let mut made = run(&[schemas::CLIENTS], &apis)?;
    made += &run(
        &[OLDER_CLIENTS, OLDER_COMMON, schemas::GROUPS, schemas::TRANSACTIONS, schemas::METADATA],
        &records,
    )?;
    Ok(made)
}

const OLDER_CLIENTS: &str = "org.apache.kafka:kafka-clients:4.3.1";
const OLDER_COMMON: &str = "org.apache.kafka:kafka-server-common:4.3.1";
const MESSAGES: &str = "org.apache.kafka.common.message";

fn run(artifacts: &[&str], classes: &[(String, String)]) -> Result<String> {
    let mut jars =
        vec![schemas::jar("org.slf4j:slf4j-api:1.7.36")?, schemas::jar("org.slf4j:slf4j-nop:1.7.36")?];
    for artifact in artifacts {
        jars.push(schemas::jar(artifact)?);
    }
    let mut java = Command::new("java")
        .arg("-cp")
        .arg(std::env::join_paths(jars)?)
        .arg(folder().join("Goldens.java"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("java")?;
    let mut input = java.stdin.take().context("java's input")?;
    for (name, class) in classes {
        writeln!(input, "{name} {class}")?;
    }
    drop(input);
    let output = java.wait_with_output()?;
    ensure!(output.status.success(), "the Java program: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Kafka's class for each message of our schemas.
fn classes() -> Vec<(String, String)> {
    let mut classes = vec![];
    for schema in schema::load(&schemas::directory()) {
        let (package, suffix) = match schema.module.as_str() {
            "group_records" => ("org.apache.kafka.coordinator.group.generated", ""),
            "transaction_records" => ("org.apache.kafka.coordinator.transaction.generated", ""),
            "metadata_records" => ("org.apache.kafka.common.metadata", ""),
            "consumer_protocol" | "control_records" => (MESSAGES, ""),
            _ => (MESSAGES, "Data"),
        };
        for message in &schema.messages {
            classes.push((message.name.clone(), format!("{package}.{}{suffix}", message.name)));
        }
    }
    classes
}

/// Where the goldens are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/wire/golden")
}

fn file() -> PathBuf {
    folder().join("golden.txt.gz")
}
