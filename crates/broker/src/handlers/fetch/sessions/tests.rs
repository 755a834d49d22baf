use super::*;

fn key(partition: i32) -> Key {
    Key { topic: TopicKey::Name("t".into()), partition }
}

fn want(partition: i32, offset: i64) -> (Key, Wanted) {
    let wanted = Wanted { offset: Offset(offset), bytes_max: 100, leader_epoch: -1, last_fetched_epoch: -1 };
    (key(partition), wanted)
}

fn told(high_watermark: i64) -> Told {
    Told { high_watermark: Offset(high_watermark), log_start: Offset(0) }
}

fn open(
    sessions: &Sessions,
    id: (i32, i32),
    wanted: &[(Key, Wanted)],
    now: i64,
) -> Result<Context, SessionError> {
    let mut next = 40 + now as u64;
    sessions.context(id, wanted, &[], false, Timestamp(now), || {
        next += 1;
        next
    })
}

fn begun(context: Result<Context, SessionError>) -> Arc<Mutex<Session>> {
    match context {
        Ok(Context::Begun(session)) => session,
        _ => panic!("no session was begun"),
    }
}

#[test]
fn kafka_11_epochs_tell_full_from_incremental_and_wrong_ones_are_told() {
    let sessions = Sessions::new(10, 1000);
    assert!(matches!(open(&sessions, (0, EPOCH_SESSIONLESS), &[want(0, 0)], 0), Ok(Context::Sessionless)));
    let id = begun(open(&sessions, (0, EPOCH_FULL), &[want(0, 0)], 0)).lock().id();
    assert_eq!(open(&sessions, (id + 1, 1), &[], 0).err(), Some(SessionError::NotFound));
    assert_eq!(open(&sessions, (id, 2), &[], 0).err(), Some(SessionError::InvalidEpoch));
    assert!(matches!(open(&sessions, (id, 1), &[], 0), Ok(Context::Incremental(_))));
    assert_eq!(open(&sessions, (id, 1), &[], 0).err(), Some(SessionError::InvalidEpoch));
    assert!(matches!(open(&sessions, (id, 2), &[], 0), Ok(Context::Incremental(_))));
    let mixed = sessions.context((id, 3), &[], &[], true, Timestamp(0), || 1);
    assert_eq!(mixed.err(), Some(SessionError::TopicIdMix));
    open(&sessions, (id, EPOCH_SESSIONLESS), &[], 0).unwrap();
    assert_eq!(open(&sessions, (id, 3), &[], 0).err(), Some(SessionError::NotFound));
}

#[test]
fn kafka_6_a_partition_that_returned_data_moves_to_the_end() {
    let sessions = Sessions::new(10, 1000);
    let session = begun(open(&sessions, (0, 0), &[want(0, 0), want(1, 0), want(2, 0)], 0));
    let mut session = session.lock();
    session.told(&key(0), true, false, told(1));
    session.told(&key(1), false, false, told(1));
    let order: Vec<i32> = session.wanted().iter().map(|(key, _)| key.partition).collect();
    assert_eq!(order, [1, 2, 0]);
}

#[test]
fn only_news_is_told() {
    let sessions = Sessions::new(10, 1000);
    let session = begun(open(&sessions, (0, 0), &[want(0, 0)], 0));
    let mut session = session.lock();
    assert!(session.is_news(&key(0), false, false, told(5)));
    session.told(&key(0), false, false, told(5));
    assert!(!session.is_news(&key(0), false, false, told(5)));
    assert!(session.is_news(&key(0), false, false, told(6)));
    assert!(session.is_news(&key(0), true, false, told(5)));
    session.told(&key(0), false, true, told(5));
    assert!(session.is_news(&key(0), false, false, told(5)));
}

#[test]
fn a_session_follows_its_changes_and_ends_when_nothing_is_wanted() {
    let sessions = Sessions::new(10, 1000);
    let id = begun(open(&sessions, (0, 0), &[want(0, 0), want(1, 0)], 0)).lock().id();
    let changed = [want(1, 9), want(2, 0)];
    let context = sessions.context((id, 1), &changed, &[key(0)], false, Timestamp(0), || 1).unwrap();
    let Context::Incremental(session) = context else { panic!("not incremental") };
    assert_eq!(session.lock().wanted(), [want(1, 9), want(2, 0)]);
    let last = sessions.context((id, 2), &[], &[key(1), key(2)], false, Timestamp(0), || 1);
    assert!(matches!(last, Ok(Context::Sessionless)));
    assert_eq!(sessions.count(), 0);
}

#[test]
fn a_full_cache_declines_until_its_oldest_session_is_unused_for_two_minutes() {
    let sessions = Sessions::new(1, 1000);
    let first = begun(open(&sessions, (0, 0), &[want(0, 0)], 0)).lock().id();
    assert!(matches!(open(&sessions, (0, 0), &[want(0, 0)], 119_999), Ok(Context::Sessionless)));
    begun(open(&sessions, (0, 0), &[want(0, 0)], 120_000));
    assert_eq!(open(&sessions, (first, 1), &[], 0).err(), Some(SessionError::NotFound));
    assert_eq!(sessions.count(), 1);
}

#[test]
fn partitions_of_all_sessions_together_are_bounded() {
    let sessions = Sessions::new(10, 5);
    let many: Vec<_> = (0..6).map(|partition| want(partition, 0)).collect();
    assert!(matches!(open(&sessions, (0, EPOCH_FULL), &many, 0), Ok(Context::Sessionless)));
    let first = begun(open(&sessions, (0, EPOCH_FULL), &many[..3], 0)).lock().id();
    assert!(matches!(open(&sessions, (0, EPOCH_FULL), &many[..3], 1), Ok(Context::Sessionless)));
    let second = begun(open(&sessions, (0, EPOCH_FULL), &many[..2], 1)).lock().id();
    // Growing beyond the bound ends the session; what it had is free then.
    assert_eq!(open(&sessions, (second, 1), &many[2..4], 2).err(), Some(SessionError::NotFound));
    assert_eq!(open(&sessions, (second, 2), &[], 2).err(), Some(SessionError::NotFound));
    assert!(matches!(open(&sessions, (first, 1), &many[3..5], 3), Ok(Context::Incremental(_))));
    // Old ones make room, as many as it takes.
    let later = EVICTION_AGE.as_millis() as i64 + 10;
    begun(open(&sessions, (0, EPOCH_FULL), &many[..4], later));
    assert_eq!(sessions.count(), 1);
}
