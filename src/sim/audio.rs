//! The caller's own audio: recordings, noise, G.711 and the labels of speech inside a recording.
//!
//! The codec here is written apart from the server's, so that a mistake in one is heard by the other. Deliberately
//! absent: resampling and other formats; a recording that is not 8 kHz mono 16-bit is refused.

use std::sync::Arc;

use super::clock::Dice;

/// Samples in one 20 ms frame.
pub const FRAME: usize = 160;
/// The mu-law octet of digital silence.
pub const SILENCE: u8 = 0xFF;
/// The level under which audio counts as silence on the wire, in dBFS.
pub const VOICED_DBFS: f64 = -50.0;
/// Samples in the 5 ms block by which speech is labelled.
pub const BLOCK: usize = 40;

/// One recording of a caller, with its labels.
#[derive(Clone, Debug)]
pub struct Recording {
    pub name: Arc<str>,
    /// 8 kHz mono linear PCM.
    pub samples: Arc<[i16]>,
    /// The first sample of speech (see [`onset`]).
    pub onset: usize,
    /// One past the last voiced sample (see [`last_voiced`]).
    pub end: usize,
}

impl Recording {
    /// Reads a RIFF WAVE file and labels it.
    ///
    /// # Errors
    /// Names what is wrong and where: no WAVE file, another format than 8 kHz mono 16-bit PCM, or no speech in it.
    pub fn from_wav(name: &str, bytes: &[u8]) -> Result<Self, String> {
        let samples = wav_samples(bytes).map_err(|e| format!("{name}: {e}"))?;
        let (Some(onset), Some(end)) = (onset(&samples), last_voiced(&samples)) else {
            return Err(format!("{name}: no speech found in {} samples", samples.len()));
        };
        Ok(Self { name: name.into(), samples: samples.into(), onset, end: end.max(onset + 1) })
    }

    /// The same recording with its active speech level at `dbfs`.
    pub fn at_level(&self, dbfs: f64) -> Self {
        let gain = amplitude(dbfs) / active_level(&self.samples).max(1.0);
        let samples: Arc<[i16]> = self.samples.iter().map(|&s| clamp(f64::from(s) * gain)).collect();
        let end = last_voiced(&samples).unwrap_or(self.end);
        Self { name: self.name.clone(), onset: self.onset, end: end.max(self.onset + 1), samples }
    }
}

/// White noise of `length` samples at `dbfs` (RMS), the same for the same dice.
pub fn white_noise(length: usize, dbfs: f64, dice: &mut Dice) -> Vec<i16> {
    // A uniform distribution's RMS is its peak over the square root of three.
    let peak = amplitude(dbfs) * 3f64.sqrt();
    (0..length).map(|_| clamp((dice.unit() * 2.0 - 1.0) * peak)).collect()
}

/// The first sample of speech: the first 5 ms block at or above active speech level - 25 dB (and 8 dB over the
/// recording's own floor) with three of four such blocks and, in the next 200 ms, six within 15 dB of that level.
pub fn onset(samples: &[i16]) -> Option<usize> {
    let level = active_level(samples);
    let blocks: Vec<f64> = samples.chunks_exact(BLOCK).map(rms).collect();
    let threshold = (level * ratio(-25.0)).max(floor(&blocks) * ratio(8.0));
    let loud = level * ratio(-15.0);
    (0..blocks.len())
        .find(|&i| {
            let ahead = |n: usize| blocks.get(i..(i + n).min(blocks.len())).unwrap_or_default();
            ahead(1).iter().all(|&b| b >= threshold)
                && ahead(4).iter().filter(|&&b| b >= threshold).count() >= 3
                && ahead(40).iter().filter(|&&b| b >= loud).count() >= 6
        })
        .map(|block| block * BLOCK)
}

/// One past the last sample at or above [`VOICED_DBFS`] within a 5 ms block of that level.
pub fn last_voiced(samples: &[i16]) -> Option<usize> {
    let limit = amplitude(VOICED_DBFS);
    let (index, block) = samples.chunks(BLOCK).enumerate().rfind(|(_, b)| rms(b) >= limit)?;
    let inside = block.iter().rposition(|&s| f64::from(s).abs() >= limit)?;
    Some(index * BLOCK + inside + 1)
}

/// The active speech level as an amplitude: the RMS of the 10 ms blocks within 25 dB of the 95th percentile.
pub fn active_level(samples: &[i16]) -> f64 {
    let blocks: Vec<f64> = samples.chunks_exact(2 * BLOCK).map(rms).collect();
    let gate = quantile(&blocks, 0.95) * ratio(-25.0);
    let active: Vec<f64> = blocks.iter().filter(|&&b| b > gate).map(|b| b * b).collect();
    if active.is_empty() { 0.0 } else { (active.iter().sum::<f64>() / active.len() as f64).sqrt() }
}

/// Root mean square of some samples, 0 for none.
pub fn rms(samples: &[i16]) -> f64 {
    if samples.is_empty() {
        return 0.0;
    }
    let sum: f64 = samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum();
    (sum / samples.len() as f64).sqrt()
}

/// The amplitude of a level in dBFS (a full-scale square wave is 0).
pub fn amplitude(dbfs: f64) -> f64 {
    32768.0 * ratio(dbfs)
}

/// The level of an amplitude in dBFS, never under -96.
pub fn dbfs(amplitude: f64) -> f64 {
    (20.0 * (amplitude / 32768.0).max(1.6e-5).log10()).max(-96.0)
}

/// G.711 mu-law of one linear sample (ITU-T G.711, Table 2a).
pub fn ulaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0x00 };
    let magnitude = u32::from(sample.unsigned_abs()).min(32635) + 132;
    let exponent = 24u32.saturating_sub(magnitude.leading_zeros());
    let mantissa = (magnitude >> (exponent + 3)) & 0x0F;
    !(sign | (exponent << 4) as u8 | mantissa as u8)
}

/// The linear sample of one mu-law octet.
pub const fn linear(octet: u8) -> i16 {
    let bits = !octet;
    let exponent = (bits >> 4) & 7;
    let magnitude = (((((bits & 0x0F) as i32) << 3) + 132) << exponent) - 132;
    (if bits & 0x80 == 0 { magnitude } else { -magnitude }) as i16
}

/// Linear samples of mu-law octets.
pub fn linear_all(octets: &[u8]) -> Vec<i16> {
    octets.iter().map(|&o| linear(o)).collect()
}

fn wav_samples(bytes: &[u8]) -> Result<Vec<i16>, String> {
    if bytes.get(..4) != Some(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
        return Err("no RIFF WAVE header at offset 0".into());
    }
    let (mut at, mut format) = (12usize, None);
    while let (Some(name), Some(length)) = (bytes.get(at..at + 4), word(bytes, at + 4)) {
        let from = at + 8;
        let body = bytes.get(from..from.saturating_add(length).min(bytes.len())).unwrap_or_default();
        match name {
            b"fmt " => format = Some(body),
            b"data" => return checked(format, body, from),
            _ => {}
        }
        at = from.saturating_add(length).saturating_add(length % 2);
    }
    Err(format!("no data chunk in {} bytes", bytes.len()))
}

fn checked(format: Option<&[u8]>, data: &[u8], at: usize) -> Result<Vec<i16>, String> {
    let found =
        format.and_then(|f| f.get(..16)).ok_or_else(|| format!("no fmt chunk before the data at offset {at}"))?;
    let half =
        |i: usize| u16::from_le_bytes([found.get(i).copied().unwrap_or(0), found.get(i + 1).copied().unwrap_or(0)]);
    let (coding, channels, rate, bits) = (half(0), half(2), word(found, 4).unwrap_or(0), half(14));
    if (coding, channels, rate, bits) != (1, 1, 8000, 16) {
        return Err(format!(
            "expected 8000 Hz, 1 channel, 16-bit PCM; found format {coding}, {rate} Hz, {channels} channels, {bits} bits"
        ));
    }
    Ok(data.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect())
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let four: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(four)).ok()
}

fn ratio(db: f64) -> f64 {
    10f64.powf(db / 20.0)
}

fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((q * sorted.len() as f64) as usize).or(sorted.last()).copied().unwrap_or(0.0)
}

fn floor(blocks: &[f64]) -> f64 {
    quantile(blocks, 0.03)
}

fn clamp(value: f64) -> i16 {
    value.round().clamp(-32768.0, 32767.0) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(length: usize, dbfs: f64) -> Vec<i16> {
        let peak = amplitude(dbfs) * 2f64.sqrt();
        (0..length).map(|i| clamp(peak * (i as f64 * 0.37).sin())).collect()
    }

    #[test]
    fn ulaw_knows_the_anchors_of_g711_and_comes_back() {
        assert_eq!([ulaw(0), ulaw(-1), ulaw(32767), ulaw(-32768)], [0xFF, 0x7F, 0x80, 0x00]);
        assert_eq!(linear(SILENCE), 0);
        assert!((0..=255u8).all(|o| o == 0x7F || ulaw(linear(o)) == o), "each octet is its own nearest");
    }

    #[test]
    fn labels_find_a_tone_between_silences() {
        let mut samples = vec![0i16; 800];
        samples.extend(tone(4000, -20.0));
        samples.extend(vec![3i16; 1600]);
        assert_eq!(onset(&samples), Some(800));
        let end = last_voiced(&samples).unwrap();
        assert!((4790..=4800).contains(&end), "{end}");
        assert_eq!(last_voiced(&vec![0; 4000]), None);
    }

    #[test]
    fn levels_are_set_and_read_in_dbfs() {
        let noise = white_noise(8000, -20.0, &mut Dice::new(1, 1, 1));
        assert!((dbfs(rms(&noise)) + 20.0).abs() < 0.3);
        let mut wav = vec![0i16; 400];
        wav.extend(tone(8000, -18.0));
        let recording = Recording { name: "t".into(), onset: 400, end: 8400, samples: wav.into() };
        assert!((dbfs(active_level(&recording.at_level(-30.0).samples)) + 30.0).abs() < 0.3);
    }

    #[test]
    fn refuses_what_is_not_8_khz_mono_naming_what_was_found() {
        assert!(Recording::from_wav("x.wav", b"RIFF").unwrap_err().contains("x.wav: no RIFF WAVE header"));
        let mut wav = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        wav.extend(16000u32.to_le_bytes());
        wav.extend([0, 0, 0, 0, 2, 0, 16, 0]);
        wav.extend(b"data\0\0\0\0");
        assert!(Recording::from_wav("x.wav", &wav).unwrap_err().contains("16000 Hz"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Recording::from_wav("x", &bytes);
            let _ = Recording::from_wav("x", &[b"RIFF\0\0\0\0WAVE".as_slice(), &bytes].concat());
        }
    }
}
