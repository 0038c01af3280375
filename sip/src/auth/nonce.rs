//! Nonces that need no memory until they are used: a time and a number under a keyed hash, bound to the source.
//!
//! A nonce must be used for the first time soon. Then it is remembered with the counts it came with, so that nothing can
//! be said twice. The memory is bounded: the oldest nonce is forgotten first, and everything as old as that is stale.

use super::hash::hex;
use crate::Moment;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Makes nonces and knows the used ones.
pub struct Nonces {
    key: [u8; 32],
    first_use: Duration,
    lifetime: Duration,
    made: u32,
    used: BTreeMap<Id, Window>,
    /// The newest nonce that was forgotten.
    floor: Option<Id>,
}

/// What a nonce is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    Fresh,
    /// Not ours, for another source, too old, or used before.
    Stale,
}

/// When it was made, in us, and a number that tells nonces of the same moment apart.
type Id = (u64, u32);

/// Counts seen: the highest, and which of the 64 up to it.
#[derive(Default)]
struct Window {
    highest: u32,
    seen: u64,
}

impl Nonces {
    /// `first_use`: how long a nonce may wait for its first use. `lifetime`: how long it may be used again with rising
    /// counts.
    pub fn new(key: [u8; 32], first_use: Duration, lifetime: Duration) -> Self {
        Self { key, first_use, lifetime, made: 0, used: BTreeMap::new(), floor: None }
    }

    pub fn make(&mut self, source: IpAddr, now: Moment) -> String {
        self.made = self.made.wrapping_add(1);
        let id = (micros(now), self.made);
        format!("{:016x}{:08x}{}", id.0, id.1, self.seal(id, source))
    }

    /// Takes the use of a nonce whose answer was right. `count` is `None` where the client knows no counts (RFC 2069):
    /// then it serves once.
    pub fn spend(&mut self, nonce: &str, count: Option<u32>, source: IpAddr, now: Moment) -> Freshness {
        let spent = self.read(nonce, source).is_some_and(|id| self.take(id, count.unwrap_or(1), now));
        if spent { Freshness::Fresh } else { Freshness::Stale }
    }

    fn take(&mut self, id: Id, count: u32, now: Moment) -> bool {
        let Some(age) = micros(now).checked_sub(id.0).map(Duration::from_micros) else { return false };
        if let Some(window) = self.used.get_mut(&id) {
            return age <= self.lifetime && window.take(count);
        }
        if age > self.first_use || self.floor.is_some_and(|floor| id <= floor) {
            return false;
        }
        if self.used.len() >= MAX_USED {
            self.floor = self.used.pop_first().map(|(oldest, _)| oldest);
            if self.floor.is_some_and(|floor| id <= floor) {
                return false;
            }
        }
        self.used.entry(id).or_default().take(count)
    }

    fn read(&self, nonce: &str, source: IpAddr) -> Option<Id> {
        let time = u64::from_str_radix(nonce.get(..16)?, 16).ok()?;
        let number = u32::from_str_radix(nonce.get(16..24)?, 16).ok()?;
        let seal = nonce.get(24..)?;
        super::server::same(seal, &self.seal((time, number), source)).then_some((time, number))
    }

    fn seal(&self, id: Id, source: IpAddr) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return String::new() };
        mac.update(&id.0.to_be_bytes());
        mac.update(&id.1.to_be_bytes());
        match source.to_canonical() {
            IpAddr::V4(v4) => mac.update(&v4.octets()),
            IpAddr::V6(v6) => mac.update(&v6.octets()),
        }
        hex(mac.finalize().into_bytes().get(..SEAL).unwrap_or_default())
    }
}

impl Window {
    /// False for a count that came before, for one too far back to know, and for 0.
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            self.seen = self.seen.checked_shl(count - self.highest).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let bit = 1_u64.checked_shl(self.highest - count).filter(|_| count > 0).unwrap_or(u64::MAX);
        let new = self.seen & bit == 0;
        self.seen |= if new { bit } else { 0 };
        new
    }
}

fn micros(time: Moment) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Bytes of the keyed hash that a nonce shows.
const SEAL: usize = 12;
/// Used nonces remembered at once.
const MAX_USED: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Moment = Moment::from_secs;
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn nonces() -> Nonces {
        Nonces::new([7; 32], S(30), S(300))
    }

    fn spend(nonces: &mut Nonces, nonce: &str, count: u32, at: u64) -> bool {
        nonces.spend(nonce, Some(count), HERE, S(at)) == Freshness::Fresh
    }

    #[test]
    fn a_count_serves_once_in_any_order_within_the_window() {
        let mut nonces = nonces();
        let nonce = nonces.make(HERE, S(1));
        assert!(spend(&mut nonces, &nonce, 1, 2) && !spend(&mut nonces, &nonce, 1, 2));
        assert!(spend(&mut nonces, &nonce, 5, 3) && spend(&mut nonces, &nonce, 3, 3));
        assert!(!spend(&mut nonces, &nonce, 3, 3) && !spend(&mut nonces, &nonce, 0, 3));
        assert!(spend(&mut nonces, &nonce, 500, 3) && !spend(&mut nonces, &nonce, 6, 3));
        assert!(spend(&mut nonces, &nonce, 437, 3) && !spend(&mut nonces, &nonce, 436, 3));
        assert!(spend(&mut nonces, &nonce, u32::MAX, 300) && !spend(&mut nonces, &nonce, u32::MAX, 300));
        assert!(!spend(&mut nonces, &nonce, 501, 302), "too old even with a new count");
    }

    #[test]
    fn a_nonce_is_ours_fresh_and_for_one_source() {
        let mut nonces = nonces();
        let nonce = nonces.make(HERE, S(1));
        let elsewhere = "192.0.2.2".parse().unwrap();
        assert_eq!(nonces.spend(&nonce, None, elsewhere, S(2)), Freshness::Stale);
        assert!(!spend(&mut Nonces::new([8; 32], S(30), S(300)), &nonce, 1, 2), "another key");
        assert!(!spend(&mut nonces, &nonce, 1, 32), "first use too late");
        assert!(!spend(&mut nonces, &nonce, 1, 0), "from the future");
        for bent in ["", "0", &nonce[1..], &nonce.replace('0', "1"), "é".repeat(24).as_str()] {
            assert!(!spend(&mut nonces, bent, 1, 2), "{bent}");
        }
        assert_eq!(nonces.spend(&nonce, None, HERE, S(2)), Freshness::Fresh);
        assert_eq!(nonces.spend(&nonce, None, HERE, S(2)), Freshness::Stale, "without counts it serves once");
    }

    #[test]
    fn what_is_forgotten_is_stale_not_usable_again() {
        let mut nonces = nonces();
        let first = nonces.make(HERE, S(1));
        assert!(spend(&mut nonces, &first, 1, 1));
        for _ in 0..MAX_USED {
            let nonce = nonces.make(HERE, S(2));
            assert!(spend(&mut nonces, &nonce, 1, 2));
        }
        assert_eq!(nonces.used.len(), MAX_USED);
        assert!(!spend(&mut nonces, &first, 1, 3) && !spend(&mut nonces, &first, 2, 3));
    }
}
