//! Azure's recogniser over its WebSocket (docs.microsoft.com, "Speech Service WebSocket protocol", recognition mode
//! `conversation`): 8 kHz PCM goes up, hypotheses and phrases come down. Words to expect are deliberately absent: the
//! documented protocol has no place for them.
//!
//! A session that is lost is not opened again here: [`super::chain`] does that, and lets what was not settled be heard again.

mod session;
mod wire;

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::providers::config::{AzureConfig, SttConfig};
use crate::providers::http::{BaseUrl, install_tls};
use crate::providers::{Language, ListenRequest, ProviderError, Stt, SttEvent};

/// Azure's recogniser.
#[derive(Clone)]
pub struct AzureStt(Settings);

impl AzureStt {
    /// # Errors
    /// Names the key of configuration that is missing or wrong.
    pub fn new(config: &AzureConfig, stt: &SttConfig) -> Result<Self, String> {
        install_tls();
        let address = format!("{}/speech/recognition/conversation/cognitiveservices", config.address("stt")?);
        let base = BaseUrl::parse("azure.base_url", &address, config.plain_http)?;
        Ok(Self(Settings {
            url: base.websocket("v1", "v1").map_err(|e| format!("azure.base_url: {e}"))?,
            key: config.key("stt.provider")?,
            connect: config.connect_timeout(),
            watchdog: Duration::from_millis(stt.watchdog_ms),
        }))
    }
}

impl Stt for AzureStt {
    fn name(&self) -> &'static str {
        VENDOR
    }

    /// Resolves once the vendor has accepted the session. Needs a tokio runtime, on which the session then runs.
    fn listen(&self, request: ListenRequest) -> BoxFuture<'static, Result<mpsc::Receiver<SttEvent>, ProviderError>> {
        session::open(self.0.clone(), request).boxed()
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        // A key is present by construction, and anything more would be a paid call.
        ready(Ok(())).boxed()
    }
}

#[derive(Clone)]
struct Settings {
    url: reqwest::Url,
    key: HeaderValue,
    /// From the start of a connection to its acceptance.
    connect: Duration,
    /// Longest silence of the vendor while the caller speaks.
    watchdog: Duration,
}

/// The vendor wants a region as well: that in which a language has most speakers on the telephone.
fn locale(language: &Language) -> String {
    if language.tag().contains('-') {
        return language.tag().to_owned();
    }
    let region = match language.primary() {
        "en" => "US",
        "pt" => "BR",
        "zh" => "CN",
        "ja" => "JP",
        "ko" => "KR",
        "ar" => "EG",
        "sw" => "KE",
        "hi" => "IN",
        "sv" => "SE",
        "da" => "DK",
        "cs" => "CZ",
        "el" => "GR",
        "uk" => "UA",
        other => return format!("{other}-{}", other.to_ascii_uppercase()),
    };
    format!("{}-{region}", language.primary())
}

const VENDOR: &str = "azure";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_have_a_region() {
        for (tag, expected) in [("en", "en-US"), ("fr", "fr-FR"), ("fr-CA", "fr-CA"), ("sw", "sw-KE")] {
            assert_eq!(locale(&Language::parse(tag).unwrap()), expected);
        }
    }

    #[test]
    fn the_address_follows_from_the_region() {
        let key = crate::providers::config::ApiKey::new("k".into()).unwrap();
        let config = AzureConfig { region: Some("eastus".into()), api_key: Some(key), ..AzureConfig::default() };
        let AzureStt(settings) = AzureStt::new(&config, &SttConfig::default()).unwrap();
        let path = "speech/recognition/conversation/cognitiveservices/v1";
        assert_eq!(settings.url.as_str(), format!("wss://eastus.stt.speech.microsoft.com/{path}"));
    }
}
