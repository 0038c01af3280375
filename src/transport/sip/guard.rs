//! The guard's settings as the endpoint's guard takes them, and what it did as figures and a few log lines.
//!
//! The trunks' `allow_sources` are trusted sources: whoever is named there is neither limited nor asked who they are.

use std::time::Duration;

use offhook_sip::guard::{Cidr, GuardConfig, Limit, Scanners, Unknown};

use crate::config::SipConfig;
use crate::config::sip;

/// The rules for strangers.
pub fn config(config: &SipConfig) -> GuardConfig {
    let guard = &config.guard;
    GuardConfig {
        trusted: trusted(config),
        unknown: match guard.unknown {
            // Who must know a password is asked by the endpoint, not by the guard.
            sip::UnknownSources::Accept | sip::UnknownSources::Challenge => Unknown::Accept,
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

/// The networks that are held to no limit.
pub fn trusted(config: &SipConfig) -> Vec<Cidr> {
    let trunks = config.trunks.iter().flat_map(|trunk| &trunk.allow_sources);
    config.guard.trusted.iter().chain(trunks).map(|network| network.0).collect()
}

/// Failures are counted over this long.
const FAILURES: Duration = Duration::from_secs(60);

/// Requests may come in bursts of two seconds' worth.
const BURST: Duration = Duration::from_secs(2);

const fn per_second(count: u32) -> Limit {
    Limit::new(count.saturating_mul(2), BURST)
}
