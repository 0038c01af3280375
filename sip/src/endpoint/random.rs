//! Seeded tokens for branches, tags and Call-IDs, so that a run can be repeated bit for bit.
//!
//! Each token is a hash over the seed and a counter: one that is seen on the wire does not give away
//! the next. The driver draws the seed from the system in production.

use std::hash::{DefaultHasher, Hash, Hasher};

pub(super) struct Random {
    seed: u64,
    counter: u64,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, counter: 0 }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        self.of(&self.counter)
    }

    /// 64 bits in hexadecimal.
    pub(super) fn token(&mut self) -> String {
        format!("{:016x}", self.next())
    }

    /// The same token for the same value, as stateless answers need (RFC 3261 section 8.2.7).
    pub(super) fn token_of(&self, value: &impl Hash) -> String {
        format!("{:016x}", self.of(value))
    }

    /// A number from 0 to `below - 1`.
    pub(super) fn below(&mut self, below: u64) -> u64 {
        self.next() % below.max(1)
    }

    fn of(&self, value: &impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.seed, value, self.seed.rotate_left(32)).hash(&mut hasher);
        hasher.finish()
    }
}
