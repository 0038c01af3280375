//! How periodic the last 40 ms are: what tells a voice from a bang, a breath or line noise.
//!
//! The measure is the peak of the normalised autocorrelation in the range of human pitch, after a
//! first difference that whitens the falling spectra of real noise: brown noise resembles itself at
//! every short lag, its difference at none.

use crate::dot;

/// Periodicity of the last 40 ms of 8 kHz audio.
#[derive(Clone, Debug)]
pub struct Voicing {
    /// It goes round: the oldest sample is at `oldest`.
    wave: [f32; WINDOW],
    oldest: usize,
    previous: f32,
}

impl Voicing {
    /// A meter that has heard silence.
    pub fn new() -> Self {
        Self { wave: [0.0; WINDOW], oldest: 0, previous: 0.0 }
    }

    /// Takes the next samples.
    pub fn push(&mut self, samples: &[i16]) {
        let kept = &samples[samples.len().saturating_sub(WINDOW)..];
        let (before, wrapped) = kept.split_at(kept.len().min(WINDOW - self.oldest));
        for (start, part) in [(self.oldest, before), (0, wrapped)] {
            for (value, &sample) in self.wave[start..].iter_mut().zip(part) {
                let sample = f32::from(sample);
                *value = sample - PRE_EMPHASIS * self.previous;
                self.previous = sample;
            }
        }
        self.oldest = (self.oldest + kept.len()) % WINDOW;
    }

    /// 0 for noise, towards 1 for a steady vowel.
    pub fn periodicity(&self) -> f32 {
        let mut wave = self.wave;
        wave.rotate_left(self.oldest);
        let recent = &wave[LONGEST_LAG..];
        let own = energy(recent);
        // Slid along rather than summed anew for each lag; in f64, so that a bang leaves no trace.
        let mut past_energy = f64::from(energy(&wave[LONGEST_LAG - SHORTEST_LAG..WINDOW - SHORTEST_LAG]));
        let mut best = 0f32;
        for lag in SHORTEST_LAG..=LONGEST_LAG {
            let start = LONGEST_LAG - lag;
            let past = &wave[start..start + SPAN];
            // The arithmetic mean: a few milliseconds of noise at an edge resemble too many things.
            best = best.max(2.0 * dot(recent, past) / (own + past_energy as f32 + LEAST_ENERGY));
            if let Some(&entering) = start.checked_sub(1).and_then(|index| wave.get(index)) {
                let leaving = wave[start + SPAN - 1];
                past_energy += f64::from(entering * entering) - f64::from(leaving * leaving);
            }
        }
        best
    }

    /// Forgets all audio.
    pub fn reset(&mut self) {
        *self = Self::new();
    }
}

impl Default for Voicing {
    fn default() -> Self {
        Self::new()
    }
}

fn energy(wave: &[f32]) -> f32 {
    dot(wave, wave)
}

/// 66 to 400 Hz.
const SHORTEST_LAG: usize = 20;
const LONGEST_LAG: usize = 120;
/// 26 ms, a multiple of the lanes.
const SPAN: usize = 208;
const WINDOW: usize = SPAN + LONGEST_LAG;
const PRE_EMPHASIS: f32 = 0.95;
/// The quantisation noise of a quiet line (-68 dBFS) is not examined for pitch.
const LEAST_ENERGY: f32 = 2.0 * SPAN as f32 * 13.0 * 13.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone::ComfortNoise;

    #[test]
    fn a_vowel_is_periodic_and_noise_is_not() {
        let vowel: Vec<i16> = (0..400)
            .map(|n| {
                let time = n as f32 / 8000.0;
                let wave: f32 = (1..=15).map(|k| (core::f32::consts::TAU * 140.0 * k as f32 * time).sin()).sum();
                crate::to_sample(800.0 * wave)
            })
            .collect();
        let mut voicing = Voicing::new();
        voicing.push(&vowel);
        assert!(voicing.periodicity() > 0.9, "{}", voicing.periodicity());

        let mut highest = 0f32;
        let mut noise = ComfortNoise::new(3, -20.0);
        for _ in 0..200 {
            let mut hop = [0; 128];
            noise.fill(&mut hop);
            voicing.push(&hop);
            highest = highest.max(voicing.periodicity());
        }
        assert!(voicing.periodicity() < 0.45 && highest < 0.5);
    }

    #[test]
    fn silence_is_not_periodic() {
        let mut voicing = Voicing::new();
        voicing.push(&[0; 400]);
        assert!(voicing.periodicity() < 0.01);
    }
}
