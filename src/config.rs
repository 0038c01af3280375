//! What the server is told before it starts: one section per room, each with its defaults.
//!
//! Every struct refuses unknown keys, so a typo is an error and never silently a default. How layers are found and
//! merged is in [`load`]; which settings production refuses is in [`production`].

mod calls;
mod drain;
mod kinds;
mod load;
mod production;
mod read;
mod recording;
mod rtp;
pub mod sip;
mod tree;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

use crate::providers::config::{
    AnthropicConfig, ApiKey, AzureConfig, DeepgramConfig, ElevenLabsConfig, EspeakConfig, FliteConfig, LlmConfig,
    OpenAiConfig, PiperConfig, ProvidersConfig, SttConfig, TtsConfig, TurnEndConfig, WhisperConfig,
};
use crate::providers::credentials::CredentialsConfig;
use crate::providers::hook::HooksConfig;
use crate::providers::models::ModelsConfig;
use crate::providers::registry::RegistryConfig;
use crate::providers::stack::ResilienceConfig;
use crate::store::{DataConfig, DatabaseConfig, StoreConfig};
use crate::telemetry::logs::LogConfig;
use crate::turn::TurnConfig;

pub use calls::{OutboundConfig, TransferConfig};
pub use drain::DrainWords;
pub use kinds::{PortRange, PublicUrl, Shards, bounded};
pub use load::{ConfigError, DEFAULT_FILE, FileOf, Loaded, Sources, load, parse, parse_file};
pub use read::Misfit;
pub use recording::{Consent, RecordingConfig, RecordingFormat};
pub use rtp::{DtmfMode, RtcpSetting, RtpConfig};
pub use sip::{CodecName, SipConfig, SrtpMode};
pub use tree::{Node, Origin};

/// The whole configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub http: HttpConfig,
    pub sip: SipConfig,
    pub rtp: RtpConfig,
    pub twilio: TwilioConfig,
    pub database: DatabaseConfig,
    pub redis: RedisConfig,
    pub data: DataConfig,
    pub credentials: CredentialsConfig,
    pub store: StoreConfig,
    pub recording: RecordingConfig,
    pub limits: LimitsConfig,
    pub transfer: TransferConfig,
    pub hooks: HooksConfig,
    pub outbound: OutboundConfig,
    pub media: MediaConfig,
    pub flows: FlowsConfig,
    pub turn: TurnConfig,
    pub tts: TtsConfig,
    pub stt: SttConfig,
    pub llm: LlmConfig,
    pub registry: RegistryConfig,
    pub deepgram: DeepgramConfig,
    pub openai: OpenAiConfig,
    pub anthropic: AnthropicConfig,
    pub elevenlabs: ElevenLabsConfig,
    pub azure: AzureConfig,
    pub flite: FliteConfig,
    pub espeak: EspeakConfig,
    pub whisper: WhisperConfig,
    pub models: ModelsConfig,
    pub turn_end: TurnEndConfig,
    pub piper: PiperConfig,
    pub resilience: ResilienceConfig,
    pub log: LogConfig,
}

/// The HTTP and WebSocket listener: health, API, webhooks, media streams.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    #[serde(deserialize_with = "kinds::listen")]
    pub listen: SocketAddr,
    /// Where carriers reach this server from outside, e.g. `https://voice.example.org`.
    pub public_url: Option<PublicUrl>,
    /// Longest wait for a request's head, in ms.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 100, 60_000>")]
    pub header_timeout_ms: u64,
    /// Longest time to answer a request that is not a WebSocket, in ms.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 100, 120_000>")]
    pub request_timeout_ms: u64,
    #[serde(deserialize_with = "kinds::bounded::<_, _, 1_024, 16_777_216>")]
    pub max_body_bytes: usize,
    /// Connections open at once; more are answered 503 and closed.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 1, 1_000_000>")]
    pub max_connections: usize,
    /// The bearer token that `/v1` asks for; without one `/v1` is open, which production refuses.
    pub secret_key: Option<SecretString>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            public_url: None,
            header_timeout_ms: 10_000,
            request_timeout_ms: 10_000,
            max_body_bytes: 65_536,
            max_connections: 4_096,
            secret_key: None,
        }
    }
}

/// Twilio webhooks and Media Streams.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TwilioConfig {
    /// Signs webhooks; without it they are refused while `validate_signature` holds.
    pub auth_token: Option<SecretString>,
    pub account_sid: Option<String>,
    pub validate_signature: bool,
}

impl Default for TwilioConfig {
    fn default() -> Self {
        Self { auth_token: None, account_sid: None, validate_signature: true }
    }
}

/// A Redis beside this server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://host:port`; may hold a password. Nothing is kept there; health shows whether it answers.
    #[serde(deserialize_with = "kinds::redis_url")]
    pub url: Option<SecretString>,
}

/// What one server accepts.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Calls at once; more are answered busy.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 1, 100_000>")]
    pub max_calls: usize,
    /// Longest call, in minutes.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 1, 1_440>")]
    pub max_call_minutes: u64,
    /// A call without any incoming audio for this many seconds is ended.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 1, 3_600>")]
    pub no_media_timeout_s: u64,
    /// A call may be held for this many seconds.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 1, 3_600>")]
    pub hold_timeout_s: u64,
    /// Time given to calls to end by themselves when the server is asked to stop, in seconds.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 0, 3_600>")]
    pub drain_timeout_s: u64,
    /// Said to callers whose time is up then, before they are hung up on.
    pub drain_words: DrainWords,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_calls: 1_000,
            max_call_minutes: 30,
            no_media_timeout_s: 60,
            hold_timeout_s: 300,
            drain_timeout_s: 30,
            drain_words: DrainWords::default(),
        }
    }
}

/// The threads that carry audio.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MediaConfig {
    pub shards: Shards,
    /// Ask the system for real-time scheduling of the shards; refused is a warning, not an error.
    pub realtime_priority: bool,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self { shards: Shards::Auto, realtime_priority: true }
    }
}

/// Where lines, flows and prompts are read from.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowsConfig {
    pub dir: PathBuf,
}

impl Default for FlowsConfig {
    fn default() -> Self {
        Self { dir: PathBuf::from("config") }
    }
}

impl Config {
    /// The sections from which the vendors are made.
    pub fn providers(&self) -> ProvidersConfig {
        ProvidersConfig {
            tts: self.tts.clone(),
            stt: self.stt.clone(),
            llm: self.llm.clone(),
            deepgram: self.deepgram.clone(),
            openai: self.openai.clone(),
            anthropic: self.anthropic.clone(),
            elevenlabs: self.elevenlabs.clone(),
            azure: self.azure.clone(),
            flite: self.flite.clone(),
            espeak: self.espeak.clone(),
            whisper: self.whisper.clone(),
            models: self.models.clone(),
            turn_end: self.turn_end.clone(),
            piper: self.piper.clone(),
            resilience: self.resilience.clone(),
        }
    }

    /// The keys of the vendors that have one, by the name of their section.
    pub fn vendor_keys(&mut self) -> Vec<(&'static str, &mut Option<ApiKey>)> {
        vec![
            ("deepgram", &mut self.deepgram.api_key),
            ("openai", &mut self.openai.api_key),
            ("anthropic", &mut self.anthropic.api_key),
            ("elevenlabs", &mut self.elevenlabs.api_key),
            ("azure", &mut self.azure.api_key),
        ]
    }

    /// Where the keys lie that credentials in the database are encrypted under.
    pub fn key_file(&self) -> PathBuf {
        self.credentials.key_file.clone().unwrap_or_else(|| self.data.dir.join("credentials.key"))
    }

    /// The address that audio packets of SIP calls are received on.
    pub fn rtp_address(&self) -> IpAddr {
        self.rtp.listen.unwrap_or_else(|| self.sip.listen.ip())
    }
}
