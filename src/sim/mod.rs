//! Simulated callers, networks and lines, and the measuring of what they hear: the latency harness `sim_call`, used by
//! tests and benches as well. Nothing in the server imports this room.

pub mod analysis;
pub mod audio;
pub mod caller;
pub mod clock;
pub mod metrics;
pub mod network;
pub mod scenario;
pub mod shipped;
pub mod timeline;
pub mod voice;
