//! What is kept of subscriptions, in the compacted topic `lv.subscriptions`. Keys and values are text; values are JSON.
//!
//! ```text
//! s/<category>/<name>             the subscription, with the id of its present run
//! c/<id>                          how far that run is
//! p/<id>/<partition>.<offset>     an event that it has parked
//! ```
//!
//! A reset begins a new run, so that what a former one still writes harms nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use client::Position;
use model::{Offset, PartitionId, TopicId};
use serde::{Deserialize, Serialize};

use super::machine::{Checkpoint, Parked, Place, Rules};
use super::{Settings, Subscription};
use crate::append::Selector;
use crate::category::Category;
use crate::service::Filter;

pub const TOPIC: &str = "lv.subscriptions";

/// Another number when the values change.
const FORMAT: u32 = 1;

pub const SUBSCRIPTIONS: &str = "s/";

pub fn subscription_key(category: &Category, name: &str) -> String {
    format!("{SUBSCRIPTIONS}{category}/{name}")
}

pub fn checkpoint_key(id: &str) -> String {
    format!("c/{id}")
}

pub fn parked_prefix(id: &str) -> String {
    format!("p/{id}/")
}

pub fn parked_key(id: &str, place: Place) -> String {
    format!("p/{id}/{}.{}", place.partition, place.offset)
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    format: u32,
    id: String,
    from: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    any_of: Vec<KeptSelector>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    correlation: Option<String>,
    ack_timeout_ms: u64,
    attempts_max: u32,
    retry_delay_ms: u64,
    in_flight_max: usize,
    ordered: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptSelector {
    types: BTreeSet<String>,
    tags: BTreeSet<String>,
}

pub fn write(subscription: &Subscription) -> Vec<u8> {
    let Settings { filter, rules } = &subscription.settings;
    let selector =
        |selector: &Selector| KeptSelector { types: selector.types.clone(), tags: selector.tags.clone() };
    let kept = Kept {
        format: FORMAT,
        id: subscription.id.clone(),
        from: subscription.from.to_string(),
        any_of: filter.any_of.iter().map(selector).collect(),
        correlation: filter.correlation.clone(),
        ack_timeout_ms: millis(rules.ack_timeout),
        attempts_max: rules.attempts_max,
        retry_delay_ms: millis(rules.retry_delay),
        in_flight_max: rules.in_flight_max,
        ordered: rules.is_ordered,
    };
    serde_json::to_vec(&kept).expect("texts and numbers are JSON")
}

/// Err says why it is left alone.
pub fn read(key: &str, value: &[u8]) -> Result<Subscription, String> {
    let names = key.strip_prefix(SUBSCRIPTIONS).and_then(|names| names.split_once('/'));
    let (category, name) = names.ok_or("its key is none of a subscription")?;
    let category = Category::new(category).map_err(|error| error.to_string())?;
    let kept: Kept = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    if kept.format != FORMAT {
        return Err(format!("its format is {}, and this version knows {FORMAT}", kept.format));
    }
    let selector = |selector: KeptSelector| Selector { types: selector.types, tags: selector.tags };
    Ok(Subscription {
        category,
        name: name.to_owned(),
        id: kept.id,
        from: kept.from.parse().map_err(|error: client::PositionError| error.to_string())?,
        settings: Settings {
            filter: Filter {
                any_of: kept.any_of.into_iter().map(selector).collect(),
                correlation: kept.correlation,
                subject: None,
            },
            rules: Rules {
                ack_timeout: Duration::from_millis(kept.ack_timeout_ms),
                attempts_max: kept.attempts_max,
                retry_delay: Duration::from_millis(kept.retry_delay_ms),
                in_flight_max: kept.in_flight_max,
                is_ordered: kept.ordered,
            },
        },
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptCheckpoint {
    format: u32,
    position: String,
    /// Of each partition: offsets beyond the position.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    settled: BTreeMap<i32, Vec<i64>>,
}

pub fn write_checkpoint(topic: TopicId, checkpoint: &Checkpoint) -> Vec<u8> {
    let mut settled: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for place in &checkpoint.settled {
        settled.entry(place.partition).or_default().push(place.offset.0);
    }
    let position = position(topic, checkpoint).to_string();
    serde_json::to_vec(&KeptCheckpoint { format: FORMAT, position, settled })
        .expect("texts and numbers are JSON")
}

/// As a token: everything before it is settled.
pub fn position(topic: TopicId, checkpoint: &Checkpoint) -> Position {
    let mut position = Position::default();
    for (index, next) in &checkpoint.next {
        position.merge(&Position::of(PartitionId { topic, index: *index }, *next));
    }
    position
}

/// The checkpoint of a run that begins at a position.
pub fn begin_at(topic: TopicId, position: &Position) -> Checkpoint {
    let ours = position.iter().filter(|(partition, _)| partition.topic == topic);
    Checkpoint {
        next: ours.map(|(partition, next)| (partition.index, next)).collect(),
        ..Checkpoint::default()
    }
}

pub fn read_checkpoint(topic: TopicId, value: &[u8]) -> Result<Checkpoint, String> {
    let kept: KeptCheckpoint = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    if kept.format != FORMAT {
        return Err(format!("its format is {}, and this version knows {FORMAT}", kept.format));
    }
    let position = kept.position.parse().map_err(|error: client::PositionError| error.to_string())?;
    let mut checkpoint = begin_at(topic, &position);
    for (partition, offsets) in kept.settled {
        checkpoint
            .settled
            .extend(offsets.into_iter().map(|offset| Place { partition, offset: Offset(offset) }));
    }
    Ok(checkpoint)
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptParked {
    format: u32,
    stream: String,
    reason: String,
    attempts: u32,
}

pub fn write_parked(parked: &Parked) -> Vec<u8> {
    let Parked { stream, reason, attempts } = parked.clone();
    serde_json::to_vec(&KeptParked { format: FORMAT, stream, reason, attempts })
        .expect("texts and numbers are JSON")
}

pub fn read_parked(key: &str, value: &[u8]) -> Option<(Place, Parked)> {
    let place: Place = key.rsplit('/').next()?.parse().ok()?;
    let kept: KeptParked =
        serde_json::from_slice(value).ok().filter(|kept: &KeptParked| kept.format == FORMAT)?;
    Some((place, Parked { stream: kept.stream, reason: kept.reason, attempts: kept.attempts }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_read_as_it_was_written() {
        let selector = Selector { types: ["T".to_owned()].into(), tags: ["a:1".to_owned()].into() };
        let topic: TopicId = "fmTCcUwxRPqW0_ULqbSdag".parse().unwrap();
        let subscription = Subscription {
            category: Category::new("shop.orders").unwrap(),
            name: "mailer".to_owned(),
            id: "7".to_owned(),
            from: Position::of(PartitionId { topic, index: 3 }, Offset(9)),
            settings: Settings {
                filter: Filter { any_of: vec![selector], correlation: Some("c".to_owned()), subject: None },
                rules: Rules { is_ordered: false, ..Settings::default().rules },
            },
        };
        let key = subscription_key(&subscription.category, &subscription.name);
        assert_eq!(read(&key, &write(&subscription)), Ok(subscription));
        let place = Place { partition: 2, offset: Offset(40) };
        let checkpoint =
            Checkpoint { next: BTreeMap::from([(2, Offset(5))]), settled: BTreeSet::from([place]) };
        assert_eq!(read_checkpoint(topic, &write_checkpoint(topic, &checkpoint)), Ok(checkpoint.clone()));
        // Another topic's offsets mean nothing.
        assert_eq!(
            read_checkpoint(TopicId::ZERO, &write_checkpoint(topic, &checkpoint)).unwrap().next,
            BTreeMap::new()
        );
        let parked = Parked { stream: "s".to_owned(), reason: "no".to_owned(), attempts: 3 };
        assert_eq!(read_parked(&parked_key("7", place), &write_parked(&parked)), Some((place, parked)));
    }
}
