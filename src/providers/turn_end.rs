//! A model that hears from the voice whether a caller's turn is over, on a server of one's own: any model, in any runtime.
//!
//! One request, one answer: `POST` with the last seconds of the caller as WAV (8 kHz, 16 bits, one channel), answered by
//! `{"over": 0.87}`, from 0.0 (they go on) to 1.0 (their turn is over).

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use offhook_media::resample::Rate;
use offhook_media::wav::write_mono;
use reqwest::{Client, Url};
use serde::Deserialize;

use super::ProviderError;
use super::config::TurnEndConfig;
use super::http::{BaseUrl, client, connection, in_time, protocol, send};

/// Hears whether a turn is over.
pub trait TurnEnd: Send + Sync {
    fn name(&self) -> &'static str;
    /// The last seconds of a caller who has fallen silent, at 8 kHz. From 0.0 (they go on) to 1.0 (their turn is over).
    fn judge(&self, samples: Vec<i16>) -> BoxFuture<'static, Result<f32, ProviderError>>;
}

/// See the module's header.
#[derive(Clone)]
pub struct HttpTurnEnd {
    client: Client,
    url: Url,
    within: Duration,
}

impl HttpTurnEnd {
    /// `None` where no server is configured.
    ///
    /// # Errors
    /// Names the key that is wrong.
    pub fn new(config: &TurnEndConfig) -> Result<Option<Self>, String> {
        let Some(url) = &config.url else { return Ok(None) };
        if !(10..=3000).contains(&config.within_ms) {
            return Err(format!("turn_end.within_ms: {}, expected 10 to 3000", config.within_ms));
        }
        BaseUrl::parse("turn_end.url", url, config.plain_http)?;
        let url = Url::parse(url).map_err(|error| format!("turn_end.url: not a URL: {error}"))?;
        let within = Duration::from_millis(config.within_ms);
        Ok(Some(Self { client: client(within)?, url, within }))
    }
}

impl TurnEnd for HttpTurnEnd {
    fn name(&self) -> &'static str {
        VENDOR
    }

    fn judge(&self, samples: Vec<i16>) -> BoxFuture<'static, Result<f32, ProviderError>> {
        let this = self.clone();
        async move {
            let wav = write_mono(Rate::Hz8000, &samples).map_err(|error| protocol(VENDOR, error.to_string()))?;
            let request = this.client.post(this.url).header("content-type", "audio/wav").body(wav);
            let answer = async {
                let response = send(VENDOR, request, this.within).await?;
                response.bytes().await.map_err(|error| connection(VENDOR, &error.without_url()))
            };
            let body = in_time(VENDOR, "vote", this.within, answer).await??;
            read(&body)
        }
        .boxed()
    }
}

fn read(body: &[u8]) -> Result<f32, ProviderError> {
    let vote: Vote = serde_json::from_slice(body).map_err(|e| {
        protocol(VENDOR, format!("JSON at line {} column {} ({:?})", e.line(), e.column(), e.classify()))
    })?;
    match vote.over {
        over if (0.0..=1.0).contains(&over) => Ok(over),
        over => Err(protocol(VENDOR, format!("over is {over}, expected 0.0 to 1.0"))),
    }
}

#[derive(Deserialize)]
struct Vote {
    over: f32,
}

/// As configuration asks for it.
///
/// # Errors
/// Names the key that is wrong.
pub(super) fn build(config: &TurnEndConfig) -> Result<Option<Arc<dyn TurnEnd>>, String> {
    Ok(HttpTurnEnd::new(config)?.map(|model| Arc::new(model) as Arc<dyn TurnEnd>))
}

const VENDOR: &str = "turn_end";

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Bytes;
    use axum::routing::post;
    use offhook_media::wav::Wav;

    use super::*;

    /// A model that believes of loud callers that they go on.
    async fn model(body: Bytes) -> String {
        let loud = Wav::parse(&body).unwrap().samples.iter().any(|sample| sample.unsigned_abs() > 1000);
        format!(r#"{{"over": {}}}"#, if loud { 0.1 } else { 0.9 })
    }

    async fn asked(path: &str, samples: Vec<i16>) -> Result<f32, ProviderError> {
        let never = || async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            ""
        };
        let app = Router::new()
            .route("/vote", post(model))
            .route("/wrong", post(|| async { r#"{"over": 7}"# }))
            .route("/garbage", post(|| async { "over" }))
            .route("/never", post(never));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{path}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let within_ms = if path == "/never" { 50 } else { 3000 };
        let config = TurnEndConfig { url: Some(url), within_ms, ..TurnEndConfig::default() };
        HttpTurnEnd::new(&config).unwrap().unwrap().judge(samples).await
    }

    #[tokio::test]
    async fn a_server_is_asked_and_its_answer_is_held_to_its_bounds() {
        assert_eq!(asked("/vote", vec![0; 800]).await, Ok(0.9));
        assert_eq!(asked("/vote", vec![2000; 800]).await, Ok(0.1));
        for (path, told) in
            [("/wrong", "expected 0.0 to 1.0"), ("/garbage", "JSON"), ("/gone", "404"), ("/never", "within")]
        {
            let error = asked(path, vec![0; 800]).await.unwrap_err().to_string();
            assert!(error.contains(told), "{path}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_with_the_setting_is_named() {
        for (url, within_ms, at) in
            [("http://example.org/vote", 250, "turn_end.url: clear text"), ("https://a/b", 5, "turn_end.within_ms: 5")]
        {
            let config = TurnEndConfig { url: Some(url.to_owned()), within_ms, ..TurnEndConfig::default() };
            let error = HttpTurnEnd::new(&config).err().unwrap();
            assert!(error.starts_with(at), "{error}");
        }
        assert!(HttpTurnEnd::new(&TurnEndConfig::default()).unwrap().is_none());
    }
}
