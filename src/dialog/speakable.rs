//! Text as a voice should read it: telephone numbers digit by digit, times, money, dates and doses in words.
//!
//! Voices differ most in how they read figures; words are read alike by all. English has the full rules; in other
//! languages only telephone numbers are spaced, because a wrong word is worse than a figure left to the voice.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::providers::Language;

/// Rewrites what voices read badly.
pub fn speakable(text: &str, language: &Language) -> String {
    if language.primary() != "en" {
        return PHONE.iter().fold(text.to_owned(), |text, phone| {
            phone.replace_all(&text, |found: &Captures| spell_digits(whole(found), language)).into_owned()
        });
    }
    let american = language.tag() == "en-US";
    ENGLISH.iter().fold(text.to_owned(), |text, (pattern, say)| {
        pattern.replace_all(&text, |found: &Captures| say(found, american)).into_owned()
    })
}

/// Digits one by one, in groups with a comma between them; `+` is said, other characters are not.
pub fn spell_digits(digits: &str, language: &Language) -> String {
    let english = language.primary() == "en";
    let plus = digits.trim_start().starts_with('+').then(|| if english { "plus" } else { "+" }.to_owned());
    let digits: Vec<usize> =
        digits.chars().filter_map(|c| c.to_digit(10)).map(|d| usize::try_from(d).unwrap_or(0)).collect();
    let name = |digit: &usize| match ONES.get(*digit) {
        Some(name) if english => (*name).to_owned(),
        _ => digit.to_string(),
    };
    let mut groups = Vec::new();
    let mut rest = digits.as_slice();
    for size in group_sizes(digits.len()) {
        let (group, tail) = rest.split_at(size.min(rest.len()));
        groups.push(group.iter().map(name).collect::<Vec<_>>().join(" "));
        rest = tail;
    }
    plus.into_iter().chain([groups.join(", ")]).collect::<Vec<_>>().join(" ")
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

type Say = fn(&Captures, bool) -> String;

fn date_iso(found: &Captures, _: bool) -> String {
    date(part(found, 1), part(found, 2), part(found, 3)).unwrap_or_else(|| whole(found).to_owned())
}

fn date_slashed(found: &Captures, american: bool) -> String {
    let (first, second, year) = (part(found, 1), part(found, 2), part(found, 3));
    let month_first = if first > 12 { false } else { american || second > 12 };
    let (month, day) = if month_first { (first, second) } else { (second, first) };
    date(year, month, day).unwrap_or_else(|| whole(found).to_owned())
}

fn date(year: u64, month: u64, day: u64) -> Option<String> {
    let month = MONTHS.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    let day = (1..=31).contains(&day).then(|| ordinal(day))?;
    Some(format!("{month} {day}, {}", year_words(year)))
}

fn year_words(year: u64) -> String {
    match (year / 100, year % 100) {
        (20, rest @ 0..=9) => cardinal(2000 + rest),
        (century, 0) => format!("{} hundred", cardinal(century)),
        (century, rest @ 1..=9) => format!("{} oh {}", cardinal(century), cardinal(rest)),
        (century, rest) => format!("{} {}", cardinal(century), cardinal(rest)),
    }
}

fn time(found: &Captures, _: bool) -> String {
    let (hour, minute) = (part(found, 1), part(found, 2));
    if hour > 24 || minute > 59 {
        return whole(found).to_owned();
    }
    let half = half_of_day(found, 3);
    let minutes = match minute {
        0 if half.is_empty() && (1..=12).contains(&hour) => " o'clock".to_owned(),
        0 if half.is_empty() => " hundred".to_owned(),
        0 => String::new(),
        1..=9 => format!(" oh {}", cardinal(minute)),
        _ => format!(" {}", cardinal(minute)),
    };
    format!("{}{minutes}{half}", cardinal(hour))
}

fn hour(found: &Captures, _: bool) -> String {
    format!("{}{}", cardinal(part(found, 1)), half_of_day(found, 2))
}

fn half_of_day(found: &Captures, group: usize) -> String {
    match found.get(group).map(|half| half.as_str().to_ascii_lowercase()) {
        Some(half) if half.starts_with('a') => " a.m.".to_owned(),
        Some(_) => " p.m.".to_owned(),
        None => String::new(),
    }
}

fn money(found: &Captures, _: bool) -> String {
    let unit = found.name("sign").or_else(|| found.name("code")).or_else(|| found.name("after"));
    let (one, many, cent, cents) = match unit.map(|unit| unit.as_str()) {
        Some("$" | "USD") => ("dollar", "dollars", "cent", "cents"),
        Some("€" | "EUR") => ("euro", "euros", "cent", "cents"),
        Some("£" | "GBP") => ("pound", "pounds", "penny", "pence"),
        Some("KES") => ("shilling", "shillings", "cent", "cents"),
        _ => ("franc", "francs", "centime", "centimes"),
    };
    let amount = found.name("whole").or_else(|| found.name("before")).map_or(0, |m| digits(m.as_str()));
    let small = found.name("cents").or_else(|| found.name("cents_before")).map_or(0, |m| digits(m.as_str()));
    let named =
        |count: u64, one: &str, many: &str| format!("{} {}", cardinal(count), if count == 1 { one } else { many });
    match (amount, small) {
        (0, 1..) => named(small, cent, cents),
        (_, 0) => named(amount, one, many),
        _ => format!("{} and {}", named(amount, one, many), named(small, cent, cents)),
    }
}

fn dose(found: &Captures, _: bool) -> String {
    let figure = found.get(1).map_or("", |m| m.as_str());
    let unit = unit_name(found.get(2).map_or("", |m| m.as_str()), figure == "1");
    let per = found.get(3).map_or("", |m| m.as_str());
    let per = if per.is_empty() { String::new() } else { format!(" per {}", unit_name(per, true)) };
    format!("{} {unit}{per}", figure_words(figure))
}

fn unit_name(unit: &str, one: bool) -> String {
    let name = match unit {
        "mg" => "milligram",
        "mcg" | "µg" | "μg" => "microgram",
        "g" => "gram",
        "kg" => "kilogram",
        "ml" | "mL" => "millilitre",
        "l" | "L" => "litre",
        "IU" => "international unit",
        "h" => "hour",
        "%" => return "percent".to_owned(),
        "°C" => return if one { "degree Celsius" } else { "degrees Celsius" }.to_owned(),
        other => other,
    };
    if one { name.to_owned() } else { format!("{name}s") }
}

fn times_a_day(found: &Captures, _: bool) -> String {
    match part(found, 1) {
        1 => "once ".to_owned(),
        2 => "twice ".to_owned(),
        count => format!("{} times ", cardinal(count)),
    }
}

fn phone(found: &Captures, _: bool) -> String {
    spell_digits(whole(found), &Language::default())
}

fn grouped(found: &Captures, _: bool) -> String {
    figure_words(whole(found))
}

fn abbreviation(found: &Captures, _: bool) -> String {
    match whole(found) {
        "e.g." => "for example",
        "i.e." => "that is",
        "approx." => "approximately",
        "Dr." => "Doctor",
        _ => " and ",
    }
    .to_owned()
}

fn figure_words(figure: &str) -> String {
    let (whole, fraction) = figure.split_once('.').unwrap_or((figure, ""));
    let mut said = cardinal(digits(whole));
    if !fraction.is_empty() {
        let names = fraction.chars().filter_map(|c| c.to_digit(10)).filter_map(|d| ONES.get(usize::try_from(d).ok()?));
        said = format!("{said} point {}", names.copied().collect::<Vec<_>>().join(" "));
    }
    said
}

/// A number in words; what is beyond a million million stays in figures.
fn cardinal(number: u64) -> String {
    let small = |n: u64| usize::try_from(n).ok().and_then(|n| ONES.get(n)).copied();
    if let Some(name) = small(number) {
        return name.to_owned();
    }
    let join = |unit: u64, name: &str, gap: &str| {
        let head = format!("{} {name}", cardinal(number / unit));
        if number.is_multiple_of(unit) { head } else { format!("{head}{gap}{}", cardinal(number % unit)) }
    };
    match number {
        0..=99 => {
            let tens = usize::try_from(number / 10).ok().and_then(|n| TENS.get(n)).copied().unwrap_or_default();
            if number.is_multiple_of(10) { tens.to_owned() } else { format!("{tens}-{}", cardinal(number % 10)) }
        }
        100..=999 => join(100, "hundred", " and "),
        1000..=999_999 => join(1000, "thousand", " "),
        1_000_000..=999_999_999 => join(1_000_000, "million", " "),
        1_000_000_000..=999_999_999_999 => join(1_000_000_000, "billion", " "),
        _ => number.to_string(),
    }
}

fn ordinal(day: u64) -> String {
    let irregular =
        [(1, "first"), (2, "second"), (3, "third"), (5, "fifth"), (8, "eighth"), (9, "ninth"), (12, "twelfth")];
    if let Some((_, name)) = irregular.iter().find(|(number, _)| *number == day) {
        return (*name).to_owned();
    }
    match day {
        20 => "twentieth".to_owned(),
        30 => "thirtieth".to_owned(),
        21..=29 => format!("twenty-{}", ordinal(day - 20)),
        31 => "thirty-first".to_owned(),
        _ => format!("{}th", cardinal(day)),
    }
}

fn whole<'a>(found: &'a Captures) -> &'a str {
    found.get(0).map_or("", |m| m.as_str())
}

fn part(found: &Captures, group: usize) -> u64 {
    found.get(group).map_or(0, |m| digits(m.as_str()))
}

fn digits(text: &str) -> u64 {
    text.chars().filter_map(|c| c.to_digit(10)).fold(0, |sum: u64, d| sum.saturating_mul(10).saturating_add(d.into()))
}

const DATE_ISO: &str = r"\b(\d{4})-(\d{2})-(\d{2})\b";
const DATE_SLASHED: &str = r"\b(\d{1,2})/(\d{1,2})/(\d{4})\b";
const TIME: &str = r"\b(\d{1,2}):(\d{2})\b(?:\s?([AaPp])\.?[Mm]\b\.?)?";
const HOUR: &str = r"\b(\d{1,2})\s?([AaPp])\.?[Mm]\b\.?";
const MONEY: &str = r"(?:(?P<sign>[$€£])\s?|\b(?P<code>USD|EUR|GBP|RWF|KES|Rwf|FRW|Frw)\s?)(?P<whole>\d+(?:,\d{3})*)(?:\.(?P<cents>\d{2}))?\b";
const MONEY_AFTER: &str =
    r"\b(?P<before>\d+(?:,\d{3})*)(?:\.(?P<cents_before>\d{2}))?\s?(?P<after>USD|EUR|GBP|RWF|KES|Rwf|FRW|Frw|€|£)";
const DOSE: &str =
    r"\b(\d+(?:,\d{3})*(?:\.\d+)?)\s?(mg|mcg|µg|μg|kg|g|ml|mL|IU|°C|%|l\b|L\b)(?:/(kg|day|ml|mL|h|dose)\b)?";
const TIMES_A_DAY: &str = r"\b(\d{1,2})\s?[x×]\s+";
const PHONE_NUMBER: &str = r"(?:\+|\(|\b)\d(?:[ ().-]{0,2}\d){6,14}\b";
const GROUPED: &str = r"\b\d{1,3}(?:,\d{3})+(?:\.\d+)?\b";
const ABBREVIATION: &str = r"\be\.g\.|\bi\.e\.|\bapprox\.|\bDr\.|\s*&\s*";

const RULES: [(&str, Say); 11] = [
    (DATE_ISO, date_iso),
    (DATE_SLASHED, date_slashed),
    (TIME, time),
    (HOUR, hour),
    (MONEY, money),
    (MONEY_AFTER, money),
    (DOSE, dose),
    (TIMES_A_DAY, times_a_day),
    (PHONE_NUMBER, phone),
    (GROUPED, grouped),
    (ABBREVIATION, abbreviation),
];

static ENGLISH: LazyLock<Vec<(Regex, Say)>> =
    LazyLock::new(|| RULES.iter().filter_map(|(pattern, say)| Some((Regex::new(pattern).ok()?, *say))).collect());
static PHONE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(PHONE_NUMBER).ok());

const ONES: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn english(text: &str) -> String {
        speakable(text, &Language::default())
    }

    #[test]
    fn every_rule_compiles() {
        assert_eq!(ENGLISH.len(), RULES.len());
        assert!(PHONE.is_some());
    }

    #[test]
    fn figures_become_words() {
        let cases = [
            ("Call +250 788 123 456.", "Call plus two five zero, seven eight eight, one two three, four five six."),
            ("Call 0788-123-456 now", "Call zero seven eight, eight one two, three four five six now"),
            ("Open 9:30 to 17:05", "Open nine thirty to seventeen oh five"),
            ("At 8:00, at 14:00", "At eight o'clock, at fourteen hundred"),
            ("From 9 am to 5 p.m. daily", "From nine a.m. to five p.m. daily"),
            ("It is $5.50 or RWF 1,500", "It is five dollars and fifty cents or one thousand five hundred francs"),
            ("1 USD, 20 EUR", "one dollar, twenty euros"),
            ("On 2026-03-05 at noon", "On March fifth, twenty twenty-six at noon"),
            ("On 21/03/2005", "On March twenty-first, two thousand five"),
            ("Take 500 mg 2x daily", "Take five hundred milligrams twice daily"),
            ("0.5 ml, 1 mg, 15 mg/kg", "zero point five millilitres, one milligram, fifteen milligrams per kilogram"),
            ("38.5 °C and 20%", "thirty-eight point five degrees Celsius and twenty percent"),
            ("1,250,000 people & more", "one million two hundred and fifty thousand people and more"),
            ("Room 5 on floor 2", "Room 5 on floor 2"),
            ("99:99 and 31/31/2026", "99:99 and 31/31/2026"),
        ];
        for (text, expected) in cases {
            assert_eq!(english(text), expected);
        }
    }

    #[test]
    fn the_order_of_a_date_follows_the_region() {
        let american = Language::parse("en-US").unwrap();
        assert_eq!(speakable("04/05/1980", &american), "April fifth, nineteen eighty");
        assert_eq!(english("04/05/1980"), "May fourth, nineteen eighty");
    }

    #[test]
    fn other_languages_only_have_numbers_spaced() {
        let french = Language::parse("fr").unwrap();
        assert_eq!(speakable("Appelez le 0788123456 à 9:30", &french), "Appelez le 0 7 8, 8 1 2, 3 4 5 6 à 9:30");
    }

    #[test]
    fn digits_are_spelled_in_groups() {
        let english = Language::default();
        assert_eq!(spell_digits("12051980", &english), "one two, zero five, one nine eight zero");
        assert_eq!(spell_digits("42", &english), "four two");
        assert_eq!(spell_digits("", &english), "");
    }

    proptest! {
        #[test]
        fn never_panics_and_never_grows_without_bound(text in "[0-9a-z:.,/$€ +()-]{0,200}") {
            prop_assert!(english(&text).len() <= text.len() * 30 + 30);
        }
    }
}
