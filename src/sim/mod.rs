//! Simulated callers, networks and vendors. Nothing in the server imports this room.

pub mod vendors;
