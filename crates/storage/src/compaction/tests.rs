use std::collections::BTreeMap;
use std::time::Duration;

use model::batch::{BatchBuilder, NewRecord};
use model::compression::Compression;
use model::{Batch, Offset, ProducerEpoch, ProducerId, Timestamp};

use super::*;
use crate::producers::AbortedTransaction;

const BYTES_MAX: usize = 1 << 20;
const NOW: Timestamp = Timestamp(1_000_000);

fn batch(base: i64, records: &[(&str, Option<&str>)]) -> Batch {
    build(BatchBuilder::new(Compression::Lz4).base_offset(Offset(base)), records)
}

fn build(mut builder: BatchBuilder, records: &[(&str, Option<&str>)]) -> Batch {
    for (index, (key, value)) in records.iter().enumerate() {
        builder.push(NewRecord {
            timestamp: Timestamp(500 + index as i64),
            key: Some(key.as_bytes()),
            value: value.map(str::as_bytes),
            headers: &[(b"h", None), (b"h", Some(b"2"))],
        });
    }
    builder.build()
}

fn of_producer(base: i64, id: i64, records: &[(&str, Option<&str>)]) -> Batch {
    let builder = BatchBuilder::new(Compression::None).base_offset(Offset(base));
    build(builder.producer(ProducerId(id), ProducerEpoch(1), base as i32).transactional(), records)
}

fn marker(base: i64, id: i64, committed: bool) -> Batch {
    let builder = BatchBuilder::new(Compression::None).base_offset(Offset(base));
    let mut builder = builder.producer(ProducerId(id), ProducerEpoch(1), -1).transactional().control();
    let key = [0, 0, 0, u8::from(committed)];
    let value = [0; 6];
    let record = NewRecord { timestamp: Timestamp(500), key: Some(&key), value: Some(&value), headers: &[] };
    builder.push(record);
    builder.build()
}

/// One pass over these batches, all of them dirty.
fn pass(batches: &[Batch], now: Timestamp, aborted: &[AbortedTransaction]) -> Vec<Option<Batch>> {
    pass_with(batches, now, aborted, &BTreeMap::new())
}

fn pass_with(
    batches: &[Batch],
    now: Timestamp,
    aborted: &[AbortedTransaction],
    last: &BTreeMap<ProducerId, (Option<Offset>, ProducerEpoch)>,
) -> Vec<Option<Batch>> {
    let mut map = KeyMap::new(BYTES_MAX, [1, 2], Offset::ZERO);
    let mut transactions = Transactions::new(aborted.iter().copied());
    for batch in batches {
        let means_nothing = transactions.pass(batch.header(), crate::producers::Marker::read(batch));
        if !means_nothing && !batch.header().attributes.is_control() {
            let records = batch.records(BYTES_MAX).unwrap();
            for record in records.iter().flatten() {
                map.put(record.key.unwrap(), records.offset(&record));
            }
        }
        map.reach(batch.header().next_offset());
    }
    let filter = Filter {
        map: &map,
        now,
        delete_retention: Duration::from_millis(100),
        last_of_producers: last,
        up_to: Offset(i64::MAX),
    };
    let mut transactions = Transactions::new(aborted.iter().copied());
    batches
        .iter()
        .map(|batch| match filter.judge(batch, &mut transactions, BYTES_MAX) {
            Fate::Stays => Some(batch.clone()),
            Fate::Becomes(other) => Some(other),
            Fate::Goes => None,
        })
        .collect()
}

/// Offsets, keys and values.
fn shown(batch: &Batch) -> Vec<(i64, String, Option<String>)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let records = batch.records(BYTES_MAX).unwrap();
    let show = |record: model::batch::Record<'_>| {
        assert_eq!(record.headers.len(), 2, "headers stay");
        (records.offset(&record).0, text(record.key.unwrap()), record.value.map(text))
    };
    records.iter().map(|record| show(record.unwrap())).collect()
}

fn entry(offset: i64, key: &str, value: &str) -> (i64, String, Option<String>) {
    (offset, key.into(), Some(value.into()))
}

#[test]
fn of_each_key_the_newest_record_is_left_at_its_offset() {
    let first = batch(0, &[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))]);
    let second = batch(3, &[("a", Some("2")), ("c", Some("2"))]);
    let left = pass(&[first.clone(), second.clone()], NOW, &[]);
    let rewritten = left[0].as_ref().unwrap();
    assert_eq!(shown(rewritten), [entry(1, "b", "1")]);
    let (old, new) = (first.header(), rewritten.header());
    assert_eq!((new.base_offset, new.last_offset()), (old.base_offset, old.last_offset()));
    assert_eq!(new.attributes.compression(), Ok(Compression::Lz4));
    assert_eq!(new.max_timestamp, Timestamp(501));
    assert!(Batch::parse(rewritten.bytes().clone()).is_ok(), "its CRC is right");
    assert_eq!(left[1].as_ref().unwrap().bytes(), second.bytes(), "nothing to do, so nothing done");
}

#[test]
fn a_batch_of_which_nothing_is_left_goes() {
    let left = pass(&[batch(0, &[("a", Some("1"))]), batch(1, &[("a", Some("2"))])], NOW, &[]);
    assert!(left[0].is_none() && left[1].is_some());
}

#[test]
fn kafka_48_the_last_batch_of_a_producer_stays_though_empty() {
    let old = of_producer(0, 7, &[("a", Some("1"))]);
    let last = BTreeMap::from([(ProducerId(7), (Some(Offset(0)), ProducerEpoch(1)))]);
    let left = pass_with(&[old.clone(), batch(1, &[("a", Some("2"))])], NOW, &[], &last);
    let empty = left[0].as_ref().unwrap().header();
    assert_eq!((empty.record_count, empty.base_sequence, empty.producer_id), (0, 0, ProducerId(7)));
    assert_eq!(empty.last_offset(), old.header().last_offset());
    let again = pass_with(&[left[0].clone().unwrap()], NOW, &[], &last);
    assert!(again[0].is_some());
    assert!(pass(&[left[0].clone().unwrap()], NOW, &[])[0].is_none(), "once it is not the last any more");
}

#[test]
fn kafka_49_a_tombstone_goes_a_retention_after_the_first_pass() {
    let tombstone = batch(0, &[("a", None), ("b", Some("1"))]);
    let first = pass(std::slice::from_ref(&tombstone), NOW, &[])[0].clone().unwrap();
    assert!(first.header().attributes.has_delete_horizon());
    assert_eq!(first.header().base_timestamp, Timestamp(NOW.0 + 100));
    let records = first.records(BYTES_MAX).unwrap();
    let times: Vec<i64> = records.iter().map(|record| records.timestamp(&record.unwrap()).0).collect();
    assert_eq!(times, [500, 501], "readers see the times that were there");
    let before = pass(std::slice::from_ref(&first), Timestamp(NOW.0 + 99), &[])[0].clone().unwrap();
    assert_eq!(before.bytes(), first.bytes());
    let after = pass(&[first], Timestamp(NOW.0 + 100), &[])[0].clone().unwrap();
    assert_eq!(shown(&after), [entry(1, "b", "1")]);
}

#[test]
fn records_of_aborted_transactions_go_and_their_marker_only_after_them() {
    let aborted =
        AbortedTransaction { producer: ProducerId(7), first_offset: Offset(1), last_offset: Offset(2) };
    let log =
        [batch(0, &[("a", Some("old"))]), of_producer(1, 7, &[("a", Some("aborted"))]), marker(2, 7, false)];
    let left = pass(&log, NOW, &[aborted]);
    assert_eq!(shown(left[0].as_ref().unwrap()), [entry(0, "a", "old")], "what was aborted outdates nothing");
    assert!(left[1].is_none());
    assert_eq!(left[2].as_ref().unwrap().bytes(), log[2].bytes());
    let left = [log[0].clone(), log[2].clone()];
    let known = pass(&left, NOW, &[aborted])[1].clone().unwrap();
    assert_eq!(
        known.bytes(),
        log[2].bytes(),
        "as long as readers are told of the transaction, they need its end"
    );
    let second = pass(&left, NOW, &[]);
    let counted = second[1].clone().unwrap();
    assert!(counted.header().attributes.has_delete_horizon());
    let third = pass(&[log[0].clone(), counted.clone()], Timestamp(NOW.0 + 100), &[]);
    assert!(third[1].is_none());
    let early = pass(&[log[0].clone(), counted], Timestamp(NOW.0 + 99), &[]);
    assert!(early[1].is_some());
}

#[test]
fn a_commit_marker_stays_as_long_as_anything_of_its_transaction_does() {
    let log = [of_producer(0, 7, &[("a", Some("1"))]), marker(1, 7, true), batch(2, &[("b", Some("1"))])];
    let left = pass(&log, NOW, &[]);
    assert_eq!(left[1].as_ref().unwrap().bytes(), log[1].bytes());
    let alone = pass(&log[1..], NOW, &[]);
    assert!(alone[0].as_ref().unwrap().header().attributes.has_delete_horizon());
}

#[test]
fn what_is_not_in_the_map_yet_stays() {
    let mut map = KeyMap::new(BYTES_MAX, [1, 2], Offset::ZERO);
    map.put(b"a", Offset(1));
    map.reach(Offset(2));
    let last = BTreeMap::new();
    let filter = Filter {
        map: &map,
        now: NOW,
        delete_retention: Duration::ZERO,
        last_of_producers: &last,
        up_to: Offset(100),
    };
    let later = batch(2, &[("a", Some("3")), ("a", Some("4"))]);
    assert!(matches!(filter.judge(&later, &mut Transactions::default(), BYTES_MAX), Fate::Stays));
    let end = batch(98, &[("a", None), ("a", None)]);
    let fate = filter.judge(&end, &mut Transactions::default(), BYTES_MAX);
    assert!(matches!(fate, Fate::Becomes(_)), "{fate:?}");
}

#[test]
fn the_map_is_bounded() {
    let mut map = KeyMap::new(10 * map::ENTRY_BYTES, [1, 2], Offset::ZERO);
    assert!(map.has_room_for(10) && !map.has_room_for(11));
    map.put(b"a", Offset(3));
    map.put(b"a", Offset(1));
    assert!(map.has_room_for(9) && !map.has_room_for(10));
    assert!(map.is_outdated(b"a", Offset(2)) && !map.is_outdated(b"a", Offset(3)));
    assert!(!map.is_outdated(b"b", Offset(0)));
}

#[test]
fn an_aborted_transaction_is_told_of_as_long_as_a_batch_of_it_cannot_be_read() {
    let aborted =
        AbortedTransaction { producer: ProducerId(7), first_offset: Offset(0), last_offset: Offset(1) };
    let (map, last) = (KeyMap::new(BYTES_MAX, [1, 2], Offset::ZERO), BTreeMap::new());
    let filter = Filter {
        map: &map,
        now: NOW,
        delete_retention: Duration::ZERO,
        last_of_producers: &last,
        up_to: Offset(100),
    };
    let emptied = |bytes_max: usize| {
        let mut transactions = Transactions::new([aborted]);
        filter.judge(&of_producer(0, 7, &[("a", Some("aborted"))]), &mut transactions, bytes_max);
        filter.judge(&marker(1, 7, false), &mut transactions, BYTES_MAX);
        transactions.take_emptied()
    };
    assert_eq!(emptied(BYTES_MAX), [aborted]);
    assert_eq!(emptied(1), []);
}
