//! Incremental fetch sessions (KIP-227): a consumer names its partitions once and then only what changes; the
//! broker answers only what is new.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use model::{Offset, Timestamp, TopicId};
use parking_lot::Mutex;
use wire::Str;

#[cfg(test)]
mod tests;

/// A session unused for this long may make room for a new one. Kafka's constant of the same purpose.
const EVICTION_AGE: Duration = Duration::from_secs(120);

/// Epochs with a meaning of their own (KIP-227).
pub const EPOCH_FULL: i32 = 0;
pub const EPOCH_SESSIONLESS: i32 = -1;

/// How a request names a topic: by name up to v12, by id from v13.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TopicKey {
    Name(Str),
    Id(TopicId),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub topic: TopicKey,
    pub partition: i32,
}

/// What a consumer wants of one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub offset: Offset,
    pub bytes_max: i32,
    /// -1: unchecked.
    pub leader_epoch: i32,
    pub last_fetched_epoch: i32,
}

/// What the consumer was told last, so that only news is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Told {
    pub high_watermark: Offset,
    pub log_start: Offset,
}

#[derive(Debug)]
struct Cached {
    wanted: Wanted,
    told: Option<Told>,
}

/// The partitions of one session, in the order in which they are served.
#[derive(Debug)]
pub struct Session {
    id: i32,
    /// What the next request must carry.
    epoch: i32,
    by_id: bool,
    places: HashMap<Key, u64>,
    order: BTreeMap<u64, (Key, Cached)>,
    next_place: u64,
    used_at: Timestamp,
}

#[derive(Clone)]
pub struct Sessions {
    slots: usize,
    /// Of all sessions together.
    partitions_max: usize,
    all: Arc<Mutex<All>>,
}

#[derive(Default)]
struct All {
    sessions: HashMap<i32, Arc<Mutex<Session>>>,
    partitions: usize,
}

/// How a Fetch is to be served.
pub enum Context {
    /// All partitions of the request, all of them answered, nothing remembered.
    Sessionless,
    /// The same, and a session with this id begins.
    Begun(Arc<Mutex<Session>>),
    /// All partitions of the session, only news answered.
    Incremental(Arc<Mutex<Session>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionError {
    NotFound,
    InvalidEpoch,
    /// Topic ids in a session that began with names, or the other way round.
    TopicIdMix,
}

impl Sessions {
    pub fn new(slots: usize, partitions_max: usize) -> Self {
        Sessions { slots, partitions_max, all: Arc::default() }
    }

    pub fn count(&self) -> usize {
        self.all.lock().sessions.len()
    }

    /// Finds or begins the session of a request. `draw` gives a random number for a new id.
    pub fn context(
        &self,
        (id, epoch): (i32, i32),
        wanted: &[(Key, Wanted)],
        forgotten: &[Key],
        by_id: bool,
        now: Timestamp,
        draw: impl FnMut() -> u64,
    ) -> Result<Context, SessionError> {
        let mut all = self.all.lock();
        if epoch == EPOCH_FULL || epoch == EPOCH_SESSIONLESS {
            if id != 0 {
                all.remove(id);
            }
            if epoch == EPOCH_SESSIONLESS {
                return Ok(Context::Sessionless);
            }
            let Some(id) = self.make_room(&mut all, wanted.len(), now, draw) else {
                return Ok(Context::Sessionless);
            };
            let session = Arc::new(Mutex::new(Session::new(id, by_id, now)));
            session.lock().update(wanted, &[]);
            all.insert(id, session.clone());
            return Ok(Context::Begun(session));
        }
        let shared = all.sessions.get(&id).ok_or(SessionError::NotFound)?.clone();
        let mut session = shared.lock();
        if session.epoch != epoch {
            return Err(SessionError::InvalidEpoch);
        }
        if session.by_id != by_id {
            return Err(SessionError::TopicIdMix);
        }
        session.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        session.used_at = now;
        let before = session.order.len();
        session.update(wanted, forgotten);
        let after = session.order.len();
        drop(session);
        all.partitions = all.partitions - before + after;
        if after == 0 {
            all.remove(id);
            return Ok(Context::Sessionless);
        }
        if after > before && all.partitions > self.partitions_max {
            // The client names everything anew then, and gets on without a session.
            all.remove(id);
            return Err(SessionError::NotFound);
        }
        Ok(Context::Incremental(shared))
    }

    /// An id for a session with so many partitions; none while those in use leave no room for it.
    fn make_room(
        &self,
        all: &mut All,
        partitions: usize,
        now: Timestamp,
        mut draw: impl FnMut() -> u64,
    ) -> Option<i32> {
        if partitions > self.partitions_max {
            return None;
        }
        while all.sessions.len() >= self.slots || all.partitions + partitions > self.partitions_max {
            let (oldest, used_at) = all
                .sessions
                .iter()
                .map(|(id, session)| (*id, session.lock().used_at))
                .min_by_key(|(id, at)| (*at, *id))?;
            if now.0 - used_at.0 < EVICTION_AGE.as_millis() as i64 {
                return None;
            }
            all.remove(oldest);
        }
        loop {
            let id = (draw() & 0x7fff_ffff) as i32;
            if id != 0 && !all.sessions.contains_key(&id) {
                return Some(id);
            }
        }
    }
}

impl All {
    fn insert(&mut self, id: i32, session: Arc<Mutex<Session>>) {
        self.partitions += session.lock().order.len();
        self.sessions.insert(id, session);
    }

    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.partitions -= session.lock().order.len();
        }
    }
}

impl Session {
    fn new(id: i32, by_id: bool, now: Timestamp) -> Self {
        Session {
            id,
            epoch: 1,
            by_id,
            places: HashMap::new(),
            order: BTreeMap::new(),
            next_place: 0,
            used_at: now,
        }
    }

    pub fn id(&self) -> i32 {
        self.id
    }

    /// What is wanted, in the order of service.
    pub fn wanted(&self) -> Vec<(Key, Wanted)> {
        self.order.values().map(|(key, cached)| (key.clone(), cached.wanted.clone())).collect()
    }

    /// Whether this answer must be sent: records, an error, or a mark that moved.
    pub fn is_news(&self, key: &Key, has_records: bool, error: bool, now: Told) -> bool {
        let told = self.places.get(key).and_then(|place| self.order.get(place)).and_then(|(_, c)| c.told);
        has_records || error || told != Some(now)
    }

    /// Remembers what was told. Who had its `turn` goes to the end of the queue; after an error the next answer counts
    /// as news.
    pub fn told(&mut self, key: &Key, turn: bool, error: bool, now: Told) {
        let Some(place) = self.places.get_mut(key) else { return };
        let Some((_, cached)) = self.order.get_mut(place) else { return };
        cached.told = if error { None } else { Some(now) };
        if turn && let Some(entry) = self.order.remove(place) {
            *place = self.next_place;
            self.next_place += 1;
            self.order.insert(*place, entry);
        }
    }

    fn update(&mut self, wanted: &[(Key, Wanted)], forgotten: &[Key]) {
        for (key, wanted) in wanted {
            match self.places.get(key).and_then(|place| self.order.get_mut(place)) {
                Some((_, cached)) => cached.wanted = wanted.clone(),
                None => {
                    let cached = Cached { wanted: wanted.clone(), told: None };
                    self.places.insert(key.clone(), self.next_place);
                    self.order.insert(self.next_place, (key.clone(), cached));
                    self.next_place += 1;
                }
            }
        }
        // Last: what is both wanted and forgotten is forgotten.
        for key in forgotten {
            if let Some(place) = self.places.remove(key) {
                self.order.remove(&place);
            }
        }
    }
}
