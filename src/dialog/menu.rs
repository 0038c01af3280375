//! The menu step: one question, answered by a key or by words, with no language model in the path.

use offhook_media::dtmf::Digit;

use super::Moment;
use super::flow::{Menu, Settings, Target};
use super::runner::Dialog;
use super::walk::Failure;
use super::words;
use crate::providers::Language;
use crate::telemetry::pii::Pii;

impl Menu {
    /// Where these words lead, if they name exactly one choice.
    pub(super) fn choice(&self, said: &str, language: &Language) -> Option<Target> {
        words::choose(&self.choices, said, language)
    }
}

impl Dialog {
    pub(super) fn menu_key(&mut self, menu: &Menu, digit: Digit, now: Moment) {
        match menu.choices.iter().find(|choice| choice.key == digit) {
            Some(choice) => self.go(choice.next, now),
            None => self.try_again(Failure::NoMatch, now),
        }
    }

    pub(super) fn menu_turn(&mut self, menu: &Menu, said: Option<&Pii<String>>, settings: &Settings, now: Moment) {
        match said.and_then(|said| menu.choice(said.expose(), &settings.language)) {
            Some(target) => self.go(target, now),
            None => self.try_again(self.not_understood(said), now),
        }
    }

    /// Whether a turn failed for its words, or because this line has no way to hear any.
    pub(super) fn not_understood(&self, said: Option<&Pii<String>>) -> Failure {
        if said.is_none() && !self.can_hear() { Failure::Unheard } else { Failure::NoMatch }
    }
}
