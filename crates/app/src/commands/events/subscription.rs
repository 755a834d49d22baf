//! `levada events subscription`: looking after competing consumers.

use ::client::Position;
use anyhow::{bail, ensure};
use serde_json::{Value, json};

use super::store::{Store, segment};
use super::{text, width, with};
use crate::cli::Format;
use crate::cli::events::{Named, SubscriptionArgs, SubscriptionCommand};
use crate::commands::confirm::confirm;
use crate::output::{counted, line, note};

pub fn run(command: &SubscriptionCommand) -> anyhow::Result<()> {
    match command {
        SubscriptionCommand::List { format, store } => with(store, async |store| list(store, *format).await),
        SubscriptionCommand::Create { named, from, settings, store } => {
            let mut wanted = changed(json!({}), settings, None);
            if let Some(from) = from {
                wanted["from"] = Value::from(from.as_str());
            }
            with(store, async |store| {
                if find(store, named).await?.is_some() {
                    bail!(
                        "{0} to {1} is there already: `levada events subscription alter {1} {0}` changes its settings",
                        named.name,
                        named.category
                    );
                }
                let _: Value = store.send("PUT", &path(named, ""), &wanted).await?;
                describe(store, named, Format::Text).await
            })
        }
        SubscriptionCommand::Alter { named, settings, ordered, all_events, store } => {
            with(store, async |store| {
                let Some(present) = find(store, named).await? else {
                    bail!(
                        "there is no subscription {0} to {1}: `levada events subscription create {1} {0}` makes one",
                        named.name,
                        named.category
                    );
                };
                let mut kept = present.clone();
                if let Some(kept) = kept.as_object_mut() {
                    kept.retain(|name, _| SETTINGS.contains(&name.as_str()));
                    if *all_events {
                        kept.remove("anyOf");
                        kept.remove("correlationId");
                    }
                }
                let wanted = changed(kept.clone(), settings, ordered.then_some(true));
                ensure!(
                    wanted != kept || *all_events,
                    "nothing to change: name a setting, such as --ack-timeout 1m or --type OrderPlaced"
                );
                let _: Value = store.send("PUT", &path(named, ""), &wanted).await?;
                describe(store, named, Format::Text).await
            })
        }
        SubscriptionCommand::Describe { named, format, store } => {
            with(store, async |store| describe(store, named, *format).await)
        }
        SubscriptionCommand::Delete { named, yes, store } => with(store, async |store| {
            let what = format!("delete the subscription {} to {}", named.name, named.category);
            ask(store, named, &what, *yes).await?;
            let _: Value = store.send("DELETE", &path(named, ""), &json!({})).await?;
            line(&format!("{} to {}: deleted", named.name, named.category))
        }),
        SubscriptionCommand::Reset { named, from, yes, store } => with(store, async |store| {
            let what = format!("begin the subscription {} to {} anew at {from}", named.name, named.category);
            ask(store, named, &what, *yes).await?;
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
        SubscriptionCommand::Discard { named, place, yes, store } => with(store, async |store| {
            let which = match place.as_slice() {
                [] => "all parked events".to_owned(),
                [one] => format!("the parked event {one}"),
                places => format!("the parked events {}", places.join(", ")),
            };
            ask(store, named, &format!("give up {which} of {} to {}", named.name, named.category), *yes)
                .await?;
            chosen(store, named, "discard", "given up", place).await
        }),
    }
}

fn path(named: &Named, what: &str) -> String {
    format!("/v1/subscriptions/{}/{}{what}", segment(&named.category), segment(&named.name))
}

/// What of a subscription is a setting.
const SETTINGS: [&str; 7] =
    ["anyOf", "correlationId", "ackTimeout", "maxAttempts", "retryDelay", "maxInFlight", "ordered"];

/// Settings, with those in their places that are named.
fn changed(mut settings: Value, named: &SubscriptionArgs, ordered: Option<bool>) -> Value {
    let SubscriptionArgs { ack_timeout, attempts, retry_delay, in_flight, unordered, kind, tag, correlation } =
        named;
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            settings[name] = value;
        }
    };
    set("ackTimeout", ack_timeout.clone().map(Value::from));
    set("maxAttempts", attempts.map(Value::from));
    set("retryDelay", retry_delay.clone().map(Value::from));
    set("maxInFlight", in_flight.map(Value::from));
    set("ordered", ordered.or(unordered.then_some(false)).map(Value::from));
    set("correlationId", correlation.clone().map(Value::from));
    let is_filtered = !kind.is_empty() || !tag.is_empty();
    set("anyOf", is_filtered.then(|| json!([{"types": kind, "tags": tag}])));
    settings
}

/// Which events a subscription is for.
fn filter(one: &Value) -> String {
    let each = |name: &str, of: &Value| -> Vec<String> {
        let all = of[format!("{name}s")].as_array().into_iter().flatten().filter_map(Value::as_str);
        all.map(|it| format!("{name} {it}")).collect()
    };
    let selector = |of: &Value| {
        let types = each("type", of).join(" or ");
        let parts = [types].into_iter().filter(|types| !types.is_empty()).chain(each("tag", of));
        parts.collect::<Vec<_>>().join(" and ")
    };
    let selectors: Vec<String> = one["anyOf"].as_array().into_iter().flatten().map(selector).collect();
    let told = match selectors.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        several => several.iter().map(|it| format!("({it})")).collect::<Vec<_>>().join(" or "),
    };
    match (told.as_str(), one["correlationId"].as_str()) {
        ("", None) => "all events".to_owned(),
        ("", Some(id)) => format!("correlation {id}"),
        (told, None) => told.to_owned(),
        (told, Some(id)) => format!("{told}; correlation {id}"),
    }
}

/// The settings of a subscription, where there is one.
async fn find(store: &Store, named: &Named) -> anyhow::Result<Option<Value>> {
    let query = [("category", named.category.clone())];
    let all: Vec<Value> = store.get("/v1/subscriptions", &query).await?;
    Ok(all.into_iter().find(|one| text(one, "name") == named.name))
}

/// Asks, unless `--yes` was given; says what is parked, and that there is no such subscription.
async fn ask(store: &Store, named: &Named, what: &str, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    let one: Value = store.get(&path(named, ""), &[]).await?;
    let parked = match one["parked"].as_i64().unwrap_or_default() {
        0 => String::new(),
        count => format!(" ({} parked)", counted(count, "event")),
    };
    confirm(&format!("{what}{parked}"), yes)
}

async fn list(store: &Store, format: Format) -> anyhow::Result<()> {
    let all: Vec<Value> = store.get("/v1/subscriptions", &[]).await?;
    if format == Format::Json {
        return all.iter().try_for_each(|one| line(&one.to_string()));
    }
    if all.is_empty() {
        note("there are no subscriptions: `levada events subscription create CATEGORY NAME` makes one");
        return Ok(());
    }
    let (category, name) = (width(&all, "category"), width(&all, "name"));
    line(&format!("{:category$}  {:name$}  events", "category", "name"))?;
    all.iter().try_for_each(|one| {
        line(&format!("{:category$}  {:name$}  {}", text(one, "category"), text(one, "name"), filter(one)))
    })
}

async fn describe(store: &Store, named: &Named, format: Format) -> anyhow::Result<()> {
    let one: Value = store.get(&path(named, ""), &[]).await?;
    match format {
        Format::Json => line(&one.to_string()),
        Format::Text => {
            let order = if one["ordered"] == true { "each stream in order" } else { "in no order" };
            line(&format!("subscription {} to {}, {order}", named.name, named.category))?;
            let number = |name: &str| one[name].as_i64().unwrap_or_default();
            line(&format!("  for {}", filter(&one)))?;
            line(&format!(
                "  in flight {} of {}, parked {}, at most {} behind",
                number("inFlight"),
                number("maxInFlight"),
                number("parked"),
                counted(number("behind"), "record")
            ))?;
            line(&format!(
                "  acknowledged within {}, {}, {} between them",
                text(&one, "ackTimeout"),
                counted(number("maxAttempts"), "attempt"),
                text(&one, "retryDelay")
            ))?;
            let position: Position = text(&one, "position").parse()?;
            line(&match position.is_empty() {
                true => "  at the beginning".to_owned(),
                false => format!("  position {position}"),
            })
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
    line(&format!("{} {done}", counted(answer["count"].as_i64().unwrap_or_default(), "event")))
}

#[cfg(test)]
mod tests;
