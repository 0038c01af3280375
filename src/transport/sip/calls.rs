//! What becomes of the calls that the SIP endpoint reports: a leg, a place on a shard, and an answer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use offhook_media::dtmf::Digit;
use offhook_media::g711::G711;
use offhook_media::inbound::InboundConfig;
use offhook_media::outbound::{OutboundConfig, RtpOutbound};
use offhook_sip::message::ExtraHeader;
use offhook_sip::sdp::{Agreed, Codec, Direction, LocalMedia, Session, SessionDescription, negotiate};
use offhook_sip::{CallHandle, Command, EndCause, Flow, IncomingInvite};
use rand::RngExt;
use tokio::sync::mpsc;

use crate::call::core::CallInput;
use crate::call::reception::{Caller, Reception};
use crate::call::shard::CallPort;
use crate::clock;
use crate::queue::{Sender, bounded};
use crate::store::record::{CallId, EndReason, Via};
use crate::telemetry::metrics::BadInput;
use crate::telemetry::pii::Pii;
use crate::transport::ports::PortPool;
use crate::transport::rtp::{HangUp, RtpLeg, Turnabout};

/// The SIP calls that are going on.
pub struct Calls {
    reception: Arc<Reception>,
    ports: PortPool,
    /// What goes into session descriptions.
    media_address: IpAddr,
    signalling: mpsc::Sender<HangUp>,
    retry_after_s: u32,
    draining: bool,
    calls: HashMap<u64, Live>,
}

impl Calls {
    pub fn new(
        reception: Arc<Reception>,
        ports: PortPool,
        media_address: IpAddr,
        signalling: mpsc::Sender<HangUp>,
        retry_after_s: u32,
    ) -> Self {
        Self { reception, ports, media_address, signalling, retry_after_s, draining: false, calls: HashMap::new() }
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
            Some(live) => live.turnabout(offer),
            None => Err(481),
        };
        vec![Command::AnswerReinvite { call, answer }]
    }

    /// Keys by SIP INFO: `application/dtmf-relay` and `application/dtmf`.
    pub fn info(&mut self, call: CallHandle, content_type: &str, body: &[u8]) -> Vec<Command> {
        let Some(live) = self.calls.get(&call.as_u64()) else { return Vec::new() };
        match info_digit(content_type, body) {
            Some(digit) => live.port.signal(CallInput::Digit(digit)),
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

    /// What the endpoint is to be told once the server takes no new calls: OPTIONS are answered 503 too, so that
    /// balancers send their calls elsewhere.
    pub fn drain(&mut self) -> Option<Command> {
        if self.draining || !self.reception.admission().is_draining() {
            return None;
        }
        self.draining = true;
        Some(Command::Drain { retry_after_s: Some(self.retry_after_s) })
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
        let offer = SessionDescription::parse(offer).map_err(|error| Refusal::Sdp(error.status()))?;
        let mut port = self.ports.bind().map_err(|_| Refusal::Busy)?;
        let address = self.media_address(flow);
        let local = local_media(address, port.number());
        let session = Session { id: rand::rng().random::<u32>().into(), version: 1 };
        let negotiated = negotiate(&offer, &local, session).map_err(|error| Refusal::Sdp(error.status()))?;
        let agreed = &negotiated.agreed;
        port.announce();
        let (changes, turnabouts) = bounded(TURNABOUTS);
        let (outbound, signalling) = (RtpOutbound::new(outbound(agreed)), self.signalling.clone());
        let leg = RtpLeg::new(port, &turnabout(agreed), outbound, turnabouts, signalling, call.as_u64())
            .map_err(|_| Refusal::Busy)?;
        let caller = Caller {
            id: CallId::fresh(),
            via: Via::Sip,
            called: invite.called.reveal().clone(),
            caller: Pii::new(invite.caller.reveal().clone()),
            leg: Box::new(leg),
        };
        let port = self.reception.receive(caller, permit).ok_or(Refusal::Busy)?;
        let live = Live { handle: call, port, changes, local, session };
        self.calls.insert(call.as_u64(), live);
        Ok(negotiated.answer.into())
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

    /// A wildcard bind is described by the address that the caller reached us at.
    fn media_address(&self, flow: &Flow) -> IpAddr {
        if self.media_address.is_unspecified() { flow.local.ip() } else { self.media_address }
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

/// One call that is going on.
struct Live {
    handle: CallHandle,
    port: CallPort,
    changes: Sender<Turnabout>,
    local: LocalMedia<'static>,
    session: Session,
}

impl Live {
    fn turnabout(&mut self, offer: Option<&[u8]>) -> Result<Bytes, u16> {
        let offer = SessionDescription::parse(offer.ok_or(488_u16)?).map_err(|error| error.status())?;
        let session = Session { version: self.session.version + 1, ..self.session };
        let negotiated = negotiate(&offer, &self.local, session).map_err(|error| error.status())?;
        self.changes.try_push(turnabout(&negotiated.agreed)).map_err(|_| 500_u16)?;
        self.session = session;
        Ok(negotiated.answer.into())
    }
}

/// In order of preference.
const CODECS: [Codec; 2] = [Codec::Pcmu, Codec::Pcma];

/// Media changes that may wait for a tick.
const TURNABOUTS: usize = 4;

fn local_media(address: IpAddr, port: u16) -> LocalMedia<'static> {
    LocalMedia { address, port, codecs: &CODECS, ptime_ms: 20, direction: Direction::SendRecv }
}

const fn codec(agreed: &Agreed) -> G711 {
    match agreed.codec {
        Codec::Pcmu => G711::Ulaw,
        Codec::Pcma => G711::Alaw,
    }
}

fn turnabout(agreed: &Agreed) -> Turnabout {
    Turnabout { remote: agreed.remote_rtp, sends: agreed.direction.may_send(), inbound: inbound(agreed) }
}

fn inbound(agreed: &Agreed) -> InboundConfig {
    InboundConfig {
        codec: codec(agreed),
        payload_type: agreed.payload_type,
        dtmf_payload_type: agreed.dtmf_payload_type,
    }
}

fn outbound(agreed: &Agreed) -> OutboundConfig {
    let mut random = rand::rng();
    OutboundConfig {
        codec: codec(agreed),
        payload_type: agreed.payload_type,
        dtmf_payload_type: agreed.dtmf_payload_type,
        ssrc: random.random(),
        first_seq: random.random(),
        first_ts: random.random(),
    }
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
