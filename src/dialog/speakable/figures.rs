//! Reading what a rule has found: groups of a match as text and as numbers.

use regex::Captures;

pub(super) fn whole<'a>(found: &'a Captures) -> &'a str {
    found.get(0).map_or("", |m| m.as_str())
}

/// The text of a group; empty where it took no part.
pub(super) fn text<'a>(found: &'a Captures, group: usize) -> &'a str {
    found.get(group).map_or("", |m| m.as_str())
}

pub(super) fn named<'a>(found: &'a Captures, group: &str) -> &'a str {
    found.name(group).map_or("", |m| m.as_str())
}

/// The digits of a group as one number.
pub(super) fn part(found: &Captures, group: usize) -> u64 {
    digits(text(found, group))
}

/// The digits of a text as one number, whatever stands between them.
pub(super) fn digits(text: &str) -> u64 {
    text.chars().filter_map(|c| c.to_digit(10)).fold(0, |sum: u64, d| sum.saturating_mul(10).saturating_add(d.into()))
}

/// The name of a small number in a table of names.
pub(super) fn name<'a>(names: &[&'a str], index: u64) -> Option<&'a str> {
    usize::try_from(index).ok().and_then(|index| names.get(index)).copied()
}

/// The digits of a text by their names.
pub(super) fn by_name(digits: &str, names: &[&str]) -> String {
    let said = digits.chars().filter_map(|c| c.to_digit(10)).filter_map(|d| name(names, d.into()));
    said.collect::<Vec<_>>().join(" ")
}

/// What the dates of all languages have in common: the month's place in the year and a day that exists.
pub(super) fn month_and_day(month: u64, day: u64) -> Option<(usize, u64)> {
    let month = usize::try_from(month).ok()?.checked_sub(1).filter(|month| *month < 12)?;
    let longest = if month == 1 {
        29
    } else if [3, 5, 8, 10].contains(&month) {
        30
    } else {
        31
    };
    (1..=longest).contains(&day).then_some((month, day))
}
