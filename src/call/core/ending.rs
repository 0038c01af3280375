//! How a call listens at a step, and what the caller's words say about the end of their turn.

use std::sync::Arc;

use offhook_media::Frame;
use offhook_media::speech::SpeechEdge;

use super::Call;
use crate::call::Moment;
use crate::call::messages::CallOutput;
use crate::call::timers::Timer;
use crate::dialog::{self, BargeIn, Listening};
use crate::telemetry::pii::Pii;
use crate::turn::backchannel::Lexicon;
use crate::turn::{Endpoint, Expected, Interrupt, Progress, Rules, Wording, form};

impl Call {
    /// The floor is told what the words of this turn say.
    pub(super) fn tell_wording(&mut self, now: Moment) {
        let words = self.words.so_far();
        let said = words.as_ref().map(|words| self.wording(words));
        self.floor.wording(said, now);
    }

    /// A step begins.
    pub(super) fn listen(&mut self, listening: &Listening, now: Moment) {
        let (stop_words, backchannels) = (listening.stop_words.clone(), listening.backchannels.clone());
        self.lexicon = Lexicon::new(listening.language.primary(), stop_words, backchannels);
        let (interrupt, endpoint) = (listening.barge_in.into(), listening.endpoint.into());
        self.floor.set_rules(Rules { interrupt, endpoint, finish: listening.finish });
        if self.ears.enter(listening, now) && self.has_ears {
            self.words.new_session();
            let (language, hints) = (listening.language.clone(), Arc::clone(&listening.hints));
            self.outputs.push_back(CallOutput::Listen { language, hints });
        }
        self.event("step", Some(Pii::new(serde_json::json!({ "step": &*listening.step }))), now);
    }

    /// A model that hears the voice has its say while the caller pauses.
    pub(super) fn hear_vote(&mut self, frame: &Frame, edge: Option<SpeechEdge>) {
        let Some(vote) = self.vote.as_deref_mut() else { return };
        vote.hear(frame);
        if matches!(edge, Some(SpeechEdge::Offset { .. })) {
            vote.fell_silent();
        }
        if self.floor.pause().is_some()
            && let Some(over) = vote.vote()
        {
            self.floor.voted(over);
            self.timers.set(Timer::Floor, self.floor.deadline());
        }
    }

    fn wording(&self, words: &Pii<String>) -> Wording {
        let words = words.expose();
        Wording {
            answer: self.dialog.progress(words).into(),
            form: form(words, self.ears.language.primary()),
            settled: self.words.settled(),
        }
    }
}

impl From<BargeIn> for Interrupt {
    fn from(barge_in: BargeIn) -> Self {
        match barge_in {
            BargeIn::Speech => Self::Speech,
            BargeIn::Words => Self::Words,
            BargeIn::StopWords => Self::StopWords,
            BargeIn::Digits => Self::Digits,
            BargeIn::Off => Self::Never,
        }
    }
}

impl From<dialog::Endpoint> for Endpoint {
    fn from(endpoint: dialog::Endpoint) -> Self {
        match endpoint {
            dialog::Endpoint::Silence(silence) => Self::Silence(silence),
            dialog::Endpoint::Answer(expected) => Self::Answer(match expected {
                dialog::Expected::Open => Expected::Open,
                dialog::Expected::YesNo => Expected::YesNo,
                dialog::Expected::Choice => Expected::Choice,
                dialog::Expected::Digits => Expected::Digits,
                dialog::Expected::Spelling => Expected::Spelling,
                dialog::Expected::Address => Expected::Address,
            }),
        }
    }
}

impl From<dialog::Progress> for Progress {
    fn from(progress: dialog::Progress) -> Self {
        match progress {
            dialog::Progress::Unknown => Self::Unknown,
            dialog::Progress::Dictating => Self::Dictating,
            dialog::Progress::Complete => Self::Complete,
        }
    }
}
