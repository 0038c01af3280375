//! What a `collect` step asks for: digits, a number, a date, a time of day, yes or no, a name or free words. Each can be
//! keyed and said, and is checked before it is taken.

mod number;
mod when;

use offhook_media::dtmf::Digit;

use super::consent;
use super::flow::Target;
use super::value::Value;
use crate::providers::Language;
pub(super) use when::Day;

#[derive(Clone, Debug)]
pub(super) enum Slot {
    Digits {
        /// Beginnings of which one is needed; none are asked for where there are none.
        starts: Vec<String>,
        /// The last digit is a check of the others (ISO/IEC 7812-1 annex B).
        luhn: bool,
    },
    Number {
        least: u64,
        most: u64,
    },
    /// Keyed as day, month and year in eight digits, in the order of the region.
    Date {
        least: Day,
        most: Day,
    },
    /// Keyed as hour and minute in four digits.
    Time,
    /// 1 is yes, 2 is no.
    YesNo,
    /// Words cannot be keyed: keys lead elsewhere.
    Words {
        name_only: bool,
        most: usize,
        keys: Vec<(Digit, Target)>,
    },
}

/// What came of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Value(Value),
    /// An answer of the right kind that is not allowed.
    Wrong,
    Nothing,
}

impl Slot {
    /// The fewest and most keys.
    pub(super) fn keys(&self) -> (usize, usize) {
        match self {
            Self::Digits { .. } => (1, 32),
            Self::Number { least, most } => (least.to_string().len(), most.to_string().len()),
            Self::Date { .. } => (8, 8),
            Self::Time => (4, 4),
            Self::YesNo | Self::Words { .. } => (1, 1),
        }
    }

    /// Whether it is told digit by digit, also in pieces.
    pub(super) const fn is_digits(&self) -> bool {
        matches!(self, Self::Digits { .. })
    }

    /// What complete keys mean.
    pub(super) fn keyed(&self, digits: &str, language: &Language) -> Found {
        match self {
            Self::Digits { .. } => self.allowed(Value::digits(digits)),
            Self::Number { .. } => digits.parse().map_or(Found::Wrong, |count| self.allowed(Value::number(count))),
            Self::Date { .. } => self.day(when::keyed_day(digits, language)),
            Self::Time => when::keyed_time(digits).map_or(Found::Wrong, |time| Found::Value(Value::text(time))),
            Self::YesNo => match digits {
                "1" => yes_no(true),
                "2" => yes_no(false),
                _ => Found::Wrong,
            },
            Self::Words { .. } => Found::Wrong,
        }
    }

    /// What the words mean. Digits are put together by the step itself, since they may come in pieces.
    pub(super) fn said(&self, said: &str, language: &Language) -> Found {
        match self {
            Self::Digits { .. } => Found::Nothing,
            Self::Number { .. } => {
                number::said(said, language).map_or(Found::Nothing, |count| self.allowed(Value::number(count)))
            }
            Self::Date { .. } => match when::said_day(said, language) {
                None => Found::Nothing,
                found => self.day(found),
            },
            Self::Time => {
                when::said_time(said, language).map_or(Found::Nothing, |time| Found::Value(Value::text(time)))
            }
            Self::YesNo => consent::answer(said, language).map_or(Found::Nothing, yes_no),
            Self::Words { name_only, most, .. } => free_words(said, *name_only, *most),
        }
    }

    fn allowed(&self, value: Value) -> Found {
        let holds = match self {
            Self::Digits { starts, luhn } => {
                (starts.is_empty() || starts.iter().any(|start| value.text.starts_with(start.as_str())))
                    && (!luhn || checks_out(&value.text))
            }
            Self::Number { least, most } => value.as_number().is_some_and(|count| (*least..=*most).contains(&count)),
            _ => true,
        };
        if holds { Found::Value(value) } else { Found::Wrong }
    }

    fn day(&self, day: Option<Day>) -> Found {
        let Self::Date { least, most } = self else { return Found::Nothing };
        match day {
            Some(day) if (*least..=*most).contains(&day) => Found::Value(Value::text(day.to_string())),
            _ => Found::Wrong,
        }
    }
}

fn yes_no(yes: bool) -> Found {
    Found::Value(Value::text(if yes { "yes" } else { "no" }))
}

/// Luhn's check, from the right: every second digit is doubled.
fn checks_out(digits: &str) -> bool {
    let sum: u32 = digits.chars().rev().filter_map(|c| c.to_digit(10)).enumerate().fold(0, |sum, (place, digit)| {
        let weighed = if place % 2 == 1 { digit * 2 } else { digit };
        sum + weighed / 10 + weighed % 10
    });
    sum.is_multiple_of(10)
}

fn free_words(said: &str, name_only: bool, most: usize) -> Found {
    let said = said.trim().trim_end_matches(['.', ',', '!']);
    let words = if name_only { behind_lead_in(said) } else { said };
    let too_long = words.chars().count() > most || (name_only && words.split_whitespace().count() > 5);
    match words {
        words if !words.chars().any(char::is_alphabetic) => Found::Nothing,
        _ if too_long => Found::Wrong,
        words => Found::Value(Value::text(words)),
    }
}

/// The name in "my name is Alice": what people say before it is no part of it.
fn behind_lead_in(said: &str) -> &str {
    let lower = said.to_lowercase();
    let lead = LEAD_INS.iter().filter_map(|lead| lower.find(lead).map(|at| at + lead.len())).max();
    // Lower case may differ in length from what was said: then nothing is cut.
    lead.and_then(|end| said.get(end..)).filter(|rest| !rest.trim().is_empty()).map_or(said, str::trim)
}

const LEAD_INS: [&str; 12] = [
    "my name is ",
    "my name's ",
    "i am ",
    "i'm ",
    "this is ",
    "it is ",
    "it's ",
    "call me ",
    "je m'appelle ",
    "mon nom est ",
    "nitwa ",
    "naitwa ",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn text(found: Found) -> Option<String> {
        match found {
            Found::Value(value) => Some(value.text),
            Found::Wrong | Found::Nothing => None,
        }
    }

    fn said(slot: &Slot, words: &str, tag: &str) -> Option<String> {
        text(slot.said(words, &Language::parse(tag).unwrap()))
    }

    #[test]
    fn digits_are_checked() {
        let slot = Slot::Digits { starts: vec!["07".into(), "25".into()], luhn: false };
        let english = Language::default();
        assert_eq!(text(slot.keyed("0788", &english)).as_deref(), Some("0788"));
        assert_eq!(slot.keyed("0888", &english), Found::Wrong);
        let card = Slot::Digits { starts: Vec::new(), luhn: true };
        assert_eq!(text(card.keyed("79927398713", &english)).as_deref(), Some("79927398713"));
        assert_eq!(card.keyed("79927398710", &english), Found::Wrong);
    }

    #[test]
    fn numbers_are_found_in_words_and_held_to_their_bounds() {
        let age = Slot::Number { least: 5, most: 1200 };
        for (words, tag, expected) in [
            ("I am twenty-five years old", "en", Some("25")),
            ("25.", "en", Some("25")),
            ("one hundred and five", "en", Some("105")),
            ("it is 1,150", "en", Some("1150")),
            ("j'ai soixante et onze ans", "fr", Some("71")),
            ("quatre-vingt-dix-neuf", "fr", Some("99")),
            ("makumyabiri na gatatu", "rw", Some("23")),
            ("two or three", "en", None),
            ("none", "en", None),
            ("4", "en", None),
        ] {
            assert_eq!(said(&age, words, tag).as_deref(), expected, "{words}");
        }
        assert_eq!(age.said("four", &Language::default()), Found::Wrong);
        assert_eq!(age.keys(), (1, 4));
    }

    #[test]
    fn dates_and_times_are_found_in_words_and_keys() {
        let date = Slot::Date { least: Day::FIRST, most: Day::LAST };
        for (words, tag, expected) in [
            ("5 March 1990", "en", "1990-03-05"),
            ("March 5th, 1990", "en", "1990-03-05"),
            ("the twenty-first of July nineteen sixty-two", "en", "1962-07-21"),
            ("July first, two thousand and five", "en", "2005-07-01"),
            ("21/07/1962", "en", "1962-07-21"),
            ("07/21/1962", "en-US", "1962-07-21"),
            ("le premier juillet mille neuf cent soixante-deux", "fr", "1962-07-01"),
            ("5 août 2024", "fr", "2024-08-05"),
        ] {
            assert_eq!(said(&date, words, tag).as_deref(), Some(expected), "{words}");
        }
        assert_eq!(said(&date, "March 1990", "en"), None);
        assert_eq!(text(date.keyed("05031990", &Language::default())).as_deref(), Some("1990-03-05"));
        assert_eq!(date.keyed("31021990", &Language::default()), Found::Wrong);
        for (words, tag, expected) in [
            ("9:30", "en", "09:30"),
            ("nine thirty p.m.", "en", "21:30"),
            ("half past nine", "en", "09:30"),
            ("a quarter to ten in the evening", "en", "21:45"),
            ("at noon", "en", "12:00"),
            ("nine o'clock", "en", "09:00"),
            ("14 heures 30", "fr", "14:30"),
            ("neuf heures et demie", "fr", "09:30"),
            ("9h15", "fr", "09:15"),
        ] {
            assert_eq!(said(&Slot::Time, words, tag).as_deref(), Some(expected), "{words}");
        }
        assert_eq!(said(&Slot::Time, "tomorrow", "en"), None);
        assert_eq!(text(Slot::Time.keyed("2130", &Language::default())).as_deref(), Some("21:30"));
        assert_eq!(Slot::Time.keyed("2530", &Language::default()), Found::Wrong);
    }

    #[test]
    fn names_lose_what_is_said_before_them() {
        let name = Slot::Words { name_only: true, most: 40, keys: Vec::new() };
        for (words, expected) in [
            ("My name is Alice.", Some("Alice")),
            ("Hello, I'm Jean Bosco", Some("Jean Bosco")),
            ("Uwera", Some("Uwera")),
            ("nitwa Keza", Some("Keza")),
            ("...", None),
        ] {
            assert_eq!(said(&name, words, "en").as_deref(), expected, "{words}");
        }
        let long = "I would rather not tell you that at all today";
        assert_eq!(name.said(long, &Language::default()), Found::Wrong);
    }
}
