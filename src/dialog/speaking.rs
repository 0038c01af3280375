//! Saying something at a step: its prompts, sentences of a model, ready audio; and until when it must have been played.

use std::time::Duration;

use super::flow::Prompt;
use super::runner::{Dialog, Phase};
use super::{DialogOutput, Moment, Utterance};
use crate::safety::said::Cleared;

impl Dialog {
    pub(super) fn say(&mut self, prompt: &Prompt, now: Moment) {
        let Some(settings) = self.settings().cloned() else { return };
        for text in prompt.render(&self.variables, &self.flow.private, &settings.language) {
            let utterance = Utterance::Sentence { text, voice: settings.voice.clone(), rate: self.rate(settings.rate) };
            self.utter(utterance, now);
        }
    }

    pub(super) fn utter(&mut self, utterance: Utterance, now: Moment) {
        self.own_up(now);
        self.queue(utterance, now);
    }

    /// Queues an utterance and moves the deadline of our speech beyond it.
    pub(super) fn queue(&mut self, utterance: Utterance, now: Moment) {
        let length = longest_playing_time(&utterance);
        self.push(DialogOutput::Say(utterance));
        match &mut self.phase {
            Phase::Speaking { until } => *until = (*until).max(now + PLAYOUT_MARGIN) + length,
            Phase::Answering(answer) => answer.queued(now, length),
            // What is said meanwhile does not end the wait.
            Phase::Fetching { .. } => {}
            phase => *phase = Phase::Speaking { until: now + PLAYOUT_MARGIN + length },
        }
    }

    pub(super) fn utter_sentence(&mut self, text: Cleared, now: Moment) {
        let Some(settings) = self.settings() else { return };
        let utterance = Utterance::Sentence { text, voice: settings.voice.clone(), rate: self.rate(settings.rate) };
        self.utter(utterance, now);
    }

    pub(super) fn stop_speaking(&mut self) {
        if matches!(self.phase, Phase::Speaking { .. } | Phase::Answering(_)) {
            self.push(DialogOutput::Abandon);
            self.phase = Phase::Speaking { until: Moment::ZERO };
        }
    }
}

/// Far above any real playing time: it only serves when the report that playing has ended is lost.
fn longest_playing_time(utterance: &Utterance) -> Duration {
    match utterance {
        Utterance::Sentence { text, .. } => {
            let chars = u32::try_from(text.as_str().chars().count()).unwrap_or(u32::MAX);
            Duration::from_secs(3) + Duration::from_millis(150).saturating_mul(chars)
        }
        Utterance::Audio { samples, .. } => {
            let samples = u64::try_from(samples.len()).unwrap_or(u64::MAX);
            Duration::from_secs(3) + Duration::from_millis(samples / 8)
        }
    }
}

/// What playing may take beyond the length of what is played.
const PLAYOUT_MARGIN: Duration = Duration::from_secs(8);
