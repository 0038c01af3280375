//! What goes through the line: recorded phrases with their labels, noise, and a stand-in for a voice.

use std::path::Path;
use std::sync::Arc;

use offhook::sim::audio::{Recording, amplitude};
use offhook::sim::clock::Dice;

/// Every recorded phrase, the short ones first.
pub const PHRASES: [&str; 13] = [
    "hello",
    "one",
    "goodbye",
    "im-sorry",
    "please-try-again",
    "to-call-this-number",
    "number-not-answering",
    "from-unknown-caller",
    "transfer",
    "pls-hold-while-try",
    "vm-repeat",
    "demo-nomatch",
    "vm-tocallback",
];

/// A recording of `fixtures/audio/human`, with its onset and end.
pub fn human(name: &str) -> Recording {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/audio/human").join(format!("{name}.wav"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Recording::from_wav(name, &bytes).unwrap_or_else(|error| panic!("{error}"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    White,
    Pink,
    Brown,
}

/// `length_ms` of noise at `dbfs` (RMS).
pub fn noise(colour: Colour, length_ms: usize, dbfs: f64, seed: u64) -> Arc<[i16]> {
    let mut dice = Dice::new(seed, 77, 0);
    let mut filter = [0.0; 3];
    let raw: Vec<f64> = (0..length_ms * 8).map(|_| shaped(colour, dice.unit() * 2.0 - 1.0, &mut filter)).collect();
    let mean = raw.iter().sum::<f64>() / raw.len() as f64;
    let rms = (raw.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / raw.len() as f64).sqrt();
    let gain = amplitude(dbfs) / rms;
    raw.iter().map(|x| ((x - mean) * gain).clamp(-32767.0, 32767.0) as i16).collect()
}

/// Paul Kellet's three-pole approximation of -3 dB per octave for pink; a leaky sum for brown.
fn shaped(colour: Colour, white: f64, state: &mut [f64; 3]) -> f64 {
    match colour {
        Colour::White => white,
        Colour::Pink => {
            state[0] = 0.99765 * state[0] + white * 0.099_046;
            state[1] = 0.963 * state[1] + white * 0.296_516_4;
            state[2] = 0.57 * state[2] + white * 1.052_691_3;
            state.iter().sum::<f64>() + white * 0.1848
        }
        Colour::Brown => {
            state[0] = 0.98 * state[0] + white * 0.2;
            state[0]
        }
    }
}

/// Speech-like sound as long as `text` takes: a voiced buzz in syllables of 200 ms that never falls silent.
pub fn voice(text: &str) -> Vec<i16> {
    let length = text.chars().count() * MS_PER_CHARACTER * 8;
    (0..length)
        .map(|n| {
            let seconds = n as f64 / 8000.0;
            let buzz: f64 = (1..=8).map(|k| (seconds * 120.0 * f64::from(k) * std::f64::consts::TAU).sin()).sum();
            let syllable = 0.65 + 0.35 * (seconds * 5.0 * std::f64::consts::TAU).cos();
            (buzz * syllable * 1200.0) as i16
        })
        .collect()
}

/// The pace of the stand-in voice.
pub const MS_PER_CHARACTER: usize = 60;
