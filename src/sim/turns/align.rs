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
    /// Where sentences begin, and those of them with which the bot begins to speak: in samples.
    sentences: Vec<usize>,
    turns: Vec<usize>,
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
    pub fn new(samples: &[i16], sentences: &[Range<usize>], turns: &[usize]) -> Self {
        let full: Vec<f32> = samples.iter().map(|sample| f32::from(*sample)).collect();
        let coarse = thinned(&full);
        let mut sum = 0.0;
        let squares = coarse.iter().map(|value| {
            sum += f64::from(value * value);
            sum
        });
        let energy = std::iter::once(0.0).chain(squares).collect();
        let sentences = sentences.iter().map(|sentence| sentence.start).collect();
        Self { coarse, energy, sentences, turns: turns.to_vec(), full }
    }

    /// The place of `heard`, of which the first [`STRETCH`] samples count; near `expected` if it is there. `None` for what
    /// is no part of the text.
    pub fn find(&self, heard: &[f32], expected: Option<usize>) -> Option<Place> {
        let stretch = heard.get(..STRETCH.min(heard.len())).filter(|stretch| stretch.len() >= SHORTEST)?;
        // Between two coarse samples a sound looks like another: it is compared from two places that are half of one apart.
        let thin = [0, THIN / 2].map(|phase| (phase, thinned(stretch.get(phase..).unwrap_or_default())));
        let here = expected.map(|at| (at.saturating_sub(HERE)..at + HERE, 0.0));
        let likely = self.likely(expected);
        let everywhere = (0..self.full.len(), ELSEWHERE);
        let passes = [here.into_iter().collect(), likely, vec![everywhere]];
        let mut best: Option<(Place, f32)> = None;
        for ranges in passes {
            let of = |(range, less): &(Range<usize>, f32)| {
                let phases = thin.iter().map(|(phase, thin)| self.candidates(thin, *phase, range, *less));
                phases.collect::<Vec<_>>().concat()
            };
            let mut found: Vec<Candidate> = ranges.iter().flat_map(of).collect();
            found.sort_by(|a, b| b.likeness.total_cmp(&a.likeness));
            found.truncate(REFINED);
            let refined = found.into_iter().map(|Candidate { about, less, .. }| {
                let place = self.refine(stretch, about);
                (place, place.likeness - less - farther(place.at, expected))
            });
            best = refined.chain(best).max_by(|a, b| a.1.total_cmp(&b.1));
            if best.is_some_and(|(place, _)| place.likeness >= CERTAIN) {
                break;
            }
        }
        best.map(|(place, _)| place).filter(|place| place.likeness >= LEAST)
    }

    /// Where the bot may speak besides the place that is expected, and by how much less likely that is: a little back or on,
    /// with the turn that comes next, with another one, with any sentence. A word alone sounds the same in all of them.
    fn likely(&self, expected: Option<usize>) -> Vec<(Range<usize>, f32)> {
        let around = |at: usize| at.saturating_sub(AROUND_START)..at + AROUND_START;
        let next = expected.and_then(|at| self.turns.iter().find(|turn| **turn > at).or(self.turns.first()));
        let near = expected.map(|at| (at.saturating_sub(BACK)..at + FORWARD, 0.0));
        let turns = self.turns.iter().map(|at| (around(*at), if next == Some(at) { NEXT_TURN } else { TURN }));
        let sentences = self.sentences.iter().map(|at| (around(*at), SENTENCE));
        near.into_iter().chain(turns).chain(sentences).collect()
    }

    /// Places in `range` that are most like it at the coarse rate, which may be off by a few samples and so is no judge.
    fn candidates(&self, thin: &[f32], phase: usize, range: &Range<usize>, less: f32) -> Vec<Candidate> {
        let Some(last) = self.coarse.len().checked_sub(thin.len()) else { return Vec::new() };
        let head = thin.get(..HEAD).unwrap_or(thin);
        let [own_head, own] = [head, thin].map(|part| dot(part, part).sqrt());
        let likeness = |at: usize| {
            let by_head = self.likeness(head, own_head, at);
            if by_head < LEAST { by_head } else { self.likeness(thin, own, at) }
        };
        let places = (range.start / THIN).min(last)..(range.end / THIN + 1).min(last + 1);
        let mut by_likeness: Vec<(usize, f32)> = places.map(|at| (at, likeness(at))).collect();
        by_likeness.sort_by(|a, b| b.1.total_cmp(&a.1));
        // Around a beginning there is one place; in a longer stretch several may be alike.
        let most = if range.len() <= 2 * AROUND_START { 2 } else { CANDIDATES };
        let mut kept: Vec<(usize, f32)> = Vec::new();
        for (at, likeness) in by_likeness {
            if kept.iter().all(|(other, _)| other.abs_diff(at) >= APART) {
                kept.push((at, likeness));
            }
            if kept.len() >= most {
                break;
            }
        }
        let about = |at: usize| (at * THIN).saturating_sub(phase);
        kept.into_iter().map(|(at, likeness)| Candidate { about: about(at), likeness: likeness - less, less }).collect()
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

/// A place to be looked at closely.
#[derive(Clone, Copy)]
struct Candidate {
    about: usize,
    /// At the coarse rate, less what its range takes off.
    likeness: f32,
    less: f32,
}

/// How much less likely a place is for being far from where the voice was: a word that is said again must not be taken for the
/// one that is near.
fn farther(at: usize, expected: Option<usize>) -> f32 {
    expected.map_or(0.0, |expected| (at.abs_diff(expected) as f32 * FARTHER).min(MOST_FAR))
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
/// Where a voice is that goes on, 40 ms, and where one that goes back may be, 4 s.
const HERE: usize = 320;
const BACK: usize = 32_000;
const FORWARD: usize = 4800;
const AROUND_START: usize = 320;
/// In coarse samples, which are milliseconds: what is compared first, and how far two candidates are apart.
const HEAD: usize = 240;
const APART: usize = 6;
/// Of each range, and of all ranges together.
const CANDIDATES: usize = 4;
const REFINED: usize = 16;
/// As alike as this, nothing else need be looked at.
const CERTAIN: f32 = 0.9;
/// Of a likeness, for each sample.
const FARTHER: f32 = 2.5e-7;
const MOST_FAR: f32 = 0.01;
const NEXT_TURN: f32 = 0.01;
const TURN: f32 = 0.02;
const SENTENCE: f32 = 0.04;
const ELSEWHERE: f32 = 0.05;
const LEAST: f32 = 0.45;
/// Two coarse samples, either way.
const FINE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::audio::{linear, ulaw};
    use crate::sim::turns::script::{Lexicon, Script};

    #[test]
    fn a_stretch_is_found_to_the_sample_through_mu_law_and_at_any_level() {
        let spoken = Script::new(2).spoken(&Lexicon::default());
        let reference = Reference::new(&spoken.samples, &spoken.sentences, &spoken.turns);
        for at in [0, 12_345, 20_004, 200_003] {
            let quieter = spoken.samples[at..at + 9000].iter().map(|sample| linear(ulaw(sample / 4)));
            let heard: Vec<f32> = quieter.map(f32::from).collect();
            for expected in [None, Some(at + 800), Some(500_000)] {
                let place = reference.find(&heard, expected).unwrap();
                assert_eq!(place.at, at, "{place:?}");
            }
        }
    }

    /// A word or two with which several sentences begin.
    #[test]
    fn a_short_stretch_is_where_the_bot_may_have_begun() {
        let spoken = Script::new(311).spoken(&Lexicon::default());
        let reference = Reference::new(&spoken.samples, &spoken.sentences, &spoken.turns);
        for (step, start) in spoken.turns.iter().enumerate().take(3) {
            let before = start.checked_sub(20_000).unwrap_or(spoken.samples.len() - 20_000);
            for length in [4000, 9000] {
                let heard: Vec<f32> = spoken.samples[*start..start + length].iter().map(|s| f32::from(*s)).collect();
                let place = reference.find(&heard, Some(before)).unwrap();
                assert_eq!(place.at, *start, "step {step}, {length} samples: {place:?}");
            }
        }
    }

    #[test]
    fn what_is_no_part_of_the_text_has_no_place() {
        let spoken = Script::new(2).spoken(&Lexicon::default());
        let reference = Reference::new(&spoken.samples, &spoken.sentences, &spoken.turns);
        let tone: Vec<f32> = (0..9000).map(|n| 4000.0 * (n as f32 * 1.1).sin()).collect();
        assert_eq!(reference.find(&tone, None), None);
        assert_eq!(reference.find(&tone[..100], None), None);
    }
}
