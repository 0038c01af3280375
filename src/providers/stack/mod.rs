//! What every use of a vendor goes through, be it a recogniser, a voice or a model: one stack, from the inside out.
//!
//! 1. deadlines, for the first useful piece and for each one after it ([`Patience`]);
//! 2. a rate limit per key, and what a 429 asks for ([`limit`]);
//! 3. a circuit breaker, that opens on failures and on slowness ([`breaker`]);
//! 4. a hedge: who is connected and says nothing is not waited for alone ([`chain`]);
//! 5. the next provider in order of preference, and only when there is none left another try, after a jittered pause.
//!
//! Nothing is tried again of which a caller may have had a part: what breaks off in the middle is its kind's own business.

pub mod breaker;
pub mod chain;
pub mod limit;
mod link;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use breaker::BreakerRules;
pub use chain::Chain;
pub use limit::{Limit, Limits};
pub use link::{LEFT_ALONE, LinkCheck};

/// A provider with what its key allows.
pub struct Ranked<V: ?Sized> {
    pub vendor: Arc<V>,
    pub limit: Limit,
}

impl<V: ?Sized> Clone for Ranked<V> {
    fn clone(&self) -> Self {
        Self { vendor: Arc::clone(&self.vendor), limit: self.limit.clone() }
    }
}

impl<V: ?Sized> From<Arc<V>> for Ranked<V> {
    fn from(vendor: Arc<V>) -> Self {
        Self { vendor, limit: Limit::default() }
    }
}

/// What a vendor is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Stt,
    Tts,
    Llm,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stt => "stt",
            Self::Tts => "tts",
            Self::Llm => "llm",
        }
    }
}

/// How long a provider of one kind is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Without its first useful piece by then it has failed.
    pub first: Duration,
    /// The same for the last one, after whom there is nobody to go to.
    pub last: Duration,
    /// Longest gap between its pieces.
    pub progress: Duration,
    /// Without its first useful piece by then the next one is asked as well.
    pub hedge_after: Duration,
    /// What the first useful piece is, for errors.
    pub what: &'static str,
}

/// `resilience`: when a provider that fails is left alone, and how often it is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResilienceConfig {
    /// Failures or slow answers within `window_s` after which a provider is left alone.
    pub failures: u32,
    pub window_s: u64,
    /// For so long; then one try is let through.
    pub pause_s: u64,
    /// How often a use that nobody could serve is tried again.
    pub retries: u32,
    /// The pause before that, give or take half of it; doubled each time.
    pub retry_after_ms: u64,
}

impl Default for ResilienceConfig {
    fn default() -> Self {
        Self { failures: 3, window_s: 10, pause_s: 120, retries: 1, retry_after_ms: 150 }
    }
}

impl ResilienceConfig {
    /// # Errors
    /// Names the key and what was expected.
    pub fn validate(&self) -> Result<(), String> {
        let ranges = [
            ("failures", u64::from(self.failures), 1..=1000),
            ("window_s", self.window_s, 1..=3600),
            ("pause_s", self.pause_s, 1..=86_400),
            ("retries", u64::from(self.retries), 0..=5),
            ("retry_after_ms", self.retry_after_ms, 1..=10_000),
        ];
        for (key, value, range) in ranges {
            if !range.contains(&value) {
                let (least, most) = (range.start(), range.end());
                return Err(format!("resilience.{key}: {value}, expected {least} to {most}"));
            }
        }
        Ok(())
    }

    pub(super) const fn breaker(&self) -> BreakerRules {
        BreakerRules {
            failures: self.failures as usize,
            window: Duration::from_secs(self.window_s),
            pause: Duration::from_secs(self.pause_s),
        }
    }
}
