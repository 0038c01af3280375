//! Speech coders: 8 kHz frames to what is on the wire and back.
//!
//! One value per direction of a call, with fixed memory. Packets are hostile here: whatever comes, a decoder answers
//! with samples or with an error that names what was wrong. Wide-band audio ends at this edge for now: G.722 and Opus
//! are spoken on the wire, the house's frames stay at 8 kHz.

pub mod g722;
pub mod opus;

use crate::codec::g722::{G722Decoder, G722Encoder};
use crate::codec::opus::{OpusDecoder, OpusEncoder, OpusSettings};
use crate::g711::G711;

/// The codecs of a leg, as session descriptions name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodecKind {
    /// G.711 mu-law (RFC 3551), static payload type 0.
    Pcmu,
    /// G.711 A-law (RFC 3551), static payload type 8.
    Pcma,
    /// G.722 at 64 kb/s (RFC 3551 section 4.5.2), static payload type 9.
    G722,
    /// Opus (RFC 7587), dynamic payload type.
    Opus,
}

impl CodecKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pcmu, Self::Pcma, Self::G722, Self::Opus];

    /// Ticks per second of the RTP timestamp. G.722 samples at 16 kHz but counts at 8 kHz by an old mistake that
    /// RFC 3551 keeps; Opus always counts at 48 kHz.
    pub const fn clock_hz(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => 8000,
            Self::Opus => 48_000,
        }
    }

    /// The payload type that needs no `a=rtpmap` (RFC 3551 section 6), if there is one.
    pub const fn static_payload_type(self) -> Option<u8> {
        match self {
            Self::Pcmu => Some(0),
            Self::Pcma => Some(8),
            Self::G722 => Some(9),
            Self::Opus => None,
        }
    }

    /// The encoding name of `a=rtpmap`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::Opus => "opus",
        }
    }
}

impl From<G711> for CodecKind {
    fn from(law: G711) -> Self {
        match law {
            G711::Ulaw => Self::Pcmu,
            G711::Alaw => Self::Pcma,
        }
    }
}

/// Why a payload cannot be decoded or a frame not encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// More audio than is taken from one packet.
    #[error("{codec} payload of {octets} octets lasts longer than {limit} samples")]
    TooLong { codec: &'static str, octets: usize, limit: usize },
    /// The payload breaks the codec's own rules.
    #[error("{codec} payload of {octets} octets is corrupt")]
    Corrupt { codec: &'static str, octets: usize },
    /// A frame length that the codec does not have.
    #[error("{codec} cannot encode {samples} samples")]
    FrameLength { codec: &'static str, samples: usize },
    /// No memory for the codec's state when the stream was set up.
    #[error("no memory for the state of {codec}")]
    NoMemory { codec: &'static str },
}

/// The sending half of a codec.
#[derive(Debug)]
pub enum Encoder {
    G711(G711),
    G722(Box<G722Encoder>),
    Opus(OpusEncoder),
}

impl Encoder {
    /// An encoder that has heard silence; `opus` counts for Opus only.
    pub fn new(kind: CodecKind, opus: OpusSettings) -> Self {
        match kind {
            CodecKind::Pcmu => Self::G711(G711::Ulaw),
            CodecKind::Pcma => Self::G711(G711::Alaw),
            CodecKind::G722 => Self::G722(Box::default()),
            CodecKind::Opus => Self::Opus(OpusEncoder::mono(opus)),
        }
    }

    /// Encodes 8 kHz samples (for Opus 10, 20, 40 or 60 ms of them) and returns how many octets were written.
    ///
    /// # Errors
    /// [`CodecError`] names what does not fit.
    pub fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
        match self {
            Self::G711(law) => {
                law.encode(pcm, out);
                Ok(pcm.len().min(out.len()))
            }
            Self::G722(encoder) => encoder.encode(pcm, out),
            Self::Opus(encoder) => encoder.encode(pcm, out),
        }
    }
}

/// The receiving half of a codec.
#[derive(Debug)]
pub enum Decoder {
    G711(G711),
    G722(Box<G722Decoder>),
    Opus(OpusDecoder),
}

impl Decoder {
    /// A decoder that has heard nothing.
    pub fn new(kind: CodecKind) -> Self {
        match kind {
            CodecKind::Pcmu => Self::G711(G711::Ulaw),
            CodecKind::Pcma => Self::G711(G711::Alaw),
            CodecKind::G722 => Self::G722(Box::default()),
            CodecKind::Opus => Self::Opus(OpusDecoder::new()),
        }
    }

    /// Decodes a payload to 8 kHz and returns how many samples were written.
    ///
    /// # Errors
    /// [`CodecError`]; the decoder stays usable.
    pub fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> Result<usize, CodecError> {
        match self {
            Self::G711(law) => {
                let limit = pcm.len();
                let too_long = CodecError::TooLong { codec: "G.711", octets: payload.len(), limit };
                let pcm = pcm.get_mut(..payload.len()).ok_or(too_long)?;
                law.decode(payload, pcm);
                Ok(payload.len())
            }
            Self::G722(decoder) => decoder.decode(payload, pcm),
            Self::Opus(decoder) => decoder.decode(payload, pcm),
        }
    }
}
