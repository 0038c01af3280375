//! A stand-in for Azure's recogniser: `WS /speech/recognition/conversation/cognitiveservices/v1`, PCM up, hypotheses and
//! phrases down. What it recognises is what really arrived, see [`super::recogniser`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use offhook_media::FRAME;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::deepgram_stt::{SttBehaviour, SttFault, struck};
use super::recogniser::{Dictionary, Heard, Hypothesis, Recogniser, Settings};
use super::{DelayKind, Desk};

pub(super) fn routes(desk: Desk<SttBehaviour>, dictionary: Arc<Dictionary>) -> Router {
    let path = "/speech/recognition/conversation/cognitiveservices/v1";
    Router::new().route(path, get(listen)).with_state((desk, dictionary))
}

async fn listen(
    State((desk, dictionary)): State<(Desk<SttBehaviour>, Arc<Dictionary>)>,
    RawQuery(raw): RawQuery,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let behaviour = desk.behaviour();
    if let Err(refusal) = desk.admit(&headers, &raw.unwrap_or_default(), Value::Null, behaviour.refusal).await {
        return refusal;
    }
    let has_region = query.get("language").is_some_and(|language| language.contains('-'));
    if !has_region || !headers.contains_key("x-connectionid") {
        return StatusCode::BAD_REQUEST.into_response();
    }
    desk.delays.wait(DelayKind::SttConnect, behaviour.connect).await;
    let settings = Settings { endpointing: SEGMENT, utterance_end: None, interim_every: behaviour.interim_every };
    let session = Session {
        recogniser: Recogniser::new(dictionary, settings),
        fault: struck(&desk),
        configured: false,
        request: String::new(),
        has_head: false,
        pcm: Vec::new(),
        frames: 0,
        last_voice: Instant::now(),
        desk,
    };
    upgrade.on_upgrade(|socket| session.run(socket))
}

struct Session {
    desk: Desk<SttBehaviour>,
    recogniser: Recogniser,
    fault: SttFault,
    /// `speech.config` has come.
    configured: bool,
    request: String,
    /// The head of the WAV stream has come.
    has_head: bool,
    /// Samples that are no whole frame yet.
    pcm: Vec<i16>,
    frames: u64,
    /// When voiced audio last arrived.
    last_voice: Instant,
}

impl Session {
    async fn run(mut self, mut socket: WebSocket) {
        let _open = self.desk.open();
        while let Some(Ok(message)) = socket.recv().await {
            let goes_on = match message {
                Message::Text(text) => {
                    self.configured |= text.to_ascii_lowercase().contains("path: speech.config");
                    self.configured
                }
                Message::Binary(bytes) => self.audio(&mut socket, &bytes).await,
                Message::Close(_) => false,
                Message::Ping(_) | Message::Pong(_) => true,
            };
            if !goes_on {
                return;
            }
        }
    }

    async fn audio(&mut self, socket: &mut WebSocket, bytes: &[u8]) -> bool {
        let Some(audio) = self.unwrapped(bytes) else { return refuse(socket).await };
        if audio.is_empty() {
            return self.end(socket).await;
        }
        let mut audio = audio.to_vec();
        if !self.has_head {
            if !audio.starts_with(b"RIFF") || audio.len() < WAV_HEAD {
                return refuse(socket).await;
            }
            self.has_head = true;
            audio.drain(..WAV_HEAD);
            if !self.send(socket, "turn.start", &json!({ "context": { "serviceTag": "stand-in" } })).await {
                return false;
            }
        }
        self.pcm.extend(audio.as_chunks::<2>().0.iter().copied().map(i16::from_le_bytes));
        while self.pcm.len() >= FRAME {
            let frame: Vec<i16> = self.pcm.drain(..FRAME).collect();
            if !self.hear(socket, &frame).await {
                return false;
            }
        }
        true
    }

    /// The audio behind its headers.
    fn unwrapped<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let length = usize::from(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]));
        let headers = std::str::from_utf8(bytes.get(2..2 + length)?).ok()?;
        let request = headers.lines().find_map(|line| line.strip_prefix("X-RequestId: "))?;
        request.clone_into(&mut self.request);
        let sound = self.configured && headers.contains("Path: audio\r\n") && headers.contains("X-Timestamp: ");
        bytes.get(2 + length..).filter(|_| sound)
    }

    async fn hear(&mut self, socket: &mut WebSocket, frame: &[i16]) -> bool {
        self.frames += 1;
        self.desk.count(|c| c.units += 1);
        if self.fault.strikes_at(self.frames) {
            return self.fail(socket).await;
        }
        let heard = self.recogniser.hear(frame);
        if self.recogniser.is_voiced_now() {
            self.last_voice = Instant::now();
        }
        self.tell(socket, heard).await
    }

    async fn tell(&mut self, socket: &mut WebSocket, heard: Vec<Heard>) -> bool {
        for heard in heard {
            let told = match heard {
                Heard::Interim(hypothesis) if hypothesis.words.is_empty() => continue,
                Heard::Interim(hypothesis) => {
                    let (offset, duration) = ticks(&hypothesis);
                    let body = json!({ "Text": hypothesis.text(), "Offset": offset, "Duration": duration });
                    self.send(socket, "speech.hypothesis", &body).await
                }
                Heard::Final { hypothesis, .. } => {
                    sleep(self.desk.behaviour().final_delay).await;
                    if !hypothesis.words.is_empty() {
                        self.desk.delays.note(DelayKind::SttFinal, self.last_voice.elapsed());
                    }
                    self.send(socket, "speech.phrase", &phrase(&hypothesis)).await
                }
                Heard::UtteranceEnd { .. } => true,
            };
            if !told {
                return false;
            }
        }
        true
    }

    async fn end(&mut self, socket: &mut WebSocket) -> bool {
        if self.fault.strikes_at(self.frames) {
            return true;
        }
        let rest = self.recogniser.flush();
        // The connection ends either way.
        let _ = self.tell(socket, rest).await && self.send(socket, "turn.end", &Value::Null).await;
        let _ = socket.send(Message::Close(None)).await;
        false
    }

    async fn fail(&mut self, socket: &mut WebSocket) -> bool {
        match self.fault {
            SttFault::None | SttFault::StallAfter(_) => true,
            SttFault::CutAfter(_) => false,
            SttFault::CloseAfter(_) => {
                self.fault = SttFault::StallAfter(0);
                let frame = CloseFrame { code: 1011, reason: "from the stand-in".into() };
                socket.send(Message::Close(Some(frame))).await.is_ok()
            }
            SttFault::MalformedAfter(_) => {
                let text = "Path: speech.phrase\r\n\r\n{\"RecognitionStatus\": oops";
                socket.send(Message::text(text)).await.is_ok()
            }
        }
    }

    async fn send(&self, socket: &mut WebSocket, path: &str, body: &Value) -> bool {
        let kind = "application/json; charset=utf-8";
        let message = format!("X-RequestId:{}\r\nContent-Type:{kind}\r\nPath:{path}\r\n\r\n{body}", self.request);
        socket.send(Message::text(message)).await.is_ok()
    }
}

/// What the vendor does to messages that break its protocol.
async fn refuse(socket: &mut WebSocket) -> bool {
    let frame = CloseFrame { code: 1002, reason: "protocol error".into() };
    // The connection ends either way.
    let _ = socket.send(Message::Close(Some(frame))).await;
    false
}

fn phrase(hypothesis: &Hypothesis) -> Value {
    let (offset, duration) = ticks(hypothesis);
    if hypothesis.words.is_empty() {
        return json!({ "RecognitionStatus": "NoMatch", "Offset": offset, "Duration": duration });
    }
    let best =
        json!({ "Confidence": hypothesis.confidence, "Lexical": hypothesis.text(), "Display": hypothesis.text() });
    json!({ "RecognitionStatus": "Success", "Offset": offset, "Duration": duration, "NBest": [best] })
}

/// Offset and duration in hundreds of nanoseconds.
fn ticks(hypothesis: &Hypothesis) -> (u64, u64) {
    let ticks = |time: Duration| u64::try_from(time.as_nanos() / 100).unwrap_or(u64::MAX);
    (ticks(hypothesis.start), ticks(hypothesis.end.saturating_sub(hypothesis.start)))
}

/// Silence that ends a phrase.
const SEGMENT: Duration = Duration::from_millis(500);
const WAV_HEAD: usize = 44;
