//! Voices in order of preference: the next one speaks when one fails or does not begin in time.
//!
//! A voice that fails in the middle is not replaced here: how much the caller has heard is known only to the call. The
//! failure is reported, and the next `speak` goes to the next voice.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use futures_util::{FutureExt, TryStreamExt};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::breaker::Breaker;
use super::{AudioStream, ProviderError, SpeakRequest, Tts};

/// A chain of voices that is one voice.
#[derive(Clone)]
pub struct FallbackTts {
    chain: Arc<[Link]>,
    first_audio: Duration,
    origin: Instant,
}

impl FallbackTts {
    /// `chain` in order of preference; a voice that gives no audio within `first_audio` is passed over. The last one is
    /// given as long as it needs: there is nothing to go to.
    pub fn new(chain: Vec<Arc<dyn Tts>>, first_audio: Duration) -> Self {
        let link = |tts| Link { tts, breaker: Arc::default() };
        Self { chain: chain.into_iter().map(link).collect(), first_audio, origin: Instant::now() }
    }

    async fn speak(self, request: SpeakRequest) -> Result<AudioStream, ProviderError> {
        let mut last = ProviderError::NotConfigured { vendor: NAME, what: "no voice in the chain".to_owned() };
        let count = self.chain.len();
        for (index, link) in self.chain.iter().enumerate() {
            let is_last = index + 1 == count;
            // The last resort is tried even when it has failed of late.
            if !link.breaker.lock().admits(self.origin.elapsed()) && !is_last {
                continue;
            }
            let trial = Trial { breaker: &link.breaker, settled: false };
            let deadline = if is_last { LAST_RESORT } else { self.first_audio };
            match begin(link, request.clone(), deadline).await {
                Ok(stream) => {
                    trial.settle(|breaker| breaker.succeeded());
                    return Ok(self.watched(link, stream));
                }
                Err(error) => {
                    tracing::warn!(%error, voice = link.tts.name(), "voice failed before its first audio");
                    trial.settle(|breaker| breaker.failed(self.origin.elapsed(), &error));
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// A failure in the middle sends the next sentence to the next voice at once.
    fn watched(&self, link: &Link, stream: AudioStream) -> AudioStream {
        let (breaker, origin, name) = (Arc::clone(&link.breaker), self.origin, link.tts.name());
        let report = move |error: &ProviderError| {
            tracing::warn!(%error, voice = name, "voice failed in the middle");
            let pause = ProviderError::RateLimited { vendor: NAME, retry_after: Some(AFTER_BREAK) };
            breaker.lock().failed(origin.elapsed(), &pause);
        };
        stream.inspect_err(report).boxed()
    }
}

impl Tts for FallbackTts {
    fn name(&self) -> &'static str {
        NAME
    }

    fn speak(&self, request: SpeakRequest) -> BoxFuture<'static, Result<AudioStream, ProviderError>> {
        self.clone().speak(request).boxed()
    }

    /// Well as long as one voice is; otherwise the first one's error.
    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        let checks: Vec<_> = self.chain.iter().map(|link| link.tts.check()).collect();
        async move {
            let mut first = None;
            for check in checks {
                match check.await {
                    Ok(()) => return Ok(()),
                    Err(error) => first = first.or(Some(error)),
                }
            }
            Err(first
                .unwrap_or(ProviderError::NotConfigured { vendor: NAME, what: "no voice in the chain".to_owned() }))
        }
        .boxed()
    }
}

struct Link {
    tts: Arc<dyn Tts>,
    breaker: Arc<Mutex<Breaker>>,
}

/// One use of a voice; dropped without a result, it was abandoned.
struct Trial<'a> {
    breaker: &'a Mutex<Breaker>,
    settled: bool,
}

impl Trial<'_> {
    fn settle(mut self, tell: impl FnOnce(&mut Breaker)) {
        tell(&mut self.breaker.lock());
        self.settled = true;
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.breaker.lock().abandoned();
        }
    }
}

/// The stream of one voice once its first audio is there.
async fn begin(link: &Link, request: SpeakRequest, deadline: Duration) -> Result<AudioStream, ProviderError> {
    let vendor = link.tts.name();
    let speakable = request.text.as_str().chars().any(char::is_alphanumeric);
    let started = async {
        let mut stream = link.tts.speak(request).await?;
        let first = stream.next().await;
        Ok((first, stream))
    };
    let timeout = ProviderError::Timeout { vendor, what: "first audio", after: deadline };
    match tokio::time::timeout(deadline, started).await.map_err(|_| timeout)?? {
        (Some(first), rest) => Ok(stream::iter([Ok(first?)]).chain(rest).boxed()),
        (None, _) if speakable => Err(ProviderError::Protocol { vendor, what: "no audio for the text".to_owned() }),
        (None, rest) => Ok(rest),
    }
}

const NAME: &str = "fallback";
/// Longer than any voice's own deadline.
const LAST_RESORT: Duration = Duration::from_secs(30);
/// How long a voice that broke off is passed over.
const AFTER_BREAK: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use futures_util::future::ready;

    use super::*;
    use crate::providers::{Language, SpeechChunk};
    use crate::safety::said::clear;

    /// What a scripted voice does each time.
    #[derive(Clone)]
    enum Act {
        Says(i16),
        Refuses,
        Hangs,
        BreaksOff(i16),
    }

    struct Scripted(&'static str, Act, Mutex<u32>);

    impl Scripted {
        fn new(name: &'static str, act: Act) -> Arc<Self> {
            Arc::new(Self(name, act, Mutex::new(0)))
        }
    }

    impl Tts for Scripted {
        fn name(&self) -> &'static str {
            self.0
        }

        fn speak(&self, _: SpeakRequest) -> BoxFuture<'static, Result<AudioStream, ProviderError>> {
            *self.2.lock() += 1;
            let error = ProviderError::Status { vendor: self.0, status: 500 };
            let chunk = |value: i16| SpeechChunk::from(vec![value; 10]);
            match self.1 {
                Act::Says(value) => ready(Ok(stream::iter([Ok(chunk(value))]).boxed())).boxed(),
                Act::Refuses => ready(Err(error)).boxed(),
                Act::Hangs => ready(Ok(stream::pending().boxed())).boxed(),
                Act::BreaksOff(value) => ready(Ok(stream::iter([Ok(chunk(value)), Err(error)]).boxed())).boxed(),
            }
        }

        fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
            let error = ProviderError::Status { vendor: self.0, status: 500 };
            ready(if matches!(self.1, Act::Refuses) { Err(error) } else { Ok(()) }).boxed()
        }
    }

    fn hello() -> SpeakRequest {
        SpeakRequest { text: clear("hello"), language: Language::default(), voice: None, rate: 1.0 }
    }

    async fn heard(tts: &FallbackTts) -> Vec<Result<i16, ProviderError>> {
        match Tts::speak(tts, hello()).await {
            Ok(stream) => stream.map(|item| item.map(|chunk| chunk.samples[0])).collect().await,
            Err(error) => vec![Err(error)],
        }
    }

    fn chain(acts: &[&Arc<Scripted>]) -> FallbackTts {
        let chain = acts.iter().map(|s| Arc::clone(s) as Arc<dyn Tts>).collect();
        FallbackTts::new(chain, Duration::from_millis(800))
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_voice_speaks_when_one_refuses_or_hangs() {
        for act in [Act::Refuses, Act::Hangs] {
            let (first, second) = (Scripted::new("a", act), Scripted::new("b", Act::Says(7)));
            let begun = Instant::now();
            assert_eq!(heard(&chain(&[&first, &second])).await, [Ok(7)]);
            assert!(begun.elapsed() <= Duration::from_millis(801));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_break_in_the_middle_is_reported_and_the_rest_goes_to_the_next() {
        let (first, second) = (Scripted::new("a", Act::BreaksOff(1)), Scripted::new("b", Act::Says(2)));
        let tts = chain(&[&first, &second]);
        let error = ProviderError::Status { vendor: "a", status: 500 };
        assert_eq!(heard(&tts).await, [Ok(1), Err(error)]);
        assert_eq!(heard(&tts).await, [Ok(2)]);
        tokio::time::advance(AFTER_BREAK).await;
        assert_eq!(heard(&tts).await.len(), 2, "tried again after the pause");
    }

    #[tokio::test(start_paused = true)]
    async fn a_voice_that_keeps_failing_is_not_asked() {
        let (first, second) = (Scripted::new("a", Act::Refuses), Scripted::new("b", Act::Says(2)));
        let tts = chain(&[&first, &second]);
        for _ in 0..10 {
            assert_eq!(heard(&tts).await, [Ok(2)]);
        }
        assert_eq!(*first.2.lock(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_fail_the_last_error_is_told() {
        let (first, second) = (Scripted::new("a", Act::Hangs), Scripted::new("b", Act::Refuses));
        assert_eq!(heard(&chain(&[&first, &second])).await, [Err(ProviderError::Status { vendor: "b", status: 500 })]);
        assert_eq!(heard(&chain(&[])).await.len(), 1);
        assert!(chain(&[&second]).check().await.is_err());
        assert!(chain(&[&second, &first]).check().await.is_ok());
    }
}
