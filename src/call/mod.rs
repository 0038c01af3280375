//! ROOM 2: one actor per call, behind whatever leg it came in on.
//!
//! `core` decides and is pure; `actor` owns it and does what it says; `shard` gives actors their time. Nothing here
//! knows which transport or vendor it serves.

pub mod actor;
pub mod admission;
pub mod answer;
pub mod ballot;
pub mod core;
pub mod exchange;
pub mod guard;
pub mod handover;
pub mod hearing;
pub mod latency;
pub mod leg;
pub mod listen;
pub mod messages;
pub mod mouth;
pub mod outbound;
pub mod outgoing;
pub mod quality;
pub mod reception;
pub mod registry;
pub mod shard;
pub mod speak;
pub mod timers;
pub mod transfer;
pub mod words;

use std::time::Duration;

/// Time since the process began; only transports and shards read the clock that it comes from.
pub type Moment = Duration;

/// Names everything that was asked for in answer to one caller turn. What carries an older id is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct TurnId(pub u32);

impl TurnId {
    /// The id of the next turn.
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}
