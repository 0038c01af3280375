//! A deterministic signal that has what speech has for a detector: a pitch, formants, syllables and short pauses. Its
//! length follows the text (60 ms a character), so that a test knows how long a sentence lasts.

use std::f32::consts::TAU;
use std::time::Duration;

/// Speaks `text` one character at a time.
pub struct Speech {
    characters: Vec<char>,
    next: usize,
    rate: u32,
    /// Position in the pitch period, 0.0 to 1.0.
    phase: f32,
    pitch: f32,
    formants: [Resonator; 2],
    noise: u32,
}

impl Speech {
    /// `rate` in Hz.
    pub fn new(text: &str, rate: u32) -> Self {
        let seed = text.bytes().fold(0x811c_9dc5_u32, |hash, b| (hash ^ u32::from(b)).wrapping_mul(0x0100_0193));
        Self {
            characters: text.chars().collect(),
            next: 0,
            rate,
            phase: 0.0,
            pitch: 105.0 + (seed % 40) as f32,
            formants: [Resonator::default(), Resonator::default()],
            noise: seed | 1,
        }
    }

    /// All of it.
    pub fn whole(text: &str, rate: u32) -> Vec<i16> {
        Self::new(text, rate).flatten().collect()
    }

    fn sound(&mut self, character: char) -> Vec<i16> {
        let count = self.rate * MS_PER_CHARACTER / 1000;
        let (low, high, level) = shape(character);
        let [first, second] = &mut self.formants;
        first.tune(low, self.rate);
        second.tune(high, self.rate);
        let voiced = is_vowel(character);
        let mut samples = Vec::with_capacity(count as usize);
        for index in 0..count {
            self.phase = (self.phase + self.pitch / self.rate as f32).fract();
            self.noise = self.noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let breath = (self.noise >> 16) as f32 / 32_768.0 - 1.0;
            let source = if voiced { 1.0 - 2.0 * self.phase } else { 0.4 * (1.0 - 2.0 * self.phase) + 0.6 * breath };
            let place = index as f32 / count as f32;
            let envelope = 0.35 + 0.65 * (place * TAU / 2.0).sin();
            let [first, second] = &mut self.formants;
            let value = (first.pass(source) + 0.6 * second.pass(source)) * level * envelope;
            // Limited softly: a clipped peak would be a click.
            samples.push((LOUDEST * (value * LEVEL / LOUDEST).tanh()) as i16);
        }
        samples
    }
}

impl Iterator for Speech {
    type Item = Vec<i16>;

    /// The next 60 ms.
    fn next(&mut self) -> Option<Vec<i16>> {
        let character = *self.characters.get(self.next)?;
        self.next += 1;
        Some(self.sound(character))
    }
}

/// How long `text` lasts.
pub fn length(text: &str) -> Duration {
    Duration::from_millis(u64::from(MS_PER_CHARACTER)) * u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

/// A two-pole resonator.
#[derive(Default)]
struct Resonator {
    gain: f32,
    a1: f32,
    a2: f32,
    y1: f32,
    y2: f32,
}

impl Resonator {
    fn tune(&mut self, hz: f32, rate: u32) {
        let radius = (-std::f32::consts::PI * BANDWIDTH / rate as f32).exp();
        self.a1 = 2.0 * radius * (TAU * hz / rate as f32).cos();
        self.a2 = -radius * radius;
        self.gain = 4.0 * (1.0 - radius);
    }

    fn pass(&mut self, x: f32) -> f32 {
        let y = self.gain * x + self.a1 * self.y1 + self.a2 * self.y2;
        (self.y2, self.y1) = (self.y1, y);
        y
    }
}

const fn is_vowel(character: char) -> bool {
    matches!(character.to_ascii_lowercase(), 'a' | 'e' | 'i' | 'o' | 'u' | 'y')
}

/// Two formants (Hz) and a level for a character; a mark or a space is a quiet murmur, never silence.
fn shape(character: char) -> (f32, f32, f32) {
    match character.to_ascii_lowercase() {
        'a' => (730.0, 1100.0, 1.0),
        'e' => (530.0, 1850.0, 0.95),
        'i' | 'y' => (300.0, 2250.0, 0.85),
        'o' => (570.0, 850.0, 0.95),
        'u' => (320.0, 900.0, 0.9),
        c if c.is_alphanumeric() => {
            let place = (u32::from(c) % 11) as f32;
            (260.0 + 40.0 * place, 1200.0 + 180.0 * place, 0.35 + 0.03 * place)
        }
        _ => (250.0, 1000.0, 0.15),
    }
}

const MS_PER_CHARACTER: u32 = 60;
const LEVEL: f32 = 9000.0;
const LOUDEST: f32 = 24_000.0;
/// Hz.
const BANDWIDTH: f32 = 120.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_length_follows_the_text_at_any_rate() {
        for rate in [8000, 16_000, 24_000] {
            assert_eq!(Speech::whole("hello there", rate).len(), 11 * 60 * rate as usize / 1000);
        }
        assert_eq!(length("hello there"), Duration::from_millis(660));
    }

    #[test]
    fn it_is_audible_throughout_and_always_the_same() {
        let audio = Speech::whole("how can i help you today", 8000);
        assert_eq!(audio, Speech::whole("how can i help you today", 8000));
        for (index, part) in audio.chunks(480).enumerate() {
            let mean = part.iter().map(|s| i64::from(*s).pow(2)).sum::<i64>() / 480;
            assert!((10_000..400_000_000).contains(&mean), "character {index}: mean square {mean}");
        }
        assert!(audio.iter().all(|s| s.unsigned_abs() < 24_001), "clipped");
    }
}
