//! Calls that are placed (RFC 3261 section 13.2, 9.1), and what becomes of every answer to our requests.

use super::call::{Call, Cancel, Phase};
use super::client::{Silence, User, follow_up};
use super::digest::Proof;
use super::io::{CallHandle, EndCause, Event, Flow, OutboundInvite, Output};
use super::outcome::{Refused, Remote};
use super::session::SessionFields;
use super::{Endpoint, screen};
use crate::message::{HeaderName, Message, Method, Scheme, Writer};
use crate::transaction::Timer;
use bytes::Bytes;

impl Endpoint {
    pub(super) fn place(&mut self, invite: OutboundInvite) {
        let handle = invite.call;
        let taken = self.calls.contains_key(&handle) || !handle.is_outbound();
        if taken || self.calls.len() >= self.config.max_calls {
            let ended = Event::Ended { call: handle, cause: EndCause::NotPlaced, reason: None, refused: None };
            return self.outputs.push_back(Output::Event(ended));
        }
        let (via, branch) = self.new_via(&invite.flow);
        let request = self.write_invite(&invite, &via);
        // The phase names the transaction, which can only be opened with the call in place.
        let phase = Phase::Calling { client: 0, cancel: Cancel::No };
        let offered = !invite.sdp.is_empty();
        let local_sdp = Some(invite.sdp.clone()).filter(|_| offered);
        let proof = invite.credentials.clone().map(|known| Box::new(Proof::new(known, invite.flow.remote.ip())));
        self.insert_call(handle, Call { offered, local_sdp, proof, ..Call::new(invite.flow, None, phase) });
        let client = self.open_client(
            &Method::Invite,
            &branch,
            invite.flow,
            request.finish(Some((screen::ACCEPT, &invite.sdp))),
            User::Invite(handle),
        );
        self.set_phase(handle, Phase::Calling { client, cancel: Cancel::No });
        self.start_call_timer(handle, Timer::Ring, self.config.ring_limit);
    }

    fn write_invite(&mut self, invite: &OutboundInvite, via: &str) -> Writer {
        let (tag, call_id) = (self.random.token(), self.random.token() + &self.random.token());
        let display = invite.from_display.as_deref().map(quoted).unwrap_or_default();
        let number = self.random.below(1 << 16) + 1;
        let mut writer = Writer::request(&Method::Invite, invite.target.as_str());
        writer
            .header(HeaderName::Via, via)
            .header(HeaderName::MaxForwards, 70)
            .header(HeaderName::From, format_args!("{display}<{}>;tag={tag}", invite.from.as_str()))
            .header(HeaderName::To, format_args!("<{}>", invite.target.as_str()))
            .header(HeaderName::CallId, call_id)
            .header(HeaderName::CSeq, format_args!("{number} INVITE"))
            .header(HeaderName::Contact, self.contact(&invite.flow, invite.target.uri().scheme() == Scheme::Sips))
            .header(HeaderName::Allow, screen::ALLOW)
            .header(HeaderName::Accept, screen::ACCEPT)
            .header(HeaderName::Supported, self.supported_by(invite))
            .header(HeaderName::UserAgent, &self.config.user_agent);
        if let Some(replaces) = &invite.replaces {
            writer.header(HeaderName::Replaces, replaces).header(HeaderName::Require, "replaces");
        }
        self.ask_session(0).fill(&mut writer);
        writer.extra(&invite.headers);
        writer
    }

    /// Without an offer of ours a reliable provisional answer would carry one, and its PRACK would owe the answer.
    fn supported_by(&self, invite: &OutboundInvite) -> String {
        let options = self.supported.iter().filter(|option| **option != "100rel" || !invite.sdp.is_empty());
        options.copied().collect::<Vec<_>>().join(", ")
    }

    /// An answer to one of our requests.
    pub(super) fn on_answer(&mut self, client: u64, user: User, flow: Flow, response: &Message) {
        let Some(status) = response.status() else { return };
        match user {
            User::Invite(call) => self.on_invite_answer(client, call, flow, status, response),
            User::Refer(call) => self.on_refer_answer(call, status, response),
            User::Notify(call, refer) if status >= 300 => self.on_notify_refused(call, refer),
            User::Register(id) => self.on_register_answer(client, id, status, response),
            User::Ping { id, at } => self.on_pong(id, at, status),
            User::Offer(call) => self.on_offer_answer(client, call, status, response),
            User::Bye(call) if status >= 200 => self.forget_call(call),
            User::Info(call) if matches!(status, 408 | 481) => self.lose(call, EndCause::Forgotten),
            _ => {}
        }
    }

    /// One of our requests was never answered.
    pub(super) fn on_silence(&mut self, user: User, silence: Silence) {
        let cause = match silence {
            Silence::TimedOut => EndCause::TransactionTimeout,
            Silence::TransportLost => EndCause::TransportLost,
        };
        match user {
            User::Invite(call) => {
                // Once accepted, the call no longer hangs on the INVITE's transaction.
                if self.calls.get(&call).is_some_and(Call::is_pending) {
                    self.end(call, cause, None);
                    self.forget_call(call);
                }
            }
            User::Bye(call) => self.forget_call(call),
            User::Register(id) => self.on_register_silence(id, silence),
            User::Ping { id, .. } => self.on_ping_silence(id, silence),
            User::Offer(call) if silence == Silence::TimedOut => self.lose_offer(call),
            User::Offer(call) => self.drop_offer(call),
            User::Info(call) if silence == Silence::TimedOut => self.lose(call, cause),
            User::Refer(call) => {
                let status = if silence == Silence::TimedOut { 408 } else { 503 };
                self.event(call, Event::ReferRefused { call, status });
                if let Some(call) = self.calls.get_mut(&call) {
                    call.referring = None;
                }
                if silence == Silence::TimedOut {
                    self.lose(call, cause);
                }
            }
            User::Notify(call, refer) => self.on_notify_refused(call, refer),
            User::Info(_) | User::Prack(_) | User::Nobody => {}
        }
    }

    fn on_invite_answer(&mut self, client: u64, handle: CallHandle, flow: Flow, status: u16, response: &Message) {
        match status {
            ..200 => self.on_progress(client, handle, flow, status, response),
            200..300 => self.on_accepted(client, handle, flow, response),
            422 if self.is_calling(handle, client) == Some(Cancel::No) && self.raise_session(handle, response) => {
                self.place_again(client, handle);
            }
            _ if self.is_calling(handle, client).is_some() => {
                let reason = response.text(HeaderName::Reason).map(|reason| reason.into_owned());
                let refused = Box::new(Refused::read(status, response));
                self.end_refused(handle, EndCause::Rejected(status), reason, Some(refused));
                self.forget_call(handle);
            }
            _ => {}
        }
    }

    /// How far giving up got with the call that this INVITE places; `None` where it places none (any more).
    fn is_calling(&self, handle: CallHandle, invite: u64) -> Option<Cancel> {
        match self.calls.get(&handle)?.phase {
            Phase::Calling { client, cancel } if client == invite => Some(cancel),
            _ => None,
        }
    }

    fn on_progress(&mut self, client: u64, handle: CallHandle, flow: Flow, status: u16, response: &Message) {
        match self.is_calling(handle, client) {
            None | Some(Cancel::Sent) => return,
            Some(Cancel::Wanted) => {
                self.set_phase(handle, Phase::Calling { client, cancel: Cancel::Sent });
                return self.send_cancel(handle, client);
            }
            Some(Cancel::No) => self.follow_connection(handle, flow),
        }
        let Some(early) = self.early_dialog(handle, response).filter(|_| status > 100) else { return };
        if !self.take_provisional(handle, early, response) {
            return;
        }
        let sdp = Some(response.body().clone()).filter(|body| !body.is_empty());
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let fork = call.forks.iter_mut().find(|fork| fork.number == early);
        if let (Some(fork), Some(sdp)) = (fork, &sdp) {
            fork.sdp = Some(sdp.clone());
        }
        self.event(handle, Event::Progress { call: handle, early, status, sdp });
    }

    /// A 2xx to our INVITE: the first makes the call, the same again is acknowledged again, and one
    /// of another fork is acknowledged and ended (section 13.2.2.4).
    fn on_accepted(&mut self, client: u64, handle: CallHandle, flow: Flow, response: &Message) {
        let Some(cancel) = self.is_calling(handle, client) else {
            return if self.is_own(handle, response) {
                self.acknowledge(handle, response);
            } else {
                self.end_fork(client, flow, response);
            };
        };
        let Some((early, early_sdp)) = self.confirm_dialog(handle, response) else { return };
        self.follow_connection(handle, flow);
        self.establish(handle);
        let sdp = Some(response.body().clone()).filter(|body| !body.is_empty()).or(early_sdp);
        let Some(call) = self.calls.get_mut(&handle) else { return };
        call.peer.read(response);
        call.remote_sdp.clone_from(&sdp);
        if call.offered || cancel != Cancel::No || sdp.is_none() {
            self.acknowledge(handle, response);
        } else {
            self.owe_ack(handle, response, true);
        }
        if cancel != Cancel::No {
            return self.send_bye(handle, None);
        }
        if sdp.is_none() {
            return self.end_without_media(handle, "no session description in 200");
        }
        self.on_session_answer(handle, response);
        let remote = Box::new(Remote::read(early, response));
        self.event(handle, Event::Answered { call: handle, sdp, remote });
    }

    /// Sends the INVITE again with the session interval that a 422 asks for (RFC 4028 section 7.3): the same call, one
    /// number up.
    fn place_again(&mut self, client: u64, handle: CallHandle) {
        let Some((flow, invite)) = self.clients.peek(client).map(|tx| (tx.flow, tx.request.clone())) else { return };
        let least_s = self.calls.get(&handle).map_or(0, |call| call.least_s);
        let (via, branch) = self.new_via(&flow);
        let Some(request) = again(&invite, &via, &self.ask_session(least_s)) else { return };
        self.drop_forks(handle);
        let client = self.open_client(&Method::Invite, &branch, flow, request, User::Invite(handle));
        self.set_phase(handle, Phase::Calling { client, cancel: Cancel::No });
    }

    /// True where the response belongs to the call's own dialog.
    fn is_own(&self, handle: CallHandle, response: &Message) -> bool {
        let Ok(seen) = response.essentials() else { return false };
        let dialog = self.calls.get(&handle).and_then(|call| call.dialog.as_ref());
        dialog.is_some_and(|dialog| {
            let id = dialog.id();
            id.call_id == seen.call_id && id.remote_tag == seen.to.tag().unwrap_or_default()
        })
    }

    /// Requests of a call go on the connection its answers came on.
    fn follow_connection(&mut self, handle: CallHandle, flow: Flow) {
        if let Some(call) = self.calls.get_mut(&handle).filter(|_| flow.connection.is_some()) {
            call.flow = flow;
        }
    }

    /// Gives up an outgoing call: CANCEL as soon as it may be sent, BYE where a 200 comes first.
    pub(super) fn give_up(&mut self, handle: CallHandle, cause: EndCause) {
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let Phase::Calling { client, cancel: cancel @ Cancel::No } = &mut call.phase else { return };
        let client = *client;
        let heard = self.clients.peek(client).is_some_and(|tx| tx.is_heard());
        *cancel = if heard { Cancel::Sent } else { Cancel::Wanted };
        self.end(handle, cause, None);
        if heard {
            self.send_cancel(handle, client);
        }
    }

    fn send_cancel(&mut self, handle: CallHandle, client: u64) {
        let Some((flow, invite)) = self.clients.peek(client).map(|tx| (tx.flow, tx.request.clone())) else { return };
        let Some(request) = follow_up(&Method::Cancel, &invite, None) else { return };
        let branch = Message::parse(invite).ok().and_then(|invite| Some(invite.via().ok()?.branch()?.to_owned()));
        self.open_client(&Method::Cancel, &branch.unwrap_or_default(), flow, request, User::Nobody);
        self.start_call_timer(handle, Timer::Cancelled, self.config.timings.lifetime());
    }

    /// The cancelled INVITE was never answered finally (section 9.1): it counts as over.
    pub(super) fn on_cancel_unanswered(&mut self, handle: CallHandle) {
        if let Some(Phase::Calling { client, .. }) = self.calls.get(&handle).map(|call| &call.phase) {
            self.forget_client(*client);
        }
        self.forget_call(handle);
    }
}

/// The same INVITE with a Via, a number and session timer fields of its own.
fn again(invite: &Bytes, via: &str, timer: &SessionFields) -> Option<Bytes> {
    let invite = Message::parse(invite.clone()).ok()?;
    let number = invite.cseq().ok()?.number.checked_add(1)?;
    let mut writer = Writer::request(&Method::Invite, invite.request_uri().ok()?.as_str());
    writer.header(HeaderName::Via, via);
    for (name, spelled, value) in invite.iter() {
        match name {
            HeaderName::Via | HeaderName::SessionExpires | HeaderName::MinSe => {}
            // A nonce is not to be counted twice: whoever wants credentials asks again.
            HeaderName::Authorization | HeaderName::ProxyAuthorization => {}
            HeaderName::ContentType | HeaderName::ContentLength => {}
            HeaderName::CSeq => {
                writer.header(HeaderName::CSeq, format_args!("{number} INVITE"));
            }
            _ => {
                writer.field(&String::from_utf8_lossy(spelled), String::from_utf8_lossy(value));
            }
        }
    }
    timer.fill(&mut writer);
    Some(writer.finish(Some((screen::ACCEPT, invite.body().as_ref()))))
}

fn quoted(display: &str) -> String {
    let escaped = display.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\" ")
}
