//! OpenAI's speech API (platform.openai.com, "Create speech"): one POST per sentence, 24 kHz PCM streamed back.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use offhook_media::resample::Rate;
use reqwest::Client;
use serde_json::json;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::streamed::{Deadlines, speak};
use crate::providers::config::{OpenAiConfig, TtsConfig};
use crate::providers::http::{BaseUrl, client};
use crate::providers::{AudioStream, ProviderError, SpeakRequest, Tts};

/// OpenAI voices, or any server that speaks the same API.
pub struct OpenAiTts {
    client: Client,
    url: reqwest::Url,
    authorization: Option<HeaderValue>,
    model: Arc<str>,
    voice: Arc<str>,
    deadlines: Deadlines,
}

impl OpenAiTts {
    /// # Errors
    /// Names the key of configuration that is missing or wrong.
    pub fn new(config: &OpenAiConfig, tts: &TtsConfig) -> Result<Self, String> {
        let base = BaseUrl::parse("openai.base_url", &config.base_url, config.plain_http)?;
        Ok(Self {
            client: client(config.connect_timeout())?,
            url: base.http("audio/speech").map_err(|e| format!("openai.base_url: {e}"))?,
            authorization: config.authorization("tts.provider")?,
            model: config.tts_model.as_str().into(),
            voice: tts.voice.as_deref().unwrap_or(&config.tts_voice).into(),
            deadlines: Deadlines { first_audio: tts.first_audio(), progress: tts.progress() },
        })
    }
}

impl Tts for OpenAiTts {
    fn name(&self) -> &'static str {
        VENDOR
    }

    fn speak(&self, request: SpeakRequest) -> BoxFuture<'static, Result<AudioStream, ProviderError>> {
        let voice = request.voice.as_deref().unwrap_or(&self.voice);
        let mut body = json!({
            "model": &*self.model, "voice": voice, "input": request.text.as_str(), "response_format": "pcm",
        });
        if (request.rate - 1.0).abs() > f32::EPSILON
            && let Some(fields) = body.as_object_mut()
        {
            fields.insert("speed".to_owned(), json!(request.rate.clamp(0.5, 2.0)));
        }
        let mut post = self.client.post(self.url.clone()).json(&body);
        if let Some(value) = &self.authorization {
            post = post.header("authorization", value.clone());
        }
        speak(VENDOR, post, Rate::Hz24000, self.deadlines).boxed()
    }

    /// Servers that speak the API have voices of their own; those of other vendors are known by their form.
    fn knows(&self, voice: &str) -> bool {
        !voice.starts_with("aura-") && !voice.contains("Neural")
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        // What could be wrong without a paid call was found when the provider was built.
        futures_util::future::ready(Ok(())).boxed()
    }
}

const VENDOR: &str = "openai";
