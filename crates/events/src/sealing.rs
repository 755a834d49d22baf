//! Sealed data: what an event or a snapshot says about a person is encrypted before it gets into the log, each person's
//! (each *subject*'s) with a key of its own, so that destroying the key erases it everywhere.
//!
//! ```text
//! data     {"id": 7, "name": "Ada"}   personal ["/name"]
//! sealed   {"id": 7, "name": {"levada.encrypted": "<base64 of nonce, ciphertext, tag>"}}      AES-256-GCM
//! headers  lv-subject · lv-key (which of the subject's keys) · lv-personal (JSON pointers; "" is all of the data)
//! ```
//!
//! The place of a value is bound to it: the stream, the event's id and the pointer are the ciphertext's additional data.
//! Everything beside the sealed values stays byte for byte, but for white space between the members on the way to them.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use env::Random;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// Bytes of every key.
pub const KEY_BYTES: usize = 32;

/// The pointer to all of the data.
const ALL: &str = "";

/// Whose data an event has, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    pub subject: String,
    /// JSON pointers (RFC 6901).
    pub personal: Vec<String>,
    /// Which of the subject's keys; None: it is not encrypted yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// A key that encrypts.
pub struct Key(LessSafeKey);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// What was encrypted cannot be decrypted: the key is another one, or it was not encrypted for this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsealable;

/// Where sealed data belong.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub stream: &'a str,
    /// The event's.
    pub id: &'a str,
}

impl Place<'_> {
    fn with(&self, pointer: &str) -> Vec<u8> {
        serde_json::to_vec(&[self.stream, self.id, pointer]).expect("texts are JSON")
    }
}

impl Key {
    pub fn new(bytes: &[u8; KEY_BYTES]) -> Key {
        Key(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).expect("it is as long as it must be")))
    }

    /// Nonce, ciphertext, tag.
    pub fn encrypt(&self, random: &dyn Random, context: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce);
        let mut bytes = plain.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut bytes)
            .expect("an append is shorter than what AES-GCM can encrypt");
        [&nonce[..], &bytes].concat()
    }

    pub fn decrypt(&self, context: &[u8], encrypted: &[u8]) -> Result<Vec<u8>, Unsealable> {
        let (nonce, rest) = encrypted.split_at_checked(NONCE_LEN).ok_or(Unsealable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unsealable)?;
        let mut bytes = rest.to_vec();
        let plain = self.0.open_in_place(nonce, Aad::from(context), &mut bytes).map_err(|_| Unsealable)?;
        Ok(plain.to_vec())
    }
}

/// What stands in the place of a value.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Encrypted {
    #[serde(rename = "levada.encrypted")]
    bytes: String,
    /// Of all of the data, where they are no JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
}

/// Encrypts what is personal: the content type and data to be written. Err: why it cannot be.
pub fn seal(
    key: &Key,
    random: &dyn Random,
    place: Place<'_>,
    personal: &[String],
    content_type: &str,
    data: &Bytes,
) -> Result<(String, Bytes), String> {
    let encrypt = |pointer: &str, plain: &[u8], content_type: Option<String>| {
        let bytes = BASE64_STANDARD.encode(key.encrypt(random, &place.with(pointer), plain));
        serde_json::to_string(&Encrypted { bytes, content_type }).expect("texts are JSON")
    };
    let is_json = crate::event::is_json(content_type);
    if let [all] = personal
        && all == ALL
    {
        let kept = (!is_json).then(|| content_type.to_owned());
        let written = if is_json { content_type } else { "application/json" };
        return Ok((written.to_owned(), encrypt(ALL, data, kept).into()));
    }
    if !is_json {
        return Err(
            "`personal` points into JSON, and the data are none: leave it out to encrypt all".to_owned()
        );
    }
    let mut text = utf8(data)?.to_owned();
    for pointer in personal {
        let tokens = tokens(pointer)?;
        // A member that is there twice would stay in clear once.
        check_once(&text, &tokens).map_err(|why| format!("`personal` {pointer}: {why}"))?;
        text = edit(&text, &tokens, &mut |plain| Ok(encrypt(pointer, plain.as_bytes(), None)))
            .map_err(|why| format!("`personal` {pointer}: {why}"))?;
    }
    Ok((content_type.to_owned(), text.into()))
}

/// Decrypts what is sealed; without a key the values are null. The content type and data to be read. Err: they were
/// changed, or encrypted with another key.
pub fn unseal(
    key: Option<&Key>,
    place: Place<'_>,
    personal: &[String],
    content_type: &str,
    data: &Bytes,
) -> Result<(String, Bytes), Unsealable> {
    let decrypt = |pointer: &str, text: &str| -> Result<(Vec<u8>, Option<String>), Unsealable> {
        let Some(key) = key else { return Ok((b"null".to_vec(), None)) };
        let encrypted: Encrypted = serde_json::from_str(text).map_err(|_| Unsealable)?;
        let bytes = BASE64_STANDARD.decode(encrypted.bytes).map_err(|_| Unsealable)?;
        Ok((key.decrypt(&place.with(pointer), &bytes)?, encrypted.content_type))
    };
    let text = std::str::from_utf8(data).map_err(|_| Unsealable)?;
    if let [all] = personal
        && all == ALL
    {
        let (plain, kept) = decrypt(ALL, text)?;
        return Ok((kept.unwrap_or_else(|| content_type.to_owned()), plain.into()));
    }
    let mut text = text.to_owned();
    for pointer in personal {
        let tokens = tokens(pointer).map_err(|_| Unsealable)?;
        let mut decrypt = |sealed: &str| {
            let (plain, _) = decrypt(pointer, sealed).map_err(|_| String::new())?;
            String::from_utf8(plain).map_err(|_| String::new())
        };
        text = edit(&text, &tokens, &mut decrypt).map_err(|_| Unsealable)?;
    }
    Ok((content_type.to_owned(), text.into()))
}

/// What is wrong with pointers, whatever the data: one within another would be encrypted twice.
pub fn check(personal: &[String]) -> Result<(), String> {
    for pointer in personal {
        tokens(pointer)?;
        let within = |other: &&String| {
            *other != pointer && (other.is_empty() || pointer.starts_with(&format!("{other}/")))
        };
        if let Some(other) = personal.iter().find(within) {
            return Err(format!("`personal` {pointer} is within `{other}`"));
        }
        if personal.iter().filter(|other| *other == pointer).count() > 1 {
            return Err(format!("`personal` has {pointer} twice"));
        }
    }
    Ok(())
}

fn utf8(data: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(data).map_err(|error| error.to_string())
}

fn tokens(pointer: &str) -> Result<Vec<String>, String> {
    if pointer == ALL {
        return Ok(Vec::new());
    }
    let rest = pointer.strip_prefix('/');
    let rest = rest.ok_or_else(|| format!("{pointer} is no JSON pointer (RFC 6901): it begins with /"))?;
    Ok(rest.split('/').map(|token| token.replace("~1", "/").replace("~0", "~")).collect())
}

/// Refuses data in which a member on the way to a place is there more than once: readers disagree which one counts.
fn check_once(text: &str, tokens: &[String]) -> Result<(), String> {
    let Some((token, rest)) = tokens.split_first() else { return Ok(()) };
    if text.trim_start().starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let item = token.parse::<usize>().ok().and_then(|at| items.get(at));
        return item.map_or(Ok(()), |item| check_once(item.get(), rest));
    }
    // What is missing is told by whoever changes it.
    let Ok(Members(members)) = serde_json::from_str(text) else { return Ok(()) };
    let mut named = members.iter().filter(|(name, _)| name == token);
    match (named.next(), named.next()) {
        (Some(_), Some(_)) => Err(format!("`{token}` is there more than once")),
        (Some((_, value)), None) => check_once(value.get(), rest),
        (None, _) => Ok(()),
    }
}

/// Replaces the value at a place, and leaves all others as they are.
fn edit(
    text: &str,
    tokens: &[String],
    change: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Result<String, String> {
    let Some((token, rest)) = tokens.split_first() else { return change(text) };
    let broken = |error: serde_json::Error| error.to_string();
    let missing = || format!("there is no `{token}`");
    let raw = |text: String| RawValue::from_string(text).map_err(broken);
    if text.trim_start().starts_with('[') {
        let mut items: Vec<Box<RawValue>> = serde_json::from_str(text).map_err(broken)?;
        let at = token.parse::<usize>().ok().filter(|at| *at < items.len()).ok_or_else(missing)?;
        items[at] = raw(edit(items[at].get(), rest, change)?)?;
        return serde_json::to_string(&items).map_err(broken);
    }
    let Members(mut members) = serde_json::from_str(text).map_err(|_| missing())?;
    let member = members.iter_mut().find(|(name, _)| name == token).ok_or_else(missing)?;
    member.1 = raw(edit(member.1.get(), rest, change)?)?;
    let texts = members.iter().map(|(name, value)| {
        format!("{}:{}", serde_json::to_string(name).expect("texts are JSON"), value.get())
    });
    Ok(format!("{{{}}}", texts.collect::<Vec<_>>().join(",")))
}

/// An object's members in their order, each value as it is written.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reading)
    }
}

#[cfg(test)]
mod tests;
