//! Ten thousand calls through a seeded network that loses, repeats, delays and reorders: the SIP endpoint, the call's
//! core with a flow in it, and a pool of ports on our side; telephones that answer, refuse, hold, are handed over or fall
//! silent on the other. Each call ends in exactly one record with a reason, and nothing is left behind: no dialog, no
//! transaction, no timer, no port, no core.
//!
//! All on virtual time and by seed: `CHAOS_SEED=n cargo test --test chaos_calls` runs one seed alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "how the calls ended is worth reading")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use offhook::call::core::{Call, CallInput, CallOutput, CallSetup, Opening};
use offhook::call::hearing::Hearing;
use offhook::call::leg::InFlight;
use offhook::call::transfer::{Order, TransferEvent};
use offhook::dialog::flow::NoAssets;
use offhook::dialog::{CallFacts, Dialog, Flow as Conversation};
use offhook::sim::clock::Dice;
use offhook::store::record::EndReason;
use offhook::telemetry::pii::Pii;
use offhook::turn::TurnConfig;
use offhook_media::{FRAME, Frame};
use offhook_sip::guard::GuardConfig;
use offhook_sip::message::UriBuf;
use offhook_sip::{
    CallHandle, Command, EndCause, Endpoint, EndpointConfig, Event, Flow, Input, OutboundInvite, Output, Transport,
};

type Moment = Duration;

const CALLS: u64 = 250;
const RUNS: u64 = 10;
const TICK: Moment = Duration::from_millis(100);
const PORTS: u16 = 400;

/// A few tones, a transfer, and the way back from it.
const FLOW: &str = "
name: chaos
steps:
  tone: {play: {tone: {hz: 440, ms: 800}}, goto: desk}
  desk: {transfer: {to: desk, ring_timeout_s: 10, say: One., on_failed: again}}
  again: {play: {tone: {hz: 440, ms: 1500}}, goto: bye}
  bye: {hangup: Bye.}
";

/// One call of ours: its core and its port.
struct Ours {
    core: Call,
    port: u16,
}

/// Us: what the server's room for SIP calls and the actors do, on virtual time.
struct Server {
    endpoint: Endpoint,
    flow: Arc<Conversation>,
    calls: BTreeMap<CallHandle, Ours>,
    free: BTreeSet<u16>,
    /// The reasons by which each call was ended.
    records: BTreeMap<CallHandle, Vec<EndReason>>,
}

/// Something that a telephone or a network does later.
enum Deed {
    Arrive { to_us: bool, bytes: Bytes },
    Phone(Command),
    WeCall(u64),
    PhoneCalls(u64),
}

struct World {
    now: Moment,
    us: Server,
    phones: Endpoint,
    agenda: BTreeMap<(Moment, u64), Deed>,
    made: u64,
    dice: Dice,
    loss: f64,
    duplicate: f64,
    longest_delay_ms: f64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed, 0, 0);
        let config = || EndpointConfig {
            guard: GuardConfig::off(),
            ring_limit: Duration::from_secs(60),
            ..EndpointConfig::default()
        };
        let us = Server {
            endpoint: Endpoint::new(config(), dice.bits()),
            flow: Arc::new(Conversation::parse("chaos.yaml", FLOW, &NoAssets).unwrap()),
            calls: BTreeMap::new(),
            free: (0..PORTS).collect(),
            records: BTreeMap::new(),
        };
        Self {
            now: Moment::ZERO,
            us,
            phones: Endpoint::new(config(), dice.bits()),
            agenda: BTreeMap::new(),
            made: 0,
            loss: 0.2 * dice.unit(),
            duplicate: 0.1 * dice.unit(),
            longest_delay_ms: 2000.0 * dice.unit(),
            dice,
        }
    }

    fn plan(&mut self, after: Moment, deed: Deed) {
        self.made += 1;
        self.agenda.insert((self.now + after, self.made), deed);
    }

    fn later(&mut self, most_ms: f64) -> Moment {
        Duration::from_secs_f64(most_ms * self.dice.unit() / 1000.0)
    }

    fn run(&mut self) {
        let mut next_tick = Moment::ZERO;
        loop {
            let timers = [self.us.endpoint.poll_timeout(), self.phones.poll_timeout()].into_iter().flatten();
            let agenda = self.agenda.keys().next().map(|(at, _)| *at);
            let tick = (!self.us.calls.is_empty()).then_some(next_tick);
            let Some(next) = timers.chain(agenda).chain(tick).min() else { return };
            assert!(next < Duration::from_secs(3600), "something never ends");
            self.now = self.now.max(next);
            if self.us.endpoint.poll_timeout().is_some_and(|at| at <= self.now) {
                self.feed_us(Input::Timeout);
            }
            if self.phones.poll_timeout().is_some_and(|at| at <= self.now) {
                self.feed_phones(Input::Timeout);
            }
            while self.agenda.first_key_value().is_some_and(|((at, _), _)| *at <= self.now) {
                let (_, deed) = self.agenda.pop_first().unwrap();
                self.act(deed);
            }
            if self.now >= next_tick {
                next_tick = self.now + TICK;
                self.tick();
            }
        }
    }

    fn act(&mut self, deed: Deed) {
        match deed {
            Deed::Arrive { to_us: true, bytes } => self.feed_us(Input::Message { flow: flow(true), bytes }),
            Deed::Arrive { to_us: false, bytes } => self.feed_phones(Input::Message { flow: flow(false), bytes }),
            Deed::Phone(command) => self.feed_phones(Input::Command(command)),
            Deed::PhoneCalls(number) => {
                let call = CallHandle::outbound(number);
                if self.dice.unit() < 0.15 {
                    let after = self.later(3000.0);
                    self.plan(after, Deed::Phone(Command::Cancel { call }));
                }
                self.feed_phones(Input::Command(Command::Invite(Box::new(invite(call, false)))));
            }
            Deed::WeCall(number) => {
                let call = CallHandle::outbound(number);
                self.us.begin(call, Opening::Outbound { wait_for_hello: true });
                let placed = CallInput::Placed { ring_timeout: Duration::from_secs(20), trunk: Some("chaos".into()) };
                self.feed_us(Input::Command(Command::Invite(Box::new(invite(call, true)))));
                self.tell(call, placed);
            }
        }
    }

    /// 100 ms of every call: audio from the far side, five frames of ours, timers.
    fn tick(&mut self) {
        let calls: Vec<CallHandle> = self.us.calls.keys().copied().collect();
        for call in calls {
            let now = self.now;
            if let Some(ours) = self.us.calls.get_mut(&call) {
                ours.core.tap(&[0; FRAME], now, now);
                ours.core.timeout(now);
                for _ in 0..5 {
                    let mut frame: Frame = [0; FRAME];
                    ours.core.pull(&mut frame, InFlight::default(), now);
                }
            }
            self.obey(call);
        }
    }

    fn tell(&mut self, call: CallHandle, input: CallInput) {
        if let Some(ours) = self.us.calls.get_mut(&call) {
            ours.core.handle(input, self.now);
        }
        self.obey(call);
    }

    /// As the actor and the room for SIP calls do it.
    fn obey(&mut self, call: CallHandle) {
        while let Some(output) = self.us.calls.get_mut(&call).and_then(|ours| ours.core.poll_output()) {
            match output {
                CallOutput::Speak { turn, wanted, .. } => {
                    let sentence = wanted.sentence;
                    if let Some(ours) = self.us.calls.get_mut(&call) {
                        // A syllable: what is said takes no time here.
                        let samples = [1000; FRAME].into();
                        ours.core.handle(CallInput::Speech { turn, sentence, samples }, self.now);
                        ours.core.handle(CallInput::SpeechEnded { turn, sentence }, self.now);
                    }
                }
                CallOutput::Transfer { order: Order::Refer, .. } => {
                    let to = UriBuf::parse("sip:desk@10.0.0.7").unwrap();
                    self.feed_us(Input::Command(Command::Refer { call, to, replaces: None, referred_by: None }));
                }
                CallOutput::HangUp(reason) => {
                    self.us.records.entry(call).or_default().push(reason);
                    let ours = self.us.calls.remove(&call).expect("a call ends once");
                    assert!(self.us.free.insert(ours.port), "a port is given back once");
                    self.feed_us(Input::Command(Command::Bye { call, reason: None }));
                }
                _ => {}
            }
        }
    }

    fn feed_us(&mut self, input: Input<'_>) {
        self.us.endpoint.handle(input, self.now);
        while let Some(output) = self.us.endpoint.poll_output() {
            match output {
                Output::Transmit { bytes, .. } => self.send(false, bytes),
                Output::Event(event) => self.we_hear(event),
            }
        }
    }

    fn feed_phones(&mut self, input: Input<'_>) {
        self.phones.handle(input, self.now);
        while let Some(output) = self.phones.poll_output() {
            match output {
                Output::Transmit { bytes, .. } => self.send(true, bytes),
                Output::Event(event) => self.phone_hears(event),
            }
        }
    }

    fn send(&mut self, to_us: bool, bytes: Bytes) {
        if self.dice.unit() < self.loss {
            return;
        }
        let copies = 1 + u64::from(self.dice.unit() < self.duplicate);
        for _ in 0..copies {
            let delay = self.later(self.longest_delay_ms);
            self.plan(delay, Deed::Arrive { to_us, bytes: bytes.clone() });
        }
    }

    fn we_hear(&mut self, event: Event) {
        match event {
            Event::Incoming { call, .. } => {
                self.us.begin(call, Opening::Inbound);
                self.feed_us(Input::Command(Command::Answer { call, sdp: sdp() }));
            }
            Event::Confirmed { call, .. } | Event::Answered { call, .. } => self.tell(call, CallInput::Connected),
            Event::Progress { call, .. } => self.tell(call, CallInput::Ringing),
            Event::Reinvite { call, .. } => {
                self.feed_us(Input::Command(Command::AnswerReinvite { call, answer: Ok(sdp()) }));
                let held = self.dice.unit() < 0.6;
                self.tell(call, CallInput::Held(held));
            }
            Event::ReferProgress { call, status, done } => {
                let event = if done { TransferEvent::Finished(status) } else { TransferEvent::Progress(status) };
                self.tell(call, CallInput::Transfer(event));
            }
            Event::ReferRefused { call, status } => {
                self.tell(call, CallInput::Transfer(TransferEvent::Refused(status)))
            }
            Event::Ended { call, cause, .. } => self.tell(call, CallInput::HungUp(reason(cause))),
            _ => {}
        }
    }

    fn phone_hears(&mut self, event: Event) {
        match event {
            Event::Incoming { call, .. } => {
                let at = self.later(4000.0);
                match self.dice.below(10) {
                    0..6 => self.plan(at, Deed::Phone(Command::Answer { call, sdp: sdp() })),
                    6 => self.plan(at, Deed::Phone(reject(call, 486))),
                    7 => self.plan(at, Deed::Phone(reject(call, 603))),
                    8 => self.plan(at, Deed::Phone(Command::Ring { call, early_sdp: None, reliable: false })),
                    // Nobody is there.
                    _ => {}
                }
                self.does_things(call);
            }
            Event::Answered { call, .. } => self.does_things(call),
            Event::Reinvite { call, .. } => {
                self.feed_phones(Input::Command(Command::AnswerReinvite { call, answer: Ok(sdp()) }));
            }
            Event::Referred { call, .. } => {
                let answer = if self.dice.unit() < 0.7 { Ok(()) } else { Err(603) };
                self.feed_phones(Input::Command(Command::AnswerRefer { call, answer }));
                if answer.is_ok() && self.dice.unit() < 0.8 {
                    let status = [200, 486, 404][self.dice.below(3)];
                    let (ringing, over) = (self.later(2000.0), self.later(9000.0));
                    self.plan(ringing, Deed::Phone(Command::NotifyRefer { call, status: 180 }));
                    self.plan(ringing + over, Deed::Phone(Command::NotifyRefer { call, status }));
                }
            }
            _ => {}
        }
    }

    /// What people do with their telephones: hold, take back, hang up, or nothing for a long time.
    fn does_things(&mut self, call: CallHandle) {
        for _ in 0..self.dice.below(3) {
            let at = self.later(8000.0);
            self.plan(at, Deed::Phone(Command::Reinvite { call, sdp: sdp() }));
        }
        if self.dice.unit() < 0.6 {
            let at = self.later(12_000.0);
            self.plan(at, Deed::Phone(Command::Bye { call, reason: None }));
        }
    }
}

impl Server {
    fn begin(&mut self, call: CallHandle, opening: Opening) {
        let port = self.free.pop_first().expect("ports come back");
        let facts = CallFacts { called: "1".into(), caller: Pii::default(), has_ears: false, has_model: false };
        let core = Call::new(CallSetup {
            dialog: Dialog::new(Arc::clone(&self.flow), facts),
            hearing: Hearing::plain(),
            turn: TurnConfig::default(),
            longest: Duration::from_secs(120),
            no_media: Duration::from_secs(30),
            longest_hold: Duration::from_secs(20),
            has_ears: false,
            opening,
        });
        let before = self.calls.insert(call, Ours { core, port });
        assert!(before.is_none(), "{call:?} is there twice");
        self.records.entry(call).or_default();
    }
}

fn flow(at_us: bool) -> Flow {
    let (us, phones) = ("10.0.0.1:5060".parse().unwrap(), "10.0.0.2:5060".parse().unwrap());
    let (local, remote) = if at_us { (us, phones) } else { (phones, us) };
    Flow { transport: Transport::Udp, local, remote, connection: None }
}

fn invite(call: CallHandle, ours: bool) -> OutboundInvite {
    OutboundInvite {
        call,
        flow: flow(ours),
        target: UriBuf::parse(if ours { "sip:phone@10.0.0.2" } else { "sip:1@10.0.0.1" }).unwrap(),
        from: UriBuf::parse("sip:someone@10.0.0.3").unwrap(),
        from_display: None,
        sdp: sdp(),
        headers: Vec::new(),
        replaces: None,
        credentials: None,
    }
}

fn reject(call: CallHandle, status: u16) -> Command {
    Command::Reject { call, status, headers: Vec::new() }
}

fn sdp() -> Bytes {
    Bytes::from_static(b"v=0\r\n")
}

fn reason(cause: EndCause) -> EndReason {
    match cause {
        EndCause::Rejected(486) => EndReason::Busy,
        EndCause::Rejected(_) => EndReason::Rejected,
        EndCause::NoAnswer => EndReason::NoAnswer,
        EndCause::NoAck => EndReason::NoAck,
        EndCause::RemoteBye | EndCause::Forgotten => EndReason::CallerHungUp,
        _ => EndReason::TransportLost,
    }
}

fn storm(seed: u64) -> BTreeMap<&'static str, usize> {
    let mut world = World::new(seed);
    for number in 0..CALLS {
        let at = world.later(60_000.0);
        let deed = if number % 2 == 0 { Deed::PhoneCalls(number) } else { Deed::WeCall(number) };
        world.plan(at, deed);
    }
    world.run();
    for (name, end) in [("us", &world.us.endpoint), ("phones", &world.phones)] {
        let left = (end.calls(), end.dialogs(), end.transactions(), end.timers());
        assert_eq!(left, (0, 0, 0, 0), "seed {seed}, {name}: calls, dialogs, transactions, timers left over");
    }
    assert_eq!(world.us.free.len(), usize::from(PORTS), "seed {seed}: ports were not given back");
    let mut reasons = BTreeMap::new();
    for (call, ends) in &world.us.records {
        let [reason] = ends.as_slice() else { panic!("seed {seed}, {call:?}: {} ends", ends.len()) };
        *reasons.entry(reason.as_str()).or_default() += 1;
    }
    let placed = world.us.records.keys().filter(|call| call.is_outbound()).count() as u64;
    assert_eq!(placed, CALLS / 2, "seed {seed}: every call of ours has its record");
    reasons
}

fn part(number: u64) {
    let seeds: Vec<u64> = match std::env::var("CHAOS_SEED") {
        Ok(seed) => vec![seed.parse().expect("CHAOS_SEED is a number")],
        Err(_) => (number * RUNS..(number + 1) * RUNS).collect(),
    };
    let whole = seeds.len() > 1;
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in seeds {
        for (reason, count) in storm(seed) {
            *reasons.entry(reason).or_default() += count;
        }
    }
    println!("part {number}: {reasons:?}");
    for wanted in ["busy", "caller_hung_up", "flow_hung_up", "rejected", "transferred"] {
        assert!(!whole || reasons.contains_key(wanted), "no call ended as {wanted}: {reasons:?}");
    }
}

#[test]
fn calls_through_a_bad_network_end_in_one_record_each_1() {
    part(0);
}

#[test]
fn calls_through_a_bad_network_end_in_one_record_each_2() {
    part(1);
}

#[test]
fn calls_through_a_bad_network_end_in_one_record_each_3() {
    part(2);
}

#[test]
fn calls_through_a_bad_network_end_in_one_record_each_4() {
    part(3);
}
