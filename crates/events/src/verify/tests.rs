//! Each kind of finding, planted.

use bytes::Bytes;

use super::*;
use crate::event::Facts;

/// Streams of partition 0 of one: everything belongs there.
fn audit(entries: Vec<Entry>) -> Vec<String> {
    audit_from(0, entries)
}

/// A log that begins at an offset.
fn audit_from(start: i64, entries: Vec<Entry>) -> Vec<String> {
    let mut audit = Audit::new(0, 1).from(Offset(start));
    for (offset, entry) in (start..).zip(entries) {
        audit.take(Offset(offset), &entry);
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
    assert_eq!(
        audit(vec![Entry::Foreign { why: "no lv-ep".into() }]),
        ["0: no owner wrote this record (no lv-ep)"]
    );
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

/// The mark that truncates a stream before a version, as this version of its marks.
fn mark(stream: &str, before: u64, version: u64, id: &str) -> Entry {
    let mark = Mark { stream: stream.to_owned(), before, archived: false, boundary: None };
    let mut entry = event(&mark.place(), version, id, "9:0");
    let made = mark.event(id.to_owned());
    let Entry::Event { facts, data, boundary, .. } = &mut entry else { unreachable!() };
    (*facts, *data) = (made.facts, made.data);
    *boundary = (version == 1).then(|| stream.to_owned());
    entry
}

#[test]
fn a_truncation_is_of_what_was_there() {
    let entries =
        vec![claim("9:0"), event("s", 1, "a", "9:0"), mark("s", 2, 1, "m"), event("s", 2, "b", "9:0")];
    assert_eq!(audit(entries), [""; 0]);
    let entries = vec![claim("9:0"), event("s", 1, "a", "9:0"), mark("s", 3, 1, "m")];
    assert_eq!(audit(entries), ["2: truncates s before 3, which was at 1"]);
}

#[test]
fn a_trimmed_log_begins_with_the_rest_of_streams() {
    let entries = || {
        vec![
            event("s", 4, "a", "9:0"),
            claim("9:1"),
            event("s", 5, "b", "9:1"),
            Entry::Claim { writer: "9:2".to_owned() },
        ]
    };
    // Nobody said that the first ones may go.
    let lost = "10: events up to version 3 of s are gone, and nobody truncated them";
    assert_eq!(audit_from(10, entries()), [lost]);
    let mut marked = entries();
    marked.truncate(1);
    marked.extend([claim("9:0"), mark("s", 4, 7, "m"), mark("t", 3, 1, "n"), event("t", 3, "c", "9:0")]);
    assert_eq!(audit_from(10, marked), [""; 0]);
    assert_eq!(audit(entries())[0], "0: written by 9:0 before anybody had claimed the partition");
}

#[test]
fn an_index_that_hides_what_nobody_truncated_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let partition = PartitionId { topic: model::TopicId([7; 16]), index: 0 };
    let (index, state) = Index::open(dir.path(), partition).unwrap();
    let log = [claim("9:0"), event("s", 1, "a", "9:0"), event("s", 2, "b", "9:0"), mark("s", 2, 1, "m")];
    let applied = |(offset, entry): (i64, &Entry)| crate::index::Applied {
        offset: Offset(offset),
        at: model::Timestamp(0),
        entry: entry.clone(),
    };
    let records: Vec<_> = (0..).zip(&log).map(applied).collect();
    index.apply(&state, &records, Offset(4)).unwrap();
    while index.has_to_forget() {
        index.forget_some().unwrap();
    }
    let compare = || {
        let (index, next) = Index::open_existing(dir.path(), partition).unwrap();
        let (mut audit, mut comparing) = (Audit::new(0, 1), Comparing::new(index, next));
        for (offset, entry) in (0..).zip(&log) {
            audit.take(Offset(offset), entry);
            comparing.take(Offset(offset), entry, &mut audit);
        }
        comparing.finish(&mut audit);
        audit.finish().findings.into_iter().map(|finding| finding.what).collect::<Vec<_>>()
    };
    assert_eq!(compare(), [""; 0]);
    let path = dir.path().join(partition.topic.to_string()).join("0.sqlite");
    let disk = rusqlite::Connection::open(path).unwrap();
    disk.execute("UPDATE events SET gone = 1 - gone WHERE off IN (1, 2)", []).unwrap();
    disk.execute("UPDATE streams SET first = 1 WHERE id = 's'", []).unwrap();
    let found = compare();
    assert!(found.contains(&"the index has left out version 2 of s".to_owned()), "{found:?}");
    assert!(found.contains(&"the index still has version 1 of s".to_owned()), "{found:?}");
}

#[test]
fn what_somebody_has_decided_is_no_finding() {
    let foreign = Entry::Foreign { why: "no lv-ep".into() };
    let adopted = Entry::Adopted {
        stream: "s".to_owned(),
        version: None,
        id: "b".to_owned(),
        facts: Facts::default(),
        data: Bytes::new(),
    };
    let log = [claim("9:0"), event("s", 1, "a", "9:0"), foreign, adopted, event("s", 3, "c", "9:0")];
    let audit = |decided: OfPartition| {
        let mut audit = Audit::new(0, 1).deciding(decided);
        (0..).zip(&log).for_each(|(offset, entry)| audit.take(Offset(offset), entry));
        let audited = audit.finish();
        (audited.findings.into_iter().map(|finding| finding.what).collect::<Vec<_>>(), audited.repaired)
    };
    let over = OfPartition::from([(Offset(2), Repair::PassOver { until: Offset(3) })]);
    assert_eq!(audit(over), (Vec::new(), 2));
    let (found, _) = audit(OfPartition::new());
    assert_eq!(found, ["no owner wrote this record (no lv-ep)"]);
}

#[test]
fn a_stream_that_is_not_found_by_its_id_is_a_finding() {
    let (home, other) = (0..64).map(|n| format!("s{n}")).fold((None, None), |(home, other), stream| {
        match partition_of_key(stream.as_bytes(), 2) {
            0 => (home.or(Some(stream)), other),
            _ => (home, other.or(Some(stream))),
        }
    });
    let (boundary, stream) = (home.unwrap(), other.unwrap());
    let mut first = event(&stream, 1, "a", "9:0");
    let Entry::Event { boundary: of, .. } = &mut first else { unreachable!() };
    *of = Some(boundary.clone());
    let mut mark = event(&stream, 1, "m", "9:0");
    let Entry::Event { facts, data, .. } = &mut mark else { unreachable!() };
    LIVES_ELSEWHERE.clone_into(&mut facts.kind);
    *data = boundary.clone().into();
    let audit = |partition, entry: Option<&Entry>| {
        let mut audit = Audit::new(partition, 2);
        let claim = claim("9:0");
        let entries = [Some(&claim), entry];
        (0..).zip(entries.into_iter().flatten()).for_each(|(at, entry)| audit.take(Offset(at), entry));
        audit.finish()
    };
    let found = |mark: Option<&Entry>| {
        let mut both = BTreeMap::from([(0, audit(0, Some(&first))), (1, audit(1, mark))]);
        find_unmarked(&mut both);
        both.into_values().flat_map(|it| it.findings).map(|it| it.what).collect::<Vec<_>>()
    };
    assert_eq!(found(Some(&mark)), [""; 0]);
    assert_eq!(
        found(None),
        [format!("{stream} is within {boundary}, and no mark says so where it is looked for")]
    );
}
