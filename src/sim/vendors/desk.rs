//! Where a test and a stand-in meet: the behaviour that is set, what was counted, and the last request.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::DelayLog;

/// A refusal in place of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Unauthorized,
    /// With `Retry-After` in seconds.
    RateLimited(Option<u32>),
    ServerError,
    /// The request is taken and never answered.
    NoAnswer,
}

/// What a stand-in has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests or connections, refused ones included.
    pub requests: u64,
    /// Answers or sessions under way.
    pub open: u64,
    /// Frames, audio bytes or tokens that passed.
    pub units: u64,
    /// KeepAlive messages (recogniser only).
    pub keep_alives: u64,
    /// Query string of the last request.
    pub query: String,
    /// Body of the last request.
    pub body: Value,
    /// Whether the last request carried a key.
    pub authorized: bool,
}

/// The control desk of one stand-in.
pub struct Desk<B> {
    behaviour: Arc<Mutex<B>>,
    counters: watch::Sender<Counters>,
    pub(super) delays: DelayLog,
}

impl<B> Clone for Desk<B> {
    fn clone(&self) -> Self {
        let Self { behaviour, counters, delays } = self;
        Self { behaviour: Arc::clone(behaviour), counters: counters.clone(), delays: delays.clone() }
    }
}

impl<B: Clone + Default> Desk<B> {
    pub(super) fn new(delays: DelayLog) -> Self {
        Self { behaviour: Arc::default(), counters: watch::Sender::default(), delays }
    }

    /// Changes the behaviour; requests under way notice at their next step.
    pub fn set(&self, change: impl FnOnce(&mut B)) {
        change(&mut self.behaviour.lock());
    }

    pub fn behaviour(&self) -> B {
        self.behaviour.lock().clone()
    }

    pub fn counters(&self) -> Counters {
        self.counters.borrow().clone()
    }

    /// Waits until the counters satisfy `condition`.
    pub async fn until(&self, mut condition: impl FnMut(&Counters) -> bool) -> Counters {
        let mut receiver = self.counters.subscribe();
        // The desk itself holds the sender, so the channel cannot be closed.
        receiver.wait_for(|counters| condition(counters)).await.map(|c| c.clone()).unwrap_or_default()
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Counters)) {
        self.counters.send_modify(change);
    }

    /// Notes a request and refuses it if it has no key or the behaviour says so.
    pub(super) async fn admit(
        &self,
        headers: &HeaderMap,
        query: &str,
        body: Value,
        refusal: Option<Refusal>,
    ) -> Result<(), Response> {
        let authorized = KEYS.iter().any(|name| headers.contains_key(*name));
        self.count(|c| {
            c.requests += 1;
            c.query = query.to_owned();
            c.body = body;
            c.authorized = authorized;
        });
        match refusal {
            None if authorized => Ok(()),
            None | Some(Refusal::Unauthorized) => Err(refused(StatusCode::UNAUTHORIZED)),
            Some(Refusal::ServerError) => Err(refused(StatusCode::INTERNAL_SERVER_ERROR)),
            Some(Refusal::RateLimited(after)) => {
                let mut response = refused(StatusCode::TOO_MANY_REQUESTS);
                if let Some(after) = after {
                    response.headers_mut().insert("retry-after", after.into());
                }
                Err(response)
            }
            Some(Refusal::NoAnswer) => {
                let _open = self.open();
                std::future::pending().await
            }
        }
    }

    /// Counts an answer as under way until the guard is dropped.
    pub(super) fn open(&self) -> OpenGuard {
        self.count(|c| c.open += 1);
        OpenGuard(self.counters.clone())
    }
}

/// See [`Desk::open`].
pub(super) struct OpenGuard(watch::Sender<Counters>);

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.send_modify(|c| c.open = c.open.saturating_sub(1));
    }
}

/// Where vendors look for a key.
const KEYS: [&str; 4] = ["authorization", "x-api-key", "xi-api-key", "ocp-apim-subscription-key"];

/// The status with a body of both vendors' shapes.
fn refused(status: StatusCode) -> Response {
    let body = json!({
        "err_code": status.as_str(), "err_msg": "refused by the stand-in", "request_id": "stand-in",
        "error": { "type": "stand_in", "message": "refused by the stand-in" },
    });
    (status, axum::Json(body)).into_response()
}
