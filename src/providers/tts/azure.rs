//! Azure's voices over their REST API (learn.microsoft.com, "Text to speech REST API"): SSML up, 8 kHz PCM down as it is made.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use offhook_media::resample::Rate;
use reqwest::Client;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::streamed::{Deadlines, speak};
use crate::providers::config::{AzureConfig, TtsConfig};
use crate::providers::http::{BaseUrl, client};
use crate::providers::{AudioStream, ProviderError, SpeakRequest, Tts};

/// Azure voices.
pub struct AzureTts {
    client: Client,
    url: reqwest::Url,
    key: HeaderValue,
    voice: Arc<str>,
    style: Option<Arc<str>>,
    deadlines: Deadlines,
}

impl AzureTts {
    /// # Errors
    /// Names the key of configuration that is missing or wrong.
    pub fn new(config: &AzureConfig, tts: &TtsConfig) -> Result<Self, String> {
        let voice = tts.voice.as_deref().unwrap_or(&config.voice);
        for (key, name) in [("azure.voice", Some(voice)), ("azure.style", config.style.as_deref())] {
            if name.is_some_and(|name| !is_name(name)) {
                return Err(format!("{key}: expected letters, digits, `-` and `:`"));
            }
        }
        let address = format!("{}/cognitiveservices", config.address("tts")?);
        let base = BaseUrl::parse("azure.base_url", &address, config.plain_http)?;
        Ok(Self {
            client: client(config.connect_timeout())?,
            url: base.http("v1").map_err(|e| format!("azure.base_url: {e}"))?,
            key: config.key("tts.provider")?,
            voice: voice.into(),
            style: config.style.as_deref().map(Arc::from),
            deadlines: Deadlines { first_audio: tts.first_audio(), progress: tts.progress() },
        })
    }

    /// The text as the vendor is told it (W3C SSML 1.0, with `mstts` for styles).
    fn ssml(&self, request: &SpeakRequest) -> String {
        let voice = request.voice.as_deref().filter(|voice| is_name(voice)).unwrap_or(&self.voice);
        let mut text = escaped(request.text.as_str());
        if (request.rate - 1.0).abs() > f32::EPSILON {
            let percent = (request.rate.clamp(0.5, 2.0) - 1.0) * 100.0;
            text = format!("<prosody rate='{percent:+.0}%'>{text}</prosody>");
        }
        if let Some(style) = &self.style {
            text = format!("<mstts:express-as style='{style}'>{text}</mstts:express-as>");
        }
        let language = request.language.tag();
        format!(
            "<speak version='1.0' xmlns='http://www.w3.org/2001/10/synthesis' \
             xmlns:mstts='http://www.w3.org/2001/mstts' xml:lang='{language}'><voice name='{voice}'>{text}</voice></speak>"
        )
    }
}

impl Tts for AzureTts {
    fn name(&self) -> &'static str {
        VENDOR
    }

    fn speak(&self, request: SpeakRequest) -> BoxFuture<'static, Result<AudioStream, ProviderError>> {
        let post = self
            .client
            .post(self.url.clone())
            .header("ocp-apim-subscription-key", self.key.clone())
            .header("content-type", "application/ssml+xml")
            .header("x-microsoft-outputformat", "raw-8khz-16bit-mono-pcm")
            .header("user-agent", "offhook")
            .body(self.ssml(&request));
        speak(VENDOR, post, Rate::Hz8000, self.deadlines).boxed()
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        // A key is present by construction, and anything more would be a paid call.
        ready(Ok(())).boxed()
    }

    /// Names are such as `en-US-AvaMultilingualNeural`.
    fn knows(&self, voice: &str) -> bool {
        is_name(voice) && voice.split('-').count() >= 3 && !voice.starts_with("aura-")
    }
}

/// What may stand in an attribute.
fn is_name(name: &str) -> bool {
    let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b':' | b'_');
    !name.is_empty() && name.len() <= 100 && name.bytes().all(sound)
}

/// Text as XML character data.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c => escaped.push(c),
        }
    }
    escaped
}

const VENDOR: &str = "azure";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::Language;
    use crate::providers::config::ApiKey;
    use crate::safety::said::clear;

    fn ssml(style: Option<&str>, text: &str, rate: f32) -> String {
        let config = AzureConfig {
            region: Some("westeurope".into()),
            api_key: Some(ApiKey::new("k".into()).unwrap()),
            style: style.map(str::to_owned),
            ..AzureConfig::default()
        };
        let request =
            SpeakRequest { text: clear(text), language: Language::parse("en-GB").unwrap(), voice: None, rate };
        let azure = AzureTts::new(&config, &TtsConfig::default()).unwrap();
        assert_eq!(azure.url.as_str(), "https://westeurope.tts.speech.microsoft.com/cognitiveservices/v1");
        azure.ssml(&request)
    }

    #[test]
    fn nothing_in_a_text_is_markup() {
        let told = ssml(None, "Fish & chips, it's 5 pounds", 1.0);
        assert!(told.contains(">Fish &amp; chips, it's 5 pounds</voice>"), "{told}");
        assert!(told.contains("xml:lang='en-GB'") && !told.contains("prosody"));
    }

    #[test]
    fn rate_and_style_are_told() {
        let told = ssml(Some("cheerful"), "Hello", 0.85);
        assert!(told.contains("<mstts:express-as style='cheerful'><prosody rate='-15%'>Hello</prosody>"), "{told}");
    }

    #[test]
    fn what_cannot_be_is_named() {
        let tts = TtsConfig::default();
        let of = |config: AzureConfig| AzureTts::new(&config, &tts).err().unwrap();
        assert!(of(AzureConfig::default()).starts_with("azure.region"));
        assert!(of(AzureConfig { region: Some("a/b".into()), ..AzureConfig::default() }).starts_with("azure.region"));
        let here = AzureConfig { region: Some("x".into()), ..AzureConfig::default() };
        assert!(of(here.clone()).starts_with("azure.api_key"));
        assert!(of(AzureConfig { voice: "a'b".into(), ..here }).starts_with("azure.voice"));
    }
}
