//! The floor: a state machine over who is speaking, in which every state leaves by the clock.
//!
//! It decides two things: that the bot must stop (the caller broke in) and that the caller's turn has ended. What to
//! say next is not its business.

use std::time::Duration;

use offhook_media::speech::SpeechEdge;

use super::end::Endpointer;
use super::{Interrupt, Moment, Rules};

/// Who has the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Nobody,
    Bot,
    Caller,
}

/// What the floor decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    /// Silence the bot now. `onset` is when the caller's speech began, as estimated.
    StopBot { onset: Moment },
    /// The caller's turn is over. `speech_ended` is when their speech fell silent, as estimated.
    TurnEnded { speech_ended: Moment },
}

/// See the module's header.
#[derive(Debug)]
pub struct Floor {
    rules: Rules,
    bot_speaking: bool,
    end: Endpointer,
}

impl Floor {
    pub const fn new(rules: Rules, longest_turn: Duration) -> Self {
        Self { rules, bot_speaking: false, end: Endpointer::new(rules.endpoint, longest_turn) }
    }

    /// The rules of the step that begins; they hold for what the caller is already saying too.
    pub const fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
        self.end.set_silence(rules.endpoint);
    }

    pub const fn rules(&self) -> Rules {
        self.rules
    }

    pub const fn holder(&self) -> Holder {
        match (self.bot_speaking, self.end.is_silent()) {
            (true, _) => Holder::Bot,
            (false, true) => Holder::Nobody,
            (false, false) => Holder::Caller,
        }
    }

    /// Bot audio is in flight from now on. Speech that the caller began before stays theirs.
    pub const fn bot_starts(&mut self) {
        self.bot_speaking = true;
    }

    /// The bot was heard to its end. A caller who spoke over an uninterruptible prompt has the floor now.
    pub const fn bot_ends(&mut self) {
        self.bot_speaking = false;
    }

    /// Speech began or ended.
    pub fn speech(&mut self, edge: SpeechEdge, now: Moment) -> Option<Decision> {
        match edge {
            SpeechEdge::Onset { began, .. } => {
                self.end.speech_began(now);
                self.may_stop(Interrupt::Speech).then(|| self.stop(began))
            }
            SpeechEdge::Offset { ended, .. } => {
                self.end.paused(ended);
                None
            }
        }
    }

    /// A recogniser heard words while the bot spoke. `onset` is when they began, as far as is known.
    pub fn words(&mut self, onset: Moment, now: Moment) -> Option<Decision> {
        if !self.may_stop(Interrupt::Words) {
            return None;
        }
        self.end.words(now);
        Some(self.stop(onset))
    }

    /// A key was pressed. It ends what the caller was saying: keys and speech are not mixed in one answer.
    pub fn key(&mut self, now: Moment) -> Option<Decision> {
        self.end.reset();
        let stops = self.bot_speaking && self.rules.interrupt != Interrupt::Never;
        stops.then(|| self.stop(now))
    }

    /// The caller cannot be heard any more: whatever they were saying has ended.
    pub const fn caller_leaves(&mut self) {
        self.end.reset();
    }

    /// When [`Floor::timeout`] is due.
    pub fn deadline(&self) -> Option<Moment> {
        // An uninterruptible bot is answered when it has ended.
        let waits = self.bot_speaking && self.end.is_pausing();
        self.end.deadline().filter(|_| !waits)
    }

    /// The clock has reached `now`.
    pub fn timeout(&mut self, now: Moment) -> Option<Decision> {
        self.deadline().filter(|due| *due <= now)?;
        self.end.take_ended(now).map(|speech_ended| Decision::TurnEnded { speech_ended })
    }

    fn may_stop(&self, evidence: Interrupt) -> bool {
        self.bot_speaking
            && match self.rules.interrupt {
                Interrupt::Speech => true,
                Interrupt::Words => evidence == Interrupt::Words,
                Interrupt::StopWords | Interrupt::Digits | Interrupt::Never => false,
            }
    }

    const fn stop(&mut self, onset: Moment) -> Decision {
        self.bot_speaking = false;
        Decision::StopBot { onset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(value: u64) -> Moment {
        Duration::from_millis(value)
    }

    fn floor(interrupt: Interrupt) -> Floor {
        Floor::new(Rules { interrupt, endpoint: ms(200) }, ms(60_000))
    }

    const fn onset(at: u64) -> SpeechEdge {
        SpeechEdge::Onset { began: ms(at), at: ms(at) }
    }

    const fn offset(at: u64) -> SpeechEdge {
        SpeechEdge::Offset { ended: ms(at), at: ms(at + 60) }
    }

    #[test]
    fn speech_stops_the_bot_and_its_silence_ends_the_turn() {
        let mut floor = floor(Interrupt::Speech);
        floor.bot_starts();
        assert_eq!(floor.speech(onset(1000), ms(1100)), Some(Decision::StopBot { onset: ms(1000) }));
        assert_eq!(floor.holder(), Holder::Caller);
        assert_eq!(floor.speech(offset(1500), ms(1560)), None);
        assert_eq!(floor.deadline(), Some(ms(1700)));
        assert_eq!(floor.timeout(ms(1699)), None);
        assert_eq!(floor.timeout(ms(1700)), Some(Decision::TurnEnded { speech_ended: ms(1500) }));
        assert_eq!(floor.holder(), Holder::Nobody);
    }

    #[test]
    fn a_pause_shorter_than_the_endpoint_does_not_end_the_turn() {
        let mut floor = floor(Interrupt::Speech);
        floor.speech(onset(0), ms(100));
        floor.speech(offset(500), ms(560));
        floor.speech(onset(650), ms(690));
        assert_eq!(floor.timeout(ms(700)), None);
        floor.speech(offset(900), ms(960));
        assert_eq!(floor.timeout(ms(1100)), Some(Decision::TurnEnded { speech_ended: ms(900) }));
    }

    #[test]
    fn only_what_the_step_allows_interrupts() {
        for (interrupt, by_speech, by_words, by_key) in [
            (Interrupt::Speech, true, true, true),
            (Interrupt::Words, false, true, true),
            (Interrupt::Digits, false, false, true),
            (Interrupt::Never, false, false, false),
        ] {
            let stops = |act: fn(&mut Floor) -> Option<Decision>| {
                let mut floor = floor(interrupt);
                floor.bot_starts();
                act(&mut floor).is_some()
            };
            assert_eq!(stops(|f| f.speech(onset(10), ms(100))), by_speech, "{interrupt:?}");
            assert_eq!(stops(|f| f.words(ms(10), ms(100))), by_words, "{interrupt:?}");
            assert_eq!(stops(|f| f.key(ms(100))), by_key, "{interrupt:?}");
        }
    }

    #[test]
    fn speech_over_an_uninterruptible_prompt_is_answered_after_it() {
        let mut floor = floor(Interrupt::Never);
        floor.bot_starts();
        floor.speech(onset(100), ms(200));
        floor.speech(offset(900), ms(960));
        assert_eq!(floor.timeout(ms(5000)), None);
        floor.bot_ends();
        assert_eq!(floor.timeout(ms(5000)), Some(Decision::TurnEnded { speech_ended: ms(900) }));
    }

    #[test]
    fn sound_that_never_ends_is_ended_by_the_clock() {
        let mut floor = floor(Interrupt::Speech);
        floor.speech(onset(0), ms(100));
        assert_eq!(floor.timeout(ms(60_100)), Some(Decision::TurnEnded { speech_ended: ms(60_100) }));
        assert_eq!(floor.deadline(), None);
    }
}
