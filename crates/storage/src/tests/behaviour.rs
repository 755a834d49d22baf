//! What readers and writers of a partition can rely on, step by step on a simulated disk.

use std::sync::Arc;
use std::time::Duration;

use env::sim::Survival;
use model::batch::{BatchBuilder, NewRecord};
use model::{Compression, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp};
use tokio::sync::Notify;

use super::bench::{Bench, START, batch, batch_at, id, now, numbered, poll, sequenced, small_options};
use crate::{Append, AppendError, ChangeError, LogConfig, Options, ReadError};

const P: PartitionId = PartitionId { topic: model::TopicId([1; 16]), index: 0 };

fn bench_with(config: LogConfig) -> Bench {
    let mut bench = Bench::new(small_options());
    bench.create(P, config);
    bench
}

fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 6 * 1024, index_interval_bytes: 256, retention: None, ..LogConfig::default() }
}

/// Wherever the records lie: all in memory and log, some in segments, all in segments.
fn everywhere(config: &LogConfig, fill: impl Fn(&mut Bench), check: impl Fn(&Bench)) {
    let roomy = Options { wal_file_bytes: 1 << 20, wal_bytes_max: 4 << 20, ..small_options() };
    let options = [
        Options { tail_bytes_max: 1 << 20, direct_batch_bytes_min: 1 << 20, ..roomy.clone() },
        Options { tail_bytes_max: 0, direct_batch_bytes_min: 1 << 20, ..roomy },
        small_options(),
        Options { direct_batch_bytes_min: 0, tail_bytes_max: 0, ..small_options() },
    ];
    for options in options {
        let mut bench = Bench::new(options);
        bench.create(P, config.clone());
        fill(&mut bench);
        check(&bench);
        let bench = bench.reopen();
        check(&bench);
        bench.disk.crash(Survival::Everything);
        check(&bench.open_again());
    }
}

#[test]
fn a_read_begins_with_the_batch_that_holds_the_offset() {
    let fill = |bench: &mut Bench| {
        for _ in 0..40 {
            bench.append(P, batch(&[&[b'x'; 200], b"b", b"c"])).unwrap();
        }
    };
    everywhere(&small_segments(), fill, |bench| {
        let partition = bench.partition(P);
        let size = batch(&[&[b'x'; 200], b"b", b"c"]).size_bytes();
        for offset in 0..120 {
            let read = partition.read(Offset(offset), 1, Offset(120)).unwrap();
            assert_eq!(read.bytes, size, "one batch, even if it is larger than wanted");
            assert_eq!(read.next_offset, Offset(offset / 3 * 3 + 3));
        }
        let read = partition.read(Offset(0), size * 3 - 1, Offset(120)).unwrap();
        assert_eq!((read.bytes, read.next_offset), (size * 2, Offset(6)), "never more than wanted otherwise");
        let read = partition.read(Offset(0), size * 10, Offset(5)).unwrap();
        assert_eq!(read.next_offset, Offset(3), "no batch that reaches beyond the limit");
        let read = partition.read(Offset(4), size, Offset(5)).unwrap();
        assert_eq!((read.bytes, read.next_offset), (0, Offset(4)));
        let read = partition.read(Offset(120), 100, Offset(120)).unwrap();
        assert_eq!((read.bytes, read.next_offset), (0, Offset(120)), "the end is no error");
        let beyond = partition.read(Offset(121), 100, Offset(200)).unwrap_err();
        let ReadError::OutOfRange { log_start, log_end } = beyond else { panic!("{beyond}") };
        assert_eq!((log_start, log_end), (Offset(0), Offset(120)));
        assert!(partition.read(Offset(-1), 100, Offset(120)).is_err());
    });
}

#[test]
fn segments_are_named_by_their_first_offset() {
    let mut bench = bench_with(small_segments());
    for number in 0..10 {
        bench.append(P, numbered(number, 2500)).unwrap();
    }
    let bench = bench.reopen();
    let names: Vec<String> = bench
        .paths(".log")
        .iter()
        .map(|path| path.strip_prefix("/data/partitions").unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names[0], "AQEBAQEBAQEBAQEBAQEBAQ-0/00000000000000000000.log");
    assert_eq!(names[1], "AQEBAQEBAQEBAQEBAQEBAQ-0/00000000000000000002.log");
    assert_eq!(names.len(), 5);
    // The file is what consumers get, batch by batch.
    let bytes = bench.file(&bench.paths(".log")[1]);
    let read = bench.partition(P).read(Offset(2), 6000, Offset(10)).unwrap();
    assert_eq!(bytes, read.chunks.concat());
}

#[test]
fn segments_roll_by_time() {
    let config = LogConfig { segment_roll: Duration::from_secs(60), ..LogConfig::default() };
    let mut bench = bench_with(config);
    for minute in 0..4 {
        for second in [0, 59] {
            let at = Timestamp(START.0 + (minute * 100 + second) * 1000);
            bench.append(P, batch_at(at, &[&[1; 2100]])).unwrap();
        }
    }
    assert_eq!(bench.paths(".log").len(), 4);
}

#[test]
fn records_are_found_by_their_time_also_inside_compressed_batches() {
    // Offsets 10n..10n+9 in one batch; times go up by 10 but in every batch two neighbours are swapped.
    let fill = |bench: &mut Bench| {
        for number in 0..50i64 {
            let mut builder = BatchBuilder::new([Compression::Zstd, Compression::None][number as usize % 2]);
            for index in 0..10 {
                let index = [0, 1, 2, 4, 3, 5, 6, 7, 8, 9][index];
                let timestamp = Timestamp((number * 10 + index) * 10);
                builder.push(NewRecord { timestamp, value: Some(&[7; 20]), ..NewRecord::default() });
            }
            bench.append(P, builder.build()).unwrap();
        }
    };
    everywhere(&small_segments(), fill, |bench| {
        let partition = bench.partition(P);
        let find = |at: i64, up_to: i64| {
            let found = partition.offset_for_timestamp(Timestamp(at), Offset(up_to)).unwrap();
            found.map(|found| (found.offset.0, found.timestamp.0))
        };
        for at in 0..500 {
            // The record with time 30 comes after the one with 40.
            let expected = if at % 10 == 3 {
                (at, (at + 1) * 10)
            } else if at % 10 == 4 {
                (at - 1, at * 10)
            } else {
                (at, at * 10)
            };
            assert_eq!(find(at * 10, 500), Some(expected), "at {at}");
            assert_eq!(find(at * 10 - 9, 500), Some(expected), "before {at}");
        }
        assert_eq!(find(4991, 500), None);
        assert_eq!(find(-5, 500), Some((0, 0)));
        assert_eq!(find(4900, 490), None, "not beyond the limit");
        let max = partition.max_timestamp_offset().unwrap().unwrap();
        assert_eq!((max.offset, max.timestamp), (Offset(499), Timestamp(4990)));
    });
}

#[test]
fn time_search_respects_the_log_start() {
    let mut bench = bench_with(small_segments());
    for number in 0..20 {
        bench.append(P, batch_at(Timestamp(1000 - number * 10), &[&[1; 700]])).unwrap();
    }
    let deleting = bench.storage.delete_records(P, Offset(12));
    bench.wait(deleting).unwrap();
    let partition = bench.partition(P);
    let find =
        |at| partition.offset_for_timestamp(Timestamp(at), Offset(20)).unwrap().map(|found| found.offset.0);
    assert_eq!(find(850), Some(12));
    assert_eq!(find(881), None);
    assert_eq!(partition.max_timestamp_offset().unwrap().unwrap().offset, Offset(12));
    assert_eq!(Bench::new(small_options()).create(P, small_segments()).max_timestamp_offset().unwrap(), None);
}

#[test]
fn deleting_records_moves_the_start_into_a_batch() {
    let mut bench = bench_with(small_segments());
    for _ in 0..30 {
        bench.append(P, batch(&[&[1; 300], b"b", b"c"])).unwrap();
    }
    let ask = |bench: &mut Bench, before: i64| {
        let deleting = bench.storage.delete_records(P, Offset(before));
        bench.wait(deleting)
    };
    assert_eq!(ask(&mut bench, 91).unwrap_err(), ChangeError::OutOfRange);
    assert_eq!(ask(&mut bench, 41), Ok(Offset(41)));
    assert_eq!(ask(&mut bench, 30), Ok(Offset(41)), "it never goes back");
    let check = |bench: &Bench| {
        let partition = bench.partition(P);
        assert_eq!(partition.offsets().log_start, Offset(41));
        assert!(matches!(partition.read(Offset(40), 100, Offset(90)), Err(ReadError::OutOfRange { .. })));
        let read = partition.read(Offset(41), 1, Offset(90)).unwrap();
        assert_eq!(read.next_offset, Offset(42), "the whole batch 39..41 is returned");
        assert_eq!(bench.read_all(P).len(), 49);
    };
    check(&bench);
    bench.disk.crash(Survival::Nothing);
    let mut bench = bench.open_again();
    check(&bench);
    assert_eq!(ask(&mut bench, 90), Ok(Offset(90)));
    assert_eq!(bench.read_all(P), []);
    let bench = bench.reopen();
    assert_eq!(bench.paths(".log"), Vec::<std::path::PathBuf>::new(), "nothing is left");
    assert_eq!(bench.partition(P).offsets().log_end, Offset(90), "offsets go on");
    let missing = bench.storage.delete_records(id(8, 8), Offset(1));
    assert_eq!(now(missing).unwrap(), Err(ChangeError::Unknown));
}

#[test]
fn retention_by_time_uses_the_largest_timestamp() {
    let hour = Duration::from_secs(3600);
    let mut bench = bench_with(LogConfig { retention: Some(hour), ..small_segments() });
    // Two large batches fill a segment. The third segment holds one record from the future.
    for (number, age) in
        [(0, 7200), (1, 7200), (2, 7200), (3, 100), (4, -9999), (5, 7200), (6, 7200), (7, 7200)]
    {
        let at = Timestamp(START.0 - age * 1000);
        let mut value = vec![1; 2500];
        value[0] = number;
        bench.append(P, batch_at(at, &[&value])).unwrap();
    }
    bench.advance(bench.options.retention_check_interval);
    assert_eq!(bench.partition(P).offsets().log_start, Offset(2), "the second one is too young");
    assert_eq!(bench.paths(".log").len(), 3);
    bench.advance(hour);
    assert_eq!(bench.partition(P).offsets().log_start, Offset(4), "the one from the future blocks the rest");
    bench.advance(Duration::from_secs(10_000));
    assert_eq!(bench.partition(P).offsets().log_start, Offset(8), "the active segment goes too");
    assert_eq!(bench.paths(".log").len(), 0);
    assert_eq!(bench.append(P, batch(&[b"next"])).unwrap().base_offset, Offset(8));
}

#[test]
fn a_changed_setting_of_one_partition_looks_only_after_that_one() {
    let retained = LogConfig { retention: Some(Duration::from_secs(60)), ..small_segments() };
    let mut bench = bench_with(retained.clone());
    let other = id(7, 0);
    bench.create(other, small_segments());
    bench.advance(bench.options.retention_check_interval);
    let expired = batch_at(Timestamp(START.0 - 3_600_000), &[b"old"]);
    for partition in [P, other] {
        bench.append(partition, expired.clone()).unwrap();
    }
    let configuring = bench.storage.configure(other, retained);
    bench.wait(configuring).unwrap();
    bench.settle();
    assert_eq!(bench.partition(other).offsets().log_start, Offset(1), "it changed");
    assert_eq!(bench.partition(P).offsets().log_start, Offset(0), "its time comes");
    bench.advance(bench.options.retention_check_interval);
    assert_eq!(bench.partition(P).offsets().log_start, Offset(1));
}

#[test]
fn retention_takes_what_is_still_in_the_log() {
    let mut bench = bench_with(LogConfig { retention: Some(Duration::from_secs(60)), ..small_segments() });
    bench.append(P, batch(&[b"old"])).unwrap();
    bench.advance(bench.options.retention_check_interval);
    assert_eq!(bench.partition(P).offsets().log_start, Offset(1));
    bench.disk.crash(Survival::Nothing);
    let bench = bench.open_again();
    assert_eq!(bench.partition(P).offsets().log_start, Offset(1));
}

#[test]
fn retention_by_size_never_goes_below_the_limit() {
    let mut bench = bench_with(LogConfig { retention_bytes: Some(11_000), ..small_segments() });
    for number in 0..12 {
        bench.append(P, numbered(number, 2500)).unwrap();
    }
    bench.advance(bench.options.retention_check_interval);
    // Segments of 5,140 bytes: three are left, two would be less than the limit.
    let partition = bench.partition(P);
    assert_eq!(partition.offsets().log_start, Offset(6));
    assert!(partition.size_bytes() >= 11_000);
    assert_eq!(bench.paths(".log").len(), 3);
}

#[test]
fn compacted_topics_are_not_deleted_by_age() {
    let config = LogConfig {
        delete: false,
        compact: true,
        retention: Some(Duration::from_secs(1)),
        ..small_segments()
    };
    let mut bench = bench_with(config);
    bench.append(P, numbered(0, 2500)).unwrap();
    bench.advance(bench.options.retention_check_interval);
    assert_eq!(bench.partition(P).offsets().log_start, Offset(0));
}

#[test]
fn repetitions_are_answered_with_the_first_offsets() {
    let mut bench = bench_with(small_segments());
    let first = bench.append(P, sequenced(7, 0, 0, 3)).unwrap();
    let again = bench.append(P, sequenced(7, 0, 0, 3)).unwrap();
    assert!(!first.duplicate && again.duplicate);
    assert_eq!((again.base_offset, again.last_offset), (Offset(0), Offset(2)));
    let refused = bench.append(P, sequenced(7, 0, 5, 1)).unwrap_err();
    assert_eq!(refused, AppendError::OutOfOrderSequence { expected: 3, found: 5 });
    // In one group: the second is a repetition of the first, the third follows.
    let partition = bench.partition(P);
    let send = |bench: &Bench, sequence| {
        bench.storage.append(Append::new(partition.clone(), sequenced(7, 0, sequence, 1)))
    };
    let waiting = [send(&bench, 3), send(&bench, 3), send(&bench, 4)];
    bench.settle();
    let answers: Vec<_> = waiting.into_iter().map(|answer| now(answer).unwrap().unwrap()).collect();
    assert_eq!(answers.iter().map(|answer| answer.base_offset.0).collect::<Vec<_>>(), [3, 3, 4]);
    assert_eq!(answers.iter().map(|answer| answer.duplicate).collect::<Vec<_>>(), [false, true, false]);
    bench.append(P, sequenced(7, 1, 0, 1)).unwrap();
    let fenced = AppendError::InvalidProducerEpoch { current: ProducerEpoch(1), found: ProducerEpoch(0) };
    assert_eq!(bench.append(P, sequenced(7, 0, 5, 1)).unwrap_err(), fenced);
    for crash in [false, true] {
        if crash {
            bench.disk.crash(Survival::Nothing);
            bench = bench.open_again();
        } else {
            bench = bench.reopen();
        }
        assert_eq!(bench.append(P, sequenced(7, 0, 5, 1)).unwrap_err(), fenced, "also after a restart");
        assert!(bench.append(P, sequenced(7, 1, 0, 1)).unwrap().duplicate);
        let producer = bench.partition(P).producers()[0];
        assert_eq!(
            (producer.id, producer.epoch, producer.last_sequence),
            (ProducerId(7), ProducerEpoch(1), 0)
        );
    }
}

#[test]
fn transactions_hold_the_stable_offset_over_restarts() {
    let mut bench = bench_with(small_segments());
    let mut builder =
        BatchBuilder::new(Compression::None).producer(ProducerId(5), ProducerEpoch(0), 0).transactional();
    builder.push(NewRecord { value: Some(&[1; 3000]), ..NewRecord::default() });
    bench.append(P, batch(&[b"plain"])).unwrap();
    bench.append(P, builder.build()).unwrap();
    bench.append(P, batch(&[b"plain"])).unwrap();
    assert_eq!(bench.partition(P).offsets().last_stable, Offset(1));
    let mut bench = bench.reopen();
    assert_eq!(bench.partition(P).offsets().last_stable, Offset(1));
    assert_eq!(bench.partition(P).producers()[0].transaction_start, Some(Offset(1)));
    let mut marker = BatchBuilder::new(Compression::None)
        .producer(ProducerId(5), ProducerEpoch(0), -1)
        .transactional()
        .control();
    marker.push(NewRecord {
        key: Some(&[0, 0, 0, 0]),
        value: Some(&[0, 0, 0, 0, 0, 9]),
        ..NewRecord::default()
    });
    bench.append(P, marker.build()).unwrap();
    for crash in [false, true] {
        let offsets = bench.partition(P).offsets();
        assert_eq!(offsets.last_stable, Offset(4));
        let aborted = bench.partition(P).aborted_transactions(Offset(0), Offset(4));
        assert_eq!(aborted.len(), 1);
        assert_eq!((aborted[0].first_offset, aborted[0].last_offset), (Offset(1), Offset(3)));
        if crash {
            bench.disk.crash(Survival::Nothing);
            bench = bench.open_again();
        } else {
            bench = bench.reopen();
        }
    }
}

#[test]
fn an_append_can_demand_where_the_log_ends() {
    let mut bench = bench_with(small_segments());
    let append = |bench: &mut Bench, expected: i64| {
        let mut append = Append::new(bench.partition(P), batch(&[b"x"]));
        append.expected_end = Some(Offset(expected));
        let appending = bench.storage.append(append);
        bench.wait(appending)
    };
    assert!(append(&mut bench, 0).is_ok());
    assert_eq!(append(&mut bench, 0).unwrap_err(), AppendError::UnexpectedEnd { log_end: Offset(1) });
    assert!(append(&mut bench, 1).is_ok());
}

#[test]
fn nothing_is_seen_before_it_is_durable() {
    let mut bench = bench_with(small_segments());
    bench.disk.inject(env::sim::Fault::Sync("wal".to_owned()));
    let appending = bench.storage.append(Append::new(bench.partition(P), batch(&[b"x"])));
    assert_eq!(bench.wait(appending).unwrap_err(), AppendError::Closed);
    assert_eq!(bench.partition(P).offsets().high_watermark, Offset(0));
}

#[test]
fn relaxed_topics_are_acknowledged_after_the_write_and_synced_later() {
    let mut bench = bench_with(LogConfig { flush_messages: 3, ..small_segments() });
    bench.settle();
    let syncs = |bench: &Bench| bench.storage.metrics().syncs.count();
    let before = syncs(&bench);
    bench.append(P, batch(&[b"a"])).unwrap();
    bench.append(P, batch(&[b"b"])).unwrap();
    assert_eq!(syncs(&bench), before);
    assert_eq!(bench.read_all(P).len(), 2, "visible at once");
    bench.append(P, batch(&[b"c"])).unwrap();
    assert_eq!(syncs(&bench), before + 1, "flush.messages");
    bench.append(P, batch(&[b"d"])).unwrap();
    bench.advance(bench.options.relaxed_sync_interval);
    assert_eq!(syncs(&bench), before + 2, "never left for long");
    let config = LogConfig {
        flush_messages: 1000,
        flush_interval: Some(Duration::from_millis(20)),
        ..small_segments()
    };
    let configuring = bench.storage.configure(P, config);
    bench.wait(configuring).unwrap();
    let before = syncs(&bench);
    bench.append(P, batch(&[b"e"])).unwrap();
    bench.advance(Duration::from_millis(19));
    assert_eq!(syncs(&bench), before);
    bench.advance(Duration::from_millis(1));
    assert_eq!(syncs(&bench), before + 1, "flush.ms");
    // A durable neighbour's sync covers it too.
    bench.create(id(2, 0), small_segments());
    bench.append(P, batch(&[b"f"])).unwrap();
    bench.append(id(2, 0), batch(&[b"x"])).unwrap();
    bench.disk.crash(Survival::Nothing);
    assert_eq!(bench.open_again().read_all(P).len(), 6);
}

#[test]
fn a_lost_visible_tail_begins_a_new_epoch() {
    let mut bench = bench_with(LogConfig { flush_messages: 1000, ..small_segments() });
    bench.append(P, batch(&[b"kept"])).unwrap();
    bench.advance(Duration::from_secs(2));
    bench.append(P, batch(&[b"lost"])).unwrap();
    bench.disk.crash(Survival::Nothing);
    let mut bench = bench.open_again();
    let partition = bench.partition(P);
    assert_eq!(partition.offsets().log_end, Offset(1));
    assert_eq!(partition.offsets().leader_epoch, LeaderEpoch(1));
    assert_eq!(partition.end_offset_for_epoch(LeaderEpoch(0)), Some((LeaderEpoch(0), Offset(1))));
    assert_eq!(partition.end_offset_for_epoch(LeaderEpoch(2)), None);
    bench.append(P, batch(&[b"new"])).unwrap();
    let read = bench.partition(P).read(Offset(1), 1000, Offset(2)).unwrap();
    let header = model::BatchHeader::parse(&read.chunks.concat()).unwrap();
    assert_eq!(header.partition_leader_epoch, LeaderEpoch(1), "the batch says so too");
    for epoch in 2..5 {
        bench.disk.crash(Survival::Everything);
        bench = bench.open_again();
        assert_eq!(bench.partition(P).offsets().leader_epoch, LeaderEpoch(epoch));
    }
    assert_eq!(bench.partition(P).end_offset_for_epoch(LeaderEpoch(1)), Some((LeaderEpoch(1), Offset(2))));
}

#[test]
fn waiting_readers_are_woken() {
    let mut bench = bench_with(small_segments());
    let waker = Arc::new(Notify::new());
    let partition = bench.partition(P);
    let guard = partition.wake_on_advance(&waker);
    let is_woken = |waker: &Notify| now(waker.notified()).is_some();
    assert!(!is_woken(&waker));
    bench.append(P, batch(&[b"x"])).unwrap();
    assert!(is_woken(&waker));
    assert!(!is_woken(&waker));
    let deleting = bench.storage.delete_records(P, Offset(1));
    bench.wait(deleting).unwrap();
    assert!(is_woken(&waker), "the log's start moved");
    drop(guard);
    bench.append(P, batch(&[b"x"])).unwrap();
    assert!(!is_woken(&waker));
    let _guard = partition.wake_on_advance(&waker);
    let deleting = bench.storage.delete(vec![P]);
    bench.wait(deleting).unwrap();
    assert!(is_woken(&waker), "it went away");
}

#[test]
fn memory_serves_the_tail_and_no_more() {
    let mut bench = bench_with(small_segments());
    for number in 0..50 {
        bench.append(P, numbered(number, 900)).unwrap();
    }
    let partition = bench.partition(P);
    assert!(partition.is_cached(Offset(49)) && partition.is_cached(Offset(50)));
    assert!(!partition.is_cached(Offset(0)));
    let first = (0..50).find(|offset| partition.is_cached(Offset(*offset))).unwrap();
    assert!(first > 44, "4096 bytes hold four of these");
    let (hits, misses) = {
        let metrics = bench.storage.metrics();
        partition.read(Offset(0), 1, Offset(50)).unwrap();
        partition.read(Offset(49), 1, Offset(50)).unwrap();
        (metrics.tail_hits.value(), metrics.tail_misses.value())
    };
    assert_eq!((hits, misses), (1, 1));
    assert!(partition.is_cached(Offset(49)), "a cold read evicts nothing");
}

#[test]
fn a_reader_keeps_only_what_it_reads() {
    let mut bench = bench_with(small_segments());
    for number in 0..3 {
        bench.append(P, numbered(number, 100)).unwrap();
    }
    let partition = bench.partition(P);
    assert!(partition.is_cached(Offset(0)));
    let read = partition.read(Offset(0), 10_000, Offset(3)).unwrap();
    assert_eq!((read.chunks.len(), read.chunks[0].len(), read.next_offset), (1, read.bytes, Offset(3)));
    assert!(read.chunks[0].is_unique(), "the buffer of a group would live as long as the slowest reader");
}

#[test]
fn the_queue_is_bounded() {
    let options = Options { queue_requests_max: 3, queue_bytes_max: 1000, ..small_options() };
    let mut bench = Bench::new(options);
    bench.create(P, small_segments());
    let partition = bench.partition(P);
    let send =
        |bench: &Bench, bytes| bench.storage.append(Append::new(partition.clone(), numbered(0, bytes)));
    let waiting: Vec<_> = (0..4).map(|_| send(&bench, 50)).collect();
    bench.settle();
    let answers: Vec<_> = waiting.into_iter().map(|answer| now(answer).unwrap()).collect();
    assert!(answers[..3].iter().all(Result::is_ok));
    assert_eq!(answers[3], Err(AppendError::Overloaded));
    // With reservations one waits instead, first come first served; a batch larger than the queue has it alone.
    let storage = bench.storage.clone();
    let large = now(storage.reserve(&partition, 5000)).unwrap().unwrap();
    let mut next = std::pin::pin!(storage.reserve(&partition, 10));
    assert!(poll(next.as_mut()).is_none());
    assert_eq!(now(send(&bench, 50)), Some(Err(AppendError::Overloaded)), "nobody overtakes");
    let mut append = Append::new(partition.clone(), numbered(0, 5000));
    append.reservation = Some(large);
    let appending = bench.storage.append(append);
    assert!(poll(next.as_mut()).is_none());
    bench.wait(appending).unwrap();
    assert!(poll(next.as_mut()).is_some(), "given back with the answer");
}

#[test]
fn many_small_batches_are_rolled_up_early_and_never_pile_up() {
    let options = Options { pending_batches_max: 20, ..small_options() };
    let mut bench = Bench::new(Options { wal_file_bytes: 1 << 20, wal_bytes_max: 4 << 20, ..options });
    bench.create(P, small_segments());
    let partition = bench.partition(P);
    let waiting: Vec<_> = (0..200)
        .map(|number| bench.storage.append(Append::new(partition.clone(), numbered(number, 20))))
        .collect();
    for _ in 0..10_000 {
        let time = bench.clock_now();
        bench.shards[0].step(time);
        assert!(bench.storage.metrics().pending_batches.value() <= 20);
    }
    assert!(waiting.into_iter().all(|answer| now(answer).unwrap().is_ok()));
    assert_eq!(bench.read_all(P).len(), 200);
}

#[test]
fn changes_are_answered_for_what_they_are() {
    let mut bench = bench_with(small_segments());
    let creating = bench.storage.create(P, small_segments());
    assert_eq!(bench.wait(creating).err(), Some(ChangeError::Exists));
    let configuring = bench.storage.configure(id(9, 9), small_segments());
    assert_eq!(bench.wait(configuring).err(), Some(ChangeError::Unknown));
    let config = LogConfig { retention_bytes: Some(77), ..small_segments() };
    let configuring = bench.storage.configure(P, config.clone());
    bench.wait(configuring).unwrap();
    assert_eq!(*bench.partition(P).config(), config);
    bench.disk.crash(Survival::Nothing);
    let mut bench = bench.open_again();
    assert_eq!(*bench.partition(P).config(), config);
    let closing = bench.storage.clone();
    bench.close();
    assert_eq!(now(closing.create(id(3, 0), config)).unwrap().err(), Some(ChangeError::Closed));
    let appending = closing.append(Append::new(closing.partition(P).unwrap(), batch(&[b"x"])));
    assert_eq!(now(appending).unwrap(), Err(AppendError::Closed));
    assert!(now(closing.close()).is_some(), "closing twice does no harm");
}

#[test]
fn a_partition_keeps_its_shard() {
    let options = Options { shards: 3, ..small_options() };
    let mut bench = Bench::new(options);
    let ids: Vec<PartitionId> = (0..20).map(|topic| id(topic, 0)).collect();
    for id in &ids {
        bench.create(*id, small_segments());
        bench.append(*id, batch(&[b"x"])).unwrap();
    }
    let shards =
        |bench: &Bench| -> Vec<u32> { ids.iter().map(|id| bench.partition(*id).site.shard).collect() };
    let before = shards(&bench);
    assert!((0..3).all(|shard| before.contains(&shard)));
    for count in [1, 5] {
        bench.close();
        bench.options.shards = count;
        bench = bench.open_again();
        assert_eq!(shards(&bench), before);
        for id in &ids {
            bench.append(*id, batch(&[b"y"])).unwrap();
        }
    }
    assert!(ids.iter().all(|id| bench.read_all(*id).len() == 3));
}

#[test]
fn what_is_written_stays_within_bounds() {
    let ratio = |bytes: usize| {
        let mut bench = Bench::new(Options {
            wal_file_bytes: 256 * 1024,
            wal_bytes_max: 1024 * 1024,
            direct_batch_bytes_min: 32 * 1024,
            ..small_options()
        });
        bench.create(P, LogConfig::default());
        for number in 0..2_000_000 / bytes as u64 {
            bench.append(P, numbered(number, bytes)).unwrap();
        }
        bench.close_and_count()
    };
    let small = ratio(1000);
    assert!(small <= 2.1, "everything twice, and one group for each: {small}");
    let large = ratio(100_000);
    assert!(large <= 1.01, "large batches once: {large}");
}
