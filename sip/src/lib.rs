//! SIP and SDP rules without I/O: bytes and time in, messages and events out.
//!
//! Deliberately absent: sockets, clocks, tasks, name resolution. Whoever drives an [`Endpoint`] owns them.
#![forbid(unsafe_code)]
// Everything here sees bytes from strangers.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::as_conversions,
        clippy::unreachable
    )
)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod auth;
mod dialog;
mod endpoint;
pub mod guard;
pub mod message;
mod pii;
pub mod sdp;
mod stream;
mod transaction;

pub use dialog::{BadReplaces, Replaces};
pub use endpoint::{
    Advertised, CallHandle, Command, EndCause, Endpoint, EndpointConfig, Event, Flow, IncomingInvite, Input,
    OutboundInvite, Output, PingId, PingOutcome, Refresher, RefusalKind, Refused, Registration, RegistrationFailure,
    RegistrationId, RegistrationState, Remote, SessionTimer, Transport, Warning,
};
pub use pii::Pii;
pub use stream::{Framed, PONG, StreamFramer};
pub use transaction::Timings;

/// Time since an origin the driver chooses and keeps.
pub type Moment = core::time::Duration;
