//! What the bot says in a run of turn-taking trials, and when each word of it is said.
//!
//! The text is long and no two of its words stand beside each other twice, so that any stretch of it has one place. A voice is
//! a set of recorded words, said one after the other with the same short pause; words that nobody has recorded are said by
//! the formants of the stand-ins' voice. So the time of every word is known to the sample.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use offhook_media::resample::{Rate, Resampler};

use crate::sim::audio::Recording;
use crate::sim::clock::Dice;
use crate::sim::vendors::speech::Speech;

/// A voice made of recorded words at 8 kHz.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lexicon {
    words: BTreeMap<String, Arc<[i16]>>,
}

/// A text as it is said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spoken {
    /// 8 kHz.
    pub samples: Vec<i16>,
    pub words: Vec<Word>,
    /// The samples of each sentence.
    pub sentences: Vec<Range<usize>>,
    /// The first sample of each step, with which the bot begins to speak.
    pub turns: Vec<usize>,
}

/// One word in samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub text: Arc<str>,
    pub samples: Range<usize>,
}

/// The text: steps of sentences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    steps: Vec<Vec<String>>,
}

impl Lexicon {
    /// Takes the words that a directory of prompts has: Debian's packages keep them in `digits` and `phonetic`. A word that
    /// is not there is left to the formants.
    pub fn load(dir: &Path) -> Self {
        let mut words = BTreeMap::new();
        for (word, file) in WORDS {
            let Ok(bytes) = std::fs::read(dir.join(file)) else { continue };
            let Ok(recording) = Recording::from_wav(file, &bytes) else { continue };
            let recording = recording.at_level(LEVEL_DBFS);
            let from = recording.onset.saturating_sub(MARGIN);
            let to = (recording.end + MARGIN).min(recording.samples.len());
            words.insert((*word).to_owned(), recording.samples.get(from..to).unwrap_or_default().into());
        }
        Self { words }
    }

    /// How many words have been recorded.
    pub fn recorded(&self) -> usize {
        self.words.len()
    }

    /// Says a text.
    pub fn say(&self, text: &str) -> Spoken {
        let mut spoken = Spoken::default();
        for word in text.split_whitespace() {
            if !spoken.samples.is_empty() {
                spoken.samples.extend([0; PAUSE]);
            }
            let from = spoken.samples.len();
            spoken.samples.extend(self.word(word).iter());
            spoken.words.push(Word { text: bare(word).into(), samples: from..spoken.samples.len() });
        }
        spoken.sentences.push(0..spoken.samples.len());
        spoken
    }

    /// The same at another rate.
    pub fn say_at(&self, text: &str, rate: Rate) -> Vec<i16> {
        let mut resampler = Resampler::new(Rate::Hz8000, rate);
        let mut samples = Vec::new();
        resampler.push(&self.say(text).samples, &mut samples);
        resampler.finish(&mut samples);
        // The filter's delay would move every word.
        samples.drain(..(resampler.delay() * (rate.hz() / Rate::Hz8000.hz()) as usize).min(samples.len()));
        samples
    }

    fn word(&self, word: &str) -> Arc<[i16]> {
        let word = bare(word);
        self.words.get(&word).map_or_else(|| Speech::whole(&word, 8000).into(), Arc::clone)
    }
}

impl Script {
    /// The text of a seed.
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed, 0, TEXT);
        let mut pairs = std::collections::BTreeSet::new();
        let mut last = 0;
        let mut word = || {
            // There are far more pairs than the text has words.
            let mut next = dice.below(WORDS.len());
            while next == last || !pairs.insert((last, next)) {
                next = dice.below(WORDS.len());
            }
            last = next;
            WORDS.get(next).map_or("", |(word, _)| *word)
        };
        let mut sentence = || {
            let words: Vec<&str> = (0..WORDS_A_SENTENCE).map(|_| word()).collect();
            let text = words.join(" ");
            let capital = text.get(..1).map(str::to_uppercase).unwrap_or_default();
            format!("{capital}{}.", text.get(1..).unwrap_or_default())
        };
        let steps = (0..STEPS).map(|_| (0..SENTENCES_A_STEP).map(|_| sentence()).collect()).collect();
        Self { steps }
    }

    /// The flow that says it, for ever: the caller's turn ends after `endpoint_ms` of silence, and then the next step begins.
    pub fn flow(&self, name: &str, endpoint_ms: u32) -> String {
        let mut yaml = format!("name: {name}\nendless: true\nsteps:\n");
        for (index, sentences) in self.steps.iter().enumerate() {
            let next = (index + 1) % self.steps.len();
            // Writing into a String cannot fail.
            let _ = writeln!(yaml, "  part{index}:\n    say:");
            for sentence in sentences {
                let _ = writeln!(yaml, "      - {sentence}");
            }
            let _ = writeln!(yaml, "    wait_ms: 500\n    goto: part{next}\n    endpoint_ms: {endpoint_ms}");
        }
        yaml
    }

    /// Its sentences in order.
    pub fn sentences(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().flatten().map(String::as_str)
    }

    /// All of it in a row, as a voice says it.
    pub fn spoken(&self, voice: &Lexicon) -> Spoken {
        self.spoken_by(|sentence| voice.say(sentence))
    }

    /// The same by whatever says a sentence.
    pub fn spoken_by(&self, say: impl Fn(&str) -> Spoken) -> Spoken {
        let mut all = Spoken::default();
        for (index, sentence) in self.sentences().enumerate() {
            let one = say(sentence);
            let from = all.samples.len();
            if index.is_multiple_of(SENTENCES_A_STEP) {
                all.turns.push(from);
            }
            all.samples.extend(one.samples);
            all.sentences.push(from..all.samples.len());
            let shifted = |word: Word| Word { samples: word.samples.start + from..word.samples.end + from, ..word };
            all.words.extend(one.words.into_iter().map(shifted));
        }
        all
    }
}

/// A word without its marks and capitals.
pub fn bare(word: &str) -> String {
    word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Words that no rule of speaking touches, and where Debian's prompts have them.
const WORDS: &[(&str, &str)] = &[
    ("alpha", "phonetic/a_p.wav"),
    ("bravo", "phonetic/b_p.wav"),
    ("charlie", "phonetic/c_p.wav"),
    ("delta", "phonetic/d_p.wav"),
    ("echo", "phonetic/e_p.wav"),
    ("foxtrot", "phonetic/f_p.wav"),
    ("golf", "phonetic/g_p.wav"),
    ("hotel", "phonetic/h_p.wav"),
    ("india", "phonetic/i_p.wav"),
    ("juliet", "phonetic/j_p.wav"),
    ("kilo", "phonetic/k_p.wav"),
    ("lima", "phonetic/l_p.wav"),
    ("mike", "phonetic/m_p.wav"),
    ("november", "phonetic/n_p.wav"),
    ("oscar", "phonetic/o_p.wav"),
    ("papa", "phonetic/p_p.wav"),
    ("quebec", "phonetic/q_p.wav"),
    ("romeo", "phonetic/r_p.wav"),
    ("sierra", "phonetic/s_p.wav"),
    ("tango", "phonetic/t_p.wav"),
    ("uniform", "phonetic/u_p.wav"),
    ("victor", "phonetic/v_p.wav"),
    ("whiskey", "phonetic/w_p.wav"),
    ("yankee", "phonetic/y_p.wav"),
    ("zulu", "phonetic/z_p.wav"),
    ("sunday", "digits/day-0.wav"),
    ("monday", "digits/day-1.wav"),
    ("tuesday", "digits/day-2.wav"),
    ("wednesday", "digits/day-3.wav"),
    ("thursday", "digits/day-4.wav"),
    ("friday", "digits/day-5.wav"),
    ("saturday", "digits/day-6.wav"),
    ("january", "digits/mon-0.wav"),
    ("february", "digits/mon-1.wav"),
    ("april", "digits/mon-3.wav"),
    ("june", "digits/mon-5.wav"),
    ("july", "digits/mon-6.wav"),
    ("august", "digits/mon-7.wav"),
    ("september", "digits/mon-8.wav"),
    ("october", "digits/mon-9.wav"),
    ("december", "digits/mon-11.wav"),
];

const STEPS: usize = 6;
const SENTENCES_A_STEP: usize = 5;
const WORDS_A_SENTENCE: usize = 8;
/// Between words, in samples: 40 ms.
const PAUSE: usize = 320;
/// What is kept of a recording around its speech, in samples.
const MARGIN: usize = 80;
const LEVEL_DBFS: f64 = -20.0;
const TEXT: u64 = 0x7EC5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_words_has_one_place() {
        let spoken = Script::new(3).spoken(&Lexicon::default());
        let mut pairs: Vec<_> = spoken.words.windows(2).map(|pair| (&pair[0].text, &pair[1].text)).collect();
        assert_eq!(pairs.len(), STEPS * SENTENCES_A_STEP * WORDS_A_SENTENCE - 1);
        let all = pairs.len();
        pairs.sort_unstable();
        pairs.dedup();
        assert_eq!(pairs.len(), all);
        assert!(spoken.words.windows(2).all(|pair| pair[0].samples.end <= pair[1].samples.start));
    }

    #[test]
    fn the_flow_is_one_that_the_server_takes() {
        let yaml = Script::new(1).flow("turn_taking", 600);
        let flow = crate::dialog::flow::Flow::parse("turn_taking.yaml", &yaml, &crate::dialog::flow::NoAssets);
        assert!(flow.is_ok(), "{flow:?}\n{yaml}");
    }

    #[test]
    fn words_are_said_where_they_are_said_to_be() {
        let voice = Lexicon { words: [("alpha".to_owned(), vec![500; 800].into())].into() };
        let spoken = voice.say("Alpha, alpha.");
        assert_eq!(spoken.samples.len(), 800 + PAUSE + 800);
        assert_eq!(spoken.words[1].samples, 1120..1920);
        assert_eq!(voice.say_at("alpha", Rate::Hz24000).len().abs_diff(2400), 0);
    }
}
