//! Figures in Kinyarwanda: digits one by one, counting, round sums of money, percentages.
//!
//! Numbers agree with the class of their noun in their last digit, so that only those that end in a zero are put before
//! or behind one. Deliberately absent: the time of day, which is counted from dawn, and dates; figures are left to the voice.

use regex::Captures;

use super::figures::{digits, name, text, whole};
use super::{PHONE, Say, links, spell_digits};
use crate::providers::Language;

/// In the order in which they are applied.
pub(super) const RULES: [(&str, Say); 6] =
    [links::SHORTENED, (MONEY, money), (MONEY_AFTER, money), (PERCENT, percent), PHONE, (CODE, code)];

fn money(found: &Captures, _: &Language) -> String {
    match round(text(found, 1)) {
        Some(amount) => format!("amafaranga {amount}"),
        None => whole(found).to_owned(),
    }
}

fn percent(found: &Captures, _: &Language) -> String {
    round(text(found, 1)).map_or_else(|| whole(found).to_owned(), |part| format!("{part} ku ijana"))
}

fn code(found: &Captures, language: &Language) -> String {
    format!("{} {}", text(found, 1), spell_digits(text(found, 2), language))
}

/// A number whose last digit agrees with nothing.
fn round(figure: &str) -> Option<String> {
    let number = digits(figure);
    (number > 0 && number.is_multiple_of(10)).then(|| cardinal(number)).flatten()
}

/// A number as it is counted, up to 99,999.
pub(super) fn cardinal(number: u64) -> Option<String> {
    let and = |head: String, rest: u64| match rest {
        0 => Some(head),
        _ => Some(format!("{head} na {}", cardinal(rest)?)),
    };
    match number {
        0..=9 => name(&DIGITS, number).map(str::to_owned),
        10 => Some("icumi".to_owned()),
        11..=19 => Some(format!("cumi na {}", cardinal(number - 10)?)),
        20..=99 => and(name(&TENS, number / 10)?.to_owned(), number % 10),
        100..=999 => and(name(&HUNDREDS, number / 100)?.to_owned(), number % 100),
        1000..=9999 => and(name(&THOUSANDS, number / 1000)?.to_owned(), number % 1000),
        10_000..=99_999 if number.is_multiple_of(10_000) => {
            Some(format!("ibihumbi {}", if number == 10_000 { "icumi" } else { name(&TENS, number / 10_000)? }))
        }
        _ => None,
    }
}

const MONEY: &str = r"\b(?:RWF|Rwf|FRW|Frw)\s?(\d{1,3}(?:[,.\s]\d{3})+|\d+)\b";
const MONEY_AFTER: &str = r"\b(\d{1,3}(?:[,.\s]\d{3})+|\d+)\s?(?:RWF|Rwf|FRW|Frw)\b";
const PERCENT: &str = r"\b(\d{1,3})\s?%";
const CODE: &str = r"(?i)\b((?:kode|nimero|numero)\s?:?)\s(\d{3,6})\b";

pub(super) const DIGITS: [&str; 10] =
    ["zeru", "rimwe", "kabiri", "gatatu", "kane", "gatanu", "gatandatu", "karindwi", "umunani", "icyenda"];
const TENS: [&str; 10] = [
    "",
    "icumi",
    "makumyabiri",
    "mirongo itatu",
    "mirongo ine",
    "mirongo itanu",
    "mirongo itandatu",
    "mirongo irindwi",
    "mirongo inani",
    "mirongo icyenda",
];
const HUNDREDS: [&str; 10] = [
    "",
    "ijana",
    "magana abiri",
    "magana atatu",
    "magana ane",
    "magana atanu",
    "magana atandatu",
    "magana arindwi",
    "magana inani",
    "magana cyenda",
];
const THOUSANDS: [&str; 10] = [
    "",
    "igihumbi",
    "ibihumbi bibiri",
    "ibihumbi bitatu",
    "ibihumbi bine",
    "ibihumbi bitanu",
    "ibihumbi bitandatu",
    "ibihumbi birindwi",
    "ibihumbi umunani",
    "ibihumbi icyenda",
];
