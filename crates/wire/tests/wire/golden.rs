//! What Kafka's own classes write is read, understood, and written again byte for byte.

use std::collections::BTreeSet;
use std::io::Read;

use bytes::Bytes;
use wire::group_records::*;
use wire::metadata_records::*;
use wire::transaction_records::*;
use wire::{ApiKey, ErrorCode, Message, Stored, UnknownErrorCode, Versions, stored};

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

const VARIANTS: [&str; 4] = ["full", "null", "empty", "plain"];

/// All messages that Kafka wrote.
pub fn goldens() -> Vec<Golden> {
    lines().into_iter().filter(|line| VARIANTS.contains(&line.variant.as_str())).collect()
}

fn lines() -> Vec<Golden> {
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
                assert!(description.defaults.is_empty(), "{}: {:?}", golden.title(), description.defaults);
                let known = BTreeSet::from([60, 70_000]);
                let flexible = message.flexible.contains(golden.version);
                let expected = if flexible { known } else { BTreeSet::new() };
                assert_eq!(description.unknown_tags, expected, "{}", golden.title());
            }
            "plain" => {
                assert!(description.others.is_empty(), "{}: {:?}", golden.title(), description.others);
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
            for variant in VARIANTS {
                expected.insert((message.name.clone(), version, variant.to_string()));
            }
        }
    }
    assert_eq!(seen, expected);
    assert_eq!((KINDS.len(), expected.len()), (182, 2440));
}

#[test]
fn error_codes_are_kafkas() {
    let kafkas: BTreeSet<(i16, String, bool)> = lines()
        .into_iter()
        .filter(|line| line.name == "ErrorCode")
        .map(|line| (line.version, String::from_utf8_lossy(&line.bytes).into(), line.variant == "retriable"))
        .collect();
    let ours = ErrorCode::ALL.iter().map(|e| (e.code(), e.name().to_string(), e.is_retriable())).collect();
    assert_eq!(kafkas, ours);
    assert_eq!(ours.len(), 138);
    for error in ErrorCode::ALL {
        assert_eq!(ErrorCode::try_from(error.code()), Ok(*error));
    }
    assert_eq!(ErrorCode::try_from(137), Err(UnknownErrorCode(137)));
}

#[test]
fn header_versions_and_drafts_are_kafkas() {
    let lines = lines();
    for api in ApiKey::ALL {
        let of_api: Vec<&Golden> = lines.iter().filter(|line| line.name == api.name()).collect();
        let range = |lines: &[&Golden]| Versions {
            min: lines.iter().map(|line| line.version).min().expect("lines of every API"),
            max: lines.iter().map(|line| line.version).max().expect("lines of every API"),
        };
        let stable: Vec<&Golden> = of_api.iter().copied().filter(|line| line.variant == "stable").collect();
        assert_eq!(api.versions(), range(&of_api), "{api}");
        assert_eq!(api.stable_versions(), range(&stable), "{api}");
        for line in of_api {
            let headers =
                [api.request_header_version(line.version), api.response_header_version(line.version)];
            assert_eq!(headers.map(|version| version as u8), line.bytes[..], "{}", line.title());
        }
    }
    assert_eq!(ApiKey::ALL.len(), 74);
    assert_eq!(ApiKey::InitProducerId.stable_versions(), Versions { min: 0, max: 5 });
}

/// What lies in an internal topic, read and written again.
type Restore = fn(Bytes) -> Bytes;

fn key<K: Stored>() -> (&'static str, Restore) {
    (K::NAME, |bytes| {
        assert_eq!(stored::key_type(&bytes), Ok(K::ID));
        let key: K = stored::decode_key(bytes).expect("a key of this type");
        stored::encode_key(&key).expect("a key that was read can be written")
    })
}

fn value<V: Message>() -> (&'static str, Restore) {
    (V::NAME, |bytes| {
        let (version, value) = stored::decode_with_version_prefix::<V>(bytes).expect("a value of this type");
        stored::encode_with_version_prefix(&value, version).expect("a value that was read can be written")
    })
}

fn metadata<R: Stored>() -> (&'static str, Restore) {
    (R::NAME, |bytes| {
        let (id, version, mut reader) = stored::decode_metadata_header(bytes).expect("a metadata record");
        assert_eq!(id, R::ID);
        let record = R::decode(&mut reader, version).expect("a record of this type");
        stored::encode_metadata_record(&record, version).expect("a record that was read can be written")
    })
}

#[test]
fn records_of_internal_topics_come_back_byte_for_byte() {
    let restores = [
        key::<LegacyOffsetCommitKey>(),
        key::<OffsetCommitKey>(),
        value::<OffsetCommitValue>(),
        key::<GroupMetadataKey>(),
        value::<GroupMetadataValue>(),
        key::<ConsumerGroupMetadataKey>(),
        value::<ConsumerGroupMetadataValue>(),
        key::<ConsumerGroupPartitionMetadataKey>(),
        value::<ConsumerGroupPartitionMetadataValue>(),
        key::<ConsumerGroupMemberMetadataKey>(),
        value::<ConsumerGroupMemberMetadataValue>(),
        key::<ConsumerGroupTargetAssignmentMetadataKey>(),
        value::<ConsumerGroupTargetAssignmentMetadataValue>(),
        key::<ConsumerGroupTargetAssignmentMemberKey>(),
        value::<ConsumerGroupTargetAssignmentMemberValue>(),
        key::<ConsumerGroupCurrentMemberAssignmentKey>(),
        value::<ConsumerGroupCurrentMemberAssignmentValue>(),
        key::<ConsumerGroupRegularExpressionKey>(),
        value::<ConsumerGroupRegularExpressionValue>(),
        key::<TransactionLogKey>(),
        value::<TransactionLogValue>(),
        metadata::<TopicRecord>(),
        metadata::<PartitionRecord>(),
        metadata::<ConfigRecord>(),
        metadata::<RemoveTopicRecord>(),
        metadata::<ProducerIdsRecord>(),
        metadata::<FeatureLevelRecord>(),
    ];
    let mut seen = BTreeSet::new();
    for line in lines().into_iter().filter(|line| line.variant == "stored") {
        let restore = restores.iter().find(|(name, _)| *name == line.name);
        let (name, restore) = restore.unwrap_or_else(|| panic!("{} is stored, but not here", line.name));
        assert_eq!(restore(line.bytes.clone()), line.bytes, "{}", line.title());
        seen.insert(*name);
    }
    assert_eq!(seen.len(), restores.len());
}
