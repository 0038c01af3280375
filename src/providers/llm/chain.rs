//! Models in order of preference that are one model: the next one answers when one fails, or is connected and says nothing.
//!
//! A model that fails in the middle is not replaced here: what of its answer has been spoken is known only to the call. The
//! failure is reported and counts, so that the next question goes to the next model the sooner.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};

use crate::providers::config::LlmConfig;
use crate::providers::stack::{Chain, Kind, LinkCheck, Patience, Ranked, ResilienceConfig};
use crate::providers::{Llm, LlmEvent, ProviderError, ReplyRequest, TokenStream};
use crate::telemetry::metrics::Metrics;

/// A chain of models that is one model.
#[derive(Clone)]
pub struct ModelChain(Chain<dyn Llm>);

impl ModelChain {
    /// `models` in order of preference; `None` without any.
    pub fn new(
        models: Vec<Ranked<dyn Llm>>,
        config: &LlmConfig,
        resilience: &ResilienceConfig,
        metrics: &Metrics,
    ) -> Option<Self> {
        let patience = Patience {
            first: config.first_token(),
            last: config.first_token(),
            progress: config.progress(),
            hedge_after: config.hedge_after(),
            what: "first token",
        };
        let chain = Chain::new(Kind::Llm, models, |llm| llm.name(), patience, resilience, metrics);
        (!chain.is_empty()).then_some(Self(chain))
    }

    /// Each model by itself, for health.
    pub fn checks(&self) -> Vec<LinkCheck> {
        self.0.checks(|llm| llm.check())
    }
}

impl Llm for ModelChain {
    fn name(&self) -> &'static str {
        "models"
    }

    fn reply(&self, request: ReplyRequest) -> BoxFuture<'static, Result<TokenStream, ProviderError>> {
        let chain = self.0.clone();
        async move {
            let attempt = |llm: &Arc<dyn Llm>| Some(first_token(Arc::clone(llm), request.clone()).boxed());
            let (index, answer) = chain.begin(0, attempt).await?;
            let progress = chain.patience().progress;
            Ok(match chain.links().get(index) {
                Some(link) => link.watched(answer, progress),
                None => answer,
            })
        }
        .boxed()
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        self.0.check(|llm| llm.check())
    }
}

/// The answer once its first text is there.
async fn first_token(llm: Arc<dyn Llm>, request: ReplyRequest) -> Result<TokenStream, ProviderError> {
    let mut answer = llm.reply(request).await?;
    match answer.next().await.transpose()? {
        Some(first @ (LlmEvent::Text(_) | LlmEvent::Tool(_))) => Ok(stream::iter([Ok(first)]).chain(answer).boxed()),
        Some(LlmEvent::Done { .. }) | None => {
            Err(ProviderError::Protocol { vendor: llm.name(), what: "an answer without text".to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::ready;
    use parking_lot::Mutex;
    use tokio::time::Instant;

    use super::*;
    use crate::providers::stack::Limit;

    /// What a scripted model does each time it is asked.
    #[derive(Clone, Copy, PartialEq)]
    enum Act {
        Says(&'static str, u64),
        Refuses,
        Hangs,
        BreaksOff,
        /// In the middle.
        Stalls,
        SaysNothing,
        /// With `Retry-After` in seconds.
        Limits(u64),
    }

    struct Scripted {
        act: Mutex<Act>,
        asked: Mutex<u32>,
    }

    impl Scripted {
        fn new(act: Act) -> Arc<Self> {
            Arc::new(Self { act: Mutex::new(act), asked: Mutex::default() })
        }

        fn asked(&self) -> u32 {
            *self.asked.lock()
        }
    }

    const REFUSED: ProviderError = ProviderError::Status { vendor: "scripted", status: 500 };

    impl Llm for Scripted {
        fn name(&self) -> &'static str {
            "scripted"
        }

        fn reply(&self, _: ReplyRequest) -> BoxFuture<'static, Result<TokenStream, ProviderError>> {
            *self.asked.lock() += 1;
            let done = LlmEvent::Done { prompt_tokens: None, completion_tokens: None };
            let text = |text: &str| LlmEvent::Text(text.to_owned());
            let pieces = match *self.act.lock() {
                Act::Says(words, after_ms) => {
                    let first = text(words);
                    return async move {
                        tokio::time::sleep(Duration::from_millis(after_ms)).await;
                        Ok(stream::iter([Ok(first), Ok(done)]).boxed())
                    }
                    .boxed();
                }
                Act::Refuses => return ready(Err(REFUSED)).boxed(),
                Act::Hangs => return ready(Ok(stream::pending().boxed())).boxed(),
                Act::Limits(seconds) => {
                    let retry_after = Some(Duration::from_secs(seconds));
                    return ready(Err(ProviderError::RateLimited { vendor: "scripted", retry_after })).boxed();
                }
                Act::Stalls => {
                    let pieces = stream::iter([Ok(text("half"))]).chain(stream::pending());
                    return ready(Ok(pieces.boxed())).boxed();
                }
                Act::BreaksOff => vec![Ok(text("half")), Err(REFUSED)],
                Act::SaysNothing => vec![Ok(done)],
            };
            ready(Ok(stream::iter(pieces).boxed())).boxed()
        }

        fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
            ready(Ok(())).boxed()
        }
    }

    fn chain(models: &[&Arc<Scripted>]) -> ModelChain {
        chain_with(models, &ResilienceConfig { retries: 0, ..ResilienceConfig::default() })
    }

    fn chain_with(models: &[&Arc<Scripted>], resilience: &ResilienceConfig) -> ModelChain {
        let models = models.iter().map(|model| Ranked::from(Arc::clone(*model) as Arc<dyn Llm>)).collect();
        ModelChain::new(models, &LlmConfig::default(), resilience, &Metrics::new()).unwrap()
    }

    async fn said(chain: &ModelChain) -> Result<String, ProviderError> {
        let request = ReplyRequest { messages: Vec::new(), tools: Arc::default(), temperature: 0.0, max_tokens: 1 };
        let mut answer = chain.reply(request).await?;
        let mut all = String::new();
        while let Some(event) = answer.next().await.transpose()? {
            if let LlmEvent::Text(text) = event {
                all += &text;
            }
        }
        Ok(all)
    }

    fn alone(chain: &ModelChain) -> Vec<bool> {
        chain.checks().iter().map(|check| check.left_alone.is_some()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_model_answers_when_one_refuses_or_says_nothing() {
        for act in [Act::Refuses, Act::SaysNothing] {
            let (first, second) = (Scripted::new(act), Scripted::new(Act::Says("hello", 300)));
            let begun = Instant::now();
            assert_eq!(said(&chain(&[&first, &second])).await.as_deref(), Ok("hello"));
            assert_eq!(begun.elapsed(), Duration::from_millis(300), "at once");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_connected_and_silent_is_not_waited_for() {
        let (first, second) = (Scripted::new(Act::Hangs), Scripted::new(Act::Says("hello", 300)));
        let begun = Instant::now();
        assert_eq!(said(&chain(&[&first, &second])).await.as_deref(), Ok("hello"));
        assert_eq!(begun.elapsed(), Duration::from_millis(1500));
    }

    #[tokio::test(start_paused = true)]
    async fn a_model_that_is_always_too_slow_is_left_alone() {
        let (first, second) = (Scripted::new(Act::Hangs), Scripted::new(Act::Says("hello", 0)));
        let chain = chain(&[&first, &second]);
        for _ in 0..5 {
            assert_eq!(said(&chain).await.as_deref(), Ok("hello"));
        }
        assert_eq!((first.asked(), alone(&chain)), (3, vec![true, false]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_to_speak_is_taken_even_if_it_was_slow() {
        let (first, second) = (Scripted::new(Act::Says("slow", 1400)), Scripted::new(Act::Says("late", 900)));
        assert_eq!(said(&chain(&[&first, &second])).await.as_deref(), Ok("slow"));
        assert_eq!((first.asked(), second.asked()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_model_that_keeps_failing_is_left_alone_for_two_minutes_and_comes_back() {
        let (first, second) = (Scripted::new(Act::Refuses), Scripted::new(Act::Says("second", 0)));
        let chain = chain(&[&first, &second]);
        for _ in 0..10 {
            assert_eq!(said(&chain).await.as_deref(), Ok("second"));
        }
        assert_eq!((first.asked(), alone(&chain)), (3, vec![true, false]));
        assert_eq!(
            chain.checks().iter().map(|check| check.name.as_str()).collect::<Vec<_>>(),
            ["scripted", "scripted 2"]
        );
        assert!(chain.checks()[0].left_alone.as_ref().is_some_and(|why| why.contains("120 s") && why.contains("500")));
        *first.act.lock() = Act::Says("first", 0);
        tokio::time::advance(Duration::from_secs(119)).await;
        assert_eq!(said(&chain).await.as_deref(), Ok("second"));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(said(&chain).await.as_deref(), Ok("first"));
        assert_eq!(alone(&chain), [false, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_break_in_the_middle_is_told_and_counts() {
        let (first, second) = (Scripted::new(Act::BreaksOff), Scripted::new(Act::Says("second", 0)));
        let chain = chain(&[&first, &second]);
        assert_eq!(said(&chain).await, Err(REFUSED));
        assert_eq!(alone(&chain), [true, false]);
        assert_eq!(said(&chain).await.as_deref(), Ok("second"));
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_fail_the_last_error_is_told_and_the_last_one_is_tried_again() {
        let (first, second) = (Scripted::new(Act::Refuses), Scripted::new(Act::Refuses));
        let chain = chain(&[&first, &second]);
        for _ in 0..4 {
            assert_eq!(said(&chain).await, Err(REFUSED));
        }
        assert_eq!((first.asked(), second.asked()), (3, 4));
        let nobody = ModelChain::new(Vec::new(), &LlmConfig::default(), &ResilienceConfig::default(), &Metrics::new());
        assert!(nobody.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_abandoned_question_counts_for_nothing() {
        let (first, second) = (Scripted::new(Act::Hangs), Scripted::new(Act::Hangs));
        let chain = chain(&[&first, &second]);
        for _ in 0..5 {
            assert!(tokio::time::timeout(Duration::from_millis(100), said(&chain)).await.is_err());
        }
        assert_eq!((first.asked(), second.asked(), alone(&chain)), (5, 0, vec![false, false]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_could_serve_is_tried_again_after_a_jittered_pause() {
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let only = Scripted::new(Act::Refuses);
            let chain = chain_with(&[&only], &ResilienceConfig { retries: 2, ..ResilienceConfig::default() });
            let begun = Instant::now();
            assert_eq!(said(&chain).await, Err(REFUSED));
            assert_eq!(only.asked(), 3);
            pauses.push(begun.elapsed());
        }
        let (least, most) = (Duration::from_millis(225), Duration::from_millis(676));
        assert!(pauses.iter().all(|pause| (least..most).contains(pause)), "{pauses:?}");
        pauses.dedup();
        assert!(pauses.len() > 1, "no two calls come back together: {pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_limit_is_kept_for_as_long_as_it_says_and_the_next_model_is_asked() {
        let (first, second) = (Scripted::new(Act::Limits(30)), Scripted::new(Act::Says("second", 0)));
        let chain = chain(&[&first, &second]);
        for _ in 0..5 {
            assert_eq!(said(&chain).await.as_deref(), Ok("second"));
        }
        assert_eq!((first.asked(), alone(&chain)), (1, vec![true, false]));
        *first.act.lock() = Act::Says("first", 0);
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!(said(&chain).await.as_deref(), Ok("second"));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(said(&chain).await.as_deref(), Ok("first"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_only_model_is_not_asked_before_its_limit_allows_it() {
        let only = Scripted::new(Act::Limits(30));
        let chain = chain(&[&only]);
        for _ in 0..3 {
            assert!(matches!(said(&chain).await, Err(ProviderError::RateLimited { .. })));
        }
        assert_eq!(only.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_used_as_often_as_is_allowed() {
        let (first, second) = (Scripted::new(Act::Says("first", 0)), Scripted::new(Act::Says("second", 0)));
        let limit = Limit::new(Some(12));
        let models: Vec<Ranked<dyn Llm>> = vec![
            Ranked { vendor: Arc::clone(&first) as Arc<dyn Llm>, limit },
            Ranked::from(Arc::clone(&second) as Arc<dyn Llm>),
        ];
        let resilience = ResilienceConfig::default();
        let chain = ModelChain::new(models, &LlmConfig::default(), &resilience, &Metrics::new()).unwrap();
        let mut by = Vec::new();
        for _ in 0..4 {
            by.push(said(&chain).await.unwrap());
        }
        assert_eq!(by, ["first", "first", "second", "second"], "two at once, then one each five seconds");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(said(&chain).await.as_deref(), Ok("first"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_stops_in_the_middle_is_not_waited_for() {
        let chain = chain(&[&Scripted::new(Act::Stalls)]);
        let begun = Instant::now();
        let said = said(&chain).await;
        assert!(matches!(said, Err(ProviderError::Timeout { what: "further piece", .. })), "{said:?}");
        assert_eq!(begun.elapsed(), LlmConfig::default().progress());
    }
}
