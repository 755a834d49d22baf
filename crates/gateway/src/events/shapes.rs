//! What requests and answers look like in JSON.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use client::Position;
use events::event::{Facts, is_json};
use events::{
    Append, Appended, Category, CategoryInfo, Condition, Expected, Handle, NewEvent, Recorded, Sealed,
    Selector, StreamAppend, rfc3339,
};
use model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::snapshots::SnapshotBody;
use crate::Problem;
use crate::extract::told;

const JSON: &str = "application/json";

/// An event to be appended.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventBody {
    /// Any text, used once: the same event again is not appended a second time. Without one it gets a new UUID, and an
    /// append that was in doubt cannot be asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "3f1f2b0e-order-placed")]
    pub id: Option<String>,
    #[serde(rename = "type")]
    #[schema(example = "OrderPlaced")]
    pub kind: String,
    /// Any JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub data: Option<Box<RawValue>>,
    /// What is not JSON, in base64; with `contentType`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// What the event is about, for conditions and queries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["customer:7"]))]
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// Of the data's shape: what upcasters lift when it is read [default: 1]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<u32>,
    /// Whose data it has: they are encrypted, and can be erased with the subject's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "customer:7")]
    pub subject: Option<String>,
    /// JSON pointers to what is personal in the data; without any, all is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["/name"]))]
    pub personal: Vec<String>,
    /// Anything else to be kept with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Box<RawValue>>,
}

/// One event, or several.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum EventsBody {
    Many(Vec<EventBody>),
    One(EventBody),
}

/// Events of several streams that are appended all or not at all.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppendBody {
    /// What is decided together. Without one: the id of the first stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<String>,
    pub streams: Vec<StreamBody>,
    /// All must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<ConditionBody>,
}

#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamBody {
    pub stream: String,
    /// A version, or `any` (the default), `none`, `exists`.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "7")]
    pub expected: ExpectedBody,
    pub events: Vec<EventBody>,
}

/// A version as a number, or a word.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(untagged)]
pub enum ExpectedBody {
    #[default]
    Unsaid,
    Version(u64),
    Word(String),
}

/// Fails if an event matches one of the selectors.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConditionBody {
    pub fail_if_events_match: Vec<SelectorBody>,
    /// A position up to which events were seen: only later ones count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Matches events that are of one of the types (none: of any) and have all of the tags.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SelectorBody {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// What became of an append.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppendedBody {
    pub streams: Vec<VersionBody>,
    /// Whoever reads at least this fresh sees the events.
    pub position: String,
    /// They were appended earlier, by this append or one with the same event ids.
    pub repeated: bool,
}

#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct VersionBody {
    pub stream: String,
    /// After the events of this append.
    pub version: u64,
}

/// An event in the log.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordedBody {
    pub stream: String,
    /// From 1.
    pub version: u64,
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[schema(example = "2026-11-26T01:02:03.004Z")]
    pub time: String,
    pub content_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Box<RawValue>>,
    pub schema_version: u32,
    /// What is recorded, where an upcaster has changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_schema_version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_type: Option<String>,
    /// Why the event comes as it is recorded, although there is an upcaster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upcast_error: Option<String>,
    /// Whose data it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What was personal in it is null.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub erased: bool,
    pub partition: i32,
    pub offset: i64,
}

/// Events, and how far they were read.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FoundBody {
    /// Of a stream: its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Of a stream that was truncated: the first version that is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// Of a stream that was loaded from its snapshot: the events are those after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotBody>,
    pub events: Vec<RecordedBody>,
    /// Go on after this one.
    pub position: String,
    /// There was nothing more when it was read.
    pub end: bool,
    /// Partitions that are not read beyond some offset until somebody repairs them: there may be more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QueryBody {
    /// Events that one of them matches; none: all events.
    #[serde(default)]
    pub any_of: Vec<SelectorBody>,
    #[serde(default)]
    pub correlation_id: Option<String>,
    #[serde(default)]
    pub after: Option<String>,
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    pub limit: Option<usize>,
    /// Events as they are recorded, whatever upcasters there are.
    #[serde(default)]
    pub raw: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CategoryBody {
    pub category: String,
    pub topic: String,
    pub partitions: i32,
}

impl CategoryBody {
    pub fn of(category: &Category, info: &CategoryInfo) -> CategoryBody {
        CategoryBody { category: category.to_string(), topic: category.topic(), partitions: info.partitions }
    }
}

/// A time (RFC 3339), with the same number of digits always: times are in order as texts, too.
pub fn time(at: Timestamp) -> String {
    fixed(&rfc3339(at))
}

/// A time of whole or broken seconds with three digits behind the point.
pub fn fixed(text: &str) -> String {
    let Some(text) = text.strip_suffix('Z') else { return text.to_owned() };
    let (seconds, digits) = text.split_once('.').unwrap_or((text, ""));
    format!("{seconds}.{digits:0<3}Z")
}

/// A version as an entity tag.
pub fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

impl<'de> Deserialize<'de> for EventsBody {
    /// Data are kept as they were sent, byte for byte, which serde's own way of telling one from many does not do.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<EventsBody, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let one = |text: &RawValue| serde_json::from_str::<EventBody>(text.get());
        let wrong = |error: serde_json::Error| told(&error.to_string());
        if !text.get().starts_with('[') {
            return one(&text).map(EventsBody::One).map_err(|error| serde::de::Error::custom(wrong(error)));
        }
        let many: Vec<Box<RawValue>> = serde_json::from_str(text.get()).map_err(serde::de::Error::custom)?;
        let numbered = |(number, text): (usize, Box<RawValue>)| {
            let event = one(&text);
            event.map_err(|error| serde::de::Error::custom(format!("[{number}]: {}", wrong(error))))
        };
        many.into_iter().enumerate().map(numbered).collect::<Result<_, _>>().map(EventsBody::Many)
    }
}

impl EventBody {
    pub fn into_event(self, handle: &Handle) -> Result<NewEvent, Problem> {
        let (content_type, data) = payload(self.content_type, self.data, self.data_base64)?;
        Ok(NewEvent {
            id: self.id.unwrap_or_else(|| handle.new_id()),
            facts: Facts {
                kind: self.kind,
                content_type,
                tags: self.tags,
                correlation: self.correlation_id,
                causation: self.causation_id,
                metadata: self.metadata.map(|metadata| Box::<str>::from(metadata).into_string()),
                schema_version: self.schema_version,
                sealed: sealed(self.subject, self.personal)?,
            },
            data,
        })
    }

    /// The event as another instance is to get it, byte for byte.
    fn of(event: &NewEvent) -> EventBody {
        EventBody {
            id: Some(event.id.clone()),
            kind: event.facts.kind.clone(),
            data: None,
            data_base64: Some(BASE64_STANDARD.encode(&event.data)),
            content_type: Some(event.facts.content_type.clone()),
            tags: event.facts.tags.clone(),
            correlation_id: event.facts.correlation.clone(),
            causation_id: event.facts.causation.clone(),
            metadata: event.facts.metadata.clone().and_then(|text| RawValue::from_string(text).ok()),
            schema_version: event.facts.schema_version,
            subject: event.facts.sealed.as_ref().map(|sealed| sealed.subject.clone()),
            personal: event.facts.sealed.as_ref().map(|it| it.personal.clone()).unwrap_or_default(),
        }
    }
}

impl ExpectedBody {
    pub fn into_expected(self) -> Result<Expected, Problem> {
        match self {
            ExpectedBody::Unsaid => Ok(Expected::Any),
            ExpectedBody::Version(version) => Ok(Expected::Exactly(version)),
            ExpectedBody::Word(word) => match word.as_str() {
                "any" => Ok(Expected::Any),
                "none" => Ok(Expected::None),
                "exists" => Ok(Expected::Exists),
                word => word.parse().map(Expected::Exactly).map_err(|_| {
                    Problem::invalid(format!("`expected` is a version, any, none or exists, not `{word}`"))
                }),
            },
        }
    }
}

impl SelectorBody {
    pub fn into_selector(self) -> Selector {
        Selector { types: self.types.into_iter().collect(), tags: self.tags.into_iter().collect() }
    }
}

impl AppendBody {
    pub fn into_append(self, handle: &Handle) -> Result<Append, Problem> {
        let stream = |part: StreamBody| {
            let events = part.events.into_iter().map(|event| event.into_event(handle));
            Ok::<_, Problem>(StreamAppend {
                stream: part.stream,
                expected: part.expected.into_expected()?,
                events: events.collect::<Result<_, _>>()?,
            })
        };
        let condition = |condition: ConditionBody| {
            let after = condition.after.as_deref().map(position).transpose()?.unwrap_or_default();
            let any_of = condition.fail_if_events_match.into_iter().map(SelectorBody::into_selector);
            Ok::<_, Problem>(Condition { any_of: any_of.collect(), after })
        };
        Ok(Append {
            boundary: self.boundary,
            streams: self.streams.into_iter().map(stream).collect::<Result<_, _>>()?,
            conditions: self.conditions.into_iter().map(condition).collect::<Result<_, _>>()?,
        })
    }

    /// For another instance.
    pub fn of(append: &Append) -> AppendBody {
        let selector = |selector: &Selector| SelectorBody {
            types: selector.types.iter().cloned().collect(),
            tags: selector.tags.iter().cloned().collect(),
        };
        AppendBody {
            boundary: append.boundary.clone(),
            streams: append
                .streams
                .iter()
                .map(|part| StreamBody {
                    stream: part.stream.clone(),
                    expected: ExpectedBody::Word(part.expected.to_string()),
                    events: part.events.iter().map(EventBody::of).collect(),
                })
                .collect(),
            conditions: append
                .conditions
                .iter()
                .map(|condition| ConditionBody {
                    fail_if_events_match: condition.any_of.iter().map(selector).collect(),
                    after: Some(condition.after.to_string()).filter(|_| !condition.after.is_empty()),
                })
                .collect(),
        }
    }
}

impl AppendedBody {
    pub fn of(appended: Appended) -> AppendedBody {
        let version = |(stream, version)| VersionBody { stream, version };
        AppendedBody {
            streams: appended.versions.into_iter().map(version).collect(),
            position: appended.position.to_string(),
            repeated: appended.is_repeated,
        }
    }

    pub fn into_appended(self) -> Result<Appended, Problem> {
        Ok(Appended {
            versions: self.streams.into_iter().map(|part| (part.stream, part.version)).collect(),
            position: position(&self.position)?,
            is_repeated: self.repeated,
        })
    }
}

impl RecordedBody {
    pub fn of(event: Recorded) -> RecordedBody {
        let facts = event.facts;
        let (data, data_base64) = shown(&facts.content_type, &event.data);
        RecordedBody {
            schema_version: facts.schema(),
            recorded_schema_version: event.seen.recorded_schema_version,
            recorded_type: event.seen.recorded_kind,
            upcast_error: event.seen.upcast_error,
            subject: facts.sealed.map(|sealed| sealed.subject),
            erased: event.seen.is_erased,
            stream: event.stream,
            version: event.version,
            id: event.id,
            kind: facts.kind,
            time: time(event.time),
            content_type: facts.content_type,
            data,
            data_base64,
            tags: facts.tags,
            correlation_id: facts.correlation,
            causation_id: facts.causation,
            metadata: facts.metadata.and_then(|text| RawValue::from_string(text).ok()),
            partition: event.partition,
            offset: event.offset.0,
        }
    }
}

/// The content type and data of a body, byte for byte.
pub fn payload(
    content_type: Option<String>,
    data: Option<Box<RawValue>>,
    data_base64: Option<String>,
) -> Result<(String, Bytes), Problem> {
    let is_json = content_type.as_deref().is_none_or(is_json);
    let data = match (data, data_base64) {
        (Some(_), Some(_)) => {
            return Err(Problem::invalid("there are `data` or `dataBase64`, not both"));
        }
        (Some(_), None) if !is_json => {
            return Err(Problem::invalid("data of another type than JSON goes into `dataBase64`"));
        }
        (Some(data), None) => Bytes::from(Box::<str>::from(data).into_string()),
        (None, Some(_)) if content_type.is_none() => {
            return Err(Problem::invalid("`dataBase64` needs a `contentType`: what is in it?"));
        }
        (None, Some(text)) => Bytes::from(BASE64_STANDARD.decode(text).map_err(|error| {
            Problem::invalid(format!("`dataBase64` is no base64 (RFC 4648, with padding): {error}"))
        })?),
        (None, None) if is_json => Bytes::from_static(b"null"),
        (None, None) => Bytes::new(),
    };
    Ok((content_type.unwrap_or_else(|| JSON.to_owned()), data))
}

/// Whose data they are, and where; without pointers all of them.
pub fn sealed(subject: Option<String>, mut personal: Vec<String>) -> Result<Option<Sealed>, Problem> {
    let Some(subject) = subject else {
        return match personal.is_empty() {
            true => Ok(None),
            false => Err(Problem::invalid("`personal` needs a `subject`")),
        };
    };
    if personal.is_empty() {
        personal.push(String::new());
    }
    Ok(Some(Sealed { subject, personal, key: None }))
}

/// Data as an answer has them: as JSON where they are, otherwise in base64.
pub fn shown(content_type: &str, data: &[u8]) -> (Option<Box<RawValue>>, Option<String>) {
    let text = std::str::from_utf8(data).ok().filter(|_| is_json(content_type));
    let json = text.and_then(|text| RawValue::from_string(text.to_owned()).ok());
    let data_base64 = json.is_none().then(|| BASE64_STANDARD.encode(data));
    (json, data_base64)
}

pub fn position(text: &str) -> Result<Position, Problem> {
    text.parse().map_err(|error: client::PositionError| Problem::invalid(error.to_string()))
}
