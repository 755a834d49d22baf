use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_stream::StreamExt;

use super::*;

const MIB: usize = 1 << 20;

#[test]
fn what_is_large_leaves_room_for_what_is_small() {
    let bounds = Bounds::new(4 * MIB);
    let large: Vec<Room> = std::iter::from_fn(|| bounds.room(MIB).ok()).collect();
    assert_eq!(large.len(), 3);
    assert_eq!(bounds.room(MIB).err(), Some(Full::Memory));
    let small: Vec<Room> = (0..10).filter_map(|_| bounds.room(SMALL_BYTES).ok()).collect();
    assert_eq!(small.len(), 10);
    drop((large, small));
    assert_eq!(bounds.taken_bytes(), 0);
}

#[test]
fn a_body_takes_room_as_it_comes() {
    let bounds = Bounds::new(4 * MIB);
    let mut room = Room::default();
    let parts = (1..).take_while(|_| room.grow(&bounds, 100_000).is_ok()).count();
    // In units of the budget.
    assert!((30..=31).contains(&parts), "{parts}");
}

#[test]
fn who_stays_leaves_places_to_the_others() {
    let bounds = Bounds::new(MIB);
    let staying: Vec<_> = std::iter::from_fn(|| bounds.place(true).ok()).collect();
    assert_eq!(staying.len(), STAYING_MAX);
    assert_eq!(bounds.place(true).err(), Some(Full::Staying));
    assert!(bounds.place(false).is_ok());
}

#[tokio::test]
async fn a_page_waits_for_room_and_is_read_again_then() {
    let bounds = Bounds::new(4 * MIB);
    let reads = AtomicUsize::new(0);
    let read = || {
        reads.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok::<_, ()>(MIB))
    };
    let first = bounds.page(read, |size| *size).await.unwrap();
    // One at a time goes on beyond the budget, so that all get on.
    let second = bounds.page(read, |size| *size).await.unwrap();
    assert_eq!(reads.load(Ordering::SeqCst), 3);
    let third = bounds.page(read, |size| *size);
    tokio::pin!(third);
    assert!(futures_now(third.as_mut()).await.is_none(), "nobody has room");
    drop(first);
    assert!(futures_now(third).await.is_some());
    drop(second);
}

/// What a future gives without waiting for anybody else.
async fn futures_now<F: Future>(future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = tokio::task::yield_now() => None,
    }
}

#[tokio::test]
async fn a_page_has_its_room_until_its_last_part_is_taken() {
    let bounds = Bounds::new(4 * MIB);
    let (_, held) = bounds.page(|| std::future::ready(Ok::<_, ()>(MIB)), |size| *size).await.unwrap();
    let parts = tokio_stream::iter(vec![(1, held.clone()), (2, held)]);
    let mut parts = Parts::of(parts);
    assert_eq!(parts.next().await, Some(1));
    assert_eq!(parts.next().await, Some(2));
    assert!(bounds.taken_bytes() >= 2 * MIB);
    assert_eq!(parts.next().await, None);
    assert_eq!(bounds.taken_bytes(), 0);
}
