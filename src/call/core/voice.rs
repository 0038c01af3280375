//! What comes back from a voice or a model, and what is done when it does not.

use std::sync::Arc;
use std::time::Duration;

use offhook_media::playout::SentenceId;

use super::{Call, Phase};
use crate::call::Moment;
use crate::call::messages::CallOutput;
use crate::call::timers::Timer;
use crate::dialog::DialogInput;
use crate::providers::ProviderError;
use crate::store::record::EndReason;

impl Call {
    pub(super) fn speech_made(&mut self, sentence: SentenceId, samples: Arc<[i16]>, now: Moment) {
        if self.mouth.making() != Some(sentence) {
            return;
        }
        self.exchange.clock.voice_began(now);
        self.voice_failures = 0;
        if !self.mouth.audio(sentence, samples) {
            self.event("playout_full", None, now);
        }
        self.await_voice(now);
    }

    /// Another voice goes on in the middle of a sentence.
    pub(super) fn voice_changed(&mut self, sentence: SentenceId, keep: u64, now: Moment) {
        if self.mouth.rejoined(sentence, keep) {
            self.event("voice_changed", None, now);
            self.await_voice(now);
        }
    }

    /// All audio of a sentence has come; none for something that can be spoken is a failure.
    pub(super) fn speech_ended(&mut self, sentence: SentenceId, now: Moment) {
        if self.mouth.is_mute(sentence) {
            let error = ProviderError::Protocol { vendor: "voice", what: "no audio for the text".to_owned() };
            return self.voice_failed(sentence, &error, now);
        }
        self.mouth.audio_ended(sentence);
    }

    /// A voice may be silent for as long as there is something else to hear, and a little longer.
    pub(super) fn await_voice(&mut self, now: Moment) {
        self.timers.set(Timer::Voice, Some(now + self.mouth.queued() + self.voice_patience()));
    }

    pub(super) fn voice_silent(&mut self, now: Moment) {
        let Some(sentence) = self.mouth.making() else { return };
        self.outputs.push_back(CallOutput::GiveUp { turn: self.turn, sentence });
        let error = ProviderError::Timeout { vendor: "voice", what: "audio", after: self.voice_patience() };
        self.voice_failed(sentence, &error, now);
    }

    /// Less for a voice that has just failed.
    pub(super) fn voice_patience(&self) -> Duration {
        if self.voice_failures == 0 { VOICE_PATIENCE } else { VOICE_PATIENCE / 2 }
    }

    pub(super) fn voice_failed(&mut self, sentence: SentenceId, error: &ProviderError, now: Moment) {
        if self.mouth.making() != Some(sentence) {
            return;
        }
        self.exchange.failed(error);
        self.event("voice_failed", None, now);
        self.voice_failures += 1;
        if self.phase == Phase::Connecting {
            // Nobody hears of it before the answer, and the call goes on without these words.
            self.mouth.failed(sentence);
            return self.want_early_words(now);
        }
        if self.voice_failures >= HOPELESS_VOICES {
            self.ending = Some(EndReason::NoVoice);
        }
        if let Some(text) = self.mouth.failed(sentence) {
            self.tell(DialogInput::SpeechFailed { text, in_a_row: self.voice_failures }, now);
        }
    }

    pub(super) fn answer(&mut self, input: DialogInput, now: Moment) {
        match input {
            DialogInput::AnswerSentence(_) => self.exchange.clock.model_began(now),
            _ => self.answering = false,
        }
        self.tell(input, now);
    }
}

/// How long the caller waits in silence for a voice's next audio; with the next sentence's own first audio it stays
/// below the 4 s after which callers believe that the line is dead.
const VOICE_PATIENCE: Duration = Duration::from_secs(3);

/// Sentences in a row that no voice could make before the call is given up.
const HOPELESS_VOICES: u32 = 3;
