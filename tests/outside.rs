//! The server as strangers meet it: SIPp, baresip, Twilio's own helper library and curl against the real binary.
//!
//! What these programs do is not ours, so what passes here works for people who have never seen this code. They come
//! from Debian and PyPI; scripts/test installs them. A missing one fails its tests: nothing here is ever skipped.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that meets the unexpected fails by panicking"
)]

mod net;

mod outside {
    pub mod baresip;
    pub mod certs;
    pub mod ear;
    pub mod kamailio;
    pub mod names;
    pub mod ports;
    pub mod programs;
    pub mod record;
    pub mod scenario;
    pub mod server;
    pub mod sipp;
    pub mod stranger;

    mod cases;
}
