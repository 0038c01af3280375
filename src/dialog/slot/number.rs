//! Numbers in what was said: figures, or words as [`crate::dialog::speakable::number`] would say them.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::dialog::speakable::number;
use crate::dialog::words::normal;
use crate::providers::Language;

/// The one number in the words; none where there is none, or more than one.
pub(super) fn said(words: &str, language: &Language) -> Option<u64> {
    let words = tokens(words);
    let mut found = None;
    let mut at = 0;
    while at < words.len() {
        match longest(words.get(at..).unwrap_or_default(), language) {
            Some((_, _)) if found.is_some() => return None,
            Some((count, length)) => {
                found = Some(count);
                at += length;
            }
            None => at += 1,
        }
    }
    found
}

/// The longest number that these words begin with, and how many of them it takes.
pub(super) fn longest(words: &[String], language: &Language) -> Option<(u64, usize)> {
    let most = words.len().min(MOST_WORDS);
    (1..=most).rev().find_map(|length| {
        let phrase = words.get(..length)?;
        match phrase {
            [figure] if figure.bytes().all(|b| b.is_ascii_digit()) => Some((figure.parse().ok()?, 1)),
            _ => table(language)?.get(&phrase.join(" ")).map(|count| (*count, length)),
        }
    })
}

/// Words in normal form, without those that only join numbers; thousands stay together.
pub(super) fn tokens(words: &str) -> Vec<String> {
    let mut kept = String::with_capacity(words.len());
    let mut before = ' ';
    let mut chars = words.chars().peekable();
    while let Some(c) = chars.next() {
        let groups = c == ',' && before.is_ascii_digit() && chars.peek().is_some_and(char::is_ascii_digit);
        if !groups {
            kept.push(c);
        }
        before = c;
    }
    let joins = |word: &&str| !["and", "et", "na"].contains(word);
    normal(&kept).split(' ').filter(|word| !word.is_empty()).filter(joins).map(str::to_owned).collect()
}

fn table(language: &Language) -> Option<&'static HashMap<String, u64>> {
    TABLES.iter().find(|(primary, _)| *primary == language.primary()).map(|(_, table)| table)
}

/// 0 to 999 by their words.
static TABLES: LazyLock<Vec<(&'static str, HashMap<String, u64>)>> = LazyLock::new(|| {
    let words_of = |tags: &[&str]| {
        let languages = tags.iter().filter_map(|tag| Language::parse(tag).ok());
        let words = languages.flat_map(|language| {
            (0..1000_u64).map(move |count| (tokens(&number(&count.to_string(), &language)).join(" "), count))
        });
        words.collect()
    };
    vec![("en", words_of(&["en"])), ("fr", words_of(&["fr", "fr-BE", "fr-CH"])), ("rw", words_of(&["rw"]))]
});

/// No number below a thousand has more words.
const MOST_WORDS: usize = 8;
