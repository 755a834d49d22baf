//! Reads and writes messages by looking at their schemas, one field after the other: slow, plain, and
//! without a line of the generated code, which it is compared with.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use bytes::Bytes;
use wire::TaggedFields;

use crate::schema::{Field, Message, Schema, Type, Versions};

/// A message of one schema file in one version.
pub struct Interpreter<'a> {
    schema: &'a Schema,
    message: &'a Message,
    version: i16,
    flexible: bool,
    reach: BTreeMap<String, Versions>,
}

/// What the bytes say, in the form that the generated struct's `Debug` has.
pub struct Description {
    pub debug: String,
    pub left: usize,
    /// The fields that the version has but that hold their default all the same.
    pub defaults: Vec<String>,
    /// The fields that hold something else, although their default can be said in this version.
    pub others: Vec<String>,
    /// The unknown tags, of all structs.
    pub unknown_tags: BTreeSet<u32>,
}

impl<'a> Interpreter<'a> {
    pub fn new(schema: &'a Schema, message: &'a Message, version: i16) -> Interpreter<'a> {
        let flexible = message.flexible.contains(version);
        Interpreter { schema, message, version, flexible, reach: schema.reach() }
    }

    pub fn describe(&self, bytes: &[u8]) -> Description {
        let mut cursor = Cursor::new(bytes);
        let debug =
            self.structure(&self.message.name, &self.message.fields, self.message.versions, &mut cursor);
        let Cursor { at, defaults, others, unknown_tags, .. } = cursor;
        Description { debug, left: bytes.len() - at, defaults, others, unknown_tags }
    }

    fn structure(&self, name: &str, fields: &[Field], versions: Versions, cursor: &mut Cursor) -> String {
        let mut values: BTreeMap<&str, String> = BTreeMap::new();
        for field in fields.iter().filter(|f| f.tag.is_none() && f.versions.contains(self.version)) {
            let flexible = self.flexible && !field.inflexible;
            values.insert(&field.name, self.field(field, flexible, cursor));
        }
        let mut unknown = TaggedFields::default();
        if self.flexible {
            for _ in 0..cursor.varint() {
                let (tag, size) = (cursor.varint(), cursor.varint() as usize);
                let known = fields.iter().find(|f| f.tag == Some(tag) && f.versions.contains(self.version));
                let end = cursor.at + size;
                match known {
                    Some(field) => {
                        values.insert(&field.name, self.field(field, true, cursor));
                    }
                    None => {
                        cursor.unknown_tags.insert(tag);
                        unknown.push(tag, Bytes::copy_from_slice(cursor.take(size)));
                    }
                }
                assert_eq!(cursor.at, end, "{name}: tag {tag}");
            }
        }
        let mut out = String::new();
        let tagged = self.message.flexible.intersect(versions);
        let of_versions = fields.iter().filter(|f| !f.versions.intersect(versions).is_empty());
        for (i, field) in of_versions.enumerate() {
            let default = self.default(field);
            let value = values.remove(field.name.as_str()).unwrap_or_else(|| default.clone());
            if !field.versions.contains(self.version) {
            } else if value == default {
                cursor.defaults.push(format!("{name}.{}", field.name));
            } else if default != "None" || field.nullable.contains(self.version) {
                cursor.others.push(format!("{name}.{}", field.name));
            }
            let ident = if matches!(field.name.as_str(), "type" | "match") { "_" } else { "" };
            let _ = write!(out, "{}{}{ident}: {value}", if i == 0 { "" } else { ", " }, field.name);
        }
        if !tagged.is_empty() {
            let comma = if out.is_empty() { "" } else { ", " };
            let _ = write!(out, "{comma}unknown_tagged_fields: {unknown:?}");
        }
        if out.is_empty() { name.to_string() } else { format!("{name} {{ {out} }}") }
    }

    fn field(&self, field: &Field, flexible: bool, cursor: &mut Cursor) -> String {
        let nullable = field.nullable.contains(self.version);
        let value = match &field.kind {
            Type::Struct(name) if !nullable => Some(self.nested(name, cursor)),
            // Kafka marks presence with 1; absence with -1, but with a compact 0 in a tagged field.
            Type::Struct(name) => (cursor.number(1) as i8 == 1).then(|| self.nested(name, cursor)),
            kind => self.value(kind, flexible, cursor),
        };
        match (value, field.nullable.is_empty()) {
            (Some(value), true) => value,
            (Some(value), false) => format!("Some({value})"),
            (None, _) => {
                assert!(nullable, "{} is null", field.name);
                "None".to_string()
            }
        }
    }

    fn nested(&self, name: &str, cursor: &mut Cursor) -> String {
        self.structure(name, &self.schema.structs[name].fields, self.reach[name], cursor)
    }

    fn value(&self, kind: &Type, flexible: bool, cursor: &mut Cursor) -> Option<String> {
        Some(match kind {
            Type::Bool => (cursor.number(1) != 0).to_string(),
            Type::Int8 => (cursor.number(1) as i8).to_string(),
            Type::Int16 => (cursor.number(2) as i16).to_string(),
            Type::Uint16 => (cursor.number(2) as u16).to_string(),
            Type::Int32 => (cursor.number(4) as i32).to_string(),
            Type::Uint32 => (cursor.number(4) as u32).to_string(),
            Type::Int64 => (cursor.number(8) as i64).to_string(),
            Type::Float64 => format!("{:?}", f64::from_bits(cursor.number(8))),
            Type::Uuid => uuid(cursor.take(16)),
            Type::String => {
                let width = if flexible { 0 } else { 2 };
                let length = cursor.length(width)?;
                format!("{:?}", std::str::from_utf8(cursor.take(length)).expect("UTF-8"))
            }
            Type::Bytes => {
                let length = cursor.length(if flexible { 0 } else { 4 })?;
                format!("{:?}", Bytes::copy_from_slice(cursor.take(length)))
            }
            Type::Records => {
                let length = cursor.length(if flexible { 0 } else { 4 })?;
                cursor.take(length);
                format!("Records({length} bytes)")
            }
            Type::Struct(name) => self.nested(name, cursor),
            Type::Array(element) => {
                let length = cursor.length(if flexible { 0 } else { 4 })?;
                let elements: Vec<String> =
                    (0..length).map(|_| self.value(element, flexible, cursor).expect("no null")).collect();
                format!("[{}]", elements.join(", "))
            }
        })
    }

    /// What a field holds that is not on the wire.
    fn default(&self, field: &Field) -> String {
        let null = matches!(field.kind, Type::Records) && !field.nullable.is_empty();
        if null || field.default.as_deref() == Some("null") {
            return "None".to_string();
        }
        let value = match (&field.kind, &field.default) {
            (Type::String, default) => format!("{:?}", default.clone().unwrap_or_default()),
            (Type::Bytes, _) => "b\"\"".to_string(),
            (Type::Records, _) => "Records(0 bytes)".to_string(),
            (Type::Array(_), _) => "[]".to_string(),
            (Type::Uuid, _) => uuid(&[0; 16]),
            (Type::Struct(name), _) => self.default_struct(name),
            (_, Some(default)) => default.clone(),
            (Type::Bool, None) => "false".to_string(),
            (Type::Float64, None) => "0.0".to_string(),
            (_, None) => "0".to_string(),
        };
        if field.nullable.is_empty() { value } else { format!("Some({value})") }
    }

    fn default_struct(&self, name: &str) -> String {
        let reach = self.reach[name];
        let of_versions =
            self.schema.structs[name].fields.iter().filter(|f| !f.versions.intersect(reach).is_empty());
        let mut fields: Vec<String> =
            of_versions.map(|field| format!("{}: {}", field.name, self.default(field))).collect();
        if !self.message.flexible.intersect(reach).is_empty() {
            fields.push(format!("unknown_tagged_fields: {:?}", TaggedFields::default()));
        }
        format!("{name} {{ {} }}", fields.join(", "))
    }

    /// The bytes of a value picked by chance, as a writer would put it: tagged fields ascend and differ
    /// from their defaults.
    pub fn pick(&self, dice: &mut Dice) -> Vec<u8> {
        let mut out = vec![];
        self.pick_fields(&self.message.fields, dice, 0, &mut out);
        out
    }

    fn pick_fields(&self, fields: &[Field], dice: &mut Dice, depth: u32, out: &mut Vec<u8>) {
        for field in fields.iter().filter(|f| f.tag.is_none() && f.versions.contains(self.version)) {
            self.pick_field(field, self.flexible && !field.inflexible, dice, depth, out);
        }
        if !self.flexible {
            return;
        }
        let mut tags: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        while dice.one_in(4) {
            let bits = 1 + dice.below(32) as u32;
            let length = dice.length();
            tags.insert(dice.next() as u32 >> (32 - bits), dice.bytes(length));
        }
        for field in fields.iter().filter(|f| f.versions.contains(self.version)) {
            let Some(tag) = field.tag else { continue };
            tags.remove(&tag);
            let mut bytes = vec![];
            self.pick_field(field, true, dice, depth, &mut bytes);
            let mut cursor = Cursor::new(&bytes);
            if dice.one_in(2) && self.field(field, true, &mut cursor) != self.default(field) {
                tags.insert(tag, bytes);
            }
        }
        varint(tags.len() as u32, out);
        for (tag, bytes) in tags {
            varint(tag, out);
            varint(bytes.len() as u32, out);
            out.extend(bytes);
        }
    }

    fn pick_field(&self, field: &Field, flexible: bool, dice: &mut Dice, depth: u32, out: &mut Vec<u8>) {
        let nullable = field.nullable.contains(self.version);
        let null = nullable && dice.one_in(4);
        match (&field.kind, flexible) {
            (Type::Struct(_), _) if null => out.push(if field.tag.is_some() { 0 } else { 0xff }),
            (_, true) if null => out.push(0),
            (Type::String, false) if null => out.extend([0xff; 2]),
            (_, false) if null => out.extend([0xff; 4]),
            (Type::Struct(name), _) => {
                if nullable {
                    out.push(1);
                }
                self.pick_fields(&self.schema.structs[name].fields, dice, depth + 1, out);
            }
            (kind, _) => self.pick_value(kind, flexible, dice, depth, out),
        }
    }

    fn pick_value(&self, kind: &Type, flexible: bool, dice: &mut Dice, depth: u32, out: &mut Vec<u8>) {
        match kind {
            Type::Bool => out.push(dice.below(2) as u8),
            Type::Int8 => out.extend(dice.number(1)),
            Type::Int16 | Type::Uint16 => out.extend(dice.number(2)),
            Type::Int32 | Type::Uint32 => out.extend(dice.number(4)),
            Type::Int64 | Type::Float64 => out.extend(dice.number(8)),
            Type::Uuid => out.extend([dice.number(8), dice.number(8)].concat()),
            Type::String => {
                let length = dice.length();
                let text = dice.text(length);
                length_prefix(text.len(), if flexible { 0 } else { 2 }, out);
                out.extend(text.into_bytes());
            }
            Type::Bytes | Type::Records => {
                let length = dice.length();
                length_prefix(length, if flexible { 0 } else { 4 }, out);
                out.extend(dice.bytes(length));
            }
            Type::Struct(name) => {
                self.pick_fields(&self.schema.structs[name].fields, dice, depth + 1, out);
            }
            Type::Array(element) => {
                let length = dice.below(if depth == 0 { 5 } else { 3 }) as usize;
                length_prefix(length, if flexible { 0 } else { 4 }, out);
                for _ in 0..length {
                    self.pick_value(element, flexible, dice, depth, out);
                }
            }
        }
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    defaults: Vec<String>,
    others: Vec<String>,
    unknown_tags: BTreeSet<u32>,
}

impl<'a> Cursor<'a> {
    fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0, defaults: vec![], others: vec![], unknown_tags: BTreeSet::new() }
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let bytes = &self.bytes[self.at..self.at + count];
        self.at += count;
        bytes
    }

    fn number(&mut self, width: usize) -> u64 {
        self.take(width).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn varint(&mut self) -> u32 {
        let mut value = 0;
        for i in 0.. {
            let byte = self.number(1) as u32;
            value |= (byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    /// A length of `width` bytes, or a compact one if that is 0.
    fn length(&mut self, width: usize) -> Option<usize> {
        match width {
            0 => self.varint().checked_sub(1).map(|length| length as usize),
            2 => usize::try_from(self.number(2) as i16).ok(),
            _ => usize::try_from(self.number(4) as i32).ok(),
        }
    }
}

fn uuid(bytes: &[u8]) -> String {
    format!("{:?}", model::TopicId(bytes.try_into().expect("16 bytes")))
}

fn varint(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn length_prefix(length: usize, width: usize, out: &mut Vec<u8>) {
    match width {
        0 => varint(length as u32 + 1, out),
        2 => out.extend((length as i16).to_be_bytes()),
        _ => out.extend((length as i32).to_be_bytes()),
    }
}

/// Reproducible chance (SplitMix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A length that is often short, sometimes beyond one byte's compact length, rarely beyond a segment's.
    fn length(&mut self) -> usize {
        let end = match self.below(16) {
            0 => 700,
            1..4 => 200,
            _ => 6,
        };
        self.below(end) as usize
    }

    /// Big-endian; small numbers and the extremes come more often.
    fn number(&mut self, width: usize) -> Vec<u8> {
        let number = match self.below(4) {
            0 => self.below(3).wrapping_sub(1),
            1 => (1u64 << (8 * width as u32 - 1)).wrapping_sub(self.below(2)),
            _ => self.next(),
        };
        number.to_be_bytes()[8 - width..].to_vec()
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    fn text(&mut self, length: usize) -> String {
        (0..length).map(|_| ['a', 'Z', '0', '"', 'ä', '€', '𝄞', '\0'][self.below(8) as usize]).collect()
    }
}
