//! Ready audio for `play` steps: tones made at load and WAV files checked at load. Neither can fail in a call.

use std::f64::consts::TAU;
use std::sync::Arc;

/// A sine at 8 kHz with 5 ms ramps against clicks. `dbfs` is its level against a full-scale sine.
pub(super) fn tone(hz: f32, ms: u32, dbfs: f32) -> Arc<[i16]> {
    let total = u64::from(ms) * 8;
    let peak = f64::from(i16::MAX) * 10_f64.powf(f64::from(dbfs) / 20.0);
    let step = TAU * f64::from(hz) / 8000.0;
    let sample = |n: u64| {
        let to_edge = n.min(total - 1 - n);
        let gain = small(to_edge.min(RAMP)) / small(RAMP);
        #[expect(clippy::cast_possible_truncation, reason = "the peak is within i16 and the cast saturates")]
        let value = (peak * gain * (step * small(n)).sin()).round() as i16;
        value
    };
    (0..total).map(sample).collect()
}

/// Reads a RIFF WAVE file: PCM, 16 bits, mono, 8000 Hz, at most [`MAX_SECONDS`] s.
///
/// # Errors
/// Says what the file should be and what was found.
pub(super) fn wav(bytes: &[u8]) -> Result<Arc<[i16]>, String> {
    if bytes.get(0..4) != Some(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
        return Err("a RIFF WAVE file".to_owned());
    }
    let mut rest = bytes.get(12..).unwrap_or_default();
    let mut format_seen = false;
    while let Some((id, body, after)) = chunk(rest) {
        match &id {
            b"fmt " => {
                check_format(body)?;
                format_seen = true;
            }
            b"data" if format_seen => return samples(body),
            _ => {}
        }
        rest = after;
    }
    Err("a WAVE file with a format and then a data chunk".to_owned())
}

fn chunk(bytes: &[u8]) -> Option<([u8; 4], &[u8], &[u8])> {
    let id: [u8; 4] = bytes.get(0..4)?.try_into().ok()?;
    let size = usize::try_from(u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?)).ok()?;
    let body = bytes.get(8..8_usize.checked_add(size)?)?;
    let after = bytes.get(8 + size + size % 2..).unwrap_or_default();
    Some((id, body, after))
}

fn check_format(body: &[u8]) -> Result<(), String> {
    let half = |at: usize| body.get(at..at + 2).and_then(|b| b.try_into().ok()).map(u16::from_le_bytes);
    let rate = body.get(4..8).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let found = (half(0), half(2), rate, half(14));
    if found == (Some(1), Some(1), Some(8000), Some(16)) {
        return Ok(());
    }
    let show = |value: Option<u32>| value.map_or_else(|| "none".to_owned(), |v| v.to_string());
    Err(format!(
        "PCM, mono, 8000 Hz, 16 bits, found format {}, {} channels, {} Hz, {} bits",
        show(found.0.map(u32::from)),
        show(found.1.map(u32::from)),
        show(found.2),
        show(found.3.map(u32::from))
    ))
}

fn samples(body: &[u8]) -> Result<Arc<[i16]>, String> {
    if body.len() < 2 || body.len() > MAX_SECONDS * 16_000 {
        return Err(format!("up to {MAX_SECONDS} s of audio, found {} bytes", body.len()));
    }
    Ok(body.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect())
}

fn small(n: u64) -> f64 {
    // Sample counts stay far below 2^52.
    u32::try_from(n).map_or(f64::from(u32::MAX), f64::from)
}

/// 5 ms.
const RAMP: u64 = 40;
/// The longest sound file, in seconds.
const MAX_SECONDS: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    fn file(rate: u32, channels: u16, data: &[u8]) -> Vec<u8> {
        let mut out = b"RIFF\0\0\0\0WAVEfmt ".to_vec();
        out.extend(16_u32.to_le_bytes());
        out.extend(1_u16.to_le_bytes());
        out.extend(channels.to_le_bytes());
        out.extend(rate.to_le_bytes());
        out.extend((rate * 2).to_le_bytes());
        out.extend([2, 0, 16, 0]);
        out.extend(b"data");
        out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        out.extend(data);
        out
    }

    #[test]
    fn a_tone_has_its_length_level_and_pitch() {
        let samples = tone(440.0, 1000, -20.0);
        assert_eq!(samples.len(), 8000);
        let power: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / 8000.0;
        let dbfs = 10.0 * (2.0 * power / f64::from(i16::MAX).powi(2)).log10();
        assert!((dbfs + 20.0).abs() < 0.1, "{dbfs}");
        let rising = samples.windows(2).filter(|w| w[0] < 0 && w[1] >= 0).count();
        assert!((439..=440).contains(&rising), "{rising}");
    }

    #[test]
    fn a_wav_file_must_be_telephone_audio() {
        assert_eq!(wav(&file(8000, 1, &[1, 0, 2, 0])).unwrap().as_ref(), [1, 2]);
        assert!(wav(&file(44_100, 2, &[1, 0])).unwrap_err().contains("found format 1, 2 channels, 44100 Hz"));
        assert!(wav(b"RIFF").is_err());
        assert!(wav(&file(8000, 1, &[])).is_err());
        let mut cut = file(8000, 1, &[1, 0, 2, 0]);
        cut.truncate(46);
        assert!(wav(&cut).is_err());
    }
}
