//! The keys of subjects: which there are, made when they are first needed, destroyed when a subject is erased.
//!
//! ```text
//! lv.keys   compacted; key: <hex SHA-256 of the subject>/<key id>
//!   value: JSON {format, keyId, wrapped}: the key, encrypted with the master key
//!   key: <hex SHA-256 of the subject>/erasing    value: the certificate of an erasure that is under way
//! ```
//!
//! Two instances may make keys of one subject at the same moment: both stay, each event says which one is its, and an
//! erasure destroys all. A key is in memory only while it is used.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use client::{Cluster, Position};
use env::{Clock, Random};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use tracing::warn;

use crate::sealing::{KEY_BYTES, Key};
use crate::table::{Options, Table, TableError};

const TOPIC: &str = "lv.keys";

/// Another number when the record's fields change their meaning.
const FORMAT: u32 = 1;

/// How long a destroyed key may stay in the topic: `max.compaction.lag.ms`.
pub const LAG_MS: i64 = 24 * 3600 * 1000;

/// `delete.retention.ms`, and `segment.ms`: only closed segments are compacted.
const HOUR_MS: i64 = 3600 * 1000;

/// The part of a record's key that stands for an erasure under way.
const ERASING: &str = "erasing";

#[derive(Clone)]
pub struct Keys {
    table: Table,
    random: Arc<dyn Random>,
    file: PathBuf,
    master: Arc<OnceCell<Key>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the master key {file} (levada.events.master.key.file): {why}")]
    Master { file: String, why: String },
    #[error(
        "the master key {file} (levada.events.master.key.file) is not the one with which the keys in lv.keys were \
             encrypted: give every instance the same file"
    )]
    OtherMaster { file: String },
    #[error("{0}")]
    Unavailable(String),
}

impl From<TableError> for KeyError {
    fn from(error: TableError) -> KeyError {
        KeyError::Unavailable(error.to_string())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    format: u32,
    key_id: String,
    wrapped: String,
}

/// The name of a subject where it is not to be read.
pub fn hashed(subject: &str) -> String {
    digest(&SHA256, subject.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Keys {
    pub async fn open(
        cluster: &Cluster,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        (dir, file): (PathBuf, PathBuf),
        replication_factor: i16,
    ) -> Result<Keys, TableError> {
        let configs = vec![
            ("max.compaction.lag.ms", LAG_MS.to_string()),
            ("delete.retention.ms", HOUR_MS.to_string()),
            ("segment.ms", HOUR_MS.to_string()),
        ];
        let options = Options { configs, ..Options::new(TOPIC, dir, replication_factor) };
        let table = Table::open(cluster, clock, options).await?;
        Ok(Keys { table, random, file, master: Arc::default() })
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    /// As fresh as what is known here.
    pub fn position(&self) -> Position {
        self.table.position()
    }

    /// A key of a subject to encrypt with, and its id: made where there is none.
    pub async fn current(
        &self,
        subject: &str,
        new_id: impl FnOnce() -> String,
    ) -> Result<(String, Key), KeyError> {
        // Others may have destroyed it a moment ago.
        self.table.catch_up().await?;
        let master = self.master().await?;
        let hash = hashed(subject);
        if let Some((id, wrapped)) = self.of(&hash).await?.pop() {
            return Ok((id.clone(), self.unwrap(master, &hash, &id, &wrapped)?));
        }
        let (id, mut bytes) = (new_id(), [0; KEY_BYTES]);
        self.random.fill(&mut bytes);
        let wrapped = wrap(master, &*self.random, &hash, &id, &bytes);
        self.table.put(&format!("{hash}/{id}"), Some(&wrapped)).await?;
        Ok((id, Key::new(&bytes)))
    }

    /// A subject's key by its id. None: it was destroyed.
    pub async fn find(&self, subject: &str, id: &str) -> Result<Option<Key>, KeyError> {
        let hash = hashed(subject);
        let name = format!("{hash}/{id}");
        let mut found = self.table.get(&name).await?;
        if found.is_none() {
            // Or it is so new that it is not read yet.
            self.table.catch_up().await?;
            found = self.table.get(&name).await?;
        }
        let Some(wrapped) = found else { return Ok(None) };
        Ok(Some(self.unwrap(self.master().await?, &hash, id, &wrapped)?))
    }

    /// The ids of a subject's keys.
    pub async fn ids(&self, subject: &str) -> Result<Vec<String>, KeyError> {
        self.table.catch_up().await?;
        Ok(self.of(&hashed(subject)).await?.into_iter().map(|(id, _)| id).collect())
    }

    /// Destroys keys, and keeps what is to be told about it until that is told.
    pub async fn destroy(
        &self,
        subject: &str,
        ids: &[String],
        certificate: &[u8],
    ) -> Result<Position, KeyError> {
        let hash = hashed(subject);
        let names: Vec<String> = ids.iter().map(|id| format!("{hash}/{id}")).collect();
        let erasing = format!("{hash}/{ERASING}");
        let mut entries: Vec<(&str, Option<&[u8]>)> = vec![(&erasing, Some(certificate))];
        entries.extend(names.iter().map(|name| (name.as_str(), None)));
        Ok(self.table.put_all(&entries).await?)
    }

    /// The certificate of an erasure that is not told yet.
    pub async fn untold(&self, subject: &str) -> Result<Option<Bytes>, KeyError> {
        Ok(self.table.get(&format!("{}/{ERASING}", hashed(subject))).await?)
    }

    pub async fn told(&self, subject: &str) -> Result<Position, KeyError> {
        Ok(self.table.put(&format!("{}/{ERASING}", hashed(subject)), None).await?)
    }

    async fn of(&self, hash: &str) -> Result<Vec<(String, Bytes)>, KeyError> {
        let prefix = format!("{hash}/");
        let found = self.table.scan(&prefix).await?.into_iter();
        let found = found.map(|(name, value)| (name[prefix.len()..].to_owned(), value));
        Ok(found.filter(|(id, _)| id != ERASING).collect())
    }

    fn unwrap(&self, master: &Key, hash: &str, id: &str, kept: &[u8]) -> Result<Key, KeyError> {
        let other = || KeyError::OtherMaster { file: self.file.display().to_string() };
        unwrap(master, hash, id, kept).ok_or_else(other)
    }

    /// The master key, made where nothing was encrypted yet.
    async fn master(&self) -> Result<&Key, KeyError> {
        let loading = self.master.get_or_try_init(async || {
            let kept = self.table.scan("").await?;
            // What is no key says nothing about the master key.
            let wrapped = kept.into_iter().find(|(name, value)| {
                !name.ends_with(&format!("/{ERASING}")) && serde_json::from_slice::<Kept>(value).is_ok()
            });
            let mut fresh = [0; KEY_BYTES];
            self.random.fill(&mut fresh);
            let (file, is_new) = (self.file.clone(), wrapped.is_none());
            let read = env::run_blocking(move || read_master(&file, is_new.then_some(fresh))).await;
            let master =
                read.map_err(|why| KeyError::Master { file: self.file.display().to_string(), why })?;
            let master = Key::new(&master);
            if let Some((name, wrapped)) = wrapped {
                let (hash, id) = name.split_once('/').unwrap_or_default();
                self.unwrap(&master, hash, id, &wrapped)?;
            }
            Ok(master)
        });
        loading.await
    }
}

/// As it stands in the file; where there is no file, what is given is written into a new one.
fn read_master(file: &Path, fresh: Option<[u8; KEY_BYTES]>) -> Result<[u8; KEY_BYTES], String> {
    let text = fresh.map(|fresh| format!("{}\n", BASE64_STANDARD.encode(fresh)));
    let read =
        env::read_secret(file, text.as_deref().map(str::as_bytes)).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                "it is not there, and lv.keys has keys that were encrypted with it: restore it".to_owned()
            }
            _ => error.to_string(),
        })?;
    if read.is_new {
        warn!(
            file = %file.display(),
            "a master key was made: keep a copy, for without it the personal data are lost; instances of one system need \
             the same"
        );
    }
    let text = String::from_utf8(read.bytes).map_err(|_| "it is no text".to_owned())?;
    let bytes = BASE64_STANDARD.decode(text.trim()).map_err(|error| format!("it is no base64: {error}"))?;
    bytes.try_into().map_err(|_| format!("it is not {KEY_BYTES} bytes in base64"))
}

fn context(hash: &str, id: &str) -> Vec<u8> {
    format!("{hash}/{id}").into_bytes()
}

fn wrap(master: &Key, random: &dyn Random, hash: &str, id: &str, key: &[u8; KEY_BYTES]) -> Vec<u8> {
    let wrapped = BASE64_STANDARD.encode(master.encrypt(random, &context(hash, id), key));
    serde_json::to_vec(&Kept { format: FORMAT, key_id: id.to_owned(), wrapped }).expect("texts are JSON")
}

fn unwrap(master: &Key, hash: &str, id: &str, kept: &[u8]) -> Option<Key> {
    let kept: Kept = serde_json::from_slice(kept).ok().filter(|kept: &Kept| kept.format == FORMAT)?;
    let wrapped = BASE64_STANDARD.decode(kept.wrapped).ok()?;
    let key: [u8; KEY_BYTES] = master.decrypt(&context(hash, id), &wrapped).ok()?.try_into().ok()?;
    Some(Key::new(&key))
}

#[cfg(test)]
mod tests {
    use env::SeededRandom;

    use super::*;

    #[test]
    fn a_key_is_unwrapped_only_by_its_master_and_only_as_itself() {
        let (master, random) = (Key::new(&[1; KEY_BYTES]), SeededRandom::new(7));
        let kept = wrap(&master, &random, "hash", "id", &[9; KEY_BYTES]);
        let sealed = Key::new(&[9; KEY_BYTES]).encrypt(&random, b"", b"plain");
        let key = unwrap(&master, "hash", "id", &kept).unwrap();
        assert_eq!(key.decrypt(b"", &sealed).unwrap(), b"plain");
        assert!(unwrap(&Key::new(&[2; KEY_BYTES]), "hash", "id", &kept).is_none());
        assert!(unwrap(&master, "other", "id", &kept).is_none());
        assert!(unwrap(&master, "hash", "other", &kept).is_none());
    }

    #[test]
    fn a_master_key_is_made_only_where_nothing_needs_an_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("deep").join("master.key");
        assert!(read_master(&file, None).unwrap_err().contains("restore it"));
        assert_eq!(read_master(&file, Some([3; KEY_BYTES])).unwrap(), [3; KEY_BYTES]);
        // What is there stays.
        assert_eq!(read_master(&file, Some([4; KEY_BYTES])).unwrap(), [3; KEY_BYTES]);
        assert_eq!(read_master(&file, None).unwrap(), [3; KEY_BYTES]);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
