//! Tones of keys in a caller's audio, found so that they can be left out of a recording. Pure.
//!
//! This is no receiver of digits: it may take 20 ms of whistling for a key, and it may not miss one. What a key is
//! stands in ITU-T Q.23 and Q.24. Deliberately absent: which digit it is, for anybody but this file.

use offhook_media::{FRAME, Frame, RATE_HZ};

/// What 20 ms hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    None,
    /// Could be this pair of tones; twice in a row it is.
    Likely(u8),
    /// Next to nothing but a pair of tones.
    Sure,
}

/// Whether 20 ms of audio are the pair of tones of a key.
pub(super) fn tone(frame: &Frame) -> Tone {
    let energy: f32 = frame.iter().map(|sample| f32::from(*sample) * f32::from(*sample)).sum();
    if energy < QUIETEST * FRAME as f32 {
        return Tone::None;
    }
    let (row, low) = loudest(frame, &ROWS);
    let (column, high) = loudest(frame, &COLUMNS);
    // A sine of amplitude a has the energy n/2 a^2, and its Goertzel power is (n/2 a)^2.
    let share = |power: f32| power * 2.0 / (FRAME as f32 * energy);
    let (low, high) = (share(low), share(high));
    let twisted = low > high * MOST_TWIST || high > low * MOST_TWIST;
    match low + high {
        _ if twisted => Tone::None,
        both if both >= SURE => Tone::Sure,
        both if both >= LIKELY => Tone::Likely(row * 4 + column),
        _ => Tone::None,
    }
}

fn loudest(frame: &Frame, frequencies: &[f32; 4]) -> (u8, f32) {
    (0..).zip(frequencies).map(|(n, hz)| (n, goertzel(frame, *hz))).fold((0, 0.0), |a, b| if b.1 > a.1 { b } else { a })
}

/// Power at one frequency (Goertzel 1958).
fn goertzel(frame: &Frame, hz: f32) -> f32 {
    let coefficient = 2.0 * (std::f32::consts::TAU * hz / RATE_HZ as f32).cos();
    let (mut last, mut before) = (0.0_f32, 0.0_f32);
    for sample in frame {
        (last, before) = (f32::from(*sample) + coefficient * last - before, last);
    }
    last * last + before * before - coefficient * last * before
}

const ROWS: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS: [f32; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
/// Mean square of the quietest tone that counts: about -45 dBFS.
const QUIETEST: f32 = 34_000.0;
/// Between the two tones, as a ratio of powers: 12 dB.
const MOST_TWIST: f32 = 16.0;
/// Share of the frame's energy that lies in the two tones.
const SURE: f32 = 0.80;
const LIKELY: f32 = 0.55;

#[cfg(test)]
mod tests {
    use super::*;

    fn mix(tones: &[(f32, f32)], from: usize) -> Frame {
        std::array::from_fn(|n| {
            let at = (from + n) as f32 / 8000.0;
            let sum: f32 = tones.iter().map(|(hz, level)| level * (std::f32::consts::TAU * hz * at).sin()).sum();
            sum as i16
        })
    }

    #[test]
    fn all_keys_at_all_levels_and_phases_are_found() {
        for (row, column) in ROWS.iter().flat_map(|row| COLUMNS.map(|column| (*row, column))) {
            for level in [500.0, 2_000.0, 12_000.0] {
                for (from, skew) in [(0, 1.0), (37, 1.015), (1003, 0.985)] {
                    let frame = mix(&[(row * skew, level), (column * skew, level * 0.7)], from);
                    assert_ne!(tone(&frame), Tone::None, "{row}+{column} Hz at {level}, {skew}");
                }
            }
        }
    }

    #[test]
    fn one_tone_silence_and_noise_are_no_key() {
        assert_eq!(tone(&[0; FRAME]), Tone::None);
        assert_eq!(tone(&mix(&[(440.0, 8_000.0)], 0)), Tone::None);
        assert_eq!(tone(&mix(&[(697.0, 8_000.0)], 0)), Tone::None);
        let mut state = 7_u32;
        for _ in 0..500 {
            let noise: Frame = std::array::from_fn(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 18) as i16 - 8192
            });
            assert_eq!(tone(&noise), Tone::None);
        }
    }

    #[test]
    fn people_speaking_are_heard() {
        let mut frames = 0;
        let mut muted = 0;
        for entry in std::fs::read_dir("fixtures/audio/human").unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let Ok(wav) = offhook_media::wav::Wav::parse(&bytes) else { continue };
            let tones: Vec<Tone> =
                wav.samples.chunks_exact(FRAME).map(|chunk| tone(chunk.try_into().unwrap())).collect();
            frames += tones.len();
            muted += tones.iter().filter(|tone| **tone == Tone::Sure).count();
            muted +=
                tones.windows(2).filter(|pair| matches!(pair, [Tone::Likely(a), Tone::Likely(b)] if a == b)).count();
        }
        assert!(frames > 100, "{frames}");
        assert_eq!(muted, 0, "of {frames} frames of speech");
    }
}
