//! Test tones, dial tones and comfort noise.

use core::f32::consts::TAU;

use crate::level::amplitude;
use crate::{RATE_HZ, to_sample};

/// One or two sines, continuous from frame to frame.
#[derive(Clone, Debug)]
pub struct Tone {
    parts: [Oscillator; 2],
}

impl Tone {
    /// A sine of `hz` at `dbfs` (root mean square).
    pub fn sine(hz: f32, dbfs: f32) -> Self {
        Self { parts: [Oscillator::new(hz, dbfs), Oscillator::new(0.0, f32::NEG_INFINITY)] }
    }

    /// Two sines, each at `dbfs`, as in DTMF or a dial tone.
    pub fn dual(low_hz: f32, high_hz: f32, dbfs: f32) -> Self {
        Self { parts: [Oscillator::new(low_hz, dbfs), Oscillator::new(high_hz, dbfs)] }
    }

    /// Writes the next samples.
    pub fn fill(&mut self, out: &mut [i16]) {
        for sample in out {
            let [low, high] = &mut self.parts;
            *sample = to_sample(low.next() + high.next());
        }
    }
}

/// Quiet noise that keeps a line from sounding dead.
#[derive(Clone, Debug)]
pub struct ComfortNoise {
    state: u64,
    scale: f32,
    previous: f32,
}

impl ComfortNoise {
    /// Noise at `dbfs` (root mean square); equal seeds give equal noise.
    pub fn new(seed: u64, dbfs: f32) -> Self {
        Self { state: seed ^ 0x9E37_79B9_7F4A_7C15, scale: amplitude(dbfs) * LOW_PASS_MAKE_UP, previous: 0.0 }
    }

    /// Goes on at another level.
    pub fn set_level(&mut self, dbfs: f32) {
        self.scale = amplitude(dbfs) * LOW_PASS_MAKE_UP;
    }

    /// Writes the next samples.
    pub fn fill(&mut self, out: &mut [i16]) {
        for sample in out {
            // A gentle low-pass: white noise hisses on a telephone.
            self.previous = 0.5 * self.previous + 0.5 * self.uniform();
            *sample = to_sample(self.previous * self.scale);
        }
    }

    /// The next value in -1..1 (xorshift, uniform).
    fn uniform(&mut self) -> f32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }
}

/// A uniform value in -1..1 has rms 1/sqrt(3); the low-pass leaves 1/3 of its power.
const LOW_PASS_MAKE_UP: f32 = 3.0;

#[derive(Clone, Debug)]
struct Oscillator {
    phase: f32,
    step: f32,
    peak: f32,
}

impl Oscillator {
    fn new(hz: f32, dbfs: f32) -> Self {
        Self { phase: 0.0, step: TAU * hz / RATE_HZ as f32, peak: amplitude(dbfs) * core::f32::consts::SQRT_2 }
    }

    fn next(&mut self) -> f32 {
        let value = self.peak * self.phase.sin();
        self.phase = (self.phase + self.step) % TAU;
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::rms_dbfs;

    #[test]
    fn tones_have_the_level_and_frequency_asked_for() {
        let mut out = [0i16; 8000];
        Tone::sine(1000.0, -20.0).fill(&mut out);
        assert!((rms_dbfs(&out) + 20.0).abs() < 0.05);
        let rising = out.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
        assert!((999..=1000).contains(&rising), "{rising}");
        Tone::dual(350.0, 440.0, -20.0).fill(&mut out);
        assert!((rms_dbfs(&out) + 17.0).abs() < 0.05);
    }

    #[test]
    fn a_tone_is_continuous_between_frames() {
        let (mut whole, mut parts) = ([0; 320], [0; 320]);
        Tone::sine(440.0, -12.0).fill(&mut whole);
        let mut tone = Tone::sine(440.0, -12.0);
        parts.chunks_mut(160).for_each(|part| tone.fill(part));
        assert_eq!(whole, parts);
    }

    #[test]
    fn comfort_noise_has_its_level_and_is_reproducible() {
        let (mut one, mut two) = ([0i16; 8000], [0i16; 8000]);
        ComfortNoise::new(7, -50.0).fill(&mut one);
        ComfortNoise::new(7, -50.0).fill(&mut two);
        assert!((rms_dbfs(&one) + 50.0).abs() < 0.5, "{}", rms_dbfs(&one));
        assert_eq!(one, two);
    }
}
