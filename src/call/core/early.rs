//! Words before the answer: the far side hears them as early media, and the call is answered after them.
//!
//! Nothing that the caller says or presses meanwhile counts, and the flow has not begun.

use std::time::Duration;

use super::{Call, Phase};
use crate::call::Moment;
use crate::call::messages::{CallInput, CallOutput};
use crate::call::mouth::Pull;
use crate::call::timers::Timer;
use crate::dialog::Announcement;
use crate::telemetry::pii::Pii;

/// How far the words before the answer are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Early {
    /// There are none, or none any more.
    #[default]
    No,
    /// Left by the last sample sent, or by [`Timer::Answer`].
    Speaking,
    /// All is sent and on its way to the caller's ear. Left by [`Timer::Answer`].
    Sent,
}

impl Call {
    pub(super) fn announce(&mut self, words: &Announcement, now: Moment) {
        if self.phase != Phase::Connecting || self.early != Early::No {
            return;
        }
        self.early = Early::Speaking;
        (self.ears.step, self.ears.language) = (STEP.into(), words.language().clone());
        self.event("early_media", Some(Pii::new(serde_json::json!({ "by": "us" }))), now);
        let room = words.utterances().all(|utterance| self.mouth.say(utterance));
        if !room {
            self.event("too_much_to_say", None, now);
        }
        self.timers.set(Timer::Answer, Some(now + LONGEST));
        self.want_early_words(now);
    }

    /// What a voice has made of them.
    pub(super) fn early_voice(&mut self, input: CallInput, now: Moment) {
        if self.early != Early::Speaking {
            return;
        }
        match input {
            CallInput::Speech { turn, sentence, samples } if turn == self.turn => {
                self.speech_made(sentence, samples, now);
            }
            CallInput::WordTimes { turn, sentence, words } if turn == self.turn => {
                self.mouth.word_times(sentence, words);
            }
            CallInput::SpeechRejoined { turn, sentence, keep } if turn == self.turn => {
                self.voice_changed(sentence, keep, now);
            }
            CallInput::SpeechEnded { turn, sentence } if turn == self.turn => self.speech_ended(sentence, now),
            CallInput::SpeechFailed { turn, sentence, error } if turn == self.turn => {
                self.voice_failed(sentence, &error, now);
            }
            _ => return,
        }
        self.want_early_words(now);
    }

    /// The next sentence is asked for; what no voice can make is left out.
    pub(super) fn want_early_words(&mut self, now: Moment) {
        while let Some(wanted) = self.mouth.next_wanted() {
            let language = self.ears.language.clone();
            self.outputs.push_back(CallOutput::Speak { turn: self.turn, wanted, language });
            self.await_voice(now);
        }
        if self.mouth.making().is_none() {
            self.timers.set(Timer::Voice, None);
        }
    }

    /// A frame of them was taken.
    pub(super) fn early_pulled(&mut self, pull: Pull, unheard: Duration, now: Moment) {
        if self.early != Early::Speaking {
            return;
        }
        if pull.finished {
            self.early = Early::Sent;
            self.timers.set(Timer::Answer, Some(now + unheard));
        } else if pull.played_out {
            self.want_early_words(now);
        }
    }

    /// All was heard, or it took too long: the call is answered.
    pub(super) fn answer_after_words(&mut self, now: Moment) {
        let cut = match std::mem::take(&mut self.early) {
            Early::No => return,
            Early::Speaking => {
                self.event("early_media_too_long", None, now);
                self.drop_speech(self.in_flight.unheard)
            }
            Early::Sent => self.mouth.heard_out(),
        };
        self.timers.set(Timer::Voice, None);
        let exchange = self.close_exchange(&cut);
        self.write(exchange);
        self.outputs.push_back(CallOutput::Answer);
    }
}

/// Networks give a call up that is not answered for long; most wait for three minutes (RFC 3261 section 16.6).
const LONGEST: Duration = Duration::from_secs(60);

/// The name under which the words are in the record.
const STEP: &str = "early";
