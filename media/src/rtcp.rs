//! RTCP for one call (RFC 3550 section 6): reports read, kept and written.
//!
//! A call has two participants, so that timer reconsideration, collision detection and the shrinking of the group have
//! no place here; nor have feedback messages (RFC 4585) and extended reports (RFC 3611), which are passed over.

mod compound;
mod reception;
mod session;
mod write;

pub use compound::{Compound, Packet, Report, Reports, RtcpError, SenderInfo};
pub use reception::{Reception, ReceptionMeter};
pub use session::{Heard, MOST_REPORT, RtcpSession, Sent, TheirView};
pub use write::Cname;
