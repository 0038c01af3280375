//! How far words go as an answer to what was asked: whoever waits for the end of the caller's turn need not wait once
//! nothing is missing, and must not be in a hurry while digits are being told.
//!
//! Deliberately absent: what follows from the words. That is decided when the turn has ended.

use super::consent;
use super::flow::{Choice, Collect, Kind};
use super::runner::Dialog;
use super::slot::Slot;
use super::words::{is_whole_answer, normal, spoken_digits, trailing_digits};
use crate::providers::Language;

/// See [`Dialog::progress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Only their form can tell whether more will come.
    Unknown,
    /// Digits are being told, and more of them may come.
    Dictating,
    /// No answer to this question is longer.
    Complete,
}

impl Dialog {
    /// How far the words of a turn that still goes on answer the current step.
    pub fn progress(&self, words: &str) -> Progress {
        let Some(step) = self.flow.steps.get(self.step) else { return Progress::Unknown };
        let language = &step.settings.language;
        if self.recording.is_asking() || self.confirming {
            let short = words.split_whitespace().count() <= SHORT_ANSWER;
            let answers = short && consent::answer(words, language).is_some();
            return if answers { Progress::Complete } else { Progress::Unknown };
        }
        match &step.kind {
            Kind::Collect(collect) => self.collecting(collect, words, language),
            Kind::Menu(menu) if names_one(&menu.choices, words) => Progress::Complete,
            _ if trailing_digits(words, language) >= A_NUMBER => Progress::Dictating,
            _ => Progress::Unknown,
        }
    }

    fn collecting(&self, collect: &Collect, words: &str, language: &Language) -> Progress {
        if let Slot::YesNo = collect.slot {
            let short = words.split_whitespace().count() <= SHORT_ANSWER;
            let answers = short && consent::answer(words, language).is_some();
            return if answers { Progress::Complete } else { Progress::Unknown };
        }
        if !collect.slot.is_digits() {
            return Progress::Unknown;
        }
        let spoken = spoken_digits(words, language).len();
        match self.digits.len() + spoken {
            _ if spoken == 0 => Progress::Unknown,
            digits if digits == collect.max => Progress::Complete,
            _ => Progress::Dictating,
        }
    }
}

/// Whether the words are one of the phrases as a whole, and none of the others begins with them.
fn names_one(choices: &[Choice], words: &str) -> bool {
    let said = normal(words);
    let begun = format!("{said} ");
    let phrases = || choices.iter().flat_map(|choice| &choice.phrases);
    choices.iter().any(|choice| is_whole_answer(&choice.phrases, words))
        && !phrases().any(|phrase| phrase.starts_with(&begun))
}

/// Words of an answer to yes or no; a longer one may still turn round.
const SHORT_ANSWER: usize = 3;
/// Digits in a row from which they are a number that is being told, not a word such as "one".
const A_NUMBER: usize = 3;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::flow::{Flow, NoAssets};
    use super::super::{CallFacts, DialogInput};
    use super::*;
    use crate::telemetry::pii::Pii;

    fn at(step: &str) -> Dialog {
        let text = format!("name: f\nsteps:\n  a:\n    {step}\n  b: {{hangup: }}\n");
        let flow = Flow::parse("f.yaml", &text, &NoAssets).unwrap();
        let facts = CallFacts { called: "1".into(), caller: Pii::default(), has_ears: true, has_model: true };
        let mut dialog = Dialog::new(Arc::new(flow), facts);
        dialog.handle(DialogInput::Started, Duration::ZERO);
        dialog
    }

    #[test]
    fn digits_are_complete_when_no_more_can_follow() {
        let mut dialog = at("{collect: {prompt: Number?, into: n, min: 4, max: 6}, goto: b}");
        assert_eq!(dialog.progress("well"), Progress::Unknown);
        assert_eq!(dialog.progress("zero seven eight, 12"), Progress::Dictating);
        assert_eq!(dialog.progress("zero seven eight, 123"), Progress::Complete);
        dialog.handle(DialogInput::TurnEnded(Some(Pii::new("one two".into()))), Duration::from_secs(1));
        assert_eq!(dialog.progress("three four five six"), Progress::Complete, "with the two before");
    }

    #[test]
    fn a_choice_is_complete_unless_a_longer_one_begins_with_it() {
        let choices = "{key: 1, words: [repeat], goto: b}, {key: 2, words: [repeat prescription, hours], goto: b}";
        let dialog = at(&format!("{{menu: {{prompt: Which?, choices: [{choices}]}}}}"));
        assert_eq!(dialog.progress("Hours, please."), Progress::Complete);
        assert_eq!(dialog.progress("repeat prescription"), Progress::Complete);
        assert_eq!(dialog.progress("repeat"), Progress::Unknown);
        assert_eq!(dialog.progress("I would like the hours"), Progress::Unknown);
    }

    #[test]
    fn a_number_told_in_answer_to_an_open_question_is_noticed() {
        let ask = "prompt: Yes?, system_text: x, keys: {\"0\": b}, unheard: x., without_model: x.";
        let dialog = at(&format!("{{ask: {{{ask}}}, goto: b}}"));
        assert_eq!(dialog.progress("my number is oh seven eight"), Progress::Dictating);
        assert_eq!(dialog.progress("my number is 078"), Progress::Dictating);
        assert_eq!(dialog.progress("I want the first one"), Progress::Unknown);
    }
}
