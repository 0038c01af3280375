//! Figures in French: a comma before decimals, spaces between thousands, `9 h 30`; seventy and ninety by region.

use regex::Captures;

use super::figures::{by_name, digits, month_and_day, name, named, part, text, whole};
use super::{PHONE, Say, links, spell_digits};
use crate::providers::Language;

/// In the order in which they are applied.
pub(super) const RULES: [(&str, Say); 16] = [
    links::FRENCH[0],
    links::FRENCH[1],
    (DATE_ISO, date_iso),
    (DATE_SLASHED, date_slashed),
    (FIRST, first),
    (TIMES, range),
    (TIME, time),
    (MONEY, money),
    (MONEY_AFTER, money),
    (UNIT, unit),
    (TIMES_A_DAY, times),
    PHONE,
    (CODE, code),
    (ORDINAL, ordinal_figure),
    (FIGURE, figure),
    (ABBREVIATION, abbreviation),
];

fn date_iso(found: &Captures, language: &Language) -> String {
    date(found, part(found, 1), part(found, 2), part(found, 3), language)
}

fn date_slashed(found: &Captures, language: &Language) -> String {
    date(found, part(found, 3), part(found, 2), part(found, 1), language)
}

fn date(found: &Captures, year: u64, month: u64, day: u64, language: &Language) -> String {
    let Some((month, day)) = month_and_day(month, day) else { return whole(found).to_owned() };
    let day = if day == 1 { "premier".to_owned() } else { cardinal(day, language) };
    format!("{day} {} {}", MONTHS.get(month).copied().unwrap_or_default(), cardinal(year, language))
}

/// "1 mars" and "1er" are the first.
fn first(found: &Captures, _: &Language) -> String {
    format!("premier {}", text(found, 1))
}

fn range(found: &Captures, _: &Language) -> String {
    format!("{} à {}", text(found, 1), text(found, 2))
}

fn time(found: &Captures, language: &Language) -> String {
    let (hour, minute) = (part(found, 1), part(found, 2));
    if hour > 24 || minute > 59 {
        return whole(found).to_owned();
    }
    let hours = match hour {
        0 => "minuit".to_owned(),
        12 => "midi".to_owned(),
        1 => "une heure".to_owned(),
        21 => "vingt et une heures".to_owned(),
        _ => format!("{} heures", cardinal(hour, language)),
    };
    if minute == 0 { hours } else { format!("{hours} {}", feminine(minute, language)) }
}

fn money(found: &Captures, language: &Language) -> String {
    let unit = [named(found, "sign"), named(found, "after")].concat();
    let (one, many) = match unit.as_str() {
        "$" | "USD" => ("dollar", "dollars"),
        "€" | "EUR" => ("euro", "euros"),
        "£" | "GBP" => ("livre", "livres"),
        _ => ("franc", "francs"),
    };
    let amount = digits(&[named(found, "whole"), named(found, "before")].concat());
    let cents = [named(found, "cents"), named(found, "cents_before")].concat();
    let large = [named(found, "large"), named(found, "large_before")].concat();
    // One decimal is tenths, but of a million: 5,5 €.
    let tenths = cents.len() == 1 && large.is_empty();
    let small = if tenths { digits(&cents) * 10 } else { digits(&cents) };
    let unit = if amount < 2 && large.is_empty() { one } else { many };
    let feminine_unit = unit.starts_with("livre");
    let count = if feminine_unit { feminine(amount, language) } else { cardinal(amount, language) };
    let vowel = unit.starts_with(['e', 'a', 'o', 'u']);
    let of = if vowel { "d'" } else { "de " };
    match (small, large.trim()) {
        (0, "") if amount > 0 && amount.is_multiple_of(1_000_000) => format!("{count} {of}{unit}"),
        (0, "") => format!("{count} {unit}"),
        (_, "") => format!("{count} {unit} {}", cardinal(small, language)),
        (0, large) => format!("{count} {large} {of}{unit}"),
        (_, large) => format!("{count} virgule {} {large} {of}{unit}", cardinal(small, language)),
    }
}

fn unit(found: &Captures, language: &Language) -> String {
    let amount = named(found, "amount");
    let below = found.name("gap").map_or_else(String::new, |gap| format!("{}moins ", gap.as_str()));
    let from = named(found, "from");
    let from = if from.is_empty() { String::new() } else { format!("{} à ", figure_words(from, language)) };
    // Whatever is below two is one thing: "1,5 litre".
    let one = digits(amount.split([',', '.']).next().unwrap_or_default()) < 2;
    let unit = named(found, "unit");
    let count = match unit {
        "h" | "min" | "s" | "UI" => feminine_figure(amount, language),
        _ => figure_words(amount, language),
    };
    let per = named(found, "per");
    let per = if per.is_empty() { String::new() } else { format!(" par {}", unit_name(per, true)) };
    format!("{below}{from}{count} {}{per}", unit_name(unit, one))
}

fn unit_name(unit: &str, one: bool) -> String {
    let name = match unit {
        "mg" => "milligramme",
        "mcg" | "µg" | "μg" => "microgramme",
        "g" => "gramme",
        "kg" => "kilogramme",
        "ml" | "mL" => "millilitre",
        "cl" => "centilitre",
        "l" | "L" => "litre",
        "UI" => return if one { "unité internationale" } else { "unités internationales" }.to_owned(),
        "h" => "heure",
        "min" => "minute",
        "s" => "seconde",
        "mm" => "millimètre",
        "cm" => "centimètre",
        "m" => "mètre",
        "km" => "kilomètre",
        "km²" => return if one { "kilomètre carré" } else { "kilomètres carrés" }.to_owned(),
        "m²" => return if one { "mètre carré" } else { "mètres carrés" }.to_owned(),
        "ha" => "hectare",
        "%" => return "pour cent".to_owned(),
        "°C" => return if one { "degré Celsius" } else { "degrés Celsius" }.to_owned(),
        "j" => "jour",
        other => other,
    };
    if one { name.to_owned() } else { format!("{name}s") }
}

fn times(found: &Captures, language: &Language) -> String {
    format!("{} fois ", feminine(part(found, 1), language))
}

fn code(found: &Captures, language: &Language) -> String {
    format!("{} {}", text(found, 1), spell_digits(text(found, 2), language))
}

fn ordinal_figure(found: &Captures, language: &Language) -> String {
    let number = part(found, 1);
    if number == 1 {
        return if text(found, 2) != "er" { "première" } else { "premier" }.to_owned();
    }
    let cardinal = cardinal(number, language);
    let stem = cardinal.strip_suffix('e').unwrap_or(&cardinal);
    match stem {
        stem if stem.ends_with("cinq") => format!("{stem}uième"),
        stem if stem.ends_with("neuf") => format!("{}vième", stem.strip_suffix('f').unwrap_or(stem)),
        // Plural marks of "quatre-vingts" and "deux cents" go.
        stem => format!("{}ième", stem.strip_suffix("ts").map_or_else(|| stem.to_owned(), |stem| format!("{stem}t"))),
    }
}

fn figure(found: &Captures, language: &Language) -> String {
    figure_words(whole(found), language)
}

fn abbreviation(found: &Captures, _: &Language) -> String {
    match whole(found).trim() {
        "p. ex." | "p.ex." => "par exemple",
        "c.-à-d." | "c-à-d" => "c'est-à-dire",
        "env." => "environ",
        "etc." => "et cetera",
        "Dr" | "Dr." => "docteur",
        "M." => "Monsieur",
        "Mme" => "Madame",
        "Mlle" => "Mademoiselle",
        "tél." | "Tél." => "téléphone",
        "n°" | "N°" => "numéro ",
        "≈" => "environ ",
        _ => " et ",
    }
    .to_owned()
}

fn figure_words(figure: &str, language: &Language) -> String {
    let (whole, fraction) = figure.split_once([',', '.']).unwrap_or((figure, ""));
    let said = cardinal(digits(whole), language);
    match fraction {
        "" => said,
        // Up to two decimals are read as a number, as speakers do; zeros in front are told.
        _ if fraction.len() <= 2 && !fraction.starts_with('0') => {
            format!("{said} virgule {}", cardinal(digits(fraction), language))
        }
        _ => format!("{said} virgule {}", by_name(fraction, &DIGITS)),
    }
}

fn feminine_figure(figure: &str, language: &Language) -> String {
    if figure.contains([',', '.']) { figure_words(figure, language) } else { feminine(digits(figure), language) }
}

/// A count of something feminine: "vingt et une heures".
fn feminine(number: u64, language: &Language) -> String {
    let said = cardinal(number, language);
    let one = said == "un" || said.ends_with(" un") || said.ends_with("-un");
    if one { format!("{said}e") } else { said }
}

/// A number in words; what is beyond a million million stays in figures.
pub(super) fn cardinal(number: u64, language: &Language) -> String {
    if let Some(name) = name(&ONES, number) {
        return name.to_owned();
    }
    match number {
        0..=99 => below_hundred(number, language),
        100..=999 => hundreds(number, language),
        1000..=999_999 => {
            let thousand = match number / 1000 {
                1 => "mille".to_owned(),
                // "quatre-vingt mille": the mark of the plural is for the end of a number.
                count => format!("{} mille", singular(&cardinal(count, language))),
            };
            joined(thousand, number % 1000, language)
        }
        1_000_000..=999_999_999 => large(number, 1_000_000, "million", language),
        1_000_000_000..=999_999_999_999 => large(number, 1_000_000_000, "milliard", language),
        _ => number.to_string(),
    }
}

fn below_hundred(number: u64, language: &Language) -> String {
    let (tens, ones) = (number / 10, number % 10);
    let regional = matches!(language.tag().get(3..), Some("BE" | "CD" | "RW" | "BI" | "CH"));
    let swiss = language.tag().get(3..) == Some("CH");
    let (head, rest) = match tens {
        7 if regional => ("septante", ones),
        9 if regional => ("nonante", ones),
        8 if swiss => ("huitante", ones),
        7 => ("soixante", 10 + ones),
        9 => ("quatre-vingt", 10 + ones),
        8 => ("quatre-vingt", ones),
        _ => (name(&TENS, tens).unwrap_or_default(), ones),
    };
    match rest {
        0 if head == "quatre-vingt" => "quatre-vingts".to_owned(),
        0 => head.to_owned(),
        1 | 11 if head != "quatre-vingt" => format!("{head} et {}", cardinal(rest, language)),
        _ => format!("{head}-{}", cardinal(rest, language)),
    }
}

fn hundreds(number: u64, language: &Language) -> String {
    match (number / 100, number % 100) {
        (1, rest) => joined("cent".to_owned(), rest, language),
        (count, 0) => format!("{} cents", cardinal(count, language)),
        (count, rest) => joined(format!("{} cent", cardinal(count, language)), rest, language),
    }
}

fn large(number: u64, unit: u64, unit_name: &str, language: &Language) -> String {
    let count = number / unit;
    let plural = if count > 1 { "s" } else { "" };
    joined(format!("{} {unit_name}{plural}", cardinal(count, language)), number % unit, language)
}

fn joined(head: String, rest: u64, language: &Language) -> String {
    if rest == 0 { head } else { format!("{head} {}", cardinal(rest, language)) }
}

fn singular(count: &str) -> &str {
    match count {
        count if count.ends_with("vingts") || count.ends_with(" cents") => count.strip_suffix('s').unwrap_or(count),
        count => count,
    }
}

const DATE_ISO: &str = r"\b(\d{4})-(\d{2})-(\d{2})\b";
const DATE_SLASHED: &str = r"\b(\d{1,2})/(\d{1,2})/(\d{4})\b";
const FIRST: &str =
    r"\b1(?:er)?\s(janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre)\b";
const TIMES: &str = r"\b(\d{1,2}(?:\s?h(?:\s?\d{2})?|:\d{2}))\s?[-–—]\s?(\d{1,2}(?:\s?h\b|\s?h\s?\d{2}\b|:\d{2}\b))";
const TIME: &str = r"\b(\d{1,2})\s?(?:[hH]|:)\s?(\d{2})\b";
const MONEY: &str = r"(?x)(?P<sign>[$€£])\s?(?P<whole>\d{1,3}(?:[\s\u{a0}\u{202f}.]\d{3})+|\d+)(?:,(?P<cents>\d{1,2}))?\b
    (?P<large>\s(?:millions?|milliards?)\b)?";
const MONEY_AFTER: &str = r"(?x)\b(?P<before>\d{1,3}(?:[\s\u{a0}\u{202f}.]\d{3})+|\d+)(?:[,.](?P<cents_before>\d{1,2}))?
    (?P<large_before>\s(?:millions?|milliards?))?\s?(?P<after>USD|EUR|GBP|RWF|CHF|CDF|Rwf|FRW|Frw|€|£|\$)";
const UNIT: &str = r"(?x)(?:(?P<gap>^|\s)[-−]|\b)(?:(?P<from>\d+(?:[,.]\d+)?)\s?[-–—]\s?)?
    (?P<amount>\d{1,3}(?:[\s\u{a0}\u{202f}]\d{3})+(?:,\d+)?|\d+(?:[,.]\d+)?)\s?
    (?P<unit>%|°C|km²|m²|(?:mg|mcg|µg|μg|kg|g|ml|mL|cl|UI|l|L|mm|cm|km|m|ha|min|h|s)\b)(?:/(?P<per>kg|jour|j|ml|mL|h|dose|min)\b)?";
const TIMES_A_DAY: &str = r"\b(\d{1,2})\s?[x×]\s+";
const CODE: &str = r"(?i)\b((?:code|numéro|poste|référence|vol|chambre|compte)(?:\sest)?\s?:?)\s(\d{3,6})\b";
const ORDINAL: &str = r"\b(\d{1,3})(ère|ere|re|er|ème|eme|e|è)\b";
const FIGURE: &str = r"\b(?:\d{1,3}(?:[\u{a0}\u{202f} ]\d{3})+(?:,\d+)?|\d+,\d+|\d{5,6})\b";
const ABBREVIATION: &str = r"\bp\.\s?ex\.|\bc\.-à-d\.|\bc-à-d\b|\benv\.|\betc\.|\bDr\b\.?|\bM\.|\bMme\b|\bMlle\b|\b[Tt]él\.|\b[nN]°\s?|≈\s?|\s*&\s*";

pub(super) const DIGITS: [&str; 10] = ["zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf"];
const ONES: [&str; 20] = [
    "zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix", "onze", "douze", "treize",
    "quatorze", "quinze", "seize", "dix-sept", "dix-huit", "dix-neuf",
];
const TENS: [&str; 7] = ["", "", "vingt", "trente", "quarante", "cinquante", "soixante"];
pub const MONTHS: [&str; 12] = [
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
];
