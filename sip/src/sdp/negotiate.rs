//! Offer and answer for one telephone call (RFC 3264): which stream, which codec, where to, which way.

use super::Direction;
use super::codec::Codec;
use super::error::{SdpError, SdpProblem};
use super::parse::{Connection, Media, SessionDescription};
use crate::dialog::is_one_host;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// What we can do for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalMedia<'a> {
    /// Where we receive.
    pub address: IpAddr,
    /// Our RTP port; RTCP is one above.
    pub port: u16,
    /// Codecs in order of preference for our offers; an answer follows the other side's order.
    pub codecs: &'a [Codec],
    /// Packet time we like, in ms.
    pub ptime_ms: u32,
    /// What we want: `SendRecv`, or less to put the other side on hold.
    pub direction: Direction,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    pub codec: Codec,
    /// RTP payload type of the codec.
    pub payload_type: u8,
    /// RTP payload type of telephone-event (RFC 4733) at the codec's clock rate, if both have it.
    pub dtmf_payload_type: Option<u8>,
    /// Packet time to send, in ms: a multiple of 10 from 10 to 60.
    pub ptime_ms: u32,
    /// Where to send RTP; `None` while the other side holds by an unspecified address (RFC 3264 section 8.4).
    pub remote_rtp: Option<SocketAddr>,
    /// Where to send RTCP.
    pub remote_rtcp: Option<SocketAddr>,
    /// What we may do.
    pub direction: Direction,
}

/// Answers an offer: the first audio stream over RTP/AVP with a codec of ours is taken, every other
/// stream is refused with port 0. Errors mean that nothing can be agreed: refuse with 488.
pub fn negotiate(offer: &SessionDescription, local: &LocalMedia<'_>, session: Session) -> Result<Negotiated, SdpError> {
    let chosen = choose(offer, local)?;
    let media = offer.media.get(chosen).ok_or(SdpError::new(0, SdpProblem::NoAudio))?;
    let agreed = agree(offer, media, local)?;
    let mut answer = heading(local, session, offer.time.unwrap_or_default());
    for (index, media) in offer.media.iter().enumerate() {
        if index == chosen {
            let codec = [(agreed.codec, agreed.payload_type)];
            stream(&mut answer, local, &codec, agreed.dtmf_payload_type, agreed.ptime_ms, agreed.direction);
        } else {
            write!(answer, "m={} 0 {} {}\r\n", media.kind, media.protocol, media.formats.join(" ")).ok();
        }
    }
    Ok(Negotiated { answer, agreed })
}

/// Reads the answer to an offer made by [`LocalMedia::offer`].
pub fn read_answer(answer: &SessionDescription, local: &LocalMedia<'_>) -> Result<Agreed, SdpError> {
    let media = answer.media.first().ok_or(SdpError::new(0, SdpProblem::NoAudio))?;
    if media.kind != "audio" || media.protocol != PLAIN || media.port == 0 {
        return Err(SdpError::new(media.line, SdpProblem::NoAudio));
    }
    agree(answer, media, local)
}

impl LocalMedia<'_> {
    /// The text of an offer of everything we can do.
    pub fn offer(&self, session: Session) -> String {
        let mut offer = heading(self, session, (0, 0));
        let codecs: Vec<(Codec, u8)> = self.codecs.iter().map(|codec| (*codec, codec.payload_type())).collect();
        stream(&mut offer, self, &codecs, Some(DTMF), clamp(self.ptime_ms), self.direction);
        offer
    }
}

/// The index of the stream to take.
fn choose(offer: &SessionDescription, local: &LocalMedia<'_>) -> Result<usize, SdpError> {
    let mut why = SdpError::new(0, SdpProblem::NoAudio);
    for (index, media) in offer.media.iter().enumerate() {
        if media.kind != "audio" || media.port == 0 {
            continue;
        }
        if media.protocol != PLAIN {
            if media.protocol.contains("SAVP") {
                why = SdpError::new(media.line, SdpProblem::SecureOnly);
            }
            continue;
        }
        if pick_codec(media, local).is_some() {
            return Ok(index);
        }
        why = SdpError::new(media.line, SdpProblem::NoCodec);
    }
    Err(why)
}

fn agree(session: &SessionDescription, media: &Media, local: &LocalMedia<'_>) -> Result<Agreed, SdpError> {
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
    Ok(Agreed {
        codec,
        payload_type,
        dtmf_payload_type: pick_dtmf(media, codec),
        ptime_ms: packet_time(media, local),
        remote_rtp: address.map(|address| SocketAddr::new(address, media.port)),
        remote_rtcp: address.and_then(|address| rtcp(media, address, local.address)),
        direction: our_direction(theirs, address.is_none(), local.direction),
    })
}

/// The first format of theirs that is a codec of ours.
fn pick_codec(media: &Media, local: &LocalMedia<'_>) -> Option<(Codec, u8)> {
    media.formats.iter().find_map(|format| {
        let payload_type = format.parse().ok()?;
        let map = media.rtpmaps.iter().find(|map| map.payload_type == payload_type);
        let codec = Codec::of(payload_type, map).filter(|codec| local.codecs.contains(codec))?;
        Some((codec, payload_type))
    })
}

fn pick_dtmf(media: &Media, codec: Codec) -> Option<u8> {
    let fits = |map: &&super::RtpMap| {
        map.name.eq_ignore_ascii_case("telephone-event") && map.clock_hz == codec.clock_hz() && map.channels == 1
    };
    let mut maps = media.rtpmaps.iter().filter(fits);
    maps.find(|map| media.formats.iter().any(|format| format.parse() == Ok(map.payload_type)))
        .map(|map| map.payload_type)
}

/// The address media may go to; `None` where the other side holds by naming none.
fn usable(connection: Connection, ours: IpAddr) -> Result<Option<IpAddr>, SdpProblem> {
    let Connection::Ip(address) = connection else { return Err(SdpProblem::NamedAddress) };
    if address.is_unspecified() {
        return Ok(None);
    }
    let plain = address.to_canonical();
    let link_local = matches!(plain, IpAddr::V4(v4) if v4.is_link_local());
    if !is_one_host(plain) || link_local || in_this_network(plain) {
        return Err(SdpProblem::ForbiddenAddress);
    }
    if plain.is_ipv4() != ours.to_canonical().is_ipv4() {
        return Err(SdpProblem::OtherFamily);
    }
    Ok(Some(plain))
}

/// 0.0.0.0/8 and 240.0.0.0/4 name no host (RFC 6890).
fn in_this_network(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if matches!(v4.octets(), [0 | 240..=255, ..]))
}

fn rtcp(media: &Media, address: IpAddr, ours: IpAddr) -> Option<SocketAddr> {
    let Some((port, connection)) = media.rtcp else {
        return media.port.checked_add(1).map(|port| SocketAddr::new(address, port));
    };
    let address = match connection {
        Some(connection) => usable(connection, ours).ok()??,
        None => address,
    };
    (port >= 1024).then(|| SocketAddr::new(address, port))
}

/// RFC 3264 section 6.1: we may only do what the other side takes, and receive what it sends.
fn our_direction(theirs: Direction, held: bool, wanted: Direction) -> Direction {
    let offered = theirs.reversed();
    Direction::new(offered.may_send() && wanted.may_send() && !held, offered.may_receive() && wanted.may_receive())
}

fn packet_time(media: &Media, local: &LocalMedia<'_>) -> u32 {
    let wanted = media.ptime_ms.unwrap_or(local.ptime_ms);
    clamp(wanted.min(media.maxptime_ms.unwrap_or(u32::MAX)))
}

const fn clamp(ptime_ms: u32) -> u32 {
    match ptime_ms {
        0..10 => 10,
        60.. => 60,
        between => between / 10 * 10,
    }
}

fn heading(local: &LocalMedia<'_>, session: Session, (start, stop): (u64, u64)) -> String {
    let family = if local.address.is_ipv4() { "IP4" } else { "IP6" };
    let (id, version, address) = (session.id, session.version, local.address);
    format!("v=0\r\no=- {id} {version} IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt={start} {stop}\r\n")
}

fn stream(
    text: &mut String,
    local: &LocalMedia<'_>,
    codecs: &[(Codec, u8)],
    dtmf: Option<u8>,
    ptime_ms: u32,
    direction: Direction,
) {
    write!(text, "m=audio {} {PLAIN}", local.port).ok();
    for payload_type in codecs.iter().map(|(_, payload_type)| *payload_type).chain(dtmf) {
        write!(text, " {payload_type}").ok();
    }
    text.push_str("\r\n");
    for (codec, payload_type) in codecs {
        write!(text, "a=rtpmap:{payload_type} {}/{}\r\n", codec.name(), codec.clock_hz()).ok();
    }
    if let Some(dtmf) = dtmf {
        write!(text, "a=rtpmap:{dtmf} telephone-event/8000\r\na=fmtp:{dtmf} 0-16\r\n").ok();
    }
    write!(text, "a=ptime:{ptime_ms}\r\na={}\r\n", direction.as_str()).ok();
}

const PLAIN: &str = "RTP/AVP";
/// Payload type of telephone-event in our offers.
const DTMF: u8 = 101;

#[cfg(test)]
mod tests;
