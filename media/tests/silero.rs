//! The speech network against ONNX Runtime's figures for the same weights and the same audio.
//!
//! `scripts/silero-weights` makes the figures again, and the weights, from the package they come from.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test fails by panicking")]

use offhook_media::silero::{Network, State, WINDOW};
use offhook_media::wav::Wav;

/// The same noise as in `scripts/silero_weights.py`.
fn noise(seed: u32, amplitude: i64, length: usize) -> Vec<i16> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let value = (i64::from(state >> 16) - 32768) * amplitude;
        i16::try_from(value.div_euclid(32768)).unwrap()
    };
    (0..length).map(next).collect()
}

fn audio(name: &str) -> Vec<i16> {
    match name.split('-').collect::<Vec<_>>()[..] {
        ["noise", seed, amplitude] => noise(seed.parse().unwrap(), amplitude.parse().unwrap(), 60 * WINDOW),
        ["silence"] => vec![0; 20 * WINDOW],
        ["square"] => (0..30 * WINDOW).map(|n| if n / 20 % 2 == 1 { 32767 } else { -32768 }).collect(),
        _ => {
            let path = format!("{}/../fixtures/audio/human/{name}.wav", env!("CARGO_MANIFEST_DIR"));
            Wav::parse(&std::fs::read(path).unwrap()).unwrap().samples.to_vec()
        }
    }
}

#[test]
fn probabilities_are_those_of_the_reference() {
    let network = Network::shared().unwrap();
    let (mut worst, mut count, mut speech) = (0f32, 0, 0);
    for line in include_str!("silero/probabilities.txt").lines() {
        let (name, expected) = line.split_once(' ').unwrap();
        let samples = audio(name);
        let (windows, _) = samples.as_chunks::<WINDOW>();
        let mut state = State::new(network);
        assert_eq!(windows.len(), expected.split(' ').count(), "{name}");
        for (place, (window, expected)) in windows.iter().zip(expected.split(' ')).enumerate() {
            let expected: f32 = expected.parse().unwrap();
            let found = state.probability(&window.map(|sample| f32::from(sample) / 32768.0));
            assert!((found - expected).abs() < 1e-4, "{name} window {place}: {found}, not {expected}");
            worst = worst.max((found - expected).abs());
            count += 1;
            speech += usize::from(expected >= 0.5);
        }
    }
    println!("{count} windows, {speech} of them speech, worst difference {worst:.1e}");
    assert!(count > 1500 && speech > 500);
}
