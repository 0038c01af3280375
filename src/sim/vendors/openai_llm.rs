//! A stand-in for a chat model: `POST /v1/chat/completions`, answered as server-sent events, a word at a time.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::stream;
use serde_json::{Value, json};

use super::desk::OpenGuard;
use super::{DelayKind, Desk, Refusal};

/// How the model behaves. The default repeats what it was told last, at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LlmBehaviour {
    /// Before the head of the answer.
    pub connect: Duration,
    /// Between the head and the first token.
    pub first_token: Duration,
    pub between_tokens: Duration,
    pub reply: Reply,
    pub refusal: Option<Refusal>,
    pub fault: LlmFault,
}

/// What the model says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reply {
    #[default]
    Echo,
    Text(String),
    /// The reply of the first pair whose first half occurs in the last message; else the last half.
    Matching(Vec<(String, String)>, String),
}

/// What goes wrong; numbers are tokens that still come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LlmFault {
    #[default]
    None,
    /// Nothing more comes, and the connection stays.
    StallAfter(usize),
    /// The connection breaks.
    CutAfter(usize),
    /// The body ends as if it were whole, but the answer is not.
    EndAfter(usize),
    /// An event whose data is not JSON.
    MalformedAfter(usize),
    /// An error event in place of a token.
    ErrorAfter(usize),
}

pub(super) fn routes(desk: Desk<LlmBehaviour>) -> Router {
    Router::new().route("/v1/chat/completions", post(complete)).with_state(desk)
}

async fn complete(
    State(desk): State<Desk<LlmBehaviour>>,
    headers: HeaderMap,
    axum::Json(body): axum::Json<Value>,
) -> Response {
    let last = body.get("messages").and_then(Value::as_array).and_then(|all| all.last()?.get("content")?.as_str());
    let (Some(last), Some(true)) = (last.map(str::to_owned), body.get("stream").and_then(Value::as_bool)) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let wants_usage = body.pointer("/stream_options/include_usage").and_then(Value::as_bool).unwrap_or(false);
    let behaviour = desk.behaviour();
    if let Err(refusal) = desk.admit(&headers, "", body, behaviour.refusal).await {
        return refusal;
    }
    let script = |tokens: &[String]| {
        let mut after = vec![data(&chunk(json!({}), json!("stop")))];
        if wants_usage {
            let count = tokens.len();
            let usage = json!({ "prompt_tokens": 10, "completion_tokens": count, "total_tokens": 10 + count });
            after.push(data(&json!({ "object": "chat.completion.chunk", "choices": [], "usage": usage }).to_string()));
        }
        after.push(data("[DONE]"));
        Script {
            before: Vec::new(),
            token: |text| data(&chunk(json!({ "content": text }), Value::Null)),
            after,
            malformed: data("{\"choices\": [oops"),
            error: data(&json!({ "error": { "type": "server_error", "message": "from the stand-in" } }).to_string()),
        }
    };
    stream_answer(desk, behaviour, &last, script).await
}

/// What an answer looks like on one vendor's wire, event by event.
pub(super) struct Script {
    pub before: Vec<String>,
    pub token: fn(&str) -> String,
    pub after: Vec<String>,
    pub malformed: String,
    pub error: String,
}

/// Answers `last` as the behaviour says, in the events of a script for these tokens.
pub(super) async fn stream_answer(
    desk: Desk<LlmBehaviour>,
    behaviour: LlmBehaviour,
    last: &str,
    script: impl FnOnce(&[String]) -> Script,
) -> Response {
    desk.delays.wait(DelayKind::LlmConnect, behaviour.connect).await;
    let guard = desk.open();
    let tokens = tokens(&said(behaviour.reply, last));
    let mut script = script(&tokens);
    let before = std::mem::take(&mut script.before).into();
    let model = Model { desk, tokens, next: 0, before, script, _guard: guard };
    ([("content-type", "text/event-stream")], Body::from_stream(stream::unfold(model, Model::next))).into_response()
}

fn said(reply: Reply, last: &str) -> String {
    match reply {
        Reply::Echo => last.to_owned(),
        Reply::Text(text) => text,
        Reply::Matching(pairs, otherwise) => {
            pairs.into_iter().find(|(needle, _)| last.contains(needle)).map_or(otherwise, |(_, text)| text)
        }
    }
}

/// Words with the space before them.
fn tokens(text: &str) -> Vec<String> {
    text.split_inclusive(' ').map(str::to_owned).collect()
}

struct Model {
    desk: Desk<LlmBehaviour>,
    tokens: Vec<String>,
    next: usize,
    before: VecDeque<String>,
    script: Script,
    _guard: OpenGuard,
}

impl Model {
    async fn next(mut self) -> Option<(std::io::Result<Bytes>, Self)> {
        if let Some(event) = self.before.pop_front() {
            return Some((Ok(event.into()), self));
        }
        let behaviour = self.desk.behaviour();
        match behaviour.fault {
            LlmFault::StallAfter(most) if self.next >= most => std::future::pending().await,
            LlmFault::CutAfter(most) if self.next >= most => {
                // One step without data lets what came before leave first.
                tokio::task::yield_now().await;
                return Some((Err(std::io::ErrorKind::ConnectionReset.into()), self));
            }
            LlmFault::EndAfter(most) if self.next >= most => return None,
            LlmFault::MalformedAfter(most) if self.next >= most => {
                return Some((Ok(self.script.malformed.clone().into()), self));
            }
            LlmFault::ErrorAfter(most) if self.next >= most => {
                return Some((Ok(self.script.error.clone().into()), self));
            }
            _ => {}
        }
        let Some(token) = self.tokens.get(self.next).map(|text| (self.script.token)(text)) else {
            let rest = std::mem::take(&mut self.script.after).concat();
            return (!rest.is_empty()).then(|| (Ok(rest.into()), self));
        };
        let (kind, length) = match self.next {
            0 => (DelayKind::LlmFirstToken, behaviour.first_token),
            _ => (DelayKind::LlmBetweenTokens, behaviour.between_tokens),
        };
        self.desk.delays.wait(kind, length).await;
        self.next += 1;
        self.desk.count(|c| c.units += 1);
        Some((Ok(token.into()), self))
    }
}

fn chunk(delta: Value, finish_reason: Value) -> String {
    json!({
        "id": "chatcmpl-stand-in", "object": "chat.completion.chunk", "created": 0, "model": "stand-in",
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish_reason }],
    })
    .to_string()
}

fn data(text: &str) -> String {
    format!("data: {text}\n\n")
}
