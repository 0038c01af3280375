//! The collect step: digits by keys, typed ahead or one after the other, or spoken one by one.

use std::sync::Arc;
use std::time::Duration;

use offhook_media::dtmf::Digit;
use serde_json::json;

use super::Moment;
use super::flow::{Collect, Settings};
use super::runner::Dialog;
use super::walk::Failure;
use super::words;
use crate::telemetry::pii::Pii;

impl Dialog {
    pub(super) fn collect_key(&mut self, collect: &Collect, digit: Digit, now: Moment) {
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
                return self.collected(collect, now);
            }
            next = self.keys.pop_front();
        }
        self.listen(now);
    }

    /// No more digits come: the terminator was pressed or the pause was long.
    pub(super) fn collect_pause(&mut self, collect: &Collect, now: Moment) {
        if self.digits.len() >= collect.min {
            self.collected(collect, now);
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
        let spoken = said.map(|said| words::spoken_digits(said.expose(), &settings.language)).unwrap_or_default();
        let together = self.digits.len() + spoken.len();
        if !spoken.is_empty() && (collect.min..=collect.max).contains(&together) {
            self.digits.push_str(&spoken);
            self.collected(collect, now);
        } else if !spoken.is_empty() && together < collect.min {
            self.digits.push_str(&spoken);
            self.listen_on(now);
        } else if spoken.is_empty() && !self.digits.is_empty() {
            // Speech beside the keys; the digits so far still count.
            self.listen_on(now);
        } else {
            self.try_again(self.not_understood(said), now);
        }
    }

    fn collected(&mut self, collect: &Collect, now: Moment) {
        let digits = std::mem::take(&mut self.digits);
        let detail = match collect.sensitive {
            true => json!({ "into": &*collect.into }),
            false => json!({ "into": &*collect.into, "digits": &digits }),
        };
        self.event("collected", Some(Pii::new(detail)));
        self.variables.insert(Arc::clone(&collect.into), digits);
        self.go(collect.next, now);
    }
}

/// How long a terminator after complete digits is taken to belong to them.
const STRAY: Duration = Duration::from_secs(2);
