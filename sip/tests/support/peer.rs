//! One endpoint and a hand-written peer: text in, parsed answers and events out.

use bytes::Bytes;
use offhook_sip::guard::GuardConfig;
use offhook_sip::message::{HeaderName, Message, UriBuf};
use offhook_sip::{
    CallHandle, Command, Endpoint, EndpointConfig, Event, Flow, Input, Moment, OutboundInvite, Output, Transport,
};

pub struct Peer {
    pub endpoint: Endpoint,
    pub flow: Flow,
    pub now: Moment,
    pub events: Vec<Event>,
    /// Where each message went.
    pub ways: Vec<Flow>,
}

impl Peer {
    pub fn new() -> Self {
        // One source stands for many peers here; tests of the guard say so.
        Self::with(EndpointConfig { guard: GuardConfig::off(), ..EndpointConfig::default() })
    }

    pub fn with(config: EndpointConfig) -> Self {
        let flow = Flow {
            transport: Transport::Udp,
            local: "10.0.0.2:5060".parse().unwrap(),
            remote: "10.0.0.1:5070".parse().unwrap(),
            connection: None,
        };
        Self { endpoint: Endpoint::new(config, 1), flow, now: Moment::ZERO, events: Vec::new(), ways: Vec::new() }
    }

    pub fn send(&mut self, text: &str) -> Vec<Message> {
        self.send_bytes(Bytes::copy_from_slice(text.as_bytes()))
    }

    pub fn send_bytes(&mut self, bytes: Bytes) -> Vec<Message> {
        let flow = self.flow;
        self.feed(Input::Message { flow, bytes })
    }

    pub fn command(&mut self, command: Command) -> Vec<Message> {
        self.feed(Input::Command(command))
    }

    /// Places call 1 and gives back the INVITE.
    pub fn place(&mut self) -> Message {
        self.place_as(1)
    }

    pub fn place_as(&mut self, number: u64) -> Message {
        self.place_with(number, |_| {})
    }

    pub fn place_with(&mut self, number: u64, adjust: impl FnOnce(&mut OutboundInvite)) -> Message {
        let mut invite = OutboundInvite {
            call: CallHandle::outbound(number),
            flow: self.flow,
            target: UriBuf::parse("sip:1000@10.0.0.1").unwrap(),
            from: UriBuf::parse("sip:alice@10.0.0.2").unwrap(),
            from_display: None,
            sdp: super::sdp(),
            headers: Vec::new(),
            credentials: None,
            replaces: None,
        };
        adjust(&mut invite);
        self.command(Command::Invite(Box::new(invite))).remove(0)
    }

    pub fn feed(&mut self, input: Input<'_>) -> Vec<Message> {
        self.endpoint.handle(input, self.now);
        let mut sent = Vec::new();
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { flow, bytes } => {
                    self.ways.push(flow);
                    sent.push(Message::parse(bytes).expect("our messages are well-formed"));
                }
                Output::Event(event) => self.events.push(event),
            }
        }
        sent
    }

    /// The one status that was answered.
    pub fn status(&mut self, text: &str) -> u16 {
        let sent = self.send(text);
        assert_eq!(sent.len(), 1, "one answer to {}", text.lines().next().unwrap_or_default());
        sent[0].status().unwrap()
    }
}

/// The answer a hand-written peer gives to a request of ours. `extra` is whole lines.
pub fn response(request: &Message, status: &str, tag: &str, extra: &str) -> String {
    let copy = |name| request.text(name).unwrap().into_owned();
    let to = copy(HeaderName::To);
    let tag = if to.contains("tag=") { String::new() } else { format!(";tag={tag}") };
    format!(
        "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n{extra}\r\n",
        copy(HeaderName::Via),
        copy(HeaderName::From),
        copy(HeaderName::CallId),
        copy(HeaderName::CSeq)
    )
}

/// A request with these fields changed, dropped (empty value) or added.
pub fn request(method: &str, changes: &[(&str, &str)], body: &str) -> String {
    let mut uri = "sip:1000@10.0.0.2";
    let cseq = format!("1 {method}");
    let branch = format!("SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK-{method}-{};rport", changes.len());
    let mut fields: Vec<(&str, &str)> = vec![
        ("Via", &branch),
        ("Max-Forwards", "70"),
        ("From", "<sip:alice@10.0.0.1>;tag=a1"),
        ("To", "<sip:1000@10.0.0.2>"),
        ("Call-ID", "one@10.0.0.1"),
        ("CSeq", &cseq),
        ("Contact", "<sip:alice@10.0.0.1:5070>"),
    ];
    if !body.is_empty() {
        fields.push(("Content-Type", "application/sdp"));
    }
    for (name, value) in changes {
        match fields.iter_mut().find(|(known, _)| known == name) {
            _ if *name == "uri" => uri = value,
            Some(field) => field.1 = value,
            None => fields.push((name, value)),
        }
    }
    let fields: Vec<String> = fields
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!("{method} {uri} SIP/2.0\r\n{}Content-Length: {}\r\n\r\n{body}", fields.concat(), body.len())
}

/// A 200 with a session description.
pub fn accepted(request: &Message, tag: &str, extra: &str) -> String {
    described(request, "200 OK", tag, extra, super::OFFER)
}

/// An answer that carries this body as SDP.
pub fn described(request: &Message, status: &str, tag: &str, extra: &str, sdp: &str) -> String {
    response(request, status, tag, &format!("{extra}Content-Type: application/sdp\r\n")) + sdp
}

/// The other end of a call that the endpoint placed or took: writes its requests.
pub struct Remote {
    from: String,
    to: String,
    call_id: String,
    cseq: u32,
}

impl Remote {
    /// The callee of an INVITE of ours.
    pub fn callee(invite: &Message, tag: &str) -> Self {
        let text = |name| invite.text(name).unwrap().into_owned();
        let from = format!("{};tag={tag}", text(HeaderName::To));
        Self { from, to: text(HeaderName::From), call_id: text(HeaderName::CallId), cseq: 0 }
    }

    /// The caller of an INVITE that we answered, as any answer with a To tag tells.
    pub fn caller(answer: &Message) -> Self {
        let text = |name| answer.text(name).unwrap().into_owned();
        let cseq = answer.cseq().unwrap().number;
        Self { from: text(HeaderName::From), to: text(HeaderName::To), call_id: text(HeaderName::CallId), cseq }
    }

    /// A new request with the next number.
    pub fn request(&mut self, method: &str, fields: &[(&str, &str)], body: &str) -> String {
        self.cseq += 1;
        self.again(method, self.cseq, fields, body)
    }

    /// The ACK of the INVITE with this number.
    pub fn ack(&self, number: u32, body: &str) -> String {
        self.again("ACK", number, &[("Via", "SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK-ack")], body)
    }

    pub fn cseq(&self) -> u32 {
        self.cseq
    }

    fn again(&self, method: &str, number: u32, fields: &[(&str, &str)], body: &str) -> String {
        let cseq = format!("{number} {method}");
        let via = format!("SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK-r{number}{method}");
        let mut all = vec![
            ("From", &*self.from),
            ("To", &*self.to),
            ("Call-ID", &*self.call_id),
            ("CSeq", &*cseq),
            ("Via", &*via),
        ];
        for field in fields {
            match all.iter_mut().find(|(name, _)| *name == field.0) {
                Some(known) => known.1 = field.1,
                None => all.push(*field),
            }
        }
        request(method, &all, body)
    }
}
