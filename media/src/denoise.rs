//! Less noise for the recogniser: a spectral filter after Wiener over noise that is followed by its minima.
//!
//! Windows of 20 ms, 10 ms apart, so that what comes out is 10 ms late. The a priori SNR is directed by the decision before
//! (Ephraim and Malah 1984), the noise in each bin is the least smoothed power of the last 1.6 s (Martin 2001, with a fixed
//! bias). Nothing is lowered by more than 12 dB: recognisers forgive noise sooner than missing consonants. Whoever must tell
//! a caller from echo hears the line as it is: this is deliberately absent there.

use fearless_simd::{Level, Simd, dispatch};

use crate::fft::{Point, RealFft};
use crate::{FRAME, Frame, to_sample};

/// Follows one caller. After construction it allocates nothing.
pub struct NoiseSuppressor {
    level: Level,
    fft: RealFft<HOP>,
    window: [f32; FRAME],
    /// The last 10 ms that came in.
    before: [f32; HOP],
    /// What the last window adds to the next 10 ms that go out.
    rest: [f32; HOP],
    noise: NoiseFollower,
    /// Power of the clean voice in the last window over that of the noise, by the decision that was made.
    voiced: [f32; BINS],
}

impl NoiseSuppressor {
    /// A filter that has heard nothing. It takes 10 KB.
    pub fn new() -> Self {
        let sine = |n: usize| (core::f32::consts::PI * (n as f32 + 0.5) / FRAME as f32).sin();
        Self {
            level: Level::new(),
            fft: RealFft::new(),
            window: core::array::from_fn(sine),
            before: [0.0; HOP],
            rest: [0.0; HOP],
            noise: NoiseFollower::new(),
            voiced: [0.0; BINS],
        }
    }

    /// Takes the next 20 ms and puts the 20 ms in their place that end 10 ms earlier.
    pub fn run(&mut self, frame: &mut Frame) {
        let level = self.level;
        dispatch!(level, simd => self.filter(simd, frame));
    }

    #[inline(always)]
    fn filter<S: Simd>(&mut self, simd: S, frame: &mut Frame) {
        let heard = frame.map(f32::from);
        let (first, second) = heard.split_at(HOP);
        let mut wave = [Point::ZERO; HOP];
        // Both windows of the frame are transformed side by side.
        put(&mut wave, 0, self.before.iter().chain(first), &self.window);
        put(&mut wave, 1, first.iter().chain(second), &self.window);
        self.before.copy_from_slice(second);
        let mut bins = [Point::ZERO; BINS];
        self.fft.forward(simd, &mut wave, &mut bins);
        for lane in 0..2 {
            let gains = self.gains(&core::array::from_fn(|bin| {
                let Point { re, im } = bins[bin];
                re[lane] * re[lane] + im[lane] * im[lane]
            }));
            for (bin, gain) in bins.iter_mut().zip(gains) {
                bin.re[lane] *= gain / FRAME as f32;
                bin.im[lane] *= gain / FRAME as f32;
            }
        }
        self.fft.inverse(simd, &bins, &mut wave);
        let mut out = [[0.0; FRAME]; 2];
        for (lane, samples) in out.iter_mut().enumerate() {
            for ((point, [even, odd]), [w_even, w_odd]) in
                wave.iter().zip(samples.as_chunks_mut::<2>().0).zip(self.window.as_chunks::<2>().0)
            {
                (*even, *odd) = (point.re[lane] * w_even, point.im[lane] * w_odd);
            }
        }
        let [early, late] = &out;
        for n in 0..HOP {
            frame[n] = to_sample(self.rest[n] + early[n]);
            frame[HOP + n] = to_sample(early[HOP + n] + late[n]);
        }
        self.rest.copy_from_slice(&late[HOP..]);
    }

    /// What each bin is multiplied by.
    fn gains(&mut self, power: &[f32; BINS]) -> [f32; BINS] {
        let noise = self.noise.follow(power);
        let mut gains = [1.0; BINS];
        for (((gain, voiced), power), noise) in gains.iter_mut().zip(&mut self.voiced).zip(power).zip(noise) {
            let noise = noise.max(LEAST_NOISE);
            let now = power / noise;
            let voice = TRUSTED * *voiced + (1.0 - TRUSTED) * (now - 1.0).max(0.0);
            let wanted = voice / (1.0 + voice);
            *voiced = wanted * wanted * now;
            *gain = wanted.max(LEAST_GAIN);
        }
        gains
    }
}

impl Default for NoiseSuppressor {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for NoiseSuppressor {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.debug_struct("NoiseSuppressor").finish_non_exhaustive()
    }
}

/// Puts two halves of 10 ms under the window into a lane: the even samples as real, the odd ones as imaginary parts.
fn put<'a>(wave: &mut [Point; HOP], lane: usize, samples: impl Iterator<Item = &'a f32>, window: &[f32; FRAME]) {
    for (n, (sample, weight)) in samples.zip(window).enumerate() {
        let point = &mut wave[n / 2];
        let part = if n % 2 == 0 { &mut point.re } else { &mut point.im };
        part[lane] = sample * weight;
    }
}

/// The power of the noise in each bin: the least of what was heard there of late.
#[derive(Clone, Debug)]
struct NoiseFollower {
    smooth: [f32; BINS],
    least: [f32; BINS],
    /// The least of each of the last stretches of 200 ms. They go round.
    stretches: [[f32; BINS]; STRETCHES],
    next: usize,
    windows: usize,
    /// The least of all stretches that are over.
    past: [f32; BINS],
}

impl NoiseFollower {
    fn new() -> Self {
        let unknown = [f32::MAX; BINS];
        Self {
            smooth: [0.0; BINS],
            least: unknown,
            stretches: [unknown; STRETCHES],
            next: 0,
            windows: 0,
            past: unknown,
        }
    }

    /// Takes the power of a window; that of the noise in it.
    fn follow(&mut self, power: &[f32; BINS]) -> [f32; BINS] {
        self.windows += 1;
        let first = self.past[0] == f32::MAX && self.windows <= HALF_EMPTY;
        let rate = if first { 1.0 } else { SMOOTHED };
        for ((smooth, least), power) in self.smooth.iter_mut().zip(&mut self.least).zip(power) {
            *smooth += rate * (power - *smooth);
            *least = if first { *smooth } else { least.min(*smooth) };
        }
        if self.windows >= STRETCH {
            self.turn();
        }
        core::array::from_fn(|bin| BIAS * self.least[bin].min(self.past[bin]))
    }

    fn turn(&mut self) {
        self.stretches[self.next] = self.least;
        self.next = (self.next + 1) % STRETCHES;
        self.windows = 0;
        self.least = self.smooth;
        self.past = self.stretches[0];
        for stretch in &self.stretches[1..] {
            for (past, least) in self.past.iter_mut().zip(stretch) {
                *past = past.min(*least);
            }
        }
    }
}

/// 10 ms.
const HOP: usize = FRAME / 2;
const BINS: usize = HOP + 1;
/// Weight of the decision before.
const TRUSTED: f32 = 0.96;
/// -12 dB.
const LEAST_GAIN: f32 = 0.25;
/// Power in a bin at about -80 dBFS: quieter noise is none.
const LEAST_NOISE: f32 = 800.0;
/// Of the newest window.
const SMOOTHED: f32 = 0.2;
/// The least of smoothed powers lies this far below their mean.
const BIAS: f32 = 2.0;
/// The first window of a call is half empty and says too little; the next one begins anew.
const HALF_EMPTY: usize = 2;
/// Windows: 200 ms.
const STRETCH: usize = 20;
const STRETCHES: usize = 8;
