//! `levada events subscription`: looking after competing consumers.

use serde_json::{Value, json};

use super::store::{Store, segment};
use super::with;
use crate::cli::Format;
use crate::cli::events::{Named, SubscriptionCommand};
use crate::output::line;

pub fn run(command: &SubscriptionCommand) -> anyhow::Result<()> {
    match command {
        SubscriptionCommand::List { format, store } => with(store, async |store| list(store, *format).await),
        SubscriptionCommand::Create {
            named,
            from,
            ack_timeout,
            attempts,
            in_flight,
            unordered,
            kind,
            tag,
            store,
        } => {
            let mut settings = json!({});
            let mut set = |name: &str, value: Option<Value>| {
                if let Some(value) = value {
                    settings[name] = value;
                }
            };
            set("from", from.clone().map(Value::from));
            set("ackTimeout", ack_timeout.clone().map(Value::from));
            set("maxAttempts", attempts.map(Value::from));
            set("maxInFlight", in_flight.map(Value::from));
            set("ordered", unordered.then_some(Value::from(false)));
            let is_filtered = !kind.is_empty() || !tag.is_empty();
            set("anyOf", is_filtered.then(|| json!([{"types": kind, "tags": tag}])));
            with(store, async |store| {
                let _: Value = store.send("PUT", &path(named, ""), &settings).await?;
                describe(store, named, Format::Text).await
            })
        }
        SubscriptionCommand::Describe { named, format, store } => {
            with(store, async |store| describe(store, named, *format).await)
        }
        SubscriptionCommand::Delete { named, store } => with(store, async |store| {
            let _: Value = store.send("DELETE", &path(named, ""), &json!({})).await?;
            line(&format!("{} to {}: deleted", named.name, named.category))
        }),
        SubscriptionCommand::Reset { named, from, store } => with(store, async |store| {
            let _: Value = store.send("POST", &path(named, "/reset"), &json!({ "from": from })).await?;
            line(&format!("{} to {}: begins at {from}", named.name, named.category))
        }),
        SubscriptionCommand::Parked { named, count, store } => with(store, async |store| {
            let query = [("limit", count.to_string())];
            let parked: Vec<Box<serde_json::value::RawValue>> =
                store.get(&path(named, "/parked"), &query).await?;
            parked.iter().try_for_each(|event| line(event.get()))
        }),
        SubscriptionCommand::Replay { named, place, store } => {
            with(store, async |store| chosen(store, named, "replay", "handed out again", place).await)
        }
        SubscriptionCommand::Discard { named, place, store } => {
            with(store, async |store| chosen(store, named, "discard", "given up", place).await)
        }
    }
}

fn path(named: &Named, what: &str) -> String {
    format!("/v1/subscriptions/{}/{}{what}", segment(&named.category), segment(&named.name))
}

async fn list(store: &Store, format: Format) -> anyhow::Result<()> {
    let all: Vec<Value> = store.get("/v1/subscriptions", &[]).await?;
    for one in all {
        line(&match format {
            Format::Text => {
                let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
                format!("{} {}", text("category"), text("name"))
            }
            Format::Json => one.to_string(),
        })?;
    }
    Ok(())
}

async fn describe(store: &Store, named: &Named, format: Format) -> anyhow::Result<()> {
    let one: Value = store.get(&path(named, ""), &[]).await?;
    match format {
        Format::Json => line(&one.to_string()),
        Format::Text => {
            let order = if one["ordered"] == true { "each stream in order" } else { "in no order" };
            line(&format!("subscription {} to {}, {order}", named.name, named.category))?;
            line(&format!(
                "  in flight {} of {}, parked {}, at most {} records behind",
                one["inFlight"], one["maxInFlight"], one["parked"], one["behind"]
            ))?;
            line(&format!(
                "  acknowledged within {}, {} attempts, {} between them",
                one["ackTimeout"].as_str().unwrap_or_default(),
                one["maxAttempts"],
                one["retryDelay"].as_str().unwrap_or_default()
            ))?;
            line(&format!("  position {}", one["position"].as_str().unwrap_or_default()))
        }
    }
}

async fn chosen(
    store: &Store,
    named: &Named,
    what: &str,
    done: &str,
    places: &[String],
) -> anyhow::Result<()> {
    let body = if places.is_empty() { json!({}) } else { json!({ "places": places }) };
    let answer: Value = store.send("POST", &path(named, &format!("/parked/{what}")), &body).await?;
    line(&format!("{} events {done}", answer["count"]))
}
