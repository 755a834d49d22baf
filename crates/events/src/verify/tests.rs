//! Each kind of finding, planted.

use bytes::Bytes;

use super::*;
use crate::event::Facts;

/// Streams of partition 0 of one: everything belongs there.
fn audit(entries: Vec<Entry>) -> Vec<String> {
    let mut audit = Audit::new(0, 1);
    for (offset, entry) in entries.into_iter().enumerate() {
        audit.take(Offset(offset as i64), &entry);
    }
    audit
        .finish()
        .findings
        .into_iter()
        .map(|finding| format!("{}: {}", finding.offset, finding.what))
        .collect()
}

fn claim(writer: &str) -> Entry {
    Entry::Claim { writer: writer.to_owned() }
}

fn event(stream: &str, version: u64, id: &str, writer: &str) -> Entry {
    Entry::Event {
        stream: stream.to_owned(),
        version,
        id: id.to_owned(),
        facts: Facts::default(),
        data: Bytes::new(),
        boundary: None,
        writer: writer.to_owned(),
    }
}

#[test]
fn what_owners_leave_is_in_order() {
    let entries = vec![
        claim("9:0"),
        event("s", 1, "a", "9:0"),
        event("t", 1, "b", "9:0"),
        claim("9:1"),
        event("s", 2, "c", "9:1"),
        // The producer id may change.
        claim("12:0"),
        event("s", 3, "d", "12:0"),
    ];
    assert_eq!(audit(entries), [""; 0]);
}

#[test]
fn versions_have_no_gaps_and_come_once() {
    let entries = vec![claim("9:0"), event("s", 1, "a", "9:0"), event("s", 3, "b", "9:0")];
    assert_eq!(audit(entries), ["2: version 3 of s, which was at 1"]);
    let entries = vec![claim("9:0"), event("s", 1, "a", "9:0"), event("s", 1, "b", "9:0")];
    assert_eq!(audit(entries), ["2: version 1 of s, which was at 1"]);
}

#[test]
fn ids_are_used_once() {
    let entries = vec![claim("9:0"), event("s", 1, "a", "9:0"), event("t", 1, "a", "9:0")];
    assert_eq!(audit(entries), ["2: id a was used at offset 1 already"]);
}

#[test]
fn one_owner_writes_at_a_time() {
    let entries = vec![claim("9:0"), claim("9:1"), event("s", 1, "a", "9:0")];
    assert_eq!(audit(entries), ["2: written by 9:0, while the partition was 9:1's"]);
    let entries = vec![event("s", 1, "a", "9:0")];
    assert_eq!(audit(entries), ["0: written by 9:0 before anybody had claimed the partition"]);
    let entries = vec![claim("9:1"), claim("9:1")];
    assert_eq!(audit(entries), ["1: claimed by 9:1 after 9:1, which is not older"]);
}

#[test]
fn what_no_owner_wrote_and_what_is_missing_is_found() {
    assert_eq!(audit(vec![Entry::Foreign { why: "no lv-ep" }]), ["0: no owner wrote this record (no lv-ep)"]);
    let mut audit = Audit::new(0, 1);
    audit.take(Offset(0), &claim("9:0"));
    audit.take(Offset(3), &event("s", 1, "a", "9:0"));
    assert_eq!(audit.finish().findings[0].what, "offsets 1 to 2 are missing");
}

#[test]
fn a_stream_in_another_partition_than_its_own_is_found() {
    let partition = partition_of_key(b"s", 16) as i32;
    let mut audit = Audit::new((partition + 1) % 16, 16);
    audit.take(Offset(0), &claim("9:0"));
    audit.take(Offset(1), &event("s", 1, "a", "9:0"));
    assert_eq!(audit.finish().findings[0].what, format!("s belongs into partition {partition}"));
}
