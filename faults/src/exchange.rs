//! Requests and answers of the event store's HTTP API, as a client of any language would write and read them.

use client::Position;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::history::{Append, EventId, Expected, Outcome, Stream, category_name};
use crate::http::{Answer, Door};

pub struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

/// What one try of an append led to.
pub enum Reply {
    Outcome(Outcome),
    /// It may have been done.
    Doubt,
    /// It was not done, and may be asked again.
    Refused,
}

/// None: no answer came, and it may have been done.
pub fn ask(door: &mut Door, request: &Request) -> Option<Answer> {
    let headers: Vec<(&str, &str)> =
        request.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    door.ask(request.method, &request.path, &headers, &request.body).ok()
}

fn event(id: EventId) -> String {
    let (kind, tag) = (id.kind(), id.tag());
    format!(r#"{{"id":"{id}","type":"K{kind}","tags":["t{tag}"],"data":{}}}"#, id.data())
}

fn events(ids: &[EventId]) -> String {
    let events: Vec<String> = ids.iter().map(|id| event(*id)).collect();
    format!("[{}]", events.join(","))
}

/// To its only stream.
pub fn append_to_stream(append: &Append) -> Request {
    let part = &append.parts[0];
    let headers = match part.expected {
        Expected::Any => Vec::new(),
        Expected::None => vec![("if-none-match", "*".to_owned())],
        Expected::Exists => vec![("if-match", "*".to_owned())],
        Expected::Exactly(version) => vec![("if-match", format!("\"{version}\""))],
    };
    Request {
        method: "POST",
        path: format!("/v1/streams/{}/{}/events", category_name(append.category), part.stream),
        headers,
        body: events(&part.events),
    }
}

/// To all of its streams, under its condition. `after`: the condition's position.
pub fn append(append: &Append, after: Option<&str>) -> Request {
    let streams: Vec<String> = append
        .parts
        .iter()
        .map(|part| {
            let expected = match part.expected {
                Expected::Any => json!("any"),
                Expected::None => json!("none"),
                Expected::Exists => json!("exists"),
                Expected::Exactly(version) => json!(version),
            };
            format!(
                r#"{{"stream":"{}","expected":{expected},"events":{}}}"#,
                part.stream,
                events(&part.events)
            )
        })
        .collect();
    let first = append.parts[0].stream;
    let boundary = match first {
        Stream::Alone(_) => String::new(),
        Stream::Within(..) => format!(r#""boundary":"{}","#, first.boundary()),
    };
    let condition = append.condition.map_or(String::new(), |condition| {
        let after = after.map_or(String::new(), |after| format!(r#","after":"{after}""#));
        let (kind, tag) = (condition.kind, condition.tag);
        format!(
            r#","conditions":[{{"failIfEventsMatch":[{{"types":["K{kind}"],"tags":["t{tag}"]}}]{after}}}]"#
        )
    });
    Request {
        method: "POST",
        path: format!("/v1/categories/{}/append", category_name(append.category)),
        headers: Vec::new(),
        body: format!(r#"{{{boundary}"streams":[{}]{condition}}}"#, streams.join(",")),
    }
}

pub fn create(category: u8, partitions: usize) -> Request {
    Request {
        method: "PUT",
        path: format!("/v1/categories/{}", category_name(category)),
        headers: Vec::new(),
        body: json!({ "partitions": partitions }).to_string(),
    }
}

pub fn read(
    category: u8,
    stream: Stream,
    from: u64,
    limit: usize,
    is_strong: bool,
    at_least: Option<&str>,
) -> Request {
    let mut headers = Vec::new();
    if is_strong {
        headers.push(("levada-consistency", "strong".to_owned()));
    }
    if let Some(position) = at_least {
        headers.push(("levada-min-position", position.to_owned()));
    }
    Request {
        method: "GET",
        path: format!("/v1/streams/{}/{stream}/events?from={from}&limit={limit}", category_name(category)),
        headers,
        body: String::new(),
    }
}

#[derive(Deserialize)]
struct AppendedBody {
    streams: Vec<VersionBody>,
    position: String,
    repeated: bool,
}

#[derive(Deserialize)]
struct VersionBody {
    stream: String,
    version: u64,
}

pub fn reply(answer: Option<Answer>) -> Reply {
    let Some(answer) = answer else { return Reply::Doubt };
    let odd = || {
        let body = String::from_utf8_lossy(&answer.body);
        Reply::Outcome(Outcome::Odd(format!("{} {body}", answer.status)))
    };
    if matches!(answer.status, 200 | 201) {
        return appended(&answer).map_or_else(odd, Reply::Outcome);
    }
    let Ok(problem) = serde_json::from_slice::<Value>(&answer.body) else { return odd() };
    let kind = problem["type"].as_str().and_then(|kind| kind.strip_prefix("urn:levada:problem:"));
    match (answer.status, kind) {
        (503, Some("unavailable")) => Reply::Refused,
        (503, Some("in-doubt")) => Reply::Doubt,
        (412, Some("wrong-version")) => {
            let stream = problem["stream"].as_str().and_then(|text| text.parse().ok());
            match stream.zip(problem["current"].as_u64()) {
                Some((stream, current)) => Reply::Outcome(Outcome::WrongVersion { stream, current }),
                None => odd(),
            }
        }
        (412, Some("condition-failed")) => match problem["offset"].as_i64() {
            Some(at) => Reply::Outcome(Outcome::ConditionFailed { at }),
            None => odd(),
        },
        _ => odd(),
    }
}

fn appended(answer: &Answer) -> Option<Outcome> {
    let body: AppendedBody = serde_json::from_slice(&answer.body).ok()?;
    if answer.position.as_deref() != Some(&body.position) || body.repeated != (answer.status == 200) {
        return None;
    }
    let versions = body.streams.iter().map(|it| Some((it.stream.parse().ok()?, it.version)));
    let (partition, next) = position(&body.position)?;
    Some(Outcome::Appended {
        versions: versions.collect::<Option<_>>()?,
        partition,
        next,
        is_repeated: body.repeated,
    })
}

/// The only partition of a position.
pub fn position(text: &str) -> Option<(i32, i64)> {
    let position: Position = text.parse().ok()?;
    let mut parts = position.iter();
    match (parts.next(), parts.next()) {
        (Some((partition, next)), None) => Some((partition.index, next.0)),
        _ => None,
    }
}

/// What was read.
pub struct Found {
    pub version: u64,
    pub events: Vec<(u64, EventId)>,
    pub position: Option<(i32, i64)>,
}

#[derive(Deserialize)]
struct FoundBody {
    version: u64,
    events: Vec<RecordedBody>,
    position: String,
}

#[derive(Deserialize)]
struct RecordedBody {
    version: u64,
    id: String,
}

/// None: it was refused.
pub fn found(answer: &Answer) -> Option<Found> {
    match answer.status {
        200 => {
            let body: FoundBody = serde_json::from_slice(&answer.body).ok()?;
            let event = |it: &RecordedBody| (it.version, it.id.parse().unwrap_or(EventId(0)));
            let events = body.events.iter().map(event).collect();
            Some(Found { version: body.version, events, position: position(&body.position) })
        }
        404 => Some(Found { version: 0, events: Vec::new(), position: None }),
        _ => None,
    }
}
