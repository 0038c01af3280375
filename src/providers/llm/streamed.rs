//! What every chat API that answers with server-sent events shares: the deadlines, the end of the stream, and how it breaks.
//! What an event means is the vendor's [`Dialect`].

use std::time::Duration;

use eventsource_stream::{Event, EventStreamError, Eventsource};
use futures_util::TryStreamExt;
use futures_util::future::ready;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use tokio::time::Instant;

use crate::providers::config::LlmConfig;
use crate::providers::http::{connection, protocol, send};
use crate::providers::{LlmEvent, ProviderError, TokenStream, ToolCall};
use crate::telemetry::pii::Pii;

/// How one vendor's events are read.
pub(super) trait Dialect: Send + 'static {
    const VENDOR: &'static str;
    /// What one event tells; [`LlmEvent::Done`] is the last.
    fn take(&mut self, event: &Event) -> Result<Option<LlmEvent>, ProviderError>;
    /// The body has ended: the last event if the answer was whole.
    fn ended(&mut self) -> Option<LlmEvent>;
}

#[derive(Clone, Copy)]
pub(super) struct Deadlines {
    /// From the request to the first text.
    pub first: Duration,
    /// From one event to the next.
    pub progress: Duration,
}

impl Deadlines {
    pub(super) const fn new(config: &LlmConfig) -> Self {
        Self {
            first: Duration::from_millis(config.first_token_timeout_ms),
            progress: Duration::from_millis(config.progress_timeout_ms),
        }
    }
}

/// Sends the request and reads its answer as it comes.
pub(super) async fn reply<D: Dialect>(
    post: reqwest::RequestBuilder,
    deadlines: Deadlines,
    dialect: D,
) -> Result<TokenStream, ProviderError> {
    let first_by = Instant::now() + deadlines.first;
    let response = send(D::VENDOR, post, deadlines.first).await?;
    let mut left = MOST_BYTES;
    let bytes = response.bytes_stream().map_err(Broken::Transport).and_then(move |chunk| {
        left = left.saturating_sub(chunk.len());
        ready(if left == 0 { Err(Broken::TooLong) } else { Ok(chunk) })
    });
    Ok(read(bytes, Some(first_by), deadlines, dialect).boxed())
}

/// The answer in these bytes; the first text has to come by `first_by`.
pub(super) fn read<D: Dialect>(
    bytes: impl Stream<Item = Result<bytes::Bytes, Broken>> + Send + 'static,
    first_by: Option<Instant>,
    deadlines: Deadlines,
    dialect: D,
) -> impl Stream<Item = Piece> + Send {
    let answer = Answer { events: bytes.eventsource().boxed(), first_by, deadlines, dialect, over: false };
    stream::unfold(answer, Answer::next)
}

pub(super) enum Broken {
    Transport(reqwest::Error),
    TooLong,
}

pub(super) type Piece = Result<LlmEvent, ProviderError>;

struct Answer<D> {
    events: BoxStream<'static, Result<Event, EventStreamError<Broken>>>,
    /// Until the first text.
    first_by: Option<Instant>,
    deadlines: Deadlines,
    dialect: D,
    over: bool,
}

impl<D: Dialect> Answer<D> {
    async fn next(mut self) -> Option<(Piece, Self)> {
        while !self.over {
            match self.piece().await {
                Ok(None) => {}
                Ok(Some(event)) => {
                    self.over = matches!(event, LlmEvent::Done { .. });
                    self.first_by = None;
                    return Some((Ok(event), self));
                }
                Err(error) => {
                    self.over = true;
                    self.events = stream::empty().boxed();
                    return Some((Err(error), self));
                }
            }
        }
        None
    }

    async fn piece(&mut self) -> Result<Option<LlmEvent>, ProviderError> {
        let vendor = D::VENDOR;
        let (by, what, after) = match self.first_by {
            Some(by) => (by, "first token", self.deadlines.first),
            None => (Instant::now() + self.deadlines.progress, "further token", self.deadlines.progress),
        };
        match tokio::time::timeout_at(by, self.events.next()).await {
            Err(_) => Err(ProviderError::Timeout { vendor, what, after }),
            Ok(None) => self.dialect.ended().map(Some).ok_or_else(|| ended_early(vendor)),
            Ok(Some(Err(error))) => Err(broken(vendor, error)),
            Ok(Some(Ok(event))) => self.dialect.take(&event),
        }
    }
}

/// An error inside the stream by its class; its message may hold the prompt.
pub(super) fn told_error(vendor: &'static str, class: Option<&str>) -> ProviderError {
    let sound = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | ' ');
    let class: String = class.unwrap_or("no type").chars().filter(sound).take(60).collect();
    protocol(vendor, format!("error in the stream ({class})"))
}

/// By place only: the text of a serde error may quote the answer.
pub(super) fn unreadable(vendor: &'static str, error: &serde_json::Error) -> ProviderError {
    protocol(vendor, format!("JSON at line {} column {} ({:?})", error.line(), error.column(), error.classify()))
}

/// A tool with its arguments, which are an object or nothing.
pub(super) fn tool_call(vendor: &'static str, name: String, arguments: &str) -> Result<LlmEvent, ProviderError> {
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
    let arguments = serde_json::from_str::<serde_json::Value>(arguments).map_err(|e| unreadable(vendor, &e))?;
    Ok(LlmEvent::Tool(ToolCall { name, arguments: Pii::new(arguments) }))
}

fn ended_early(vendor: &'static str) -> ProviderError {
    ProviderError::Connection { vendor, what: "the answer ended before it was finished".to_owned() }
}

fn broken(vendor: &'static str, error: EventStreamError<Broken>) -> ProviderError {
    match error {
        EventStreamError::Transport(Broken::Transport(e)) => connection(vendor, &e.without_url()),
        EventStreamError::Transport(Broken::TooLong) => {
            protocol(vendor, format!("an answer of over {MOST_BYTES} bytes"))
        }
        EventStreamError::Utf8(_) => protocol(vendor, "an event that is not UTF-8"),
        EventStreamError::Parser(_) => protocol(vendor, "a line that is no server-sent event"),
    }
}

/// Far above any spoken answer.
const MOST_BYTES: usize = 4 << 20;
