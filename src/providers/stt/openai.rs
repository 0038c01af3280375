//! Any server that speaks OpenAI's transcriptions (platform.openai.com, "Create transcription"): OpenAI, Groq, or a Whisper of
//! one's own. The API takes whole recordings: what the caller says is cut where they fall silent, and each stretch is one
//! request. There are no interim words, so that barge-in by words alone comes late.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use offhook_media::resample::Rate;
use offhook_media::wav::write_mono;
use reqwest::Client;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::providers::config::{OpenAiConfig, SttConfig};
use crate::providers::http::{BaseUrl, client, connection, in_time, protocol, send};
use crate::providers::{ListenRequest, ProviderError, Recognised, Stt, SttEvent};
use crate::telemetry::pii::Pii;

use super::by_stretch::{Asked, EVENTS, Transcriber, session};
use super::stretches::Stretch;

/// A recogniser behind an OpenAI-compatible API.
#[derive(Clone)]
pub struct OpenAiStt(Arc<Settings>);

struct Settings {
    client: Client,
    url: reqwest::Url,
    authorization: Option<HeaderValue>,
    model: String,
    silence: Duration,
}

impl OpenAiStt {
    /// # Errors
    /// Names the key of configuration that is missing or wrong.
    pub fn new(config: &OpenAiConfig, stt: &SttConfig) -> Result<Self, String> {
        let base = BaseUrl::parse("openai.base_url", &config.base_url, config.plain_http)?;
        Ok(Self(Arc::new(Settings {
            client: client(config.connect_timeout())?,
            url: base.http("audio/transcriptions").map_err(|e| format!("openai.base_url: {e}"))?,
            authorization: config.authorization("stt.provider")?,
            model: config.stt_model.clone(),
            silence: Duration::from_millis(stt.endpointing_ms.into()),
        })))
    }
}

impl Stt for OpenAiStt {
    fn name(&self) -> &'static str {
        VENDOR
    }

    fn listen(&self, request: ListenRequest) -> BoxFuture<'static, Result<mpsc::Receiver<SttEvent>, ProviderError>> {
        let (events, receiver) = mpsc::channel(EVENTS);
        tokio::spawn(session(self.clone(), self.0.silence, request, events));
        ready(Ok(receiver)).boxed()
    }

    fn reconnects(&self) -> bool {
        true
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        // What could be wrong without a paid call was found when the provider was built.
        ready(Ok(())).boxed()
    }
}

impl Transcriber for OpenAiStt {
    fn transcribe(
        &self,
        stretch: Stretch,
        asked: Asked,
    ) -> BoxFuture<'static, Result<Option<Recognised>, ProviderError>> {
        transcribe(Arc::clone(&self.0), stretch, asked).boxed()
    }
}

/// The words of a stretch; none if there are none. A connection that breaks is tried once more: nothing is lost by that.
async fn transcribe(
    settings: Arc<Settings>,
    stretch: Stretch,
    asked: Asked,
) -> Result<Option<Recognised>, ProviderError> {
    let wav = write_mono(Rate::Hz8000, &stretch.samples).map_err(|e| protocol(VENDOR, e.to_string()))?;
    let body = bytes::Bytes::from(form(&settings.model, &asked, &wav));
    let first = post(&settings, body.clone()).await;
    let again = matches!(first, Err(ProviderError::Connection { .. } | ProviderError::Status { status: 500.., .. }));
    let answer = if again { post(&settings, body).await? } else { first? };
    let Stretch { start, end, .. } = stretch;
    Ok(answer.words().map(|(text, confidence)| Recognised { text: Pii::new(text), confidence, start, end }))
}

async fn post(settings: &Settings, body: bytes::Bytes) -> Result<Answer, ProviderError> {
    let mut request = settings
        .client
        .post(settings.url.clone())
        .header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"))
        .body(body);
    if let Some(value) = &settings.authorization {
        request = request.header("authorization", value.clone());
    }
    let response = send(VENDOR, request, WITHIN).await?;
    let body = in_time(VENDOR, "answer", WITHIN, response.bytes()).await?;
    let body = body.map_err(|e| connection(VENDOR, &e.without_url()))?;
    serde_json::from_slice(&body)
        .map_err(|e| protocol(VENDOR, format!("JSON at line {} column {} ({:?})", e.line(), e.column(), e.classify())))
}

/// The form of one request (RFC 7578). Nothing in it can hold the boundary: the hints are stripped of line ends.
fn form(model: &str, asked: &Asked, wav: &[u8]) -> Vec<u8> {
    // Only Whisper tells how sure it is.
    let format = if model.contains("whisper") { "verbose_json" } else { "json" };
    let hints: String = asked.hints.chars().filter(|c| !c.is_control()).take(LONGEST_HINTS).collect();
    let fields = [
        ("model", model),
        ("language", &asked.language),
        ("response_format", format),
        ("temperature", "0"),
        ("prompt", &hints),
    ];
    let mut body = String::new();
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        body += &format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    body += &format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"speech.wav\"\r\n");
    body += "content-type: audio/wav\r\n\r\n";
    [body.as_bytes(), wav, format!("\r\n--{BOUNDARY}--\r\n").as_bytes()].concat()
}

#[derive(Debug, Deserialize)]
struct Answer {
    text: String,
    #[serde(default)]
    segments: Vec<Segment>,
}

#[derive(Debug, Deserialize)]
struct Segment {
    text: String,
    avg_logprob: Option<f32>,
    no_speech_prob: Option<f32>,
}

impl Answer {
    /// The words and how sure they are, 0.0 to 1.0; none if there are none. Whisper makes words up out of noise, and says so:
    /// a segment that is no speech and unlikely is left out (the vendor's own rule for it).
    fn words(self) -> Option<(String, f32)> {
        let made_up = |s: &Segment| {
            s.no_speech_prob.is_some_and(|p| p > NO_SPEECH) && s.avg_logprob.is_some_and(|p| p < UNLIKELY)
        };
        if self.segments.is_empty() {
            let text = self.text.trim();
            return (!text.is_empty()).then(|| (text.to_owned(), UNTOLD));
        }
        let kept: Vec<&Segment> = self.segments.iter().filter(|segment| !made_up(segment)).collect();
        let text = kept.iter().map(|segment| segment.text.trim()).collect::<Vec<_>>().join(" ");
        let sure: Vec<f32> = kept.iter().filter_map(|segment| segment.avg_logprob).collect();
        let confidence = match sure.len() {
            0 => UNTOLD,
            count => (sure.iter().sum::<f32>() / count as f32).exp().clamp(0.0, 1.0),
        };
        (!text.trim().is_empty()).then(|| (text.trim().to_owned(), confidence))
    }
}

const VENDOR: &str = "openai";
/// Longest wait for the head of an answer, and again for its body.
const WITHIN: Duration = Duration::from_secs(4);
/// Longer than any word of ours, and letters that audio cannot hold by accident in this length.
const BOUNDARY: &str = "offhook-7d1f0c5a9be24b6c8f3e2a6190d4c7b5";
/// The API reads the last 224 tokens of a prompt.
const LONGEST_HINTS: usize = 600;
const NO_SPEECH: f32 = 0.6;
const UNLIKELY: f32 = -1.0;
/// Where nothing is told of it.
const UNTOLD: f32 = 0.9;

#[cfg(test)]
mod tests;
