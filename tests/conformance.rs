//! What every vendor file has to do, whichever the vendor: the same cases for each row of a table, against stand-ins that speak
//! the vendors' documented protocols over loopback.
//!
//! What is particular to a vendor (its parameters, its messages) is tested beside its file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.
#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use futures_util::StreamExt;
use offhook::providers::config::{ProvidersConfig, build};
use offhook::providers::stack::ResilienceConfig;
use offhook::providers::stt::chain::EarChain;
use offhook::providers::{
    Language, ListenRequest, Llm, LlmEvent, Message, ProviderError, ReplyRequest, Role, SpeakRequest, Stt, SttEvent,
    Tts, frame_queue,
};
use offhook::safety::said::clear;
use offhook::sim::vendors::deepgram_stt::{SttBehaviour, SttFault};
use offhook::sim::vendors::deepgram_tts::{TtsBehaviour, TtsFault};
use offhook::sim::vendors::half_closed::{Framing, HalfClosed};
use offhook::sim::vendors::openai_llm::{LlmBehaviour, LlmFault};
use offhook::sim::vendors::recogniser::Utterance;
use offhook::sim::vendors::speech::Speech;
use offhook::sim::vendors::{Desk, Refusal, VendorStandIns};
use offhook::telemetry::metrics::Metrics;
use offhook::telemetry::pii::Pii;
use offhook_media::{FRAME, Frame};
use serde_json::{Value, json};

const TEXT: &str = "I would like to book an appointment for tomorrow.";
const SECRET: &str = "hunter2";
/// Limits in ms that no busy machine reaches.
const PATIENT: u64 = 30_000;

// ---- the table

struct Voice {
    name: &'static str,
    desk: fn(&VendorStandIns) -> &Desk<TtsBehaviour>,
    /// Bytes of audio for each character of a text in the stand-in's voice: 60 ms.
    bytes: usize,
    /// Says when its words are.
    tells_words: bool,
}

const VOICES: [Voice; 4] = [
    Voice { name: "deepgram", desk: |vendors| &vendors.tts, bytes: 2880, tells_words: false },
    Voice { name: "openai", desk: |vendors| &vendors.tts, bytes: 2880, tells_words: false },
    Voice { name: "elevenlabs", desk: |vendors| &vendors.elevenlabs, bytes: 1920, tells_words: true },
    Voice { name: "azure", desk: |vendors| &vendors.azure_tts, bytes: 960, tells_words: false },
];

struct Ear {
    name: &'static str,
    /// The vendor's own model, where it has several protocols.
    model: Option<&'static str>,
    desk: fn(&VendorStandIns) -> &Desk<SttBehaviour>,
}

const EARS: [Ear; 3] = [
    Ear { name: "deepgram", model: Some("nova-3"), desk: |vendors| &vendors.stt },
    Ear { name: "deepgram", model: Some("flux-general-en"), desk: |vendors| &vendors.stt },
    Ear { name: "azure", model: None, desk: |vendors| &vendors.azure_stt },
];

struct Mind {
    name: &'static str,
    desk: fn(&VendorStandIns) -> &Desk<LlmBehaviour>,
    /// The beginning of an answer, as its wire has it.
    begins: &'static str,
}

const MINDS: [Mind; 2] = [
    Mind {
        name: "openai",
        desk: |vendors| &vendors.llm,
        begins: "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"I would \"},\"finish_reason\":null}]}\n\n",
    },
    Mind {
        name: "anthropic",
        desk: |vendors| &vendors.anthropic,
        begins: "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\
                 \"delta\":{\"type\":\"text_delta\",\"text\":\"I would \"}}\n\n",
    },
];

fn config(base_url: &str, more: Value) -> ProvidersConfig {
    let section = || json!({ "base_url": base_url, "api_key": SECRET });
    let mut all = json!({
        "deepgram": section(), "openai": section(), "anthropic": section(), "elevenlabs": section(), "azure": section(),
    });
    for (name, part) in more.as_object().unwrap() {
        for (key, value) in part.as_object().unwrap() {
            all[name][key] = value.clone();
        }
    }
    serde_json::from_value(all).unwrap()
}

async fn stand_ins() -> VendorStandIns {
    let samples = Arc::from(Speech::whole(TEXT, 8000));
    VendorStandIns::start(vec![Utterance { text: TEXT.into(), samples }]).await.unwrap()
}

/// Refusals with what each must be told as.
const REFUSALS: [Refusal; 3] = [Refusal::Unauthorized, Refusal::RateLimited(Some(3)), Refusal::ServerError];

#[track_caller]
fn assert_refused(name: &str, refusal: Refusal, error: &ProviderError) {
    let right = match refusal {
        Refusal::Unauthorized => matches!(error, ProviderError::Unauthorized { status: 401, .. }),
        Refusal::RateLimited(_) => {
            matches!(error, ProviderError::RateLimited { retry_after: Some(after), .. } if after.as_secs() == 3)
        }
        Refusal::ServerError => matches!(error, ProviderError::Status { status: 500, .. }),
        Refusal::NoAnswer => matches!(error, ProviderError::Timeout { .. }),
    };
    assert!(right, "{name}: {refusal:?} is told as `{error}`");
    assert!(!format!("{error:?} {error}").contains(SECRET), "{name} tells its secret");
}

// ---- voices

fn voice(row: &Voice, base_url: &str, first_ms: u64, progress_ms: u64) -> Arc<dyn Tts> {
    let tts = json!({ "provider": row.name, "first_audio_timeout_ms": first_ms, "progress_timeout_ms": progress_ms });
    let providers = build(&config(base_url, json!({ "tts": tts }))).unwrap();
    Arc::clone(&providers.tts[0].vendor)
}

fn sentence() -> SpeakRequest {
    SpeakRequest { text: clear(TEXT), language: Language::default(), voice: None, rate: 1.0 }
}

/// Samples and words that came, and how it ended.
async fn spoken(tts: &dyn Tts) -> (usize, usize, Result<(), ProviderError>) {
    let (mut samples, mut words) = (0, 0);
    let mut stream = match tts.speak(sentence()).await {
        Ok(stream) => stream,
        Err(error) => return (0, 0, Err(error)),
    };
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(chunk) => (samples, words) = (samples + chunk.samples.len(), words + chunk.words.len()),
            Err(error) => {
                assert!(stream.next().await.is_none(), "an error is the end");
                return (samples, words, Err(error));
            }
        }
    }
    (samples, words, Ok(()))
}

async fn spoken_with(
    row: &Voice,
    limits: (u64, u64),
    change: impl FnOnce(&mut TtsBehaviour),
) -> (usize, ProviderError) {
    let vendors = stand_ins().await;
    (row.desk)(&vendors).set(change);
    let (samples, _, ended) = spoken(&*voice(row, &vendors.base_url(), limits.0, limits.1)).await;
    (samples, ended.expect_err(row.name))
}

#[tokio::test]
async fn a_voice_says_all_of_a_sentence_at_8_khz() {
    for row in &VOICES {
        let vendors = stand_ins().await;
        let (samples, words, ended) = spoken(&*voice(row, &vendors.base_url(), PATIENT, PATIENT)).await;
        assert_eq!(ended, Ok(()), "{}", row.name);
        assert!(samples.abs_diff(TEXT.len() * 480) < 60, "{}: {samples}", row.name);
        assert_eq!(words > 0, row.tells_words, "{}", row.name);
        let counters = (row.desk)(&vendors).counters();
        assert!(counters.authorized && counters.body.to_string().contains("book an appointment"), "{}", row.name);
    }
}

#[tokio::test]
async fn a_voice_tells_why_it_was_refused() {
    for row in &VOICES {
        for refusal in REFUSALS {
            let (samples, error) = spoken_with(row, (PATIENT, PATIENT), |tts| tts.refusal = Some(refusal)).await;
            assert_refused(row.name, refusal, &error);
            assert_eq!(samples, 0);
        }
        let (_, error) = spoken_with(row, (400, PATIENT), |tts| tts.refusal = Some(Refusal::NoAnswer)).await;
        assert_refused(row.name, Refusal::NoAnswer, &error);
    }
}

#[tokio::test]
async fn a_voice_that_is_late_or_stalls_is_not_waited_for() {
    for row in &VOICES {
        let late = |tts: &mut TtsBehaviour| tts.first_byte = Duration::from_secs(60);
        let (samples, error) = spoken_with(row, (600, PATIENT), late).await;
        assert!(matches!(error, ProviderError::Timeout { .. }) && samples == 0, "{}: {error}", row.name);
        let stalls = |tts: &mut TtsBehaviour| tts.fault = TtsFault::StallAfter(10 * row.bytes);
        let (samples, error) = spoken_with(row, (PATIENT, 300), stalls).await;
        assert!(matches!(error, ProviderError::Timeout { .. }), "{}: {error}", row.name);
        assert!(samples.abs_diff(4800) < 60, "{}: {samples} came before it stalled", row.name);
    }
}

#[tokio::test]
async fn a_voice_whose_connection_breaks_tells_what_came_and_that_it_broke() {
    for row in &VOICES {
        let cut = |tts: &mut TtsBehaviour| tts.fault = TtsFault::CutAfter(10 * row.bytes);
        let (samples, error) = spoken_with(row, (PATIENT, PATIENT), cut).await;
        assert!(matches!(error, ProviderError::Connection { .. }) && samples <= 4800, "{}: {error}", row.name);
    }
}

#[tokio::test]
async fn a_voice_whose_socket_is_half_closed_has_broken_off() {
    for row in &VOICES {
        let (body, kind) = body(row);
        for framing in [Framing::Chunked, Framing::Length, Framing::Close] {
            let closed = HalfClosed::with(&body, kind, body.len() / 5, framing).await.unwrap();
            let (samples, _, ended) = spoken(&*voice(row, &closed.base_url(), PATIENT, PATIENT)).await;
            let error = ended.expect_err(row.name);
            let kind = matches!(error, ProviderError::Connection { .. } | ProviderError::Protocol { .. });
            assert!(kind && samples > 0 && samples < TEXT.len() * 240, "{}, {framing:?}: {samples}, {error}", row.name);
        }
    }
}

/// A whole answer, as the vendor's wire has it.
fn body(row: &Voice) -> (Vec<u8>, &'static str) {
    let rate = u32::try_from(row.bytes).unwrap() * 1000 / 60 / 2;
    let pcm = |samples: Vec<i16>| samples.into_iter().flat_map(i16::to_le_bytes).collect::<Vec<u8>>();
    if !row.tells_words {
        return (pcm(Speech::whole(TEXT, rate)), "audio/l16");
    }
    let line = |samples: Vec<i16>| {
        let audio = base64::engine::general_purpose::STANDARD.encode(pcm(samples));
        format!("{}\n", json!({ "audio_base64": audio, "alignment": null }))
    };
    (Speech::new(TEXT, rate).map(line).collect::<String>().into_bytes(), "application/json")
}

#[tokio::test]
async fn a_voice_whose_answer_is_malformed_or_no_speech_has_failed() {
    for row in &VOICES {
        let faults = [
            TtsFault::MalformedAfter(10 * row.bytes),
            TtsFault::NotAudio,
            TtsFault::EndAfter(0),
            TtsFault::EndAfter(row.bytes),
        ];
        for fault in faults {
            let (_, error) = spoken_with(row, (PATIENT, PATIENT), |tts| tts.fault = fault).await;
            assert!(matches!(error, ProviderError::Protocol { .. }), "{}, {fault:?}: {error}", row.name);
        }
    }
}

#[tokio::test]
async fn a_voice_that_nobody_listens_to_is_hung_up_on() {
    for row in &VOICES {
        let vendors = stand_ins().await;
        (row.desk)(&vendors).set(|tts| tts.fault = TtsFault::StallAfter(10 * row.bytes));
        let mut stream = voice(row, &vendors.base_url(), PATIENT, PATIENT).speak(sentence()).await.unwrap();
        stream.next().await.unwrap().unwrap();
        drop(stream);
        (row.desk)(&vendors).until(|counters| counters.open == 0).await;
    }
}

// ---- recognisers

fn ear(row: &Ear, base_url: &str, more: Value) -> EarChain {
    let mut stt = json!({ "provider": row.name, "watchdog_ms": 3000, "connect_timeout_ms": PATIENT });
    for (key, value) in more.as_object().unwrap() {
        stt[key] = value.clone();
    }
    let mut all = json!({ "stt": stt, row.name: { "connect_timeout_ms": PATIENT } });
    if let Some(model) = row.model {
        all[row.name]["stt_model"] = json!(model);
    }
    let config = config(base_url, all);
    let providers = build(&config).unwrap();
    EarChain::new(providers.stt, &config.stt, &ResilienceConfig::default(), &Metrics::new()).unwrap()
}

/// What comes of a caller who says the sentence between two silences, and then falls silent.
async fn heard(stt: &dyn Stt) -> Result<Vec<SttEvent>, ProviderError> {
    let said = [vec![0; 4000], Speech::whole(TEXT, 8000), vec![0; 12_000]].concat();
    let frames: Vec<Frame> = said.as_chunks::<FRAME>().0.to_vec();
    let (sender, audio) = frame_queue(2000);
    let request = ListenRequest { language: Language::default(), hints: vec!["appointment".to_owned()], audio };
    let mut events = stt.listen(request).await?;
    let (mut sender, mut frames) = (Some(sender), frames.into_iter());
    let (mut all, mut pace) = (Vec::new(), tokio::time::interval(Duration::from_millis(20)));
    let give_up = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => all.push(event),
                None => break,
            },
            // Twice as fast as people speak; the line stays open and silent behind it.
            _ = pace.tick(), if sender.is_some() => {
                let next = [(); 2].map(|()| frames.next().unwrap_or([0; FRAME]));
                sender.iter_mut().for_each(|sender| next.iter().for_each(|frame| sender.push_or_drop(*frame)));
            }
            () = tokio::time::sleep_until(give_up) => panic!("nothing more comes after {all:?}"),
        }
        // The call goes on until the words are in.
        if words(&all) == TEXT || matches!(all.last(), Some(SttEvent::Failed(_))) {
            sender = None;
        }
    }
    assert!(sender.is_none(), "the session ended before the call: {all:?}");
    Ok(all)
}

fn words(events: &[SttEvent]) -> String {
    let mut words = Vec::new();
    for event in events {
        if let SttEvent::Final(heard) = event {
            assert!(heard.start < heard.end && (0.0..=1.0).contains(&heard.confidence), "{heard:?}");
            words.push(heard.text.expose().clone());
        }
    }
    words.join(" ")
}

#[tokio::test]
async fn a_recogniser_hears_the_words() {
    for row in &EARS {
        let vendors = stand_ins().await;
        let events = heard(&ear(row, &vendors.base_url(), json!({}))).await.unwrap();
        assert_eq!(words(&events), TEXT, "{} {:?}: {events:?}", row.name, row.model);
        assert!(events.iter().any(|event| matches!(event, SttEvent::Interim(_))), "{}", row.name);
        assert!((row.desk)(&vendors).counters().authorized);
    }
}

#[tokio::test]
async fn a_recogniser_tells_why_it_was_refused() {
    for row in &EARS {
        for refusal in REFUSALS {
            let vendors = stand_ins().await;
            (row.desk)(&vendors).set(|stt| stt.refusal = Some(refusal));
            let error = heard(&ear(row, &vendors.base_url(), json!({}))).await.expect_err(row.name);
            assert_refused(row.name, refusal, &error);
        }
        let vendors = stand_ins().await;
        (row.desk)(&vendors).set(|stt| stt.refusal = Some(Refusal::NoAnswer));
        let impatient = ear(row, &vendors.base_url(), json!({ "connect_timeout_ms": 400 }));
        assert_refused(row.name, Refusal::NoAnswer, &heard(&impatient).await.expect_err(row.name));
    }
}

#[tokio::test]
async fn a_recogniser_whose_session_is_lost_in_the_middle_loses_no_words() {
    for row in &EARS {
        for fault in
            [SttFault::CutAfter(60), SttFault::CloseAfter(60), SttFault::StallAfter(60), SttFault::MalformedAfter(60)]
        {
            let vendors = stand_ins().await;
            (row.desk)(&vendors).set(|stt| (stt.fault, stt.strikes) = (fault, Some(1)));
            let events = heard(&ear(row, &vendors.base_url(), json!({}))).await.unwrap();
            assert_eq!(words(&events), TEXT, "{} {:?}, {fault:?}: {events:?}", row.name, row.model);
            assert!(events.contains(&SttEvent::Reconnecting), "{} {fault:?}", row.name);
            assert!((row.desk)(&vendors).counters().requests >= 2, "{} {fault:?}", row.name);
        }
    }
}

#[tokio::test]
async fn a_recogniser_that_nobody_listens_to_is_hung_up_on() {
    for row in &EARS {
        let vendors = stand_ins().await;
        let (_sender, audio) = frame_queue(10);
        let request = ListenRequest { language: Language::default(), hints: Vec::new(), audio };
        let events = ear(row, &vendors.base_url(), json!({})).listen(request).await.unwrap();
        (row.desk)(&vendors).until(|counters| counters.open == 1).await;
        drop(events);
        (row.desk)(&vendors).until(|counters| counters.open == 0).await;
    }
}

// ---- models

fn mind(row: &Mind, base_url: &str, first_ms: u64, progress_ms: u64) -> Arc<dyn Llm> {
    let llm = json!({ "provider": row.name, "first_token_timeout_ms": first_ms, "progress_timeout_ms": progress_ms });
    let providers = build(&config(base_url, json!({ "llm": llm }))).unwrap();
    Arc::clone(&providers.llm[0].vendor)
}

/// The words that came, and how it ended.
async fn answered(llm: &dyn Llm) -> (String, Result<(), ProviderError>) {
    let messages = vec![Message { role: Role::User, content: Pii::new(TEXT.to_owned()) }];
    let request = ReplyRequest { messages, temperature: 0.5, max_tokens: 100, tools: std::sync::Arc::default() };
    let mut words = String::new();
    let mut tokens = match llm.reply(request).await {
        Ok(tokens) => tokens,
        Err(error) => return (words, Err(error)),
    };
    let mut done = false;
    while let Some(event) = tokens.next().await {
        match event {
            Ok(LlmEvent::Text(text)) => words += &text,
            Ok(LlmEvent::Done { completion_tokens, .. }) => done = completion_tokens.is_some(),
            Ok(LlmEvent::Tool(call)) => panic!("{call:?}, though none was offered"),
            Err(error) => return (words, Err(error)),
        }
    }
    assert!(done, "an answer that ends well says so, and what it took");
    (words, Ok(()))
}

async fn answered_with(
    row: &Mind,
    limits: (u64, u64),
    change: impl FnOnce(&mut LlmBehaviour),
) -> (String, ProviderError) {
    let vendors = stand_ins().await;
    (row.desk)(&vendors).set(change);
    let (words, ended) = answered(&*mind(row, &vendors.base_url(), limits.0, limits.1)).await;
    (words, ended.expect_err(row.name))
}

#[tokio::test]
async fn a_model_answers_word_by_word_and_says_what_it_took() {
    for row in &MINDS {
        let vendors = stand_ins().await;
        let (words, ended) = answered(&*mind(row, &vendors.base_url(), PATIENT, PATIENT)).await;
        assert_eq!((words.as_str(), ended), (TEXT, Ok(())), "{}", row.name);
        assert!((row.desk)(&vendors).counters().authorized);
    }
}

#[tokio::test]
async fn a_model_tells_why_it_was_refused() {
    for row in &MINDS {
        for refusal in REFUSALS {
            let (_, error) = answered_with(row, (PATIENT, PATIENT), |llm| llm.refusal = Some(refusal)).await;
            assert_refused(row.name, refusal, &error);
        }
        let (_, error) = answered_with(row, (400, PATIENT), |llm| llm.refusal = Some(Refusal::NoAnswer)).await;
        assert_refused(row.name, Refusal::NoAnswer, &error);
    }
}

#[tokio::test]
async fn a_model_that_fails_in_the_middle_tells_what_came_and_that_it_failed() {
    for row in &MINDS {
        let faults = [
            LlmFault::StallAfter(3),
            LlmFault::CutAfter(3),
            LlmFault::EndAfter(3),
            LlmFault::MalformedAfter(3),
            LlmFault::ErrorAfter(3),
        ];
        for fault in faults {
            let (words, error) = answered_with(row, (PATIENT, 500), |llm| llm.fault = fault).await;
            let right = match fault {
                LlmFault::StallAfter(_) => matches!(error, ProviderError::Timeout { .. }),
                LlmFault::CutAfter(_) | LlmFault::EndAfter(_) => matches!(error, ProviderError::Connection { .. }),
                _ => matches!(error, ProviderError::Protocol { .. }),
            };
            assert!(right && TEXT.starts_with(&words), "{}, {fault:?}: `{words}`, {error}", row.name);
        }
        let late = |llm: &mut LlmBehaviour| llm.first_token = Duration::from_secs(60);
        let (words, error) = answered_with(row, (500, PATIENT), late).await;
        assert!(matches!(error, ProviderError::Timeout { .. }) && words.is_empty(), "{}: {error}", row.name);
    }
}

#[tokio::test]
async fn a_model_whose_socket_is_half_closed_has_broken_off() {
    for row in &MINDS {
        let whole = row.begins.repeat(4);
        for framing in [Framing::Chunked, Framing::Length, Framing::Close] {
            let part = row.begins.len() * 2;
            let closed = HalfClosed::with(whole.as_bytes(), "text/event-stream", part, framing).await.unwrap();
            let (words, ended) = answered(&*mind(row, &closed.base_url(), PATIENT, PATIENT)).await;
            let error = ended.expect_err(row.name);
            assert!(matches!(error, ProviderError::Connection { .. }), "{}, {framing:?}: {error}", row.name);
            assert!(words.starts_with("I would ") && words.len() <= 16, "{}, {framing:?}: `{words}`", row.name);
        }
    }
}

#[tokio::test]
async fn a_model_that_nobody_listens_to_is_hung_up_on() {
    for row in &MINDS {
        let vendors = stand_ins().await;
        (row.desk)(&vendors).set(|llm| llm.fault = LlmFault::StallAfter(2));
        let messages = vec![Message { role: Role::User, content: Pii::new(TEXT.to_owned()) }];
        let request = ReplyRequest { messages, temperature: 0.5, max_tokens: 100, tools: std::sync::Arc::default() };
        let mut tokens = mind(row, &vendors.base_url(), PATIENT, PATIENT).reply(request).await.unwrap();
        tokens.next().await.unwrap().unwrap();
        drop(tokens);
        (row.desk)(&vendors).until(|counters| counters.open == 0).await;
    }
}
