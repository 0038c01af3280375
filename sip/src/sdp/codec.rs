//! Codecs that can be agreed on. The list is what the media library can carry.

use super::parse::RtpMap;

/// An audio codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 mu-law (RFC 3551 section 4.5.14), 8000 Hz.
    Pcmu,
    /// G.711 A-law (RFC 3551 section 4.5.14), 8000 Hz.
    Pcma,
}

impl Codec {
    /// The encoding name of `a=rtpmap`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
        }
    }

    /// RTP clock rate in Hz.
    pub const fn clock_hz(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma => 8000,
        }
    }

    /// The payload type we offer it under (RFC 3551 table 4).
    pub const fn payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
        }
    }

    /// The codec a payload type stands for: by its `rtpmap`, or by the static table without one.
    pub(super) fn of(payload_type: u8, map: Option<&RtpMap>) -> Option<Self> {
        let all = [Self::Pcmu, Self::Pcma];
        all.into_iter().find(|codec| match map {
            Some(map) => {
                map.name.eq_ignore_ascii_case(codec.name()) && map.clock_hz == codec.clock_hz() && map.channels == 1
            }
            None => payload_type == codec.payload_type(),
        })
    }
}
