//! SRTP and SRTCP (RFC 3711, RFC 6188): packets encrypted and authenticated in place, and the reverse.
//!
//! A packet changes nothing before its tag has been found right: neither the rollover counter nor the replay window
//! nor the list of sources. Keys are wiped when dropped, and never printed. Deliberately absent: the NULL and F8
//! ciphers, key derivation rates, several keys at once, and any stream without authentication.

mod cipher;
mod hmac;
mod session;
mod window;

use core::fmt;

use session::SessionKeys;
use window::Window;

/// How packets are encrypted and authenticated. The tag of RTCP packets always has 80 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// `AES_CM_128_HMAC_SHA1_80` (RFC 4568).
    AesCm128Tag80,
    /// `AES_CM_128_HMAC_SHA1_32` (RFC 4568).
    AesCm128Tag32,
    /// `AES_256_CM_HMAC_SHA1_80` (RFC 6188).
    Aes256CmTag80,
    /// `AES_256_CM_HMAC_SHA1_32` (RFC 6188).
    Aes256CmTag32,
}

impl Suite {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::AesCm128Tag80, Self::AesCm128Tag32, Self::Aes256CmTag80, Self::Aes256CmTag32];

    /// Octets of the master key, without the salt of 14.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AesCm128Tag80 | Self::AesCm128Tag32 => 16,
            Self::Aes256CmTag80 | Self::Aes256CmTag32 => 32,
        }
    }

    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCm128Tag80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128Tag32 => "AES_CM_128_HMAC_SHA1_32",
            Self::Aes256CmTag80 => "AES_256_CM_HMAC_SHA1_80",
            Self::Aes256CmTag32 => "AES_256_CM_HMAC_SHA1_32",
        }
    }

    const fn rtp_tag(self) -> usize {
        match self {
            Self::AesCm128Tag80 | Self::Aes256CmTag80 => RTCP_TAG,
            Self::AesCm128Tag32 | Self::Aes256CmTag32 => 4,
        }
    }
}

/// The identifier that each of the far side's packets carries between payload and tag (RFC 3711 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mki {
    pub value: u64,
    /// Octets, 1 to 8.
    pub length: u8,
}

impl Mki {
    fn matches(&self, octets: &[u8]) -> bool {
        let read = octets.iter().fold(0u64, |value, &octet| value << 8 | u64::from(octet));
        octets.len() == self.octets() && read == self.value
    }

    fn octets(&self) -> usize {
        usize::from(self.length.min(8))
    }
}

/// Why a packet was not taken. Nothing has changed but the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// The master key and salt do not have the suite's length.
    #[error("{found} octets of key and salt, the suite takes {expected}")]
    KeyLength { expected: usize, found: usize },
    /// Not an RTP or RTCP packet of version 2 with room for what SRTP adds.
    #[error("a packet of {length} octets is no packet of this kind")]
    Malformed { length: usize },
    /// The tag is not the one that the key gives: another key, a changed packet, or no SRTP at all.
    #[error("the authentication tag is wrong")]
    Unauthentic,
    /// Came before, or is older than the window.
    #[error("the packet came before or is too old to tell")]
    Replayed,
    /// Another key identifier than the one that was agreed.
    #[error("the packet names another key")]
    OtherKey,
    /// RTCP in the clear, which was not agreed.
    #[error("the RTCP packet is not encrypted")]
    Clear,
    /// The key has served as many packets as it may (RFC 3711 section 9.2, RFC 4568 section 6.1).
    #[error("the key has served all its packets")]
    Expired,
    /// A packet to send whose number was used, or one of another source: its keystream would be used twice.
    #[error("the packet's number or source was not expected")]
    Reused,
}

/// Encrypts what one source sends.
pub struct SrtpSender {
    keys: SessionKeys,
    ssrc: u32,
    /// Index of the last packet: rollover counter and sequence number.
    last: Option<u64>,
    rtcp_index: u32,
}

impl SrtpSender {
    /// `key_and_salt` is the master key followed by the master salt of 14 octets; `ssrc` the one source of ours.
    /// The first sequence number should be below 2^15, so that a loss at the start cannot hide its wrap (RFC 3711
    /// section 3.3.1).
    ///
    /// # Errors
    /// [`SrtpError::KeyLength`].
    pub fn new(suite: Suite, key_and_salt: &[u8], ssrc: u32) -> Result<Self, SrtpError> {
        let keys = SessionKeys::derive(suite, key_and_salt)?;
        Ok(Self { keys, ssrc, last: None, rtcp_index: 0 })
    }

    /// Encrypts the RTP packet in the first `length` octets of `room` and returns its new length: at most
    /// [`MOST_GROWTH`] more.
    ///
    /// # Errors
    /// [`SrtpError`]: the packet must not be sent.
    pub fn protect(&mut self, room: &mut [u8], length: usize) -> Result<usize, SrtpError> {
        let malformed = SrtpError::Malformed { length };
        let header = room.get(..length).and_then(RtpHead::read).ok_or(malformed)?;
        if header.ssrc != self.ssrc {
            return Err(SrtpError::Reused);
        }
        let index = match self.last {
            None => u64::from(header.sequence),
            Some(last) => index_near(last, header.sequence).filter(|&index| index > last).ok_or(SrtpError::Reused)?,
        };
        if index > LAST_INDEX {
            return Err(SrtpError::Expired);
        }
        let tag_len = self.keys.suite.rtp_tag();
        let (packet, tag) = split(room, length, tag_len).ok_or(malformed)?;
        self.keys.rtp.crypt(header.ssrc, index, packet.get_mut(header.length..).ok_or(malformed)?);
        self.keys.rtp.tag(packet, &rollover(index).to_be_bytes(), tag);
        self.last = Some(index);
        Ok(length + tag_len)
    }

    /// Encrypts the compound RTCP packet in the first `length` octets of `room` and returns its new length.
    ///
    /// # Errors
    /// [`SrtpError`]: the packet must not be sent.
    pub fn protect_rtcp(&mut self, room: &mut [u8], length: usize) -> Result<usize, SrtpError> {
        let malformed = SrtpError::Malformed { length };
        let ssrc = room.get(..length).and_then(rtcp_ssrc).ok_or(malformed)?;
        if self.rtcp_index >= LAST_RTCP_INDEX {
            return Err(SrtpError::Expired);
        }
        let index = self.rtcp_index + 1;
        let whole = length + RTCP_INDEX;
        let body = room.get_mut(RTCP_HEAD..length).ok_or(malformed)?;
        self.keys.rtcp.crypt(ssrc, index.into(), body);
        room.get_mut(length..whole).ok_or(malformed)?.copy_from_slice(&(index | ENCRYPTED).to_be_bytes());
        let (packet, tag) = split(room, whole, RTCP_TAG).ok_or(malformed)?;
        self.keys.rtcp.tag(packet, &[], tag);
        self.rtcp_index = index;
        Ok(whole + RTCP_TAG)
    }
}

/// Decrypts what the far side sends, whatever its sources.
pub struct SrtpReceiver {
    keys: SessionKeys,
    mki: Option<Mki>,
    /// Packets that the key may still serve.
    left: u64,
    sources: [Option<Remote>; MOST_SOURCES],
    /// Counts authentic packets, to tell which source was heard last.
    heard: u64,
    counts: SrtpStats,
}

/// Packets that were dropped, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SrtpStats {
    /// Wrong tag, other key, or not encrypted.
    pub unauthentic: u64,
    /// Came before, or too old.
    pub replayed: u64,
    pub malformed: u64,
    /// Came after the key's last packet.
    pub expired: u64,
}

impl SrtpStats {
    /// All of them.
    pub const fn dropped(&self) -> u64 {
        self.unauthentic + self.replayed + self.malformed + self.expired
    }
}

impl SrtpReceiver {
    /// `key_and_salt` is the master key followed by the master salt; `lifetime` the packets that it is good for.
    ///
    /// # Errors
    /// [`SrtpError::KeyLength`].
    pub fn new(suite: Suite, key_and_salt: &[u8], mki: Option<Mki>, lifetime: u64) -> Result<Self, SrtpError> {
        let (keys, counts) = (SessionKeys::derive(suite, key_and_salt)?, SrtpStats::default());
        Ok(Self { keys, mki, left: lifetime, sources: [None; MOST_SOURCES], heard: 0, counts })
    }

    /// Decrypts an SRTP packet in place and returns the length of the RTP packet that it is now.
    ///
    /// # Errors
    /// [`SrtpError`]: drop it. Its octets are as they came.
    pub fn unprotect(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let outcome = self.open_rtp(packet);
        self.count(outcome)
    }

    /// Decrypts an SRTCP packet in place and returns the length of the compound packet that it is now.
    ///
    /// # Errors
    /// [`SrtpError`]: drop it. Its octets are as they came.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let outcome = self.open_rtcp(packet);
        self.count(outcome)
    }

    /// What was dropped so far.
    pub const fn stats(&self) -> SrtpStats {
        self.counts
    }

    fn open_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let malformed = SrtpError::Malformed { length: packet.len() };
        let header = RtpHead::read(packet).ok_or(malformed)?;
        let length = self.body(packet, self.keys.suite.rtp_tag()).ok_or(malformed)?;
        let mut remote = self.remote(header.ssrc);
        let index = match remote.last {
            None => u64::from(header.sequence),
            Some(last) => index_near(last, header.sequence).ok_or(SrtpError::Replayed)?,
        };
        if index > LAST_INDEX {
            return Err(SrtpError::Expired);
        }
        remote.rtp.check(index)?;
        let (body, trailer) = packet.split_at_mut_checked(length).ok_or(malformed)?;
        let tag = self.after_mki(trailer)?;
        if !self.keys.rtp.verifies(body, &rollover(index).to_be_bytes(), tag) {
            return Err(SrtpError::Unauthentic);
        }
        let payload = body.get_mut(header.length..).ok_or(malformed)?;
        self.spend()?;
        self.keys.rtp.crypt(header.ssrc, index, payload);
        remote.rtp.note(index);
        remote.last = remote.last.max(Some(index));
        self.keep(remote);
        Ok(length)
    }

    fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let malformed = SrtpError::Malformed { length: packet.len() };
        let ssrc = rtcp_ssrc(packet).ok_or(malformed)?;
        let covered = self.body(packet, RTCP_TAG).ok_or(malformed)?;
        let length = covered.checked_sub(RTCP_INDEX).filter(|&length| length >= RTCP_HEAD).ok_or(malformed)?;
        let (body, trailer) = packet.split_at_mut_checked(covered).ok_or(malformed)?;
        let stated: [u8; RTCP_INDEX] = body.get(length..).and_then(|last| last.try_into().ok()).ok_or(malformed)?;
        let stated = u32::from_be_bytes(stated);
        let index = u64::from(stated & !ENCRYPTED);
        let mut remote = self.remote(ssrc);
        remote.rtcp.check(index)?;
        let tag = self.after_mki(trailer)?;
        if !self.keys.rtcp.verifies(body, &[], tag) {
            return Err(SrtpError::Unauthentic);
        }
        if stated & ENCRYPTED == 0 {
            return Err(SrtpError::Clear);
        }
        self.keys.rtcp.crypt(ssrc, index, body.get_mut(RTCP_HEAD..length).ok_or(malformed)?);
        remote.rtcp.note(index);
        self.keep(remote);
        Ok(length)
    }

    /// Octets before key identifier and tag.
    fn body(&self, packet: &[u8], tag: usize) -> Option<usize> {
        packet.len().checked_sub(tag + self.mki.map_or(0, |mki| mki.octets()))
    }

    fn after_mki<'a>(&self, trailer: &'a [u8]) -> Result<&'a [u8], SrtpError> {
        let Some(mki) = self.mki else { return Ok(trailer) };
        let (stated, tag) = trailer.split_at_checked(mki.octets()).ok_or(SrtpError::OtherKey)?;
        if mki.matches(stated) { Ok(tag) } else { Err(SrtpError::OtherKey) }
    }

    /// What is known of a source, or nothing yet.
    fn remote(&self, ssrc: u32) -> Remote {
        let known = self.sources.iter().flatten().find(|remote| remote.ssrc == ssrc);
        known.copied().unwrap_or(Remote { ssrc, last: None, rtp: Window::default(), rtcp: Window::default(), heard: 0 })
    }

    /// Only authentic packets come here. Beyond the bound the source that was heard longest ago is forgotten.
    fn keep(&mut self, remote: Remote) {
        self.heard += 1;
        let remote = Remote { heard: self.heard, ..remote };
        let known = self.sources.iter().position(|place| place.is_some_and(|known| known.ssrc == remote.ssrc));
        let oldest =
            || (0..MOST_SOURCES).min_by_key(|&n| self.sources.get(n).copied().flatten().map_or(0, |s| s.heard));
        if let Some(place) = known.or_else(oldest).and_then(|place| self.sources.get_mut(place)) {
            *place = Some(remote);
        }
    }

    fn spend(&mut self) -> Result<(), SrtpError> {
        self.left = self.left.checked_sub(1).ok_or(SrtpError::Expired)?;
        Ok(())
    }

    fn count(&mut self, outcome: Result<usize, SrtpError>) -> Result<usize, SrtpError> {
        match outcome {
            Err(SrtpError::Unauthentic | SrtpError::OtherKey | SrtpError::Clear) => self.counts.unauthentic += 1,
            Err(SrtpError::Replayed) => self.counts.replayed += 1,
            Err(SrtpError::Malformed { .. }) => self.counts.malformed += 1,
            Err(SrtpError::Expired) => self.counts.expired += 1,
            Ok(_) | Err(SrtpError::KeyLength { .. } | SrtpError::Reused) => {}
        }
        outcome
    }
}

impl fmt::Debug for SrtpSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpSender").field("suite", &self.keys.suite).finish_non_exhaustive()
    }
}

impl fmt::Debug for SrtpReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpReceiver")
            .field("suite", &self.keys.suite)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

/// Octets that protecting adds at most: the index of RTCP and a tag of 80 bits.
pub const MOST_GROWTH: usize = RTCP_INDEX + RTCP_TAG;

/// Octets of the longest master key with its salt.
pub const LONGEST_KEY: usize = 46;

/// Sources kept at once.
const MOST_SOURCES: usize = 8;

/// RFC 3711 section 3.3.1: 48 bits count the packets of a source.
const LAST_INDEX: u64 = (1 << 48) - 1;

/// RFC 3711 section 3.4: 31 bits count the RTCP packets.
const LAST_RTCP_INDEX: u32 = (1 << 31) - 1;

/// The flag beside the RTCP index.
const ENCRYPTED: u32 = 1 << 31;

const RTCP_INDEX: usize = 4;
const RTCP_TAG: usize = 10;

/// Octets of RTCP that stay in the clear.
const RTCP_HEAD: usize = 8;

/// What is known of one source of the far side.
#[derive(Clone, Copy)]
struct Remote {
    ssrc: u32,
    /// Highest index of an authentic RTP packet.
    last: Option<u64>,
    rtp: Window,
    rtcp: Window,
    heard: u64,
}

/// What SRTP reads of an RTP header: padding is encrypted and no concern of it.
struct RtpHead {
    sequence: u16,
    ssrc: u32,
    length: usize,
}

impl RtpHead {
    fn read(packet: &[u8]) -> Option<Self> {
        let (fixed, rest) = packet.split_first_chunk::<12>()?;
        let [flags, _, s0, s1, _, _, _, _, c0, c1, c2, c3] = *fixed;
        if flags >> 6 != 2 {
            return None;
        }
        let csrcs = usize::from(flags & 0x0F) * 4;
        let extension = match flags & 0x10 {
            0 => 0,
            _ => match rest.get(csrcs..)? {
                [_, _, w0, w1, ..] => 4 + usize::from(u16::from_be_bytes([*w0, *w1])) * 4,
                _ => return None,
            },
        };
        let length = 12 + csrcs + extension;
        let head = Self { sequence: u16::from_be_bytes([s0, s1]), ssrc: u32::from_be_bytes([c0, c1, c2, c3]), length };
        (length <= packet.len()).then_some(head)
    }
}

fn rtcp_ssrc(packet: &[u8]) -> Option<u32> {
    match packet {
        [flags, _, _, _, c0, c1, c2, c3, ..] if flags >> 6 == 2 => Some(u32::from_be_bytes([*c0, *c1, *c2, *c3])),
        _ => None,
    }
}

/// The index nearest to `last` that ends in `sequence` (RFC 3711 section 3.3.1); `None` before the first one.
fn index_near(last: u64, sequence: u16) -> Option<u64> {
    let (high, low) = (last >> 16, u16::try_from(last & 0xFFFF).unwrap_or_default());
    let high = match (low < 0x8000, i32::from(sequence) - i32::from(low)) {
        (true, ahead) if ahead > 0x8000 => high.checked_sub(1)?,
        (false, ahead) if ahead < -0x8000 => high + 1,
        _ => high,
    };
    Some(high << 16 | u64::from(sequence))
}

/// The rollover counter of an index.
fn rollover(index: u64) -> u32 {
    u32::try_from(index >> 16).unwrap_or(u32::MAX)
}

/// The first `length` octets and the `tag` octets behind them.
fn split(room: &mut [u8], length: usize, tag: usize) -> Option<(&mut [u8], &mut [u8])> {
    let (packet, rest) = room.split_at_mut_checked(length)?;
    Some((packet, rest.get_mut(..tag)?))
}

#[cfg(test)]
mod tests;
