//! Figures of the SIP side: who was turned away, which trunks are up, which accounts hold.
//!
//! Names of trunks and accounts come from the configuration, so there are as many series as it has lines.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The handles; a clone is the same figures.
#[derive(Clone, Debug, Default)]
pub struct SipMetrics {
    refused: Family<ReasonLabel, Counter>,
    bans: Counter,
    sources: Gauge,
    up: Family<TrunkLabel, Gauge>,
    calls: Family<TrunkLabel, Gauge>,
    ping_ms: Family<TrunkLabel, Gauge<f64, AtomicU64>>,
    registered: Family<AccountLabel, Gauge>,
}

impl SipMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let own = Self::default();
        let r = registry;
        r.register("offhook_sip_refused", "Requests the SIP guard did not serve, by reason.", own.refused.clone());
        r.register("offhook_sip_bans", "Sources that were banned.", own.bans.clone());
        r.register("offhook_sip_sources", "Sources the SIP guard remembers.", own.sources.clone());
        r.register("offhook_trunk_up", "1 while a trunk takes calls.", own.up.clone());
        r.register("offhook_trunk_calls", "Calls on a trunk.", own.calls.clone());
        r.register("offhook_trunk_ping_ms", "Last round trip of OPTIONS, ms.", own.ping_ms.clone());
        r.register("offhook_registered", "1 while an account is registered.", own.registered.clone());
        own
    }

    /// So many requests more were not served for this reason.
    pub fn refused(&self, reason: &'static str, more: u64) {
        self.refused.get_or_create(&ReasonLabel { reason }).inc_by(more);
    }

    pub fn bans(&self, more: u64) {
        self.bans.inc_by(more);
    }

    pub fn sources(&self, now: usize) {
        self.sources.set(i64::try_from(now).unwrap_or(i64::MAX));
    }

    pub fn trunk_up(&self, trunk: &str, is_up: bool) {
        self.up.get_or_create(&TrunkLabel { trunk: trunk.to_owned() }).set(i64::from(is_up));
    }

    pub fn trunk_calls(&self, trunk: &str, calls: u32) {
        self.calls.get_or_create(&TrunkLabel { trunk: trunk.to_owned() }).set(i64::from(calls));
    }

    pub fn trunk_ping_ms(&self, trunk: &str, ms: f64) {
        self.ping_ms.get_or_create(&TrunkLabel { trunk: trunk.to_owned() }).set(ms);
    }

    /// `account` is `user@registrar` as configured.
    pub fn registered(&self, account: &str, holds: bool) {
        self.registered.get_or_create(&AccountLabel { account: account.to_owned() }).set(i64::from(holds));
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TrunkLabel {
    trunk: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AccountLabel {
    account: String,
}
