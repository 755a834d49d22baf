//! Erasure: a subject's keys are destroyed, and a certificate says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use client::Position;
use model::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::snapshots::unavailable;
use super::{Filter, Freshness, Handle};
use crate::append::{Append, AppendError, Expected, Selector, StreamAppend};
use crate::category::Category;
use crate::event::{Facts, NewEvent, Recorded};
use crate::keys::{KeyError, LAG_MS, hashed};
use crate::query::{Direction, EVENTS_MAX, ReadError};
use crate::record::rfc3339;
use crate::sealing::{self, Place, Sealed};
use crate::snapshot::{self, Snapshot};

/// Where certificates are.
pub(super) const CERTIFICATES: &str = "levada-erasures";

/// The type of a certificate.
pub(super) const ERASED: &str = "SubjectErased";

/// Bytes of the reason for an erasure.
const REASON_MAX: usize = 1000;

/// The event id under which snapshots are encrypted.
const SNAPSHOT: &str = "levada.snapshot";

/// How long after its key was destroyed an event may still come into the log that was encrypted with it: the owner has it
/// in its next batch.
const SETTLED_AFTER: Duration = Duration::from_millis(500);

/// What is left of a subject. Its name is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    pub subject_sha256: String,
    pub key_ids: Vec<String>,
    pub erased_at: String,
    /// When the topic does not have the keys any more, at the latest.
    pub keys_gone_by: String,
    pub reason: String,
    /// Events with the subject's data, by category.
    pub events: BTreeMap<String, u64>,
    /// Snapshots that were removed.
    pub snapshots: u64,
    /// Partitions of which nothing is read beyond some offset: what is behind it was erased, too, and is not counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<String>,
}

impl Certificate {
    /// The same keys are told once.
    fn event_id(&self) -> String {
        hashed(&self.key_ids.join(","))
    }
}

/// Whether an event is a certificate, in its place.
pub(crate) fn is_certificate(stream: &str, event: &NewEvent) -> bool {
    let certificate: Option<Certificate> = serde_json::from_slice(&event.data).ok();
    event.facts.kind == ERASED
        && certificate.is_some_and(|it| it.subject_sha256 == stream && it.event_id() == event.id)
}

/// Why nothing was erased, or nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EraseError {
    #[error("there is no key of that subject, and no certificate of its erasure")]
    NoSubject,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl Handle {
    /// Destroys a subject's keys. The same again gives the same certificate. Whoever reads at least as fresh as the position
    /// sees nothing of the subject's any more.
    pub async fn erase(&self, subject: &str, reason: &str) -> Result<(Certificate, Position), EraseError> {
        if reason.len() > REASON_MAX {
            let why = format!("the reason has {} bytes, and {REASON_MAX} is the most", reason.len());
            return Err(ReadError::Invalid(why).into());
        }
        let keys = &self.0.keys;
        let ids = keys.ids(subject).await?;
        // An erasure that was cut off is told now.
        let cut_off = match keys.untold(subject).await? {
            Some(untold) => Some(self.certify(subject, &untold).await?),
            None => None,
        };
        if ids.is_empty() {
            if let Some(told) = cut_off {
                return Ok(told);
            }
            let told = self.certificates(subject).await?.pop().ok_or(EraseError::NoSubject)?;
            return Ok((told, keys.position()));
        }
        // Nothing is destroyed whose certificate could not be written.
        let deadline = tokio::time::Instant::now() + self.0.options.append_patience;
        self.opened_by(&certificates(), deadline).await.map_err(|error| {
            let why =
                format!("nothing is erased: no certificate could be written to {CERTIFICATES}: {error}");
            ReadError::Unavailable(why)
        })?;
        let now = self.0.clock.now();
        let certificate = Certificate {
            subject_sha256: hashed(subject),
            key_ids: ids.clone(),
            erased_at: rfc3339(now),
            keys_gone_by: rfc3339(Timestamp(now.0 + LAG_MS)),
            reason: reason.to_owned(),
            // Counted when nothing more can come.
            events: BTreeMap::new(),
            snapshots: self.drop_snapshots_of(subject, &ids).await?,
            incomplete: Vec::new(),
        };
        let data = serde_json::to_vec(&certificate).expect("texts and numbers are JSON");
        keys.destroy(subject, &ids, &data).await?;
        self.certify(subject, &data).await
    }

    /// The certificates of a subject's erasures, the oldest first.
    pub async fn certificates(&self, subject: &str) -> Result<Vec<Certificate>, ReadError> {
        let category = certificates();
        let freshness = Freshness { is_strong: true, ..Freshness::default() };
        let stream = hashed(subject);
        // As it was recorded, whatever upcasters there are.
        let raw = self.raw();
        let read = raw.read_stream(&category, &stream, 1, Direction::Forward, EVENTS_MAX, &freshness).await;
        let found = match read {
            Err(ReadError::NoStream(_) | ReadError::NoCategory(_)) => return Ok(Vec::new()),
            found => found?,
        };
        let certificate = |event: &Recorded| serde_json::from_slice(&event.data).ok();
        Ok(found.events.iter().filter_map(certificate).collect())
    }

    /// The certificates of all subjects after a position; where they were read up to, and whether that is all.
    pub async fn all_certificates(
        &self,
        after: &Position,
        limit: usize,
    ) -> Result<(Vec<Certificate>, Position, bool), ReadError> {
        let selector = Selector { types: BTreeSet::from([ERASED.to_owned()]), ..Selector::default() };
        let filter = Filter { any_of: vec![selector], ..Filter::default() };
        let freshness = Freshness { is_strong: true, ..Freshness::default() };
        let found = match self.raw().read_category(&certificates(), after, &filter, limit, &freshness).await {
            // Nothing was erased yet.
            Err(ReadError::NoCategory(_)) => return Ok((Vec::new(), Position::default(), true)),
            found => found?,
        };
        let certificate = |event: &Recorded| serde_json::from_slice(&event.data).ok();
        Ok((found.events.iter().filter_map(certificate).collect(), found.position, found.is_end))
    }

    /// Counts what the destroyed keys have erased, and tells.
    async fn certify(&self, subject: &str, data: &[u8]) -> Result<(Certificate, Position), EraseError> {
        let unreadable = |_| KeyError::Unavailable("the certificate cannot be read".to_owned());
        let mut certificate: Certificate = serde_json::from_slice(data).map_err(unreadable)?;
        // What was encrypted a moment before is on its way to the log.
        sleep(SETTLED_AFTER).await;
        (certificate.events, certificate.incomplete) = self.count(subject, &certificate.key_ids).await?;
        certificate.snapshots += self.drop_snapshots_of(subject, &certificate.key_ids).await?;
        let facts = Facts {
            kind: ERASED.to_owned(),
            content_type: "application/json".to_owned(),
            ..Facts::default()
        };
        // Once for the same keys.
        let id = certificate.event_id();
        let data = serde_json::to_vec(&certificate).expect("texts and numbers are JSON");
        let event = NewEvent { id, facts, data: data.into() };
        let stream = certificate.subject_sha256.clone();
        let part = StreamAppend { stream, expected: Expected::Any, events: vec![event] };
        let append = Append { boundary: None, streams: vec![part], conditions: Vec::new() };
        let appended = self.append_checked(&certificates(), append).await?;
        let mut position = self.0.keys.told(subject).await?;
        position.merge(&appended.position);
        if appended.is_repeated {
            // Another was quicker: what it has told counts.
            let told = self.certificates(subject).await?;
            let same = told.into_iter().find(|told| told.key_ids == certificate.key_ids);
            return Ok((same.unwrap_or(certificate), position));
        }
        Ok((certificate, position))
    }

    /// How many events have a subject's data that were encrypted with these keys.
    async fn count(
        &self,
        subject: &str,
        keys: &[String],
    ) -> Result<(BTreeMap<String, u64>, Vec<String>), ReadError> {
        let open: Vec<_> = self.0.open.lock().values().cloned().collect();
        let freshness = Freshness { is_strong: true, ..Freshness::default() };
        let (mut counts, mut incomplete) = (BTreeMap::new(), Vec::new());
        for category in open {
            let mut count = 0;
            for partition in &category.partitions {
                if let Err(error) = self.fresh(&category, partition, &freshness).await {
                    // Somebody has to look at that one. What the keys have erased they have erased there, too.
                    incomplete.push(partition.halted(&category.category).ok_or(error)?);
                }
                let (replica, subject) = (&partition.replica, subject.to_owned());
                let keys: BTreeSet<String> = keys.iter().cloned().collect();
                let counted =
                    replica.index.search(replica.next(), move |it| it.count_of(&subject, &keys)).await;
                count += counted.map_err(super::reading::broken)?;
            }
            if count > 0 {
                counts.insert(category.category.to_string(), count);
            }
        }
        Ok((counts, incomplete))
    }

    async fn drop_snapshots_of(&self, subject: &str, keys: &[String]) -> Result<u64, ReadError> {
        let mut count = 0;
        for (category, _) in self.categories() {
            if category.snapshots().is_none() {
                continue;
            }
            let table = self.snapshots_of(&category).await?;
            table.catch_up().await.map_err(unavailable)?;
            for (stream, value) in table.scan("").await.map_err(unavailable)? {
                let sealed = snapshot::read(&value).and_then(|snapshot| snapshot.sealed);
                let is_with = |key: &Option<String>| key.as_ref().is_some_and(|key| keys.contains(key));
                if sealed.is_some_and(|sealed| sealed.subject == subject && is_with(&sealed.key)) {
                    table.put(&stream, None).await.map_err(unavailable)?;
                    count += 1;
                }
            }
        }
        Ok(count)
    }

    /// Encrypts what is personal in an append, which is written here.
    pub(super) async fn seal(&self, append: &Append) -> Result<Append, AppendError> {
        let mut append = append.clone();
        let mut known = BTreeMap::new();
        for part in &mut append.streams {
            for event in part.events.iter_mut().filter(|event| event.is_personal()) {
                let Some(sealed) = &mut event.facts.sealed else { continue };
                if !known.contains_key(&sealed.subject) {
                    let key = self.0.keys.current(&sealed.subject, || self.new_id()).await;
                    known.insert(sealed.subject.clone(), key.map_err(refuse)?);
                }
                let (id, key) = &known[&sealed.subject];
                let place = Place { stream: &part.stream, id: &event.id };
                let random = &*self.0.random;
                let facts_type = &event.facts.content_type;
                let (content_type, data) =
                    sealing::seal(key, random, place, &sealed.personal, facts_type, &event.data)
                        .map_err(AppendError::Invalid)?;
                sealed.key = Some(id.clone());
                (event.facts.content_type, event.data) = (content_type, data);
            }
        }
        Ok(append)
    }

    /// Decrypts what is personal; what was erased is null.
    pub(super) async fn unseal(&self, events: &mut [Recorded]) -> Result<(), ReadError> {
        let mut known = BTreeMap::new();
        for event in events {
            let Some(sealed) = event.facts.sealed.clone() else { continue };
            let place = Place { stream: &event.stream, id: &event.id };
            let Opened { content_type, data, is_changed } =
                self.opened_with(&mut known, &sealed, place, &event.facts.content_type, &event.data).await?;
            if is_changed {
                event.seen.upcast_error =
                    Some("what is personal cannot be decrypted: it was changed".to_owned());
            }
            event.seen.is_erased = known[&(sealed.subject, sealed.key.unwrap_or_default())].is_none();
            (event.facts.content_type, event.data) = (content_type, data);
        }
        Ok(())
    }

    async fn opened_with(
        &self,
        known: &mut BTreeMap<(String, String), Option<sealing::Key>>,
        sealed: &Sealed,
        place: Place<'_>,
        content_type: &str,
        data: &bytes::Bytes,
    ) -> Result<Opened, ReadError> {
        let id = sealed.key.clone().unwrap_or_default();
        let of = (sealed.subject.clone(), id.clone());
        if !known.contains_key(&of) {
            let found = self.0.keys.find(&sealed.subject, &id).await;
            let found = found.map_err(|error| ReadError::Unavailable(error.to_string()))?;
            known.insert(of.clone(), found);
        }
        let key = known[&of].as_ref();
        match sealing::unseal(key, place, &sealed.personal, content_type, data) {
            Ok((content_type, data)) => Ok(Opened { content_type, data, is_changed: false }),
            // Nobody is to be kept from all else because of it.
            Err(_) => {
                let (content_type, data) = (content_type.to_owned(), data.clone());
                Ok(Opened { content_type, data, is_changed: true })
            }
        }
    }

    pub(super) async fn seal_snapshot(
        &self,
        stream: &str,
        snapshot: &mut Snapshot,
    ) -> Result<(), snapshot::SnapshotError> {
        let Some(sealed) = &mut snapshot.sealed else { return Ok(()) };
        let key = self.0.keys.current(&sealed.subject, || self.new_id()).await;
        let (id, key) = key.map_err(|error| ReadError::Unavailable(error.to_string()))?;
        let place = Place { stream, id: SNAPSHOT };
        let random = &*self.0.random;
        let (content_type, data) =
            sealing::seal(&key, random, place, &sealed.personal, &snapshot.content_type, &snapshot.data)
                .map_err(snapshot::SnapshotError::Invalid)?;
        sealed.key = Some(id);
        (snapshot.content_type, snapshot.data) = (content_type, data);
        Ok(())
    }

    /// None: it was erased.
    pub(super) async fn unseal_snapshot(
        &self,
        stream: &str,
        mut snapshot: Snapshot,
    ) -> Result<Option<Snapshot>, ReadError> {
        let Some(sealed) = snapshot.sealed.clone() else { return Ok(Some(snapshot)) };
        let mut known = BTreeMap::new();
        let place = Place { stream, id: SNAPSHOT };
        let Opened { content_type, data, is_changed } =
            self.opened_with(&mut known, &sealed, place, &snapshot.content_type, &snapshot.data).await?;
        if is_changed {
            // It is a cache: the events give it back.
            return Ok(None);
        }
        (snapshot.content_type, snapshot.data) = (content_type, data);
        Ok(known.into_values().all(|key| key.is_some()).then_some(snapshot))
    }
}

/// Data as their readers get them.
struct Opened {
    content_type: String,
    data: bytes::Bytes,
    /// They cannot be decrypted although their key is there, and are as they were recorded.
    is_changed: bool,
}

fn certificates() -> Category {
    Category::new(CERTIFICATES).expect("it is a category's name")
}

fn refuse(error: KeyError) -> AppendError {
    match error {
        KeyError::Unavailable(why) => AppendError::Unavailable(why),
        // Nobody else repairs the file.
        KeyError::Master { .. } | KeyError::OtherMaster { .. } => AppendError::Halted(error.to_string()),
    }
}
