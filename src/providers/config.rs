//! The sections of configuration that name vendors, and the making of [`Providers`] from them.
//!
//! Unknown keys are errors. A secret is read from configuration and never written: it serialises as `[redacted]`.

mod chosen;
mod vendors;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::http::HeaderValue;

pub use super::key::ApiKey;
use super::models::ModelsConfig;
use super::stack::{Limits, ResilienceConfig};
use super::{Providers, http, turn_end};
pub use vendors::{
    AzureConfig, ElevenLabsConfig, EmbeddedConfig, EspeakConfig, FliteConfig, PiperConfig, TurnEndConfig, WhisperConfig,
};

/// All sections; each is a key of the same name at the top of the server's configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProvidersConfig {
    pub tts: TtsConfig,
    pub stt: SttConfig,
    pub llm: LlmConfig,
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
}

/// Makes the vendors that `config` chooses. The embedded voices follow all others in the chain.
///
/// # Errors
/// Names the key and what was expected.
pub fn build(config: &ProvidersConfig) -> Result<Providers, String> {
    config.tts.validate()?;
    config.models.validate()?;
    config.resilience.validate()?;
    let mut limits = Limits::default();
    let tts = chosen::voices(config, &mut limits)?;
    let stt = chosen::ears(config, &mut limits)?;
    let llm = chosen::models(config, &mut limits)?;
    Ok(Providers { tts, stt, llm, turn_end: turn_end::build(&config.turn_end)? })
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TtsProvider {
    #[default]
    Embedded,
    Deepgram,
    Openai,
    /// Whom the registry chooses.
    Registry,
    ElevenLabs,
    Azure,
    Piper,
}

/// `tts`: the voice.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TtsConfig {
    pub provider: TtsProvider,
    /// Who speaks when it fails, in this order; the embedded voices come last in any case.
    pub fallbacks: Vec<TtsProvider>,
    /// The provider's name of a voice; none takes the provider's own default.
    pub voice: Option<String>,
    /// Speaking rate, 0.5 to 2.0; 1.0 is the voice's own.
    pub rate: f32,
    /// Audio kept in memory, shared by the chain's voices.
    pub cache_bytes: usize,
    /// A voice without audio by then has failed.
    pub first_audio_timeout_ms: u64,
    /// A voice without audio by then is not waited for alone: the next one is asked as well.
    pub hedge_after_ms: u64,
    /// Longest gap inside an utterance.
    pub progress_timeout_ms: u64,
    /// Longest run of an embedded voice's text, waiting for a slot included.
    pub deadline_ms: u64,
    /// Embedded programs at work at once; 0 stands for twice the number of cores.
    pub concurrency: usize,
}

impl Default for TtsConfig {
    fn default() -> Self {
        Self {
            provider: TtsProvider::default(),
            fallbacks: Vec::new(),
            voice: None,
            rate: 1.0,
            cache_bytes: 64 << 20,
            first_audio_timeout_ms: 1500,
            hedge_after_ms: 800,
            progress_timeout_ms: 1500,
            deadline_ms: 15_000,
            concurrency: 0,
        }
    }
}

impl TtsConfig {
    fn validate(&self) -> Result<(), String> {
        if !(0.5..=2.0).contains(&self.rate) {
            return Err(format!("tts.rate: {}, expected 0.5 to 2.0", self.rate));
        }
        let waits = [self.first_audio_timeout_ms, self.hedge_after_ms, self.progress_timeout_ms, self.deadline_ms];
        if waits.contains(&0) {
            return Err("tts: a time of 0 ms; expected at least 1".to_owned());
        }
        Ok(())
    }

    /// When the next voice of the chain takes over.
    pub const fn first_audio(&self) -> Duration {
        Duration::from_millis(self.first_audio_timeout_ms)
    }

    pub const fn progress(&self) -> Duration {
        Duration::from_millis(self.progress_timeout_ms)
    }

    pub const fn hedge_after(&self) -> Duration {
        Duration::from_millis(self.hedge_after_ms)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SttProvider {
    #[default]
    None,
    Deepgram,
    /// OpenAI's transcriptions, or those of any server that speaks its API.
    #[serde(alias = "whisper")]
    Openai,
    /// Whisper in this process, from a file of weights.
    #[serde(rename = "whisper_local")]
    WhisperLocal,
    Registry,
    Azure,
}

/// `stt`: the recogniser.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SttConfig {
    pub provider: SttProvider,
    /// Who listens when it fails, in this order.
    pub fallbacks: Vec<SttProvider>,
    /// A recogniser that has not accepted a session by then has failed.
    pub connect_timeout_ms: u64,
    /// One that has not by then is not waited for alone: the next one is asked as well.
    pub hedge_after_ms: u64,
    /// Silence after which the vendor makes its words final.
    pub endpointing_ms: u32,
    /// Gap between words after which the vendor reports the end of an utterance (at least 1000).
    pub utterance_end_ms: u32,
    /// Audio sent without any answer for so long means that the session is lost.
    pub watchdog_ms: u64,
    /// Audio kept to be sent again after a lost connection, 10 s at most.
    pub replay_ms: u32,
    /// Whether the recogniser hears the caller with less noise.
    pub noise_suppression: bool,
}

impl Default for SttConfig {
    fn default() -> Self {
        Self {
            provider: SttProvider::default(),
            fallbacks: Vec::new(),
            connect_timeout_ms: 3000,
            hedge_after_ms: 1000,
            endpointing_ms: 300,
            utterance_end_ms: 1000,
            watchdog_ms: 5000,
            replay_ms: 10_000,
            noise_suppression: false,
        }
    }
}

impl SttConfig {
    fn validate(&self) -> Result<(), String> {
        if self.connect_timeout_ms == 0 || self.hedge_after_ms == 0 {
            return Err("stt: a time of 0 ms; expected at least 1".to_owned());
        }
        Ok(())
    }

    pub const fn connect(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub const fn hedge_after(&self) -> Duration {
        Duration::from_millis(self.hedge_after_ms)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LlmProvider {
    #[default]
    None,
    Openai,
    Anthropic,
    Registry,
}

/// `llm`: the language model.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LlmConfig {
    pub provider: LlmProvider,
    /// None takes `openai.model`.
    pub model: Option<String>,
    /// 0.0 to 2.0.
    pub temperature: f32,
    pub max_tokens: u32,
    pub first_token_timeout_ms: u64,
    /// Longest gap between tokens.
    pub progress_timeout_ms: u64,
    /// Who is asked when the model fails, in this order.
    pub fallbacks: Vec<LlmFallback>,
    /// A model that has given no token by then is not waited for alone: the next one is asked as well.
    pub hedge_after_ms: u64,
}

/// A model that stands in for another one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LlmFallback {
    pub provider: LlmProvider,
    /// None takes the model of the provider's section.
    pub model: Option<String>,
    /// None takes the address and the key of the provider's section.
    pub base_url: Option<String>,
    pub plain_http: bool,
    pub api_key: Option<ApiKey>,
}

impl LlmFallback {
    /// The sections with what is said here instead. A key is never sent to an address that it was not given for.
    fn over(&self, config: &ProvidersConfig) -> ProvidersConfig {
        let mut config = config.clone();
        let ProvidersConfig { openai, anthropic, .. } = &mut config;
        let (base_url, plain_http, api_key) = match self.provider {
            LlmProvider::Anthropic => (&mut anthropic.base_url, &mut anthropic.plain_http, &mut anthropic.api_key),
            LlmProvider::Openai | LlmProvider::None | LlmProvider::Registry => {
                (&mut openai.base_url, &mut openai.plain_http, &mut openai.api_key)
            }
        };
        if let Some(other) = &self.base_url {
            (*base_url, *plain_http, *api_key) = (other.clone(), self.plain_http, None);
        }
        if self.api_key.is_some() {
            api_key.clone_from(&self.api_key);
        }
        config
    }
}

impl LlmConfig {
    fn validate(&self) -> Result<(), String> {
        if !(0.0..=2.0).contains(&self.temperature) {
            return Err(format!("llm.temperature: {}, expected 0.0 to 2.0", self.temperature));
        }
        if self.max_tokens == 0 || self.first_token_timeout_ms == 0 || self.progress_timeout_ms == 0 {
            return Err("llm: max_tokens or a timeout is 0; expected at least 1".to_owned());
        }
        if self.hedge_after_ms == 0 {
            return Err("llm.hedge_after_ms: 0, expected at least 1".to_owned());
        }
        Ok(())
    }

    pub const fn first_token(&self) -> Duration {
        Duration::from_millis(self.first_token_timeout_ms)
    }

    pub const fn progress(&self) -> Duration {
        Duration::from_millis(self.progress_timeout_ms)
    }

    pub const fn hedge_after(&self) -> Duration {
        Duration::from_millis(self.hedge_after_ms)
    }
}

impl Default for LlmConfig {
    fn default() -> Self {
        Self {
            provider: LlmProvider::default(),
            model: None,
            temperature: 0.3,
            max_tokens: 300,
            first_token_timeout_ms: 4000,
            progress_timeout_ms: 5000,
            fallbacks: Vec::new(),
            hedge_after_ms: 1200,
        }
    }
}

/// `deepgram`: where and by which key Deepgram is reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeepgramConfig {
    pub base_url: String,
    /// Allows clear text to another host, such as a self-hosted server.
    pub plain_http: bool,
    pub api_key: Option<ApiKey>,
    pub tts_model: String,
    /// `nova-..`, or `flux-..`: the latter hears from the words when a turn is over.
    pub stt_model: String,
    /// How sure Flux must be that a turn is over, 0.5 to 0.9.
    pub eot_threshold: f32,
    /// How sure it must be to say that a turn may be over, from 0.3 to `eot_threshold`.
    pub eager_eot_threshold: f32,
    /// Silence after which Flux takes a turn to be over, 500 to 10000.
    pub eot_timeout_ms: u32,
    /// Uses of the key in a minute, for each kind of use; none leaves it to the vendor to say.
    pub requests_per_minute: Option<u32>,
    pub connect_timeout_ms: u64,
}

impl Default for DeepgramConfig {
    fn default() -> Self {
        Self {
            base_url: "https://api.deepgram.com".to_owned(),
            plain_http: false,
            api_key: None,
            tts_model: "aura-2-aries-en".to_owned(),
            stt_model: "nova-3".to_owned(),
            eot_threshold: 0.7,
            eager_eot_threshold: 0.5,
            eot_timeout_ms: 5000,
            requests_per_minute: None,
            connect_timeout_ms: 2000,
        }
    }
}

impl DeepgramConfig {
    pub(super) const fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }
}

/// `openai`: OpenAI, or any server that speaks its API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpenAiConfig {
    pub base_url: String,
    /// Allows clear text to another host, such as a model server beside this one.
    pub plain_http: bool,
    /// Not needed by servers other than OpenAI's own.
    pub api_key: Option<ApiKey>,
    pub model: String,
    pub stt_model: String,
    pub tts_model: String,
    pub tts_voice: String,
    /// The field that carries the limit of tokens; OpenAI's reasoning models know only the newer one.
    pub token_limit_field: TokenLimitField,
    /// Uses of the key in a minute, for each kind of use; none leaves it to the vendor to say.
    pub requests_per_minute: Option<u32>,
    pub connect_timeout_ms: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenLimitField {
    #[default]
    MaxTokens,
    MaxCompletionTokens,
}

impl Default for OpenAiConfig {
    fn default() -> Self {
        Self {
            base_url: "https://api.openai.com/v1".to_owned(),
            plain_http: false,
            api_key: None,
            model: "gpt-4o-mini".to_owned(),
            stt_model: "whisper-1".to_owned(),
            tts_model: "gpt-4o-mini-tts".to_owned(),
            tts_voice: "alloy".to_owned(),
            token_limit_field: TokenLimitField::default(),
            requests_per_minute: None,
            connect_timeout_ms: 2000,
        }
    }
}

impl OpenAiConfig {
    pub(super) const fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// `chosen_by` is the key that makes a key necessary.
    pub(super) fn authorization(&self, chosen_by: &str) -> Result<Option<HeaderValue>, String> {
        match &self.api_key {
            Some(key) => {
                http::authorization("Bearer", key.secret()).map(Some).map_err(|e| format!("openai.api_key: {e}"))
            }
            None if self.base_url.contains("api.openai.com") => {
                Err(format!("openai.api_key: missing ({chosen_by} is openai)"))
            }
            None => Ok(None),
        }
    }
}

/// `anthropic`: where and by which key Anthropic is reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnthropicConfig {
    pub base_url: String,
    /// Allows clear text to another host.
    pub plain_http: bool,
    pub api_key: Option<ApiKey>,
    pub model: String,
    /// Uses of the key in a minute, for each kind of use; none leaves it to the vendor to say.
    pub requests_per_minute: Option<u32>,
    pub connect_timeout_ms: u64,
}

impl Default for AnthropicConfig {
    fn default() -> Self {
        Self {
            base_url: "https://api.anthropic.com".to_owned(),
            plain_http: false,
            api_key: None,
            model: "claude-haiku-4-5".to_owned(),
            requests_per_minute: None,
            connect_timeout_ms: 2000,
        }
    }
}

impl AnthropicConfig {
    pub(super) const fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// `chosen_by` is the key that makes a key necessary.
    pub(super) fn key(&self, chosen_by: &str) -> Result<HeaderValue, String> {
        let key =
            self.api_key.as_ref().ok_or_else(|| format!("anthropic.api_key: missing ({chosen_by} is anthropic)"))?;
        http::secret(key.secret()).map_err(|e| format!("anthropic.api_key: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(json: &str) -> Result<ProvidersConfig, String> {
        serde_json::from_str(json).map_err(|e| e.to_string())
    }

    #[test]
    fn nothing_configured_speaks_with_the_embedded_voices() {
        let providers = build(&ProvidersConfig::default()).unwrap();
        assert_eq!(providers.tts.iter().map(|t| t.vendor.name()).collect::<Vec<_>>(), ["embedded"]);
        assert!(providers.stt.is_empty() && providers.llm.is_empty());
    }

    #[test]
    fn a_chosen_vendor_without_its_key_is_named() {
        for (json, key) in [
            (r#"{"tts":{"provider":"deepgram"}}"#, "deepgram.api_key"),
            (r#"{"stt":{"provider":"deepgram"}}"#, "deepgram.api_key"),
            (r#"{"llm":{"provider":"openai"}}"#, "openai.api_key"),
            (r#"{"tts":{"provider":"openai"}}"#, "openai.api_key"),
            (r#"{"stt":{"provider":"openai"}}"#, "openai.api_key"),
            (r#"{"llm":{"provider":"anthropic"}}"#, "anthropic.api_key"),
            (r#"{"llm":{"fallbacks":[{"provider":"openai"}]}}"#, "llm.fallbacks"),
            (
                r#"{"llm":{"provider":"openai","fallbacks":[{"provider":"openai","base_url":"https://b.example"},{}]},"openai":{"api_key":"k"}}"#,
                "llm.fallbacks[1].provider",
            ),
            (
                r#"{"llm":{"provider":"openai","fallbacks":[{"provider":"openai","base_url":"http://b.example"}]},"openai":{"api_key":"k"}}"#,
                "llm.fallbacks[0]: openai.base_url",
            ),
            (r#"{"tts":{"provider":"elevenlabs"}}"#, "elevenlabs.api_key"),
            (r#"{"tts":{"provider":"azure"}}"#, "azure.region"),
            (r#"{"tts":{"provider":"azure"},"azure":{"region":"westeurope"}}"#, "azure.api_key"),
            (r#"{"stt":{"provider":"azure"}}"#, "azure.region"),
            (r#"{"tts":{"provider":"piper"}}"#, "piper.model"),
            (r#"{"tts":{"fallbacks":["openai"]}}"#, "tts.fallbacks[0]: openai.api_key"),
            (r#"{"tts":{"fallbacks":["embedded"]}}"#, "tts.fallbacks[0]: embedded"),
            (r#"{"stt":{"fallbacks":["deepgram"]}}"#, "stt.fallbacks"),
            (
                r#"{"stt":{"provider":"deepgram","fallbacks":["deepgram"]},"deepgram":{"api_key":"k"}}"#,
                "stt.fallbacks[0]: named twice",
            ),
            (r#"{"resilience":{"failures":0}}"#, "resilience.failures"),
            (r#"{"tts":{"hedge_after_ms":0}}"#, "tts: a time of 0 ms"),
            (r#"{"tts":{"rate":3.0}}"#, "tts.rate"),
            (r#"{"flite":{"voice":"/tmp/x"}}"#, "flite.voice"),
            (r#"{"llm":{"provider":"openai"},"openai":{"base_url":"http://example.com"}}"#, "openai.base_url"),
            (r#"{"llm":{"provider":"openai","temperature":9},"openai":{"api_key":"k"}}"#, "llm.temperature"),
            (
                r#"{"stt":{"provider":"deepgram"},"deepgram":{"api_key":"k","stt_model":"flux-general-en","eot_threshold":1.0}}"#,
                "deepgram.eot_threshold",
            ),
            (
                r#"{"stt":{"provider":"deepgram"},"deepgram":{"api_key":"k","stt_model":"flux-general-en","eager_eot_threshold":0.8}}"#,
                "deepgram.eager_eot_threshold",
            ),
            (r#"{"stt":{"provider":"deepgram","replay_ms":60000},"deepgram":{"api_key":"k"}}"#, "stt.replay_ms"),
        ] {
            let error = build(&from(json).unwrap()).err().unwrap_or_default();
            assert!(error.starts_with(key), "{json}: {error}");
        }
    }

    #[test]
    fn unknown_keys_and_providers_are_errors() {
        assert!(from(r#"{"tts":{"provder":"deepgram"}}"#).unwrap_err().contains("provder"));
        assert!(from(r#"{"stt":{"provider":"wisper"}}"#).unwrap_err().contains("wisper"));
    }

    #[test]
    fn a_cloud_voice_is_followed_by_the_embedded_ones() {
        let config = from(
            r#"{"tts":{"provider":"deepgram"},"stt":{"provider":"deepgram"},
            "llm":{"provider":"openai"},"deepgram":{"api_key":"k"},"openai":{"base_url":"http://127.0.0.1:1"}}"#,
        );
        let providers = build(&config.unwrap()).unwrap();
        assert_eq!(providers.tts.iter().map(|t| t.vendor.name()).collect::<Vec<_>>(), ["deepgram", "embedded"]);
        assert!(providers.stt.len() == 1 && providers.llm.len() == 1);
    }

    #[test]
    fn who_stands_in_comes_in_the_order_that_was_said() {
        let config = from(
            r#"{"tts":{"provider":"elevenlabs","fallbacks":["azure","deepgram"]},
            "stt":{"provider":"azure","fallbacks":["openai"]},"azure":{"api_key":"k","region":"westeurope"},
            "elevenlabs":{"api_key":"k"},"deepgram":{"api_key":"k"},"openai":{"base_url":"http://127.0.0.1:1"}}"#,
        );
        let providers = build(&config.unwrap()).unwrap();
        let voices: Vec<_> = providers.tts.iter().map(|tts| tts.vendor.name()).collect();
        assert_eq!(voices, ["elevenlabs", "azure", "deepgram", "embedded"]);
        assert_eq!(providers.stt.iter().map(|stt| stt.vendor.name()).collect::<Vec<_>>(), ["azure", "openai"]);
    }

    #[test]
    fn secrets_are_not_written() {
        let config = from(r#"{"deepgram":{"api_key":"hunter2"},"openai":{"api_key":"hunter2"}}"#).unwrap();
        let written = serde_json::to_string(&config).unwrap();
        assert!(!written.contains("hunter2") && written.contains("[redacted]"));
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(from(r#"{"deepgram":{"api_key":"hun ter2"}}"#).is_err_and(|e| !e.contains("hun ter2")));
    }
}
