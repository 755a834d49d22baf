//! `levada events`: the event store's HTTP API for people.

mod instance;
mod lifecycle;
mod repair;
mod store;
mod subscription;

use std::io::{IsTerminal, Read};

use ::client::Position;
use ::events::event::is_json;
use anyhow::{Context, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use model::Offset;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::cli::Format;
use crate::cli::events::{AppendArgs, EventsCommand, ReadFrom, StoreArgs, TailArgs};
use crate::commands::confirm::confirm;
use crate::output::{counted, line, note};
use store::Store;

/// Events that are asked for at once.
const PAGE: usize = 500;

pub fn run(command: &EventsCommand) -> anyhow::Result<()> {
    match command {
        EventsCommand::List { format, store } => with(store, async |store| list(store, *format).await),
        EventsCommand::Create { category, partitions, store } => {
            with(store, async |store| create(store, category, *partitions).await)
        }
        EventsCommand::Append(arguments) => {
            with(&arguments.store, async |store| append(store, arguments).await)
        }
        EventsCommand::Read { category, stream, from, backward, count, archived, raw, store } => {
            let read = Reading { category, stream, backward: *backward, archived: *archived, raw: *raw };
            with(store, async |store| read.print(store, *from, count.unwrap_or(usize::MAX)).await)
        }
        EventsCommand::Tail(arguments) => with(&arguments.store, async |store| tail(store, arguments).await),
        EventsCommand::Subscription { command } => subscription::run(command),
        EventsCommand::Category { command } => lifecycle::category(command),
        EventsCommand::Snapshot { command } => lifecycle::snapshot(command),
        EventsCommand::Upcaster { command } => lifecycle::upcaster(command),
        EventsCommand::Erasure { command } => lifecycle::erasure(command),
        EventsCommand::Truncate { category, stream, before, archive, yes, store } => {
            let what = format!("give up the events of {stream} before version {before}, without an archive,");
            confirm(&what, *yes || *archive)?;
            with(store, async |store| truncate(store, category, stream, *before, *archive).await)
        }
        EventsCommand::Repair(arguments) => repair::run(arguments),
        EventsCommand::RotatePeerKey { store } => with(store, async |store| {
            let rotated = store.send("POST", "/v1/peer-key/rotate", &json!({})).await?;
            line(&format!(
                "instances sign with key {} from now on",
                rotated["keyId"].as_str().unwrap_or_default()
            ))
        }),
        EventsCommand::Trim { category, store } => with(store, async |store| trim(store, category).await),
    }
}

fn with(
    arguments: &StoreArgs,
    command: impl AsyncFnOnce(&Store) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { command(&instance::find(arguments).await?).await })
}

async fn list(store: &Store, format: Format) -> anyhow::Result<()> {
    let categories: Value = store.get("/v1/categories", &[]).await?;
    if format == Format::Text && categories.as_array().is_some_and(Vec::is_empty) {
        note(
            "there are no categories yet: `levada events category create NAME` makes one, as does the first event",
        );
        return Ok(());
    }
    let width = width(categories.as_array().into_iter().flatten(), "category");
    if format == Format::Text {
        line(&format!("{:width$}  partitions  topic", "category"))?;
    }
    for category in categories.as_array().into_iter().flatten() {
        line(&match format {
            Format::Text => {
                format!(
                    "{:width$}  {:10}  {}",
                    text(category, "category"),
                    category["partitions"],
                    text(category, "topic")
                )
            }
            Format::Json => category.to_string(),
        })?;
    }
    Ok(())
}

async fn create(store: &Store, category: &str, partitions: Option<i32>) -> anyhow::Result<()> {
    let settings = partitions.map_or_else(|| json!({}), |count| json!({ "partitions": count }));
    let path = format!("/v1/categories/{}", store::segment(category));
    let (is_new, made) = store.put(&path, &settings).await?;
    let count = counted(made["partitions"].as_i64().unwrap_or_default(), "partition");
    line(&match is_new {
        true => format!("created {category} with {count}, in topic {}", text(&made, "topic")),
        false => format!("{category} is there already, with {count}, in topic {}", text(&made, "topic")),
    })
}

/// A member that is a text.
fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of[name].as_str().unwrap_or_default()
}

/// How wide the column of a member is.
fn width<'a>(all: impl IntoIterator<Item = &'a Value>, name: &str) -> usize {
    all.into_iter().map(|one| text(one, name).len()).max().unwrap_or(0).max(name.len())
}

/// What an option says, or else standard input; byte for byte.
fn bytes(option: Option<&str>) -> anyhow::Result<Vec<u8>> {
    if let Some(text) = option {
        return Ok(text.as_bytes().to_vec());
    }
    if std::io::stdin().is_terminal() {
        note("without --data, the data are read from standard input");
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
    Ok(bytes)
}

/// The same, which must be JSON.
fn data(option: Option<&str>) -> anyhow::Result<Box<RawValue>> {
    let bytes = bytes(option)?;
    let from = if option.is_some() { "--data" } else { "standard input (there is no --data)" };
    ensure!(!bytes.iter().all(u8::is_ascii_whitespace), "{from} is empty: data are JSON, such as {{}}");
    serde_json::from_slice(&bytes).with_context(|| format!("{from} is no JSON (a text needs quotes)"))
}

/// The data of an event, as members of its JSON.
fn payload(arguments: &AppendArgs) -> anyhow::Result<String> {
    let option = arguments.data.as_deref();
    match &arguments.content_type {
        None => Ok(format!("\"data\":{}", data(option)?)),
        Some(kind) if is_json(kind) => {
            Ok(format!("\"contentType\":{},\"data\":{}", serde_json::to_string(kind)?, data(option)?))
        }
        Some(kind) => {
            let data = BASE64_STANDARD.encode(bytes(option)?);
            Ok(format!("\"contentType\":{},\"dataBase64\":\"{data}\"", serde_json::to_string(kind)?))
        }
    }
}

async fn append(store: &Store, arguments: &AppendArgs) -> anyhow::Result<()> {
    let data = payload(arguments)?;
    let metadata: Option<Value> = arguments
        .metadata
        .as_deref()
        .map(serde_json::from_str)
        .transpose()
        .context("--metadata is no JSON")?;
    let mut event = Map::new();
    event.insert("type".to_owned(), arguments.kind.clone().into());
    event.insert("tags".to_owned(), arguments.tag.clone().into());
    event.insert("personal".to_owned(), arguments.personal.clone().into());
    let mut add = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            event.insert(name.to_owned(), value);
        }
    };
    add("id", arguments.id.clone().map(Value::from));
    add("correlationId", arguments.correlation.clone().map(Value::from));
    add("causationId", arguments.causation.clone().map(Value::from));
    add("schemaVersion", arguments.schema_version.map(Value::from));
    add("subject", arguments.subject.clone().map(Value::from));
    add("metadata", metadata);
    // The data go as they are, byte for byte.
    let mut event = Value::Object(event).to_string();
    event.truncate(event.len() - 1);
    let event = format!("{event},{data}}}");
    let stream = serde_json::to_string(&arguments.stream)?;
    let expected = serde_json::to_string(&arguments.expected)?;
    let body =
        format!("{{\"streams\":[{{\"stream\":{stream},\"expected\":{expected},\"events\":[{event}]}}]}}");
    let path = format!("/v1/categories/{}/append", store::segment(&arguments.category));
    let appended = store.send_text("POST", &path, body).await?;
    let repeated = if appended["repeated"] == true { " (was there already)" } else { "" };
    let version = &appended["streams"][0]["version"];
    line(&format!("{} is at version {version}{repeated}", arguments.stream))
}

/// Events as they came: what is in them is nobody's business here.
#[derive(Deserialize)]
struct Found {
    events: Vec<Box<RawValue>>,
    /// Of a stream that was loaded from it.
    snapshot: Option<Box<RawValue>>,
    end: bool,
    position: String,
    /// What is not read until somebody repairs it.
    #[serde(default)]
    incomplete: Vec<String>,
}

/// Where an event stands.
#[derive(Deserialize)]
struct At {
    version: u64,
    partition: i32,
    offset: i64,
}

/// Ends a command with status 1 where there may be more events than it could print.
fn check_complete(incomplete: &[String]) -> anyhow::Result<()> {
    incomplete.iter().for_each(|what| note(what));
    ensure!(
        incomplete.is_empty(),
        "there may be more events than these: `levada events repair` shows what can be done"
    );
    Ok(())
}

/// An event as one line, with the position behind it.
fn placed(event: &str, position: &str) -> String {
    let members = event.trim_end().strip_suffix('}').unwrap_or(event);
    format!("{members},\"position\":\"{position}\"}}")
}

struct Reading<'a> {
    category: &'a str,
    stream: &'a str,
    backward: bool,
    archived: bool,
    raw: bool,
}

impl Reading<'_> {
    /// Page after page.
    async fn print(&self, store: &Store, from: Option<ReadFrom>, count: usize) -> anyhow::Result<()> {
        let door = if self.archived { "archive" } else { "events" };
        let path = format!("{}/{door}", stream_path(self.category, self.stream));
        let (mut from, mut left) = (from, count);
        while left > 0 {
            let mut query = vec![("limit", left.min(PAGE).to_string())];
            if self.backward {
                query.push(("direction", "backward".to_owned()));
            }
            if self.raw {
                query.push(("raw", "true".to_owned()));
            }
            query.extend(from.map(|from| match from {
                ReadFrom::Version(version) => ("from", version.to_string()),
                ReadFrom::Snapshot => ("from", "snapshot".to_owned()),
            }));
            let found: Found = store.get(&path, &query).await?;
            if let Some(snapshot) = &found.snapshot {
                line(&format!("{{\"snapshot\":{snapshot}}}"))?;
            }
            found.events.iter().try_for_each(|event| line(event.get()))?;
            left -= found.events.len().min(left);
            check_complete(&found.incomplete)?;
            match found.events.last() {
                Some(last) if !found.end => {
                    let At { version, .. } = serde_json::from_str(last.get())?;
                    let next = if self.backward { version - 1 } else { version + 1 };
                    from = Some(ReadFrom::Version(next));
                }
                _ => break,
            }
        }
        Ok(())
    }
}

fn stream_path(category: &str, stream: &str) -> String {
    format!("/v1/streams/{}/{}", store::segment(category), store::segment(stream))
}

async fn truncate(
    store: &Store,
    category: &str,
    stream: &str,
    before: u64,
    archive: bool,
) -> anyhow::Result<()> {
    let path = format!("{}/truncate", stream_path(category, stream));
    let done = store.send("POST", &path, &json!({ "before": before, "archive": archive })).await?;
    let (first, version) = (&done["first"], &done["version"]);
    let archived = match archive {
        true => format!("; {} archived", counted(done["archived"].as_i64().unwrap_or_default(), "event")),
        false => String::new(),
    };
    let already = if first.as_u64() > Some(before) { " already" } else { "" };
    line(&format!("{stream} is read from version {first}{already}, is at version {version}{archived}"))
}

async fn trim(store: &Store, category: &str) -> anyhow::Result<()> {
    let path = format!("/v1/categories/{}/trim", store::segment(category));
    let trimmed = store.send("POST", &path, &json!({})).await?;
    let mut is_any = false;
    for part in trimmed.as_array().into_iter().flatten() {
        let (partition, before, start) = (&part["partition"], &part["startBefore"], &part["start"]);
        if before != start {
            is_any = true;
            line(&format!(
                "{category} partition {partition} begins at offset {start} now, before at {before}"
            ))?;
        }
    }
    if !is_any {
        note(
            "nothing was freed: the first record of every partition is needed (an event that is not truncated, a stream's newest mark, or the newest claim)",
        );
    }
    Ok(())
}

async fn tail(store: &Store, arguments: &TailArgs) -> anyhow::Result<()> {
    let path = format!("/v1/categories/{}/events", store::segment(&arguments.category));
    let mut query: Vec<(&str, String)> = Vec::new();
    query.extend(arguments.tag.iter().map(|tag| ("tag", tag.clone())));
    query.extend(arguments.kind.iter().map(|kind| ("type", kind.clone())));
    query.extend(arguments.correlation.iter().map(|id| ("correlation", id.clone())));
    if arguments.raw {
        query.push(("raw", "true".to_owned()));
    }
    let mut after = Some(arguments.after.clone()).filter(|after| after != "beginning");
    let mut left = arguments.count.unwrap_or(u64::MAX);
    if !arguments.until_end {
        query.extend(after.map(|after| ("after", after)));
        if left == 0 {
            return Ok(());
        }
        let mut print = |event: &str, position: &str| {
            left -= 1;
            line(&placed(event, position)).map(|()| left > 0)
        };
        return store.follow(&path, &query, &mut print).await;
    }
    let mut seen: Position = after.as_deref().and_then(|after| after.parse().ok()).unwrap_or_default();
    let mut incomplete = Vec::new();
    while left > 0 {
        let mut page = query.clone();
        page.push(("limit", left.min(PAGE as u64).to_string()));
        page.extend(after.map(|after| ("after", after)));
        let found: Found = store.get(&path, &page).await?;
        let end: Position = found.position.parse()?;
        for event in &found.events {
            let At { partition, offset, .. } = serde_json::from_str(event.get())?;
            let of = end.iter().map(|(id, _)| id).find(|id| id.index == partition);
            if let Some(id) = of {
                seen.merge(&Position::of(id, Offset(offset + 1)));
            }
            line(&placed(event.get(), &seen.to_string()))?;
        }
        left -= (found.events.len() as u64).min(left);
        incomplete = found.incomplete;
        if found.end {
            break;
        }
        (after, seen) = (Some(found.position), end);
    }
    check_complete(&incomplete)
}
