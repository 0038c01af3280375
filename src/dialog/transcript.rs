//! What the caller really heard, in words: sentences are mapped to what was played of them.
//!
//! A word counts as heard when at least half of it was played. Where the voice tells when its words are, they are
//! there; between two words that are known, and where none is, time is shared out by letters, with more for figures and
//! for the pauses at marks. Of a private sentence only that it was said is told.

use std::ops::Range;

use crate::providers::timing::{Word, WordTime, words};
use crate::safety::said::WITHHELD;

/// A sentence that was meant to be played, and how much of it was.
#[derive(Clone, Copy, Debug)]
pub struct Spoken<'a> {
    pub text: &'a str,
    /// Its words may be spoken and nothing else.
    pub private: bool,
    /// When its words are heard, in order, as far as that is known.
    pub times: &'a [WordTime],
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

/// The word that was being said when a sentence was cut off, in samples of the sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutWord {
    /// Where it began, as far as can be told: to go on from there loses nothing, and says no more than that word again.
    pub began: u64,
    /// Before this the word before it would be heard again: its middle.
    pub earliest: u64,
}

/// `None` before the first word.
pub fn cut_word(sentence: &Spoken<'_>) -> Option<CutWord> {
    let mut spans = spans(sentence, &words(sentence.text));
    spans.retain(|span| span.start <= sentence.played_samples);
    let began = spans.pop()?.start;
    let earliest = spans.last().map_or(0, |before| before.start.midpoint(before.end));
    Some(CutWord { began, earliest: earliest.min(began) })
}

/// How many words of the sentence were heard.
fn heard_words(sentence: &Spoken<'_>, words: &[Word]) -> usize {
    match sentence.total_samples {
        Some(0) => 0,
        Some(total) if sentence.played_samples >= total => words.len(),
        _ => {
            let half = |span: &Range<u64>| sentence.played_samples.saturating_mul(2) >= span.start + span.end;
            spans(sentence, words).iter().take_while(|span| span.end > 0 && half(span)).count()
        }
    }
}

/// When each word is heard, in samples of the sentence, without the pause behind it.
fn spans(sentence: &Spoken<'_>, words: &[Word]) -> Vec<Range<u64>> {
    let mut spans = Vec::with_capacity(words.len());
    let mut untold = 0;
    let mut start = 0;
    for (index, word) in words.iter().enumerate() {
        let Some(known) = told(sentence.times, word) else { continue };
        share(words.get(untold..index).unwrap_or_default(), start..known.start.max(start), &mut spans);
        (start, untold) = (known.end.max(start), index + 1);
        spans.push(known);
    }
    let rest = words.get(untold..).unwrap_or_default();
    let usual = rest.iter().map(|word| word.weight).sum::<u64>() * SAMPLES_PER_CHARACTER;
    // A voice that is not done has more to say than was played.
    let end = sentence.total_samples.unwrap_or_else(|| (start + usual).max(sentence.played_samples.saturating_add(1)));
    share(rest, start..end.max(start), &mut spans);
    spans
}

/// From the first to the last that the voice told of a word.
fn told(times: &[WordTime], word: &Word) -> Option<Range<u64>> {
    let within = |time: &&WordTime| time.text.start < word.text.end && word.text.start < time.text.end;
    let mut found = times.iter().filter(within).map(|time| time.samples.clone());
    let first = found.next()?;
    Some(found.fold(first, |all, more| all.start.min(more.start)..all.end.max(more.end)))
}

/// Shares a stretch of time out by weight; the pause behind a word is not the word's.
fn share(words: &[Word], time: Range<u64>, spans: &mut Vec<Range<u64>>) {
    let whole: u64 = words.iter().map(|word| word.weight).sum();
    let at = |weight: u64| {
        let passed = u128::from(time.end - time.start) * u128::from(weight) / u128::from(whole.max(1));
        time.start + u64::try_from(passed).unwrap_or(u64::MAX)
    };
    let mut begun = 0;
    for word in words {
        spans.push(at(begun)..at(begun + word.letters.min(word.weight)));
        begun += word.weight;
    }
}

fn span<'a>(text: &'a str, words: &[Word]) -> Option<&'a str> {
    let (first, last) = (words.first()?, words.last()?);
    text.get(first.text.start..last.text.end)
}

/// Of ordinary speech at 8 kHz: about 14 characters a second.
const SAMPLES_PER_CHARACTER: u64 = 570;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(text: &str, total: Option<u64>, played: u64) -> (String, String) {
        let spoken = Spoken { text, private: false, times: &[], total_samples: total, played_samples: played };
        let Heard { heard, unheard, .. } = heard(&[spoken]);
        (heard, unheard)
    }

    const fn spoken(text: &str, total_samples: Option<u64>, played_samples: u64) -> Spoken<'_> {
        Spoken { text, private: false, times: &[], total_samples, played_samples }
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

    fn timed(text: Range<usize>, samples: Range<u64>) -> WordTime {
        WordTime { text, samples }
    }

    #[test]
    fn where_the_voice_tells_its_words_they_are_there() {
        // Two of three words, the second of them in two pieces; the third is shared out behind them.
        let times = [timed(0..2, 1000..2000), timed(3..5, 5000..5500), timed(5..8, 5500..6000)];
        let cut = |played| {
            let told = Spoken { times: &times, ..spoken("So, thirty three", Some(8000), played) };
            (heard(&[told]).heard, cut_word(&told).map(|word| (word.began, word.earliest)))
        };
        assert_eq!(cut(999), (String::new(), None));
        assert_eq!(cut(1499), (String::new(), Some((1000, 0))));
        assert_eq!(cut(1500), ("So,".into(), Some((1000, 0))));
        assert_eq!(cut(5499), ("So,".into(), Some((5000, 1500))));
        assert_eq!(cut(5500), ("So, thirty".into(), Some((5000, 1500))));
        assert_eq!(cut(6999).0, "So, thirty");
        assert_eq!(cut(7000).0, "So, thirty three");
    }

    #[test]
    fn what_was_told_so_far_holds_while_the_rest_is_being_made() {
        let times = [timed(0..3, 0..4000)];
        let told = Spoken { times: &times, ..spoken("One two three", None, 3000) };
        assert_eq!(heard(&[told]).heard, "One");
        assert_eq!(heard(&[Spoken { played_samples: 5000, ..told }]).heard, "One two");
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
