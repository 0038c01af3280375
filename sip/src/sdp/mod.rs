//! SDP for telephony: one audio stream, offers and answers (RFC 8866, RFC 3264, RFC 4733, RFC 4568).
//!
//! Deliberately absent: ICE, bundles, DTLS, and any name resolution. An address that is a name is
//! refused, and so is one that could aim our media at many hosts or at none.

mod codec;
mod crypto;
mod error;
mod exchange;
mod negotiate;
mod opus;
mod parse;
mod write;

pub use codec::Codec;
pub use crypto::{Crypto, CryptoSuite, LONGEST as LONGEST_KEY, LocalKey, MasterKey, Mki};
pub use error::{SdpError, SdpProblem};
pub use exchange::Exchange;
pub use negotiate::{
    Agreed, AgreedCrypto, LocalMedia, Negotiated, RtcpMode, Session, SrtpPolicy, TelephoneEvent, negotiate, read_answer,
};
pub use opus::OpusParameters;
pub use parse::{Connection, Media, Origin, RtpMap, SessionDescription};

/// Which way media flows, from the point of view of whoever states it (RFC 3264 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    #[default]
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The same stream as the other side sees it.
    pub const fn reversed(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            both => both,
        }
    }

    pub const fn may_send(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    pub const fn may_receive(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    const fn new(send: bool, receive: bool) -> Self {
        match (send, receive) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }
}
