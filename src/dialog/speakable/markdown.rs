//! What language models write for screens, made plain for ears: emphasis, headings, lists, tables, links, code, emoji.
//!
//! It works on one sentence or paragraph at a time, as they are cut for speaking; marks that reach across sentences are
//! taken out one by one where text becomes [`crate::safety::said::Cleared`].

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// The words without their marks.
pub fn plain(text: &str) -> String {
    let text = MARKS.iter().fold(text.to_owned(), |text, (pattern, with)| {
        if pattern.is_match(&text) { pattern.replace_all(&text, *with).into_owned() } else { text }
    });
    let text = TABLE.as_ref().map_or_else(|| text.clone(), |row| row.replace_all(&text, cells).into_owned());
    text.chars().filter(|c| !is_picture(*c)).collect()
}

/// A row of a table as a list of its cells.
fn cells(found: &Captures) -> String {
    let row = found.get(1).map_or("", |m| m.as_str());
    row.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(", ")
}

/// Emoji and dingbats, and what joins them: a voice would read their names.
const fn is_picture(c: char) -> bool {
    matches!(c,
        '\u{2190}'..='\u{21ff}' | '\u{2600}'..='\u{27bf}' | '\u{2b00}'..='\u{2bff}' | '\u{fe0e}' | '\u{fe0f}'
        | '\u{200d}' | '\u{1f000}'..='\u{1faff}' | '\u{e0020}'..='\u{e007f}')
}

static MARKS: LazyLock<Vec<(Regex, &'static str)>> =
    LazyLock::new(|| RULES.iter().filter_map(|(pattern, with)| Some((Regex::new(pattern).ok()?, *with))).collect());
static TABLE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(ROW).ok());

const ROW: &str = r"(?m)^[ \t]*\|(.+)\|[ \t]*$";
const RULES: [(&str, &str); 16] = [
    // A code block: nobody can listen to one. Its fence alone, when it was cut.
    (r"(?s)```.*?```", " "),
    (r"```\w*", " "),
    (r"!?\[([^\]\n]+)\]\([^)\s]+(?:\s+\x22[^\x22]*\x22)?\)", "$1"),
    // References: [1], [^2], 【3†source】.
    (r"\s?(?:\[\^?\d{1,3}\]|【[^】]*】)", ""),
    (r"<((?:https?://|mailto:)[^>\s]+)>", "$1"),
    (r"mailto:", ""),
    (r"(?m)^[ \t]{0,3}#{1,6}[ \t]+", ""),
    (r"(?m)^[ \t]*>[ \t]?", ""),
    (r"(?m)^[ \t]*(?:[-*_][ \t]*){3,}$", ""),
    (r"(?m)^[ \t]*\|?[ \t]*:?-{2,}:?[ \t]*(?:\|[ \t]*:?-*:?[ \t]*)*$", ""),
    (r"(?m)^[ \t]*[-*+•‣]\s+(?:\[[ xX]\]\s+)?", ""),
    (r"(\*\*|__|~~|`)([^\n]+?)(?:\*\*|__|~~|`)", "$2"),
    (r"(^|[\s(\x22])[*_]([^\s*_][^*_\n]*)[*_]", "$1$2"),
    // A name with underscores is several words.
    (r"(\p{L})_+(\p{L})", "$1 $2"),
    (r"&nbsp;|&#160;", " "),
    (r"&amp;", "&"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_rule_compiles() {
        assert_eq!(MARKS.len(), RULES.len());
        assert!(TABLE.is_some());
    }

    #[test]
    fn marks_for_the_eye_are_not_spoken() {
        let cases = [
            ("**Good** work, *well* done!", "Good work, well done!"),
            ("# Opening hours", "Opening hours"),
            ("- one\n- two", "one\ntwo"),
            ("* [x] done", "done"),
            ("See [our page](https://example.org/a \"Page\").", "See our page."),
            ("![map](https://example.org/m.png)", "map"),
            ("Write to <mailto:desk@example.org>.", "Write to desk@example.org."),
            ("It is so [1][2].", "It is so."),
            ("It is so【3†source】.", "It is so."),
            ("> quoted", "quoted"),
            ("Run `make` now", "Run make now"),
            ("```rust\nfn main() {}\n```", " "),
            ("| Day | Hours |\n|-----|-------|\n| Mon | 9 to 5 |", "Day, Hours\n\nMon, 9 to 5"),
            ("---", ""),
            ("Great 🎉👍🏽!", "Great !"),
            ("a_long_name stays readable", "a long name stays readable"),
            ("fish &amp; chips", "fish & chips"),
            ("5 * 3 is 15 and 2_000", "5 * 3 is 15 and 2_000"),
        ];
        for (text, expected) in cases {
            assert_eq!(plain(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn plain_text_stays_and_nothing_grows(text in "[A-Za-z ,.?!']{0,100}", marked in "\\PC{0,200}") {
            prop_assert_eq!(plain(&text), text);
            prop_assert!(plain(&marked).len() <= marked.len() + 1 + marked.matches('|').count());
        }
    }
}
