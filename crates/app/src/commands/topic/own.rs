//! Topics that are not a user's: the broker's own, and those of the event store.

use anyhow::bail;

use crate::client::Cluster;

/// How topics of the event store's own begin.
pub const TABLES: &str = "lv.";
/// How topics with a category's events end.
const EVENTS: &str = ".events";
/// How topics that a category has beside its events end.
const BESIDE: [(&str, &str); 2] = [(".snapshots", "snapshots"), (".archive", "archived events")];

/// What somebody is about to do with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    Delete,
    DeleteRecords,
    Alter,
    Produce,
}

/// What a topic is that is not a user's.
#[derive(Debug, PartialEq, Eq)]
pub struct Own {
    /// "events of the event store's category orders"
    pub what: String,
    /// The category, where it is one's.
    category: Option<String>,
}

/// Whose a topic is; None: a user's. `all`: the topics that there are.
pub fn of(name: &str, all: &[&str]) -> Option<Own> {
    let whole = |what: &str| Some(Own { what: what.to_owned(), category: None });
    if name.starts_with("__") {
        return whole("a topic of the broker's own");
    }
    if name.starts_with(TABLES) {
        return whole("a topic of the event store's own");
    }
    let of_category = |category: &str, what: &str| Own {
        what: format!("{what} of the event store's category {category}"),
        category: Some(category.to_owned()),
    };
    if let Some(category) = name.strip_suffix(EVENTS).filter(|category| !category.is_empty()) {
        return Some(of_category(category, "events"));
    }
    // Such a name alone says nothing: it is a category's where there is one.
    BESIDE.iter().find_map(|(ending, what)| {
        let category = name.strip_suffix(ending)?;
        let events = format!("{category}{EVENTS}");
        all.contains(&events.as_str()).then(|| of_category(category, what))
    })
}

/// Refuses what would take a topic out of the hands of whoever keeps it, and says what is meant instead.
pub fn check(name: &str, all: &[&str], deed: Deed, force: bool) -> anyhow::Result<()> {
    let Some(Own { what, category }) = of(name, all).filter(|_| !force) else { return Ok(()) };
    let what = if category.is_some() { format!("the {what} are in it") } else { format!("it is {what}") };
    let instead = match (deed, &category) {
        (Deed::Delete, Some(category)) => {
            format!(
                "`levada events category delete {category}` deletes the category, with all that belongs to it"
            )
        }
        (Deed::DeleteRecords, Some(category)) => format!(
            "`levada events truncate {category} STREAM --before VERSION` and `levada events trim {category}` free what is \
             not needed"
        ),
        (Deed::Produce, Some(category)) => {
            format!(
                "`levada events append {category} STREAM --type TYPE` appends; any other record stops its partition"
            )
        }
        (Deed::Alter, Some(_)) => "what it is set to is what the event store relies on".to_owned(),
        (_, None) => "nobody else is to touch it".to_owned(),
    };
    bail!("nothing was done to {name}: {what}. {}; --force does it all the same", capital(&instead))
}

/// The same for one topic, of a cluster.
pub async fn check_in(cluster: &Cluster, name: &str, deed: Deed, force: bool) -> anyhow::Result<()> {
    // Only then does it count what else there is.
    if force || !BESIDE.iter().any(|(ending, _)| name.ends_with(ending)) {
        return check(name, &[], deed, force);
    }
    let all = cluster.topics().await?;
    let all: Vec<&str> = all.iter().map(|topic| topic.name.as_str()).collect();
    check(name, &all, deed, force)
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests;
