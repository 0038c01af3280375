//! A stand-in for speech over HTTP: Deepgram's `POST /v1/speak` and OpenAI's `POST /v1/audio/speech`, which answer alike
//! with a body of 16-bit PCM.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
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
    /// JSON with status 200.
    NotAudio,
}

pub(super) fn routes(desk: Desk<TtsBehaviour>) -> Router {
    Router::new().route("/v1/speak", post(speak)).route("/v1/audio/speech", post(create_speech)).with_state(desk)
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
    answer(desk, headers, raw.unwrap_or_default(), body, text, rate).await
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
    answer(desk, headers, String::new(), body, text, 24_000).await
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
) -> Response {
    let behaviour = desk.behaviour();
    if let Err(refusal) = desk.admit(&headers, &query, body, behaviour.refusal).await {
        return refusal;
    }
    desk.delays.wait(DelayKind::TtsConnect, behaviour.connect).await;
    if behaviour.fault == TtsFault::NotAudio {
        return axum::Json(serde_json::json!({ "err_code": "stand-in" })).into_response();
    }
    let guard = desk.open();
    let speech: Box<dyn Iterator<Item = Vec<i16>> + Send> = match (&behaviour.words, Rate::from_hz(rate)) {
        (Some(words), Ok(known)) => Box::new(in_chunks(words.say_at(&text, known), rate)),
        _ => Box::new(Speech::new(&text, rate)),
    };
    let voice = Voice { desk, speech, sent: 0, chunks: 0, begun: None, rate, _guard: guard };
    tracing::debug!(length = ?length(&text), "stand-in speaks");
    ([("content-type", "audio/l16")], Body::from_stream(stream::unfold(voice, Voice::next))).into_response()
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
    /// Bytes so far.
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
            _ => self.speech.next()?.into_iter().flat_map(i16::to_le_bytes).collect(),
        };
        if let TtsFault::StallAfter(most) | TtsFault::CutAfter(most) | TtsFault::EndAfter(most) = behaviour.fault {
            bytes.truncate(most - self.sent);
        }
        if let Some(pace) = behaviour.pace.filter(|pace| *pace > 0.0) {
            let samples = f64::from(self.chunks) * f64::from(self.rate) * 0.06;
            sleep_until(begun + Duration::from_secs_f64(samples / f64::from(self.rate) / f64::from(pace))).await;
        }
        self.sent += bytes.len();
        self.chunks += 1;
        self.desk.count(|c| c.units += bytes.len() as u64);
        Some((Ok(bytes.into()), self))
    }
}
