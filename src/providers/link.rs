//! One provider of a chain: whether it is in use, what its failures come to, and who is told of them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::ProviderError;
use super::breaker::Breaker;
use crate::telemetry::metrics::{FailureKind, Metrics};

/// See the module's header. Shared by everyone who uses the chain.
pub(super) struct Link {
    /// The provider's own name.
    name: &'static str,
    state: Mutex<State>,
    origin: Instant,
    metrics: Metrics,
}

struct State {
    breaker: Breaker,
    /// The latest failure, while it counts.
    failure: Option<ProviderError>,
}

/// A provider of a chain as health looks at it.
pub struct LinkCheck {
    /// Like no other one's of the chain.
    pub name: String,
    /// Why it is not asked at present, if it is not.
    pub left_alone: Option<String>,
    pub run: BoxFuture<'static, Result<(), ProviderError>>,
}

impl Link {
    pub(super) fn new(name: &'static str, breaker: Breaker, metrics: Metrics) -> Arc<Self> {
        let state = Mutex::new(State { breaker, failure: None });
        Arc::new(Self { name, state, origin: Instant::now(), metrics })
    }

    /// Whether the provider may be asked now; after a pause only one try is let through until its result is known.
    pub(super) fn admits(&self) -> bool {
        self.state.lock().breaker.admits(self.origin.elapsed())
    }

    /// Begins a use of the provider.
    pub(super) fn trial(self: &Arc<Self>) -> Trial {
        Trial(Some(Arc::clone(self)))
    }

    /// It served.
    fn succeeded(&self) {
        let mut state = self.state.lock();
        if state.failure.take().is_some() {
            tracing::info!(provider = self.name, "serves again");
        }
        state.breaker.succeeded();
    }

    /// It broke off in the middle of what it had begun well: what comes next goes to the next provider at once.
    pub(super) fn broke_off(&self, why: &ProviderError) {
        self.failed(why, &ProviderError::RateLimited { vendor: self.name, retry_after: Some(AFTER_BREAK) });
    }

    /// It did not serve, for the reason `why`; it is left alone as if it had failed by `counts_as`.
    fn failed(&self, why: &ProviderError, counts_as: &ProviderError) {
        self.metrics.provider_failed(self.name, kind(why));
        let now = self.origin.elapsed();
        let mut state = self.state.lock();
        state.breaker.failed(now, counts_as);
        state.failure = Some(why.clone());
        let left_alone_s = state.breaker.left_alone(now).map(|still| still.as_secs());
        tracing::warn!(error = %why, provider = self.name, left_alone_s, "provider failed");
    }

    /// Another provider serves in its place.
    pub(super) fn passed_over(&self) {
        self.metrics.fell_back(self.name);
    }

    /// Why it is not asked at present, if it is not.
    fn left_alone(&self) -> Option<String> {
        let state = self.state.lock();
        let still = state.breaker.left_alone(self.origin.elapsed())?;
        let failure = state.failure.as_ref()?;
        Some(format!("{LEFT_ALONE} for another {} s: {failure}", still.as_secs()))
    }
}

/// One use of a provider; dropped without a result, it was abandoned.
pub(super) struct Trial(Option<Arc<Link>>);

impl Trial {
    pub(super) fn succeeded(mut self) {
        if let Some(link) = self.0.take() {
            link.succeeded();
        }
    }

    pub(super) fn failed(mut self, why: &ProviderError) {
        if let Some(link) = self.0.take() {
            link.failed(why, why);
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Some(link) = self.0.take() {
            link.state.lock().breaker.abandoned();
        }
    }
}

/// Each provider of a chain with its own check, under names that are told apart: the second of a name is `name 2`.
pub(super) fn checks<'a>(
    chain: impl Iterator<Item = (&'a Arc<Link>, BoxFuture<'static, Result<(), ProviderError>>)>,
) -> Vec<LinkCheck> {
    let mut seen: Vec<&str> = Vec::new();
    chain
        .map(|(link, run)| {
            seen.push(link.name);
            let name = match seen.iter().filter(|other| **other == link.name).count() {
                1 => link.name.to_owned(),
                number => format!("{} {number}", link.name),
            };
            LinkCheck { name, left_alone: link.left_alone(), run }
        })
        .collect()
}

/// How each reason begins for which a provider is not asked.
pub const LEFT_ALONE: &str = "left alone";

/// How long a provider that broke off is passed over.
pub(super) const AFTER_BREAK: Duration = Duration::from_secs(10);

const fn kind(error: &ProviderError) -> FailureKind {
    match error {
        ProviderError::NotConfigured { .. } => FailureKind::NotConfigured,
        ProviderError::Unauthorized { .. } => FailureKind::Unauthorized,
        ProviderError::RateLimited { .. } => FailureKind::RateLimited,
        ProviderError::Status { .. } => FailureKind::Status,
        ProviderError::Timeout { .. } => FailureKind::Timeout,
        ProviderError::Connection { .. } => FailureKind::Connection,
        ProviderError::Protocol { .. } => FailureKind::Protocol,
        ProviderError::Program { .. } => FailureKind::Program,
    }
}
