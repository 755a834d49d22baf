//! What Kafka's own classes write is read, understood, and written again byte for byte.

use std::collections::BTreeSet;
use std::io::Read;

use bytes::Bytes;

use crate::any_bytes::{KINDS, Kind};
use crate::interpreter::Interpreter;
use crate::{find, schemas};

/// One message that Kafka wrote; `golden/Goldens.java` says what the variants are.
pub struct Golden {
    pub name: String,
    pub version: i16,
    pub variant: String,
    pub bytes: Bytes,
}

impl Golden {
    fn kind(&self) -> &'static Kind {
        KINDS.iter().find(|k| k.name == self.name).unwrap_or_else(|| panic!("{} is no message", self.name))
    }

    fn title(&self) -> String {
        format!("{} {} {}", self.name, self.version, self.variant)
    }
}

pub fn goldens() -> Vec<Golden> {
    let mut text = String::new();
    let file = include_bytes!("../../golden/golden.txt.gz");
    flate2::read::GzDecoder::new(&file[..]).read_to_string(&mut text).expect("a gzip file");
    text.lines().map(golden).collect()
}

fn golden(line: &str) -> Golden {
    let [name, version, variant, hex] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
    let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).expect("a hex digit") as u8).collect();
    Golden {
        name: name.to_string(),
        version: version.parse().expect("a version"),
        variant: variant.to_string(),
        bytes: digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect::<Vec<u8>>().into(),
    }
}

#[test]
fn every_golden_comes_back_byte_for_byte() {
    for golden in goldens() {
        let recoded = golden.kind().recode(golden.bytes.clone(), golden.version);
        assert_eq!(recoded.left, 0, "{}", golden.title());
        assert!(
            recoded.bytes == golden.bytes,
            "{}:\n{:02x?}\n{:02x?}",
            golden.title(),
            &recoded.bytes[..],
            &golden.bytes[..]
        );
    }
}

#[test]
fn every_golden_means_what_its_schema_says() {
    let schemas = schemas();
    for golden in goldens() {
        let (schema, message) = find(&schemas, &golden.name);
        let description = Interpreter::new(schema, message, golden.version).describe(&golden.bytes);
        assert_eq!(description.left, 0, "{}", golden.title());
        let recoded = golden.kind().recode(golden.bytes.clone(), golden.version);
        assert_eq!(recoded.debug, description.debug, "{}", golden.title());
        match golden.variant.as_str() {
            "full" => {
                assert!(description.defaults.is_empty(), "{}: {:?}", golden.title(), description.defaults)
            }
            "plain" if description.defaults.len() == message.fields.len() => {
                assert_eq!(recoded.debug, golden.kind().default(), "{}", golden.title());
            }
            _ => {}
        }
    }
}

#[test]
fn every_message_has_goldens_in_every_version() {
    let seen: BTreeSet<(String, i16, String)> =
        goldens().into_iter().map(|g| (g.name, g.version, g.variant)).collect();
    let mut expected = BTreeSet::new();
    for message in schemas().iter().flat_map(|s| &s.messages) {
        for version in message.versions.low..=message.versions.high {
            for variant in ["full", "null", "empty", "plain"] {
                expected.insert((message.name.clone(), version, variant.to_string()));
            }
        }
    }
    assert_eq!(seen, expected);
    assert_eq!((KINDS.len(), expected.len()), (181, 2436));
}
