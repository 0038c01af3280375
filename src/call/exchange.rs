//! One exchange between caller and bot while it goes on, and the record that it becomes. Pure.

use std::sync::Arc;
use std::time::Duration;

use offhook_media::dtmf::Digit;

use super::Moment;
use super::latency::TurnClock;
use crate::dialog::Listening;
use crate::providers::{Language, ProviderError};
use crate::safety::said::WITHHELD;
use crate::store::record::TurnRecord;
use crate::telemetry::pii::Pii;

/// What the caller did and what they heard in answer.
#[derive(Debug, Default)]
pub struct Exchange {
    pub clock: TurnClock,
    record: TurnRecord,
    keys: String,
    /// What was heard, and what was not, of an answer that goes on.
    heard: String,
    unheard: String,
}

impl Exchange {
    /// The caller pressed a key; the answer is timed from the last one.
    pub fn key(&mut self, digit: Digit, now: Moment) {
        if self.keys.len() < MAX_KEYS {
            self.keys.push(digit.as_char());
        }
        self.clock.caller_ended(now);
    }

    /// What the caller said.
    pub fn words(&mut self, words: Option<Pii<String>>) {
        self.record.caller_words = words;
    }

    /// Part of the answer was heard; more of it may follow.
    pub fn heard(&mut self, heard: &str, unheard: &str) {
        append(&mut self.heard, heard);
        append(&mut self.unheard, unheard);
    }

    /// A vendor failed in this exchange; the first failure is kept.
    pub fn failed(&mut self, error: &ProviderError) {
        self.record.error.get_or_insert_with(|| error.to_string());
    }

    /// The step that was current when the exchange ended, and what was heard of the answer.
    pub fn close(mut self, step: Arc<str>, heard: &str, unheard: &str) -> Self {
        let said = |text: &str| (!text.is_empty()).then(|| Pii::new(text.to_owned()));
        self.heard(heard, unheard);
        self.record.step = step;
        self.record.heard = said(&self.heard);
        self.record.unheard = said(&self.unheard);
        self
    }

    /// The record, or nothing when nothing happened. Its number is given by the writer.
    pub fn into_record(mut self) -> Option<TurnRecord> {
        self.clock.fill(&mut self.record);
        self.record.keys = (!self.keys.is_empty()).then(|| Pii::new(self.keys));
        let happened = self.record.caller_words.is_some()
            || self.record.keys.is_some()
            || self.record.heard.is_some()
            || self.record.total_ms.is_some()
            || self.record.barge_in_ms.is_some()
            || self.record.error.is_some();
        happened.then_some(self.record)
    }
}

/// What the current step says about listening, and whether it differs from what the recogniser was told.
#[derive(Debug, Default)]
pub struct Ears {
    pub step: Arc<str>,
    pub language: Language,
    told: bool,
    hints: Arc<[String]>,
    private: Private,
}

/// Whether what the caller says may be kept.
#[derive(Clone, Copy, Debug, Default)]
enum Private {
    #[default]
    No,
    /// The step asks for it in confidence.
    Yes,
    /// The step did so until lately: words may still be on their way from the recogniser.
    Until(Moment),
    /// Words of a private turn have come, and the turn goes on.
    Turn,
}

impl Ears {
    /// Words of the caller have come.
    pub fn words_came(&mut self, now: Moment) {
        if matches!(self.private, Private::Until(until) if now < until) {
            self.private = Private::Turn;
        }
    }

    /// The caller's turn is over: its words as they may be kept.
    pub fn keep(&mut self, words: Option<Pii<String>>, now: Moment) -> Option<Pii<String>> {
        let withheld = match self.private {
            Private::No => false,
            Private::Yes => true,
            Private::Until(until) => now < until,
            Private::Turn => {
                self.private = Private::No;
                true
            }
        };
        words.map(|words| if withheld { Pii::new(WITHHELD.to_owned()) } else { words })
    }

    /// Enters a step. `true`: the recogniser must be told.
    pub fn enter(&mut self, listening: &Listening, now: Moment) -> bool {
        self.private = match (listening.private, self.private) {
            (true, _) => Private::Yes,
            (false, Private::Yes) => Private::Until(now + LATE_WORDS),
            (false, before) => before,
        };
        let same = self.told && self.language == listening.language && self.hints == listening.hints;
        self.step = Arc::clone(&listening.step);
        self.language = listening.language.clone();
        self.hints = Arc::clone(&listening.hints);
        self.told = true;
        !same
    }
}

/// Joins what was heard in several parts.
pub fn append(all: &mut String, more: &str) {
    if !all.is_empty() && !more.is_empty() {
        all.push(' ');
    }
    all.push_str(more);
}

/// How late a recogniser may be with words that were said at the step before.
const LATE_WORDS: Duration = Duration::from_secs(5);

/// Keys kept per exchange; nothing that a flow collects is longer.
const MAX_KEYS: usize = 64;
