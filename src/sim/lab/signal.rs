//! Signals as the laboratory makes them: dice of several shapes, filters, levels, and what a telephone line does to a voice.
//!
//! Samples are `f32` in sample units: full scale is 32768. Resampling is deliberately absent, everything here is 8 kHz.

use core::f32::consts::{FRAC_1_SQRT_2, TAU};

use offhook_media::g711::G711;
use offhook_media::level::{amplitude, power_dbfs};

use crate::sim::clock::Dice;

/// Samples per second, Hz.
pub const RATE: usize = 8000;
/// Samples in the 5 ms block by which speech is labelled.
pub const BLOCK: usize = 40;

/// Uniform between `low` and `high`.
pub fn between(dice: &mut Dice, low: f32, high: f32) -> f32 {
    low + (high - low) * dice.unit() as f32
}

/// Of mean 0 and variance 1, close to normal: the sum of four uniform values of 16 bits.
pub fn normal(dice: &mut Dice) -> f32 {
    let bits = dice.bits();
    let sum: u32 = (0..4).map(|part| (bits >> (16 * part)) as u32 & 0xFFFF).sum();
    (sum as f32 / 65536.0 - 2.0) * 1.732
}

/// One of several.
pub fn choose<'a, T>(dice: &mut Dice, from: &'a [T]) -> Option<&'a T> {
    from.get(dice.below(from.len()))
}

/// Seconds as a count of samples.
pub fn seconds(seconds: f32) -> usize {
    (seconds * RATE as f32) as usize
}

/// A factor for amplitudes, from dB.
pub fn ratio(db: f32) -> f32 {
    10f32.powf(db / 20.0)
}

/// Mean square of the samples.
pub fn power(wave: &[f32]) -> f32 {
    if wave.is_empty() { 0.0 } else { wave.iter().map(|sample| sample * sample).sum::<f32>() / wave.len() as f32 }
}

/// Brings the root mean square to `dbfs`.
pub fn scale_to(wave: &mut [f32], dbfs: f32) {
    let now = power(wave).sqrt();
    if now > 0.0 {
        gain(wave, amplitude(dbfs) / now);
    }
}

/// Multiplies every sample.
pub fn gain(wave: &mut [f32], factor: f32) {
    wave.iter_mut().for_each(|sample| *sample *= factor);
}

/// Adds what fits.
pub fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(place, sample)| *place += sample);
}

/// The active speech level, dBFS: the power of the 10 ms blocks within 25 dB of their 95th percentile.
pub fn active_dbfs(wave: &[f32]) -> f32 {
    let mut powers: Vec<f32> = wave.chunks_exact(2 * BLOCK).map(power).collect();
    powers.sort_by(f32::total_cmp);
    let loud = powers.get(powers.len() * 95 / 100).copied().unwrap_or(0.0);
    let active: Vec<f32> = powers.into_iter().filter(|power| *power > loud * ratio(-50.0)).collect();
    power_dbfs(active.iter().sum::<f32>() / active.len().max(1) as f32)
}

/// Second-order filters in a row.
#[derive(Clone, Debug)]
pub struct Filter {
    sections: Vec<Section>,
}

impl Filter {
    /// What a telephone passes: 220 to 3400 Hz, second order at either end.
    pub fn telephone() -> Self {
        Self { sections: vec![Section::high_pass(220.0, FRAC_1_SQRT_2), Section::low_pass(3400.0, FRAC_1_SQRT_2)] }
    }

    /// A band from `low` to `high` Hz.
    pub fn band(low: f32, high: f32) -> Self {
        Self { sections: vec![Section::high_pass(low, FRAC_1_SQRT_2), Section::low_pass(high, FRAC_1_SQRT_2)] }
    }

    /// A resonance at `hz`, `bandwidth` Hz wide.
    pub fn resonance(hz: f32, bandwidth: f32) -> Self {
        let radius = (-core::f32::consts::PI * bandwidth / RATE as f32).exp();
        let (a1, a2) = (-2.0 * radius * (TAU * hz / RATE as f32).cos(), radius * radius);
        Self { sections: vec![Section { b: [1.0 - radius, 0.0, 0.0], a: [a1, a2], state: [0.0; 2] }] }
    }

    /// Filters in place.
    pub fn run(&mut self, wave: &mut [f32]) {
        for section in &mut self.sections {
            wave.iter_mut().for_each(|sample| *sample = section.next(*sample));
        }
    }
}

/// What a mobile telephone's full-rate codec does to a voice, roughly: 300 to 3400 Hz, and in every 5 ms the difference from
/// sample to sample in eight steps. It is a stand-in for GSM 06.10, of like distortion and no other likeness.
#[derive(Clone, Debug)]
pub struct MobileCoding {
    band: Filter,
    before: f32,
}

impl MobileCoding {
    pub fn new() -> Self {
        Self { band: Filter::band(300.0, 3400.0), before: 0.0 }
    }

    /// Codes and decodes in place, whole blocks of 5 ms.
    pub fn run(&mut self, wave: &mut [f32]) {
        self.band.run(wave);
        for block in wave.chunks_mut(BLOCK) {
            let mut predicted = self.before;
            let mut most = 1.0f32;
            for sample in block.iter() {
                most = most.max((sample - PREDICTION * predicted).abs());
                predicted = *sample;
            }
            let step = most / 4.0;
            for sample in block.iter_mut() {
                let difference = *sample - PREDICTION * self.before;
                self.before = PREDICTION * self.before + ((difference / step).floor() + 0.5).clamp(-3.5, 3.5) * step;
                *sample = self.before;
            }
        }
    }
}

impl Default for MobileCoding {
    fn default() -> Self {
        Self::new()
    }
}

/// As linear samples, clipped.
pub fn to_pcm(wave: &[f32]) -> Vec<i16> {
    wave.iter().map(|sample| sample.round() as i16).collect()
}

/// Through G.711 mu-law and back.
pub fn through_mu_law(pcm: &[i16]) -> Vec<i16> {
    let (mut octets, mut heard) = (vec![0; pcm.len()], vec![0; pcm.len()]);
    G711::Ulaw.encode(pcm, &mut octets);
    G711::Ulaw.decode(&octets, &mut heard);
    heard
}

const PREDICTION: f32 = 0.86;

#[derive(Clone, Debug)]
struct Section {
    b: [f32; 3],
    a: [f32; 2],
    state: [f32; 2],
}

impl Section {
    /// Bristow-Johnson's biquads (Audio EQ Cookbook).
    fn low_pass(hz: f32, q: f32) -> Self {
        Self::pass(hz, q, 1.0)
    }

    fn high_pass(hz: f32, q: f32) -> Self {
        Self::pass(hz, q, -1.0)
    }

    /// Low-pass for a `side` of 1, high-pass for -1.
    fn pass(hz: f32, q: f32, side: f32) -> Self {
        let (sin, cos) = (TAU * hz / RATE as f32).sin_cos();
        let alpha = sin / (2.0 * q);
        let unit = 1.0 + alpha;
        let edge = (1.0 - side * cos) / 2.0 / unit;
        Self { b: [edge, 2.0 * side * edge, edge], a: [-2.0 * cos / unit, (1.0 - alpha) / unit], state: [0.0; 2] }
    }

    fn next(&mut self, sample: f32) -> f32 {
        let out = self.b[0] * sample + self.state[0];
        self.state[0] = self.b[1] * sample - self.a[0] * out + self.state[1];
        self.state[1] = self.b[2] * sample - self.a[1] * out;
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f32) -> Vec<f32> {
        (0..RATE).map(|n| 3000.0 * (TAU * hz * n as f32 / RATE as f32).sin()).collect()
    }

    fn loss_db(hz: f32) -> f32 {
        let mut wave = tone(hz);
        let before = power(&wave[4000..]);
        Filter::telephone().run(&mut wave);
        10.0 * (before / power(&wave[4000..])).log10()
    }

    #[test]
    fn a_telephone_passes_the_voice_and_no_hum() {
        assert!(loss_db(1000.0).abs() < 0.1, "{}", loss_db(1000.0));
        assert!((loss_db(220.0) - 3.0).abs() < 0.2, "{}", loss_db(220.0));
        assert!(loss_db(50.0) > 20.0, "{}", loss_db(50.0));
    }

    #[test]
    fn normal_values_have_mean_zero_and_variance_one() {
        let mut dice = Dice::new(1, 2, 3);
        let values: Vec<f32> = (0..20_000).map(|_| normal(&mut dice)).collect();
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        assert!(mean.abs() < 0.03 && (power(&values) - 1.0).abs() < 0.05, "{mean} {}", power(&values));
    }

    #[test]
    fn mobile_coding_distorts_as_much_as_that_of_a_telephone() {
        let mut dice = Dice::new(1, 2, 3);
        let mut wave: Vec<f32> = (0..RATE).map(|_| 1000.0 * normal(&mut dice)).collect();
        Filter::resonance(700.0, 150.0).run(&mut wave);
        Filter::band(300.0, 3400.0).run(&mut wave);
        let mut coded = wave.clone();
        MobileCoding::new().run(&mut coded);
        let mut clean = wave;
        Filter::band(300.0, 3400.0).run(&mut clean);
        let error: Vec<f32> = coded.iter().zip(&clean).map(|(a, b)| a - b).collect();
        let snr = 10.0 * (power(&clean) / power(&error)).log10();
        assert!((8.0..25.0).contains(&snr), "{snr} dB");
    }
}
