//! Codecs that can be agreed on. The list is what the media library can carry.

use super::parse::RtpMap;

/// An audio codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 mu-law (RFC 3551 section 4.5.14), 8000 Hz.
    Pcmu,
    /// G.711 A-law (RFC 3551 section 4.5.14), 8000 Hz.
    Pcma,
    /// G.722 at 64 kbit/s (RFC 3551 section 4.5.2): 16 kHz audio under an RTP clock of 8000 Hz.
    G722,
    /// Opus (RFC 7587), RTP clock 48000 Hz, two channels by name whatever is sent.
    Opus,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 4] = [Self::Pcmu, Self::Pcma, Self::G722, Self::Opus];

    /// The encoding name of `a=rtpmap`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::Opus => "opus",
        }
    }

    /// RTP clock rate in Hz.
    pub const fn clock_hz(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => 8000,
            Self::Opus => 48_000,
        }
    }

    /// Channels of `a=rtpmap`; RFC 7587 section 7 asks for two whatever Opus carries.
    pub const fn channels(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => 1,
            Self::Opus => 2,
        }
    }

    /// The payload type we offer it under: RFC 3551 table 4, or one of the dynamic range.
    pub const fn payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
            Self::G722 => 9,
            Self::Opus => 111,
        }
    }

    /// The value of `a=rtpmap` without its payload type.
    pub(super) fn encoding(self) -> String {
        match self.channels() {
            1 => format!("{}/{}", self.name(), self.clock_hz()),
            channels => format!("{}/{}/{channels}", self.name(), self.clock_hz()),
        }
    }

    /// The longest of the packet times 10, 20, 30, 40 and 60 ms that the codec has and that is not above `wanted_ms`;
    /// 10 ms where none is. Opus has no frame of 30 ms (RFC 6716 section 2.1.4).
    pub(super) const fn packet_time(self, wanted_ms: u32) -> u32 {
        match (self, wanted_ms) {
            (_, 60..) => 60,
            (_, 40..) => 40,
            (Self::Pcmu | Self::Pcma | Self::G722, 30..) => 30,
            (_, 20..) => 20,
            _ => 10,
        }
    }

    /// The codec a payload type stands for: by its `rtpmap`, or by the static table without one.
    pub(super) fn of(payload_type: u8, map: Option<&RtpMap>) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| match map {
            Some(map) => {
                map.name.eq_ignore_ascii_case(codec.name())
                    && map.clock_hz == codec.clock_hz()
                    && map.channels == codec.channels()
            }
            None => payload_type == codec.payload_type() && payload_type < FIRST_DYNAMIC,
        })
    }
}

/// Payload types from here on mean nothing without an `rtpmap` (RFC 3551 section 6).
pub(super) const FIRST_DYNAMIC: u8 = 96;
