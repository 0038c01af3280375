//! Session descriptions on one side, the RTP leg of a call on the other: who offers, who answers, and what the leg is
//! told of it.
//!
//! Deliberately absent: when to offer and what becomes of the call (`calls.rs`), and the SDP rules (`offhook_sip::sdp`).

use std::net::IpAddr;

use bytes::Bytes;
use offhook_media::RATE_HZ;
use offhook_media::codec::CodecKind;
use offhook_media::codec::opus::OpusSettings;
use offhook_media::inbound::InboundConfig;
use offhook_media::outbound::{OutboundConfig, RtpOutbound};
use offhook_sip::sdp::{Agreed, Codec, Direction, Exchange, LocalMedia, OpusParameters, SdpError};
use rand::RngExt;
use tokio::sync::mpsc;

use crate::queue::{Sender, bounded};
use crate::transport::ports::{PortPool, RtpPort};
use crate::transport::rtp::{HangUp, RtpLeg, Turnabout};

/// Gives calls their media: ports, addresses, and the way back to the signalling.
pub struct MediaDesk {
    ports: PortPool,
    /// What goes into session descriptions.
    address: IpAddr,
    signalling: mpsc::Sender<HangUp>,
}

impl MediaDesk {
    /// `address` goes into session descriptions; an unspecified one stands for the address that the far side reached
    /// us at. `signalling` is told when a leg ends its call.
    pub const fn new(ports: PortPool, address: IpAddr, signalling: mpsc::Sender<HangUp>) -> Self {
        Self { ports, address, signalling }
    }

    /// Answers the first offer of a call. `call` is the signalling's own name of the call, `reached_at` the address
    /// of ours that the signalling goes over.
    ///
    /// # Errors
    /// [`MediaRefusal`]: with which status to refuse the call.
    pub fn answer(&self, call: u64, reached_at: IpAddr, offer: &[u8]) -> Result<Answered, MediaRefusal> {
        let (mut port, mut exchange) = self.open(reached_at)?;
        let negotiated = exchange.answer(offer)?;
        port.announce();
        let (leg, media) = start(port, &negotiated.agreed, exchange, &self.signalling, call)?;
        Ok(Answered { leg, media, sdp: negotiated.answer.into() })
    }

    /// Makes the first offer of a call: for an INVITE that brought none, or one of ours.
    ///
    /// # Errors
    /// [`MediaRefusal::NoPort`].
    pub fn offer(&self, call: u64, reached_at: IpAddr) -> Result<Offered, MediaRefusal> {
        let (mut port, mut exchange) = self.open(reached_at)?;
        port.announce();
        let sdp = exchange.offer().into();
        Ok(Offered { sdp, port, exchange, signalling: self.signalling.clone(), call })
    }

    fn open(&self, reached_at: IpAddr) -> Result<(RtpPort, Exchange), MediaRefusal> {
        let port = self.ports.bind().map_err(|_| MediaRefusal::NoPort)?;
        // A wildcard bind is described by the address that the far side reached us at.
        let address = if self.address.is_unspecified() { reached_at } else { self.address };
        let exchange =
            Exchange::new(LocalMedia::new(address, port.number(), CODECS), rand::rng().random::<u32>().into());
        Ok((port, exchange))
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
    exchange: Exchange,
    signalling: mpsc::Sender<HangUp>,
    call: u64,
}

impl Offered {
    /// Reads the answer. A later answer to the same offer (of a 200 behind a 183) goes to [`CallMedia::answered`].
    ///
    /// # Errors
    /// When the answer cannot be read or takes nothing of what was offered.
    pub fn answered(mut self, answer: &[u8]) -> Result<(RtpLeg, CallMedia), MediaRefusal> {
        let agreed = self.exchange.answered(answer)?;
        start(self.port, &agreed, self.exchange, &self.signalling, self.call)
    }
}

/// The media of a call that is going on, as the signalling sees it.
pub struct CallMedia {
    changes: Sender<Turnabout>,
    exchange: Exchange,
}

impl CallMedia {
    /// Answers an offer of the other side for a call that is going on: a hold, a moved address, a refresh.
    ///
    /// # Errors
    /// [`MediaRefusal`]: the call goes on as it was.
    pub fn reoffered(&mut self, offer: &[u8]) -> Result<Bytes, MediaRefusal> {
        let negotiated = self.exchange.answer(offer)?;
        self.change(&negotiated.agreed)?;
        Ok(negotiated.answer.into())
    }

    /// Our own offer for a call that is going on; `direction` is what we want from now on.
    pub fn offer(&mut self, direction: Direction) -> Bytes {
        self.exchange.want(direction);
        self.exchange.offer().into()
    }

    /// Reads the answer to [`CallMedia::offer`], or another answer to the first offer.
    ///
    /// # Errors
    /// [`MediaRefusal`]: the media go on as they were.
    pub fn answered(&mut self, answer: &[u8]) -> Result<(), MediaRefusal> {
        let agreed = self.exchange.answered(answer)?;
        self.change(&agreed)
    }

    fn change(&self, agreed: &Agreed) -> Result<(), MediaRefusal> {
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

impl From<SdpError> for MediaRefusal {
    fn from(error: SdpError) -> Self {
        Self::Sdp(error.status())
    }
}

/// In order of preference.
const CODECS: [Codec; 2] = [Codec::Pcmu, Codec::Pcma];

/// Media changes that may wait for a tick.
const TURNABOUTS: usize = 4;

fn start(
    port: RtpPort,
    agreed: &Agreed,
    exchange: Exchange,
    signalling: &mpsc::Sender<HangUp>,
    call: u64,
) -> Result<(RtpLeg, CallMedia), MediaRefusal> {
    let (changes, turnabouts) = bounded(TURNABOUTS);
    let outbound = RtpOutbound::new(outbound(agreed));
    let leg = RtpLeg::new(port, &turnabout(agreed), outbound, turnabouts, signalling.clone(), call)
        .map_err(|_| MediaRefusal::NoPort)?;
    Ok((leg, CallMedia { changes, exchange }))
}

const fn codec(agreed: &Agreed) -> CodecKind {
    match agreed.codec {
        Codec::Pcmu => CodecKind::Pcmu,
        Codec::Pcma => CodecKind::Pcma,
        Codec::G722 => CodecKind::G722,
        Codec::Opus => CodecKind::Opus,
    }
}

/// Within what the other side wants; our own average is enough for 8 kHz.
fn opus_settings(theirs: OpusParameters) -> OpusSettings {
    let ours = OpusSettings::STANDARD;
    let most = theirs.max_average_bps.unwrap_or(ours.bitrate_bps);
    OpusSettings { inband_fec: theirs.inband_fec, dtx: theirs.dtx, bitrate_bps: ours.bitrate_bps.min(most) }
}

fn turnabout(agreed: &Agreed) -> Turnabout {
    Turnabout { remote: agreed.remote_rtp, sends: agreed.direction.may_send(), inbound: inbound(agreed) }
}

fn inbound(agreed: &Agreed) -> InboundConfig {
    InboundConfig {
        ptime_ms: agreed.ptime_ms,
        dtmf_payload_type: agreed.telephone_event.map(|event| event.payload_type),
        dtmf_clock: agreed.telephone_event.map_or(RATE_HZ, |event| event.clock_hz),
        comfort_noise_payload_type: agreed.comfort_noise_payload_type,
        ..InboundConfig::new(codec(agreed), agreed.payload_type)
    }
}

fn outbound(agreed: &Agreed) -> OutboundConfig {
    let mut random = rand::rng();
    OutboundConfig {
        ptime_ms: agreed.ptime_ms,
        dtmf_payload_type: agreed.telephone_event.map(|event| event.payload_type),
        dtmf_clock: agreed.telephone_event.map_or(RATE_HZ, |event| event.clock_hz),
        comfort_noise_payload_type: agreed.comfort_noise_payload_type,
        dtx: agreed.opus.is_some_and(|theirs| theirs.dtx),
        opus: agreed.opus.map_or(OpusSettings::STANDARD, opus_settings),
        ssrc: random.random(),
        first_seq: random.random(),
        first_ts: random.random(),
        ..OutboundConfig::new(codec(agreed), agreed.payload_type)
    }
}
