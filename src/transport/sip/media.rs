//! Session descriptions on one side, the RTP leg of a call on the other: who offers, who answers, and what the leg is
//! told of it.
//!
//! Deliberately absent: when to offer and what becomes of the call (`calls.rs`), and the SDP rules (`offhook_sip::sdp`).

mod settings;

use std::net::IpAddr;

use bytes::Bytes;
use offhook_media::codec::CodecKind;
use offhook_media::codec::opus::OpusSettings;
use offhook_media::dtmf::Digit;
use offhook_media::inbound::InboundConfig;
use offhook_media::outbound::OutboundConfig;
use offhook_media::srtp::{Mki, SrtpReceiver, SrtpSender, Suite};
use offhook_sip::sdp::{
    Agreed, AgreedCrypto, Codec, CryptoSuite, Direction, Exchange, LONGEST_KEY, LocalKey, LocalMedia, MasterKey,
    SdpError, SrtpPolicy,
};
use rand::RngExt;

use crate::queue::{Sender, bounded};
use crate::transport::ports::{PortPool, RtpPort};
use crate::transport::rtp::{Keys, Order, RtcpPath, RtpLeg, Secure, Turnabout};
use crate::transport::signalling::Signalling;
pub use settings::{MediaProfile, MediaSettings, Reach};

/// Gives calls their media: ports, addresses, keys, and the way back to the signalling.
pub struct MediaDesk {
    ports: PortPool,
    /// What goes into session descriptions.
    address: IpAddr,
    signalling: Signalling,
    settings: MediaSettings,
}

impl MediaDesk {
    /// `address` goes into session descriptions; an unspecified one stands for the address that the far side reached
    /// us at. `signalling` is told when a leg ends its call.
    pub const fn new(ports: PortPool, address: IpAddr, signalling: Signalling, settings: MediaSettings) -> Self {
        Self { ports, address, signalling, settings }
    }

    /// Answers the first offer of a call. `call` is the signalling's own name of the call.
    ///
    /// # Errors
    /// [`MediaRefusal`]: with which status to refuse the call.
    pub fn answer(&self, call: u64, reach: impl Into<Reach>, offer: &[u8]) -> Result<Answered, MediaRefusal> {
        let mut opened = self.open(call, reach.into())?;
        let negotiated = opened.exchange.answer(offer)?;
        opened.port.announce();
        let (leg, media) = opened.start(&negotiated.agreed)?;
        Ok(Answered { leg, media, sdp: negotiated.answer.into() })
    }

    /// Makes the first offer of a call: for an INVITE that brought none, or one of ours.
    ///
    /// # Errors
    /// [`MediaRefusal::NoPort`].
    pub fn offer(&self, call: u64, reach: impl Into<Reach>) -> Result<Offered, MediaRefusal> {
        let mut opened = self.open(call, reach.into())?;
        opened.port.announce();
        Ok(Offered { sdp: opened.exchange.offer().into(), opened })
    }

    fn open(&self, call: u64, reach: Reach) -> Result<Opened, MediaRefusal> {
        let port = self.ports.bind().map_err(|_| MediaRefusal::NoPort)?;
        // A wildcard bind is described by the address that the far side reached us at.
        let is_seen = self.address.is_unspecified() || self.settings.external == Some(reach.local);
        let address = if is_seen { reach.local } else { self.address };
        let mut local = LocalMedia::new(address, port.number(), [Codec::Pcmu]);
        self.settings.describe(reach.profile.as_ref(), &mut local);
        if local.srtp != SrtpPolicy::Off {
            local.keys = CryptoSuite::ALL.map(fresh_key).to_vec();
        }
        let exchange = Exchange::new(local, rand::rng().random::<u32>().into());
        let (dtx, signalling) = (self.settings.dtx, self.signalling.clone());
        Ok(Opened { port, exchange, peer: reach.remote, dtx, signalling, call })
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
    opened: Opened,
}

impl Offered {
    /// Reads the answer. A later answer to the same offer (of a 200 behind a 183) goes to [`CallMedia::answered`].
    ///
    /// # Errors
    /// When the answer cannot be read or takes nothing of what was offered.
    pub fn answered(mut self, answer: &[u8]) -> Result<(RtpLeg, CallMedia), MediaRefusal> {
        let agreed = self.opened.exchange.answered(answer)?;
        self.opened.start(&agreed)
    }
}

/// The media of a call that is going on, as the signalling sees it.
pub struct CallMedia {
    orders: Sender<Order>,
    exchange: Exchange,
    /// Where the signalling comes from, as far as it is known.
    peer: Option<IpAddr>,
    keys: KeyRing,
    /// Whether we stop sending in silence.
    dtx: bool,
    sends: bool,
}

impl CallMedia {
    /// A key came by SIP INFO.
    ///
    /// # Errors
    /// [`MediaRefusal::Busy`] if the leg has not taken in what it was told before.
    pub fn press(&mut self, digit: Digit) -> Result<(), MediaRefusal> {
        self.orders.try_push(Order::Key(digit)).map_err(|_| MediaRefusal::Busy)
    }

    /// Answers an offer of the other side for a call that is going on: a hold, a moved address, a refresh.
    ///
    /// # Errors
    /// [`MediaRefusal`]: the call goes on as it was.
    pub fn reoffered(&mut self, offer: &[u8]) -> Result<Bytes, MediaRefusal> {
        let negotiated = self.exchange.answer(offer)?;
        self.change(&negotiated.agreed)?;
        Ok(negotiated.answer.into())
    }

    /// Answers the offer of somebody who takes the far side's place, and whose signalling comes from `peer`.
    ///
    /// # Errors
    /// [`MediaRefusal`]: the media go on as they were.
    pub fn taken_over(&mut self, offer: &[u8], peer: IpAddr) -> Result<Bytes, MediaRefusal> {
        let before = self.peer;
        self.peer = before.map(|_| peer);
        self.reoffered(offer).inspect_err(|_| self.peer = before)
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

    /// Whether the far side takes audio now: not while it holds the call.
    pub const fn sends(&self) -> bool {
        self.sends
    }

    fn change(&mut self, agreed: &Agreed) -> Result<(), MediaRefusal> {
        let (keys, ring) = self.keys.turn(agreed.crypto.as_ref())?;
        let change = turnabout(agreed, self.peer, (self.keys.ssrc, self.dtx), keys);
        self.orders.try_push(Order::TurnAbout(Box::new(change))).map_err(|_| MediaRefusal::Busy)?;
        (self.keys, self.sends) = (ring, agreed.direction.may_send());
        Ok(())
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

/// Media changes and keys that may wait for a tick.
const ORDERS: usize = 16;

/// The status of what cannot be agreed to (RFC 3261 section 21.4.26).
const NOT_ACCEPTABLE: u16 = 488;

/// A port and a side of the offer and answer, before anything is agreed.
struct Opened {
    port: RtpPort,
    exchange: Exchange,
    peer: Option<IpAddr>,
    dtx: bool,
    signalling: Signalling,
    call: u64,
}

impl Opened {
    fn start(self, agreed: &Agreed) -> Result<(RtpLeg, CallMedia), MediaRefusal> {
        let (orders, inbox) = bounded(ORDERS);
        let ring = KeyRing { ssrc: rand::rng().random(), current: None, used: Vec::new() };
        let (keys, ring) = ring.turn(agreed.crypto.as_ref())?;
        let first = turnabout(agreed, self.peer, (ring.ssrc, self.dtx), keys);
        let leg = RtpLeg::new(self.port, first, inbox, self.signalling, self.call).map_err(|_| MediaRefusal::NoPort)?;
        let sends = agreed.direction.may_send();
        Ok((leg, CallMedia { orders, exchange: self.exchange, peer: self.peer, keys: ring, dtx: self.dtx, sends }))
    }
}

/// Which keys the leg has, so that each change tells it only what is new: a key stream begun anew would be used twice.
#[derive(Clone)]
struct KeyRing {
    ssrc: u32,
    current: Option<AgreedCrypto>,
    /// Suites whose key of ours has served.
    used: Vec<CryptoSuite>,
}

impl KeyRing {
    fn turn(&self, agreed: Option<&AgreedCrypto>) -> Result<(Keys, Self), MediaRefusal> {
        let mut next = Self { current: agreed.cloned(), ..self.clone() };
        let Some(agreed) = agreed else { return Ok((Keys::Clear, next)) };
        let keys = match &self.current {
            Some(current) if current == agreed => Keys::Kept,
            Some(current) if current.suite == agreed.suite && current.remote == agreed.remote => Keys::Kept,
            Some(current) if current.suite == agreed.suite => Keys::Theirs(Box::new(receiver(agreed)?)),
            _ if self.used.contains(&agreed.suite) => return Err(MediaRefusal::Sdp(NOT_ACCEPTABLE)),
            _ => {
                next.used.push(agreed.suite);
                Keys::Both(Box::new(Secure {
                    suite: suite(agreed.suite),
                    sender: sender(agreed, self.ssrc)?,
                    receiver: receiver(agreed)?,
                }))
            }
        };
        Ok((keys, next))
    }
}

fn sender(agreed: &AgreedCrypto, ssrc: u32) -> Result<SrtpSender, MediaRefusal> {
    SrtpSender::new(suite(agreed.suite), agreed.local.octets(), ssrc).map_err(|_| MediaRefusal::Sdp(NOT_ACCEPTABLE))
}

fn receiver(agreed: &AgreedCrypto) -> Result<SrtpReceiver, MediaRefusal> {
    let mki = agreed.remote_mki.map(|mki| Mki { value: mki.value, length: mki.length });
    SrtpReceiver::new(suite(agreed.suite), agreed.remote.octets(), mki, agreed.lifetime)
        .map_err(|_| MediaRefusal::Sdp(NOT_ACCEPTABLE))
}

fn fresh_key(suite: CryptoSuite) -> LocalKey {
    let mut random = zeroize::Zeroizing::new([0; LONGEST_KEY]);
    rand::rng().fill(random.as_mut_slice());
    LocalKey { suite, key: MasterKey::new(suite, &random) }
}

const fn suite(suite: CryptoSuite) -> Suite {
    match suite {
        CryptoSuite::AesCm128HmacSha1Tag80 => Suite::AesCm128Tag80,
        CryptoSuite::AesCm128HmacSha1Tag32 => Suite::AesCm128Tag32,
        CryptoSuite::Aes256CmHmacSha1Tag80 => Suite::Aes256CmTag80,
        CryptoSuite::Aes256CmHmacSha1Tag32 => Suite::Aes256CmTag32,
    }
}

const fn codec(codec: Codec) -> CodecKind {
    match codec {
        Codec::Pcmu => CodecKind::Pcmu,
        Codec::Pcma => CodecKind::Pcma,
        Codec::G722 => CodecKind::G722,
        Codec::Opus => CodecKind::Opus,
    }
}

fn turnabout(agreed: &Agreed, peer: Option<IpAddr>, (ssrc, dtx): (u32, bool), keys: Keys) -> Turnabout {
    Turnabout {
        remote: agreed.remote_rtp,
        behind: peer.filter(|peer| agreed.remote_rtp.is_some_and(|remote| settings::is_beyond(remote.ip(), *peer))),
        sends: agreed.direction.may_send(),
        receives: agreed.direction.may_receive(),
        inbound: inbound(agreed),
        outbound: outbound(agreed, ssrc, dtx),
        rtcp: match (agreed.rtcp_mux, agreed.remote_rtcp) {
            (true, _) => RtcpPath::Mux,
            (false, None) if agreed.remote_rtp.is_some() => RtcpPath::Off,
            (false, remote) => RtcpPath::Separate(remote),
        },
        keys,
    }
}

fn inbound(agreed: &Agreed) -> InboundConfig {
    let plain = InboundConfig::new(codec(agreed.codec), agreed.payload_type);
    InboundConfig {
        ptime_ms: agreed.ptime_ms,
        dtmf_payload_type: agreed.telephone_event.map(|event| event.payload_type),
        dtmf_clock: agreed.telephone_event.map_or(plain.dtmf_clock, |event| event.clock_hz),
        comfort_noise_payload_type: agreed.comfort_noise_payload_type,
        ..plain
    }
}

/// Numbers begin by chance, the sequence in its lower half (RFC 3711 section 3.3.1).
fn outbound(agreed: &Agreed, ssrc: u32, dtx: bool) -> OutboundConfig {
    let mut random = rand::rng();
    let InboundConfig { dtmf_payload_type, dtmf_clock, comfort_noise_payload_type, .. } = inbound(agreed);
    let plain = OutboundConfig::new(codec(agreed.codec), agreed.payload_type);
    OutboundConfig {
        ptime_ms: agreed.ptime_ms,
        dtmf_payload_type,
        dtmf_clock,
        comfort_noise_payload_type,
        dtx: dtx || agreed.opus.is_some_and(|asked| asked.dtx),
        opus: agreed.opus.map_or(plain.opus, |asked| OpusSettings {
            inband_fec: asked.inband_fec,
            dtx: asked.dtx,
            bitrate_bps: asked.max_average_bps.map_or(plain.opus.bitrate_bps, |most| most.min(plain.opus.bitrate_bps)),
        }),
        ssrc,
        first_seq: random.random::<u16>() >> 1,
        first_ts: random.random(),
        ..plain
    }
}
