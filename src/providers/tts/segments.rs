//! Cuts a text into the pieces that a program makes one after the other. flite makes a piece whole before its first
//! sample is written, so the first piece is kept short: the wait for first audio grows with it.

use std::time::Duration;

/// A piece of text and the pause that follows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    /// Where it begins in the text, bytes.
    pub at: usize,
    pub text: &'a str,
    pub pause: Duration,
}

/// Pieces at ends of sentences; a long first sentence is cut at a clause, and anything longer than `most` bytes at a
/// space.
pub(super) fn segments(text: &str, most: usize) -> Vec<Segment<'_>> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let sentence = sentence_end(rest);
        let longest = if found.is_empty() { FIRST.min(most) } else { most };
        let (end, pause) = match clause_end(rest, sentence.unwrap_or(rest.len()), longest) {
            Some(end) => (end, CLAUSE_PAUSE),
            None if sentence.unwrap_or(rest.len()) > most => (space_before(rest, most), Duration::ZERO),
            None => (sentence.unwrap_or(rest.len()), SENTENCE_PAUSE),
        };
        let (head, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let at = text.trim_end().len() - rest.len();
        rest = tail.trim_start();
        let pause = if rest.is_empty() { Duration::ZERO } else { pause };
        found.push(Segment { at, text: head.trim_end(), pause });
    }
    found
}

/// Offset after the first `.`, `?` or `!` that ends a sentence and is followed by more text.
fn sentence_end(text: &str) -> Option<usize> {
    text.char_indices().zip(text.chars().skip(1)).find_map(|((at, mark), next)| {
        let ends = matches!(mark, '?' | '!' | '。' | '।') || (mark == '.' && !is_abbreviation(text.get(..at)?));
        (ends && next.is_whitespace()).then_some(at + mark.len_utf8())
    })
}

/// "Dr.", "St.", "p.m.": a short last word does not end a sentence.
fn is_abbreviation(before: &str) -> bool {
    let word = before.rsplit(char::is_whitespace).next().unwrap_or(before);
    word.contains('.') || (word.chars().count() <= 3 && word.chars().next().is_some_and(char::is_uppercase))
}

/// Offset after the last clause mark within `longest` bytes, if the sentence is longer than that.
fn clause_end(text: &str, sentence: usize, longest: usize) -> Option<usize> {
    if sentence <= longest {
        return None;
    }
    let marks = text.char_indices().zip(text.chars().skip(1));
    marks
        .take_while(|((at, _), _)| *at < longest)
        .filter(|((at, mark), next)| {
            *at >= SHORTEST && matches!(mark, ',' | ';' | ':' | '،' | '、') && next.is_whitespace()
        })
        .last()
        .map(|((at, mark), _)| at + mark.len_utf8())
}

fn space_before(text: &str, most: usize) -> usize {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let head = text.get(..end).unwrap_or(text);
    head.rfind(' ').filter(|&at| at > 0).unwrap_or(if end == 0 { text.len() } else { end })
}

/// A first sentence longer than this (bytes) is cut at a clause.
const FIRST: usize = 45;
/// No piece is cut shorter than this (bytes) at a clause.
const SHORTEST: usize = 12;
const CLAUSE_PAUSE: Duration = Duration::from_millis(90);
const SENTENCE_PAUSE: Duration = Duration::from_millis(220);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(text: &str, most: usize) -> Vec<&str> {
        segments(text, most).into_iter().map(|s| s.text).collect()
    }

    #[test]
    fn sentences_and_a_long_first_clause_are_cut() {
        assert_eq!(texts("Welcome. How can I help?", 200), ["Welcome.", "How can I help?"]);
        assert_eq!(
            texts("Please tell me your full name, your date of birth, and why you are calling today.", 200),
            ["Please tell me your full name,", "your date of birth, and why you are calling today."]
        );
        assert_eq!(texts("See Dr. Smith at 3 p.m. today.", 200), ["See Dr. Smith at 3 p.m. today."]);
        assert_eq!(texts("  ", 200), Vec::<&str>::new());
    }

    #[test]
    fn only_the_last_piece_has_no_pause() {
        let found = segments("One is here. Two is here.", 200);
        assert_eq!(found[0].pause, SENTENCE_PAUSE);
        assert_eq!(found[1].pause, Duration::ZERO);
        assert_eq!((found[0].at, found[1].at), (0, 13));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_pieces_are_bounded(text in "[a-zéक ,.?!;]{0,300}", most in 20usize..200) {
            let found = texts(&text, most);
            let squeeze = |s: &str| s.split_whitespace().collect::<String>();
            prop_assert_eq!(squeeze(&found.concat()), squeeze(&text));
            prop_assert!(found.iter().all(|s| s.len() <= most + 4 && !s.is_empty()));
            for piece in segments(&text, most) {
                prop_assert!(text[piece.at..].starts_with(piece.text));
            }
        }
    }
}
