//! Reliable provisional answers, both roles (RFC 3262): ringing and early media that must arrive.
//!
//! As callee we send one at a time and wait for its PRACK. As caller we ask for them only where our INVITE carries the
//! offer, so that a PRACK of ours never owes an answer.

use super::client::User;
use super::io::{CallHandle, EndCause, Event, Flow, Output};
use super::screen::{self, Refusal};
use super::{Endpoint, Owner};
use crate::message::{HeaderName, Message, Method, decimal};
use crate::transaction::Timer;
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;

/// Reliable provisional answers to one INVITE.
#[derive(Default)]
pub(super) struct Reliable {
    /// The last RSeq that was used.
    rseq: u32,
    /// The one that is not acknowledged yet.
    waiting: Option<Waiting>,
    /// What is to be sent after it.
    queue: VecDeque<(u16, Option<Bytes>)>,
    /// The application has taken the call: 200 with this once our session description has arrived (section 3).
    answer: Option<Bytes>,
    /// Our session description has arrived.
    pub(super) settled: bool,
}

struct Waiting {
    rseq: u32,
    cseq: u32,
    flow: Flow,
    response: Bytes,
    interval: Duration,
    sdp: bool,
}

impl Endpoint {
    pub(super) fn ring(&mut self, handle: CallHandle, early_sdp: Option<Bytes>, reliable: bool) {
        let Some(server) = self.ringing(handle) else { return };
        let Some(call) = self.calls.get(&handle) else { return };
        let status = if early_sdp.is_some() { 183 } else { 180 };
        let wanted =
            call.peer.requires_reliable || (reliable && call.peer.reliable && self.config.reliable_provisionals);
        // The first reliable answer to an INVITE without an offer has to carry ours (section 5).
        let lacks_offer = !call.offered && early_sdp.is_none() && !call.is_settled();
        if wanted && !lacks_offer {
            return self.provide(handle, status, early_sdp);
        }
        if call.peer.requires_reliable || call.reliable.as_ref().is_some_and(|reliable| reliable.answer.is_some()) {
            return;
        }
        let fill = self.fill_dialog(server);
        self.respond(server, status, early_sdp.as_ref(), fill);
    }

    /// Sends a reliable provisional answer, or keeps it while one before it is not acknowledged.
    fn provide(&mut self, handle: CallHandle, status: u16, sdp: Option<Bytes>) {
        let first = self.random.below(1 << 30);
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let reliable = call.reliable.get_or_insert_default();
        if reliable.answer.is_some() {
            return;
        }
        // What was described once is not described again.
        let sdp = sdp.filter(|_| !reliable.settled);
        if reliable.waiting.is_some() {
            if reliable.queue.len() >= MAX_QUEUED {
                reliable.queue.pop_back();
            }
            return reliable.queue.push_back((status, sdp));
        }
        reliable.rseq = if reliable.rseq == 0 { u32::try_from(first).unwrap_or(0) + 1 } else { reliable.rseq + 1 };
        let rseq = reliable.rseq;
        let Some(server) = self.ringing(handle) else { return };
        let Some((cseq, flow)) = self.servers.peek(server).and_then(|tx| Some((tx.cseq()?.number, tx.flow))) else {
            return;
        };
        let fill = self.fill_dialog(server);
        let response = self.respond(server, status, sdp.as_ref(), |writer| {
            fill(writer);
            writer.header(HeaderName::Require, "100rel").header(HeaderName::RSeq, rseq);
        });
        let Some(response) = response else { return };
        let interval = self.config.timings.t1;
        let waiting = Waiting { rseq, cseq, flow, response, interval, sdp: sdp.is_some() };
        if let Some(call) = self.calls.get_mut(&handle) {
            if sdp.is_some() {
                call.local_sdp = sdp;
            }
            if let Some(reliable) = call.reliable.as_mut() {
                reliable.waiting = Some(waiting);
            }
        }
        self.start_call_timer(handle, Timer::RepeatProvisional, interval);
        self.start_call_timer(handle, Timer::AwaitPrack, self.config.timings.lifetime());
    }

    /// Section 3: T1, doubling without a limit.
    pub(super) fn repeat_provisional(&mut self, handle: CallHandle) {
        let reliable = self.calls.get_mut(&handle).and_then(|call| call.reliable.as_mut());
        let Some(waiting) = reliable.and_then(|reliable| reliable.waiting.as_mut()) else { return };
        waiting.interval = waiting.interval.saturating_mul(2);
        let (interval, flow, bytes) = (waiting.interval, waiting.flow, waiting.response.clone());
        self.outputs.push_back(Output::Transmit { flow, bytes });
        self.start_call_timer(handle, Timer::RepeatProvisional, interval);
    }

    /// The caller never acknowledged our provisional answer.
    pub(super) fn on_missing_prack(&mut self, handle: CallHandle) {
        if let Some(server) = self.ringing(handle) {
            self.respond(server, 504, None, |_| {});
            self.end(handle, EndCause::NoPrack, None);
            self.forget_call(handle);
        }
    }

    /// Holds the 200 back while our session description is under way; true where it is held.
    pub(super) fn holds_answer(&mut self, handle: CallHandle, sdp: &Bytes) -> bool {
        let reliable = self.calls.get_mut(&handle).and_then(|call| call.reliable.as_mut());
        let Some(reliable) = reliable else { return false };
        reliable.queue.clear();
        if reliable.waiting.as_ref().is_some_and(|waiting| waiting.sdp) {
            reliable.answer.get_or_insert_with(|| sdp.clone());
            return true;
        }
        // A PRACK that is still under way is answered all the same.
        self.stop_provisional(handle);
        false
    }

    fn stop_provisional(&mut self, handle: CallHandle) {
        let owner = Owner::Call(handle.as_u64());
        self.clock.stop(owner, Timer::RepeatProvisional);
        self.clock.stop(owner, Timer::AwaitPrack);
    }

    /// PRACK: our provisional answer has arrived.
    pub(super) fn on_prack(&mut self, handle: CallHandle, server: u64, message: &Message) {
        if let Err(refusal) = screen::offer(message) {
            return self.refuse_within(server, &refusal);
        }
        let named = message.text(HeaderName::RAck).and_then(|value| read_rack(&value));
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let reliable = call.reliable.as_mut();
        let matches = |waiting: &mut Waiting| named == Some((waiting.rseq, waiting.cseq));
        let Some((reliable, waiting)) = reliable.and_then(|reliable| {
            let waiting = reliable.waiting.take_if(matches)?;
            Some((reliable, waiting))
        }) else {
            return self.refuse_within(server, &Refusal::bare(if named.is_some() { 481 } else { 400 }));
        };
        reliable.settled |= waiting.sdp;
        let (settled, answers) = (reliable.settled, waiting.sdp && !call.offered);
        self.stop_provisional(handle);
        let body = Some(message.body().clone()).filter(|body| !body.is_empty());
        match body {
            Some(sdp) if answers => {
                self.respond(server, 200, None, |_| {});
                call_remote(self, handle, &sdp);
                self.event(handle, Event::ReinviteAnswered { call: handle, answer: Ok(Some(sdp)) });
            }
            None if answers => {
                self.respond(server, 200, None, |_| {});
                return self.refuse_without_media(handle);
            }
            Some(offer) if settled && self.may_ask(handle) => self.ask_for_answer(handle, server, Some(offer)),
            Some(_) => self.refuse_within(server, &Refusal::bare(488)),
            None => {
                self.respond(server, 200, None, |_| {});
            }
        }
        self.go_on(handle);
    }

    fn may_ask(&self, handle: CallHandle) -> bool {
        self.calls.get(&handle).is_some_and(|call| !call.ended && !call.is_negotiating())
    }

    /// Sends what was kept back by an unacknowledged answer.
    fn go_on(&mut self, handle: CallHandle) {
        if self.ringing(handle).is_none() {
            return;
        }
        let reliable = self.calls.get_mut(&handle).and_then(|call| call.reliable.as_mut());
        let Some(reliable) = reliable else { return };
        if let Some(sdp) = reliable.answer.take() {
            return self.answer(handle, &sdp);
        }
        if let Some((status, sdp)) = reliable.queue.pop_front() {
            self.provide(handle, status, sdp);
        }
    }

    /// The PRACK owed us an answer and had none.
    fn refuse_without_media(&mut self, handle: CallHandle) {
        if let Some(invite) = self.ringing(handle) {
            self.respond(invite, 488, None, |_| {});
            self.end(handle, EndCause::NoSdp, None);
            self.forget_call(handle);
        }
    }

    /// As caller: whether a provisional answer is to be looked at, after its PRACK was sent where it wants one. False for
    /// a repetition and for one that came before its turn (section 4).
    pub(super) fn take_provisional(&mut self, handle: CallHandle, early: u32, response: &Message) -> bool {
        let reliable = response.tokens(HeaderName::Require).any(|option| option.eq_ignore_ascii_case("100rel"));
        let rseq = response.values(HeaderName::RSeq).next().and_then(decimal).filter(|rseq| *rseq > 0);
        let (true, true, Some(rseq)) = (self.config.reliable_provisionals, reliable, rseq) else { return true };
        let Some(call) = self.calls.get_mut(&handle).filter(|call| call.offered) else { return true };
        let Some(fork) = call.forks.iter_mut().find(|fork| fork.number == early) else { return false };
        if fork.rseq.is_some_and(|last| last.checked_add(1) != Some(rseq)) {
            return false;
        }
        fork.rseq = Some(rseq);
        fork.settled |= !response.body().is_empty();
        let Ok(cseq) = response.cseq() else { return false };
        self.send_prack(handle, early, rseq, cseq.number);
        true
    }

    fn send_prack(&mut self, handle: CallHandle, early: u32, rseq: u32, cseq: u32) {
        let find = |call: &super::call::Call| call.forks.iter().position(|fork| fork.number == early);
        let Some((call, index)) = self.calls.get(&handle).and_then(|call| Some((call, find(call)?))) else { return };
        let Some(flow) = call.forks.get(index).map(|fork| call.way_of(&fork.dialog)) else { return };
        let (via, branch) = self.new_via(&flow);
        let fork = self.calls.get_mut(&handle).and_then(|call| call.forks.get_mut(index));
        let Some(fork) = fork else { return };
        let mut writer = fork.dialog.request(&Method::Prack, &via);
        writer
            .header(HeaderName::RAck, format_args!("{rseq} {cseq} INVITE"))
            .header(HeaderName::UserAgent, &self.config.user_agent);
        self.open_client(&Method::Prack, &branch, flow, writer.finish(None), User::Prack(handle));
    }
}

fn call_remote(endpoint: &mut Endpoint, handle: CallHandle, sdp: &Bytes) {
    if let Some(call) = endpoint.calls.get_mut(&handle) {
        call.remote_sdp = Some(sdp.clone());
    }
}

/// RAck: RSeq and CSeq number of an INVITE's provisional answer (section 7.2).
fn read_rack(value: &str) -> Option<(u32, u32)> {
    let mut words = value.split_ascii_whitespace();
    let (rseq, cseq) = (decimal(words.next()?.as_bytes())?, decimal(words.next()?.as_bytes())?);
    (words.next() == Some("INVITE") && words.next().is_none()).then_some((rseq, cseq))
}

/// Provisional answers that wait for their turn; the last one gives way to a later one.
const MAX_QUEUED: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rack_names_both_numbers() {
        assert_eq!(read_rack("776656 1 INVITE"), Some((776_656, 1)));
        assert_eq!(read_rack(" 1\t2  INVITE "), Some((1, 2)));
        for bad in ["", "1", "1 2", "1 2 invite", "1 2 INVITE x", "4294967296 1 INVITE", "-1 2 INVITE", "a 2 INVITE"] {
            assert_eq!(read_rack(bad), None, "{bad}");
        }
    }
}
