use model::{Offset, PartitionId, TopicId};

use super::*;

fn new(version: u64, schema_version: u32) -> NewSnapshot {
    let data = Bytes::from_static(b"{}");
    NewSnapshot { version, schema_version, content_type: "application/json".to_owned(), data, sealed: None }
}

fn kept(version: u64, schema_version: u32, content_type: &str, data: &'static [u8]) -> Snapshot {
    let partition = PartitionId { topic: TopicId([1; 16]), index: 2 };
    Snapshot {
        version,
        schema_version,
        content_type: content_type.to_owned(),
        data: Bytes::from_static(data),
        time: Timestamp(7),
        position: Position::of(partition, Offset(9)),
        sealed: None,
    }
}

#[test]
fn no_snapshot_knows_more_than_the_stream() {
    assert_eq!(check(&new(3, 1), 3, None), Ok(()));
    assert_eq!(check(&new(4, 1), 3, None), Err(SnapshotError::Ahead { version: 4, current: 3 }));
    assert!(matches!(check(&new(0, 1), 3, None), Err(SnapshotError::Invalid(_))));
    assert!(matches!(check(&new(1, 0), 3, None), Err(SnapshotError::Invalid(_))));
}

#[test]
fn an_older_snapshot_takes_the_place_only_of_one_of_another_schema() {
    let stored = kept(5, 2, "application/json", b"{}");
    assert_eq!(check(&new(4, 2), 9, Some(&stored)), Err(SnapshotError::Older { version: 4, stored: 5 }));
    assert_eq!(check(&new(5, 2), 9, Some(&stored)), Ok(()));
    assert_eq!(check(&new(4, 3), 9, Some(&stored)), Ok(()));
    assert_eq!(check(&new(4, 1), 9, Some(&stored)), Ok(()));
}

#[test]
fn what_was_written_is_read_byte_for_byte() {
    for (content_type, data) in [
        ("application/json", &b"{\"total\":  12.500000000000000000001}"[..]),
        ("application/json", &b"no JSON"[..]),
        ("application/octet-stream", &b"\xFF\x00"[..]),
    ] {
        let snapshot = kept(5, 2, content_type, data);
        assert_eq!(read(&write(&snapshot)), Some(snapshot));
    }
    let text = String::from_utf8(write(&kept(5, 2, "application/json", b"[1]"))).unwrap();
    assert!(text.contains(r#""data":[1]"#), "JSON can be read by anybody: {text}");
}

#[test]
fn a_record_of_another_format_is_no_snapshot() {
    let text = String::from_utf8(write(&kept(5, 2, "application/json", b"[1]"))).unwrap();
    assert_eq!(read(text.replace("\"format\":1", "\"format\":2").as_bytes()), None);
    assert_eq!(read(b"no JSON"), None);
}
