//! ROOM 1: the only sockets to callers. A transport makes legs, hands calls over, and carries what the leg says.

pub mod pending;
pub mod ports;
pub mod rtp;
pub mod signalling;
pub mod sip;
pub mod twilio;
