//! A recording that a caller was told of and that fails: they learn so once, in the next words of ours.
//!
//! What was interrupted or could not be spoken was not told, and is said again, a few times at most. Deliberately
//! absent: why it failed, which is nothing to the caller.

use super::consent::RecordingPlan;
use super::flow::{Flow, Prompt};
use super::runner::Dialog;
use super::usual::Usual;
use super::{Moment, Utterance};

/// What the caller still has to be told.
#[derive(Clone, Debug, Default)]
pub(super) struct Promise {
    state: State,
    tries: u32,
}

#[derive(Clone, Debug, Default)]
enum State {
    /// Nothing was promised that was not kept.
    #[default]
    Kept,
    /// Left by our next words.
    Due,
    /// These words are among what is being said. Left by the report of what was heard.
    Said(String),
    Told,
}

impl Flow {
    /// The words for a recording that failed: the flow's, the plan's, or ours.
    pub(super) fn failure_words(&self, plan: &RecordingPlan) -> Option<Prompt> {
        if let Some(own) = &self.phrases.not_recorded {
            return Some(own.clone());
        }
        let text = plan.failure.as_deref().or_else(|| Usual::NotRecorded.words(self.language()?));
        text.map(Prompt::fixed_text)
    }
}

impl Dialog {
    /// The recording is no more.
    pub(super) fn recording_failed(&mut self) {
        if self.recording.was_told_of() && matches!(self.recording.promise.state, State::Kept) {
            self.recording.promise.state = State::Due;
        }
    }

    /// Something of ours is about to be said: what the caller must know comes first.
    pub(super) fn own_up(&mut self, now: Moment) {
        let promise = &mut self.recording.promise;
        if !matches!(promise.state, State::Due) || promise.tries >= MAX_TRIES {
            return;
        }
        promise.tries += 1;
        let words = self.recording.plan().and_then(|plan| self.flow.failure_words(plan));
        let (Some(words), Some(settings)) = (words, self.settings().cloned()) else { return };
        let sentences = words.render(&self.variables, &[], &settings.language);
        let whole: Vec<&str> = sentences.iter().map(|sentence| sentence.as_str()).collect();
        self.recording.promise.state = State::Said(whole.join(" "));
        for text in sentences {
            self.queue(Utterance::Sentence { text, voice: settings.voice.clone(), rate: settings.rate }, now);
        }
    }

    /// All that was said so far was heard to here.
    pub(super) fn owned_up(&mut self, heard: &str) {
        let State::Said(words) = &self.recording.promise.state else { return };
        let told = heard.contains(words.as_str());
        self.recording.promise.state = if told { State::Told } else { State::Due };
        if told {
            self.event("recording_failure_told", None);
        }
    }
}

const MAX_TRIES: u32 = 3;
