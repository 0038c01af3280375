//! When a failing provider is left alone for a while, so that not every sentence pays for its failure. Pure: time is
//! an argument.

use std::time::Duration;

use crate::providers::ProviderError;

/// When a provider is left alone, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRules {
    /// Failures since the last success, within `window`.
    pub failures: usize,
    pub window: Duration,
    pub pause: Duration,
}

/// The memory of one provider's failures. Times count from any fixed origin.
#[derive(Clone, Debug)]
pub struct Breaker {
    rules: BreakerRules,
    /// Times of the latest failures since the last success, oldest first.
    failures: Vec<Duration>,
    /// Times at which it broke off what it had begun well, oldest first: a good beginning does not make up for them.
    breaks: Vec<Duration>,
    /// No use before this time.
    open_until: Option<Duration>,
    /// The one try that is let through once the time is over is under way.
    probing: bool,
}

/// What a breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// The pause is over: one try, whose result is awaited.
    HalfOpen,
    /// Nothing for so long.
    Open(Duration),
}

impl BreakerState {
    /// As a figure for metrics.
    pub const fn level(self) -> i64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open(_) => 2,
        }
    }
}

impl Breaker {
    pub const fn new(rules: BreakerRules) -> Self {
        Self { rules, failures: Vec::new(), breaks: Vec::new(), open_until: None, probing: false }
    }

    pub fn state(&self, now: Duration) -> BreakerState {
        match self.open_until {
            None => BreakerState::Closed,
            Some(until) if now < until => BreakerState::Open(until - now),
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// Whether the provider may be used at `now`. After a pause only one try is let through until its result is known.
    pub fn admits(&mut self, now: Duration) -> bool {
        match self.state(now) {
            BreakerState::Closed => true,
            BreakerState::Open(_) => false,
            BreakerState::HalfOpen => !std::mem::replace(&mut self.probing, true),
        }
    }

    /// The try came to nothing and says nothing, for example because the caller spoke.
    pub fn abandoned(&mut self) {
        self.probing = false;
    }

    pub fn succeeded(&mut self) {
        *self = Self { breaks: std::mem::take(&mut self.breaks), ..Self::new(self.rules) };
    }

    /// Counts a failure at `now`; as many as the rules say, a failed probe and refused credentials open the breaker. What a
    /// rate limit asks for is not its business.
    pub fn failed(&mut self, now: Duration, error: &ProviderError) {
        let probed = std::mem::take(&mut self.probing);
        if matches!(error, ProviderError::RateLimited { .. }) {
            return;
        }
        self.failures.retain(|&at| now.saturating_sub(at) < self.rules.window);
        self.failures.push(now);
        let hopeless = matches!(error, ProviderError::Unauthorized { .. } | ProviderError::NotConfigured { .. });
        if hopeless || probed || self.failures.len() >= self.rules.failures {
            self.open(now, self.rules.pause);
        }
    }

    /// It broke off what it had begun well: it is left alone at once, and for as long as one that keeps failing when it does so
    /// again and again.
    pub fn broke_off(&mut self, now: Duration, error: &ProviderError) {
        self.failed(now, error);
        self.breaks.retain(|&at| now.saturating_sub(at) < BREAKS_WITHIN);
        self.breaks.push(now);
        if self.breaks.len() >= self.rules.failures {
            self.open(now, self.rules.pause);
            self.breaks.clear();
        } else if self.state(now) == BreakerState::Closed {
            let kept = std::mem::take(&mut self.failures);
            self.open(now, AFTER_BREAK.min(self.rules.pause));
            self.failures = kept;
        }
    }

    fn open(&mut self, now: Duration, pause: Duration) {
        self.open_until = Some(now + pause);
        self.failures.clear();
    }
}

/// How long a provider that broke off is passed over.
pub const AFTER_BREAK: Duration = Duration::from_secs(10);
/// Breaks that are further apart have nothing to do with each other.
const BREAKS_WITHIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const RULES: BreakerRules = BreakerRules { failures: 3, window: at(10), pause: at(120) };

    fn failure() -> ProviderError {
        ProviderError::Status { vendor: "x", status: 500 }
    }

    #[test]
    fn three_failures_in_ten_seconds_open_and_one_probe_closes() {
        let mut breaker = Breaker::new(RULES);
        for second in [0, 1] {
            breaker.failed(at(second), &failure());
            assert!(breaker.admits(at(second)));
        }
        breaker.failed(at(9), &failure());
        assert_eq!(breaker.state(at(128)), BreakerState::Open(at(1)));
        assert!(!breaker.admits(at(128)));
        assert!(breaker.admits(at(129)));
        assert!(!breaker.admits(at(129)), "one probe at a time");
        breaker.failed(at(130), &failure());
        assert!(!breaker.admits(at(249)));
        assert!(breaker.admits(at(250)));
        breaker.succeeded();
        assert!(breaker.admits(at(250)) && breaker.admits(at(250)));
    }

    #[test]
    fn failures_far_apart_do_not_open() {
        let mut breaker = Breaker::new(RULES);
        for second in [0, 11, 22, 33, 44] {
            breaker.failed(at(second), &failure());
            assert!(breaker.admits(at(second)));
        }
    }

    #[test]
    fn a_break_in_the_middle_opens_at_once_for_a_shorter_time() {
        let mut breaker = Breaker::new(RULES);
        breaker.broke_off(at(0), &failure());
        assert!(!breaker.admits(at(9)));
        assert!(breaker.admits(at(10)));
        breaker.broke_off(at(11), &failure());
        assert!(!breaker.admits(at(130)), "it was a probe");
    }

    #[test]
    fn one_that_breaks_off_again_and_again_is_left_alone_as_one_that_fails() {
        let mut breaker = Breaker::new(RULES);
        for second in [0, 11] {
            breaker.broke_off(at(second), &failure());
            assert!(breaker.admits(at(second + 10)));
            breaker.succeeded();
        }
        breaker.broke_off(at(22), &failure());
        assert!(!breaker.admits(at(141)) && breaker.admits(at(142)));
    }

    #[test]
    fn refused_credentials_open_at_once_and_rate_limits_never() {
        let mut breaker = Breaker::new(RULES);
        for second in 0..9 {
            breaker.failed(at(second), &ProviderError::RateLimited { vendor: "x", retry_after: Some(at(5)) });
        }
        assert!(breaker.admits(at(9)));
        breaker.failed(at(9), &ProviderError::Unauthorized { vendor: "x", status: 401 });
        assert!(!breaker.admits(at(128)));
        assert!(breaker.admits(at(129)));
        breaker.abandoned();
        assert!(breaker.admits(at(129)), "an abandoned probe lets the next one through");
    }
}
