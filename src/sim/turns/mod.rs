//! Turn-taking measured on the wire: a caller that breaks into what the bot says, with its telephone's own echo added
//! live, and what the bot's audio says about it afterwards.
//!
//! `plan` deals the trials to calls and `caller` makes them, over sockets or, by `offline`, on virtual time; `earpiece` is the
//! telephone's loudspeaker, `script` what the bot says and when each word of it is said. `align` finds received audio in
//! it, `runs` tells holds from the text's own pauses, `judge` measures each trial, `figures` sums up, `page` draws.

pub mod align;
pub mod caller;
pub mod earpiece;
pub mod figures;
pub mod judge;
pub mod offline;
pub mod page;
pub mod plan;
pub mod runs;
pub mod script;
pub mod session;

use std::sync::Arc;

use super::clock::Moment;
use super::lab::Condition;

/// What a caller is to do once: to speak into the bot's speech, or to be there without a word.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub condition: &'static Condition,
    /// The noise that was drawn for it.
    pub noise: &'static str,
    /// What is said, as `reader/file`.
    pub words: Option<Arc<str>>,
    /// Before this sample the caller may say something that makes them known; nothing else is meant by it.
    pub intro: usize,
    /// What leaves the telephone's microphone without echo, 8 kHz.
    pub audio: Arc<[i16]>,
    /// The first sample of speech and one past the last, where anybody speaks.
    pub speech: Option<(usize, usize)>,
}

/// One attempt as it was made, in the run's time.
#[derive(Clone, Debug)]
pub struct Bout {
    pub condition: &'static Condition,
    pub noise: &'static str,
    pub words: Option<Arc<str>>,
    /// Its first sample.
    pub from: Moment,
    /// One past its last.
    pub to: Moment,
    /// When the caller had made themselves known, where they did.
    pub introduced: Option<Moment>,
    /// The first sample of speech and one past the last.
    pub speech: Option<(Moment, Moment)>,
}
