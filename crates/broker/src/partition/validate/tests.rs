use model::batch::{HEADER_BYTES, seal};
use model::{ProducerEpoch, ProducerId};

use super::*;

const NOW: Timestamp = Timestamp(1_000_000_000);

fn validate(records: Bytes, rules: &Rules, now: Timestamp) -> Result<Valid, Refused> {
    super::validate(records, rules, now, &mut usize::MAX.clone())
}

fn rules() -> Rules {
    Rules {
        batch_bytes_max: 10_000,
        segment_bytes_max: 10_000,
        record_bytes_max: 5_000,
        decompressed_bytes_max: 20_000,
        keys_required: false,
        log_append_time: false,
        age_max_ms: i64::MAX,
        ahead_max_ms: 3_600_000,
        codec: None,
    }
}

fn record<'a>(timestamp: i64, key: Option<&'a [u8]>, value: &'a [u8]) -> NewRecord<'a> {
    NewRecord { timestamp: Timestamp(timestamp), key, value: Some(value), headers: &[] }
}

fn batch(codec: Compression) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    builder.push(record(NOW.0, Some(b"k"), b"one"));
    builder.push(record(NOW.0 + 5, None, b"two"));
    builder.build()
}

/// The batch with some bytes of its header set, and the CRC right again.
fn with_header(batch: &Batch, at: usize, bytes: &[u8]) -> Bytes {
    let mut changed = batch.bytes().to_vec();
    changed[at..at + bytes.len()].copy_from_slice(bytes);
    seal(&mut changed).unwrap();
    changed.into()
}

fn refused(records: impl Into<Bytes>, rules: &Rules) -> Refused {
    validate(records.into(), rules, NOW).unwrap_err()
}

fn contents(batch: &Batch) -> Vec<(i32, i64, Vec<u8>)> {
    let records = batch.records(1_000_000).unwrap();
    let all = records.iter().map(|record| {
        let record = record.unwrap();
        (record.offset_delta, records.timestamp(&record).0, record.value.unwrap().to_vec())
    });
    all.collect()
}

#[test]
fn a_good_batch_of_every_codec_is_stored_byte_for_byte() {
    for codec in Compression::ALL {
        let batch = batch(codec);
        let valid = validate(batch.bytes().clone(), &rules(), NOW).unwrap();
        assert_eq!(valid.batch.bytes(), batch.bytes());
        assert_eq!(valid.append_time, None);
    }
}

#[test]
fn kafka_26_a_batch_must_be_one_new_and_well_formed() {
    let good = batch(Compression::None);
    let is_batch = |refused: Refused| matches!(refused, Refused::Batch(_));
    assert!(is_batch(refused(Bytes::new(), &rules())));
    assert!(is_batch(refused(good.bytes().slice(..HEADER_BYTES - 1), &rules())));
    assert!(is_batch(refused([&good.bytes()[..], &good.bytes()[..]].concat(), &rules())));
    assert!(is_batch(refused(good.patched(Offset(3), model::LeaderEpoch(0)).into_bytes(), &rules())));
    // last offset delta, and record count
    assert!(is_batch(refused(with_header(&good, 23, &2i32.to_be_bytes()), &rules())));
    assert!(is_batch(refused(with_header(&good, 57, &3i32.to_be_bytes()), &rules())));
    // control bit; LogAppendTime bit
    assert!(is_batch(refused(with_header(&good, 21, &0x20i16.to_be_bytes()), &rules())));
    let stamped = refused(with_header(&good, 21, &8i16.to_be_bytes()), &rules());
    assert!(matches!(stamped, Refused::Timestamps(records) if records.len() == 2));
    // a producer id without a sequence
    assert!(is_batch(refused(with_header(&good, 43, &7i64.to_be_bytes()), &rules())));
    let trailing = [&good.bytes()[..], b"abc"].concat();
    assert_eq!(validate(trailing.into(), &rules(), NOW).unwrap().batch.bytes(), good.bytes());
}

#[test]
fn a_wrong_crc_is_corrupt() {
    let mut bytes = batch(Compression::None).bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    assert!(matches!(refused(bytes, &rules()), Refused::Corrupt(_)));
}

#[test]
fn kafka_8_size_limits_and_missing_keys() {
    let good = batch(Compression::None);
    let small = Rules { batch_bytes_max: good.size_bytes() - 1, ..rules() };
    assert!(matches!(refused(good.bytes().clone(), &small), Refused::TooLarge(_)));
    let keys = Rules { keys_required: true, ..rules() };
    let Refused::Records(errors) = refused(good.bytes().clone(), &keys) else { panic!() };
    assert_eq!(errors.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1]);
}

#[test]
fn what_does_not_decompress_or_decompresses_to_too_much_is_refused() {
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let good = batch(codec);
        let middle = HEADER_BYTES + (good.size_bytes() - HEADER_BYTES) / 2;
        let garbage = with_header(&good, middle, &[0xff; 8]);
        assert!(matches!(refused(garbage, &rules()), Refused::Batch(_)), "{codec:?}");

        let mut bomb = BatchBuilder::new(codec);
        bomb.push(record(NOW.0, None, &[0; 30_000]));
        let bomb = bomb.build().into_bytes();
        let roomy = Rules { record_bytes_max: 100_000, ..rules() };
        assert!(matches!(refused(bomb.clone(), &roomy), Refused::TooLarge(_)), "{codec:?}");
        let large_batches = Rules { decompressed_bytes_max: 100_000, ..rules() };
        assert!(matches!(refused(bomb, &large_batches), Refused::TooLarge(_)), "{codec:?}");
    }
}

#[test]
fn timestamps_out_of_range_are_named() {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(record(NOW.0, None, b"now"));
    builder.push(record(NOW.0 + 3_600_001, None, b"ahead"));
    builder.push(record(-1, None, b"none"));
    builder.push(record(0, None, b"old"));
    let bytes = builder.build().into_bytes();
    let named = |rules: &Rules| match refused(bytes.clone(), rules) {
        Refused::Timestamps(errors) => errors.into_iter().map(|(index, _)| index).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(named(&rules()), [1]);
    assert_eq!(named(&Rules { age_max_ms: 1000, ..rules() }), [1, 3]);
    let append_time = Rules { log_append_time: true, ..rules() };
    assert!(validate(bytes, &append_time, NOW).is_ok());
}

#[test]
fn kafka_9_the_few_batches_that_are_rewritten() {
    let good = batch(Compression::Lz4);

    let append_time = Rules { log_append_time: true, ..rules() };
    let valid = validate(good.bytes().clone(), &append_time, NOW).unwrap();
    assert_eq!(valid.append_time, Some(NOW));
    assert!(contents(&valid.batch).iter().all(|(_, timestamp, _)| *timestamp == NOW.0));
    assert!(Batch::parse(valid.batch.into_bytes()).is_ok());

    let wrong_max = with_header(&good, 35, &(NOW.0 + 77).to_be_bytes());
    let valid = validate(wrong_max, &rules(), NOW).unwrap();
    assert_eq!(valid.batch.bytes(), good.bytes());

    let uncompressed = Rules { codec: Some(Compression::None), ..rules() };
    let valid = validate(good.bytes().clone(), &uncompressed, NOW).unwrap();
    assert_eq!(valid.batch.bytes(), batch(Compression::None).bytes());

    let mut gap = BatchBuilder::new(Compression::Zstd).producer(ProducerId(9), ProducerEpoch(1), 4);
    gap.push_at(1, record(NOW.0, None, b"second"));
    let gap = with_header(&gap.build(), 23, &0i32.to_be_bytes());
    let valid = validate(gap, &rules(), NOW).unwrap();
    assert_eq!(contents(&valid.batch), [(0, NOW.0, b"second".to_vec())]);
    assert_eq!((valid.batch.header().producer_id, valid.batch.header().base_sequence), (ProducerId(9), 4));
}

#[test]
fn a_batch_must_fit_into_a_segment_and_into_its_topics_limit_as_it_is_to_be_stored() {
    let mut builder = BatchBuilder::new(Compression::Gzip);
    builder.push(record(NOW.0, None, &[7; 3000]));
    let small = builder.build();
    assert!(small.size_bytes() < 1000);
    let plain = Rules { codec: Some(Compression::None), ..rules() };
    let stored = validate(small.bytes().clone(), &plain, NOW).unwrap().batch;
    assert!(stored.size_bytes() > 3000);
    let size = stored.size_bytes();
    // Small enough as it comes, and too large in another codec.
    let limited = Rules { batch_bytes_max: size - 1, ..plain.clone() };
    assert!(matches!(refused(small.bytes().clone(), &limited), Refused::TooLarge(_)));
    let segments = |segment_bytes_max| Rules { segment_bytes_max, ..plain.clone() };
    assert!(matches!(refused(small.bytes().clone(), &segments(size - 1)), Refused::LargerThanSegment(_)));
    assert!(validate(small.bytes().clone(), &segments(size), NOW).is_ok());
}
