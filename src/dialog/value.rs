//! The values of variables: what they are, and how they are read out.

use std::sync::Arc;

use super::runner::Dialog;
use super::speakable::{number, speakable, spell_digits};
use crate::providers::Language;

/// What a variable holds. Prints nothing: it is the caller's.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    pub(super) text: String,
    pub(super) reading: Reading,
}

/// How a value is read out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// One by one.
    Digits,
    /// As it is counted.
    Number,
    /// As text: dates are kept as 2026-03-05, times as 09:30.
    Text,
}

impl Value {
    pub(super) fn digits(text: impl Into<String>) -> Self {
        Self { text: text.into(), reading: Reading::Digits }
    }

    pub(super) fn number(count: u64) -> Self {
        Self { text: count.to_string(), reading: Reading::Number }
    }

    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), reading: Reading::Text }
    }

    /// A value from outside: digits are told one by one, everything else is text.
    pub(super) fn given(text: String) -> Self {
        let digits = text.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '*' | '#'));
        if digits { Self::digits(text) } else { Self::text(text) }
    }

    /// As it is spoken.
    pub(super) fn spoken(&self, language: &Language) -> String {
        match self.reading {
            Reading::Digits => spell_digits(&self.text, language),
            Reading::Number => number(&self.text, language),
            Reading::Text => speakable(&self.text, language),
        }
    }

    pub(super) fn as_number(&self) -> Option<u64> {
        self.text.parse().ok()
    }
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Value({:?})", self.reading)
    }
}

impl Dialog {
    /// What a condition finds under this name: one of the call's own facts, or a variable.
    pub(super) fn value_of(&self, name: &str) -> Option<Value> {
        let yes_no = |yes: bool| Some(Value::text(if yes { "yes" } else { "no" }));
        match name {
            HEARS => yes_no(self.can_hear()),
            THINKS => yes_no(self.has_model()),
            MOOD => Some(Value::text(self.mood())),
            _ => self.variables.get(name).cloned(),
        }
    }

    pub(super) fn set(&mut self, name: &Arc<str>, value: Value) {
        self.variables.insert(Arc::clone(name), value);
    }
}

/// Whether callers' words can be heard, and whether a language model answers: conditions may ask, nobody may set them.
const HEARS: &str = "line_hears";
const THINKS: &str = "line_thinks";
/// `calm` or `frustrated`.
const MOOD: &str = "mood";

/// Names that are known without being set.
pub(super) const BUILT_IN: [&str; 3] = [HEARS, THINKS, MOOD];
