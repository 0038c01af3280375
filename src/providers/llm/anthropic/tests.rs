//! Against the stand-in over loopback.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::super::streamed::{self, Broken, Piece};
use super::*;
use crate::providers::ToolCall;
use crate::providers::config::ApiKey;
use crate::sim::vendors::openai_llm::{LlmBehaviour, LlmFault, Reply};
use crate::sim::vendors::{Refusal, VendorStandIns};
use crate::telemetry::pii::Pii;

async fn model(change: impl FnOnce(&mut LlmBehaviour)) -> (VendorStandIns, AnthropicLlm) {
    let vendors = VendorStandIns::start(Vec::new()).await.unwrap();
    vendors.anthropic.set(change);
    let anthropic = AnthropicConfig {
        base_url: vendors.base_url(),
        api_key: Some(ApiKey::new("hunter2".into()).unwrap()),
        ..AnthropicConfig::default()
    };
    let llm = LlmConfig { first_token_timeout_ms: 30_000, progress_timeout_ms: 30_000, ..LlmConfig::default() };
    let model = AnthropicLlm::new(&anthropic, &llm, "llm.provider").unwrap();
    (vendors, model)
}

fn asked(messages: &[(Role, &str)]) -> ReplyRequest {
    let message = |(role, text): &(Role, &str)| Message { role: *role, content: Pii::new((*text).to_owned()) };
    ReplyRequest {
        messages: messages.iter().map(message).collect(),
        tools: Arc::default(),
        temperature: 1.6,
        max_tokens: 50,
    }
}

fn request() -> ReplyRequest {
    asked(&[(Role::System, "Be brief."), (Role::User, "when do you open"), (Role::System, "Speak French.")])
}

async fn answer(model: &AnthropicLlm, request: ReplyRequest) -> Vec<Piece> {
    match model.reply(request).await {
        Ok(stream) => stream.collect().await,
        Err(error) => vec![Err(error)],
    }
}

async fn failure(change: impl FnOnce(&mut LlmBehaviour)) -> ProviderError {
    let (_vendors, model) = model(change).await;
    answer(&model, request()).await.pop().unwrap().unwrap_err()
}

fn text(token: &str) -> Piece {
    Ok(LlmEvent::Text(token.to_owned()))
}

#[tokio::test]
async fn tokens_come_as_they_are_made_and_usage_at_the_end() {
    let (vendors, model) = model(|b| b.reply = Reply::Text("At nine.".into())).await;
    let done = LlmEvent::Done { prompt_tokens: Some(10), completion_tokens: Some(2) };
    assert_eq!(answer(&model, request()).await, [text("At "), text("nine."), Ok(done)]);
    let counters = vendors.anthropic.counters();
    assert!(counters.authorized);
    assert_eq!(counters.body["system"], "Be brief.\n\nSpeak French.");
    assert_eq!(counters.body["messages"], json!([{ "role": "user", "content": "when do you open" }]));
    assert_eq!((&counters.body["temperature"], &counters.body["max_tokens"]), (&json!(1.0), &json!(50)));
}

/// The vendor refuses a conversation that begins with its own words, and empty messages.
#[tokio::test]
async fn a_conversation_that_we_began_is_taken_too() {
    let (vendors, model) = model(|_| {}).await;
    let began = asked(&[
        (Role::System, "Be brief."),
        (Role::Assistant, "Good morning."),
        (Role::User, " "),
        (Role::User, "hello"),
    ]);
    assert_eq!(answer(&model, began).await.first(), Some(&text("hello")));
    let roles = vendors.anthropic.counters().body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["role"].clone())
        .collect::<Vec<_>>();
    assert_eq!(roles, ["user", "assistant", "user"]);
    assert!(!answer(&model, asked(&[(Role::System, "Greet them.")])).await.iter().any(Result::is_err));
}

#[tokio::test]
async fn refusals_and_broken_answers_are_told_apart() {
    let refused = |refusal| failure(move |b| b.refusal = Some(refusal));
    assert_eq!(refused(Refusal::Unauthorized).await, ProviderError::Unauthorized { vendor: VENDOR, status: 401 });
    let after = Some(Duration::from_secs(7));
    assert_eq!(
        refused(Refusal::RateLimited(Some(7))).await,
        ProviderError::RateLimited { vendor: VENDOR, retry_after: after }
    );
    let early = failure(|b| b.fault = LlmFault::EndAfter(1)).await;
    assert!(matches!(early, ProviderError::Connection { .. }), "{early}");
    let cut = failure(|b| b.fault = LlmFault::CutAfter(1)).await;
    assert!(matches!(cut, ProviderError::Connection { .. }), "{cut}");
    let malformed = failure(|b| b.fault = LlmFault::MalformedAfter(1)).await;
    assert!(matches!(malformed, ProviderError::Protocol { .. }), "{malformed}");
    let error = failure(|b| b.fault = LlmFault::ErrorAfter(1)).await;
    assert!(error.to_string().contains("overloaded_error") && !error.to_string().contains("stand-in"), "{error}");
}

#[tokio::test]
async fn dropping_the_stream_ends_the_generation() {
    let (vendors, model) = model(|b| b.fault = LlmFault::StallAfter(1)).await;
    let mut stream = model.reply(request()).await.unwrap();
    assert_eq!(stream.next().await, Some(text("when ")));
    drop(stream);
    vendors.anthropic.until(|c| c.requests > 0 && c.open == 0).await;
}

#[tokio::test]
async fn what_the_vendor_may_add_is_passed_over() {
    let events = [
        r#"{"type":"message_start","message":{"id":"x"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
        r#"{"type":"something_new","data":[1]}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Yes."}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#,
    ];
    let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    let bytes = stream::iter([Ok::<_, Broken>(bytes::Bytes::from(body))]);
    let deadlines = Deadlines { first: Duration::from_secs(30), progress: Duration::from_secs(30) };
    let pieces: Vec<Piece> = streamed::read(bytes, None, deadlines, Events::default()).collect().await;
    assert_eq!(pieces, [text("Yes."), Ok(LlmEvent::Done { prompt_tokens: None, completion_tokens: None })]);
}

#[test]
fn a_missing_key_is_named() {
    let error = AnthropicLlm::new(&AnthropicConfig::default(), &LlmConfig::default(), "llm.fallbacks[0].provider");
    assert_eq!(error.err().unwrap(), "anthropic.api_key: missing (llm.fallbacks[0].provider is anthropic)");
}

#[tokio::test]
async fn tools_are_offered_and_the_first_that_is_asked_for_is_told() {
    let (_vendors, model) = model(|_| {}).await;
    let parameters = json!({ "type": "object" });
    let spec = ToolSpec { name: "look_up".into(), description: "Looks it up.".into(), parameters: parameters.clone() };
    let body = model.body(&ReplyRequest { tools: [spec].into(), ..request() });
    assert_eq!((&body["tools"][0]["name"], &body["tools"][0]["input_schema"]), (&json!("look_up"), &parameters));
    let block = |name: &str| json!({ "type": "content_block_start", "index": 1, "content_block": { "type": "tool_use", "id": "t", "name": name, "input": {} } });
    let part = |json: &str| json!({ "type": "content_block_delta", "index": 1, "delta": { "type": "input_json_delta", "partial_json": json } });
    let stop = json!({ "type": "content_block_stop", "index": 1 });
    let mut events = Events::default();
    let all =
        [block("look_up"), part("{\"day\":"), part("\"Monday\"}"), stop.clone(), block("other"), part("{}"), stop];
    let mut take = |data: &Value| events.take(&Event { data: data.to_string(), ..Event::default() }).unwrap();
    let told: Vec<LlmEvent> = all.iter().filter_map(&mut take).collect();
    let arguments = Pii::new(json!({ "day": "Monday" }));
    assert_eq!(told, [LlmEvent::Tool(ToolCall { name: "look_up".into(), arguments })]);
}
