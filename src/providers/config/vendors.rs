//! Sections of single vendors, and of the programs that speak on this machine.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::{ApiKey, TtsConfig};
use crate::providers::http;

/// `elevenlabs`: where and by which key ElevenLabs is reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ElevenLabsConfig {
    pub base_url: String,
    /// Allows clear text to another host.
    pub plain_http: bool,
    pub api_key: Option<ApiKey>,
    pub model: String,
    /// The id of a voice, as the vendor's list has it.
    pub voice: String,
    /// 0.0 (lively) to 1.0 (even); none leaves it to the voice.
    pub stability: Option<f32>,
    /// Uses of the key in a minute; none leaves it to the vendor to say.
    pub requests_per_minute: Option<u32>,
    pub connect_timeout_ms: u64,
}

impl Default for ElevenLabsConfig {
    fn default() -> Self {
        Self {
            base_url: "https://api.elevenlabs.io".to_owned(),
            plain_http: false,
            api_key: None,
            model: "eleven_flash_v2_5".to_owned(),
            voice: "21m00Tcm4TlvDq8ikWAM".to_owned(),
            stability: None,
            requests_per_minute: None,
            connect_timeout_ms: 2000,
        }
    }
}

impl ElevenLabsConfig {
    pub(in crate::providers) const fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(in crate::providers) fn key(&self) -> Result<HeaderValue, String> {
        let key = self.api_key.as_ref().ok_or("elevenlabs.api_key: missing (tts.provider is elevenlabs)")?;
        http::secret(key.secret()).map_err(|e| format!("elevenlabs.api_key: {e}"))
    }
}

/// `azure`: where and by which key Azure's speech service is reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AzureConfig {
    /// Such as `westeurope`; the addresses of voices and of the recogniser follow from it.
    pub region: Option<String>,
    /// In place of both addresses, such as that of a container of one's own.
    pub base_url: Option<String>,
    /// Allows clear text to another host.
    pub plain_http: bool,
    pub api_key: Option<ApiKey>,
    pub voice: String,
    /// A way of speaking that the voice has, such as `cheerful`.
    pub style: Option<String>,
    /// Uses of the key in a minute, for each kind of use; none leaves it to the vendor to say.
    pub requests_per_minute: Option<u32>,
    pub connect_timeout_ms: u64,
}

impl Default for AzureConfig {
    fn default() -> Self {
        Self {
            region: None,
            base_url: None,
            plain_http: false,
            api_key: None,
            voice: "en-US-AvaMultilingualNeural".to_owned(),
            style: None,
            requests_per_minute: None,
            connect_timeout_ms: 2000,
        }
    }
}

impl AzureConfig {
    pub(in crate::providers) const fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// `chosen_by` is the key that makes a key necessary.
    pub(in crate::providers) fn key(&self, chosen_by: &str) -> Result<HeaderValue, String> {
        let key = self.api_key.as_ref().ok_or_else(|| format!("azure.api_key: missing ({chosen_by} is azure)"))?;
        http::secret(key.secret()).map_err(|e| format!("azure.api_key: {e}"))
    }

    /// The address of one service, `tts` or `stt`, without its path.
    pub(in crate::providers) fn address(&self, service: &str) -> Result<String, String> {
        if let Some(base_url) = &self.base_url {
            return Ok(base_url.trim_end_matches('/').to_owned());
        }
        let region = self.region.as_deref().ok_or("azure.region: missing; expected one such as westeurope")?;
        if region.is_empty() || !region.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(format!("azure.region: `{region}`, expected letters and digits such as westeurope"));
        }
        Ok(format!("https://{region}.{service}.speech.microsoft.com"))
    }
}

/// `piper`: neural voices that run on this machine as a program.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PiperConfig {
    /// A name to be found on PATH, or a path.
    pub program: String,
    /// The voice's file of weights, beside which its `.onnx.json` lies.
    pub model: Option<PathBuf>,
    /// The language that it speaks; requests in others go to the next voice.
    pub language: String,
    /// Longest run for one sentence.
    pub deadline_ms: u64,
}

impl Default for PiperConfig {
    fn default() -> Self {
        Self { program: "piper".to_owned(), model: None, language: "en".to_owned(), deadline_ms: 10_000 }
    }
}

impl PiperConfig {
    pub(in crate::providers) const fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }
}

/// `flite`: the English voice.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FliteConfig {
    /// A name to be found on PATH, or a path; empty turns it off.
    pub program: String,
    pub voice: String,
}

impl Default for FliteConfig {
    fn default() -> Self {
        Self { program: "flite".to_owned(), voice: "slt".to_owned() }
    }
}

/// `espeak`: the voice of every other language.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EspeakConfig {
    pub program: String,
    /// Speed at rate 1.0.
    pub words_per_minute: u16,
}

impl Default for EspeakConfig {
    fn default() -> Self {
        Self { program: "espeak-ng".to_owned(), words_per_minute: 165 }
    }
}

/// `whisper`: the recogniser that runs in this process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WhisperConfig {
    /// A name that `offhook models list` knows, or the path of a file (with a `/`).
    pub model: String,
    /// Threads for each stretch of speech; 0 stands for half of the cores.
    pub threads: usize,
    /// Stretches at work at once. Others wait.
    pub concurrency: usize,
    /// A stretch that is not done by then is given up, the wait for its turn included.
    pub deadline_ms: u64,
}

impl Default for WhisperConfig {
    fn default() -> Self {
        Self { model: "whisper-base.en".to_owned(), threads: 0, concurrency: 1, deadline_ms: 8000 }
    }
}

/// `turn_end`: a server of one's own that hears from the voice whether a turn is over.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TurnEndConfig {
    /// None leaves it to the rules alone.
    pub url: Option<String>,
    /// Allows clear text to another host.
    pub plain_http: bool,
    /// A vote that has not come by then does not count, 10 to 3000.
    pub within_ms: u64,
}

impl Default for TurnEndConfig {
    fn default() -> Self {
        Self { url: None, plain_http: false, within_ms: 250 }
    }
}

/// What the embedded voices are made from; no section of its own.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    pub flite: FliteConfig,
    pub espeak: EspeakConfig,
    /// The voice of requests that name none.
    pub voice: Option<String>,
    /// Programs at work at once; 0 stands for twice the number of cores.
    pub concurrency: usize,
    pub deadline_ms: u64,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        let TtsConfig { concurrency, deadline_ms, .. } = TtsConfig::default();
        Self { flite: FliteConfig::default(), espeak: EspeakConfig::default(), voice: None, concurrency, deadline_ms }
    }
}

impl EmbeddedConfig {
    pub(in crate::providers) fn concurrency(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(2, usize::from);
        if self.concurrency == 0 { 2 * cores() } else { self.concurrency }
    }

    pub(in crate::providers) const fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }
}
