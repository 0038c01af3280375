//! Voices in order of preference: the next one speaks when one fails or does not begin in time.
//!
//! A voice that fails in the middle of a sentence is followed by the next one, see [`super::continued`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use futures_util::{FutureExt, TryStreamExt};

use super::breaker::Breaker;
use super::continued::Continued;
use super::link::{Link, LinkCheck, checks};
use super::timing::{USUAL_PACE, words};
use super::{AudioStream, ProviderError, SpeakRequest, Tts};
use crate::telemetry::metrics::Metrics;

/// A chain of voices that is one voice.
#[derive(Clone)]
pub struct FallbackTts {
    chain: Arc<[Voice]>,
    first_audio: Duration,
}

struct Voice {
    tts: Arc<dyn Tts>,
    link: Arc<Link>,
    /// Samples that it takes for each unit of a word's weight at rate 1.0, as it spoke last; 0 before that.
    pace: AtomicU64,
}

impl FallbackTts {
    /// `chain` in order of preference; a voice that gives no audio within `first_audio` is passed over. The last one is
    /// given as long as it needs: there is nothing to go to.
    pub fn new(chain: Vec<Arc<dyn Tts>>, first_audio: Duration, metrics: &Metrics) -> Self {
        let voice = |tts: Arc<dyn Tts>| {
            let link = Link::new(tts.name(), Breaker::default(), metrics.clone());
            Voice { tts, link, pace: AtomicU64::new(0) }
        };
        Self { chain: chain.into_iter().map(voice).collect(), first_audio }
    }

    /// Each voice by itself, for health.
    pub fn checks(&self) -> Vec<LinkCheck> {
        checks(self.chain.iter().map(|voice| (&voice.link, voice.tts.check())))
    }

    async fn speak(self, request: SpeakRequest) -> Result<AudioStream, ProviderError> {
        let (voice, stream) = self.begin_from(0, request.clone()).await?;
        Ok(Continued::stream(self, voice, stream, request))
    }

    /// The first voice from this place of the chain on that begins to speak.
    pub(super) async fn begin_from(
        &self,
        first: usize,
        request: SpeakRequest,
    ) -> Result<(usize, AudioStream), ProviderError> {
        let mut last = nobody();
        let count = self.chain.len();
        for (index, Voice { tts, link, .. }) in self.chain.iter().enumerate().skip(first) {
            let is_last = index + 1 == count;
            // The last resort is tried even when it has failed of late.
            if !link.admits() && !is_last {
                link.passed_over();
                continue;
            }
            let trial = link.trial();
            let deadline = if is_last { LAST_RESORT } else { self.first_audio };
            match begin(&**tts, request.clone(), deadline).await {
                Ok(stream) => {
                    trial.succeeded();
                    return Ok((index, watched(Arc::clone(link), stream)));
                }
                Err(error) => {
                    trial.failed(&error);
                    if !is_last {
                        link.passed_over();
                    }
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// A voice has spoken this to its end.
    pub(super) fn spoke(&self, voice: usize, request: &SpeakRequest, samples: usize) {
        let weight: u64 = words(request.text.as_str()).iter().map(|word| word.weight).sum();
        if let Some(voice) = self.chain.get(voice).filter(|_| weight >= ENOUGH_TO_TELL) {
            let pace = samples as f64 * f64::from(request.rate) / weight as f64;
            voice.pace.store((pace as u64).clamp(USUAL_PACE / 2, USUAL_PACE * 2), Ordering::Relaxed);
        }
    }

    /// How fast a voice speaks this, in samples for each unit of a word's weight.
    pub(super) fn pace(&self, voice: usize, request: &SpeakRequest) -> u64 {
        let pace = self.chain.get(voice).map_or(0, |voice| voice.pace.load(Ordering::Relaxed));
        let pace = if pace == 0 { USUAL_PACE } else { pace };
        (pace as f64 / f64::from(request.rate.clamp(0.5, 2.0))) as u64
    }
}

/// A failure in the middle sends the next sentence to the next voice at once.
fn watched(link: Arc<Link>, stream: AudioStream) -> AudioStream {
    stream.inspect_err(move |error| link.broke_off(error)).boxed()
}

fn nobody() -> ProviderError {
    ProviderError::NotConfigured { vendor: NAME, what: "no voice in the chain".to_owned() }
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
        let checks: Vec<_> = self.chain.iter().map(|voice| voice.tts.check()).collect();
        async move {
            let mut first = None;
            for check in checks {
                match check.await {
                    Ok(()) => return Ok(()),
                    Err(error) => first = first.or(Some(error)),
                }
            }
            Err(first.unwrap_or_else(nobody))
        }
        .boxed()
    }
}

/// The stream of one voice once its first audio is there.
async fn begin(tts: &dyn Tts, request: SpeakRequest, deadline: Duration) -> Result<AudioStream, ProviderError> {
    let vendor = tts.name();
    let speakable = request.text.as_str().chars().any(char::is_alphanumeric);
    let started = async {
        let mut stream = tts.speak(request).await?;
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
/// The weight of a text whose length says how fast a voice speaks.
const ENOUGH_TO_TELL: u64 = 12;
/// Longer than any voice's own deadline.
const LAST_RESORT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use futures_util::future::ready;
    use parking_lot::Mutex;
    use tokio::time::Instant;

    use super::super::link::AFTER_BREAK;
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
        /// After so many samples.
        BreaksOffAfter(usize),
    }

    /// Its name, what it does, how often it was asked and for what: the words, and whether they are private.
    struct Scripted(&'static str, Act, Mutex<u32>, Mutex<Vec<(String, bool)>>);

    /// Stands for the place where another voice goes on.
    const REJOINED: i16 = -1;

    impl Scripted {
        fn new(name: &'static str, act: Act) -> Arc<Self> {
            Arc::new(Self(name, act, Mutex::new(0), Mutex::default()))
        }
    }

    impl Tts for Scripted {
        fn name(&self) -> &'static str {
            self.0
        }

        fn speak(&self, request: SpeakRequest) -> BoxFuture<'static, Result<AudioStream, ProviderError>> {
            *self.2.lock() += 1;
            self.3.lock().push((request.text.as_str().to_owned(), request.text.is_private()));
            let error = ProviderError::Status { vendor: self.0, status: 500 };
            let chunk = |value: i16| SpeechChunk::from(vec![value; 10]);
            match self.1 {
                Act::Says(value) => ready(Ok(stream::iter([Ok(chunk(value))]).boxed())).boxed(),
                Act::Refuses => ready(Err(error)).boxed(),
                Act::Hangs => ready(Ok(stream::pending().boxed())).boxed(),
                Act::BreaksOffAfter(samples) => {
                    let audio = SpeechChunk::from(vec![1; samples]);
                    ready(Ok(stream::iter([Ok(audio), Err(error)]).boxed())).boxed()
                }
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
            Ok(stream) => {
                stream.map(|item| item.map(|chunk| chunk.samples.first().copied().unwrap_or(REJOINED))).collect().await
            }
            Err(error) => vec![Err(error)],
        }
    }

    fn chain(acts: &[&Arc<Scripted>]) -> FallbackTts {
        let chain = acts.iter().map(|s| Arc::clone(s) as Arc<dyn Tts>).collect();
        FallbackTts::new(chain, Duration::from_millis(800), &Metrics::new())
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
    async fn a_sentence_that_breaks_off_goes_on_with_the_next_voice() {
        let (first, second) = (Scripted::new("a", Act::BreaksOff(1)), Scripted::new("b", Act::Says(2)));
        let tts = chain(&[&first, &second]);
        assert_eq!(heard(&tts).await, [Ok(1), Ok(REJOINED), Ok(2)]);
        assert_eq!(heard(&tts).await, [Ok(2)]);
        tokio::time::advance(AFTER_BREAK).await;
        assert_eq!(heard(&tts).await.len(), 3, "tried again after the pause");
        let error = ProviderError::Status { vendor: "a", status: 500 };
        assert_eq!(heard(&chain(&[&first])).await, [Ok(1), Err(error)], "there is no other");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_said_in_whole_words_is_not_said_again() {
        // "hello " takes 6 of 570 samples.
        let (first, second) = (Scripted::new("a", Act::BreaksOffAfter(4000)), Scripted::new("b", Act::Says(2)));
        let third = Scripted::new("c", Act::Says(3));
        let tts = chain(&[&first, &second, &third]);
        let request = SpeakRequest { text: clear("hello there you").in_private(), ..hello() };
        let chunks: Vec<_> = Tts::speak(&tts, request).await.unwrap().map(Result::unwrap).collect().await;
        assert_eq!(chunks[1].rejoins, Some(chunks[1].rejoins.unwrap().clamp(2700, 4000)), "near the end of `hello`");
        let asked = second.3.lock().clone();
        assert_eq!(asked, [("there you".to_owned(), true)]);
        assert_eq!(third.3.lock().len(), 0);
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
