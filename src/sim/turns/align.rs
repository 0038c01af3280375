//! Finds received audio in the text that the bot says. Pure: samples in, places out.
//!
//! First at an eighth of the rate, where the voice probably is and then everywhere; then to the sample. Loudness does not
//! matter, so a voice that was made quieter is found as well. A word sounds the same wherever it is said, so a stretch should
//! be longer than a word; of places that are equally like it, the one nearest to where the voice was is taken.

use std::ops::Range;

/// A known text's samples, ready to be searched.
#[derive(Clone, Debug)]
pub struct Reference {
    full: Vec<f32>,
    coarse: Vec<f32>,
    /// Sums of squares up to each coarse sample.
    energy: Vec<f64>,
    /// Where something may begin: in coarse samples.
    starts: Vec<usize>,
}

/// Where a stretch of audio lies in the text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// The text's sample that is the stretch's first.
    pub at: usize,
    /// Correlation, up to 1.
    pub likeness: f32,
}

impl Reference {
    /// `sentences` are the places where a voice begins most often.
    pub fn new(samples: &[i16], sentences: &[Range<usize>]) -> Self {
        let full: Vec<f32> = samples.iter().map(|sample| f32::from(*sample)).collect();
        let coarse = thinned(&full);
        let mut sum = 0.0;
        let squares = coarse.iter().map(|value| {
            sum += f64::from(value * value);
            sum
        });
        let energy = std::iter::once(0.0).chain(squares).collect();
        Self { coarse, energy, starts: sentences.iter().map(|sentence| sentence.start / THIN).collect(), full }
    }

    /// The place of `heard`, of which the first [`STRETCH`] samples count; near `expected` if it is there. `None` for what
    /// is no part of the text.
    pub fn find(&self, heard: &[f32], expected: Option<usize>) -> Option<Place> {
        let stretch = heard.get(..STRETCH.min(heard.len())).filter(|stretch| stretch.len() >= SHORTEST)?;
        let thin = thinned(stretch);
        let expected = expected.map(|at| at / THIN);
        let here = expected.map(|at| at.saturating_sub(HERE)..at + HERE);
        if let Some(place) = here.and_then(|range| self.best(&thin, range, expected)).filter(|p| p.1 >= CERTAIN) {
            return Some(self.refine(stretch, place.0 * THIN));
        }
        let near = expected.map(|at| at.saturating_sub(BACK)..at + FORWARD);
        let starts = self.starts.iter().map(|at| at.saturating_sub(AROUND_START)..at + AROUND_START);
        let likely = near.into_iter().chain(starts);
        let best = likely.filter_map(|range| self.best(&thin, range, expected)).max_by(|a, b| a.1.total_cmp(&b.1));
        let best = best.filter(|(_, likeness)| *likeness >= CERTAIN);
        let (coarse, likeness) = best.or_else(|| self.best(&thin, 0..self.coarse.len(), expected))?;
        (likeness >= LEAST).then(|| self.refine(stretch, coarse * THIN))
    }

    /// The place in `range` that is most like it, and how much: a little less for each second that it is from `expected`.
    fn best(&self, thin: &[f32], range: Range<usize>, expected: Option<usize>) -> Option<(usize, f32)> {
        let last = self.coarse.len().checked_sub(thin.len())?;
        let head = thin.get(..HEAD).unwrap_or(thin);
        let [own_head, own] = [head, thin].map(|part| dot(part, part).sqrt());
        let likeness = |at: usize| {
            let by_head = self.likeness(head, own_head, at);
            if by_head < LEAST { by_head } else { self.likeness(thin, own, at) }
        };
        let far = |at: usize| expected.map_or(0.0, |expected| at.abs_diff(expected) as f32 * FARTHER).min(MOST_FAR);
        let places = range.start.min(last)..range.end.min(last + 1);
        places.map(|at| (at, likeness(at) - far(at))).max_by(|a, b| a.1.total_cmp(&b.1))
    }

    fn likeness(&self, part: &[f32], own: f32, at: usize) -> f32 {
        let window = self.coarse.get(at..at + part.len()).unwrap_or_default();
        let energy = self.energy.get(at + part.len()).unwrap_or(&0.0) - self.energy.get(at).unwrap_or(&0.0);
        dot(window, part) / (own * (energy.max(1.0) as f32).sqrt()).max(1.0)
    }

    fn refine(&self, stretch: &[f32], about: usize) -> Place {
        let own = dot(stretch, stretch).sqrt();
        let likeness = |at: usize| {
            let window = self.full.get(at..(at + stretch.len()).min(self.full.len())).unwrap_or_default();
            dot(window, stretch) / (own * dot(window, window).sqrt()).max(1.0)
        };
        let places = about.saturating_sub(FINE)..=about + FINE;
        let best = places.map(|at| (at, likeness(at))).max_by(|a, b| a.1.total_cmp(&b.1));
        let (at, likeness) = best.unwrap_or((about, 0.0));
        Place { at, likeness }
    }
}

/// Every eighth of the means of eight.
fn thinned(samples: &[f32]) -> Vec<f32> {
    samples.chunks_exact(THIN).map(|chunk| chunk.iter().sum::<f32>() / THIN as f32).collect()
}

/// In lanes, which the compiler turns into vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// 1.1 s: longer than any word.
pub const STRETCH: usize = 8800;
/// 80 ms; less says nothing.
const SHORTEST: usize = 640;
const THIN: usize = 8;
/// In coarse samples, which are milliseconds: where a voice is that goes on, and where one that goes back may be.
const HERE: usize = 40;
const BACK: usize = 4000;
const FORWARD: usize = 600;
const AROUND_START: usize = 40;
/// What is compared first.
const HEAD: usize = 240;
/// As alike as this, nothing else need be looked at.
const CERTAIN: f32 = 0.8;
/// Of a likeness, for each millisecond; a word that is said again must not be taken for the one that is near.
const FARTHER: f32 = 2e-6;
const MOST_FAR: f32 = 0.05;
const LEAST: f32 = 0.45;
const FINE: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::audio::{linear, ulaw};
    use crate::sim::turns::script::{Lexicon, Script};

    #[test]
    fn a_stretch_is_found_to_the_sample_through_mu_law_and_at_any_level() {
        let spoken = Script::new(2).spoken(&Lexicon::default());
        let reference = Reference::new(&spoken.samples, &spoken.sentences);
        for at in [0, 12_345, 200_003] {
            let quieter = spoken.samples[at..at + 9000].iter().map(|sample| linear(ulaw(sample / 4)));
            let heard: Vec<f32> = quieter.map(f32::from).collect();
            for expected in [None, Some(at + 800), Some(500_000)] {
                let place = reference.find(&heard, expected).unwrap();
                assert_eq!(place.at, at, "{place:?}");
            }
        }
    }

    #[test]
    fn what_is_no_part_of_the_text_has_no_place() {
        let spoken = Script::new(2).spoken(&Lexicon::default());
        let reference = Reference::new(&spoken.samples, &spoken.sentences);
        let tone: Vec<f32> = (0..9000).map(|n| 4000.0 * (n as f32 * 1.1).sin()).collect();
        assert_eq!(reference.find(&tone, None), None);
        assert_eq!(reference.find(&tone[..100], None), None);
    }
}
