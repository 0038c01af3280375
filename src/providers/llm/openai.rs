//! Any server that speaks OpenAI's chat completions as a stream of server-sent events (platform.openai.com, "Create
//! chat completion"). Tools are deliberately absent: what a model may do is decided elsewhere. Dropping the stream
//! closes the connection, which ends the generation.

use std::sync::Arc;
use std::time::Duration;

use eventsource_stream::{Event, EventStreamError, Eventsource};
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::{self, BoxStream, StreamExt};
use futures_util::{FutureExt, TryStreamExt};
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::providers::config::{LlmConfig, OpenAiConfig, TokenLimitField};
use crate::providers::http::{BaseUrl, client, connection, protocol, send};
use crate::providers::{Llm, LlmEvent, ProviderError, ReplyRequest, Role, TokenStream};

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
    /// # Errors
    /// Names the key of configuration that is missing or wrong.
    pub fn new(config: &OpenAiConfig, llm: &LlmConfig) -> Result<Self, String> {
        if !(0.0..=2.0).contains(&llm.temperature) {
            return Err(format!("llm.temperature: {}, expected 0.0 to 2.0", llm.temperature));
        }
        if llm.max_tokens == 0 || llm.first_token_timeout_ms == 0 || llm.progress_timeout_ms == 0 {
            return Err("llm: max_tokens or a timeout is 0; expected at least 1".to_owned());
        }
        let base = BaseUrl::parse("openai.base_url", &config.base_url, config.plain_http)?;
        Ok(Self {
            client: client(config.connect_timeout())?,
            url: base.http("chat/completions").map_err(|e| format!("openai.base_url: {e}"))?,
            authorization: config.authorization("llm.provider")?,
            model: llm.model.as_deref().unwrap_or(&config.model).into(),
            limit: config.token_limit_field,
            deadlines: Deadlines {
                first: Duration::from_millis(llm.first_token_timeout_ms),
                progress: Duration::from_millis(llm.progress_timeout_ms),
            },
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
        json!({
            "model": &*self.model,
            "messages": messages,
            "temperature": request.temperature,
            limit: request.max_tokens,
            "stream": true,
            "stream_options": { "include_usage": true },
        })
    }
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
        reply(post, self.deadlines).boxed()
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        // What could be wrong without a paid call was found when the provider was built.
        ready(Ok(())).boxed()
    }
}

#[derive(Clone, Copy)]
struct Deadlines {
    /// From the request to the first text.
    first: Duration,
    /// From one event to the next.
    progress: Duration,
}

async fn reply(post: reqwest::RequestBuilder, deadlines: Deadlines) -> Result<TokenStream, ProviderError> {
    let first_by = Instant::now() + deadlines.first;
    let response = send(VENDOR, post, deadlines.first).await?;
    let mut left = MOST_BYTES;
    let bytes = response.bytes_stream().map_err(Broken::Transport).and_then(move |chunk| {
        left = left.saturating_sub(chunk.len());
        ready(if left == 0 { Err(Broken::TooLong) } else { Ok(chunk) })
    });
    let answer = Answer {
        events: bytes.eventsource().boxed(),
        first_by: Some(first_by),
        deadlines,
        finished: false,
        over: false,
        usage: Usage::default(),
    };
    Ok(stream::unfold(answer, Answer::next).boxed())
}

enum Broken {
    Transport(reqwest::Error),
    TooLong,
}

struct Answer {
    events: BoxStream<'static, Result<Event, EventStreamError<Broken>>>,
    /// Until the first text.
    first_by: Option<Instant>,
    deadlines: Deadlines,
    /// The model has said why it stopped.
    finished: bool,
    over: bool,
    usage: Usage,
}

type Piece = Result<LlmEvent, ProviderError>;

impl Answer {
    async fn next(mut self) -> Option<(Piece, Self)> {
        while !self.over {
            let (by, what, after) = match self.first_by {
                Some(by) => (by, "first token", self.deadlines.first),
                None => (Instant::now() + self.deadlines.progress, "further token", self.deadlines.progress),
            };
            let piece = match tokio::time::timeout_at(by, self.events.next()).await {
                Err(_) => Err(ProviderError::Timeout { vendor: VENDOR, what, after }),
                Ok(None) if self.finished => Ok(Some(self.done())),
                Ok(None) => Err(ended_early()),
                Ok(Some(Err(error))) => Err(broken(error)),
                Ok(Some(Ok(event))) if event.data.trim() == "[DONE]" => Ok(Some(self.done())),
                Ok(Some(Ok(event))) => self.take(&event.data),
            };
            match piece {
                Ok(None) => {}
                Ok(Some(event)) => return Some((Ok(event), self)),
                Err(error) => {
                    self.over = true;
                    self.events = stream::empty().boxed();
                    return Some((Err(error), self));
                }
            }
        }
        None
    }

    /// The text of one chunk, if it has any.
    fn take(&mut self, data: &str) -> Result<Option<LlmEvent>, ProviderError> {
        let chunk: Chunk = serde_json::from_str(data).map_err(|e| unreadable(&e))?;
        if let Some(error) = chunk.error {
            return Err(protocol(VENDOR, format!("error in the stream ({})", error.kind())));
        }
        self.usage = chunk.usage.unwrap_or(self.usage);
        let Some(choice) = chunk.choices.into_iter().next() else { return Ok(None) };
        self.finished |= choice.finish_reason.is_some();
        match choice.delta.and_then(|delta| delta.content).filter(|text| !text.is_empty()) {
            Some(text) => {
                self.first_by = None;
                Ok(Some(LlmEvent::Text(text)))
            }
            None => Ok(None),
        }
    }

    fn done(&mut self) -> LlmEvent {
        self.over = true;
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

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
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

impl ErrorBody {
    /// The error's class; its message may hold the prompt.
    fn kind(&self) -> String {
        let kind = self.kind.as_deref().unwrap_or("no type");
        kind.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ' ')).take(60).collect()
    }
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

fn ended_early() -> ProviderError {
    ProviderError::Connection { vendor: VENDOR, what: "the answer ended before it was finished".to_owned() }
}

fn broken(error: EventStreamError<Broken>) -> ProviderError {
    match error {
        EventStreamError::Transport(Broken::Transport(e)) => connection(VENDOR, &e.without_url()),
        EventStreamError::Transport(Broken::TooLong) => {
            protocol(VENDOR, format!("an answer of over {MOST_BYTES} bytes"))
        }
        EventStreamError::Utf8(_) => protocol(VENDOR, "an event that is not UTF-8"),
        EventStreamError::Parser(_) => protocol(VENDOR, "a line that is no server-sent event"),
    }
}

/// By place only: the text of a serde error may quote the answer.
fn unreadable(error: &serde_json::Error) -> ProviderError {
    protocol(VENDOR, format!("JSON at line {} column {} ({:?})", error.line(), error.column(), error.classify()))
}

const VENDOR: &str = "openai";
/// Far above any spoken answer.
const MOST_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests;
