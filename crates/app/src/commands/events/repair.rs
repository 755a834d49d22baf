//! `levada events repair`: what somebody has to look at, and what is done about it.

use anyhow::bail;
use serde_json::{Value, json};

use super::store::{Store, segment};
use super::{text, with};
use crate::cli::events::RepairArgs;
use crate::output::line;

pub fn run(arguments: &RepairArgs) -> anyhow::Result<()> {
    let category = arguments.category.clone();
    let Some(body) = body(arguments)? else {
        return with(&arguments.store, async |store| list(store, category.as_deref()).await);
    };
    let (name, path) = match (&arguments.table, &category) {
        (Some(table), _) => (table, format!("/v1/tables/{}/repair", segment(table))),
        (None, Some(category)) => (category, format!("/v1/categories/{}/repair", segment(category))),
        (None, None) => anyhow::bail!("which category? Name it"),
    };
    with(&arguments.store, async |store| {
        let left = store.send("POST", &path, &body).await?;
        // What was to be done away with is there as it was.
        let is_same = |trouble: &&Value| {
            body["offset"].is_i64()
                && (&trouble["partition"], &trouble["offset"]) == (&body["partition"], &body["offset"])
        };
        match left.as_array().map(Vec::as_slice) {
            None | Some([]) => line(&format!("{name}: done, and nothing else is wrong with it")),
            Some(left) if left.iter().any(|trouble| is_same(&trouble)) => {
                left.iter().filter(is_same).try_for_each(tell)?;
                bail!("{name}: nothing has come of it, and the partition still takes no appends")
            }
            Some(left) => {
                line(&format!("{name}: done; what is still wrong:"))?;
                left.iter().try_for_each(tell)
            }
        }
    })
}

async fn list(store: &Store, category: Option<&str>) -> anyhow::Result<()> {
    let all: Vec<Value> = store.get("/v1/troubles", &[]).await?;
    let of = |trouble: &&Value| category.is_none_or(|category| trouble["category"] == category);
    let all: Vec<&Value> = all.iter().filter(of).collect();
    if all.is_empty() {
        if let Some(category) = category {
            let _: Value = store.get(&format!("/v1/categories/{}", segment(category)), &[]).await?;
        }
        return line("nothing has to be repaired");
    }
    all.into_iter().try_for_each(tell)
}

fn tell(trouble: &Value) -> anyhow::Result<()> {
    told(trouble).iter().try_for_each(|text| line(text))
}

/// What is wrong, and what to type.
fn told(trouble: &Value) -> Vec<String> {
    let (category, why) = (text(trouble, "category"), text(trouble, "why"));
    match (trouble["partition"].as_i64(), trouble["offset"].as_i64()) {
        (Some(partition), Some(offset)) => {
            let why = why.strip_prefix(&format!("at offset {offset}: ")).unwrap_or(why);
            let repair = format!("  levada events repair {category}");
            let mut lines = vec![format!("{category} {partition}.{offset}: {why}")];
            match why.contains("deleted") {
                true => lines.push(format!("{repair} --accept-loss {partition}    give up what was deleted")),
                false => {
                    let place = format!("{partition}.{offset}");
                    lines.push(format!(
                        "{repair} --pass-over {place}    read on as if the record were not there"
                    ));
                    lines.push(format!("{repair} --adopt {place} --type TYPE    take it as an event"));
                }
            }
            lines
        }
        // It says itself what to type.
        _ if why.contains(": levada topic alter ") => match category {
            "" => vec![why.to_owned()],
            category => vec![format!("{category}: {why}")],
        },
        // What is wrong with a table names it.
        _ if trouble["category"].is_null() => {
            let mut lines = vec![why.to_owned()];
            if let Some(table) = trouble["table"].as_str() {
                let repair = format!("  levada events repair --table {table}");
                lines.push(format!(
                    "{repair} --restore    write what this instance knows of it into the new one"
                ));
                lines.push(format!("{repair} --accept    go on with the topic as it is now"));
            }
            lines
        }
        _ => vec![
            format!("{category}: {why}"),
            format!(
                "  levada events repair {category} --take-back    take the topic that there is as the category's"
            ),
            format!("  levada events repair {category} --give-up    forget the category; its topics stay"),
        ],
    }
}

/// What the instance is to do; None: only to tell.
fn body(arguments: &RepairArgs) -> anyhow::Result<Option<Value>> {
    let mut body = match arguments {
        RepairArgs { pass_over: Some(place), .. } => {
            let (partition, offset) = split(place)?;
            json!({"action": "pass-over", "partition": partition, "offset": offset})
        }
        RepairArgs { adopt: Some(place), .. } => {
            let (partition, offset) = split(place)?;
            json!({"action": "adopt", "partition": partition, "offset": offset})
        }
        RepairArgs { accept_loss: Some(partition), .. } => {
            json!({"action": "accept-loss", "partition": partition})
        }
        RepairArgs { take_back: true, .. } => json!({"action": "take-back"}),
        RepairArgs { give_up: true, .. } => json!({"action": "give-up"}),
        RepairArgs { restore: true, .. } => json!({"action": "restore"}),
        RepairArgs { accept: true, .. } => json!({"action": "accept"}),
        _ => return Ok(None),
    };
    let mut add = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body[name] = value;
        }
    };
    add("until", arguments.until.map(Value::from));
    add("stream", arguments.stream.clone().map(Value::from));
    add("type", arguments.kind.clone().map(Value::from));
    add("reason", arguments.reason.clone().map(Value::from));
    Ok(Some(body))
}

/// Partition and offset, such as 3.17.
fn split(place: &str) -> anyhow::Result<(i32, i64)> {
    let parts = place
        .split_once('.')
        .and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
    parts.ok_or_else(|| {
        anyhow::anyhow!("`{place}` is no place: PARTITION.OFFSET, as `levada events repair` tells them")
    })
}

#[cfg(test)]
mod tests;
