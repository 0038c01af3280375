//! Offer and answer for one telephone call (RFC 3264): which stream, which codec, where to, which way, which key.

use super::codec::Codec;
use super::crypto::{Crypto, CryptoSuite, LocalKey, MasterKey, Mki};
use super::error::{SdpError, SdpProblem};
use super::opus::OpusParameters;
use super::parse::{Connection, Media, SessionDescription};
use super::write::{self, Stream};
use super::{Direction, RtpMap};
use crate::dialog::is_one_host;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What we can do for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalMedia {
    /// Where we receive.
    pub address: IpAddr,
    /// Our RTP port; RTCP is one above unless both share it.
    pub port: u16,
    /// Codecs in order of preference for our offers; an answer follows the other side's order.
    pub codecs: Arc<[Codec]>,
    /// Packet time we like, in ms.
    pub ptime_ms: u32,
    /// What we want: `SendRecv`, or less to put the other side on hold.
    pub direction: Direction,
    /// Digits as events (RFC 4733).
    pub telephone_event: bool,
    /// Comfort noise in place of silence (RFC 3389), for codecs with a clock of 8000 Hz.
    pub comfort_noise: bool,
    pub rtcp: RtcpMode,
    pub srtp: SrtpPolicy,
    /// A key of ours for each suite that we do, in order of preference.
    pub keys: Vec<LocalKey>,
}

impl LocalMedia {
    /// Audio in the clear, both ways, 20 ms a packet, with digits as events and RTCP on a port of its own.
    pub fn new(address: IpAddr, port: u16, codecs: impl Into<Arc<[Codec]>>) -> Self {
        Self {
            address,
            port,
            codecs: codecs.into(),
            ptime_ms: 20,
            direction: Direction::SendRecv,
            telephone_event: true,
            comfort_noise: false,
            rtcp: RtcpMode::Separate,
            srtp: SrtpPolicy::Off,
            keys: Vec::new(),
        }
    }
}

/// How RTCP is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RtcpMode {
    /// Not at all.
    Off,
    /// On the port above.
    Separate,
    /// On the RTP port where the other side can (RFC 5761), on the port above otherwise.
    #[default]
    Mux,
}

/// Whether calls are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SrtpPolicy {
    /// Never: keys in an offer are not answered, and RTP/SAVP is refused.
    #[default]
    Off,
    /// Where the other side brings keys, under RTP/SAVP or beside RTP/AVP. Our offers bring none.
    Allowed,
    /// As `Allowed`, and our offers say RTP/AVP with keys.
    Optional,
    /// Always; what is only in the clear is refused. Our offers say RTP/SAVP.
    Required,
}

/// Identity of our session description: a number for the call, and one that grows with each change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    pub id: u64,
    pub version: u64,
}

/// An offer that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// The text of our answer.
    pub answer: String,
    pub agreed: Agreed,
}

/// The stream both sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// Its place among the streams of the description, from 0.
    pub stream: usize,
    pub codec: Codec,
    /// RTP payload type of the codec.
    pub payload_type: u8,
    /// What the other side asks of Opus; `None` for other codecs.
    pub opus: Option<OpusParameters>,
    /// Digits as events, if both have them.
    pub telephone_event: Option<TelephoneEvent>,
    /// RTP payload type of comfort noise (RFC 3389), if both have it.
    pub comfort_noise_payload_type: Option<u8>,
    /// Packet time to send, in ms: 10, 20, 30, 40 or 60, as far as the codec has it.
    pub ptime_ms: u32,
    /// Where to send RTP; `None` while the other side holds by an unspecified address (RFC 3264 section 8.4).
    pub remote_rtp: Option<SocketAddr>,
    /// Where to send RTCP; `None` where it is not wanted or has no address.
    pub remote_rtcp: Option<SocketAddr>,
    /// RTCP shares the RTP port, both ways.
    pub rtcp_mux: bool,
    /// What we may do.
    pub direction: Direction,
    /// Keys, where the stream is encrypted.
    pub crypto: Option<AgreedCrypto>,
}

/// Telephone events of RFC 4733.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEvent {
    pub payload_type: u8,
    /// Rate of the events' timestamps and durations, Hz. That of the codec, unless the other side knows no better.
    pub clock_hz: u32,
}

/// How a stream is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgreedCrypto {
    pub tag: u32,
    pub suite: CryptoSuite,
    /// What we encrypt with.
    pub local: MasterKey,
    /// What the other side encrypts with.
    pub remote: MasterKey,
    /// Packets that the remote key is good for.
    pub lifetime: u64,
    /// What each of the other side's packets carries.
    pub remote_mki: Option<Mki>,
}

/// Answers an offer: the first audio stream of ours is taken (an encrypted one before one in the clear), every other
/// stream is refused with port 0. Errors mean that nothing can be agreed: refuse with 488.
pub fn negotiate(offer: &SessionDescription, local: &LocalMedia, session: Session) -> Result<Negotiated, SdpError> {
    let chosen = choose(offer, local)?;
    let media = offer.media.get(chosen).ok_or(SdpError::new(0, SdpProblem::NoAudio))?;
    let crypto = media.crypto.iter().find_map(|theirs| pair(theirs, local));
    let agreed = agree(offer, chosen, media, local, crypto)?;
    let mut answer = write::heading(local, session, offer.time.unwrap_or_default());
    for (index, media) in offer.media.iter().enumerate() {
        if index == chosen {
            answer_stream(&mut answer, media, local, &agreed);
        } else {
            write::refused(&mut answer, &media.kind, &media.protocol, &media.formats);
        }
    }
    Ok(Negotiated { answer, agreed })
}

/// Reads the answer to an offer of ours whose stream of audio is number `stream` from 0. `offered` says which keys it
/// brought: none by `Off` or `Allowed`, otherwise all.
pub fn read_answer(
    answer: &SessionDescription,
    stream: usize,
    local: &LocalMedia,
    offered: SrtpPolicy,
) -> Result<Agreed, SdpError> {
    let media = answer.media.get(stream).ok_or(SdpError::new(0, SdpProblem::MissingStream))?;
    let fail = |problem| SdpError::new(media.line, problem);
    if media.kind != "audio" || !media.is_rtp() || media.port == 0 {
        return Err(fail(SdpProblem::NoAudio));
    }
    let crypto = match (offered, media.crypto.as_slice()) {
        (SrtpPolicy::Off | SrtpPolicy::Allowed, _) | (SrtpPolicy::Optional, []) if !media.is_secure() => None,
        (SrtpPolicy::Off | SrtpPolicy::Allowed, _) => return Err(fail(SdpProblem::SecureOnly)),
        (_, []) if media.is_secure() => return Err(fail(SdpProblem::NoCrypto)),
        (_, []) => return Err(fail(SdpProblem::ClearOnly)),
        (_, [theirs]) => Some(answered(theirs, local).ok_or(fail(SdpProblem::OtherCrypto))?),
        (_, [_, _, ..]) => return Err(fail(SdpProblem::OtherCrypto)),
    };
    agree(answer, stream, media, local, crypto)
}

/// The index of the stream to take.
fn choose(offer: &SessionDescription, local: &LocalMedia) -> Result<usize, SdpError> {
    let mut why = SdpError::new(0, SdpProblem::NoAudio);
    let mut clear = None;
    for (index, media) in offer.media.iter().enumerate().filter(|(_, media)| media.kind == "audio" && media.port != 0) {
        match obstacle(media, local) {
            Some(problem) => why = SdpError::new(media.line, problem),
            None if local.srtp == SrtpPolicy::Off => return Ok(index),
            None if media.crypto.iter().any(|theirs| pair(theirs, local).is_some()) => return Ok(index),
            None => clear = clear.or(Some(index)),
        }
    }
    clear.ok_or(why)
}

/// Why an audio stream cannot be taken.
fn obstacle(media: &Media, local: &LocalMedia) -> Option<SdpProblem> {
    let keyed = || media.crypto.iter().any(|theirs| pair(theirs, local).is_some());
    if !media.is_rtp() {
        return Some(if media.protocol.contains("SAVP") { SdpProblem::SecureOnly } else { SdpProblem::NoAudio });
    }
    if media.is_secure() && local.srtp == SrtpPolicy::Off {
        return Some(SdpProblem::SecureOnly);
    }
    if media.is_secure() && !keyed() {
        return Some(SdpProblem::NoCrypto);
    }
    if local.srtp == SrtpPolicy::Required && !keyed() {
        return Some(SdpProblem::ClearOnly);
    }
    pick_codec(media, local).is_none().then_some(SdpProblem::NoCodec)
}

fn agree(
    session: &SessionDescription,
    stream: usize,
    media: &Media,
    local: &LocalMedia,
    crypto: Option<AgreedCrypto>,
) -> Result<Agreed, SdpError> {
    let (codec, payload_type) = pick_codec(media, local).ok_or(SdpError::new(media.line, SdpProblem::NoCodec))?;
    let session_wide = session.connection.map(|connection| (connection, 0));
    let (connection, line) =
        media.connection.or(session_wide).ok_or(SdpError::new(media.line, SdpProblem::NoConnection))?;
    let fail = |problem| SdpError::new(if line == 0 { media.line } else { line }, problem);
    let address = usable(connection, local.address).map_err(fail)?;
    if media.port < 1024 {
        return Err(SdpError::new(media.line, SdpProblem::ForbiddenPort));
    }
    let theirs = media.direction.or(session.direction).unwrap_or_default();
    let rtcp_mux = media.rtcp_mux && local.rtcp == RtcpMode::Mux;
    Ok(Agreed {
        stream,
        codec,
        payload_type,
        opus: opus(media, codec, payload_type).map_err(|problem| SdpError::new(media.line, problem))?,
        telephone_event: pick_events(media, codec).filter(|_| local.telephone_event),
        comfort_noise_payload_type: pick_comfort_noise(media, codec).filter(|_| local.comfort_noise),
        ptime_ms: packet_time(media, local, codec),
        remote_rtp: address.map(|address| SocketAddr::new(address, media.port)),
        remote_rtcp: address.and_then(|address| rtcp(media, address, local, rtcp_mux)),
        rtcp_mux,
        direction: our_direction(theirs, address.is_none(), local.direction),
        crypto,
    })
}

/// The first format of theirs that is a codec of ours.
fn pick_codec(media: &Media, local: &LocalMedia) -> Option<(Codec, u8)> {
    media.formats.iter().find_map(|format| {
        let payload_type = format.parse().ok()?;
        let codec = Codec::of(payload_type, map(media, payload_type)).filter(|codec| local.codecs.contains(codec))?;
        Some((codec, payload_type))
    })
}

fn map(media: &Media, payload_type: u8) -> Option<&RtpMap> {
    media.rtpmaps.iter().find(|map| map.payload_type == payload_type)
}

/// What the fmtp of the chosen codec asks for.
fn opus(media: &Media, codec: Codec, payload_type: u8) -> Result<Option<OpusParameters>, SdpProblem> {
    if codec != Codec::Opus {
        return Ok(None);
    }
    let stated = media.formats_parameters.iter().find(|(format, _)| *format == payload_type);
    let read = stated.map_or(Some(OpusParameters::default()), |(_, value)| OpusParameters::parse(value));
    read.map(Some).ok_or(SdpProblem::BadFmtp)
}

/// Events at the codec's clock (RFC 4733 section 2.1), or at 8000 Hz: many telephones know no other.
fn pick_events(media: &Media, codec: Codec) -> Option<TelephoneEvent> {
    let at = |clock_hz| {
        let payload_type = listed(media, "telephone-event", clock_hz)?;
        Some(TelephoneEvent { payload_type, clock_hz })
    };
    at(codec.clock_hz()).or_else(|| at(8000))
}

/// Comfort noise has the clock of the codec that it stands in for (RFC 3389 section 4).
fn pick_comfort_noise(media: &Media, codec: Codec) -> Option<u8> {
    if codec.clock_hz() != 8000 {
        return None;
    }
    let unmapped = || {
        let stated = media.formats.iter().any(|format| format.parse() == Ok(COMFORT_NOISE));
        (stated && map(media, COMFORT_NOISE).is_none()).then_some(COMFORT_NOISE)
    };
    listed(media, "CN", 8000).or_else(unmapped)
}

/// The payload type of an encoding that is both mapped and among the formats.
fn listed(media: &Media, name: &str, clock_hz: u32) -> Option<u8> {
    let fits = |map: &&RtpMap| map.name.eq_ignore_ascii_case(name) && map.clock_hz == clock_hz && map.channels == 1;
    let mut maps = media.rtpmaps.iter().filter(fits);
    maps.find(|map| media.formats.iter().any(|format| format.parse() == Ok(map.payload_type)))
        .map(|map| map.payload_type)
}

/// Their key with ours of the same suite.
fn pair(theirs: &Crypto, local: &LocalMedia) -> Option<AgreedCrypto> {
    let ours = local.keys.iter().find(|key| key.suite == theirs.suite)?;
    (local.srtp != SrtpPolicy::Off).then(|| agreed_crypto(theirs, ours))
}

/// The key of ours that an answer chose by its tag, which counts our keys from 1.
fn answered(theirs: &Crypto, local: &LocalMedia) -> Option<AgreedCrypto> {
    let place = usize::try_from(theirs.tag).ok()?.checked_sub(1)?;
    let ours = local.keys.get(place).filter(|key| key.suite == theirs.suite)?;
    Some(agreed_crypto(theirs, ours))
}

fn agreed_crypto(theirs: &Crypto, ours: &LocalKey) -> AgreedCrypto {
    AgreedCrypto {
        tag: theirs.tag,
        suite: theirs.suite,
        local: ours.key.clone(),
        remote: theirs.key.clone(),
        lifetime: theirs.lifetime,
        remote_mki: theirs.mki,
    }
}

/// The address media may go to; `None` where the other side holds by naming none.
fn usable(connection: Connection, ours: IpAddr) -> Result<Option<IpAddr>, SdpProblem> {
    let Connection::Ip(address) = connection else { return Err(SdpProblem::NamedAddress) };
    if address.is_unspecified() {
        return Ok(None);
    }
    let plain = address.to_canonical();
    if !is_one_host(plain) || is_link_local(plain) || in_this_network(plain) {
        return Err(SdpProblem::ForbiddenAddress);
    }
    if plain.is_ipv4() != ours.to_canonical().is_ipv4() {
        return Err(SdpProblem::OtherFamily);
    }
    Ok(Some(plain))
}

/// Link-local addresses name a host only together with an interface, which a description does not.
const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// 0.0.0.0/8 and 240.0.0.0/4 name no host (RFC 6890).
fn in_this_network(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if matches!(v4.octets(), [0 | 240..=255, ..]))
}

fn rtcp(media: &Media, address: IpAddr, local: &LocalMedia, rtcp_mux: bool) -> Option<SocketAddr> {
    match (local.rtcp, media.rtcp) {
        (RtcpMode::Off, _) => None,
        _ if rtcp_mux => Some(SocketAddr::new(address, media.port)),
        (_, None) => media.port.checked_add(1).map(|port| SocketAddr::new(address, port)),
        (_, Some((port, connection))) => {
            let address = match connection {
                Some(connection) => usable(connection, local.address).ok()??,
                None => address,
            };
            (port >= 1024).then(|| SocketAddr::new(address, port))
        }
    }
}

/// RFC 3264 section 6.1: we may only do what the other side takes, and receive what it sends.
fn our_direction(theirs: Direction, held: bool, wanted: Direction) -> Direction {
    let offered = theirs.reversed();
    Direction::new(offered.may_send() && wanted.may_send() && !held, offered.may_receive() && wanted.may_receive())
}

fn packet_time(media: &Media, local: &LocalMedia, codec: Codec) -> u32 {
    let wanted = media.ptime_ms.unwrap_or(local.ptime_ms);
    codec.packet_time(wanted.min(media.maxptime_ms.unwrap_or(u32::MAX)))
}

fn answer_stream(answer: &mut String, media: &Media, local: &LocalMedia, agreed: &Agreed) {
    let events = agreed.telephone_event.map(|event| (event.payload_type, event.clock_hz));
    let crypto = agreed.crypto.as_ref().map(|crypto| (crypto.tag, crypto.suite, &crypto.local));
    let stream = Stream {
        protocol: &media.protocol,
        codecs: &[(agreed.codec, agreed.payload_type)],
        comfort_noise: agreed.comfort_noise_payload_type,
        events: events.as_slice(),
        ptime_ms: agreed.ptime_ms,
        direction: agreed.direction,
        rtcp_mux: agreed.rtcp_mux,
        crypto: crypto.as_slice(),
    };
    write::stream(answer, local, &stream);
}

/// The static payload type of comfort noise (RFC 3551 table 4).
pub(super) const COMFORT_NOISE: u8 = 13;

#[cfg(test)]
mod tests;
