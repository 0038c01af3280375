//! Conditions of a `branch`: what a variable must be. Data, not expressions, so that every branch can be checked at load.

use std::sync::Arc;

use super::flow::Branch;
use super::runner::Dialog;
use super::words::normal;

/// One variable and what it must be.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub variable: Arc<str>,
    pub tests: Vec<Test>,
}

#[derive(Clone, Debug)]
pub(super) enum Test {
    /// One of these texts, in normal form.
    OneOf(Vec<String>),
    NoneOf(Vec<String>),
    AtLeast(u64),
    AtMost(u64),
}

impl Condition {
    fn holds(&self, dialog: &Dialog) -> bool {
        let value = dialog.value_of(&self.variable);
        let text = value.as_ref().map(|value| normal(&value.text)).unwrap_or_default();
        let number = value.as_ref().and_then(super::value::Value::as_number);
        self.tests.iter().all(|test| match test {
            Test::OneOf(texts) => texts.contains(&text),
            Test::NoneOf(texts) => !texts.contains(&text),
            Test::AtLeast(least) => number.is_some_and(|number| number >= *least),
            Test::AtMost(most) => number.is_some_and(|number| number <= *most),
        })
    }
}

impl Branch {
    /// The first arm of which every condition holds, or the way for all others.
    pub(super) fn choose(&self, dialog: &Dialog) -> super::flow::Target {
        let arm = self.arms.iter().find(|arm| arm.when.iter().all(|condition| condition.holds(dialog)));
        arm.map_or(self.otherwise, |arm| arm.next)
    }
}
