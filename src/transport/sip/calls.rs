//! What becomes of the calls that the SIP endpoint reports: a leg, a place on a shard, and an answer.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use offhook_media::dtmf::Digit;
use offhook_sip::message::ExtraHeader;
use offhook_sip::{CallHandle, Command, EndCause, Flow, IncomingInvite};

use super::media::{Answered, CallMedia, MediaDesk, MediaRefusal};
use crate::call::core::CallInput;
use crate::call::reception::{Caller, Reception};
use crate::call::shard::CallPort;
use crate::clock;
use crate::store::record::{CallId, EndReason, Via};
use crate::telemetry::metrics::BadInput;
use crate::telemetry::pii::Pii;
use crate::transport::rtp::HangUp;

/// The SIP calls that are going on.
pub struct Calls {
    reception: Arc<Reception>,
    media: MediaDesk,
    retry_after_s: u32,
    draining: bool,
    full: bool,
    calls: HashMap<u64, Live>,
}

impl Calls {
    pub fn new(reception: Arc<Reception>, media: MediaDesk, retry_after_s: u32) -> Self {
        Self { reception, media, retry_after_s, draining: false, full: false, calls: HashMap::new() }
    }

    /// Somebody calls: answered at once, or refused with what is wrong.
    pub fn incoming(&mut self, call: CallHandle, flow: &Flow, invite: &IncomingInvite) -> Vec<Command> {
        let began = clock::now();
        match self.take(call, flow, invite) {
            Ok(sdp) => {
                self.reception.services().metrics.sip_setup_ms.observe((clock::now() - began).as_secs_f64() * 1000.0);
                vec![Command::Answer { call, sdp }]
            }
            Err(refusal) => vec![self.refuse(call, refusal)],
        }
    }

    /// Our answer was acknowledged: audio may flow.
    pub fn confirmed(&mut self, call: CallHandle) -> Vec<Command> {
        if let Some(live) = self.calls.get(&call.as_u64()) {
            live.port.signal(CallInput::Connected);
        }
        Vec::new()
    }

    /// The other side offers new media for a call that is going on: a hold, a moved address, a refresh.
    pub fn reinvite(&mut self, call: CallHandle, offer: Option<&[u8]>) -> Vec<Command> {
        let answer = match self.calls.get_mut(&call.as_u64()) {
            Some(live) => match offer {
                Some(offer) => live.media.reoffered(offer).map_err(MediaRefusal::status),
                None => Err(488),
            },
            None => Err(481),
        };
        vec![Command::AnswerReinvite { call, answer }]
    }

    /// Keys by SIP INFO: `application/dtmf-relay` and `application/dtmf`.
    pub fn info(&mut self, call: CallHandle, content_type: &str, body: &[u8]) -> Vec<Command> {
        let Some(live) = self.calls.get(&call.as_u64()) else { return Vec::new() };
        match info_digit(content_type, body) {
            // A telephone that presses faster than the leg's inbox is emptied, 16 keys in 20 ms, is none.
            Some(digit) => drop(live.media.press(digit)),
            None => self.reception.services().metrics.bad_input(BadInput::Dtmf),
        }
        Vec::new()
    }

    /// The signalling says that the call is over.
    pub fn ended(&mut self, call: CallHandle, cause: EndCause) -> Vec<Command> {
        if let Some(live) = self.calls.remove(&call.as_u64()) {
            live.port.signal(CallInput::HungUp(end_reason(cause)));
        }
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

    /// The call says that it is over.
    pub fn hung_up(&mut self, hang_up: HangUp) -> Option<Command> {
        let live = self.calls.remove(&hang_up.0)?;
        Some(Command::Bye { call: live.handle, reason: None })
    }

    fn take(&mut self, call: CallHandle, flow: &Flow, invite: &IncomingInvite) -> Result<Bytes, Refusal> {
        let permit = self.reception.admit().map_err(|_| Refusal::Busy)?;
        let offer = invite.offer.as_deref().ok_or(Refusal::NoOffer)?;
        let Answered { leg, media, sdp } = self.media.answer(call.as_u64(), flow, offer)?;
        let caller = Caller {
            id: CallId::fresh(),
            via: Via::Sip,
            called: invite.called.reveal().clone(),
            caller: Pii::new(invite.caller.reveal().clone()),
            leg: Box::new(leg),
        };
        let port = self.reception.receive(caller, permit).ok_or(Refusal::Busy)?;
        self.calls.insert(call.as_u64(), Live { handle: call, port, media });
        Ok(sdp)
    }

    fn refuse(&self, call: CallHandle, refusal: Refusal) -> Command {
        let metrics = &self.reception.services().metrics;
        let (status, headers) = match refusal {
            Refusal::Busy => {
                (503, ExtraHeader::new("Retry-After", self.retry_after_s.to_string()).into_iter().collect())
            }
            Refusal::NoOffer => (488, Vec::new()),
            Refusal::Sdp(status) => {
                metrics.bad_input(BadInput::Sdp);
                (status, Vec::new())
            }
        };
        Command::Reject { call, status, headers }
    }
}

/// Why an INVITE is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Busy,
    /// An INVITE without a session description asks for our offer, which is not built yet.
    NoOffer,
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

/// One call that is going on.
struct Live {
    handle: CallHandle,
    port: CallPort,
    media: CallMedia,
}

fn end_reason(cause: EndCause) -> EndReason {
    match cause {
        EndCause::RemoteBye | EndCause::Forgotten => EndReason::CallerHungUp,
        EndCause::LocalBye => EndReason::FlowHungUp,
        EndCause::Cancelled => EndReason::Cancelled,
        EndCause::NoAck => EndReason::NoAck,
        EndCause::Rejected(_)
        | EndCause::NoAnswer
        | EndCause::TransportLost
        | EndCause::TransactionTimeout
        | EndCause::Replaced
        | EndCause::SessionExpired
        | EndCause::NoSdp
        | EndCause::NoPrack
        | EndCause::NotPlaced => EndReason::TransportLost,
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
