//! Requests within a dialog, both ways: BYE, re-INVITE, UPDATE, INFO, OPTIONS (RFC 3261 section 12.2,
//! 14, 15; RFC 3311; RFC 6086 in its legacy form).

use super::call::{Call, Phase};
use super::client::User;
use super::io::{CallHandle, EndCause, Event, Flow, Output};
use super::screen::{self, Refusal};
use super::server::Opening;
use super::{Endpoint, fill_capabilities};
use crate::message::{Essentials, ExtraHeader, HeaderName, Message, Method, Writer};
use crate::pii::Pii;
use bytes::Bytes;

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
            Method::Prack => self.on_prack(handle, server, message),
            Method::Info => self.on_info(handle, server, message),
            Method::Refer => self.on_refer(handle, server, message, &seen.cseq),
            Method::Notify => self.on_notify(handle, server, message),
            _ => {
                let supported = self.supported.join(", ");
                self.respond(server, 200, None, |writer| fill_capabilities(writer, &supported));
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
        self.give_back_offers(call);
        if let Some(invite) = self.ringing(call) {
            self.respond(invite, 487, None, |_| {});
        }
        self.respond(server, 200, None, |_| {});
        let reason = message.text(HeaderName::Reason).map(|reason| reason.into_owned());
        self.end(call, EndCause::RemoteBye, reason);
        self.forget_call(call);
    }

    pub(super) fn refuse_within(&mut self, server: u64, refusal: &Refusal) {
        let retry = self.random.below(10);
        self.respond(server, refusal.status, None, |writer| {
            if let Some((name, value)) = &refusal.field {
                writer.header(*name, value);
            } else if refusal.status == 500 {
                writer.header(HeaderName::RetryAfter, retry);
            }
        });
    }

    fn on_info(&mut self, call: CallHandle, server: u64, message: &Message) {
        self.respond(server, 200, None, |_| {});
        let content_type = message.content_type().unwrap_or_default();
        let body = Pii::new(message.body().clone());
        self.event(call, Event::Info { call, content_type, body });
    }

    pub(super) fn send_info(&mut self, handle: CallHandle, content_type: &str, body: &Bytes) {
        if self.calls.get(&handle).is_some_and(|call| matches!(call.phase, Phase::Established)) {
            self.send_within(handle, &Method::Info, User::Info(handle), Some((content_type, body)), |_| {});
        }
    }

    /// Sends a request within the call's dialog and gives back its transaction and CSeq number; `None` where there is no dialog. `fill`
    /// adds fields.
    pub(super) fn send_within(
        &mut self,
        handle: CallHandle,
        method: &Method,
        user: User,
        body: Option<(&str, &[u8])>,
        fill: impl FnOnce(&mut Writer),
    ) -> Option<(u64, u32)> {
        let (flow, via, branch) = self.prepare(handle)?;
        let secure = self.calls.get(&handle)?.talking()?.is_secure();
        let contact = self.contact(&flow, secure);
        let dialog = self.calls.get_mut(&handle)?.talking_mut()?;
        let mut writer = dialog.request(method, &via);
        let number = dialog.last_cseq();
        if !matches!(method, Method::Bye | Method::Info) {
            // Each of these refreshes the target, or makes a dialog usage of its own.
            writer.header(HeaderName::Contact, contact).header(HeaderName::Allow, screen::ALLOW);
            writer.header(HeaderName::Supported, self.supported.join(", "));
        }
        writer.header(HeaderName::UserAgent, &self.config.user_agent);
        fill(&mut writer);
        let client = self.open_client(method, &branch, flow, writer.finish(body), user);
        Some((client, number))
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
                self.give_back_offers(handle);
                self.end(handle, cause, None);
                self.leave(handle, reason);
            }
            Phase::Leaving { .. } | Phase::Ending => {}
        }
    }

    /// Answers what the application has not answered and now need not.
    pub(super) fn give_back_offers(&mut self, handle: CallHandle) {
        if let Some(server) = self.take_their_offer(handle) {
            self.respond(server, 487, None, |_| {});
        }
        self.drop_refer(handle);
    }

    /// BYE now, or once our 2xx is acknowledged.
    pub(super) fn leave(&mut self, handle: CallHandle, reason: Option<ExtraHeader>) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        if call.ack_wait.is_some() {
            call.phase = Phase::Leaving { reason };
        } else {
            self.send_bye(handle, reason);
        }
    }

    /// Ends a call whose other side fell silent or no longer knows it (section 12.2.1.2).
    pub(super) fn lose(&mut self, handle: CallHandle, cause: EndCause) {
        if self.calls.get(&handle).is_some_and(Call::is_pending) {
            return self.hang_up_for(handle, cause, None);
        }
        self.end(handle, cause, None);
        self.send_bye(handle, None);
    }

    pub(super) fn send_bye(&mut self, handle: CallHandle, reason: Option<ExtraHeader>) {
        if self.calls.get(&handle).is_some_and(|call| matches!(call.phase, Phase::Ending)) {
            return;
        }
        self.send_owed_ack(handle, None);
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
        let flow = call.way_of(call.talking()?);
        let (via, branch) = self.new_via(&flow);
        Some((flow, via, branch))
    }

    /// Sends the ACK of a 2xx, or the same ACK again for the same 2xx (section 13.2.2.4).
    pub(super) fn acknowledge(&mut self, handle: CallHandle, response: &Message) {
        if self.calls.get(&handle).is_some_and(|call| call.owed_ack.is_none()) {
            self.acknowledge_with(handle, response, None);
        }
    }

    /// The same with the answer to the offer that the 2xx carries.
    pub(super) fn acknowledge_with(&mut self, handle: CallHandle, response: &Message, sdp: Option<&Bytes>) {
        let Ok(cseq) = response.cseq() else { return };
        let last = self.calls.get(&handle).and_then(|call| call.last_ack.clone());
        if let Some((_, flow, bytes)) = last.filter(|(number, ..)| *number == cseq.number) {
            return self.outputs.push_back(Output::Transmit { flow, bytes });
        }
        let Some((flow, via, _)) = self.prepare(handle) else { return };
        let proof = self.proof_of(handle, cseq.number);
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let Some(dialog) = call.dialog.as_ref() else { return };
        let mut writer = dialog.ack(cseq.number, &via);
        for answer in &proof {
            writer.header(answer.name, &answer.value);
        }
        let bytes = writer.finish(sdp.map(|sdp| (screen::ACCEPT, sdp.as_ref())));
        call.last_ack = Some((cseq.number, flow, bytes.clone()));
        self.outputs.push_back(Output::Transmit { flow, bytes });
    }
}
