//! Deepgram Aura over its HTTP API (developers.deepgram.com, "Text to Speech Request"): one POST per sentence, the body
//! streamed. The rate is that of Aura-2 ("TTS Voice Controls"); pitch and style are deliberately absent: the API has none.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use offhook_media::resample::Rate;
use reqwest::Client;
use serde_json::json;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::streamed::{Deadlines, speak};
use crate::providers::config::{DeepgramConfig, TtsConfig};
use crate::providers::http::{BaseUrl, authorization, client};
use crate::providers::{AudioStream, ProviderError, SpeakRequest, Tts};

/// Aura voices.
pub struct DeepgramTts {
    client: Client,
    url: reqwest::Url,
    authorization: HeaderValue,
    model: Arc<str>,
    deadlines: Deadlines,
}

impl DeepgramTts {
    /// # Errors
    /// Names the key of configuration that is missing or wrong.
    pub fn new(config: &DeepgramConfig, tts: &TtsConfig) -> Result<Self, String> {
        let key = config.api_key.as_ref().ok_or("deepgram.api_key: missing (tts.provider is deepgram)")?;
        let base = BaseUrl::parse("deepgram.base_url", &config.base_url, config.plain_http)?;
        Ok(Self {
            client: client(config.connect_timeout())?,
            url: base.http("speak").map_err(|e| format!("deepgram.base_url: {e}"))?,
            authorization: authorization("Token", key.secret()).map_err(|e| format!("deepgram.api_key: {e}"))?,
            model: tts.voice.as_deref().unwrap_or(&config.tts_model).into(),
            deadlines: Deadlines { first_audio: tts.first_audio(), progress: tts.progress() },
        })
    }
}

impl Tts for DeepgramTts {
    fn name(&self) -> &'static str {
        VENDOR
    }

    fn speak(&self, request: SpeakRequest) -> BoxFuture<'static, Result<AudioStream, ProviderError>> {
        let model = request.voice.as_deref().unwrap_or(&self.model);
        let mut query =
            vec![("model", model), ("encoding", "linear16"), ("sample_rate", "24000"), ("container", "none")];
        let speed = format!("{:.2}", request.rate.clamp(0.7, 1.5));
        if model.starts_with("aura-2-") && (request.rate - 1.0).abs() > f32::EPSILON {
            query.push(("speed", &speed));
        }
        let post = self
            .client
            .post(self.url.clone())
            .query(&query)
            .header("authorization", self.authorization.clone())
            .json(&json!({ "text": request.text.as_str() }));
        speak(VENDOR, post, Rate::Hz24000, self.deadlines).boxed()
    }

    fn knows(&self, voice: &str) -> bool {
        voice.starts_with("aura-")
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        // A key is present by construction, and anything more would be a paid call.
        futures_util::future::ready(Ok(())).boxed()
    }
}

const VENDOR: &str = "deepgram";
