//! Dates and times of day, keyed and said. Deliberately absent: "tomorrow" and the like, which need to know what day it is.

use std::fmt;

use super::number::{longest, tokens};
use crate::dialog::speakable::{FRENCH_MONTHS, number, ordinal, year};
use crate::providers::Language;

/// A day of the calendar; orders and prints as in ISO 8601.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    year: u64,
    month: u64,
    day: u64,
}

impl Day {
    pub const FIRST: Self = Self { year: 1900, month: 1, day: 1 };
    pub const LAST: Self = Self { year: 2099, month: 12, day: 31 };

    fn new(year: u64, month: u64, day: u64) -> Option<Self> {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let longest = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        ((1900..2100).contains(&year) && (1..=longest).contains(&day)).then_some(Self { year, month, day })
    }

    /// `2026-03-05`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-').map(|part| part.parse().ok());
        let day = Self::new(parts.next()??, parts.next()??, parts.next()??);
        day.filter(|_| parts.next().is_none())
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// Eight keys: day, month, year; month first in the United States.
pub(super) fn keyed_day(digits: &str, language: &Language) -> Option<Day> {
    let part = |from: usize, to: usize| digits.get(from..to)?.parse::<u64>().ok();
    in_order(part(0, 2)?, part(2, 4)?, part(4, 8)?, language)
}

fn in_order(first: u64, second: u64, year: u64, language: &Language) -> Option<Day> {
    let (day, month) = if language.tag() == "en-US" { (second, first) } else { (first, second) };
    Day::new(year, month, day)
}

/// A date in words or figures.
pub(super) fn said_day(said: &str, language: &Language) -> Option<Day> {
    let mut words = tokens(said);
    let figures: Vec<u64> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let months = if language.primary() == "fr" { &FRENCH_MONTHS } else { &ENGLISH };
    let named = words.iter().position(|word| months.iter().any(|month| is_month(word, month)));
    let Some(at) = named else {
        return match figures.as_slice() {
            [year, month, day] if *year >= 1900 => Day::new(*year, *month, *day),
            [first, second, year] => in_order(*first, *second, *year, language),
            _ => None,
        };
    };
    let name = words.remove(at);
    let month = months.iter().zip(1..).find(|(month, _)| is_month(&name, month)).map(|(_, count)| count)?;
    let year =
        take_phrase(&mut words, 1900..2100, |count| vec![year(count, language), number(&count.to_string(), language)])?;
    let day =
        take_phrase(&mut words, 1..32, |count| vec![ordinal(count, language), number(&count.to_string(), language)])?;
    Day::new(year, month, day)
}

fn is_month(word: &str, month: &str) -> bool {
    word == month || (word.chars().count() == 3 && month.starts_with(word) && month != "mars")
}

/// Takes one of these counts out of the words, by its figure or by one of its names; the longest that is there.
fn take_phrase(
    words: &mut Vec<String>,
    counts: std::ops::Range<u64>,
    names: impl Fn(u64) -> Vec<String>,
) -> Option<u64> {
    let figure = |word: &String| {
        let bare = word.trim_end_matches(|c: char| c.is_alphabetic());
        bare.parse().ok().filter(|count| counts.contains(count))
    };
    if let Some((at, count)) = words.iter().enumerate().find_map(|(at, word)| Some((at, figure(word)?))) {
        words.remove(at);
        return Some(count);
    }
    let mut best: Option<(usize, usize, u64)> = None;
    for count in counts {
        for name in names(count).iter().map(|name| tokens(name)).filter(|name| !name.is_empty()) {
            let found = words.windows(name.len()).position(|window| window == name.as_slice());
            if let Some(at) = found.filter(|_| best.is_none_or(|(_, length, _)| name.len() > length)) {
                best = Some((at, name.len(), count));
            }
        }
    }
    let (at, length, count) = best?;
    words.drain(at..at + length);
    Some(count)
}

/// Four keys: hour and minute.
pub(super) fn keyed_time(digits: &str) -> Option<String> {
    time(digits.get(..2)?.parse().ok()?, digits.get(2..4)?.parse().ok()?)
}

fn time(hour: u64, minute: u64) -> Option<String> {
    (hour < 24 && minute < 60).then(|| format!("{hour:02}:{minute:02}"))
}

/// A time of day in words or figures.
pub(super) fn said_time(said: &str, language: &Language) -> Option<String> {
    let words: Vec<String> = tokens(said).iter().flat_map(|word| short_hour(word)).collect();
    let has = |options: &[&str]| words.iter().any(|word| options.contains(&word.as_str()));
    if has(&["noon", "midday", "midi"]) {
        return time(12, 0);
    }
    if has(&["midnight", "minuit"]) {
        return time(0, 0);
    }
    let (hour, minute) = match counts(&words, language).as_slice() {
        [hour] if has(&["half", "demie", "demi"]) => (*hour, 30),
        [hour] if has(&["quarter", "quart"]) && has(&["to", "moins"]) => (hour.checked_sub(1)?, 45),
        [hour] if has(&["quarter", "quart"]) => (*hour, 15),
        [past, hour] if has(&["past"]) => (*hour, *past),
        [hour] => (*hour, 0),
        [hour, minute] => (*hour, *minute),
        _ => return None,
    };
    let late = has(&["evening", "afternoon", "night", "soir", "pm"]) || words.windows(2).any(|two| two == ["p", "m"]);
    time(if late && (1..12).contains(&hour) { hour + 12 } else { hour }, minute)
}

fn counts(words: &[String], language: &Language) -> Vec<u64> {
    let mut counts = Vec::new();
    let mut rest = words;
    while !rest.is_empty() {
        let (count, length) = longest(rest, language).map_or((None, 1), |(count, length)| (Some(count), length));
        counts.extend(count);
        rest = rest.get(length..).unwrap_or_default();
    }
    counts
}

/// `9h15` as two figures; other words as they are.
fn short_hour(word: &str) -> Vec<String> {
    let figure = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    match word.split_once('h') {
        Some((hour, minute)) if !hour.is_empty() && figure(hour) && figure(minute) => {
            [hour, minute].into_iter().filter(|part| !part.is_empty()).map(str::to_owned).collect()
        }
        _ => vec![word.to_owned()],
    }
}

const ENGLISH: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
