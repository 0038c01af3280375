//! Session descriptions on one side, the RTP leg of a call on the other: who offers, who answers, and what the leg is
//! told of it.
//!
//! Deliberately absent: when to offer and what becomes of the call (`calls.rs`), and the SDP rules (`offhook_sip::sdp`).

use std::net::IpAddr;

use bytes::Bytes;
use offhook_media::g711::G711;
use offhook_media::inbound::InboundConfig;
use offhook_media::outbound::{OutboundConfig, RtpOutbound};
use offhook_sip::sdp::{Agreed, Codec, Direction, LocalMedia, Session, SessionDescription, negotiate, read_answer};
use rand::RngExt;

use crate::queue::{Sender, bounded};
use crate::transport::ports::{PortPool, RtpPort};
use crate::transport::rtp::{RtpLeg, Turnabout};
use crate::transport::signalling::Signalling;

/// Gives calls their media: ports, addresses, and the way back to the signalling.
pub struct MediaDesk {
    ports: PortPool,
    /// What goes into session descriptions.
    address: IpAddr,
    signalling: Signalling,
}

impl MediaDesk {
    /// `address` goes into session descriptions; an unspecified one stands for the address that the far side reached
    /// us at. `signalling` is told when a leg ends its call.
    pub const fn new(ports: PortPool, address: IpAddr, signalling: Signalling) -> Self {
        Self { ports, address, signalling }
    }

    /// Answers the first offer of a call. `call` is the signalling's own name of the call, `reached_at` the address
    /// of ours that the signalling goes over.
    ///
    /// # Errors
    /// [`MediaRefusal`]: with which status to refuse the call.
    pub fn answer(&self, call: u64, reached_at: IpAddr, offer: &[u8]) -> Result<Answered, MediaRefusal> {
        let offer = parse(offer)?;
        let (mut port, local, session) = self.open(reached_at)?;
        let negotiated = negotiate(&offer, &local, session).map_err(|error| MediaRefusal::Sdp(error.status()))?;
        port.announce();
        let (leg, media) = start(port, &negotiated.agreed, local, session, &self.signalling, call)?;
        Ok(Answered { leg, media, sdp: negotiated.answer.into() })
    }

    /// Makes the first offer of a call: for an INVITE that brought none, or one of ours.
    ///
    /// # Errors
    /// [`MediaRefusal::NoPort`].
    pub fn offer(&self, call: u64, reached_at: IpAddr) -> Result<Offered, MediaRefusal> {
        let (mut port, local, session) = self.open(reached_at)?;
        port.announce();
        let sdp = local.offer(session).into();
        Ok(Offered { sdp, port, local, session, signalling: self.signalling.clone(), call })
    }

    fn open(&self, reached_at: IpAddr) -> Result<(RtpPort, LocalMedia<'static>, Session), MediaRefusal> {
        let port = self.ports.bind().map_err(|_| MediaRefusal::NoPort)?;
        // A wildcard bind is described by the address that the far side reached us at.
        let address = if self.address.is_unspecified() { reached_at } else { self.address };
        let local = local_media(address, port.number());
        Ok((port, local, Session { id: rand::rng().random::<u32>().into(), version: 1 }))
    }
}

/// An offer that was taken.
pub struct Answered {
    pub leg: RtpLeg,
    pub media: CallMedia,
    /// Our answer.
    pub sdp: Bytes,
}

/// An offer of ours that waits for its answer. Dropped, it gives the port back.
pub struct Offered {
    /// Our offer.
    pub sdp: Bytes,
    port: RtpPort,
    local: LocalMedia<'static>,
    session: Session,
    signalling: Signalling,
    call: u64,
}

impl Offered {
    /// Reads the answer. A later answer to the same offer (of a 200 behind a 183) goes to [`CallMedia::answered`].
    ///
    /// # Errors
    /// When the answer cannot be read or takes nothing of what was offered.
    pub fn answered(self, answer: &[u8]) -> Result<(RtpLeg, CallMedia), MediaRefusal> {
        let agreed = read_answer(&parse(answer)?, &self.local).map_err(|error| MediaRefusal::Sdp(error.status()))?;
        start(self.port, &agreed, self.local, self.session, &self.signalling, self.call)
    }
}

/// The media of a call that is going on, as the signalling sees it.
pub struct CallMedia {
    changes: Sender<Turnabout>,
    local: LocalMedia<'static>,
    session: Session,
    sends: bool,
}

impl CallMedia {
    /// Answers an offer of the other side for a call that is going on: a hold, a moved address, a refresh.
    ///
    /// # Errors
    /// [`MediaRefusal`]: the call goes on as it was.
    pub fn reoffered(&mut self, offer: &[u8]) -> Result<Bytes, MediaRefusal> {
        let session = self.next_session();
        let negotiated =
            negotiate(&parse(offer)?, &self.local, session).map_err(|error| MediaRefusal::Sdp(error.status()))?;
        self.change(&negotiated.agreed)?;
        self.session = session;
        Ok(negotiated.answer.into())
    }

    /// Our own offer for a call that is going on; `direction` is what we want from now on.
    pub fn offer(&mut self, direction: Direction) -> Bytes {
        self.local.direction = direction;
        self.session = self.next_session();
        self.local.offer(self.session).into()
    }

    /// Reads the answer to [`CallMedia::offer`], or another answer to the first offer.
    ///
    /// # Errors
    /// [`MediaRefusal`]: the media go on as they were.
    pub fn answered(&mut self, answer: &[u8]) -> Result<(), MediaRefusal> {
        let agreed = read_answer(&parse(answer)?, &self.local).map_err(|error| MediaRefusal::Sdp(error.status()))?;
        self.change(&agreed)
    }

    const fn next_session(&self) -> Session {
        Session { version: self.session.version + 1, ..self.session }
    }

    /// Whether the far side takes audio now: not while it holds the call.
    pub const fn sends(&self) -> bool {
        self.sends
    }

    fn change(&mut self, agreed: &Agreed) -> Result<(), MediaRefusal> {
        self.sends = agreed.direction.may_send();
        self.changes.try_push(turnabout(agreed)).map_err(|_| MediaRefusal::Busy)
    }
}

/// Why a call gets no media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaRefusal {
    /// No RTP port is free.
    NoPort,
    /// More changes than the leg has taken in.
    Busy,
    /// The session description cannot be read or agreed to: the status to refuse it with.
    Sdp(u16),
}

impl MediaRefusal {
    /// The status to refuse an offer within a call with.
    pub const fn status(self) -> u16 {
        match self {
            Self::NoPort | Self::Busy => 500,
            Self::Sdp(status) => status,
        }
    }
}

/// In order of preference.
const CODECS: [Codec; 2] = [Codec::Pcmu, Codec::Pcma];

/// Media changes that may wait for a tick.
const TURNABOUTS: usize = 4;

fn parse(sdp: &[u8]) -> Result<SessionDescription, MediaRefusal> {
    SessionDescription::parse(sdp).map_err(|error| MediaRefusal::Sdp(error.status()))
}

fn start(
    port: RtpPort,
    agreed: &Agreed,
    local: LocalMedia<'static>,
    session: Session,
    signalling: &Signalling,
    call: u64,
) -> Result<(RtpLeg, CallMedia), MediaRefusal> {
    let (changes, turnabouts) = bounded(TURNABOUTS);
    let outbound = RtpOutbound::new(outbound(agreed));
    let leg = RtpLeg::new(port, &turnabout(agreed), outbound, turnabouts, signalling.clone(), call)
        .map_err(|_| MediaRefusal::NoPort)?;
    Ok((leg, CallMedia { changes, local, session, sends: agreed.direction.may_send() }))
}

const fn local_media(address: IpAddr, port: u16) -> LocalMedia<'static> {
    LocalMedia { address, port, codecs: &CODECS, ptime_ms: 20, direction: Direction::SendRecv }
}

const fn codec(agreed: &Agreed) -> G711 {
    match agreed.codec {
        Codec::Pcmu => G711::Ulaw,
        Codec::Pcma => G711::Alaw,
    }
}

const fn turnabout(agreed: &Agreed) -> Turnabout {
    Turnabout { remote: agreed.remote_rtp, sends: agreed.direction.may_send(), inbound: inbound(agreed) }
}

const fn inbound(agreed: &Agreed) -> InboundConfig {
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
