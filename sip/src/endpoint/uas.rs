//! Calls that come in, until they are answered, refused, cancelled or given up
//! (RFC 3261 section 13.3, 9.2), and the 2xx that is repeated until its ACK.

use super::call::{AckWait, Call, Peer, Phase};
use super::gate::Gate;
use super::io::{CallHandle, EndCause, Event, Flow, IncomingInvite, Output};
use super::outcome::selected;
use super::screen::{self, Refusal};
use super::server::{self, Opening};
use super::{Endpoint, Owner};
use crate::dialog::Dialog;
use crate::message::{Essentials, ExtraHeader, HeaderName, Message, Method, UriBuf};
use crate::pii::Pii;
use crate::transaction::{Effects, ServerMachine, Timer};
use bytes::Bytes;

impl Endpoint {
    pub(super) fn on_new_invite(
        &mut self,
        flow: &Flow,
        message: &Message,
        seen: &Essentials<'_>,
        key: String,
        user: Option<Pii<String>>,
    ) -> Result<(), Refusal> {
        screen::offer(message)?;
        screen::contact(seen)?;
        self.screen_session(message)?;
        let merge = server::merge_key(seen);
        if merge.as_ref().is_some_and(|merge| self.servers.is_merged(merge)) {
            return Err(Refusal::bare(482));
        }
        let replaces = self.replaced(message)?;
        self.admit()?;
        let to_tag = self.random.token();
        let bad = |_| Refusal::bare(400);
        let dialog = Dialog::callee(message, seen, &to_tag).map_err(bad)?;
        let mut invite = describe(message, seen).map_err(bad)?;
        invite.replaces = replaces;
        invite.authenticated = user;
        let call = CallHandle::inbound(self.fresh_id());
        let opening = Opening { key, merge, flow: *flow, to_tag, call };
        let server = self.open_server(message.clone(), opening);
        let (peer, remote_sdp) = (Peer::of_invite(message), invite.offer.clone());
        let offered = remote_sdp.is_some();
        let state =
            Call { replaces, peer, offered, remote_sdp, ..Call::new(*flow, Some(dialog), Phase::Ringing { server }) };
        self.insert_call(call, state);
        self.start_call_timer(call, Timer::Ring, self.config.ring_limit);
        let stamp = message.text(HeaderName::Timestamp).map(|stamp| stamp.into_owned());
        self.respond(server, 100, None, |writer| {
            if let Some(stamp) = stamp {
                writer.header(HeaderName::Timestamp, stamp);
            }
        });
        self.event(call, Event::Incoming { call, flow: *flow, invite: Box::new(invite) });
        Ok(())
    }

    /// Whether there is room for one more call.
    fn admit(&self) -> Result<(), Refusal> {
        self.check_draining()?;
        self.full.map_or(Ok(()), |seconds| Err(retry(seconds)))?;
        let full = self.calls.len() >= self.config.max_calls
            || self.pending >= self.config.max_calls_pending
            || self.servers.len() >= self.config.max_transactions;
        if full { Err(Refusal::bare(503)) } else { Ok(()) }
    }

    pub(super) fn check_draining(&self) -> Result<(), Refusal> {
        self.draining.map_or(Ok(()), |seconds| Err(retry(seconds)))
    }

    pub(super) fn answer(&mut self, call: CallHandle, sdp: &Bytes) {
        let Some(server) = self.ringing(call) else { return };
        if self.holds_answer(call, sdp) {
            return;
        }
        let said = self.calls.get(&call).is_some_and(Call::is_settled);
        self.set_phase(call, Phase::Established);
        if let Some(state) = self.calls.get_mut(&call).filter(|_| !said) {
            state.local_sdp = Some(sdp.clone());
        }
        self.accept(call, server, Some(sdp).filter(|_| !said), true);
        self.end_replaced(call);
    }

    pub(super) fn reject(&mut self, call: CallHandle, status: u16, headers: &[ExtraHeader]) {
        let Some(server) = self.ringing(call) else { return };
        let status = if (300..700).contains(&status) { status } else { 500 };
        self.respond(server, status, None, |writer| {
            writer.extra(headers);
        });
        self.note_refusal(call, status);
        self.end(call, EndCause::Rejected(status), None);
        self.forget_call(call);
    }

    /// Sends a 2xx to an INVITE and repeats it until it is acknowledged (section 13.3.1.4), on
    /// reliable transports too: a proxy behind us may use another.
    pub(super) fn accept(&mut self, call: CallHandle, server: u64, sdp: Option<&Bytes>, initial: bool) {
        let tx = self.servers.peek(server);
        let Some((cseq, flow)) = tx.and_then(|tx| Some((tx.cseq()?.number, tx.flow))) else { return };
        let bare = tx.and_then(|tx| tx.request.as_ref()).is_some_and(|request| request.body().is_empty());
        let offered = bare && sdp.is_some();
        let (fill, timer) = (self.fill_dialog(server), self.agree_session(call, server));
        let supported = self.supported.join(", ");
        let response = self.respond(server, 200, sdp, |writer| {
            fill(writer);
            writer.header(HeaderName::Supported, supported);
            timer.fill(writer);
        });
        let Some(response) = response else { return };
        let interval = self.config.timings.t1;
        if let Some(call) = self.calls.get_mut(&call) {
            call.ack_wait = Some(AckWait { cseq, flow, response, interval, initial, offered });
        }
        self.start_call_timer(call, Timer::RepeatOk, interval);
        self.start_call_timer(call, Timer::AwaitAck, self.config.timings.lifetime());
    }

    pub(super) fn repeat_ok(&mut self, call: CallHandle) {
        let timings = self.config.timings;
        let wait = self.calls.get_mut(&call).and_then(|call| call.ack_wait.as_mut());
        let Some(wait) = wait else { return };
        wait.interval = timings.doubled(wait.interval);
        let (interval, flow, bytes) = (wait.interval, wait.flow, wait.response.clone());
        self.outputs.push_back(Output::Transmit { flow, bytes });
        self.start_call_timer(call, Timer::RepeatOk, interval);
    }

    /// Our 2xx was never acknowledged: the call is over, and BYE says so (section 13.3.1.4).
    pub(super) fn on_missing_ack(&mut self, call: CallHandle) {
        self.clock.stop(Owner::Call(call.as_u64()), Timer::RepeatOk);
        let Some(state) = self.calls.get_mut(&call) else { return };
        state.ack_wait = None;
        let reason = match &mut state.phase {
            Phase::Leaving { reason } => reason.take(),
            _ => None,
        };
        self.end(call, EndCause::NoAck, None);
        self.send_bye(call, reason);
    }

    pub(super) fn on_ack(&mut self, flow: &Flow, message: &Message, seen: &Essentials<'_>) {
        let key = server::key(message, seen, &Method::Invite);
        if let Some(id) = self.servers.find(&key)
            && let Some(tx) = self.servers.get_mut(id)
            && let ServerMachine::Invite(machine) = &mut tx.machine
            && !machine.is_accepted()
        {
            let mut effects = Effects::default();
            machine.on_ack(&mut effects);
            return self.apply_server(id, effects);
        }
        if let Some(call) = self.find_dialog(seen) {
            self.on_dialog_ack(call, flow, message, seen.cseq.number);
        }
    }

    fn on_dialog_ack(&mut self, handle: CallHandle, flow: &Flow, message: &Message, cseq: u32) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let Some(wait) = call.ack_wait.take_if(|wait| wait.cseq == cseq) else { return };
        call.flow = *flow;
        let owner = Owner::Call(handle.as_u64());
        self.clock.stop(owner, Timer::RepeatOk);
        self.clock.stop(owner, Timer::AwaitAck);
        if let Phase::Leaving { reason } = &mut call.phase {
            let reason = reason.take();
            return self.send_bye(handle, reason);
        }
        // What an ACK says without being asked is no answer to anything.
        let sdp = Some(message.body().clone()).filter(|body| !body.is_empty() && wait.offered);
        if wait.offered {
            call.remote_sdp.clone_from(&sdp);
            if sdp.is_none() {
                return self.end_without_media(handle, "no answer in ACK");
            }
        }
        if wait.initial {
            self.event(handle, Event::Confirmed { call: handle, sdp });
        } else if wait.offered {
            self.event(handle, Event::ReinviteAnswered { call: handle, answer: Ok(sdp) });
        }
    }

    /// CANCEL (section 9.2). It is answered without a transaction: a repetition finds the INVITE
    /// answered already and gets the same 200.
    pub(super) fn on_cancel(&mut self, flow: &Flow, message: &Message, seen: &Essentials<'_>) {
        let key = server::key(message, seen, &Method::Invite);
        let found = self.servers.find(&key).and_then(|id| Some((id, self.servers.peek(id)?.call)));
        let Some((server, call)) = found else {
            if let Gate::Open(_) = self.passes_gate(flow, message, &Method::Cancel) {
                self.refuse(flow, message, Refusal::bare(481));
            }
            return;
        };
        self.answer_stateless(flow, message, 200, |_| {});
        if !self.servers.peek(server).is_some_and(|tx| tx.is_open()) {
            return;
        }
        self.respond(server, 487, None, |_| {});
        if self.ringing(call) == Some(server) {
            let reason = message.text(HeaderName::Reason).map(|reason| reason.into_owned());
            self.end(call, EndCause::Cancelled, reason);
            self.forget_call(call);
        } else if self.calls.get(&call).is_some_and(|call| call.their_offer == Some(server)) {
            self.take_their_offer(call);
        }
    }

    /// Nobody answered within the limit, on either side.
    pub(super) fn on_ring_limit(&mut self, call: CallHandle) {
        if let Some(server) = self.ringing(call) {
            self.respond(server, 480, None, |_| {});
            self.end(call, EndCause::NoAnswer, None);
            self.forget_call(call);
        } else {
            self.give_up(call, EndCause::NoAnswer);
        }
    }

    /// The server transaction of an incoming call that was not answered yet.
    pub(super) fn ringing(&self, call: CallHandle) -> Option<u64> {
        match self.calls.get(&call)?.phase {
            Phase::Ringing { server } => Some(server),
            _ => None,
        }
    }
}

fn retry(seconds: u32) -> Refusal {
    Refusal { status: 503, field: Some((HeaderName::RetryAfter, seconds.to_string())) }
}

fn describe(message: &Message, seen: &Essentials<'_>) -> Result<IncomingInvite, crate::message::ParseError> {
    let target = message.request_uri()?;
    let user = |uri: &crate::message::Uri<'_>| Pii::new(uri.user_decoded().unwrap_or_default().into_owned());
    Ok(IncomingInvite {
        called: user(&target),
        caller: user(seen.from.uri()),
        request_uri: Pii::new(UriBuf::parse(target.as_str())?),
        from: Pii::new(UriBuf::parse(seen.from.uri().as_str())?),
        from_display: Pii::new(seen.from.display().into_owned()),
        call_id: seen.call_id.to_owned(),
        offer: Some(message.body().clone()).filter(|body| !body.is_empty()),
        replaces: None,
        authenticated: None,
        headers: selected(message),
    })
}
