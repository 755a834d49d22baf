//! Upcasting: an event of an older schema version is lifted to a newer one when it is read. The log is never rewritten.
//!
//! ```text
//! lv.upcasters   compacted; key: <from version>/<type>, value: JSON
//!   format 1 · patch (RFC 6902) · defaults (what is added where it is absent) · type (the event's new one)
//!
//! (T, 1) ─patch, defaults─▶ (T, 2) ─▶ … until there is no upcaster for the type and version
//! ```
//!
//! Only events that are lifted are written as JSON anew; all others are answered byte for byte.

use std::collections::BTreeMap;

use json_patch::Patch;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::{Recorded, is_json};

/// Another number when the record's fields change their meaning.
const FORMAT: u32 = 1;

/// Lifts events of one type from one schema version to the next.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upcaster {
    #[serde(default)]
    pub patch: Patch,
    /// An object: its members are added where they are absent.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub defaults: Value,
    /// The type that the event has then.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// All of them, by type and version.
pub type Upcasters = BTreeMap<(String, u32), Upcaster>;

impl Upcaster {
    /// What is wrong with it, whatever the event.
    pub fn check(&self) -> Result<(), String> {
        match &self.defaults {
            Value::Null | Value::Object(_) => Ok(()),
            _ => Err("`defaults` is an object".to_owned()),
        }
    }

    pub fn apply(&self, data: &mut Value) -> Result<(), String> {
        json_patch::patch(data, &self.patch).map_err(|error| error.to_string())?;
        if let Value::Object(defaults) = &self.defaults
            && !defaults.is_empty()
        {
            if !data.is_object() {
                return Err("the data are no object, and have no defaults".to_owned());
            }
            add_absent(data, &self.defaults);
        }
        Ok(())
    }
}

/// Members that are null are there.
fn add_absent(data: &mut Value, defaults: &Value) {
    let (Value::Object(data), Value::Object(defaults)) = (data, defaults) else { return };
    for (name, default) in defaults {
        match data.get_mut(name) {
            Some(known) => add_absent(known, default),
            None => drop(data.insert(name.clone(), default.clone())),
        }
    }
}

/// Lifts an event as far as there are upcasters. One that cannot be applied leaves it as it is recorded, and says why.
pub fn lift(upcasters: &Upcasters, event: &mut Recorded) {
    let (mut kind, mut version) = (event.facts.kind.clone(), event.facts.schema());
    let mut data = None;
    while let Some(upcaster) = upcasters.get(&(kind.clone(), version)) {
        let lifted = match data.take() {
            Some(data) => Ok(data),
            None => parse(event),
        };
        let lifted = lifted.and_then(|mut data| upcaster.apply(&mut data).map(|()| data));
        match lifted {
            Ok(lifted) => data = Some(lifted),
            Err(why) => {
                event.seen.upcast_error = Some(format!("{kind} of schema version {version}: {why}"));
                return;
            }
        }
        kind = upcaster.kind.clone().unwrap_or(kind);
        let Some(next) = version.checked_add(1) else { break };
        version = next;
    }
    let Some(data) = data else { return };
    event.data = serde_json::to_vec(&data).expect("it was JSON").into();
    let recorded = event.facts.schema();
    event.seen.recorded_schema_version = Some(recorded).filter(|recorded| *recorded != version);
    let recorded = std::mem::replace(&mut event.facts.kind, kind);
    event.seen.recorded_kind = Some(recorded).filter(|recorded| *recorded != event.facts.kind);
    event.facts.schema_version = Some(version);
}

fn parse(event: &Recorded) -> Result<Value, String> {
    match is_json(&event.facts.content_type) {
        true => serde_json::from_slice(&event.data).map_err(|error| error.to_string()),
        false => Err(format!("its data are {}, and no JSON", event.facts.content_type)),
    }
}

#[derive(Serialize, Deserialize)]
struct Kept {
    format: u32,
    upcaster: Upcaster,
}

pub fn key(kind: &str, from: u32) -> String {
    format!("{from}/{kind}")
}

pub fn write(upcaster: &Upcaster) -> Vec<u8> {
    let kept = Kept { format: FORMAT, upcaster: upcaster.clone() };
    serde_json::to_vec(&kept).expect("it is JSON")
}

/// None: it is of another format, or no upcaster.
pub fn read(key: &str, value: &[u8]) -> Option<((String, u32), Upcaster)> {
    let (from, kind) = key.split_once('/')?;
    let kept: Kept = serde_json::from_slice(value).ok().filter(|kept: &Kept| kept.format == FORMAT)?;
    Some(((kind.to_owned(), from.parse().ok()?), kept.upcaster))
}

#[cfg(test)]
mod tests;
