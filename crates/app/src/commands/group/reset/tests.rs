use super::*;

const LOG: Log = Log { first: 10, end: 20, at_time: None };

fn place(place: Place) -> (i64, Option<String>) {
    let moved = LOG.place(place, Some(15)).expect("something is committed");
    (moved.to, moved.remark)
}

fn at(start: Start) -> (i64, Option<String>) {
    place(Place::At(start))
}

#[test]
fn a_place_inside_of_the_log_is_taken_as_it_is() {
    assert_eq!(at(Start::Beginning), (10, None));
    assert_eq!(at(Start::End), (20, None));
    assert_eq!(at(Start::Offset(20)), (20, None));
    assert_eq!(at(Start::Last(3)), (17, None));
    assert_eq!(at(Start::Last(99)), (10, None));
    assert_eq!(place(Place::Shift(-5)), (10, None));
    assert_eq!(place(Place::Shift(5)), (20, None));
}

#[test]
fn a_place_outside_of_the_log_becomes_its_end_or_beginning_and_that_is_said() {
    assert_eq!(at(Start::Offset(9)), (10, Some("not 9: the log begins here".into())));
    assert_eq!(at(Start::Offset(21)), (20, Some("not 21: the log ends here".into())));
    assert_eq!(place(Place::Shift(-6)), (10, Some("not 9: the log begins here".into())));
    assert_eq!(place(Place::Shift(i64::MAX)).0, 20);
}

#[test]
fn a_time_after_every_record_is_the_end() {
    assert_eq!(at(Start::Time(7)), (20, Some("the end: no record is that young".into())));
    let log = Log { at_time: Some(12), ..LOG };
    assert_eq!(log.place(Place::At(Start::Time(7)), None), Some(Move { to: 12, remark: None }));
}

#[test]
fn without_a_commit_there_is_nothing_to_shift() {
    assert_eq!(LOG.place(Place::Shift(1), None), None);
}
