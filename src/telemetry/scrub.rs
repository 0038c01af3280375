//! Masks phone numbers, e-mail addresses and long digit runs in free text, before it is kept or logged.
//!
//! Seven or more digits count as a number however they are spaced, dashed or bracketed; dates, times, prices, units,
//! IP addresses and ids are kept where their shape is unmistakable. In doubt a figure is masked: three blood pressures
//! in a row read like a phone number and go. Numbers spelled out as words are deliberately not recognised.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Match, Regex};

/// What stands in for a number.
pub const NUMBER: &str = "[number]";
/// What stands in for an e-mail address (or a SIP address of record, which names a person as well).
pub const EMAIL: &str = "[email]";
/// Fewest digits that are masked: the shortest local phone numbers have seven.
pub const DIGITS: usize = 7;

/// The text without phone numbers, e-mail addresses and long digit runs. Scrubbing twice changes nothing more.
pub fn scrub(text: &str) -> Cow<'_, str> {
    if !may_hold_personal_data(text) {
        return Cow::Borrowed(text);
    }
    let text = replace(text, &PATTERNS.email, |_, _| Some(EMAIL));
    let text = rewrite(text, |text| replace(text, &PATTERNS.spoken_email, |_, _| Some(EMAIL)));
    rewrite(text, scrub_numbers)
}

/// Cheap enough for every log line: most hold none of what the patterns look for.
fn may_hold_personal_data(text: &str) -> bool {
    text.contains('@')
        || text.chars().filter(|c| c.is_numeric()).take(DIGITS).count() == DIGITS
        || text.as_bytes().windows(4).any(|word| word.eq_ignore_ascii_case(b" at "))
}

fn rewrite<'a>(text: Cow<'a, str>, change: impl Fn(&str) -> Cow<'_, str>) -> Cow<'a, str> {
    match text {
        Cow::Borrowed(text) => change_borrowed(text, change),
        Cow::Owned(text) => Cow::Owned(change(&text).into_owned()),
    }
}

fn change_borrowed<'a>(text: &'a str, change: impl Fn(&str) -> Cow<'_, str>) -> Cow<'a, str> {
    match change(text) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(text) => Cow::Owned(text),
    }
}

/// Masks the numbers between tokens of an unmistakable other kind.
fn scrub_numbers(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut done = 0;
    let mut changed = false;
    let whole = |t: &Match| stands_alone(text, t.start(), t.end()) && has_length_of_id(t.as_str());
    for token in PATTERNS.token.find_iter(text).filter(whole) {
        let (before, kept) = (text.get(done..token.start()), text.get(token.start()..token.end()));
        changed |= mask_numbers(before.unwrap_or_default(), &mut out);
        out.push_str(kept.unwrap_or_default());
        done = token.end();
    }
    changed |= mask_numbers(text.get(done..).unwrap_or_default(), &mut out);
    if changed { Cow::Owned(out) } else { Cow::Borrowed(text) }
}

/// Whether the token from `start` to `end` is not a part of something longer: `01.23.45.67` inside `01.23.45.67.89`.
fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    let mut before = text.get(..start).unwrap_or_default().chars().rev();
    let mut after = text.get(end..).unwrap_or_default().chars();
    let (last, first) = (before.next(), after.next());
    let joined = |near: Option<char>, far: Option<char>| match near {
        Some(c) if c.is_alphanumeric() => true,
        Some('.' | '-' | '/' | ' ' | ',') => {
            far.is_some_and(char::is_numeric) && near != Some(' ') && near != Some(',')
        }
        _ => false,
    };
    !(matches!(last, Some('+')) || joined(last, before.next()) || joined(first, after.next()))
}

/// Whether a word of hexadecimal digits is as long as ids are: span, trace, Twilio SID, SHA-1 or SHA-256.
fn has_length_of_id(token: &str) -> bool {
    !token.bytes().all(|b| b.is_ascii_hexdigit()) || matches!(token.len(), 16 | 32 | 34 | 40 | 64)
}

fn mask_numbers(text: &str, out: &mut String) -> bool {
    let mut changed = false;
    let masked =
        replace(text, &PATTERNS.number, |found, around| if is_kept(found, around) { None } else { Some(NUMBER) });
    changed |= matches!(masked, Cow::Owned(_));
    out.push_str(&masked);
    changed
}

/// Whether a run of seven or more digits is a price or a measured value.
fn is_kept(found: &str, (before, after): (&str, &str)) -> bool {
    let digits = found.chars().filter(char::is_ascii_digit).count();
    if !PATTERNS.amount.is_match(found) {
        return false;
    }
    let money = before.trim_end().ends_with(['$', '€', '£', '¥', '₹']) || PATTERNS.currency.is_match(after);
    let fraction = found.rsplit_once('.').map(|(whole, fraction)| (whole.len(), fraction.len()));
    match fraction {
        _ if money => digits <= 11,
        Some((whole, fraction)) => whole <= 9 && (fraction <= 2 && digits <= 8 || PATTERNS.unit.is_match(after)),
        None => digits <= 8 && (found.contains(',') || PATTERNS.unit.is_match(after)),
    }
}

/// Every match of `pattern` for which `with` has a replacement, replaced. `with` sees the match and its surroundings.
fn replace<'a>(
    text: &'a str,
    pattern: &Regex,
    with: impl Fn(&str, (&str, &str)) -> Option<&'static str>,
) -> Cow<'a, str> {
    pattern.replace_all(text, |captures: &Captures| -> String {
        let Some(found) = captures.get(0) else { return String::new() };
        let around = (text.get(..found.start()).unwrap_or_default(), text.get(found.end()..).unwrap_or_default());
        with(found.as_str(), around).unwrap_or(found.as_str()).to_owned()
    })
}

struct Patterns {
    email: Regex,
    spoken_email: Regex,
    token: Regex,
    number: Regex,
    amount: Regex,
    currency: Regex,
    unit: Regex,
}

#[allow(clippy::expect_used, reason = "constant patterns; any test of this file compiles them")]
static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let compile = |pattern: &str| Regex::new(pattern).expect("constant pattern");
    Patterns {
        email: compile(r"[\p{L}\p{N}._%+'*=&~!#$-]+\s?@\s?[\p{L}\p{N}_-]+(?:\.[\p{L}\p{N}_-]+)*"),
        spoken_email: compile(
            r"(?i)[\p{L}\p{N}._+-]+(?:\s+(?:dot|underscore|dash|hyphen)\s+[\p{L}\p{N}_-]+)*\s+at\s+[\p{L}\p{N}-]+(?:(?:\s+dot\s+|\.)[\p{L}\p{N}-]+)*(?:\s+dot\s+|\.)(?:com|org|net|edu|gov|info|io|co|rw|uk|ke|ug|tz|fr|de|be|us|ca|in|za|ng|gh)\b",
        ),
        token: compile(concat!(
            r"(?x)",
            // A UUID, a trace or span id (W3C Trace Context), a Twilio SID.
            r"(?: [0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
            r" | (?:00-)?[0-9a-f]{32}-[0-9a-f]{16}(?:-0[01])?",
            r" | [A-Z]{2}[0-9a-f]{32} | [0-9]*[a-f][0-9a-f]*[a-f][0-9a-f]{6,40}",
            // Dates and times, also with a fraction and a zone (RFC 3339).
            r" | (?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])",
            r"   (?:[T\x20][0-2][0-9]:[0-5][0-9](?::[0-6][0-9](?:[.,][0-9]{1,9})?)?(?:Z|[+-][0-2][0-9]:?[0-5][0-9])?)?",
            r" | (?:0?[1-9]|[12][0-9]|3[01])[/.-](?:0?[1-9]|[12][0-9]|3[01])[/.-](?:19|20)[0-9]{2}",
            r" | (?:[01]?[0-9]|2[0-3]):[0-5][0-9](?::[0-6][0-9](?:[.,][0-9]{1,9})?)?",
            // IPv4, with a port.
            r" | (?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])(?::[0-9]{1,5})? )",
        )),
        number: compile(r"[+(]{0,3}\p{N}(?:[\s.,()/_\p{Pd}\u{2212}\u{b7}]{0,3}\p{N}){6,}"),
        amount: compile(r"^(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[1-9][0-9]*|0)(?:\.[0-9]+)?$"),
        currency: compile(
            r"(?i)^\s?(?:[€£¥₹]|(?:rwf|usd|eur|gbp|kes|ugx|tzs|xaf|xof|francs?|dollars?|euros?|pounds?|shillings?)\b)",
        ),
        unit: compile(r"^(?:ns|[uµμ]s|ms|s|[kM]?Hz|[KMG]?i?B|kB)\b"),
    }
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn masks_what_names_a_person() {
        let cases = [
            ("call +250788123456 back", "call [number] back"),
            ("0788123456", "[number]"),
            ("my number is 0788 123 456.", "my number is [number]."),
            ("0788-123-456 or (078) 812-3456", "[number] or [number]"),
            ("(078) 812-3456 please", "[number] please"),
            ("+1 (415) 555-2671", "[number]"),
            ("01.23.45.67.89", "[number]"),
            ("+33.1.23.45.67.89 ", "[number] "),
            ("0, 7, 8, 8, 1, 2, 3, 4, 5, 6", "[number]"),
            ("0 7 8 8 1 2 3 4 5 6", "[number]"),
            ("250,788,123,456", "[number]"),
            ("card 4111 1111 1111 1111", "card [number]"),
            ("555 1234", "[number]"),
            ("ab0788123456", "ab[number]"),
            ("id1199880012345678x", "id[number]x"),
            ("sip:+250788123456@10.0.0.1:5060", "sip:[email]:5060"),
            ("tel:+250788123456", "tel:[number]"),
            ("٠٧٨٨١٢٣٤٥٦", "[number]"),
            ("0788‑123‑456", "[number]"),
            ("0788\u{a0}123\u{a0}456", "[number]"),
            ("write to jean.claude+x@mail.example.org now", "write to [email] now"),
            ("JOHN@EXAMPLE.COM, john@localhost", "[email], [email]"),
            ("it is john at gmail dot com", "it is [email]"),
            ("mary dot jones at gmail.com thanks", "[email] thanks"),
            ("at 10:30 call 0788123456", "at 10:30 call [number]"),
            ("2026-11-21 0788123456", "2026-11-21 [number]"),
            ("+2026-11-21", "[number]"),
        ];
        for (text, expected) in cases {
            assert_eq!(scrub(text), expected, "of `{text}`");
        }
    }

    #[test]
    fn keeps_times_doses_prices_and_ids() {
        let cases = [
            "at 10:30 or 14:05:59.123456 today",
            "2026-11-21T01:46:17.123456Z",
            "2026-11-21T01:46:17+02:00 began",
            "born 21/11/1990, seen 05.12.2025",
            "take 500 mg twice, then 250 mg for 7 days",
            "120/80 mmHg, 37.5 degrees, 72 beats",
            "it costs 1,250,000 francs or $1,299.00",
            "1500000 RWF",
            "€1234567",
            "99.5 % of 12345.67",
            "took 1.234567891s and 0.000123456ms",
            "between 2025 and 2026",
            "0195d3a0-7c1e-7abc-8def-0123456789ab",
            "12345678-1234-1234-1234-123456789012",
            "4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "CA0123456789abcdef0123456789abcdef",
            "from 192.168.100.200:50600 to 10.0.0.1",
            "press 1 for opening hours, 2 for a nurse",
            "meet me at the clinic dot",
            "",
        ];
        for text in cases {
            assert_eq!(scrub(text), text);
        }
    }

    #[test]
    fn borrows_what_it_does_not_change() {
        assert!(matches!(scrub("nothing to see at all"), Cow::Borrowed(_)));
        assert!(matches!(scrub("2026-11-21T01:46:17.123456Z"), Cow::Borrowed(_)));
    }

    /// A phone number as people write it: 7 to 15 digits in groups, with any separators.
    fn phone() -> impl Strategy<Value = (String, String)> {
        let group = "[0-9]{1,4}";
        let separator = prop::sample::select(vec!["", " ", "-", ".", " - ", ") ", "/", "\u{a0}"]);
        let plus = prop::sample::select(vec!["", "+", "(", "00"]);
        (plus, prop::collection::vec((group, separator), 3..8)).prop_filter_map("7 to 15 digits", |(plus, groups)| {
            let digits: String = groups.iter().map(|(group, _)| group.as_str()).collect();
            let last = groups.len() - 1;
            let text = groups.iter().enumerate().map(|(i, (g, s))| format!("{g}{}", if i == last { "" } else { s }));
            (7..=15).contains(&digits.len()).then(|| (format!("{plus}{}", text.collect::<String>()), digits))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn scrubbing_twice_changes_nothing_more(text in "\\PC{0,80}") {
            let once = scrub(&text).into_owned();
            prop_assert_eq!(scrub(&once), once.as_str());
        }

        #[test]
        fn digits_and_separators_scrub_to_a_fixed_point(text in "[0-9a-f@ .,:/+()-]{0,60}") {
            let once = scrub(&text).into_owned();
            prop_assert_eq!(scrub(&once), once.as_str());
        }

        #[test]
        fn plain_international_numbers_never_survive(
            before in "[a-z ,.]{0,20}", number in "[1-9][0-9]{9,14}", after in "[ ,.?!]{1,3}[a-z ]{0,20}",
        ) {
            let text = format!("{before} +{number}{after}");
            let scrubbed = scrub(&text).into_owned();
            prop_assert!(!scrubbed.chars().any(|c| c.is_ascii_digit()), "{} -> {}", text, scrubbed);
        }

        /// Written any other way a number may look like a date, a time, an address or an amount; nothing else survives.
        #[test]
        fn grouped_numbers_survive_only_as_something_else((number, digits) in phone()) {
            let scrubbed = scrub(&number).into_owned();
            let left: String = scrubbed.chars().filter(char::is_ascii_digit).collect();
            let excused = PATTERNS.token.is_match(&number) || PATTERNS.amount.is_match(&number);
            prop_assert!(left.len() < DIGITS || excused, "{} ({}) -> {}", number, digits, scrubbed);
        }

        #[test]
        fn addresses_never_survive(local in "[a-z][a-z0-9._+-]{0,12}", domain in "[a-z]{2,8}(\\.[a-z]{2,5}){1,2}") {
            let text = format!("please write to {local}@{domain}, thanks");
            prop_assert_eq!(scrub(&text), "please write to [email], thanks");
        }

        #[test]
        fn ids_survive(bytes in any::<u128>(), trace in "[0-9a-f]{32}") {
            let id = uuid::Uuid::from_u128(bytes).to_string();
            prop_assert_eq!(scrub(&id), id.as_str());
            // All but a few per million trace ids hold two letters early enough to be told from a number.
            if trace.matches(|c: char| c.is_ascii_lowercase()).count() >= 4 && trace[..20].matches(|c: char| c.is_ascii_lowercase()).count() >= 2 {
                prop_assert_eq!(scrub(&trace), trace.as_str());
            }
        }
    }
}
