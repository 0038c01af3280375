//! The linear part of the bot's echo, found by adaptation and taken away; what is left is the caller, and what no linear
//! filter can explain.
//!
//! A partitioned-block frequency-domain filter of 320 ms in blocks of 10 ms. A background filter learns as a Kalman filter does
//! (after Kuech, Mabande and Enzner, "State-Space Architecture of the Partitioned-Block-Based Acoustic Echo Controller",
//! 2014), a foreground filter answers for what is heard. Nothing is suppressed: a caller who speaks through the echo stays
//! whole. Deciding what is a caller is deliberately absent (`gate.rs`).

use std::sync::LazyLock;

use fearless_simd::{Level, Simd, dispatch};

use crate::fft::{Point, RealFft};
use crate::level::{QUIETEST_DBFS, power_dbfs};

mod contest;
mod doubt;
mod moved;
mod path;
mod spectrum;

use contest::{Contest, Outcome};
use doubt::Doubt;
pub use moved::Fit;
use moved::History;
use path::PathWatch;
use spectrum::{BINS, Filter, PARTITIONS, Sent, Spectrum};

/// Samples of one block: 10 ms.
pub const BLOCK: usize = 80;
/// The longest echo that is found, ms after it was sent.
pub const TAIL_MS: u32 = 320;

/// One block without the echo that the filter knows, and what the filter knows about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Cleaned {
    /// What was heard less the echo, in sample units.
    pub error: [f32; BLOCK],
    /// Level of the echo that was taken away, dBFS.
    pub echo_dbfs: f32,
    /// How much lower echo is by the filter, of late, dB; 0 until there was echo to judge by.
    pub erle_db: f32,
    /// How much lower echo comes back than it was sent, dB; `None` until the filter has found some.
    pub erl_db: Option<f32>,
    /// How long after it was sent the strongest echo comes back, ms in steps of 10; `None` until the filter has found some.
    pub delay_ms: Option<u32>,
    /// The echo no longer comes as the filter predicts: its path has changed, and learning begins anew.
    pub path_changed: bool,
}

/// Follows the echo of one call. Samples are in sample units (full scale is 32768).
pub struct EchoFilter {
    level: Level,
    fft: &'static RealFft<BLOCK>,
    /// The last block sent.
    previous: [f32; BLOCK],
    sent: Sent,
    background: Filter,
    foreground: Filter,
    /// Energy of each partition of the background filter.
    energies: [f32; PARTITIONS],
    /// The partition whose turn it is to be held to its half of the window.
    turn: usize,
    /// How much the background filter may still be wrong.
    doubt: Doubt,
    contest: Contest,
    path: PathWatch,
    history: History,
    /// Blocks since anything but silence was sent.
    idle: usize,
}

impl EchoFilter {
    /// A filter that knows of no echo. It takes 85 KB.
    pub fn new() -> Self {
        Self {
            level: Level::new(),
            fft: tables(),
            previous: [0.0; BLOCK],
            sent: Sent::new(),
            background: Filter::new(),
            foreground: Filter::new(),
            energies: [0.0; PARTITIONS],
            turn: 0,
            doubt: Doubt::new(),
            contest: Contest::default(),
            path: PathWatch::new(),
            history: History::new(),
            idle: usize::MAX,
        }
    }

    /// Takes 10 ms that were heard, and the 10 ms that were sent in that time.
    ///
    /// Samples that are no finite numbers count as 0, those beyond full scale as full scale.
    pub fn process(&mut self, heard: &[f32; BLOCK], sent: &[f32; BLOCK]) -> Cleaned {
        let (heard, mut sent) = (heard.map(tame), sent.map(tame));
        self.idle = if energy(&sent) < LEAST_SENT { self.idle.saturating_add(1) } else { 0 };
        if self.idle > PARTITIONS {
            // Nothing that was sent can come back any more, and all that the filter looks at is silence.
            self.previous = [0.0; BLOCK];
            return self.report(heard, QUIETEST_DBFS, false);
        }
        if self.idle > 0 {
            sent = [0.0; BLOCK];
        }
        dispatch!(self.level, simd => self.adapt(simd, &heard, &sent))
    }

    /// Whether anything that was sent can still come back.
    pub fn is_active(&self) -> bool {
        self.idle <= PARTITIONS
    }

    /// How long nothing has been sent, ms.
    pub fn silent_ms(&self) -> u32 {
        u32::try_from(self.idle).map_or(u32::MAX, |blocks| blocks.saturating_mul(10))
    }

    /// Forgets the echo, as when another far side takes the call.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    #[inline(always)]
    fn adapt<S: Simd>(&mut self, simd: S, heard: &[f32; BLOCK], sent: &[f32; BLOCK]) -> Cleaned {
        self.push(simd, sent);
        let held = [strongest(&self.energies), self.turn];
        self.turn = (self.turn + 1) % PARTITIONS;
        let [learned, trusted] = self.sent.through(simd, &self.background, &self.foreground);
        let waves = self.backward(simd, [&learned, &trusted, &self.background.0[held[0]], &self.background.0[held[1]]]);
        let (guess, mut echo) = (upper_half(&waves, 0), upper_half(&waves, 1));
        if !(energy(&guess) < WILDEST && energy(&echo) < WILDEST) {
            self.forget();
            return self.report(*heard, QUIETEST_DBFS, false);
        }
        let (mut error, mut result) = (minus(heard, &guess), minus(heard, &echo));
        let outcome = self.contest.judge(&error, &result, &minus(&guess, &echo));
        match outcome {
            Outcome::Learned => {
                self.foreground.copy_from(&self.background);
                (result, echo) = (error, guess);
            }
            Outcome::Trusted => {
                self.background.copy_from(&self.foreground);
                error = result;
            }
            Outcome::Neither => {}
        }
        let [error_spectrum, held_one, held_two] = self.forward(simd, &error, &waves);
        if outcome != Outcome::Trusted {
            self.background.0[held[0]] = held_one;
            self.background.0[held[1]] = held_two;
        }
        self.doubt.learn(simd, &self.sent, &mut self.background, &error_spectrum, &mut self.energies);
        self.history.push(heard, &result, &echo);
        let failed = self.path.look(heard, &echo, &result, energy(sent));
        // That the filter fails where it was moved to is the same alarm, which has been told.
        let changed = failed && !self.path.is_on_trial();
        if changed && self.look_around(simd, moved::LIKELY).is_some_and(|fit| fit.moved) {
            // The next block is already heard through the filter as it was moved.
            self.path.try_out();
        } else if failed {
            self.path.forget();
            self.forget();
            (result, echo) = (*heard, [0.0; BLOCK]);
        }
        self.report(result, power_dbfs(energy(&echo) / BLOCK as f32), changed)
    }

    /// The spectrum of the last 20 ms sent.
    #[inline(always)]
    fn push<S: Simd>(&mut self, simd: S, sent: &[f32; BLOCK]) {
        let mut wave = [Point::ZERO; BLOCK];
        write(&mut wave[..BLOCK / 2], 0, &self.previous);
        write(&mut wave[BLOCK / 2..], 0, sent);
        let mut bins = [Point::ZERO; BINS];
        self.fft.forward(simd, &mut wave, &mut bins);
        self.sent.push(Spectrum::from_lane(&bins, 0));
        self.previous = *sent;
    }

    #[inline(always)]
    fn backward<S: Simd>(&self, simd: S, spectra: [&Spectrum; 4]) -> [Point; BLOCK] {
        let mut bins = [Point::ZERO; BINS];
        for (lane, spectrum) in spectra.into_iter().enumerate() {
            spectrum.write_lane(&mut bins, lane);
        }
        let mut waves = [Point::ZERO; BLOCK];
        self.fft.inverse(simd, &bins, &mut waves);
        for point in &mut waves {
            point.re.iter_mut().chain(&mut point.im).for_each(|value| *value *= 1.0 / (2 * BLOCK) as f32);
        }
        waves
    }

    /// Spectra of the error and of the two held partitions with nothing in their second half: there a
    /// partition would describe echo that wraps around.
    #[inline(always)]
    fn forward<S: Simd>(&self, simd: S, error: &[f32; BLOCK], waves: &[Point; BLOCK]) -> [Spectrum; 3] {
        let mut wave = [Point::ZERO; BLOCK];
        let (lower, upper) = wave.split_at_mut(BLOCK / 2);
        write(upper, 0, error);
        for (point, held) in lower.iter_mut().zip(waves) {
            (point.re[2], point.re[3]) = (held.re[2], held.re[3]);
            (point.im[2], point.im[3]) = (held.im[2], held.im[3]);
        }
        let mut bins = [Point::ZERO; BINS];
        self.fft.forward(simd, &mut wave, &mut bins);
        [0, 2, 3].map(|lane| Spectrum::from_lane(&bins, lane))
    }

    fn forget(&mut self) {
        self.background.forget();
        self.foreground.forget();
        self.energies = [0.0; PARTITIONS];
        self.doubt.forget();
        self.contest = Contest::default();
    }

    fn report(&self, error: [f32; BLOCK], echo_dbfs: f32, path_changed: bool) -> Cleaned {
        let erl_db = self.path.erl_db();
        Cleaned {
            error,
            echo_dbfs,
            erle_db: self.path.erle_db(),
            erl_db,
            delay_ms: erl_db.map(|_| 10 * strongest(&self.energies) as u32),
            path_changed,
        }
    }
}

impl Default for EchoFilter {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for EchoFilter {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.debug_struct("EchoFilter").field("path", &self.path).finish_non_exhaustive()
    }
}

/// All calls share them.
fn tables() -> &'static RealFft<BLOCK> {
    static TABLES: LazyLock<RealFft<BLOCK>> = LazyLock::new(RealFft::new);
    &TABLES
}

fn strongest(energies: &[f32; PARTITIONS]) -> usize {
    let best = energies.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
    best.map_or(0, |(place, _)| place)
}

/// Puts samples into a lane of a wave: the even ones as real, the odd ones as imaginary parts.
fn write(wave: &mut [Point], lane: usize, samples: &[f32; BLOCK]) {
    for (point, [even, odd]) in wave.iter_mut().zip(samples.as_chunks::<2>().0) {
        (point.re[lane], point.im[lane]) = (*even, *odd);
    }
}

/// The half of a lane's window that holds no wrapped-around samples.
fn upper_half(wave: &[Point; BLOCK], lane: usize) -> [f32; BLOCK] {
    let mut samples = [0.0; BLOCK];
    for ([even, odd], point) in samples.as_chunks_mut::<2>().0.iter_mut().zip(&wave[BLOCK / 2..]) {
        (*even, *odd) = (point.re[lane], point.im[lane]);
    }
    samples
}

fn minus(a: &[f32; BLOCK], b: &[f32; BLOCK]) -> [f32; BLOCK] {
    core::array::from_fn(|n| a[n] - b[n])
}

fn product(a: &[f32; BLOCK], b: &[f32; BLOCK]) -> f32 {
    crate::dot(a, b)
}

fn energy(samples: &[f32; BLOCK]) -> f32 {
    product(samples, samples)
}

fn tame(sample: f32) -> f32 {
    if sample.is_finite() { sample.clamp(-FULL_SCALE, FULL_SCALE) } else { 0.0 }
}

const FULL_SCALE: f32 = 32768.0;
/// Energy of a block at -72 dBFS: less is not sent to be heard.
const LEAST_SENT: f32 = BLOCK as f32 * 64.0;
/// No echo is twice as loud as full scale.
const WILDEST: f32 = BLOCK as f32 * 4.0 * FULL_SCALE * FULL_SCALE;
