use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

use model::Offset;

/// Memory that one key takes, about: hash and offset, at the load that a hash table bears.
pub(crate) const ENTRY_BYTES: usize = 64;

/// The newest offset of each key, by a hash of 128 bits: that two of a map's keys share one is less likely than that
/// memory fails. Seeded, so that nobody can choose such keys.
pub(crate) struct KeyMap {
    offsets: HashMap<u128, Offset>,
    entries_max: usize,
    seed: [u64; 2],
    /// Everything below it has been read into the map.
    end: Offset,
}

impl KeyMap {
    pub fn new(bytes_max: usize, seed: [u64; 2], start: Offset) -> KeyMap {
        let entries_max = (bytes_max / ENTRY_BYTES).max(1);
        KeyMap { offsets: HashMap::new(), entries_max, seed, end: start }
    }

    /// Whether there is room for so many more keys.
    pub fn has_room_for(&self, keys: usize) -> bool {
        self.offsets.len() + keys <= self.entries_max
    }

    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    pub fn put(&mut self, key: &[u8], offset: Offset) {
        let newest = self.offsets.entry(self.hash(key)).or_insert(offset);
        *newest = (*newest).max(offset);
    }

    /// Everything up to here has been put.
    pub fn reach(&mut self, end: Offset) {
        self.end = end;
    }

    pub fn end(&self) -> Offset {
        self.end
    }

    /// Whether a newer record of this key is known.
    pub fn is_outdated(&self, key: &[u8], offset: Offset) -> bool {
        self.offsets.get(&self.hash(key)).is_some_and(|newest| *newest > offset)
    }

    fn hash(&self, key: &[u8]) -> u128 {
        let half = |seed: u64| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(seed);
            hasher.write(key);
            u128::from(hasher.finish())
        };
        half(self.seed[0]) << 64 | half(self.seed[1])
    }
}
