//! A bad network for tests: rules in `link.rs`, sockets in `relay.rs`. Needs no root.

pub mod editor;
pub mod link;
pub mod relay;
