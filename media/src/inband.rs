//! DTMF in the audio itself (ITU-T Q.23, Q.24): which key's two tones are sounding.
//!
//! Hann windows of 24 ms, 8 ms apart, are compared with the eight tones. A key is one whose two tones hold most of the
//! window's energy, stand out from their groups, are about equally loud and have no overtones, in three windows running:
//! speech has all of that for moments only. Silence costs the sum of its squares and nothing else.

use crate::dtmf::Digit;
use crate::{FRAME, Frame, dot};

/// Finds keys in 20 ms frames; memory is fixed.
#[derive(Clone, Debug)]
pub struct InbandDetector {
    wave: [f32; WINDOW + FRAME],
    /// Samples of `wave` that no window has begun with.
    filled: usize,
    /// The key of the windows before, and how many in a row had it.
    candidate: Option<(Digit, u8)>,
    pressed: Option<Digit>,
    /// Power of the pressed key's tones.
    strength: f32,
    /// Windows in a row without the pressed key.
    misses: u8,
}

/// What a frame showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToneEdge {
    /// The key's tones began, 32 to 40 ms ago.
    Down(Digit),
    /// The key's tones are over.
    Up(Digit),
}

impl InbandDetector {
    /// A detector that has heard silence.
    pub fn new() -> Self {
        // The tables are made before the first call's audio, not in it.
        prepare();
        Self { wave: [0.0; WINDOW + FRAME], filled: 0, candidate: None, pressed: None, strength: 0.0, misses: 0 }
    }

    /// Takes the next 20 ms; at most two edges come of them.
    pub fn push(&mut self, frame: &Frame) -> [Option<ToneEdge>; 2] {
        for (place, &sample) in self.wave.iter_mut().skip(self.filled).zip(frame) {
            *place = f32::from(sample);
        }
        self.filled += FRAME;
        let mut edges = [None; 2];
        while self.filled >= WINDOW {
            if let Some(edge) = self.window()
                && let Some(place) = edges.iter_mut().find(|place| place.is_none())
            {
                *place = Some(edge);
            }
            self.wave.copy_within(HOP..self.filled, 0);
            self.filled -= HOP;
        }
        edges
    }

    /// The key that is sounding.
    pub fn pressed(&self) -> Option<Digit> {
        self.pressed
    }

    /// Forgets all audio.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    fn window(&mut self) -> Option<ToneEdge> {
        let found = key(&self.wave[..WINDOW], if self.pressed.is_some() { HELD_SHARE } else { SHARE });
        if let Some(pressed) = self.pressed {
            let goes_on = found.is_some_and(|(digit, power)| digit == pressed && power > self.strength * FADED);
            self.misses = if goes_on { 0 } else { self.misses + 1 };
            if let Some((_, power)) = found.filter(|_| goes_on) {
                self.strength = self.strength.max(power);
            }
            if self.misses < MISSES {
                return None;
            }
            (self.pressed, self.candidate) = (None, None);
            return Some(ToneEdge::Up(pressed));
        }
        let before = self.candidate.take();
        let (digit, power) = found?;
        let windows = before.filter(|(known, _)| *known == digit).map_or(0, |(_, windows)| windows) + 1;
        if windows < HITS {
            self.candidate = Some((digit, windows));
            return None;
        }
        (self.pressed, self.strength, self.misses, self.candidate) = (Some(digit), power, 0, None);
        Some(ToneEdge::Down(digit))
    }
}

impl Default for InbandDetector {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether the newest 24 ms of these samples are most likely a key's tones: one window is too little to report a key by, but
/// enough not to take it for a voice.
pub(crate) fn may_be_key(samples: &[f32]) -> bool {
    samples.last_chunk::<WINDOW>().is_some_and(|newest| key(newest, LIKELY_SHARE).is_some())
}

/// Makes the tables, so that no frame has to.
pub(crate) fn prepare() {
    std::sync::LazyLock::force(&PROBES);
}

/// The key in a window whose tones hold at least `share` of its energy, and their power, squares of sample units.
fn key(samples: &[f32], share: f32) -> Option<(Digit, f32)> {
    if dot(samples, samples) < LEAST_POWER * WINDOW as f32 {
        return None;
    }
    let mut windowed = [0.0; WINDOW];
    for ((value, sample), weight) in windowed.iter_mut().zip(samples).zip(&PROBES.window) {
        *value = sample * weight;
    }
    let wave = &windowed[..];
    let total = dot(wave, wave) / WINDOW_POWER;
    let powers = PROBES.map_power(wave);
    let (rows, columns) = powers.split_at(4);
    let ((row, low), (column, high)) = (loudest(rows)?, loudest(columns)?);
    let together = low + high;
    let balanced = low < high * TWIST && high < low * TWIST;
    if together < total * share || !balanced || low.min(high) < LEAST_TONE {
        return None;
    }
    // Overtones: a voice whose harmonics happen to fall on two tones has others above them.
    let overtone = PROBES.power(wave, 8 + row) + PROBES.power(wave, 12 + column);
    if overtone > together * OVERTONE {
        return None;
    }
    let digit = Digit::try_from(char::from(*KEYS.get(row)?.get(column)?)).ok()?;
    Some((digit, together))
}

/// The loudest of a group, if it stands out from the others.
fn loudest(group: &[f32]) -> Option<(usize, f32)> {
    let (index, &power) = group.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
    let stands_out = group.iter().enumerate().all(|(other, &rival)| other == index || rival * STANDS_OUT < power);
    stands_out.then_some((index, power))
}

/// The window, and over its length sines and cosines of the eight tones, three times the rows and twice the columns (twice
/// a row is too near to a column).
struct Probes {
    window: [f32; WINDOW],
    tones: [[[f32; WINDOW]; 2]; 16],
}

static PROBES: std::sync::LazyLock<Box<Probes>> = std::sync::LazyLock::new(Probes::build);

impl Probes {
    fn build() -> Box<Self> {
        let mut probes = Box::new(Self { window: [0.0; WINDOW], tones: [[[0.0; WINDOW]; 2]; 16] });
        for (n, weight) in probes.window.iter_mut().enumerate() {
            *weight = 0.5 - 0.5 * (core::f32::consts::TAU * (n as f32 + 0.5) / WINDOW as f32).cos();
        }
        for (index, [cosine, sine]) in probes.tones.iter_mut().enumerate() {
            let times = [1.0, 1.0, 3.0, 2.0];
            let hz = TONES.get(index % 8).copied().unwrap_or(0.0) * times.get(index / 4).copied().unwrap_or(1.0);
            for (n, (c, s)) in cosine.iter_mut().zip(sine).enumerate() {
                let phase = core::f32::consts::TAU * hz * n as f32 / crate::RATE_HZ as f32;
                (*c, *s) = (phase.cos(), phase.sin());
            }
        }
        probes
    }

    fn map_power(&self, wave: &[f32]) -> [f32; 8] {
        core::array::from_fn(|tone| self.power(wave, tone))
    }

    /// Mean square of the sine of this frequency in the window.
    fn power(&self, wave: &[f32], probe: usize) -> f32 {
        let Some([cosine, sine]) = self.tones.get(probe) else { return 0.0 };
        let (re, im) = (dot(wave, cosine), dot(wave, sine));
        2.0 * (re * re + im * im) / (WINDOW_SUM * WINDOW_SUM)
    }
}

/// Rows, then columns, Hz (Q.23).
const TONES: [f32; 8] = [697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0];
const KEYS: [&[u8; 4]; 4] = [b"123A", b"456B", b"789C", b"*0#D"];
/// 24 ms: tells neighbours 73 Hz apart, also when they are 1.5 % off.
const WINDOW: usize = 192;
const HOP: usize = 64;
/// Sum and sum of squares of the window's weights.
const WINDOW_SUM: f32 = WINDOW as f32 / 2.0;
const WINDOW_POWER: f32 = WINDOW as f32 * 3.0 / 8.0;
/// The shortest valid tone of 40 ms fills four windows well enough, a burst of 20 ms no more than two.
const HITS: u8 = 3;
/// -45 dBFS in all and -48 for each tone: Q.24 asks for -25 dBm of the quieter one (-28 dBFS).
const LEAST_POWER: f32 = 33_954.0;
const LEAST_TONE: f32 = 17_018.0;
/// Of the window's energy, at least: leaves room for noise 15 dB below and tones 1.5 % off.
const SHARE: f32 = 0.72;
const LIKELY_SHARE: f32 = 0.6;
/// Of a key that is down: a gap of 10 ms in a tone spreads its energy.
const HELD_SHARE: f32 = 0.35;
/// 9 dB either way.
const TWIST: f32 = 7.9;
/// 8 dB above each other tone of the group.
const STANDS_OUT: f32 = 6.3;
/// -14 dB.
const OVERTONE: f32 = 0.04;
/// A pressed key goes on while its tones are at most 9 dB below their loudest.
const FADED: f32 = 0.125;
/// Three windows, so that a gap of 10 ms does not part a press in two, and one of 40 ms does.
const MISSES: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone::Tone;

    fn edges(wave: &[i16]) -> Vec<ToneEdge> {
        let mut detector = InbandDetector::new();
        wave.as_chunks::<FRAME>().0.iter().flat_map(|frame| detector.push(frame)).flatten().collect()
    }

    fn press(digit: Digit, low_dbfs: f32, high_dbfs: f32, off: f32, samples: usize) -> Vec<i16> {
        let (row, column) = place(digit);
        let mut low = Tone::sine(TONES[row] * off, low_dbfs);
        let mut high = Tone::sine(TONES[4 + column] * off, high_dbfs);
        let (mut a, mut b) = (vec![0; samples], vec![0; samples]);
        low.fill(&mut a);
        high.fill(&mut b);
        a.iter().zip(&b).map(|(a, b)| a + b).collect()
    }

    fn place(digit: Digit) -> (usize, usize) {
        let key = digit.as_char() as u8;
        let row = KEYS.iter().position(|row| row.contains(&key)).unwrap();
        (row, KEYS[row].iter().position(|&other| other == key).unwrap())
    }

    /// Silence, the wave, silence.
    fn between(wave: &[i16], lead: usize) -> Vec<i16> {
        [&vec![0; lead][..], wave, &[0; 800][..]].concat()
    }

    #[test]
    fn every_key_of_40_ms_is_found_once_at_any_phase_of_the_frames() {
        for digit in Digit::ALL {
            for lead in (400..560).step_by(13) {
                let found = edges(&between(&press(digit, -20.0, -18.0, 1.0, 320), lead));
                assert_eq!(found, [ToneEdge::Down(digit), ToneEdge::Up(digit)], "{digit} {lead}");
            }
        }
    }

    #[test]
    fn a_key_is_found_within_50_ms() {
        for lead in (480..640).step_by(7) {
            let (mut detector, wave) =
                (InbandDetector::new(), between(&press(Digit::D6, -20.0, -20.0, 1.0, 800), lead));
            let frame = wave.as_chunks::<FRAME>().0.iter().position(|frame| detector.push(frame)[0].is_some()).unwrap();
            // Up to the end of a frame, as it is only then given.
            let late = (frame + 1) * FRAME - lead;
            assert!(late <= 60 * 8, "{} ms", late / 8);
        }
    }

    #[test]
    fn twist_level_and_frequency_have_their_limits() {
        let found = |low, high, off| !edges(&between(&press(Digit::D9, low, high, off, 480), 480)).is_empty();
        assert!(found(-20.0, -28.0, 1.0) && found(-28.0, -20.0, 1.0));
        assert!(!found(-20.0, -31.0, 1.0) && !found(-31.0, -20.0, 1.0));
        assert!(found(-40.0, -40.0, 1.0) && !found(-52.0, -52.0, 1.0));
        assert!(found(-20.0, -20.0, 1.015) && found(-20.0, -20.0, 0.985));
        assert!(!found(-20.0, -20.0, 1.045) && !found(-20.0, -20.0, 0.955));
    }

    #[test]
    fn short_bursts_are_no_keys_and_short_gaps_part_none() {
        assert!(edges(&between(&press(Digit::D3, -20.0, -20.0, 1.0, 160), 480)).is_empty());
        let mut wave = press(Digit::D3, -20.0, -20.0, 1.0, 1600);
        wave[800..880].fill(0);
        assert_eq!(edges(&between(&wave, 480)).len(), 2);
        wave[800..1120].fill(0);
        assert_eq!(edges(&between(&wave, 480)).len(), 4);
    }

    #[test]
    fn single_tones_and_dial_tones_are_no_keys() {
        let mut wave = vec![0; 8000];
        for tone in [
            Tone::sine(697.0, -10.0),
            Tone::sine(1336.0, -10.0),
            Tone::dual(350.0, 440.0, -13.0),
            Tone::dual(440.0, 480.0, -15.0),
        ] {
            tone.clone().fill(&mut wave);
            assert!(edges(&wave).is_empty());
        }
    }
}
