//! A stand-in for Anthropic: `POST /v1/messages`, answered as server-sent events, a word at a time.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

use super::Desk;
use super::openai_llm::{LlmBehaviour, Script, stream_answer};

pub(super) fn routes(desk: Desk<LlmBehaviour>) -> Router {
    Router::new().route("/v1/messages", post(messages)).with_state(desk)
}

async fn messages(
    State(desk): State<Desk<LlmBehaviour>>,
    headers: HeaderMap,
    axum::Json(body): axum::Json<Value>,
) -> Response {
    let Some(last) = acceptable(&headers, &body) else { return StatusCode::BAD_REQUEST.into_response() };
    let behaviour = desk.behaviour();
    if let Err(refusal) = desk.admit(&headers, "", body, behaviour.refusal).await {
        return refusal;
    }
    stream_answer(desk, behaviour, &last, script).await
}

/// The last message, if the request is one that the vendor takes.
fn acceptable(headers: &HeaderMap, body: &Value) -> Option<String> {
    let messages = body.get("messages")?.as_array()?;
    let sound = |message: &Value| {
        let role = message["role"].as_str();
        matches!(role, Some("user" | "assistant")) && message["content"].as_str().is_some_and(|text| !text.is_empty())
    };
    let whole = headers.get("anthropic-version")? == "2023-06-01"
        && messages.first()?["role"] == "user"
        && messages.iter().all(sound)
        && body.get("max_tokens")?.as_u64()? > 0
        && body.get("stream")?.as_bool()?
        && (0.0..=1.0).contains(&body.get("temperature")?.as_f64()?);
    messages.last()?["content"].as_str().filter(|_| whole).map(str::to_owned)
}

fn script(tokens: &[String]) -> Script {
    let usage = json!({ "input_tokens": 10, "output_tokens": 1 });
    let message =
        json!({ "id": "msg_stand_in", "type": "message", "role": "assistant", "content": [], "usage": usage });
    let block = json!({ "type": "text", "text": "" });
    let stop = json!({ "stop_reason": "end_turn", "stop_sequence": null });
    let error = json!({ "type": "overloaded_error", "message": "from the stand-in" });
    Script {
        before: vec![
            event(&json!({ "type": "message_start", "message": message })),
            event(&json!({ "type": "content_block_start", "index": 0, "content_block": block })),
            event(&json!({ "type": "ping" })),
        ],
        token: |text| {
            let delta = json!({ "type": "text_delta", "text": text });
            event(&json!({ "type": "content_block_delta", "index": 0, "delta": delta }))
        },
        after: vec![
            event(&json!({ "type": "content_block_stop", "index": 0 })),
            event(&json!({ "type": "message_delta", "delta": stop, "usage": { "output_tokens": tokens.len() } })),
            event(&json!({ "type": "message_stop" })),
        ],
        malformed: "event: content_block_delta\ndata: {\"type\": [oops\n\n".to_owned(),
        error: event(&json!({ "type": "error", "error": error })),
    }
}

fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default())
}
