//! The fuzzer's corpus, which the repository keeps as one file of hexadecimal lines.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};

use crate::golden;
use crate::schemas::{self, schema};

/// Fills the fuzzer's folder with the kept inputs and with one made of every golden.
pub fn unpack() -> Result<()> {
    let folder = folder();
    std::fs::create_dir_all(&folder)?;
    let mut inputs: BTreeSet<Vec<u8>> = seeds()?.into_iter().collect();
    if file().is_file() {
        let mut kept = String::new();
        GzDecoder::new(std::fs::File::open(file())?).read_to_string(&mut kept)?;
        for line in kept.lines() {
            inputs.insert(bytes(line)?);
        }
    }
    for (i, input) in inputs.iter().enumerate() {
        std::fs::write(folder.join(format!("kept-{i:05}")), input)?;
    }
    println!("{} inputs", inputs.len());
    Ok(())
}

/// Keeps what is in the fuzzer's folder, which should have been minimised.
pub fn pack() -> Result<()> {
    let mut inputs = BTreeSet::new();
    for entry in std::fs::read_dir(folder()).context("no corpus: run the fuzzer first")? {
        inputs.insert(std::fs::read(entry?.path())?);
    }
    let mut gzip = GzBuilder::new().mtime(0).write(std::fs::File::create(file())?, Compression::best());
    for input in &inputs {
        writeln!(gzip, "{}", hex(input))?;
    }
    gzip.finish()?;
    println!("{} inputs, {} bytes packed", inputs.len(), file().metadata()?.len());
    Ok(())
}

/// The goldens in the form that `any_bytes.rs` describes, and the newest full requests as whole frames.
fn seeds() -> Result<Vec<Vec<u8>>> {
    let schemas = schema::load(&schemas::directory());
    let messages: Vec<_> = schemas.iter().flat_map(|s| s.messages.iter().map(move |m| (s, m))).collect();
    let mut seeds = vec![];
    for line in golden::kept()?.lines() {
        let [name, version, variant, body] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
        if !["full", "null", "empty", "plain"].contains(&variant) {
            continue;
        }
        let (version, body) = (version.parse::<i16>()?, bytes(body)?);
        let index = messages.iter().position(|(_, m)| m.name == name).with_context(|| name.to_string())?;
        let (schema, message) = messages[index];
        seeds.push([&[index as u8, (version - message.versions.low) as u8], &body[..]].concat());
        if let (schema::Role::Request, Some((key, _)), "full") = (message.role, &schema.api, variant) {
            let mut frame = vec![u8::MAX, 0];
            frame.extend(key.to_be_bytes());
            frame.extend(version.to_be_bytes());
            frame.extend([0, 0, 0, 1, 0xff, 0xff]);
            frame.extend(message.flexible.contains(version).then_some(0));
            seeds.push([frame, body].concat());
        }
    }
    Ok(seeds)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Result<Vec<u8>> {
    (0..hex.len() / 2).map(|i| Ok(u8::from_str_radix(&hex[2 * i..2 * i + 2], 16)?)).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/decode")
}

fn file() -> PathBuf {
    golden::folder().join("corpus.txt.gz")
}
