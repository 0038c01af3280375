//! Offers within a call, both ways: re-INVITE and UPDATE with their crossings (RFC 3261 section 14, RFC 3311), and
//! exchanges where the offer comes second, in a 200, and its answer in the ACK (RFC 3264, RFC 6337).

use super::call::Phase;
use super::client::User;
use super::io::{CallHandle, EndCause, Event};
use super::outcome::retry_after;
use super::screen::{self, Refusal};
use super::server::ServerTx;
use super::{Endpoint, Owner};
use crate::message::{Essentials, ExtraHeader, Message, Method};
use crate::transaction::Timer;
use bytes::Bytes;
use std::time::Duration;

/// An offer of ours, or a request for theirs, that was not answered finally.
pub(super) struct OurOffer {
    /// Empty: a re-INVITE asks for their offer, an UPDATE only refreshes.
    pub(super) sdp: Bytes,
    pub(super) by: By,
    /// Its client transaction; `None` while it waits to be tried again.
    pub(super) client: Option<u64>,
    pub(super) tries: u32,
    /// Nobody asked for it but the session timer.
    pub(super) refresh: bool,
}

/// The method an offer goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Reinvite,
    Update,
}

/// A 2xx of theirs that carried an offer: its ACK waits for the application's answer.
pub(super) struct OwedAck {
    pub(super) response: Message,
    /// It is the 2xx that made the call.
    pub(super) initial: bool,
}

impl Endpoint {
    /// A re-INVITE or UPDATE: the application answers it, unless it comes at a wrong time.
    pub(super) fn on_their_offer(
        &mut self,
        handle: CallHandle,
        server: u64,
        message: &Message,
        seen: &Essentials<'_>,
        method: &Method,
    ) {
        let verdict = screen::offer(message)
            .and_then(|()| self.screen_session(message))
            .and_then(|()| self.may_offer(handle, message, method));
        if let Err(refusal) = verdict {
            return self.refuse_within(server, &refusal);
        }
        let Some(call) = self.calls.get_mut(&handle) else { return };
        call.peer.read(message);
        let from_tag = seen.from.tag().unwrap_or_default();
        if let (Some(dialog), Some(contact)) = (call.dialog_mut(from_tag), seen.contact) {
            dialog.refresh(contact.uri());
        }
        let offer = Some(message.body().clone()).filter(|body| !body.is_empty());
        if *method == Method::Update && offer.is_none() {
            let (fill, timer) = (self.fill_dialog(server), self.agree_session(handle, server));
            self.respond(server, 200, None, |writer| {
                fill(writer);
                timer.fill(writer);
            });
            return;
        }
        if *method == Method::Invite {
            self.respond(server, 100, None, |_| {});
        }
        self.ask_for_answer(handle, server, offer);
    }

    /// Gives an offer to the application and waits for its answer.
    pub(super) fn ask_for_answer(&mut self, handle: CallHandle, server: u64, offer: Option<Bytes>) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        call.their_offer = Some(server);
        call.remote_sdp.clone_from(&offer);
        let method = self.servers.peek(server).and_then(ServerTx::cseq).map(|cseq| cseq.method);
        let lifetime = self.config.timings.lifetime();
        // An UPDATE or PRACK is given up by its sender after 64*T1, whatever it has heard.
        let limit = if method == Some(Method::Invite) { lifetime } else { lifetime / 2 };
        self.start_call_timer(handle, Timer::TheirOffer, limit);
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
        let ours = call.our_offer.as_ref().is_some_and(|ours| ours.client.is_some());
        let in_200 = call.ack_wait.as_ref().is_some_and(|wait| wait.offered);
        let in_invite = matches!(call.phase, Phase::Calling { .. }) && !call.is_settled();
        if ours || in_200 || in_invite {
            return Err(Refusal::bare(491));
        }
        let unsettled = matches!(call.phase, Phase::Ringing { .. }) && !call.is_settled();
        let early = call.is_pending() && *method == Method::Invite;
        let unacknowledged = call.ack_wait.is_some() && *method == Method::Invite;
        if unsettled || early || unacknowledged || call.their_offer.is_some() || call.owed_ack.is_some() {
            return Err(Refusal::bare(500));
        }
        Ok(())
    }

    pub(super) fn take_their_offer(&mut self, call: CallHandle) -> Option<u64> {
        let server = self.calls.get_mut(&call)?.their_offer.take();
        self.clock.stop(Owner::Call(call.as_u64()), Timer::TheirOffer);
        server
    }

    pub(super) fn answer_reinvite(&mut self, call: CallHandle, answer: Result<Bytes, u16>) {
        let Some(server) = self.take_their_offer(call) else { return };
        let Some(method) = self.servers.peek(server).and_then(ServerTx::cseq).map(|cseq| cseq.method) else { return };
        match answer {
            Ok(sdp) => {
                if let Some(call) = self.calls.get_mut(&call) {
                    call.local_sdp = Some(sdp.clone());
                }
                if method == Method::Invite {
                    return self.accept(call, server, Some(&sdp), false);
                }
                let fill = self.fill_dialog(server);
                let timer =
                    if method == Method::Update { self.agree_session(call, server) } else { Default::default() };
                self.respond(server, 200, Some(&sdp), |writer| {
                    fill(writer);
                    timer.fill(writer);
                });
            }
            Err(status) => {
                let status = if (300..700).contains(&status) { status } else { 488 };
                self.refuse_within(server, &Refusal::bare(status));
            }
        }
    }

    pub(super) fn reinvite(&mut self, call: CallHandle, sdp: Bytes) {
        self.offer(call, By::Reinvite, sdp);
    }

    pub(super) fn update(&mut self, call: CallHandle, sdp: Option<Bytes>) {
        self.offer(call, By::Update, sdp.unwrap_or_default());
    }

    fn offer(&mut self, handle: CallHandle, by: By, sdp: Bytes) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let early = by == By::Update && call.is_pending() && call.is_settled();
        if !(matches!(call.phase, Phase::Established) || early) || call.is_negotiating() {
            return self.event(handle, Event::ReinviteAnswered { call: handle, answer: Err(491) });
        }
        call.our_offer = Some(OurOffer { sdp, by, client: None, tries: 0, refresh: false });
        self.send_offer(handle);
    }

    /// Sends our offer, or waits a little more while another exchange goes on.
    pub(super) fn send_offer(&mut self, handle: CallHandle) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let busy = call.their_offer.is_some() || call.ack_wait.is_some() || call.owed_ack.is_some();
        let Some(ours) = call.our_offer.as_mut() else { return };
        if busy {
            return self.start_call_timer(handle, Timer::Glare, BUSY);
        }
        ours.tries = ours.tries.saturating_add(1);
        let (sdp, by) = (ours.sdp.clone(), ours.by);
        let method = if by == By::Reinvite { Method::Invite } else { Method::Update };
        let timer = self.propose_session(handle);
        let body = Some((screen::ACCEPT, sdp.as_ref()));
        let sent = self.send_within(handle, &method, User::Offer(handle), body, |writer| timer.fill(writer));
        let call = self.calls.get_mut(&handle);
        let (Some((client, _)), Some(call)) = (sent, call) else { return };
        match call.our_offer.as_mut() {
            Some(ours) => ours.client = Some(client),
            None => return,
        }
        if by == By::Reinvite {
            self.start_call_timer(handle, Timer::OurOffer, self.config.timings.lifetime());
        }
    }

    pub(super) fn on_offer_answer(&mut self, client: u64, handle: CallHandle, status: u16, response: &Message) {
        if status < 200 {
            return;
        }
        let ours = self.calls.get(&handle).and_then(|call| call.our_offer.as_ref());
        let Some(ours) = ours.filter(|ours| ours.client == Some(client)) else {
            // A 2xx that comes again, or after the call was ended, still wants its ACK.
            let is_invite = response.cseq().is_ok_and(|cseq| cseq.method == Method::Invite);
            return if status < 300 && is_invite {
                self.acknowledge(handle, response)
            };
        };
        let (by, refresh, tries) = (ours.by, ours.refresh, ours.tries);
        self.clock.stop(Owner::Call(handle.as_u64()), Timer::OurOffer);
        let again = tries < MAX_TRIES;
        match status {
            ..300 => self.on_offer_taken(handle, response),
            491 if again => self.try_offer_again(handle, None),
            500 if again && retry_after(response).is_some_and(|after| after <= LONGEST_RETRY_S) => {
                self.try_offer_again(handle, retry_after(response));
            }
            422 if again && self.raise_session(handle, response) => self.try_offer_again(handle, Some(0)),
            481 => {
                self.take_our_offer(handle);
                self.lose(handle, EndCause::Forgotten);
            }
            408 => self.lose_offer(handle),
            405 | 501 if refresh && by == By::Update => {
                self.take_our_offer(handle);
                self.refresh_by_reinvite(handle);
            }
            _ => self.fail_offer(handle, status),
        }
    }

    fn on_offer_taken(&mut self, handle: CallHandle, response: &Message) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let Some(ours) = call.our_offer.take() else { return };
        call.peer.read(response);
        if let (Some(dialog), Ok(Some(contact))) = (call.talking_mut(), response.contact()) {
            dialog.refresh(contact.uri());
        }
        if !ours.sdp.is_empty() {
            call.local_sdp = Some(ours.sdp.clone());
        }
        let sdp = Some(response.body().clone()).filter(|body| !body.is_empty());
        let news = !ours.refresh || (sdp.is_some() && sdp != call.remote_sdp);
        if sdp.is_some() {
            call.remote_sdp.clone_from(&sdp);
        }
        let owed = ours.by == By::Reinvite && ours.sdp.is_empty() && sdp.is_some() && !call.ended;
        if owed {
            self.owe_ack(handle, response, false);
        } else if ours.by == By::Reinvite {
            self.acknowledge(handle, response);
        }
        self.on_session_answer(handle, response);
        if news {
            self.event(handle, Event::ReinviteAnswered { call: handle, answer: Ok(sdp) });
        }
    }

    /// Their 2xx carries an offer: the ACK waits for the application.
    pub(super) fn owe_ack(&mut self, handle: CallHandle, response: &Message, initial: bool) {
        if let Some(call) = self.calls.get_mut(&handle) {
            call.owed_ack = Some(OwedAck { response: response.clone(), initial });
            // They repeat their 2xx for 64*T1 and then end the call.
            self.start_call_timer(handle, Timer::OwedAck, self.config.timings.lifetime() / 2);
        }
    }

    /// The application answers an offer that came in a 2xx; without an answer the ACK is bare.
    pub(super) fn send_owed_ack(&mut self, handle: CallHandle, sdp: Option<&Bytes>) -> bool {
        self.clock.stop(Owner::Call(handle.as_u64()), Timer::OwedAck);
        let Some(call) = self.calls.get_mut(&handle) else { return false };
        let Some(owed) = call.owed_ack.take() else { return false };
        if let Some(sdp) = sdp {
            call.local_sdp = Some(sdp.clone());
        }
        self.acknowledge_with(handle, &owed.response, sdp);
        true
    }

    /// The application left their offer in a 2xx unanswered: the call has no media to go on with.
    pub(super) fn on_answer_missing(&mut self, handle: CallHandle) {
        let initial = self.calls.get(&handle).and_then(|call| call.owed_ack.as_ref()).is_some_and(|owed| owed.initial);
        if self.send_owed_ack(handle, None) {
            let text = if initial { "no answer to the offer in 200" } else { "no answer to the new offer" };
            self.end_without_media(handle, text);
        }
    }

    /// One side never gave the session description that was its to give.
    pub(super) fn end_without_media(&mut self, handle: CallHandle, text: &str) {
        self.end(handle, EndCause::NoSdp, None);
        self.send_bye(handle, because(488, text));
    }

    fn take_our_offer(&mut self, handle: CallHandle) -> Option<OurOffer> {
        self.clock.stop(Owner::Call(handle.as_u64()), Timer::OurOffer);
        self.clock.stop(Owner::Call(handle.as_u64()), Timer::Glare);
        self.calls.get_mut(&handle)?.our_offer.take()
    }

    fn fail_offer(&mut self, handle: CallHandle, status: u16) {
        match self.take_our_offer(handle) {
            Some(ours) if ours.refresh => self.refresh_later(handle),
            Some(_) => self.event(handle, Event::ReinviteAnswered { call: handle, answer: Err(status) }),
            None => {}
        }
    }

    /// Nobody answered our offer: the dialog is lost (section 12.2.1.2).
    pub(super) fn lose_offer(&mut self, handle: CallHandle) {
        match self.take_our_offer(handle) {
            Some(ours) if ours.refresh => self.end_session(handle),
            Some(_) => self.lose(handle, EndCause::TransactionTimeout),
            None => {}
        }
    }

    /// The connection failed under our offer. The call itself is not lost by that.
    pub(super) fn drop_offer(&mut self, handle: CallHandle) {
        self.fail_offer(handle, 503);
    }

    /// After a crossing: whoever made the Call-ID waits longer (section 14.1). After 500: as long as it says.
    fn try_offer_again(&mut self, handle: CallHandle, after_s: Option<u32>) {
        let wait = match after_s {
            Some(seconds) => 1000 * u64::from(seconds) + 10 * self.random.below(20),
            None if handle.is_outbound() => 2100 + 10 * self.random.below(190),
            None => 10 * self.random.below(200),
        };
        if let Some(ours) = self.calls.get_mut(&handle).and_then(|call| call.our_offer.as_mut()) {
            ours.client = None;
            self.start_call_timer(handle, Timer::Glare, Duration::from_millis(wait));
        }
    }

    /// Our re-INVITE got a provisional answer at most: the dialog cannot be trusted any more.
    pub(super) fn on_offer_unanswered(&mut self, handle: CallHandle) {
        let client = self.calls.get(&handle).and_then(|call| call.our_offer.as_ref()).and_then(|ours| ours.client);
        if let Some(client) = client {
            self.forget_client(client);
            self.lose_offer(handle);
        }
    }
}

/// A Reason field with a SIP status as its cause (RFC 3326).
pub(super) fn because(cause: u16, text: &str) -> Option<ExtraHeader> {
    ExtraHeader::new("Reason", format!("SIP;cause={cause};text=\"{text}\"")).ok()
}

/// How often an offer that meets another one, or a busy peer, is sent at most.
const MAX_TRIES: u32 = 8;
/// Longest Retry-After that is waited for, in seconds (RFC 3311 section 5.2 asks for at most 10).
const LONGEST_RETRY_S: u32 = 10;
/// When to look again after another exchange.
const BUSY: Duration = Duration::from_millis(500);
