//! Any server that speaks OpenAI's chat completions as a stream of server-sent events (platform.openai.com, "Create
//! chat completion"). Of tools that a model asks for at once only the first is told. Dropping the stream closes the connection,
//! which ends the generation.

use std::sync::Arc;

use eventsource_stream::Event;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::streamed::{Deadlines, Dialect, reply, told_error, tool_call, unreadable};
use crate::providers::config::{LlmConfig, OpenAiConfig, TokenLimitField};
use crate::providers::http::{BaseUrl, client};
use crate::providers::{Llm, LlmEvent, ProviderError, ReplyRequest, Role, TokenStream, ToolSpec};

/// A chat model behind an OpenAI-compatible API.
pub struct OpenAiLlm {
    client: Client,
    url: reqwest::Url,
    authorization: Option<HeaderValue>,
    model: Arc<str>,
    limit: TokenLimitField,
    deadlines: Deadlines,
}

impl OpenAiLlm {
    /// `chosen_by` is the key of configuration that makes it necessary.
    ///
    /// # Errors
    /// Names the key of configuration that is missing or wrong.
    pub fn new(config: &OpenAiConfig, llm: &LlmConfig, chosen_by: &str) -> Result<Self, String> {
        let base = BaseUrl::parse("openai.base_url", &config.base_url, config.plain_http)?;
        Ok(Self {
            client: client(config.connect_timeout())?,
            url: base.http("chat/completions").map_err(|e| format!("openai.base_url: {e}"))?,
            authorization: config.authorization(chosen_by)?,
            model: llm.model.as_deref().unwrap_or(&config.model).into(),
            limit: config.token_limit_field,
            deadlines: Deadlines::new(llm),
        })
    }

    fn body(&self, request: &ReplyRequest) -> Value {
        let messages: Vec<Value> = request
            .messages
            .iter()
            .map(|message| json!({ "role": role(message.role), "content": message.content.expose() }))
            .collect();
        let limit = match self.limit {
            TokenLimitField::MaxTokens => "max_tokens",
            TokenLimitField::MaxCompletionTokens => "max_completion_tokens",
        };
        let mut body = json!({
            "model": &*self.model,
            "messages": messages,
            "temperature": request.temperature,
            limit: request.max_tokens,
            "stream": true,
            "stream_options": { "include_usage": true },
        });
        if !request.tools.is_empty() {
            body["tools"] = request.tools.iter().map(function).collect();
        }
        body
    }
}

fn function(tool: &ToolSpec) -> Value {
    let ToolSpec { name, description, parameters } = tool;
    json!({ "type": "function", "function": { "name": &**name, "description": &**description, "parameters": parameters } })
}

impl Llm for OpenAiLlm {
    fn name(&self) -> &'static str {
        VENDOR
    }

    fn reply(&self, request: ReplyRequest) -> BoxFuture<'static, Result<TokenStream, ProviderError>> {
        let mut post =
            self.client.post(self.url.clone()).header("accept", "text/event-stream").json(&self.body(&request));
        if let Some(value) = &self.authorization {
            post = post.header("authorization", value.clone());
        }
        reply(post, self.deadlines, Chunks::default()).boxed()
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        // What could be wrong without a paid call was found when the provider was built.
        ready(Ok(())).boxed()
    }
}

/// Reads the chunks of one answer.
#[derive(Default)]
struct Chunks {
    /// The model has said why it stopped.
    finished: bool,
    usage: Usage,
    /// Name and arguments of the tool that is asked for, as far as they have come.
    tool: Option<(String, String)>,
}

impl Dialect for Chunks {
    const VENDOR: &'static str = VENDOR;

    fn take(&mut self, event: &Event) -> Result<Option<LlmEvent>, ProviderError> {
        if event.data.trim() == "[DONE]" {
            return self.asked_for().map(|tool| Some(tool.unwrap_or_else(|| self.done())));
        }
        let chunk: Chunk = serde_json::from_str(&event.data).map_err(|e| unreadable(VENDOR, &e))?;
        if let Some(error) = chunk.error {
            return Err(told_error(VENDOR, error.kind.as_deref()));
        }
        self.usage = chunk.usage.unwrap_or(self.usage);
        let Some(choice) = chunk.choices.into_iter().next() else { return Ok(None) };
        self.finished |= choice.finish_reason.is_some();
        let delta = choice.delta.unwrap_or_default();
        for part in delta.tool_calls.into_iter().flatten().filter(|part| part.index.unwrap_or(0) == 0) {
            let (name, arguments) = self.tool.get_or_insert_default();
            let Function { name: more_name, arguments: more } = part.function.unwrap_or_default();
            name.push_str(more_name.as_deref().unwrap_or_default());
            arguments.push_str(more.as_deref().unwrap_or_default());
        }
        match delta.content.filter(|text| !text.is_empty()) {
            Some(text) => Ok(Some(LlmEvent::Text(text))),
            None if self.finished => self.asked_for(),
            None => Ok(None),
        }
    }

    fn ended(&mut self) -> Option<LlmEvent> {
        self.finished.then(|| self.done())
    }
}

impl Chunks {
    /// The tool, once all of it is there.
    fn asked_for(&mut self) -> Result<Option<LlmEvent>, ProviderError> {
        self.tool.take().map(|(name, arguments)| tool_call(VENDOR, name, &arguments)).transpose()
    }

    const fn done(&self) -> LlmEvent {
        let Usage { prompt_tokens, completion_tokens } = self.usage;
        LlmEvent::Done { prompt_tokens, completion_tokens }
    }
}

/// One event's data. Fields that are not listed carry nothing that is used here.
#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    error: Option<ErrorBody>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
    tool_calls: Option<Vec<ToolPart>>,
}

#[derive(Deserialize)]
struct ToolPart {
    index: Option<u32>,
    function: Option<Function>,
}

#[derive(Default, Deserialize)]
struct Function {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct Usage {
    prompt_tokens: Option<u32>,
    completion_tokens: Option<u32>,
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(rename = "type")]
    kind: Option<String>,
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

const VENDOR: &str = "openai";

#[cfg(test)]
mod tests;
