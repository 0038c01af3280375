//! The timers of a call: every wake-up has a name that says when it is due and why.

use super::Moment;

/// Why a call wakes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// When a call is answered whose caller hears something before that.
    Answer,
    /// When the greeting begins although no audio has come from the caller's side.
    Greeting,
    /// When the floor's current state ends by the clock.
    Floor,
    /// When an answer is thought of although the caller may go on.
    Speculation,
    /// When the dialog asked to be woken.
    Dialog,
    /// When a voice that gives no more audio of a sentence is given up.
    Voice,
    /// When a caller who is owed words has heard nothing for too long.
    Quiet,
    /// When speech that nothing follows, not even silence, is taken to be over.
    Gap,
    /// When the last sample sent has been heard at the far side.
    HeardOut,
    /// When the call is hung up after its last words.
    HangUp,
    /// When a caller's side that sends nothing is given up.
    NoMedia,
    /// When a call of ours that is not answered is given up.
    Ring,
    /// When a transfer's current state ends by the clock.
    Transfer,
    /// When the target of a transfer that has come about is hung up on.
    Joined,
    /// When a held call is ended, or taken back if it is we who hold it.
    Hold,
    /// When the longest allowed call ends.
    TooLong,
}

/// The set of running timers: one slot each, no allocation.
#[derive(Debug, Default)]
pub struct Timers {
    due: [Option<Moment>; Timer::ALL.len()],
    /// While the call is held only what does not rest is due.
    resting: bool,
}

impl Timers {
    /// Starts or restarts a timer; `None` stops it.
    pub fn set(&mut self, timer: Timer, at: Option<Moment>) {
        if let Some(slot) = self.due.get_mut(timer as usize) {
            *slot = at;
        }
    }

    pub fn is_set(&self, timer: Timer) -> bool {
        self.due.get(timer as usize).copied().flatten().is_some()
    }

    /// The earliest timer.
    pub fn next(&self) -> Option<(Moment, Timer)> {
        let running = Timer::ALL.iter().zip(self.due).filter(|(timer, _)| !self.resting || timer.runs_on_hold());
        running.filter_map(|(&timer, due)| Some((due?, timer))).min_by_key(|&(due, _)| due)
    }

    /// Stops the clock of every timer but those of the call as a whole.
    pub const fn rest(&mut self) {
        self.resting = true;
    }

    /// They go on where they were, `rested` later.
    pub fn go_on(&mut self, rested: Moment) {
        self.resting = false;
        for (timer, due) in Timer::ALL.iter().zip(&mut self.due) {
            if let Some(due) = due.as_mut().filter(|_| !timer.runs_on_hold()) {
                *due += rested;
            }
        }
    }

    /// Takes one timer that is due at `now`.
    pub fn take_due(&mut self, now: Moment) -> Option<Timer> {
        let (due, timer) = self.next()?;
        if due > now {
            return None;
        }
        self.set(timer, None);
        Some(timer)
    }
}

impl Timer {
    /// Timers of the call as a whole, and of what goes on with others, run on while it is held.
    const fn runs_on_hold(self) -> bool {
        matches!(self, Self::Hold | Self::TooLong | Self::Transfer | Self::Joined)
    }

    const ALL: [Self; 16] = [
        Self::Answer,
        Self::Greeting,
        Self::Floor,
        Self::Speculation,
        Self::Dialog,
        Self::Voice,
        Self::Quiet,
        Self::Gap,
        Self::HeardOut,
        Self::HangUp,
        Self::NoMedia,
        Self::Ring,
        Self::Transfer,
        Self::Joined,
        Self::Hold,
        Self::TooLong,
    ];
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timers_are_taken_in_order_and_once() {
        let mut timers = Timers::default();
        timers.set(Timer::TooLong, Some(Duration::from_secs(9)));
        timers.set(Timer::Floor, Some(Duration::from_secs(1)));
        timers.set(Timer::Dialog, Some(Duration::from_secs(2)));
        timers.set(Timer::Dialog, None);
        assert_eq!(timers.next(), Some((Duration::from_secs(1), Timer::Floor)));
        assert_eq!(timers.take_due(Duration::from_millis(999)), None);
        assert_eq!(timers.take_due(Duration::from_secs(10)), Some(Timer::Floor));
        assert_eq!(timers.take_due(Duration::from_secs(10)), Some(Timer::TooLong));
        assert_eq!(timers.take_due(Duration::from_secs(10)), None);
    }
}
