//! `levada events repair`: what somebody has to look at, and what is done about it.

use serde_json::{Value, json};

use super::store::{Store, segment};
use super::with;
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
        match left.as_array().map(Vec::as_slice) {
            None | Some([]) => line(&format!("{name}: done, and nothing else is wrong with it")),
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
        return line("nothing has to be repaired");
    }
    all.into_iter().try_for_each(tell)
}

fn tell(trouble: &Value) -> anyhow::Result<()> {
    let text = |name: &str| trouble[name].as_str().unwrap_or_default();
    match (trouble["partition"].as_i64(), trouble["offset"].as_i64()) {
        (Some(partition), Some(offset)) => {
            line(&format!("{} {partition}.{offset}: {}", text("category"), text("why")))
        }
        // What is wrong with a table names it.
        _ if trouble["category"].is_null() => line(text("why")),
        _ => line(&format!("{}: {}", text("category"), text("why"))),
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
