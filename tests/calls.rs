//! Calls as callers have them, scripted on virtual time: one file per behaviour, the harness beside them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "figures of a test are small")]

mod conversations;
mod harness;

mod calls {
    mod backchannel;
    mod barge_in;
    mod conversations;
    mod cut_in;
    mod drain;
    mod early;
    mod endings;
    mod endpoint;
    mod endpoint_pauses;
    mod gentle;
    mod greeting;
    mod heard_text;
    mod hold;
    mod keys;
    mod liveness;
    mod model;
    mod noise;
    mod outbound;
    mod private;
    mod recording;
    mod reversible;
    mod rules;
    mod speculate;
    mod stale;
    mod transfer;
    mod voice;
}
