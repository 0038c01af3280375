//! Against the stand-in over loopback.

use offhook_media::wav::Wav;
use offhook_media::{FRAME, Frame};

use super::*;
use crate::providers::config::ApiKey;
use crate::providers::{Language, frame_queue};
use crate::sim::vendors::recogniser::Utterance;
use crate::sim::vendors::{Refusal, VendorStandIns};

fn recording() -> Vec<i16> {
    let path = format!("{}/fixtures/audio/human/to-call-this-number.wav", env!("CARGO_MANIFEST_DIR"));
    Wav::parse(&std::fs::read(path).unwrap()).unwrap().samples
}

/// What comes of a caller who says the recording `times` times.
async fn heard(model: &str, times: usize, refusal: Option<Refusal>) -> (VendorStandIns, Vec<SttEvent>) {
    let said = Utterance { text: "to call this number".into(), samples: recording().into() };
    let vendors = VendorStandIns::start(vec![said]).await.unwrap();
    vendors.transcriptions.set(|behaviour| behaviour.refusal = refusal);
    let config = OpenAiConfig {
        base_url: vendors.base_url(),
        api_key: Some(ApiKey::new("hunter2".into()).unwrap()),
        stt_model: model.into(),
        ..OpenAiConfig::default()
    };
    let stt = OpenAiStt::new(&config, &SttConfig::default()).unwrap();
    let once = [vec![0; 8000], recording(), vec![0; 8000]].concat();
    let frames: Vec<Frame> = once.repeat(times).as_chunks::<FRAME>().0.to_vec();
    let (mut sender, audio) = frame_queue(frames.len());
    frames.iter().for_each(|frame| sender.push_or_drop(*frame));
    drop(sender);
    let request = ListenRequest { language: Language::default(), hints: vec!["number".into(), "call".into()], audio };
    let mut events = stt.listen(request).await.unwrap();
    let mut all = Vec::new();
    while let Some(event) = events.recv().await {
        all.push(event);
    }
    (vendors, all)
}

fn words(events: &[SttEvent]) -> Vec<&str> {
    let mut words = Vec::new();
    for event in events {
        if let SttEvent::Final(heard) = event {
            words.push(heard.text.expose().as_str());
        }
    }
    words
}

#[tokio::test]
async fn each_stretch_of_speech_comes_back_as_words_in_order() {
    let (vendors, events) = heard("whisper-1", 2, None).await;
    assert_eq!(words(&events), ["to call this number"; 2], "{events:?}");
    assert_eq!(events.iter().filter(|event| **event == SttEvent::SpeechEnded).count(), 2);
    let SttEvent::Final(first) = &events[0] else { panic!("{events:?}") };
    assert!(first.start >= Duration::from_millis(900) && first.end > first.start, "{first:?}");
    assert!(first.confidence > 0.5 && first.confidence < 0.9, "as the stand-in tells: {}", first.confidence);
    let counters = vendors.transcriptions.counters();
    assert!(counters.authorized);
    for (field, value) in
        [("model", "whisper-1"), ("language", "en"), ("response_format", "verbose_json"), ("prompt", "number, call")]
    {
        assert_eq!(counters.body[field], value);
    }
}

#[tokio::test]
async fn a_model_that_tells_only_words_is_believed() {
    let (vendors, events) = heard("gpt-4o-mini-transcribe", 1, None).await;
    assert_eq!(words(&events), ["to call this number"]);
    assert_eq!(vendors.transcriptions.counters().body["response_format"], "json");
}

#[tokio::test]
async fn refused_credentials_end_the_session_and_other_failures_do_so_the_third_time() {
    let (_vendors, events) = heard("whisper-1", 4, Some(Refusal::Unauthorized)).await;
    assert_eq!(events, [SttEvent::Failed(ProviderError::Unauthorized { vendor: VENDOR, status: 401 })]);
    let (vendors, events) = heard("whisper-1", 4, Some(Refusal::ServerError)).await;
    let failed = SttEvent::Failed(ProviderError::Status { vendor: VENDOR, status: 500 });
    assert_eq!(events, [SttEvent::SpeechEnded, SttEvent::SpeechEnded, failed]);
    assert!(vendors.transcriptions.counters().requests >= 6, "each is tried twice");
}

#[test]
fn words_made_up_out_of_noise_are_left_out() {
    let answer = |text: &str| serde_json::from_str::<Answer>(text).unwrap().words();
    let noise = r#"{"text":" Thank you.","segments":[{"text":" Thank you.","avg_logprob":-1.4,"no_speech_prob":0.9}]}"#;
    assert_eq!(answer(noise), None);
    let speech = r#"{"text":" Yes.","segments":[{"text":" Yes.","avg_logprob":-0.1,"no_speech_prob":0.7}]}"#;
    let (text, confidence) = answer(speech).unwrap();
    assert_eq!(text, "Yes.");
    assert!((confidence - 0.904_8).abs() < 1e-3, "{confidence}");
    assert_eq!(answer(r#"{"text":"  "}"#), None);
    assert_eq!(answer(r#"{"text":"no","more":1}"#), Some(("no".to_owned(), UNTOLD)));
}

#[test]
fn hints_cannot_break_the_form() {
    let asked = Asked { language: "en".into(), hints: format!("a\r\n--{BOUNDARY}\r\nb") };
    let body = String::from_utf8(form("m", &asked, b"RIFF")).unwrap();
    assert_eq!(body.matches(&format!("\r\n--{BOUNDARY}")).count(), 6, "{body}");
}
