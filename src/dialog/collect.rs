//! The collect step: something of a known kind, keyed or spoken, checked, and read back where the flow says so.
//!
//! Digits may be typed ahead or one after the other, or spoken in pieces. What may be taken is decided in `slot.rs`.

use std::time::Duration;

use offhook_media::dtmf::Digit;
use serde_json::json;

use super::flow::{Collect, Settings};
use super::runner::Dialog;
use super::slot::{Found, Slot};
use super::value::Value;
use super::walk::Failure;
use super::{DialogOutput, Endpoint, Expected, Listening, Moment, consent, words};
use crate::telemetry::pii::Pii;

impl Dialog {
    pub(super) fn collect_key(&mut self, collect: &Collect, digit: Digit, now: Moment) {
        if self.confirming {
            return match digit.as_char() {
                '1' => self.confirmed(collect, true, now),
                '2' => self.confirmed(collect, false, now),
                _ => self.try_again(Failure::NoMatch, now),
            };
        }
        if let Slot::Words { keys, .. } = &collect.slot {
            return match keys.iter().find(|(key, _)| *key == digit) {
                Some((_, next)) => self.go(*next, now),
                None => self.try_again(Failure::NoMatch, now),
            };
        }
        let mut next = Some(digit);
        while let Some(digit) = next {
            if Some(digit) == collect.terminator {
                return self.collect_pause(collect, now);
            }
            if !digit.as_char().is_ascii_digit() {
                return self.try_again(Failure::Invalid, now);
            }
            self.digits.push(digit.as_char());
            if self.digits.len() >= collect.max {
                // Many callers press the terminator although the last digit was enough.
                if self.keys.front().copied() == collect.terminator {
                    self.keys.pop_front();
                } else {
                    self.stray = collect.terminator.map(|terminator| (terminator, now + STRAY));
                }
                return self.keyed(collect, now);
            }
            next = self.keys.pop_front();
        }
        self.listen(now);
    }

    /// No more digits come: the terminator was pressed or the pause was long.
    pub(super) fn collect_pause(&mut self, collect: &Collect, now: Moment) {
        if self.digits.len() >= collect.min {
            self.keyed(collect, now);
        } else {
            self.try_again(Failure::Invalid, now);
        }
    }

    pub(super) fn collect_turn(
        &mut self,
        collect: &Collect,
        said: Option<&Pii<String>>,
        settings: &Settings,
        now: Moment,
    ) {
        if self.confirming {
            return match said.and_then(|said| consent::answer(said.expose(), &settings.language)) {
                Some(right) => self.confirmed(collect, right, now),
                None => self.try_again(self.not_understood(said), now),
            };
        }
        if collect.slot.is_digits() {
            return self.digits_told(collect, said, settings, now);
        }
        match said.map_or(Found::Nothing, |said| collect.slot.said(said.expose(), &settings.language)) {
            Found::Value(value) => self.understood(collect, value, now),
            Found::Wrong => self.try_again(Failure::Invalid, now),
            // Speech beside the keys; the digits so far still count.
            Found::Nothing if !self.digits.is_empty() => self.listen_on(now),
            Found::Nothing => self.try_again(self.not_understood(said), now),
        }
    }

    fn digits_told(&mut self, collect: &Collect, said: Option<&Pii<String>>, settings: &Settings, now: Moment) {
        let spoken = said.map(|said| words::spoken_digits(said.expose(), &settings.language)).unwrap_or_default();
        let together = self.digits.len() + spoken.len();
        if !spoken.is_empty() && (collect.min..=collect.max).contains(&together) {
            self.digits.push_str(&spoken);
            self.keyed(collect, now);
        } else if !spoken.is_empty() && together < collect.min {
            self.digits.push_str(&spoken);
            self.listen_on(now);
        } else if spoken.is_empty() && !self.digits.is_empty() {
            self.listen_on(now);
        } else {
            self.try_again(self.not_understood(said), now);
        }
    }

    /// All digits are there.
    fn keyed(&mut self, collect: &Collect, now: Moment) {
        let digits = std::mem::take(&mut self.digits);
        let language = self.settings().map(|settings| settings.language.clone()).unwrap_or_default();
        match collect.slot.keyed(&digits, &language) {
            Found::Value(value) => self.understood(collect, value, now),
            Found::Wrong | Found::Nothing => self.try_again(Failure::Invalid, now),
        }
    }

    fn understood(&mut self, collect: &Collect, value: Value, now: Moment) {
        self.set(&collect.into, value);
        if collect.read_back.is_none() {
            return self.collected(collect, now);
        }
        self.confirming = true;
        self.listen_for_yes_or_no();
        match self.keys.pop_front() {
            Some(digit) => self.collect_key(collect, digit, now),
            None => self.ask_again(now),
        }
    }

    fn confirmed(&mut self, collect: &Collect, right: bool, now: Moment) {
        if right {
            return self.collected(collect, now);
        }
        self.confirming = false;
        self.variables.remove(&collect.into);
        if let Some(step) = self.flow.steps.get(self.step) {
            let listening = step.listening();
            self.push(DialogOutput::Listen(listening));
        }
        self.try_again(Failure::Denied, now);
    }

    fn listen_for_yes_or_no(&mut self) {
        if let Some(step) = self.flow.steps.get(self.step) {
            let endpoint = match step.settings.endpoint {
                Endpoint::Silence(silence) => Endpoint::Silence(silence),
                Endpoint::Answer(_) => Endpoint::Answer(Expected::YesNo),
            };
            let listening = Listening { endpoint, ..step.listening() };
            self.push(DialogOutput::Listen(listening));
        }
    }

    fn collected(&mut self, collect: &Collect, now: Moment) {
        let value = self.variables.get(&collect.into).map(|value| value.text.clone()).unwrap_or_default();
        let detail = match (collect.sensitive, collect.slot.is_digits()) {
            (true, _) => json!({ "into": &*collect.into }),
            (false, true) => json!({ "into": &*collect.into, "digits": value }),
            (false, false) => json!({ "into": &*collect.into, "value": value }),
        };
        self.event("collected", Some(Pii::new(detail)));
        self.go(collect.next, now);
    }
}

/// How long a terminator after complete digits is taken to belong to them.
const STRAY: Duration = Duration::from_secs(2);
