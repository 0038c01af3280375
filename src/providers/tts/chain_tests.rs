//! Scripted voices on virtual time.

use futures_util::future::ready;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::*;
use crate::providers::cache::CachedTts;
use crate::providers::stack::breaker::AFTER_BREAK;
use crate::providers::{Language, SpeechChunk};
use crate::safety::said::clear;

/// What a scripted voice does each time.
#[derive(Clone)]
enum Act {
    Says(i16),
    /// After so many ms.
    SaysAfter(i16, u64),
    Refuses,
    Hangs,
    BreaksOff(i16),
    /// After so many samples.
    BreaksOffAfter(usize),
    StallsAfter(usize),
}

struct Scripted {
    name: &'static str,
    act: Mutex<Act>,
    /// What it was asked for: the words, whether they are private, and the voice.
    asked: Mutex<Vec<(String, bool, Option<String>)>>,
}

/// Stands for the place where another voice goes on.
const REJOINED: i16 = -1;

impl Scripted {
    fn new(name: &'static str, act: Act) -> Arc<Self> {
        Arc::new(Self { name, act: Mutex::new(act), asked: Mutex::default() })
    }

    fn asked(&self) -> usize {
        self.asked.lock().len()
    }
}

impl Tts for Scripted {
    fn name(&self) -> &'static str {
        self.name
    }

    fn speak(&self, request: SpeakRequest) -> BoxFuture<'static, Result<AudioStream, ProviderError>> {
        let SpeakRequest { text, voice, .. } = request;
        let voice = voice.as_deref().map(str::to_owned);
        self.asked.lock().push((text.as_str().to_owned(), text.is_private(), voice));
        let error = ProviderError::Status { vendor: self.name, status: 500 };
        let chunk = |value: i16, samples: usize| Ok(SpeechChunk::from(vec![value; samples]));
        let pieces = match self.act.lock().clone() {
            Act::Says(value) => vec![chunk(value, 10)],
            Act::SaysAfter(value, after_ms) => {
                let piece = chunk(value, 10);
                return async move {
                    tokio::time::sleep(Duration::from_millis(after_ms)).await;
                    Ok(stream::iter([piece]).boxed())
                }
                .boxed();
            }
            Act::Refuses => return ready(Err(error)).boxed(),
            Act::Hangs => return ready(Ok(stream::pending().boxed())).boxed(),
            Act::BreaksOff(value) => vec![chunk(value, 10), Err(error)],
            Act::BreaksOffAfter(samples) => vec![chunk(1, samples), Err(error)],
            Act::StallsAfter(samples) => {
                let pieces = stream::iter([chunk(1, samples)]).chain(stream::pending());
                return ready(Ok(pieces.boxed())).boxed();
            }
        };
        ready(Ok(stream::iter(pieces).boxed())).boxed()
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        let error = ProviderError::Status { vendor: self.name, status: 500 };
        ready(if matches!(*self.act.lock(), Act::Refuses) { Err(error) } else { Ok(()) }).boxed()
    }

    fn knows(&self, voice: &str) -> bool {
        voice.starts_with(self.name)
    }
}

fn hello() -> SpeakRequest {
    SpeakRequest { text: clear("hello"), language: Language::default(), voice: None, rate: 1.0 }
}

async fn heard(tts: &VoiceChain) -> Vec<Result<i16, ProviderError>> {
    match Tts::speak(tts, hello()).await {
        Ok(stream) => {
            stream.map(|item| item.map(|chunk| chunk.samples.first().copied().unwrap_or(REJOINED))).collect().await
        }
        Err(error) => vec![Err(error)],
    }
}

fn voices(chain: Vec<Arc<dyn Tts>>) -> VoiceChain {
    let chain = chain.into_iter().map(Ranked::from).collect();
    let resilience = ResilienceConfig { retries: 0, ..ResilienceConfig::default() };
    VoiceChain::new(chain, &TtsConfig::default(), &resilience, &Metrics::new())
}

fn chain(acts: &[&Arc<Scripted>]) -> VoiceChain {
    voices(acts.iter().map(|s| Arc::clone(s) as Arc<dyn Tts>).collect())
}

#[tokio::test(start_paused = true)]
async fn the_next_voice_speaks_when_one_refuses_or_hangs() {
    for act in [Act::Refuses, Act::Hangs] {
        let (first, second) = (Scripted::new("a", act), Scripted::new("b", Act::Says(7)));
        let begun = Instant::now();
        assert_eq!(heard(&chain(&[&first, &second])).await, [Ok(7)]);
        assert!(begun.elapsed() <= TtsConfig::default().hedge_after() + Duration::from_millis(1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_to_speak_is_taken_even_if_it_was_slow() {
    let (first, second) = (Scripted::new("a", Act::SaysAfter(1, 1000)), Scripted::new("b", Act::SaysAfter(2, 900)));
    assert_eq!(heard(&chain(&[&first, &second])).await, [Ok(1)]);
    assert_eq!((first.asked(), second.asked()), (1, 1));
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
    for act in [Act::BreaksOffAfter(4000), Act::StallsAfter(4000)] {
        // "hello" takes 5 of 570 samples.
        let (first, second) = (Scripted::new("a", act), Scripted::new("b", Act::Says(2)));
        let third = Scripted::new("c", Act::Says(3));
        let tts = chain(&[&first, &second, &third]);
        let request = SpeakRequest { text: clear("hello there you").in_private(), ..hello() };
        let begun = Instant::now();
        let chunks: Vec<_> = Tts::speak(&tts, request).await.unwrap().map(Result::unwrap).collect().await;
        let keep = chunks[1].rejoins.unwrap();
        assert!((2700..4000).contains(&keep), "near the end of `hello`: {keep}");
        assert_eq!(*second.asked.lock(), [("there you".to_owned(), true, None)]);
        assert_eq!(third.asked(), 0);
        assert!(begun.elapsed() <= TtsConfig::default().progress());
    }
}

#[tokio::test(start_paused = true)]
async fn a_voice_that_keeps_failing_is_left_alone_for_two_minutes() {
    let (first, second) = (Scripted::new("a", Act::Refuses), Scripted::new("b", Act::Says(2)));
    let tts = chain(&[&first, &second]);
    for _ in 0..10 {
        assert_eq!(heard(&tts).await, [Ok(2)]);
    }
    assert_eq!(first.asked(), 3);
    let why = tts.checks().remove(0).left_alone.unwrap();
    assert!(why.contains("120 s") && why.contains("HTTP 500"), "{why}");
    *first.act.lock() = Act::Says(1);
    tokio::time::advance(Duration::from_secs(120)).await;
    assert_eq!(heard(&tts).await, [Ok(1)]);
    assert_eq!(tts.checks().remove(0).left_alone, None);
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_the_last_error_is_told() {
    let (first, second) = (Scripted::new("a", Act::Hangs), Scripted::new("b", Act::Refuses));
    let heard_of = heard(&chain(&[&first, &second])).await;
    let late = |vendor| ProviderError::Timeout { vendor, what: "first audio", after: Duration::from_millis(1500) };
    assert_eq!(heard_of, [Err(late("a"))]);
    assert_eq!(heard(&chain(&[])).await.len(), 1);
    assert!(chain(&[&second]).check().await.is_err());
    assert!(chain(&[&second, &first]).check().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_voice_is_asked_only_for_voices_that_it_knows() {
    let (first, second) = (Scripted::new("a", Act::Refuses), Scripted::new("b", Act::Says(2)));
    let request = SpeakRequest { voice: Some("a-luna".into()), ..hello() };
    drop(Tts::speak(&chain(&[&first, &second]), request).await.unwrap());
    assert_eq!(first.asked.lock()[0].2.as_deref(), Some("a-luna"));
    assert_eq!(second.asked.lock()[0].2, None, "its own voice");
}

#[tokio::test(start_paused = true)]
async fn what_was_made_ahead_is_heard_at_once_while_its_vendor_is_down() {
    let (first, second) = (Scripted::new("a", Act::Says(1)), Scripted::new("b", Act::Says(2)));
    let cached = |voice: &Arc<Scripted>| Arc::new(CachedTts::new(Arc::clone(voice) as _, 1 << 20)) as Arc<dyn Tts>;
    let tts = voices(vec![cached(&first), cached(&second)]);
    let made = tts.prewarm(&[hello(), hello()]).await;
    let of = |voice| Prewarmed { voice, made: 2, failed: 0, error: None };
    assert_eq!(made, [of("a"), of("b")], "in every voice");
    assert_eq!((first.asked(), second.asked()), (1, 1), "what is there is not made again");
    *first.act.lock() = Act::Hangs;
    // Without a wait: the future is ready when it is first looked at.
    let stream = Tts::speak(&tts, hello()).now_or_never().unwrap().unwrap();
    assert_eq!(stream.map(|chunk| chunk.unwrap().samples[0]).collect::<Vec<_>>().await, [1]);
    for _ in 0..3 {
        let other = SpeakRequest { text: clear("unknown"), ..hello() };
        Tts::speak(&tts, other).await.unwrap().collect::<Vec<_>>().await;
    }
    assert!(tts.checks().remove(0).left_alone.is_some());
    assert_eq!(heard(&tts).await, [Ok(1)], "its own voice still says what it knows");
}
