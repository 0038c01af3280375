//! An endpoint under a script of hostile bytes: strangers, the far sides of its calls, its applications, and time.
//! Whatever happens, what it sends is well-formed, and when all is over nothing is left.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use offhook_sip::auth::{Credentials, Secret, ServerAuth};
use offhook_sip::guard::{GuardConfig, Unknown};
use offhook_sip::message::{HeaderName, Message, UriBuf};
use offhook_sip::{
    CallHandle, Command, Endpoint, EndpointConfig, Event, Flow, Input, Moment, OutboundInvite, Output, PingId,
    Registration, RegistrationId, Transport,
};

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let mut stage = Stage::new(script.byte());
    for _ in 0..MAX_STEPS {
        let Some(step) = script.next() else { break };
        stage.step(step, &mut script);
    }
    stage.end();
});

const MAX_STEPS: usize = 64;
const SDP: &[u8] = b"v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
const METHODS: [&str; 11] =
    ["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "PRACK", "UPDATE", "INFO", "REFER", "NOTIFY"];
const STATUSES: [u16; 16] = [100, 180, 183, 200, 202, 302, 401, 404, 407, 408, 422, 423, 481, 486, 491, 503];

/// The input as steps and what they need.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn byte(&mut self) -> u8 {
        self.next().unwrap_or_default()
    }

    /// As many bytes as the next one says, times `unit`.
    fn piece(&mut self, unit: usize) -> &'a [u8] {
        let length = (usize::from(self.byte()) * unit).min(self.0.len());
        let (piece, rest) = self.0.split_at(length);
        self.0 = rest;
        piece
    }
}

struct Stage {
    endpoint: Endpoint,
    now: Moment,
    flow: Flow,
    calls: Vec<CallHandle>,
    /// The last messages the endpoint sent.
    sent: Vec<Message>,
    placed: u64,
}

impl Stage {
    fn new(setup: u8) -> Self {
        let unknown = if setup & 1 == 0 { Unknown::Accept } else { Unknown::Challenge };
        let guard = GuardConfig { unknown, ..GuardConfig::default() };
        let server_auth = Some(ServerAuth::new("here", [7; 32]).user("u", &Secret::new("p")));
        let (transport, connection) = match setup >> 1 & 3 {
            0 | 3 => (Transport::Udp, None),
            1 => (Transport::Tcp, Some(1)),
            _ => (Transport::Tls, Some(1)),
        };
        let flow =
            Flow { transport, local: ([10, 0, 0, 1], 5060).into(), remote: ([10, 0, 0, 2], 5060).into(), connection };
        let config = EndpointConfig { guard, server_auth, max_calls: 8, ..EndpointConfig::default() };
        let endpoint = Endpoint::new(config, 1);
        Self { endpoint, now: Moment::ZERO, flow, calls: Vec::new(), sent: Vec::new(), placed: 0 }
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        match step % 16 {
            0 => self.feed(Bytes::copy_from_slice(script.piece(16))),
            1..=3 => self.request(script),
            4..=6 => self.response(script),
            7 => self.wait(Moment::from_millis(u64::from(script.byte()) * 10)),
            8 => self.wait(Moment::from_secs(u64::from(script.byte()))),
            9 => self.handle(Input::StreamClosed { connection: 1 }),
            10 => {
                let flow = self.flow;
                self.handle(Input::Unreachable { flow: &flow });
            }
            11 => self.place(script),
            12 => self.register(script),
            _ => self.command(script),
        }
    }

    /// A request of the far side: outside any call, or within one as its last message to it says.
    fn request(&mut self, script: &mut Script<'_>) {
        let method = METHODS[usize::from(script.byte()) % METHODS.len()];
        let (number, within) = (script.byte(), script.byte());
        let extra = String::from_utf8_lossy(script.piece(1)).into_owned();
        let body: &[u8] = if within & 4 == 0 { SDP } else { script.piece(2) };
        let known = self.sent.iter().rev().nth(usize::from(within >> 3)).filter(|_| within & 1 == 0);
        let text = |message: &Message, name| message.text(name).unwrap_or_default().into_owned();
        let (from, to, call_id) = match known {
            // An answer of the endpoint repeats our From; a request of its own is from it to us.
            Some(seen) if seen.status().is_some() => {
                (text(seen, HeaderName::From), text(seen, HeaderName::To), text(seen, HeaderName::CallId))
            }
            Some(seen) => (
                text(seen, HeaderName::To) + if within & 2 == 0 { ";tag=t" } else { "" },
                text(seen, HeaderName::From),
                text(seen, HeaderName::CallId),
            ),
            None => ("<sip:a@b>;tag=1".into(), "<sip:c@d>".into(), format!("c{}", number % 8)),
        };
        let message = format!(
            "{method} sip:x@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bK{number}\r\nFrom: {from}\r\nTo: {to}\r\n\
             Call-ID: {call_id}\r\nCSeq: {number} {method}\r\nContact: <sip:a@10.0.0.2>\r\n{extra}\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let message = message.replace("\r\n\r\nContent-Type", "\r\nContent-Type");
        self.feed([message.as_bytes(), body].concat().into());
    }

    /// An answer to one of the last requests of the endpoint.
    fn response(&mut self, script: &mut Script<'_>) {
        let (which, status, shape) = (script.byte(), script.byte(), script.byte());
        let status = STATUSES[usize::from(status) % STATUSES.len()];
        let extra = String::from_utf8_lossy(script.piece(1)).into_owned();
        let asked = self.sent.iter().rev().filter(|message| message.method().is_some());
        let Some(request) = asked.into_iter().nth(usize::from(which % 8)) else { return };
        let copy = |name| request.text(name).unwrap_or_default().into_owned();
        let (to, challenge) = (copy(HeaderName::To), if status == 407 { "Proxy-Authenticate" } else { "WWW-Authenticate" });
        let tag = if to.contains("tag=") || shape & 1 == 1 { String::new() } else { format!(";tag=t{}", shape >> 6) };
        let body = if shape & 2 == 0 { SDP } else { b"" };
        let asks = if shape & 4 == 0 { format!("{challenge}: Digest realm=\"r\",nonce=\"{which}\"\r\n") } else { String::new() };
        let reliable = if shape & 8 == 0 { "" } else { "Require: 100rel\r\nRSeq: 1\r\n" };
        let extra = if extra.is_empty() { extra } else { extra + "\r\n" };
        let head = format!(
            "SIP/2.0 {status} X\r\nVia: {}\r\nFrom: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <sip:b@10.0.0.2>\r\n\
             {asks}{reliable}{extra}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n",
            copy(HeaderName::Via),
            copy(HeaderName::From),
            copy(HeaderName::CallId),
            copy(HeaderName::CSeq),
            body.len()
        );
        self.feed([head.as_bytes(), body].concat().into());
    }

    fn place(&mut self, script: &mut Script<'_>) {
        let shape = script.byte();
        self.placed += 1;
        let call = CallHandle::outbound(self.placed);
        self.calls.push(call);
        let password = Secret::new("p");
        let invite = OutboundInvite {
            call,
            flow: self.flow,
            target: UriBuf::parse("sip:1000@10.0.0.2").expect("a URI"),
            from: UriBuf::parse("sip:a@10.0.0.1").expect("a URI"),
            from_display: None,
            sdp: if shape & 1 == 0 { Bytes::from_static(SDP) } else { Bytes::new() },
            headers: Vec::new(),
            credentials: (shape & 2 == 0).then(|| Credentials { username: "u".into(), password, realm: None }),
            replaces: None,
        };
        self.handle(Input::Command(Command::Invite(Box::new(invite))));
    }

    fn register(&mut self, script: &mut Script<'_>) {
        let shape = script.byte();
        let id = RegistrationId(u64::from(shape & 1));
        let address = UriBuf::parse("sip:a@10.0.0.2").expect("a URI");
        let credentials = Some(Credentials { username: "u".into(), password: Secret::new("p"), realm: None });
        self.handle(Input::Command(match shape >> 1 & 3 {
            0 => Command::Unregister { id },
            1 => Command::Ping { id: PingId(1), flow: self.flow, target: address },
            _ => Command::Register(Box::new(Registration {
                id,
                flow: self.flow,
                registrar: UriBuf::parse("sip:10.0.0.2").expect("a URI"),
                address,
                contact_user: None,
                credentials,
                expires_s: u32::from(shape) * 10,
            })),
        }));
    }

    fn command(&mut self, script: &mut Script<'_>) {
        let (which, what) = (script.byte(), script.byte());
        if self.calls.is_empty() {
            return;
        }
        let call = self.calls[usize::from(which) % self.calls.len()];
        let sdp = Bytes::from_static(SDP);
        self.handle(Input::Command(match what % 12 {
            0 => Command::Ring { call, early_sdp: None, reliable: what & 16 == 0 },
            1 => Command::Ring { call, early_sdp: Some(sdp), reliable: what & 16 == 0 },
            2 | 3 => Command::Answer { call, sdp },
            4 => Command::Reject { call, status: 404, headers: Vec::new() },
            5 => Command::AnswerReinvite { call, answer: if what & 16 == 0 { Ok(sdp) } else { Err(488) } },
            6 => Command::Reinvite { call, sdp },
            7 => Command::Update { call, sdp: Some(sdp) },
            8 => Command::Refer { call, to: UriBuf::parse("sip:x@y").expect("a URI"), replaces: None, referred_by: None },
            9 => Command::AnswerRefer { call, answer: if what & 16 == 0 { Ok(()) } else { Err(603) } },
            10 => Command::Cancel { call },
            _ => Command::Bye { call, reason: None },
        }));
    }

    fn wait(&mut self, time: Moment) {
        self.now += time;
        self.handle(Input::Timeout);
    }

    fn feed(&mut self, bytes: Bytes) {
        self.handle(Input::Message { flow: self.flow, bytes });
    }

    fn handle(&mut self, input: Input<'_>) {
        self.endpoint.handle(input, self.now);
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { bytes, .. } => {
                    let message = Message::parse(bytes).expect("what is sent is well-formed");
                    self.sent.push(message);
                }
                Output::Event(Event::Incoming { call, .. }) => self.calls.push(call),
                Output::Event(_) => {}
            }
        }
        let old = self.sent.len().saturating_sub(64);
        self.sent.drain(..old);
    }

    /// Applications let go of everything, and time goes by.
    fn end(mut self) {
        for _ in 0..3 {
            for call in std::mem::take(&mut self.calls) {
                self.handle(Input::Command(Command::Bye { call, reason: None }));
                self.calls.push(call);
            }
            for id in [0, 1] {
                self.handle(Input::Command(Command::Unregister { id: RegistrationId(id) }));
            }
            self.wait(Moment::from_secs(4000));
        }
        let mut left = 0;
        while let Some(at) = self.endpoint.poll_timeout() {
            self.now = self.now.max(at);
            self.handle(Input::Timeout);
            left += 1;
            assert!(left < 10_000, "a timer runs for ever");
        }
        assert_eq!((self.endpoint.calls(), self.endpoint.transactions()), (0, 0));
    }
}
