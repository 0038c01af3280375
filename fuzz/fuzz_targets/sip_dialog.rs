//! Any fields and bodies within a call, both ways, in any order: whatever they say, every request is answered, and the
//! clock ends what they began.
//!
//! Each step of the input is one byte that chooses the message, one that chooses a field, one for the length of its
//! value, the value, one for the length of the body, the body.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use offhook_sip::message::{HeaderName, Message, UriBuf};
use offhook_sip::{
    CallHandle, Command, Endpoint, EndpointConfig, Event, Flow, Input, Moment, OutboundInvite, Output, Transport,
};

const SDP: &[u8] = b"v=0\r\n";
const FIELDS: [&str; 16] = [
    "Session-Expires",
    "Min-SE",
    "RAck",
    "RSeq",
    "Event",
    "Subscription-State",
    "Refer-To",
    "Refer-Sub",
    "Replaces",
    "Require",
    "Supported",
    "Allow",
    "Retry-After",
    "Warning",
    "Contact",
    "Reason",
];
const METHODS: [&str; 8] = ["INVITE", "UPDATE", "PRACK", "REFER", "NOTIFY", "INFO", "OPTIONS", "ACK"];

struct Talk {
    endpoint: Endpoint,
    now: Moment,
    sent: Vec<Message>,
    /// The last request of ours that may still be answered.
    open: Option<Message>,
    calls: Vec<CallHandle>,
    cseq: u32,
}

impl Talk {
    fn feed(&mut self, input: Input<'_>) {
        self.endpoint.handle(input, self.now);
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { bytes, .. } => {
                    let message = Message::parse(bytes).expect("what we send is well-formed");
                    message.essentials().expect("what we send is whole");
                    if message.method().is_some() {
                        self.open = Some(message.clone());
                    }
                    self.sent.push(message);
                }
                Output::Event(Event::Incoming { call, .. }) => self.calls.push(call),
                Output::Event(_) => {}
            }
        }
    }

    fn tell(&mut self, command: Command) {
        self.feed(Input::Command(command));
    }

    fn hear(&mut self, bytes: Vec<u8>) {
        self.feed(Input::Message { flow: flow(), bytes: bytes.into() });
    }
}

fn flow() -> Flow {
    let (local, remote) = (([10, 0, 0, 1], 5060).into(), ([10, 0, 0, 2], 5060).into());
    Flow { transport: Transport::Udp, local, remote, connection: None }
}

fn text(message: &Message, name: HeaderName) -> String {
    message.text(name).unwrap_or_default().into_owned()
}

/// Start line and identifying fields, then a field and a body of the fuzzer's.
fn write(start: String, identity: &str, field: &str, value: &[u8], body: &[u8]) -> Vec<u8> {
    let head = format!("{start}\r\n{identity}Content-Type: application/sdp\r\n{field}: ");
    [head.as_bytes(), value, b"\r\n\r\n", body].concat()
}

/// Takes the next step's parts off the input.
fn part<'a>(data: &mut &'a [u8]) -> &'a [u8] {
    let Some((length, rest)) = data.split_first() else { return &[] };
    let (part, rest) = rest.split_at(usize::from(*length).min(rest.len()));
    *data = rest;
    part
}

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let call = CallHandle::outbound(1);
    let mut talk = Talk {
        endpoint: Endpoint::new(EndpointConfig::default(), 1),
        now: Moment::ZERO,
        sent: Vec::new(),
        open: None,
        calls: vec![call],
        cseq: 1,
    };
    talk.tell(Command::Invite(Box::new(OutboundInvite {
        call,
        flow: flow(),
        target: UriBuf::parse("sip:b@10.0.0.2").expect("a URI"),
        from: UriBuf::parse("sip:a@10.0.0.1").expect("a URI"),
        from_display: None,
        sdp: Bytes::from_static(SDP),
        headers: Vec::new(),
        replaces: None,
        credentials: None,
    })));
    let invite = talk.sent.remove(0);
    let to = || UriBuf::parse("sip:c@10.0.0.2").expect("a URI");
    while let [step, field, rest @ ..] = data {
        data = rest;
        let (value, body) = (part(&mut data), part(&mut data));
        let field = FIELDS[usize::from(*field) % FIELDS.len()];
        match step % 16 {
            number @ 0..8 => {
                talk.cseq += 1;
                let method = METHODS[usize::from(number)];
                let identity = format!(
                    "Via: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKf{}\r\nFrom: {};tag=t\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\n",
                    talk.cseq,
                    text(&invite, HeaderName::To),
                    text(&invite, HeaderName::From),
                    text(&invite, HeaderName::CallId),
                    talk.cseq
                );
                talk.hear(write(format!("{method} sip:offhook@10.0.0.1 SIP/2.0"), &identity, field, value, body));
            }
            number @ 8..12 => {
                let request = if number % 2 == 0 { Some(invite.clone()) } else { talk.open.clone() };
                let Some(request) = request else { continue };
                let status = [183, 200, 422, 491][usize::from(number - 8)];
                let to = text(&request, HeaderName::To);
                let tag = if to.contains("tag=") { "" } else { ";tag=t" };
                let identity = format!(
                    "Via: {}\r\nFrom: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n",
                    text(&request, HeaderName::Via),
                    text(&request, HeaderName::From),
                    text(&request, HeaderName::CallId),
                    text(&request, HeaderName::CSeq)
                );
                talk.hear(write(format!("SIP/2.0 {status} x"), &identity, field, value, body));
            }
            12 => talk.tell(Command::Refer { call, to: to(), replaces: None, referred_by: None }),
            13 => talk.tell(Command::Reinvite { call, sdp: Bytes::from_static(SDP) }),
            14 => {
                talk.tell(Command::AnswerReinvite { call, answer: Ok(Bytes::from_static(SDP)) });
                talk.tell(Command::AnswerRefer { call, answer: Ok(()) });
                talk.tell(Command::Acknowledge { call, sdp: Bytes::from_static(SDP) });
            }
            _ => {
                talk.now += Moment::from_millis(u64::from(*step) * 100);
                talk.feed(Input::Timeout);
            }
        }
    }
    for call in talk.calls.clone() {
        talk.tell(Command::Bye { call, reason: None });
    }
    for _ in 0..100_000 {
        let Some(at) = talk.endpoint.poll_timeout() else { break };
        talk.now = at;
        talk.feed(Input::Timeout);
    }
    let end = &talk.endpoint;
    assert_eq!((end.calls(), end.dialogs(), end.transactions(), end.timers()), (0, 0, 0, 0));
});
