use client::Position;
use model::{Timestamp, TopicId};
use tokio::sync::oneshot;

use super::*;
use crate::append::{Appended, Condition, Selector};
use crate::event::Facts;
use crate::index::Applied;
use crate::record::Entry;

const PARTITION: PartitionId = PartitionId { topic: TopicId([7; 16]), index: 0 };

/// An index with so many events of the type T.
fn index(dir: &std::path::Path, events: i64) -> Arc<Index> {
    let (index, state) = Index::open(dir, PARTITION).unwrap();
    let event = |offset: i64| Applied {
        offset: Offset(offset),
        at: Timestamp(0),
        entry: Entry::Event {
            stream: "s".to_owned(),
            version: offset as u64 + 1,
            id: format!("id-{offset}"),
            facts: Facts { kind: "T".to_owned(), ..Facts::default() },
            data: bytes::Bytes::new(),
            boundary: None,
            writer: "1:0".to_owned(),
        },
    };
    let all: Vec<Applied> = (0..events).map(event).collect();
    index.apply(&state.claimed(), &all, Offset(events)).unwrap();
    Arc::new(index)
}

/// An append that fails if there is an event of a type after a position, and who waits for its answer.
fn job(kind: &str, after: Position) -> (Job, oneshot::Receiver<Result<Appended, AppendError>>) {
    let types = [kind.to_owned()].into();
    let selector = Selector { types, ..Selector::default() };
    let conditions = vec![Condition { any_of: vec![selector], after }];
    let (answer, answered) = oneshot::channel();
    (Job::new(Append { conditions, ..Append::default() }, answer).0, answered)
}

fn at(offset: i64) -> Position {
    Position::of(PARTITION, Offset(offset))
}

#[tokio::test]
async fn conditions_are_searched_for_beside_the_owner() {
    let dir = tempfile::tempdir().unwrap();
    let mut searching = Searching::new(index(dir.path(), 3), PARTITION);
    let (plain, _answered) = job("T", at(0));
    let plain = Job { append: Append::default(), ..plain };
    assert!(searching.take(plain).is_some(), "who has no condition does not wait");
    let (conditional, _answered) = job("T", at(1));
    assert!(searching.take(conditional).is_none());
    let found = searching.found().await;
    let expected = Searched { matches: vec![Some(Offset(1))], upto: Offset(3), is_too_much: false };
    assert_eq!(found.searched, Some(Ok(expected)));
    assert!(searching.take(found).is_some(), "the owner decides");
}

#[tokio::test]
async fn what_came_after_the_search_is_looked_at_before_it_is_decided() {
    let dir = tempfile::tempdir().unwrap();
    let index = index(dir.path(), 3);
    let before = Searched { matches: vec![None], upto: Offset(2), is_too_much: false };
    let (append, _answered) = job("T", at(0));
    let looked = index.reading(|it| it.look(&append.append, PARTITION, Some(&before))).unwrap();
    assert_eq!(looked.0.matches, [Some(Offset(2))]);
}

#[tokio::test]
async fn where_too_much_came_after_the_search_it_is_searched_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut searching = Searching::new(index(dir.path(), 3), PARTITION);
    let (mut append, _answered) = job("T", at(0));
    append.searched = Some(Ok(Searched { matches: vec![None], upto: Offset(0), is_too_much: false }));
    let caught_up = Searched { matches: vec![None], upto: Offset(3), is_too_much: true };
    assert!(searching.complete(append, (Looked::default(), caught_up), 3).is_none());
    let found = searching.found().await.searched.unwrap().unwrap();
    assert_eq!((found.matches, found.upto), (vec![Some(Offset(0))], Offset(3)));
}

#[tokio::test]
async fn what_would_take_too_much_is_refused_and_nothing_is_searched_again() {
    let dir = tempfile::tempdir().unwrap();
    let searching = Searching::new(index(dir.path(), 3), PARTITION);
    let (mut append, _answered) = job("T", at(0));
    let too_much = Searched { matches: vec![None], upto: Offset(3), is_too_much: true };
    append.searched = Some(Ok(too_much.clone()));
    let (looked, _) = searching.complete(append, (Looked::default(), too_much), 3).unwrap();
    assert!(looked.refused.unwrap().contains("more than 100000 looks"));
}

#[tokio::test]
async fn a_position_that_nobody_can_have_seen_there_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let searching = Searching::new(index(dir.path(), 3), PARTITION);
    let refused = |after: Position| {
        let (mut append, _answered) = job("T", after);
        append.searched = Some(Ok(Searched::default()));
        searching.complete(append, (Looked::default(), Searched::default()), 3).unwrap().0.refused
    };
    assert_eq!(refused(Position::default()), None);
    assert_eq!(refused(at(3)), None);
    assert!(refused(at(4)).unwrap().contains("ends at offset 3"));
    let elsewhere = Position::of(PartitionId { index: 1, ..PARTITION }, Offset(1));
    assert!(refused(elsewhere.clone()).unwrap().contains("not about the boundary's partition (0)"));
    let mut both = elsewhere;
    both.merge(&at(2));
    assert_eq!(refused(both), None);
}

#[tokio::test]
async fn nobody_searches_for_who_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut searching = Searching::new(index(dir.path(), 3), PARTITION);
    let turns = SEARCHES.acquire_many(4).await.unwrap();
    let (append, answered) = job("T", at(0));
    assert!(searching.take(append).is_none());
    drop(answered);
    // Its place is free again, although no search could begin.
    let all = searching.places.clone().acquire_many_owned(SEARCHING_MAX as u32).await.unwrap();
    drop((turns, all));
    assert!(searching.found.try_recv().is_err());
}
