use super::*;

/// What `put` writes.
fn batch(entries: &[(&str, Option<&str>)], first: i64) -> Bytes {
    let mut batch = BatchBuilder::new(Compression::None).base_offset(Offset(first));
    for (key, value) in entries {
        batch.push(NewRecord {
            timestamp: Timestamp(7),
            key: Some(key.as_bytes()),
            value: value.map(str::as_bytes),
            headers: &[],
        });
    }
    batch.build().into_bytes()
}

fn entries(connection: &Connection) -> Vec<(String, String)> {
    let mut statement = connection.prepare("SELECT key, value FROM entries ORDER BY key").unwrap();
    let rows =
        statement.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?))).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    rows.map(Result::unwrap).map(|(key, value)| (text(key), text(value))).collect()
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn of_each_key_the_newest_value_is_there_and_a_removed_key_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.table.sqlite");
    let (mut connection, topic, at) = open(dir.path(), &path, 0, "c").unwrap();
    assert_eq!((topic.as_str(), at), ("", At::default()));
    let id = TopicId::ZERO;
    let first = batch(&[("a", Some("1")), ("b", Some("2")), ("a", Some("3"))], 0);
    assert_eq!(write(&mut connection, first, Offset::ZERO, id, Timestamp(100)).unwrap(), Offset(3));
    // The batch begins before where the copy is: its first record was there already.
    let second = batch(&[("a", Some("old")), ("b", None), ("c", Some("4"))], 2);
    assert_eq!(write(&mut connection, second, Offset(3), id, Timestamp(100)).unwrap(), Offset(5));
    assert_eq!(entries(&connection), [pair("a", "3"), pair("c", "4")]);
    drop(connection);
    let (connection, _, at) = open(dir.path(), &path, 100, "c").unwrap();
    assert_eq!(at.next, Offset(5));
    assert_eq!(entries(&connection), [pair("a", "3"), pair("c", "4")]);
}

#[test]
fn a_copy_that_may_have_missed_a_removal_or_is_of_another_cluster_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.table.sqlite");
    for (oldest, cluster) in [(101, "c"), (0, "d")] {
        let (mut connection, ..) = open(dir.path(), &path, 0, "c").unwrap();
        let first = batch(&[("a", Some("1"))], 0);
        write(&mut connection, first, Offset::ZERO, TopicId::ZERO, Timestamp(100)).unwrap();
        drop(connection);
        let (connection, _, at) = open(dir.path(), &path, oldest, cluster).unwrap();
        assert_eq!((at, entries(&connection)), (At::default(), Vec::new()));
    }
}

#[test]
fn what_a_topic_replaces_is_no_entry() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.table.sqlite");
    let (mut connection, ..) = open(dir.path(), &path, 0, "c").unwrap();
    let key = std::str::from_utf8(REPLACES).unwrap();
    let all = batch(&[("a", Some("1")), (key, Some("old"))], 0);
    assert_eq!(write(&mut connection, all, Offset::ZERO, TopicId::ZERO, Timestamp(1)).unwrap(), Offset(2));
    assert_eq!(entries(&connection), [pair("a", "1")]);
}

#[test]
fn a_copy_that_is_none_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.table.sqlite");
    #[expect(clippy::disallowed_methods, reason = "a damaged file is what this is about")]
    std::fs::write(&path, b"no database").unwrap();
    let (connection, _, at) = open(dir.path(), &path, 0, "c").unwrap();
    assert_eq!((at, entries(&connection)), (At::default(), Vec::new()));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test itself is the outside")]
fn a_copy_that_cannot_be_opened_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.table.sqlite");
    let (mut connection, ..) = open(dir.path(), &path, 0, "c").unwrap();
    write(&mut connection, batch(&[("a", Some("1"))], 0), Offset::ZERO, TopicId::ZERO, Timestamp(100))
        .unwrap();
    drop(connection);
    // A folder is what nobody can open as a file.
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(open(dir.path(), &path, 0, "c").is_err());
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&aside, &path).unwrap();
    let (connection, ..) = open(dir.path(), &path, 0, "c").unwrap();
    assert_eq!(entries(&connection), [pair("a", "1")]);
}

#[test]
fn what_the_store_cannot_have_written_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.table.sqlite");
    let (mut connection, ..) = open(dir.path(), &path, 0, "c").unwrap();
    let (key, value) = ("k".repeat(KEY_BYTES_MAX + 1), "v".repeat(VALUE_BYTES_MAX + 1));
    let all = batch(&[(&key, Some("1")), ("large", Some(&value)), ("a", Some("1"))], 0);
    assert_eq!(write(&mut connection, all, Offset::ZERO, TopicId::ZERO, Timestamp(1)).unwrap(), Offset(3));
    assert_eq!(entries(&connection), [pair("a", "1")]);
}
