//! Why a session description was not taken.

/// A defect in a session description, or a reason why nothing can be agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("SDP line {line}: {problem}")]
pub struct SdpError {
    /// Line number from 1; 0 where the description as a whole is at fault.
    pub line: usize,
    pub problem: SdpProblem,
}

impl SdpError {
    pub(super) const fn new(line: usize, problem: SdpProblem) -> Self {
        Self { line, problem }
    }

    /// The status to refuse the INVITE with (RFC 3261 section 21.4.26).
    pub const fn status(&self) -> u16 {
        488
    }
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SdpProblem {
    #[error("description is larger than 64 KiB")]
    TooLarge,
    #[error("too many lines of this kind")]
    TooMany,
    #[error("a NUL or other control character")]
    ControlCharacter,
    #[error("not of the form type=value")]
    BadLine,
    #[error("version is not 0")]
    BadVersion,
    #[error("origin (o=) is missing or malformed")]
    BadOrigin,
    #[error("connection (c=) is malformed")]
    BadConnection,
    #[error("no connection (c=) covers the stream")]
    NoConnection,
    #[error("media line (m=) is malformed")]
    BadMedia,
    #[error("time (t=) is malformed")]
    BadTime,
    #[error("rtpmap is malformed")]
    BadRtpMap,
    #[error("ptime is not a whole number of milliseconds")]
    BadPtime,
    #[error("rtcp attribute is malformed")]
    BadRtcp,
    #[error("fmtp of the chosen codec is malformed")]
    BadFmtp,
    #[error("crypto is malformed")]
    BadCrypto,
    #[error("address is a host name, which is never resolved")]
    NamedAddress,
    #[error("address is not that of one host")]
    ForbiddenAddress,
    #[error("port is below 1024")]
    ForbiddenPort,
    #[error("address family is not ours")]
    OtherFamily,
    #[error("no audio stream over RTP/AVP or RTP/SAVP")]
    NoAudio,
    #[error("audio only over a secure profile that is not taken here")]
    SecureOnly,
    #[error("audio only in the clear, and encryption is required here")]
    ClearOnly,
    #[error("no crypto suite in common")]
    NoCrypto,
    #[error("the crypto answered is none of those offered")]
    OtherCrypto,
    #[error("the answer has fewer streams than the offer")]
    MissingStream,
    #[error("no codec in common")]
    NoCodec,
}
