//! How instances of one system prove to each other that they are.
//!
//! Whoever may read the cluster's own compacted topics is one: a random key is there, and what one instance asks another
//! is signed with it. Nobody else is believed, whatever its request says of itself.
//!
//! ```text
//! lv.peers   compacted; key: the key's id, value: JSON {format, key: 32 bytes in base64, madeAt: ms}
//!
//! request    levada-peer: 2 <key id> <ms since 1970> <nonce> <MAC>
//!            MAC = HMAC-SHA256 over "levada-peer-2", the receiver's URL, method, path and query, that time, the nonce, and
//!            the SHA-256 of the body, each on a line of its own; base64url
//! answer     levada-peer-answer: HMAC-SHA256 over "levada-peer-answer-2", the request's MAC and the status
//! ```
//!
//! The time keeps a request that was listened to from being sent again later, the nonce at once ([`Peers::once`]), and the
//! URL to another instance. The answer's proof keeps whoever has taken an address over from answering for the instance that had it.
//! A new key takes the place of all others at once ([`Peers::rotate`]): what is signed with an older one is refused, and
//! whoever is refused reads the table and asks again.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use client::Cluster;
use env::{Clock, Random};
use model::Timestamp;
use parking_lot::Mutex;
use ring::{digest, hmac};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::warn;

use crate::table::{At, Options, Table, TableError};

const TOPIC: &str = "lv.peers";

/// Another number when the record's fields change their meaning.
const FORMAT: u32 = 1;

/// Another number when what is signed changes.
const VERSION: &str = "2";

const KEY_BYTES: usize = 32;

/// How far the clocks of two instances may be apart, and how old a request may be.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60);

/// A request that may be taken at all came at most so long ago.
const REMEMBERED_FOR: Duration = CLOCK_SKEW_MAX.saturating_mul(2);

/// Requests that are remembered in that time, for each 16 bytes; more are refused.
const REMEMBERED_MAX: usize = 1_000_000;

/// How often the topic is looked at because somebody names a key that is not known.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// What one instance asks another, as far as it is signed.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The URL of whoever is asked, as it says it itself.
    pub to: &'a str,
    pub method: &'a str,
    /// With the query.
    pub path: &'a str,
    pub body: &'a [u8],
}

/// The signature of a request, as it stands in the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    key: String,
    at: Timestamp,
    nonce: String,
    mac: Vec<u8>,
}

/// Why somebody is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotProven {
    #[error("this is no proof: `{VERSION} <key id> <time> <nonce> <signature>`")]
    Malformed,
    #[error(
        "the request is of another time: the clocks of two instances are more than {} s apart",
        CLOCK_SKEW_MAX.as_secs()
    )]
    Time,
    #[error("the key is none of this system's: both instances must use the same Kafka cluster")]
    Key,
    #[error("the signature is not that of this request")]
    Signature,
    #[error("this very request was taken before: whoever asks again signs again")]
    Again,
    #[error("more than {REMEMBERED_MAX} requests of other instances in {} s", REMEMBERED_FOR.as_secs())]
    TooMany,
    #[error("the keys of instances (topic lv.peers) cannot be read: {0}")]
    Unavailable(String),
}

impl From<TableError> for NotProven {
    fn from(error: TableError) -> NotProven {
        NotProven::Unavailable(error.to_string())
    }
}

#[derive(Clone)]
pub struct Peers(Arc<Inner>);

struct Inner {
    table: Table,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    known: Mutex<(At, Arc<Vec<Known>>)>,
    looked_at: Mutex<Option<Instant>>,
    taken: Mutex<Taken>,
}

/// Requests that were taken, by the beginnings of their MACs: of this span of [`REMEMBERED_FOR`] and of the one before.
#[derive(Default)]
struct Taken {
    began: Timestamp,
    now: HashSet<[u8; 16]>,
    before: HashSet<[u8; 16]>,
}

impl Taken {
    fn take(&mut self, proof: &Proof, now: Timestamp) -> Result<(), NotProven> {
        let span = REMEMBERED_FOR.as_millis() as i64;
        match now.0.saturating_sub(self.began.0) {
            age if (0..span).contains(&age) => {}
            age => {
                let ended = std::mem::take(&mut self.now);
                self.before = if (0..2 * span).contains(&age) { ended } else { HashSet::new() };
                self.began = now;
            }
        }
        let mac = proof.mac.first_chunk().copied().ok_or(NotProven::Malformed)?;
        if self.now.len() >= REMEMBERED_MAX {
            return Err(NotProven::TooMany);
        }
        match self.before.contains(&mac) || !self.now.insert(mac) {
            true => Err(NotProven::Again),
            false => Ok(()),
        }
    }
}

/// A key, the newest first.
struct Known {
    id: String,
    made_at: i64,
    key: hmac::Key,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    format: u32,
    key: String,
    made_at: i64,
}

impl Peers {
    pub async fn open(
        cluster: &Cluster,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        dir: std::path::PathBuf,
        replication_factor: i16,
    ) -> Result<Peers, TableError> {
        let options = Options::new(TOPIC, dir, replication_factor);
        let table = Table::open(cluster, clock.clone(), options).await?;
        let (known, looked_at, taken) = (Mutex::default(), Mutex::default(), Mutex::default());
        Ok(Peers(Arc::new(Inner { table, clock, random, known, looked_at, taken })))
    }

    pub(crate) fn table(&self) -> &Table {
        &self.0.table
    }

    /// Signs a request, with a key that is made where there is none.
    pub async fn sign(&self, asked: &Asked<'_>) -> Result<Proof, TableError> {
        let mut known = self.known().await?;
        if known.is_empty() {
            // Another may have made one a moment ago.
            self.0.table.catch_up().await?;
            known = self.known().await?;
        }
        if known.is_empty() {
            self.make().await?;
            known = self.known().await?;
        }
        let newest = known.first().ok_or_else(|| TableError::Late(TOPIC.to_owned()))?;
        let (at, mut nonce) = (self.0.clock.now(), [0; 12]);
        self.0.random.fill(&mut nonce);
        let nonce = BASE64_URL_SAFE_NO_PAD.encode(nonce);
        let mac = hmac::sign(&newest.key, &request(asked, at, &nonce)).as_ref().to_vec();
        Ok(Proof { key: newest.id.clone(), at, nonce, mac })
    }

    /// Whether a request was signed by an instance of this system, for this one, and lately.
    pub async fn check(&self, proof: &Proof, asked: &Asked<'_>) -> Result<(), NotProven> {
        self.check_sender(proof).await?;
        let known = self.known().await?;
        let key = known.iter().find(|known| known.id == proof.key).ok_or(NotProven::Key)?;
        let signed = request(asked, proof.at, &proof.nonce);
        hmac::verify(&key.key, &signed, &proof.mac).map_err(|_| NotProven::Signature)
    }

    /// Takes a request whose proof was checked, if it was not taken before. What does no harm a second time, such as an
    /// append with its event ids, need not be remembered.
    pub fn once(&self, proof: &Proof) -> Result<(), NotProven> {
        self.0.taken.lock().take(proof, self.0.clock.now())
    }

    /// What can be told before the body has come: key and time.
    pub async fn check_sender(&self, proof: &Proof) -> Result<(), NotProven> {
        let apart = self.0.clock.now().0.saturating_sub(proof.at.0).unsigned_abs();
        if u128::from(apart) > CLOCK_SKEW_MAX.as_millis() {
            return Err(NotProven::Time);
        }
        let is_known = |known: &[Known]| known.iter().any(|known| known.id == proof.key);
        if is_known(&self.known().await?) {
            return Ok(());
        }
        if self.may_look() {
            self.0.table.catch_up().await?;
        }
        if is_known(&self.known().await?) { Ok(()) } else { Err(NotProven::Key) }
    }

    /// What proves an answer to a request.
    pub async fn sign_answer(&self, proof: &Proof, status: u16) -> Result<String, NotProven> {
        let known = self.known().await?;
        let key = known.iter().find(|known| known.id == proof.key).ok_or(NotProven::Key)?;
        Ok(BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key.key, &answer(proof, status))))
    }

    /// Whether an answer came from an instance of this system, to this request.
    pub async fn check_answer(&self, proof: &Proof, status: u16, mac: &str) -> Result<(), NotProven> {
        let mac = BASE64_URL_SAFE_NO_PAD.decode(mac).map_err(|_| NotProven::Malformed)?;
        let known = self.known().await?;
        let key = known.iter().find(|known| known.id == proof.key).ok_or(NotProven::Key)?;
        hmac::verify(&key.key, &answer(proof, status), &mac).map_err(|_| NotProven::Signature)
    }

    /// A new key, in place of all that there are. Gives its id.
    pub async fn rotate(&self) -> Result<String, TableError> {
        self.0.table.catch_up().await?;
        let old: Vec<String> = self.0.table.scan("").await?.into_iter().map(|(id, _)| id).collect();
        let (id, kept) = self.fresh();
        let mut entries: Vec<(&str, Option<&[u8]>)> = vec![(&id, Some(&kept))];
        entries.extend(old.iter().map(|id| (id.as_str(), None)));
        self.0.table.put_all(&entries).await?;
        Ok(id)
    }

    async fn make(&self) -> Result<(), TableError> {
        let (id, kept) = self.fresh();
        self.0.table.put(&id, Some(&kept)).await.map(drop)
    }

    fn fresh(&self) -> (String, Vec<u8>) {
        let (mut id, mut key) = ([0; 9], [0; KEY_BYTES]);
        self.0.random.fill(&mut id);
        self.0.random.fill(&mut key);
        let kept = Kept { format: FORMAT, key: BASE64_STANDARD.encode(key), made_at: self.0.clock.now().0 };
        (BASE64_URL_SAFE_NO_PAD.encode(id), serde_json::to_vec(&kept).expect("texts and numbers are JSON"))
    }

    /// The keys that the table has now.
    async fn known(&self) -> Result<Arc<Vec<Known>>, TableError> {
        let at = self.0.table.at().borrow().clone();
        {
            let known = self.0.known.lock();
            if known.0 == at {
                return Ok(known.1.clone());
            }
        }
        let kept = self.0.table.scan("").await?;
        let mut read: Vec<Known> = kept.iter().filter_map(|(id, value)| read(id, value)).collect();
        read.sort_by(|a, b| (b.made_at, &b.id).cmp(&(a.made_at, &a.id)));
        let read = Arc::new(read);
        *self.0.known.lock() = (at, read.clone());
        Ok(read)
    }

    /// A stranger who names keys that there are not is not to have the topic read for each.
    fn may_look(&self) -> bool {
        let (mut last, now) = (self.0.looked_at.lock(), Instant::now());
        let may = last.is_none_or(|last| now - last >= LOOK_INTERVAL);
        if may {
            *last = Some(now);
        }
        may
    }
}

fn read(id: &str, value: &[u8]) -> Option<Known> {
    let kept = serde_json::from_slice(value).ok().filter(|kept: &Kept| kept.format == FORMAT);
    let key = kept.and_then(|kept| Some((BASE64_STANDARD.decode(kept.key).ok()?, kept.made_at)));
    match key.filter(|(key, _)| key.len() == KEY_BYTES) {
        Some((key, made_at)) => {
            Some(Known { id: id.to_owned(), made_at, key: hmac::Key::new(hmac::HMAC_SHA256, &key) })
        }
        None => {
            warn!(topic = TOPIC, id, "a record is no key, and is passed over");
            None
        }
    }
}

fn request(asked: &Asked<'_>, at: Timestamp, nonce: &str) -> Vec<u8> {
    let Asked { to, method, path, body } = asked;
    let digest = BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, body));
    format!("levada-peer-{VERSION}\n{to}\n{method}\n{path}\n{}\n{nonce}\n{digest}", at.0).into_bytes()
}

fn answer(proof: &Proof, status: u16) -> Vec<u8> {
    let mac = BASE64_URL_SAFE_NO_PAD.encode(&proof.mac);
    format!("levada-peer-answer-{VERSION}\n{mac}\n{status}").into_bytes()
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mac = BASE64_URL_SAFE_NO_PAD.encode(&self.mac);
        write!(f, "{VERSION} {} {} {} {mac}", self.key, self.at.0, self.nonce)
    }
}

impl FromStr for Proof {
    type Err = NotProven;

    fn from_str(text: &str) -> Result<Proof, NotProven> {
        let fields: Vec<&str> = text.split(' ').collect();
        let [VERSION, key, at, nonce, mac] = fields[..] else { return Err(NotProven::Malformed) };
        let at = at.parse().map_err(|_| NotProven::Malformed)?;
        let mac = BASE64_URL_SAFE_NO_PAD.decode(mac).map_err(|_| NotProven::Malformed)?;
        Ok(Proof { key: key.to_owned(), at: Timestamp(at), nonce: nonce.to_owned(), mac })
    }
}

#[cfg(test)]
mod tests;
