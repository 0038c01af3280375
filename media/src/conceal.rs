//! Fills gaps in 8 kHz speech by repeating its last pitch periods (after G.711 appendix I).
//!
//! The waveform goes on in phase, fades to silence by 60 ms, and blends into what comes next. It adds
//! no delay: where appendix I holds audio back to smooth the first joint, the offset there is let decay.
//!
//! Where the audio after the gap has come already, as it mostly has in a jitter buffer, the gap is filled from both
//! sides: the past goes on, bent so that it arrives in phase, and glides into the future continued backwards.

use crate::{PER_MS, dot, to_sample};

/// Learns from what is played and goes on from it when nothing is there to play.
#[derive(Clone, Debug)]
pub struct Concealer {
    history: [i16; HISTORY],
    /// The history as it was when the gap began.
    pattern: [i16; HISTORY],
    lag: usize,
    periods: usize,
    position: usize,
    offset: f32,
    missing: usize,
    bridge: Bridge,
}

/// A filling between past and future, computed when both were known.
#[derive(Clone, Debug)]
struct Bridge {
    wave: [i16; LONGEST_BRIDGE],
    taken: usize,
    length: usize,
}

impl Bridge {
    const NONE: Self = Self { wave: [0; LONGEST_BRIDGE], taken: 0, length: 0 };

    fn left(&self) -> usize {
        self.length - self.taken
    }
}

impl Concealer {
    /// A concealer that has heard silence.
    pub fn new() -> Self {
        Self {
            history: [0; HISTORY],
            pattern: [0; HISTORY],
            lag: LONGEST_LAG,
            periods: 1,
            position: 0,
            offset: 0.0,
            missing: 0,
            bridge: Bridge::NONE,
        }
    }

    /// Takes samples that are about to be played; after a gap their beginning is blended in place.
    pub fn heard(&mut self, samples: &mut [i16]) {
        if self.missing > 0 {
            // A bridge that was crossed ends where the samples begin.
            if self.bridge.length == 0 || self.bridge.left() > 0 {
                self.blend(samples);
            }
            self.missing = 0;
            (self.bridge.taken, self.bridge.length) = (0, 0);
        }
        self.remember(samples);
    }

    /// Fills `out` with the continuation of what was heard.
    pub fn conceal(&mut self, out: &mut [i16]) {
        if self.faded() {
            out.fill(0);
            self.missing = self.missing.saturating_add(out.len());
            self.remember(out);
            return;
        }
        if self.missing == 0 {
            self.begin();
        }
        (self.bridge.taken, self.bridge.length) = (0, 0);
        for sample in out.iter_mut() {
            *sample = to_sample(self.next());
        }
        self.remember(out);
    }

    /// Fills `out`, the beginning of a gap of `left` samples after which `future` follows.
    pub fn conceal_towards(&mut self, out: &mut [i16], left: usize, future: &[i16]) {
        if self.bridge.left() != left {
            self.bridge.length = 0;
            self.bridge.taken = 0;
            if self.faded() || left > LONGEST_BRIDGE || future.len() < LEAST_FUTURE || out.len() > left {
                return self.conceal(out);
            }
            self.build(left, future);
        }
        let from = self.bridge.taken;
        for (sample, &made) in out.iter_mut().zip(&self.bridge.wave[from..]) {
            *sample = made;
        }
        self.bridge.taken += out.len();
        self.missing += out.len();
        self.remember(out);
    }

    /// Whether the gap is so long that only silence is left.
    pub fn faded(&self) -> bool {
        self.missing >= FADED
    }

    /// Forgets everything, as for a new stream.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    fn remember(&mut self, samples: &[i16]) {
        let newest = &samples[samples.len().saturating_sub(HISTORY)..];
        self.history.copy_within(newest.len().., 0);
        self.history[HISTORY - newest.len()..].copy_from_slice(newest);
    }

    fn begin(&mut self) {
        self.pattern = self.history;
        self.lag = pitch_lag(&self.history);
        (self.periods, self.position) = (1, 0);
        let last = f32::from(self.pattern[HISTORY - 1]);
        self.offset = last - f32::from(self.pattern[HISTORY - 1 - self.lag]);
    }

    /// The next sample of the continuation, faded.
    fn next(&mut self) -> f32 {
        self.widen();
        let length = self.periods * self.lag;
        let index = HISTORY - length + self.position;
        let mut value = f32::from(self.pattern[index]);
        // The end of the loop leans towards what came before its start, so that it closes smoothly.
        let seam = self.lag / 4;
        let left = length - self.position;
        if left <= seam {
            let weight = left as f32 / (seam + 1) as f32;
            value = weight * value + (1.0 - weight) * f32::from(self.pattern[index - length]);
        }
        value += self.offset * (1.0 - self.missing as f32 / seam as f32).max(0.0);
        self.position = (self.position + 1) % length;
        let gain = gain(self.missing);
        self.missing += 1;
        gain * value
    }

    /// Computes the filling of a gap of `left` samples up to `future`.
    fn build(&mut self, left: usize, future: &[i16]) {
        let missing = self.missing;
        if missing == 0 {
            self.begin();
        }
        let mut ahead = [0f32; LOOK_AHEAD];
        let known = future.len().min(LOOK_AHEAD);
        for (value, &sample) in ahead.iter_mut().zip(future) {
            *value = f32::from(sample);
        }
        let ahead = &ahead[..known];
        let mut past = [0f32; LONGEST_BRIDGE + MATCH + MOST_BEND];
        let needed = left + MATCH + MOST_BEND;
        let short = left <= SHORT_BRIDGE;
        for value in past.iter_mut().take(needed) {
            let loudness = gain(self.missing);
            let faded = self.next();
            // In a short gap the future takes over before the past needs to fade.
            *value = if short && loudness > 0.0 { faded / loudness * gain(missing) } else { faded };
        }
        self.missing = missing;
        let (bend, resemblance) = arrival(&past[..needed], left, ahead);
        let back = Backwards::new(ahead, self.lag);
        let glide = left.min(SHORT_BRIDGE);
        let alike = resemblance > ALIKE && back.voiced;
        for (index, out) in self.bridge.wave.iter_mut().take(left).enumerate() {
            let place = index as f32 * (1.0 + bend / left as f32);
            let along = (index + 1).saturating_sub(left - glide) as f32 / (glide + 1) as f32;
            let (before, after) = if alike { (1.0 - along, along) } else { ((1.0 - along).sqrt(), along.sqrt()) };
            *out = to_sample(before * between(&past, place) + after * back.before(left - index));
        }
        (self.bridge.taken, self.bridge.length) = (0, left);
    }

    /// After 10 and 20 ms more periods join the loop: one alone soon sounds like a buzzer.
    fn widen(&mut self) {
        let wanted = (1 + self.missing / WIDEN_AFTER).min(MOST_PERIODS);
        if wanted > self.periods {
            self.periods += 1;
            self.position += self.lag;
        }
    }

    fn blend(&mut self, samples: &mut [i16]) {
        let width = (self.lag / 4 + self.missing / 3).min(LONGEST_BLEND).min(samples.len());
        for (index, sample) in samples.iter_mut().take(width).enumerate() {
            let weight = (index + 1) as f32 / (width + 1) as f32;
            let synthetic = if self.faded() { 0.0 } else { self.next() };
            *sample = to_sample(weight * f32::from(*sample) + (1.0 - weight) * synthetic);
        }
    }
}

impl Default for Concealer {
    fn default() -> Self {
        Self::new()
    }
}

/// The audio after a gap, continued backwards by its own period.
struct Backwards<'a> {
    wave: &'a [f32],
    lag: usize,
    offset: f32,
    voiced: bool,
}

impl<'a> Backwards<'a> {
    fn new(wave: &'a [f32], past_lag: usize) -> Self {
        let longest = (wave.len() - MATCH).min(past_lag + past_lag / 4).max(1);
        let shortest = (past_lag - past_lag / 4).min(longest);
        let (mut lag, mut best) = (longest, VOICED);
        for candidate in shortest..=longest {
            let score = resemblance(&wave[..MATCH], &wave[candidate..candidate + MATCH]);
            if score > best {
                (lag, best) = (candidate, score);
            }
        }
        Self { wave, lag, offset: wave[0] - wave[lag], voiced: best > VOICED }
    }

    /// The sample `distance` before the first one.
    fn before(&self, distance: usize) -> f32 {
        let index = (self.lag - distance % self.lag) % self.lag;
        let seam = (self.lag / 4).max(1) as f32;
        self.wave[index] + self.offset * (1.0 - distance as f32 / seam).max(0.0)
    }
}

/// By how many samples the past's continuation has to be bent to arrive in phase with the future, and how alike they
/// are then.
fn arrival(past: &[f32], left: usize, future: &[f32]) -> (f32, f32) {
    let most = (left / 8).min(MOST_BEND);
    let (mut bend, mut best) = (0.0, f32::NEG_INFINITY);
    for step in 0..=2 * most {
        let start = left + step - most;
        let score = resemblance(&past[start..start + MATCH], &future[..MATCH]);
        if score > best {
            (bend, best) = (step as f32 - most as f32, score);
        }
    }
    if best > ALIKE { (bend, best) } else { (0.0, best) }
}

/// Normalised correlation, -1 to 1.
fn resemblance(a: &[f32], b: &[f32]) -> f32 {
    dot(a, b) / ((dot(a, a) + 1.0) * (dot(b, b) + 1.0)).sqrt()
}

/// The value between two samples.
fn between(wave: &[f32], place: f32) -> f32 {
    let (index, part) = (place as usize, place.fract());
    let at = |index: usize| wave.get(index).copied().unwrap_or_default();
    at(index) * (1.0 - part) + at(index + 1) * part
}

/// Full for 10 ms, then straight down to nothing at 60 ms.
fn gain(missing: usize) -> f32 {
    let fading = missing.saturating_sub(FULL) as f32;
    (1.0 - fading / (FADED - FULL) as f32).max(0.0)
}

/// The lag at which the last 20 ms resemble the past most, samples.
fn pitch_lag(history: &[i16; HISTORY]) -> usize {
    let mut wave = [0f32; HISTORY];
    for (value, &sample) in wave.iter_mut().zip(history) {
        *value = f32::from(sample);
    }
    let recent = &wave[HISTORY - TEMPLATE..];
    let (mut best_lag, mut best) = (LONGEST_LAG, VOICED);
    let recent_energy = dot(recent, recent) + 1.0;
    for lag in SHORTEST_LAG..=LONGEST_LAG {
        let past = &wave[HISTORY - TEMPLATE - lag..HISTORY - lag];
        let score = dot(recent, past) / (recent_energy * (dot(past, past) + 1.0)).sqrt();
        if score > best {
            (best_lag, best) = (lag, score);
        }
    }
    best_lag
}

/// 66 to 200 Hz; higher voices match at a multiple of their period.
const SHORTEST_LAG: usize = 40;
const LONGEST_LAG: usize = 120;
const TEMPLATE: usize = 20 * PER_MS;
const MOST_PERIODS: usize = 3;
const WIDEN_AFTER: usize = 10 * PER_MS;
const FULL: usize = 10 * PER_MS;
const FADED: usize = 60 * PER_MS;
const LONGEST_BLEND: usize = 10 * PER_MS;
/// Below this resemblance the sound is noise, which repeats least audibly at the longest lag.
const VOICED: f32 = 0.3;
/// How much of the audio after a gap is looked at: 30 ms, 10 at least.
pub const LOOK_AHEAD: usize = 30 * PER_MS;
const LEAST_FUTURE: usize = 12 * PER_MS;
/// A longer gap fades before it comes back.
const LONGEST_BRIDGE: usize = 60 * PER_MS;
/// The last 30 ms of a gap glide from past to future.
const SHORT_BRIDGE: usize = 30 * PER_MS;
/// Samples that are compared, whole lanes.
const MATCH: usize = 80;
const MOST_BEND: usize = 24;
const ALIKE: f32 = 0.4;
/// Three periods and the seam before them.
const HISTORY: usize = MOST_PERIODS * LONGEST_LAG + LONGEST_LAG / 4 + LONGEST_LAG;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::rms_dbfs;

    /// A buzz at `hz` with falling harmonics and a slow swell, much like a vowel.
    fn vowel(hz: f32, length: usize) -> Vec<i16> {
        (0..length)
            .map(|n| {
                let time = n as f32 / 8000.0;
                let swell = 1.0 + 0.3 * (core::f32::consts::TAU * 3.0 * time).sin();
                let wave: f32 =
                    (1..=12).map(|k| (core::f32::consts::TAU * hz * k as f32 * time).sin() / k as f32).sum();
                to_sample(4000.0 * swell * wave)
            })
            .collect()
    }

    fn error_db(truth: &[i16], got: &[i16]) -> f32 {
        let error: Vec<i16> = truth.iter().zip(got).map(|(a, b)| a.saturating_sub(*b)).collect();
        rms_dbfs(&error) - rms_dbfs(truth)
    }

    #[test]
    fn follows_a_vowel_better_than_repetition_of_the_last_frame() {
        for hz in [90.0, 117.0, 143.0, 210.0, 247.0] {
            let wave = vowel(hz, 2000);
            let mut concealer = Concealer::new();
            concealer.heard(&mut wave[..1600].to_vec());
            let mut filled = [0; 160];
            concealer.conceal(&mut filled);
            let ours = error_db(&wave[1600..1680], &filled[..80]);
            let repeated = error_db(&wave[1600..1680], &wave[1440..1520]);
            assert!(ours < -8.0 && ours < repeated, "{hz} Hz: {ours} against {repeated}");
        }
    }

    #[test]
    fn joints_do_not_click() {
        let wave = vowel(130.0, 2400);
        let steepest = |wave: &[i16]| wave.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max();
        let mut played = wave.clone();
        let mut concealer = Concealer::new();
        for (index, frame) in played.chunks_mut(160).enumerate() {
            match index % 5 {
                4 => concealer.conceal(frame),
                _ => concealer.heard(frame),
            }
        }
        assert!(steepest(&played) <= steepest(&wave).map(|step| step * 5 / 4));
    }

    #[test]
    fn fades_out_by_60_ms_and_stays_silent() {
        let mut concealer = Concealer::new();
        concealer.heard(&mut vowel(120.0, 1600));
        let mut gap = [0; 800];
        for frame in gap.chunks_mut(160) {
            concealer.conceal(frame);
        }
        assert!(rms_dbfs(&gap[..160]) > -30.0);
        assert!(rms_dbfs(&gap[320..480]) < rms_dbfs(&gap[..160]) - 6.0);
        assert!(gap[480..].iter().all(|&sample| sample == 0));
        assert!(concealer.faded());
    }

    #[test]
    fn good_audio_passes_untouched_without_a_gap() {
        let wave = vowel(100.0, 480);
        let mut played = wave.clone();
        let mut concealer = Concealer::new();
        played.chunks_mut(160).for_each(|frame| concealer.heard(frame));
        assert_eq!(wave, played);
    }
}
