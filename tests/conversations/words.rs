//! A voice whose every 5 ms say which word of which sentence they are, at any gain: what reached the caller's ear can be
//! read off the audio itself, and nothing that the server believes is needed for it.

use std::sync::Arc;
use std::time::Duration;

use offhook::call::{Moment, TurnId};
use offhook::providers::WordTime;
use offhook::safety::said::{Cleared, WITHHELD};

/// A word as it was made, and how much of it was heard.
#[derive(Debug)]
pub struct Made {
    /// As it may be kept; nothing for what stands behind the first word of a private sentence.
    pub text: Option<String>,
    turn: TurnId,
    heard: Vec<bool>,
    /// Blocks of it that may have been heard as well.
    maybe: usize,
}

/// Whether half of a word was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    Heard,
    Unheard,
    /// About half of it was, and the cut is good to a frame.
    Unsure,
}

impl Made {
    /// Repetitions count once.
    pub fn half(&self) -> Half {
        let (heard, half) = (self.heard_blocks(), self.heard.len() / 2);
        if heard > half + UNSURE_BLOCKS {
            Half::Heard
        } else if heard + self.maybe + UNSURE_BLOCKS < half {
            Half::Unheard
        } else {
            Half::Unsure
        }
    }

    pub fn is_cut(&self) -> bool {
        (1..self.heard.len()).contains(&self.heard_blocks())
    }

    fn heard_blocks(&self) -> usize {
        self.heard.iter().filter(|heard| **heard).count()
    }
}

/// Everything that a voice was asked for, and what came of it.
#[derive(Debug, Default)]
pub struct Ledger {
    pub words: Vec<Made>,
    /// A word that was heard although it had been dropped long before.
    pub ghost: Option<String>,
    /// What was dropped last, and when.
    dropped: Vec<(TurnId, Moment)>,
    /// The end of what was heard, too short for a block.
    rest: Vec<i16>,
}

impl Ledger {
    /// Makes a sentence: its audio and when its words are in it.
    pub fn make(&mut self, text: &Cleared, turn: TurnId) -> (Arc<[i16]>, Vec<WordTime>) {
        let (mut audio, mut times) = (Vec::new(), Vec::new());
        let (spoken, mut from) = (text.as_str(), 0);
        for word in spoken.split_whitespace() {
            let at = from + spoken[from..].find(word).expect("a word of the text");
            let is_first = from == 0;
            from = at + word.len();
            let blocks = word.chars().count() * BLOCKS_PER_CHARACTER;
            let begun = audio.len() as u64;
            for block in 0..blocks {
                audio.extend(encoded(self.words.len(), block));
            }
            times.push(WordTime { text: at..from, samples: begun..audio.len() as u64 });
            let pause = if word.ends_with([',', '.', '?']) { 30 } else { 4 };
            audio.extend([0; BLOCK].repeat(pause));
            let kept = if text.is_private() { is_first.then_some(WITHHELD) } else { Some(word) };
            self.words.push(Made { text: kept.map(str::to_owned), turn, heard: vec![false; blocks], maybe: 0 });
        }
        (audio.into(), times)
    }

    /// Nothing of this turn or an older one is to be heard any more.
    pub fn drop_until(&mut self, turn: TurnId, now: Moment) {
        self.dropped.push((turn, now));
    }

    /// The caller hears this.
    pub fn hear(&mut self, frame: &[i16], now: Moment) {
        for (word, block) in self.blocks(frame) {
            self.heard(word, block, now);
        }
    }

    /// The caller hung up while this was on its way.
    pub fn may_have_heard(&mut self, frame: &[i16]) {
        for (word, block) in self.blocks(frame) {
            let made = self.words.get_mut(word).filter(|made| made.heard.get(block) == Some(&false));
            made.into_iter().for_each(|made| made.maybe += 1);
        }
    }

    /// The words and blocks in what is heard next.
    fn blocks(&mut self, frame: &[i16]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        let mut heard = std::mem::take(&mut self.rest);
        heard.extend_from_slice(frame);
        let mut at = 0;
        while at + BLOCK <= heard.len() {
            match decoded(&heard[at..at + BLOCK]) {
                Some(block) => {
                    found.push(block);
                    at += BLOCK;
                }
                None => at += 1,
            }
        }
        self.rest = heard.split_off(at);
        found
    }

    /// Forgets half a block when what is heard has a gap.
    pub fn gap(&mut self) {
        self.rest.clear();
    }

    fn heard(&mut self, word: usize, block: usize, now: Moment) {
        let Some(made) = self.words.get_mut(word).filter(|made| block < made.heard.len()) else { return };
        made.heard[block] = true;
        let is_gone = |(turn, at): &(TurnId, Moment)| made.turn <= *turn && now > *at + LAST_OF_DROPPED;
        if self.dropped.iter().any(is_gone) {
            self.ghost = made.text.clone().or(Some(WITHHELD.to_owned()));
        }
    }
}

/// Near zero, then the signs of 39 samples: word, block, and a sum that chance does not meet.
fn encoded(word: usize, block: usize) -> [i16; BLOCK] {
    let bits = ((word as u64 & 0xffff) << 23) | ((block as u64 & 0xffff) << 7) | sum(word, block);
    std::array::from_fn(|at| match at {
        0 => 0,
        at if bits >> (at - 1) & 1 == 1 => LOUD,
        _ => -LOUD,
    })
}

/// A soft tone beside the voice does not hide it.
fn decoded(samples: &[i16]) -> Option<(usize, usize)> {
    let mark = 2 * samples[0].unsigned_abs().min(SOFT);
    if samples[0].unsigned_abs() > SOFT || samples[1..].iter().any(|s| s.unsigned_abs() <= mark) {
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
const UNSURE_BLOCKS: usize = 5;
const LOUD: i16 = 6000;
/// The level of our own tones.
const SOFT: u16 = 1100;
/// What was on its way when it was dropped.
const LAST_OF_DROPPED: Duration = Duration::from_millis(200);
