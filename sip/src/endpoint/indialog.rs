//! Requests within a dialog, both ways: BYE, re-INVITE, UPDATE, INFO, OPTIONS (RFC 3261 section 12.2,
//! 14, 15; RFC 3311; RFC 6086 in its legacy form).

use super::call::{OurOffer, Phase};
use super::client::User;
use super::io::{CallHandle, EndCause, Event, Flow, Output};
use super::screen::{self, Refusal};
use super::server::{Opening, ServerTx};
use super::{Endpoint, Owner, fill_capabilities};
use crate::dialog::Dialog;
use crate::message::{Essentials, ExtraHeader, HeaderName, Message, Method, Writer};
use crate::pii::Pii;
use crate::transaction::Timer;
use bytes::Bytes;
use std::time::Duration;

impl Endpoint {
    pub(super) fn on_dialog_request(
        &mut self,
        flow: &Flow,
        message: &Message,
        seen: &Essentials<'_>,
        method: &Method,
        key: String,
    ) -> Result<(), Refusal> {
        let handle = self.find_dialog(seen).ok_or(Refusal::bare(481))?;
        if self.servers.len() >= self.config.max_transactions {
            return Err(Refusal::bare(503));
        }
        let call = self.calls.get_mut(&handle).ok_or(Refusal::bare(481))?;
        let from_tag = seen.from.tag().unwrap_or_default();
        let in_order = call.dialog_mut(from_tag).is_some_and(|dialog| dialog.accept_cseq(seen.cseq.number));
        if !in_order {
            return Err(Refusal::bare(500));
        }
        call.flow = *flow;
        let to_tag = seen.to.tag().unwrap_or_default().to_owned();
        let opening = Opening { key, merge: None, flow: *flow, to_tag, call: handle };
        let server = self.open_server(message.clone(), opening);
        match method {
            Method::Bye => self.on_bye(handle, server, message),
            Method::Invite | Method::Update => self.on_their_offer(handle, server, message, seen, method),
            Method::Info => self.on_info(handle, server, message),
            Method::Refer => self.on_refer(handle, server, message, &seen.cseq),
            Method::Notify => self.on_notify(handle, server, message),
            _ => {
                self.respond(server, 200, None, fill_capabilities);
            }
        }
        Ok(())
    }

    /// BYE (section 15.1.2). What was pending is answered first.
    fn on_bye(&mut self, call: CallHandle, server: u64, message: &Message) {
        if matches!(self.calls.get(&call).map(|call| &call.phase), Some(Phase::Calling { .. })) {
            // A callee refuses by its final answer; BYE is not for an early dialog of its own.
            self.respond(server, 481, None, |_| {});
            return;
        }
        let pending = self.ringing(call).or(self.take_their_offer(call));
        if let Some(invite) = pending {
            self.respond(invite, 487, None, |_| {});
        }
        self.respond(server, 200, None, |_| {});
        let reason = message.text(HeaderName::Reason).map(|reason| reason.into_owned());
        self.end(call, EndCause::RemoteBye, reason);
        self.forget_call(call);
    }

    pub(super) fn refuse_within(&mut self, server: u64, refusal: &Refusal) {
        self.respond(server, refusal.status, None, |writer| {
            if let Some((name, value)) = &refusal.field {
                writer.header(*name, value);
            }
        });
    }

    /// A re-INVITE or UPDATE: the application answers it, unless it comes at a wrong time.
    fn on_their_offer(
        &mut self,
        handle: CallHandle,
        server: u64,
        message: &Message,
        seen: &Essentials<'_>,
        method: &Method,
    ) {
        if let Err(refusal) = screen::offer(message).and_then(|()| self.may_offer(handle, message, method)) {
            let retry = self.random.below(10);
            self.respond(server, refusal.status, None, |writer| {
                if let Some((name, value)) = &refusal.field {
                    writer.header(*name, value);
                } else if refusal.status == 500 {
                    writer.header(HeaderName::RetryAfter, retry);
                }
            });
            return;
        }
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let from_tag = seen.from.tag().unwrap_or_default();
        if let (Some(dialog), Some(contact)) = (call.dialog_mut(from_tag), seen.contact) {
            dialog.refresh(contact.uri());
        }
        let offer = Some(message.body().clone()).filter(|body| !body.is_empty());
        if *method == Method::Update && offer.is_none() {
            let fill = self.fill_dialog(server);
            self.respond(server, 200, None, fill);
            return;
        }
        call.their_offer = Some(server);
        self.start_call_timer(handle, Timer::TheirOffer, self.config.timings.lifetime());
        if *method == Method::Invite {
            self.respond(server, 100, None, |_| {});
        }
        self.event(handle, Event::Reinvite { call: handle, offer });
    }

    /// Section 14.2 and RFC 3311 section 5.2: one offer at a time.
    fn may_offer(&self, handle: CallHandle, message: &Message, method: &Method) -> Result<(), Refusal> {
        let call = self.calls.get(&handle).ok_or(Refusal::bare(481))?;
        if *method == Method::Update && message.body().is_empty() {
            return Ok(());
        }
        if call.ended {
            return Err(Refusal::bare(481));
        }
        if call.our_offer.as_ref().is_some_and(|ours| ours.client.is_some()) {
            return Err(Refusal::bare(491));
        }
        let busy = call.is_pending() || call.their_offer.is_some();
        if busy || (call.ack_wait.is_some() && *method == Method::Invite) {
            return Err(Refusal::bare(500));
        }
        Ok(())
    }

    fn on_info(&mut self, call: CallHandle, server: u64, message: &Message) {
        self.respond(server, 200, None, |_| {});
        let content_type = message.content_type().unwrap_or_default();
        let body = Pii::new(message.body().clone());
        self.event(call, Event::Info { call, content_type, body });
    }

    fn take_their_offer(&mut self, call: CallHandle) -> Option<u64> {
        let server = self.calls.get_mut(&call)?.their_offer.take();
        self.clock.stop(Owner::Call(call.as_u64()), Timer::TheirOffer);
        server
    }

    pub(super) fn answer_reinvite(&mut self, call: CallHandle, answer: Result<Bytes, u16>) {
        let Some(server) = self.take_their_offer(call) else { return };
        let is_invite =
            self.servers.peek(server).and_then(ServerTx::cseq).is_some_and(|cseq| cseq.method == Method::Invite);
        match answer {
            Ok(sdp) if is_invite => self.accept(call, server, &sdp, false),
            Ok(sdp) => {
                let fill = self.fill_dialog(server);
                self.respond(server, 200, Some(&sdp), fill);
            }
            Err(status) => {
                let status = if (300..700).contains(&status) { status } else { 488 };
                self.respond(server, status, None, |_| {});
            }
        }
    }

    pub(super) fn reinvite(&mut self, call: CallHandle, sdp: Bytes) {
        let Some(state) = self.calls.get_mut(&call) else { return };
        let free = matches!(state.phase, Phase::Established) && state.our_offer.is_none();
        if !free || state.their_offer.is_some() || state.ack_wait.is_some() {
            return self.event(call, Event::ReinviteAnswered { call, answer: Err(491) });
        }
        state.our_offer = Some(OurOffer { sdp, client: None });
        self.send_reinvite(call);
    }

    pub(super) fn send_reinvite(&mut self, handle: CallHandle) {
        let Some((flow, via, branch)) = self.prepare(handle) else { return };
        let secure = self.calls.get(&handle).and_then(|call| call.dialog.as_ref()).is_some_and(Dialog::is_secure);
        let (contact, agent) = (self.contact(&flow, secure), self.config.user_agent.clone());
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let (Some(dialog), Some(ours)) = (call.dialog.as_mut(), call.our_offer.as_mut()) else { return };
        let mut writer = dialog.request(&Method::Invite, &via);
        writer.header(HeaderName::Contact, contact);
        writer.header(HeaderName::Allow, screen::ALLOW).header(HeaderName::UserAgent, agent);
        let request = writer.finish(Some((screen::ACCEPT, &ours.sdp)));
        let client = self.open_client(&Method::Invite, &branch, flow, request, User::Reinvite(handle));
        if let Some(ours) = self.calls.get_mut(&handle).and_then(|call| call.our_offer.as_mut()) {
            ours.client = Some(client);
        }
        self.start_call_timer(handle, Timer::OurOffer, self.config.timings.lifetime());
    }

    pub(super) fn on_reinvite_answer(&mut self, handle: CallHandle, status: u16, response: &Message) {
        if status < 200 {
            return;
        }
        self.clock.stop(Owner::Call(handle.as_u64()), Timer::OurOffer);
        let Some(call) = self.calls.get_mut(&handle) else { return };
        match status {
            ..300 => {
                if call.our_offer.take().is_some() {
                    if let (Some(dialog), Ok(Some(contact))) = (call.dialog.as_mut(), response.contact()) {
                        dialog.refresh(contact.uri());
                    }
                    let sdp = Some(response.body().clone()).filter(|body| !body.is_empty());
                    self.event(handle, Event::ReinviteAnswered { call: handle, answer: Ok(sdp) });
                }
                self.acknowledge(handle, response);
            }
            491 => self.retry_after_glare(handle),
            481 | 408 => {
                call.our_offer = None;
                self.lose(handle, EndCause::Forgotten);
            }
            _ => {
                call.our_offer = None;
                self.event(handle, Event::ReinviteAnswered { call: handle, answer: Err(status) });
            }
        }
    }

    /// Section 14.1: whoever made the Call-ID waits longer.
    fn retry_after_glare(&mut self, handle: CallHandle) {
        let wait = if handle.is_outbound() { 2100 + 10 * self.random.below(190) } else { 10 * self.random.below(200) };
        if let Some(ours) = self.calls.get_mut(&handle).and_then(|call| call.our_offer.as_mut()) {
            ours.client = None;
            self.start_call_timer(handle, Timer::Glare, Duration::from_millis(wait));
        }
    }

    /// Our re-INVITE got a provisional answer at most: the dialog cannot be trusted any more.
    pub(super) fn on_offer_unanswered(&mut self, handle: CallHandle) {
        let ours = self.calls.get_mut(&handle).and_then(|call| call.our_offer.take());
        if let Some(client) = ours.and_then(|ours| ours.client) {
            self.forget_client(client);
            self.lose(handle, EndCause::TransactionTimeout);
        }
    }

    pub(super) fn send_info(&mut self, handle: CallHandle, content_type: &str, body: &Bytes) {
        if self.calls.get(&handle).is_some_and(|call| matches!(call.phase, Phase::Established)) {
            self.send_within(handle, &Method::Info, User::Info(handle), Some((content_type, body)), |_| {});
        }
    }

    /// Sends a request within the call's dialog and gives back its CSeq number; `None` where there is no dialog. `fill`
    /// adds fields.
    pub(super) fn send_within(
        &mut self,
        handle: CallHandle,
        method: &Method,
        user: User,
        body: Option<(&str, &[u8])>,
        fill: impl FnOnce(&mut Writer),
    ) -> Option<u32> {
        let (flow, via, branch) = self.prepare(handle)?;
        let secure = self.calls.get(&handle)?.dialog.as_ref()?.is_secure();
        let contact = self.contact(&flow, secure);
        let dialog = self.calls.get_mut(&handle)?.dialog.as_mut()?;
        let mut writer = dialog.request(method, &via);
        let number = dialog.last_cseq();
        if !matches!(method, Method::Bye | Method::Info) {
            // Each of these refreshes the target, or makes a dialog usage of its own.
            writer.header(HeaderName::Contact, contact).header(HeaderName::Allow, screen::ALLOW);
            writer.header(HeaderName::Supported, screen::SUPPORTED.join(", "));
        }
        writer.header(HeaderName::UserAgent, &self.config.user_agent);
        fill(&mut writer);
        self.open_client(method, &branch, flow, writer.finish(body), user);
        Some(number)
    }

    pub(super) fn hang_up(&mut self, handle: CallHandle, reason: Option<ExtraHeader>) {
        self.hang_up_for(handle, EndCause::LocalBye, reason);
    }

    /// Ends a call whatever its state.
    pub(super) fn hang_up_for(&mut self, handle: CallHandle, cause: EndCause, reason: Option<ExtraHeader>) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        match call.phase {
            Phase::Ringing { server } => {
                self.respond(server, 480, None, |writer| {
                    writer.extra(reason.as_slice());
                });
                self.end(handle, cause, None);
                self.forget_call(handle);
            }
            Phase::Calling { .. } => self.give_up(handle, cause),
            Phase::Established => {
                if let Some(server) = self.take_their_offer(handle) {
                    self.respond(server, 487, None, |_| {});
                }
                self.drop_refer(handle);
                self.end(handle, cause, None);
                self.leave(handle, reason);
            }
            Phase::Leaving { .. } | Phase::Ending => {}
        }
    }

    /// BYE now, or once our 2xx is acknowledged.
    fn leave(&mut self, handle: CallHandle, reason: Option<ExtraHeader>) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        if call.ack_wait.is_some() {
            call.phase = Phase::Leaving { reason };
        } else {
            self.send_bye(handle, reason);
        }
    }

    /// Ends a call whose other side fell silent or no longer knows it (section 12.2.1.2).
    pub(super) fn lose(&mut self, handle: CallHandle, cause: EndCause) {
        self.end(handle, cause, None);
        self.send_bye(handle, None);
    }

    pub(super) fn send_bye(&mut self, handle: CallHandle, reason: Option<ExtraHeader>) {
        if self.calls.get(&handle).is_some_and(|call| matches!(call.phase, Phase::Ending)) {
            return;
        }
        let Some((flow, via, branch)) = self.prepare(handle) else { return self.forget_call(handle) };
        self.set_phase(handle, Phase::Ending);
        let dialog = self.calls.get_mut(&handle).and_then(|call| call.dialog.as_mut());
        let Some(dialog) = dialog else { return self.forget_call(handle) };
        let mut writer = dialog.request(&Method::Bye, &via);
        writer.header(HeaderName::UserAgent, &self.config.user_agent).extra(reason.as_slice());
        let request = writer.finish(None);
        self.open_client(&Method::Bye, &branch, flow, request, User::Bye(handle));
    }

    /// Way, Via and branch for a request within the call's dialog.
    pub(super) fn prepare(&mut self, handle: CallHandle) -> Option<(Flow, String, String)> {
        let call = self.calls.get(&handle)?;
        call.dialog.as_ref()?;
        let flow = call.way();
        let (via, branch) = self.new_via(&flow);
        Some((flow, via, branch))
    }

    /// Sends the ACK of a 2xx, or the same ACK again for the same 2xx (section 13.2.2.4).
    pub(super) fn acknowledge(&mut self, handle: CallHandle, response: &Message) {
        let Ok(cseq) = response.cseq() else { return };
        let last = self.calls.get(&handle).and_then(|call| call.last_ack.clone());
        if let Some((_, flow, bytes)) = last.filter(|(number, ..)| *number == cseq.number) {
            return self.outputs.push_back(Output::Transmit { flow, bytes });
        }
        let Some((flow, via, _)) = self.prepare(handle) else { return };
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let Some(dialog) = call.dialog.as_ref() else { return };
        let bytes = dialog.ack(cseq.number, &via).finish(None);
        call.last_ack = Some((cseq.number, flow, bytes.clone()));
        self.outputs.push_back(Output::Transmit { flow, bytes });
    }
}
