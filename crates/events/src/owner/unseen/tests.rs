use model::{PartitionId, Timestamp, TopicId};

use super::*;
use crate::event::Facts;
use crate::index::Applied;
use crate::record::Entry;

const PARTITION: PartitionId = PartitionId { topic: TopicId([7; 16]), index: 0 };

/// An index with so many events of one stream.
fn index(dir: &std::path::Path, events: i64) -> Arc<Index> {
    let (index, state) = Index::open(dir, PARTITION).unwrap();
    let event = |offset: i64| Applied {
        offset: model::Offset(offset),
        at: Timestamp(0),
        entry: Entry::Event {
            stream: "s".to_owned(),
            version: offset as u64 + 1,
            id: format!("id-{offset}"),
            facts: Facts::default(),
            data: bytes::Bytes::new(),
            boundary: None,
            writer: "1:0".to_owned(),
        },
    };
    let all: Vec<Applied> = (0..events).map(event).collect();
    index.apply(&state.claimed(), &all, model::Offset(events)).unwrap();
    Arc::new(index)
}

/// Of an index with three events.
fn begun(dir: &std::path::Path) -> Unseen {
    let mut unseen = Unseen::of(index(dir, 3));
    unseen.renew(Offset(3), std::iter::empty());
    unseen
}

/// Until the filter that is being made is taken.
async fn made(unseen: &mut Unseen) {
    while unseen.next.is_some() {
        unseen.renew(Offset::ZERO, std::iter::empty());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_the_index_has_or_will_have_is_never_unseen() {
    let dir = tempfile::tempdir().unwrap();
    let mut unseen = begun(dir.path());
    assert!(!unseen.is(Name::Id("new")), "nothing is known before it is made");
    unseen.add(Name::Id("under-way"));
    unseen.add(Name::Stream("t"));
    made(&mut unseen).await;
    for name in
        [Name::Stream("s"), Name::Stream("t"), Name::Id("id-0"), Name::Id("id-2"), Name::Id("under-way")]
    {
        assert!(!unseen.is(name), "{name:?}");
    }
    assert!(unseen.is(Name::Id("new")) && unseen.is(Name::Stream("new")));
    // A stream and an id of the same name are two things.
    assert!(unseen.is(Name::Id("s")) && unseen.is(Name::Stream("id-0")));
}

#[tokio::test]
async fn a_filter_that_is_full_is_replaced_by_a_larger_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut unseen = begun(dir.path());
    made(&mut unseen).await;
    for number in 0..ITEMS_MIN {
        unseen.add(Name::Id(&format!("more-{number}")));
    }
    unseen.renew(Offset::ZERO, [Name::Id("under-way")].into_iter());
    assert!(unseen.next.is_some(), "a larger one is made");
    unseen.add(Name::Id("meanwhile"));
    made(&mut unseen).await;
    for id in ["id-1", "under-way", "meanwhile"] {
        assert!(!unseen.is(Name::Id(id)), "{id}");
    }
    // It was made from the index, which has none of these.
    let unseen_now = (0..1000).filter(|number| unseen.is(Name::Id(&format!("more-{number}")))).count();
    assert!(unseen_now > 900, "{unseen_now}");
}

#[tokio::test]
async fn an_index_that_is_made_anew_is_not_taken_for_all_that_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut unseen = Unseen::of(index(dir.path(), 3));
    unseen.renew(Offset(4), std::iter::empty());
    made(&mut unseen).await;
    assert!(!unseen.is(Name::Id("id-3")), "it is in the log, and not in the index yet");
}
