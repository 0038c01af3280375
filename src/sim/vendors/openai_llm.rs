//! A stand-in for a chat model: `POST /v1/chat/completions`, answered as server-sent events, a word at a time.

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
    desk.delays.wait(DelayKind::LlmConnect, behaviour.connect).await;
    let guard = desk.open();
    let tokens = tokens(&said(behaviour.reply, &last));
    let model = Model { desk, tokens, next: 0, wants_usage, tail: Tail::Finish, _guard: guard };
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
    wants_usage: bool,
    tail: Tail,
    _guard: OpenGuard,
}

/// What is still to be sent after the last token.
enum Tail {
    Finish,
    Usage,
    Done,
    Nothing,
}

impl Model {
    async fn next(mut self) -> Option<(std::io::Result<Bytes>, Self)> {
        let behaviour = self.desk.behaviour();
        match behaviour.fault {
            LlmFault::StallAfter(most) if self.next >= most => std::future::pending().await,
            LlmFault::CutAfter(most) if self.next >= most => {
                // One step without data lets what came before leave first.
                tokio::task::yield_now().await;
                return Some((Err(std::io::ErrorKind::ConnectionReset.into()), self));
            }
            LlmFault::EndAfter(most) if self.next >= most => return None,
            LlmFault::MalformedAfter(most) if self.next >= most => return Some((event("{\"choices\": [oops"), self)),
            LlmFault::ErrorAfter(most) if self.next >= most => {
                let error = json!({ "error": { "type": "server_error", "message": "from the stand-in" } });
                return Some((event(&error.to_string()), self));
            }
            _ => {}
        }
        let Some(token) = self.tokens.get(self.next).cloned() else { return self.tail() };
        let (kind, length) = match self.next {
            0 => (DelayKind::LlmFirstToken, behaviour.first_token),
            _ => (DelayKind::LlmBetweenTokens, behaviour.between_tokens),
        };
        self.desk.delays.wait(kind, length).await;
        self.next += 1;
        self.desk.count(|c| c.units += 1);
        Some((event(&chunk(json!({ "content": token }), Value::Null)), self))
    }

    fn tail(mut self) -> Option<(std::io::Result<Bytes>, Self)> {
        let (data, tail) = match self.tail {
            Tail::Finish if self.wants_usage => (chunk(json!({}), json!("stop")), Tail::Usage),
            Tail::Finish => (chunk(json!({}), json!("stop")), Tail::Done),
            Tail::Usage => {
                let count = self.tokens.len();
                let usage = json!({ "prompt_tokens": 10, "completion_tokens": count, "total_tokens": 10 + count });
                (json!({ "object": "chat.completion.chunk", "choices": [], "usage": usage }).to_string(), Tail::Done)
            }
            Tail::Done => ("[DONE]".to_owned(), Tail::Nothing),
            Tail::Nothing => return None,
        };
        self.tail = tail;
        Some((event(&data), self))
    }
}

fn chunk(delta: Value, finish_reason: Value) -> String {
    json!({
        "id": "chatcmpl-stand-in", "object": "chat.completion.chunk", "created": 0, "model": "stand-in",
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish_reason }],
    })
    .to_string()
}

fn event(data: &str) -> std::io::Result<Bytes> {
    Ok(format!("data: {data}\n\n").into())
}
