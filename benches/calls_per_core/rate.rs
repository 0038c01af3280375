//! How fast calls can be set up: callers dial at a steady rate, stay for a second, and hang up.
//!
//! They send no audio, as a signalling benchmark's callers do, but the server speaks to each of them all the time.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use offhook::sim::clock::{Moment, RunClock, ms_between};

use crate::wire::{Wire, header, index_of, offer, to_tag};

/// What the callers noticed.
#[derive(Debug, Default)]
pub struct Outcome {
    pub placed: usize,
    /// Refused, ended by the server, or not answered within 10 s; the same for a BYE.
    pub failed: usize,
    /// INVITE first sent to 200 received, ms.
    pub setup_ms: Vec<f32>,
    /// BYE first sent to 200 received, ms.
    pub bye_ms: Vec<f32>,
    /// Requests sent again after 500 ms.
    pub repeated: usize,
    /// How late the driver sent its INVITEs, ms.
    pub driver_late_ms: Vec<f32>,
}

/// The callers.
pub struct RateDriver {
    clock: RunClock,
    wire: Wire,
    /// Where the server's audio goes; nobody reads it, and the kernel drops what is too much.
    ears: Vec<UdpSocket>,
    calls: Vec<Call>,
    /// Answered calls in the order of their ends.
    to_end: VecDeque<(Moment, usize)>,
    /// Requests in the order in which they are due again.
    to_repeat: VecDeque<(Moment, usize)>,
    open: usize,
    outcome: Outcome,
}

impl RateDriver {
    pub fn new(server: std::net::SocketAddrV4) -> Result<Self, String> {
        let ears: Result<Vec<UdpSocket>, String> =
            (0..EARS).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| e.to_string())).collect();
        Ok(Self {
            clock: RunClock::start(),
            wire: Wire::new(Ipv4Addr::LOCALHOST, server)?,
            ears: ears?,
            calls: Vec::new(),
            to_end: VecDeque::new(),
            to_repeat: VecDeque::new(),
            open: 0,
            outcome: Outcome::default(),
        })
    }

    /// Places `calls` calls, `per_second` of them each second, and sees each of them to its end.
    pub fn run(mut self, per_second: u32, calls: usize) -> Outcome {
        let gap = Duration::from_secs(1) / per_second;
        let began = self.clock.now();
        let mut due = began;
        while self.calls.len() < calls || self.open > 0 {
            let now = self.clock.now();
            while self.calls.len() < calls && now >= due {
                self.outcome.driver_late_ms.push(ms_between(now, due) as f32);
                self.place(now);
                due = began + gap * u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
            }
            self.read();
            self.end_due(now);
            self.repeat_due(now);
            self.clock.sleep_until(now + STEP);
        }
        self.outcome
    }

    fn place(&mut self, now: Moment) {
        let index = self.calls.len();
        self.calls.push(Call { state: State::Dialled, since: now, tag: String::new() });
        self.outcome.placed += 1;
        self.open += 1;
        self.invite(index);
        self.to_repeat.push_back((now + T1, index));
    }

    fn invite(&self, index: usize) {
        let ear = self.ears.get(index % self.ears.len()).and_then(|ear| ear.local_addr().ok());
        self.wire.request("INVITE", index, 1, "", &offer(index, ear.map_or(9, |address| address.port())));
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        let (wall, now) = (self.clock.wall(), self.clock.now());
        while let Some((text, at)) = self.wire.receive(&mut buffer, wall, now) {
            self.message(&text, at);
        }
    }

    fn message(&mut self, text: &str, at: Moment) {
        let Some(index) = index_of(text).filter(|&index| index < self.calls.len()) else { return };
        if text.starts_with("BYE") {
            self.wire.ok(text);
            return self.over(index, false);
        }
        let method = header(text, "CSeq").and_then(|cseq| cseq.split(' ').nth(1)).unwrap_or_default();
        let status = text.get(8..11).unwrap_or_default();
        match (method, status) {
            (_, "100" | "180" | "183") => {}
            ("INVITE", "200") => self.answered(index, text, at),
            ("BYE", "200") => {
                if let Some(Call { state: State::Ending, since, .. }) = self.calls.get(index) {
                    self.outcome.bye_ms.push(ms_between(at, *since) as f32);
                    self.over(index, true);
                }
            }
            _ => self.over(index, false),
        }
    }

    fn answered(&mut self, index: usize, text: &str, at: Moment) {
        let Some(call) = self.calls.get_mut(index) else { return };
        if matches!(call.state, State::Dialled) {
            self.outcome.setup_ms.push(ms_between(at, call.since) as f32);
            to_tag(text).clone_into(&mut call.tag);
            call.state = State::Talking;
            self.to_end.push_back((at + HOLD, index));
        }
        // A repeated 200 means that the ACK did not come.
        let tag = self.calls.get(index).map_or("", |call| &call.tag);
        self.wire.request("ACK", index, 1, tag, "");
    }

    fn end_due(&mut self, now: Moment) {
        while let Some((_, index)) = self.to_end.pop_front_if(|(due, _)| *due <= now) {
            if let Some(call) = self.calls.get_mut(index).filter(|call| matches!(call.state, State::Talking)) {
                (call.state, call.since) = (State::Ending, now);
                self.wire.request("BYE", index, 2, &call.tag, "");
                self.to_repeat.push_back((now + T1, index));
            }
        }
    }

    /// RFC 3261 17.1, without the doubling: the bench gives up soon anyway.
    fn repeat_due(&mut self, now: Moment) {
        while let Some((_, index)) = self.to_repeat.pop_front_if(|(due, _)| *due <= now) {
            let Some(call) = self.calls.get(index) else { continue };
            match call.state {
                State::Dialled | State::Ending if now >= call.since + PATIENCE => {
                    self.over(index, false);
                    continue;
                }
                State::Dialled => self.invite(index),
                State::Ending => self.wire.request("BYE", index, 2, &call.tag, ""),
                State::Talking | State::Over => continue,
            }
            self.outcome.repeated += 1;
            self.to_repeat.push_back((now + T1, index));
        }
    }

    fn over(&mut self, index: usize, well: bool) {
        let Some(call) = self.calls.get_mut(index).filter(|call| !matches!(call.state, State::Over)) else { return };
        call.state = State::Over;
        self.open -= 1;
        self.outcome.failed += usize::from(!well);
    }
}

struct Call {
    state: State,
    /// When the INVITE or the BYE was sent first.
    since: Moment,
    tag: String,
}

enum State {
    Dialled,
    Talking,
    Ending,
    Over,
}

const EARS: usize = 20;
const STEP: Duration = Duration::from_micros(500);
const HOLD: Duration = Duration::from_secs(1);
const T1: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);
