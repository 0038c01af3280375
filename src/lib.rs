//! Offhook: a telephony-first IVR media server. ARCHITECTURE.md names the rooms and who may import whom.

pub mod providers;
pub mod safety;
pub mod sim;
pub mod store;
pub mod telemetry;
