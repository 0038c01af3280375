//! From the phones that flite made, with their times, to the words they belong to. Pure.
//!
//! flite tells what it said phone by phone and not of which word. Letters are matched to phones in order at the least
//! cost, silences only between words, and whatever stands for figures is taken as it comes.

use std::ops::Range;

/// A phone and when it ends, in samples at 8 kHz from the beginning of what the program wrote.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Phone {
    pub name: String,
    pub end: u64,
}

/// Reads `name:end-in-seconds` pairs. Each utterance counts from zero and follows the one before. None if anything else
/// is found: times that are half understood are worse than none.
pub(super) fn parse(told: &str) -> Option<Vec<Phone>> {
    let mut phones: Vec<Phone> = Vec::new();
    for line in told.lines() {
        let begun = phones.last().map_or(0, |phone| phone.end);
        for pair in line.split_whitespace() {
            let (name, end) = pair.split_once(':')?;
            let end: f64 = end.parse().ok().filter(|end| (0.0..MOST_SECONDS).contains(end))?;
            let end = begun + (end * RATE).round() as u64;
            if phones.len() == MOST_PHONES || name.len() > 4 {
                return None;
            }
            phones.push(Phone { name: name.to_owned(), end });
        }
    }
    Some(phones)
}

/// When each of `words` is heard; none of a word that no phone belongs to.
pub(super) fn aligned(words: &[&str], phones: &[Phone]) -> Vec<Option<Range<u64>>> {
    let letters = letters(words);
    if letters.len() * phones.len() > MOST_CELLS {
        return vec![None; words.len()];
    }
    let steps = least_cost(&letters, phones);
    let mut times: Vec<Option<Range<u64>>> = vec![None; words.len()];
    let (mut letter, mut phone) = (0, 0);
    while let Some(step) = steps.get(letter * (phones.len() + 1) + phone) {
        let word = letters.get(letter).or(letters.last()).map(|letter| letter.word);
        match step {
            Step::End => break,
            Step::Silent => letter += 1,
            Step::Pause => phone += 1,
            Step::Alone | Step::Together | Step::More => {
                // A sound before the next letter belongs to the word that is being said.
                let word =
                    if *step == Step::Alone { letters.get(letter.saturating_sub(1)).map(|l| l.word) } else { word };
                let start = phone.checked_sub(1).and_then(|before| phones.get(before)).map_or(0, |before| before.end);
                if let (Some(time), Some(said)) = (word.and_then(|word| times.get_mut(word)), phones.get(phone)) {
                    *time = Some(time.as_ref().map_or(start, |time| time.start)..said.end);
                }
                phone += 1;
                letter += usize::from(*step == Step::Together);
            }
        }
    }
    times
}

/// A letter of a word, lower-cased.
struct Letter {
    word: usize,
    is: char,
    /// The last of its word, so that a pause may follow it.
    last: bool,
}

fn letters(words: &[&str]) -> Vec<Letter> {
    let mut letters: Vec<Letter> = Vec::new();
    for (word, text) in words.iter().enumerate() {
        let spoken = text.chars().filter(|c| c.is_alphanumeric() || SPOKEN_SIGNS.contains(*c));
        letters.extend(spoken.flat_map(char::to_lowercase).map(|is| Letter { word, is, last: false }));
        if let Some(last) = letters.last_mut() {
            last.last = true;
        }
    }
    letters
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Everything is matched.
    End,
    /// The letter is not heard.
    Silent,
    /// The phone is a silence between two words.
    Pause,
    /// The phone stands for no letter.
    Alone,
    /// The phone stands for the letter.
    Together,
    /// The phone is one of several that stand for the letter.
    More,
}

/// For each letter and phone, the first step of the cheapest way to match everything from there on.
fn least_cost(letters: &[Letter], phones: &[Phone]) -> Vec<Step> {
    let width = phones.len() + 1;
    let mut steps = vec![Step::End; (letters.len() + 1) * width];
    let mut below = vec![0_u32; width];
    for letter in (0..=letters.len()).rev() {
        let mut costs = vec![u32::MAX / 2; width];
        for phone in (0..width).rev() {
            let between = letter == 0 || letter == letters.len() || letters.get(letter - 1).is_some_and(|l| l.last);
            let mut best = if letter == letters.len() && phone == phones.len() {
                (0, Step::End)
            } else {
                (u32::MAX / 2, Step::End)
            };
            let mut offer = |cost: u32, step| {
                if cost < best.0 {
                    best = (cost, step);
                }
            };
            if let Some(said) = phones.get(phone) {
                let rest = costs.get(phone + 1).copied().unwrap_or(0);
                if said.name == PAUSE {
                    offer(rest + if between { 0 } else { MISFIT * 3 }, Step::Pause);
                } else {
                    offer(rest + ALONE, Step::Alone);
                    if let Some(is) = letters.get(letter) {
                        let after = below.get(phone + 1).copied().unwrap_or(0);
                        offer(after + fit(is.is, &said.name), Step::Together);
                        if begins(is.is, &said.name) {
                            offer(rest + 1, Step::More);
                        }
                    }
                }
            }
            if let Some(is) = letters.get(letter) {
                offer(below.get(phone).copied().unwrap_or(0) + silent(letters, letter, is.is), Step::Silent);
            }
            if let (Some(cost), Some(step)) = (costs.get_mut(phone), steps.get_mut(letter * width + phone)) {
                (*cost, *step) = best;
            }
        }
        below = costs;
    }
    steps
}

/// What it costs that this letter is not heard.
fn silent(letters: &[Letter], at: usize, is: char) -> u32 {
    let before = at.checked_sub(1).and_then(|before| letters.get(before)).filter(|before| !before.last);
    let doubled = before.is_some_and(|before| before.is == is);
    match is {
        _ if doubled => 0,
        'e' | 'h' | 'g' | 'w' => 2,
        'a' | 'i' | 'o' | 'u' | 'y' | 'k' | 'b' | 'p' | 'l' | 't' | 'c' => 3,
        _ if is_sign(is) => 3,
        _ => MISFIT,
    }
}

/// What it costs that this phone stands for this letter: nothing where that is usual.
fn fit(letter: char, phone: &str) -> u32 {
    let vowel = matches!(phone.chars().next(), Some('a' | 'e' | 'i' | 'o' | 'u'));
    let usual: &[&str] = match letter {
        'a' | 'e' | 'i' | 'o' | 'u' => {
            return if vowel {
                0
            } else if phone == "y" || phone == "w" {
                2
            } else {
                MISFIT
            };
        }
        'y' => {
            return if vowel {
                1
            } else if phone == "y" {
                0
            } else {
                MISFIT
            };
        }
        'b' => &["b"],
        'c' => &["k", "s", "ch", "sh"],
        'd' => &["d", "jh", "t"],
        'f' => &["f", "v"],
        'g' => &["g", "jh", "f", "ng", "zh"],
        'h' => &["hh"],
        'j' => &["jh", "y"],
        'k' => &["k"],
        'l' => &["l"],
        'm' => &["m"],
        'n' => &["n", "ng"],
        'p' => &["p", "f"],
        'q' => &["k"],
        'r' => &["r", "er"],
        's' => &["s", "z", "sh", "zh"],
        't' => &["t", "th", "dh", "sh", "ch", "d"],
        'v' => &["v", "f"],
        'w' => &["w", "v"],
        'x' => &["k", "z"],
        'z' => &["z", "s"],
        _ if is_sign(letter) => return 1,
        _ => return MISFIT / 2,
    };
    if usual.contains(&phone) { 0 } else { MISFIT }
}

/// Whether this phone may be the first of several that stand for the letter.
fn begins(letter: char, phone: &str) -> bool {
    is_sign(letter) || matches!((letter, phone), ('o', "w") | ('u' | 'e', "y") | ('x', "k" | "g"))
}

/// Figures and signs that are read out as words.
fn is_sign(c: char) -> bool {
    c.is_numeric() || SPOKEN_SIGNS.contains(c)
}

const PAUSE: &str = "pau";
const SPOKEN_SIGNS: &str = "$%&@+=#£€°";
const ALONE: u32 = 5;
const MISFIT: u32 = 8;
const RATE: f64 = 8000.0;
/// The longest piece given to flite takes a few tens of seconds.
const MOST_SECONDS: f64 = 600.0;
const MOST_PHONES: usize = 2000;
/// Letters times phones: bounds the time of one piece.
const MOST_CELLS: usize = 400_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Text, what `flite -psdur` tells of it, and for each phone the byte at which its word ends (0: a pause), as
    /// flite's own relations have it.
    const TOLD: &str = include_str!("../../../../fixtures/flite/phones.txt");

    #[test]
    fn phones_go_to_the_words_that_they_are_of() {
        let mut misplaced = Vec::new();
        let mut total = 0;
        for line in TOLD.lines().filter(|line| !line.starts_with('#')) {
            let [text, told, ends] = line.split(" | ").collect::<Vec<_>>().try_into().unwrap();
            let phones = parse(told).unwrap();
            let ends: Vec<usize> = ends.split_whitespace().map(|end| end.parse().unwrap()).collect();
            let words: Vec<&str> = text.split_whitespace().collect();
            let times = aligned(&words, &phones);
            let mut known: Vec<usize> = ends.iter().copied().filter(|&end| end > 0).collect();
            known.dedup();
            assert_eq!(known.len(), words.len(), "{text}");
            for (word, end) in known.iter().enumerate() {
                total += 1;
                let first = ends.iter().position(|e| e == end).unwrap();
                let last = ends.iter().rposition(|e| e == end).unwrap();
                let start = first.checked_sub(1).map_or(0, |before| phones[before].end);
                if times[word] != Some(start..phones[last].end) {
                    misplaced.push((words[word], times[word].clone(), start..phones[last].end));
                }
            }
        }
        assert!(total > 60, "{total} words");
        assert!(misplaced.is_empty(), "{} of {total}: {misplaced:?}", misplaced.len());
    }

    #[test]
    fn what_is_not_understood_is_not_guessed_at() {
        assert_eq!(parse("pau:0.1 hh:x"), None);
        assert_eq!(parse("an error of the program"), None);
        assert_eq!(parse("hh:-1"), None);
        let two = parse("hh:0.1 ay:0.2\nhh:0.1\n").unwrap();
        assert_eq!(two.last().unwrap().end, 2400, "the second utterance follows the first");
        assert_eq!(aligned(&["—"], &two), [None]);
        assert_eq!(aligned(&[], &two), []);
    }

    proptest! {
        #[test]
        fn words_are_told_in_order(text in "[a-z0-9$ ,.]{0,40}", told in "((pau|hh|ay|t|s):0.1 ?){0,20}") {
            let words: Vec<&str> = text.split_whitespace().collect();
            if let Some(phones) = parse(&told) {
                let mut before = 0;
                for time in aligned(&words, &phones).into_iter().flatten() {
                    prop_assert!(before <= time.start && time.start <= time.end);
                    before = time.end;
                }
            }
        }
    }
}
