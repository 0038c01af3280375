//! Spectra of blocks and of the filter's partitions, and the two loops over all of them that take the time.
//!
//! Real and imaginary parts stand apart in groups of eight bins, so that a vector holds the same part of neighbouring
//! bins; the bins beyond the last one are always 0.

use fearless_simd::{Simd, SimdFloat, SimdFrom, f32x8};

use super::BLOCK;
use crate::fft::Point;

/// Partitions of the filter.
pub(super) const PARTITIONS: usize = super::TAIL_MS as usize / 10;
/// Bins of one spectrum, from 0 Hz to half the rate.
pub(super) const BINS: usize = BLOCK + 1;
pub(super) const WIDTH: usize = GROUPS * 8;

/// One value for each bin.
pub(super) type PerBin = [f32; WIDTH];

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Spectrum {
    pub(super) re: [[f32; 8]; GROUPS],
    pub(super) im: [[f32; 8]; GROUPS],
}

impl Spectrum {
    pub(super) const ZERO: Self = Self { re: [[0.0; 8]; GROUPS], im: [[0.0; 8]; GROUPS] };

    /// What stands in one lane of a transform's result.
    pub(super) fn from_lane(bins: &[Point; BINS], lane: usize) -> Self {
        let mut spectrum = Self::ZERO;
        let (re, im) = (spectrum.re.as_flattened_mut(), spectrum.im.as_flattened_mut());
        for ((re, im), bin) in re.iter_mut().zip(im).zip(bins) {
            (*re, *im) = (bin.re[lane], bin.im[lane]);
        }
        spectrum
    }

    pub(super) fn write_lane(&self, bins: &mut [Point; BINS], lane: usize) {
        let (re, im) = (self.re.as_flattened(), self.im.as_flattened());
        for ((re, im), bin) in re.iter().zip(im).zip(bins) {
            (bin.re[lane], bin.im[lane]) = (*re, *im);
        }
    }

    pub(super) fn power(&self) -> PerBin {
        let (re, im) = (self.re.as_flattened(), self.im.as_flattened());
        let mut power = [0.0; WIDTH];
        for ((power, re), im) in power.iter_mut().zip(re).zip(im) {
            *power = re * re + im * im;
        }
        power
    }
}

/// A spectrum for each 10 ms of the tail.
#[derive(Clone, Debug)]
pub(super) struct Filter(pub(super) Box<[Spectrum; PARTITIONS]>);

impl Filter {
    pub(super) fn new() -> Self {
        Self(Box::new([Spectrum::ZERO; PARTITIONS]))
    }

    pub(super) fn copy_from(&mut self, other: &Self) {
        self.0.copy_from_slice(&*other.0);
    }

    pub(super) fn forget(&mut self) {
        self.0.fill(Spectrum::ZERO);
    }
}

/// What was sent in the last blocks, the newest first. It goes round.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    ring: Box<[Spectrum; PARTITIONS]>,
    newest: usize,
}

impl Sent {
    pub(super) fn new() -> Self {
        Self { ring: Box::new([Spectrum::ZERO; PARTITIONS]), newest: 0 }
    }

    pub(super) fn push(&mut self, spectrum: Spectrum) {
        self.newest = (self.newest + PARTITIONS - 1) % PARTITIONS;
        self.ring[self.newest] = spectrum;
    }

    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Spectrum> {
        let (wrapped, newer) = self.ring.split_at(self.newest);
        newer.iter().chain(wrapped)
    }

    /// What a filter makes of it so many blocks from now, as far as it is known today.
    #[inline(always)]
    pub(super) fn ahead<S: Simd>(&self, simd: S, filter: &Filter, blocks: usize) -> Spectrum {
        let load = |group: [f32; 8]| f32x8::simd_from(simd, group);
        let mut out = Spectrum::ZERO;
        for group in 0..GROUPS {
            let mut sums = [f32x8::simd_from(simd, 0.0); 2];
            for (sent, partition) in self.newest_first().zip(&filter.0[blocks..]) {
                let (re, im) = (load(sent.re[group]), load(sent.im[group]));
                let (to_re, to_im) = (load(partition.re[group]), load(partition.im[group]));
                sums[0] = re.mul_add(to_re, sums[0]) - im * to_im;
                sums[1] = im.mul_add(to_re, re.mul_add(to_im, sums[1]));
            }
            (out.re[group], out.im[group]) = (sums[0].into(), sums[1].into());
        }
        out
    }

    /// What two filters make of it.
    #[inline(always)]
    pub(super) fn through<S: Simd>(&self, simd: S, one: &Filter, other: &Filter) -> [Spectrum; 2] {
        let load = |group: [f32; 8]| f32x8::simd_from(simd, group);
        let mut out = [Spectrum::ZERO; 2];
        for group in 0..GROUPS {
            let mut sums = [f32x8::simd_from(simd, 0.0); 4];
            for ((sent, one), other) in self.newest_first().zip(one.0.iter()).zip(other.0.iter()) {
                let (re, im) = (load(sent.re[group]), load(sent.im[group]));
                let (one_re, one_im) = (load(one.re[group]), load(one.im[group]));
                let (other_re, other_im) = (load(other.re[group]), load(other.im[group]));
                sums[0] = re.mul_add(one_re, sums[0]) - im * one_im;
                sums[1] = im.mul_add(one_re, re.mul_add(one_im, sums[1]));
                sums[2] = re.mul_add(other_re, sums[2]) - im * other_im;
                sums[3] = im.mul_add(other_re, re.mul_add(other_im, sums[3]));
            }
            let [one, other] = &mut out;
            let places = [&mut one.re, &mut one.im, &mut other.re, &mut other.im];
            for (place, sum) in places.into_iter().zip(sums) {
                place[group] = sum.into();
            }
        }
        out
    }
}

const GROUPS: usize = BINS.div_ceil(8);
