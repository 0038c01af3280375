//! When each word of an utterance is heard: as a voice reports it, or estimated from the audio itself. Pure.
//!
//! The estimate shares the voiced time out by letters, and knows the pauses: a mark in the text that meets silence in
//! the audio pins the words around it. What a voice reports is better and is never replaced.

use std::ops::Range;

use offhook_media::{FRAME, FRAME_MS};

/// When one word, or a part of the text that is spoken as one, is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordTime {
    /// Its bytes in the text that was asked for.
    pub text: Range<usize>,
    /// Samples at 8 kHz from the beginning of the utterance, without the pause behind it.
    pub samples: Range<u64>,
}

/// A word as a text is parted into them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Its bytes in the text, marks included.
    pub text: Range<usize>,
    /// How long it takes, in letters; marks take no time.
    pub letters: u64,
    /// The same with the pause that its marks stand for.
    pub weight: u64,
}

/// White space parts words; scripts that write none count each character.
pub fn words(text: &str) -> Vec<Word> {
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
                word.text.end = end;
                word.letters += letters;
                word.weight += weight;
            }
            _ => found.push(Word { text: at..end, letters: letters.max(1), weight }),
        }
        (spaced, after_unspaced) = (false, unspaced);
    }
    found
}

/// The words of `text` in `audio`, which is all of the utterance. Good to a word at most places; none for silence.
pub fn estimated(text: &str, audio: &[i16]) -> Vec<WordTime> {
    let words = words(text);
    let gaps = gaps(audio);
    let mut times = Vec::with_capacity(words.len());
    let mut rest = words.as_slice();
    let mut start = 0;
    for (last, gap) in pinned(&words, &gaps, audio.len() as u64) {
        let done = words.len() - rest.len();
        let (clause, after) = rest.split_at((last + 1).saturating_sub(done).min(rest.len()));
        share(clause, start..gap.start, &mut times);
        (rest, start) = (after, gap.end);
    }
    share(rest, start..(audio.len() as u64), &mut times);
    times
}

/// What an utterance that broke off holds of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Where the first word begins that is not whole, bytes.
    pub text: usize,
    /// Where the words before it end in the audio, samples.
    pub samples: u64,
}

/// What `audio` holds of `text` in whole words: by what the voice told of them, and behind that by its usual speed of `pace`
/// samples for each unit of a word's weight. Where nothing is told, the last word is never taken to be there.
pub fn broken_off(text: &str, told: &[WordTime], audio: &[i16], pace: u64) -> Said {
    let length = audio.len() as u64;
    let words = words(text);
    let mut at = 0;
    for (index, word) in words.iter().enumerate() {
        let of = |time: &&WordTime| time.text.start < word.text.end && word.text.start < time.text.end;
        let known = told.iter().filter(of).map(|time| time.samples.clone());
        let known = known.reduce(|all, more| all.start.min(more.start)..all.end.max(more.end));
        let is_told = known.is_some();
        let span = known.unwrap_or(at..at + word.letters * pace);
        if span.end > length || (!is_told && index + 1 == words.len()) {
            let begins = span.start.min(length);
            return Said { text: word.text.start, samples: if begins == 0 { 0 } else { quietest(audio, begins) } };
        }
        at = if is_told {
            span.end + (word.weight - word.letters.min(word.weight)) * pace
        } else {
            at + word.weight * pace
        };
    }
    Said { text: text.len(), samples: length }
}

/// Where it is most likely that one word ends and another begins, near a sample.
fn quietest(audio: &[i16], near: u64) -> u64 {
    let (from, to) = (near.saturating_sub(AROUND) as usize, (near + AROUND) as usize);
    let blocks = (from..to.min(audio.len())).step_by(BLOCK);
    let level = |at: usize| {
        let block = audio.get(at..audio.len().min(at + BLOCK)).unwrap_or_default();
        block.iter().map(|&s| u64::from(s.unsigned_abs()).pow(2)).sum::<u64>() / block.len().max(1) as u64
    };
    let distance = |at: usize| (at + BLOCK / 2).abs_diff(near as usize);
    blocks.min_by_key(|at| (level(*at), distance(*at))).map_or(near, |at| (at + BLOCK / 2).min(audio.len()) as u64)
}

/// The usual speed of speech, in samples for each unit of a word's weight: about 14 characters a second.
pub const USUAL_PACE: u64 = 570;

/// Shares a stretch of time out among words by their letters.
fn share(words: &[Word], time: Range<u64>, times: &mut Vec<WordTime>) {
    let letters: u64 = words.iter().map(|word| word.letters).sum();
    let length = time.end.saturating_sub(time.start);
    let at = |letter: u64| time.start + length * letter / letters.max(1);
    let mut begun = 0;
    for word in words {
        let end = begun + word.letters;
        times.push(WordTime { text: word.text.clone(), samples: at(begun)..at(end) });
        begun = end;
    }
}

/// The words behind which there is a pause, each with its pause: the cheapest way to match marks to silences in order.
fn pinned(words: &[Word], gaps: &[Range<u64>], length: u64) -> Vec<(usize, Range<u64>)> {
    let silent: u64 = gaps.iter().map(|gap| gap.end - gap.start).sum();
    let letters: u64 = words.iter().map(|word| word.letters).sum();
    let voiced = length.saturating_sub(silent);
    let mut marks = Vec::new();
    let mut spoken = 0;
    for (index, word) in words.iter().enumerate().take(words.len().saturating_sub(1)) {
        spoken += word.letters;
        if word.weight > word.letters && marks.len() < MOST_MATCHED {
            // Where the mark would be if nothing were silent.
            marks.push((index, voiced * spoken / letters.max(1)));
        }
    }
    let mut before = 0;
    let gaps: Vec<(u64, Range<u64>)> = gaps
        .iter()
        .take(MOST_MATCHED)
        .map(|gap| {
            let at = gap.start - before;
            before += gap.end - gap.start;
            (at, gap.clone())
        })
        .collect();
    let costs = match_costs(&marks, &gaps);
    let (mut mark, mut gap, mut found) = (0, 0, Vec::new());
    while let (Some((word, _)), Some((_, silence))) = (marks.get(mark), gaps.get(gap)) {
        match costs[mark][gap].1 {
            Step::SkipMark => mark += 1,
            Step::SkipGap => gap += 1,
            Step::Match => {
                found.push((*word, silence.clone()));
                (mark, gap) = (mark + 1, gap + 1);
            }
        }
    }
    found
}

/// For each mark and gap, the cost of matching everything from there on, and the first step of it.
fn match_costs(marks: &[(usize, u64)], gaps: &[(u64, Range<u64>)]) -> Vec<Vec<(i64, Step)>> {
    let mut costs = vec![vec![(0, Step::SkipGap); gaps.len() + 1]; marks.len() + 1];
    for mark in (0..marks.len()).rev() {
        costs[mark][gaps.len()] = (costs[mark + 1][gaps.len()].0 + UNMATCHED_MARK, Step::SkipMark);
        for gap in (0..gaps.len()).rev() {
            let (at, silence) = &gaps[gap];
            let long = i64::try_from(silence.end - silence.start).unwrap_or(i64::MAX / 4);
            let off = i64::try_from(at.abs_diff(marks[mark].1)).unwrap_or(i64::MAX / 4);
            let ways = [
                (costs[mark + 1][gap].0 + UNMATCHED_MARK, Step::SkipMark),
                // A short silence may be the closure of a "t"; a long one stands for something.
                (costs[mark][gap + 1].0 + (long - CLOSURE).max(0), Step::SkipGap),
                (costs[mark + 1][gap + 1].0 + off - long, Step::Match),
            ];
            costs[mark][gap] = ways.into_iter().min_by_key(|(cost, _)| *cost).unwrap_or((0, Step::SkipGap));
        }
    }
    costs
}

#[derive(Clone, Copy)]
enum Step {
    SkipMark,
    SkipGap,
    Match,
}

/// The silences inside the audio.
fn gaps(audio: &[i16]) -> Vec<Range<u64>> {
    let (blocks, _) = audio.as_chunks::<BLOCK>();
    let levels: Vec<u64> = blocks
        .iter()
        .map(|block| block.iter().map(|&s| u64::from(s.unsigned_abs()).pow(2)).sum::<u64>() / BLOCK as u64)
        .collect();
    let mut sorted = levels.clone();
    sorted.sort_unstable();
    let loud = sorted.get(sorted.len() * 19 / 20).copied().unwrap_or(0);
    let quiet = (loud / QUIET).max(FLOOR);
    let mut found = Vec::new();
    let mut begun = None;
    for (index, &level) in levels.iter().enumerate() {
        match (level < quiet, begun) {
            (true, None) => begun = Some(index),
            (false, Some(first)) => {
                begun = None;
                // Silence before the first sound parts nothing.
                if first > 0 && index - first >= SHORTEST_GAP {
                    found.push((first * BLOCK) as u64..(index * BLOCK) as u64);
                }
            }
            _ => {}
        }
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

/// Samples.
const PER_MS: usize = FRAME / FRAME_MS as usize;
/// 10 ms.
const BLOCK: usize = 10 * PER_MS;
/// How far the end of a word may be from where its letters put it: 100 ms.
const AROUND: u64 = 100 * PER_MS as u64;
/// Blocks; shorter ones are the closures of plosives.
const SHORTEST_GAP: usize = 6;
/// 35 dB below the loud parts, as a ratio of squares.
const QUIET: u64 = 3162;
/// Square of an amplitude that is silence in any case.
const FLOOR: u64 = 100;
/// What a mark without a silence costs, in samples of displacement: 300 ms.
const UNMATCHED_MARK: i64 = 300 * PER_MS as i64;
/// The longest silence that stands for nothing, samples.
const CLOSURE: i64 = 100 * PER_MS as i64;
/// Marks and silences that are matched; what lies beyond is shared out.
const MOST_MATCHED: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sound(parts: &[(bool, usize)]) -> Vec<i16> {
        parts.iter().flat_map(|&(voiced, ms)| vec![if voiced { 4000 } else { 0 }; ms * PER_MS]).collect()
    }

    fn starts(times: &[WordTime]) -> Vec<u64> {
        times.iter().map(|time| time.samples.start / PER_MS as u64).collect()
    }

    #[test]
    fn without_silence_letters_share_the_time() {
        let times = estimated("aaaa bbbbbb", &sound(&[(true, 1000)]));
        assert_eq!(times[0], WordTime { text: 0..4, samples: 0..3200 });
        assert_eq!(times[1], WordTime { text: 5..11, samples: 3200..8000 });
    }

    #[test]
    fn a_mark_is_where_the_silence_is() {
        let times = estimated("aaaa, bbbb", &sound(&[(true, 600), (false, 200), (true, 400)]));
        assert_eq!(starts(&times), [0, 800]);
        assert_eq!(times[0].samples.end, 600 * 8, "the pause belongs to no word");
    }

    #[test]
    fn a_mark_that_is_not_paused_at_takes_no_silence_from_another() {
        let spoken = sound(&[(true, 900), (false, 250), (true, 500)]);
        let times = estimated("aaaa, bbbb cccc, dddd", &spoken);
        assert_eq!(starts(&times)[3], 1150);
    }

    #[test]
    fn closures_and_silence_at_the_ends_are_no_pauses() {
        let spoken = sound(&[(false, 100), (true, 400), (false, 40), (true, 460)]);
        assert_eq!(gaps(&spoken), Vec::<Range<u64>>::new());
    }

    #[test]
    fn what_broke_off_goes_on_with_the_word_that_is_not_whole() {
        // By its usual speed: "aaaa " takes 5, "bbbb" as much.
        let audio = sound(&[(true, 300), (false, 20), (true, 180)]);
        let broken = |told: &[WordTime], length: usize| broken_off("aaaa bbbb cccc", told, &audio[..length], 570);
        assert_eq!(broken(&[], 2000), Said { text: 0, samples: 0 });
        let Said { text, samples } = broken(&[], 4000);
        assert_eq!(text, 5);
        assert!((2280..2720).contains(&samples), "{samples}, where it is quiet: 2400..2560");
        // As the voice tells it, however improbable.
        let told =
            [0..4, 5..9, 10..14].map(|text| WordTime { samples: text.start as u64 * 100..text.end as u64 * 100, text });
        assert_eq!(broken(&told[..2], 950).text, 10);
        assert_eq!(broken(&told, 899).text, 5);
        assert_eq!(broken(&told, 1400), Said { text: 14, samples: 1400 });
        assert_eq!(broken_off("", &[], &[], 570), Said { text: 0, samples: 0 });
    }

    proptest! {
        #[test]
        fn what_broke_off_lies_in_the_audio_and_more_audio_is_more_of_it(
            text in "[a-z0-9 ,.您]{0,60}", parts in prop::collection::vec((any::<bool>(), 1_usize..400), 1..8), cut in 0.0..1.0_f64,
        ) {
            let audio = sound(&parts);
            let part = &audio[..(audio.len() as f64 * cut) as usize];
            let (less, more) = (broken_off(&text, &[], part, 570), broken_off(&text, &[], &audio, 570));
            prop_assert!(less.samples <= part.len() as u64 && more.samples <= audio.len() as u64);
            prop_assert!(less.text <= more.text && text.is_char_boundary(less.text));
        }

        #[test]
        fn words_follow_each_other_and_lie_in_the_audio(
            text in "[a-z0-9 ,.您]{0,60}", parts in prop::collection::vec((any::<bool>(), 0_usize..400), 0..8),
        ) {
            let audio = sound(&parts);
            let times = estimated(&text, &audio);
            prop_assert_eq!(times.len(), words(&text).len());
            let mut before = 0;
            for time in &times {
                prop_assert!(before <= time.samples.start && time.samples.start <= time.samples.end);
                before = time.samples.end;
            }
            prop_assert!(before <= audio.len() as u64);
        }
    }
}
