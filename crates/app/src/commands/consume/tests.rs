//! Which batches of transactions a reader of committed records sees.

use model::batch::{BatchBuilder, NewRecord};
use model::compression::Compression;
use model::{Offset, ProducerEpoch, ProducerId};
use wire::fetch::AbortedTransaction;

use super::*;

fn batch(offset: i64, producer: i64, control: bool) -> Batch {
    let builder = BatchBuilder::new(Compression::None).base_offset(Offset(offset));
    let mut builder = builder.producer(ProducerId(producer), ProducerEpoch(0), 0).transactional();
    if control {
        builder = builder.control();
    }
    builder.push(NewRecord { key: Some(&[0, 0, 0, 0]), value: Some(b"v"), ..NewRecord::default() });
    builder.build()
}

/// Hidden or not, for each batch in turn: offset, producer, control.
fn hidden(aborted: &[(i64, i64)], log: &[(i64, i64, bool)]) -> Vec<bool> {
    let listed = aborted.iter().map(|(producer_id, first_offset)| AbortedTransaction {
        producer_id: *producer_id,
        first_offset: *first_offset,
        ..AbortedTransaction::default()
    });
    let partition =
        PartitionData { aborted_transactions: Some(listed.collect()), ..PartitionData::default() };
    let mut aborted = Aborted::of(&partition);
    log.iter()
        .map(|(offset, producer, control)| aborted.hides(&batch(*offset, *producer, *control)))
        .collect()
}

#[test]
fn an_abort_hides_only_its_own_producer_until_its_marker() {
    let log = [
        (0, 7, false),
        (1, 8, false),
        (2, 7, true), // aborts 0
        (3, 7, false),
        (4, 7, true), // commits 3
        (5, 8, true),
    ];
    assert_eq!(hidden(&[(7, 0)], &log), [true, false, true, false, true, true]);
    assert_eq!(hidden(&[], &log), [false, false, true, false, true, true]);
    assert_eq!(hidden(&[(8, 1), (7, 3)], &log), [false, true, true, true, true, true]);
}

#[test]
fn an_abort_that_began_before_the_fetched_offset_counts() {
    assert_eq!(hidden(&[(7, 0)], &[(5, 7, false), (6, 7, true), (7, 7, false)]), [true, true, false]);
}
