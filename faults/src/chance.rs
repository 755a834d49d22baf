//! Chance from a seed (SplitMix64).

use crate::history::scatter;

#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// `stream`: different ones draw differently from one seed.
    pub fn new(seed: u64, stream: u64) -> Chance {
        Chance(scatter(seed) ^ scatter(stream.wrapping_mul(0x2545_f491_4f6c_dd1d)))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scatter(self.0)
    }

    /// Below this one.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// From 0 to 99: how many of a hundred.
    pub fn percent(&mut self) -> u64 {
        self.below(100)
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { from.get(self.below(from.len() as u64) as usize) }
    }
}
