//! Schemas → Rust. The generated code is a straight list of calls to `Reader` and `Writer`; whatever
//! decides anything lives there, written by hand.

use std::fmt::Write;

use crate::schema::{Field, Message, Role, Schema, Struct, Type, Versions};

macro_rules! emit {
    ($out:expr, $($text:tt)*) => { write!($out, $($text)*).expect("a string takes everything") };
}

/// All modules, the table of APIs and the enums over all requests and responses.
pub fn generate(schemas: &[Schema]) -> String {
    let mut out = String::new();
    for schema in schemas {
        module(schema, &mut out);
    }
    let apis: Vec<&Schema> = schemas.iter().filter(|s| s.api.is_some()).collect();
    for Schema { module, api, .. } in &apis {
        let (_, name) = api.as_ref().expect("only APIs");
        emit!(out, "pub use {module}::{{{name}Request, {name}Response}};\n");
    }
    api_keys(&apis, &mut out);
    any("AnyRequest", "request", Role::Request, &apis, &mut out);
    any("AnyResponse", "response", Role::Response, &apis, &mut out);
    all(schemas, &mut out);
    out
}

fn module(schema: &Schema, out: &mut String) {
    let title = match &schema.api {
        Some((key, name)) => format!("API {key}, {name}."),
        None => format!("Messages of `{}.schema`.", schema.module),
    };
    emit!(out, "/// {title}\n#[allow(clippy::all)]\npub mod {} {{\nuse crate::part::*;\n", schema.module);
    let reach = schema.reach();
    for message in &schema.messages {
        let fields = &message.fields;
        let doc = format!("Versions {}, flexible {}.", message.versions, message.flexible);
        item(schema, &message.name, fields, message.versions, message.flexible, &doc, out);
        message_impl(schema, message, out);
    }
    for (name, Struct { fields, .. }) in &schema.structs {
        let versions =
            reach.get(name).copied().unwrap_or_else(|| panic!("{}: {name} is unused", schema.module));
        let users = schema.messages.iter().filter(|m| reaches(schema, &m.fields, name));
        let flexible = users.map(|m| m.flexible).reduce(|a, b| {
            assert_eq!(a, b, "{name} is used by messages that are flexible in different versions");
            a
        });
        let flexible = flexible.unwrap_or(Versions::NONE);
        item(schema, name, fields, versions, flexible, &format!("Versions {versions}."), out);
    }
    out.push_str("}\n\n");
}

fn reaches(schema: &Schema, fields: &[Field], name: &str) -> bool {
    fields.iter().filter_map(|f| f.kind.struct_name()).any(|used| {
        used == name || schema.structs.get(used).is_some_and(|s| reaches(schema, &s.fields, name))
    })
}

fn message_impl(schema: &Schema, message: &Message, out: &mut String) {
    let Message { name, versions, .. } = message;
    let flexible = if message.flexible.is_empty() {
        "i16::MAX".to_string()
    } else {
        assert!(message.flexible.high >= versions.high, "{name}: flexible versions end before the last");
        message.flexible.low.to_string()
    };
    emit!(
        out,
        "impl Message for {name} {{ const NAME: &'static str = \"{name}\"; \
             const VERSIONS: Versions = Versions {{ min: {}, max: {} }}; \
             const FLEXIBLE: i16 = {flexible}; }}\n",
        versions.low,
        versions.high
    );
    match (message.role, &schema.api) {
        (Role::Request, Some((_, api))) => emit!(
            out,
            "impl Request for {name} {{ const KEY: ApiKey = ApiKey::{api}; type Response = {api}Response; }}\n"
        ),
        (Role::Response, Some((_, api))) => {
            emit!(out, "impl Response for {name} {{ const KEY: ApiKey = ApiKey::{api}; }}\n");
        }
        _ => {}
    }
    if let Some(id) = message.id {
        emit!(out, "impl Stored for {name} {{ const ID: i16 = {id}; }}\n");
    }
}

/// A struct with its default, reader and writer.
fn item(
    schema: &Schema,
    name: &str,
    fields: &[Field],
    versions: Versions,
    flexible: Versions,
    doc: &str,
    out: &mut String,
) {
    let fields: Vec<&Field> = fields.iter().filter(|f| !f.versions.intersect(versions).is_empty()).collect();
    let plain_default = fields.iter().all(|f| f.default.is_none() && f.nullable.is_empty());
    let derived = if plain_default { "Clone, Debug, PartialEq, Default" } else { "Clone, Debug, PartialEq" };
    emit!(out, "/// {doc}\n#[derive({derived})]\npub struct {name} {{\n");
    for field in &fields {
        let rust = rust_type(field);
        emit!(out, "/// {}\npub {}: {rust},\n", field_doc(field), ident(&field.name));
    }
    let tagged = !flexible.intersect(versions).is_empty();
    if tagged {
        out.push_str("/// Tagged fields this crate does not know, kept for the way back.\n");
        out.push_str("pub unknown_tagged_fields: TaggedFields,\n");
    }
    out.push_str("}\n");
    if !plain_default {
        emit!(out, "impl Default for {name} {{ fn default() -> Self {{ {name} {{\n");
        for field in &fields {
            emit!(out, "{}: {},\n", ident(&field.name), default_value(field));
        }
        if tagged {
            out.push_str("unknown_tagged_fields: TaggedFields::default(),\n");
        }
        out.push_str("} } }\n");
    }
    emit!(out, "impl Part for {name} {{\n");
    let least = least_size(schema, &fields, versions, flexible);
    emit!(out, "const LEAST_SIZE: usize = {least};\n");
    reader(name, &fields, versions, flexible, out);
    writer(name, &fields, versions, flexible, out);
    error_codes(schema, &fields, out);
    out.push_str("}\n");
}

/// Only where there are any: the trait's own does nothing.
fn error_codes(schema: &Schema, fields: &[&Field], out: &mut String) {
    let mut body = String::new();
    for field in fields {
        let value = format!("self.{}", ident(&field.name));
        let part = field.kind.struct_name().filter(|used| has_error_codes(schema, used));
        match (&field.kind, part) {
            _ if is_error_code(field) => emit!(body, "tell({value});\n"),
            (Type::Array(_), Some(_)) if field.nullable.is_empty() => {
                emit!(body, "for part in &{value} {{ part.error_codes(tell); }}\n");
            }
            (Type::Array(_), Some(_)) => {
                emit!(body, "for part in {value}.iter().flatten() {{ part.error_codes(tell); }}\n");
            }
            (_, Some(_)) if field.nullable.is_empty() => emit!(body, "{value}.error_codes(tell);\n"),
            (_, Some(_)) => emit!(body, "if let Some(part) = &{value} {{ part.error_codes(tell); }}\n"),
            (_, None) => {}
        }
    }
    if !body.is_empty() {
        emit!(out, "fn error_codes(&self, tell: &mut dyn FnMut(i16)) {{\n{body}}}\n");
    }
}

fn has_error_codes(schema: &Schema, name: &str) -> bool {
    schema.structs.get(name).is_some_and(|used| {
        let inner =
            |field: &Field| field.kind.struct_name().is_some_and(|used| has_error_codes(schema, used));
        used.fields.iter().any(|field| is_error_code(field) || inner(field))
    })
}

fn is_error_code(field: &Field) -> bool {
    field.kind == Type::Int16 && ident(&field.name) == "error_code"
}

fn reader(name: &str, fields: &[&Field], versions: Versions, flexible: Versions, out: &mut String) {
    out.push_str("fn read(r: &mut Reader, version: i16, flexible: bool) -> Result<Self, DecodeError> {\n");
    out.push_str("let _ = (version, flexible); let mut m = Self::default();\n");
    for field in fields.iter().filter(|f| f.tag.is_none()) {
        let read =
            format!("m.{} = {};", ident(&field.name), read_expression(name, field, versions, "flexible"));
        match condition(field.versions, versions) {
            None => emit!(out, "{read}\n"),
            Some(condition) => emit!(out, "if {condition} {{ {read} }}\n"),
        }
    }
    if !flexible.intersect(versions).is_empty() {
        let tagged = tagged(fields);
        let body = if tagged.is_empty() {
            format!("m.unknown_tagged_fields = r.unknown_tags(\"{name}\")?;")
        } else {
            let mut arms = String::new();
            for field in &tagged {
                let guard = match condition(field.versions, versions.intersect(flexible)) {
                    None => String::new(),
                    Some(condition) => format!(" if {condition}"),
                };
                let read = read_expression(name, field, versions.intersect(flexible), "true");
                let tag = field.tag.unwrap_or_default();
                emit!(arms, "{tag}{guard} => m.{} = {read},\n", ident(&field.name));
            }
            format!(
                "r.tags(\"{name}\", &mut m.unknown_tagged_fields, |r, tag| {{ match tag {{\n{arms}_ => return Ok(false) }}\n Ok(true) }})?;"
            )
        };
        let body = if flexible.covers(versions) { body } else { format!("if flexible {{ {body} }}") };
        emit!(out, "{body}\n");
    }
    out.push_str("Ok(m)\n}\n");
}

fn writer(name: &str, fields: &[&Field], versions: Versions, flexible: Versions, out: &mut String) {
    out.push_str(
        "fn write(&self, w: &mut Writer, version: i16, flexible: bool) -> Result<(), EncodeError> {\n\
         let _ = (&w, version, flexible);\n",
    );
    for field in fields.iter().filter(|f| f.tag.is_none()) {
        let write = write_expression(name, field, versions, "flexible");
        match condition(field.versions, versions) {
            None => emit!(out, "{write};\n"),
            Some(condition) => {
                emit!(out, "if {condition} {{ {write}; }}");
                if !field.ignorable {
                    emit!(out, " else if {} {{ {} }}", differs(field), absent(name, field));
                }
                out.push('\n');
            }
        }
    }
    if flexible.intersect(versions).is_empty() {
        return out.push_str("Ok(())\n}\n");
    }
    let tagged = tagged(fields);
    for field in tagged.iter().filter(|f| !f.ignorable) {
        if let Some(condition) = condition(field.versions, versions) {
            emit!(out, "if !({condition}) && {} {{ {} }}\n", differs(field), absent(name, field));
        }
    }
    let mut body = String::new();
    if tagged.is_empty() {
        emit!(body, "w.unknown_tags(\"{name}\", &self.unknown_tagged_fields)?;");
    } else {
        let present: Vec<String> = tagged
            .iter()
            .map(|field| match condition(field.versions, versions.intersect(flexible)) {
                None => differs(field),
                Some(condition) => format!("({condition}) && {}", differs(field)),
            })
            .collect();
        emit!(body, "let present = [{}];\n", present.join(", "));
        emit!(body, "let mut tags = w.tags(\"{name}\", &self.unknown_tagged_fields, &present)?;\n");
        for (i, field) in tagged.iter().enumerate() {
            let write = write_expression(name, field, versions.intersect(flexible), "true");
            let tag = field.tag.unwrap_or_default();
            emit!(body, "if present[{i}] {{ let at = w.tag(&mut tags, {tag})?; {write}; w.close(at); }}\n");
        }
        body.push_str("w.last_tags(tags)?;");
    }
    if flexible.covers(versions) {
        emit!(out, "{body}\n");
    } else {
        emit!(
            out,
            "if flexible {{ {body} }} else {{ self.unknown_tagged_fields.none(\"{name}\", version)?; }}\n"
        );
    }
    out.push_str("Ok(())\n}\n");
}

/// Fields with a tag, by tag.
fn tagged<'a>(fields: &[&'a Field]) -> Vec<&'a Field> {
    let mut tagged: Vec<&Field> = fields.iter().copied().filter(|f| f.tag.is_some()).collect();
    tagged.sort_by_key(|f| f.tag);
    tagged
}

fn absent(name: &str, field: &Field) -> String {
    format!("return Err(EncodeError::absent(\"{name}.{}\", version));", field.name)
}

/// When a field is there, given that the version is one of `possible`; `None` means always.
fn condition(field: Versions, possible: Versions) -> Option<String> {
    let low = field.low > possible.low;
    let high = field.high < possible.high;
    match (low, high) {
        _ if field.intersect(possible).is_empty() => Some("false".to_string()),
        (false, false) => None,
        (true, false) => Some(format!("version >= {}", field.low)),
        (false, true) => Some(format!("version <= {}", field.high)),
        (true, true) => Some(format!("({}..={}).contains(&version)", field.low, field.high)),
    }
}

/// Whether null is allowed, as an expression.
fn null_condition(field: &Field, possible: Versions) -> String {
    condition(field.nullable, possible.intersect(field.versions)).unwrap_or_else(|| "true".to_string())
}

fn read_expression(name: &str, field: &Field, possible: Versions, flexible: &str) -> String {
    let flexible = if field.inflexible { "false" } else { flexible };
    let place = format!("\"{name}.{}\"", field.name);
    let null = (!field.nullable.is_empty()).then(|| null_condition(field, possible));
    match (&field.kind, null) {
        (Type::String, None) => format!("r.string({place}, {flexible})?"),
        (Type::String, Some(null)) => format!("r.string_or_null({place}, {flexible}, {null})?"),
        (Type::Bytes, None) => format!("r.bytes({place}, {flexible})?"),
        (Type::Bytes, Some(null)) => format!("r.bytes_or_null({place}, {flexible}, {null})?"),
        (Type::Records, None) => format!("r.records({place}, {flexible})?"),
        (Type::Records, Some(null)) => format!("r.records_or_null({place}, {flexible}, {null})?"),
        (Type::Array(_), None) => format!("r.array({place}, version, {flexible})?"),
        (Type::Array(_), Some(null)) => format!("r.array_or_null({place}, version, {flexible}, {null})?"),
        (Type::Struct(_), Some(null)) if null != "true" => {
            panic!("{name}.{}: a struct that is nullable in some versions only", field.name)
        }
        (Type::Struct(_), Some(_)) if field.tag.is_some() => "r.tagged_part_or_null(version)?".to_string(),
        (Type::Struct(_), None) => format!("Part::read(r, version, {flexible})?"),
        (Type::Struct(_), Some(_)) => format!("r.part_or_null(version, {flexible})?"),
        (scalar, None) => format!("r.{}()?", scalar_name(scalar)),
        (scalar, Some(_)) => panic!("{name}.{}: a nullable {scalar}", field.name),
    }
}

fn write_expression(name: &str, field: &Field, possible: Versions, flexible: &str) -> String {
    let flexible = if field.inflexible { "false" } else { flexible };
    let place = format!("\"{name}.{}\"", field.name);
    let value = format!("self.{}", ident(&field.name));
    let null = (!field.nullable.is_empty()).then(|| null_condition(field, possible));
    let (method, dereferenced) = match &field.kind {
        Type::String => ("string", format!("{value}.as_deref()")),
        Type::Bytes => ("bytes", format!("{value}.as_deref()")),
        Type::Records => ("records", format!("{value}.as_ref()")),
        Type::Array(_) => ("array", format!("{value}.as_deref()")),
        Type::Struct(_) => match null {
            None => return format!("{value}.write(w, version, {flexible})?"),
            Some(_) if field.tag.is_some() => {
                return format!("w.tagged_part_or_null({value}.as_ref(), version)?");
            }
            Some(_) => return format!("w.part_or_null({value}.as_ref(), version, {flexible})?"),
        },
        scalar => return format!("w.{}({value})", scalar_name(scalar)),
    };
    let version = if method == "array" || null.is_some() { ", version" } else { "" };
    match null {
        None => format!("w.{method}({place}, &{value}{version}, {flexible})?"),
        Some(null) => format!("w.{method}_or_null({place}, {dereferenced}{version}, {flexible}, {null})?"),
    }
}

/// The test whether a field holds something else than its default.
fn differs(field: &Field) -> String {
    let value = format!("self.{}", ident(&field.name));
    match (&field.default, field.nullable.is_empty()) {
        (Some(default), false) if default == "null" => format!("{value}.is_some()"),
        (_, false) if field.kind == Type::Records => format!("{value}.is_some()"),
        (_, false) => format!("{value}.as_ref().is_none_or(|value| {})", value_differs(field, "value", true)),
        (_, true) => value_differs(field, &value, false),
    }
}

fn value_differs(field: &Field, value: &str, borrowed: bool) -> String {
    let star = if borrowed { "*" } else { "" };
    match (&field.kind, &field.default) {
        (Type::String, Some(default)) => format!("&{star}{value}[..] != \"{default}\""),
        (Type::String | Type::Bytes | Type::Records | Type::Array(_), _) => format!("!{value}.is_empty()"),
        (Type::Struct(name), _) => format!("{star}{value} != {name}::default()"),
        (Type::Uuid, _) => format!("!{value}.is_zero()"),
        (Type::Bool, Some(default)) if default == "true" => format!("!{value}"),
        (Type::Bool, _) => value.to_string(),
        (Type::Float64, _) => format!("{value} != {:?}", number::<f64>(field)),
        (_, Some(default)) => format!("{value} != {default}"),
        (_, None) => format!("{value} != 0"),
    }
}

fn default_value(field: &Field) -> String {
    if field.default.as_deref() == Some("null") || (field.kind == Type::Records && !field.nullable.is_empty())
    {
        assert!(!field.nullable.is_empty(), "{}: the default of a field without null is null", field.name);
        return "None".to_string();
    }
    let value = match (&field.kind, &field.default) {
        (Type::String, Some(text)) => format!("Str::from_static(\"{text}\")"),
        (Type::Float64, _) => format!("{:?}", number::<f64>(field)),
        (_, None) => "Default::default()".to_string(),
        (_, Some(literal)) => literal.clone(),
    };
    if field.nullable.is_empty() { value } else { format!("Some({value})") }
}

fn number<T: std::str::FromStr + Default>(field: &Field) -> T {
    let parsed = field.default.as_ref().map(|d| d.parse().unwrap_or_else(|_| panic!("{}: {d}", field.name)));
    parsed.unwrap_or_default()
}

fn rust_type(field: &Field) -> String {
    fn of(kind: &Type) -> String {
        match kind {
            Type::String => "Str".to_string(),
            Type::Bytes => "Bytes".to_string(),
            Type::Records => "Records".to_string(),
            Type::Uuid => "TopicId".to_string(),
            Type::Struct(name) => name.clone(),
            Type::Array(inner) => format!("Vec<{}>", of(inner)),
            scalar => scalar_name(scalar).to_string(),
        }
    }
    let kind = of(&field.kind);
    if field.nullable.is_empty() { kind } else { format!("Option<{kind}>") }
}

/// The Rust type of a number, which is also the name of its reader and writer.
fn scalar_name(kind: &Type) -> &'static str {
    match kind {
        Type::Bool => "bool",
        Type::Int8 => "i8",
        Type::Int16 => "i16",
        Type::Uint16 => "u16",
        Type::Int32 => "i32",
        Type::Uint32 => "u32",
        Type::Int64 => "i64",
        Type::Float64 => "f64",
        Type::Uuid => "uuid",
        other => panic!("{other} is not a scalar"),
    }
}

/// The fewest bytes that an instance takes in any of its versions.
fn least_size(schema: &Schema, fields: &[&Field], versions: Versions, flexible: Versions) -> usize {
    let least = (versions.low..=versions.high).map(|version| {
        let compact = flexible.contains(version);
        let fields = fields.iter().filter(|f| f.tag.is_none() && f.versions.contains(version));
        let sizes = fields.map(|field| match &field.kind {
            Type::Bool | Type::Int8 => 1,
            Type::Int16 | Type::Uint16 => 2,
            Type::Int32 | Type::Uint32 => 4,
            Type::Int64 | Type::Float64 => 8,
            Type::Uuid => 16,
            Type::String if compact && !field.inflexible => 1,
            Type::String => 2,
            Type::Bytes | Type::Records | Type::Array(_) if compact => 1,
            Type::Bytes | Type::Records | Type::Array(_) => 4,
            Type::Struct(_) if field.nullable.contains(version) => 1,
            Type::Struct(name) => {
                let nested: Vec<&Field> = schema.structs[name].fields.iter().collect();
                let one = Versions { low: version, high: version };
                least_size(schema, &nested, one, flexible)
            }
        });
        sizes.sum::<usize>() + usize::from(compact)
    });
    least.min().unwrap_or(0)
}

fn field_doc(field: &Field) -> String {
    let mut doc = format!("{}, {}", field.versions, field.kind).replace('[', "array of ").replace(']', "");
    if !field.nullable.is_empty() {
        let _ = write!(doc, ", null {}", field.nullable);
    }
    if let Some(default) = &field.default {
        let _ = write!(doc, ", default {default}");
    }
    if let Some(tag) = field.tag {
        let _ = write!(doc, ", tag {tag}");
    }
    if field.ignorable {
        doc.push_str(", left out silently elsewhere");
    }
    doc.push('.');
    doc
}

fn ident(name: &str) -> String {
    match name {
        "type" | "match" => format!("{name}_"),
        _ => name.to_string(),
    }
}

fn api_keys(apis: &[&Schema], out: &mut String) {
    let all: Vec<(i16, &str, &Message, &Message)> = apis
        .iter()
        .map(|schema| {
            let (key, name) = schema.api.as_ref().expect("only APIs");
            let [request, response] = &schema.messages[..] else {
                panic!("{name}: not request and response")
            };
            assert_eq!((request.role, response.role), (Role::Request, Role::Response), "{name}");
            assert_eq!(request.versions, response.versions, "{name}");
            assert_eq!(request.flexible, response.flexible, "{name}");
            (*key, name.as_str(), request, response)
        })
        .collect();
    out.push_str("/// Every API this crate can speak.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]\n#[repr(i16)]\npub enum ApiKey {\n");
    for (key, name, request, _) in &all {
        emit!(out, "/// Versions {}.\n{name} = {key},\n", request.versions);
    }
    out.push_str("}\n\nimpl ApiKey {\n/// All of them, ascending.\npub const ALL: &'static [ApiKey] = &[");
    for (_, name, ..) in &all {
        emit!(out, "ApiKey::{name}, ");
    }
    out.push_str("];\n\npub(crate) const fn facts(self) -> api::Facts { match self {\n");
    for (_, name, request, _) in &all {
        let flexible = if request.flexible.is_empty() {
            "None".to_string()
        } else {
            format!("Some({})", request.flexible.low)
        };
        emit!(
            out,
            "ApiKey::{name} => api::Facts::new(\"{name}\", {}, {}, {flexible}, {}),\n",
            request.versions.low,
            request.versions.high,
            request.unstable
        );
    }
    out.push_str("} }\n\npub(crate) const fn of(key: i16) -> Option<ApiKey> { Some(match key {\n");
    for (key, name, ..) in &all {
        emit!(out, "{key} => ApiKey::{name},\n");
    }
    out.push_str("_ => return None,\n}) }\n}\n\n");
}

fn any(name: &str, what: &str, role: Role, apis: &[&Schema], out: &mut String) {
    let all: Vec<(&str, &str, &str)> = apis
        .iter()
        .filter_map(|schema| {
            let (_, api) = schema.api.as_ref()?;
            let message = schema.messages.iter().find(|m| m.role == role)?;
            Some((api.as_str(), schema.module.as_str(), message.name.as_str()))
        })
        .collect();
    emit!(out, "/// A {what} of any API, for tools that handle all of them alike.\n");
    emit!(out, "#[derive(Clone, Debug, PartialEq)]\npub enum {name} {{\n");
    for (api, module, message) in &all {
        emit!(out, "{api}({module}::{message}),\n");
    }
    emit!(
        out,
        "}}\n\nimpl {name} {{\n/// The API it belongs to.\npub fn key(&self) -> ApiKey {{ match self {{\n"
    );
    for (api, ..) in &all {
        emit!(out, "{name}::{api}(_) => ApiKey::{api},\n");
    }
    emit!(
        out,
        "}} }}\n\n/// Decodes the body of a {what}, without its header.\n\
             pub fn decode(key: ApiKey, version: i16, reader: &mut Reader) -> Result<Self, DecodeError> {{ Ok(match key {{\n"
    );
    for (api, ..) in &all {
        emit!(out, "ApiKey::{api} => {name}::{api}(Message::decode(reader, version)?),\n");
    }
    emit!(
        out,
        "}}) }}\n\n/// Encodes the body of a {what}, without its header.\n\
             pub fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {{ match self {{\n"
    );
    for (api, ..) in &all {
        emit!(out, "{name}::{api}(message) => message.encode(writer, version),\n");
    }
    out.push_str("} }\n}\n\n");
}

/// A macro that hands the paths of all messages to another macro, so that tools need no list of their own.
fn all(schemas: &[Schema], out: &mut String) {
    out.push_str(
        "#[doc(hidden)]\n#[macro_export]\nmacro_rules! all_messages { ($visit:ident) => { $visit! {\n",
    );
    for schema in schemas {
        for message in &schema.messages {
            emit!(out, "$crate::{}::{},\n", schema.module, message.name);
        }
    }
    out.push_str("} } }\n");
}
