//! Anthropic's Messages API as a stream of server-sent events (docs.anthropic.com, "Streaming Messages"). Of tools that
//! a model asks for at once only the first is told. Dropping the stream closes the connection.

use std::sync::Arc;

use eventsource_stream::Event;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::streamed::{Deadlines, Dialect, reply, told_error, tool_call, unreadable};
use crate::providers::config::{AnthropicConfig, LlmConfig};
use crate::providers::http::{BaseUrl, client};
use crate::providers::{Llm, LlmEvent, Message, ProviderError, ReplyRequest, Role, TokenStream, ToolSpec};

/// A model behind the Messages API.
pub struct AnthropicLlm {
    client: Client,
    url: reqwest::Url,
    key: HeaderValue,
    model: Arc<str>,
    deadlines: Deadlines,
}

impl AnthropicLlm {
    /// `chosen_by` is the key of configuration that makes it necessary.
    ///
    /// # Errors
    /// Names the key of configuration that is missing or wrong.
    pub fn new(config: &AnthropicConfig, llm: &LlmConfig, chosen_by: &str) -> Result<Self, String> {
        let base = BaseUrl::parse("anthropic.base_url", &config.base_url, config.plain_http)?;
        Ok(Self {
            client: client(config.connect_timeout())?,
            url: base.http("messages").map_err(|e| format!("anthropic.base_url: {e}"))?,
            key: config.key(chosen_by)?,
            model: llm.model.as_deref().unwrap_or(&config.model).into(),
            deadlines: Deadlines::new(llm),
        })
    }

    fn body(&self, request: &ReplyRequest) -> Value {
        let mut body = json!({
            "model": &*self.model,
            "messages": conversation(&request.messages),
            // The API knows 0.0 to 1.0 only.
            "temperature": request.temperature.min(1.0),
            "max_tokens": request.max_tokens,
            "stream": true,
        });
        let system = instructions(&request.messages);
        if !system.is_empty() {
            body["system"] = json!(system);
        }
        if !request.tools.is_empty() {
            body["tools"] = request.tools.iter().map(tool).collect();
        }
        body
    }
}

fn tool(tool: &ToolSpec) -> Value {
    json!({ "name": &*tool.name, "description": &*tool.description, "input_schema": tool.parameters })
}

/// What the system says, which the API takes apart from the conversation.
fn instructions(messages: &[Message]) -> String {
    let system = messages.iter().filter(|message| message.role == Role::System);
    system.map(|message| message.content.expose().as_str()).collect::<Vec<_>>().join("\n\n")
}

/// The conversation without the system's words. It has to begin with the caller, who may not have spoken yet, and the API
/// refuses empty messages.
fn conversation(messages: &[Message]) -> Vec<Value> {
    let counts = |message: &&Message| message.role != Role::System && !message.content.expose().trim().is_empty();
    let turns = || messages.iter().filter(counts);
    let silent = turns().next().is_none_or(|first| first.role == Role::Assistant);
    let opening = silent.then(|| json!({ "role": "user", "content": NOTHING_SAID }));
    opening
        .into_iter()
        .chain(turns().map(|message| {
            let role = if message.role == Role::Assistant { "assistant" } else { "user" };
            json!({ "role": role, "content": message.content.expose() })
        }))
        .collect()
}

impl Llm for AnthropicLlm {
    fn name(&self) -> &'static str {
        VENDOR
    }

    fn reply(&self, request: ReplyRequest) -> BoxFuture<'static, Result<TokenStream, ProviderError>> {
        let post = self
            .client
            .post(self.url.clone())
            .header("x-api-key", self.key.clone())
            .header("anthropic-version", VERSION)
            .json(&self.body(&request));
        reply(post, self.deadlines, Events::default()).boxed()
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        // What could be wrong without a paid call was found when the provider was built.
        ready(Ok(())).boxed()
    }
}

/// Reads the events of one answer.
#[derive(Default)]
struct Events {
    prompt_tokens: Option<u32>,
    completion_tokens: Option<u32>,
    /// The model has said why it stopped.
    stopped: bool,
    /// Name and arguments of the tool that is asked for, as far as they have come.
    tool: Option<(String, String)>,
    /// One was told already.
    told: bool,
}

impl Dialect for Events {
    const VENDOR: &'static str = VENDOR;

    fn take(&mut self, event: &Event) -> Result<Option<LlmEvent>, ProviderError> {
        match serde_json::from_str(&event.data).map_err(|e| unreadable(VENDOR, &e))? {
            Told::MessageStart { message } => self.prompt_tokens = message.usage.and_then(|usage| usage.input_tokens),
            Told::ContentBlockDelta { delta: Delta::Text { text } } if !text.is_empty() => {
                return Ok(Some(LlmEvent::Text(text)));
            }
            Told::ContentBlockStart { content_block: Block::Tool { name } } if !self.told => {
                self.tool = Some((name, String::new()));
            }
            Told::ContentBlockDelta { delta: Delta::Json { partial_json } } => {
                if let Some((_, arguments)) = &mut self.tool {
                    arguments.push_str(&partial_json);
                }
            }
            Told::ContentBlockStop => {
                if let Some((name, arguments)) = self.tool.take() {
                    self.told = true;
                    return tool_call(VENDOR, name, &arguments).map(Some);
                }
            }
            Told::MessageDelta { delta, usage } => {
                self.stopped |= delta.stop_reason.is_some();
                self.completion_tokens = usage.and_then(|usage| usage.output_tokens).or(self.completion_tokens);
            }
            Told::MessageStop => return Ok(Some(self.done())),
            Told::Error { error } => return Err(told_error(VENDOR, error.kind.as_deref())),
            Told::ContentBlockStart { .. } | Told::ContentBlockDelta { .. } | Told::Other => {}
        }
        Ok(None)
    }

    fn ended(&mut self) -> Option<LlmEvent> {
        self.stopped.then(|| self.done())
    }
}

impl Events {
    const fn done(&self) -> LlmEvent {
        LlmEvent::Done { prompt_tokens: self.prompt_tokens, completion_tokens: self.completion_tokens }
    }
}

/// One event's data. New kinds may come at any time and are passed over, as the vendor asks.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Told {
    MessageStart {
        message: Start,
    },
    ContentBlockStart {
        content_block: Block,
    },
    ContentBlockDelta {
        delta: Delta,
    },
    ContentBlockStop,
    MessageDelta {
        delta: Stop,
        usage: Option<Usage>,
    },
    MessageStop,
    Error {
        error: ErrorBody,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Start {
    usage: Option<Usage>,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "input_json_delta")]
    Json { partial_json: String },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Block {
    #[serde(rename = "tool_use")]
    Tool { name: String },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Stop {
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    input_tokens: Option<u32>,
    output_tokens: Option<u32>,
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(rename = "type")]
    kind: Option<String>,
}

const VENDOR: &str = "anthropic";
/// Of the interface; the vendor keeps it as it is.
const VERSION: &str = "2023-06-01";
/// Stands for a caller who has said nothing yet: the API takes no conversation that begins with the assistant.
const NOTHING_SAID: &str = "(The caller has not said anything yet.)";

#[cfg(test)]
mod tests;
