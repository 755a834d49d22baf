//! `--format`: how a record becomes a line.

use model::batch::{Record, Records};
use serde_json::json;

/// The form of the lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// The value, for people.
    Text,
    /// One JSON object a line, for programs.
    Json,
    /// A text with placeholders, in kcat's letters.
    Template(Vec<Piece>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    Value,
    Headers,
}

/// A record and where it stands.
pub struct Placed<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub records: &'a Records,
    pub record: &'a Record<'a>,
}

impl Shape {
    pub fn parse(text: &str) -> Result<Shape, String> {
        match text {
            "text" => Ok(Shape::Text),
            "json" => Ok(Shape::Json),
            _ if text.contains('%') => template(text).map(Shape::Template),
            _ => Err("give text, json, or a text with placeholders, such as '%p %o %k %s'".to_owned()),
        }
    }

    /// The record's line, without its end.
    pub fn line(&self, placed: &Placed<'_>, key_separator: Option<&str>) -> String {
        let record = placed.record;
        match self {
            Shape::Text => match key_separator {
                None => text(record.value),
                Some(separator) => format!("{}{separator}{}", text(record.key), text(record.value)),
            },
            Shape::Json => {
                let headers: Vec<_> =
                    record.headers.map(|(name, value)| json!([lossy(name), value.map(shown)])).collect();
                json!({
                    "topic": placed.topic, "partition": placed.partition, "offset": placed.offset(),
                    "timestamp": placed.timestamp(),
                    "key": record.key.map(shown), "value": record.value.map(shown), "headers": headers,
                })
                .to_string()
            }
            Shape::Template(pieces) => {
                let line: String = pieces.iter().map(|piece| placed.piece(piece)).collect();
                // Written for kcat, a format ends its line itself.
                line.strip_suffix('\n').map(str::to_owned).unwrap_or(line)
            }
        }
    }
}

impl Placed<'_> {
    fn offset(&self) -> i64 {
        self.records.offset(self.record).0
    }

    fn timestamp(&self) -> i64 {
        self.records.timestamp(self.record).0
    }

    fn piece(&self, piece: &Piece) -> String {
        match piece {
            Piece::Text(text) => text.clone(),
            Piece::Topic => self.topic.to_owned(),
            Piece::Partition => self.partition.to_string(),
            Piece::Offset => self.offset().to_string(),
            Piece::Timestamp => self.timestamp().to_string(),
            Piece::Key => text(self.record.key),
            Piece::Value => text(self.record.value),
            Piece::Headers => {
                let header =
                    |(name, value): (&[u8], Option<&[u8]>)| format!("{}={}", lossy(name), text(value));
                self.record.headers.map(header).collect::<Vec<_>>().join(",")
            }
        }
    }
}

fn template(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let piece = match character {
            '%' => match characters.next() {
                Some('%') => None,
                Some('t') => Some(Piece::Topic),
                Some('p') => Some(Piece::Partition),
                Some('o') => Some(Piece::Offset),
                Some('T') => Some(Piece::Timestamp),
                Some('k') => Some(Piece::Key),
                Some('s') => Some(Piece::Value),
                Some('h') => Some(Piece::Headers),
                other => {
                    let wrong = other.map(String::from).unwrap_or_default();
                    return Err(format!(
                        "there is no placeholder %{wrong}; there are %t %p %o %T %k %s %h and %%"
                    ));
                }
            },
            '\\' => {
                match characters.next() {
                    Some('n') => plain.push('\n'),
                    Some('t') => plain.push('\t'),
                    Some('\\') => plain.push('\\'),
                    Some(other) => plain.extend(['\\', other]),
                    None => plain.push('\\'),
                }
                continue;
            }
            other => {
                plain.push(other);
                continue;
            }
        };
        match piece {
            None => plain.push('%'),
            Some(piece) => {
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(piece);
            }
        }
    }
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}

fn text(bytes: Option<&[u8]>) -> String {
    bytes.map_or("null".into(), |bytes| lossy(bytes).into_owned())
}

fn lossy(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Text as text; anything else as `{"hex": "…"}`.
fn shown(bytes: &[u8]) -> serde_json::Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}

#[cfg(test)]
mod tests;
