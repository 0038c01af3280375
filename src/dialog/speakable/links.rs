//! Links and mail addresses: nobody can follow "h t t p s colon slash slash", everybody can write down a name with dots.

use regex::Captures;

use super::Say;
use super::figures::{text, whole};
use crate::providers::Language;

const URL: &str = r"(?i)\b(?:https?://)(?:www\.)?([\p{L}\d.-]+)(?::\d+)?(/[^\s<>()?#]*)?(?:\?[^\s<>()]*)?(?:#[^\s<>()]*)?|\bwww\.([\p{L}\d.-]+)(/[^\s<>()?#]*)?";
const MAIL: &str = r"\b([\p{L}\d._%+-]+)@([\p{L}\d-]+(?:\.[\p{L}\d-]+)+)\b";

pub(super) const ENGLISH: [(&str, Say); 2] = [(URL, url_english), (MAIL, mail_english)];
pub(super) const FRENCH: [(&str, Say); 2] = [(URL, url_french), (MAIL, mail_french)];
/// Where there are no words for the signs, the voice has its own; only what nobody says is left out.
pub(super) const SHORTENED: (&str, Say) = (URL, shortened);

struct Signs {
    dot: &'static str,
    slash: &'static str,
    dash: &'static str,
    at: &'static str,
    underscore: &'static str,
}

const IN_ENGLISH: Signs =
    Signs { dot: " dot ", slash: " slash ", dash: " dash ", at: " at ", underscore: " underscore " };
const IN_FRENCH: Signs =
    Signs { dot: " point ", slash: " barre oblique ", dash: " tiret ", at: " arobase ", underscore: " tiret bas " };

fn url_english(found: &Captures, _: &Language) -> String {
    url(found, &IN_ENGLISH)
}

fn url_french(found: &Captures, _: &Language) -> String {
    url(found, &IN_FRENCH)
}

fn mail_english(found: &Captures, _: &Language) -> String {
    format!("{}{}{}", spelled(text(found, 1), &IN_ENGLISH), IN_ENGLISH.at, spelled(text(found, 2), &IN_ENGLISH))
}

fn mail_french(found: &Captures, _: &Language) -> String {
    format!("{}{}{}", spelled(text(found, 1), &IN_FRENCH), IN_FRENCH.at, spelled(text(found, 2), &IN_FRENCH))
}

fn url(found: &Captures, signs: &Signs) -> String {
    let (link, stop) = parts(found);
    format!("{}{stop}", spelled(&link, signs))
}

fn shortened(found: &Captures, _: &Language) -> String {
    let (link, stop) = parts(found);
    format!("{link}{stop}")
}

/// Host and path, and the stop of a sentence that followed them.
fn parts(found: &Captures) -> (String, &'static str) {
    let host = if text(found, 1).is_empty() { text(found, 3) } else { text(found, 1) };
    let path = if text(found, 2).is_empty() { text(found, 4) } else { text(found, 2) };
    let stop = match whole(found).chars().last() {
        Some('.') => ".",
        Some(',') => ",",
        Some('!') => "!",
        _ => "",
    };
    let link = format!("{host}{path}");
    (link.trim_end_matches(['/', '.', ',', '!', ';', ':', '-']).to_owned(), stop)
}

fn spelled(link: &str, signs: &Signs) -> String {
    let mut said = String::with_capacity(link.len() * 2);
    for c in link.chars() {
        match c {
            '.' => said.push_str(signs.dot),
            '/' => said.push_str(signs.slash),
            '-' => said.push_str(signs.dash),
            '_' => said.push_str(signs.underscore),
            c => said.push(c),
        }
    }
    said
}
