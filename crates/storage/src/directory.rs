//! What lies where in the data directory, and what it says about itself.
//!
//! ```text
//! lock                      held while a process uses the directory
//! levada.properties         format version, cluster id, directory id
//! shard-0/                  one shard
//!     checkpoint            state as of some group (see `checkpoint`)
//!     reserve               room set aside for writing a checkpoint on a full disk
//!     00.wal 01.wal …       the write-ahead log (see `wal`)
//! partitions/<topic id>-<partition index>/   segments (see `segment`)
//! ```

use std::io;
use std::path::{Path, PathBuf};

use env::{Disk, DiskLock, Random, read_file, replace_file};
use model::{PartitionId, TopicId};

use crate::storage::OpenError;

pub(crate) const PARTITIONS: &str = "partitions";
const LOCK: &str = "lock";
const PROPERTIES: &str = "levada.properties";
/// The format this code writes and reads.
pub(crate) const FORMAT: u32 = 1;

/// The directory's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub cluster_id: String,
    pub directory_id: String,
}

pub(crate) fn shard_dir(data_dir: &Path, shard: u32) -> PathBuf {
    data_dir.join(format!("shard-{shard}"))
}

/// The shards there are, in order. The first is there as soon as anything is, so it is among them also when it is lost.
pub(crate) fn shards(disk: &dyn Disk, data_dir: &Path) -> io::Result<Vec<u32>> {
    let mut shards: Vec<u32> = disk
        .list(data_dir)?
        .iter()
        .filter_map(|entry| entry.name.strip_prefix("shard-")?.parse().ok())
        .chain([0])
        .collect();
    shards.sort_unstable();
    shards.dedup();
    Ok(shards)
}

/// Whether there are partitions' folders.
pub(crate) fn has_partitions(disk: &dyn Disk, data_dir: &Path) -> io::Result<bool> {
    match disk.list(&data_dir.join(PARTITIONS)) {
        Ok(entries) => Ok(entries.iter().any(|entry| parse_partition_dir(&entry.name).is_some())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Creates the directory if need be, and locks it.
pub(crate) fn lock(disk: &dyn Disk, data_dir: &Path) -> Result<DiskLock, OpenError> {
    let doing = |what: &str| format!("{what} {}", data_dir.display());
    disk.create_dir(data_dir).map_err(|source| OpenError::Io { doing: doing("creating"), source })?;
    disk.lock(&data_dir.join(LOCK)).map_err(|source| {
        if source.kind() == io::ErrorKind::WouldBlock {
            OpenError::Locked(data_dir.display().to_string())
        } else {
            OpenError::Io { doing: doing("locking"), source }
        }
    })
}

/// Reads who the directory is, or makes it somebody.
pub(crate) fn identify(disk: &dyn Disk, random: &dyn Random, data_dir: &Path) -> Result<Identity, OpenError> {
    if let Some(identity) = read_identity(disk, data_dir)? {
        return Ok(identity);
    }
    let identity = Identity { cluster_id: fresh_id(random), directory_id: fresh_id(random) };
    let text = format!(
        "# Identity of a Levada data directory. Do not edit.\nformat={FORMAT}\ncluster.id={}\ndirectory.id={}\n",
        identity.cluster_id, identity.directory_id
    );
    replace_file(disk, &data_dir.join(PROPERTIES), text.as_bytes())
        .map_err(|source| OpenError::Io { doing: format!("writing {PROPERTIES}"), source })?;
    Ok(identity)
}

/// None when the directory is new.
pub(crate) fn read_identity(disk: &dyn Disk, data_dir: &Path) -> Result<Option<Identity>, OpenError> {
    const BYTES_MAX: usize = 64 * 1024;
    let path = data_dir.join(PROPERTIES);
    let unreadable =
        |reason: &str| OpenError::Unreadable { path: path.display().to_string(), reason: reason.to_owned() };
    let bytes = match read_file(disk, &path, BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(OpenError::Io { doing: format!("reading {}", path.display()), source }),
    };
    let text = String::from_utf8(bytes).map_err(|_| unreadable("not text"))?;
    let value = |name: &str| {
        let mut pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.trim().to_owned())
    };
    let format: u32 = value("format")
        .and_then(|format| format.parse().ok())
        .ok_or_else(|| unreadable("no format version"))?;
    if format > FORMAT {
        return Err(OpenError::Newer { path: path.display().to_string(), found: format, known: FORMAT });
    }
    Ok(Some(Identity {
        cluster_id: value("cluster.id").ok_or_else(|| unreadable("no cluster.id"))?,
        directory_id: value("directory.id").ok_or_else(|| unreadable("no directory.id"))?,
    }))
}

/// A random UUID (version 4) in Kafka's spelling. Never one that looks like a command-line option.
fn fresh_id(random: &dyn Random) -> String {
    loop {
        let mut bytes = [0; 16];
        random.fill(&mut bytes);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let id = TopicId(bytes).to_string();
        if !id.starts_with('-') {
            return id;
        }
    }
}

/// The partition whose directory has this name.
pub(crate) fn parse_partition_dir(name: &str) -> Option<PartitionId> {
    let (topic, index) = name.split_at_checked(22)?;
    let index = index.strip_prefix('-')?;
    let id = PartitionId { topic: parse_topic_id(topic)?, index: index.parse().ok()? };
    // Only what we would write ourselves: no other spelling of the same.
    (id.to_string() == name).then_some(id)
}

fn parse_topic_id(text: &str) -> Option<TopicId> {
    let mut bits: u128 = 0;
    for (index, character) in text.bytes().enumerate() {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        // 22 characters hold 132 bits; the four lowest of the last are always zero.
        bits = if index < 21 { bits << 6 | u128::from(value) } else { bits << 2 | u128::from(value >> 4) };
    }
    Some(TopicId(bits.to_be_bytes()))
}
