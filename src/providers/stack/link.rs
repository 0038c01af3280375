//! One provider of a chain: whether it may be asked, what its failures come to, and who is told of them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::breaker::{Breaker, BreakerRules, BreakerState};
use super::limit::Limit;
use super::{Kind, Ranked};
use crate::providers::ProviderError;
use crate::telemetry::metrics::{FailureKind, Metrics};

/// See the module's header. Shared by everyone who uses the chain.
pub struct Link<V: ?Sized> {
    pub vendor: Arc<V>,
    /// The provider's own name.
    pub name: &'static str,
    kind: Kind,
    limit: Limit,
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

impl<V: ?Sized> Link<V> {
    pub(super) fn new(
        ranked: Ranked<V>,
        name: &'static str,
        kind: Kind,
        rules: BreakerRules,
        metrics: Metrics,
    ) -> Self {
        let state = Mutex::new(State { breaker: Breaker::new(rules), failure: None });
        metrics.vendors.breaker(kind.as_str(), name, BreakerState::Closed.level());
        Self { vendor: ranked.vendor, limit: ranked.limit, name, kind, state, origin: Instant::now(), metrics }
    }

    /// Whether the provider may be asked now, which counts as a use of its key.
    pub(super) fn admits(&self) -> bool {
        if !self.limit.wait().is_zero() {
            self.metrics.vendors.limited(self.kind.as_str(), self.name);
            return false;
        }
        let mut state = self.state.lock();
        let admitted = state.breaker.admits(self.origin.elapsed());
        self.show(&state.breaker);
        admitted && self.limit.take()
    }

    /// The same for the last resort, whom only its key's limit holds back.
    pub(super) fn admits_in_need(&self) -> bool {
        self.limit.take()
    }

    /// How long its key may not be used.
    pub(super) fn limited_for(&self) -> Duration {
        self.limit.wait()
    }

    /// Whether it is left alone now, for whatever reason.
    pub fn is_left_alone(&self) -> bool {
        let open = matches!(self.state.lock().breaker.state(self.origin.elapsed()), BreakerState::Open(_));
        open || !self.limit.wait().is_zero()
    }

    /// Begins a use of the provider.
    pub(super) fn trial(self: &Arc<Self>) -> Trial<V> {
        self.metrics.vendors.called(self.kind.as_str(), self.name);
        Trial { link: Some(Arc::clone(self)), began: Instant::now() }
    }

    /// What comes of a use for which nobody waits: when its key allows it again, and not while it is left alone.
    pub async fn made<T>(
        self: &Arc<Self>,
        attempt: impl Fn(&Arc<V>) -> BoxFuture<'static, Result<T, ProviderError>>,
        within: Duration,
    ) -> Result<T, ProviderError> {
        while !self.limit.wait().is_zero() {
            tokio::time::sleep(self.limit.wait()).await;
        }
        if !self.admits() {
            return Err(ProviderError::NotConfigured { vendor: self.name, what: LEFT_ALONE.to_owned() });
        }
        let trial = self.trial();
        let late = ProviderError::Timeout { vendor: self.name, what: "whole answer", after: within };
        let made = timeout(within, attempt(&self.vendor)).await.unwrap_or(Err(late));
        match &made {
            Ok(_) => trial.succeeded(),
            Err(error) => trial.failed(error),
        }
        made
    }

    /// It broke off in the middle of what it had begun well: what comes next goes to the next provider at once.
    pub fn broke_off(&self, why: &ProviderError) {
        self.failed(why, Breaker::broke_off);
    }

    fn succeeded(&self, after: Duration) {
        self.metrics.vendors.began(self.kind.as_str(), self.name, after);
        let mut state = self.state.lock();
        if state.failure.take().is_some() {
            tracing::info!(provider = self.name, kind = self.kind.as_str(), "serves again");
        }
        state.breaker.succeeded();
        self.show(&state.breaker);
    }

    fn failed(&self, why: &ProviderError, count: fn(&mut Breaker, Duration, &ProviderError)) {
        self.metrics.provider_failed(self.name, failure_kind(why));
        if let ProviderError::RateLimited { retry_after, .. } = why {
            self.limit.refused(*retry_after);
        }
        let mut state = self.state.lock();
        count(&mut state.breaker, self.origin.elapsed(), why);
        state.failure = Some(why.clone());
        self.show(&state.breaker);
        let left_alone_s = self.pause(&state.breaker).map(|still| still.as_secs());
        tracing::warn!(error = %why, provider = self.name, kind = self.kind.as_str(), left_alone_s, "provider failed");
    }

    fn show(&self, breaker: &Breaker) {
        let level = breaker.state(self.origin.elapsed()).level();
        self.metrics.vendors.breaker(self.kind.as_str(), self.name, level);
    }

    /// Another provider serves in its place.
    pub fn passed_over(&self) {
        self.metrics.fell_back(self.name);
    }

    /// Somebody else was asked because it says nothing.
    pub(super) fn hedged(&self) {
        self.metrics.vendors.hedged(self.kind.as_str(), self.name);
    }

    pub(super) fn retried(&self) {
        self.metrics.vendors.retried(self.kind.as_str(), self.name);
    }

    /// For how long it is not asked; `None`: it is.
    fn pause(&self, breaker: &Breaker) -> Option<Duration> {
        let limited = Some(self.limit.wait()).filter(|wait| !wait.is_zero());
        match breaker.state(self.origin.elapsed()) {
            // The next use is let through, and will show.
            BreakerState::Closed | BreakerState::HalfOpen => limited,
            BreakerState::Open(still) => Some(still.max(limited.unwrap_or_default())),
        }
    }

    /// Why it is not asked at present, if it is not.
    pub(super) fn left_alone(&self) -> Option<String> {
        let state = self.state.lock();
        self.show(&state.breaker);
        let still = self.pause(&state.breaker)?;
        let why = state.failure.as_ref().map_or_else(|| "limit of its key reached".to_owned(), ToString::to_string);
        Some(format!("{LEFT_ALONE} for another {} s: {why}", still.as_secs()))
    }

    /// What it has begun well: a gap of over `progress` ends it, and a failure counts.
    pub fn watched<T: Send + 'static>(
        self: &Arc<Self>,
        pieces: BoxStream<'static, Result<T, ProviderError>>,
        progress: Duration,
    ) -> BoxStream<'static, Result<T, ProviderError>>
    where
        V: Send + Sync + 'static,
    {
        let link = Arc::clone(self);
        let next = move |(link, mut pieces): (Option<Arc<Self>>, BoxStream<'static, Result<T, ProviderError>>)| async move {
            let link = link?;
            let late = ProviderError::Timeout { vendor: link.name, what: "further piece", after: progress };
            match timeout(progress, pieces.next()).await.unwrap_or(Some(Err(late)))? {
                Ok(piece) => Some((Ok(piece), (Some(link), pieces))),
                Err(error) => {
                    link.broke_off(&error);
                    Some((Err(error), (None, pieces)))
                }
            }
        };
        futures_util::stream::unfold((Some(link), pieces), next).boxed()
    }
}

/// One use of a provider; dropped without a result, it was abandoned.
pub(super) struct Trial<V: ?Sized> {
    link: Option<Arc<Link<V>>>,
    began: Instant,
}

impl<V: ?Sized> Trial<V> {
    pub(super) fn succeeded(mut self) {
        if let Some(link) = self.link.take() {
            link.succeeded(self.began.elapsed());
        }
    }

    pub(super) fn failed(mut self, why: &ProviderError) {
        if let Some(link) = self.link.take() {
            link.failed(why, Breaker::failed);
        }
    }
}

impl<V: ?Sized> Drop for Trial<V> {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            link.state.lock().breaker.abandoned();
        }
    }
}

/// How each reason begins for which a provider is not asked.
pub const LEFT_ALONE: &str = "left alone";

const fn failure_kind(error: &ProviderError) -> FailureKind {
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
