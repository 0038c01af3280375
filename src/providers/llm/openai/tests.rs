//! Against the stand-in over loopback.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::super::streamed::{self, Broken, Piece};
use super::*;
use crate::providers::config::ApiKey;
use crate::providers::{Message, ToolCall};
use crate::sim::vendors::openai_llm::{LlmBehaviour, LlmFault, Reply};
use crate::sim::vendors::{DelayKind, Desk, Refusal, VendorStandIns};
use crate::telemetry::pii::Pii;

/// Limits in ms on the first token and on each further one that no busy machine reaches.
const PATIENT: (u64, u64) = (30_000, 30_000);

async fn model(change: impl FnOnce(&mut LlmBehaviour)) -> (VendorStandIns, OpenAiLlm) {
    model_within(PATIENT, change).await
}

async fn model_within(
    (first_token_timeout_ms, progress_timeout_ms): (u64, u64),
    change: impl FnOnce(&mut LlmBehaviour),
) -> (VendorStandIns, OpenAiLlm) {
    let vendors = VendorStandIns::start(Vec::new()).await.unwrap();
    vendors.llm.set(change);
    let openai = OpenAiConfig {
        base_url: vendors.base_url(),
        api_key: Some(ApiKey::new("hunter2".into()).unwrap()),
        ..OpenAiConfig::default()
    };
    let llm = LlmConfig { first_token_timeout_ms, progress_timeout_ms, ..LlmConfig::default() };
    let model = OpenAiLlm::new(&openai, &llm, "llm.provider").unwrap();
    (vendors, model)
}

fn request() -> ReplyRequest {
    let message = |role, text: &str| Message { role, content: Pii::new(text.to_owned()) };
    let messages = vec![message(Role::System, "Be brief."), message(Role::User, "when do you open")];
    ReplyRequest { messages, tools: Arc::default(), temperature: 0.5, max_tokens: 50 }
}

async fn answer(model: &OpenAiLlm) -> Vec<Result<LlmEvent, ProviderError>> {
    match model.reply(request()).await {
        Ok(stream) => stream.collect().await,
        Err(error) => vec![Err(error)],
    }
}

fn text(token: &str) -> Result<LlmEvent, ProviderError> {
    Ok(LlmEvent::Text(token.to_owned()))
}

async fn failure(change: impl FnOnce(&mut LlmBehaviour)) -> ProviderError {
    failure_within(PATIENT, change).await
}

async fn failure_within(limits: (u64, u64), change: impl FnOnce(&mut LlmBehaviour)) -> ProviderError {
    let (_vendors, model) = model_within(limits, change).await;
    answer(&model).await.pop().unwrap().unwrap_err()
}

async fn closed(desk: &Desk<LlmBehaviour>) {
    desk.until(|c| c.requests > 0 && c.open == 0).await;
}

#[tokio::test]
async fn tokens_come_as_they_are_made_and_usage_at_the_end() {
    let (vendors, model) = model(|b| b.reply = Reply::Text("We open at nine.".into())).await;
    let done = LlmEvent::Done { prompt_tokens: Some(10), completion_tokens: Some(4) };
    assert_eq!(answer(&model).await, [text("We "), text("open "), text("at "), text("nine."), Ok(done)]);
    let counters = vendors.llm.counters();
    assert!(counters.authorized);
    assert_eq!(counters.body["messages"][0], json!({ "role": "system", "content": "Be brief." }));
    assert_eq!(counters.body["messages"][1]["role"], "user");
    assert_eq!((&counters.body["temperature"], &counters.body["max_tokens"]), (&json!(0.5), &json!(50)));
    assert_eq!(vendors.delays.all().iter().filter(|d| d.kind == DelayKind::LlmBetweenTokens).count(), 3);
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let refused = |refusal| failure(move |b| b.refusal = Some(refusal));
    assert_eq!(refused(Refusal::Unauthorized).await, ProviderError::Unauthorized { vendor: VENDOR, status: 401 });
    assert_eq!(
        refused(Refusal::RateLimited(Some(7))).await,
        ProviderError::RateLimited { vendor: VENDOR, retry_after: Some(Duration::from_secs(7)) }
    );
    assert_eq!(
        refused(Refusal::RateLimited(None)).await,
        ProviderError::RateLimited { vendor: VENDOR, retry_after: None }
    );
    assert_eq!(refused(Refusal::ServerError).await, ProviderError::Status { vendor: VENDOR, status: 500 });
    let timeout = failure_within((300, PATIENT.1), |b| b.refusal = Some(Refusal::NoAnswer)).await;
    assert!(matches!(timeout, ProviderError::Timeout { what: "response", .. }), "{timeout}");
}

#[tokio::test]
async fn a_model_that_opens_and_says_nothing_is_late() {
    let late = failure_within((1_000, PATIENT.1), |b| b.first_token = Duration::from_secs(60)).await;
    let after = Duration::from_secs(1);
    assert_eq!(late, ProviderError::Timeout { vendor: VENDOR, what: "first token", after });
    let stalled = failure_within((PATIENT.0, 200), |b| b.fault = LlmFault::StallAfter(2)).await;
    let after = Duration::from_millis(200);
    assert_eq!(stalled, ProviderError::Timeout { vendor: VENDOR, what: "further token", after });
}

#[tokio::test]
async fn broken_answers_are_errors_after_the_tokens_that_came() {
    let (_vendors, model) = model(|b| b.fault = LlmFault::CutAfter(2)).await;
    let items = answer(&model).await;
    assert!(items.starts_with(&[text("when "), text("do ")]), "{items:?}");
    assert!(matches!(items[2..], [Err(ProviderError::Connection { .. })]), "{items:?}");
    let early = failure(|b| b.fault = LlmFault::EndAfter(1)).await;
    assert!(matches!(early, ProviderError::Connection { .. }), "{early}");
    let malformed = failure(|b| b.fault = LlmFault::MalformedAfter(1)).await;
    assert!(matches!(malformed, ProviderError::Protocol { .. }), "{malformed}");
    let error = failure(|b| b.fault = LlmFault::ErrorAfter(1)).await;
    assert!(error.to_string().contains("server_error") && !error.to_string().contains("stand-in"), "{error}");
}

#[tokio::test]
async fn nobody_there_is_a_connection_error_without_the_key() {
    let (vendors, model) = model(|_| {}).await;
    drop(vendors);
    let error = answer(&model).await.pop().unwrap().unwrap_err();
    assert!(matches!(error, ProviderError::Connection { .. } | ProviderError::Timeout { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[tokio::test]
async fn dropping_the_stream_ends_the_generation() {
    let (vendors, model) = model(|b| b.fault = LlmFault::StallAfter(1)).await;
    let mut stream = model.reply(request()).await.unwrap();
    assert_eq!(stream.next().await, Some(text("when ")));
    drop(stream);
    closed(&vendors.llm).await;
}

mod wire {
    use proptest::prelude::*;

    use super::*;

    async fn read(bytes: Vec<u8>) -> Vec<Piece> {
        let bytes = stream::iter([Ok::<_, Broken>(bytes::Bytes::from(bytes))]);
        let deadlines = Deadlines { first: Duration::from_secs(30), progress: Duration::from_secs(30) };
        streamed::read(bytes, None, deadlines, Chunks::default()).collect().await
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_one_error_or_done(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let framed = [b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: ", &bytes[..], b"\n\n"].concat();
            for bytes in [bytes, framed] {
                let pieces = runtime.block_on(read(bytes));
                let ends = |p: &Piece| matches!(p, Err(_) | Ok(LlmEvent::Done { .. }));
                prop_assert_eq!(pieces.iter().filter(|p| ends(p)).count(), 1);
                prop_assert!(pieces.last().is_some_and(ends));
            }
        }
    }

    #[tokio::test]
    async fn a_server_that_omits_done_has_finished_when_it_says_why() {
        let data = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
        assert_eq!(read(data.into()).await, [Ok(LlmEvent::Done { prompt_tokens: None, completion_tokens: None })]);
    }
}

fn told(events: &[Value]) -> Vec<LlmEvent> {
    let mut chunks = Chunks::default();
    let data = events.iter().map(Value::to_string).chain(["[DONE]".to_owned()]);
    let mut told: Vec<LlmEvent> =
        data.filter_map(|data| chunks.take(&Event { data, ..Event::default() }).unwrap()).collect();
    told.extend(chunks.ended());
    told
}

#[tokio::test]
async fn tools_are_offered_and_the_first_that_is_asked_for_is_told() {
    let (_vendors, model) = model(|_| {}).await;
    let spec = ToolSpec {
        name: "look_up".into(),
        description: "Looks it up.".into(),
        parameters: json!({ "type": "object" }),
    };
    let body = model.body(&ReplyRequest { tools: [spec].into(), ..request() });
    assert_eq!(body["tools"][0]["function"]["name"], "look_up");
    assert_eq!(body["tools"][0]["function"]["parameters"], json!({ "type": "object" }));
    assert!(model.body(&request()).get("tools").is_none());

    let part = |index: u32, function: Value| json!({ "choices": [{ "index": 0, "delta": { "tool_calls": [{ "index": index, "function": function }] } }] });
    let finish = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "tool_calls" }] });
    let events = [
        json!({ "choices": [{ "index": 0, "delta": { "content": "Let me see. " } }] }),
        part(0, json!({ "name": "look_up", "arguments": "" })),
        part(0, json!({ "arguments": "{\"day\": " })),
        part(1, json!({ "name": "other", "arguments": "{}" })),
        part(0, json!({ "arguments": "\"Monday\"}" })),
        finish,
    ];
    let call = ToolCall { name: "look_up".into(), arguments: Pii::new(json!({ "day": "Monday" })) };
    let told = told(&events);
    assert_eq!(told[..2], [LlmEvent::Text("Let me see. ".into()), LlmEvent::Tool(call)]);
    assert!(matches!(told[2], LlmEvent::Done { .. }));
}

#[test]
fn arguments_that_are_no_json_are_an_error() {
    let mut chunks = Chunks { tool: Some(("look_up".into(), "{oops".into())), ..Chunks::default() };
    let done = Event { data: "[DONE]".into(), ..Event::default() };
    assert!(matches!(chunks.take(&done), Err(ProviderError::Protocol { .. })));
}
