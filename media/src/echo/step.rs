//! How far the filter may move in each bin: as far as the error is echo that it has not learned yet.
//!
//! After Valin 2007: the share of the error that is residual echo is the regression of the error's power on the power of the
//! estimated echo, both as fluctuations over time. A caller who speaks raises the error without the echo, so the step
//! shrinks by itself and no detector of double talk is needed.

use super::spectrum::{BINS, PARTITIONS, PerBin, Spectrum, WIDTH};
use super::{BLOCK, energy, product};

#[derive(Clone, Debug)]
pub(super) struct StepControl {
    /// Smoothed power of what was sent, of the error and of the echo.
    sent: PerBin,
    error: PerBin,
    echo: PerBin,
    /// Covariance of error and echo power, and variance of echo power.
    together: f32,
    alone: f32,
    /// Steps made at the first rate, in whole steps.
    practice: f32,
    trained: bool,
}

/// What a block has to say about the step.
pub(super) struct Block<'a> {
    pub(super) sent: &'a [f32; BLOCK],
    pub(super) error: &'a [f32; BLOCK],
    pub(super) echo: &'a [f32; BLOCK],
    pub(super) sent_spectrum: &'a Spectrum,
    pub(super) error_spectrum: &'a Spectrum,
    pub(super) echo_spectrum: &'a Spectrum,
}

impl StepControl {
    pub(super) fn new() -> Self {
        Self {
            sent: [0.0; WIDTH],
            error: [0.0; WIDTH],
            echo: [0.0; WIDTH],
            together: 0.0,
            alone: 0.0,
            practice: 0.0,
            trained: false,
        }
    }

    /// The step of each bin, given the power there that the partitions weigh, or `None` when nothing is to be learned from this block.
    pub(super) fn step(&mut self, block: &Block<'_>, powers: &PerBin) -> Option<PerBin> {
        let power = block.sent_spectrum.power();
        for (smooth, power) in self.sent.iter_mut().zip(&power) {
            *smooth += SENT_RATE * (power - *smooth);
        }
        let mut norm = self.sent;
        for (norm, &power) in norm.iter_mut().zip(powers) {
            *norm = norm.max(power);
        }
        let (error, echo) = (block.error_spectrum.power(), block.echo_spectrum.power());
        let error_energy = energy(block.error).max(1e-6);
        let echo_energy = energy(block.echo);
        let leakage = self.leakage(&error, &echo, error_energy, echo_energy);
        let sent_energy = energy(block.sent);
        if !self.trained && self.practice > PRACTICE && leakage > LEAST_TRAINED {
            self.trained = true;
        }
        if self.trained {
            let common = residue(block, leakage, sent_energy, error_energy, echo_energy);
            return Some(self.trained_step(&error, &echo, leakage, common, &norm));
        }
        if sent_energy < QUIET * BLOCK as f32 {
            return None;
        }
        let rate = (FIRST_RATE * sent_energy).min(FIRST_RATE * error_energy) / error_energy;
        self.practice += rate;
        Some(norm.map(|power| rate / (power + REGULAR)))
    }

    pub(super) fn forget(&mut self) {
        let sent = self.sent;
        *self = Self { sent, ..Self::new() };
    }

    /// The share of the echo that is still in the error.
    fn leakage(&mut self, error: &PerBin, echo: &PerBin, error_energy: f32, echo_energy: f32) -> f32 {
        let (mut together, mut alone) = (1e-3f32, 1e-3f32);
        let bins = error.iter().zip(echo).zip(self.error.iter_mut().zip(&mut self.echo)).take(BINS);
        for ((&error, &echo), (mean_error, mean_echo)) in bins {
            let (above_error, above_echo) = (error - *mean_error, echo - *mean_echo);
            together += above_error * above_echo;
            alone += above_echo * above_echo;
            *mean_error += MEAN_RATE * above_error;
            *mean_echo += MEAN_RATE * above_echo;
        }
        let alone = alone.sqrt();
        let together = together / alone;
        // Blocks in which echo is strong against the error say most.
        let rate = (2.0 * REGRESSION_RATE * echo_energy).min(0.5 * REGRESSION_RATE * error_energy) / error_energy;
        self.together += rate * (together - self.together);
        self.alone = (self.alone + rate * (alone - self.alone)).max(1.0);
        self.together = self.together.clamp(LEAST_LEAKAGE * self.alone, self.alone);
        self.together / self.alone
    }

    fn trained_step(&self, error: &PerBin, echo: &PerBin, leakage: f32, common: f32, norm: &PerBin) -> PerBin {
        let mut step = [0.0; WIDTH];
        let bins = error.iter().zip(echo).zip(norm).take(BINS);
        for (step, ((&error, &echo), &sent)) in step.iter_mut().zip(bins) {
            let error = error + 1.0;
            let residue = (leakage * echo).min(0.5 * error);
            *step = (0.7 * residue + 0.3 * common * error) / (error * (sent + REGULAR));
        }
        step
    }
}

/// The share of residual echo in the error, over all bins.
fn residue(block: &Block<'_>, leakage: f32, sent: f32, error: f32, echo: f32) -> f32 {
    let estimated = (1e-4 * sent + 3.0 * leakage * echo) / error;
    // An error that still resembles the echo holds at least that much of it.
    let alike = product(block.error, block.echo);
    estimated.max(alike * alike / (1.0 + error * echo)).min(0.5)
}

/// How the step is shared out among partitions: by their size, with something for all of them.
pub(super) fn shares(energies: &[f32; PARTITIONS]) -> [f32; PARTITIONS] {
    let mut shares = energies.map(|energy| (1e-12 + energy).sqrt());
    let most = shares.iter().copied().fold(1e-9, f32::max);
    shares.iter_mut().for_each(|share| *share += 0.1 * most);
    let sum: f32 = shares.iter().sum();
    shares.map(|share| 0.99 * share / sum)
}

const SENT_RATE: f32 = 0.35 / PARTITIONS as f32;
/// Means over 1 s.
const MEAN_RATE: f32 = 0.01;
const REGRESSION_RATE: f32 = 0.01;
const LEAST_LEAKAGE: f32 = 0.005;
const LEAST_TRAINED: f32 = 0.03;
const FIRST_RATE: f32 = 0.8;
const PRACTICE: f32 = 2.0 * PARTITIONS as f32;
/// Mean square of what is sent below which nothing is learned at first: -60 dBFS.
const QUIET: f32 = 1000.0;
const REGULAR: f32 = 10.0;
