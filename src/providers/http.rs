//! What every vendor over HTTP shares: a base URL that is safe to send a secret to, one client, and the mapping of
//! answers to [`ProviderError`]. No error here carries a URL, a header or a body: those may hold secrets or words.

use std::error::Error;
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue};

use super::ProviderError;

/// Where a vendor is reached. Clear text only to loopback, unless configuration allows it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct BaseUrl(Url);

impl BaseUrl {
    /// # Errors
    /// Names `key`, never the value: it may hold credentials.
    pub(crate) fn parse(key: &str, text: &str, allow_clear: bool) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|e| format!("{key}: not a URL: {e}"))?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(format!("{key}: expected scheme, host and path only"));
        }
        let clear = match url.scheme() {
            "https" | "wss" => false,
            "http" | "ws" => true,
            other => return Err(format!("{key}: scheme `{other}`, expected https (http and ws on loopback)")),
        };
        if clear && !allow_clear && !is_loopback(&url) {
            return Err(format!("{key}: clear text to another host; use https or set `plain_http: true` beside it"));
        }
        Ok(Self(url))
    }

    /// `path` below the base, for HTTP.
    pub(crate) fn http(&self, path: &str) -> Result<Url, String> {
        self.with(if self.is_clear() { "http" } else { "https" }, "v1", path)
    }

    /// `path` below the base in a version of the vendor's interface such as `v1`, for a WebSocket.
    pub(crate) fn websocket(&self, version: &str, path: &str) -> Result<Url, String> {
        self.with(if self.is_clear() { "ws" } else { "wss" }, version, path)
    }

    fn is_clear(&self) -> bool {
        matches!(self.0.scheme(), "http" | "ws")
    }

    /// A base with or without `/v1` at its end means the same.
    fn with(&self, scheme: &str, version: &str, path: &str) -> Result<Url, String> {
        let whole = self.0.as_str();
        let after = whole.split_once("://").map_or(whole, |(_, after)| after).trim_end_matches('/');
        let root = if after.contains('/') { after.strip_suffix("/v1").unwrap_or(after) } else { after };
        let versioned = root.len() < after.len() || !after.contains('/');
        let version = if versioned { format!("/{version}") } else { String::new() };
        Url::parse(&format!("{scheme}://{root}{version}/{path}")).map_err(|e| format!("base URL: {e}"))
    }
}

/// A client for one vendor: pooled, no redirects (a redirect could carry the secret elsewhere).
///
/// # Errors
/// When the platform's TLS cannot be set up.
pub(crate) fn client(connect: Duration) -> Result<reqwest::Client, String> {
    install_tls();
    reqwest::Client::builder()
        .connect_timeout(connect)
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true)
        .no_proxy()
        .pool_idle_timeout(Duration::from_secs(90))
        .build()
        .map_err(|e| format!("HTTP client: {}", cause(&e)))
}

/// Two crypto providers may be linked; the process uses one.
pub(crate) fn install_tls() {
    // An error only says that one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// `scheme` and the secret as a header that is never printed.
pub(crate) fn authorization(scheme: &str, key: &SecretString) -> Result<HeaderValue, String> {
    secret(&format!("{scheme} {}", key.expose_secret()).into())
}

/// The secret alone as a header that is never printed.
pub(crate) fn secret(key: &SecretString) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(key.expose_secret())
        .map_err(|_| "the key holds characters that a header cannot carry".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Sends, and accepts only a 2xx whose head came within `within`.
pub(crate) async fn send(
    vendor: &'static str,
    request: reqwest::RequestBuilder,
    within: Duration,
) -> Result<reqwest::Response, ProviderError> {
    let response =
        in_time(vendor, "response", within, request.send()).await?.map_err(|e| connection(vendor, &e.without_url()))?;
    if response.status().is_success() {
        return Ok(response);
    }
    Err(refusal(vendor, response.status(), response.headers()))
}

/// The error that an HTTP status stands for.
pub(crate) fn refusal(vendor: &'static str, status: StatusCode, headers: &HeaderMap) -> ProviderError {
    match status.as_u16() {
        status @ (401 | 403) => ProviderError::Unauthorized { vendor, status },
        429 => ProviderError::RateLimited { vendor, retry_after: retry_after(headers) },
        status => ProviderError::Status { vendor, status },
    }
}

/// Waits for `future` at most `after`.
pub(crate) async fn in_time<T>(
    vendor: &'static str,
    what: &'static str,
    after: Duration,
    future: impl Future<Output = T>,
) -> Result<T, ProviderError> {
    tokio::time::timeout(after, future).await.map_err(|_| ProviderError::Timeout { vendor, what, after })
}

/// A transport failure by its deepest cause ("connection refused"), without addresses or URLs.
pub(crate) fn connection(vendor: &'static str, error: &(dyn Error + 'static)) -> ProviderError {
    ProviderError::Connection { vendor, what: cause(error) }
}

/// An answer that breaks the vendor's protocol.
pub(crate) fn protocol(vendor: &'static str, what: impl Into<String>) -> ProviderError {
    ProviderError::Protocol { vendor, what: what.into() }
}

fn cause(error: &(dyn Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string().chars().take(LONGEST_CAUSE).collect()
}

/// Seconds only; the other form of RFC 9110 section 10.2.3 is a date, whose meaning needs a wall clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("retry-after")?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

const LONGEST_CAUSE: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<BaseUrl, String> {
        BaseUrl::parse("openai.base_url", text, false)
    }

    #[test]
    fn the_version_is_added_where_it_is_missing() {
        for (base, expected) in [
            ("https://api.openai.com", "https://api.openai.com/v1/chat"),
            ("https://api.openai.com/v1/", "https://api.openai.com/v1/chat"),
            ("https://api.groq.com/openai/v1", "https://api.groq.com/openai/v1/chat"),
            ("https://host/custom", "https://host/custom/chat"),
            ("http://127.0.0.1:9/", "http://127.0.0.1:9/v1/chat"),
        ] {
            assert_eq!(parse(base).unwrap().http("chat").unwrap().as_str(), expected);
        }
        assert_eq!(
            parse("http://[::1]:9").unwrap().websocket("v1", "listen").unwrap().as_str(),
            "ws://[::1]:9/v1/listen"
        );
        assert_eq!(parse("https://a.b").unwrap().websocket("v1", "listen").unwrap().as_str(), "wss://a.b/v1/listen");
        assert_eq!(parse("https://a.b/v1").unwrap().websocket("v2", "listen").unwrap().as_str(), "wss://a.b/v2/listen");
    }

    #[test]
    fn clear_text_leaves_the_machine_only_when_allowed() {
        assert!(parse("http://example.com").is_err_and(|e| e.starts_with("openai.base_url: clear text")));
        assert!(BaseUrl::parse("k", "http://llama:8080", true).is_ok());
        assert!(parse("http://localhost:1").is_ok());
        let refused = parse("https://user:hunter2@example.com").err().unwrap();
        assert!(!refused.contains("hunter2"));
        assert!(parse("ftp://example.com").is_err());
    }

    #[test]
    fn statuses_are_told_apart() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from_static("7"));
        let of = |status| refusal("x", StatusCode::from_u16(status).unwrap(), &headers);
        assert_eq!(of(401), ProviderError::Unauthorized { vendor: "x", status: 401 });
        assert_eq!(of(429), ProviderError::RateLimited { vendor: "x", retry_after: Some(Duration::from_secs(7)) });
        assert_eq!(of(503), ProviderError::Status { vendor: "x", status: 503 });
        assert_eq!(of(302), ProviderError::Status { vendor: "x", status: 302 });
    }

    #[test]
    fn the_secret_is_not_printed() {
        let header = authorization("Token", &SecretString::from("hunter2")).unwrap();
        assert!(!format!("{header:?}").contains("hunter2"));
        assert!(authorization("Token", &SecretString::from("a\nb")).is_err_and(|e| !e.contains('\n')));
    }
}
