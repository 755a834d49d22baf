//! Events as Kafka records: CloudEvents 1.0 in Kafka's binary content mode, so that any consumer reads them as they
//! are.
//!
//! ```text
//! key      the stream's id
//! value    the data, as its writer gave it
//! headers  ce_specversion 1.0 · ce_id · ce_type · ce_source /streams/<category> · ce_subject <stream> · ce_time
//!          content-type
//!          lv-ver    version of the stream, from 1       lv-ep    producer id:epoch of the owner
//!          lv-tags   JSON array of texts                 lv-corr  correlation id
//!          lv-cause  id of what it follows from          lv-meta  JSON, its writer's own
//!          lv-schema  version of the data's shape, where it is not 1
//!          lv-subject  whose data are encrypted in it   lv-key  with which of its keys
//!          lv-personal  JSON array of the JSON pointers to them
//!          lv-boundary  on a stream's first event, where it is not the stream's id
//! ```
//!
//! A claim (an owner's first record, see [`crate::owner`]) is a CloudEvent without a key, with an empty value (deserializers
//! make no event of none), of the type
//! `levada.claim.v1`, with `lv-ep`.

use std::borrow::Cow;

use bytes::Bytes;
use model::Timestamp;
use model::batch::{BatchBuilder, NewRecord, Record};

use crate::append::OWN;
use crate::event::{Facts, NewEvent};
use crate::sealing::Sealed;

/// No stream is as long, and an index has no room for more.
const VERSION_MAX: u64 = 1 << 62;

const CLAIM: &str = "levada.claim.v1";
const SPEC_VERSION: &[u8] = b"1.0";

/// What one record of an events topic says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Event {
        stream: String,
        version: u64,
        id: String,
        facts: Facts,
        data: Bytes,
        boundary: Option<String>,
        writer: String,
    },
    /// What somebody has decided to take as an event.
    Adopted {
        stream: String,
        /// None: the next one.
        version: Option<u64>,
        id: String,
        facts: Facts,
        data: Bytes,
    },
    Claim {
        writer: String,
    },
    /// A record that no owner wrote.
    Foreign {
        why: Cow<'static, str>,
    },
}

/// One event, with what its owner adds.
pub struct Placed<'a> {
    pub category: &'a str,
    pub stream: &'a str,
    pub version: u64,
    pub event: &'a NewEvent,
    pub boundary: Option<&'a str>,
    pub writer: &'a str,
    pub at: At<'a>,
}

/// When an owner took an event. Written once for all that it took together.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    pub time: Timestamp,
    /// The same as RFC 3339 says it.
    pub text: &'a str,
}

/// Adds an event to a batch.
pub fn push(batch: &mut BatchBuilder, placed: &Placed<'_>) {
    let Placed { category, stream, version, event, boundary, writer, at } = *placed;
    let facts = &event.facts;
    let source = format!("/streams/{category}");
    let version = version.to_string();
    let tags = (!facts.tags.is_empty()).then(|| serde_json::to_string(&facts.tags).expect("texts are JSON"));
    let mut headers: Vec<(&[u8], Option<&[u8]>)> = vec![
        (b"ce_specversion", Some(SPEC_VERSION)),
        (b"ce_id", Some(event.id.as_bytes())),
        (b"ce_type", Some(facts.kind.as_bytes())),
        (b"ce_source", Some(source.as_bytes())),
        (b"ce_subject", Some(stream.as_bytes())),
        (b"ce_time", Some(at.text.as_bytes())),
        (b"content-type", Some(facts.content_type.as_bytes())),
        (b"lv-ver", Some(version.as_bytes())),
        (b"lv-ep", Some(writer.as_bytes())),
    ];
    let schema = Some(facts.schema()).filter(|version| *version != 1).map(|version| version.to_string());
    let sealed = facts.sealed.as_ref();
    let personal = sealed.map(|it| serde_json::to_string(&it.personal).expect("texts are JSON"));
    let optional: [(&[u8], Option<&str>); 9] = [
        (b"lv-tags", tags.as_deref()),
        (b"lv-corr", facts.correlation.as_deref()),
        (b"lv-cause", facts.causation.as_deref()),
        (b"lv-meta", facts.metadata.as_deref()),
        (b"lv-schema", schema.as_deref()),
        (b"lv-subject", sealed.map(|sealed| sealed.subject.as_str())),
        (b"lv-key", sealed.and_then(|sealed| sealed.key.as_deref())),
        (b"lv-personal", personal.as_deref()),
        (b"lv-boundary", boundary),
    ];
    headers.extend(
        optional
            .into_iter()
            .filter(|(_, value)| value.is_some())
            .map(|(name, value)| (name, value.map(str::as_bytes))),
    );
    batch.push(NewRecord {
        timestamp: at.time,
        key: Some(stream.as_bytes()),
        value: Some(&event.data),
        headers: &headers,
    });
}

/// The batch by which an owner claims its partition.
pub fn claim(category: &str, id: &str, writer: &str, at: Timestamp) -> BatchBuilder {
    let source = format!("/streams/{category}");
    let time = rfc3339(at);
    let headers: [(&[u8], Option<&[u8]>); 6] = [
        (b"ce_specversion", Some(SPEC_VERSION)),
        (b"ce_id", Some(id.as_bytes())),
        (b"ce_type", Some(CLAIM.as_bytes())),
        (b"ce_source", Some(source.as_bytes())),
        (b"ce_time", Some(time.as_bytes())),
        (b"lv-ep", Some(writer.as_bytes())),
    ];
    let mut batch = BatchBuilder::new(model::Compression::None);
    batch.push(NewRecord { timestamp: at, key: None, value: Some(b""), headers: &headers });
    batch
}

fn foreign(why: &'static str) -> Entry {
    Entry::Foreign { why: why.into() }
}

/// The same as [`read`], of a batch that this producer has written: what says that another has written it was copied by
/// somebody.
pub fn read_of(
    record: &Record<'_>,
    value: impl FnOnce(&[u8]) -> Bytes,
    (id, epoch): (model::ProducerId, model::ProducerEpoch),
) -> Entry {
    let entry = read(record, value);
    let own = match &entry {
        Entry::Event { writer, .. } | Entry::Claim { writer } => writer,
        Entry::Adopted { .. } | Entry::Foreign { .. } => return entry,
    };
    match writer(id, epoch) {
        producer if producer == *own => entry,
        producer => {
            Entry::Foreign { why: format!("it says that {own} wrote it, and producer {producer} did").into() }
        }
    }
}

pub fn read(record: &Record<'_>, value: impl FnOnce(&[u8]) -> Bytes) -> Entry {
    let mut facts = Facts { content_type: "application/octet-stream".to_owned(), ..Facts::default() };
    let (mut id, mut kind, mut version, mut writer, mut boundary) = (None, None, None, None, None);
    let mut sealed = Sealed::default();
    for (name, value) in record.headers {
        let Some(Ok(text)) = value.map(std::str::from_utf8) else { continue };
        match name {
            b"ce_id" => id = Some(text),
            b"ce_type" => kind = Some(text),
            b"content-type" => text.clone_into(&mut facts.content_type),
            b"lv-ver" => {
                version = text.parse::<u64>().ok().filter(|version| (1..=VERSION_MAX).contains(version))
            }
            b"lv-ep" => writer = Some(text),
            b"lv-tags" => facts.tags = serde_json::from_str(text).unwrap_or_default(),
            b"lv-corr" => facts.correlation = Some(text.to_owned()),
            b"lv-cause" => facts.causation = Some(text.to_owned()),
            b"lv-meta" => facts.metadata = Some(text.to_owned()),
            b"lv-schema" => facts.schema_version = text.parse().ok().filter(|version| *version > 1),
            b"lv-subject" => text.clone_into(&mut sealed.subject),
            b"lv-key" => sealed.key = Some(text.to_owned()),
            b"lv-personal" => sealed.personal = serde_json::from_str(text).unwrap_or_default(),
            b"lv-boundary" => boundary = Some(text.to_owned()),
            _ => {}
        }
    }
    let Some(writer) = writer.map(str::to_owned) else { return foreign("no lv-ep") };
    let Some(kind) = kind else { return foreign("no ce_type") };
    if kind == CLAIM {
        return Entry::Claim { writer };
    }
    let Some(id) = id else { return foreign("no ce_id") };
    let Some(version) = version else { return foreign("no lv-ver") };
    let Some(Ok(stream)) = record.key.map(std::str::from_utf8) else {
        return foreign("no key");
    };
    kind.clone_into(&mut facts.kind);
    facts.sealed = Some(sealed).filter(|sealed| !sealed.subject.is_empty());
    Entry::Event {
        stream: stream.to_owned(),
        version,
        id: id.to_owned(),
        facts,
        data: value(record.value.unwrap_or_default()),
        boundary,
        writer,
    }
}

/// A record as the event that somebody takes it for ([`crate::repairs`]). Err says what is missing.
pub fn adopt(
    record: &Record<'_>,
    place: (i32, model::Offset),
    stream: Option<&str>,
    kind: Option<&str>,
) -> Result<Entry, String> {
    let own_id = format!("{OWN}adopted:{}.{}", place.0, place.1);
    let (mut facts, mut id, mut version, mut own_kind) = (Facts::default(), None, None, None);
    let data = Bytes::copy_from_slice(record.value.unwrap_or_default());
    match read(record, |_| Bytes::new()) {
        Entry::Event { version: its, id: its_id, facts: its_facts, .. } => {
            (facts, id, version) = (its_facts, Some(its_id), Some(its));
            own_kind = Some(facts.kind.clone());
        }
        _ => {
            for (name, value) in record.headers {
                let Some(Ok(text)) = value.map(std::str::from_utf8) else { continue };
                match name {
                    b"ce_id" => id = Some(text.to_owned()),
                    b"ce_type" => own_kind = Some(text.to_owned()),
                    b"content-type" => text.clone_into(&mut facts.content_type),
                    _ => {}
                }
            }
        }
    }
    if facts.content_type.is_empty() {
        let is_json = serde_json::from_slice::<&serde_json::value::RawValue>(&data).is_ok();
        facts.content_type = if is_json { "application/json" } else { "application/octet-stream" }.to_owned();
    }
    let key = record.key.and_then(|key| std::str::from_utf8(key).ok());
    let stream = stream.or(key).filter(|stream| !stream.is_empty() && !stream.starts_with(OWN));
    let stream = stream.ok_or("it has no key that is a stream's id: say which stream it is of")?.to_owned();
    facts.kind = kind.map(str::to_owned).or(own_kind).ok_or("it has no ce_type: say which type it is of")?;
    if facts.kind.starts_with(OWN) {
        return Err(format!("its type {} is the store's own: say which type it is of", facts.kind));
    }
    let id = id.filter(|id| !id.is_empty() && !id.starts_with(OWN)).unwrap_or(own_id);
    Ok(Entry::Adopted { stream, version, id, facts, data })
}

/// How an owner's writer is named in `lv-ep`.
pub fn writer(producer_id: model::ProducerId, epoch: model::ProducerEpoch) -> String {
    format!("{producer_id}:{epoch}")
}

/// RFC 3339 in UTC.
pub fn rfc3339(at: Timestamp) -> String {
    // Out of the calendar's range: no clock says so.
    jiff::Timestamp::from_millisecond(at.0).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests;
