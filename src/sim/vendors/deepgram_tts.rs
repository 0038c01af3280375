//! A stand-in for speech over HTTP: Deepgram's `POST /v1/speak`, OpenAI's `POST /v1/audio/speech` and Azure's
//! `POST /cognitiveservices/v1`, which answer alike with a body of 16-bit PCM, and ElevenLabs'
//! `POST /v1/text-to-speech/VOICE/stream/with-timestamps`, which answers with JSON objects.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use futures_util::stream;
use offhook_media::resample::Rate;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::desk::OpenGuard;
use super::speech::{Speech, length};
use super::{DelayKind, Desk, Refusal};
use crate::sim::turns::script::Lexicon;

/// How the voice behaves. The default answers at once and at full speed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TtsBehaviour {
    /// Before the head of the answer.
    pub connect: Duration,
    /// Between the head and the first audio.
    pub first_byte: Duration,
    /// Speed of the audio in multiples of real time; none is as fast as it is taken.
    pub pace: Option<f32>,
    pub refusal: Option<Refusal>,
    pub fault: TtsFault,
    /// Recorded words to say what is asked for; formants where there are none.
    pub words: Option<Arc<Lexicon>>,
}

/// What goes wrong in the body; numbers are bytes of audio that still come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TtsFault {
    #[default]
    None,
    /// Nothing more comes, and the connection stays.
    StallAfter(usize),
    /// The connection breaks.
    CutAfter(usize),
    /// The body ends as if it were whole.
    EndAfter(usize),
    /// JSON with status 200, where audio is expected, and a page where JSON is.
    NotAudio,
    /// What follows is not what the vendor's protocol has.
    MalformedAfter(usize),
}

pub(super) fn routes(desk: Desk<TtsBehaviour>) -> Router {
    Router::new().route("/v1/speak", post(speak)).route("/v1/audio/speech", post(create_speech)).with_state(desk)
}

pub(super) fn azure(desk: Desk<TtsBehaviour>) -> Router {
    Router::new().route("/cognitiveservices/v1", post(synthesise)).with_state(desk)
}

pub(super) fn elevenlabs(desk: Desk<TtsBehaviour>) -> Router {
    Router::new().route("/v1/text-to-speech/{voice}/stream/with-timestamps", post(with_timestamps)).with_state(desk)
}

async fn synthesise(State(desk): State<Desk<TtsBehaviour>>, headers: HeaderMap, ssml: String) -> Response {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|told| told == value);
    let wanted = is("content-type", "application/ssml+xml")
        && is("x-microsoft-outputformat", "raw-8khz-16bit-mono-pcm")
        && headers.contains_key("user-agent");
    let (true, Some(text)) = (wanted, spoken_in(&ssml)) else { return StatusCode::BAD_REQUEST.into_response() };
    answer(desk, headers, String::new(), Value::String(ssml), text, 8000, Shape::Pcm).await
}

/// The character data of SSML; nothing where it has no voice.
fn spoken_in(ssml: &str) -> Option<String> {
    let (mut text, mut rest) = (String::new(), ssml.split_once("<voice name=")?.1);
    while let Some((data, tag)) = rest.split_once('<') {
        text.push_str(data.split_once('>').map_or(data, |(_, data)| data));
        rest = tag;
    }
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    (ssml.starts_with("<speak ") && ssml.ends_with("</speak>") && !text.is_empty()).then_some(text)
}

async fn with_timestamps(
    State(desk): State<Desk<TtsBehaviour>>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
    axum::Json(body): axum::Json<Value>,
) -> Response {
    let query = raw.unwrap_or_default();
    let (true, Some(text), true) =
        (query == "output_format=pcm_16000", text_of(&body, "text"), text_of(&body, "model_id").is_some())
    else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let characters = text.chars().collect();
    answer(desk, headers, query, body, text, 16_000, Shape::Timed(characters)).await
}

/// What a body looks like.
enum Shape {
    Pcm,
    /// An object for each character, with its time.
    Timed(Vec<char>),
}

async fn speak(
    State(desk): State<Desk<TtsBehaviour>>,
    RawQuery(raw): RawQuery,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    axum::Json(body): axum::Json<Value>,
) -> Response {
    let value = |name: &str| query.get(name).map_or("", String::as_str);
    let linear = value("encoding") == "linear16" && value("container") == "none";
    let rate = value("sample_rate").parse().ok().filter(|rate| [8000, 16_000, 24_000, 32_000, 48_000].contains(rate));
    let (true, Some(rate), Some(text)) = (linear, rate, text_of(&body, "text")) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    answer(desk, headers, raw.unwrap_or_default(), body, text, rate, Shape::Pcm).await
}

async fn create_speech(
    State(desk): State<Desk<TtsBehaviour>>,
    headers: HeaderMap,
    axum::Json(body): axum::Json<Value>,
) -> Response {
    let (Some("pcm"), Some(text)) = (body.get("response_format").and_then(Value::as_str), text_of(&body, "input"))
    else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    answer(desk, headers, String::new(), body, text, 24_000, Shape::Pcm).await
}

fn text_of(body: &Value, field: &str) -> Option<String> {
    body.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

async fn answer(
    desk: Desk<TtsBehaviour>,
    headers: HeaderMap,
    query: String,
    body: Value,
    text: String,
    rate: u32,
    shape: Shape,
) -> Response {
    let behaviour = desk.behaviour();
    if let Err(refusal) = desk.admit(&headers, &query, body, behaviour.refusal).await {
        return refusal;
    }
    desk.delays.wait(DelayKind::TtsConnect, behaviour.connect).await;
    if behaviour.fault == TtsFault::NotAudio {
        return match shape {
            Shape::Pcm => axum::Json(serde_json::json!({ "err_code": "stand-in" })).into_response(),
            Shape::Timed(_) => "<html>stand-in</html>".into_response(),
        };
    }
    let guard = desk.open();
    let speech: Box<dyn Iterator<Item = Vec<i16>> + Send> = match (&behaviour.words, Rate::from_hz(rate)) {
        (Some(words), Ok(known)) => Box::new(in_chunks(words.say_at(&text, known), rate)),
        _ => Box::new(Speech::new(&text, rate)),
    };
    let kind = if matches!(shape, Shape::Pcm) { "audio/l16" } else { "application/json" };
    let voice = Voice { desk, speech, shape, sent: 0, chunks: 0, begun: None, rate, _guard: guard };
    tracing::debug!(length = ?length(&text), "stand-in speaks");
    ([("content-type", kind)], Body::from_stream(stream::unfold(voice, Voice::next))).into_response()
}

/// 60 ms at a time.
fn in_chunks(samples: Vec<i16>, rate: u32) -> impl Iterator<Item = Vec<i16>> + Send {
    let length = rate as usize * 60 / 1000;
    (0..samples.len())
        .step_by(length.max(1))
        .map(move |from| samples.get(from..(from + length).min(samples.len())).unwrap_or_default().to_vec())
}

struct Voice {
    desk: Desk<TtsBehaviour>,
    /// 60 ms at a time.
    speech: Box<dyn Iterator<Item = Vec<i16>> + Send>,
    shape: Shape,
    /// Bytes of audio so far.
    sent: usize,
    chunks: u32,
    /// When the first audio went.
    begun: Option<Instant>,
    rate: u32,
    _guard: OpenGuard,
}

impl Voice {
    async fn next(mut self) -> Option<(std::io::Result<Bytes>, Self)> {
        let behaviour = self.desk.behaviour();
        if self.begun.is_none() {
            self.desk.delays.wait(DelayKind::TtsFirstByte, behaviour.first_byte).await;
        }
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let mut bytes: Vec<u8> = match behaviour.fault {
            TtsFault::StallAfter(most) if self.sent >= most => std::future::pending().await,
            TtsFault::CutAfter(most) if self.sent >= most => {
                // One step without data lets what came before leave first.
                tokio::task::yield_now().await;
                return Some((Err(std::io::ErrorKind::ConnectionReset.into()), self));
            }
            TtsFault::EndAfter(most) if self.sent >= most => return None,
            TtsFault::MalformedAfter(most) if self.sent >= most => {
                let malformed = match self.shape {
                    // An odd byte at the end is no sample.
                    Shape::Pcm if self.sent == most => vec![0],
                    Shape::Pcm => return None,
                    Shape::Timed(_) => b"{\"audio_base64\": [oops\n".to_vec(),
                };
                self.sent += 1;
                return Some((Ok(malformed.into()), self));
            }
            _ => self.speech.next()?.into_iter().flat_map(i16::to_le_bytes).collect(),
        };
        if let TtsFault::StallAfter(most)
        | TtsFault::CutAfter(most)
        | TtsFault::EndAfter(most)
        | TtsFault::MalformedAfter(most) = behaviour.fault
        {
            bytes.truncate(most - self.sent);
        }
        if let Some(pace) = behaviour.pace.filter(|pace| *pace > 0.0) {
            let samples = f64::from(self.chunks) * f64::from(self.rate) * 0.06;
            sleep_until(begun + Duration::from_secs_f64(samples / f64::from(self.rate) / f64::from(pace))).await;
        }
        let (from, length) = (self.sent, bytes.len());
        self.sent += length;
        self.chunks += 1;
        self.desk.count(|c| c.units += length as u64);
        let bytes = match &self.shape {
            Shape::Pcm => bytes,
            Shape::Timed(characters) => self.timed(characters, &bytes, from),
        };
        Some((Ok(bytes.into()), self))
    }

    /// The object of a character; where recorded words speak there is no telling which.
    fn timed(&self, characters: &[char], audio: &[u8], from: usize) -> Vec<u8> {
        let seconds = |bytes: usize| bytes as f64 / 2.0 / f64::from(self.rate);
        let character = characters.get(self.chunks as usize - 1).filter(|_| self.desk.behaviour().words.is_none());
        let alignment = character.map(|character| {
            serde_json::json!({
                "characters": [character.to_string()],
                "character_start_times_seconds": [seconds(from)],
                "character_end_times_seconds": [seconds(from + audio.len())],
            })
        });
        let audio = base64::engine::general_purpose::STANDARD.encode(audio);
        let object = serde_json::json!({
            "audio_base64": audio, "alignment": alignment, "normalized_alignment": Value::Null,
        });
        format!("{object}\n").into_bytes()
    }
}
