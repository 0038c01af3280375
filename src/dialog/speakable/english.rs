//! Figures in English: British forms ("one hundred and five"), dates in the order of the region.

use regex::Captures;

use super::figures::{by_name, digits, month_and_day, name, named, part, text, whole};
use super::{PHONE, Say, links, spell_digits};
use crate::providers::Language;

/// In the order in which they are applied: each sees what those before it have left.
pub(super) const RULES: [(&str, Say); 25] = [
    links::ENGLISH[0],
    links::ENGLISH[1],
    (DATE_ISO, date_iso),
    (DATE_SLASHED, date_slashed),
    (DATE_DAY_FIRST, date_day_first),
    (DATE_MONTH_FIRST, date_month_first),
    (MONTH_YEAR, year_after),
    (WEEKDAYS, weekdays),
    (TIMES, range),
    (TIME, time),
    (TIME_DOTTED, time),
    (HOUR, hour),
    (MONEY, money),
    (MONEY_AFTER, money),
    (PRESSURE, pressure),
    (UNIT, unit),
    (TIMES_A_DAY, times_a_day),
    PHONE,
    (CODE, code),
    (YEAR, year_after),
    (ORDINAL, ordinal_figure),
    (FRACTION, fraction),
    (FIGURE, figure),
    (NUMBER, number_of),
    (ABBREVIATION, abbreviation),
];

fn date_iso(found: &Captures, _: &Language) -> String {
    date(part(found, 1), part(found, 2), part(found, 3)).unwrap_or_else(|| whole(found).to_owned())
}

fn date_slashed(found: &Captures, language: &Language) -> String {
    let (first, second, year) = (part(found, 1), part(found, 2), part(found, 3));
    let month_first = if first > 12 { false } else { language.tag() == "en-US" || second > 12 };
    let (month, day) = if month_first { (first, second) } else { (second, first) };
    date(year, month, day).unwrap_or_else(|| whole(found).to_owned())
}

fn date(year: u64, month: u64, day: u64) -> Option<String> {
    let (month, day) = month_and_day(month, day)?;
    Some(format!("{} {}, {}", MONTHS.get(month)?, ordinal(day), year_words(year)))
}

fn date_day_first(found: &Captures, _: &Language) -> String {
    written_date(found, text(found, 2), part(found, 1), part(found, 3))
}

fn date_month_first(found: &Captures, _: &Language) -> String {
    written_date(found, text(found, 1), part(found, 2), part(found, 3))
}

fn written_date(found: &Captures, month: &str, day: u64, year: u64) -> String {
    let begins = |name: &&str| name.get(..3) == month.get(..3);
    let Some(month) = MONTHS.into_iter().position(|name| begins(&name)).and_then(|at| MONTHS.get(at)) else {
        return whole(found).to_owned();
    };
    match (day, year) {
        (1..=31, 0) => format!("{month} {}", ordinal(day)),
        (1..=31, year) => format!("{month} {}, {}", ordinal(day), year_words(year)),
        _ => whole(found).to_owned(),
    }
}

/// A year that is known for one by the word before it.
fn year_after(found: &Captures, _: &Language) -> String {
    format!("{} {}", text(found, 1), year_words(part(found, 2)))
}

pub(super) fn year_words(year: u64) -> String {
    match (year / 100, year % 100) {
        (20, rest @ 0..=9) => cardinal(2000 + rest),
        (century, 0) => format!("{} hundred", cardinal(century)),
        (century, rest @ 1..=9) => format!("{} oh {}", cardinal(century), cardinal(rest)),
        (century, rest) => format!("{} {}", cardinal(century), cardinal(rest)),
    }
}

fn weekdays(found: &Captures, _: &Language) -> String {
    let day = |group: usize| {
        let short = text(found, group).get(..3).unwrap_or_default();
        DAYS.into_iter().find(|day| day.starts_with(short)).unwrap_or_default()
    };
    format!("{} to {}", day(1), day(2))
}

/// Two figures with a dash between them.
fn range(found: &Captures, _: &Language) -> String {
    format!("{} to {}", text(found, 1), text(found, 2))
}

fn time(found: &Captures, _: &Language) -> String {
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

fn hour(found: &Captures, _: &Language) -> String {
    format!("{}{}", cardinal(part(found, 1)), half_of_day(found, 2))
}

fn half_of_day(found: &Captures, group: usize) -> &'static str {
    match text(found, group) {
        "a" | "A" => " a.m.",
        "" => "",
        _ => " p.m.",
    }
}

fn money(found: &Captures, _: &Language) -> String {
    let unit = [named(found, "sign"), named(found, "code"), named(found, "after")].concat();
    let (one, many, cent, cents) = match unit.as_str() {
        "$" | "USD" => ("dollar", "dollars", "cent", "cents"),
        "€" | "EUR" => ("euro", "euros", "cent", "cents"),
        "£" | "GBP" => ("pound", "pounds", "penny", "pence"),
        "KES" | "UGX" | "TZS" => ("shilling", "shillings", "cent", "cents"),
        _ => ("franc", "francs", "centime", "centimes"),
    };
    let amount = digits(&[named(found, "whole"), named(found, "before")].concat());
    let small = [named(found, "cents"), named(found, "cents_before")].concat();
    let large = [named(found, "large"), named(found, "large_before")].concat();
    let named =
        |count: u64, one: &str, many: &str| format!("{} {}", cardinal(count), if count == 1 { one } else { many });
    if !large.is_empty() {
        let point = if small.is_empty() { String::new() } else { format!(" point {}", by_name(&small, &ONES)) };
        return format!("{}{point} {} {many}", cardinal(amount), large.trim());
    }
    // One decimal is tenths: $5.5.
    let small = if small.len() == 1 { digits(&small) * 10 } else { digits(&small) };
    match (amount, small) {
        (0, 1..) => named(small, cent, cents),
        (_, 0) => named(amount, one, many),
        _ => format!("{} and {}", named(amount, one, many), named(small, cent, cents)),
    }
}

/// 120/80: nobody says "divided by".
fn pressure(found: &Captures, _: &Language) -> String {
    if !(60..=260).contains(&part(found, 1)) || !(30..=160).contains(&part(found, 2)) {
        return whole(found).to_owned();
    }
    let unit = if text(found, 3).is_empty() { "" } else { " millimetres of mercury" };
    format!("{} over {}{unit}", cardinal(part(found, 1)), cardinal(part(found, 2)))
}

fn unit(found: &Captures, _: &Language) -> String {
    let amount = named(found, "amount");
    let below = found.name("gap").map_or_else(String::new, |gap| format!("{}minus ", gap.as_str()));
    let from = named(found, "from");
    let from = if from.is_empty() { String::new() } else { format!("{} to ", figure_words(from)) };
    let per = named(found, "per");
    let per = if per.is_empty() { String::new() } else { format!(" per {}", unit_name(per, true)) };
    format!("{below}{from}{} {}{per}", figure_words(amount), unit_name(named(found, "unit"), amount == "1"))
}

fn unit_name(unit: &str, one: bool) -> String {
    let name = match unit {
        "mg" => "milligram",
        "mcg" | "µg" | "μg" => "microgram",
        "g" => "gram",
        "kg" => "kilogram",
        "ml" | "mL" => "millilitre",
        "cl" => "centilitre",
        "l" | "L" => "litre",
        "IU" => "international unit",
        "h" | "hr" | "hrs" => "hour",
        "min" | "mins" => "minute",
        "s" | "sec" => "second",
        "mm" => "millimetre",
        "cm" => "centimetre",
        "m" => "metre",
        "km" => "kilometre",
        "km²" | "km2" => "square kilometre",
        "m²" | "m2" => "square metre",
        "ha" => "hectare",
        "kcal" => "kilocalorie",
        "kWh" => "kilowatt-hour",
        "bpm" => return if one { "beat per minute" } else { "beats per minute" }.to_owned(),
        "mmHg" => return if one { "millimetre of mercury" } else { "millimetres of mercury" }.to_owned(),
        "%" => return "percent".to_owned(),
        "°C" => return if one { "degree Celsius" } else { "degrees Celsius" }.to_owned(),
        "°F" => return if one { "degree Fahrenheit" } else { "degrees Fahrenheit" }.to_owned(),
        other => other,
    };
    if one { name.to_owned() } else { format!("{name}s") }
}

fn times_a_day(found: &Captures, _: &Language) -> String {
    match part(found, 1) {
        1 => "once ".to_owned(),
        2 => "twice ".to_owned(),
        count => format!("{} times ", cardinal(count)),
    }
}

/// Codes and numbers of things are told digit by digit.
fn code(found: &Captures, language: &Language) -> String {
    format!("{} {}", text(found, 1), spell_digits(text(found, 2), language))
}

fn ordinal_figure(found: &Captures, _: &Language) -> String {
    ordinal(part(found, 1))
}

fn fraction(found: &Captures, _: &Language) -> String {
    let halves = ["half", "third", "quarter", "fifth", "sixth", "seventh", "eighth", "ninth"];
    let (over, under) = match whole(found) {
        "½" => (1, 2),
        "⅓" => (1, 3),
        "⅔" => (2, 3),
        "¼" => (1, 4),
        "¾" => (3, 4),
        _ => (part(found, 1), part(found, 2)),
    };
    match under.checked_sub(2).and_then(|under| name(&halves, under)) {
        Some(part) if over > 0 && over < under => {
            format!("{} {part}{}", cardinal(over), if over == 1 { "" } else { "s" })
        }
        _ => whole(found).to_owned(),
    }
}

fn figure(found: &Captures, language: &Language) -> String {
    match whole(found) {
        code if code.starts_with('0') && !code.contains('.') => spell_digits(code, language),
        figure => figure_words(figure),
    }
}

fn abbreviation(found: &Captures, _: &Language) -> String {
    match whole(found).trim() {
        "e.g." => "for example",
        "i.e." => "that is",
        "approx." => "approximately",
        "vs." | "vs" => "versus",
        "etc." => "and so on",
        "Dr." => "Doctor",
        "Mr." => "Mister",
        "Mrs." => "Missus",
        "Prof." => "Professor",
        "dept." => "department",
        "tel." | "Tel." => "telephone",
        "≈" | "~" => "about ",
        "≥" => " at least ",
        "≤" => " at most ",
        "→" => " to ",
        "=" => " equals ",
        _ => " and ",
    }
    .to_owned()
}

fn number_of(found: &Captures, _: &Language) -> String {
    format!("number {}", text(found, 1))
}

fn figure_words(figure: &str) -> String {
    let mut parts = figure.split('.');
    let mut said = parts.next().map(|whole| cardinal(digits(whole))).unwrap_or_default();
    for fraction in parts {
        said = format!("{said} point {}", by_name(fraction, &ONES));
    }
    said
}

/// A number in words; what is beyond a million million stays in figures.
pub(super) fn cardinal(number: u64) -> String {
    if let Some(name) = name(&ONES, number) {
        return name.to_owned();
    }
    let join = |unit: u64, name: &str, gap: &str| {
        let head = format!("{} {name}", cardinal(number / unit));
        match number % unit {
            0 => head,
            rest if unit > 100 && rest < 100 => format!("{head} and {}", cardinal(rest)),
            rest => format!("{head}{gap}{}", cardinal(rest)),
        }
    };
    match number {
        0..=99 => {
            let tens = name(&TENS, number / 10).unwrap_or_default();
            if number.is_multiple_of(10) { tens.to_owned() } else { format!("{tens}-{}", cardinal(number % 10)) }
        }
        100..=999 => join(100, "hundred", " and "),
        1000..=999_999 => join(1000, "thousand", " "),
        1_000_000..=999_999_999 => join(1_000_000, "million", " "),
        1_000_000_000..=999_999_999_999 => join(1_000_000_000, "billion", " "),
        _ => number.to_string(),
    }
}

pub(super) fn ordinal(number: u64) -> String {
    let irregular = [
        ("one", "first"),
        ("two", "second"),
        ("three", "third"),
        ("five", "fifth"),
        ("eight", "eighth"),
        ("nine", "ninth"),
        ("twelve", "twelfth"),
    ];
    let cardinal = cardinal(number);
    let cut = cardinal.rfind([' ', '-']).map_or(0, |at| at + 1);
    let (head, last) = cardinal.split_at(cut);
    let last = match irregular.iter().find(|(name, _)| *name == last) {
        Some((_, ordinal)) => (*ordinal).to_owned(),
        None => last.strip_suffix('y').map_or_else(|| format!("{last}th"), |stem| format!("{stem}ieth")),
    };
    format!("{head}{last}")
}

const DATE_ISO: &str = r"\b(\d{4})-(\d{2})-(\d{2})\b";
const DATE_SLASHED: &str = r"\b(\d{1,2})/(\d{1,2})/(\d{4})\b";
const DATE_DAY_FIRST: &str = r"(?x)\b(?:the\s)?(\d{1,2})(?:st|nd|rd|th)?\s(?:of\s)?
    (January|February|March|April|May|June|July|August|September|October|November|December
     |Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b\.?(?:,?\s(\d{4})\b)?";
const DATE_MONTH_FIRST: &str = r"(?x)\b
    (January|February|March|April|May|June|July|August|September|October|November|December
     |Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b\.?\s(\d{1,2})(?:st|nd|rd|th)?\b(?:,?\s(\d{4})\b)?";
const MONTH_YEAR: &str =
    r"\b(January|February|March|April|May|June|July|August|September|October|November|December)\s(1[1-9]\d\d|20\d\d)\b";
const WEEKDAYS: &str =
    r"(?x)\b(Mon|Tues?|Wed|Thu(?:rs?)?|Fri|Sat|Sun)\.?\s?[-–—]\s?(Mon|Tues?|Wed|Thu(?:rs?)?|Fri|Sat|Sun)\b\.?";
const TIMES: &str =
    r"\b(\d{1,2}(?::\d{2})?(?:\s?[AaPp]\.?[Mm]\.?)?)\s?[-–—]\s?(\d{1,2}:\d{2}\b|\d{1,2}\s?[AaPp]\.?[Mm]\b)";
const TIME: &str = r"\b(\d{1,2}):(\d{2})\b(?:\s?([AaPp])\.?[Mm]\b\.?)?";
const TIME_DOTTED: &str = r"\b(\d{1,2})\.([0-5]\d)\s?([AaPp])\.?[Mm]\b\.?";
const HOUR: &str = r"\b(\d{1,2})\s?([AaPp])\.?[Mm]\b\.?";
const MONEY: &str = r"(?x)(?:(?P<sign>[$€£])\s?|\b(?P<code>USD|EUR|GBP|RWF|KES|UGX|TZS|CHF|Rwf|FRW|Frw)\s?)
    (?P<whole>\d+(?:,\d{3})*)(?:\.(?P<cents>\d{1,2}))?\b(?P<large>\s(?:thousand|million|billion)\b)?";
const MONEY_AFTER: &str = r"(?x)\b(?P<before>\d+(?:,\d{3})*)(?:\.(?P<cents_before>\d{2}))?
    (?P<large_before>\s(?:thousand|million|billion))?\s?
    (?P<after>USD|EUR|GBP|RWF|KES|UGX|TZS|CHF|Rwf|FRW|Frw|€|£)";
const PRESSURE: &str = r"\b(\d{2,3})/(\d{2,3})\b(\s?mmHg\b)?";
const UNIT: &str = r"(?x)(?:(?P<gap>^|\s)[-−]|\b)(?:(?P<from>\d+(?:\.\d+)?)\s?[-–—]\s?)?(?P<amount>\d+(?:,\d{3})*(?:\.\d+)?)\s?
    (?P<unit>%|°C|°F|km²|m²|(?:mg|mcg|µg|μg|kg|g|ml|mL|cl|IU|l|L|mmHg|mm|cm|km2|km|m2|m|ha|kcal|kWh|bpm|hrs?|mins?|sec)\b)
    (?:/(?P<per>kg|day|ml|mL|hr?|dose|min|s|week)\b)?";
const TIMES_A_DAY: &str = r"\b(\d{1,2})\s?[x×]\s+";
const CODE: &str =
    r"(?i)\b((?:code|pin|number|extension|reference|flight|room|account|id)(?:\s(?:is|was))?:?)\s(\d{3,6})\b";
const YEAR: &str = r"\b([Ii]n|[Ss]ince|[Bb]y|[Uu]ntil|[Ff]rom|[Yy]ear|[Oo]f|[Bb]efore|[Aa]fter)\s(1[1-9]\d\d|20\d\d)\b";
const ORDINAL: &str = r"\b(\d{1,3})(?:st|nd|rd|th)\b";
const FRACTION: &str = r"\b([1-8])/([2-9])\b|[½⅓⅔¼¾]";
/// Thousands in groups, fractions, and what is too long to be left to the voice.
const FIGURE: &str = r"\b(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)+|\d{5,6})\b";
const NUMBER: &str = r"\b(?:No|no|Nr)\.\s?(\d)";
const ABBREVIATION: &str = r"\be\.g\.|\bi\.e\.|\bapprox\.|\bvs\b\.?|\betc\.|\bDr\.|\bMr\.|\bMrs\.|\bProf\.|\bdept\.|\b[Tt]el\.|[≈~]\s?|\s*(?:[&≥≤→]|\s=\s)\s*";

pub(super) const DIGITS: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
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
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
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
