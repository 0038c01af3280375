//! Two endpoints on virtual time with a seeded, lossy, reordering link between them.
#![allow(dead_code)] // Each test file uses its own part.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

pub mod peer;

use bytes::Bytes;
use offhook_sip::guard::GuardConfig;
use offhook_sip::message::{Message, Method, UriBuf};
use offhook_sip::{
    CallHandle, Command, EndCause, Endpoint, EndpointConfig, Event, Flow, Input, Moment, OutboundInvite, Output,
    Transport,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;

pub const CALLER: usize = 0;
pub const CALLEE: usize = 1;
pub const OFFER: &str =
    "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

pub fn ms(value: u64) -> Moment {
    Moment::from_millis(value)
}

pub fn call(number: u64) -> CallHandle {
    CallHandle::outbound(number)
}

/// How the link treats a datagram; percentages.
#[derive(Clone, Copy, Default)]
pub struct Weather {
    pub loss: u64,
    pub duplicate: u64,
    pub jitter_ms: u64,
}

pub type Filter = Box<dyn FnMut(usize, &Message) -> bool>;
pub type Reactions = Box<dyn FnMut(usize, &Event) -> Vec<Command>>;

/// One message on the wire.
pub struct Seen {
    pub at: Moment,
    pub from: usize,
    pub message: Message,
}

pub struct Net {
    pub now: Moment,
    pub ends: [Endpoint; 2],
    pub events: [Vec<(Moment, Event)>; 2],
    pub wire: Vec<Seen>,
    pub weather: Weather,
    /// Messages this refuses never arrive.
    pub filter: Filter,
    transport: Transport,
    flying: BTreeMap<(Moment, u64), (usize, Flow, Bytes)>,
    sent: u64,
    seed: u64,
    reactions: Reactions,
}

impl Net {
    pub fn new(seed: u64) -> Self {
        Self::over(Transport::Udp, seed, |_| {})
    }

    pub fn over(transport: Transport, seed: u64, adjust: impl Fn(&mut EndpointConfig)) -> Self {
        let end = |seed| {
            // One source stands for many callers here.
            let mut config = EndpointConfig { guard: GuardConfig::off(), ..EndpointConfig::default() };
            adjust(&mut config);
            Endpoint::new(config, seed)
        };
        Self {
            now: Moment::ZERO,
            ends: [end(seed), end(seed ^ 0xffff)],
            events: [Vec::new(), Vec::new()],
            wire: Vec::new(),
            weather: Weather::default(),
            filter: Box::new(|_, _| true),
            transport,
            flying: BTreeMap::new(),
            sent: 0,
            seed,
            reactions: Box::new(|_, _| Vec::new()),
        }
    }

    /// What the applications do about events.
    pub fn react(&mut self, reactions: impl FnMut(usize, &Event) -> Vec<Command> + 'static) {
        self.reactions = Box::new(reactions);
    }

    pub fn flow(&self, side: usize) -> Flow {
        let connection = self.transport.is_reliable().then_some(1);
        Flow { transport: self.transport, local: address(side), remote: address(1 - side), connection }
    }

    pub fn place(&mut self, number: u64) {
        let invite = OutboundInvite {
            call: call(number),
            flow: self.flow(CALLER),
            target: UriBuf::parse("sip:1000@10.0.0.2").unwrap(),
            from: UriBuf::parse("sip:alice@10.0.0.1").unwrap(),
            from_display: Some("Alice \"A\"".into()),
            sdp: Bytes::from_static(OFFER.as_bytes()),
            headers: Vec::new(),
            credentials: None,
            replaces: None,
        };
        self.command(CALLER, Command::Invite(Box::new(invite)));
    }

    pub fn command(&mut self, side: usize, command: Command) {
        self.feed(side, Input::Command(command));
    }

    pub fn feed(&mut self, side: usize, input: Input<'_>) {
        self.ends[side].handle(input, self.now);
        self.drain(side);
    }

    /// Lets a message in from outside, as if the other end had sent it.
    pub fn inject(&mut self, side: usize, text: &str) {
        let flow = self.flow(side);
        self.feed(side, Input::Message { flow, bytes: Bytes::copy_from_slice(text.as_bytes()) });
    }

    pub fn run(&mut self, until: Moment) {
        loop {
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let timers = self.ends.iter().filter_map(Endpoint::poll_timeout);
            let Some(next) = timers.chain(arrival).min().filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            for side in [CALLER, CALLEE] {
                if self.ends[side].poll_timeout().is_some_and(|at| at <= self.now) {
                    self.feed(side, Input::Timeout);
                }
            }
            while self.flying.keys().next().is_some_and(|(at, _)| *at <= self.now) {
                let (_, (side, flow, bytes)) = self.flying.pop_first().unwrap();
                self.feed(side, Input::Message { flow, bytes });
            }
        }
        self.now = until;
    }

    /// Ends of a call as one side heard them.
    pub fn ended(&self, side: usize) -> Vec<(Moment, EndCause)> {
        let ends = self.events[side].iter().filter_map(|(at, event)| match event {
            Event::Ended { cause, .. } => Some((*at, *cause)),
            _ => None,
        });
        ends.collect()
    }

    pub fn incoming(&self) -> CallHandle {
        let mut incoming = self.events[CALLEE].iter().filter_map(|(_, event)| match event {
            Event::Incoming { call, .. } => Some(*call),
            _ => None,
        });
        incoming.next().expect("a call came in")
    }

    pub fn answered(&self) -> bool {
        self.events[CALLER].iter().any(|(_, event)| matches!(event, Event::Answered { .. }))
    }

    /// When one side sent requests of this method.
    pub fn requests(&self, from: usize, method: Method) -> Vec<Moment> {
        let sent = self.wire.iter().filter(|seen| seen.from == from && seen.message.method() == Some(&method));
        sent.map(|seen| seen.at).collect()
    }

    /// When one side sent answers of this status to this method.
    pub fn responses(&self, from: usize, status: u16, method: Method) -> Vec<Moment> {
        let sent = self.wire.iter().filter(|seen| {
            let message = &seen.message;
            seen.from == from && message.status() == Some(status) && message.cseq().unwrap().method == method
        });
        sent.map(|seen| seen.at).collect()
    }

    pub fn is_idle(&self) -> bool {
        self.ends.iter().all(|end| end.calls() == 0 && end.transactions() == 0 && end.poll_timeout().is_none())
    }

    fn drain(&mut self, side: usize) {
        while let Some(output) = self.ends[side].poll_output() {
            match output {
                Output::Transmit { bytes, .. } => self.send(side, bytes),
                Output::Event(event) => {
                    let commands = (self.reactions)(side, &event);
                    self.events[side].push((self.now, event));
                    for command in commands {
                        self.ends[side].handle(Input::Command(command), self.now);
                    }
                }
            }
        }
    }

    fn send(&mut self, from: usize, bytes: Bytes) {
        let message = Message::parse(bytes.clone()).expect("endpoints write well-formed messages");
        message.essentials().expect("endpoints write whole messages");
        let passes = (self.filter)(from, &message);
        self.wire.push(Seen { at: self.now, from, message });
        if !passes || self.percent(self.weather.loss) {
            return;
        }
        let copies = 1 + u64::from(self.percent(self.weather.duplicate));
        for _ in 0..copies {
            let jitter = if self.weather.jitter_ms == 0 { 0 } else { self.random() % self.weather.jitter_ms };
            self.sent += 1;
            let flow = self.flow(1 - from);
            self.flying.insert((self.now + ms(10 + jitter), self.sent), (1 - from, flow, bytes.clone()));
        }
    }

    fn percent(&mut self, chance: u64) -> bool {
        chance > 0 && self.random() % 100 < chance
    }

    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.seed >> 33
    }
}

pub fn address(side: usize) -> SocketAddr {
    if side == CALLER { "10.0.0.1:5060".parse().unwrap() } else { "10.0.0.2:5060".parse().unwrap() }
}

/// A callee that answers every call at once.
pub fn answering(_: usize, event: &Event) -> Vec<Command> {
    match event {
        Event::Incoming { call, .. } => vec![Command::Answer { call: *call, sdp: sdp() }],
        _ => Vec::new(),
    }
}

pub fn sdp() -> Bytes {
    Bytes::from_static(OFFER.as_bytes())
}
