//! What becomes of categories and streams over time: deletion, snapshots, upcasters, erasure.

use anyhow::Context;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::store::{Store, segment};
use super::{data, stream_path, text, width, with};
use crate::cli::Format;
use crate::cli::events::{CategoryCommand, ErasureCommand, SnapshotCommand, UpcasterCommand};
use crate::commands::confirm::confirm;
use crate::output::{line, note};

pub fn category(command: &CategoryCommand) -> anyhow::Result<()> {
    let (category, yes, store) = match command {
        CategoryCommand::List { format, store } => {
            return with(store, async |store| super::list(store, *format).await);
        }
        CategoryCommand::Create { category, partitions, store } => {
            return with(store, async |store| super::create(store, category, *partitions).await);
        }
        CategoryCommand::Delete { category, yes, store } => (category, yes, store),
    };
    with(store, async |store| {
        let path = format!("/v1/categories/{}", segment(category));
        if !yes {
            // A typo is told before anything is asked.
            let _: Value = store.get(&path, &[]).await?;
        }
        confirm(
            &format!("delete the category {category} with all of its events, snapshots and subscriptions"),
            *yes,
        )?;
        let deleted: Value = store.send("DELETE", &path, &json!({})).await?;
        let list = |name: &str| -> Vec<&str> {
            deleted[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
        };
        let plural = |names: &[&str], noun: &str| match names {
            [_] => noun.to_owned(),
            _ => format!("{noun}s"),
        };
        let topics = list("topics");
        line(&format!("deleted {category}: {} {}", plural(&topics, "topic"), topics.join(", ")))?;
        match list("subscriptions")[..] {
            [] => Ok(()),
            ref names => line(&format!("deleted the {} {}", plural(names, "subscription"), names.join(", "))),
        }
    })
}

pub fn snapshot(command: &SnapshotCommand) -> anyhow::Result<()> {
    let path = |category: &str, stream: &str| format!("{}/snapshot", stream_path(category, stream));
    match command {
        SnapshotCommand::Get { category, stream, schema_version, store } => with(store, async |store| {
            let query = schema_version.map(|version| ("schemaVersion", version.to_string()));
            let query: Vec<_> = query.into_iter().collect();
            let found: Box<RawValue> = store.get(&path(category, stream), &query).await?;
            line(found.get())
        }),
        SnapshotCommand::Put {
            category,
            stream,
            version,
            schema_version,
            data: given,
            subject,
            personal,
            store,
        } => {
            let data = data(given.as_deref())?;
            let mut about = Map::new();
            about.insert("version".to_owned(), (*version).into());
            if let Some(schema_version) = schema_version {
                about.insert("schemaVersion".to_owned(), (*schema_version).into());
            }
            if let Some(subject) = subject {
                about.insert("subject".to_owned(), subject.as_str().into());
                about.insert("personal".to_owned(), personal.clone().into());
            }
            // The data go as they are, byte for byte.
            let about = Value::Object(about).to_string();
            let body = format!("{},\"data\":{data}}}", &about[..about.len() - 1]);
            with(store, async |store| {
                store.send_text("PUT", &path(category, stream), body.clone()).await?;
                line(&format!("{stream} has a snapshot of version {version}"))
            })
        }
        SnapshotCommand::Delete { category, stream, yes, store } => with(store, async |store| {
            if !yes {
                let _: Box<RawValue> = store.get(&path(category, stream), &[]).await?;
            }
            confirm(&format!("remove the snapshot of {stream}"), *yes)?;
            let _: Value = store.send("DELETE", &path(category, stream), &json!({})).await?;
            line(&format!("removed the snapshot of {stream}"))
        }),
    }
}

pub fn upcaster(command: &UpcasterCommand) -> anyhow::Result<()> {
    let path = |kind: &str, from: u32| format!("/v1/upcasters/{}/{from}", segment(kind));
    match command {
        UpcasterCommand::List { format, store } => with(store, async |store| upcasters(store, *format).await),
        UpcasterCommand::Put { kind, from, patch, defaults, new_type, example, store } => {
            let json = |option: &str, text: &Option<String>| -> anyhow::Result<Option<Value>> {
                let read = text.as_deref().map(serde_json::from_str).transpose();
                read.with_context(|| format!("{option} is no JSON"))
            };
            let patch = json("--patch", patch)?.unwrap_or_else(|| json!([]));
            let mut body = Map::from_iter([("patch".to_owned(), patch)]);
            let rest = [
                ("defaults", json("--defaults", defaults)?),
                ("type", new_type.clone().map(Value::from)),
                ("example", json("--example", example)?),
            ];
            let rest = rest.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
            body.extend(rest);
            let body = Value::Object(body);
            with(store, async |store| {
                let tried: Value = store.send("PUT", &path(kind, *from), &body).await?;
                line(&format!("events {kind} of schema version {from} are lifted from now on"))?;
                match tried {
                    Value::Null => Ok(()),
                    tried => line(&format!("the example becomes {tried}")),
                }
            })
        }
        UpcasterCommand::Delete { kind, from, yes, store } => with(store, async |store| {
            confirm(&format!("remove the upcaster of {kind} from schema version {from}"), *yes)?;
            let _: Value = store.send("DELETE", &path(kind, *from), &json!({})).await?;
            line(&format!("removed the upcaster of {kind} from schema version {from}"))
        }),
    }
}

async fn upcasters(store: &Store, format: Format) -> anyhow::Result<()> {
    let all: Vec<Value> = store.get("/v1/upcasters", &[]).await?;
    if all.is_empty() && format == Format::Text {
        note("there are no upcasters: events are read as they are recorded");
        return Ok(());
    }
    let width = width(&all, "type");
    if format == Format::Text {
        line(&format!("{:width$}  {:>7}  {:>7}  what is done", "type", "from", "to"))?;
    }
    for one in all {
        line(&match format {
            Format::Json => one.to_string(),
            Format::Text => {
                let kind = text(&one, "type");
                let from = one["fromVersion"].as_u64().unwrap_or_default();
                let to = match one["newType"].as_str() {
                    Some(new) => format!("{new} {}", from + 1),
                    None => (from + 1).to_string(),
                };
                let defaults = match &one["defaults"] {
                    Value::Null => None,
                    defaults => Some(format!("defaults {defaults}")),
                };
                let patch = one["patch"].as_array().is_some_and(|patch| !patch.is_empty());
                let patch = patch.then(|| format!("patch {}", one["patch"]));
                let done: Vec<String> = [patch, defaults].into_iter().flatten().collect();
                format!("{kind:width$}  {from:>7}  {to:>7}  {}", done.join("  ")).trim_end().to_owned()
            }
        })?;
    }
    Ok(())
}

pub fn erasure(command: &ErasureCommand) -> anyhow::Result<()> {
    match command {
        ErasureCommand::List { store } => with(store, async |store| {
            let (mut after, mut is_any) = (None, false);
            loop {
                let query: Vec<_> = after.into_iter().map(|after| ("after", after)).collect();
                let page: Value = store.get("/v1/erasures", &query).await?;
                page["certificates"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .try_for_each(|one| line(&one.to_string()))?;
                is_any |= page["certificates"].as_array().is_some_and(|all| !all.is_empty());
                if page["end"] == true {
                    if !is_any {
                        note("nothing was erased yet");
                    }
                    return Ok(());
                }
                after = Some(page["position"].as_str().context("an answer without `position`")?.to_owned());
            }
        }),
        ErasureCommand::Show { subject, store } => with(store, async |store| {
            let found: Vec<Value> = store.get(&erasure_path(subject), &[]).await?;
            found.iter().try_for_each(|one| line(&one.to_string()))
        }),
        ErasureCommand::Create { subject, reason, yes, store } => {
            confirm(&format!("erase the personal data of {subject}"), *yes)?;
            with(store, async |store| {
                let body = json!({ "reason": reason });
                let certificate: Value = store.send("POST", &erasure_path(subject), &body).await?;
                line(&certificate.to_string())
            })
        }
    }
}

fn erasure_path(subject: &str) -> String {
    format!("/v1/erasure/{}", segment(subject))
}
