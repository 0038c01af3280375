//! Models in order of preference: the next one answers when one fails, or is connected and says nothing.
//!
//! A model that fails in the middle is not replaced here: what of its answer has been spoken is known only to the call. The
//! failure is reported and counts, so that the next question goes to the next model the sooner.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use futures_util::{FutureExt, TryStreamExt};
use tokio::time::{Instant, sleep_until};

use crate::providers::breaker::Breaker;
use crate::providers::config::LlmConfig;
use crate::providers::link::{Link, LinkCheck, Trial, checks};
use crate::providers::{Llm, LlmEvent, ProviderError, ReplyRequest, TokenStream};
use crate::telemetry::metrics::Metrics;

/// A chain of models that is one model.
#[derive(Clone)]
pub struct ModelChain {
    chain: Arc<[Model]>,
    hedge_after: Duration,
}

struct Model {
    llm: Arc<dyn Llm>,
    link: Arc<Link>,
}

/// A question to the chain, while it is asked of one model after the other.
struct Asking {
    chain: ModelChain,
    request: ReplyRequest,
    /// The next model that may be asked.
    next: usize,
    running: FuturesUnordered<BoxFuture<'static, (usize, Result<TokenStream, ProviderError>)>>,
    /// Of those that are asked, in their order.
    trials: Vec<(usize, Trial)>,
}

impl ModelChain {
    /// `models` in order of preference; `None` without any.
    pub fn new(models: &[Arc<dyn Llm>], config: &LlmConfig, metrics: &Metrics) -> Option<Self> {
        let model = |llm: &Arc<dyn Llm>| Model {
            llm: Arc::clone(llm),
            link: Link::new(llm.name(), Breaker::new(config.pause()), metrics.clone()),
        };
        let chain: Arc<[Model]> = models.iter().map(model).collect();
        (!chain.is_empty()).then_some(Self { chain, hedge_after: config.hedge_after() })
    }

    /// Each model by itself, for health.
    pub fn checks(&self) -> Vec<LinkCheck> {
        checks(self.chain.iter().map(|model| (&model.link, model.llm.check())))
    }

    /// The answer of one model, those before which were passed over.
    fn watched(&self, index: usize, answer: TokenStream) -> TokenStream {
        self.chain.iter().take(index).for_each(|model| model.link.passed_over());
        let Some(link) = self.chain.get(index).map(|model| Arc::clone(&model.link)) else { return answer };
        answer.inspect_err(move |error| link.broke_off(error)).boxed()
    }
}

impl Asking {
    async fn answer(mut self) -> Result<TokenStream, ProviderError> {
        // When all are left alone the first one is asked all the same.
        if !self.ask_next() {
            self.ask(0);
        }
        let mut last = ProviderError::NotConfigured { vendor: NAME, what: "llm.provider".to_owned() };
        loop {
            let hedge_at = Instant::now() + self.chain.hedge_after;
            tokio::select! {
                biased;
                began = self.running.next() => match began {
                    None => return Err(last),
                    Some((index, Ok(answer))) => {
                        self.won(index);
                        return Ok(self.chain.watched(index, answer));
                    }
                    Some((index, Err(error))) => {
                        self.lost(index, &error);
                        last = error;
                    }
                },
                () = sleep_until(hedge_at), if self.next < self.chain.chain.len() => {}
            }
            // One has failed, or says nothing.
            self.ask_next();
        }
    }

    /// Asks the next model that is not left alone, if there is one.
    fn ask_next(&mut self) -> bool {
        while let Some(model) = self.chain.chain.get(self.next) {
            let index = self.next;
            self.next += 1;
            if model.link.admits() {
                self.ask(index);
                return true;
            }
        }
        false
    }

    fn ask(&mut self, index: usize) {
        let Some(model) = self.chain.chain.get(index) else { return };
        let (llm, request) = (Arc::clone(&model.llm), self.request.clone());
        self.trials.push((index, model.link.trial()));
        self.running.push(async move { (index, first_token(&*llm, request).await) }.boxed());
    }

    /// One answers: those that were asked before it and have said nothing are too slow, those after it are not needed.
    fn won(&mut self, winner: usize) {
        let after = self.chain.hedge_after;
        for (index, trial) in std::mem::take(&mut self.trials) {
            match self.chain.chain.get(index) {
                _ if index == winner => trial.succeeded(),
                Some(model) if index < winner => {
                    trial.failed(&ProviderError::Timeout { vendor: model.llm.name(), what: "first token", after });
                }
                _ => {}
            }
        }
    }

    fn lost(&mut self, loser: usize, error: &ProviderError) {
        if let Some(at) = self.trials.iter().position(|(index, _)| *index == loser) {
            self.trials.remove(at).1.failed(error);
        }
    }
}

impl Llm for ModelChain {
    fn name(&self) -> &'static str {
        NAME
    }

    fn reply(&self, request: ReplyRequest) -> BoxFuture<'static, Result<TokenStream, ProviderError>> {
        let (chain, running) = (self.clone(), FuturesUnordered::new());
        Asking { chain, request, next: 0, running, trials: Vec::new() }.answer().boxed()
    }

    /// Well as long as one model is; otherwise the first one's error.
    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        let checks: Vec<_> = self.chain.iter().map(|model| model.llm.check()).collect();
        async move {
            let results = futures_util::future::join_all(checks).await;
            match results.iter().any(Result::is_ok) {
                true => Ok(()),
                false => results.into_iter().next().unwrap_or(Ok(())),
            }
        }
        .boxed()
    }
}

/// The answer once its first text is there. The model's own deadline ends a wait.
async fn first_token(llm: &dyn Llm, request: ReplyRequest) -> Result<TokenStream, ProviderError> {
    let mut answer = llm.reply(request).await?;
    match answer.next().await.transpose()? {
        Some(first @ (LlmEvent::Text(_) | LlmEvent::Tool(_))) => Ok(stream::iter([Ok(first)]).chain(answer).boxed()),
        Some(LlmEvent::Done { .. }) | None => {
            Err(ProviderError::Protocol { vendor: llm.name(), what: "an answer without text".to_owned() })
        }
    }
}

const NAME: &str = "models";

#[cfg(test)]
mod tests {
    use futures_util::future::ready;
    use parking_lot::Mutex;

    use super::*;

    /// What a scripted model does each time it is asked.
    #[derive(Clone, Copy, PartialEq)]
    enum Act {
        Says(&'static str, u64),
        Refuses,
        Hangs,
        BreaksOff,
        SaysNothing,
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
        let models: Vec<Arc<dyn Llm>> = models.iter().map(|model| Arc::clone(*model) as Arc<dyn Llm>).collect();
        ModelChain::new(&models, &LlmConfig::default(), &Metrics::new()).unwrap()
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
    async fn when_all_fail_the_last_error_is_told_and_the_first_is_tried_again() {
        let (first, second) = (Scripted::new(Act::Refuses), Scripted::new(Act::Refuses));
        let chain = chain(&[&first, &second]);
        for _ in 0..4 {
            assert_eq!(said(&chain).await, Err(REFUSED));
        }
        assert_eq!((first.asked(), second.asked()), (4, 3));
        assert!(ModelChain::new(&[], &LlmConfig::default(), &Metrics::new()).is_none());
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
}
