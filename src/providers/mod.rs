//! ROOM 5: the only sockets to vendors, and the traits by which the rest of the house knows them.
//!
//! A vendor is one file; its types and quirks stay inside it. A caller of these traits sees 8 kHz frames, words,
//! tokens and [`ProviderError`], and may drop a stream at any moment: that is how an answer is abandoned.

pub mod cache;
pub mod config;
pub mod credentials;
pub mod frames;
pub mod hook;
mod http;
mod key;
pub mod llm;
pub mod models;
pub mod registry;
pub mod stack;
pub mod stt;
pub mod timing;
pub mod tts;
pub mod turn_end;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;

use crate::safety::said::Cleared;
use crate::telemetry::pii::Pii;
pub use frames::{FrameReceiver, FrameSender, frame_queue};
pub use stack::Ranked;
pub use timing::WordTime;

/// A BCP 47 language tag, such as `en` or `fr-CA`, lower-cased before the first `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Language(Arc<str>);

impl Language {
    /// # Errors
    /// Names the tag when it is not 2-3 letters, optionally followed by `-` and alphanumeric subtags.
    pub fn parse(tag: &str) -> Result<Self, String> {
        let mut parts = tag.split('-');
        let primary = parts.next().unwrap_or_default();
        let sound = (2..=3).contains(&primary.len())
            && primary.bytes().all(|b| b.is_ascii_alphabetic())
            && parts.all(|p| !p.is_empty() && p.len() <= 8 && p.bytes().all(|b| b.is_ascii_alphanumeric()));
        if !sound {
            return Err(format!("language `{tag}` is not a tag such as `en` or `fr-CA`"));
        }
        let rest = tag.get(primary.len()..).unwrap_or_default();
        Ok(Self(format!("{}{rest}", primary.to_ascii_lowercase()).into()))
    }

    /// The whole tag.
    pub fn tag(&self) -> &str {
        &self.0
    }

    /// The part before the first `-`.
    pub fn primary(&self) -> &str {
        self.0.split('-').next().unwrap_or(&self.0)
    }
}

impl Default for Language {
    fn default() -> Self {
        Self("en".into())
    }
}

/// Why a vendor did not serve. Carries no secret and no caller words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    #[error("{vendor}: not configured: {what}")]
    NotConfigured { vendor: &'static str, what: String },
    #[error("{vendor}: credentials refused (HTTP {status})")]
    Unauthorized { vendor: &'static str, status: u16 },
    #[error("{vendor}: rate limited, retry after {retry_after:?}")]
    RateLimited { vendor: &'static str, retry_after: Option<Duration> },
    #[error("{vendor}: HTTP {status}")]
    Status { vendor: &'static str, status: u16 },
    #[error("{vendor}: no {what} within {after:?}")]
    Timeout { vendor: &'static str, what: &'static str, after: Duration },
    #[error("{vendor}: connection failed: {what}")]
    Connection { vendor: &'static str, what: String },
    #[error("{vendor}: unexpected answer: {what}")]
    Protocol { vendor: &'static str, what: String },
    #[error("{vendor}: program `{program}` failed: {what}")]
    Program { vendor: &'static str, program: String, what: String },
}

/// What is to be spoken, by whom and how.
#[derive(Clone, Debug)]
pub struct SpeakRequest {
    pub text: Cleared,
    pub language: Language,
    /// The vendor's name of the voice; none takes the configured one.
    pub voice: Option<Arc<str>>,
    /// Speaking rate, 1.0 is the voice's own (0.5 to 2.0).
    pub rate: f32,
}

/// A piece of an utterance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeechChunk {
    /// 8 kHz mono linear PCM, of any length; may be empty.
    pub samples: Arc<[i16]>,
    /// Words of which the voice tells when they are heard, in order. They may come with their audio, before or after it.
    pub words: Vec<WordTime>,
    /// Another voice goes on from here: what came behind this many samples of the utterance gives way to what follows.
    pub rejoins: Option<u64>,
}

impl From<Arc<[i16]>> for SpeechChunk {
    fn from(samples: Arc<[i16]>) -> Self {
        Self { samples, words: Vec::new(), rejoins: None }
    }
}

impl From<Vec<i16>> for SpeechChunk {
    fn from(samples: Vec<i16>) -> Self {
        Self::from(Arc::from(samples))
    }
}

/// An utterance as it is made.
pub type AudioStream = BoxStream<'static, Result<SpeechChunk, ProviderError>>;

/// Text to speech.
pub trait Tts: Send + Sync {
    /// The provider's name as configuration spells it.
    fn name(&self) -> &'static str;
    /// Begins to speak. The first chunk comes before the whole text is made.
    fn speak(&self, request: SpeakRequest) -> BoxFuture<'static, Result<AudioStream, ProviderError>>;
    /// Whether this provider could serve now: programs installed, keys set. Cheap; makes no paid call.
    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>>;
    /// Whether it can speak this language at all; most tell by failing.
    fn speaks(&self, _language: &Language) -> bool {
        true
    }
    /// Whether it may be asked for a voice of this name; voices of other providers mean nothing to it.
    fn knows(&self, _voice: &str) -> bool {
        true
    }
    /// The whole utterance, if it was made before. Takes no time.
    fn ready(&self, _request: &SpeakRequest) -> Option<SpeechChunk> {
        None
    }
}

/// What a speech recogniser is told when a call begins to listen.
pub struct ListenRequest {
    pub language: Language,
    /// Words worth expecting at this step.
    pub hints: Vec<String>,
    /// The caller's 20 ms frames. The session ends when the sending half is dropped.
    pub audio: FrameReceiver,
}

/// One recognised stretch of the caller's speech. Times count from the first frame that the session received.
#[derive(Clone, Debug, PartialEq)]
pub struct Recognised {
    pub text: Pii<String>,
    /// 0.0 to 1.0 as the vendor reports it.
    pub confidence: f32,
    pub start: Duration,
    pub end: Duration,
}

/// What a recogniser says while it listens.
#[derive(Clone, Debug, PartialEq)]
pub enum SttEvent {
    /// May still change.
    Interim(Recognised),
    /// Will not change.
    Final(Recognised),
    /// There is silence behind the words. Whether more will come is not said.
    SpeechEnded,
    /// The vendor half believes that the turn is over: worth thinking of an answer.
    EagerTurnEnd,
    /// The turn of [`SttEvent::EagerTurnEnd`] goes on after all.
    TurnResumed,
    /// The vendor believes from what was said that the caller's turn has ended.
    TurnEnded,
    /// The session was lost and is being opened again with the last seconds of audio.
    Reconnecting,
    /// The session is over and will not come back.
    Failed(ProviderError),
}

/// Speech to text.
pub trait Stt: Send + Sync {
    fn name(&self) -> &'static str;
    /// Opens a session; events arrive on the bounded channel until the audio ends or the receiver is dropped.
    fn listen(&self, request: ListenRequest) -> BoxFuture<'static, Result<mpsc::Receiver<SttEvent>, ProviderError>>;
    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>>;
    /// Whether a session that is lost is opened again by itself, with what was not settled.
    fn reconnects(&self) -> bool {
        false
    }
}

/// Who said a message of the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
}

/// One message of the conversation as a language model is told it.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub role: Role,
    pub content: Pii<String>,
}

/// Something that a model may ask for. What comes of it is decided by whoever offers it.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    pub name: Arc<str>,
    pub description: Arc<str>,
    /// JSON schema of an object.
    pub parameters: serde_json::Value,
}

/// A model asks for a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    pub name: String,
    /// What the model made up; nothing of it is checked here.
    pub arguments: Pii<serde_json::Value>,
}

/// What a language model is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplyRequest {
    pub messages: Vec<Message>,
    /// What it may ask for; the first that it asks for ends its answer.
    pub tools: Arc<[ToolSpec]>,
    /// 0.0 to 2.0.
    pub temperature: f32,
    pub max_tokens: u32,
}

/// A piece of a model's answer.
#[derive(Clone, Debug, PartialEq)]
pub enum LlmEvent {
    Text(String),
    Tool(ToolCall),
    Done { prompt_tokens: Option<u32>, completion_tokens: Option<u32> },
}

pub type TokenStream = BoxStream<'static, Result<LlmEvent, ProviderError>>;

/// A language model.
pub trait Llm: Send + Sync {
    fn name(&self) -> &'static str;
    fn reply(&self, request: ReplyRequest) -> BoxFuture<'static, Result<TokenStream, ProviderError>>;
    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>>;
}

/// The vendors chosen by configuration; an absent one is said so to the caller, never pretended.
#[derive(Clone)]
pub struct Providers {
    /// In order of preference; the next one continues when one fails. Never empty in a running server.
    pub tts: Vec<Ranked<dyn Tts>>,
    /// In order of preference, as voices are; may be empty.
    pub stt: Vec<Ranked<dyn Stt>>,
    pub llm: Vec<Ranked<dyn Llm>>,
    /// Votes on the end of callers' turns.
    pub turn_end: Option<Arc<dyn turn_end::TurnEnd>>,
}
