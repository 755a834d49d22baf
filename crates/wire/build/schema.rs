//! The compact schema files and their parser.
//!
//! ```text
//! api 1 Fetch                                   one file is one API, or several plain messages
//!
//! request 4-18 flexible 12+                     valid versions; from 12 on compact lengths and tagged fields
//!   max_bytes: int32 3+ default 2147483647      name: type versions attributes
//!   rack: string 11+ null 11+ ignorable         null: versions in which null is allowed
//!   replica: Replica 15+ tag 1                  a struct; its fields follow, indented
//!     id: int32 15+ default -1
//!   topics: [Topic] 4+                          an array
//!     name: string 4-12
//!
//! response 4-18 flexible 12+
//!   ...
//!
//! struct Topic 0+                               shared by several fields of this file
//! ```
//!
//! A file without an API starts its messages with `message Name versions flexible versions [id N]`.
//! Versions are `3`, `3-5`, `3+` or `none`. `#` starts a comment line.

use std::collections::BTreeMap;
use std::fmt;

/// An inclusive range of versions; empty when `low > high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub low: i16,
    pub high: i16,
}

impl Versions {
    pub const NONE: Versions = Versions { low: 0, high: -1 };

    pub fn parse(text: &str) -> Option<Versions> {
        if text == "none" {
            return Some(Versions::NONE);
        }
        if let Some(low) = text.strip_suffix('+') {
            return Some(Versions { low: low.parse().ok()?, high: i16::MAX });
        }
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        Some(Versions { low: low.parse().ok()?, high: high.parse().ok()? })
    }

    pub fn is_empty(self) -> bool {
        self.low > self.high
    }

    pub fn contains(self, version: i16) -> bool {
        self.low <= version && version <= self.high
    }

    pub fn covers(self, other: Versions) -> bool {
        other.is_empty() || (self.low <= other.low && other.high <= self.high)
    }

    pub fn intersect(self, other: Versions) -> Versions {
        let both = Versions { low: self.low.max(other.low), high: self.high.min(other.high) };
        if both.is_empty() { Versions::NONE } else { both }
    }

    /// The smallest range that holds both.
    pub fn hull(self, other: Versions) -> Versions {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other,
            (_, true) => self,
            _ => Versions { low: self.low.min(other.low), high: self.high.max(other.high) },
        }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            v if v.is_empty() => write!(f, "none"),
            Versions { low, high: i16::MAX } => write!(f, "{low}+"),
            Versions { low, high } if low == high => write!(f, "{low}"),
            Versions { low, high } => write!(f, "{low}-{high}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    Records,
    Struct(String),
    Array(Box<Type>),
}

const SCALARS: [(&str, Type); 12] = [
    ("bool", Type::Bool),
    ("int8", Type::Int8),
    ("int16", Type::Int16),
    ("uint16", Type::Uint16),
    ("int32", Type::Int32),
    ("uint32", Type::Uint32),
    ("int64", Type::Int64),
    ("float64", Type::Float64),
    ("uuid", Type::Uuid),
    ("string", Type::String),
    ("bytes", Type::Bytes),
    ("records", Type::Records),
];

impl Type {
    pub fn parse(text: &str) -> Type {
        if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
            return Type::Array(Box::new(Type::parse(inner)));
        }
        match SCALARS.iter().find(|(name, _)| *name == text) {
            Some((_, kind)) => kind.clone(),
            None => Type::Struct(text.to_string()),
        }
    }

    /// The struct that this type, or an array of it, is made of.
    pub fn struct_name(&self) -> Option<&str> {
        match self {
            Type::Struct(name) => Some(name),
            Type::Array(inner) => inner.struct_name(),
            _ => None,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Struct(name) => write!(f, "{name}"),
            Type::Array(inner) => write!(f, "[{inner}]"),
            scalar => match SCALARS.iter().find(|(_, kind)| kind == scalar) {
                Some((name, _)) => write!(f, "{name}"),
                None => Err(fmt::Error),
            },
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub kind: Type,
    pub versions: Versions,
    pub nullable: Versions,
    /// As written; `None` means the type's own zero.
    pub default: Option<String>,
    pub tag: Option<u32>,
    /// May be dropped silently where a version has no such field.
    pub ignorable: bool,
    /// Keeps the old length encoding also in flexible versions.
    pub inflexible: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Struct {
    pub name: String,
    pub fields: Vec<Field>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Request,
    Response,
    Plain,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub name: String,
    pub role: Role,
    pub versions: Versions,
    pub flexible: Versions,
    /// The highest version is a draft which servers do not offer.
    pub unstable: bool,
    /// The record type of a message that is stored in a log.
    pub id: Option<i16>,
    pub fields: Vec<Field>,
}

/// One schema file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The file's stem, which names the module.
    pub module: String,
    pub api: Option<(i16, String)>,
    pub messages: Vec<Message>,
    pub structs: BTreeMap<String, Struct>,
}

impl Schema {
    /// The versions in which each struct can appear at all.
    pub fn reach(&self) -> BTreeMap<String, Versions> {
        let mut reach = BTreeMap::new();
        for message in &self.messages {
            self.walk(&message.fields, message.versions, &mut reach);
        }
        reach
    }

    fn walk(&self, fields: &[Field], versions: Versions, reach: &mut BTreeMap<String, Versions>) {
        for field in fields {
            let Some(name) = field.kind.struct_name() else { continue };
            let here = field.versions.intersect(versions);
            let seen = reach.entry(name.to_string()).or_insert(Versions::NONE);
            *seen = seen.hull(here);
            let nested =
                self.structs.get(name).unwrap_or_else(|| panic!("{}: no struct {name}", self.module));
            self.walk(&nested.fields, here, reach);
        }
    }
}

/// The files of a directory, parsed, by API key and then by name.
///
/// Panics with file and line when a file is wrong: the callers are build steps.
#[allow(clippy::disallowed_methods)] // a build step, not the broker: there is no `env` here
pub fn load(directory: &std::path::Path) -> Vec<Schema> {
    let entries = std::fs::read_dir(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut schemas: Vec<Schema> = entries
        .map(|entry| entry.expect("a directory entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "schema"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let stem = path.file_stem().and_then(|s| s.to_str()).expect("a UTF-8 file name");
            parse(stem, &text).unwrap_or_else(|e| panic!("{}:{e}", path.display()))
        })
        .collect();
    schemas.sort_by_key(|s| (s.api.as_ref().map_or(i16::MAX, |(key, _)| *key), s.module.clone()));
    schemas
}

/// Parses one file; an error is `line: what is wrong`.
pub fn parse(module: &str, text: &str) -> Result<Schema, String> {
    let mut schema =
        Schema { module: module.to_string(), api: None, messages: vec![], structs: BTreeMap::new() };
    let lines: Vec<Line> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .map(|(i, line)| Line {
            number: i + 1,
            indent: line.len() - line.trim_start().len(),
            words: line.split_whitespace().collect(),
        })
        .collect();
    let mut rest = &lines[..];
    while let Some((line, after)) = rest.split_first() {
        if line.indent != 0 {
            return Err(line.wrong("a field outside a message"));
        }
        rest = after;
        match line.words.as_slice() {
            ["api", key, name] => {
                let key = key.parse().map_err(|_| line.wrong("a bad API key"))?;
                schema.api = Some((key, name.to_string()));
            }
            ["request", attributes @ ..] => {
                let name = format!("{}Request", api_name(&schema, line)?);
                message(&mut schema, name, Role::Request, line, attributes, &mut rest)?;
            }
            ["response", attributes @ ..] => {
                let name = format!("{}Response", api_name(&schema, line)?);
                message(&mut schema, name, Role::Response, line, attributes, &mut rest)?;
            }
            ["message", name, attributes @ ..] => {
                message(&mut schema, name.to_string(), Role::Plain, line, attributes, &mut rest)?;
            }
            ["struct", name] => {
                let fields = fields(&mut schema, 0, &mut rest)?;
                define(&mut schema, name, fields).map_err(|e| line.wrong(&e))?;
            }
            _ => return Err(line.wrong("expected api, request, response, message or struct")),
        }
    }
    Ok(schema)
}

struct Line<'a> {
    number: usize,
    indent: usize,
    words: Vec<&'a str>,
}

impl Line<'_> {
    fn wrong(&self, what: &str) -> String {
        format!("{}: {what}: {}", self.number, self.words.join(" "))
    }
}

fn api_name(schema: &Schema, line: &Line) -> Result<String, String> {
    schema.api.as_ref().map(|(_, name)| name.clone()).ok_or_else(|| line.wrong("no api line before"))
}

fn message(
    schema: &mut Schema,
    name: String,
    role: Role,
    line: &Line,
    attributes: &[&str],
    rest: &mut &[Line],
) -> Result<(), String> {
    let (versions, mut attributes) = attributes.split_first().ok_or_else(|| line.wrong("no versions"))?;
    let versions = Versions::parse(versions).ok_or_else(|| line.wrong("bad versions"))?;
    let mut message =
        Message { name, role, versions, flexible: Versions::NONE, unstable: false, id: None, fields: vec![] };
    loop {
        match attributes {
            [] => break,
            ["flexible", range, more @ ..] => {
                message.flexible =
                    Versions::parse(range).ok_or_else(|| line.wrong("bad flexible versions"))?;
                attributes = more;
            }
            ["unstable", more @ ..] => {
                message.unstable = true;
                attributes = more;
            }
            ["id", id, more @ ..] => {
                message.id = Some(id.parse().map_err(|_| line.wrong("bad id"))?);
                attributes = more;
            }
            _ => return Err(line.wrong("unknown attribute")),
        }
    }
    message.fields = fields(schema, 0, rest)?;
    schema.messages.push(message);
    Ok(())
}

/// The fields indented deeper than `indent`, all at the same depth.
fn fields(schema: &mut Schema, indent: usize, rest: &mut &[Line]) -> Result<Vec<Field>, String> {
    let mut fields = vec![];
    let depth = match rest.first() {
        Some(line) if line.indent > indent => line.indent,
        _ => return Ok(fields),
    };
    while let Some((line, after)) = rest.split_first() {
        if line.indent <= indent {
            break;
        }
        if line.indent != depth {
            return Err(line.wrong("unexpected indentation"));
        }
        *rest = after;
        let field = field(line)?;
        let nested = self::fields(schema, depth, rest)?;
        if !nested.is_empty() {
            let name = field.kind.struct_name().ok_or_else(|| line.wrong("a scalar has no fields"))?;
            define(schema, name, nested).map_err(|e| line.wrong(&e))?;
        }
        fields.push(field);
    }
    Ok(fields)
}

fn field(line: &Line) -> Result<Field, String> {
    let [name, kind, versions, attributes @ ..] = line.words.as_slice() else {
        return Err(line.wrong("expected name: type versions"));
    };
    let name = name.strip_suffix(':').ok_or_else(|| line.wrong("no colon after the name"))?;
    let mut field = Field {
        name: name.to_string(),
        kind: Type::parse(kind),
        versions: Versions::parse(versions).ok_or_else(|| line.wrong("bad versions"))?,
        nullable: Versions::NONE,
        default: None,
        tag: None,
        ignorable: false,
        inflexible: false,
    };
    let mut attributes = attributes;
    loop {
        attributes = match attributes {
            [] => return Ok(field),
            ["null", range, more @ ..] => {
                field.nullable = Versions::parse(range).ok_or_else(|| line.wrong("bad null versions"))?;
                more
            }
            ["default", value, more @ ..] => {
                field.default = Some(value.to_string());
                more
            }
            ["tag", tag, more @ ..] => {
                field.tag = Some(tag.parse().map_err(|_| line.wrong("bad tag"))?);
                more
            }
            ["ignorable", more @ ..] => {
                field.ignorable = true;
                more
            }
            ["inflexible", more @ ..] => {
                field.inflexible = true;
                more
            }
            _ => return Err(line.wrong("unknown attribute")),
        };
    }
}

fn define(schema: &mut Schema, name: &str, fields: Vec<Field>) -> Result<(), String> {
    match schema.structs.insert(name.to_string(), Struct { name: name.to_string(), fields }) {
        Some(_) => Err(format!("{name} is defined twice")),
        None => Ok(()),
    }
}
