//! Reads a session description (RFC 8866 section 5 and 6), as much of it as telephony needs.
//!
//! Line ends may be CRLF or LF; bytes that are not UTF-8 are tolerated where they are not read. Lines
//! that mean nothing here are skipped, but every line must have the form `type=value`.

use super::Direction;
use super::crypto::{self, Crypto};
use super::error::{SdpError, SdpProblem};
use std::net::IpAddr;

/// A session description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionDescription {
    pub origin: Origin,
    /// Session-level `c=`.
    pub connection: Option<Connection>,
    /// Session-level direction attribute.
    pub direction: Option<Direction>,
    /// The value of the first `t=`.
    pub time: Option<(u64, u64)>,
    pub media: Vec<Media>,
}

/// The identity of a session (RFC 8866 section 5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub session_id: String,
    pub version: String,
}

/// Where media goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    Ip(IpAddr),
    /// A host name; never resolved.
    Name,
}

/// One `m=` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// Line number of the `m=` line, from 1.
    pub line: usize,
    /// `audio`, `video`, `image`..
    pub kind: String,
    /// 0 for a refused stream.
    pub port: u16,
    /// `RTP/AVP`, `RTP/SAVP`, `udptl`..
    pub protocol: String,
    pub formats: Vec<String>,
    /// Media-level `c=` and its line.
    pub connection: Option<(Connection, usize)>,
    pub direction: Option<Direction>,
    pub rtpmaps: Vec<RtpMap>,
    /// `a=ptime` in ms, as stated.
    pub ptime_ms: Option<u32>,
    /// `a=maxptime` in ms, as stated.
    pub maxptime_ms: Option<u32>,
    /// `a=rtcp` port and address (RFC 3605).
    pub rtcp: Option<(u16, Option<Connection>)>,
    /// `a=rtcp-mux` (RFC 5761).
    pub rtcp_mux: bool,
    /// Payload type and parameters of each `a=fmtp`.
    pub formats_parameters: Vec<(u8, String)>,
    /// Each `a=crypto` that can be used (RFC 4568).
    pub crypto: Vec<Crypto>,
}

impl Media {
    /// Whether the profile is encrypted by keys in the description: RTP/SAVP or RTP/SAVPF.
    pub fn is_secure(&self) -> bool {
        matches!(self.protocol.as_str(), "RTP/SAVP" | "RTP/SAVPF")
    }

    /// Whether the profile is one of ours: RTP/AVP, RTP/SAVP, or one of these with feedback (RFC 4585), which we
    /// never send but need not be spared.
    pub(super) fn is_rtp(&self) -> bool {
        self.is_secure() || matches!(self.protocol.as_str(), "RTP/AVP" | "RTP/AVPF")
    }
}

/// `a=rtpmap` (RFC 8866 section 6.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtpMap {
    pub payload_type: u8,
    pub name: String,
    /// Clock rate in Hz.
    pub clock_hz: u32,
    pub channels: u32,
}

impl SessionDescription {
    /// Reads a description. Errors name the line.
    pub fn parse(bytes: &[u8]) -> Result<Self, SdpError> {
        if bytes.len() > MAX_SIZE {
            return Err(SdpError::new(0, SdpProblem::TooLarge));
        }
        let text = String::from_utf8_lossy(bytes);
        let mut draft = Draft::default();
        for (index, line) in text.lines().enumerate() {
            draft.take(index + 1, line).map_err(|problem| SdpError::new(index + 1, problem))?;
        }
        draft.finish().map_err(|problem| SdpError::new(0, problem))
    }
}

/// A description half read.
#[derive(Default)]
struct Draft {
    version: bool,
    origin: Option<Origin>,
    connection: Option<Connection>,
    direction: Option<Direction>,
    time: Option<(u64, u64)>,
    media: Vec<Media>,
}

impl Draft {
    fn take(&mut self, number: usize, line: &str) -> Result<(), SdpProblem> {
        if line.is_empty() {
            return Ok(());
        }
        if line.bytes().any(|byte| byte < 0x20 && byte != b'\t') {
            return Err(SdpProblem::ControlCharacter);
        }
        let (kind, value) = line.split_once('=').ok_or(SdpProblem::BadLine)?;
        if !self.version {
            self.version = kind == "v" && value.trim_end() == "0";
            return if self.version { Ok(()) } else { Err(SdpProblem::BadVersion) };
        }
        match kind {
            "o" if self.origin.is_none() => self.origin = Some(origin(value)?),
            "c" => self.take_connection(number, connection(value)?),
            "t" if self.time.is_none() => self.time = Some(time(value)?),
            "m" if self.media.len() >= MAX_MEDIA => return Err(SdpProblem::TooMany),
            "m" => self.media.push(media(number, value)?),
            "a" => self.take_attribute(value)?,
            "v" => return Err(SdpProblem::BadVersion),
            _ if kind.len() == 1 => {}
            _ => return Err(SdpProblem::BadLine),
        }
        Ok(())
    }

    fn take_connection(&mut self, number: usize, connection: Connection) {
        match self.media.last_mut() {
            // A stream may list several addresses (layered multicast); the first one stands.
            Some(media) => media.connection = media.connection.or(Some((connection, number))),
            None => self.connection = Some(connection),
        }
    }

    fn take_attribute(&mut self, value: &str) -> Result<(), SdpProblem> {
        if let Some(direction) = direction(value.trim_end()) {
            match self.media.last_mut() {
                Some(media) => media.direction = Some(direction),
                None => self.direction = Some(direction),
            }
            return Ok(());
        }
        let Some(media) = self.media.last_mut() else { return Ok(()) };
        if value.trim_end() == "rtcp-mux" {
            media.rtcp_mux = true;
        }
        let Some((name, value)) = value.split_once(':') else { return Ok(()) };
        match name {
            "rtpmap" if media.rtpmaps.len() >= MAX_FORMATS => return Err(SdpProblem::TooMany),
            "rtpmap" => media.rtpmaps.push(rtpmap(value).ok_or(SdpProblem::BadRtpMap)?),
            "ptime" => media.ptime_ms = Some(value.trim().parse().map_err(|_| SdpProblem::BadPtime)?),
            "maxptime" => media.maxptime_ms = Some(value.trim().parse().map_err(|_| SdpProblem::BadPtime)?),
            "rtcp" => media.rtcp = Some(rtcp(value)?),
            "fmtp" if media.formats_parameters.len() >= MAX_FORMATS => return Err(SdpProblem::TooMany),
            "fmtp" => media.formats_parameters.extend(fmtp(value)),
            "crypto" if media.crypto.len() >= MAX_CRYPTO => return Err(SdpProblem::TooMany),
            "crypto" => match crypto::parse(value) {
                crypto::Read::Usable(crypto) => media.crypto.push(crypto),
                crypto::Read::Foreign => {}
                crypto::Read::Malformed => return Err(SdpProblem::BadCrypto),
            },
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<SessionDescription, SdpProblem> {
        if !self.version {
            return Err(SdpProblem::BadVersion);
        }
        Ok(SessionDescription {
            origin: self.origin.ok_or(SdpProblem::BadOrigin)?,
            connection: self.connection,
            direction: self.direction,
            time: self.time,
            media: self.media,
        })
    }
}

fn origin(value: &str) -> Result<Origin, SdpProblem> {
    let fields: Vec<&str> = value.split_whitespace().collect();
    let [_user, id, version, "IN", "IP4" | "IP6", _address] = fields.as_slice() else {
        return Err(SdpProblem::BadOrigin);
    };
    let numeric = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !numeric(id) || !numeric(version) {
        return Err(SdpProblem::BadOrigin);
    }
    Ok(Origin { session_id: (*id).to_owned(), version: (*version).to_owned() })
}

fn connection(value: &str) -> Result<Connection, SdpProblem> {
    let fields: Vec<&str> = value.split_whitespace().collect();
    let ["IN", family @ ("IP4" | "IP6"), address] = fields.as_slice() else {
        return Err(SdpProblem::BadConnection);
    };
    // A multicast address carries its TTL behind a slash; it is refused later for what it is.
    let address = address.split('/').next().unwrap_or_default();
    match address.parse::<IpAddr>() {
        Ok(ip) if ip.is_ipv4() == (*family == "IP4") => Ok(Connection::Ip(ip)),
        Ok(_) => Err(SdpProblem::BadConnection),
        Err(_) if is_name(address) => Ok(Connection::Name),
        Err(_) => Err(SdpProblem::BadConnection),
    }
}

/// A host name has a letter, so that a broken number is not taken for one.
fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    text.bytes().all(fits) && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

fn time(value: &str) -> Result<(u64, u64), SdpProblem> {
    let (start, stop) = value.trim_end().split_once(' ').ok_or(SdpProblem::BadTime)?;
    let number = |text: &str| text.parse().map_err(|_| SdpProblem::BadTime);
    Ok((number(start)?, number(stop)?))
}

fn media(line: usize, value: &str) -> Result<Media, SdpProblem> {
    let mut fields = value.split_ascii_whitespace();
    let mut field = || fields.next().ok_or(SdpProblem::BadMedia);
    let (kind, port, protocol) = (field()?, field()?, field()?);
    let formats: Vec<String> = fields.map(str::to_owned).collect();
    let port = port.split('/').next().unwrap_or_default().parse().map_err(|_| SdpProblem::BadMedia)?;
    if formats.is_empty() || formats.len() > MAX_FORMATS {
        return Err(SdpProblem::BadMedia);
    }
    let payload_type = |format: &String| format.parse::<u8>().is_ok_and(|number| number < 128);
    if protocol.contains("RTP/") && !formats.iter().all(payload_type) {
        return Err(SdpProblem::BadMedia);
    }
    Ok(Media {
        line,
        kind: kind.to_owned(),
        port,
        protocol: protocol.to_owned(),
        formats,
        connection: None,
        direction: None,
        rtpmaps: Vec::new(),
        ptime_ms: None,
        maxptime_ms: None,
        rtcp: None,
        rtcp_mux: false,
        formats_parameters: Vec::new(),
        crypto: Vec::new(),
    })
}

fn direction(value: &str) -> Option<Direction> {
    let all = [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive];
    all.into_iter().find(|direction| direction.as_str() == value)
}

fn rtpmap(value: &str) -> Option<RtpMap> {
    let (payload_type, encoding) = value.trim().split_once(' ')?;
    let mut parts = encoding.trim_start().split('/');
    let (name, clock) = (parts.next()?, parts.next()?);
    let channels = parts.next().map_or(Some(1), |channels| channels.parse().ok())?;
    let payload_type = payload_type.parse().ok().filter(|number| *number < 128)?;
    let clock_hz = clock.parse().ok()?;
    (!name.is_empty()).then(|| RtpMap { payload_type, name: name.to_owned(), clock_hz, channels })
}

/// Parameters of formats that are no payload types mean nothing here.
fn fmtp(value: &str) -> Option<(u8, String)> {
    let (format, parameters) = value.trim().split_once(' ')?;
    Some((format.parse().ok()?, parameters.trim().to_owned()))
}

fn rtcp(value: &str) -> Result<(u16, Option<Connection>), SdpProblem> {
    let value = value.trim();
    let (port, address) = value.split_once(' ').map_or((value, None), |(port, rest)| (port, Some(rest)));
    let port = port.parse().map_err(|_| SdpProblem::BadRtcp)?;
    let address = address.map(connection).transpose().map_err(|_| SdpProblem::BadRtcp)?;
    Ok((port, address))
}

const MAX_SIZE: usize = 64 * 1024;
const MAX_MEDIA: usize = 32;
const MAX_FORMATS: usize = 128;
const MAX_CRYPTO: usize = 32;
