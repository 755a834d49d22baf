use super::*;

fn epochs(starts: &[(i32, i64)]) -> Epochs {
    let mut epochs = Epochs::new();
    for (epoch, start) in starts {
        epochs.begin(LeaderEpoch(*epoch), Offset(*start));
    }
    epochs
}

fn end_of(epochs: &Epochs, epoch: i32) -> Option<(i32, i64)> {
    epochs.end_of(LeaderEpoch(epoch), Offset(100)).map(|(epoch, end)| (epoch.0, end.0))
}

#[test]
fn an_epoch_ends_where_the_next_begins() {
    let epochs = epochs(&[(2, 10), (5, 50)]);
    assert_eq!(epochs.current(), LeaderEpoch(5));
    assert_eq!(end_of(&epochs, 5), Some((5, 100)), "the current one at the log's end");
    assert_eq!(end_of(&epochs, 6), None, "one to come");
    assert_eq!(end_of(&epochs, 2), Some((2, 50)));
    assert_eq!(end_of(&epochs, 4), Some((2, 50)), "the largest known one not above");
    assert_eq!(end_of(&epochs, 0), Some((0, 10)));
    assert_eq!(end_of(&epochs, 1), Some((0, 10)));
}

#[test]
fn epochs_never_decrease_and_leave_no_trace_without_records() {
    let mut epochs = epochs(&[(2, 10), (3, 10)]);
    assert_eq!(end_of(&epochs, 2), Some((0, 10)), "epoch 2 has no records");
    epochs.begin(LeaderEpoch(1), Offset(20));
    assert_eq!(epochs.current(), LeaderEpoch(3));
}

#[test]
fn a_moved_log_start_forgets_epochs_below() {
    let mut epochs = epochs(&[(2, 10), (5, 50)]);
    epochs.truncate_start(Offset(30));
    assert_eq!(end_of(&epochs, 2), Some((2, 50)));
    assert_eq!(end_of(&epochs, 0), Some((0, 30)), "older than all that is known");
    epochs.truncate_start(Offset(50));
    assert_eq!(end_of(&epochs, 2), Some((2, 50)));
    epochs.truncate_start(Offset(100));
    assert_eq!(end_of(&epochs, 5), Some((5, 100)), "the current one stays");
}

#[test]
fn they_are_written_and_read_back() {
    let epochs = epochs(&[(2, 10), (5, 50)]);
    let mut out = Encoder::default();
    epochs.encode(&mut out);
    assert_eq!(Epochs::decode(&mut Decoder::new(&out.bytes)).unwrap(), epochs);
    assert!(Epochs::decode(&mut Decoder::new(&[0; 4])).is_err(), "there is always one");
}
