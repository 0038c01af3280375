//! How often one key may be used: a token bucket, and the pause that a vendor asks for when it has been too often.
//!
//! Deliberately absent: waiting. Who may not be asked is passed over, and the next one is asked instead.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::Kind;

/// A token bucket. Times count from any fixed origin. Pure.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Uses in a second; none where there is no limit of ours.
    per_second: Option<f64>,
    most: f64,
    left: f64,
    at: Duration,
    /// What the vendor itself has asked for.
    closed_until: Duration,
}

impl Bucket {
    /// A sixth of what a minute allows may be used at once.
    pub fn new(per_minute: Option<u32>) -> Self {
        let most = per_minute.map_or(0.0, |uses| (f64::from(uses) / 6.0).max(1.0));
        let per_second = per_minute.map(|uses| f64::from(uses) / 60.0);
        Self { per_second, most, left: most, at: Duration::ZERO, closed_until: Duration::ZERO }
    }

    /// How long no use is allowed from `now` on; zero when one is.
    pub fn wait(&mut self, now: Duration) -> Duration {
        let closed = self.closed_until.saturating_sub(now);
        let Some(per_second) = self.per_second else { return closed };
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        self.left = (self.left + passed.as_secs_f64() * per_second).min(self.most);
        let missing = (1.0 - self.left).max(0.0);
        closed.max(Duration::from_secs_f64((missing / per_second).min(LONGEST.as_secs_f64())))
    }

    /// Takes one use, if it is allowed.
    pub fn take(&mut self, now: Duration) -> bool {
        let allowed = self.wait(now).is_zero();
        if allowed && self.per_second.is_some() {
            self.left -= 1.0;
        }
        allowed
    }

    /// The vendor has refused a use and names the time to wait, if it does.
    pub fn refused(&mut self, now: Duration, retry_after: Option<Duration>) {
        self.closed_until = now + retry_after.unwrap_or(UNTOLD).min(LONGEST);
    }
}

/// A bucket that everyone with the same key shares.
#[derive(Clone, Debug)]
pub struct Limit(Arc<(Mutex<Bucket>, Instant)>);

impl Default for Limit {
    /// Nothing but what the vendor asks for.
    fn default() -> Self {
        Self::new(None)
    }
}

impl Limit {
    pub fn new(per_minute: Option<u32>) -> Self {
        Self(Arc::new((Mutex::new(Bucket::new(per_minute)), Instant::now())))
    }

    /// See [`Bucket::wait`].
    pub fn wait(&self) -> Duration {
        let (bucket, origin) = &*self.0;
        bucket.lock().wait(origin.elapsed())
    }

    /// See [`Bucket::take`].
    pub fn take(&self) -> bool {
        let (bucket, origin) = &*self.0;
        bucket.lock().take(origin.elapsed())
    }

    /// See [`Bucket::refused`].
    pub fn refused(&self, retry_after: Option<Duration>) {
        let (bucket, origin) = &*self.0;
        bucket.lock().refused(origin.elapsed(), retry_after);
    }
}

/// One limit for each key and what it is used for; keys are held as hashes.
#[derive(Default)]
pub struct Limits(HashMap<(Kind, [u8; 32]), Limit>);

impl Limits {
    /// The limit of `key` at a vendor's address. Who came first has said how much it is.
    pub fn of(&mut self, kind: Kind, base_url: &str, key: Option<&str>, per_minute: Option<u32>) -> Limit {
        let mut hash = Sha256::new();
        for part in [base_url, key.unwrap_or_default()] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        self.0.entry((kind, hash.finalize().into())).or_insert_with(|| Limit::new(per_minute)).clone()
    }
}

/// After a refusal that names no time.
const UNTOLD: Duration = Duration::from_secs(10);
/// A vendor that asks for more is asked again after this all the same.
const LONGEST: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_sixth_of_a_minute_at_once_and_then_as_it_comes() {
        let mut bucket = Bucket::new(Some(30));
        assert_eq!((0..9).filter(|_| bucket.take(at(0))).count(), 5);
        assert_eq!(bucket.wait(at(0)), at(2));
        assert!(!bucket.take(at(1)) && bucket.take(at(2)) && !bucket.take(at(2)));
        assert!((0..1000).all(|_| Bucket::new(None).take(at(0))));
    }

    #[test]
    fn what_the_vendor_asks_for_is_kept() {
        let mut bucket = Bucket::new(None);
        bucket.refused(at(10), Some(at(7)));
        assert!(!bucket.take(at(16)) && bucket.take(at(17)));
        bucket.refused(at(20), None);
        assert_eq!(bucket.wait(at(20)), UNTOLD);
        bucket.refused(at(20), Some(at(86_400)));
        assert_eq!(bucket.wait(at(20)), LONGEST);
    }

    #[test]
    fn the_same_key_for_the_same_kind_is_one_limit() {
        let mut limits = Limits::default();
        let voice = limits.of(Kind::Tts, "https://a", Some("k"), Some(6));
        assert!(voice.take());
        assert!(!limits.of(Kind::Tts, "https://a", Some("k"), Some(6)).take(), "shared");
        assert!(limits.of(Kind::Stt, "https://a", Some("k"), Some(6)).take(), "another use");
        assert!(limits.of(Kind::Tts, "https://a", Some("other"), Some(6)).take(), "another key");
    }

    proptest! {
        #[test]
        fn never_more_than_a_burst_and_what_has_come(
            per_minute in 1_u32..2000, asked in prop::collection::vec(0_u64..3000, 1..300),
        ) {
            let mut bucket = Bucket::new(Some(per_minute));
            let (mut now, mut taken) = (Duration::ZERO, 0_u32);
            for wait in asked {
                now += Duration::from_millis(wait);
                taken += u32::from(bucket.take(now));
            }
            let allowed = (f64::from(per_minute) / 6.0).max(1.0) + now.as_secs_f64() * f64::from(per_minute) / 60.0;
            prop_assert!(f64::from(taken) <= allowed + 1e-6);
        }
    }
}
