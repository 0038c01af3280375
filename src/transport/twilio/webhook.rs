//! `POST /webhook/call` and `/webhook/status`: signed forms in, TwiML out.
//!
//! Twilio waits 15 s at most and a caller hears nothing meanwhile, so nothing here takes longer than a look at what
//! is known already.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::form::Form;
use super::signature::{Body, SETTINGS, SIGNATURE};
use super::ticket::Ticket;
use super::{Check, STREAM_PATH, Twilio, twiml};
use crate::providers::Providers;
use crate::telemetry::metrics::BadInput;
use crate::telemetry::pii::Pii;

/// A call has come in: answers how to connect it.
pub async fn call(
    State(twilio): State<Arc<Twilio>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let form = twilio.form(&uri, &headers, &body)?;
    let (Some(call_sid), Some(called)) = (form.value("CallSid"), form.value("To")) else {
        return Err(Refusal::Malformed("CallSid and To are expected"));
    };
    let admission = twilio.reception.admission();
    if admission.is_draining() || admission.is_full() {
        return Ok(xml(twiml::reject_busy()));
    }
    if twilio.reception.needs_voice(called) && !can_speak(&twilio.reception.services().providers).await {
        return Ok(xml(twiml::say(NO_VOICE)));
    }
    let caller = Pii::new(form.value("From").unwrap_or_default().to_owned());
    let ticket = Ticket { call_sid: call_sid.to_owned(), called: called.to_owned(), caller };
    let parameters = twilio.tickets.issue(&ticket, wall());
    let parameters: Vec<(&str, &str)> = parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Ok(xml(twiml::connect(&twilio.base.websocket(STREAM_PATH), &parameters, None)))
}

/// A call has changed state; an ended one ends here too, even if its socket was lost without a word.
pub async fn status(
    State(twilio): State<Arc<Twilio>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let form = twilio.form(&uri, &headers, &body)?;
    let (Some(call_sid), Some(state)) = (form.value("CallSid"), form.value("CallStatus")) else {
        return Err(Refusal::Malformed("CallSid and CallStatus are expected"));
    };
    if matches!(state, "completed" | "busy" | "failed" | "no-answer" | "canceled") {
        twilio.over(call_sid);
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Time since the Unix epoch.
pub(super) fn wall() -> Duration {
    Duration::try_from(Timestamp::now().as_duration()).unwrap_or_default()
}

impl Twilio {
    /// Whether the request is Twilio's. `url` is what Twilio called.
    pub(super) fn is_genuine(&self, url: &str, headers: &HeaderMap, body: Body<'_>) -> bool {
        let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        match &self.check {
            Check::Off => true,
            Check::Impossible => false,
            Check::By(validator) => validator.check(url, body, value(SIGNATURE), value(SETTINGS)).is_ok(),
        }
    }

    fn form(&self, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Form, Refusal> {
        let url = self.base.http(path_and_query(uri));
        if !is_form(headers) {
            return match self.is_genuine(&url, headers, Body::Raw(body)) {
                true => Err(Refusal::NotAForm),
                false => Err(Refusal::Forged),
            };
        }
        let form = Form::parse(body).map_err(|_| Refusal::Malformed("the form cannot be read"))?;
        if !self.is_genuine(&url, headers, Body::Form(&form)) {
            self.reception.services().metrics.bad_input(BadInput::Webhook);
            return Err(Refusal::Forged);
        }
        Ok(form)
    }
}

pub(super) fn path_and_query(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", |path| path.as_str())
}

/// Said by Twilio's own voice when no voice of ours works.
const NO_VOICE: &str = "We are sorry, this line cannot speak to you right now. Please call again in a few minutes.";

/// Longest look at whether a voice works.
const VOICE_CHECK: Duration = Duration::from_millis(500);

/// Why a webhook is refused.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    Forged,
    NotAForm,
    Malformed(&'static str),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::Forged => (StatusCode::FORBIDDEN, "the request is not signed by Twilio"),
            Self::NotAForm => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "application/x-www-form-urlencoded is expected"),
            Self::Malformed(what) => (StatusCode::BAD_REQUEST, what),
        };
        let code = status.as_u16();
        (status, axum::Json(serde_json::json!({ "error": { "code": code, "message": message } }))).into_response()
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

async fn can_speak(providers: &Providers) -> bool {
    for voice in &providers.tts {
        if let Ok(Ok(())) = tokio::time::timeout(VOICE_CHECK, voice.vendor.check()).await {
            return true;
        }
    }
    false
}

fn xml(body: String) -> Response {
    ([(header::CONTENT_TYPE, "text/xml; charset=utf-8")], body).into_response()
}
