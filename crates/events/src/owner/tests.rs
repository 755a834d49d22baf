//! How those who wait are answered, whatever becomes of the batches.

use model::TopicId;

use super::*;
use crate::append::Expected;

/// A partition that is owned, next offset 10, and the ends of what its owner holds.
struct Owned {
    flights: mpsc::Sender<Flight>,
    standing: watch::Receiver<Option<Standing>>,
    told: watch::Sender<Option<Standing>>,
    sent: Arc<AtomicI64>,
    ended: tokio::task::JoinHandle<End>,
}

/// `log_end`: what the broker says.
fn own(log_end: Result<Offset, AskError>) -> Owned {
    let next = Offset(10);
    let (told, standing) = watch::channel(Some(Standing { acknowledged: next }));
    let sent = Arc::new(AtomicI64::new(next.0));
    let (flights, to_complete) = mpsc::channel(8);
    let completing = Completing {
        log_end: Box::new(move || Box::pin(std::future::ready(log_end.clone()))),
        sent: sent.clone(),
        unproven: Vec::new(),
        partition: PartitionId { topic: TopicId([1; 16]), index: 0 },
        next,
        landed: mpsc::unbounded_channel().0,
        standing: told.clone(),
        took: Arc::default(),
        bytes: 1000,
    };
    Owned { flights, standing, told, sent, ended: env::spawn(completing.run(to_complete)) }
}

type Answered = oneshot::Receiver<Result<Appended, AppendError>>;

impl Owned {
    async fn fly(&self, written: Option<Written>, verdict: Verdict) -> Answered {
        let (answer, answered) = oneshot::channel();
        let records = i64::from(written.is_some());
        self.sent.fetch_add(records, Ordering::SeqCst);
        let waiting = vec![Waiting { answer, verdict }];
        let flight = Flight { written, records, waiting, place: None, began: Instant::now() };
        assert!(self.flights.send(flight).await.is_ok(), "nobody completes");
        answered
    }

    async fn end(self) -> End {
        drop(self.flights);
        self.ended.await.unwrap()
    }
}

fn at(offset: i64) -> Option<Written> {
    let (sender, written) = oneshot::channel();
    sender.send(Ok(Offset(offset))).unwrap();
    Some(written)
}

fn appended() -> Verdict {
    Verdict::Appended { versions: vec![("s".to_owned(), 3)], end: 1, number: 1 }
}

fn conflict() -> Verdict {
    let (expected, current) = (Expected::Exactly(1), 2);
    Verdict::Rejected { reject: Reject::Version { stream: "s".to_owned(), expected, current }, end: 0 }
}

#[tokio::test]
async fn a_conflict_is_answered_where_nobody_else_has_written() {
    let owned = own(Ok(Offset(10)));
    let answer = owned.fly(None, conflict()).await.await.unwrap();
    assert!(matches!(answer, Err(AppendError::Version { current: 2, .. })), "{answer:?}");
    assert!(matches!(owned.end().await, End::Stopped));
}

#[tokio::test]
async fn who_has_lost_the_partition_answers_no_conflict() {
    let owned = own(Ok(Offset(11)));
    let answer = owned.fly(None, conflict()).await.await.unwrap();
    assert!(matches!(answer, Err(AppendError::Unavailable(_))), "{answer:?}");
    assert!(matches!(owned.end().await, End::Fenced));
}

#[tokio::test]
async fn a_conflict_beside_a_batch_needs_no_question() {
    let owned = own(Err(AskError::Lost("nobody is to ask".to_owned())));
    let answer = owned.fly(at(10), conflict()).await.await.unwrap();
    assert!(matches!(answer, Err(AppendError::Version { current: 2, .. })), "{answer:?}");
}

#[tokio::test]
async fn who_cannot_ask_answers_no_conflict_and_goes_on() {
    let owned = own(Err(AskError::Lost("cut off".to_owned())));
    let answer = owned.fly(None, conflict()).await.await.unwrap();
    assert!(matches!(answer, Err(AppendError::Unavailable(_))), "{answer:?}");
    let answer = owned.fly(at(10), appended()).await.await.unwrap();
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(owned.standing.borrow().unwrap().acknowledged, Offset(11));
}

#[tokio::test]
async fn a_batch_at_another_offset_than_the_next_one_is_in_doubt() {
    let owned = own(Ok(Offset(10)));
    let answer = owned.fly(at(12), appended()).await.await.unwrap();
    assert!(matches!(answer, Err(AppendError::InDoubt(_))), "{answer:?}");
    assert!(matches!(owned.end().await, End::Failed(_)));
}

#[tokio::test]
async fn an_answer_that_comes_late_makes_nobody_an_owner_again() {
    let owned = own(Ok(Offset(10)));
    owned.told.send_replace(None);
    let answer = owned.fly(at(10), appended()).await.await.unwrap();
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(*owned.standing.borrow(), None);
}

#[tokio::test]
async fn a_conflict_waits_for_a_batch_that_is_under_way() {
    for (offset, is_proven) in [(10, true), (11, false)] {
        let owned = own(Ok(Offset(11)));
        // Handed to the writer, and not yet announced.
        owned.sent.fetch_add(1, Ordering::SeqCst);
        let conflict = owned.fly(None, conflict()).await;
        tokio::task::yield_now().await;
        let batch = owned.fly(at(offset), appended()).await;
        assert_eq!(batch.await.unwrap().is_ok(), is_proven);
        drop(owned.end().await);
        let answer = conflict.await.unwrap();
        assert_eq!(matches!(answer, Err(AppendError::Version { .. })), is_proven, "{answer:?}");
    }
}

#[test]
fn a_group_waits_for_more_only_where_many_append_and_a_batch_takes_its_time() {
    let ms = Duration::from_millis;
    assert_eq!(pause(GATHER_MIN - 1, ms(100)), None);
    assert_eq!(pause(GATHER_MIN, GATHER_FROM - ms(1)), None);
    assert_eq!(pause(GATHER_MIN, ms(4)), Some(ms(2)));
    assert_eq!(pause(GATHER_MIN, ms(1000)), Some(GATHER_MAX));
}

#[tokio::test(start_paused = true)]
async fn what_comes_during_the_pause_is_in_the_group() {
    let (sender, mut jobs) = mpsc::channel(8);
    let job = || Job::new(Append::default(), oneshot::channel().0).0;
    sender.send(job()).await.unwrap();
    let coming = async {
        tokio::time::sleep(Duration::from_millis(3)).await;
        sender.send(job()).await.unwrap();
    };
    let mut group = vec![job()];
    tokio::join!(gather(&mut jobs, &mut group, Some(Duration::from_millis(4))), coming);
    assert_eq!(group.len(), 3);
}
