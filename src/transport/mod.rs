//! ROOM 1: the only sockets to callers. A transport makes legs, hands calls over, and carries what the leg says.

pub mod ports;
pub mod rtp;
pub mod sip;
pub mod twilio;
