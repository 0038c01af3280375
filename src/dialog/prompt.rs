//! From a flow's sentences to what is spoken: variables are filled in as their kind is told, and all of it put in speakable form.

use std::collections::HashMap;
use std::sync::Arc;

use super::flow::{Piece, Prompt, Template};
use super::speakable::speakable;
use super::value::Value;
use crate::providers::Language;
use crate::safety::said::{Cleared, clear};

impl Prompt {
    /// The sentences as they are spoken; those with a variable of `private` are spoken and nothing else. A variable
    /// without a value is left out; loading a flow makes sure that there is none.
    pub(super) fn render(
        &self,
        values: &HashMap<Arc<str>, Value>,
        private: &[Arc<str>],
        language: &Language,
    ) -> Vec<Cleared> {
        let cleared = self.0.iter().map(|sentence| {
            let text = clear(&fill(sentence, values, language));
            if sentence.variables().any(|name| private.contains(name)) { text.in_private() } else { text }
        });
        cleared.filter(|text| !text.is_empty()).collect()
    }

    /// The sentences that are the same in every call, as they are spoken.
    pub(super) fn fixed<'a>(&'a self, language: &'a Language) -> impl Iterator<Item = Cleared> + 'a {
        self.0.iter().filter_map(|sentence| match sentence.0.as_slice() {
            [Piece::Text(text)] => Some(clear(&speakable(text, language))),
            _ => None,
        })
    }
}

impl Template {
    /// The text with its variables as they are kept, not as they are spoken.
    pub(super) fn written(&self, values: &HashMap<Arc<str>, Value>) -> String {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Variable(name) => values.get(name).map_or("", |value| &value.text),
        });
        pieces.collect()
    }
}

fn fill(sentence: &Template, values: &HashMap<Arc<str>, Value>, language: &Language) -> String {
    let pieces = sentence.0.iter().map(|piece| match piece {
        Piece::Text(text) => speakable(text, language),
        Piece::Variable(name) => values.get(name).map(|value| value.spoken(language)).unwrap_or_default(),
    });
    pieces.collect()
}
