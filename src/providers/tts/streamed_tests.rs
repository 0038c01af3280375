//! Both HTTP voices against the stand-in over loopback.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use offhook_media::resample::Rate;

use super::chain::VoiceChain;
use super::deepgram::DeepgramTts;
use super::openai::OpenAiTts;
use crate::providers::cache::CachedTts;
use crate::providers::config::{ApiKey, DeepgramConfig, OpenAiConfig, TtsConfig};
use crate::providers::stack::{Ranked, ResilienceConfig};
use crate::providers::{Language, ProviderError, SpeakRequest, SpeechChunk, Tts};
use crate::safety::said::clear;
use crate::sim::vendors::deepgram_tts::{TtsBehaviour, TtsFault};
use crate::sim::vendors::half_closed::{Framing, HalfClosed};
use crate::sim::vendors::{DelayKind, Refusal, VendorStandIns};
use crate::telemetry::metrics::Metrics;

const TEXT: &str = "Welcome to the clinic.";

/// Limits in ms on the first audio and on each gap after it that no busy machine reaches.
const PATIENT: (u64, u64) = (30_000, 30_000);

async fn voices(change: impl FnOnce(&mut TtsBehaviour)) -> (VendorStandIns, [Box<dyn Tts>; 2]) {
    voices_within(PATIENT, change).await
}

async fn voices_within(
    (first_audio_timeout_ms, progress_timeout_ms): (u64, u64),
    change: impl FnOnce(&mut TtsBehaviour),
) -> (VendorStandIns, [Box<dyn Tts>; 2]) {
    let vendors = VendorStandIns::start(Vec::new()).await.unwrap();
    vendors.tts.set(change);
    let api_key = || Some(ApiKey::new("hunter2".into()).unwrap());
    let base_url = vendors.base_url();
    let deepgram = DeepgramConfig { base_url: base_url.clone(), api_key: api_key(), ..DeepgramConfig::default() };
    let openai = OpenAiConfig { base_url, api_key: api_key(), ..OpenAiConfig::default() };
    let tts = TtsConfig { first_audio_timeout_ms, progress_timeout_ms, ..TtsConfig::default() };
    let voices: [Box<dyn Tts>; 2] =
        [Box::new(DeepgramTts::new(&deepgram, &tts).unwrap()), Box::new(OpenAiTts::new(&openai, &tts).unwrap())];
    (vendors, voices)
}

fn request() -> SpeakRequest {
    SpeakRequest { text: clear(TEXT), language: Language::default(), voice: None, rate: 1.0 }
}

/// The samples that came, and how it ended.
async fn spoken(tts: &dyn Tts) -> (usize, Result<(), ProviderError>) {
    let mut stream = match tts.speak(request()).await {
        Ok(stream) => stream,
        Err(error) => return (0, Err(error)),
    };
    let mut samples = 0;
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => samples += chunk.samples.len(),
            Err(error) => {
                assert!(stream.next().await.is_none(), "an error is the end");
                return (samples, Err(error));
            }
        }
    }
    (samples, Ok(()))
}

async fn endings(change: impl FnOnce(&mut TtsBehaviour)) -> Vec<(usize, ProviderError)> {
    endings_within(PATIENT, change).await
}

async fn endings_within(limits: (u64, u64), change: impl FnOnce(&mut TtsBehaviour)) -> Vec<(usize, ProviderError)> {
    let (_vendors, voices) = voices_within(limits, change).await;
    let mut endings = Vec::new();
    for voice in &voices {
        let (samples, ending) = spoken(&**voice).await;
        endings.push((samples, ending.unwrap_err()));
    }
    endings
}

#[tokio::test]
async fn audio_is_converted_to_8_khz_whole() {
    let (vendors, [deepgram, openai]) = voices(|_| {}).await;
    let expected = TEXT.len() * 480;
    for voice in [&deepgram, &openai] {
        let (samples, ending) = spoken(&**voice).await;
        assert_eq!(ending, Ok(()));
        assert!(samples.abs_diff(expected) < 40, "{}: {samples} against {expected}", voice.name());
    }
    assert_eq!(vendors.tts.counters().body["response_format"], "pcm");
    assert!(vendors.tts.counters().authorized);
    assert_eq!(vendors.delays.all().iter().filter(|d| d.kind == DelayKind::TtsFirstByte).count(), 2);
}

#[tokio::test]
async fn the_request_to_deepgram_is_as_documented() {
    let (vendors, [deepgram, _]) = voices(|_| {}).await;
    let request = SpeakRequest { voice: Some("aura-2-luna-en".into()), ..request() };
    drop(deepgram.speak(request).await.unwrap());
    let counters = vendors.tts.counters();
    assert_eq!(counters.query, "model=aura-2-luna-en&encoding=linear16&sample_rate=24000&container=none");
    assert_eq!(counters.body, serde_json::json!({ "text": TEXT }));
    drop(deepgram.speak(SpeakRequest { rate: 0.85, ..self::request() }).await.unwrap());
    assert!(vendors.tts.counters().query.ends_with("&speed=0.85"), "{}", vendors.tts.counters().query);
    drop(deepgram.speak(SpeakRequest { rate: 2.0, ..self::request() }).await.unwrap());
    assert!(vendors.tts.counters().query.ends_with("&speed=1.50"), "the vendor's own range");
}

#[tokio::test]
async fn refusals_are_told_apart() {
    for refusal in [Refusal::Unauthorized, Refusal::RateLimited(Some(3)), Refusal::ServerError, Refusal::NoAnswer] {
        let first = if matches!(refusal, Refusal::NoAnswer) { 400 } else { PATIENT.0 };
        for (samples, error) in endings_within((first, PATIENT.1), |b| b.refusal = Some(refusal)).await {
            let right = match (&error, refusal) {
                (ProviderError::Unauthorized { status: 401, .. }, Refusal::Unauthorized) => true,
                (ProviderError::RateLimited { retry_after, .. }, Refusal::RateLimited(_)) => {
                    *retry_after == Some(Duration::from_secs(3))
                }
                (ProviderError::Status { status: 500, .. }, Refusal::ServerError) => true,
                (ProviderError::Timeout { what: "response", .. }, Refusal::NoAnswer) => true,
                _ => false,
            };
            assert!(right && samples == 0, "{refusal:?}: {error}");
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }
}

#[tokio::test]
async fn late_stalled_and_broken_audio_is_reported_after_what_came() {
    for (_, error) in endings_within((1_000, PATIENT.1), |b| b.first_byte = Duration::from_secs(60)).await {
        assert!(matches!(error, ProviderError::Timeout { what: "first audio", .. }), "{error}");
    }
    for (samples, error) in endings_within((PATIENT.0, 250), |b| b.fault = TtsFault::StallAfter(9600)).await {
        assert!(matches!(error, ProviderError::Timeout { what: "further audio", .. }), "{error}");
        assert!((1500..=1600).contains(&samples), "{samples}");
    }
    for (samples, error) in endings(|b| b.fault = TtsFault::CutAfter(9600)).await {
        assert!(matches!(error, ProviderError::Connection { .. }), "{error}");
        assert!(samples <= 1600, "{samples}");
    }
    for (_, error) in endings(|b| b.fault = TtsFault::EndAfter(9601)).await {
        assert!(matches!(&error, ProviderError::Protocol { what, .. } if what.contains("inside a sample")), "{error}");
    }
}

#[tokio::test]
async fn an_answer_without_audio_is_an_error() {
    for fault in [TtsFault::EndAfter(0), TtsFault::NotAudio] {
        for (samples, error) in endings(|b| b.fault = fault).await {
            assert!(matches!(error, ProviderError::Protocol { .. }) && samples == 0, "{error}");
        }
    }
}

#[tokio::test]
async fn dropping_the_stream_closes_the_connection() {
    let (vendors, voices) = voices(|b| b.fault = TtsFault::StallAfter(9600)).await;
    for voice in &voices {
        let mut stream = voice.speak(request()).await.unwrap();
        stream.next().await.unwrap().unwrap();
        drop(stream);
        vendors.tts.until(|c| c.open == 0).await;
    }
}

const SENTENCE: &str = "Our opening hours are from eight in the morning to five in the afternoon.";

/// What a chain makes of the sentence whose first voice is a vendor that half-closes its socket after so many bytes.
async fn continued(framing: Framing, bytes: usize) -> (VendorStandIns, Vec<SpeechChunk>) {
    let closing = HalfClosed::start(SENTENCE, Rate::Hz24000, bytes, framing).await.unwrap();
    let (vendors, [_, openai]) = voices(|_| {}).await;
    let config = DeepgramConfig {
        base_url: closing.base_url(),
        api_key: Some(ApiKey::new("hunter2".into()).unwrap()),
        ..DeepgramConfig::default()
    };
    let first = DeepgramTts::new(&config, &TtsConfig::default()).unwrap();
    let chain: Vec<Arc<dyn Tts>> = vec![Arc::new(CachedTts::new(Arc::new(first), 1 << 20)), openai.into()];
    let tts = TtsConfig { first_audio_timeout_ms: 30_000, hedge_after_ms: 30_000, ..TtsConfig::default() };
    let chain = chain.into_iter().map(Ranked::from).collect();
    let chain = VoiceChain::new(chain, &tts, &ResilienceConfig::default(), &Metrics::new());
    let request = SpeakRequest { text: clear(SENTENCE), ..request() };
    let chunks = Tts::speak(&chain, request).await.unwrap().map(Result::unwrap).collect().await;
    (vendors, chunks)
}

#[tokio::test]
async fn a_sentence_whose_vendor_half_closes_the_socket_goes_on_with_the_first_word_that_was_not_whole() {
    // 60 ms a character, 24 kHz: "Our opening hours are" takes 21 of them.
    let bytes = 23 * 60 * 24 * 2;
    for framing in [Framing::Chunked, Framing::Length, Framing::Close] {
        let (vendors, chunks) = continued(framing, bytes).await;
        let rest = vendors.tts.counters().body["input"].as_str().unwrap_or_default().to_owned();
        assert!(SENTENCE.ends_with(&rest) && rest.len() < SENTENCE.len(), "{framing:?}: `{rest}`");
        let said = SENTENCE.len() - rest.len();
        assert!((12..=26).contains(&said), "{framing:?}: `{rest}`, {said} characters were said");
        let keep = chunks.iter().find_map(|chunk| chunk.rejoins).unwrap();
        assert!(keep <= 23 * 480, "{framing:?}: {keep}");
        let behind = chunks.iter().skip_while(|chunk| chunk.rejoins.is_none());
        let behind: usize = behind.map(|chunk| chunk.samples.len()).sum();
        assert!(behind.abs_diff(rest.len() * 480) < 40, "{framing:?}: {behind} samples of `{rest}`");
    }
}
