//! The network's arithmetic: spectrum, four convolutions, a recurrent layer, one output.
//!
//! A layer is a matrix, column by column in blocks of 32 outputs, so that 32 sums stay in registers while the weights
//! pass by once, in order. Taps that only ever meet padding are left out. Nothing is allocated.

use fearless_simd::{Simd, SimdBase, SimdFloat, SimdFrom, f32x8};

use super::weights::{Convolution, Weights};
use super::{CONTEXT, Memory, UNITS, WINDOW};
use crate::fft::{Point, RealFft};

/// The weights in the order in which they are used.
pub(super) struct Shape {
    fft: RealFft<{ SPAN / 2 }>,
    hann: [f32; SPAN],
    encoder: [Layer; 4],
    recurrent: Layer,
    output: Vec<f32>,
    output_bias: f32,
}

impl Shape {
    pub(super) fn new(weights: Weights) -> Self {
        let [a, b, c, d] = &weights.encoder;
        // The third and fourth layer see one moment: of their taps, those before or after it meet padding only.
        let encoder = [Layer::convolution(a, 0..3), Layer::convolution(b, 0..3), Layer::convolution(c, 1..3)];
        let [a, b, c] = encoder;
        let recurrent = Layer::new(2 * UNITS, &weights.bias, |output, input| match input.checked_sub(UNITS) {
            None => weights.input[output * UNITS + input],
            Some(own) => weights.recurrent[output * UNITS + own],
        });
        Self {
            fft: RealFft::new(),
            // The window is the row of the transform's basis for 0 Hz.
            hann: core::array::from_fn(|n| weights.basis[n]),
            encoder: [a, b, c, Layer::convolution(d, 1..2)],
            recurrent,
            output: weights.output,
            output_bias: weights.output_bias,
        }
    }

    #[inline(always)]
    pub(super) fn run<S: Simd>(&self, simd: S, wave: &[f32; CONTEXT + WINDOW], memory: &mut Memory) -> f32 {
        let [first, second, third, fourth] = &self.encoder;
        let mut spectra = [0.0; MOMENTS * BINS];
        self.spectra(simd, wave, &mut spectra);
        // With a moment of padding at both ends, a tap is an offset of one moment. Rows that meet padding are skipped.
        let mut a = [0.0; MOMENTS * 128];
        for (moment, out) in a.as_chunks_mut::<128>().0.iter_mut().enumerate() {
            let begin = moment.saturating_sub(1) * BINS;
            let end = (moment + 2).min(MOMENTS) * BINS;
            first.run(simd, if moment == 0 { BINS } else { 0 }, &spectra[begin..end], out);
        }
        let mut b = [0.0; 2 * 64];
        let (early, late) = b.split_at_mut(64);
        second.run(simd, 128, &a[..2 * 128], early);
        second.run(simd, 0, &a[128..], late);
        let mut c = [0.0; 64];
        third.run(simd, 0, &b, &mut c);
        let mut inputs = [0.0; 2 * UNITS];
        let (encoded, own) = inputs.split_at_mut(UNITS);
        fourth.run(simd, 0, &c, encoded);
        own.copy_from_slice(&memory.output);
        let mut gates = [0.0; 4 * UNITS];
        self.recurrent.sums(simd, 0, &inputs, &mut gates);
        self.remember(&gates, memory)
    }

    /// Magnitudes of four windows of 16 ms, 8 ms apart; the last one is reflected at the end of the audio.
    #[inline(always)]
    fn spectra<S: Simd>(&self, simd: S, wave: &[f32; CONTEXT + WINDOW], out: &mut [f32; MOMENTS * BINS]) {
        let mut padded = [0.0; CONTEXT + WINDOW + PADDING];
        let (known, reflected) = padded.split_at_mut(CONTEXT + WINDOW);
        known.copy_from_slice(wave);
        for (place, &sample) in reflected.iter_mut().zip(known.iter().rev().skip(1)) {
            *place = sample;
        }
        let mut points = [Point::ZERO; SPAN / 2];
        for (n, point) in points.iter_mut().enumerate() {
            let at = |n: usize| core::array::from_fn(|lane| padded[lane * STEP + n] * self.hann[n]);
            (point.re, point.im) = (at(2 * n), at(2 * n + 1));
        }
        let mut bins = [Point::ZERO; BINS];
        self.fft.forward(simd, &mut points, &mut bins);
        for (k, bin) in bins.iter().enumerate() {
            for moment in 0..MOMENTS {
                let (re, im) = (bin.re[moment], bin.im[moment]);
                out[moment * BINS + k] = (re * re + im * im).sqrt();
            }
        }
    }

    /// The recurrent layer's gates (input, forget, candidate, output) applied, then the one output.
    #[inline(always)]
    fn remember(&self, gates: &[f32; 4 * UNITS], memory: &mut Memory) -> f32 {
        let (quarters, _) = gates.as_chunks::<UNITS>();
        let [input, forget, candidate, output] = quarters else { return 0.0 };
        let mut logits = [0.0; 8];
        for unit in 0..UNITS {
            let kept = sigmoid(forget[unit]) * memory.cells[unit];
            let cell = kept + sigmoid(input[unit]) * tanh(candidate[unit]);
            memory.cells[unit] = cell;
            memory.output[unit] = sigmoid(output[unit]) * tanh(cell);
        }
        for (output, weight) in memory.output.as_chunks::<8>().0.iter().zip(self.output.as_chunks::<8>().0) {
            for ((logit, output), weight) in logits.iter_mut().zip(output).zip(weight) {
                *logit += output.max(0.0) * weight;
            }
        }
        sigmoid(self.output_bias + logits.iter().sum::<f32>())
    }
}

/// A matrix and what is added to its product.
struct Layer {
    /// Block after block, in each the rows of all inputs.
    rows: Box<[Row]>,
    inputs: usize,
    bias: Box<[Row]>,
}

/// What one input adds to 32 outputs.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Row([f32; BLOCK]);

impl Layer {
    fn new(inputs: usize, bias: &[f32], weight: impl Fn(usize, usize) -> f32) -> Self {
        let bias: Box<[Row]> = bias.as_chunks::<BLOCK>().0.iter().map(|block| Row(*block)).collect();
        let place = |block: usize, input: usize| Row(core::array::from_fn(|n| weight(block * BLOCK + n, input)));
        let rows = (0..bias.len()).flat_map(|block| (0..inputs).map(move |input| (block, input)));
        Self { rows: rows.map(|(block, input)| place(block, input)).collect(), inputs, bias }
    }

    /// Inputs are the channels of the first of `taps`, then of the next.
    fn convolution(layer: &Convolution, taps: core::ops::Range<usize>) -> Self {
        let (channels, first) = (layer.inputs, taps.start);
        Self::new(channels * taps.len(), &layer.bias, |output, input| {
            let (tap, channel) = (first + input / channels, input % channels);
            layer.weights[(output * channels + channel) * 3 + tap]
        })
    }

    /// The product with rows from `skipped` on, no less than 0.
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, skipped: usize, inputs: &[f32], out: &mut [f32]) {
        self.sums(simd, skipped, inputs, out);
        for value in out {
            *value = value.max(0.0);
        }
    }

    #[inline(always)]
    fn sums<S: Simd>(&self, simd: S, skipped: usize, inputs: &[f32], out: &mut [f32]) {
        let (out, _) = out.as_chunks_mut::<BLOCK>();
        let blocks = self.rows.chunks_exact(self.inputs).zip(&self.bias);
        for ((rows, bias), out) in blocks.zip(out) {
            *out = block(simd, &rows[skipped..], bias, inputs);
        }
    }
}

/// 32 sums in registers. Where a vector holds eight numbers, even and odd inputs have their own, so that no addition
/// waits for the one before.
#[inline(always)]
fn block<S: Simd>(simd: S, rows: &[Row], bias: &Row, inputs: &[f32]) -> [f32; BLOCK] {
    let load = |row: &Row| -> [f32x8<S>; BLOCK / 8] {
        let (parts, _) = row.0.as_chunks::<8>();
        core::array::from_fn(|n| f32x8::simd_from(simd, parts[n]))
    };
    let mut sums = load(bias);
    if S::f32s::LEN >= 8 {
        let mut odd = [f32x8::simd_from(simd, 0.0); BLOCK / 8];
        let (pairs, last) = inputs.as_chunks::<2>();
        let (row_pairs, last_row) = rows[..inputs.len()].as_chunks::<2>();
        for ([a, b], [x, y]) in row_pairs.iter().zip(pairs) {
            add(simd, &mut sums, load(a), *x);
            add(simd, &mut odd, load(b), *y);
        }
        for (row, x) in last_row.iter().zip(last) {
            add(simd, &mut sums, load(row), *x);
        }
        sums = core::array::from_fn(|n| sums[n] + odd[n]);
    } else {
        for (row, x) in rows.iter().zip(inputs) {
            add(simd, &mut sums, load(row), *x);
        }
    }
    let mut out = [0.0; BLOCK];
    for (part, sum) in out.as_chunks_mut::<8>().0.iter_mut().zip(sums) {
        *part = sum.into();
    }
    out
}

#[inline(always)]
fn add<S: Simd>(simd: S, sums: &mut [f32x8<S>; BLOCK / 8], row: [f32x8<S>; BLOCK / 8], input: f32) {
    let input = f32x8::simd_from(simd, input);
    for (sum, weights) in sums.iter_mut().zip(row) {
        *sum = weights.mul_add(input, *sum);
    }
}

#[inline(always)]
fn tanh(value: f32) -> f32 {
    2.0 * sigmoid(2.0 * value) - 1.0
}

#[inline(always)]
fn sigmoid(value: f32) -> f32 {
    1.0 / (1.0 + exp(-value))
}

/// The exponential within 1e-7 of itself, in operations that exist for whole vectors.
#[inline(always)]
fn exp(value: f32) -> f32 {
    let value = value.clamp(-87.0, 87.0);
    // Adding 1.5 * 2^23 rounds to a whole number, which then stands in the lowest bits.
    let shifted = value * core::f32::consts::LOG2_E + ROUNDER;
    let whole = shifted - ROUNDER;
    let rest = value - whole * LN_2_HIGH - whole * LN_2_LOW;
    let mut sum = 1.0 / 720.0;
    for factor in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = sum * rest + factor;
    }
    sum * f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3F80_0000))
}

const BLOCK: usize = 32;
/// Samples of one transform, and from one to the next.
const SPAN: usize = 128;
const STEP: usize = 64;
const MOMENTS: usize = 4;
const BINS: usize = SPAN / 2 + 1;
const PADDING: usize = 32;
const ROUNDER: f32 = 12_582_912.0;
/// The natural logarithm of 2 in two parts, the first of which has few digits.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_one() {
        for step in -8600..8600 {
            let value = step as f32 / 100.0;
            let exact = f64::from(value).exp();
            assert!((f64::from(exp(value)) / exact - 1.0).abs() < 3e-7, "{value}");
        }
        assert_eq!(sigmoid(f32::INFINITY), 1.0);
        assert!(sigmoid(-1000.0) < 1e-30 && tanh(-1000.0) == -1.0);
    }

    #[test]
    fn the_spectrum_is_the_one_that_the_weights_describe() {
        let weights = super::super::weights::read(super::super::weights::COMPILED_IN).unwrap();
        let worst = weights.basis.iter().enumerate().map(|(place, value)| {
            let (row, n) = (place / SPAN, place % SPAN);
            let angle = core::f64::consts::TAU * ((row % BINS * n) % SPAN) as f64 / SPAN as f64;
            let hann = 0.5 - 0.5 * (core::f64::consts::TAU * n as f64 / SPAN as f64).cos();
            let wave = if row < BINS { angle.cos() } else { -angle.sin() };
            (f64::from(*value) - hann * wave).abs()
        });
        assert!(worst.fold(0.0, f64::max) < 1e-6);
    }
}
