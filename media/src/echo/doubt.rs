//! How far the filter moves in each bin of each partition: as far as it may still be wrong there, against what else is heard.
//!
//! A Kalman filter whose covariance is taken as diagonal. A caller who speaks raises the noise and so lowers every step, at
//! once: no detector of double talk is needed. What a partition has learned is doubted less, so that it moves less.

use fearless_simd::{Simd, SimdFloat, SimdFrom, f32x8};

use super::spectrum::{Filter, PARTITIONS, PerBin, Sent, Spectrum, WIDTH};

#[derive(Clone, Debug)]
pub(super) struct Doubt {
    /// Expected squared error of each weight.
    variances: Box<[PerBin; PARTITIONS]>,
    /// Power of the error, smoothed over 50 ms.
    noise: PerBin,
}

impl Doubt {
    pub(super) fn new() -> Self {
        Self { variances: Box::new([[FIRST_VARIANCE; WIDTH]; PARTITIONS]), noise: [0.0; WIDTH] }
    }

    /// Nothing is known of the weights any more; what else is heard stays known.
    pub(super) fn forget(&mut self) {
        self.variances.fill([FIRST_VARIANCE; WIDTH]);
    }

    /// The filter is moved by so many partitions, later ones if positive.
    pub(super) fn move_by(&mut self, partitions: i32) {
        let by = (partitions.unsigned_abs() as usize).min(PARTITIONS);
        if partitions > 0 {
            self.variances.rotate_right(by);
            self.variances[..by].fill([FIRST_VARIANCE; WIDTH]);
        } else {
            self.variances.rotate_left(by);
            self.variances[PARTITIONS - by..].fill([FIRST_VARIANCE; WIDTH]);
        }
    }

    /// Moves a filter by an error's spectrum, and notes the energy of each partition.
    #[inline(always)]
    pub(super) fn learn<S: Simd>(
        &mut self,
        simd: S,
        sent: &Sent,
        filter: &mut Filter,
        error: &Spectrum,
        energies: &mut [f32; PARTITIONS],
    ) {
        for (noise, power) in self.noise.iter_mut().zip(&error.power()) {
            *noise += NOISE_RATE * (power - *noise);
        }
        let expected = self.inverse_of_expected(simd, sent);
        let (expected, _) = expected.as_chunks::<8>();
        let load = |group: [f32; 8]| f32x8::simd_from(simd, group);
        let partitions = filter.0.iter_mut().zip(sent.newest_first()).zip(self.variances.iter_mut().zip(energies));
        for ((partition, sent), (variances, energy)) in partitions {
            let mut sum = f32x8::simd_from(simd, 0.0);
            let groups = variances.as_chunks_mut::<8>().0.iter_mut().zip(expected);
            for (group, (variance, expected)) in groups.enumerate() {
                let (re, im) = (load(sent.re[group]), load(sent.im[group]));
                let known = load(*variance);
                let gain = known * load(*expected);
                let (to_re, to_im) = (load(error.re[group]) * gain, load(error.im[group]) * gain);
                // The conjugate of what was sent, times error and gain.
                let new_re = im.mul_add(to_im, re.mul_add(to_re, load(partition.re[group])));
                let new_im = re.mul_add(to_im, load(partition.im[group])) - im * to_re;
                let size = new_im.mul_add(new_im, new_re * new_re);
                sum += size;
                let explained = known * gain * im.mul_add(im, re * re) * HALF;
                *variance = ((known - explained) * STAY + size * (1.0 - STAY)).into();
                (partition.re[group], partition.im[group]) = (new_re.into(), new_im.into());
            }
            let sum: [f32; 8] = sum.into();
            *energy = sum.iter().sum();
        }
    }

    /// For each bin, 1 over the power of error that noise and doubt together lead to expect.
    #[inline(always)]
    fn inverse_of_expected<S: Simd>(&self, simd: S, sent: &Sent) -> PerBin {
        let load = |group: [f32; 8]| f32x8::simd_from(simd, group);
        let mut expected = self.noise;
        for (group, values) in expected.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let mut sum = load(*values);
            for (sent, variances) in sent.newest_first().zip(self.variances.iter()) {
                let (re, im) = (load(sent.re[group]), load(sent.im[group]));
                sum = load(variances.as_chunks::<8>().0[group]).mul_add(im.mul_add(im, re * re), sum);
            }
            let sum: [f32; 8] = sum.into();
            *values = sum.map(|sum| 1.0 / (HALF * sum + REGULAR));
        }
        expected
    }
}

/// A weight's expected square before anything was heard.
const FIRST_VARIANCE: f32 = 1e-3;
const NOISE_RATE: f32 = 0.2;
/// Half of a window is error, the other half padding; and of the error, half is taken to be somebody else.
const HALF: f32 = 0.5;
/// What is left after 10 ms of the belief that the path has not changed: the square of 0.9995.
const STAY: f32 = 0.999;
const REGULAR: f32 = 100.0;
