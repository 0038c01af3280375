//! Deepgram's live recogniser over its WebSocket (developers.deepgram.com, "Live Audio"): mu-law at 8 kHz goes up,
//! interim and final words come down. A lost connection is opened again and hears the last seconds once more.
//!
//! The Flux models have a protocol of their own ("Flux", `/v2/listen`): turns instead of results. The model that is
//! configured chooses between the two.

mod flux;
mod replay;
mod session;
mod transcript;
mod wire;

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::providers::config::{DeepgramConfig, SttConfig};
use crate::providers::http::{BaseUrl, authorization, install_tls};
use crate::providers::{ListenRequest, ProviderError, Stt, SttEvent};

/// Deepgram's Nova and Flux recognisers.
#[derive(Clone)]
pub struct DeepgramStt(Settings);

impl DeepgramStt {
    /// # Errors
    /// Names the key of configuration that is missing or wrong.
    pub fn new(config: &DeepgramConfig, stt: &SttConfig) -> Result<Self, String> {
        let key = config.api_key.as_ref().ok_or("deepgram.api_key: missing (stt.provider is deepgram)")?;
        let base = BaseUrl::parse("deepgram.base_url", &config.base_url, config.plain_http)?;
        if stt.replay_ms > 10_000 {
            return Err(format!("stt.replay_ms: {}, expected at most 10000", stt.replay_ms));
        }
        if stt.utterance_end_ms < 1000 {
            return Err(format!("stt.utterance_end_ms: {}, expected at least 1000", stt.utterance_end_ms));
        }
        install_tls();
        let protocol = protocol(config, stt)?;
        let version = if matches!(protocol, Protocol::Turns { .. }) { "v2" } else { "v1" };
        Ok(Self(Settings {
            url: base.websocket(version, "listen").map_err(|e| format!("deepgram.base_url: {e}"))?,
            authorization: authorization("Token", key.secret()).map_err(|e| format!("deepgram.api_key: {e}"))?,
            model: config.stt_model.clone(),
            protocol,
            connect: config.connect_timeout(),
            watchdog: Duration::from_millis(stt.watchdog_ms),
            replay: Duration::from_millis(u64::from(stt.replay_ms)),
            keep_alive: KEEP_ALIVE,
            last_words: LAST_WORDS,
        }))
    }
}

impl Stt for DeepgramStt {
    fn name(&self) -> &'static str {
        VENDOR
    }

    /// Resolves once the vendor has accepted the session. Needs a tokio runtime, on which the session then runs.
    fn listen(&self, request: ListenRequest) -> BoxFuture<'static, Result<mpsc::Receiver<SttEvent>, ProviderError>> {
        session::open(self.0.clone(), request).boxed()
    }

    fn reconnects(&self) -> bool {
        true
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        // A key is present by construction, and anything more would be a paid call.
        ready(Ok(())).boxed()
    }
}

#[derive(Clone)]
struct Settings {
    url: reqwest::Url,
    authorization: HeaderValue,
    model: String,
    protocol: Protocol,
    /// From the start of a connection to its acceptance.
    connect: Duration,
    /// Longest silence of the vendor while audio is sent.
    watchdog: Duration,
    /// Audio kept for the next connection.
    replay: Duration,
    /// Longest time without audio before a KeepAlive.
    keep_alive: Duration,
    /// How long the last words may take.
    last_words: Duration,
}

/// What is said on the wire, with the settings that belong to it.
#[derive(Clone)]
enum Protocol {
    /// Stretches of audio with their words.
    Results { endpointing_ms: u32, utterance_end_ms: u32 },
    /// Turns.
    Turns { eot_threshold: f32, eager_eot_threshold: f32, eot_timeout_ms: u32 },
}

fn protocol(config: &DeepgramConfig, stt: &SttConfig) -> Result<Protocol, String> {
    if !config.stt_model.starts_with("flux") {
        let (endpointing_ms, utterance_end_ms) = (stt.endpointing_ms, stt.utterance_end_ms);
        return Ok(Protocol::Results { endpointing_ms, utterance_end_ms });
    }
    let DeepgramConfig { eot_threshold, eager_eot_threshold, eot_timeout_ms, .. } = *config;
    if !(0.5..=0.9).contains(&eot_threshold) {
        return Err(format!("deepgram.eot_threshold: {eot_threshold}, expected 0.5 to 0.9"));
    }
    if !(0.3..=eot_threshold).contains(&eager_eot_threshold) {
        let what = format!("{eager_eot_threshold}, expected 0.3 to deepgram.eot_threshold ({eot_threshold})");
        return Err(format!("deepgram.eager_eot_threshold: {what}"));
    }
    if !(500..=10_000).contains(&eot_timeout_ms) {
        return Err(format!("deepgram.eot_timeout_ms: {eot_timeout_ms}, expected 500 to 10000"));
    }
    Ok(Protocol::Turns { eot_threshold, eager_eot_threshold, eot_timeout_ms })
}

const VENDOR: &str = "deepgram";
/// The vendor closes after 10 s without audio or KeepAlive, and advises 3 to 5 s.
const KEEP_ALIVE: Duration = Duration::from_millis(3500);
const LAST_WORDS: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
