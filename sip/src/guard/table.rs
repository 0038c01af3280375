//! What is remembered of sources, in bounded memory: a set-associative table that forgets the longest unseen.
//!
//! A source has its place in one small set, by a seeded hash. A full set gives up an entry that is not banned before one
//! that is. Looking up costs the same however many sources there are.

use super::Limit;
use crate::Moment;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

/// One source: an IPv4 address, or an IPv6 network of 64 bits, as one customer is given.
pub(super) struct Source {
    key: u128,
    /// Until when it is ignored, in us.
    pub(super) banned_until: u64,
    pub(super) requests: Bucket,
    pub(super) failures: Bucket,
    pub(super) invites: Bucket,
    pub(super) registers: Bucket,
    pub(super) options: Bucket,
    pub(super) malformed: Bucket,
}

/// A token bucket, kept as the time (us) at which it would be full again (the generic cell rate algorithm).
#[derive(Default, Clone, Copy)]
pub(super) struct Bucket {
    full_at: u64,
}

impl Bucket {
    /// Takes one token; false where there is none.
    pub(super) fn take(&mut self, limit: Limit, now: Moment) -> bool {
        let (now, window) = (micros(now), micros(limit.window));
        let Some(token) = window.checked_div(u64::from(limit.count)) else { return false };
        let full_at = self.full_at.max(now).saturating_add(token);
        let allowed = full_at <= now.saturating_add(window);
        if allowed {
            self.full_at = full_at;
        }
        allowed
    }
}

pub(super) struct Table {
    /// Each in the order of last use, the latest first.
    sets: Vec<Vec<Source>>,
    seed: u64,
    length: usize,
    evicted: u64,
    /// What a lookup would give if there were no sets; there always are.
    spare: Source,
}

impl Table {
    pub(super) fn new(capacity: usize, seed: u64) -> Self {
        let sets = capacity.div_ceil(WAYS).max(1);
        let sets = std::iter::repeat_with(Vec::new).take(sets).collect();
        Self { sets, seed, length: 0, evicted: 0, spare: Source::new(0) }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The entry of a source, made where there is none.
    pub(super) fn entry(&mut self, address: IpAddr, now: Moment) -> &mut Source {
        let key = key(address);
        let place = self.place(key);
        let Some(set) = self.sets.get_mut(place) else { return &mut self.spare };
        let source = match set.iter().position(|source| source.key == key) {
            Some(index) => set.remove(index),
            None => {
                if set.len() < WAYS {
                    self.length += 1;
                } else {
                    self.evicted = self.evicted.saturating_add(1);
                    let victim = set.iter().rposition(|source| source.banned_until <= micros(now));
                    set.remove(victim.unwrap_or(set.len() - 1));
                }
                Source::new(key)
            }
        };
        set.insert(0, source);
        set.first_mut().unwrap_or(&mut self.spare)
    }

    fn place(&self, key: u128) -> usize {
        let mut hasher = DefaultHasher::new();
        (self.seed, key, self.seed.rotate_left(32)).hash(&mut hasher);
        let sets = u64::try_from(self.sets.len()).unwrap_or(1).max(1);
        usize::try_from(hasher.finish() % sets).unwrap_or(0)
    }
}

impl Source {
    fn new(key: u128) -> Self {
        let none = Bucket::default();
        Self {
            key,
            banned_until: 0,
            requests: none,
            failures: none,
            invites: none,
            registers: none,
            options: none,
            malformed: none,
        }
    }
}

fn key(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits() & !u128::from(u64::MAX),
    }
}

/// Time as buckets count it.
pub(super) fn micros(time: Moment) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Entries of one set.
const WAYS: usize = 8;
