//! Voice activity: how likely the last few milliseconds hold speech.
//!
//! The trait lets other networks take the place of the built-in one; deciding when someone speaks is
//! the business of [`crate::speech`].

use earshot::{DefaultPredictor, Detector};

/// A speech probability for each hop of 8 kHz audio.
pub trait Vad: Send {
    /// Samples consumed per decision, at 8 kHz.
    fn hop(&self) -> usize;
    /// Takes exactly one hop and returns the probability of speech, 0 to 1.
    fn push(&mut self, hop: &[i16]) -> f32;
    /// Forgets all audio.
    fn reset(&mut self);
}

/// The `earshot` network (16 ms hops), fed through an 8 to 16 kHz interpolator.
pub struct Earshot {
    detector: Box<Detector<DefaultPredictor>>,
    doubler: Doubler,
    wide: [i16; 2 * HOP],
}

impl Earshot {
    /// A detector that has heard silence.
    pub fn new() -> Self {
        Self { detector: Detector::default_boxed(), doubler: Doubler::new(), wide: [0; 2 * HOP] }
    }
}

impl Default for Earshot {
    fn default() -> Self {
        Self::new()
    }
}

impl Vad for Earshot {
    fn hop(&self) -> usize {
        HOP
    }

    fn push(&mut self, hop: &[i16]) -> f32 {
        self.doubler.process(hop, &mut self.wide);
        self.detector.predict_i16(&self.wide).clamp(0.0, 1.0)
    }

    fn reset(&mut self) {
        self.detector.reset();
        self.doubler = Doubler::new();
    }
}

impl core::fmt::Debug for Earshot {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.debug_struct("Earshot").finish_non_exhaustive()
    }
}

/// 16 ms at 8 kHz.
const HOP: usize = 128;
const TAPS: usize = 16;

/// Half-band interpolation by two: 1 ms of delay, sixteen multiplications per new sample.
#[derive(Clone, Debug)]
struct Doubler {
    work: [f32; TAPS + HOP],
    taps: [f32; TAPS],
}

impl Doubler {
    fn new() -> Self {
        Self { work: [0.0; TAPS + HOP], taps: half_band() }
    }

    fn process(&mut self, narrow: &[i16], wide: &mut [i16; 2 * HOP]) {
        self.work.copy_within(HOP.., 0);
        for (value, &sample) in self.work[TAPS..].iter_mut().zip(narrow) {
            *value = f32::from(sample);
        }
        // Tap by tap over all samples, which the compiler turns into vector instructions; a sum for each sample in
        // turn would wait for every addition.
        let mut between = [0.0; HOP];
        for (start, tap) in (1..).zip(self.taps) {
            for (sum, value) in between.iter_mut().zip(&self.work[start..]) {
                *sum += value * tap;
            }
        }
        let (pairs, _) = wide.as_chunks_mut::<2>();
        for ((pair, &known), &between) in pairs.iter_mut().zip(&self.work[TAPS / 2..]).zip(&between) {
            *pair = [crate::to_sample(known), crate::to_sample(between)];
        }
    }
}

/// Hann-windowed sinc at half-sample distances, with unit gain at 0 Hz.
fn half_band() -> [f32; TAPS] {
    use core::f32::consts::PI;
    let mut taps = [0.0; TAPS];
    for (index, tap) in taps.iter_mut().enumerate() {
        let distance = index as f32 - (TAPS as f32 - 1.0) / 2.0;
        let window = 0.5 + 0.5 * (2.0 * PI * distance / (TAPS as f32 + 1.0)).cos();
        *tap = (PI * distance).sin() / (PI * distance) * window;
    }
    let sum: f32 = taps.iter().sum();
    taps.map(|tap| tap / sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone::Tone;

    #[test]
    fn doubling_keeps_a_tone_and_rejects_its_image() {
        let mut tone = Tone::sine(1000.0, -12.0);
        let mut doubler = Doubler::new();
        let (mut narrow, mut wide) = ([0; HOP], [0; 2 * HOP]);
        for _ in 0..8 {
            tone.fill(&mut narrow);
            doubler.process(&narrow, &mut wide);
        }
        let power = |hz: f32| {
            let step = core::f32::consts::TAU * hz / 16_000.0;
            let (mut re, mut im) = (0.0, 0.0);
            for (n, &sample) in wide.iter().enumerate() {
                re += f32::from(sample) * (step * n as f32).cos();
                im += f32::from(sample) * (step * n as f32).sin();
            }
            10.0 * (re * re + im * im).log10()
        };
        assert!(power(1000.0) - power(7000.0) > 50.0);
    }

    #[test]
    fn silence_is_no_speech() {
        let mut vad = Earshot::new();
        for _ in 0..50 {
            assert!(vad.push(&[0; HOP]) < 0.3);
        }
    }
}
