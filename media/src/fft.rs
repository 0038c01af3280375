//! Four real Fourier transforms side by side, one in each lane of a vector.
//!
//! The speech network transforms four overlapping windows and the echo filter up to four signals at a time, always of a
//! fixed small length. Side by side nothing has to be shuffled between lanes. Lengths other than a multiple of 32 whose
//! half factors into the radices 4 and 5 are deliberately absent.

use core::f64::consts::TAU;

use fearless_simd::{Simd, SimdFloat, SimdFrom, f32x4};

/// One point of four transforms.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(align(16))]
pub(crate) struct Point {
    pub(crate) re: [f32; 4],
    pub(crate) im: [f32; 4],
}

impl Point {
    pub(crate) const ZERO: Self = Self { re: [0.0; 4], im: [0.0; 4] };
}

/// Tables for real transforms of `2 * HALF` samples.
///
/// A wave of `2 * HALF` samples is `HALF` points: the even samples in `re`, the odd ones in `im`.
#[derive(Clone, Debug)]
pub(crate) struct RealFft<const HALF: usize> {
    passes: [Pass; PASSES],
    /// `exp(-i TAU k / (2 HALF))` for `k` up to `HALF`.
    turns: Box<[[f32; 2]]>,
}

#[derive(Clone, Debug)]
struct Pass {
    radix: Radix,
    /// For each butterfly the factors of its outputs but the first.
    twiddles: Box<[[[f32; 2]; 4]]>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Radix {
    Four = 4,
    Five = 5,
}

impl<const HALF: usize> RealFft<HALF> {
    const SHAPE: [Radix; PASSES] = match HALF {
        64 => [Radix::Four, Radix::Four, Radix::Four],
        80 => [Radix::Five, Radix::Four, Radix::Four],
        _ => panic!("a transform needs a shape"),
    };

    pub(crate) fn new() -> Self {
        let mut length = HALF;
        let passes = Self::SHAPE.map(|radix| {
            let span = length / radix as usize;
            let twiddles = (0..span).map(|p| [1, 2, 3, 4].map(|output| turn(p * output, length))).collect();
            length = span;
            Pass { radix, twiddles }
        });
        Self { passes, turns: (0..=HALF).map(|k| turn(k, 2 * HALF)).collect() }
    }

    /// Transforms a wave (which is used up) into the `HALF + 1` bins from 0 Hz to half the rate.
    #[inline(always)]
    pub(crate) fn forward<S: Simd>(&self, simd: S, wave: &mut [Point; HALF], bins: &mut [Point]) {
        let mut out = [Point::ZERO; HALF];
        self.complex(simd, wave, &mut out);
        let half = f32x4::simd_from(simd, 0.5);
        let mirrored = out[1..].iter().rev();
        let ends = [&out[0]];
        let upper = ends.into_iter().chain(mirrored).chain(ends);
        let lower = out.iter().chain(ends);
        for (((bin, a), b), &w) in bins.iter_mut().zip(lower).zip(upper).zip(&self.turns) {
            let (a, b) = (Complex::load(simd, a), Complex::load(simd, b).conjugate());
            let odd = a.minus(b).times(w).times_minus_i();
            a.plus(b).plus(odd).scale(half).store(bin);
        }
    }

    /// Transforms `HALF + 1` bins back into a wave, `2 * HALF` times as large; the bins at both ends are taken as real.
    #[inline(always)]
    pub(crate) fn inverse<S: Simd>(&self, simd: S, bins: &[Point], wave: &mut [Point; HALF]) {
        let mut swapped = [Point::ZERO; HALF];
        for (k, (place, &[re, im])) in swapped.iter_mut().zip(&self.turns).enumerate() {
            let (Some(a), Some(b)) = (bins.get(k), bins.get(HALF - k)) else { return };
            let (mut a, mut b) = (Complex::load(simd, a), Complex::load(simd, b).conjugate());
            if k == 0 {
                (a.im, b.im) = (f32x4::simd_from(simd, 0.0), f32x4::simd_from(simd, 0.0));
            }
            let odd = a.minus(b).times([re, -im]).times_minus_i();
            let even = a.plus(b);
            // Forward with real and imaginary parts exchanged is backward.
            Complex { re: even.im - odd.im, im: even.re - odd.re }.store(place);
        }
        self.complex(simd, &mut swapped, wave);
        for point in wave {
            core::mem::swap(&mut point.re, &mut point.im);
        }
    }

    /// Stockham's passes, which leave the points in order: `a` to `b` to `a` to `b`.
    #[inline(always)]
    fn complex<S: Simd>(&self, simd: S, a: &mut [Point; HALF], b: &mut [Point; HALF]) {
        let [first, second, third] = &self.passes;
        let stride = first.radix as usize;
        first.run(simd, 1, a, b);
        second.run(simd, stride, b, a);
        third.run(simd, stride * second.radix as usize, a, b);
    }
}

impl Pass {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, stride: usize, from: &[Point], to: &mut [Point]) {
        match self.radix {
            Radix::Four => self.four(simd, stride, from, to),
            Radix::Five => self.five(simd, stride, from, to),
        }
    }

    #[inline(always)]
    fn four<S: Simd>(&self, simd: S, stride: usize, from: &[Point], to: &mut [Point]) {
        let (a, rest) = from.split_at(from.len() / 4);
        let (b, rest) = rest.split_at(a.len());
        let (c, d) = rest.split_at(a.len());
        let inputs = a.chunks_exact(stride).zip(b.chunks_exact(stride));
        let inputs = inputs.zip(c.chunks_exact(stride).zip(d.chunks_exact(stride)));
        for ((outputs, ((a, b), (c, d))), w) in to.chunks_exact_mut(4 * stride).zip(inputs).zip(&self.twiddles) {
            let (y0, rest) = outputs.split_at_mut(stride);
            let (y1, rest) = rest.split_at_mut(stride);
            let (y2, y3) = rest.split_at_mut(stride);
            let inputs = a.iter().zip(b).zip(c.iter().zip(d));
            let outputs = y0.iter_mut().zip(y1).zip(y2.iter_mut().zip(y3));
            for (((a, b), (c, d)), ((y0, y1), (y2, y3))) in inputs.zip(outputs) {
                let [a, b, c, d] = [a, b, c, d].map(|point| Complex::load(simd, point));
                let (even, odd) = (a.plus(c), b.plus(d));
                let (across, turned) = (a.minus(c), b.minus(d).times_minus_i());
                even.plus(odd).store(y0);
                across.plus(turned).times(w[0]).store(y1);
                even.minus(odd).times(w[1]).store(y2);
                across.minus(turned).times(w[2]).store(y3);
            }
        }
    }

    #[inline(always)]
    fn five<S: Simd>(&self, simd: S, stride: usize, from: &[Point], to: &mut [Point]) {
        let fifth = from.len() / 5;
        let constant = |value: f32| f32x4::simd_from(simd, value);
        let (cos1, cos2, sin1, sin2) = (constant(COS_72), constant(COS_144), constant(SIN_72), constant(SIN_144));
        for ((p, outputs), w) in to.chunks_exact_mut(5 * stride).enumerate().zip(&self.twiddles) {
            for q in 0..stride {
                let at = |k: usize| from.get(k * fifth + p * stride + q).unwrap_or(&Point::ZERO);
                let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|k| Complex::load(simd, at(k)));
                let (outer, inner) = (b.plus(e), c.plus(d));
                let (far, near) = (b.minus(e), c.minus(d));
                let first = a.plus(outer.scale(cos1)).plus(inner.scale(cos2));
                let second = a.plus(outer.scale(cos2)).plus(inner.scale(cos1));
                let across = far.scale(sin1).plus(near.scale(sin2)).times_minus_i();
                let aslant = far.scale(sin2).minus(near.scale(sin1)).times_minus_i();
                let results = [
                    a.plus(outer).plus(inner),
                    first.plus(across).times(w[0]),
                    second.plus(aslant).times(w[1]),
                    second.minus(aslant).times(w[2]),
                    first.minus(across).times(w[3]),
                ];
                for (result, place) in results.into_iter().zip(outputs.iter_mut().skip(q).step_by(stride)) {
                    result.store(place);
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Complex<S: Simd> {
    re: f32x4<S>,
    im: f32x4<S>,
}

impl<S: Simd> Complex<S> {
    #[inline(always)]
    fn load(simd: S, point: &Point) -> Self {
        Self { re: f32x4::simd_from(simd, point.re), im: f32x4::simd_from(simd, point.im) }
    }

    #[inline(always)]
    fn store(self, point: &mut Point) {
        (point.re, point.im) = (self.re.into(), self.im.into());
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        Self { re: self.re + other.re, im: self.im + other.im }
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        Self { re: self.re - other.re, im: self.im - other.im }
    }

    #[inline(always)]
    fn scale(self, by: f32x4<S>) -> Self {
        Self { re: self.re * by, im: self.im * by }
    }

    #[inline(always)]
    fn times(self, [re, im]: [f32; 2]) -> Self {
        Self { re: self.re.mul_sub(re, self.im * im), im: self.re.mul_add(im, self.im * re) }
    }

    #[inline(always)]
    fn times_minus_i(self) -> Self {
        Self { re: self.im, im: -self.re }
    }

    #[inline(always)]
    fn conjugate(self) -> Self {
        Self { re: self.re, im: -self.im }
    }
}

/// `exp(-i TAU k / length)`.
fn turn(k: usize, length: usize) -> [f32; 2] {
    let angle = -TAU * (k % length) as f64 / length as f64;
    [angle.cos() as f32, angle.sin() as f32]
}

const PASSES: usize = 3;
const COS_72: f32 = 0.309_017;
const COS_144: f32 = -0.809_017;
const SIN_72: f32 = 0.951_056_5;
const SIN_144: f32 = 0.587_785_25;

#[cfg(test)]
mod tests {
    use super::*;
    use fearless_simd::{Level, dispatch};

    fn check<const HALF: usize>() {
        let fft = RealFft::<HALF>::new();
        let sample = |lane: usize, n: usize| ((n * n * 7 + n * 13 + lane * 31) % 97) as f32 / 48.5 - 1.0;
        let mut wave = [Point::ZERO; HALF];
        for (n, point) in wave.iter_mut().enumerate() {
            point.re = core::array::from_fn(|lane| sample(lane, 2 * n));
            point.im = core::array::from_fn(|lane| sample(lane, 2 * n + 1));
        }
        let original = wave;
        let mut bins = [Point::ZERO; 129];
        dispatch!(Level::new(), simd => fft.forward(simd, &mut wave, &mut bins[..=HALF]));
        for lane in 0..4 {
            for (k, bin) in bins[..=HALF].iter().enumerate() {
                let (mut re, mut im) = (0.0, 0.0);
                for n in 0..2 * HALF {
                    let angle = -TAU * ((k * n) % (2 * HALF)) as f64 / (2 * HALF) as f64;
                    re += f64::from(sample(lane, n)) * angle.cos();
                    im += f64::from(sample(lane, n)) * angle.sin();
                }
                let error = (f64::from(bin.re[lane]) - re).abs().max((f64::from(bin.im[lane]) - im).abs());
                assert!(error < 2e-5 * HALF as f64 / 16.0, "{HALF} {lane} {k}: {error}");
            }
        }
        dispatch!(Level::new(), simd => fft.inverse(simd, &bins[..=HALF], &mut wave));
        for (before, after) in original.iter().zip(&wave) {
            for lane in 0..4 {
                let scale = 1.0 / (2 * HALF) as f32;
                assert!((before.re[lane] - after.re[lane] * scale).abs() < 1e-5);
                assert!((before.im[lane] - after.im[lane] * scale).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn a_transform_is_the_sum_that_defines_it_and_comes_back() {
        check::<64>();
        check::<80>();
    }
}
