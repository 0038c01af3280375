//! What a command of ours asks of the server that runs on the same configuration: place a call and say how it went.
//!
//! It speaks the public API and knows nothing else of the server.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::config::HttpConfig;

/// A call to ask for.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    pub number: String,
    pub flow: Option<String>,
    pub line: Option<String>,
    pub trunk: Option<String>,
    pub caller_id: Option<String>,
}

/// Why it did not work; one line for people.
#[derive(Debug)]
pub enum Failure {
    /// No server answers there.
    NoServer(SocketAddr),
    /// The server refused: its code and sentence.
    Refused { code: String, message: String },
    /// The call ended without having been answered.
    Outcome(String),
}

/// The running server.
pub struct Client {
    http: reqwest::Client,
    at: SocketAddr,
    secret: Option<SecretString>,
}

impl Client {
    /// The server of this configuration, on this machine.
    pub fn new(config: &HttpConfig) -> Self {
        let ip = match config.listen.ip() {
            IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap_or_default();
        Self { http, at: SocketAddr::new(ip, config.listen.port()), secret: config.secret_key.clone() }
    }

    /// Places a call; gives its id.
    ///
    /// # Errors
    /// Why none was placed.
    pub async fn place(&self, wish: &Wish) -> Result<String, Failure> {
        let mut body = json!({ "to": wish.number });
        let fields =
            [("flow", &wish.flow), ("line", &wish.line), ("trunk", &wish.trunk), ("caller_id", &wish.caller_id)];
        for (name, value) in fields {
            if let (Some(value), Some(body)) = (value, body.as_object_mut()) {
                body.insert(name.to_owned(), json!(value));
            }
        }
        let request = self.http.post(self.url("")).header("Idempotency-Key", Uuid::now_v7().to_string()).json(&body);
        let placed = self.ask(request).await?;
        Ok(placed["id"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits for the end of a call and tells each step on the way. Gives how it ended.
    ///
    /// # Errors
    /// [`Failure::Outcome`] for a call that nobody answered, or why nothing is known.
    pub async fn wait(&self, id: &str, mut tell: impl FnMut(&str)) -> Result<String, Failure> {
        let mut last = String::new();
        loop {
            // The record of a call that has only begun may not be written yet.
            let call = match self.ask(self.http.get(self.url(&format!("/{id}")))).await {
                Err(Failure::Refused { code, .. }) if code == "no_such_call" => Value::Null,
                call => call?,
            };
            let progress = call["progress"].as_str().unwrap_or_default();
            if progress != last {
                last = progress.to_owned();
                tell(&last);
            }
            if let Some(reason) = call["end_reason"].as_str() {
                let mut events = call["events"].as_array().into_iter().flatten();
                let answered = events.any(|event| event["kind"] == "answered");
                let reason = reason.to_owned();
                return if answered { Ok(reason) } else { Err(Failure::Outcome(reason)) };
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn url(&self, rest: &str) -> String {
        format!("http://{}/v1/calls{rest}", self.at)
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
        let request = match &self.secret {
            Some(secret) => request.bearer_auth(secret.expose_secret()),
            None => request,
        };
        let answer = request.send().await.map_err(|_| Failure::NoServer(self.at))?;
        let good = answer.status().is_success();
        let body: Value = answer.json().await.map_err(|_| Failure::NoServer(self.at))?;
        if good {
            return Ok(body);
        }
        let text = |key: &str| body["error"][key].as_str().unwrap_or("unknown").to_owned();
        Err(Failure::Refused { code: text("code"), message: text("message") })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServer(at) => write!(f, "no server answers at {at} (http.listen)"),
            Self::Refused { code, message } => write!(f, "{code}: {message}"),
            Self::Outcome(reason) => write!(f, "the call was not answered: {reason}"),
        }
    }
}

impl std::error::Error for Failure {}

/// Longest wait for one answer of the server.
const PATIENCE: Duration = Duration::from_secs(15);

const LOOK_AGAIN: Duration = Duration::from_millis(300);
