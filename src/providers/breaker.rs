//! When a failing provider is left alone for a while, so that not every sentence pays for its failure. Pure: time is
//! an argument.

use std::time::Duration;

use super::ProviderError;

/// The memory of one provider's failures. Times count from any fixed origin.
#[derive(Clone, Debug)]
pub struct Breaker {
    /// How long the provider is left alone.
    pause: Duration,
    /// Times of the latest failures since the last success, oldest first.
    failures: Vec<Duration>,
    /// No use before this time.
    open_until: Option<Duration>,
    /// The one try that is let through once the time is over is under way.
    probing: bool,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::new(PAUSE)
    }
}

impl Breaker {
    /// A provider that keeps failing is left alone for `pause`.
    pub const fn new(pause: Duration) -> Self {
        Self { pause, failures: Vec::new(), open_until: None, probing: false }
    }

    /// For how long the provider is still left alone; `None`: it is in use.
    pub fn left_alone(&self, now: Duration) -> Option<Duration> {
        self.open_until.map(|until| until.saturating_sub(now))
    }

    /// Whether the provider may be used at `now`. After a pause only one try is let through until its result is known.
    pub fn admits(&mut self, now: Duration) -> bool {
        match self.open_until {
            None => true,
            Some(until) if now < until || self.probing => false,
            Some(_) => {
                self.probing = true;
                true
            }
        }
    }

    /// The try came to nothing and says nothing, for example because the caller spoke.
    pub fn abandoned(&mut self) {
        self.probing = false;
    }

    pub fn succeeded(&mut self) {
        *self = Self::new(self.pause);
    }

    /// Counts a failure at `now`; the third within [`WINDOW`], a failed probe, refused credentials and a rate limit
    /// close the provider.
    pub fn failed(&mut self, now: Duration, error: &ProviderError) {
        self.failures.retain(|&at| now.saturating_sub(at) < WINDOW);
        self.failures.push(now);
        let pause = match error {
            ProviderError::RateLimited { retry_after, .. } => {
                Some(retry_after.unwrap_or(self.pause).min(LONGEST_PAUSE))
            }
            ProviderError::Unauthorized { .. } | ProviderError::NotConfigured { .. } => {
                Some(self.pause.max(LONGEST_PAUSE))
            }
            _ if self.probing || self.failures.len() >= MOST_FAILURES => Some(self.pause),
            _ => None,
        };
        self.probing = false;
        if let Some(pause) = pause {
            self.open_until = Some(now + pause);
            self.failures.clear();
        }
    }
}

const MOST_FAILURES: usize = 3;
const WINDOW: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn failure() -> ProviderError {
        ProviderError::Status { vendor: "x", status: 500 }
    }

    #[test]
    fn three_failures_in_ten_seconds_close_and_one_probe_opens() {
        let mut breaker = Breaker::default();
        for second in [0, 1] {
            breaker.failed(at(second), &failure());
            assert!(breaker.admits(at(second)));
        }
        breaker.failed(at(9), &failure());
        assert!(!breaker.admits(at(18)));
        assert!(breaker.admits(at(19)));
        assert!(!breaker.admits(at(19)), "one probe at a time");
        breaker.failed(at(20), &failure());
        assert!(!breaker.admits(at(29)));
        assert!(breaker.admits(at(30)));
        breaker.succeeded();
        assert!(breaker.admits(at(30)) && breaker.admits(at(30)));
    }

    #[test]
    fn failures_far_apart_do_not_close() {
        let mut breaker = Breaker::default();
        for second in [0, 11, 22, 33, 44] {
            breaker.failed(at(second), &failure());
            assert!(breaker.admits(at(second)));
        }
    }

    #[test]
    fn a_rate_limit_closes_for_as_long_as_it_says() {
        let mut breaker = Breaker::default();
        breaker.failed(at(0), &ProviderError::RateLimited { vendor: "x", retry_after: Some(at(5)) });
        assert!(!breaker.admits(at(4)));
        assert!(breaker.admits(at(5)));
    }

    #[test]
    fn an_abandoned_probe_lets_the_next_one_through() {
        let mut breaker = Breaker::default();
        breaker.failed(at(0), &ProviderError::Unauthorized { vendor: "x", status: 401 });
        assert!(breaker.admits(at(60)));
        breaker.abandoned();
        assert!(breaker.admits(at(60)));
    }
}
