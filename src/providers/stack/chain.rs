//! Providers in order of preference, and the race among them for one use.
//!
//! The next one is asked when one fails, and beside it when it is connected and says nothing. Whoever is first serves; those
//! that were asked before it were too slow, and that counts.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use rand::RngExt;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::link::{Link, LinkCheck, Trial};
use super::{Kind, Patience, Ranked, ResilienceConfig};
use crate::providers::ProviderError;
use crate::telemetry::metrics::Metrics;

/// See the module's header.
pub struct Chain<V: ?Sized> {
    links: Arc<[Arc<Link<V>>]>,
    kind: Kind,
    patience: Patience,
    retries: u32,
    retry_after: Duration,
}

impl<V: ?Sized> Clone for Chain<V> {
    fn clone(&self) -> Self {
        Self { links: Arc::clone(&self.links), ..*self }
    }
}

/// The beginning of one provider's work, up to its first useful piece.
pub type Beginning<T> = BoxFuture<'static, Result<T, ProviderError>>;

impl<V: ?Sized + Send + Sync + 'static> Chain<V> {
    /// `vendors` in order of preference, `name` of each as configuration spells it.
    pub fn new(
        kind: Kind,
        vendors: Vec<Ranked<V>>,
        name: impl Fn(&V) -> &'static str,
        patience: Patience,
        config: &ResilienceConfig,
        metrics: &Metrics,
    ) -> Self {
        let link = |ranked: Ranked<V>| {
            let name = name(&ranked.vendor);
            Arc::new(Link::new(ranked, name, kind, config.breaker(), metrics.clone()))
        };
        let links = vendors.into_iter().map(link).collect();
        Self {
            links,
            kind,
            patience,
            retries: config.retries,
            retry_after: Duration::from_millis(config.retry_after_ms),
        }
    }

    pub fn links(&self) -> &[Arc<Link<V>>] {
        &self.links
    }

    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    pub const fn patience(&self) -> Patience {
        self.patience
    }

    /// Has one of the providers from the place `first` on begin; gives its place as well. The others are dropped. `attempt`
    /// gives nothing for a provider that this use is not for.
    ///
    /// # Errors
    /// The last one's error when none of them does.
    pub async fn begin<T: Send + 'static>(
        &self,
        first: usize,
        attempt: impl Fn(&Arc<V>) -> Option<Beginning<T>> + Send + Sync,
    ) -> Result<(usize, T), ProviderError> {
        let race = Race {
            chain: self,
            attempt,
            first,
            next: first,
            running: FuturesUnordered::new(),
            trials: Vec::new(),
            again: Vec::new(),
        };
        race.run().await
    }

    /// Each provider by itself, under names that are told apart: the second of a name is `name 2`.
    pub fn checks(&self, check: impl Fn(&V) -> BoxFuture<'static, Result<(), ProviderError>>) -> Vec<LinkCheck> {
        let name = |index: usize, link: &Link<V>| {
            let before = self.links.iter().take(index).filter(|other| other.name == link.name).count();
            if before == 0 { link.name.to_owned() } else { format!("{} {}", link.name, before + 1) }
        };
        let one = |(index, link): (usize, &Arc<Link<V>>)| LinkCheck {
            name: name(index, link),
            left_alone: link.left_alone(),
            run: check(&link.vendor),
        };
        self.links.iter().enumerate().map(one).collect()
    }

    /// Well as long as one provider is; otherwise the first one's error.
    pub fn check(
        &self,
        check: impl Fn(&V) -> BoxFuture<'static, Result<(), ProviderError>>,
    ) -> BoxFuture<'static, Result<(), ProviderError>> {
        let checks: Vec<_> = self.links.iter().map(|link| check(&link.vendor)).collect();
        let nobody = self.nobody();
        async move {
            let results = join_all(checks).await;
            match results.iter().any(Result::is_ok) {
                true => Ok(()),
                false => results.into_iter().next().unwrap_or(Err(nobody)),
            }
        }
        .boxed()
    }

    fn nobody(&self) -> ProviderError {
        ProviderError::NotConfigured { vendor: self.kind.as_str(), what: "no provider".to_owned() }
    }
}

/// One use, while providers are asked for it one after the other.
struct Race<'a, V: ?Sized, T, F> {
    chain: &'a Chain<V>,
    attempt: F,
    /// The first place that is asked; the one before it, if any, has broken off.
    first: usize,
    /// The next provider that may be asked.
    next: usize,
    running: FuturesUnordered<BoxFuture<'static, (usize, Result<T, ProviderError>)>>,
    /// Of those that are asked, in their order.
    trials: Vec<(usize, Trial<V>)>,
    /// Those that failed in passing, for another try.
    again: Vec<usize>,
}

impl<V, T, F> Race<'_, V, T, F>
where
    V: ?Sized + Send + Sync + 'static,
    T: Send + 'static,
    F: Fn(&Arc<V>) -> Option<Beginning<T>> + Send + Sync,
{
    async fn run(mut self) -> Result<(usize, T), ProviderError> {
        let mut last = self.chain.nobody();
        if !self.ask_next() && !self.ask_in_need() {
            return Err(self.limited().unwrap_or(last));
        }
        let mut retries = 0;
        loop {
            let hedge_at = Instant::now() + self.chain.patience.hedge_after;
            tokio::select! {
                biased;
                began = self.running.next() => match began {
                    Some((index, Ok(begun))) => {
                        self.won(index);
                        return Ok((index, begun));
                    }
                    Some((index, Err(error))) => {
                        self.lost(index, &error);
                        last = error;
                    }
                    None if retries < self.chain.retries && !self.again.is_empty() => {
                        sleep(self.pause(retries)).await;
                        retries += 1;
                        self.ask_again();
                        continue;
                    }
                    None => return Err(last),
                },
                () = sleep_until(hedge_at), if self.next < self.chain.links.len() => {
                    let silent = self.trials.last().and_then(|(index, _)| self.chain.links.get(*index));
                    silent.into_iter().for_each(|link| link.hedged());
                }
            }
            // One has failed, or says nothing.
            self.ask_next();
        }
    }

    /// Asks the next provider that is not left alone, if there is one.
    fn ask_next(&mut self) -> bool {
        while let Some(link) = self.chain.links.get(self.next) {
            let index = self.next;
            self.next += 1;
            // The last resort is asked even when it has failed of late, if nobody else is at work.
            let last_resort = self.next == self.chain.links.len() && self.running.is_empty();
            let Some(begun) = (self.attempt)(&link.vendor) else { continue };
            if link.admits() || (last_resort && link.admits_in_need()) {
                self.ask(index, begun);
                return true;
            }
        }
        false
    }

    /// All are left alone: the first one whose key allows it is asked all the same.
    fn ask_in_need(&mut self) -> bool {
        for (index, link) in self.chain.links.iter().enumerate().skip(self.first) {
            let Some(begun) = (self.attempt)(&link.vendor) else { continue };
            if link.admits_in_need() {
                self.ask(index, begun);
                return true;
            }
        }
        false
    }

    fn ask_again(&mut self) {
        let Some(index) = (!self.again.is_empty()).then(|| self.again.remove(0)) else { return };
        let Some(link) = self.chain.links.get(index).filter(|link| link.admits_in_need()) else { return };
        if let Some(begun) = (self.attempt)(&link.vendor) {
            link.retried();
            self.ask(index, begun);
        }
    }

    fn ask(&mut self, index: usize, begun: Beginning<T>) {
        let Some(link) = self.chain.links.get(index) else { return };
        self.trials.push((index, link.trial()));
        let vendor = link.name;
        let Patience { first, last, what, .. } = self.chain.patience;
        let patience = if index + 1 == self.chain.links.len() { last } else { first };
        let late = ProviderError::Timeout { vendor, what, after: patience };
        self.running.push(async move { (index, timeout(patience, begun).await.unwrap_or(Err(late))) }.boxed());
    }

    /// One has begun: those that were asked before it and have said nothing are too slow, those after it are not needed.
    fn won(&mut self, winner: usize) {
        let Patience { hedge_after: after, what, .. } = self.chain.patience;
        for (index, trial) in std::mem::take(&mut self.trials) {
            match self.chain.links.get(index) {
                _ if index == winner => trial.succeeded(),
                Some(link) if index < winner => {
                    trial.failed(&ProviderError::Timeout { vendor: link.name, what, after });
                }
                _ => {}
            }
        }
        let before = self.chain.links.iter().take(winner).skip(self.first.saturating_sub(1));
        before.for_each(|link| link.passed_over());
    }

    fn lost(&mut self, loser: usize, error: &ProviderError) {
        if let Some(at) = self.trials.iter().position(|(index, _)| *index == loser) {
            self.trials.remove(at).1.failed(error);
        }
        if is_passing(error) {
            self.again.push(loser);
        }
    }

    /// Before the next try: longer each time, give or take a half, so that many calls do not come back at once.
    fn pause(&self, retries: u32) -> Duration {
        self.chain.retry_after.mul_f64(2_f64.powi(retries.min(10) as i32) * rand::rng().random_range(0.5..1.5))
    }

    /// Nobody may be asked because of their keys' limits.
    fn limited(&self) -> Option<ProviderError> {
        let links = self.chain.links.iter().skip(self.first).map(|link| (link.limited_for(), link.name));
        let (wait, vendor) = links.min_by_key(|(wait, _)| *wait)?;
        Some(ProviderError::RateLimited { vendor, retry_after: Some(wait) })
    }
}

/// What may well not happen again: nothing was begun, and it is no refusal.
const fn is_passing(error: &ProviderError) -> bool {
    matches!(error, ProviderError::Connection { .. } | ProviderError::Status { status: 500.., .. })
}
