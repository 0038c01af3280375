//! G.722 at 64 kb/s, between 8 kHz frames and the wire: one octet is two samples of 16 kHz, one of ours.
//!
//! The low band alone would be nearly enough for telephone speech, but its filter lets sounds of 4 to 5 kHz fold back
//! (4.5 kHz at -9 dB), so the whole signal is decoded and the house's resampler (-60 dB) makes 8 kHz of it.

use core::fmt;

use audio_codec::g722;
use audio_codec::{Decoder as _, Encoder as _};

use super::CodecError;
use crate::resample::{Rate, Resampler};

/// 8 kHz samples to octets.
pub struct G722Encoder {
    coder: g722::G722Encoder,
    up: Resampler,
    wide: Vec<i16>,
}

impl G722Encoder {
    /// An encoder that has heard silence.
    pub fn new() -> Self {
        let up = Resampler::new(Rate::Hz8000, Rate::Hz16000);
        let wide = Vec::with_capacity(up.most_output(MOST_SAMPLES));
        Self { coder: g722::G722Encoder::new(), up, wide }
    }

    /// Encodes up to 120 ms, one octet for each sample.
    ///
    /// # Errors
    /// [`CodecError::FrameLength`] beyond that, or if `out` is shorter than `pcm`.
    pub fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
        let error = CodecError::FrameLength { codec: NAME, samples: pcm.len() };
        if pcm.len() > MOST_SAMPLES || out.len() < pcm.len() {
            return Err(error);
        }
        self.wide.clear();
        self.up.push(pcm, &mut self.wide);
        self.coder.encode_into(&self.wide, out).map_err(|_| error)
    }
}

impl Default for G722Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for G722Encoder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("G722Encoder")
    }
}

/// Octets to 8 kHz samples.
pub struct G722Decoder {
    coder: g722::G722Decoder,
    down: Resampler,
    wide: Box<[i16; 2 * MOST_SAMPLES]>,
    narrow: Vec<i16>,
}

impl G722Decoder {
    /// A decoder that has heard nothing.
    pub fn new() -> Self {
        let down = Resampler::new(Rate::Hz16000, Rate::Hz8000);
        let narrow = Vec::with_capacity(down.most_output(2 * MOST_SAMPLES));
        Self { coder: g722::G722Decoder::new(), down, wide: Box::new([0; 2 * MOST_SAMPLES]), narrow }
    }

    /// Decodes up to 120 ms, one sample for each octet. Every octet is a valid code.
    ///
    /// # Errors
    /// [`CodecError::TooLong`] beyond that, or if `pcm` has less room.
    pub fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> Result<usize, CodecError> {
        let limit = pcm.len().min(MOST_SAMPLES);
        let error = CodecError::TooLong { codec: NAME, octets: payload.len(), limit };
        if payload.len() > limit {
            return Err(error);
        }
        let wide = self.coder.decode_into(payload, self.wide.as_mut_slice()).map_err(|_| error)?;
        self.narrow.clear();
        self.down.push(self.wide.get(..wide).unwrap_or_default(), &mut self.narrow);
        for (sample, &narrow) in pcm.iter_mut().zip(&self.narrow) {
            *sample = narrow;
        }
        Ok(self.narrow.len().min(limit))
    }
}

impl Default for G722Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for G722Decoder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("G722Decoder")
    }
}

const NAME: &str = "G.722";

/// 120 ms, the longest packet that is taken.
const MOST_SAMPLES: usize = 960;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::rms_dbfs;
    use crate::tone::Tone;

    fn through(hz: f32, dbfs: f32) -> (Vec<i16>, Vec<i16>) {
        let (mut encoder, mut decoder, mut tone) = (G722Encoder::new(), G722Decoder::new(), Tone::sine(hz, dbfs));
        let (mut sent, mut heard) = (vec![], vec![]);
        for _ in 0..50 {
            let (mut frame, mut octets, mut back) = ([0; 160], [0; 160], [0; 160]);
            tone.fill(&mut frame);
            assert_eq!(encoder.encode(&frame, &mut octets), Ok(160));
            assert_eq!(decoder.decode(&octets, &mut back), Ok(160));
            sent.extend_from_slice(&frame);
            heard.extend_from_slice(&back);
        }
        (sent, heard)
    }

    #[test]
    fn tones_come_back_at_their_level() {
        for hz in [300.0, 1000.0, 2000.0, 3400.0] {
            let (sent, heard) = through(hz, -20.0);
            let gain = rms_dbfs(&heard[4000..]) - rms_dbfs(&sent[4000..]);
            assert!(gain.abs() < 1.0, "{hz} Hz: {gain} dB");
        }
    }

    #[test]
    fn speech_is_late_by_the_filters_and_otherwise_the_same() {
        let (sent, heard) = through(440.0, -15.0);
        let error = |lag: usize| {
            let residue: Vec<i16> = heard[4000..].iter().zip(&sent[4000 - lag..]).map(|(a, b)| a - b).collect();
            rms_dbfs(&residue) - rms_dbfs(&sent[4000..])
        };
        let best = (40..120).map(error).fold(f32::INFINITY, f32::min);
        assert!(best < -20.0, "{best} dB");
    }

    #[test]
    fn what_is_too_long_is_refused_and_the_coder_goes_on() {
        let (mut encoder, mut decoder, mut pcm, mut octets) =
            (G722Encoder::new(), G722Decoder::new(), [0; 2000], [0; 2000]);
        assert_eq!(
            decoder.decode(&[0; 961], &mut pcm),
            Err(CodecError::TooLong { codec: NAME, octets: 961, limit: 960 })
        );
        assert_eq!(
            encoder.encode(&pcm[..961], &mut octets),
            Err(CodecError::FrameLength { codec: NAME, samples: 961 })
        );
        assert_eq!(
            encoder.encode(&pcm[..80], &mut octets[..79]).map_err(|error| error.to_string()).unwrap_err(),
            "G.722 cannot encode 80 samples"
        );
        assert_eq!(decoder.decode(&octets[..960], &mut pcm), Ok(960));
        assert_eq!(decoder.decode(&[], &mut pcm), Ok(0));
    }
}
