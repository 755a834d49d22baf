//! The syntax of Java's `.properties`.
//!
//! ```text
//! # a comment, as with !
//! name=value        also name: value, and name value
//! name = goes on \
//!        here       the blanks before it do not count
//! name=\u00e4\t\=   escapes in names and values
//! ```

use std::collections::BTreeMap;

/// Where a name stands twice, the last one counts.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut values = BTreeMap::new();
    let mut lines = text.lines().map(|line| line.trim_start_matches(BLANKS)).enumerate();
    while let Some((number, line)) = lines.next() {
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut whole = line.to_owned();
        // A comment cannot go on, but what begins like one can be what something goes on with.
        while ends_open(&whole) {
            whole.pop();
            let Some((_, more)) = lines.next() else { break };
            whole.push_str(more);
        }
        let (name, value) = cut(&whole);
        let unescaped = |text| unescaped(text).map_err(|why| format!("line {}: {why}", number + 1));
        values.insert(unescaped(name)?, unescaped(value)?);
    }
    Ok(values)
}

const BLANKS: [char; 3] = [' ', '\t', '\u{c}'];

/// An odd number of backslashes: the last one is no escaped one.
fn ends_open(line: &str) -> bool {
    (line.len() - line.trim_end_matches('\\').len()) % 2 == 1
}

/// At the first `=`, `:` or blank that is not escaped.
fn cut(line: &str) -> (&str, &str) {
    let mut is_escaped = false;
    let end = line.find(|char: char| {
        let found = !is_escaped && (char == '=' || char == ':' || BLANKS.contains(&char));
        is_escaped = char == '\\' && !is_escaped;
        found
    });
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(BLANKS);
    (name, rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(BLANKS))
}

fn unescaped(text: &str) -> Result<String, String> {
    // Java counts in UTF-16: a letter beyond its first plane is two escapes.
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        let escaped = if char == '\\' { chars.next() } else { None };
        let unescaped = match escaped {
            Some('u') => {
                let digits = chars.as_str().get(..4).unwrap_or_default();
                let unit =
                    u16::from_str_radix(digits, 16).map_err(|_| "after \\u come four hexadecimal digits")?;
                units.push(unit);
                chars = chars.as_str()[4..].chars();
                continue;
            }
            Some('t') => '\t',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('f') => '\u{c}',
            Some(other) => other,
            None if char == '\\' => continue,
            None => char,
        };
        units.extend_from_slice(unescaped.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16(&units).map_err(|_| "half a letter is escaped with \\u".to_owned())
}

#[cfg(test)]
mod tests;
