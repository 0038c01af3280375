//! Takes the silence off both ends of an utterance while it streams, so that sentences start at once and follow each
//! other closely. Pauses inside stay as they are.

/// One utterance. 8 kHz samples in, 8 kHz samples out; holds at most [`MOST_HELD`] samples.
pub(super) struct Trimmer {
    /// Samples not yet a whole block.
    block: Vec<i16>,
    /// Silence that may turn out to be a pause (or the lead-in).
    held: Vec<i16>,
    speaking: bool,
    dropped: usize,
}

impl Trimmer {
    pub(super) fn new() -> Self {
        Self { block: Vec::with_capacity(BLOCK), held: Vec::new(), speaking: false, dropped: 0 }
    }

    /// The samples that are now known to belong to the utterance.
    pub(super) fn push(&mut self, samples: &[i16]) -> Vec<i16> {
        let mut out = Vec::with_capacity(samples.len());
        for &sample in samples {
            self.block.push(sample);
            if self.block.len() == BLOCK {
                self.take_block(&mut out);
            }
        }
        out
    }

    /// Samples that were left out before the first sound.
    pub(super) const fn dropped(&self) -> usize {
        self.dropped
    }

    /// The tail of the utterance.
    pub(super) fn finish(mut self) -> Vec<i16> {
        let mut out = Vec::new();
        self.take_block(&mut out);
        if self.speaking {
            self.held.truncate(TAIL);
            out.append(&mut self.held);
        }
        out
    }

    fn take_block(&mut self, out: &mut Vec<i16>) {
        if audible(&self.block) {
            out.append(&mut self.held);
            out.append(&mut self.block);
            self.speaking = true;
            return;
        }
        self.held.append(&mut self.block);
        if !self.speaking {
            let surplus = self.held.len().saturating_sub(LEAD);
            self.held.drain(..surplus);
            self.dropped += surplus;
        } else if self.held.len() > MOST_HELD {
            out.append(&mut self.held);
        }
    }
}

fn audible(block: &[i16]) -> bool {
    let energy: i64 = block.iter().map(|&s| i64::from(s) * i64::from(s)).sum();
    energy > QUIET_SQUARE * i64::try_from(block.len()).unwrap_or(i64::MAX)
}

/// 5 ms.
const BLOCK: usize = 40;
/// 40 ms before the first sound: soft onsets lie below the level that counts as sound.
const LEAD: usize = 320;
/// 20 ms after the last.
const TAIL: usize = 160;
/// 2 s.
const MOST_HELD: usize = 16_000;
/// Square of 65 (-54 dBFS).
const QUIET_SQUARE: i64 = 65 * 65;

#[cfg(test)]
mod tests {
    use super::*;

    fn trimmed(parts: &[&[i16]], cut: usize) -> Vec<i16> {
        let whole: Vec<i16> = parts.concat();
        let mut trimmer = Trimmer::new();
        let mut out: Vec<i16> = whole.chunks(cut).flat_map(|part| trimmer.push(part)).collect();
        out.extend(trimmer.finish());
        out
    }

    #[test]
    fn ends_are_cut_and_pauses_kept() {
        let (silence, voice) = ([0i16; 4000], [2000i16; 800]);
        for cut in [1, 39, 160, 20_000] {
            let out = trimmed(&[&silence, &voice, &silence, &voice, &silence], cut);
            assert_eq!(out.len(), LEAD + 800 + 4000 + 800 + TAIL, "cut {cut}");
        }
    }

    #[test]
    fn what_is_left_out_at_the_beginning_is_told() {
        let mut trimmer = Trimmer::new();
        trimmer.push(&[0; 4000]);
        trimmer.push(&[2000; 800]);
        trimmer.push(&[0; 4000]);
        assert_eq!(trimmer.dropped(), 4000 - LEAD);
    }

    #[test]
    fn silence_alone_leaves_nothing() {
        assert_eq!(trimmed(&[&[3; 9000]], 160), Vec::<i16>::new());
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut trimmer = Trimmer::new();
        trimmer.push(&[2000; 400]);
        for _ in 0..100 {
            trimmer.push(&[0; 1600]);
            assert!(trimmer.held.len() <= MOST_HELD + BLOCK);
        }
    }
}
