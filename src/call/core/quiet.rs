//! The last rung of the ladder that keeps a line alive: whatever vendors do, a caller who is owed words hears at least a
//! short tone before they take the line for dead. No vendor is needed for it.
//!
//! Deliberately absent: what is done about the cause. Voices and models have deadlines of their own, and what they come to
//! is the dialog's business.

use std::sync::Arc;
use std::time::Duration;

use offhook_media::{FRAME, Frame};

use super::{Call, Phase};
use crate::call::Moment;
use crate::call::timers::Timer;
use crate::dialog::sign_of_life;
use crate::turn::floor::Holder;

/// Since when nothing is heard of either side, and the tone that ends it.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    since: Moment,
    /// Since when it is our turn and nothing is played; a sound of ours may have a pause in it.
    idle: Moment,
    /// How long it was the caller's turn since then, and since when it is.
    planned: Duration,
    theirs: Option<Moment>,
    /// It is our turn.
    owed: bool,
    /// How far it has played.
    tone: Option<(Arc<[i16]>, usize)>,
}

impl Call {
    /// Something of either side could be heard until `at`, or nothing was meant to be.
    pub(super) fn heard_something(&mut self, at: Moment) {
        if at > self.quiet.since {
            (self.quiet.since, self.quiet.planned) = (at, Duration::ZERO);
        }
    }

    /// Sets the time by which something has to be heard.
    pub(super) fn watch_quiet(&mut self, now: Moment) {
        let owed = self.owes_a_sound();
        let was_owed = std::mem::replace(&mut self.quiet.owed, owed);
        if owed && !was_owed {
            self.quiet.idle = now;
        }
        match (self.floor.holder() == Holder::Nobody, self.quiet.theirs) {
            (true, None) => self.quiet.theirs = Some(now),
            (false, Some(since)) => {
                self.quiet.theirs = None;
                self.quiet.planned += now.saturating_sub(since.max(self.quiet.since));
            }
            _ => {}
        }
        self.timers.set(Timer::Quiet, owed.then(|| self.quiet.due()));
    }

    /// Nothing may have been heard for too long.
    pub(super) fn quiet_due(&mut self, now: Moment) {
        if self.owes_a_sound() && now >= self.quiet.due() {
            self.event("sign_of_life", None, now);
            self.quiet.tone = Some((sign_of_life(), 0));
            self.heard_something(now);
        }
    }

    /// Something of ours is played.
    pub(super) fn plays(&mut self, frame: &Frame, now: Moment) {
        self.quiet.idle = now;
        if frame.iter().any(|sample| sample.unsigned_abs() > SILENT) {
            self.heard_something(now);
        }
    }

    /// Adds the tone to what is being said, if there is any; `true` while it plays.
    pub(super) fn pull_sign_of_life(&mut self, frame: &mut Frame, now: Moment) -> bool {
        let Some((tone, played)) = &mut self.quiet.tone else { return false };
        let part = tone.get(*played..).unwrap_or_default();
        for (sample, tone) in frame.iter_mut().zip(part) {
            *sample = sample.saturating_add(*tone);
        }
        *played += FRAME;
        if *played >= tone.len() {
            self.quiet.tone = None;
        }
        self.heard_something(now);
        true
    }

    /// It is our turn, or the caller has fallen silent in theirs.
    fn owes_a_sound(&self) -> bool {
        let theirs = self.floor.holder() == Holder::Nobody || self.floor.is_heard();
        self.phase == Phase::Talking && !self.hold.is_on() && !theirs
    }
}

impl Quiet {
    /// A wait for the caller is no silence of ours, but it makes the silence that follows seem longer.
    fn due(&self) -> Moment {
        let longest = self.since + LONGEST_QUIET;
        longest.max(self.idle + LATE).min(longest + self.planned)
    }
}

/// Callers believe that a line is dead after 4 s; a frame, a network and an estimate of when they fell silent are part of
/// these.
const LONGEST_QUIET: Duration = Duration::from_millis(3500);

/// Words that come within this time of our turn are not late, however long we waited for the caller before it.
const LATE: Duration = Duration::from_secs(1);

/// Below -50 dBFS.
const SILENT: u16 = 104;
