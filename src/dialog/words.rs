//! Deterministic matching of a caller's words against the words of a flow. No language model is in this path.
//!
//! Words are compared in a normal form (lower case, letters and digits only). A phrase fits when all of its words
//! stand together in what was said; the longest fitting phrase wins, and a tie between two choices is no match,
//! because guessing between them is worse than asking again.

use super::flow::{Choice, Target};
use crate::providers::Language;

/// Lower case; only letters, digits and apostrophes stay; single spaces.
pub(super) fn normal(text: &str) -> String {
    let kept: String = text
        .chars()
        .filter_map(|c| match c {
            '\'' | '\u{2019}' => None,
            c if c.is_alphanumeric() => Some(c),
            _ => Some(' '),
        })
        .flat_map(char::to_lowercase)
        .collect();
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The choice that the words name, if they name exactly one.
pub(super) fn choose(choices: &[Choice], words: &str, language: &Language) -> Option<Target> {
    let said = normal(words);
    let mut best: Option<(usize, Target)> = None;
    let mut tied = false;
    for choice in choices {
        let fit = choice.phrases.iter().filter(|phrase| contains(&said, phrase)).map(|phrase| phrase.len()).max();
        let Some(length) = fit else { continue };
        match best {
            Some((longest, _)) if longest > length => {}
            Some((longest, other)) if longest == length => tied = tied || other != choice.next,
            _ => {
                best = Some((length, choice.next));
                tied = false;
            }
        }
    }
    match best {
        Some((_, target)) if !tied => Some(target),
        Some(_) => None,
        None => by_spoken_key(choices, &said, language),
    }
}

/// Whether the whole answer, polite words apart, is one of these phrases.
pub(super) fn is_whole_answer(phrases: &[String], words: &str) -> bool {
    let said = normal(words);
    let bare = |text: &str| text.split(' ').filter(|word| !POLITE.contains(word)).collect::<Vec<_>>().join(" ");
    let core = bare(&said);
    phrases.iter().any(|phrase| *phrase == said || (!core.is_empty() && bare(phrase) == core))
}

/// The digits that were spoken; empty when there are none.
pub(super) fn spoken_digits(words: &str, language: &Language) -> String {
    normal(words).split(' ').flat_map(|word| digits_of(word, language)).collect()
}

/// How many digits the words end in.
pub(super) fn trailing_digits(words: &str, language: &Language) -> usize {
    let digits = |word: &str| digits_of(word, language).len();
    normal(words).rsplit(' ').map(digits).take_while(|digits| *digits > 0).sum()
}

fn by_spoken_key(choices: &[Choice], said: &str, language: &Language) -> Option<Target> {
    let digits = spoken_digits(said, language);
    let mut keys = digits.chars();
    let key = keys.next().filter(|_| keys.next().is_none())?;
    choices.iter().find(|choice| choice.key.as_char() == key).map(|choice| choice.next)
}

fn contains(said: &str, phrase: &str) -> bool {
    !phrase.is_empty() && format!(" {said} ").contains(&format!(" {phrase} "))
}

fn digits_of(word: &str, language: &Language) -> Vec<char> {
    if !word.is_empty() && word.chars().all(|c| c.is_ascii_digit()) {
        return word.chars().collect();
    }
    let names: &[(&str, char)] = match language.primary() {
        "en" => &ENGLISH,
        "fr" => &FRENCH,
        "es" => &SPANISH,
        "sw" => &SWAHILI,
        "rw" => &KINYARWANDA,
        _ => &[],
    };
    names.iter().filter(|(name, _)| *name == word).map(|(_, digit)| *digit).collect()
}

const POLITE: [&str; 14] =
    ["please", "thanks", "thank", "you", "um", "uh", "well", "okay", "ok", "oh", "merci", "sil", "vous", "plait"];

const ENGLISH: [(&str, char); 11] = [
    ("zero", '0'),
    ("oh", '0'),
    ("one", '1'),
    ("two", '2'),
    ("three", '3'),
    ("four", '4'),
    ("five", '5'),
    ("six", '6'),
    ("seven", '7'),
    ("eight", '8'),
    ("nine", '9'),
];

const FRENCH: [(&str, char); 11] = [
    ("zéro", '0'),
    ("un", '1'),
    ("une", '1'),
    ("deux", '2'),
    ("trois", '3'),
    ("quatre", '4'),
    ("cinq", '5'),
    ("six", '6'),
    ("sept", '7'),
    ("huit", '8'),
    ("neuf", '9'),
];

const SPANISH: [(&str, char); 11] = [
    ("cero", '0'),
    ("uno", '1'),
    ("una", '1'),
    ("dos", '2'),
    ("tres", '3'),
    ("cuatro", '4'),
    ("cinco", '5'),
    ("seis", '6'),
    ("siete", '7'),
    ("ocho", '8'),
    ("nueve", '9'),
];

const SWAHILI: [(&str, char); 10] = [
    ("sifuri", '0'),
    ("moja", '1'),
    ("mbili", '2'),
    ("tatu", '3'),
    ("nne", '4'),
    ("tano", '5'),
    ("sita", '6'),
    ("saba", '7'),
    ("nane", '8'),
    ("tisa", '9'),
];

const KINYARWANDA: [(&str, char); 10] = [
    ("zeru", '0'),
    ("rimwe", '1'),
    ("kabiri", '2'),
    ("gatatu", '3'),
    ("kane", '4'),
    ("gatanu", '5'),
    ("gatandatu", '6'),
    ("karindwi", '7'),
    ("umunani", '8'),
    ("icyenda", '9'),
];

#[cfg(test)]
mod tests {
    use super::*;
    use offhook_media::dtmf::Digit;

    fn choice(key: char, phrases: &[&str], step: usize) -> Choice {
        let key = Digit::try_from(key).unwrap();
        Choice { key, phrases: phrases.iter().map(|p| normal(p)).collect(), next: Target::Step(step) }
    }

    fn pick(words: &str) -> Option<Target> {
        let choices = [
            choice('1', &["appointment", "appointments"], 1),
            choice('2', &["opening hours", "hours"], 2),
            choice('3', &["repeat prescription"], 3),
            choice('4', &["repeat"], 4),
        ];
        choose(&choices, words, &Language::default())
    }

    #[test]
    fn a_phrase_fits_as_whole_words_and_the_longest_wins() {
        assert_eq!(pick("I'd like an APPOINTMENT, please."), Some(Target::Step(1)));
        assert_eq!(pick("repeat prescription"), Some(Target::Step(3)));
        assert_eq!(pick("repeat"), Some(Target::Step(4)));
        assert_eq!(pick("disappointment"), None);
    }

    #[test]
    fn a_tie_is_no_match_and_a_spoken_key_serves() {
        let tie = [choice('1', &["left"], 1), choice('2', &["west"], 2)];
        assert_eq!(choose(&tie, "left or west", &Language::default()), None);
        assert_eq!(pick("option two"), Some(Target::Step(2)));
        assert_eq!(pick("2."), Some(Target::Step(2)));
        assert_eq!(pick("one or two"), None);
    }

    #[test]
    fn only_a_whole_answer_ends_a_conversation() {
        let done = [normal("no"), normal("that's all"), normal("no thank you")];
        assert!(is_whole_answer(&done, "No, thanks."));
        assert!(is_whole_answer(&done, "That\u{2019}s all, thank you"));
        assert!(!is_whole_answer(&done, "no, I have another question"));
        assert!(!is_whole_answer(&done, "thank you"));
    }

    #[test]
    fn digits_are_found_in_words() {
        assert_eq!(spoken_digits("oh seven eight, 12", &Language::default()), "07812");
        assert_eq!(spoken_digits("hello", &Language::default()), "");
        for (tag, words) in [("es", "cero siete ocho"), ("sw", "sifuri saba nane"), ("rw", "zeru karindwi umunani")] {
            assert_eq!(spoken_digits(words, &Language::parse(tag).unwrap()), "078");
        }
        assert_eq!(trailing_digits("my number is 0 78 five", &Language::default()), 4);
        assert_eq!(trailing_digits("five of them", &Language::default()), 0);
    }
}
