//! Offhook: a telephony-first IVR media server. ARCHITECTURE.md names the rooms and who may import whom.

pub mod api;
pub mod config;
pub mod dialog;
pub mod providers;
pub mod safety;
pub mod store;
pub mod telemetry;
pub mod transport;
