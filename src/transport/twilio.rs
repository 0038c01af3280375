//! Calls that arrive over Twilio: signed webhooks, TwiML answers, and Media Streams over a WebSocket.

pub mod form;
pub mod signature;
pub mod twiml;
pub mod wire;
