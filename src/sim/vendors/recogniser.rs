//! Recognises the harness's own utterances from the audio that really arrived: by the shape of their energy in bands,
//! not by who sent them. Broken, foreign or silent audio is not recognised, so a harness that loses audio loses words.
//! Pure: samples in, hypotheses out.

mod features;

use std::sync::Arc;
use std::time::Duration;

use features::{Features, Shape, best_match};

/// Something that a simulated caller may say.
#[derive(Clone, Debug)]
pub struct Utterance {
    pub text: String,
    /// 8 kHz.
    pub samples: Arc<[i16]>,
}

/// What may be recognised.
pub struct Dictionary(Vec<Entry>);

struct Entry {
    text: String,
    shape: Shape,
}

impl Dictionary {
    pub fn new(utterances: Vec<Utterance>) -> Self {
        let entry = |u: Utterance| {
            let shape = Shape::of(&u.samples)?;
            Some(Entry { text: u.text, shape })
        };
        Self(utterances.into_iter().filter_map(entry).collect())
    }
}

/// A stretch of audio and what was recognised in it; times from the first sample heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    pub start: Duration,
    pub end: Duration,
    /// Empty when nothing was recognised.
    pub words: Vec<SpokenWord>,
    /// Correlation with what was recognised, 0.0 to 1.0.
    pub confidence: f32,
}

impl Hypothesis {
    /// The words as one text.
    pub fn text(&self) -> String {
        self.words.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join(" ")
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct SpokenWord {
    pub text: String,
    pub start: Duration,
    pub end: Duration,
}

/// What came of the audio so far.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Interim(Hypothesis),
    /// `speech_final` where the end of speech was found.
    Final {
        hypothesis: Hypothesis,
        speech_final: bool,
    },
    /// No speech for the utterance-end time.
    UtteranceEnd {
        last_word_end: Duration,
    },
}

/// Times of audio, all of them lengths.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Silence that ends speech.
    pub endpointing: Duration,
    /// Silence after which an utterance is over; none does not tell.
    pub utterance_end: Option<Duration>,
    /// Speech from one interim result to the next.
    pub interim_every: Duration,
}

/// The recogniser of one session.
pub struct Recogniser {
    dictionary: Arc<Dictionary>,
    settings: Settings,
    features: Features,
    /// The shape of the audio that is not yet final.
    shape: Shape,
    /// Number of 10 ms blocks that are final.
    settled: usize,
    /// First voiced block, and the one after the last, of the present speech, counted from `settled`.
    speech: Option<(usize, usize)>,
    next_interim: usize,
    /// End of the last word (in blocks) while its utterance end is not told.
    open_utterance: Option<usize>,
}

impl Recogniser {
    pub fn new(dictionary: Arc<Dictionary>, settings: Settings) -> Self {
        Self {
            dictionary,
            settings,
            features: Features::default(),
            shape: Shape::default(),
            settled: 0,
            speech: None,
            next_interim: 0,
            open_utterance: None,
        }
    }

    /// Hears 8 kHz samples.
    pub fn hear(&mut self, samples: &[i16]) -> Vec<Heard> {
        let mut heard = Vec::new();
        for &sample in samples {
            if let Some(block) = self.features.push(sample) {
                self.shape.push(block);
                self.block(features::is_voiced(&block), &mut heard);
            }
        }
        heard
    }

    /// Makes final what is still open, as at the end of a stream.
    pub fn flush(&mut self) -> Vec<Heard> {
        if self.shape.is_empty() { Vec::new() } else { vec![self.settle(false)] }
    }

    /// Whether the last 10 ms were voiced.
    pub fn is_voiced_now(&self) -> bool {
        self.speech.is_some_and(|(_, end)| end == self.shape.len())
    }

    fn block(&mut self, voiced: bool, heard: &mut Vec<Heard>) {
        let now = self.shape.len();
        match (&mut self.speech, voiced) {
            (Some((_, end)), true) => *end = now,
            (None, true) => {
                self.speech = Some((now - 1, now));
                self.next_interim = now + blocks(self.settings.interim_every);
            }
            (Some((_, end)), false) if now - *end >= blocks(self.settings.endpointing) => {
                heard.push(self.settle(true));
                return;
            }
            (None, false) if now >= IDLE => {
                heard.push(self.settle(false));
            }
            _ => {}
        }
        if self.speech.is_some() && now >= self.next_interim {
            self.next_interim = now + blocks(self.settings.interim_every);
            heard.push(Heard::Interim(self.hypothesis()));
        }
        self.tell_utterance_end(heard);
    }

    fn tell_utterance_end(&mut self, heard: &mut Vec<Heard>) {
        let now = self.settled + self.shape.len();
        if let (Some(last), Some(gap), None) = (self.open_utterance, self.settings.utterance_end, self.speech)
            && now.saturating_sub(last) >= blocks(gap)
        {
            self.open_utterance = None;
            heard.push(Heard::UtteranceEnd { last_word_end: time(last) });
        }
    }

    fn settle(&mut self, speech_final: bool) -> Heard {
        let hypothesis = self.hypothesis();
        if let (Some((_, end)), false) = (self.speech, hypothesis.words.is_empty()) {
            self.open_utterance = Some(self.settled + end);
        }
        self.settled += self.shape.len();
        self.shape = Shape::default();
        self.speech = None;
        Heard::Final { hypothesis, speech_final }
    }

    fn hypothesis(&self) -> Hypothesis {
        let (start, end) = (time(self.settled), time(self.settled + self.shape.len()));
        let nothing = Hypothesis { start, end, words: Vec::new(), confidence: 0.0 };
        let Some((from, to)) = self.speech else { return nothing };
        let spoken = self.shape.part(from, to);
        let matches = self.dictionary.0.iter().filter_map(|entry| Some((entry, best_match(&spoken, &entry.shape)?)));
        let Some((entry, found)) = matches.max_by(|a, b| a.1.score.total_cmp(&b.1.score)) else { return nothing };
        if found.score < SURE {
            return Hypothesis { confidence: found.score.clamp(0.0, 1.0), ..nothing };
        }
        let place =
            Place { first: self.settled + from, offset: found.offset, length: spoken.len(), of: entry.shape.len() };
        Hypothesis { words: place.words(&entry.text), confidence: found.score.clamp(0.0, 1.0), ..nothing }
    }
}

/// Which part of an entry was heard, in blocks.
struct Place {
    /// The block of the session in which it begins.
    first: usize,
    /// Where it begins in the entry; negative when it begins before.
    offset: isize,
    length: usize,
    of: usize,
}

impl Place {
    /// The words whose middle was heard; their times as if every character took as long.
    fn words(&self, text: &str) -> Vec<SpokenWord> {
        let characters = text.chars().count().max(1) as f64;
        let per_character = self.of as f64 / characters;
        let (begin, end) = (self.offset as f64, self.offset as f64 + self.length as f64);
        let is_whole = begin < 0.12 * self.of as f64 && end > 0.88 * self.of as f64;
        let mut at = 0.0;
        let mut words = Vec::new();
        for word in text.split(' ') {
            let (from, to) = (at * per_character, (at + word.chars().count() as f64) * per_character);
            at += word.chars().count() as f64 + 1.0;
            let heard = is_whole || ((from + to) / 2.0 >= begin && to <= end + SLACK);
            if heard && !word.is_empty() {
                let session = |block: f64| time_at((block - begin).clamp(0.0, self.length as f64) + self.first as f64);
                words.push(SpokenWord { text: word.to_owned(), start: session(from), end: session(to) });
            }
        }
        words
    }
}

fn time_at(block: f64) -> Duration {
    Duration::from_secs_f64(block.max(0.0) / 100.0)
}

fn time(blocks: usize) -> Duration {
    Duration::from_millis(10) * u32::try_from(blocks).unwrap_or(u32::MAX)
}

fn blocks(time: Duration) -> usize {
    usize::try_from(time.as_millis() / 10).unwrap_or(usize::MAX).max(1)
}

/// Correlation from which an utterance counts as recognised.
const SURE: f32 = 0.72;
/// Silence that is reported as an empty final result, in blocks.
const IDLE: usize = 100;
/// Blocks by which a word's end may lie behind what was heard.
const SLACK: f64 = 3.0;

#[cfg(test)]
mod tests;
