use bytes::Bytes;

use super::*;
use crate::{Compression, ProducerEpoch, ProducerId};

/// Batches written by Kafka's Java client 4.3.1 (`MemoryRecordsBuilder`, `EndTransactionMarker`): name, then bytes.
const GOLDEN: &str = include_str!("golden.txt");

fn golden(name: &str) -> Bytes {
    let line =
        GOLDEN.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect("a golden batch");
    let digit = |index: usize| u8::from_str_radix(&line[2 * index..2 * index + 2], 16).expect("hexadecimal");
    (0..line.len() / 2).map(digit).collect()
}

fn records_of(batch: &Batch) -> Vec<(i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, usize)> {
    let records = batch.records(1 << 20).expect("readable");
    records
        .iter()
        .map(|record| {
            let record = record.expect("well-formed");
            (
                records.offset(&record).0,
                records.timestamp(&record).0,
                record.key.map(<[u8]>::to_vec),
                record.value.map(<[u8]>::to_vec),
                record.headers.len(),
            )
        })
        .collect()
}

#[test]
fn batches_of_the_java_client_are_read_in_every_codec() {
    for codec in Compression::ALL {
        let batch = Batch::parse(golden(codec.name())).unwrap();
        let header = batch.header();
        assert_eq!(header.attributes.compression().unwrap(), codec);
        assert_eq!(header.base_offset, Offset(100));
        assert_eq!(header.last_offset(), Offset(103));
        assert_eq!(header.partition_leader_epoch, LeaderEpoch(7));
        assert_eq!((header.producer_id, header.producer_epoch), (ProducerId(4242), ProducerEpoch(3)));
        assert_eq!(header.base_sequence, 2147483646);
        assert_eq!(header.last_sequence(), 1, "sequences wrap from 2147483647 to 0");
        assert_eq!(header.max_timestamp, Timestamp(1700000000005));
        assert!(!header.attributes.is_transactional() && !header.attributes.is_control());
        let text = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(
            records_of(&batch),
            [
                (100, 1700000000000, text("k1"), text("v1"), 0),
                (101, 1700000000005, None, text("value without key"), 0),
                (102, 1700000000003, text("tombstone"), None, 3),
                (103, 1699999999999, text(""), Some(vec![0; 300]), 0),
            ]
        );
        let records = batch.records(1 << 20).unwrap();
        let tombstone = records.iter().nth(2).unwrap().unwrap();
        let headers: Vec<_> = tombstone.headers.collect();
        assert_eq!(
            headers,
            [(&b"h"[..], Some(&b"1"[..])), (b"h", None), ("é".as_bytes(), Some(b""))],
            "duplicates stay, in order"
        );
    }
}

#[test]
fn markers_and_log_append_time_of_the_java_client_are_read() {
    let batch = Batch::parse(golden("log_append_time")).unwrap();
    assert_eq!(batch.header().attributes.timestamp_type(), TimestampType::LogAppendTime);
    assert!(batch.header().attributes.is_transactional());
    assert_eq!(records_of(&batch)[0].1, 1700000009999, "every record has the batch's time");
    for (name, kind) in [("abort_marker", 0), ("commit_marker", 1)] {
        let batch = Batch::parse(golden(name)).unwrap();
        assert!(batch.header().attributes.is_control() && batch.header().attributes.is_transactional());
        assert!(!batch.header().is_sequenced());
        assert_eq!(records_of(&batch)[0].2, Some(vec![0, 0, 0, kind]));
    }
}

#[test]
fn large_batches_of_the_java_client_are_read() {
    for name in ["large_gzip", "large_snappy", "large_lz4", "large_zstd"] {
        let batch = Batch::parse(golden(name)).unwrap();
        let value = records_of(&batch)[0].3.clone().unwrap();
        assert_eq!(value.len(), 100_000);
        assert!(value.iter().enumerate().all(|(at, byte)| *byte == b"abcdefgh"[at / 7 % 8]));
        let error = batch.records(50_000).unwrap_err();
        assert!(matches!(error, BatchError::Compression(CompressionError::TooLarge(50_000))), "{error}");
    }
}

fn build(codec: Compression) -> Batch {
    let mut builder = BatchBuilder::new(codec)
        .base_offset(Offset(100))
        .leader_epoch(LeaderEpoch(7))
        .producer(ProducerId(4242), ProducerEpoch(3), 2147483646);
    let headers: [(&[u8], Option<&[u8]>); 3] =
        [(b"h", Some(b"1")), (b"h", None), ("é".as_bytes(), Some(b""))];
    let record =
        |timestamp, key, value| NewRecord { timestamp: Timestamp(timestamp), key, value, headers: &[] };
    builder
        .push(record(1700000000000, Some(b"k1"), Some(b"v1")))
        .push(record(1700000000005, None, Some(b"value without key")))
        .push(NewRecord { headers: &headers, ..record(1700000000003, Some(b"tombstone"), None) })
        .push(record(1699999999999, Some(b""), Some(&[0; 300])));
    builder.build()
}

#[test]
fn an_uncompressed_batch_is_built_byte_for_byte_as_java_does() {
    assert_eq!(build(Compression::None).bytes(), &golden("none"));
}

#[test]
fn built_batches_are_read_back_in_every_codec() {
    for codec in Compression::ALL {
        let batch = Batch::parse(build(codec).into_bytes()).unwrap();
        let theirs = Batch::parse(golden(codec.name())).unwrap();
        assert_eq!(records_of(&batch), records_of(&theirs));
        assert_eq!(
            BatchHeader { crc: 0, batch_length: 0, ..*batch.header() },
            BatchHeader { crc: 0, batch_length: 0, ..*theirs.header() }
        );
    }
}

#[test]
fn patching_leaves_the_crc_alone() {
    let batch = Batch::parse(golden("zstd")).unwrap();
    let patched = Batch::parse(batch.patched(Offset(-1 >> 1), LeaderEpoch(99)).into_bytes()).unwrap();
    assert_eq!(patched.header().crc, batch.header().crc);
    assert_eq!(patched.header().partition_leader_epoch, LeaderEpoch(99));
    assert_eq!(patched.header(), &BatchHeader::parse(patched.bytes()).unwrap());
}

#[test]
fn stamping_computes_the_crc_anew() {
    let batch = Batch::parse(golden("gzip")).unwrap();
    let stamped = Batch::parse(batch.stamped(Timestamp(42)).into_bytes()).unwrap();
    assert_ne!(stamped.header().crc, batch.header().crc);
    assert!(records_of(&stamped).iter().all(|record| record.1 == 42));
    let mended = Batch::parse(batch.with_max_timestamp(Timestamp(5)).into_bytes()).unwrap();
    assert_eq!(mended.header().max_timestamp, Timestamp(5));
    assert_eq!(records_of(&mended), records_of(&batch));
}

#[test]
fn compacted_batches_keep_gaps() {
    let mut builder = BatchBuilder::new(Compression::Lz4).base_offset(Offset(10));
    builder.push_at(3, NewRecord::default()).push_at(7, NewRecord::default());
    let batch = builder.build();
    assert_eq!(batch.header().last_offset(), Offset(17));
    assert_eq!(records_of(&batch).iter().map(|record| record.0).collect::<Vec<_>>(), [13, 17]);
}

#[test]
fn every_single_changed_bit_is_noticed() {
    let bytes = golden("lz4");
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        let parsed = Batch::parse(changed.into());
        // Base offset and leader epoch are outside of the CRC; a length that changed no longer fits.
        let is_outside = bit / 8 < 8 || (12..16).contains(&(bit / 8));
        assert_eq!(parsed.is_ok(), is_outside, "bit {bit}");
    }
}

#[test]
fn no_prefix_and_no_suffix_passes() {
    let bytes = golden("none");
    for length in 0..bytes.len() {
        assert!(Batch::parse(bytes.slice(..length)).is_err());
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(Batch::parse(longer.into()).unwrap_err(), BatchError::Trailing(1));
}

#[test]
fn older_formats_are_named() {
    let mut bytes = golden("none").to_vec();
    bytes[16] = 1;
    assert_eq!(Batch::parse(bytes.into()).unwrap_err(), BatchError::Magic(1));
    assert_eq!(BatchHeader::parse(&[1; 34]).unwrap_err(), BatchError::Magic(1));
}

/// A batch whose records are these bytes, under a correct CRC.
fn with_section(count: i32, section: &[u8]) -> Batch {
    let mut header = *build(Compression::None).header();
    header.record_count = count;
    header.batch_length = (HEADER_BYTES - LENGTH_OFFSET_BYTES + section.len()) as i32;
    let mut bytes = [&header.encode()[..], section].concat();
    seal(&mut bytes).unwrap();
    Batch::parse(bytes.into()).unwrap()
}

#[test]
fn malformed_records_are_errors_and_end_the_iteration() {
    let good: &[u8] = &[14, 0, 0, 0, 1, 2, b'v', 0];
    assert_eq!(with_section(1, good).records(100).unwrap().iter().count(), 1);
    let bad: [(i32, &[u8], &str); 10] = [
        (1, &[14, 0, 0, 0, 1, 2, b'v'], "cut short"),
        (1, &[16, 0, 0, 0, 1, 2, b'v', 0, 0], "length does not match the contents"),
        (1, &[14, 0, 0, 0, 1, 4, b'v', 0], "cut short"),
        (1, &[14, 0, 0, 0, 3, 2, b'v', 0], "negative length"),
        (1, &[14, 0, 0, 0, 1, 2, b'v', 1], "negative header count"),
        (1, &[14, 0, 0, 0, 1, 2, b'v', 2], "more headers than bytes"),
        (1, &[1, 0, 0, 0, 0, 0, 0, 0], "negative length"),
        (1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0, 0], "varint too long"),
        (1, &[14, 0, 0, 0, 1, 2, b'v', 0, 9], "bytes follow the last record"),
        (1, &[0xfe, 0xff, 0xff, 0xff, 0x1f, 0, 0], "varint over 32 bits"),
    ];
    for (count, section, reason) in bad {
        let batch = with_section(count, section);
        let records = batch.records(100).unwrap();
        let results: Vec<_> = records.iter().collect();
        let Some(Err(BatchError::Record { reason: found, .. })) = results.last() else {
            panic!("{section:?} passes")
        };
        assert_eq!(*found, reason, "{section:?}");
        assert!(results.len() <= 2);
    }
    assert!(matches!(with_section(2, good).records(100), Err(BatchError::Count { count: 2, .. })));
    assert!(matches!(with_section(i32::MAX, good).records(100), Err(BatchError::Count { .. })));
}

#[test]
fn concatenated_batches_are_walked_through() {
    let one = golden("none");
    let two = golden("snappy");
    let all = Bytes::from([&one[..], &two[..], &one[..one.len() - 1]].concat());
    let found: Vec<Batch> = batches(all.clone()).collect::<Result<_, _>>().unwrap();
    assert_eq!(found.iter().map(|batch| batch.bytes().clone()).collect::<Vec<_>>(), [one.clone(), two]);
    let mut damaged = all.to_vec();
    damaged[one.len() + 80] ^= 1;
    let results: Vec<_> = batches(damaged.into()).collect();
    assert_eq!(results.len(), 2);
    assert!(matches!(results[1], Err(BatchError::Crc { .. })));
}

#[test]
fn a_batch_of_which_no_record_is_left_can_be_read_whatever_its_codec_was() {
    for codec in Compression::ALL {
        let mut builder = BatchBuilder::new(codec).producer(ProducerId(7), ProducerEpoch(1), 3);
        builder.push(NewRecord { key: Some(b"key"), value: Some(b"value"), ..NewRecord::default() });
        let batch = builder.build();
        let emptied = batch.retaining(&batch.records(1 << 20).unwrap(), |_| false, None);
        assert_eq!(emptied.size_bytes(), HEADER_BYTES);
        assert_eq!(emptied.header().attributes.compression().unwrap(), Compression::None, "was {codec:?}");
        assert_eq!(records_of(&Batch::parse(emptied.into_bytes()).unwrap()), []);
        // As earlier versions left it.
        let header = BatchHeader { record_count: 0, batch_length: 49, ..*batch.header() };
        let mut bytes = header.encode().to_vec();
        seal(&mut bytes).unwrap();
        assert_eq!(records_of(&Batch::parse(bytes.into()).unwrap()), []);
    }
}
