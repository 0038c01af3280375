//! What becomes of the calls that the SIP endpoint reports: a leg, a place on a shard, an answer, and an end.
//!
//! Calls of ours are in `place.rs`, announcements before the answer in `early.rs`, holds of ours in `hold.rs`, transfers in `refer.rs`, what the end of a call means in `ends.rs`.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use offhook_media::dtmf::Digit;
use offhook_sip::message::{ExtraHeader, UriBuf};
use offhook_sip::{CallHandle, Command, EndCause, Flow, IncomingInvite};

use super::ends::end_reason;
use super::hold::{Holding, Unsaid};
use super::media::{CallMedia, MediaDesk, MediaRefusal, Offered, Reach};
use super::place::Attempt;
use super::routes::Routes;
use crate::call::core::CallInput;
use crate::call::reception::{Caller, Reception};
use crate::call::shard::CallPort;
use crate::clock;
use crate::store::record::{CallId, Direction, EndReason, Via};
use crate::telemetry::metrics::BadInput;
use crate::telemetry::pii::Pii;
use crate::transport::pending::{LegSlot, PendingLeg};
use crate::transport::signalling::{FromLeg, Signalling};

/// The SIP calls that are going on.
pub struct Calls {
    pub(super) reception: Arc<Reception>,
    pub(super) media: MediaDesk,
    pub(super) signalling: Signalling,
    pub(super) routes: Box<dyn Routes>,
    retry_after_s: u32,
    draining: bool,
    full: bool,
    /// By the number of the endpoint's handle.
    pub(super) calls: HashMap<u64, Live>,
    /// The handle of a call of ours that had to be tried again, or of one whose place was taken, by the number that its
    /// leg knows.
    pub(super) retried: HashMap<u64, u64>,
    pub(super) last_retry: u64,
    /// Holds of ours to be offered again.
    pub(super) unsaid: Unsaid,
}

/// One call that is going on.
pub(super) struct Live {
    pub handle: CallHandle,
    /// The number that its leg knows.
    pub name: u64,
    pub id: CallId,
    pub port: CallPort,
    pub flow: Flow,
    pub stage: Stage,
    pub direction: Direction,
    /// Whether the far side holds the call.
    pub held: bool,
    /// Whether we do.
    pub holding: Holding,
    /// Where the far side is, for whoever is to take our place there.
    pub contact: Option<UriBuf>,
    /// What is left to try of a call of ours.
    pub attempt: Option<Attempt>,
    /// Our answer, kept until the caller has heard what comes before it.
    pub answer: Option<Bytes>,
}

/// How far the media of a call are agreed on.
pub(super) enum Stage {
    /// Our offer is out; the leg comes with its answer.
    Offered {
        offered: Box<Offered>,
        slot: LegSlot,
    },
    Agreed(Box<CallMedia>),
    /// Between the two, or for ever: there was no agreement.
    None,
}

impl Calls {
    pub fn new(
        reception: Arc<Reception>,
        media: MediaDesk,
        signalling: Signalling,
        routes: Box<dyn Routes>,
        retry_after_s: u32,
    ) -> Self {
        Self {
            reception,
            media,
            signalling,
            routes,
            retry_after_s,
            draining: false,
            full: false,
            calls: HashMap::new(),
            retried: HashMap::new(),
            last_retry: 0,
            unsaid: Unsaid::default(),
        }
    }

    /// Somebody calls: answered at once, or refused with what is wrong.
    pub fn incoming(&mut self, call: CallHandle, flow: &Flow, invite: &IncomingInvite) -> Vec<Command> {
        let began = clock::now();
        match self.take(call, flow, invite) {
            Ok(sdp) => {
                self.reception.services().metrics.sip_setup_ms.observe((clock::now() - began).as_secs_f64() * 1000.0);
                vec![self.answer_or_announce(call, invite, sdp)]
            }
            Err(refusal) => vec![self.refuse(call, refusal)],
        }
    }

    /// Our answer was acknowledged: audio may flow. `sdp` is their answer, where the offer was ours.
    pub fn confirmed(&mut self, call: CallHandle, sdp: Option<&[u8]>) -> Vec<Command> {
        match self.calls.get_mut(&call.as_u64()) {
            Some(live) => live.connected(sdp),
            None => Vec::new(),
        }
    }

    /// The other side offers new media for a call that is going on: a hold, a moved address, a refresh. Without an
    /// offer it asks for ours.
    pub fn reinvite(&mut self, call: CallHandle, offer: Option<&[u8]>) -> Vec<Command> {
        let answer = match self.calls.get_mut(&call.as_u64()) {
            Some(live) => live.reoffered(offer),
            None => Err(481),
        };
        vec![Command::AnswerReinvite { call, answer }]
    }

    /// An offer of ours within a call was answered; a refusal leaves the media as they were.
    pub fn reinvite_answered(&mut self, call: CallHandle, answer: Result<Option<Bytes>, u16>) -> Vec<Command> {
        let Some(live) = self.calls.get_mut(&call.as_u64()) else { return Vec::new() };
        if let (Ok(Some(answer)), Stage::Agreed(media)) = (&answer, &mut live.stage)
            && media.answered(answer).is_ok()
        {
            live.tell_hold();
        }
        self.hold_answered(call, answer.err())
    }

    /// Keys by SIP INFO: `application/dtmf-relay` and `application/dtmf`.
    pub fn info(&mut self, call: CallHandle, content_type: &str, body: &[u8]) -> Vec<Command> {
        let Some(live) = self.calls.get_mut(&call.as_u64()) else { return Vec::new() };
        match (info_digit(content_type, body), &mut live.stage) {
            // A telephone that presses faster than the leg's inbox is emptied, 16 keys in 20 ms, is none.
            (Some(digit), Stage::Agreed(media)) => drop(media.press(digit)),
            (Some(digit), _) => live.port.signal(CallInput::Digit(digit)),
            (None, _) => self.reception.services().metrics.bad_input(BadInput::Dtmf),
        }
        Vec::new()
    }

    /// The signalling says that the call is over, or that this way to place it has failed.
    pub fn ended(&mut self, call: CallHandle, cause: EndCause) -> Vec<Command> {
        let Some(live) = self.calls.remove(&call.as_u64()) else { return Vec::new() };
        if let Some(trunk) = live.attempt.as_ref().and_then(|attempt| attempt.trunk.as_ref()) {
            self.routes.ended(trunk);
        }
        let answered = matches!(live.stage, Stage::Agreed(_));
        if live.may_try_again(cause) {
            return self.try_again(live);
        }
        self.retried.remove(&live.name);
        live.port.signal(CallInput::HungUp(end_reason(live.direction, answered, cause)));
        Vec::new()
    }

    /// What the endpoint is to be told before the next message: that the server takes no new calls any more (OPTIONS are
    /// answered 503 too, so that balancers send their calls elsewhere), that every place is taken, or that one is free.
    pub fn door(&mut self) -> Option<Command> {
        let admission = self.reception.admission();
        if !self.draining && admission.is_draining() {
            self.draining = true;
            return Some(Command::Drain { retry_after_s: Some(self.retry_after_s) });
        }
        let full = admission.is_full();
        if full == self.full {
            return None;
        }
        self.full = full;
        Some(Command::Full { retry_after_s: full.then_some(self.retry_after_s) })
    }

    /// Whether no call goes on.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// A leg says something.
    pub fn leg_says(&mut self, message: FromLeg) -> Vec<Command> {
        match message {
            FromLeg::HangUp(call) => self.hung_up(call),
            FromLeg::Refer { call, to } => self.refer(call, &to),
            FromLeg::Join { call, target } => self.join(call, target),
            FromLeg::Answer(call) => self.answer_now(call),
            FromLeg::Hold { call, on } => self.hold(call, on),
        }
    }

    /// Ends that found the inbox of the signalling full.
    pub fn sweep(&mut self) -> Vec<Command> {
        let kept = self.signalling.kept();
        kept.into_iter().flat_map(|call| self.hung_up(call)).collect()
    }

    /// The call of a leg.
    pub(super) fn of_leg(&mut self, name: u64) -> Option<&mut Live> {
        let key = self.retried.get(&name).copied().unwrap_or(name);
        self.calls.get_mut(&key)
    }

    fn hung_up(&mut self, name: u64) -> Vec<Command> {
        let key = self.retried.remove(&name).unwrap_or(name);
        let Some(live) = self.calls.remove(&key) else { return Vec::new() };
        if let Some(trunk) = live.attempt.as_ref().and_then(|attempt| attempt.trunk.as_ref()) {
            self.routes.ended(trunk);
        }
        vec![Command::Bye { call: live.handle, reason: None }]
    }

    fn take(&mut self, call: CallHandle, flow: &Flow, invite: &IncomingInvite) -> Result<Bytes, Refusal> {
        if let Some(old) = invite.replaces {
            return self.take_over(call, old, flow, invite.offer.as_deref());
        }
        let permit = self.reception.admit().map_err(|_| Refusal::Busy)?;
        let name = call.as_u64();
        let id = CallId::fresh();
        let reach = Reach { profile: self.routes.profile_of(flow.remote.ip()), ..Reach::from(flow) };
        let (leg, stage, sdp): (Box<dyn crate::call::leg::Leg>, Stage, Bytes) = match invite.offer.as_deref() {
            Some(offer) => {
                let mut answered = self.media.answer(name, reach, offer)?;
                if self.reception.announcement(invite.called.reveal()).is_some() {
                    answered.leg.waits_with_the_answer();
                }
                (Box::new(answered.leg), Stage::Agreed(Box::new(answered.media)), answered.sdp)
            }
            None => {
                let offered = self.media.offer(name, reach)?;
                let (leg, slot) = PendingLeg::new(self.signalling.clone(), name);
                let sdp = offered.sdp.clone();
                (Box::new(leg), Stage::Offered { offered: Box::new(offered), slot }, sdp)
            }
        };
        let caller = Caller {
            id,
            via: Via::Sip,
            called: invite.called.reveal().clone(),
            caller: Pii::new(invite.caller.reveal().clone()),
            leg,
        };
        let port = self.reception.receive(caller, permit).ok_or(Refusal::Busy)?;
        let live = Live {
            handle: call,
            name,
            id,
            port,
            flow: *flow,
            stage,
            direction: Direction::Inbound,
            held: false,
            holding: Holding::default(),
            contact: None,
            attempt: None,
            answer: None,
        };
        self.calls.insert(name, live);
        Ok(sdp)
    }

    /// The place of a call that is going on, as at the end of a transfer with consultation (RFC 3891): its conversation,
    /// record and ports go on, and the endpoint ends the old dialog as this one is answered. Whoever takes a place takes
    /// what was keyed and said there, so that only a trunk may do so, with calls of its own.
    fn take_over(
        &mut self,
        call: CallHandle,
        old: CallHandle,
        flow: &Flow,
        offer: Option<&[u8]>,
    ) -> Result<Bytes, Refusal> {
        let peer = flow.remote.ip();
        let trunk = self.routes.trunk_of(peer).ok_or(Refusal::Replaces)?;
        let live = self.calls.get_mut(&old.as_u64()).ok_or(Refusal::Replaces)?;
        let (Stage::Agreed(media), Some(offer)) = (&mut live.stage, offer) else { return Err(Refusal::Sdp(488)) };
        if self.routes.trunk_of(live.flow.remote.ip()) != Some(trunk) {
            return Err(Refusal::Replaces);
        }
        let sdp = media.taken_over(offer, peer)?;
        let (name, number) = (live.name, call.as_u64());
        (live.handle, live.flow, live.contact) = (call, *flow, None);
        live.tell_hold();
        if let Some(live) = self.calls.remove(&old.as_u64()) {
            self.calls.insert(number, live);
            self.retried.insert(name, number);
        }
        Ok(sdp)
    }

    fn refuse(&self, call: CallHandle, refusal: Refusal) -> Command {
        let metrics = &self.reception.services().metrics;
        let (status, headers) = match refusal {
            Refusal::Busy => {
                (503, ExtraHeader::new("Retry-After", self.retry_after_s.to_string()).into_iter().collect())
            }
            Refusal::Replaces => (403, Vec::new()),
            Refusal::Sdp(status) => {
                metrics.bad_input(BadInput::Sdp);
                (status, Vec::new())
            }
        };
        Command::Reject { call, status, headers }
    }
}

impl Live {
    /// The call is answered on both sides. `sdp` is their answer, where the offer was ours.
    pub(super) fn connected(&mut self, sdp: Option<&[u8]>) -> Vec<Command> {
        match (std::mem::replace(&mut self.stage, Stage::None), sdp) {
            (Stage::Agreed(mut media), sdp) => {
                // The answer to a later offer of ours; one that cannot be read leaves the media as they were.
                let _ = sdp.map(|sdp| media.answered(sdp));
                self.stage = Stage::Agreed(media);
            }
            (Stage::Offered { offered, slot }, Some(answer)) => match offered.answered(answer) {
                Ok((leg, media)) => {
                    slot.fill(leg);
                    self.stage = Stage::Agreed(Box::new(media));
                }
                Err(_) => return self.without_media(),
            },
            (Stage::Offered { .. } | Stage::None, _) => return self.without_media(),
        }
        self.port.signal(CallInput::Connected);
        self.tell_hold();
        Vec::new()
    }

    fn without_media(&self) -> Vec<Command> {
        self.port.signal(CallInput::HungUp(EndReason::NoMedia));
        // The leg's own hang-up ends the signalling.
        Vec::new()
    }

    fn reoffered(&mut self, offer: Option<&[u8]>) -> Result<Bytes, u16> {
        let Stage::Agreed(media) = &mut self.stage else { return Err(500) };
        let answer = match offer {
            Some(offer) => media.reoffered(offer).map_err(MediaRefusal::status)?,
            None => media.offer(self.holding.direction()),
        };
        self.tell_hold();
        Ok(answer)
    }

    /// The call is told once when it is held and once when it no longer is.
    fn tell_hold(&mut self) {
        let Stage::Agreed(media) = &self.stage else { return };
        let held = !media.sends();
        if std::mem::replace(&mut self.held, held) != held {
            self.port.signal(CallInput::Held(held));
        }
    }
}

/// Why an INVITE is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Busy,
    /// It asks for the place of a call that is going on, and is not who may.
    Replaces,
    /// The session description cannot be read or agreed to.
    Sdp(u16),
}

impl From<MediaRefusal> for Refusal {
    fn from(refusal: MediaRefusal) -> Self {
        match refusal {
            MediaRefusal::NoPort | MediaRefusal::Busy => Self::Busy,
            MediaRefusal::Sdp(status) => Self::Sdp(status),
        }
    }
}

/// The key in an INFO body: `Signal=5` lines, or the bare key.
fn info_digit(content_type: &str, body: &[u8]) -> Option<Digit> {
    let text = std::str::from_utf8(body).ok()?;
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let key = if kind.eq_ignore_ascii_case("application/dtmf-relay") {
        text.lines()
            .find_map(|line| line.trim().strip_prefix("Signal=").or_else(|| line.trim().strip_prefix("Signal =")))?
    } else if kind.eq_ignore_ascii_case("application/dtmf") {
        text
    } else {
        return None;
    };
    let mut keys = key.trim().chars();
    let digit = Digit::try_from(keys.next()?).ok()?;
    keys.next().is_none().then_some(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bodies_of_info_carry_a_key() {
        let five = Digit::try_from('5').ok();
        assert_eq!(info_digit("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n"), five);
        assert_eq!(info_digit("Application/DTMF-relay; x=y", b"Signal= 5\r\n"), five);
        assert_eq!(info_digit("application/dtmf", b"5"), five);
        for (kind, body) in [("application/dtmf", "55"), ("text/plain", "5"), ("application/dtmf-relay", "Duration=1")]
        {
            assert_eq!(info_digit(kind, body.as_bytes()), None);
        }
    }
}
