//! What the process says about itself: personal data guarded by type, logs, metrics. Imports no other room.

pub mod pii;
