//! Keys in the audio: how many are found, and how many are found where nobody pressed any.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints its figures"
)]

mod lab;
mod measure;

use std::process::Command;

use lab::Dice;
use offhook_media::FRAME;
use offhook_media::dtmf::Digit;
use offhook_media::g711::G711;
use offhook_media::inband::{InbandDetector, ToneEdge};
use offhook_media::level::amplitude;
use offhook_media::resample::{Rate, Resampler};

/// What a detector finds after a law of G.711.
fn found(law: G711, wave: &[i16]) -> Vec<Digit> {
    let mut detector = InbandDetector::new();
    let (mut octets, mut frame, mut digits) = ([0; FRAME], [0; FRAME], vec![]);
    for chunk in wave.as_chunks::<FRAME>().0 {
        law.encode(chunk, &mut octets);
        law.decode(&octets, &mut frame);
        let edges = detector.push(&frame).into_iter().flatten();
        digits.extend(edges.filter_map(|edge| if let ToneEdge::Up(digit) = edge { Some(digit) } else { None }));
    }
    digits
}

const ROWS: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS: [f32; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
const KEYS: &str = "123A456B789C*0#D";

/// A key of 50 to 120 ms with noise around and below it.
fn press(dice: &mut Dice, key: usize, dbfs: f32, snr_db: f32) -> Vec<i16> {
    let (lead, length) = (1600 + dice.below(FRAME), 400 + dice.below(560));
    let (low, high) = (ROWS[key / 4] * dice.between(0.99, 1.01), COLUMNS[key % 4] * dice.between(0.99, 1.01));
    let twist = dice.between(-4.0, 4.0);
    let tone = amplitude(dbfs) * core::f32::consts::SQRT_2;
    let (a, b) = (tone * 10f32.powf(twist / 40.0), tone * 10f32.powf(-twist / 40.0));
    // The power of both tones over that of the noise; a uniform value in -1..1 has a mean square of 1/3.
    let noise = amplitude(dbfs + 3.0 - snr_db) * 3f32.sqrt();
    (0..lead + length + 2400)
        .map(|n| {
            let time = n as f32 / 8000.0;
            let tones = if (lead..lead + length).contains(&n) {
                a * (core::f32::consts::TAU * low * time).sin() + b * (core::f32::consts::TAU * high * time).sin()
            } else {
                0.0
            };
            (tones + noise * dice.between(-1.0, 1.0)) as i16
        })
        .collect()
}

#[test]
fn keys_are_found_in_noise() {
    let mut dice = Dice::new(11);
    for snr_db in [30.0, 20.0, 15.0, 10.0] {
        for law in [G711::Ulaw, G711::Alaw] {
            let (mut right, mut wrong, mut total) = (0, 0, 0);
            for round in 0..40 {
                for (key, name) in KEYS.chars().enumerate() {
                    let dbfs = -10.0 - (round % 6) as f32 * 3.0;
                    let keys = found(law, &press(&mut dice, key, dbfs, snr_db));
                    total += 1;
                    right += usize::from(keys.iter().map(|key| key.as_char()).eq([name]));
                    wrong += usize::from(keys.iter().any(|key| key.as_char() != name));
                }
            }
            println!("{snr_db} dB, {law:?}: {right} of {total} keys found once, {wrong} with another key");
            assert!(snr_db < 15.0 || right * 100 >= total * 99, "{snr_db} dB {law:?}: {right} of {total}");
            assert_eq!(wrong, 0);
        }
    }
}

/// The wave at another speed and pitch, and another level.
fn varied(wave: &[i16], speed: f32, gain: f32) -> Vec<i16> {
    (0..(wave.len() as f32 / speed) as usize)
        .map(|n| {
            let place = n as f32 * speed;
            let (index, part) = (place as usize, place.fract());
            let at = |index: usize| f32::from(wave.get(index).copied().unwrap_or(0));
            (gain * (at(index) * (1.0 - part) + at(index + 1) * part)) as i16
        })
        .collect()
}

/// Recorded and synthetic speech of many voices, 8 kHz.
fn speech() -> Vec<Vec<i16>> {
    let mut voices = vec![];
    for wave in measure::corpus() {
        for (speed, gain) in [(0.75, 1.0), (0.87, 2.0), (1.0, 1.0), (1.0, 3.0), (1.13, 0.5), (1.27, 1.0), (1.4, 2.0)] {
            voices.push(varied(&wave, speed, gain));
        }
    }
    for voice in ["en-us", "en-us+f3", "en-gb+m3", "en+f5", "de", "fr", "es", "it+f2", "nl", "pl+m7"] {
        for speed in ["130", "175", "230"] {
            voices.extend(synthetic(voice, speed));
        }
    }
    voices
}

/// What espeak-ng makes of a text, where it is installed (scripts/test does that).
fn synthetic(voice: &str, speed: &str) -> Option<Vec<i16>> {
    let out = Command::new("espeak-ng").args(["-v", voice, "-s", speed, "--stdout", TEXT]).output().ok()?;
    let body = out.stdout.get(44..)?;
    let wave: Vec<i16> = body.as_chunks::<2>().0.iter().map(|octets| i16::from_le_bytes(*octets)).collect();
    let (mut resampler, mut narrow) = (Resampler::new(Rate::Hz22050, Rate::Hz8000), vec![]);
    resampler.push(&wave, &mut narrow);
    Some(narrow)
}

#[test]
fn speech_presses_no_keys() {
    let (mut seconds, mut keys) = (0.0, 0);
    for wave in speech() {
        seconds += wave.len() as f32 / 8000.0;
        let heard = found(G711::Ulaw, &wave);
        keys += heard.len();
    }
    let per_hour = keys as f32 * 3600.0 / seconds;
    println!("{keys} keys in {:.1} minutes of speech: {per_hour:.1} an hour", seconds / 60.0);
    assert!(seconds > 400.0, "{seconds} s");
    assert!(per_hour <= 2.0, "{per_hour} an hour");
}

const TEXT: &str = "Thank you for calling the clinic. Our opening hours are Monday to Friday from eight in the morning until \
    six in the evening, and Saturday from nine to one. To make an appointment, say appointment or press one. For \
    prescriptions, press two. If this is an emergency, please hang up and dial one one two now. Otherwise stay on the line \
    and somebody will be with you in about fifteen minutes. Your call may be recorded for training. The quick brown fox \
    jumps over the lazy dog. Please call Stella. Ask her to bring these things with her from the store: six spoons of \
    fresh snow peas, five thick slabs of blue cheese, and maybe a snack for her brother Bob. We also need a small plastic \
    snake and a big toy frog for the kids. She can scoop these things into three red bags, and we will go meet her \
    Wednesday at the train station. When the sunlight strikes raindrops in the air, they act as a prism and form a rainbow. \
    Oh, you, hey, we owe you. Mama, more, no, yeah, hmm, aha, uh huh, ooh, wow, aye aye.";
