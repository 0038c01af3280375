//! Whether the echo comes as the filter predicts, only earlier or later: most other paths are the same path with another delay,
//! because a buffer on the way has become longer or shorter.
//!
//! A filter that has to learn anew takes a second, a filter that is moved takes none. So what is heard is compared with the
//! prediction at every delay within 80 ms of the one that was learned.

use fearless_simd::Simd;

use super::{BLOCK, EchoFilter, energy, upper_half, write};
use crate::fft::Point;

use super::spectrum::{BINS, PARTITIONS, Spectrum};

/// What was heard, and what the trusted filter predicted, in the last blocks; the newest last.
#[derive(Clone, Debug)]
pub(super) struct History {
    heard: [[f32; BLOCK]; COMPARED],
    left: [f32; COMPARED],
    predicted: [[f32; BLOCK]; COMPARED + MOST],
}

/// The delay at which the prediction fits best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// How much later the echo comes than was learned, samples.
    pub later: i32,
    /// Share of what was heard that the prediction explains there, 0 to 1.
    pub explained: f32,
    /// Share that it explains as it is.
    pub before: f32,
    /// The filter was moved there.
    pub moved: bool,
}

impl History {
    pub(super) fn new() -> Self {
        Self { heard: [[0.0; BLOCK]; COMPARED], left: [0.0; COMPARED], predicted: [[0.0; BLOCK]; COMPARED + MOST] }
    }

    pub(super) fn push(&mut self, heard: &[f32; BLOCK], left: &[f32; BLOCK], predicted: &[f32; BLOCK]) {
        self.heard.rotate_left(1);
        self.heard[COMPARED - 1] = *heard;
        self.left.rotate_left(1);
        self.left[COMPARED - 1] = energy(left);
        self.predicted.rotate_left(1);
        self.predicted[COMPARED + MOST - 1] = *predicted;
    }

    /// The best delay, given what is predicted for the next blocks.
    fn fit(&self, wave: &[f32]) -> Option<Fit> {
        let heard = self.heard.as_flattened();
        let own = crate::dot(heard, heard);
        if own < LEAST {
            return None;
        }
        let mut power: f64 = wave[..heard.len()].iter().map(|value| f64::from(value * value)).sum();
        let (mut best, mut place) = (0.0, 0);
        for start in 0..=2 * MOST * BLOCK {
            let product = crate::dot(heard, &wave[start..start + heard.len()]);
            let explained = product * product.max(0.0) / (own * (power as f32).max(LEAST));
            if explained > best {
                (best, place) = (explained, start);
            }
            if let Some(entering) = wave.get(start + heard.len()) {
                power += f64::from(entering * entering) - f64::from(wave[start] * wave[start]);
            }
        }
        let before = (1.0 - self.left.iter().sum::<f32>() / own).max(0.0);
        Some(Fit { later: (MOST * BLOCK) as i32 - place as i32, explained: best, before, moved: false })
    }
}

impl EchoFilter {
    /// Whether the last 40 ms are echo after all. If they are what the filter predicts for another delay, it is moved there; if
    /// they are mostly what it predicts, the rest is distortion.
    ///
    /// It takes 0.2 ms: ask when something is heard that may be echo.
    pub fn follow(&mut self) -> Option<Fit> {
        if !self.is_active() || self.path.best_erle_db() < LEARNED_DB {
            return None;
        }
        let level = self.level;
        fearless_simd::dispatch!(level, simd => self.look_around(simd, ENOUGH))
    }

    /// Moves the filter if another delay explains at least this share of what was heard.
    #[inline(always)]
    pub(super) fn look_around<S: Simd>(&mut self, simd: S, enough: f32) -> Option<Fit> {
        let mut wave = [[0.0; BLOCK]; COMPARED + 2 * MOST];
        wave[..COMPARED + MOST].copy_from_slice(&self.history.predicted);
        for four in (0..MOST).step_by(4) {
            let ahead = [0, 1, 2, 3].map(|n| self.sent.ahead(simd, &self.foreground, four + n + 1));
            let [a, b, c, d] = &ahead;
            let waves = self.backward(simd, [a, b, c, d]);
            for lane in 0..4 {
                wave[COMPARED + MOST + four + lane] = upper_half(&waves, lane);
            }
        }
        let mut found = self.history.fit(wave.as_flattened())?;
        let moved =
            found.later.unsigned_abs() > SAME && found.explained > enough && found.explained > found.before + BETTER;
        if !moved {
            let same = found.later.unsigned_abs() <= SAME;
            return (same && found.explained > AS_IT_IS).then_some(found);
        }
        found.moved = true;
        self.move_by(simd, found.later);
        let then = wave.as_flattened();
        let all = self.history.predicted.as_flattened_mut();
        for (n, place) in all.iter_mut().enumerate() {
            let from = n as i64 - i64::from(found.later);
            *place = usize::try_from(from).ok().and_then(|from| then.get(from)).copied().unwrap_or(0.0);
        }
        self.contest = super::Contest::default();
        self.path.followed();
        Some(found)
    }

    /// What the filter has learned is from now on expected so much later.
    #[inline(always)]
    pub(super) fn move_by<S: Simd>(&mut self, simd: S, later: i32) {
        let mut taps = [[0.0; BLOCK]; PARTITIONS];
        for four in (0..PARTITIONS).step_by(4) {
            let partitions = &self.foreground.0;
            let waves = self.backward(
                simd,
                [&partitions[four], &partitions[four + 1], &partitions[four + 2], &partitions[four + 3]],
            );
            for lane in 0..4 {
                taps[four + lane] = lower_half(&waves, lane);
            }
        }
        let taps = taps.as_flattened();
        let mut moved = [[0.0; BLOCK]; PARTITIONS];
        for (n, place) in moved.as_flattened_mut().iter_mut().enumerate() {
            let from = n as i64 - i64::from(later);
            *place = usize::try_from(from).ok().and_then(|from| taps.get(from)).copied().unwrap_or(0.0);
        }
        for four in (0..PARTITIONS).step_by(4) {
            let mut wave = [Point::ZERO; BLOCK];
            for lane in 0..4 {
                write(&mut wave[..BLOCK / 2], lane, &moved[four + lane]);
            }
            let mut bins = [Point::ZERO; BINS];
            self.fft.forward(simd, &mut wave, &mut bins);
            for lane in 0..4 {
                self.foreground.0[four + lane] = Spectrum::from_lane(&bins, lane);
            }
        }
        self.background.copy_from(&self.foreground);
        self.doubt.move_by((later as f32 / BLOCK as f32).round() as i32);
    }
}

/// The half of a lane's window that a partition may fill.
fn lower_half(wave: &[Point; BLOCK], lane: usize) -> [f32; BLOCK] {
    let mut samples = [0.0; BLOCK];
    for ([even, odd], point) in samples.as_chunks_mut::<2>().0.iter_mut().zip(&wave[..BLOCK / 2]) {
        (*even, *odd) = (point.re[lane], point.im[lane]);
    }
    samples
}

/// Blocks that are compared: 40 ms.
const COMPARED: usize = 4;
/// Delays up to so many blocks away are tried: 80 ms.
const MOST: usize = 8;
/// Energy of what is compared at -60 dBFS.
const LEAST: f32 = (COMPARED * BLOCK) as f32 * 1000.0;
/// The filter must have learned something before it can be moved.
const LEARNED_DB: f32 = 4.0;
/// Nearer than so many samples is the same delay.
const SAME: u32 = 4;
/// Shares of the energy: what another delay must explain, by how much more than the filter as it is, and what the prediction as
/// it is must explain for the rest to be distortion.
const ENOUGH: f32 = 0.5;
const BETTER: f32 = 0.2;
const AS_IT_IS: f32 = 0.75;
/// What another delay must explain when the filter is known to be useless.
pub(super) const LIKELY: f32 = 0.35;
const _: () = assert!(PARTITIONS.is_multiple_of(4) && MOST.is_multiple_of(4));
