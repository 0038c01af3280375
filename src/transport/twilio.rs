//! Calls that arrive over Twilio: signed webhooks, TwiML answers, and Media Streams over a WebSocket.

pub mod form;
pub mod leg;
pub mod signature;
pub mod socket;
pub mod ticket;
pub mod twiml;
pub mod webhook;
pub mod wire;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use parking_lot::Mutex;
use secrecy::SecretString;

use crate::call::core::CallInput;
use crate::call::reception::Reception;
use crate::call::shard::CallPort;
use crate::config::{PublicUrl, TwilioConfig};
use crate::store::record::EndReason;
use signature::Validator;
use ticket::Tickets;

/// What the handlers share.
pub struct Twilio {
    reception: Arc<Reception>,
    /// What Twilio was told to call; signatures are made over it.
    base: PublicUrl,
    check: Check,
    tickets: Tickets,
    calls: Mutex<HashMap<String, CallPort>>,
}

/// Whether and how requests are checked.
enum Check {
    /// `twilio.validate_signature` is off.
    Off,
    /// It is on, and there is no token to check with: everything is refused.
    Impossible,
    By(Validator),
}

impl Twilio {
    /// `ticket_key` is used when there is no auth token; it need only be the same on all nodes.
    pub fn new(
        config: &TwilioConfig,
        base: PublicUrl,
        reception: Arc<Reception>,
        ticket_key: SecretString,
    ) -> Arc<Self> {
        let check = match (&config.auth_token, config.validate_signature) {
            (_, false) => Check::Off,
            (None, true) => Check::Impossible,
            (Some(token), true) => Check::By(Validator::new(token.clone())),
        };
        let tickets = Tickets::new(config.auth_token.clone().unwrap_or(ticket_key));
        Arc::new(Self { reception, base, check, tickets, calls: Mutex::default() })
    }

    /// The webhooks and the stream's socket.
    pub fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/webhook/call", post(webhook::call))
            .route("/webhook/status", post(webhook::status))
            .route(STREAM_PATH, get(socket::upgrade))
            .with_state(self)
    }

    fn began(&self, call_sid: String, port: CallPort) {
        self.calls.lock().insert(call_sid, port);
    }

    fn ended(&self, call_sid: &str) {
        self.calls.lock().remove(call_sid);
    }

    /// Twilio says that the call is over, whatever its socket says.
    fn over(&self, call_sid: &str) {
        if let Some(port) = self.calls.lock().remove(call_sid) {
            port.signal(CallInput::HungUp(EndReason::CallerHungUp));
        }
    }
}

const STREAM_PATH: &str = "/webhook/media-stream";
