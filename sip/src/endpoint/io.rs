//! What goes into an endpoint and what comes out.

use super::outcome::{Refused, Remote};
use super::ping::{PingId, PingOutcome};
use super::register::{Registration, RegistrationId, RegistrationState};
use crate::auth::Credentials;
use crate::dialog::Replaces;
use crate::guard::Cidr;
use crate::message::{ExtraHeader, UriBuf};
use crate::pii::Pii;
use bytes::Bytes;
use std::net::SocketAddr;

/// The way a message came or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    pub transport: Transport,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// The stream it belongs to, numbered by the driver. `None` for UDP; for TCP and TLS in an outgoing
    /// flow it asks the driver to connect to `remote`, or to use a connection it has.
    pub connection: Option<u64>,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    /// True where the transport itself repeats what is lost.
    pub const fn is_reliable(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }

    /// The name in a Via.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }
}

/// One call of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallHandle(u64);

impl CallHandle {
    /// A handle for a call the application places. Numbers are the application's own; they never
    /// meet those of incoming calls. The top bit of `number` is ignored.
    pub const fn outbound(number: u64) -> Self {
        Self(number | OUTBOUND)
    }

    pub(super) const fn inbound(number: u64) -> Self {
        Self(number & !OUTBOUND)
    }

    pub(super) const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// True for a call the application placed.
    pub const fn is_outbound(self) -> bool {
        self.0 & OUTBOUND != 0
    }

    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

const OUTBOUND: u64 = 1 << 63;

/// What the driver tells an endpoint. Deliberately without `Debug`: it quotes whole messages.
pub enum Input<'a> {
    /// One datagram, or one message cut out of a stream.
    Message { flow: Flow, bytes: Bytes },
    /// A stream is gone.
    StreamClosed { connection: u64 },
    /// A message could not be sent or a connection not be made.
    Unreachable { flow: &'a Flow },
    /// The time given by `poll_timeout` has come.
    Timeout,
    /// The application wants something done.
    Command(Command),
}

/// What the application wants. A command for a call that is over is ignored: its end was reported.
pub enum Command {
    /// 180, or 183 with early media. `reliable` asks for an acknowledgement (RFC 3262) where the caller knows it; a
    /// caller that requires it gets it anyway. To an INVITE without an offer `early_sdp` is our offer, and then the
    /// answer comes as `ReinviteAnswered`.
    Ring { call: CallHandle, early_sdp: Option<Bytes>, reliable: bool },
    /// Take the call: 200 with our answer, or our offer where the INVITE had none. What has reliably arrived as early
    /// media is not said again.
    Answer { call: CallHandle, sdp: Bytes },
    /// Refuse a call that was not answered yet. A status below 300 or above 699 is sent as 500.
    Reject { call: CallHandle, status: u16, headers: Vec<ExtraHeader> },
    /// Answer [`Event::Reinvite`] with SDP or a refusal (488).
    AnswerReinvite { call: CallHandle, answer: Result<Bytes, u16> },
    /// Offer new media within the call (hold, moved address). Empty: ask for the other side's offer, and answer it by
    /// `Acknowledge`. Outcome: `ReinviteAnswered`.
    Reinvite { call: CallHandle, sdp: Bytes },
    /// The same by UPDATE, which also works while a call rings, once its early media is reliably agreed. `None`: only
    /// refreshes the dialog.
    Update { call: CallHandle, sdp: Option<Bytes> },
    /// Answer the offer that came in a 200, after an INVITE or re-INVITE of ours without one. Left out for half a minute,
    /// the call ends with `NoSdp`.
    Acknowledge { call: CallHandle, sdp: Bytes },
    /// End the call whatever its state: BYE, CANCEL, or 480.
    Bye { call: CallHandle, reason: Option<ExtraHeader> },
    /// Place a call.
    Invite(Box<OutboundInvite>),
    /// Give up a call that was not answered yet.
    Cancel { call: CallHandle },
    /// Send INFO within the call.
    Info { call: CallHandle, content_type: String, body: Bytes },
    /// Ask the other side to call `to` instead (RFC 3515). With `replaces`, `to` is where that other call of ours is,
    /// and it is to take our place there (RFC 3891). Both calls go on; hang them up when `ReferProgress` says so.
    Refer { call: CallHandle, to: UriBuf, replaces: Option<CallHandle>, referred_by: Option<UriBuf> },
    /// Answer [`Event::Referred`]: 202, or a refusal (603, 403). Without an answer it is refused.
    AnswerRefer { call: CallHandle, answer: Result<(), u16> },
    /// After `AnswerRefer` with `Ok`: how the call goes that was asked for. A status from 200 on is the last.
    NotifyRefer { call: CallHandle, status: u16 },
    /// Refuse new calls, and OPTIONS that ask for them, with 503 and Retry-After (`Some`), or take them
    /// again (`None`). Calls that are known go on.
    Drain { retry_after_s: Option<u32> },
    /// Refuse new calls, and nothing else, with 503 and Retry-After (`Some`): every place is taken; or take them again
    /// (`None`). Refused so, a flood of calls leaves nothing behind.
    Full { retry_after_s: Option<u32> },
    /// Register with somebody, and stay registered.
    Register(Box<Registration>),
    /// Take a registration back.
    Unregister { id: RegistrationId },
    /// Ask by OPTIONS whether a host is there.
    Ping { id: PingId, flow: Flow, target: UriBuf },
    /// Replace the networks that the guard takes for peers by contract.
    SetPeers(Vec<Cidr>),
}

/// A call to place.
pub struct OutboundInvite {
    /// From [`CallHandle::outbound`].
    pub call: CallHandle,
    /// Where the INVITE goes: the next hop is the caller's choice, names are never resolved here.
    pub flow: Flow,
    /// The Request-URI and the To address.
    pub target: UriBuf,
    pub from: UriBuf,
    pub from_display: Option<String>,
    /// Our offer. Empty: the callee makes it, and [`Event::Answered`] is to be followed by `Acknowledge`.
    pub sdp: Bytes,
    pub headers: Vec<ExtraHeader>,
    /// What 401 and 407 are answered with. It is said to the host of `flow` only.
    pub credentials: Option<Credentials>,
    /// The call at the other side that this one takes the place of, as [`Event::Referred`] named it.
    pub replaces: Option<Replaces>,
}

/// What an endpoint wants done. Deliberately without `Debug`: it quotes whole messages.
pub enum Output {
    /// Send these bytes.
    Transmit { flow: Flow, bytes: Bytes },
    /// Tell the application.
    Event(Event),
}

/// What happened, mostly to a call. After `Ended` nothing more is said of that one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody calls. 100 was sent.
    Incoming { call: CallHandle, flow: Flow, invite: Box<IncomingInvite> },
    /// A provisional answer above 100 to our INVITE. `early` numbers the places where it rings, from 1; 0 where the
    /// answer does not tell.
    Progress { call: CallHandle, early: u32, status: u16, sdp: Option<Bytes> },
    /// Our INVITE was accepted. `sdp` is that of the 200, or else the last one that the same place sent while it rang. It
    /// is an offer where our INVITE had none.
    Answered { call: CallHandle, sdp: Option<Bytes>, remote: Box<Remote> },
    /// Our 200 was acknowledged; with the answer where the 200 carried our offer.
    Confirmed { call: CallHandle, sdp: Option<Bytes> },
    /// The other side offers new media, or asks for our offer. Reply by `AnswerReinvite`.
    Reinvite { call: CallHandle, offer: Option<Bytes> },
    /// An offer of ours within the call was answered, whichever message carried either, or refused with this status. 491:
    /// another exchange goes on. After a `Reinvite` that was empty it is their offer.
    ReinviteAnswered { call: CallHandle, answer: Result<Option<Bytes>, u16> },
    /// INFO came and was answered with 200.
    Info { call: CallHandle, content_type: String, body: Pii<Bytes> },
    /// How the call goes that we sent the other side to: 100 while it is tried, 180.., and with `done` its outcome. 2xx is
    /// a transfer that worked; 408 also says that nothing was heard of it.
    ReferProgress { call: CallHandle, status: u16, done: bool },
    /// Our REFER was refused with this status. 491: another one is not finished; 481: there is no answered call.
    ReferRefused { call: CallHandle, status: u16 },
    /// The other side asks us to call somebody else, in place of the call `replaces` where that is given. Nothing is done
    /// about it here. Reply by `AnswerRefer`.
    Referred { call: CallHandle, to: Pii<UriBuf>, replaces: Option<Replaces>, referred_by: Option<Pii<String>> },
    /// What became of a registration.
    Registration { id: RegistrationId, state: RegistrationState },
    /// What became of a ping.
    Pong { id: PingId, outcome: PingOutcome },
    /// The call is over. `reason` is the text of a Reason header, such as `Q.850;cause=16`. `refused` explains a call of
    /// ours that was refused.
    Ended { call: CallHandle, cause: EndCause, reason: Option<String>, refused: Option<Box<Refused>> },
}

impl Event {
    /// The call that it happened to; `None` for what belongs to no call.
    pub const fn call(&self) -> Option<CallHandle> {
        match self {
            Self::Incoming { call, .. }
            | Self::Progress { call, .. }
            | Self::Answered { call, .. }
            | Self::Confirmed { call, .. }
            | Self::Reinvite { call, .. }
            | Self::ReinviteAnswered { call, .. }
            | Self::Info { call, .. }
            | Self::ReferProgress { call, .. }
            | Self::ReferRefused { call, .. }
            | Self::Referred { call, .. }
            | Self::Ended { call, .. } => Some(*call),
            Self::Registration { .. } | Self::Pong { .. } => None,
        }
    }
}

/// Why a call is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndCause {
    RemoteBye,
    LocalBye,
    /// The caller gave up before the answer, whichever side that is.
    Cancelled,
    /// Refused with this status, whichever side refused.
    Rejected(u16),
    /// Our 200 was never acknowledged; BYE was sent.
    NoAck,
    /// Nobody answered within the ring limit.
    NoAnswer,
    /// The connection was lost before the call was answered.
    TransportLost,
    /// A request of ours was never answered.
    TransactionTimeout,
    /// The other side no longer knows the call (481).
    Forgotten,
    /// The session timer ran out, or our refresh was not answered; BYE was sent.
    SessionExpired,
    /// One side never gave the session description that was its to give; BYE was sent.
    NoSdp,
    /// Our reliable provisional answer was never acknowledged.
    NoPrack,
    /// Another call took its place (RFC 3891).
    Replaced,
    /// The command to place it could not be followed: the handle is in use, or the endpoint is full.
    NotPlaced,
}

/// A call that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomingInvite {
    pub request_uri: Pii<UriBuf>,
    /// Who was called: the user part of the Request-URI, escapes undone.
    pub called: Pii<String>,
    pub from: Pii<UriBuf>,
    /// User part of From, escapes undone.
    pub caller: Pii<String>,
    pub from_display: Pii<String>,
    pub call_id: String,
    pub offer: Option<Bytes>,
    /// The call of ours whose place this one takes if it is answered; that one then ends by itself.
    pub replaces: Option<CallHandle>,
    /// Who the caller proved to be, where strangers are challenged.
    pub authenticated: Option<Pii<String>>,
    /// Values of the header fields an application may ask for, by canonical name: identity, diversion,
    /// subject, and every extension field, in order. At most 64.
    pub headers: Vec<(String, Pii<String>)>,
}
