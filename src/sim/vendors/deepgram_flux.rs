//! A stand-in for Deepgram's Flux: `WS /v2/listen`, mu-law up, `TurnInfo` down. What it recognises is what really arrived,
//! see [`super::recogniser`]; when a turn is over it tells by silence alone, counted in audio.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use offhook_media::g711::G711;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::deepgram_stt::{SttBehaviour, SttFault, struck};
use super::recogniser::{Dictionary, Heard, Recogniser, Settings, SpokenWord};
use super::{DelayKind, Desk};

pub(super) fn routes(desk: Desk<SttBehaviour>, dictionary: Arc<Dictionary>) -> Router {
    Router::new().route("/v2/listen", get(listen)).with_state((desk, dictionary))
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
    let is = |name: &str, value: &str| query.get(name).is_some_and(|v| v == value);
    let known = |name: &str| KNOWN.contains(&name);
    let flux = query.get("model").is_some_and(|model| model.starts_with("flux-"));
    if !flux || !is("encoding", "mulaw") || !is("sample_rate", "8000") || !query.keys().all(|name| known(name)) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    desk.delays.wait(DelayKind::SttConnect, behaviour.connect).await;
    let settings = Settings { endpointing: EAGER_AFTER, utterance_end: None, interim_every: behaviour.interim_every };
    let session = Session {
        recogniser: Recogniser::new(dictionary, settings),
        eager: query.contains_key("eager_eot_threshold"),
        fault: struck(&desk),
        frames: 0,
        sequence: 0,
        turn: Turn::default(),
        last_voice: Instant::now(),
        desk,
    };
    upgrade.on_upgrade(|socket| session.run(socket))
}

struct Session {
    desk: Desk<SttBehaviour>,
    recogniser: Recogniser,
    eager: bool,
    fault: SttFault,
    frames: u64,
    sequence: u64,
    turn: Turn,
    /// When voiced audio last arrived.
    last_voice: Instant,
}

#[derive(Default)]
struct Turn {
    index: u64,
    began: bool,
    /// Words that will not change any more.
    words: Vec<SpokenWord>,
    /// The frame with which the turn ends unless there is more speech.
    ends_at: Option<u64>,
}

impl Session {
    async fn run(mut self, mut socket: WebSocket) {
        let _open = self.desk.open();
        if !self.send(&mut socket, json!({ "type": "Connected", "request_id": "stand-in" })).await {
            return;
        }
        while let Some(Ok(message)) = socket.recv().await {
            let goes_on = match message {
                Message::Binary(octets) => self.audio(&mut socket, &octets).await,
                Message::Text(text) => self.control(&mut socket, &text).await,
                Message::Close(_) => false,
                Message::Ping(_) | Message::Pong(_) => true,
            };
            if !goes_on {
                return;
            }
        }
    }

    async fn audio(&mut self, socket: &mut WebSocket, octets: &[u8]) -> bool {
        self.frames += 1;
        self.desk.count(|c| c.units += 1);
        if self.fault.strikes_at(self.frames) {
            return self.fail(socket).await;
        }
        let mut samples = vec![0; octets.len()];
        G711::Ulaw.decode(octets, &mut samples);
        let heard = self.recogniser.hear(&samples);
        if self.recogniser.is_voiced_now() {
            self.last_voice = Instant::now();
        }
        for heard in heard {
            if !self.tell(socket, heard).await {
                return false;
            }
        }
        if self.turn.ends_at.is_some_and(|frame| frame <= self.frames) {
            return self.end_turn(socket).await;
        }
        let idle = !self.turn.began && self.frames.is_multiple_of(UPDATE_EVERY);
        !idle || self.turn_info(socket, "Update", &[]).await
    }

    async fn tell(&mut self, socket: &mut WebSocket, heard: Heard) -> bool {
        let (hypothesis, over) = match heard {
            Heard::Interim(hypothesis) => (hypothesis, false),
            Heard::Final { hypothesis, speech_final } => (hypothesis, speech_final),
            Heard::UtteranceEnd { .. } => return true,
        };
        if hypothesis.words.is_empty() {
            return true;
        }
        let event = match (self.turn.began, self.turn.ends_at.take()) {
            (false, _) => "StartOfTurn",
            (true, Some(_)) if self.eager => "TurnResumed",
            (true, _) => "Update",
        };
        self.turn.began = true;
        if !self.turn_info(socket, event, &hypothesis.words).await {
            return false;
        }
        if !over {
            return true;
        }
        self.turn.words.extend(hypothesis.words);
        let wait = END_AFTER + self.desk.behaviour().final_delay;
        self.turn.ends_at = Some(self.frames + u64::try_from(wait.as_millis() / 20).unwrap_or(u64::MAX / 2));
        !self.eager || self.turn_info(socket, "EagerEndOfTurn", &[]).await
    }

    async fn end_turn(&mut self, socket: &mut WebSocket) -> bool {
        self.desk.delays.note(DelayKind::SttFinal, self.last_voice.elapsed());
        let told = self.turn_info(socket, "EndOfTurn", &[]).await;
        self.turn = Turn { index: self.turn.index + 1, ..Turn::default() };
        told
    }

    async fn turn_info(&mut self, socket: &mut WebSocket, event: &str, more: &[SpokenWord]) -> bool {
        let words: Vec<&SpokenWord> = self.turn.words.iter().chain(more).collect();
        let transcript = words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
        let word = |word: &&SpokenWord| {
            json!({
                "word": word.text, "confidence": 0.9, "start": word.start.as_secs_f64(), "end": word.end.as_secs_f64(),
            })
        };
        let end = Duration::from_millis(20) * u32::try_from(self.frames).unwrap_or(u32::MAX);
        let info = json!({
            "type": "TurnInfo", "request_id": "stand-in", "event": event, "turn_index": self.turn.index,
            "audio_window_start": end.saturating_sub(Duration::from_millis(250)).as_secs_f64(),
            "audio_window_end": end.as_secs_f64(), "transcript": transcript,
            "words": words.iter().map(word).collect::<Vec<_>>(),
            "end_of_turn_confidence": if event == "EndOfTurn" { 0.9 } else { 0.1 },
        });
        self.send(socket, info).await
    }

    async fn fail(&mut self, socket: &mut WebSocket) -> bool {
        match self.fault {
            SttFault::None | SttFault::StallAfter(_) => true,
            SttFault::CutAfter(_) => false,
            SttFault::CloseAfter(_) => {
                self.error(socket, "INTERNAL_SERVER_ERROR").await;
                false
            }
            SttFault::MalformedAfter(_) => socket.send(Message::text("{\"type\": \"TurnInfo\", oops")).await.is_ok(),
        }
    }

    async fn control(&mut self, socket: &mut WebSocket, text: &str) -> bool {
        let kind = serde_json::from_str::<Value>(text).ok().and_then(|v| Some(v.get("type")?.as_str()?.to_owned()));
        if kind.as_deref() != Some("CloseStream") {
            // KeepAlive among them.
            self.error(socket, "UNPARSABLE_CLIENT_MESSAGE").await;
            return false;
        }
        for heard in self.recogniser.flush() {
            self.tell(socket, heard).await;
        }
        if self.turn.began {
            self.end_turn(socket).await;
        }
        // The connection ends either way.
        let _ = socket.send(Message::Close(None)).await;
        false
    }

    async fn error(&mut self, socket: &mut WebSocket, code: &str) {
        self.send(socket, json!({ "type": "Error", "code": code, "description": "as it was asked to" })).await;
        // The connection ends either way.
        let _ = socket.send(Message::Close(None)).await;
    }

    async fn send(&mut self, socket: &mut WebSocket, mut message: Value) -> bool {
        if let Some(fields) = message.as_object_mut() {
            fields.insert("sequence_id".into(), self.sequence.into());
        }
        self.sequence += 1;
        socket.send(Message::text(message.to_string())).await.is_ok()
    }
}

const KNOWN: [&str; 10] = [
    "model",
    "encoding",
    "sample_rate",
    "eot_threshold",
    "eager_eot_threshold",
    "eot_timeout_ms",
    "keyterm",
    "language_hint",
    "mip_opt_out",
    "tag",
];
/// Silence after which a turn may be over, and after which more it is.
const EAGER_AFTER: Duration = Duration::from_millis(160);
const END_AFTER: Duration = Duration::from_millis(140);
/// Frames from one update to the next while nobody speaks: 0.25 s.
const UPDATE_EVERY: u64 = 13;
