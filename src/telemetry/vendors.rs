//! Figures of vendors: how often each is used, how soon it begins, and what keeps it from being asked.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::histogram::LocalHistogram;

/// The handles; a clone is the same figures. `kind` is `stt`, `tts` or `llm`, `vendor` a provider's `name()`.
#[derive(Clone, Debug)]
pub struct VendorMetrics {
    calls: Family<VendorLabels, Counter>,
    retries: Family<VendorLabels, Counter>,
    hedges: Family<VendorLabels, Counter>,
    limited: Family<VendorLabels, Counter>,
    breaker: Family<VendorLabels, Gauge>,
    first_ms: Family<VendorLabels, LocalHistogram, fn() -> LocalHistogram>,
    cache: Family<CacheLabels, Counter>,
}

impl VendorMetrics {
    pub fn register(r: &mut Registry) -> Self {
        let own = Self {
            calls: Family::default(),
            retries: Family::default(),
            hedges: Family::default(),
            limited: Family::default(),
            breaker: Family::default(),
            first_ms: Family::new_with_constructor(|| LocalHistogram::new(FIRST_MS)),
            cache: Family::default(),
        };
        r.register("offhook_provider_calls", "Times a vendor was asked.", own.calls.clone());
        r.register("offhook_provider_retries", "Times a vendor was asked once more.", own.retries.clone());
        r.register("offhook_provider_hedges", "Times another one was asked as well.", own.hedges.clone());
        r.register(
            "offhook_provider_limited",
            "Times a key's limit kept a vendor from being asked.",
            own.limited.clone(),
        );
        r.register("offhook_provider_breaker", "0: closed, 1: half open, 2: open.", own.breaker.clone());
        r.register("offhook_provider_first_ms", "Asked to first useful piece, ms.", own.first_ms.clone());
        r.register("offhook_tts_cache", "Sentences looked up among those made before.", own.cache.clone());
        own
    }

    pub fn called(&self, kind: &'static str, vendor: &'static str) {
        self.calls.get_or_create(&VendorLabels { kind, vendor }).inc();
    }

    /// A vendor that was asked again after it had failed.
    pub fn retried(&self, kind: &'static str, vendor: &'static str) {
        self.retries.get_or_create(&VendorLabels { kind, vendor }).inc();
    }

    /// A vendor that was connected and silent: the next one was asked as well.
    pub fn hedged(&self, kind: &'static str, vendor: &'static str) {
        self.hedges.get_or_create(&VendorLabels { kind, vendor }).inc();
    }

    pub fn limited(&self, kind: &'static str, vendor: &'static str) {
        self.limited.get_or_create(&VendorLabels { kind, vendor }).inc();
    }

    /// 0: closed, 1: half open, 2: open.
    pub fn breaker(&self, kind: &'static str, vendor: &'static str, level: i64) {
        self.breaker.get_or_create(&VendorLabels { kind, vendor }).set(level);
    }

    /// The first useful piece came so long after the asking.
    pub fn began(&self, kind: &'static str, vendor: &'static str, after: Duration) {
        self.first_ms.get_or_create(&VendorLabels { kind, vendor }).observe(after.as_secs_f64() * 1000.0);
    }

    /// A sentence was looked up among those made before.
    pub fn looked_up(&self, hit: bool) {
        self.cache.get_or_create(&CacheLabels { result: if hit { "hit" } else { "miss" } }).inc();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VendorLabels {
    kind: &'static str,
    vendor: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    result: &'static str,
}

/// Finest where a caller begins to notice.
const FIRST_MS: &[f64] =
    &[10.0, 25.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 400.0, 600.0, 800.0, 1000.0, 1500.0, 2000.0, 3000.0, 5000.0];
