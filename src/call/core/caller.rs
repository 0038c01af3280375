//! What the caller does: sounds, keys, words, and the end of their turn.

use std::time::Duration;

use offhook_media::Frame;
use offhook_media::barge::Evidence;
use offhook_media::dtmf::Digit;
use offhook_media::speech::SpeechEdge;

use super::{Call, Phase};
use crate::call::Moment;
use crate::call::timers::Timer;
use crate::dialog::DialogInput;
use crate::providers::SttEvent;
use crate::turn::Interrupt;
use crate::turn::backchannel::Said;
use crate::turn::floor::Holder;

impl Call {
    /// 20 ms from the caller as they arrived: speech detection.
    pub fn tap(&mut self, frame: &Frame, arrival: Moment, now: Moment) {
        if matches!(self.phase, Phase::Connecting | Phase::Over) {
            return;
        }
        self.timers.set(Timer::NoMedia, Some(now + self.no_media));
        match self.phase {
            _ if self.hold.is_on() => return,
            Phase::Talking => {}
            Phase::Connected => return self.first_audio(now),
            Phase::Hello => return self.hello(frame, arrival, now),
            Phase::Connecting | Phase::Over => return,
        }
        let told = self.hearing.heard(frame, arrival);
        if let Some(evidence) = told.evidence.filter(|_| self.floor.is_contested()) {
            self.evidence(&evidence, arrival, now);
        }
        if let Some(edge) = told.edge {
            self.speech_edge(edge, now);
            self.settle(now);
        }
        self.hear_vote(frame, told.edge);
        self.timers.set(Timer::Gap, self.floor.is_heard().then_some(now + GAP));
    }

    /// The audio of a caller who was speaking has ceased: that they fell silent will not be heard. If it comes back, so will
    /// the beginning of speech.
    pub(super) fn audio_ceased(&mut self, now: Moment) {
        if !self.floor.is_heard() {
            return;
        }
        self.hearing.begin_again();
        self.speech_edge(SpeechEdge::Offset { ended: now.saturating_sub(GAP), at: now }, now);
    }

    /// What 32 ms say about a caller while the bot has the floor.
    fn evidence(&mut self, evidence: &Evidence, arrival: Moment, now: Moment) {
        if evidence.speech {
            self.floor.asks(self.is_asking());
        }
        let decision = self.floor.evidence(evidence, arrival, now);
        if decision.is_some() {
            self.decided(decision, now);
            self.settle(now);
        } else {
            self.timers.set(Timer::Floor, self.floor.deadline());
        }
    }

    fn speech_edge(&mut self, edge: SpeechEdge, now: Moment) {
        let was_free = self.floor.holder() == Holder::Nobody;
        let (SpeechEdge::Onset { at, .. } | SpeechEdge::Offset { ended: at, .. }) = edge;
        // The end of a sound that was judged to be nothing says nothing of the caller.
        if matches!(edge, SpeechEdge::Onset { .. }) || self.floor.is_heard() {
            self.heard_something(at);
        }
        self.floor.speech(edge, now);
        if was_free && self.floor.holder() == Holder::Caller {
            self.tell(DialogInput::CallerSpeaking, now);
        }
    }

    pub(super) fn digit(&mut self, digit: Digit, now: Moment) {
        self.heard_something(now);
        let decision = self.floor.key(now);
        self.decided(decision, now);
        self.taken = None;
        self.words.drop_for_key(now);
        self.exchange.key(digit, now);
        self.event("digit", None, now);
        self.tell(DialogInput::Digit(digit), now);
    }

    pub(super) fn heard(&mut self, event: SttEvent, now: Moment) {
        match event {
            SttEvent::Interim(words) => {
                self.words.interim(&words, now);
                self.some_words(now);
            }
            SttEvent::Final(words) => {
                self.words.settle(&words, now);
                self.some_words(now);
                // Speech that the ear missed altogether.
                if self.floor.holder() == Holder::Nobody && self.words.settled() {
                    self.taken = None;
                    self.turn_ended(now, now);
                }
            }
            SttEvent::SpeechEnded => {}
            SttEvent::EagerTurnEnd => self.speculate(now),
            SttEvent::TurnResumed => self.drop_guess(),
            SttEvent::TurnEnded => {
                let decision = self.floor.told_ended();
                self.decided(decision, now);
            }
            SttEvent::Reconnecting => self.event("stt_reconnecting", None, now),
            SttEvent::Failed(error) => {
                self.has_ears = false;
                self.floor.deaf();
                self.exchange.failed(&error);
                self.event("stt_failed", None, now);
            }
        }
    }

    fn some_words(&mut self, now: Moment) {
        self.tell_wording(now);
        let Some(words) = self.words.so_far() else { return };
        self.ears.words_came(now);
        let said = self.lexicon.judge(words.expose());
        if self.floor.holder() == Holder::Bot {
            self.floor.asks(self.is_asking());
        }
        let decision = self.floor.words(said, now);
        self.decided(decision, now);
        self.prove(said);
        if self.floor.holder() == Holder::Caller && !self.floor.is_held() {
            self.tell(DialogInput::Partial(words), now);
        }
    }

    /// What could not be interrupted has ended: words that came meanwhile, of speech that the ear missed, are a turn.
    pub(super) fn keep_words_said_over_it(&mut self, now: Moment) {
        let closed = matches!(self.floor.rules().interrupt, Interrupt::Never | Interrupt::Digits);
        if closed && self.floor.holder() == Holder::Nobody && self.words.settled() {
            self.taken = None;
            self.turn_ended(now, now);
        }
    }

    /// The caller's turn is over, with the words that came of it.
    pub(super) fn turn_ended(&mut self, speech_ended: Moment, now: Moment) {
        self.dialog.fell_silent(self.own_time(speech_ended));
        self.dialog.heard_with(self.words.confidence());
        if let Some(at) = self.words.final_at() {
            self.exchange.clock.words_final(at);
        }
        let words = self.words.take(now);
        self.floor.wording(None, now);
        self.speculation.turn_ended();
        self.counts.turns += 1;
        self.exchange.words(self.ears.keep(words.clone(), now));
        let said = words.as_ref().map_or_else(Said::default, |words| self.lexicon.judge(words.expose()));
        let nothing = self.recovers(said, now);
        let words = words.filter(|_| !nothing);
        self.tell(DialogInput::TurnEnded(words), now);
    }

    /// Whether any word of the caller is an answer, or more of what they were saying before our first word.
    pub(super) fn is_asking(&self) -> bool {
        !self.mouth.has_begun() || self.dialog.is_asking() || self.mouth.is_asking()
    }
}

/// A network that loses packets for longer than this has lost the caller's words as well.
const GAP: Duration = Duration::from_millis(500);
