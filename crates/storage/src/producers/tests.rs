use model::batch::BatchBuilder;
use model::batch::NewRecord;
use model::{Compression, LeaderEpoch};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A partition's producers and its end, driven as the writer drives them.
#[derive(Default)]
struct Log {
    producers: Producers,
    end: i64,
    now: i64,
}

fn header(producer: i64, epoch: i16, sequence: i32, count: i32) -> BatchHeader {
    let mut builder =
        BatchBuilder::new(Compression::None).producer(ProducerId(producer), ProducerEpoch(epoch), sequence);
    for _ in 0..count.min(3) {
        builder.push(NewRecord::default());
    }
    let mut header = *builder.build().header();
    header.last_offset_delta = count - 1;
    header
}

impl Log {
    fn decide(&self, header: &BatchHeader, first_sequence_zero: bool) -> Verdict {
        decide(self.producers.get(header.producer_id), header, first_sequence_zero, Timestamp(self.now), DAY)
    }

    fn take(&mut self, mut header: BatchHeader) -> Verdict {
        let verdict = self.decide(&header, false);
        if verdict == Verdict::Accept {
            header.base_offset = Offset(self.end);
            header.partition_leader_epoch = LeaderEpoch(0);
            self.end = header.next_offset().0;
            self.producers.apply(&header, None, Timestamp(self.now), DAY);
        }
        verdict
    }

    fn send(&mut self, producer: i64, epoch: i16, sequence: i32, count: i32) -> Verdict {
        self.take(header(producer, epoch, sequence, count))
    }

    fn send_transactional(&mut self, producer: i64, sequence: i32) -> Verdict {
        let mut header = header(producer, 0, sequence, 1);
        header.attributes = header.attributes.with_transactional(true);
        self.take(header)
    }

    fn end_transaction(&mut self, producer: i64, epoch: i16, committed: bool) -> Verdict {
        let mut header = header(producer, epoch, -1, 1);
        header.attributes = header.attributes.with_transactional(true).with_control(true);
        let verdict = self.decide(&header, false);
        if verdict == Verdict::Accept {
            header.base_offset = Offset(self.end);
            self.end += 1;
            let marker = Some(Marker { committed, coordinator_epoch: 5 });
            self.producers.apply(&header, marker, Timestamp(self.now), DAY);
        }
        verdict
    }
}

fn duplicate(base: i64, last: i64) -> Verdict {
    Verdict::Duplicate { base_offset: Offset(base), last_offset: Offset(last) }
}

fn out_of_order(expected: i32, found: i32) -> Verdict {
    Verdict::Refuse(AppendError::OutOfOrderSequence { expected, found })
}

fn fenced(current: i16, found: i16) -> Verdict {
    Verdict::Refuse(AppendError::InvalidProducerEpoch {
        current: ProducerEpoch(current),
        found: ProducerEpoch(found),
    })
}

#[test]
fn sequences_follow_each_other() {
    let mut log = Log::default();
    assert_eq!(log.send(1, 0, 0, 10), Verdict::Accept);
    assert_eq!(log.send(1, 0, 10, 5), Verdict::Accept);
    assert_eq!(log.send(1, 0, 16, 1), out_of_order(15, 16), "a gap");
    assert_eq!(log.send(1, 0, 14, 1), out_of_order(15, 14), "part of a batch is no repetition of it");
    assert_eq!(log.send(1, 0, 15, 1), Verdict::Accept);
}

#[test]
fn an_unknown_producer_may_start_anywhere_unless_told_otherwise() {
    let mut log = Log::default();
    assert_eq!(log.decide(&header(1, 7, 3, 1), true), out_of_order(0, 3));
    assert_eq!(log.decide(&header(1, 7, 0, 1), true), Verdict::Accept);
    assert_eq!(log.send(1, 7, 3, 1), Verdict::Accept);
    assert_eq!(log.decide(&header(1, 7, 4, 1), true), Verdict::Accept, "it is known now");
}

#[test]
fn a_new_epoch_starts_at_zero_and_fences_the_old_one() {
    let mut log = Log::default();
    log.send(1, 4, 0, 10);
    assert_eq!(log.send(1, 5, 10, 1), out_of_order(0, 10));
    assert_eq!(log.send(1, 5, 0, 1), Verdict::Accept);
    assert_eq!(log.send(1, 4, 10, 1), fenced(5, 4));
    assert_eq!(log.send(1, 4, 0, 10), fenced(5, 4), "not even a repetition");
    assert_eq!(log.send(1, 5, 1, 1), Verdict::Accept);
}

#[test]
fn the_last_five_batches_are_known() {
    let mut log = Log::default();
    for index in 0..6 {
        log.send(1, 0, index * 10, 10);
    }
    for index in 1..6 {
        let base = i64::from(index) * 10;
        assert_eq!(log.send(1, 0, index * 10, 10), duplicate(base, base + 9));
    }
    assert_eq!(log.send(1, 0, 0, 10), out_of_order(60, 0), "the sixth is forgotten");
    assert_eq!(log.send(1, 0, 50, 9), out_of_order(60, 50), "another length is another batch");
    assert_eq!(log.end, 60);
}

#[test]
fn sequences_wrap_around() {
    let mut log = Log::default();
    assert_eq!(log.send(1, 0, i32::MAX - 1, 2), Verdict::Accept);
    assert_eq!(log.send(1, 0, 0, 1), Verdict::Accept);
    assert_eq!(log.send(1, 0, 1, 1), Verdict::Accept);
    assert_eq!(log.send(1, 0, i32::MAX - 1, 2), duplicate(0, 1));

    let mut log = Log::default();
    assert_eq!(log.send(2, 0, i32::MAX - 1, 5), Verdict::Accept, "in the middle of a batch");
    assert_eq!(log.send(2, 0, i32::MAX - 1, 5), duplicate(0, 4));
    assert_eq!(log.send(2, 0, 3, 1), Verdict::Accept);
}

#[test]
fn producers_are_forgotten_by_their_silence() {
    let mut log = Log::default();
    log.send(1, 3, 0, 1);
    log.now = DAY.as_millis() as i64 - 1;
    assert_eq!(log.send(1, 3, 5, 1), out_of_order(1, 5));
    log.now += 1;
    assert_eq!(log.send(1, 2, 5, 1), Verdict::Accept, "any epoch, any sequence: it is unknown");
    assert_eq!(log.producers.get(ProducerId(1)).unwrap().epoch, ProducerEpoch(2));
    assert_eq!(log.send(1, 2, 5, 1), duplicate(1, 1), "nothing of before is left");
    log.now += DAY.as_millis() as i64;
    log.producers.expire(Timestamp(log.now), DAY);
    assert!(log.producers.get(ProducerId(1)).is_none());
    log.now = -5;
    log.send(2, 0, 0, 1);
    log.now = -500;
    assert_eq!(log.send(2, 0, 1, 1), Verdict::Accept, "a clock set back forgets nobody");
}

#[test]
fn batches_without_a_producer_are_nobodys_business() {
    let mut log = Log::default();
    assert_eq!(log.send(-1, -1, -1, 3), Verdict::Accept);
    assert_eq!(log.send(-1, -1, -1, 3), Verdict::Accept);
    assert_eq!(log.producers, Producers::default());
}

#[test]
fn a_moved_log_start_forgets_no_producer() {
    let mut log = Log::default();
    log.send(1, 0, 0, 10);
    log.producers.truncate_start(Offset(10));
    assert_eq!(log.send(1, 0, 0, 10), duplicate(0, 9));
}

#[test]
fn an_open_transaction_holds_the_stable_offset_until_its_marker() {
    let mut log = Log::default();
    log.send(9, 0, 0, 5);
    log.send_transactional(1, 0);
    log.send_transactional(1, 1);
    log.send_transactional(2, 0);
    assert_eq!(log.producers.open_from(), Some(Offset(5)));
    log.end_transaction(1, 0, true);
    assert_eq!(log.producers.open_from(), Some(Offset(7)));
    log.end_transaction(2, 0, false);
    assert_eq!(log.producers.open_from(), None);
    let aborted =
        AbortedTransaction { producer: ProducerId(2), first_offset: Offset(7), last_offset: Offset(9) };
    assert_eq!(log.producers.aborted(Offset(0), Offset(100)), [aborted]);
    assert_eq!(log.producers.aborted(Offset(9), Offset(10)), [aborted], "begun earlier, ended here");
    assert_eq!(log.producers.aborted(Offset(10), Offset(100)), []);
    assert_eq!(log.producers.aborted(Offset(0), Offset(7)), []);
    log.producers.truncate_start(Offset(9));
    assert_eq!(log.producers.aborted(Offset(9), Offset(10)), [aborted]);
    log.producers.truncate_start(Offset(10));
    assert_eq!(log.producers.aborted(Offset(0), Offset(100)), []);
}

#[test]
fn aborted_transactions_come_by_their_first_offset() {
    let mut log = Log::default();
    log.send_transactional(1, 0);
    log.send_transactional(2, 0);
    log.end_transaction(2, 0, false);
    log.end_transaction(1, 0, false);
    let firsts: Vec<i64> =
        log.producers.aborted(Offset(0), Offset(9)).iter().map(|aborted| aborted.first_offset.0).collect();
    assert_eq!(firsts, [0, 1]);
}

#[test]
fn a_marker_may_raise_the_epoch_and_never_lower_it() {
    let mut log = Log::default();
    log.send_transactional(1, 0);
    assert_eq!(log.end_transaction(1, 1, true), Verdict::Accept);
    assert_eq!(log.end_transaction(1, 0, true), fenced(1, 0));
    assert_eq!(log.send(1, 0, 1, 1), fenced(1, 0));
    assert_eq!(log.send(1, 1, 1, 1), out_of_order(0, 1), "the new epoch starts anew");
    assert_eq!(log.send(1, 1, 0, 1), Verdict::Accept);
}

#[test]
fn a_marker_of_the_same_epoch_keeps_the_sequence() {
    let mut log = Log::default();
    log.send_transactional(1, 0);
    log.end_transaction(1, 0, true);
    assert_eq!(log.send(1, 0, 5, 1), out_of_order(1, 5));
    assert_eq!(log.send(1, 0, 1, 1), Verdict::Accept);
}

#[test]
fn an_open_transaction_never_expires() {
    let mut log = Log::default();
    log.send_transactional(1, 0);
    log.now = 10 * DAY.as_millis() as i64;
    log.producers.expire(Timestamp(log.now), DAY);
    assert_eq!(log.producers.open_from(), Some(Offset(0)));
    assert_eq!(log.send(1, 0, 5, 1), out_of_order(1, 5));
}

#[test]
fn states_are_written_and_read_back() {
    let mut log = Log::default();
    for sequence in 0..7 {
        log.send(1, 3, sequence, 1);
    }
    log.send_transactional(2, 0);
    log.send_transactional(3, 0);
    log.end_transaction(3, 1, false);
    let mut out = Encoder::default();
    log.producers.encode(&mut out);
    let mut from = Decoder::new(&out.bytes);
    assert_eq!(Producers::decode(&mut from).unwrap(), log.producers);
    from.end().unwrap();
    for length in 0..out.bytes.len() {
        assert!(Producers::decode(&mut Decoder::new(&out.bytes[..length])).is_err());
    }
}

#[test]
fn markers_are_read_from_their_records() {
    let marker = |kind: u8| {
        let mut builder = BatchBuilder::new(Compression::None)
            .producer(ProducerId(1), ProducerEpoch(0), -1)
            .transactional()
            .control();
        let key = [0, 0, 0, kind];
        let value = [0, 0, 0, 0, 0, 12];
        builder.push(NewRecord { key: Some(&key), value: Some(&value), ..NewRecord::default() });
        Marker::read(&builder.build())
    };
    assert_eq!(marker(0), Some(Marker { committed: false, coordinator_epoch: 12 }));
    assert_eq!(marker(1), Some(Marker { committed: true, coordinator_epoch: 12 }));
    assert_eq!(marker(2), None, "another kind of control record ends no transaction");
}
