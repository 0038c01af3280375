//! A voice whose every 5 ms say which word of which sentence they are, at any gain: what reached the caller's ear can be
//! read off the audio itself, and nothing that the server believes is needed for it.

use std::sync::Arc;

use offhook::providers::WordTime;

/// A word as it was made, and how much of it was heard.
#[derive(Debug)]
pub struct Made {
    pub text: String,
    heard: Vec<bool>,
}

impl Made {
    /// The share of it that was heard, repetitions counted once.
    pub fn share(&self) -> f64 {
        self.heard.iter().filter(|heard| **heard).count() as f64 / self.heard.len().max(1) as f64
    }
}

/// Everything that a voice was asked for, and what came of it.
#[derive(Debug, Default)]
pub struct Ledger {
    pub words: Vec<Made>,
    /// The end of what was heard, too short for a block.
    rest: Vec<i16>,
}

impl Ledger {
    /// Makes a sentence: its audio and when its words are in it.
    pub fn make(&mut self, text: &str) -> (Arc<[i16]>, Vec<WordTime>) {
        let (mut audio, mut times) = (Vec::new(), Vec::new());
        let mut from = 0;
        for word in text.split_whitespace() {
            let at = from + text[from..].find(word).expect("a word of the text");
            from = at + word.len();
            let blocks = word.chars().count() * BLOCKS_PER_CHARACTER;
            let begun = audio.len() as u64;
            for block in 0..blocks {
                audio.extend(encoded(self.words.len(), block));
            }
            times.push(WordTime { text: at..from, samples: begun..audio.len() as u64 });
            let pause = if word.ends_with([',', '.', '?']) { 30 } else { 4 };
            audio.extend([0; BLOCK].repeat(pause));
            self.words.push(Made { text: word.to_owned(), heard: vec![false; blocks] });
        }
        (audio.into(), times)
    }

    /// The caller hears this.
    pub fn hear(&mut self, frame: &[i16]) {
        let mut heard = std::mem::take(&mut self.rest);
        heard.extend_from_slice(frame);
        let mut at = 0;
        while at + BLOCK <= heard.len() {
            match decoded(&heard[at..at + BLOCK]) {
                Some((word, block)) => {
                    if let Some(known) = self.words.get_mut(word).and_then(|made| made.heard.get_mut(block)) {
                        *known = true;
                    }
                    at += BLOCK;
                }
                None => at += 1,
            }
        }
        self.rest = heard.split_off(at);
    }

    /// Forgets half a block when what is heard has a gap.
    pub fn gap(&mut self) {
        self.rest.clear();
    }
}

/// A zero, then the signs of 39 samples: word, block, and a sum that chance does not meet.
fn encoded(word: usize, block: usize) -> [i16; BLOCK] {
    let bits = ((word as u64 & 0xffff) << 23) | ((block as u64 & 0xffff) << 7) | sum(word, block);
    std::array::from_fn(|at| match at {
        0 => 0,
        at if bits >> (at - 1) & 1 == 1 => LOUD,
        _ => -LOUD,
    })
}

fn decoded(samples: &[i16]) -> Option<(usize, usize)> {
    if samples[0] != 0 || samples[1..].contains(&0) {
        return None;
    }
    let bits = samples[1..].iter().enumerate().fold(0_u64, |bits, (at, s)| bits | u64::from(*s > 0) << at);
    let (word, block) = ((bits >> 23) as usize & 0xffff, (bits >> 7) as usize & 0xffff);
    (bits & 0x7f == sum(word, block)).then_some((word, block))
}

fn sum(word: usize, block: usize) -> u64 {
    (word as u64 * 31 + block as u64 * 17 + 5) & 0x7f
}

/// 5 ms.
const BLOCK: usize = 40;
const BLOCKS_PER_CHARACTER: usize = 12;
const LOUD: i16 = 6000;
