//! ROOM 2: one actor per call, behind whatever leg it came in on.
//!
//! `core` decides and is pure; `actor` owns it and does what it says; `shard` gives actors their time. Nothing here
//! knows which transport or vendor it serves.

pub mod actor;
pub mod admission;
pub mod answer;
pub mod core;
pub mod exchange;
pub mod latency;
pub mod leg;
pub mod listen;
pub mod mouth;
pub mod reception;
pub mod registry;
pub mod shard;
pub mod speak;
pub mod timers;
pub mod words;

use std::time::Duration;

use serde::{Deserialize, Serialize};

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

/// What an operator may set about calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Calls at once; the next one is refused.
    pub max_calls: u32,
    /// A call longer than this is ended.
    pub max_call_minutes: u64,
    /// A call without any audio from the caller's side for this long is ended.
    pub no_media_timeout_s: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { max_calls: 1000, max_call_minutes: 30, no_media_timeout_s: 60 }
    }
}

/// How calls are given their time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MediaConfig {
    /// Media threads; 0 takes one per core but one, at least one.
    pub shards: usize,
    /// Ask for round-robin real-time scheduling, and say so in one line when it is refused.
    pub realtime_priority: bool,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self { shards: 0, realtime_priority: true }
    }
}
