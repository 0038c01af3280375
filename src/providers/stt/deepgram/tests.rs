//! Against the stand-in over loopback. The tests that need minutes to pass run the rules alone, in the other files.

use std::sync::Arc;

use offhook_media::Frame;

use super::*;
use crate::providers::config::ApiKey;
use crate::providers::{FrameSender, Language, frame_queue};
use crate::sim::vendors::deepgram_stt::{SttBehaviour, SttFault};
use crate::sim::vendors::recogniser::Utterance;
use crate::sim::vendors::speech::Speech;
use crate::sim::vendors::{DelayKind, Refusal, VendorStandIns};

const TEXT: &str = "i would like to book an appointment for tomorrow";

struct Call {
    vendors: VendorStandIns,
    audio: FrameSender,
    events: mpsc::Receiver<SttEvent>,
}

async fn stand_in(change: impl FnOnce(&mut SttBehaviour)) -> VendorStandIns {
    let samples = Arc::from(Speech::whole(TEXT, 8000));
    let vendors = VendorStandIns::start(vec![Utterance { text: TEXT.into(), samples }]).await.unwrap();
    vendors.stt.set(change);
    vendors
}

/// A limit in ms that no busy machine reaches.
const PATIENT: u64 = 30_000;

fn recogniser(vendors: &VendorStandIns, connect_timeout_ms: u64, watchdog_ms: u64) -> DeepgramStt {
    recogniser_of("nova-3", vendors, connect_timeout_ms, watchdog_ms)
}

fn recogniser_of(model: &str, vendors: &VendorStandIns, connect_timeout_ms: u64, watchdog_ms: u64) -> DeepgramStt {
    let deepgram = DeepgramConfig {
        stt_model: model.to_owned(),
        base_url: vendors.base_url(),
        api_key: Some(ApiKey::new("hunter2".into()).unwrap()),
        connect_timeout_ms,
        ..DeepgramConfig::default()
    };
    let mut stt = DeepgramStt::new(&deepgram, &SttConfig { watchdog_ms, ..SttConfig::default() }).unwrap();
    stt.0.last_words = Duration::from_millis(PATIENT);
    stt
}

async fn listen(stt: &DeepgramStt) -> Result<(FrameSender, mpsc::Receiver<SttEvent>), ProviderError> {
    let (sender, audio) = frame_queue(1000);
    let hints = vec!["appointment".to_owned()];
    let events = stt.listen(ListenRequest { language: Language::default(), hints, audio }).await?;
    Ok((sender, events))
}

async fn call(change: impl FnOnce(&mut SttBehaviour)) -> Call {
    let vendors = stand_in(change).await;
    let (audio, events) = listen(&recogniser(&vendors, PATIENT, PATIENT)).await.unwrap();
    Call { vendors, audio, events }
}

fn frames(samples: &[i16]) -> Vec<Frame> {
    samples.as_chunks::<160>().0.to_vec()
}

fn spoken_then_silence() -> Vec<Frame> {
    let mut samples = Speech::whole(TEXT, 8000);
    samples.resize(samples.len() + 12_000, 0);
    frames(&samples)
}

/// All events until the session ends.
async fn all(mut events: mpsc::Receiver<SttEvent>) -> Vec<SttEvent> {
    let mut told = Vec::new();
    while let Some(event) = events.recv().await {
        told.push(event);
    }
    told
}

fn finals(told: &[SttEvent]) -> String {
    let text = |event: &SttEvent| match event {
        SttEvent::Final(recognised) => Some(recognised.text.expose().clone()),
        _ => None,
    };
    told.iter().filter_map(text).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn words_come_interim_then_final_then_the_turn_ends() {
    let Call { vendors, mut audio, events } = call(|_| {}).await;
    spoken_then_silence().iter().for_each(|frame| audio.push_or_drop(*frame));
    drop(audio);
    let told = all(events).await;
    assert_eq!(finals(&told), TEXT);
    assert!(matches!(told[0], SttEvent::Interim(_)), "{told:?}");
    assert_eq!(told.iter().filter(|e| **e == SttEvent::SpeechEnded).count(), 1);
    let counters = vendors.stt.counters();
    assert!(counters.authorized);
    for part in ["model=nova-3", "encoding=mulaw", "sample_rate=8000", "interim_results=true", "keyterm=appointment"] {
        assert!(counters.query.split('&').any(|p| p == part), "{part} in {}", counters.query);
    }
    assert!(vendors.delays.all().iter().any(|d| d.kind == DelayKind::SttFinal));
}

#[tokio::test]
async fn silence_gives_no_words() {
    let Call { mut audio, events, .. } = call(|_| {}).await;
    frames(&[0; 24_000]).iter().for_each(|frame| audio.push_or_drop(*frame));
    drop(audio);
    assert_eq!(all(events).await, []);
}

#[tokio::test]
async fn refusals_are_told_apart() {
    for refusal in [Refusal::Unauthorized, Refusal::RateLimited(Some(9)), Refusal::ServerError, Refusal::NoAnswer] {
        let vendors = stand_in(|b| b.refusal = Some(refusal)).await;
        let connect_ms = if matches!(refusal, Refusal::NoAnswer) { 300 } else { PATIENT };
        let error = listen(&recogniser(&vendors, connect_ms, PATIENT)).await.err().unwrap();
        let expected = match refusal {
            Refusal::Unauthorized => ProviderError::Unauthorized { vendor: VENDOR, status: 401 },
            Refusal::RateLimited(_) => {
                ProviderError::RateLimited { vendor: VENDOR, retry_after: Some(Duration::from_secs(9)) }
            }
            Refusal::ServerError => ProviderError::Status { vendor: VENDOR, status: 500 },
            Refusal::NoAnswer => {
                ProviderError::Timeout { vendor: VENDOR, what: "connection", after: Duration::from_millis(300) }
            }
        };
        assert_eq!(error, expected);
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn a_connection_lost_in_the_middle_of_speech_loses_no_word_and_repeats_none() {
    for fault in [SttFault::CutAfter(60), SttFault::CloseAfter(60), SttFault::MalformedAfter(60)] {
        let Call { vendors, mut audio, mut events } = call(|b| (b.fault, b.strikes) = (fault, Some(1))).await;
        let frames = spoken_then_silence();
        let (before, after) = frames.split_at(70);
        before.iter().for_each(|frame| audio.push_or_drop(*frame));
        let mut told = Vec::new();
        loop {
            told.push(events.recv().await.unwrap());
            if told.last() == Some(&SttEvent::Reconnecting) {
                break;
            }
        }
        after.iter().for_each(|frame| audio.push_or_drop(*frame));
        drop(audio);
        told.extend(all(events).await);
        assert_eq!(finals(&told), TEXT, "{fault:?}: {told:?}");
        assert_eq!(vendors.stt.counters().requests, 2);
    }
}

#[tokio::test]
async fn audio_without_any_answer_is_noticed() {
    let vendors = stand_in(|b| (b.fault, b.strikes) = (SttFault::StallAfter(0), Some(1))).await;
    let (mut audio, mut events) = listen(&recogniser(&vendors, PATIENT, 3_000)).await.unwrap();
    spoken_then_silence().iter().for_each(|frame| audio.push_or_drop(*frame));
    assert_eq!(events.recv().await, Some(SttEvent::Reconnecting));
    drop(audio);
    assert_eq!(finals(&all(events).await), TEXT);
}

#[tokio::test]
async fn a_vendor_that_stays_away_ends_the_session_with_its_reason() {
    let Call { vendors, mut audio, mut events } = call(|b| b.fault = SttFault::CutAfter(1)).await;
    vendors.stt.set(|b| b.refusal = Some(Refusal::Unauthorized));
    audio.push_or_drop([0; 160]);
    assert_eq!(events.recv().await, Some(SttEvent::Reconnecting));
    let failed = SttEvent::Failed(ProviderError::Unauthorized { vendor: VENDOR, status: 401 });
    assert_eq!(events.recv().await, Some(failed));
    assert_eq!(events.recv().await, None);
}

#[tokio::test]
async fn a_session_without_audio_is_kept_alive() {
    let vendors = stand_in(|_| {}).await;
    let mut stt = recogniser(&vendors, PATIENT, PATIENT);
    stt.0.keep_alive = Duration::from_millis(20);
    let (audio, events) = listen(&stt).await.unwrap();
    vendors.stt.until(|c| c.keep_alives >= 3).await;
    drop(audio);
    assert_eq!(all(events).await, []);
    assert_eq!(vendors.stt.counters().requests, 1);
}

#[tokio::test]
async fn dropping_the_receiver_closes_the_connection() {
    let Call { vendors, audio: _audio, events } = call(|_| {}).await;
    vendors.stt.until(|c| c.open == 1).await;
    drop(events);
    vendors.stt.until(|c| c.open == 0).await;
}

#[tokio::test]
async fn flux_tells_where_a_turn_is() {
    let vendors = stand_in(|b| b.final_delay = Duration::from_millis(400)).await;
    let stt = recogniser_of("flux-general-en", &vendors, PATIENT, PATIENT);
    let (mut audio, events) = listen(&stt).await.unwrap();
    spoken_then_silence().iter().for_each(|frame| audio.push_or_drop(*frame));
    drop(audio);
    let told = all(events).await;
    assert_eq!(finals(&told), TEXT);
    assert!(matches!(told[0], SttEvent::Interim(_)), "{told:?}");
    let at = |event: &SttEvent| told.iter().position(|e| e == event).unwrap_or_else(|| panic!("{event:?}: {told:?}"));
    assert!(at(&SttEvent::EagerTurnEnd) < at(&SttEvent::TurnEnded));
    let query = vendors.stt.counters().query;
    for part in ["model=flux-general-en", "encoding=mulaw", "eager_eot_threshold=0.5", "keyterm=appointment"] {
        assert!(query.split('&').any(|p| p == part), "{part} in {query}");
    }
    assert!(!query.contains("endpointing") && !query.contains("language"), "{query}");
}

#[tokio::test]
async fn flux_takes_a_pause_for_an_end_that_may_be_taken_back() {
    let vendors = stand_in(|b| b.final_delay = Duration::from_millis(2000)).await;
    let (mut audio, events) = listen(&recogniser_of("flux-general-en", &vendors, PATIENT, PATIENT)).await.unwrap();
    let mut samples = Speech::whole(TEXT, 8000);
    samples.resize(samples.len() + 6_400, 0);
    samples.extend(Speech::whole(TEXT, 8000));
    samples.resize(samples.len() + 24_000, 0);
    frames(&samples).iter().for_each(|frame| audio.push_or_drop(*frame));
    drop(audio);
    let told = all(events).await;
    assert_eq!(finals(&told), format!("{TEXT} {TEXT}"));
    assert!(told.contains(&SttEvent::TurnResumed), "{told:?}");
    assert_eq!(told.iter().filter(|e| **e == SttEvent::TurnEnded).count(), 1);
}

#[tokio::test]
async fn a_flux_connection_lost_in_the_middle_of_a_turn_hears_it_again() {
    for fault in [SttFault::CutAfter(60), SttFault::CloseAfter(60), SttFault::MalformedAfter(60)] {
        let vendors = stand_in(|b| (b.fault, b.strikes) = (fault, Some(1))).await;
        let (mut audio, mut events) =
            listen(&recogniser_of("flux-general-en", &vendors, PATIENT, PATIENT)).await.unwrap();
        let frames = spoken_then_silence();
        let (before, after) = frames.split_at(70);
        before.iter().for_each(|frame| audio.push_or_drop(*frame));
        while events.recv().await.unwrap() != SttEvent::Reconnecting {}
        after.iter().for_each(|frame| audio.push_or_drop(*frame));
        drop(audio);
        let told = all(events).await;
        assert_eq!(finals(&told), TEXT, "{fault:?}: {told:?}");
    }
}

#[tokio::test]
async fn a_flux_session_without_audio_is_kept_alive_by_silence() {
    let vendors = stand_in(|_| {}).await;
    let mut stt = recogniser_of("flux-general-en", &vendors, PATIENT, PATIENT);
    stt.0.keep_alive = Duration::from_millis(20);
    let (audio, events) = listen(&stt).await.unwrap();
    vendors.stt.until(|c| c.units >= 3).await;
    drop(audio);
    assert_eq!(all(events).await, []);
    assert_eq!(vendors.stt.counters().requests, 1);
}

#[test]
fn nothing_printed_holds_the_key() {
    let request = wire::handshake(&settings(), &Language::default(), &[]).unwrap();
    assert!(!format!("{request:?}").contains("hunter2"));
    assert!(!request.uri().to_string().contains("hunter2"));
}

fn settings() -> Settings {
    let deepgram =
        DeepgramConfig { api_key: Some(ApiKey::new("hunter2".into()).unwrap()), ..DeepgramConfig::default() };
    DeepgramStt::new(&deepgram, &SttConfig::default()).unwrap().0
}
