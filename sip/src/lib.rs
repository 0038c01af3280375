//! SIP and SDP rules without I/O: bytes and time in, messages and events out.
//!
//! Deliberately absent: sockets, clocks, tasks, name resolution. Whoever drives an [`Endpoint`] owns them.
#![forbid(unsafe_code)]

mod dialog;
mod endpoint;
pub mod message;
mod pii;
pub mod sdp;
mod stream;
mod transaction;

pub use endpoint::{
    Advertised, CallHandle, Command, EndCause, Endpoint, EndpointConfig, Event, Flow, IncomingInvite, Input,
    OutboundInvite, Output, Transport,
};
pub use pii::Pii;
pub use stream::{Framed, PONG, StreamFramer};
pub use transaction::Timings;

/// Time since an origin the driver chooses and keeps.
pub type Moment = core::time::Duration;
