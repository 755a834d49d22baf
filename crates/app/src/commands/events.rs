//! `levada events`: the event store's HTTP API for people.

mod instance;
mod lifecycle;
mod store;
mod subscription;

use std::io::Read;

use anyhow::Context;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::cli::Format;
use crate::cli::events::{AppendArgs, EventsCommand, StoreArgs, TailArgs};
use crate::output::{line, note};
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
        EventsCommand::Read { category, stream, from, backward, count, archived, store } => {
            let read = Reading { category, stream, backward: *backward, archived: *archived };
            with(store, async |store| read.print(store, *from, count.unwrap_or(usize::MAX)).await)
        }
        EventsCommand::Tail(arguments) => with(&arguments.store, async |store| tail(store, arguments).await),
        EventsCommand::Subscription { command } => subscription::run(command),
        EventsCommand::Category { command } => lifecycle::category(command),
        EventsCommand::Snapshot { command } => lifecycle::snapshot(command),
        EventsCommand::Upcaster { command } => lifecycle::upcaster(command),
        EventsCommand::Erasure { command } => lifecycle::erasure(command),
        EventsCommand::Truncate { category, stream, before, archive, store } => {
            let body = json!({ "before": before, "archive": archive });
            with(store, async |store| truncate(store, category, stream, &body).await)
        }
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
        note("there are no categories yet: `levada events create NAME` makes one, as does the first event");
    }
    for category in categories.as_array().into_iter().flatten() {
        line(&match format {
            Format::Text => {
                let text = |name: &str| category[name].as_str().unwrap_or_default().to_owned();
                let (name, topic) = (text("category"), text("topic"));
                format!("{name} topic {topic} {} partitions", category["partitions"])
            }
            Format::Json => category.to_string(),
        })?;
    }
    Ok(())
}

async fn create(store: &Store, category: &str, partitions: Option<i32>) -> anyhow::Result<()> {
    let settings = partitions.map_or_else(|| json!({}), |count| json!({ "partitions": count }));
    let created =
        store.send("PUT", &format!("/v1/categories/{}", store::segment(category)), &settings).await?;
    line(&format!("{category}: topic {} with {} partitions", created["topic"], created["partitions"]))
}

/// What an option says, or else standard input; byte for byte.
fn data(option: Option<&str>) -> anyhow::Result<Box<RawValue>> {
    let text = match option {
        Some(text) => text.to_owned(),
        None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("standard input is no text")?;
            text
        }
    };
    serde_json::from_str(&text).context("the data are no JSON (a text needs quotes)")
}

async fn append(store: &Store, arguments: &AppendArgs) -> anyhow::Result<()> {
    let data = data(arguments.data.as_deref())?;
    let mut event = Map::new();
    event.insert("type".to_owned(), arguments.kind.clone().into());
    event.insert("tags".to_owned(), arguments.tag.clone().into());
    let mut add = |name: &str, value: &Option<String>| {
        if let Some(value) = value {
            event.insert(name.to_owned(), value.clone().into());
        }
    };
    add("id", &arguments.id);
    add("correlationId", &arguments.correlation);
    // The data go as they are, byte for byte.
    let mut event = Value::Object(event).to_string();
    event.truncate(event.len() - 1);
    let event = format!("{event},\"data\":{data}}}");
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
    end: bool,
    position: String,
}

#[derive(Deserialize)]
struct Version {
    version: u64,
}

impl Found {
    fn print(&self) -> anyhow::Result<()> {
        self.events.iter().try_for_each(|event| line(event.get()))
    }
}

struct Reading<'a> {
    category: &'a str,
    stream: &'a str,
    backward: bool,
    archived: bool,
}

impl Reading<'_> {
    /// Page after page.
    async fn print(&self, store: &Store, from: Option<u64>, count: usize) -> anyhow::Result<()> {
        let door = if self.archived { "archive" } else { "events" };
        let path = format!("{}/{door}", stream_path(self.category, self.stream));
        let (mut from, mut left) = (from, count);
        while left > 0 {
            let mut query = vec![("limit", left.min(PAGE).to_string())];
            if self.backward {
                query.push(("direction", "backward".to_owned()));
            }
            query.extend(from.map(|from| ("from", from.to_string())));
            let found: Found = store.get(&path, &query).await?;
            found.print()?;
            left -= found.events.len().min(left);
            match found.events.last() {
                Some(last) if !found.end => {
                    let Version { version } = serde_json::from_str(last.get())?;
                    from = Some(if self.backward { version - 1 } else { version + 1 });
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

async fn truncate(store: &Store, category: &str, stream: &str, body: &Value) -> anyhow::Result<()> {
    let path = format!("{}/truncate", stream_path(category, stream));
    let done = store.send("POST", &path, body).await?;
    let (first, version, archived) = (&done["first"], &done["version"], &done["archived"]);
    line(&format!(
        "{stream} is read from version {first}, is at version {version}; {archived} events archived"
    ))
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
    let mut after = Some(arguments.after.clone()).filter(|after| after != "beginning");
    if !arguments.until_end {
        query.extend(after.map(|after| ("after", after)));
        return store.follow(&path, &query).await;
    }
    loop {
        let mut page = query.clone();
        page.push(("limit", PAGE.to_string()));
        page.extend(after.map(|after| ("after", after)));
        let found: Found = store.get(&path, &page).await?;
        found.print()?;
        if found.end {
            return Ok(());
        }
        after = Some(found.position);
    }
}
