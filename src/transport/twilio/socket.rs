//! The Media Streams socket: documented JSON messages to and from a leg.
//!
//! Two loops share the socket: one reads until `start` has named a call and then feeds the leg, the other writes what
//! the leg sends, in order. A message that cannot be read is counted and dropped; a stream that is not ours is closed
//! with 1008, one that speaks in binary with 1003.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use offhook_media::FRAME;
use offhook_media::dtmf::Digit;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite;

use super::leg::{CONTROL, Control, FromTwilio, INCOMING, OUTGOING, ToTwilio, TwilioLeg};
use super::signature::Body;
use super::ticket::Ticket;
use super::webhook::{path_and_query, wall};
use super::wire::{self, Inbound, MAX_PAYLOAD, MarkName, PayloadBuffer, Start, StreamSid};
use super::{Check, Twilio};
use crate::call::core::CallInput;
use crate::call::reception::Caller;
use crate::clock;
use crate::queue::{Receiver, Sender, bounded};
use crate::store::record::{CallId, EndReason, Via};
use crate::telemetry::metrics::BadInput;
use crate::telemetry::pii::Pii;

/// Opens the socket if the request is Twilio's.
pub async fn upgrade(
    State(twilio): State<Arc<Twilio>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    socket: WebSocketUpgrade,
) -> Response {
    let url = twilio.base.websocket(path_and_query(&uri));
    if !twilio.is_genuine(&url, &headers, Body::None) {
        twilio.reception.services().metrics.bad_input(BadInput::Webhook);
        return StatusCode::FORBIDDEN.into_response();
    }
    socket
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .on_upgrade(move |socket| serve(twilio, socket))
}

/// One stream, from its first message to its last.
async fn serve(twilio: Arc<Twilio>, mut socket: WebSocket) {
    let opening = timeout(START_LIMIT, opening(&twilio, &mut socket)).await;
    let begun = match opening {
        Ok(Ok(start)) => begin(&twilio, start),
        Ok(Err(refusal)) => Err(refusal),
        Err(_) => Err(Refusal { code: close_code::POLICY, reason: "no start message" }),
    };
    let stream = match begun {
        Ok(stream) => stream,
        Err(refusal) => return refuse(socket, refusal).await,
    };
    let Stream { sid, call_sid, mut to_leg, mut control, mut from_leg } = stream;
    let (mut sink, mut source) = socket.split();
    let refusal = tokio::select! {
        end = read(&twilio, &mut source, &mut to_leg, &mut control) => {
            // A full queue is about to end the call anyway.
            let _ = control.try_push(Control::Ended(end.reason));
            end.refusal
        }
        () = write(&mut sink, &mut from_leg, &sid) => {
            let _ = control.try_push(Control::Ended(EndReason::TransportLost));
            None
        }
    };
    twilio.ended(&call_sid);
    let close = Message::Close(refusal.map(Refusal::frame));
    let _ = timeout(CLOSE_LIMIT, sink.send(close)).await;
}

/// Reads up to `start`.
async fn opening(twilio: &Twilio, socket: &mut WebSocket) -> Result<Box<Start>, Refusal> {
    let mut payload: Box<PayloadBuffer> = Box::new([0; MAX_PAYLOAD]);
    loop {
        let text = match socket.recv().await {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Binary(_))) => return Err(BINARY),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Err(error)) if is_too_long(&error) => return Err(TOO_LONG),
            _ => return Err(Refusal { code: close_code::NORMAL, reason: "closed" }),
        };
        match wire::parse(&text, &mut payload) {
            Ok(Inbound::Connected) => {}
            Ok(Inbound::Start(start)) => return Ok(start),
            Ok(_) => return Err(Refusal { code: close_code::POLICY, reason: "a message before start" }),
            Err(_) => {
                twilio.reception.services().metrics.bad_input(BadInput::TwilioMessage);
                return Err(Refusal { code: close_code::POLICY, reason: "not a Media Streams message" });
            }
        }
    }
}

fn begin(twilio: &Twilio, start: Box<Start>) -> Result<Stream, Refusal> {
    let ticket = twilio.ticket(&start)?;
    let permit = twilio.reception.admit().map_err(|_| BUSY)?;
    let (to_leg, incoming) = bounded(INCOMING);
    let (control, keys) = bounded(CONTROL);
    let (outgoing, from_leg) = bounded(OUTGOING);
    let caller = Caller {
        id: CallId::fresh(),
        via: Via::Twilio,
        called: ticket.called,
        caller: ticket.caller,
        leg: Box::new(TwilioLeg::new(incoming, keys, outgoing)),
    };
    let port = twilio.reception.receive(caller, permit).ok_or(BUSY)?;
    port.signal(CallInput::Connected);
    twilio.began(ticket.call_sid.clone(), port);
    Ok(Stream { sid: start.stream, call_sid: ticket.call_sid, to_leg, control, from_leg })
}

impl Twilio {
    /// Who the stream is for. Without signatures, streams that carry no ticket are taken at their word.
    fn ticket(&self, start: &Start) -> Result<Ticket, Refusal> {
        let redeemed = self.tickets.redeem(&start.call_sid, &start.parameters, wall());
        match (redeemed, &self.check) {
            (Ok(ticket), _) => Ok(ticket),
            (Err(_), Check::Off) => {
                let given = |name: &str| start.parameters.expose().get(name).cloned().unwrap_or_default();
                let (called, caller) = (given("called"), Pii::new(given("caller")));
                Ok(Ticket { call_sid: start.call_sid.clone(), called, caller })
            }
            (Err(_), _) => Err(Refusal { code: close_code::POLICY, reason: "no valid ticket" }),
        }
    }
}

/// Feeds the leg until the stream ends, and says why it did.
async fn read(
    twilio: &Twilio,
    source: &mut SplitStream<WebSocket>,
    to_leg: &mut Sender<FromTwilio>,
    control: &mut Sender<Control>,
) -> End {
    let mut payload: Box<PayloadBuffer> = Box::new([0; MAX_PAYLOAD]);
    let mut frames = Reframer::default();
    loop {
        let message = source.next().await;
        let arrival = clock::now();
        let text = match message {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Binary(_))) => return End::refused(BINARY),
            Some(Err(error)) if is_too_long(&error) => return End::refused(TOO_LONG),
            Some(Ok(Message::Close(_)) | Err(_)) | None => {
                return End { reason: EndReason::TransportLost, refusal: None };
            }
        };
        match wire::parse(&text, &mut payload) {
            Ok(Inbound::Media(media)) => {
                let mulaw = payload.get(..media.len).unwrap_or_default();
                frames.push(mulaw, |mulaw| to_leg.push_or_drop(FromTwilio::Audio { mulaw, arrival }));
            }
            Ok(Inbound::Dtmf(key)) => {
                let pressed = Digit::try_from(key).map(|digit| control.try_push(Control::Digit(digit)));
                if let Ok(Err(_)) = pressed {
                    return End { reason: EndReason::Overrun, refusal: None };
                }
            }
            Ok(Inbound::Mark(name)) => {
                if let Some(mark) = MarkName::parse(&name) {
                    to_leg.push_or_drop(FromTwilio::Mark { mark, arrival });
                }
            }
            Ok(Inbound::Stop) => return End { reason: EndReason::CallerHungUp, refusal: None },
            Ok(Inbound::Connected | Inbound::Start(_)) => {}
            Err(_) => twilio.reception.services().metrics.bad_input(BadInput::TwilioMessage),
        }
    }
}

/// Writes what the leg sends until it closes.
async fn write(sink: &mut SplitSink<WebSocket, Message>, from_leg: &mut Receiver<ToTwilio>, sid: &StreamSid) {
    let mut text = String::new();
    while let Some(message) = from_leg.recv().await {
        match message {
            ToTwilio::Media(mulaw) => wire::write_media(&mut text, sid, &mulaw),
            ToTwilio::Mark(mark) => wire::write_mark(&mut text, sid, mark),
            ToTwilio::Clear => wire::write_clear(&mut text, sid),
            ToTwilio::Close => return,
        }
        if sink.send(Message::Text(Utf8Bytes::from(text.as_str()))).await.is_err() {
            return;
        }
    }
}

async fn refuse(mut socket: WebSocket, refusal: Refusal) {
    let _ = timeout(CLOSE_LIMIT, socket.send(Message::Close(Some(refusal.frame())))).await;
}

/// Whether a message went beyond [`MAX_MESSAGE`].
fn is_too_long(error: &axum::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|inner| inner.downcast_ref());
    matches!(source, Some(tungstenite::Error::Capacity(_)))
}

/// Cuts payloads of any length into 20 ms.
#[derive(Default)]
struct Reframer {
    pending: Vec<u8>,
}

impl Reframer {
    fn push(&mut self, mut mulaw: &[u8], mut frame: impl FnMut([u8; FRAME])) {
        if !self.pending.is_empty() {
            let missing = FRAME.saturating_sub(self.pending.len()).min(mulaw.len());
            let (head, rest) = mulaw.split_at(missing);
            self.pending.extend_from_slice(head);
            mulaw = rest;
            if let Ok(whole) = <[u8; FRAME]>::try_from(self.pending.as_slice()) {
                frame(whole);
                self.pending.clear();
            }
        }
        let (whole, rest) = mulaw.as_chunks::<FRAME>();
        whole.iter().copied().for_each(frame);
        self.pending.extend_from_slice(rest);
    }
}

struct Stream {
    sid: StreamSid,
    call_sid: String,
    to_leg: Sender<FromTwilio>,
    control: Sender<Control>,
    from_leg: Receiver<ToTwilio>,
}

/// How a stream ended, and what its maker is told if it was refused.
struct End {
    reason: EndReason,
    refusal: Option<Refusal>,
}

impl End {
    const fn refused(refusal: Refusal) -> Self {
        Self { reason: EndReason::TransportLost, refusal: Some(refusal) }
    }
}

#[derive(Clone, Copy, Debug)]
struct Refusal {
    code: u16,
    reason: &'static str,
}

impl Refusal {
    fn frame(self) -> CloseFrame {
        CloseFrame { code: self.code, reason: self.reason.into() }
    }
}

const BINARY: Refusal = Refusal { code: close_code::UNSUPPORTED, reason: "text messages are expected" };
const TOO_LONG: Refusal = Refusal { code: close_code::SIZE, reason: "the message is too long" };
const BUSY: Refusal = Refusal { code: close_code::AGAIN, reason: "no place for another call" };

/// Twilio's messages are below 2 KiB; its documentation gives no bound.
const MAX_MESSAGE: usize = 64 * 1024;
const MAX_WRITE_BUFFER: usize = 1024 * 1024;

/// From the socket's opening to `start`.
const START_LIMIT: Duration = Duration::from_secs(10);
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_of_any_length_become_frames() {
        let bytes: Vec<u8> = (0..1000u32).map(|n| (n % 251) as u8).collect();
        for step in [1, 7, 160, 161, 320, 999] {
            let mut frames = Reframer::default();
            let mut out = Vec::new();
            for chunk in bytes.chunks(step) {
                frames.push(chunk, |frame| out.extend_from_slice(&frame));
            }
            assert_eq!(out, bytes[..960], "step {step}");
        }
    }
}
