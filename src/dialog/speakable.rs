//! Text as a voice should read it: telephone numbers digit by digit; times, money, dates, doses, units, links and
//! abbreviations in words. What a language model marks up is made plain in `markdown.rs`.
//!
//! Voices differ most in how they read figures; words are read alike by all. English and French have the full rules,
//! Kinyarwanda has what needs no agreement with a noun; in other languages only telephone numbers are spaced and links
//! shortened, because a wrong word is worse than a figure left to the voice. For the same reason one to four digits that
//! stand alone stay as they are ("press 1", "room 5").

mod english;
mod figures;
mod french;
mod kinyarwanda;
mod links;
mod markdown;

use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::providers::Language;
use figures::whole;

pub(super) use french::MONTHS as FRENCH_MONTHS;
pub use markdown::plain;

/// What is said in the place of what was found.
type Say = fn(&Captures, &Language) -> String;
type Rules = Vec<(Regex, Say)>;

/// Rewrites what voices read badly.
pub fn speakable(text: &str, language: &Language) -> String {
    let rules = match language.primary() {
        "en" => &*ENGLISH,
        "fr" => &*FRENCH,
        "rw" => &*KINYARWANDA,
        _ => &*OTHERS,
    };
    rules.iter().fold(text.to_owned(), |text, (pattern, say)| match pattern.is_match(&text) {
        true => pattern.replace_all(&text, |found: &Captures| say(found, language)).into_owned(),
        false => text,
    })
}

/// A number as it is counted, where the language has words for it here.
pub fn number(digits: &str, language: &Language) -> String {
    let count = digits.parse::<u64>().ok();
    let words = count.and_then(|count| match language.primary() {
        "en" => Some(english::cardinal(count)),
        "fr" => Some(french::cardinal(count, language)),
        "rw" => kinyarwanda::cardinal(count),
        _ => None,
    });
    words.unwrap_or_else(|| digits.to_owned())
}

/// A day of the month by its place; empty where the language has no words for it here.
pub fn ordinal(count: u64, language: &Language) -> String {
    match (language.primary(), count) {
        ("en", _) => english::ordinal(count),
        ("fr", 1) => "premier".to_owned(),
        _ => String::new(),
    }
}

/// A year as it is told; empty where it is told as any number is.
pub fn year(count: u64, language: &Language) -> String {
    if language.primary() == "en" { english::year_words(count) } else { String::new() }
}

/// Digits one by one, in groups with a comma between them; `+` is said, other characters are not.
pub fn spell_digits(digits: &str, language: &Language) -> String {
    let (plus, names): (&str, Option<&[&str; 10]>) = match language.primary() {
        "en" => ("plus", Some(&english::DIGITS)),
        "fr" => ("plus", Some(&french::DIGITS)),
        "rw" => ("+", Some(&kinyarwanda::DIGITS)),
        _ => ("+", None),
    };
    let has_plus = digits.trim_start().starts_with('+');
    let digits: Vec<char> = digits.chars().filter(char::is_ascii_digit).collect();
    let name = |digit: &char| {
        let index = digit.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
        let known = names.and_then(|names| names.get(index?));
        known.map_or_else(|| digit.to_string(), |name| (*name).to_owned())
    };
    let mut groups = Vec::new();
    let mut rest = digits.as_slice();
    for size in group_sizes(digits.len()) {
        let (group, tail) = rest.split_at(size.min(rest.len()));
        groups.push(group.iter().map(name).collect::<Vec<_>>().join(" "));
        rest = tail;
    }
    has_plus.then(|| plus.to_owned()).into_iter().chain([groups.join(", ")]).collect::<Vec<_>>().join(" ")
}

/// Threes, with a last group of two to four; eight digits as a date is read.
fn group_sizes(count: usize) -> Vec<usize> {
    match count {
        0..=4 => vec![count],
        8 => vec![2, 2, 4],
        _ => {
            let mut sizes = vec![3; count / 3];
            match (count % 3, sizes.last_mut()) {
                (1, Some(last)) => *last += 1,
                (2, _) => sizes.push(2),
                _ => {}
            }
            sizes
        }
    }
}

fn phone(found: &Captures, language: &Language) -> String {
    spell_digits(whole(found), language)
}

/// Seven to fifteen digits, with the usual signs between them.
const PHONE: (&str, Say) = (r"(?:\+|\(|\b)\d(?:[ ().-]{0,2}\d){6,14}\b", phone);

fn compiled(rules: &[(&str, Say)]) -> Rules {
    rules.iter().filter_map(|(pattern, say)| Some((Regex::new(pattern).ok()?, *say))).collect()
}

static ENGLISH: LazyLock<Rules> = LazyLock::new(|| compiled(&english::RULES));
static FRENCH: LazyLock<Rules> = LazyLock::new(|| compiled(&french::RULES));
static KINYARWANDA: LazyLock<Rules> = LazyLock::new(|| compiled(&kinyarwanda::RULES));
static OTHERS: LazyLock<Rules> = LazyLock::new(|| compiled(&OTHERS_RULES));
const OTHERS_RULES: [(&str, Say); 2] = [links::SHORTENED, PHONE];

#[cfg(test)]
mod tests;
