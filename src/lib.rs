//! Offhook: a telephony-first IVR media server. ARCHITECTURE.md names the rooms and who may import whom.

pub mod api;
pub mod audition;
pub mod call;
pub mod client;
pub mod clock;
pub mod config;
pub mod dialog;
pub mod doctor;
pub mod providers;
pub mod queue;
pub mod recording;
pub mod safety;
pub mod server;
pub mod sim;
pub mod store;
pub mod telemetry;
pub mod transport;
pub mod turn;
