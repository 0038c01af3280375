//! When the caller's turn is over: their speech, its pauses, and the silence that ends it.
//!
//! Whether the bot speaks at the time is the floor's business: it asks for the deadline or does not.

use std::time::Duration;

use super::Moment;

/// Follows the caller's speech to the end of their turn.
#[derive(Debug)]
pub(super) struct Endpointer {
    silence: Duration,
    longest: Duration,
    caller: Caller,
}

impl Endpointer {
    /// `silence` after speech ends a turn, and so does speech without an end after `longest`.
    pub(super) const fn new(silence: Duration, longest: Duration) -> Self {
        Self { silence, longest, caller: Caller::Silent }
    }

    /// Another step's silence; it holds for what the caller is already saying too.
    pub(super) const fn set_silence(&mut self, silence: Duration) {
        self.silence = silence;
    }

    /// The caller began to speak, or goes on.
    pub(super) fn speech_began(&mut self, now: Moment) {
        self.caller = Caller::Speaking { until: now + self.longest };
    }

    /// The caller's speech fell silent at `ended`.
    pub(super) const fn paused(&mut self, ended: Moment) {
        if let Caller::Speaking { .. } = self.caller {
            self.caller = Caller::Pausing { ended };
        }
    }

    /// Words came. Of speech that the detector missed, the clock ends the turn.
    pub(super) const fn words(&mut self, now: Moment) {
        if matches!(self.caller, Caller::Silent) {
            self.caller = Caller::Pausing { ended: now };
        }
    }

    /// The turn is over, or nothing shall come of it.
    pub(super) const fn reset(&mut self) {
        self.caller = Caller::Silent;
    }

    /// Whether nothing was said that has not been answered.
    pub(super) const fn is_silent(&self) -> bool {
        matches!(self.caller, Caller::Silent)
    }

    /// Whether the caller has paused, so that the turn can end by silence.
    pub(super) const fn is_pausing(&self) -> bool {
        matches!(self.caller, Caller::Pausing { .. })
    }

    /// When the turn ends unless more is said.
    pub(super) fn deadline(&self) -> Option<Moment> {
        match self.caller {
            Caller::Silent => None,
            Caller::Speaking { until } => Some(until),
            Caller::Pausing { ended } => Some(ended + self.silence),
        }
    }

    /// The turn is over: when its speech fell silent. `None` before the deadline.
    pub(super) fn take_ended(&mut self, now: Moment) -> Option<Moment> {
        self.deadline().filter(|due| *due <= now)?;
        let ended = match self.caller {
            Caller::Pausing { ended } => ended,
            Caller::Speaking { .. } | Caller::Silent => now,
        };
        self.reset();
        Some(ended)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Caller {
    Silent,
    /// Leaves at an offset, or at `until` when the sound never ends.
    Speaking {
        until: Moment,
    },
    /// Leaves at an onset, or when the endpoint silence has passed since `ended`.
    Pausing {
        ended: Moment,
    },
}
