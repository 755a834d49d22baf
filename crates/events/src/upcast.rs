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

use json_patch::{Patch, PatchOperation};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::{JSON_DEPTH_MAX, Recorded, check_depth, is_json};

/// Another number when the record's fields change their meaning.
const FORMAT: u32 = 1;

/// Bytes that all of its upcasters together may add to an event: what is read is to be about what was written.
pub const GROWTH_MAX: usize = 256 << 10;

/// Operations of one upcaster's patch.
const OPERATIONS_MAX: usize = 256;

/// An upcaster as JSON.
const UPCASTER_BYTES_MAX: usize = 64 << 10;

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
        if !matches!(self.defaults, Value::Null | Value::Object(_)) {
            return Err("`defaults` is an object".to_owned());
        }
        if self.patch.0.len() > OPERATIONS_MAX {
            return Err(format!("`patch` has more than {OPERATIONS_MAX} operations"));
        }
        let text = serde_json::to_vec(self).expect("it is JSON");
        if text.len() > UPCASTER_BYTES_MAX {
            return Err(format!("an upcaster is larger than {UPCASTER_BYTES_MAX} bytes"));
        }
        check_depth("an upcaster", &text)
    }

    pub fn apply(&self, data: &mut Value, room: &mut Room) -> Result<(), String> {
        for operation in &self.patch.0 {
            let copied;
            let (value, grows) = match operation {
                PatchOperation::Add(add) => (Some(&add.value), true),
                PatchOperation::Replace(replace) => (Some(&replace.value), true),
                PatchOperation::Copy(copy) => {
                    copied = data.pointer(copy.from.as_str());
                    (copied, true)
                }
                PatchOperation::Move(moved) => {
                    copied = data.pointer(moved.from.as_str());
                    (copied, false)
                }
                PatchOperation::Test(test) => (Some(&test.value), false),
                PatchOperation::Remove(_) => (None, false),
            };
            if let Some(value) = value {
                let extent = Extent::of(value);
                let depth = operation.path().tokens().count() + extent.depth;
                if depth > JSON_DEPTH_MAX {
                    return Err(format!("it nests the data more than {JSON_DEPTH_MAX} deep"));
                }
                if grows {
                    room.grow(extent.bytes)?;
                }
                room.work(extent.bytes)?;
            }
            json_patch::patch(data, std::slice::from_ref(operation)).map_err(|error| error.to_string())?;
        }
        if let Value::Object(defaults) = &self.defaults
            && !defaults.is_empty()
        {
            if !data.is_object() {
                return Err("the data are no object, and have no defaults".to_owned());
            }
            room.grow(Extent::of(&self.defaults).bytes)?;
            add_absent(data, &self.defaults);
        }
        Ok(())
    }
}

/// What all upcasters of one event may do together.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Bytes by which the data may still grow.
    growth: usize,
    /// Bytes of values that may still be moved, copied and compared.
    work: usize,
}

/// What may be moved, copied and compared of any event, and beyond that for each byte of its data.
const WORK_BYTES: usize = 256 << 10;
const WORK_PER_BYTE: usize = 16;

impl Room {
    /// For an event with so many bytes of data.
    pub fn of(bytes: usize) -> Room {
        Room { growth: GROWTH_MAX, work: WORK_BYTES.saturating_add(WORK_PER_BYTE.saturating_mul(bytes)) }
    }

    fn grow(&mut self, bytes: usize) -> Result<(), String> {
        self.growth = self.growth.checked_sub(bytes).ok_or_else(|| {
            format!(
                "the data would grow by more than {GROWTH_MAX} bytes, which upcasters may add to an event"
            )
        })?;
        Ok(())
    }

    fn work(&mut self, bytes: usize) -> Result<(), String> {
        self.work = self.work.checked_sub(bytes).ok_or_else(|| {
            format!(
                "more than {WORK_PER_BYTE} times the data would be moved, copied and compared, which is more than upcasters \
                 may do for an event"
            )
        })?;
        Ok(())
    }
}

/// How large a value is as JSON, about, and how deep it is nested. It is not deeper than what is taken.
#[derive(Debug, Clone, Copy, Default)]
struct Extent {
    bytes: usize,
    depth: usize,
}

impl Extent {
    fn of(value: &Value) -> Extent {
        /// A number or a word, and what is between two values.
        const VALUE_BYTES: usize = 8;
        let within = |extent: Extent, (name, value): (usize, &Value)| {
            let inner = Extent::of(value);
            Extent { bytes: extent.bytes + name + inner.bytes, depth: extent.depth.max(inner.depth + 1) }
        };
        let around = Extent { bytes: VALUE_BYTES, depth: 1 };
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Extent { bytes: VALUE_BYTES, depth: 0 },
            Value::String(text) => Extent { bytes: VALUE_BYTES + text.len(), depth: 0 },
            Value::Array(values) => values.iter().map(|value| (0, value)).fold(around, within),
            Value::Object(members) => {
                members.iter().map(|(name, value)| (VALUE_BYTES + name.len(), value)).fold(around, within)
            }
        }
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
    let (mut data, mut room) = (None, Room::of(event.data.len()));
    while let Some(upcaster) = upcasters.get(&(kind.clone(), version)) {
        let lifted = match data.take() {
            Some(data) => Ok(data),
            None => parse(event),
        };
        let lifted = lifted.and_then(|mut data| upcaster.apply(&mut data, &mut room).map(|()| data));
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
