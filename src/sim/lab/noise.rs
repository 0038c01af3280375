//! What else is heard on a line: noises of places and machines, and sounds that callers make without saying anything.
//!
//! Steady noises have a level of 0 dB by their mean power, events by their loudest moment, and voices by their active speech
//! level; the trial brings them to the level it wants. What needs voices or music takes them from [`Voices`].

use core::f32::consts::TAU;

use super::signal::{Filter, RATE, add, between, choose, gain, normal, power, ratio, seconds};
use super::voices::{Split, Utterance, Voices};
use crate::sim::clock::Dice;

/// A background.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Noise {
    White,
    Pink,
    /// Low rumble whose level wanders.
    Street,
    /// Eight people at once.
    Babble,
    /// The mains and its harmonics.
    Hum,
    /// Hold music.
    Music,
    /// A keyboard.
    Clicks,
    Coughs,
    Breaths,
    /// Comfort noise whose level jumps by up to 20 dB.
    Steps,
    /// Keys of the telephone, heard in the audio.
    Keys,
    /// One other person, as on a television in the room.
    SecondVoice,
}

impl Noise {
    /// As the tables name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::White => "white",
            Self::Pink => "pink",
            Self::Street => "street",
            Self::Babble => "babble",
            Self::Hum => "hum",
            Self::Music => "music",
            Self::Clicks => "clicks",
            Self::Coughs => "coughs",
            Self::Breaths => "breaths",
            Self::Steps => "level steps",
            Self::Keys => "keys",
            Self::SecondVoice => "second voice",
        }
    }

    /// `length` samples of it at about 0 dB (an amplitude of 1).
    pub fn make(self, dice: &mut Dice, length: usize, voices: &Voices, split: Split) -> Vec<f32> {
        match self {
            Self::White => unit(telephone(hiss(dice, length))),
            Self::Pink => unit(telephone(pink(dice, length))),
            Self::Street => street(dice, length),
            Self::Babble => babble(dice, length, voices, split),
            Self::Hum => hum(dice, length),
            Self::Music => music(dice, length, voices, split),
            Self::Clicks => clicks(dice, length),
            Self::Coughs => coughs(dice, length),
            Self::Breaths => breaths(dice, length),
            Self::Steps => steps(dice, length),
            Self::Keys => keys(dice, length),
            Self::SecondVoice => conversation(dice, length, &talkers(voices, split)),
        }
    }
}

/// Sentence after sentence of one reader after another, each at 0 dB active level, with pauses of 50 to 600 ms.
fn conversation(dice: &mut Dice, length: usize, talkers: &[&[Utterance]]) -> Vec<f32> {
    let skip = dice.below(RATE);
    let mut wave = Vec::with_capacity(length + 4 * RATE);
    while wave.len() < length + skip {
        let Some(utterance) = choose(dice, talkers).and_then(|reader| choose(dice, reader)) else { break };
        let from = wave.len();
        wave.extend_from_slice(&utterance.wave);
        gain(&mut wave[from..], 1.0 / offhook_media::level::amplitude(utterance.level_dbfs));
        let pause = seconds(between(dice, 0.05, 0.6));
        wave.resize(wave.len() + pause, 0.0);
    }
    wave.drain(..skip.min(wave.len()));
    wave.resize(length, 0.0);
    wave
}

fn talkers(voices: &Voices, split: Split) -> Vec<&[Utterance]> {
    voices.callers(split)
}

fn babble(dice: &mut Dice, length: usize, voices: &Voices, split: Split) -> Vec<f32> {
    let talkers = talkers(voices, split);
    let mut wave = vec![0.0; length];
    for _ in 0..BABBLE {
        add(&mut wave, &conversation(dice, length, &talkers));
    }
    unit(wave)
}

fn music(dice: &mut Dice, length: usize, voices: &Voices, split: Split) -> Vec<f32> {
    match choose(dice, voices.music(split)) {
        Some(piece) if piece.len() > length => {
            let from = dice.below(piece.len() - length);
            unit(piece[from..from + length].to_vec())
        }
        _ => unit(telephone(chords(dice, length))),
    }
}

/// Where there is no recorded music: chords of plucked strings, four in two seconds.
fn chords(dice: &mut Dice, length: usize) -> Vec<f32> {
    let mut wave = vec![0.0; length];
    for start in (0..length).step_by(RATE / 2) {
        let root = 220.0 * 2f32.powf(dice.below(12) as f32 / 12.0);
        for third in [1.0, 1.26, 1.5] {
            for harmonic in 1..5 {
                let hz = root * third * harmonic as f32;
                for (n, place) in wave[start..].iter_mut().take(RATE).enumerate() {
                    let time = n as f32 / RATE as f32;
                    *place += (-3.0 * time).exp() * (TAU * hz * time).sin() / harmonic as f32;
                }
            }
        }
    }
    wave
}

fn street(dice: &mut Dice, length: usize) -> Vec<f32> {
    let mut state = 0.0;
    let mut wave: Vec<f32> = (0..length)
        .map(|_| {
            state = 0.94 * state + normal(dice);
            state + 0.15 * normal(dice)
        })
        .collect();
    Filter::band(150.0, 3600.0).run(&mut wave);
    let levels: Vec<f32> = (0..length / HALF_SECOND + 2).map(|_| ratio(4.0 * normal(dice))).collect();
    for (n, sample) in wave.iter_mut().enumerate() {
        let (index, part) = (n / HALF_SECOND, (n % HALF_SECOND) as f32 / HALF_SECOND as f32);
        *sample *= levels[index] * (1.0 - part) + levels[index + 1] * part;
    }
    unit(wave)
}

fn hum(dice: &mut Dice, length: usize) -> Vec<f32> {
    let mains = if dice.below(2) == 0 { 50.0 } else { 60.0 };
    let mut wave: Vec<f32> = (0..length).map(|_| 0.02 * normal(dice)).collect();
    for harmonic in 2..16 {
        let size = between(dice, 0.2, 1.0) / (harmonic as f32).sqrt();
        let phase = between(dice, 0.0, TAU);
        let step = TAU * mains * harmonic as f32 / RATE as f32;
        wave.iter_mut().enumerate().for_each(|(n, sample)| *sample += size * (step * n as f32 + phase).sin());
    }
    unit(telephone(wave))
}

/// Presses and releases; peaks lie about 12 dB above the nominal level, because the mean of clicks is low.
fn clicks(dice: &mut Dice, length: usize) -> Vec<f32> {
    let mut wave = vec![0.0; length];
    let mut at = 0.0;
    loop {
        at += 0.05 - 0.16 * (1.0 - dice.unit() as f32).ln();
        let press = seconds(at);
        if press + seconds(0.2) > length {
            break;
        }
        let release = press + seconds(between(dice, 0.06, 0.1));
        for (place, size) in [(press, 1.0), (release, 0.4)] {
            let samples = seconds(between(dice, 0.004, 0.014));
            let decay = samples as f32 / 4.0;
            let mut click: Vec<f32> = (0..samples).map(|n| normal(dice) * (-(n as f32) / decay).exp()).collect();
            Filter::resonance(between(dice, 900.0, 3000.0), 270.0).run(&mut click);
            let peak = click.iter().fold(1e-6f32, |peak, sample| peak.max(sample.abs()));
            gain(&mut click, size * between(dice, 0.4, 1.0) * ratio(12.0) / peak);
            add(&mut wave[place..], &click);
        }
    }
    telephone(wave)
}

/// A burst of 30 to 60 ms, 100 to 200 ms of hoarse noise, and in every other one a voiced tail.
fn coughs(dice: &mut Dice, length: usize) -> Vec<f32> {
    let mut wave = vec![0.0; length];
    let mut at = between(dice, 0.5, 2.0);
    while seconds(at + 1.0) < length {
        let mut cough = Vec::new();
        for (shortest, longest, size) in [(0.03, 0.06, 1.0), (0.1, 0.2, 0.45)] {
            let part = throat(dice, shortest, longest);
            cough.extend(part.into_iter().map(|sample| size * sample));
        }
        if dice.below(2) == 0 {
            let tail = voiced(dice);
            cough.extend(tail.into_iter().map(|sample| 0.4 * sample));
        }
        let whole = cough.len();
        for (n, sample) in cough.iter_mut().enumerate() {
            *sample *= (n as f32 / 16.0).min((whole - n) as f32 / 300.0).min(1.0);
        }
        add(&mut wave[seconds(at)..], &cough);
        at += between(dice, 2.5, 5.5);
    }
    telephone(wave)
}

fn throat(dice: &mut Dice, shortest: f32, longest: f32) -> Vec<f32> {
    let mut wave = hiss_of(dice, shortest, longest);
    for (low, high, bandwidth) in [(450.0, 750.0, 150.0), (1100.0, 1600.0, 200.0), (2300.0, 2900.0, 300.0)] {
        let mut formant = wave.clone();
        Filter::resonance(between(dice, low, high), bandwidth).run(&mut formant);
        gain(&mut formant, 1.5);
        add(&mut wave, &formant);
    }
    unit(wave)
}

fn voiced(dice: &mut Dice) -> Vec<f32> {
    let step = between(dice, 120.0, 280.0) / RATE as f32;
    let mut wave: Vec<f32> =
        (0..seconds(between(dice, 0.08, 0.15))).map(|n| 2.0 * (n as f32 * step).fract() - 1.0).collect();
    Filter::band(100.0, 1500.0).run(&mut wave);
    unit(wave)
}

fn breaths(dice: &mut Dice, length: usize) -> Vec<f32> {
    let mut wave = vec![0.0; length];
    let mut at = between(dice, 0.3, 0.8);
    while seconds(at + 1.3) < length {
        let mut breath = hiss_of(dice, 0.4, 1.1);
        let whole = breath.len() as f32;
        for (n, sample) in breath.iter_mut().enumerate() {
            *sample *= 0.5 - 0.5 * (TAU * n as f32 / whole).cos();
        }
        let hz = between(dice, 500.0, 1500.0);
        Filter::band(0.5 * hz, (2.5 * hz).min(3600.0)).run(&mut breath);
        add(&mut wave[seconds(at)..], &unit(breath));
        at += between(dice, 2.0, 4.5);
    }
    telephone(wave)
}

fn steps(dice: &mut Dice, length: usize) -> Vec<f32> {
    let mut wave = unit(telephone(pink(dice, length)));
    let mut rest = &mut wave[..];
    while !rest.is_empty() {
        let part = seconds(between(dice, 1.5, 4.0)).min(rest.len());
        let (now, later) = rest.split_at_mut(part);
        gain(now, ratio(between(dice, -20.0, 0.0)));
        rest = later;
    }
    wave
}

fn keys(dice: &mut Dice, length: usize) -> Vec<f32> {
    let mut wave = vec![0.0; length];
    let mut at = 0.7;
    while seconds(at + 1.0) < length {
        let hz = [LOW_HZ[dice.below(4)], HIGH_HZ[dice.below(3)]];
        let samples = seconds(between(dice, 0.08, 0.2));
        for (n, place) in wave[seconds(at)..].iter_mut().take(samples).enumerate() {
            *place = 0.7 * hz.iter().map(|hz| (TAU * hz * n as f32 / RATE as f32).sin()).sum::<f32>();
        }
        at += between(dice, 0.4, 2.5);
    }
    wave
}

const BABBLE: usize = 8;
const HALF_SECOND: usize = RATE / 2;
const LOW_HZ: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
const HIGH_HZ: [f32; 3] = [1209.0, 1336.0, 1477.0];

fn hiss(dice: &mut Dice, length: usize) -> Vec<f32> {
    (0..length).map(|_| normal(dice)).collect()
}

fn hiss_of(dice: &mut Dice, shortest: f32, longest: f32) -> Vec<f32> {
    let length = seconds(between(dice, shortest, longest));
    hiss(dice, length)
}

/// Three poles and zeros that fall by 3 dB an octave from 40 Hz on (the network that is known from the Csound manual).
fn pink(dice: &mut Dice, length: usize) -> Vec<f32> {
    let mut state = [0f32; 3];
    let mut next = || {
        let white = normal(dice);
        state[0] = 0.99765 * state[0] + white * 0.099_046;
        state[1] = 0.963 * state[1] + white * 0.296_516_4;
        state[2] = 0.57 * state[2] + white * 1.052_691_3;
        state.iter().sum::<f32>() + 0.1848 * white
    };
    (0..length).map(|_| next()).collect()
}

fn telephone(mut wave: Vec<f32>) -> Vec<f32> {
    Filter::telephone().run(&mut wave);
    wave
}

/// At a mean power of 1.
fn unit(mut wave: Vec<f32>) -> Vec<f32> {
    let now = power(&wave).sqrt().max(1e-9);
    gain(&mut wave, 1.0 / now);
    wave
}

#[cfg(test)]
mod tests {
    use super::super::signal::{active_dbfs, scale_to};
    use super::*;
    use crate::sim::lab::committed;

    const ALL: [Noise; 12] = [
        Noise::White,
        Noise::Pink,
        Noise::Street,
        Noise::Babble,
        Noise::Hum,
        Noise::Music,
        Noise::Clicks,
        Noise::Coughs,
        Noise::Breaths,
        Noise::Steps,
        Noise::Keys,
        Noise::SecondVoice,
    ];

    #[test]
    fn every_noise_has_its_length_and_a_level_near_0_db() {
        let voices = committed();
        for noise in ALL {
            let mut dice = Dice::new(5, 1, 1);
            let wave = noise.make(&mut dice, 80_000, &voices, Split::HeldOut);
            assert_eq!(wave.len(), 80_000, "{noise:?}");
            let active = active_dbfs(&wave) - offhook_media::level::power_dbfs(1.0);
            let least = if matches!(noise, Noise::Steps) { -20.0 } else { -12.0 };
            assert!((least..12.0).contains(&active), "{noise:?}: {active} dB");
        }
    }

    #[test]
    fn equal_seeds_give_equal_noise() {
        let voices = committed();
        for noise in ALL {
            let make = |seed| noise.make(&mut Dice::new(seed, 1, 1), 24_000, &voices, Split::Tuning);
            assert_eq!(make(1), make(1), "{noise:?}");
            assert_ne!(make(1), make(2), "{noise:?}");
        }
    }

    #[test]
    fn scaling_sets_the_level() {
        let mut wave = pink(&mut Dice::new(1, 1, 1), 8000);
        scale_to(&mut wave, -30.0);
        assert!((offhook_media::level::power_dbfs(power(&wave)) + 30.0).abs() < 0.1);
    }
}
