//! What the process says about itself: personal data guarded by type, logs, metrics. Imports no other room.

pub mod histogram;
pub mod logs;

pub mod metrics;
pub mod pii;
mod process;
pub mod scrub;
pub mod sip;
pub mod vendors;
