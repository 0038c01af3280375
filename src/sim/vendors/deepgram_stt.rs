//! A stand-in for Deepgram's live recogniser: `WS /v1/listen`, mu-law up, `Results` down. What it recognises is what
//! really arrived, see [`super::recogniser`].

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use offhook_media::g711::G711;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::recogniser::{Dictionary, Heard, Hypothesis, Recogniser, Settings};
use super::{DelayKind, Desk, Refusal};

/// How the recogniser behaves. The default accepts at once and is final as soon as the silence asked for has passed.
#[derive(Clone, Debug, PartialEq)]
pub struct SttBehaviour {
    /// Before a connection is accepted.
    pub connect: Duration,
    /// Speech from one interim result to the next.
    pub interim_every: Duration,
    /// Between the end of speech as found by endpointing and the final words.
    pub final_delay: Duration,
    pub refusal: Option<Refusal>,
    pub fault: SttFault,
    /// How many connections the fault strikes; none strikes all.
    pub strikes: Option<u32>,
}

impl Default for SttBehaviour {
    fn default() -> Self {
        Self {
            connect: Duration::ZERO,
            interim_every: Duration::from_millis(300),
            final_delay: Duration::ZERO,
            refusal: None,
            fault: SttFault::None,
            strikes: None,
        }
    }
}

/// What goes wrong; numbers are frames of audio that are still heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SttFault {
    #[default]
    None,
    /// The connection breaks without a word.
    CutAfter(u64),
    /// Closed with the vendor's code for missing audio, while the stand-in keeps reading (half-closed).
    CloseAfter(u64),
    /// Audio is taken and nothing comes back.
    StallAfter(u64),
    /// A message that is not JSON.
    MalformedAfter(u64),
}

impl SttFault {
    pub(super) const fn strikes_at(self, frames: u64) -> bool {
        match self {
            Self::None => false,
            Self::CutAfter(most) | Self::CloseAfter(most) | Self::StallAfter(most) | Self::MalformedAfter(most) => {
                frames >= most
            }
        }
    }
}

pub(super) fn routes(desk: Desk<SttBehaviour>, dictionary: Arc<Dictionary>) -> Router {
    Router::new().route("/v1/listen", get(listen)).with_state((desk, dictionary))
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
    if !is("encoding", "mulaw") || !is("sample_rate", "8000") {
        return StatusCode::BAD_REQUEST.into_response();
    }
    desk.delays.wait(DelayKind::SttConnect, behaviour.connect).await;
    let ms = |name: &str| query.get(name).and_then(|v| v.parse().ok()).map(Duration::from_millis);
    let settings = Settings {
        endpointing: ms("endpointing").unwrap_or(Duration::from_millis(10)),
        utterance_end: ms("utterance_end_ms"),
        interim_every: behaviour.interim_every,
    };
    let fault = struck(&desk);
    let session = Session {
        recogniser: Recogniser::new(dictionary, settings),
        wants_interim: is("interim_results", "true"),
        fault,
        frames: 0,
        last_voice: Instant::now(),
        waiting: VecDeque::new(),
        desk,
    };
    upgrade.on_upgrade(|socket| session.run(socket))
}

/// The fault of the next connection.
pub(super) fn struck(desk: &Desk<SttBehaviour>) -> SttFault {
    let mut fault = SttFault::None;
    desk.set(|behaviour| match &mut behaviour.strikes {
        Some(0) => {}
        Some(left) => {
            *left -= 1;
            fault = behaviour.fault;
        }
        None => fault = behaviour.fault,
    });
    fault
}

struct Session {
    desk: Desk<SttBehaviour>,
    recogniser: Recogniser,
    wants_interim: bool,
    fault: SttFault,
    frames: u64,
    /// When voiced audio last arrived.
    last_voice: Instant,
    /// Messages with the time to send them, in order.
    waiting: VecDeque<(Instant, Outgoing)>,
}

struct Outgoing {
    text: String,
    /// Final words: the arrival of the last of their audio.
    words_of: Option<Instant>,
}

/// Whether a session goes on.
#[derive(PartialEq, Eq)]
enum Step {
    On,
    Over,
}

impl Session {
    async fn run(mut self, mut socket: WebSocket) {
        let _open = self.desk.open();
        loop {
            let due = self.waiting.front().map(|(at, _)| *at);
            let step = tokio::select! {
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.send_due(&mut socket).await,
                message = socket.recv() => match message {
                    Some(Ok(message)) => self.take(&mut socket, message).await,
                    _ => Step::Over,
                },
            };
            if step == Step::Over {
                return;
            }
        }
    }

    async fn take(&mut self, socket: &mut WebSocket, message: Message) -> Step {
        match message {
            Message::Binary(octets) => self.audio(socket, &octets).await,
            Message::Text(text) => self.control(socket, &text).await,
            Message::Close(_) => Step::Over,
            Message::Ping(_) | Message::Pong(_) => Step::On,
        }
    }

    async fn audio(&mut self, socket: &mut WebSocket, octets: &[u8]) -> Step {
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
        self.queue(heard);
        Step::On
    }

    async fn fail(&mut self, socket: &mut WebSocket) -> Step {
        match self.fault {
            SttFault::None | SttFault::StallAfter(_) => {
                self.waiting.clear();
                Step::On
            }
            SttFault::CutAfter(_) => Step::Over,
            SttFault::CloseAfter(_) => {
                self.fault = SttFault::StallAfter(0);
                let frame = CloseFrame { code: 1011, reason: "NET-0001".into() };
                sent(socket.send(Message::Close(Some(frame))).await)
            }
            SttFault::MalformedAfter(_) => sent(socket.send(Message::text("{\"type\": \"Results\", oops")).await),
        }
    }

    async fn control(&mut self, socket: &mut WebSocket, text: &str) -> Step {
        let kind = serde_json::from_str::<Value>(text).ok().and_then(|v| Some(v.get("type")?.as_str()?.to_owned()));
        match kind.as_deref() {
            Some("KeepAlive") => {
                self.desk.count(|c| c.keep_alives += 1);
                Step::On
            }
            Some("Finalize") => {
                let rest = self.recogniser.flush();
                self.queue(rest);
                Step::On
            }
            Some("CloseStream") if self.fault.strikes_at(u64::MAX) && self.fault.strikes_at(self.frames) => Step::On,
            Some("CloseStream") => self.close(socket).await,
            _ => {
                let frame = CloseFrame { code: 1008, reason: "DATA-0000".into() };
                // The connection ends either way.
                let _ = socket.send(Message::Close(Some(frame))).await;
                Step::Over
            }
        }
    }

    /// The last words, the summary, and the end.
    async fn close(&mut self, socket: &mut WebSocket) -> Step {
        let rest = self.recogniser.flush();
        self.queue(rest);
        while let Some((at, _)) = self.waiting.front() {
            sleep_until(*at).await;
            if self.send_due(socket).await == Step::Over {
                return Step::Over;
            }
        }
        let metadata = json!({ "type": "Metadata", "request_id": "stand-in", "channels": 1, "duration": 0.0 });
        // The connection ends either way.
        let _ = socket.send(Message::text(metadata.to_string())).await;
        let _ = socket.send(Message::Close(None)).await;
        Step::Over
    }

    fn queue(&mut self, heard: Vec<Heard>) {
        let final_delay = self.desk.behaviour().final_delay;
        for heard in heard {
            let mut outgoing = Outgoing { text: String::new(), words_of: None };
            let mut delay = Duration::ZERO;
            outgoing.text = match heard {
                Heard::Interim(_) if !self.wants_interim => continue,
                Heard::Interim(hypothesis) => results(&hypothesis, false, false),
                Heard::Final { hypothesis, speech_final } => {
                    if speech_final {
                        (outgoing.words_of, delay) = (Some(self.last_voice), final_delay);
                    }
                    results(&hypothesis, true, speech_final)
                }
                Heard::UtteranceEnd { last_word_end } => {
                    json!({ "type": "UtteranceEnd", "channel": [0, 1], "last_word_end": last_word_end.as_secs_f64() })
                        .to_string()
                }
            };
            let earliest = self.waiting.back().map_or_else(Instant::now, |(at, _)| *at);
            self.waiting.push_back((earliest.max(Instant::now() + delay), outgoing));
        }
    }

    async fn send_due(&mut self, socket: &mut WebSocket) -> Step {
        let Some((_, outgoing)) = self.waiting.pop_front() else { return Step::On };
        if let Some(voice) = outgoing.words_of {
            self.desk.delays.note(DelayKind::SttFinal, voice.elapsed());
        }
        sent(socket.send(Message::text(outgoing.text)).await)
    }
}

fn sent(result: Result<(), axum::Error>) -> Step {
    if result.is_ok() { Step::On } else { Step::Over }
}

fn results(hypothesis: &Hypothesis, is_final: bool, speech_final: bool) -> String {
    let confidence = if hypothesis.words.is_empty() { 0.0 } else { hypothesis.confidence };
    let words: Vec<Value> = hypothesis
        .words
        .iter()
        .map(|word| {
            json!({
                "word": word.text.to_lowercase(), "punctuated_word": word.text, "confidence": confidence,
                "start": word.start.as_secs_f64(), "end": word.end.as_secs_f64(),
            })
        })
        .collect();
    json!({
        "type": "Results", "channel_index": [0, 1],
        "start": hypothesis.start.as_secs_f64(),
        "duration": hypothesis.end.saturating_sub(hypothesis.start).as_secs_f64(),
        "is_final": is_final, "speech_final": speech_final,
        "channel": { "alternatives": [{ "transcript": hypothesis.text(), "confidence": confidence, "words": words }] },
        "metadata": { "request_id": "stand-in" },
    })
    .to_string()
}
