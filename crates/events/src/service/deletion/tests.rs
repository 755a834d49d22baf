use super::*;

fn info(topic: u8, deleting: Option<Deleting>) -> CategoryInfo {
    CategoryInfo {
        format: 1,
        topic_id: TopicId([topic; 16]).to_string(),
        partitions: 1,
        beside: BTreeMap::new(),
        deleting,
    }
}

#[test]
fn indexes_of_what_is_gone_are_swept_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let topic = |number: u8| TopicId([number; 16]).to_string();
    for name in [topic(1), topic(2), topic(3), "another folder".to_owned()] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    let files = [
        "orders.snapshots.table.sqlite",
        "gone.snapshots.table.sqlite",
        "gone.snapshots.table.sqlite-wal",
        "lv.categories.table.sqlite",
        "lock",
    ];
    for name in files {
        drop(std::fs::OpenOptions::new().write(true).create_new(true).open(dir.path().join(name)).unwrap());
    }
    let deleting = Deleting { topics: BTreeMap::new() };
    let all = BTreeMap::from([
        (Category::new("orders").unwrap(), info(1, None)),
        // Whoever deletes it removes it.
        (Category::new("going").unwrap(), info(2, Some(deleting))),
    ]);
    sweep(dir.path(), &all);
    let mut left: Vec<String> = dir
        .path()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    let mut wanted: Vec<String> =
        ["another folder", "lock", "lv.categories.table.sqlite", "orders.snapshots.table.sqlite"]
            .map(str::to_owned)
            .to_vec();
    wanted.extend([topic(1), topic(2)]);
    wanted.sort();
    assert_eq!(left, wanted);
}

#[test]
fn a_catalog_entry_of_before_is_read_and_written_as_it_was() {
    let before = r#"{"format":1,"topic_id":"AQEBAQEBAQEBAQEBAQEBAQ","partitions":1}"#;
    let read: CategoryInfo = serde_json::from_str(before).unwrap();
    assert_eq!(read, info(1, None));
    assert_eq!(serde_json::to_string(&read).unwrap(), before);
}
