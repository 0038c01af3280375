//! Streaming sample-rate conversion by a polyphase Kaiser-windowed sinc.
//!
//! One filter serves a ratio L/M: it is flat to 3.4 kHz and 60 dB down from 4 kHz (where aliases and
//! images begin). Each pair of rates builds its filter once, all calls share it.

use core::f64::consts::PI;
use std::sync::{Arc, OnceLock};

use crate::{LANES, dot, to_sample};

/// A sample rate that recordings and voices come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rate {
    Hz8000,
    Hz11025,
    Hz16000,
    Hz22050,
    Hz24000,
    Hz44100,
    Hz48000,
}

impl Rate {
    /// Samples per second.
    pub const fn hz(self) -> u32 {
        match self {
            Self::Hz8000 => 8000,
            Self::Hz11025 => 11_025,
            Self::Hz16000 => 16_000,
            Self::Hz22050 => 22_050,
            Self::Hz24000 => 24_000,
            Self::Hz44100 => 44_100,
            Self::Hz48000 => 48_000,
        }
    }

    /// The rate for a number of samples per second.
    ///
    /// # Errors
    /// [`UnknownRate`] if no converter exists for it.
    pub fn from_hz(hz: u32) -> Result<Self, UnknownRate> {
        ALL_RATES.into_iter().find(|rate| rate.hz() == hz).ok_or(UnknownRate { hz })
    }
}

/// A sample rate without a converter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sample rate {hz} Hz, expected 8000, 11025, 16000, 22050, 24000, 44100 or 48000")]
pub struct UnknownRate {
    pub hz: u32,
}

/// Converts a stream; memory is fixed once it is built.
#[derive(Clone, Debug)]
pub struct Resampler {
    bank: Arc<Bank>,
    /// The newest inputs, written twice so that every window lies in one piece.
    history: Box<[f32]>,
    next: usize,
    phase: usize,
}

impl Resampler {
    /// A converter between two rates, one of which is 8 kHz in practice; any pair works.
    pub fn new(from: Rate, to: Rate) -> Self {
        let bank = Bank::shared(from, to);
        let history = vec![0.0; 2 * bank.taps].into_boxed_slice();
        Self { bank, history, next: 0, phase: 0 }
    }

    /// Converts `input` and appends to `output`, at most [`Resampler::most_output`] samples.
    pub fn push(&mut self, input: &[i16], output: &mut Vec<i16>) {
        if self.bank.is_identity() {
            output.extend_from_slice(input);
            return;
        }
        for &sample in input {
            self.step(f32::from(sample), |value| output.push(value));
        }
    }

    /// Appends what is still in the filter at the end of the stream, and starts anew.
    pub fn finish(&mut self, output: &mut Vec<i16>) {
        if !self.bank.is_identity() {
            for _ in 0..self.bank.taps / 2 {
                self.step(0.0, |value| output.push(value));
            }
        }
        self.reset();
    }

    /// Forgets all audio.
    pub fn reset(&mut self) {
        self.history.fill(0.0);
        (self.next, self.phase) = (0, 0);
    }

    /// The most samples that `input` samples turn into.
    pub fn most_output(&self, input: usize) -> usize {
        input * self.bank.up / self.bank.down + 1
    }

    /// Delay of the filter, in input samples.
    pub fn delay(&self) -> usize {
        if self.bank.is_identity() { 0 } else { self.bank.taps / 2 }
    }

    fn step(&mut self, sample: f32, mut emit: impl FnMut(i16)) {
        let taps = self.bank.taps;
        self.history[self.next] = sample;
        self.history[self.next + taps] = sample;
        self.next = (self.next + 1) % taps;
        while self.phase < self.bank.up {
            let window = &self.history[self.next..self.next + taps];
            emit(to_sample(dot(window, self.bank.phase(self.phase))));
            self.phase += self.bank.down;
        }
        self.phase -= self.bank.up;
    }
}

/// The filter of one ratio, cut into phases, each reversed to run along the history.
#[derive(Debug)]
struct Bank {
    up: usize,
    down: usize,
    taps: usize,
    coefficients: Box<[f32]>,
}

impl Bank {
    fn shared(from: Rate, to: Rate) -> Arc<Self> {
        static BANKS: [OnceLock<Arc<Bank>>; 49] = [const { OnceLock::new() }; 49];
        let cell = &BANKS[from as usize * ALL_RATES.len() + to as usize];
        Arc::clone(cell.get_or_init(|| Arc::new(Self::design(from, to))))
    }

    fn design(from: Rate, to: Rate) -> Self {
        let (from, to) = (f64::from(from.hz()), f64::from(to.hz()));
        let common = gcd(from as usize, to as usize);
        let (up, down) = (to as usize / common, from as usize / common);
        let lower = from.min(to);
        // Scaled so that the pass band of 8 kHz audio ends at 3.4 kHz and the stop band begins at 4 kHz.
        let (cutoff, transition) = (lower * (PASS + STOP) / 2.0, lower * (STOP - PASS));
        let fine_rate = from * up as f64;
        let length = (ATTENUATION_DB - 7.95) / 14.36 * fine_rate / transition;
        let taps = ((length / up as f64).ceil() as usize).next_multiple_of(LANES);
        let centre = (taps * up - 1) as f64 / 2.0;
        let beta = 0.1102 * (ATTENUATION_DB - 8.7);
        let mut coefficients = vec![0.0; taps * up].into_boxed_slice();
        for index in 0..taps * up {
            let distance = index as f64 - centre;
            let window = bessel(beta * (1.0 - (distance / centre).powi(2)).max(0.0).sqrt()) / bessel(beta);
            let value = sinc(2.0 * cutoff / fine_rate * distance) * 2.0 * cutoff / fine_rate * window * up as f64;
            let (phase, tap) = (index % up, index / up);
            coefficients[phase * taps + taps - 1 - tap] = value as f32;
        }
        Self { up, down, taps, coefficients }
    }

    fn phase(&self, phase: usize) -> &[f32] {
        &self.coefficients[phase * self.taps..(phase + 1) * self.taps]
    }

    fn is_identity(&self) -> bool {
        self.up == self.down
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

/// Modified Bessel function of the first kind, order 0, by its power series.
fn bessel(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..60 {
        term *= (x / 2.0 / f64::from(k)).powi(2);
        sum += term;
    }
    sum
}

const ALL_RATES: [Rate; 7] =
    [Rate::Hz8000, Rate::Hz11025, Rate::Hz16000, Rate::Hz22050, Rate::Hz24000, Rate::Hz44100, Rate::Hz48000];
const ATTENUATION_DB: f64 = 70.0;
/// Band edges as fractions of the lower rate: 3.4 and 4 kHz at 8 kHz.
const PASS: f64 = 0.425;
const STOP: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::rms_dbfs;

    fn sine(rate: Rate, hz: f64, seconds: f64) -> Vec<i16> {
        let count = (f64::from(rate.hz()) * seconds) as usize;
        (0..count)
            .map(|n| (16_000.0 * (2.0 * PI * hz * n as f64 / f64::from(rate.hz())).sin()).round() as i16)
            .collect()
    }

    fn convert(from: Rate, to: Rate, input: &[i16]) -> Vec<i16> {
        let mut out = Vec::new();
        Resampler::new(from, to).push(input, &mut out);
        out
    }

    /// Level of the middle of the conversion relative to its input, dB.
    fn gain_db(from: Rate, to: Rate, hz: f64) -> f32 {
        let input = sine(from, hz, 0.5);
        let out = convert(from, to, &input);
        rms_dbfs(&out[out.len() / 4..out.len() * 3 / 4]) - rms_dbfs(&input)
    }

    #[test]
    fn the_pass_band_is_flat_to_3400_hz() {
        for from in ALL_RATES {
            for hz in [100.0, 300.0, 1000.0, 2000.0, 3000.0, 3400.0] {
                let gain = gain_db(from, Rate::Hz8000, hz);
                assert!(gain.abs() < 0.5, "{from:?} to 8 kHz at {hz} Hz: {gain} dB");
                let gain = gain_db(Rate::Hz8000, from, hz);
                assert!(gain.abs() < 0.5, "8 kHz to {from:?} at {hz} Hz: {gain} dB");
            }
        }
    }

    #[test]
    fn aliases_are_60_db_down() {
        for from in &ALL_RATES[1..] {
            let nyquist = f64::from(from.hz()) / 2.0;
            for hz in [4000.0, 4100.0, 4600.0, 5000.0, 7000.0, 9000.0, 12_300.0, 20_000.0] {
                if hz < nyquist {
                    let gain = gain_db(*from, Rate::Hz8000, hz);
                    assert!(gain < -60.0, "{from:?} at {hz} Hz: {gain} dB");
                }
            }
        }
    }

    #[test]
    fn images_are_60_db_down() {
        for (to, hz) in [(Rate::Hz16000, 1000.0), (Rate::Hz48000, 1000.0), (Rate::Hz16000, 3000.0)] {
            let out = convert(Rate::Hz8000, to, &sine(Rate::Hz8000, hz, 0.5));
            let middle = &out[out.len() / 4..out.len() * 3 / 4];
            let level = |hz: f64| {
                let step = 2.0 * PI * hz / f64::from(to.hz());
                let (mut re, mut im) = (0.0, 0.0);
                for (n, &sample) in middle.iter().enumerate() {
                    let window = 1.0 - (2.0 * PI * n as f64 / middle.len() as f64).cos();
                    re += window * f64::from(sample) * (step * n as f64).cos();
                    im += window * f64::from(sample) * (step * n as f64).sin();
                }
                10.0 * (re * re + im * im).log10()
            };
            assert!(level(hz) - level(8000.0 - hz) > 60.0, "{to:?} {hz}");
        }
    }

    #[test]
    fn cutting_the_stream_differently_changes_nothing() {
        let input = sine(Rate::Hz22050, 700.0, 0.2);
        let whole = convert(Rate::Hz22050, Rate::Hz8000, &input);
        let (mut resampler, mut parts) = (Resampler::new(Rate::Hz22050, Rate::Hz8000), Vec::new());
        for (index, part) in input.chunks(97).enumerate() {
            let before = parts.len();
            resampler.push(part, &mut parts);
            assert!(parts.len() - before <= resampler.most_output(part.len()), "part {index}");
        }
        assert_eq!(whole, parts);
    }

    #[test]
    fn lengths_follow_the_ratio_and_finish_drains_the_filter() {
        for from in ALL_RATES {
            let count = from.hz() as usize;
            let (mut resampler, mut out) = (Resampler::new(from, Rate::Hz8000), Vec::new());
            resampler.push(&vec![1000; count], &mut out);
            assert!(out.len().abs_diff(8000) <= 1, "{from:?}: {}", out.len());
            let before = out.len();
            resampler.finish(&mut out);
            let expected = resampler.delay() * 8000 / count;
            assert!((out.len() - before).abs_diff(expected) <= 1, "{from:?}");
        }
    }

    #[test]
    fn unknown_rates_are_named() {
        assert_eq!(Rate::from_hz(24_000), Ok(Rate::Hz24000));
        assert!(Rate::from_hz(12_000).unwrap_err().to_string().starts_with("sample rate 12000 Hz"));
    }
}
