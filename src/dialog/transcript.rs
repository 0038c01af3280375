//! What the caller really heard, in words: sentences are mapped to what was played of them.
//!
//! Within a sentence, time is shared out by characters, with more for figures and for the pauses at marks. A word
//! counts as heard when at least half of it was played. Voices that report word times would do better; none is
//! needed here. Of a private sentence only that it was said is told.

use crate::safety::said::WITHHELD;

/// A sentence that was meant to be played, and how much of it was.
#[derive(Clone, Copy, Debug)]
pub struct Spoken<'a> {
    pub text: &'a str,
    /// Its words may be spoken and nothing else.
    pub private: bool,
    /// Its whole length in samples at 8 kHz; `None` while the voice is still making it.
    pub total_samples: Option<u64>,
    /// Samples that reached the caller.
    pub played_samples: u64,
}

/// What was heard and what was not, each with single spaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub heard: String,
    pub unheard: String,
    /// What was not heard, private words included: to be spoken and nothing else.
    pub rest: String,
}

/// Parts the sentences where the caller stopped to hear them.
pub fn heard(sentences: &[Spoken<'_>]) -> Heard {
    let (mut heard, mut unheard, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for sentence in sentences {
        let words = words(sentence.text);
        let kept = heard_words(sentence, &words);
        let (before, after) = words.split_at(kept.min(words.len()));
        let may_be_kept = |span| if sentence.private { WITHHELD } else { span };
        heard.extend(span(sentence.text, before).map(may_be_kept));
        unheard.extend(span(sentence.text, after).map(may_be_kept));
        rest.extend(span(sentence.text, after));
    }
    Heard { heard: heard.join(" "), unheard: unheard.join(" "), rest: rest.join(" ") }
}

/// The sample at which the word began that was being said when the sentence was cut off, as far as can be told.
pub fn word_began(sentence: &Spoken<'_>) -> Option<u64> {
    let words = words(sentence.text);
    let weight: u64 = words.iter().map(|word| word.weight).sum();
    let total = sentence.total_samples.unwrap_or(weight * SAMPLES_PER_CHARACTER);
    let mut start = 0;
    let mut began = None;
    for word in &words {
        let at = u64::try_from(u128::from(start) * u128::from(total) / u128::from(weight.max(1))).unwrap_or(u64::MAX);
        if at > sentence.played_samples {
            break;
        }
        began = Some(at);
        start += word.weight;
    }
    began
}

/// How many words of the sentence were heard.
fn heard_words(sentence: &Spoken<'_>, words: &[Word]) -> usize {
    let weight: u64 = words.iter().map(|word| word.weight).sum();
    let total = match sentence.total_samples {
        Some(total) if sentence.played_samples >= total => return if total == 0 { 0 } else { words.len() },
        Some(total) => total,
        // A voice that is not done has more to say than was played.
        None => (weight * SAMPLES_PER_CHARACTER).max(sentence.played_samples.saturating_add(1)),
    };
    let played = u128::from(sentence.played_samples) * u128::from(weight);
    let mut start = 0_u64;
    let mut kept = 0;
    for word in words {
        // Half of the word's own letters, not of the pause behind it: twice the middle against twice what was played.
        let middle = u128::from(2 * start + word.letters) * u128::from(total);
        if word.letters == 0 || played * 2 < middle {
            break;
        }
        kept += 1;
        start += word.weight;
    }
    kept
}

struct Word {
    start: usize,
    end: usize,
    /// Without marks.
    letters: u64,
    /// With marks and the pause behind them.
    weight: u64,
}

/// White space parts words; scripts that write none count each character.
fn words(text: &str) -> Vec<Word> {
    let mut found: Vec<Word> = Vec::new();
    let (mut spaced, mut after_unspaced) = (true, false);
    for (at, c) in text.char_indices() {
        if c.is_whitespace() {
            spaced = true;
            continue;
        }
        let end = at + c.len_utf8();
        let (letters, weight) = weight_of(c);
        let unspaced = is_unspaced(c);
        let joins = !spaced && !unspaced && (!after_unspaced || letters == 0);
        match found.last_mut() {
            Some(word) if joins => {
                word.end = end;
                word.letters += letters;
                word.weight += weight;
            }
            _ => found.push(Word { start: at, end, letters: letters.max(1), weight }),
        }
        (spaced, after_unspaced) = (false, unspaced);
    }
    found
}

fn weight_of(c: char) -> (u64, u64) {
    match c {
        c if c.is_ascii_digit() => (4, 4),
        c if is_unspaced(c) => (3, 3),
        c if c.is_alphanumeric() => (1, 1),
        ',' | ';' | ':' | '，' | '、' => (0, 3),
        '.' | '!' | '?' | '…' | '。' | '！' | '？' => (0, 5),
        _ => (0, 1),
    }
}

fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{0e00}'..='\u{0e7f}')
}

fn span<'a>(text: &'a str, words: &[Word]) -> Option<&'a str> {
    let (first, last) = (words.first()?, words.last()?);
    text.get(first.start..last.end)
}

/// Of ordinary speech at 8 kHz: about 14 characters a second.
const SAMPLES_PER_CHARACTER: u64 = 570;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(text: &str, total: Option<u64>, played: u64) -> (String, String) {
        let spoken = Spoken { text, private: false, total_samples: total, played_samples: played };
        let Heard { heard, unheard, .. } = heard(&[spoken]);
        (heard, unheard)
    }

    const fn spoken(text: &str, total_samples: Option<u64>, played_samples: u64) -> Spoken<'_> {
        Spoken { text, private: false, total_samples, played_samples }
    }

    #[test]
    fn of_private_words_only_that_they_were_said_is_told() {
        let number = Spoken { private: true, ..spoken("four seven one one.", Some(8000), 4000) };
        let told = heard(&[spoken("You said", Some(8000), 8000), number, spoken("Right?", None, 0)]);
        assert_eq!((told.heard.as_str(), told.unheard.as_str()), ("You said [withheld]", "[withheld] Right?"));
        assert_eq!(told.rest, "one one. Right?", "to be said again");
        let whole = heard(&[Spoken { private: true, ..spoken("four seven", Some(10), 10) }]);
        assert_eq!((whole.heard.as_str(), whole.unheard.as_str()), (WITHHELD, ""));
    }

    #[test]
    fn a_word_is_heard_when_half_of_it_was() {
        // Ten characters of a hundred samples: "aaaa" and "bbbbbb".
        assert_eq!(cut("aaaa bbbbbb", Some(1000), 199), (String::new(), "aaaa bbbbbb".into()));
        assert_eq!(cut("aaaa bbbbbb", Some(1000), 200), ("aaaa".into(), "bbbbbb".into()));
        assert_eq!(cut("aaaa bbbbbb", Some(1000), 699), ("aaaa".into(), "bbbbbb".into()));
        assert_eq!(cut("aaaa bbbbbb", Some(1000), 700), ("aaaa bbbbbb".into(), String::new()));
    }

    #[test]
    fn whole_sentences_are_heard_or_not() {
        let sentences = [
            spoken("We are open.", Some(8000), 8000),
            spoken("Come at nine, or later.", Some(16_000), 7000),
            spoken("Goodbye.", None, 0),
        ];
        let told = heard(&sentences);
        assert_eq!(told.heard, "We are open. Come at nine,");
        assert_eq!(told.unheard, "or later. Goodbye.");
    }

    #[test]
    fn an_unfinished_sentence_is_judged_by_usual_speech() {
        let (said, unsaid) = cut("This is a long sentence about nothing", None, 8000);
        assert_eq!(said, "This is a long");
        assert_eq!(unsaid, "sentence about nothing");
        assert_eq!(cut("Short", None, 0).0, "");
    }

    #[test]
    fn nothing_that_was_made_is_nothing_heard() {
        assert_eq!(cut("Hello", Some(0), 0), (String::new(), "Hello".into()));
        assert_eq!(cut("", Some(10), 10), (String::new(), String::new()));
    }

    #[test]
    fn characters_count_where_words_have_no_spaces() {
        assert_eq!(cut("您好请问", Some(4000), 2000), ("您好".into(), "请问".into()));
    }

    proptest! {
        #[test]
        fn no_word_is_lost_and_more_played_is_more_heard(
            text in "[a-z0-9 ,.]{0,80}", total in 0_u64..100_000, first in 0_u64..120_000, more in 0_u64..50_000,
        ) {
            let squeeze = |s: &str| s.replace(' ', "");
            let (said, unsaid) = cut(&text, Some(total), first);
            prop_assert_eq!(squeeze(&format!("{said}{unsaid}")), squeeze(&text));
            let (later, _) = cut(&text, Some(total), first + more);
            prop_assert!(later.len() >= said.len());
        }
    }
}
