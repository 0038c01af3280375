//! ROOM 3: who has the floor. Pure: evidence of speech, words, keys and time in; hold, go on, give up and end of turn out.

pub mod backchannel;
mod doubt;
mod end;
pub mod floor;
mod rhythm;
mod text;
pub mod vote;

use std::time::Duration;

use serde::Deserialize;

use crate::config::bounded;

pub use end::{Endpoint, Expected, Progress, Wording};
pub use text::{Form, form};

/// Time since an arbitrary origin; handed in by whoever has a clock.
pub type Moment = Duration;

/// What may interrupt the bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// Speech, words or any key.
    Speech,
    /// Recognised words or any key.
    Words,
    /// Recognised words of a list, or any key.
    StopWords,
    /// Keys only.
    Digits,
    /// Nothing.
    Never,
}

/// The rules of the current step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    pub interrupt: Interrupt,
    pub endpoint: Endpoint,
    /// What is being said is better heard to its end: the bot is made quieter in doubt, not held.
    pub finish: bool,
}

/// What listens to the caller while the bot speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    /// A speech network behind an echo filter.
    #[default]
    Silero,
    /// A smaller network on the line as it is: for lines without echo.
    Earshot,
}

/// What an operator may set about turn-taking. Times in ms.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TurnConfig {
    /// A turn longer than this ends although sound goes on (hold music, a television).
    #[serde(deserialize_with = "bounded::<_, _, 1_000, 600_000>")]
    pub longest_turn_ms: u64,
    /// How long words are waited for once the silence that ends a turn has passed.
    #[serde(deserialize_with = "bounded::<_, _, 0, 10_000>")]
    pub final_words_ms: u64,
    pub detector: Detector,
    /// The language model is asked while the caller may still go on, and its answer used if they do not.
    pub speculate: bool,
    /// At most so many times in a turn.
    #[serde(deserialize_with = "bounded::<_, _, 1, 10>")]
    pub speculations: u32,
}

impl Default for TurnConfig {
    fn default() -> Self {
        Self {
            longest_turn_ms: 60_000,
            final_words_ms: 1_500,
            detector: Detector::Silero,
            speculate: true,
            speculations: 3,
        }
    }
}
