//! Finds where the other side was heard: spans of voice with the times of their first and last samples. Pure; used
//! live by the caller to know when to act, and again over the whole recording by the analysis.

use std::time::Duration;

use super::audio::{BLOCK, linear};
use super::clock::{Moment, samples};

/// Voice from the first to the last voiced sample; `to` is one past the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub from: Moment,
    pub to: Moment,
}

/// Collects spans of voice; silence shorter than `bridge` does not end one.
#[derive(Clone, Debug)]
pub struct Voice {
    bridge: Duration,
    spans: Vec<Span>,
}

/// A pause that people make inside an utterance is shorter; so is the 200 ms between two sentences.
pub const UTTERANCE: Duration = Duration::from_millis(300);
/// Two lost packets are shorter; a stop is longer.
pub const BREAK: Duration = Duration::from_millis(60);

/// A weak first sound lies under the threshold of an onset's label; a stop this shortly before the label is for it.
pub const EARLY: Duration = Duration::from_millis(60);

impl Voice {
    pub const fn new(bridge: Duration) -> Self {
        Self { bridge, spans: Vec::new() }
    }

    /// Takes audio whose first sample is at `at`; see [`voiced`].
    pub fn hear(&mut self, at: Moment, octets: &[u8]) {
        voiced(at, octets, |from, to| self.add(from, to));
    }

    /// Takes a stretch of voice that [`voiced`] found.
    pub fn add(&mut self, from: Moment, to: Moment) {
        match self.spans.last_mut() {
            Some(last) if from < last.to + self.bridge => last.to = last.to.max(to),
            _ => self.spans.push(Span { from, to }),
        }
    }

    /// All spans so far, the last perhaps still growing.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The span that is being heard at `now`: its last voiced sample is less than the bridge ago.
    pub fn current(&self, now: Moment) -> Option<Span> {
        self.spans.last().copied().filter(|span| now < span.to + self.bridge)
    }

    /// The span that `at` falls into, pauses inside it included.
    pub fn span_at(&self, at: Moment) -> Option<Span> {
        self.spans.iter().copied().find(|span| span.from <= at && at < span.to)
    }

    /// The span whose end belongs to an onset: the one that the onset falls into, or that ended within [`EARLY`] of it,
    /// or the next.
    pub fn stop_after(&self, onset: Moment) -> Option<Span> {
        self.spans.iter().copied().find(|span| span.to + EARLY > onset)
    }

    /// The first span that begins at or after `at`.
    pub fn first_from(&self, at: Moment) -> Option<Span> {
        self.spans.iter().copied().find(|span| span.from >= at)
    }
}

/// Finds the voiced 5 ms blocks of audio whose first sample is at `at`, each from its first to its last voiced sample. A
/// sample is voiced at or above -50 dBFS within a block (RMS) of that level.
pub fn voiced(at: Moment, octets: &[u8], mut found: impl FnMut(Moment, Moment)) {
    for (index, block) in octets.chunks(BLOCK).enumerate() {
        let energy: u64 = block.iter().map(|&octet| square(octet)).sum();
        if energy < LEAST_SQUARE * block.len() as u64 {
            continue;
        }
        let is_voiced = |octet: &u8| square(*octet) >= LEAST_SQUARE;
        let first = block.iter().position(is_voiced).unwrap_or(0);
        let last = block.iter().rposition(is_voiced).unwrap_or(0);
        found(at + samples(index * BLOCK + first), at + samples(index * BLOCK + last + 1));
    }
}

/// The square of a mu-law octet's amplitude. A table, because every sample of every call is looked at.
fn square(octet: u8) -> u64 {
    SQUARES.get(usize::from(octet)).copied().unwrap_or(0)
}

static SQUARES: [u64; 256] = {
    let mut squares = [0u64; 256];
    let mut octet = 0;
    while octet < 256 {
        let amplitude = linear(octet as u8) as i64;
        squares[octet] = (amplitude * amplitude) as u64;
        octet += 1;
    }
    squares
};

/// The square of [`VOICED_DBFS`](super::audio::VOICED_DBFS) as an amplitude, 103.6.
const LEAST_SQUARE: u64 = 10_737;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::audio::{FRAME, VOICED_DBFS, amplitude, ulaw};

    fn at(ms: u64) -> Moment {
        Duration::from_millis(ms)
    }

    fn tone(length: usize, level: f64) -> Vec<u8> {
        (0..length).map(|i| ulaw((amplitude(level) * 2f64.sqrt() * (i as f64 * 0.9).sin()) as i16)).collect()
    }

    #[test]
    fn first_and_last_samples_have_their_own_times() {
        let mut voice = Voice::new(BREAK);
        let mut frame = vec![0xFF; FRAME];
        frame[100..].copy_from_slice(&tone(60, -20.0));
        voice.hear(at(1000), &frame);
        voice.hear(at(1020), &tone(FRAME, -20.0));
        let mut frame = tone(FRAME, -20.0);
        frame[48..].fill(0xFF);
        voice.hear(at(1040), &frame);
        let [span] = voice.spans() else { panic!("{:?}", voice.spans()) };
        // The tone's own zero crossing at either end is worth a sample or two.
        assert!(span.from.abs_diff(at(1000) + samples(100)) <= samples(2), "{span:?}");
        assert!(span.to.abs_diff(at(1040) + samples(48)) <= samples(2), "{span:?}");
    }

    #[test]
    fn silence_under_the_bridge_is_a_pause_and_over_it_an_end() {
        let mut voice = Voice::new(UTTERANCE);
        voice.hear(at(0), &tone(FRAME, -20.0));
        voice.hear(at(300), &tone(FRAME, -20.0));
        assert_eq!(voice.spans().len(), 1);
        assert!(voice.current(at(600)).is_some() && voice.current(at(640)).is_none());
        voice.hear(at(700), &tone(FRAME, -20.0));
        assert_eq!(voice.spans().len(), 2);
        assert!(voice.span_at(at(150)).is_some() && voice.span_at(at(500)).is_none());
        assert!(voice.first_from(at(500)).unwrap().from >= at(700));
    }

    #[test]
    fn the_threshold_is_that_of_the_labels() {
        let limit = amplitude(VOICED_DBFS);
        assert_eq!(LEAST_SQUARE, (limit * limit) as u64);
    }

    #[test]
    fn what_is_under_minus_50_dbfs_is_silence() {
        let mut voice = Voice::new(BREAK);
        voice.hear(at(0), &tone(1600, -54.0));
        assert!(voice.spans().is_empty());
        voice.hear(at(500), &tone(1600, -46.0));
        assert_eq!(voice.spans().len(), 1);
    }
}
