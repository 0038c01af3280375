//! Transfers, both ways (RFC 3515, RFC 4488): the REFER that we send and the NOTIFYs that tell how it goes, and the
//! REFER that comes in, which nothing here follows: the application decides, and the rule is to refuse.
//!
//! Deliberately absent: REFER outside a dialog, and subscriptions of any other kind.

use super::call::Phase;
use super::client::User;
use super::io::{CallHandle, EndCause, Event};
use super::screen::Refusal;
use super::{Endpoint, Owner};
use crate::dialog::{Replaces, SubscriptionState, fragment_status};
use crate::message::{CSeq, HeaderName, Message, Method, Scheme, UriBuf, reason_phrase};
use crate::pii::Pii;
use crate::transaction::Timer;
use std::time::Duration;

/// A REFER of ours.
pub(super) struct Referring {
    /// Its CSeq number, which is the id of the subscription it makes.
    cseq: u32,
    /// The last status that was heard of the new call.
    last: u16,
    /// Its outcome was reported; NOTIFYs that still come are only answered.
    done: bool,
}

/// A REFER of theirs.
pub(super) struct Referred {
    /// Its server transaction, until the application has answered.
    server: Option<u64>,
    cseq: u32,
    /// They asked for no NOTIFYs.
    silent: bool,
}

impl Referring {
    /// It was sent again under another number.
    pub(super) fn renumber(&mut self, cseq: u32) {
        self.cseq = cseq;
    }
}

impl Endpoint {
    pub(super) fn refer(&mut self, handle: CallHandle, to: &UriBuf, replaces: Option<CallHandle>, by: Option<&UriBuf>) {
        let Some(call) = self.calls.get(&handle) else { return };
        if !matches!(call.phase, Phase::Established) {
            return self.event(handle, Event::ReferRefused { call: handle, status: 481 });
        }
        if call.referring.as_ref().is_some_and(|ours| !ours.done) {
            return self.event(handle, Event::ReferRefused { call: handle, status: 491 });
        }
        let Ok(target) = self.refer_to(to, replaces) else {
            return self.event(handle, Event::ReferRefused { call: handle, status: 481 });
        };
        let sent = self.send_within(handle, &Method::Refer, User::Refer(handle), None, |writer| {
            writer.header(HeaderName::ReferTo, format_args!("<{target}>"));
            if let Some(by) = by {
                writer.header(HeaderName::ReferredBy, format_args!("<{}>", by.as_str()));
            }
        });
        if let (Some((_, cseq)), Some(call)) = (sent, self.calls.get_mut(&handle)) {
            call.referring = Some(Referring { cseq, last: 100, done: false });
            self.clock.stop(Owner::Call(handle.as_u64()), Timer::Notified);
        }
    }

    /// The Refer-To address; for an attended transfer it carries the other call's identity as its far end knows it.
    fn refer_to(&self, to: &UriBuf, replaces: Option<CallHandle>) -> Result<String, ()> {
        let Some(other) = replaces else { return Ok(to.as_str().to_owned()) };
        let other = self.calls.get(&other).filter(|call| matches!(call.phase, Phase::Established) && !call.ended);
        let dialog = other.and_then(|call| call.dialog.as_ref()).ok_or(())?;
        let joint = if to.uri().headers().is_empty() { '?' } else { '&' };
        Ok(format!("{}{joint}Replaces={}", to.as_str(), Replaces::of(dialog).escaped()))
    }

    pub(super) fn on_refer_answer(&mut self, handle: CallHandle, status: u16, response: &Message) {
        if status < 200 {
            return;
        }
        let Some(ours) = self.calls.get_mut(&handle).and_then(|call| call.referring.as_mut()) else { return };
        if response.cseq().map_or(true, |cseq| cseq.number != ours.cseq) {
            return;
        }
        if status >= 300 {
            if let Some(call) = self.calls.get_mut(&handle) {
                call.referring = None;
            }
            self.event(handle, Event::ReferRefused { call: handle, status });
            if matches!(status, 408 | 481) {
                self.lose(handle, EndCause::Forgotten);
            }
            return;
        }
        let unsubscribed = response.text(HeaderName::ReferSub).is_some_and(|value| says_false(&value));
        let heard = ours.last > 100 || ours.done;
        if unsubscribed {
            self.refer_is_done(handle, status);
        } else if !heard {
            self.start_call_timer(handle, Timer::Notified, self.config.timings.lifetime());
        }
    }

    /// Our REFER was accepted, and then nothing more was heard of it.
    pub(super) fn on_refer_silence(&mut self, handle: CallHandle) {
        let last = self.calls.get(&handle).and_then(|call| call.referring.as_ref()).map(|ours| ours.last);
        match last {
            Some(100) => self.refer_is_done(handle, 408),
            Some(last) => self.refer_is_done(handle, last),
            None => {}
        }
    }

    fn refer_is_done(&mut self, handle: CallHandle, status: u16) {
        self.clock.stop(Owner::Call(handle.as_u64()), Timer::Notified);
        let Some(ours) = self.calls.get_mut(&handle).and_then(|call| call.referring.as_mut()) else { return };
        if !std::mem::replace(&mut ours.done, true) {
            self.event(handle, Event::ReferProgress { call: handle, status, done: true });
        }
    }

    /// NOTIFY: progress of the transfer that we asked for.
    pub(super) fn on_notify(&mut self, handle: CallHandle, server: u64, message: &Message) {
        let heard = match self.read_notify(handle, message) {
            Ok(heard) => heard,
            Err(refusal) => return self.refuse_within(server, &refusal),
        };
        self.respond(server, 200, None, |_| {});
        let Heard { status, state } = heard;
        let Some(ours) = self.calls.get_mut(&handle).and_then(|call| call.referring.as_mut()) else { return };
        ours.last = status.unwrap_or(ours.last);
        let (last, done) = (ours.last, ours.done);
        match state {
            SubscriptionState::Terminated => {
                self.refer_is_done(handle, last);
                if let Some(call) = self.calls.get_mut(&handle) {
                    call.referring = None;
                }
            }
            _ if last >= 200 => self.refer_is_done(handle, last),
            SubscriptionState::Active { expires_s } if !done => {
                let limit = self.config.ring_limit;
                let left = expires_s.map_or(limit, |seconds| Duration::from_secs(seconds.into()).min(limit));
                self.start_call_timer(handle, Timer::Notified, left.max(self.config.timings.t4));
                self.event(handle, Event::ReferProgress { call: handle, status: last, done: false });
            }
            SubscriptionState::Active { .. } => {}
        }
    }

    fn read_notify(&self, handle: CallHandle, message: &Message) -> Result<Heard, Refusal> {
        let event = message.text(HeaderName::Event).unwrap_or_default();
        let (package, params) = event.split_once(';').unwrap_or((&event, ""));
        if package.trim() != PACKAGE {
            return Err(Refusal::with(489, HeaderName::AllowEvents, PACKAGE));
        }
        let id = params.split(';').find_map(|param| param.trim().strip_prefix("id=")).map(str::trim);
        let ours = self.calls.get(&handle).and_then(|call| call.referring.as_ref());
        ours.filter(|ours| id.is_none_or(|id| id.parse() == Ok(ours.cseq))).ok_or(Refusal::bare(481))?;
        let state = message.text(HeaderName::SubscriptionState);
        let state = state.and_then(|state| SubscriptionState::parse(&state)).ok_or(Refusal::bare(400))?;
        if message.body().is_empty() {
            return Ok(Heard { status: None, state });
        }
        if message.content_type().is_none_or(|media| media != FRAGMENT) {
            return Err(Refusal::with(415, HeaderName::Accept, FRAGMENT));
        }
        let status = fragment_status(message.body()).ok_or(Refusal::bare(400))?;
        Ok(Heard { status: Some(status), state })
    }

    /// REFER within a call: the application is asked.
    pub(super) fn on_refer(&mut self, handle: CallHandle, server: u64, message: &Message, cseq: &CSeq) {
        let asked = match self.read_refer(handle, message) {
            Ok(asked) => asked,
            Err(refusal) => return self.refuse_within(server, &refusal),
        };
        let silent = message.text(HeaderName::ReferSub).is_some_and(|value| says_false(&value));
        let Some(call) = self.calls.get_mut(&handle) else { return };
        call.referred = Some(Referred { server: Some(server), cseq: cseq.number, silent });
        // Half of what the other side waits for an answer.
        self.start_call_timer(handle, Timer::TheirRefer, self.config.timings.lifetime() / 2);
        let Asked { to, replaces, by } = asked;
        self.event(handle, Event::Referred { call: handle, to, replaces, referred_by: by });
    }

    fn read_refer(&self, handle: CallHandle, message: &Message) -> Result<Asked, Refusal> {
        let call = self.calls.get(&handle).ok_or(Refusal::bare(481))?;
        if !matches!(call.phase, Phase::Established) || call.ended {
            return Err(Refusal::bare(603));
        }
        if call.referred.is_some() {
            return Err(Refusal::bare(491));
        }
        if message.values(HeaderName::ReferTo).count() != 1 {
            return Err(Refusal::bare(400));
        }
        let to = message.address(HeaderName::ReferTo).map_err(|_| Refusal::bare(400))?;
        let uri = to.uri();
        if uri.scheme() == Scheme::Other {
            return Err(Refusal::bare(416));
        }
        if uri.param("method").flatten().is_some_and(|method| method != "INVITE") {
            return Err(Refusal::bare(403));
        }
        let replaces = Replaces::among(uri.headers()).map_err(|_| Refusal::bare(400))?;
        let bare = uri.as_str().split_once('?').map_or(uri.as_str(), |(bare, _)| bare);
        let to = UriBuf::parse(bare).map_err(|_| Refusal::bare(400))?;
        let by = message.text(HeaderName::ReferredBy).map(|by| Pii::new(by.into_owned()));
        Ok(Asked { to: Pii::new(to), replaces, by })
    }

    pub(super) fn answer_refer(&mut self, handle: CallHandle, answer: Result<(), u16>) {
        let Some(theirs) = self.calls.get_mut(&handle).and_then(|call| call.referred.as_mut()) else { return };
        let Some(server) = theirs.server.take() else { return };
        let silent = theirs.silent;
        self.clock.stop(Owner::Call(handle.as_u64()), Timer::TheirRefer);
        if answer.is_err() || silent {
            self.forget_referral(handle);
        }
        match answer {
            Err(status) => {
                let status = if (300..700).contains(&status) { status } else { 603 };
                self.respond(server, status, None, |_| {});
            }
            Ok(()) => {
                let fill = self.fill_dialog(server);
                self.respond(server, 202, None, |writer| {
                    fill(writer);
                    if silent {
                        writer.header(HeaderName::ReferSub, "false");
                    }
                });
                if !silent {
                    self.start_call_timer(handle, Timer::Referral, self.config.ring_limit);
                    self.notify(handle, 100, "active");
                }
            }
        }
    }

    /// Tells the other side how the call goes that it asked for. A status from 200 on is the last.
    pub(super) fn notify_refer(&mut self, handle: CallHandle, status: u16) {
        let call = self.calls.get(&handle).filter(|call| matches!(call.phase, Phase::Established) && !call.ended);
        let accepted = call.and_then(|call| call.referred.as_ref()).is_some_and(|theirs| theirs.server.is_none());
        if !accepted || !(100..700).contains(&status) {
            return;
        }
        if status < 200 {
            return self.notify(handle, status, "active");
        }
        self.notify(handle, status, "terminated;reason=noresource");
        self.forget_referral(handle);
    }

    /// The application never said how the call went that it was asked for.
    pub(super) fn on_referral_expired(&mut self, handle: CallHandle) {
        self.notify(handle, 408, "terminated;reason=timeout");
        self.forget_referral(handle);
    }

    fn notify(&mut self, handle: CallHandle, status: u16, state: &str) {
        let Some(theirs) = self.calls.get(&handle).and_then(|call| call.referred.as_ref()) else { return };
        let (id, limit) = (theirs.cseq, self.config.ring_limit.as_secs());
        let fragment = format!("SIP/2.0 {status} {}\r\n", reason_phrase(status));
        let body = Some(("message/sipfrag;version=2.0", fragment.as_bytes()));
        self.send_within(handle, &Method::Notify, User::Notify(handle, id), body, |writer| {
            writer.header(HeaderName::Event, format_args!("{PACKAGE};id={id}"));
            if state == "active" {
                writer.header(HeaderName::SubscriptionState, format_args!("active;expires={limit}"));
            } else {
                writer.header(HeaderName::SubscriptionState, state);
            }
        });
    }

    /// Nobody listens to the NOTIFYs of the transfer with this CSeq number.
    pub(super) fn on_notify_refused(&mut self, handle: CallHandle, refer: u32) {
        let theirs = self.calls.get(&handle).and_then(|call| call.referred.as_ref());
        if theirs.is_some_and(|theirs| theirs.cseq == refer && theirs.server.is_none()) {
            self.forget_referral(handle);
        }
    }

    fn forget_referral(&mut self, handle: CallHandle) {
        if let Some(call) = self.calls.get_mut(&handle) {
            call.referred = None;
            self.clock.stop(Owner::Call(handle.as_u64()), Timer::Referral);
            self.clock.stop(Owner::Call(handle.as_u64()), Timer::TheirRefer);
        }
    }

    /// Answers a transfer that is still open when its call ends.
    pub(super) fn drop_refer(&mut self, handle: CallHandle) {
        let theirs = self.calls.get_mut(&handle).and_then(|call| call.referred.take());
        if let Some(server) = theirs.and_then(|theirs| theirs.server) {
            self.respond(server, 487, None, |_| {});
        }
    }
}

struct Heard {
    status: Option<u16>,
    state: SubscriptionState,
}

struct Asked {
    to: Pii<UriBuf>,
    replaces: Option<Replaces>,
    by: Option<Pii<String>>,
}

fn says_false(value: &str) -> bool {
    value.split(';').next().is_some_and(|value| value.trim().eq_ignore_ascii_case("false"))
}

/// The event package of transfers (RFC 3515 section 3.2).
const PACKAGE: &str = "refer";
const FRAGMENT: &str = "message/sipfrag";
