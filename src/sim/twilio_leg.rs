//! A call through Twilio, with the simulator as Twilio's edge: it posts the webhook, follows the TwiML, opens the
//! media WebSocket, sends the caller's frames and plays what comes back through [`Playout`].

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, client};

use super::audio::FRAME;
use super::clock::{Dice, Moment, RunClock};
use super::http::{self, Request};
use super::leg::{Leg, LegEvent, Ready, Slot};
use super::network::{Network, Profile};
use super::playout::{Played, Playout};
use super::stamped_stream::StampedStream;
use super::timeline::Arrival;
use super::twilio_wire::{CallNames, FromServer, Writer, read, signature, stream_to};

/// How Twilio reaches the server.
#[derive(Clone, Debug)]
pub struct TwilioTarget {
    /// `host:port` of the server's HTTP.
    pub address: String,
    /// The URL under which Twilio knows the server, without a path: what signatures are made over.
    pub public_url: String,
    pub auth_token: Arc<str>,
}

/// One call.
pub struct TwilioLeg {
    socket: WebSocket<StampedStream>,
    writer: Writer,
    playout: Playout,
    to_server: Network<[u8; FRAME]>,
    to_ear: Network<Vec<u8>>,
    emulated: bool,
    opened: Moment,
    answered: bool,
    over: bool,
    /// How the call ended, until it has been told.
    ended: Option<LegEvent>,
    received: u32,
    utterance: u32,
}

impl TwilioLeg {
    /// Places a call and waits until its media stream is open. Blocks for as long as the server takes.
    ///
    /// # Errors
    /// Says which stage failed: the webhook, its TwiML, or the WebSocket.
    pub fn dial(
        to: &TwilioTarget,
        caller: &str,
        called: &str,
        network: Profile,
        mut dice: Dice,
        clock: &RunClock,
    ) -> Result<Self, String> {
        let names = CallNames::new(|| dice.bits());
        let stream = stream_to(&post_webhook(to, &names, caller, called)?)?;
        let socket = open_stream(to, &stream.url, *clock)?;
        let mut leg = Self {
            socket,
            writer: Writer::new(names),
            playout: Playout::default(),
            to_server: Network::new(network, Dice::new(dice.bits(), 0, 1)),
            to_ear: Network::new(network, Dice::new(dice.bits(), 0, 2)),
            emulated: !network.is_clean(),
            opened: clock.now(),
            answered: false,
            over: false,
            ended: None,
            received: 0,
            utterance: 0,
        };
        let connected = leg.writer.connected();
        let start = leg.writer.start(&stream.parameters);
        leg.send_text(connected).and_then(|()| leg.send_text(start)).map_err(|e| format!("media stream: {e}"))?;
        leg.socket.get_mut().begin_frames().map_err(|e| format!("media stream: {e}"))?;
        Ok(leg)
    }

    fn drain(&mut self, now: Moment, events: &mut Vec<LegEvent>) {
        while !self.over {
            match self.socket.read() {
                Ok(Message::Text(text)) => self.take(self.socket.get_ref().stamp(), text.as_str(), events),
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => {
                    self.end(now, false, "the server closed the media stream");
                }
                Ok(_) => {}
                Err(Error::Io(e)) if e.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(e) => self.end(now, false, &format!("media stream: {e}")),
            }
        }
    }

    /// `now` is when the kernel had the message.
    fn take(&mut self, now: Moment, text: &str, events: &mut Vec<LegEvent>) {
        match read(text, &self.writer.names().stream) {
            Ok(FromServer::Media(octets)) => {
                self.utterance += u32::from(self.playout.media(now, &octets));
                let arrival = Arrival { at: now, sequence: None, stream: self.utterance, timestamp: self.received };
                self.received = self.received.wrapping_add(u32::try_from(octets.len()).unwrap_or(u32::MAX));
                events.push(LegEvent::Arrived(arrival));
            }
            Ok(FromServer::Mark(name)) => self.playout.mark(now, name),
            Ok(FromServer::Clear) => {
                self.playout.clear(now);
                events.push(LegEvent::Cleared(now));
            }
            Err(what) => self.end(now, false, &format!("the server sent a message that Twilio refuses: {what}")),
        }
    }

    fn play(&mut self, now: Moment, events: &mut Vec<LegEvent>) {
        self.playout.advance(now);
        while let Some(played) = self.playout.pop() {
            match played {
                Played::Audio { at, octets } => {
                    if self.emulated {
                        events.push(LegEvent::Delivered { at, octets: octets.clone() });
                    }
                    self.to_ear.push(at, octets);
                }
                Played::Underrun { at, ms } => events.push(LegEvent::Underrun { at, ms }),
                Played::Mark { at, name } => {
                    let mark = self.writer.mark(&name);
                    self.write(mark);
                    events.push(LegEvent::Played { at, name });
                }
            }
        }
        while let Some((at, octets)) = self.to_ear.pop(now) {
            events.push(LegEvent::Heard { at, timestamp: None, octets });
        }
    }

    /// Writes what the network lets through; a socket that cannot be written is found broken by the next read.
    fn pump(&mut self, now: Moment) {
        while let Some((_, octets)) = self.to_server.pop(now) {
            let elapsed = now.saturating_sub(self.opened).as_millis();
            let media = self.writer.media(u64::try_from(elapsed).unwrap_or(u64::MAX), &octets);
            self.write(media);
        }
    }

    fn write(&mut self, text: String) {
        let _ = self.send_text(text);
    }

    /// A full socket buffer keeps the rest for the next write, as TCP does.
    fn send_text(&mut self, text: String) -> Result<(), Error> {
        match self.socket.send(Message::text(text)) {
            Err(Error::Io(e)) if e.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            other => other,
        }
    }

    fn end(&mut self, at: Moment, by_caller: bool, why: &str) {
        if !self.over {
            self.over = true;
            self.ended = Some(LegEvent::Ended { at, by_caller, why: why.to_owned() });
        }
    }
}

impl Leg for TwilioLeg {
    fn service(&mut self, slot: Slot, ready: Ready, events: &mut Vec<LegEvent>) {
        let now = slot.now;
        if !self.answered {
            self.answered = true;
            events.push(LegEvent::Answered(self.opened));
        }
        if ready.first {
            self.drain(now, events);
        }
        if !self.over {
            self.play(now, events);
            self.pump(now);
        }
        events.extend(self.ended.take());
    }

    fn due(&self) -> Option<Moment> {
        let now_or_never = (!self.answered || self.ended.is_some()).then_some(self.opened);
        [self.playout.due(), self.to_ear.due(), self.to_server.due(), now_or_never].into_iter().flatten().min()
    }

    fn send(&mut self, now: Moment, octets: &[u8; FRAME]) {
        self.to_server.push(now, *octets);
        self.pump(now);
    }

    fn press(&mut self, _now: Moment, key: char) {
        let dtmf = self.writer.dtmf(key);
        self.write(dtmf);
    }

    fn hang_up(&mut self, now: Moment) {
        let stop = self.writer.stop();
        self.write(stop);
        let _ = self.socket.close(None);
        let _ = self.socket.flush();
        self.end(now, true, "hung up");
    }

    fn sockets(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.socket.get_ref().fd()]
    }
}

fn post_webhook(to: &TwilioTarget, names: &CallNames, caller: &str, called: &str) -> Result<String, String> {
    let parameters = [
        ("AccountSid", names.account.as_str()),
        ("ApiVersion", "2010-04-01"),
        ("CallSid", names.call.as_str()),
        ("CallStatus", "ringing"),
        ("Called", called),
        ("Caller", caller),
        ("Direction", "inbound"),
        ("From", caller),
        ("To", called),
    ];
    let signed = signature(&to.auth_token, &format!("{}{WEBHOOK}", to.public_url), &parameters);
    let host = host_of(&to.public_url);
    let body = http::form(&parameters);
    let headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("X-Twilio-Signature", signed.as_str()),
        ("User-Agent", "TwilioProxy/1.1"),
    ];
    let request = Request { method: "POST", address: &to.address, host, path: WEBHOOK, headers: &headers, body: &body };
    let answer = request.send().map_err(|e| format!("webhook: {e}"))?;
    match answer.status {
        200..=299 => Ok(answer.body),
        status => Err(format!("webhook: HTTP {status}")),
    }
}

fn open_stream(to: &TwilioTarget, url: &str, clock: RunClock) -> Result<WebSocket<StampedStream>, String> {
    let failed = |e: &dyn std::fmt::Display| format!("media stream {url}: {e}");
    let (scheme, rest) = url.split_once("://").ok_or_else(|| failed(&"expected ws:// or wss://"))?;
    let (host, path) = rest.split_once('/').ok_or_else(|| failed(&"no path"))?;
    // Behind wss:// the TLS ends in front of the server; the server itself is where the webhook was.
    let address = if scheme == "ws" && host.contains(':') { host } else { to.address.as_str() };
    let stream = StampedStream::new(http::connect(address)?, clock).map_err(|e| failed(&e))?;
    let mut request = format!("ws://{host}/{path}").into_client_request().map_err(|e| failed(&e))?;
    let signed = HeaderValue::from_str(&signature(&to.auth_token, url, &[])).map_err(|e| failed(&e))?;
    request.headers_mut().insert("X-Twilio-Signature", signed);
    client::client(request, stream).map(|(socket, _)| socket).map_err(|e| failed(&e))
}

fn host_of(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or(url)
}

const WEBHOOK: &str = "/webhook/call";
