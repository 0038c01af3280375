//! The callers: one thread that dials, sends each call's frame in its own slot of 20, and notes what it hears.
//!
//! A 1 ms slot is sent by absolute deadline; how late the driver itself was is part of the outcome, because a starved
//! driver measures itself.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use nix::sys::socket::SockaddrIn;
use offhook::sim::clock::{Moment, RunClock, ms_between};
use offhook::sim::rtp_wire;

use crate::rtp::{Outgoing, SlotSocket, audio_packet};
use crate::voice::Script;
use crate::wire::{Wire, header, index_of, offer, to_tag};

/// All calls of one step.
pub struct Driver<'a> {
    clock: RunClock,
    script: &'a Script,
    wire: Wire,
    slots: Vec<Slot>,
    calls: Vec<Call>,
    /// The call that each port of the server belongs to.
    by_port: Vec<Option<usize>>,
    slot: usize,
    due: Moment,
    measuring: bool,
    outcome: Outcome,
}

/// What the callers noticed while measuring.
#[derive(Debug, Default)]
pub struct Outcome {
    pub answered: usize,
    /// Calls that the server ended or refused.
    pub failed: usize,
    /// |inter-arrival - timestamp step| of each packet, ms.
    pub pacing_ms: Vec<f32>,
    pub received: u64,
    /// Packets that were expected by their sequence numbers and did not come.
    pub lost: u64,
    /// INVITE sent to 200 received, ms.
    pub setup_ms: Vec<f32>,
    /// How late the driver's own slots were, ms.
    pub driver_late_ms: Vec<f32>,
}

impl<'a> Driver<'a> {
    pub fn new(calls: usize, server: SocketAddrV4, script: &'a Script) -> Result<Self, String> {
        let clock = RunClock::start();
        let wire = Wire::new(Ipv4Addr::LOCALHOST, server)?;
        let mut slots = Vec::new();
        for _ in 0..SLOTS {
            slots.push(Slot { media: SlotSocket::bind()?, calls: Vec::new() });
        }
        for call in 0..calls {
            // Each block of 20 calls lies differently against the slots that the server gives away in turn.
            let slot = (call * 7 + call / SLOTS) % SLOTS;
            slots[slot].calls.push(call);
        }
        let calls = (0..calls).map(|call| Call::new(call, calls, script)).collect();
        let due = clock.now();
        Ok(Self {
            clock,
            script,
            wire,
            slots,
            calls,
            by_port: vec![None; 1 << 16],
            slot: 0,
            due,
            measuring: false,
            outcome: Outcome::default(),
        })
    }

    /// Places all calls and waits until they are answered.
    ///
    /// # Errors
    /// Says how many were not answered.
    pub fn dial(&mut self, per_second: u32) -> Result<(), String> {
        let gap = Duration::from_secs(1) / per_second;
        let began = self.clock.now();
        let mut next = 0;
        while next < self.calls.len() {
            if self.clock.now() >= began + gap * u32::try_from(next).unwrap_or(u32::MAX) {
                self.invite(next);
                next += 1;
            }
            self.run_slot();
        }
        let patience = self.clock.now() + LONGEST_SETUP;
        while self.calls.iter().any(|call| matches!(call.state, State::Dialled { .. })) {
            if self.clock.now() > patience {
                return Err(format!("{} of {} calls were answered", self.outcome.answered, self.calls.len()));
            }
            self.invite_again();
            self.run_slot();
        }
        Ok(())
    }

    /// Lets the calls go on for `time`.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.clock.now() + time;
        while self.clock.now() < end {
            self.run_slot();
        }
    }

    /// The time by which the callers act.
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Whether what happens from now on counts.
    pub fn measure(&mut self, on: bool) {
        self.measuring = on;
    }

    /// Ends all calls and gives what was measured.
    pub fn hang_up(mut self) -> Outcome {
        for call in 0..self.calls.len() {
            self.bye(call);
            self.run_slot();
        }
        self.run_for(Duration::from_millis(500));
        self.outcome
    }

    /// 1 ms: one slot's calls send, the sockets of another are read.
    pub fn run_slot(&mut self) {
        self.clock.sleep_until(self.due);
        let now = self.clock.now();
        if self.measuring {
            self.outcome.driver_late_ms.push(ms_between(now, self.due) as f32);
        }
        self.due += SLOT;
        self.send_frames(self.slot);
        self.receive((self.slot + SLOTS / 2) % SLOTS);
        self.read_signalling();
        self.slot = (self.slot + 1) % SLOTS;
    }

    fn send_frames(&mut self, slot: usize) {
        let Slot { media, calls } = &mut self.slots[slot];
        let packets: Vec<Outgoing> =
            calls.iter().filter_map(|&call| self.calls[call].next_packet(self.script)).collect();
        media.send(&packets);
    }

    fn receive(&mut self, slot: usize) {
        let (wall, now, measuring) = (self.clock.wall(), self.clock.now(), self.measuring);
        let Self { slots, calls, by_port, outcome, .. } = self;
        slots[slot].media.drain(wall, now, |source, at, octets| {
            let call = by_port.get(usize::from(source)).copied().flatten().and_then(|call| calls.get_mut(call));
            if let (Some(call), Some(packet)) = (call, rtp_wire::read(octets)) {
                call.heard(&packet, at, measuring.then_some(&mut *outcome));
            }
        });
    }

    fn read_signalling(&mut self) {
        let mut buffer = [0; 4096];
        let (wall, now) = (self.clock.wall(), self.clock.now());
        while let Some((text, at)) = self.wire.receive(&mut buffer, wall, now) {
            self.message(&text, at);
        }
    }

    fn message(&mut self, text: &str, at: Moment) {
        let Some(index) = index_of(text).filter(|&call| call < self.calls.len()) else { return };
        let is_invite = header(text, "CSeq").is_some_and(|cseq| cseq.ends_with("INVITE"));
        if text.starts_with("SIP/2.0 200") && is_invite {
            self.answered(index, text, at);
        } else if text.starts_with("BYE") {
            self.calls[index].state = State::Over;
            self.outcome.failed += 1;
            self.wire.ok(text);
        } else if is_invite && !text.starts_with("SIP/2.0 1") {
            // A refusal; its ACK is left out, the server's timers see to that.
            self.calls[index].state = State::Over;
            self.outcome.failed += 1;
        }
    }

    fn answered(&mut self, index: usize, text: &str, at: Moment) {
        let call = &mut self.calls[index];
        if let State::Dialled { first_sent, .. } = call.state {
            let port = text.lines().find_map(|l| l.strip_prefix("m=audio ")?.split(' ').next()?.parse::<u16>().ok());
            let Some(port) = port else { return };
            call.tag = to_tag(text).to_owned();
            call.state = State::Talking(SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)));
            self.by_port[usize::from(port)] = Some(index);
            self.outcome.answered += 1;
            self.outcome.setup_ms.push(ms_between(at, first_sent) as f32);
        }
        // A repeated 200 means that the ACK did not come.
        self.request(index, "ACK", 1, "");
    }

    fn invite(&mut self, index: usize) {
        let now = self.clock.now();
        self.calls[index].state = State::Dialled { first_sent: now, sent: now };
        self.send_invite(index);
    }

    /// RFC 3261 17.1.1.2, without the doubling: the bench gives up soon anyway.
    fn invite_again(&mut self) {
        let now = self.clock.now();
        for index in 0..self.calls.len() {
            if let State::Dialled { sent, .. } = &mut self.calls[index].state
                && now >= *sent + T1
            {
                *sent = now;
                self.send_invite(index);
            }
        }
    }

    fn send_invite(&mut self, index: usize) {
        let slot = (index * 7 + index / SLOTS) % SLOTS;
        let port = self.slots[slot].media.port().unwrap_or_default();
        let body = offer(index, port);
        self.request(index, "INVITE", 1, &body);
    }

    fn bye(&mut self, index: usize) {
        if matches!(self.calls[index].state, State::Talking(_)) {
            self.request(index, "BYE", 2, "");
            self.calls[index].state = State::Over;
        }
    }

    fn request(&self, index: usize, method: &str, cseq: u32, body: &str) {
        self.wire.request(method, index, cseq, &self.calls[index].tag, body);
    }
}

struct Slot {
    media: SlotSocket,
    calls: Vec<usize>,
}

struct Call {
    state: State,
    tag: String,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    /// The next frame of the script.
    position: usize,
    last: Option<(Moment, u32, u16)>,
}

enum State {
    New,
    Dialled { first_sent: Moment, sent: Moment },
    Talking(SockaddrIn),
    Over,
}

impl Call {
    fn new(index: usize, of: usize, script: &Script) -> Self {
        Self {
            state: State::New,
            tag: String::new(),
            ssrc: u32::try_from(index).unwrap_or_default() + 1,
            sequence: 1,
            timestamp: 0,
            // Spread over the script, so that the same share of callers speaks at any time.
            position: script.frames() * index / of,
            last: None,
        }
    }

    fn next_packet(&mut self, script: &Script) -> Option<Outgoing> {
        let State::Talking(to) = self.state else { return None };
        let octets = audio_packet(self.ssrc, self.sequence, self.timestamp, script.frame(self.position));
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(160);
        self.position += 1;
        Some(Outgoing { octets, to })
    }

    fn heard(&mut self, packet: &rtp_wire::Received<'_>, at: Moment, outcome: Option<&mut Outcome>) {
        let before = self.last.replace((at, packet.timestamp, packet.sequence));
        let (Some((then, timestamp, sequence)), Some(outcome)) = (before, outcome) else { return };
        let step = Duration::from_micros(125) * packet.timestamp.wrapping_sub(timestamp);
        outcome.pacing_ms.push((ms_between(at, then) - ms_between(step, Moment::ZERO)).abs() as f32);
        outcome.received += 1;
        outcome.lost += u64::from(packet.sequence.wrapping_sub(sequence).saturating_sub(1));
    }
}

const SLOTS: usize = 20;
const SLOT: Duration = Duration::from_millis(1);
const T1: Duration = Duration::from_millis(500);
const LONGEST_SETUP: Duration = Duration::from_secs(10);
