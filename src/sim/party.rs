//! Whoever holds a simulated telephone: hears what comes, is asked for the next 20 ms, and says how the call went.
//!
//! Two exist: the caller that plays a scenario's steps, and the one that makes trials of turn-taking.

use std::sync::Arc;

use super::caller::{Caller, Outcome, Tick};
use super::clock::Moment;
use super::timeline::{Mark, MarkKind, Trial};
use super::turns::Bout;

/// Audio that reaches an ear: G.711 mu-law, the first sample at `at`.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    pub at: Moment,
    /// Media time of the first sample, in samples modulo 2^32, where the transport has one.
    pub timestamp: Option<u32>,
    pub octets: &'a [u8],
}

/// What was done in a call.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    pub marks: Vec<Mark>,
    pub trials: Vec<Trial>,
    pub bouts: Vec<Bout>,
}

/// One end of a call.
pub trait Party: Send {
    /// The number to call.
    fn called(&self) -> Arc<str>;
    /// The call was answered.
    fn answered(&mut self, at: Moment);
    /// Audio is heard.
    fn hear(&mut self, heard: Heard<'_>);
    /// The other side ended the call, or the line broke.
    fn ended(&mut self, at: Moment, why: &str);
    /// Notes something of the line for the drawing.
    fn mark(&mut self, at: Moment, kind: MarkKind);
    /// The next 20 ms, about to be sent.
    fn tick(&mut self, now: Moment) -> Tick;
    /// How the call went, once that is decided.
    fn outcome(&self) -> Option<&Outcome>;
    /// What was done.
    fn into_notes(self: Box<Self>) -> Notes;
}

impl Party for Caller {
    fn called(&self) -> Arc<str> {
        Self::called(self)
    }

    fn answered(&mut self, at: Moment) {
        Self::answered(self, at);
    }

    fn hear(&mut self, heard: Heard<'_>) {
        Self::hear(self, heard.at, heard.octets);
    }

    fn ended(&mut self, at: Moment, why: &str) {
        Self::ended(self, at, why);
    }

    fn mark(&mut self, at: Moment, kind: MarkKind) {
        Self::mark(self, at, kind);
    }

    fn tick(&mut self, now: Moment) -> Tick {
        Self::tick(self, now)
    }

    fn outcome(&self) -> Option<&Outcome> {
        Self::outcome(self)
    }

    fn into_notes(self: Box<Self>) -> Notes {
        let (marks, trials) = Self::into_notes(*self);
        Notes { marks, trials, bouts: Vec::new() }
    }
}
