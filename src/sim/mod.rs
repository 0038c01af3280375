//! Simulated callers, networks, lines and vendors, and the measuring of what they hear: the latency harness `sim_call`,
//! used by tests and benches as well. Nothing in the server imports this room.

pub mod analysis;
pub mod audio;
pub mod caller;
pub mod chaos;
pub mod clock;
pub mod driver;
pub mod embedded;
pub mod http;
pub mod lab;
pub mod leg;
#[cfg(test)]
mod loopback;
pub mod metrics;
pub mod network;
pub mod options;
pub mod party;
pub mod playout;
pub mod records;
pub mod report;
pub mod rtp_wire;
pub mod run;
pub mod scenario;
pub mod shipped;
pub mod sip_leg;
pub mod stamped;
pub mod stamped_stream;
pub mod timeline;
pub mod turns;
pub mod twilio_leg;
pub mod twilio_wire;
pub mod vendors;
pub mod voice;
