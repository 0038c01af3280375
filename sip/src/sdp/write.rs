//! The text of our offers and answers (RFC 8866 section 5: lines in their order, CRLF at each end).

use super::codec::Codec;
use super::crypto::{self, CryptoSuite, MasterKey};
use super::negotiate::{LocalMedia, RtcpMode, Session};
use super::{Direction, opus};
use std::fmt::Write as _;

/// Everything a stream of ours says.
pub(super) struct Stream<'a> {
    pub protocol: &'a str,
    pub codecs: &'a [(Codec, u8)],
    pub comfort_noise: Option<u8>,
    /// Payload types of telephone-event and their clock rates, Hz.
    pub events: &'a [(u8, u32)],
    pub ptime_ms: u32,
    pub direction: Direction,
    pub rtcp_mux: bool,
    /// Tag, suite and our key of each `a=crypto`.
    pub crypto: &'a [(u32, CryptoSuite, &'a MasterKey)],
}

/// Everything above the first stream.
pub(super) fn heading(local: &LocalMedia, session: Session, (start, stop): (u64, u64)) -> String {
    let family = if local.address.is_ipv4() { "IP4" } else { "IP6" };
    let (id, version, address) = (session.id, session.version, local.address);
    format!("v=0\r\no=- {id} {version} IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt={start} {stop}\r\n")
}

/// A stream that we take no part in.
pub(super) fn refused(text: &mut String, kind: &str, protocol: &str, formats: &[String]) {
    write!(text, "m={kind} 0 {protocol} {}\r\n", formats.join(" ")).ok();
}

/// Our stream.
pub(super) fn stream(text: &mut String, local: &LocalMedia, stream: &Stream<'_>) {
    write!(text, "m=audio {} {}", local.port, stream.protocol).ok();
    let codecs = stream.codecs.iter().map(|(_, payload_type)| *payload_type);
    let events = stream.events.iter().map(|(payload_type, _)| *payload_type);
    for payload_type in codecs.chain(stream.comfort_noise).chain(events) {
        write!(text, " {payload_type}").ok();
    }
    text.push_str("\r\n");
    for (codec, payload_type) in stream.codecs {
        write!(text, "a=rtpmap:{payload_type} {}\r\n", codec.encoding()).ok();
        if *codec == Codec::Opus {
            write!(text, "a=fmtp:{payload_type} {}\r\n", opus::WANTED).ok();
        }
    }
    if let Some(payload_type) = stream.comfort_noise {
        write!(text, "a=rtpmap:{payload_type} CN/8000\r\n").ok();
    }
    for (payload_type, clock_hz) in stream.events {
        write!(text, "a=rtpmap:{payload_type} telephone-event/{clock_hz}\r\na=fmtp:{payload_type} 0-16\r\n").ok();
    }
    write!(text, "a=ptime:{}\r\na=maxptime:{LONGEST_PACKET_MS}\r\n", stream.ptime_ms).ok();
    if stream.rtcp_mux && local.rtcp == RtcpMode::Mux {
        text.push_str("a=rtcp-mux\r\n");
    }
    for (tag, suite, key) in stream.crypto {
        crypto::write(text, *tag, *suite, key);
    }
    write!(text, "a={}\r\n", stream.direction.as_str()).ok();
}

/// The longest packet that the media library takes in, ms.
const LONGEST_PACKET_MS: u32 = 60;
