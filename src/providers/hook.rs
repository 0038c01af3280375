//! HTTP services of the operator's own, which flows ask and models may: signed, with a deadline, tried again where that is safe.
//!
//! The request is `POST` with a JSON object. `x-offhook-signature` is `sha256=` and HMAC-SHA256 in hex, by the target's secret,
//! of `x-offhook-timestamp`, a full stop and the body: the receiver refuses what is old or not signed. The `idempotency-key` is the
//! same for every try, so that a service which knows it does nothing twice.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use rand::RngExt as _;
use reqwest::{Client, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use sha2::Sha256;
use tokio::time::{Instant, sleep, timeout_at};

use super::ProviderError;
use super::http::{BaseUrl, client, connection, in_time, protocol, refusal};
use crate::telemetry::pii::Pii;

/// The key `hooks`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HooksConfig {
    /// The services by the names that flows use.
    pub targets: Vec<HookTarget>,
}

/// One service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookTarget {
    pub name: String,
    pub url: String,
    /// Signs what is sent; without one nothing is signed.
    pub secret: Option<SecretString>,
    /// Allows clear text to another host.
    #[serde(default)]
    pub plain_http: bool,
    /// For all tries together, in ms; 100 to 10000.
    #[serde(default = "three_seconds")]
    pub deadline_ms: u64,
    /// Tries after the first one, 0 to 3.
    #[serde(default = "one")]
    pub retries: u32,
}

/// Cheap to clone; every clone is the same services.
#[derive(Clone)]
pub struct Hooks {
    client: Client,
    targets: Arc<BTreeMap<String, Target>>,
}

struct Target {
    url: Url,
    secret: Option<SecretString>,
    deadline: Duration,
    retries: u32,
}

impl Hooks {
    /// # Errors
    /// Names the key of configuration that is wrong.
    pub fn new(config: &HooksConfig) -> Result<Self, String> {
        let mut targets = BTreeMap::new();
        for (place, target) in config.targets.iter().enumerate() {
            let key = |name: &str| format!("hooks.targets[{place}].{name}");
            BaseUrl::parse(&key("url"), &target.url, target.plain_http)?;
            let url = Url::parse(&target.url).map_err(|e| format!("{}: not a URL: {e}", key("url")))?;
            if !(100..=10_000).contains(&target.deadline_ms) {
                return Err(format!("{}: expected a whole number from 100 to 10000", key("deadline_ms")));
            }
            if target.retries > 3 {
                return Err(format!("{}: expected a whole number from 0 to 3", key("retries")));
            }
            let deadline = Duration::from_millis(target.deadline_ms);
            let kept = Target { url, secret: target.secret.clone(), deadline, retries: target.retries };
            if target.name.is_empty() || targets.insert(target.name.clone(), kept).is_some() {
                return Err(format!("{}: expected a name that no other target has", key("name")));
            }
        }
        Ok(Self { client: client(CONNECT)?, targets: Arc::new(targets) })
    }

    pub fn has(&self, name: &str) -> bool {
        self.targets.contains_key(name)
    }

    /// Asks a service; its answer is a JSON object. `key` names the request, whichever try it is.
    ///
    /// # Errors
    /// No such service, none of its answers in time, a refusal, or an answer that is no JSON object of at most 64 KB.
    pub async fn ask(&self, name: &str, body: &Pii<Value>, key: &str) -> Result<Pii<Value>, ProviderError> {
        let Some(target) = self.targets.get(name) else {
            return Err(ProviderError::NotConfigured { vendor: HOOK, what: format!("hooks.targets: `{name}`") });
        };
        let body = body.expose().to_string();
        let until = Instant::now() + target.deadline;
        let timed_out = ProviderError::Timeout { vendor: HOOK, what: "answer", after: target.deadline };
        let mut last = timed_out.clone();
        for attempt in 0..=target.retries {
            if attempt > 0 {
                let pause = rand::rng().random_range(PAUSE_MS) << (attempt - 1);
                sleep(Duration::from_millis(pause)).await;
            }
            last = match timeout_at(until, self.once(target, &body, key)).await {
                Err(_) => return Err(timed_out),
                Ok(Ok(answer)) => return Ok(Pii::new(answer)),
                Ok(Err(error)) => error,
            };
            if !is_worth_another_try(&last) || Instant::now() >= until {
                break;
            }
        }
        Err(last)
    }

    async fn once(&self, target: &Target, body: &str, key: &str) -> Result<Value, ProviderError> {
        let at = Timestamp::now().as_second();
        let mut post = self
            .client
            .post(target.url.clone())
            .header("content-type", "application/json")
            .header("x-offhook-timestamp", at)
            .header("idempotency-key", key)
            .body(body.to_owned());
        if let Some(secret) = &target.secret {
            post = post.header("x-offhook-signature", signature(secret, at, body)?);
        }
        let response = post.send().await.map_err(|e| connection(HOOK, &e.without_url()))?;
        if !response.status().is_success() {
            return Err(refusal(HOOK, response.status(), response.headers()));
        }
        if response.content_length().is_some_and(|length| length > MOST_BYTES) {
            return Err(protocol(HOOK, format!("an answer of over {MOST_BYTES} bytes")));
        }
        let bytes = in_time(HOOK, "whole answer", target.deadline, response.bytes()).await?;
        let bytes = bytes.map_err(|e| connection(HOOK, &e.without_url()))?;
        let answer = serde_json::from_slice::<Value>(&bytes).ok().filter(Value::is_object);
        answer.ok_or_else(|| protocol(HOOK, "no JSON object"))
    }
}

/// `sha256=` and the HMAC in hex.
fn signature(secret: &SecretString, at: i64, body: &str) -> Result<String, ProviderError> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes());
    let mut mac = mac.map_err(|_| protocol(HOOK, "a secret that cannot sign"))?;
    mac.update(format!("{at}.{body}").as_bytes());
    let mut text = "sha256=".to_owned();
    for byte in mac.finalize().into_bytes() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// What may be different the next time; a refusal will not.
const fn is_worth_another_try(error: &ProviderError) -> bool {
    matches!(
        error,
        ProviderError::Connection { .. }
            | ProviderError::RateLimited { .. }
            | ProviderError::Status { status: 500.., .. }
    )
}

const fn three_seconds() -> u64 {
    3000
}

const fn one() -> u32 {
    1
}

const HOOK: &str = "hook";
const CONNECT: Duration = Duration::from_secs(1);
/// Before the second try; twice as long before each further one.
const PAUSE_MS: std::ops::Range<u64> = 50..150;
const MOST_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::State;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::post;
    use parking_lot::Mutex;
    use serde_json::json;

    use super::*;

    /// Requests in their order, and the statuses that they are answered by.
    #[derive(Clone, Default)]
    struct Service(Arc<Mutex<Seen>>);

    type Seen = (Vec<(HeaderMap, String)>, Vec<u16>);

    async fn answer(State(service): State<Service>, headers: HeaderMap, body: String) -> (StatusCode, String) {
        let mut seen = service.0.lock();
        seen.0.push((headers, body));
        let status = if seen.1.is_empty() { 200 } else { seen.1.remove(0) };
        let text = if status == 299 { "[1]".to_owned() } else { json!({ "status": "ready" }).to_string() };
        (StatusCode::from_u16(status).unwrap(), text)
    }

    async fn serve(statuses: &[u16]) -> (Service, String) {
        let service = Service(Arc::new(Mutex::new((Vec::new(), statuses.to_vec()))));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/lookup", listener.local_addr().unwrap());
        let app = Router::new().route("/lookup", post(answer)).with_state(service.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (service, url)
    }

    fn hooks(url: &str, retries: u32) -> Hooks {
        let target = HookTarget {
            name: "orders".into(),
            url: url.into(),
            secret: Some("hunter2".into()),
            plain_http: false,
            deadline_ms: 2000,
            retries,
        };
        Hooks::new(&HooksConfig { targets: vec![target] }).unwrap()
    }

    async fn ask(hooks: &Hooks) -> Result<Value, ProviderError> {
        hooks.ask("orders", &Pii::new(json!({ "number": "42" })), "call-1").await.map(Pii::into_exposed)
    }

    #[tokio::test]
    async fn what_is_sent_is_signed_and_tried_again_where_that_is_safe() {
        let (service, url) = serve(&[503, 429]).await;
        assert_eq!(ask(&hooks(&url, 2)).await.unwrap(), json!({ "status": "ready" }));
        let seen = service.0.lock().0.clone();
        assert_eq!(seen.len(), 3);
        for (headers, body) in seen {
            let at: i64 = headers["x-offhook-timestamp"].to_str().unwrap().parse().unwrap();
            assert!((Timestamp::now().as_second() - at).abs() < 60);
            assert_eq!(headers["x-offhook-signature"], *signature(&"hunter2".into(), at, &body).unwrap());
            assert_eq!(
                (headers["idempotency-key"].to_str().unwrap(), body.as_str()),
                ("call-1", "{\"number\":\"42\"}")
            );
        }
    }

    #[tokio::test]
    async fn refusals_and_nonsense_are_not_tried_again() {
        for (status, expected) in [(404, "HTTP 404"), (401, "refused"), (299, "no JSON object")] {
            let (service, url) = serve(&[status, 200]).await;
            let error = ask(&hooks(&url, 3)).await.unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
            assert_eq!(service.0.lock().0.len(), 1);
        }
        let nowhere = hooks("http://127.0.0.1:1/", 1);
        assert!(matches!(ask(&nowhere).await, Err(ProviderError::Connection { .. })));
        assert!(matches!(
            nowhere.ask("other", &Pii::new(json!({})), "k").await,
            Err(ProviderError::NotConfigured { .. })
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_come_is_not_waited_for() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let hooks = hooks(&format!("http://{}/", listener.local_addr().unwrap()), 1);
        assert!(matches!(ask(&hooks).await, Err(ProviderError::Timeout { .. })));
    }

    #[test]
    fn mistakes_are_named_by_their_keys() {
        let with = |yaml: &str| match serde_saphyr::from_str::<HooksConfig>(yaml) {
            Ok(config) => Hooks::new(&config).err().unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        assert_eq!(with("targets: [{name: a, url: \"https://example.org/h\"}]"), "");
        assert!(with("targets: [{name: a, url: \"http://example.org/h\"}]").starts_with("hooks.targets[0].url: clear"));
        let twice = "targets: [{name: a, url: \"https://a.b\"}, {name: a, url: \"https://a.b\"}]";
        assert!(with(twice).starts_with("hooks.targets[1].name: expected a name that no other"));
        assert!(with("targets: [{name: a, url: \"https://a.b\", deadline_ms: 5}]").contains("targets[0].deadline_ms"));
        assert!(with("targets: [{name: a}]").contains("url"));
    }
}
