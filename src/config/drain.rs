//! The key `limits.drain_words`: what callers hear when the server goes down.
//!
//! Deliberately absent: the words that hold where none are written, which are with the others of the program's own.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use crate::providers::Language;

/// Words for the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrainWords {
    /// One text for every line; empty says nothing.
    Everywhere(String),
    /// By language tag; a language without a text has the program's own, an empty one says nothing.
    ByLanguage(BTreeMap<String, String>),
}

impl Default for DrainWords {
    fn default() -> Self {
        Self::ByLanguage(BTreeMap::new())
    }
}

impl<'de> Deserialize<'de> for DrainWords {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Words)
    }
}

struct Words;

impl<'de> Visitor<'de> for Words {
    type Value = DrainWords;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("words for every line, or words by language such as `fr: Au revoir.`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<DrainWords, E> {
        Ok(DrainWords::Everywhere(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DrainWords, A::Error> {
        let mut texts = BTreeMap::new();
        while let Some((tag, text)) = map.next_entry::<String, String>()? {
            if Language::parse(&tag).is_err() {
                return Err(A::Error::custom("expected languages such as `fr` or `fr-CA` as its keys"));
            }
            texts.insert(tag, text);
        }
        Ok(DrainWords::ByLanguage(texts))
    }
}
