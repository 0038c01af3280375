//! The guard's settings as the endpoint's guard takes them, and what it did as figures and a few log lines.
//!
//! The trunks' `allow_sources` and the addresses that trunks' names lead to are peers: never banned or asked who they are,
//! and held to limits of their own, because an address can be forged and a trunk be taken over.

use std::time::Duration;

use offhook_sip::guard::{Cidr, GuardConfig, GuardCounts, GuardReason, Limit, Scanners, Unknown};

use crate::call::Moment;
use crate::config::SipConfig;
use crate::config::sip;
use crate::telemetry::sip::SipMetrics;

/// Carries what the guard did to figures at once and to the log now and then: a flood must not become a flood of lines.
pub struct Watch {
    metrics: SipMetrics,
    seen: GuardCounts,
    /// What the log says already.
    logged: GuardCounts,
    next: Option<Moment>,
}

impl Watch {
    pub fn new(metrics: SipMetrics) -> Self {
        // A scrape before the first refusal says 0 rather than nothing.
        GuardReason::ALL.iter().for_each(|reason| metrics.refused(reason.as_str(), 0));
        Self { metrics, seen: GuardCounts::default(), logged: GuardCounts::default(), next: None }
    }

    pub fn look(&mut self, counts: &GuardCounts, now: Moment) {
        if *counts != self.seen {
            for reason in GuardReason::ALL {
                let more = counts.refused(reason).saturating_sub(self.seen.refused(reason));
                if more > 0 {
                    self.metrics.refused(reason.as_str(), more);
                    self.next.get_or_insert(now);
                }
            }
            self.metrics.bans(counts.bans.saturating_sub(self.seen.bans));
            self.metrics.sources(counts.sources);
            self.seen = *counts;
        }
        if self.next.is_some_and(|at| now >= at) {
            self.next = self.says_more().then(|| now + LOG_EVERY);
        }
    }

    /// When there is something to say that was held back.
    pub const fn next(&self) -> Option<Moment> {
        self.next
    }

    /// Says what came since it last spoke; false when nothing did.
    fn says_more(&mut self) -> bool {
        let (seen, logged) = (self.seen, self.logged);
        let more = |reason| seen.refused(reason).saturating_sub(logged.refused(reason));
        let reasons: Vec<String> = GuardReason::ALL
            .into_iter()
            .filter(|reason| more(*reason) > 0)
            .map(|reason| format!("{} {}", more(reason), reason.as_str()))
            .collect();
        if reasons.is_empty() {
            return false;
        }
        let bans = seen.bans.saturating_sub(logged.bans);
        tracing::warn!(refused = reasons.join(", "), bans, sources = seen.sources, "sip: requests not served");
        self.logged = seen;
        true
    }
}

/// The rules for strangers.
pub fn config(config: &SipConfig) -> GuardConfig {
    let guard = &config.guard;
    GuardConfig {
        trusted: config.guard.trusted.iter().map(|network| network.0).collect(),
        peers: trunks(config),
        peer_requests: per_second(guard.trunk_requests_per_s),
        peer_invites: per_second(guard.trunk_invites_per_s),
        unknown: match guard.unknown {
            sip::UnknownSources::Accept => Unknown::Accept,
            sip::UnknownSources::Challenge => Unknown::Challenge,
            sip::UnknownSources::Forbid => Unknown::Forbid,
            sip::UnknownSources::Silent => Unknown::Silent,
        },
        scanners: match guard.scanners {
            sip::Scanners::Silent => Scanners::Silent,
            sip::Scanners::Forbid => Scanners::Forbid,
            sip::Scanners::Serve => Scanners::Serve,
        },
        requests: per_second(guard.requests_per_s),
        invites: per_second(guard.invites_per_s),
        registers: per_second(guard.registers_per_s),
        options: per_second(guard.options_per_s),
        failures: Limit::new(guard.ban_after, FAILURES),
        ban: Duration::from_secs(guard.ban_s),
        max_sources: guard.max_sources,
        ..GuardConfig::default()
    }
}

/// The networks of the trunks, as far as the configuration names them.
pub fn trunks(config: &SipConfig) -> Vec<Cidr> {
    config.trunks.iter().flat_map(|trunk| &trunk.allow_sources).map(|network| network.0).collect()
}

/// Between two log lines about strangers.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Failures are counted over this long.
const FAILURES: Duration = Duration::from_secs(60);

/// Requests may come in bursts of two seconds' worth.
const BURST: Duration = Duration::from_secs(2);

const fn per_second(count: u32) -> Limit {
    Limit::new(count.saturating_mul(2), BURST)
}
